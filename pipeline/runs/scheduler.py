"""The SLURM job that this process is a part of: what it must look like, and how it goes on after an interruption."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from pipeline.command.controller import Unanswered, ask
from pipeline.command.refusal import Refusal

JOB = os.environ.get("SLURM_JOB_ID")
RESTARTS = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
# What srun started together has the same name; None for a process that srun did not start.
STEP = f"{JOB}.{RESTARTS}.{os.environ['SLURM_STEP_ID']}" if "SLURM_STEP_NUM_TASKS" in os.environ else None
# Ranks beyond the first are started by Lightning or by srun with one of these above 0.
RANK = next((int(os.environ[name]) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if os.environ.get(name)), 0)
# File systems, as the kernel calls them.
NETWORK_FILE_SYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "panfs",
    "orangefs",
    "wekafs",
    "afs",
    "9p",
    "fuse.glusterfs",
    "fuse.sshfs",
}
WAIT = 600  # seconds for which the ranks wait for one another


def refuse_mismatch(cfg: DictConfig) -> None:
    """Refusal: the tasks that srun started are not the devices x nodes that the run is to train on,
    or srun was left out, or there is no SLURM."""
    devices, nodes = cfg.trainer.devices, cfg.trainer.nodes
    if STEP is not None:
        tasks, on = os.environ["SLURM_STEP_TASKS_PER_NODE"], os.environ["SLURM_STEP_NUM_NODES"]
        if tasks != (f"{devices}" if nodes == 1 else f"{devices}(x{nodes})"):
            raise Refusal(
                f"srun started {tasks} tasks a node on {on} nodes, but trainer.devices={devices} and "
                f"trainer.nodes={nodes}: ask for --nodes={nodes} --ntasks-per-node={devices}, "
                "or change trainer.devices and trainer.nodes"
            )
    elif JOB is not None and devices * nodes > 1:
        raise Refusal(
            f"trainer.devices={devices} x trainer.nodes={nodes} in SLURM job {JOB} without srun: sbatch "
            "slurm/train.sbatch starts a task a device"
        )
    elif nodes > 1:
        raise Refusal(
            f"trainer.nodes={nodes}: SLURM starts what runs on several nodes: say the same to python -m slurm.submit"
        )


def refuse_missing_gpus(cfg: DictConfig) -> None:
    """Refusal: this node shows fewer GPUs than the run is to train on here."""
    import torch

    settings, found = cfg.trainer, torch.cuda.device_count()
    given = JOB is not None and (os.environ.get("SLURM_JOB_GPUS") or os.environ.get("SLURM_GPUS_ON_NODE"))
    wanted = settings.accelerator in ("gpu", "cuda") or settings.accelerator == "auto" and (found or given)
    if wanted and found < settings.devices:
        shown = (
            f" (CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']})"
            if "CUDA_VISIBLE_DEVICES" in os.environ
            else ""
        )
        raise Refusal(
            f"trainer.devices={settings.devices} with trainer.accelerator={settings.accelerator}, but this node shows "
            f"{found} GPUs{shown}: ask SLURM for --gpus-per-node={settings.devices} (--gpus-per-task hides the "
            "others), or take trainer.accelerator=cpu"
        )


def refuse_shared_sqlite(uri: str | None) -> str | None:
    """For a run in a SLURM job. Refusal: its tracking is an sqlite file on a network file system,
    which several nodes would break.

    Elsewhere such a file works on this machine alone; returns a line that says so, None where all is well.
    """
    if uri is None or not uri.startswith("sqlite:///"):
        return None
    mend = (
        "start a server (sbatch slurm/mlflow_server.sbatch) and set MLFLOW_TRACKING_URI=mlflow-server/address, or take "
        "tracking.uri=null"
    )
    kind = _file_system(Path(uri.removeprefix("sqlite:///")).absolute())
    if kind in NETWORK_FILE_SYSTEMS:
        raise Refusal(
            f"tracking.uri={uri} is a file on {kind}, and jobs on several nodes break such a database: {mend}"
        )
    return f"warning: tracking.uri={uri} is a file on one machine's own disk; where jobs run on other nodes too, {mend}"


def _file_system(path: Path) -> str:
    """The kind of file system that `path` lies on or would lie on, as the kernel calls it: of mounts at one place the
    last one hides the others."""
    path, kinds = path.resolve(), {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        where = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), where)  # blanks in names
        if path.is_relative_to(where):
            kinds[where] = kind
    return kinds[max(kinds, key=len)]


def plugins() -> list:
    """How Lightning learns of the other ranks: from srun; or, in a job without srun, not at all."""
    from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment

    if STEP is None:
        return [] if JOB is None else [LightningEnvironment()]
    # Lightning wants this; `srun --ntasks` leaves it out.
    os.environ["SLURM_NTASKS_PER_NODE"] = os.environ["SLURM_STEP_TASKS_PER_NODE"].split("(")[0]
    return [SLURMEnvironment(auto_requeue=False)]


def began_before_requeue(facts: dict) -> bool:
    """Whether the run that run.json describes was begun by this very job, before SLURM put it back into the queue."""
    return RESTARTS > 0 and facts.get("job") == JOB


def announce(run: Path) -> None:
    """Tells slurm/job.sh which run this job trains, for when it gives up."""
    if "JOB_RUN" in os.environ:
        Path(os.environ["JOB_RUN"]).write_text(str(run.absolute()))


def saved() -> None:
    """The run has a new checkpoint: how often slurm/job.sh has seen it killed counts no more."""
    if "JOB_KILLS" in os.environ:
        Path(os.environ["JOB_KILLS"]).unlink(missing_ok=True)


def wait_for_first_rank(facts: Callable[[], dict]) -> None:
    """Returns when the run's facts say that the first rank of this step has settled where training starts."""
    if STEP is None:  # this process was started by the first rank, after that
        return
    end = time.monotonic() + WAIT
    while facts().get("srun") != STEP:
        if time.monotonic() > end:
            raise Refusal(f"rank {RANK}: the first rank has not begun within {WAIT} seconds: see its log")
        time.sleep(0.2)


def watch() -> None:
    """From here on SIGTERM ends this process in order, and a job that SLURM preempts with some grace goes back into the
    queue; while it trains, the Recorder takes this signal and SIGUSR1, and saves first.

    Until then, and after training, another SIGTERM exits as if it had killed, and SIGUSR1 kills, which slurm/job.sh
    counts: a time limit that leaves no time to begin does so every time.
    """
    if JOB is not None:
        signal.signal(signal.SIGTERM, _interrupted)


def _interrupted(number: int, frame) -> None:
    # srun sends the same signal when another rank has failed, which must not put the job back: slurm/job.sh tells.
    if RANK == 0 and re.search(r"PreemptTime=\d", _scontrol("show", "job", JOB) or "") and requeue(number):
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def requeue(number: int) -> bool:
    """Puts this job back into the queue after signal `number`, unless a person has stopped it;
    whether it will go on there.

    SIGUSR1 comes before the time limit. SIGTERM comes at a preemption, with some grace or when SLURM has put the job
    back already, and when the job is cancelled.
    """
    if JOB is None or number in (signal.SIGINT, signal.SIGHUP):
        return False
    # The job's processes are ended from here on; what is left to do is short.
    for each in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    if number == signal.SIGTERM:
        state = _scontrol("show", "job", JOB) or ""
        restarts = re.search(r"Restarts=(\d+)", state)
        if restarts and int(restarts[1]) > RESTARTS:
            return True
        if "JobState=RUNNING" not in state:
            return False
    return _scontrol("requeue", JOB) is not None


def _scontrol(*words: str) -> str | None:
    """What scontrol prints; None when it cannot do it, and says so."""
    try:
        return ask("scontrol", *words, mend="submit this job again unless squeue lists it")
    except Unanswered as reason:
        print(reason, flush=True)
        return None
