"""The console command: `lab train ...` is `python -m pipeline.train ...`, `lab status` is `python -m slurm.status`."""

import os
import sys

from pipeline.completion import VERBS

USAGE = f"""\
Trains, compares and samples sequence models.

lab VERB [NAME=VALUE ...]

{chr(10).join(f"  {verb:12}{about}" for verb, (_, about) in VERBS.items())}

lab VERB --help shows what a verb does, with examples, and its settings.
`lab train` is `python -m pipeline.train`; `lab status` is `python -m slurm.status`."""


def main() -> None:
    verb, *words = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help", "help"):
        print(USAGE)
        return
    if verb not in VERBS:
        from pipeline.command.settings import nearest

        sys.exit(f"error: {verb}: there is no such verb: {nearest(verb, VERBS)}")
    # By a new program in this process, so that interruptions, and processes that it starts, are those of `python -m`.
    os.execv(sys.executable, [sys.executable, "-m", f"{VERBS[verb][0]}.{verb}", *words])


if __name__ == "__main__":
    main()
