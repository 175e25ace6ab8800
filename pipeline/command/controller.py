"""Questions to SLURM's controller, which may be away or busy for a moment; its commands say that in many ways."""

import subprocess
import time

from pipeline.command.refusal import Refusal

TRIES = 3
PAUSE = 3.0  # seconds between two of them
PATIENCE = 30.0  # seconds for each answer


class Unanswered(Refusal):
    """SLURM does not say what it was asked, which is not to say that nothing is there, or that nothing was done."""


def ask(*words: str, mend: str = "ask again in a while") -> str:
    """What a command of SLURM prints, one that may be given twice: where it fails it is given again. Raises Unanswered,
    with what is to be done then (`mend`), if it fails each time or is not installed here."""
    for number in range(TRIES):
        if number:
            time.sleep(PAUSE)
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
        except FileNotFoundError:
            why = "there is no such program here"
            break
        except OSError as error:
            why = f"{error.strerror}"
            continue
        except subprocess.TimeoutExpired:
            why = f"no answer within {PATIENCE:g} seconds"
            continue
        if done.returncode == 0:
            return done.stdout
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    named = [word for word in words if not word.startswith("-")]
    raise Unanswered(f"SLURM does not answer ({' '.join(named[:4])}: {why}): {mend}")
