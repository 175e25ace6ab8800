"""Runs as jobs: putting them into SLURM's queue, and knowing which job is which run.

What was submitted is kept in <runs>/.slurm/<study>/: a file a submission with the run of each of its jobs,
and their logs.
"""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.files.whole import read_json, write_json
from pipeline.runs.directory import RunDirectory

# Lines of a log that say nothing of the run.
NOISE = ("submitit INFO", "srun: launch/slurm", "Error executing job with overrides")


@dataclass(frozen=True)
class Job:
    """A run in SLURM: `id` is 12, or 12_3 in an array."""

    id: str
    run: Path
    folder: Path

    def tail(self, lines: int = 8) -> list[str]:
        """The last lines of its log, of a task that says what went wrong if one does."""
        texts = [file.read_text(errors="replace") for file in sorted(self.folder.glob(f"{self.id}_*_log.out"))]
        told = [text for text in texts if "Traceback" in text or "error: " in text] or texts
        return [line for line in told[0].splitlines() if not line.startswith(NOISE)][-lines:] if told else []

    @property
    def log(self) -> Path:
        """Of its first task."""
        return self.folder / f"{self.id}_0_log.out"


@dataclass(frozen=True)
class Training:
    """What a job does: `python -m pipeline.train ARGUMENTS`."""

    arguments: tuple[str, ...]

    def __call__(self) -> None:
        from pipeline.train import main

        sys.argv = ["pipeline.train", *self.arguments]
        main()


def trainable(cfg: DictConfig) -> Path:
    """Where the composed run will be. Refusal: it is one that no job could train, which this finds out here and now."""
    from pipeline.command.verb import refuse_study
    from pipeline.datasets.data import load_data
    from pipeline.runs.identity import identify
    from pipeline.runs.settling import build, settle

    refuse_study(cfg)
    data = load_data(cfg.data)
    settled = settle(cfg, data)
    build(settled.model, data)
    return identify(settled, data).directory


def folder(cfg: DictConfig) -> Path:
    """Where the jobs of the composed run's study are kept."""
    return (Path(cfg.paths.runs) / ".slurm" / cfg.study.name).absolute()


def submit(
    profile: DictConfig, folder: Path, runs: dict[Path, Training], devices: int = 1, nodes: int = 1
) -> list[Job]:
    """One job for each run, in one array, with the resources of the `profile`
    (conf/hydra/launcher/slurm.yaml) for each device.

    Refusal: they make no sense, or SLURM does not want the job.
    """
    import submitit

    if profile.notice >= 60 * profile.time:
        raise Refusal(
            f"hydra.launcher.notice={profile.notice} seconds before the limit of "
            f"hydra.launcher.time={profile.time} minutes leave no time to train"
        )
    cpus = profile.cpus + profile.gpus * profile.gpu_cpus
    executor = submitit.SlurmExecutor(folder)
    executor.update_parameters(
        job_name=folder.name,
        time=profile.time,
        nodes=nodes,
        ntasks_per_node=devices,
        cpus_per_task=cpus,
        mem=f"{round(1024 * (profile.memory + profile.gpus * profile.gpu_memory) * devices)}M",
        gpus_per_node=profile.gpus * devices or None,
        partition=profile.partition,
        account=profile.account,
        qos=profile.qos,
        constraint=profile.constraint,
        array_parallelism=profile.at_once,
        stderr_to_stdout=True,
        setup=[f"export RESTARTS={profile.restarts}", *profile.setup, f". {Path(__file__).with_name('job.sh')}"],
        srun_args=["--kill-on-bad-exit=1", f"--cpus-per-task={cpus}"],
        additional_parameters={
            "signal": f"USR1@{profile.notice}",
            "requeue": True,
            **OmegaConf.to_container(profile.more),
        },
    )
    try:
        with contextlib.redirect_stderr(io.StringIO()), executor.batch():  # sbatch's complaint is in the error as well
            submitted = [executor.submit(training) for training in runs.values()]
        ids = [job.job_id for job in submitted]
    except submitit.core.utils.FailedJobError as error:
        reason = str(error).replace("sbatch: error: ", "").strip().splitlines()
        raise Refusal(
            f"SLURM refuses the job: {' '.join(line.strip() for line in reason)[-300:]}: see "
            "conf/hydra/launcher/slurm.yaml"
        ) from error
    jobs = [Job(id, run, folder) for id, run in zip(ids, runs, strict=True)]
    write_json(folder / f"{ids[0].split('_')[0]}.json", {job.id: str(job.run) for job in jobs})
    return jobs


def submitted(folder: Path) -> list[Job]:
    """All jobs that the folder knows of, the newest last. Refusal: a file of the folder is damaged."""
    files = sorted((file for file in folder.glob("*.json") if file.stem.isdecimal()), key=lambda file: int(file.stem))
    mend = "move it away, and look for its jobs with squeue"
    kept = [read_json(file, mend, dict[str, str]) for file in files]
    return [Job(id, Path(run), folder) for jobs in kept for id, run in jobs.items()]


@dataclass(frozen=True)
class Place:
    """Of a job in the queue: SLURM's words for its state, why it waits, where it runs and for how long."""

    state: str
    reason: str
    nodes: str
    time: str


def queued() -> dict[str, Place] | None:
    """The user's jobs in the queue by their ids; None when SLURM does not answer. Refusal: there is no SLURM here."""
    if shutil.which("squeue") is None:
        raise Refusal(
            "there is no SLURM on this machine (no squeue): "
            "submit where there is one, or take hydra/launcher=local_pool"
        )
    done = subprocess.run(
        ["squeue", "--user", str(os.getuid()), "--array", "--noheader", "--format=%i|%T|%r|%N|%M"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return None
    rows = [line.split("|") for line in done.stdout.splitlines()]
    return {id: Place(*place) for id, *place in rows}


def outcome(run: Path) -> float | None:
    """The best validation loss of a run that has ended, infinity if it diverged; None for one that has not ended."""
    facts = RunDirectory(run).facts
    return {"finished": facts.get("validation"), "diverged": float("inf")}.get(facts.get("status"))


def ended(run: Path) -> bool:
    """Whether nothing is left to do for a run: it has ended, and MLflow has been told where it should be."""
    return outcome(run) is not None and not RunDirectory(run).facts.get("mlflow_waits")
