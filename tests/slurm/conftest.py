"""A real SLURM of two nodes on this machine, one for all tests that ask for it; without SLURM's programs these are
skipped."""

import importlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, exit_code, prepared_text, words

HERE = Path(__file__).parent
PROGRAMS = ("munged", "slurmctld", "slurmd")
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
MISSING = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents and "cluster" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("slurm"))  # one cluster, one test at a time
            if MISSING:
                item.add_marker(
                    pytest.mark.skip(reason=f"no {', '.join(MISSING)} here: make slurm installs Debian's SLURM")
                )


@pytest.fixture
def python(monkeypatch, capsys):
    """python(module, words...) does what `python -m MODULE` does, in this process; returns what it prints."""

    def python(module: str, *words: str, code: int = 0) -> str:
        capsys.readouterr()
        monkeypatch.chdir(ROOT)
        end = exit_code(importlib.import_module(module).main, [module, *words], monkeypatch)
        said = capsys.readouterr()
        said = said.out + said.err + f"{end}\n" * isinstance(end, str)
        assert (1 if isinstance(end, str) else end or 0) == code, said
        return said

    return python


class Cluster:
    """The cluster and its programs."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {**os.environ, "PATH": PATH}

    def script(self, word: str) -> str:
        return subprocess.run(
            [ROOT / "slurm" / "test_cluster.sh", word, self.folder], check=True, capture_output=True, text=True
        ).stdout

    def start(self, *words: str) -> subprocess.Popen:
        return subprocess.Popen(
            words, cwd=ROOT, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, *words: str, code: int = 0) -> str:
        """What the command prints; it must exit with `code`."""
        done = self.start(*words)
        printed, _ = done.communicate(timeout=300)
        assert done.returncode == code, printed
        return printed

    def until(self, what: str, holds, seconds: float = 180) -> None:
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                logs = "".join(f"\n== {log}\n{log.read_text()[-2000:]}" for log in self.folder.parent.rglob("*.out"))
                raise AssertionError(
                    f"after {seconds} seconds still not {what}; {self.run('scontrol', 'show', 'job')}{logs}"
                )
            time.sleep(0.1)

    def queue(self) -> dict[str, str]:
        """State of each job in the queue."""
        return dict(line.split() for line in self.run("squeue", "--array", "--noheader", "--format=%i %T").splitlines())

    def until_empty(self) -> None:
        self.until("an empty queue", lambda: not self.queue())


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("slurm") / "cluster")
    try:
        cluster.environment["SLURM_CONF"] = cluster.script("up").strip().removeprefix("export SLURM_CONF=")
        yield cluster
    finally:
        cluster.script("down")


@pytest.fixture
def project(cluster, tmp_path, monkeypatch):
    """Overrides of a run of seconds on a prepared text, in a folder of the test's own; the queue is empty before and
    after. Commands of this process are for the cluster."""
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, cluster.environment[name])
    cluster.until_empty()
    yield [*prepared_text(tmp_path, words(4000)), "scale=smoke", "tracking.uri=null", "trainer.accelerator=cpu"]
    cluster.run("scancel", "--user", str(os.getuid()))
    cluster.until_empty()
