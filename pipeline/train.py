"""Trains one run, or with -m a study's: `python -m pipeline.train model=lstm data=shakespeare optimizer=rmsprop
seed=0`.

A run that exists goes on from its last checkpoint; one that has finished is not run again (fresh=true starts it over).
"""

import math

from omegaconf import DictConfig

from pipeline.command.refusal import Refusal
from pipeline.command.terminal import meanwhile
from pipeline.command.verb import end_if_interrupted, in_sweep, verb


def train(cfg: DictConfig) -> float:
    """Trains the composed run and returns its best validation loss; infinity for a run of a sweep that diverges."""
    refuse_study(cfg)
    with meanwhile("loading ..."):
        from pipeline.runs.session import Diverged, train_run

    end_if_interrupted()
    try:
        return train_run(cfg)
    except Diverged as reason:  # by itself the run ends with it as an error; in a sweep it is a result like others
        if not in_sweep():
            raise Refusal(str(reason)) from None
        print(f"diverged: {reason}", flush=True)
        return math.inf


def refuse_study(cfg: DictConfig) -> None:
    """Refusal: a study where one run is asked for."""
    if "question" in cfg.study and not in_sweep():
        raise Refusal(
            f"study={cfg.study.name} is a sweep of several runs: "
            f"add -m (python -m pipeline.train -m study={cfg.study.name})"
        )


main = verb(train, sweeps=True)

if __name__ == "__main__":
    main()
