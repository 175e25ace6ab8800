"""A run's directory: what it holds, who may write to it, where a continuation starts."""

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.command.refusal import Refusal
from pipeline.command.settings import check_choice
from pipeline.files.form import misfit
from pipeline.files.lock import Held, Lock
from pipeline.files.whole import read_json, read_lines, remove_partials, write_atomically, write_json
from pipeline.runs.code import code_version, sources
from pipeline.runs.forms import OF_STATUS, Facts, Record, Sample, Settled
from pipeline.runs.identity import Identity

MEND = "train the run again with fresh=true"


class RunDirectory:
    """config.yaml, run.json, metrics.jsonl, samples.jsonl, checkpoints/last.ckpt (all that a continuation needs),
    best.ckpt (weights), and step-N.ckpt for each step of trainer.weights_at (weights too)."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.metrics = self.path / "metrics.jsonl"
        self.samples = self.path / "samples.jsonl"
        self.last = self.path / "checkpoints" / "last.ckpt"
        self.best = self.path / "checkpoints" / "best.ckpt"

    def weights(self, step: int) -> Path:
        """Where the weights of that step are, if they were kept."""
        return self.last.with_name(f"step-{step}.ckpt")

    def kept(self) -> list[int]:
        """The steps whose weights were kept, ascending."""
        return sorted(int(path.stem.partition("-")[2]) for path in self.last.parent.glob("step-*.ckpt"))

    @property
    def facts(self) -> dict:
        """run.json; empty before the run was created. Raises Refusal where it is damaged."""
        file = self.path / "run.json"
        if not file.exists():
            return {}
        facts = read_json(file, MEND, Facts)
        why = misfit(facts, OF_STATUS.get(facts["status"], dict))
        if why is not None:
            raise Refusal(f"{file} is damaged ({why}): {MEND}")
        return facts

    @property
    def legible_facts(self) -> dict:
        """run.json, empty also where it is damaged: for what starts the run over."""
        try:
            return self.facts
        except (Refusal, OSError):
            return {}

    def records(self) -> list[dict]:
        """metrics.jsonl. Raises Refusal where it is damaged."""
        return read_lines(self.metrics, Record)

    def written(self) -> list[dict]:
        """samples.jsonl. Raises Refusal where it is damaged."""
        return read_lines(self.samples, Sample)

    def note(self, **facts: object) -> None:
        """Adds to run.json."""
        write_json(self.path / "run.json", self.facts | facts)

    @property
    def finished(self) -> bool:
        return self.facts.get("status") == "finished"

    def config(self) -> DictConfig:
        """config.yaml. Raises Refusal where it is missing or damaged."""
        file = self.path / "config.yaml"
        try:
            cfg = OmegaConf.load(file)
            settled = OmegaConf.to_container(cfg, resolve=True)
            why = misfit(settled, Settled)
            for group in () if why else ("data", "model"):
                check_choice(group, settled[group])
        except Refusal as refusal:
            why = str(refusal)
        except FileNotFoundError:
            raise Refusal(f"{file} is missing: {MEND}") from None
        except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
            why = str(error).splitlines()[0]
        if why is not None:
            raise Refusal(f"{file} is damaged ({why}): {MEND}")
        return cfg

    @property
    def locked(self) -> bool:
        """Whether a process trains this run, or has died doing so."""
        return self._lock_file.exists()

    @property
    def _lock_file(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")

    def lock(self) -> Lock:
        """Held by the process that trains this run, whichever machine it is on;
        one that has died leaves it to the next, which removes what was not whole."""
        lock = Lock(self._lock_file)
        try:
            lock.acquire()
        except Held as owner:
            raise Refusal(f"{self.path} is being trained by {owner}: wait for it, or stop it") from None
        try:
            remove_partials(self.path)
            remove_partials(self.last.parent)
            shutil.rmtree(self._forgotten, ignore_errors=True)
        except BaseException:
            lock.release()
            raise
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
            code={**code_version(), "sources": sources(cfg)},
            process=os.getpid(),
            **facts,
        )

    @property
    def _forgotten(self) -> Path:
        return self.path.with_name(f".{self.path.name}.forgotten")

    def forget(self) -> None:
        """Removes everything the run has done, all at once. Needs the lock."""
        if self.path.is_dir() and not self.path.is_symlink():
            os.rename(self.path, self._forgotten)
            shutil.rmtree(self._forgotten, ignore_errors=True)  # what is left the next holder of the lock removes
        else:
            self.path.unlink(missing_ok=True)

    def rewind(self, step: int) -> None:
        """Drops what was written after training step `step`, where the continuation starts and will write it again."""
        for file, records in ((self.metrics, self.records()), (self.samples, self.written())):
            kept = [record for record in records if record["step"] <= step]
            write_atomically(file, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept))
        for later in (kept for kept in self.kept() if kept > step):
            self.weights(later).unlink()


def find_run(run: str, runs: Path, setting: str = "run") -> Path:
    """The directory of the run called `run`: that itself, or a part of its path below `runs` that no other has; of the
    run trained last if it is empty. Raises Refusal when none or several are meant; `setting` is where it was given."""
    if run and (Path(run) / "run.json").exists():
        return Path(run)
    paths = sorted(
        (file.parent for file in runs.glob("*/[!.]*/run.json")), key=lambda path: (path / "run.json").stat().st_mtime
    )
    meant = [path for path in paths if run in str(path)]
    if not paths:
        raise Refusal(f"{runs}/ holds no runs: train one, e.g. python -m pipeline.train model=lstm")
    if not meant:
        raise Refusal(
            f"{setting}={run}: no run is called so; the last ones are {', '.join(path.name for path in paths[-3:])}"
        )
    if run and len(meant) > 1:
        raise Refusal(f"{setting}={run} means {len(meant)} runs, e.g. {meant[0]} and {meant[1]}: give more of the name")
    return meant[-1]
