"""MLflow's server as a job of the cluster, one for each folder MLFLOW_FOLDER: slurm/mlflow_server.sbatch runs it.

It says where it is in the folder's file `address`, and where it has been in `addresses`; starts again within seconds
what crashes or hangs; and keeps its database as slurm.mlflow_database does. Without SLURM it serves this machine alone.
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from pipeline.command.controller import Unanswered, ask
from pipeline.command.refusal import Refusal
from pipeline.files.lock import Held, Lock
from pipeline.files.whole import write_atomically
from slurm.mlflow_database import Database

USER = pwd.getpwuid(os.getuid()).pw_name
LOOK = 0.5  # seconds between two looks at the server
HEALTH = 5.0  # seconds between two questions whether it answers
SILENT = 60.0  # seconds without an answer, from a server that runs, after which it is started again
STARTS = 120.0  # seconds that a start may take
TRIES = 6  # starts in a row that come to nothing, after which it gives up
ANSWER = 5.0  # seconds for one answer
GRACE = 5.0  # seconds for a server to end by itself
# MLflow's variable for its database, whose password all users of the node would see among a command's words
STORE = "MLFLOW_BACKEND_STORE_URI"
UPGRADE = f"import os, mlflow.db; mlflow.db.commands(['upgrade', os.environ['{STORE}']])"


class StopSignal:
    """Whether a signal has asked this process to end, and which did first."""

    def __init__(self) -> None:
        self.number: int | None = None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame) -> None:
        self.number = self.number or number

    def sleep(self, seconds: float) -> None:
        """Unless it is asked meanwhile."""
        end = time.monotonic() + seconds
        while self.number is None and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, LOOK))


class ProcessGroup:
    """A command and all that it starts: they end with `end`, or with this process, however that ends."""

    def __init__(self, command: list[str], environment: dict[str, str]):
        self.process = subprocess.Popen(command, env=environment, start_new_session=True)
        kill = 'trap "" TERM; read -r _; kill -s TERM -- "-$1"; sleep "$2"; kill -s KILL -- "-$1"'
        self.watchdog = subprocess.Popen(
            ["sh", "-c", kill, "watchdog", str(self.process.pid), str(GRACE)],
            stdin=subprocess.PIPE,  # closed when this process is gone
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def runs(self) -> bool:
        return self.process.poll() is None

    def end(self) -> None:
        self.watchdog.kill()
        self.watchdog.wait()
        self.watchdog.stdin.close()
        for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
            end = time.monotonic() + patience
            try:
                os.killpg(self.process.pid, number)
                while time.monotonic() < end:
                    self.process.poll()
                    os.killpg(self.process.pid, 0)
                    time.sleep(0.05)
            except ProcessLookupError:  # all have ended
                break
        self.process.wait()


class Server:
    """What serves at `address`, kept alive.

    command  makes the server's command line from its host and port
    """

    def __init__(
        self,
        folder: Path,
        host: str,
        command: Callable[[str, int], list[str]],
        environment: dict[str, str],
        database: Database | None,
    ):
        self.folder, self.host, self.command, self.environment = folder, host, command, environment
        self.database = database
        self.file = folder / "address"
        self.group: ProcessGroup | None = None
        self.address: str | None = None

    def serve(self, stop: StopSignal) -> None:
        """Until a signal asks it to stop. Raises Refusal where the server does not come up."""
        failed = 0
        while stop.number is None:
            if self._start(stop):
                failed = 0
                self._watch(stop)
            elif stop.number is None:
                failed += 1
                if failed == TRIES:
                    raise Refusal(f"MLflow's server has not come up {failed} times in a row: see above")
            self.group.end()
            stop.sleep(min(2**failed - 1, 30))

    def _start(self, stop: StopSignal) -> bool:
        """Whether the server has come up."""
        port = _port(self.folder, patience=2 * GRACE)
        where = f"http://{self.host}:{port}"
        self.group = ProcessGroup(self.command(self.host, port), self.environment)
        end = time.monotonic() + STARTS
        while stop.number is None and self.group.runs() and time.monotonic() < end:
            if _answers(where):
                self.address, had = where, self.folder / "addresses"
                write_atomically(self.file, f"{where}\n")
                before = had.read_text().split() if had.exists() else []
                if where not in before:
                    write_atomically(had, "".join(f"{each}\n" for each in [*before, where]))
                say(f"serves at {where}")
                return True
            stop.sleep(LOOK)
        say(f"the server has not come up at {where}")
        return False

    def _watch(self, stop: StopSignal) -> None:
        """Returns when the server must be started again, or a signal asks it to stop."""
        heard = looked = time.monotonic()
        while stop.number is None:
            if not self.group.runs():
                say(f"the server has ended (exit code {self.group.process.returncode}): it is started again")
                return
            if time.monotonic() - looked >= HEALTH:
                looked = time.monotonic()
                if _answers(self.address):
                    heard = time.monotonic()
                elif time.monotonic() - heard > SILENT:
                    say(f"the server has not answered for {SILENT:.0f} seconds: it is started again")
                    return
            if self.database is not None:
                self.database.keep()
            stop.sleep(LOOK)

    def end(self) -> None:
        """Ends the server, takes its address away, unless that is another's by now, and keeps its database."""
        with contextlib.suppress(OSError):
            if self.address is not None and self.file.read_text() == f"{self.address}\n":
                self.file.unlink()
        if self.group is not None:
            self.group.end()
        if self.database is not None:
            self.database.keep(at_once=True)
            self.database.close()


def say(line: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}", flush=True)


def own(folder: Path) -> Path:
    """Makes the folder, for this user alone. Refusal: it is another's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            raise Refusal(f"{folder} is not a folder of {USER}: name another one (MLFLOW_FOLDER, MLFLOW_LOCAL)")
        folder.chmod(0o700)
    except OSError as error:
        raise Refusal(f"{folder}: {error.strerror}: name another folder (MLFLOW_FOLDER, MLFLOW_LOCAL)") from None
    return folder


def _port(folder: Path, patience: float) -> int:
    """The port that this folder's server always has, so that who knows its address need not look again; another one
    if that is not free before `patience` is over: what had it may be ending."""
    usual = 20000 + int(hashlib.sha256(f"{USER}{folder}".encode()).hexdigest(), 16) % 10000
    end = time.monotonic() + patience
    while True:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("", usual if time.monotonic() < end else 0))
                return trial.getsockname()[1]
            except OSError:
                if time.monotonic() > end:
                    raise Refusal(
                        f"no port is free on {socket.gethostname()}: start this server again on another node"
                    ) from None
        time.sleep(LOOK)


def _answers(address: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{address}/health", timeout=ANSWER) as answer:
            return answer.status == 200
    except OSError:
        return False


def _host() -> str:
    """The address by which the other nodes reach this one; that of this node alone where there are no others.
    Unanswered: SLURM does not say."""
    if "SLURMD_NODENAME" not in os.environ:
        return "127.0.0.1"
    mend = "start this server again in a while"
    if len(set(ask("sinfo", "--noheader", "--Node", "--format=%N", mend=mend).split())) == 1:
        return "127.0.0.1"
    node = ask("scontrol", "show", "node", os.environ["SLURMD_NODENAME"], mend=mend)
    return dict(word.partition("=")[::2] for word in node.split())["NodeAddr"]


def _asking(folder: Path, local: Path, environment: dict[str, str]) -> list[str]:
    """Options by which the server asks for the user's name and the password in the folder, drawn where there is none,
    if what that needs (mlflow[auth]) is installed."""
    if importlib.util.find_spec("flask_wtf") is None:
        return []
    file, users = folder / "password", local / "users.db"
    if not file.exists() or not file.read_text().strip():
        write_atomically(file, f"{secrets.token_urlsafe()}\n")
    users.unlink(missing_ok=True)  # made again, with that password
    settings = {
        "database_uri": f"sqlite:///{users}",
        "default_permission": "NO_PERMISSIONS",
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    lines = [f"{name} = {value}\n" for name, value in settings.items()]
    write_atomically(local / "users.ini", "".join(["[mlflow]\n", *lines]))
    password = file.read_text().strip()
    environment |= {
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": password,
        "MLFLOW_AUTH_CONFIG_PATH": str(local / "users.ini"),
    }
    return ["--app-name", "basic-auth"]


def requeue(job: str) -> None:
    """Puts this job back into SLURM's queue; says so where that cannot be."""
    mend = "start this server again (sbatch slurm/mlflow_server.sbatch)"
    try:
        ask("scontrol", "requeue", job, mend=mend)
    except Unanswered as reason:
        say(f"error: job {job} is not back in the queue: {reason}")


def prepared(folder: Path, local: Path) -> Server:
    """MLflow's server, its database brought up to date. Refusal: that cannot be."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

    def upgrade(store: str) -> None:
        if subprocess.run([sys.executable, "-c", UPGRADE], env=environment | {STORE: store}).returncode:
            raise Refusal(f"MLflow cannot bring {store.partition('@')[2] or store} up to date: see above")

    store, database = os.environ.get("MLFLOW_DATABASE"), None
    if store:
        upgrade(store)
    else:
        database = Database(local / "mlflow.db", folder / "mlflow.db", say)
        try:
            database.begin()
            with database.replaced() as part:
                upgrade(f"sqlite:///{part}")
        except (OSError, sqlite3.Error) as error:
            raise Refusal(f"{database.shared}: {error}: mend it, or move it away to begin with an empty one") from None
        store = f"sqlite:///{database.local}"
    environment[STORE] = store
    asks = _asking(folder, local, environment)
    workers = os.environ.get("SLURM_CPUS_PER_TASK", "2")

    def command(host: str, port: int) -> list[str]:
        listens = host if host == "localhost" or host.startswith("127.") else "0.0.0.0"
        names = ",".join(f"{name}:{port}" for name in dict.fromkeys((host, "localhost", "127.0.0.1")))
        where = ["--host", listens, "--port", str(port), "--allowed-hosts", names, "--workers", workers]
        kept = ["--artifacts-destination", str(folder / "artifacts")]
        return [sys.executable, "-m", "mlflow", "server", *asks, *where, *kept]

    return Server(folder, _host(), command, environment, database)


def main() -> None:
    os.umask(0o077)
    stop, server = StopSignal(), None
    try:
        folder = own(Path(os.environ.get("MLFLOW_FOLDER") or "mlflow-server").absolute())
        name = f"mlflow-server-{USER}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]}"
        local = own(Path(os.environ.get("MLFLOW_LOCAL") or "/tmp").absolute() / name)
        own(folder / "artifacts")
        lock = Lock(folder / "lock")
        try:
            lock.acquire()
        except Held as owner:
            raise Refusal(f"{folder} has a server already, {owner}: use that one, or end it first") from None
    except Refusal as refusal:
        sys.exit(f"error: {refusal}")
    print(f"MLflow's server says in {folder}/log what it does", flush=True)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        server = prepared(folder, local)
        server.serve(stop)
    except Refusal as refusal:
        say(f"error: {refusal}")
    finally:
        if server is not None:
            server.end()
        lock.release()
    if stop.number == signal.SIGUSR1:  # before the time limit
        requeue(os.environ["SLURM_JOB_ID"])
    sys.exit(stop.number is None)


if __name__ == "__main__":
    main()
