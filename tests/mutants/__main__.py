"""Changes files of the pipeline a little, one change at a time, and lists the changes that their tests do not notice.

python -m tests.mutants FILE_OR_FOLDER ... [--by TEST ...]

By default the tests of pipeline/room/file.py are tests/room/test_file.py and those that import it by name, of a file
without either those of the room. mutmut works in a copy; the working tree stays as it is.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cases.checkout import ROOT, copy_files

SETTINGS = """\
[mutmut]
source_paths = pipeline
only_mutate =
    {only}
pytest_add_cli_args_test_selection =
    {tests}
pytest_add_cli_args =
    -n0
    -p
    no:cacheprovider
also_copy =
    conf
    docs
    hydra_plugins
    slurm
    README.md
# Each mutant is a child of a process that has imported torch and the tests, and run none of them.
process_isolation = forkserver
timeout_constant = 30
timeout_multiplier = 5
track_dependencies = false
debug = true
"""


def main() -> None:
    read = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n\n")[0])
    read.add_argument("of", nargs="+", help="files or folders of pipeline/")
    read.add_argument("--by", nargs="+", default=[], help="tests that are to notice")
    read.add_argument("--at-once", type=int, default=2, help="mutants that are tried at a time")
    asked = read.parse_args()
    files = [file for one in asked.of for file in files_in(one)]
    tests = asked.by or sorted({test for file in files for test in tests_of(file)})
    print(f"{len(files)} files, by {', '.join(tests)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        copy_files(Path(folder), left_out=("benchmarks/",))
        settings = SETTINGS.format(only="\n    ".join(files), tests="\n    ".join(tests))
        Path(folder, "setup.cfg").write_text(settings)
        mutmut(folder, "run", "--max-children", str(asked.at_once))
        listed = mutmut(folder, "results").splitlines()
        alive = [line.split(":")[0].strip() for line in listed if not line.endswith(": killed")]
        for name in alive:
            print(mutmut(folder, "show", name))
    print(f"{len(alive)} changes unnoticed")


def files_in(one: str) -> list[str]:
    """The files of Python, relative to the checkout, that a file or folder stands for."""
    path = (ROOT / one).resolve()
    found = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    if not found or not all(file.is_file() for file in found):
        sys.exit(f"error: {one}: take a file or a folder of pipeline/")
    return [file.relative_to(ROOT).as_posix() for file in found if file.name != "__init__.py"]


def tests_of(file: str) -> list[str]:
    """The tests that are to notice changes of pipeline/room/file.py."""
    path = Path(file)
    room = Path("tests", *path.parent.parts[1:])
    module = ".".join(path.with_suffix("").parts)
    own = ROOT / room / f"test_{path.name}"
    importing = [test for test in ROOT.glob("tests/*/test_*.py") if f"from {module} import" in test.read_text()]
    return sorted({test.relative_to(ROOT).as_posix() for test in [own, *importing] if test.exists()}) or [str(room)]


def mutmut(folder: str, *words: str) -> str:
    """What `mutmut WORDS` prints. It ends this process where it fails."""
    command = [sys.executable, "-m", "mutmut", *words]
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{done.stdout[-5000:]}\nerror: mutmut {words[0]} has failed, see above")
    return done.stdout


main()
