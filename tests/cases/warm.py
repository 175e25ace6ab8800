"""Runs `python -m MODULE WORDS` without waiting for imports: `python warm.py SOCKET`.

Has imported what the project imports of others, nothing of the project, and forks for each command that client.py asks
for, until its standard input ends. The child takes the client's folder, environment and streams, and imports the
project from that folder. Whatever starts processes of its own starts real ones.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys

PRELOADED = (
    "hydra._internal.core_plugins.basic_launcher",
    "hydra._internal.core_plugins.basic_sweeper",
    "hydra.main",
    "hydra.utils",
    "jinja2",
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "mlflow.pyfunc",
    "numpy",
    "psutil",
    "pytorch_lightning",
    "requests",
    "scipy.linalg",
    "torch",
    "torch._dynamo",
    "tqdm",
)


def serve(path: str) -> list[str]:
    """Forks for each command; returns in the children alone, with the command's module and words."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    waiting: dict[int, socket.socket] = {}  # a child's process -> its client
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as selector:
        listening.bind(path)
        listening.listen(64)
        selector.register(listening, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)  # ends with whoever started this process
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    os._exit(0)
                if key.fileobj is listening:
                    client, _ = listening.accept()
                    asked, streams = receive(client)
                    process = os.fork()
                    if not process:
                        signal.set_wakeup_fd(-1)
                        become(asked, streams)
                        return asked["words"]
                    for stream in streams:
                        os.close(stream)
                    waiting[process] = client
                    selector.register(client, selectors.EVENT_READ, process)
                elif key.fileobj is woken:
                    woken.recv(4096)
                    for process, code in ended():
                        client = waiting.pop(process)
                        selector.unregister(client)
                        with contextlib.suppress(BrokenPipeError), client:
                            client.sendall(struct.pack("i", code))
                elif key.data in waiting:  # its client is gone
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(key.data, signal.SIGKILL)


def receive(client: socket.socket) -> tuple[dict, list[int]]:
    """What client.py sends: {"words", "folder", "environment"} and the three standard streams."""
    head, streams, *_ = socket.recv_fds(client, 4, 3)
    with client.makefile("rb") as file:
        return json.loads(file.read(struct.unpack("i", head)[0])), streams


def become(asked: dict, streams: list[int]) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # Anew, as Python opens them: the old ones remember what kind of file they had.
    sys.stdin = sys.__stdin__ = open(0)
    sys.stdout = sys.__stdout__ = open(1, "w", errors=sys.stdout.errors)
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace")
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.path[0] = asked["folder"]


def ended():
    """The children that have ended since, with their exit codes as a shell has them."""
    with contextlib.suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            code = os.waitstatus_to_exitcode(status)
            yield process, code if code >= 0 else 128 - code


code = 1  # of the child's end


def leave() -> None:
    """Ends the child at once: taking thousands of modules down one by one takes as long as the rest."""
    try:
        sys.stdout.flush()
        os._exit(code)
    except OSError:
        os._exit(120)  # as Python does


if __name__ == "__main__":
    atexit.register(leave)  # the first that is registered is the last that is called
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()
    module, *sys.argv[1:] = serve(sys.argv[1])
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
