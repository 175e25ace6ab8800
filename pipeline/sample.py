"""What a trained run writes, as it comes: text, answers to questions, a forecast.

lab sample [run=NAME] [prompt=TEXT] [length=500] [temperature=0.7] [seed=0] [runs=runs]

run          a run's directory, or a part of its name that only one run has; default: the run trained last
prompt       of a text: read first and printed; symbols that the run's vocabulary lacks are read as unknown, with a
             warning, as are bytes that are no UTF-8; empty: the text starts as after a line break; of any length
length       symbols to write, or steps to forecast, from 0
temperature  0: always the most likely symbol; below 1: safer than the model's own distribution; 1: as it is; above:
             wilder
seed         of the random numbers: the same seed writes the same text
runs         folder with the studies' runs, default runs

Examples:
  lab sample
  lab sample run=gallery/shakespeare prompt="The meaning of life is" length=500
  lab sample run=shakespeare-gru temperature=0 seed=1
  lab sample run=scenes prompt=picture.jpg
"""

import sys

from pipeline.command.arguments import verb_of_arguments
from pipeline.command.terminal import legible, meanwhile

DEFAULTS = {"run": "", "prompt": "", "length": 500, "temperature": 0.7, "seed": 0, "runs": "runs"}


def sample(run: str, prompt: str, length: int, temperature: float, seed: int, runs: str) -> None:
    """Writes what the run writes to standard output, piece by piece: text, answers to questions, a forecast."""
    from pipeline.runs.run import open_run

    opened, prompt = open_run(run, runs), legible(prompt)
    pieces = opened.write(prompt, length, temperature, seed)
    with meanwhile("loading ..."):
        warning = opened.data.check_prompt(prompt)
        _ = opened.network
    if not run:
        print(f"{opened.directory.path}, the run trained last:", file=sys.stderr)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    sys.stdout.write(prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


main = verb_of_arguments(sample, __doc__, DEFAULTS)

if __name__ == "__main__":
    main()
