"""Trains one run, or with -m a study's:
`python -m pipeline.train model=lstm data=shakespeare optimizer=rmsprop seed=0`.

A run that exists goes on from its last checkpoint; one that has finished is not run again (fresh=true starts it over).
"""

import math

from omegaconf import DictConfig

from pipeline.command.refusal import Refusal
from pipeline.command.verb import in_sweep, verb


def train(cfg: DictConfig) -> float:
    """Trains the composed run and returns its best validation loss; infinity for a run of a sweep that diverges."""
    refuse_nonsense(cfg)
    from pipeline.datasets.data import load_data
    from pipeline.runs import scheduler
    from pipeline.runs.directory import RunDirectory
    from pipeline.runs.identity import identify

    scheduler.watch()
    scheduler.refuse_mismatch(cfg)
    data = load_data(cfg.data, cfg.paths.local)
    identity = identify(cfg, data)
    run = RunDirectory(identity.directory)
    cfg.fresh = cfg.fresh and not scheduler.began(run.facts)
    if run.finished and not cfg.fresh:
        print(
            f"{run.path}  has finished already: validation {run.facts['validation']:{data.space.digits}} "
            f"{data.space.unit} (fresh=true starts it over)",
            flush=True,
        )
        return run.facts["validation"]

    if run.facts.get("status") == "diverged" and not cfg.fresh:
        return _diverged(f"{run.path} has diverged already: {run.facts['reason']} (fresh=true starts it over)")

    from pipeline.runs.recorder import Diverged
    from pipeline.runs.session import run_session

    try:
        return run_session(cfg, data, identity, run)
    except Diverged as reason:
        return _diverged(str(reason))


def _diverged(message: str) -> float:
    """A run by itself ends with the message as an error. In a sweep it is a result like others:
    no loss, and the sweep goes on."""
    if not in_sweep():
        raise Refusal(message)
    print(f"diverged: {message}", flush=True)
    return math.inf


def refuse_nonsense(cfg: DictConfig) -> None:
    """Refusal: a value that no run can have, or a sweep where one run is asked for."""
    from hydra.core.hydra_config import HydraConfig

    if HydraConfig.initialized():
        sweep = in_sweep()
        if "question" in cfg.study and not sweep:
            raise Refusal(
                f"study={cfg.study.name} is a sweep of several runs: "
                f"add -m (python -m pipeline.train -m study={cfg.study.name})"
            )
        if sweep and cfg.trainer.devices * cfg.trainer.nodes > 1:
            raise Refusal(
                f"trainer.devices={cfg.trainer.devices} x nodes={cfg.trainer.nodes} in a multirun: one process group "
                "trains one configuration; leave out -m, or sweep with devices=1"
            )
    from pipeline.models.build import refuse_other_rules

    refuse_other_rules(cfg)
    if not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise Refusal(f"seed={cfg.seed}: take a whole number from 0")
    for key in ("batch", "length", "steps", "validate_every", "record_every", "checkpoint_every", "threads"):
        left_to_data = cfg.trainer[key] is None and "passes" in cfg.optimizer
        if not left_to_data and (not isinstance(cfg.trainer[key], int) or cfg.trainer[key] < 1):
            raise Refusal(f"trainer.{key}={cfg.trainer[key]}: take a whole number from 1")
    if not isinstance(cfg.optimizer.get("passes", 1), int) or cfg.optimizer.get("passes", 1) < 1:
        raise Refusal(f"optimizer.passes={cfg.optimizer.passes}: take a whole number from 1")
    if cfg.trainer.seconds is not None and cfg.optimizer.get("rule") in ("ridge", "count"):
        raise Refusal(
            f"trainer.seconds={cfg.trainer.seconds}: "
            f"optimizer={cfg.optimizer.name} has nothing before its one pass is over: leave it out"
        )
    for key in ("layers", "hidden", "taps"):
        if key in cfg.model and (not isinstance(cfg.model[key], int) or cfg.model[key] < 1):
            raise Refusal(f"model.{key}={cfg.model[key]}: take a whole number from 1")


main = verb(train)

if __name__ == "__main__":
    main()
