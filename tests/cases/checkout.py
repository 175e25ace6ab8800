"""A small checkout in which cases are tried: the project's files, a prepared text, a finished run and a study."""

import compileall
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LEFT_OUT = ("benchmarks/", "docs/", "tests/")
LINE = "The king is not here, and thou, my lord, art but a fool to say so {}.\n"
STUDY = """\
# @package _global_
study:
  name: tiny
  question: Does it run?
  description: Two runs of seconds.
  published: null
hydra:
  sweeper:
    params:
      data: text
      model: rnn,lstm
      model.hidden: 4
"""
PREPARED = """
F data.path=SMALL.txt && P data.path=SMALL.txt && T model.hidden=16 model.layers=1 || exit
python -m pipeline.train -m study=tiny scale=smoke tracking.uri=null && E
"""
OUTSIDE = ("HYDRA_", "MLFLOW_", "PIPELINE_", "PYTHON", "SLURM_")  # an environment as if of a fresh login
LIMIT = 60.0  # seconds


@dataclass(frozen=True)
class Ended:
    """Of a command its exit code, None where it was stopped after LIMIT, and what it printed."""

    code: int | None
    out: str
    err: str


@dataclass(frozen=True)
class Checkout:
    """The checkout at `path`, whose commands are run by the warm process behind `socket`."""

    path: Path
    socket: Path

    def run(self, command: str) -> Ended:
        """A command in the words of words.sh, by bash in a copy of this checkout."""
        with tempfile.TemporaryDirectory(dir=self.path.parent, ignore_cleanup_errors=True) as folder:
            os.chmod(folder, 0o755)  # some cases are another user's
            copy = Path(folder, "checkout")
            subprocess.run(["cp", "-a", self.path, copy], check=True)
            try:
                return self._here(copy, command)
            finally:
                unmount_below(copy)

    def _here(self, folder: Path, command: str) -> Ended:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(OUTSIDE)} | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYTHON": sys.executable,
            "CASES": str(HERE),
            "WARM": str(self.socket),
            **self._places(folder),
        }
        bash = subprocess.Popen(
            ["bash", "-c", f". {HERE}/words.sh\n{command}"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = bash.communicate(timeout=LIMIT)
            code = bash.returncode
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(bash.pid, 9)
            (out, err), code = bash.communicate(), None
        return Ended(code, out.decode(errors="replace"), err.decode(errors="replace"))

    @staticmethod
    def _places(folder: Path) -> dict[str, str]:
        """$R, $RT and $D, once there are such."""
        runs = {study: sorted(folder.glob(f"runs/{study}/*/")) for study in ("single", "tiny")}
        prepared = sorted(folder.glob("data/prepared/text/*/"))
        found = {"R": runs["single"], "RT": runs["tiny"], "D": prepared}
        return {name: str(paths[0].relative_to(folder)) for name, paths in found.items() if paths}


@contextlib.contextmanager
def checkout() -> Iterator[Checkout]:
    """A checkout of the working tree as it is, and the warm process, until the end of the `with`."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        template = Checkout(Path(folder, "template"), Path(folder, "warm"))
        with warm(template.socket):
            copy_files(template.path)
            (template.path / "SMALL.txt").write_text("".join(LINE.format(number) for number in range(300)))
            (template.path / "conf" / "study" / "tiny.yaml").write_text(STUDY)
            compileall.compile_dir(template.path, quiet=2, workers=1)
            made = template._here(template.path, PREPARED)
            if made.code != 0:
                raise RuntimeError(f"the checkout cannot be prepared:\n{made.out}{made.err}")
            yield template


def copy_files(target: Path, left_out: tuple[str, ...] = LEFT_OUT) -> None:
    """The files that git knows or would take up, and what was compiled, to `target`."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    compiled = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("pipeline/*/*.so")]
    for name in [*filter(None, listed), *compiled]:
        if (ROOT / name).is_file() and not name.startswith(left_out):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (target / ".venv").symlink_to(ROOT / ".venv")


@contextlib.contextmanager
def warm(path: Path) -> Iterator[None]:
    """The process of warm.py behind the socket `path`."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "MPLBACKEND": "agg"}
    command = [sys.executable, HERE / "warm.py", path]
    with subprocess.Popen(command, env=environment, cwd=path.parent, stdin=subprocess.PIPE) as process:
        try:
            while not path.exists():
                if process.poll() is not None:
                    raise RuntimeError("the warm process has ended")
                time.sleep(0.05)
            yield
        finally:
            process.kill()


def unmount_below(folder: Path) -> None:
    """What a case that was stopped has left mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[1].startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", line.split()[1]], check=True)
