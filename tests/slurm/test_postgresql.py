"""MLflow's server on PostgreSQL, as a cluster has it: Debian's, started here on loopback."""

import multiprocessing
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from pipeline.files.whole import append_line, read_lines, write_atomically
from pipeline.runs.directory import RunDirectory
from pipeline.runs.mirror import Mirror
from pipeline.runs.settling import directory_of
from tests.conftest import ROOT, composed, trained

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["pipeline.runs.session", "mlflow.pytorch"])
INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
PROGRAMS = INSTALLED[-1] if INSTALLED else Path(shutil.which("initdb") or "").parent
WRITERS = 8


def until(what: str, holds, log: Path, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not {what}:\n{log.read_text()[-3000:]}"
        time.sleep(0.1)


class Postgres:
    """A database server of its own, run by an ordinary user."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if self.user:
            shutil.chown(folder, "postgres", "postgres")
        self.run("initdb", "--username=mlflow", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        self.uri = f"postgresql+psycopg://mlflow@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *words: str) -> None:
        command = [PROGRAMS / program, "-D", self.folder / "data", *words]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, **self.user)
        assert done.returncode == 0, done.stdout + done.stderr

    def control(self, word: str) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -F"
        log = self.folder / "log"
        command = [PROGRAMS / "pg_ctl", "-D", self.folder / "data", "-w", "-m", "immediate", "-o", options, "-l", log]
        subprocess.run([*command, word], cwd=self.folder, check=True, stdout=subprocess.DEVNULL, **self.user)


@pytest.fixture
def postgres():
    if not (PROGRAMS / "initdb").exists():
        pytest.skip("no PostgreSQL here: make slurm installs Debian's")
    if os.getuid() == 0 and "postgres" not in {user.pw_name for user in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    pytest.importorskip("psycopg", reason="no psycopg here: pip install -e '.[postgresql]'")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # which its user may enter
    postgres = Postgres(folder)
    postgres.control("start")
    yield postgres
    postgres.control("stop")
    shutil.rmtree(folder)


def write(run: RunDirectory, overrides: list[str], card: dict, end) -> None:
    """A run's record from its beginning to its end, twenty steps at a time, as training sends it."""
    mirror = Mirror(composed(*overrides), run, card, unattended=True)
    mirror.begin()
    step = 0
    while step < 100 or not end.is_set():
        for _ in range(20):
            step += 1
            losses = {"train": 1 / step, "smoothed": 2 / step}
            append_line(run.metrics, {"step": step, "targets": step, "seconds": step / 10, "rate": 0.1} | losses)
        mirror.send(lambda record: record.push(run))
        time.sleep(0.5)
    assert mirror.finish(lambda record: (record.push(run), record.client.set_terminated(record.run_id)))


def test_two_ranks_and_eight_writers_lose_nothing_when_database_and_server_crash(postgres, small, tmp_path):
    from mlflow import MlflowClient

    server = tmp_path / "mlflow-server"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}", "MLFLOW_DATABASE": postgres.uri, "SLURM_CPUS_PER_TASK": "1"}
    overrides = [*small[:-1], f"tracking.uri={server}/address", "trainer.accelerator=cpu"]
    serving = subprocess.Popen([sys.executable, "-m", "slurm.mlflow_server"], cwd=tmp_path, env=environment)
    base = trained(*small)
    runs = [RunDirectory(base.path.with_name(f"writer{number}")) for number in range(WRITERS)]
    for run in runs:
        shutil.copytree(base.path, run.path)
        write_atomically(run.metrics, "")
        write_atomically(run.samples, "")
    end = FORKED.Event()
    card = {"fingerprint": "f" * 64, "counts": {}}
    writers = [
        FORKED.Process(target=write, args=(run, [*overrides, f"seed={number}"], card, end))
        for number, run in enumerate(runs)
    ]
    ranked = [*overrides, "trainer.devices=2", "trainer.steps=1000000", "trainer.record_every=5", "seed=8"]
    both = RunDirectory(directory_of(composed(*ranked)))
    log = server / "log"
    try:
        until("serving", lambda: (server / "address").exists() or serving.poll() is not None, log)
        served = [psutil.Process(serving.pid), *psutil.Process(serving.pid).children(recursive=True)]
        assert len(served) > 2 and not any(postgres.uri in " ".join(one.cmdline()) for one in served)  # for all to see
        training = subprocess.Popen([sys.executable, "-m", "pipeline.train", *ranked], cwd=ROOT, env=environment)
        for writer in writers:
            writer.start()
        until("all at work", lambda: all(read_lines(run.metrics)[2:] for run in (both, *runs)), log)
        postgres.control("restart")  # as if killed
        [leader] = [child.pid for child in psutil.Process(serving.pid).children() if child.name() != "sh"]
        os.kill(leader, signal.SIGKILL)
        until("serving again", lambda: log.read_text().count("serves at ") == 2, log)
        reached = len(read_lines(both.metrics))
        end.set()
        until("further", lambda: len(read_lines(both.metrics)) > reached + 2, log)
        training.terminate()
        training.wait()
        for writer in writers:
            writer.join()
        assert [writer.exitcode for writer in writers] == [0] * WRITERS and both.facts["status"] == "stopped"
        client = MlflowClient((server / "address").read_text().strip())
        found = client.search_runs([client.get_experiment_by_name("single").experiment_id])
        by_seed = {int(run.data.params["seed"]): run.info for run in found}
        assert len(found) == len(by_seed) == WRITERS + 1
        for number, run in enumerate([*runs, both]):
            assert by_seed[number].run_id == run.facts["mlflow_run_id"]
            assert by_seed[number].status == ("FINISHED" if run is not both else "KILLED")
            history = client.get_metric_history(by_seed[number].run_id, "loss/train")
            records = [(record["step"], record["train"]) for record in read_lines(run.metrics)]
            assert sorted((metric.step, metric.value) for metric in history) == records
    finally:
        serving.terminate()
        serving.wait()
