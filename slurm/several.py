"""Trains several runs one after another, for a job that holds a group of them: what takes seconds to import is imported
once.

Each argument is the words of `python -m pipeline.train` of one run. A run that fails does not keep the others from
being trained; one that is killed, or put back into the queue, ends the job there.
"""

import os
import shlex
import signal
import sys

GOES_ON = (0, 1)  # exit codes after which the next one is trained


def several(runs: list[str]) -> int:
    """Trains them, each in a process of its own; returns the exit code."""
    import pipeline.runs.session  # noqa: F401 (what each of them needs)

    child = 0

    def pass_on(number: int, frame) -> None:
        if child:
            os.kill(child, number)

    # To each process of the job: this one waits for the end of the run that hears it too.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, pass_on)
    worst = 0
    for number, words in enumerate(runs, start=1):
        print(f"== run {number} of {len(runs)}", flush=True)
        child = os.fork()
        if child == 0:
            _train(shlex.split(words))
        _, status = os.waitpid(child, 0)
        child, code = 0, os.waitstatus_to_exitcode(status)
        if code not in GOES_ON:
            return 128 - code if code < 0 else code
        worst = max(worst, code)
    return worst


def _train(words: list[str]) -> None:
    """In a child: what `python -m pipeline.train WORDS` does, up to the end of the process."""
    from pipeline.train import main

    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
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
    sys.exit(several(sys.argv[1:]))
