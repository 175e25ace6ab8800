"""The laboratory from Python: trains a run as `lab train` does, opens it as `lab sample` does, and asks it.

    from pipeline.api import open_run, train

    run = train("model=lstm", "data=shakespeare", "seed=1")
    run.losses().plot(y=["train", "validation"])
    run.probabilities("To be")
    print(run.sample("To be"))

Arguments are the words of a command line, and so are the checks, the names of runs and where things lie: below the
current folder. What exists is not made again.
"""

from pipeline.command.composition import composed
from pipeline.command.refusal import Refusal
from pipeline.runs.run import Run, open_run

__all__ = ["Refusal", "Run", "open_run", "prepare", "train"]


def prepare(*overrides: str) -> None:
    """Fetches and prepares a corpus, as `prepare("data=linux")`: `lab fetch`, then `lab prepare`. Data that are made on
    the spot need none of it. Raises Refusal where no source has it."""
    from pipeline.fetch import fetch
    from pipeline.prepare import prepare

    with composed(*overrides) as cfg:
        fetch(cfg)
        prepare(cfg)


def train(*overrides: str) -> Run:
    """The run that the overrides describe, as `train("model=lstm", "model.hidden=64", "seed=1")`, trained to its end in
    this process, as by `lab train`; one that has finished is not trained again, one that was interrupted goes on.

    Several runs: `[train("model=lstm", f"seed={seed}") for seed in range(3)]`. Raises Refusal for a setting that cannot
    be, or a run that diverges; KeyboardInterrupt when it is interrupted, after it has saved where it is.
    """
    from pipeline.train import train

    with composed(*overrides) as cfg:
        if cfg.trainer.devices * cfg.trainer.nodes > 1:
            raise Refusal(
                f"trainer.devices={cfg.trainer.devices} x nodes={cfg.trainer.nodes}: one process trains a run from "
                "Python: take 1, or `lab train`"
            )
        train(cfg)
        return Run.of(cfg)
