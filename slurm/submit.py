"""Submits one run to SLURM, on as many nodes and devices as it wants. (A sweep: lab train -m ... hydra/launcher=slurm.)

The resources of each device are those of conf/hydra/launcher/slurm.yaml, or of hydra/launcher=<your cluster's file>.

Examples:
  lab submit model=lstm data=linux scale=workstation
  lab submit model=lstm data=linux scale=paper trainer.nodes=2 trainer.devices=4
  lab submit model=gru trainer.devices=2 hydra.launcher.time=120
  lab submit model=gru fresh=true
"""

import sys

from omegaconf import DictConfig

from pipeline.command.verb import verb
from pipeline.train import ASKED as TRAIN

ASKED = (*TRAIN, "trainer.nodes", "trainer.devices", "trainer.accelerator")


def submit(cfg: DictConfig) -> None:
    """Puts the composed run into SLURM's queue and returns.
    Refusal: it is nonsense, there already, or not wanted by SLURM."""
    from hydra.core.hydra_config import HydraConfig

    from pipeline.command.refusal import Refusal
    from pipeline.runs import scheduler
    from pipeline.runs.code import starts_over
    from pipeline.runs.directory import RunDirectory
    from slurm import queue

    run = queue.trainable(cfg)
    kept, places = queue.folder(cfg), queue.queued() or {}
    there = [job for job in queue.submitted(kept) if job.run == run and job.id in places]
    if there:
        raise Refusal(f"{run} is in SLURM's queue already: job {there[0].id}, {places[there[0].id].state}")
    if not starts_over(cfg.fresh, RunDirectory(run).legible_facts) and queue.ended(run):
        raise Refusal(f"{run} has ended already: fresh=true starts it over")
    warning = scheduler.refuse_shared_sqlite(cfg.tracking.uri)
    if warning:
        print(warning)
    training = queue.Training(tuple(HydraConfig.get().overrides.task))
    [job] = queue.submit(HydraConfig.get().launcher, kept, {run: training}, cfg.trainer.devices, cfg.trainer.nodes)
    print(f"{run}: job {job.id}, log {job.log}")


def main() -> None:
    if not any(word.startswith("hydra/launcher=") for word in sys.argv[1:]):
        sys.argv.append("hydra/launcher=slurm")
    verb(submit, ASKED)()


if __name__ == "__main__":
    main()
