"""Trains one run, or with -m every run of a sweep or of a study.

Ctrl-C saves and stops. A run that exists goes on from its last checkpoint; one that has finished is not run again
(fresh=true starts it over).

Examples:
  lab train model=lstm data=shakespeare seed=0
  lab train data=adding model=rnn model.hidden=64 optimizer=adam trainer.steps=3000
  lab train -m model=rnn,lstm,gru optimizer=sgd,adam seed=0,1,2 hydra/launcher=local_pool
  lab train -m study=architectures scale=smoke
  lab train -m hydra/sweeper=optuna 'optimizer.lr=tag(log,interval(1e-4,1e-1))' study.name=mine
"""

import math

from omegaconf import DictConfig

from pipeline.command.refusal import Refusal
from pipeline.command.terminal import meanwhile
from pipeline.command.verb import end_if_interrupted, in_sweep, refuse_study, verb


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


ASKED = (
    "model",
    "data",
    "optimizer",
    "scale",
    "study",
    "seed",
    "model.hidden",
    "model.layers",
    "model.dropout",
    "optimizer.lr",
    "trainer.batch",
    "trainer.length",
    "trainer.steps",
    "fresh",
    "tracking.uri",
)
main = verb(train, ASKED, sweeps=True)

if __name__ == "__main__":
    main()
