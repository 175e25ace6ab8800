"""Submits one run to SLURM, on as many nodes and devices as it wants. (A sweep: lab train -m ... hydra/launcher=slurm.)

dry_run=true prints the job's script and what SLURM says of it, and submits nothing.

The resources of each device are those of conf/hydra/launcher/slurm.yaml, or of hydra/launcher=<your cluster's file>.

Examples:
  lab submit model=lstm data=linux scale=workstation
  lab submit model=lstm data=linux scale=paper trainer.nodes=2 trainer.devices=2
  lab submit model=gru trainer.devices=2 hydra.launcher.time=120
  lab submit model=gru fresh=true
  lab submit model=gru dry_run=true
"""

import sys
from dataclasses import replace

from omegaconf import DictConfig

from pipeline.command.otherwise import places
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
    from slurm.script import resources

    run = queue.trainable(cfg)
    launcher = HydraConfig.get()
    words = [*places(launcher), *(word for word in launcher.overrides.task if not word.startswith("dry_run="))]
    kept, profile = queue.folder(cfg), resources(launcher.launcher, cfg)
    submission = queue.Submission(profile, cfg.trainer.devices, cfg.trainer.nodes, {run: words})
    if cfg.dry_run:
        print(queue.would_submit(submission, kept))
        return
    there, before = queue.queued(), queue.submitted(kept)
    waiting = [job for job in before if job.id in there]
    for job in waiting:
        if job.run == run and not job.withdrawn:
            raise Refusal(
                f"{run} is in SLURM's queue already: job {job.id}, {there[job.id].state}: wait for it, or end it "
                "(lab cancel and the same words)"
            )
    if not starts_over(cfg.fresh, RunDirectory(run).legible_facts) and queue.ended(run):
        raise Refusal(f"{run} has ended already: fresh=true starts it over")
    warning = scheduler.refuse_shared_sqlite(cfg.tracking.uri)
    if warning:
        print(warning)
    last = next((job for job in reversed(before) if job.run == run), None)
    [job] = queue.submit([replace(submission, profile=queue.enough(profile, last))], kept, waiting)
    print(f"{run}: job {job.id}, log {job.log}, code {job.code}")


def main() -> None:
    if not any(word.startswith("hydra/launcher=") for word in sys.argv[1:]):
        sys.argv.append("hydra/launcher=slurm")
    verb(submit, ASKED)()


if __name__ == "__main__":
    main()
