"""A real SLURM of two nodes on this machine, one for all tests that ask for it; without SLURM's programs these are
skipped."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, prepared_text, words

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


class Cluster:
    """The cluster, and the project as its users call it."""

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

    def python(self, module: str, *arguments: str, code: int = 0) -> str:
        return self.run(sys.executable, "-m", module, *arguments, code=code)

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
def project(cluster, tmp_path):
    """Overrides of a run of seconds on a prepared text, in a folder of the test's own;
    the queue is empty before and after."""
    cluster.until_empty()
    yield [*prepared_text(tmp_path, words(4000)), "scale=smoke", "tracking.uri=null", "trainer.accelerator=cpu"]
    cluster.run("scancel", "--user", str(os.getuid()))
    cluster.until_empty()
