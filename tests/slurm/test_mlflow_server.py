"""One server for each folder, which comes back and leaves nothing behind; here it serves one word instead of MLflow."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from pipeline.command import controller
from pipeline.command.controller import Unanswered
from slurm import mlflow_server
from tests.conftest import ROOT
from tests.slurm.test_slurm import processes

# Like MLflow's, a command that starts what serves, and is not told when that is left alone.
SERVES = """
import http.server, subprocess, sys
if len(sys.argv) == 2:
    sys.exit(subprocess.run([sys.executable, *sys.argv, "alone"]).returncode)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
MAIN = """
import os, sys
from slurm import mlflow_server as module
module.GRACE, module.HEALTH, module.SILENT, module.ANSWER, module.LOOK = 1.0, 0.2, 1.0, 0.5, 0.05
command = lambda host, port: [sys.executable, "serves.py", str(port)]
module.prepared = lambda folder, local: module.Server(folder, "127.0.0.1", command, dict(os.environ), None)
module.main()
"""


class Folder:
    """A project with its server's folder, and the servers started there."""

    def __init__(self, path: Path):
        self.path, self.mark = path, f"MARK={path}"
        self.address, self.log = path / "mlflow-server" / "address", path / "mlflow-server" / "log"
        (path / "serves.py").write_text(SERVES)

    def start(self, *command: str, **environment: str) -> subprocess.Popen:
        environment |= {"PYTHONPATH": f"{ROOT}", "MLFLOW_LOCAL": f"{self.path}/local", "MARK": f"{self.path}"}
        return subprocess.Popen(
            command or [sys.executable, "-c", MAIN],
            cwd=self.path,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def processes(self) -> set[int]:
        return set(processes(self.mark))

    def until(self, holds) -> None:
        end = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < end, self.log.read_text() if self.log.exists() else "no log"
            time.sleep(0.02)

    def serves(self) -> bool:
        try:
            return urllib.request.urlopen(f"{self.address.read_text().strip()}/health", timeout=5).status == 200
        except OSError:
            return False


@pytest.fixture
def folder(tmp_path):
    folder = Folder(tmp_path)
    yield folder
    for number in folder.processes():
        os.kill(number, signal.SIGKILL)


def test_a_second_server_is_refused_and_takes_nothing_away(folder):
    first = folder.start()
    folder.until(folder.serves)
    address = folder.address.read_text()
    said, _ = (second := folder.start()).communicate()
    assert second.returncode == 1 and re.fullmatch(
        rf"error: {folder.address.parent} has a server already, process {first.pid} on \S+ for less than a minute: "
        r"use that one, or end it first\n",
        said,
    )
    assert folder.serves() and folder.address.read_text() == address
    first.terminate()
    assert first.wait() == 0 and not folder.processes()
    assert {file.name for file in folder.address.parent.iterdir()} == {"addresses", "artifacts", "log"}
    assert {file.stat().st_mode & 0o077 for file in (folder.address.parent, folder.log)} == {0}


def test_the_address_of_another_server_is_left_alone(folder):
    server = folder.start()
    folder.until(folder.serves)
    folder.address.write_text("http://n7:4711\n")
    server.terminate()
    assert server.wait() == 0 and folder.address.read_text() == "http://n7:4711\n"


def test_a_server_that_is_killed_or_hangs_comes_back_at_its_address_without_orphans(folder):
    server = folder.start()

    def group(starts: int) -> list[int]:
        folder.until(lambda: folder.log.exists() and folder.log.read_text().count("serves at ") == starts)
        return sorted(folder.processes() - {server.pid} - watchdogs(folder))

    (leader, serving), address = group(1), folder.address.read_text()
    os.kill(leader, signal.SIGKILL)  # the other goes on by itself, and holds the port
    started = group(2)
    assert folder.serves() and not {leader, serving} & folder.processes() and len(started) == 2
    os.kill(started[1], signal.SIGSTOP)
    group(3)
    assert (folder.address.parent / "addresses").read_text() == address
    assert folder.serves() and not set(started) & folder.processes() and folder.address.read_text() == address
    assert re.findall(r"the server has (.*):", folder.log.read_text()) == [
        "ended (exit code -9)",
        "not answered for 1 seconds",
    ]


def watchdogs(folder: Folder) -> set[int]:
    return {one for one in folder.processes() if Path(f"/proc/{one}/comm").read_text() == "sh\n"}


def test_what_a_killed_job_has_started_ends_and_the_next_one_begins_at_once(folder):
    server = folder.start()
    folder.until(folder.serves)
    address, left = folder.address.read_text(), folder.processes() - {server.pid}
    server.kill()
    server.wait()
    successor = folder.start()
    folder.until(lambda: not left & folder.processes() and folder.serves())
    assert folder.address.read_text() == address
    assert json.loads((folder.address.parent / "lock").read_text())["process"] == successor.pid


def test_the_job_starts_again_what_is_killed_and_ends_when_it_is_asked(folder):
    stub = folder.path / "bin" / "python"
    stub.parent.mkdir()
    stub.write_text(f'#!/bin/sh\nexec {sys.executable} -c "$MAIN"\n')
    stub.chmod(0o755)
    script = f"{ROOT}/slurm/mlflow_server.sbatch"
    job = folder.start("bash", script, PATH=f"{stub.parent}:{os.environ['PATH']}", MAIN=MAIN)

    def served_by() -> int:
        try:
            return json.loads((folder.address.parent / "lock").read_text())["process"] if folder.serves() else 0
        except OSError:
            return 0

    folder.until(served_by)
    first = served_by()
    os.kill(first, signal.SIGKILL)
    folder.until(lambda: folder.log.read_text().count("serves at ") == 2 and served_by())
    assert served_by() != first and job.poll() is None
    job.terminate()
    assert job.wait() == 0 and not folder.processes() and not folder.address.exists()


def test_a_server_that_never_comes_up_is_given_up(folder):
    (folder.path / "serves.py").write_text("raise SystemExit('no')")
    server = folder.start()
    said = "the server has not come up at http://127.0.0.1:"
    folder.until(lambda: folder.log.exists() and folder.log.read_text().count(said) == 2)  # it tries again
    assert server.poll() is None
    server.terminate()
    assert server.wait() == 0
    assert not folder.address.exists() and not folder.processes()


def test_a_folder_that_is_not_ones_own_is_refused(folder):
    (folder.path / "elsewhere").mkdir()
    folder.address.parent.symlink_to(folder.path / "elsewhere")
    said, _ = (server := folder.start()).communicate()
    assert server.returncode == 1
    assert re.fullmatch(
        r"error: \S+/mlflow-server is not a folder of \S+: name another one \(MLFLOW_FOLDER, .*\n", said
    )


@pytest.mark.parametrize("times, said", [(2, ""), (3, "error: job 7 is not back in the queue: SLURM does not")])
def test_a_server_at_its_time_limit_asks_again_until_it_is_put_back(tmp_path, monkeypatch, capsys, times, said):
    (tmp_path / "scontrol").write_text(
        f'#!/bin/sh\ncd {tmp_path}; echo "$*" >>asked; [ $(wc -l <asked) -gt {times} ]\n'
    )
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(controller, "PAUSE", 0)
    mlflow_server.requeue("7")
    assert (tmp_path / "asked").read_text() == "requeue 7\n" * 3 and said in capsys.readouterr().out
    assert said or not capsys.readouterr().out


def test_a_server_that_slurm_does_not_tell_where_it_is_says_so(tmp_path, monkeypatch):
    (tmp_path / "sinfo").write_text("#!/bin/sh\necho Unable to contact slurm controller >&2; exit 1\n")
    (tmp_path / "sinfo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    monkeypatch.setattr(controller, "PAUSE", 0)
    with pytest.raises(
        Unanswered, match=r"^SLURM does not answer \(sinfo: Unable to contact .*\): start this server again"
    ):
        mlflow_server._host()
