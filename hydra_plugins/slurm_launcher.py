"""hydra/launcher=slurm: the runs of a sweep as the jobs of SLURM arrays."""

import math
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from pipeline.command.setting import Count, Minutes, NotNegative, Positive, Whole
from pipeline.command.space import is_search

if TYPE_CHECKING:
    from slurm.queue import Job, Submission


class One(NamedTuple):
    """A run of the sweep: its directory, the words that train it, its configuration."""

    run: Path
    words: tuple[str, ...]
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
        time: Minutes,
        notice: Count,
        memory: Positive,
        cpus: Count,
        gpus: Whole,
        gpu_memory: NotNegative,
        gpu_cpus: Whole,
        restarts: Whole,
        group: Count,
        where: dict,
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
        from pipeline.runs import scheduler
        from slurm import queue

        asked = self._asked(job_overrides)
        kept = queue.folder(asked[0].cfg)
        if asked[0].cfg.dry_run:
            for submission in self._submissions(asked, []):
                print(queue.would_submit(submission, kept), flush=True)
            return _returned(job_overrides, asked, [math.inf] * len(asked))
        warning = scheduler.refuse_shared_sqlite(asked[0].cfg.tracking.uri)
        if warning:
            print(warning, flush=True)
        entries, before = queue.queued(), queue.submitted(kept)
        left = [one for one in asked if _starts_over(one) or not queue.ended(one.run)]
        wanted = {one.run for one in left}
        waiting = [job for job in before if job.id in entries]
        jobs = {job.run: job for job in waiting if job.run in wanted and not job.withdrawn}
        missing = [one for one in left if one.run not in jobs]
        jobs |= {job.run: job for job in queue.submit(self._submissions(missing, before), kept, waiting)}
        print(
            f"{len(asked)} runs: {len(asked) - len(left)} ended before, {len(left) - len(missing)} in SLURM's queue "
            f"already, {len(missing)} submitted; logs in {kept}",
            flush=True,
        )
        if self.profile.wait:
            words = self._words(asked[0].cfg)
            try:
                failed = _wait(jobs)
            except KeyboardInterrupt:
                print(
                    f"the jobs go on; the same command waits for them again, lab cancel {words} ends them",
                    flush=True,
                )
                raise
            for job in failed:
                if job.cancelled:
                    print(f"cancelled: {job.run.name} (job {job.id})", flush=True)
                    continue
                end = "".join(f"    {line}\n" for line in job.why())
                print(f"failed: {job.run.name} (job {job.id}), {job.log}:\n{end}", flush=True)
            if failed:
                cancelled = " or were cancelled" * any(job.cancelled for job in failed)
                raise Refusal(
                    f"{len(failed)} of {len(asked)} runs failed{cancelled}, see above or lab status {words}; "
                    "the same command takes them up again"
                )
        return _returned(job_overrides, asked, [queue.outcome(one.run) for one in asked])

    def _words(self, cfg: DictConfig) -> str:
        """What names the runs for status and cancel: of a search all that was submitted for it."""
        if is_search(self.config.hydra):
            return f"{'study' if 'question' in cfg.study else 'study.name'}={cfg.study.name}"
        return f"-m {shlex.join(HydraConfig.get().overrides.task)}"

    def _asked(self, job_overrides: Sequence[Sequence[str]]) -> list[One]:
        """The sweep's runs. Refusal: one that no job could train."""
        from pipeline.command.composition import compose_jobs
        from pipeline.command.otherwise import places
        from pipeline.command.terminal import meanwhile
        from slurm.queue import trainable

        HydraConfig.instance().set_config(self.config)
        more = places(HydraConfig.get())
        jobs, asked = [[*more, *overrides] for overrides in job_overrides], []
        for number, (words, cfg) in enumerate(zip(jobs, compose_jobs(jobs), strict=True), start=1):
            with meanwhile(f"composing {number} of {len(jobs)} ..."):
                kept = [word for word in words if not word.startswith("dry_run=")]
                asked.append(One(trainable(cfg), ("-m", *kept, "hydra/launcher=basic"), cfg))
        return asked

    def _submissions(self, runs: Sequence[One], before: Sequence["Job"]) -> list["Submission"]:
        """The runs by the resources that they want: those of `where`, and more where a job of `before` had too
        little."""
        from slurm import queue
        from slurm.script import resources

        last = {job.run: job for job in before}
        found: dict[str, queue.Submission] = {}
        for one in runs:
            profile = queue.enough(resources(self.profile, one.cfg), last.get(one.run))
            devices, nodes = one.cfg.trainer.devices, one.cfg.trainer.nodes
            key = f"{OmegaConf.to_yaml(profile)} {devices} {nodes}"
            found.setdefault(key, queue.Submission(profile, devices, nodes, {})).runs[one.run] = one.words
        return list(found.values())


def _returned(job_overrides: Sequence[Sequence[str]], asked: Sequence[One], losses: list) -> list[JobReturn]:
    return [
        JobReturn(overrides=overrides, cfg=one.cfg, status=JobStatus.COMPLETED, _return_value=loss)
        for overrides, one, loss in zip(job_overrides, asked, losses, strict=True)
    ]


def _starts_over(one: One) -> bool:
    from pipeline.runs.code import starts_over
    from pipeline.runs.directory import RunDirectory

    return starts_over(one.cfg.fresh, RunDirectory(one.run).legible_facts)


def _wait(jobs: dict[Path, "Job"]) -> list["Job"]:
    """Waits until no job is in the queue any more, saying what changes; returns those whose run has not ended."""
    from pipeline.command.controller import Unanswered
    from slurm.queue import outcome, queued

    waiting, failed, said, pause = dict(jobs), [], None, 1.0
    while waiting:
        time.sleep(pause)
        pause = min(15.0, 1.2 * pause)
        try:
            entries = queued()
        except Unanswered:  # the controller is away for a while
            continue
        for run, job in list(waiting.items()):
            if job.id in entries:
                continue
            del waiting[run]
            if outcome(run) is None:
                failed.append(job)
        there = [entries[job.id] for job in waiting.values()]
        pending = [entry for entry in there if entry.state == "PENDING"]
        reasons = ", ".join(name for name, _ in Counter(entry.reason for entry in pending).most_common(2))
        suspended = sum(entry.state == "SUSPENDED" for entry in there)
        finished = len(jobs) - len(waiting) - len(failed)
        line = f"{len(pending)} wait{f' ({reasons})' * bool(reasons)}, {len(there) - len(pending) - suspended} run, "
        line += f"{suspended} suspended, " * bool(suspended) + f"{finished} finished, {len(failed)} failed"
        if line != said:
            print(line, flush=True)
            said, pause = line, 1.0
    return failed
