"""A run's directory: what it holds, who may write to it, where a continuation starts."""

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.files.lock import Held, Lock
from pipeline.files.whole import read_lines, write_atomically, write_json
from pipeline.runs.identity import Identity, code_version


class RunDirectory:
    """config.yaml, run.json, metrics.jsonl, samples.jsonl, checkpoints/last.ckpt (all that a continuation needs)
    and best.ckpt (weights)."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.metrics = self.path / "metrics.jsonl"
        self.samples = self.path / "samples.jsonl"
        self.last = self.path / "checkpoints" / "last.ckpt"
        self.best = self.path / "checkpoints" / "best.ckpt"

    @property
    def facts(self) -> dict:
        """run.json; empty before the run was created."""
        file = self.path / "run.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def note(self, **facts: object) -> None:
        """Adds to run.json."""
        write_json(self.path / "run.json", self.facts | facts)

    @property
    def finished(self) -> bool:
        return self.facts.get("status") == "finished"

    def config(self) -> DictConfig:
        return OmegaConf.load(self.path / "config.yaml")

    @property
    def locked(self) -> bool:
        """Whether a process trains this run, or has died doing so."""
        return self._lock_file.exists()

    @property
    def _lock_file(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")

    def lock(self) -> Lock:
        """Held by the process that trains this run, whichever machine it is on;
        one that has died leaves it to the next."""
        lock = Lock(self._lock_file)
        try:
            lock.acquire()
        except Held as owner:
            raise Refusal(f"{self.path} is being trained by {owner}: wait for it, or stop it") from None
        return lock

    def create(self, cfg: DictConfig, identity: Identity, **facts: object) -> None:
        """Writes what identifies the run."""
        write_atomically(self.path / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        self.note(
            name=identity.name,
            study=identity.study,
            hash=identity.hash,
            seed=identity.seed,
            status="running",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            code=code_version(),
            process=os.getpid(),
            **facts,
        )

    def forget(self) -> None:
        """Removes everything the run has done."""
        shutil.rmtree(self.path, ignore_errors=True)

    def rewind(self, step: int) -> None:
        """Drops the records after training step `step`, where the continuation starts and will write them again."""
        for file in (self.metrics, self.samples):
            kept = [record for record in read_lines(file) if record["step"] <= step]
            write_atomically(file, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept))
