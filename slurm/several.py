"""Trains several runs one after another, for a job that holds a group of them: what takes seconds to import is imported
once.

Each argument is the words of `python -m pipeline.train` of one run. A run that fails does not keep the others from
being trained, nor does one that is withdrawn, which saves and ends within seconds; one that is killed, or put back into
the queue, ends the job there.
"""

import os
import select
import shlex
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from slurm import withdrawn

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
GOES_ON = (0, 1)  # exit codes after which the next one is trained
LOOK = 2.0  # seconds between two looks at what is withdrawn


def several(runs: list[str], ended: Callable[[], Collection[int]]) -> int:
    """Trains them, each in a process of its own; returns the exit code.

    ended  says the places of those that are withdrawn
    """
    import pipeline.runs.session  # noqa: F401 (what each of them needs)

    child, heard = 0, []

    def hear(number: int, frame) -> None:
        """This process waits for the end of the run, which hears SIGUSR1 too."""
        heard.append(number)
        if child and number == signal.SIGTERM:
            with suppress(ProcessLookupError):
                os.kill(child, number)

    for number in SIGNALS:
        signal.signal(number, hear)
    worst = 0
    for place, words in enumerate(runs):
        print(f"== run {place + 1} of {len(runs)}", flush=True)
        if place in ended():
            print("cancelled before it began", flush=True)
            continue
        if heard:  # after the run before had ended: as if killed by it, and slurm/job.sh puts the job back
            return 128 + heard[0]
        held, holds = os.pipe()  # closed at the other end when the child is gone
        child = os.fork()
        if child == 0:
            _train(shlex.split(words), heard)
        os.close(holds)
        if signal.SIGTERM in heard:  # before this process knew the child
            os.kill(child, signal.SIGTERM)
        told = False
        while not (exited := os.waitpid(child, os.WNOHANG))[0]:
            select.select([held], [], [], LOOK)
            if not told and place in ended():
                os.kill(child, signal.SIGINT)  # as a person does: it saves, and does not put the job back
                told = True
        os.close(held)
        child, code = 0, os.waitstatus_to_exitcode(exited[1])
        if code in GOES_ON:
            worst = max(worst, code)
        elif place not in ended():
            return 128 - code if code < 0 else code
    return worst


def _train(words: list[str], heard: Sequence[int]) -> None:
    """In a child: what `python -m pipeline.train WORDS` does, up to the end of the process, which a signal that it has
    `heard` before brings at once."""
    from pipeline.train import main

    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    if heard:
        os.kill(os.getpid(), heard[0])
    sys.argv[1:] = words
    code = 0
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(several(sys.argv[1:], withdrawn.of_this_job))
