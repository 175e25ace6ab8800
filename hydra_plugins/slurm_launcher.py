"""hydra/launcher=slurm: the runs of a sweep as the jobs of one SLURM array."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from pipeline.command.setting import Count, NotNegative, Positive, Whole

if TYPE_CHECKING:
    from slurm.queue import Job, Training


class Asked(NamedTuple):
    """A run of the sweep: its directory, what its job does, its configuration."""

    run: Path
    training: "Training"
    cfg: DictConfig


class SlurmLauncher(Launcher):
    """Submits the runs that have not ended and that no job has in the queue already, and waits for all of them.

    So a sweep that is asked for again, after an interruption or by `dvc repro`, takes up the jobs that it left behind.
    Its arguments are those of conf/hydra/launcher/slurm.yaml.
    """

    def __init__(
        self,
        partition: str | None,
        account: str | None,
        qos: str | None,
        constraint: str | None,
        at_once: Count,
        time: Count,
        notice: Count,
        memory: Positive,
        cpus: Count,
        gpus: Whole,
        gpu_memory: NotNegative,
        gpu_cpus: Whole,
        restarts: Whole,
        setup: list[str],
        more: dict,
        wait: bool,
    ):
        self.profile = OmegaConf.create({name: value for name, value in locals().items() if name != "self"})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """The runs' best validation losses. Refusal: nonsense, before anything is submitted;
        or, in the end, that some runs failed."""
        from pipeline.command.refusal import Refusal
        from pipeline.runs.code import starts_over
        from pipeline.runs.directory import RunDirectory
        from slurm.queue import ended, folder, outcome, queued, submit, submitted

        asked = self._asked(job_overrides, initial_job_idx)
        runs = {one.run: one.training for one in asked}
        kept = folder(asked[0].cfg)
        places = queued() or {}
        left = {
            one.run: one.training
            for one in asked
            if starts_over(one.cfg.fresh, RunDirectory(one.run).legible_facts) or not ended(one.run)
        }
        jobs = {job.run: job for job in submitted(kept) if job.id in places and job.run in left}
        missing = {run: training for run, training in left.items() if run not in jobs}
        if missing:
            jobs |= {job.run: job for job in submit(self.profile, kept, missing)}
        print(
            f"{len(runs)} runs: {len(runs) - len(left)} ended before, {len(left) - len(missing)} in SLURM's queue "
            f"already, {len(missing)} submitted; logs in {kept}",
            flush=True,
        )
        if self.profile.wait:
            try:
                failed = _wait(jobs)
            except KeyboardInterrupt:
                print(
                    "the jobs go on; the same command waits for them again, "
                    f"python -m slurm.cancel study={kept.name} ends them",
                    flush=True,
                )
                raise
            for job in failed:
                end = "".join(f"    {line}\n" for line in job.tail())
                print(f"failed: {job.run.name} (job {job.id}), the end of {job.log}:\n{end}", flush=True)
            if failed:
                raise Refusal(
                    f"{len(failed)} of {len(runs)} runs failed, see above or python -m slurm.status "
                    f"study={kept.name}; the same command takes them up again"
                )
        return [
            JobReturn(overrides=overrides, cfg=one.cfg, status=JobStatus.COMPLETED, _return_value=outcome(one.run))
            for overrides, one in zip(job_overrides, asked, strict=True)
        ]

    def _asked(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Asked]:
        """The sweep's runs. Refusal: one that no job could train."""
        from pipeline.runs import scheduler
        from slurm.queue import Training, trainable

        asked = []
        for number, overrides in enumerate(job_overrides):
            whole = self.context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(whole):
                whole.hydra.job.num = first + number
            HydraConfig.instance().set_config(whole)
            cfg = OmegaConf.masked_copy(whole, [key for key in whole if key != "hydra"])
            asked.append(Asked(trainable(cfg), Training(("-m", *overrides, "hydra/launcher=basic")), cfg))
        warning = scheduler.refuse_shared_sqlite(asked[0].cfg.tracking.uri)
        if warning:
            print(warning, flush=True)
        return asked


def _wait(jobs: dict[Path, "Job"]) -> list["Job"]:
    """Waits until no job is in the queue any more, saying what changes; returns those whose run has not ended."""
    from slurm.queue import outcome, queued

    waiting, failed, said, pause = dict(jobs), [], None, 1.0
    while waiting:
        time.sleep(pause)
        pause = min(15.0, 1.2 * pause)
        places = queued()
        if places is None:  # the controller is away for a while
            continue
        for run, job in list(waiting.items()):
            if job.id in places:
                continue
            del waiting[run]
            if outcome(run) is None:
                failed.append(job)
        states = Counter("wait" if places[job.id].state == "PENDING" else "run" for job in waiting.values())
        finished = len(jobs) - len(waiting) - len(failed)
        line = f"{states['wait']} wait, {states['run']} run, {finished} finished, {len(failed)} failed"
        if line != said:
            print(line, flush=True)
            said, pause = line, 1.0
    return failed
