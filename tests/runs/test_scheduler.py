"""What SLURM says of a process, made up; tests/slurm asks a real one."""

import os
import re
import signal
import subprocess

import pytest

from pipeline.command import controller
from pipeline.command.refusal import Refusal
from pipeline.runs import scheduler
from pipeline.runs.directory import RunDirectory
from pipeline.runs.recorder import Recorder
from pipeline.runs.settling import directory_of
from pipeline.runs.training import fit
from tests.conftest import ROOT, composed, trained


@pytest.fixture
def job(monkeypatch):
    """job(step variables...): this process is rank 0 of SLURM job 7, which has been requeued once."""
    monkeypatch.setattr(scheduler, "JOB", "7")
    monkeypatch.setattr(scheduler, "RESTARTS", 1)

    def step(tasks: str, nodes: str):
        monkeypatch.setattr(scheduler, "STEP", "7.1.0")
        monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", tasks)
        monkeypatch.setenv("SLURM_STEP_NUM_NODES", nodes)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    yield step
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "tasks, nodes, devices, on, fits",
    [
        ("1", "1", 1, 1, True),
        ("4", "1", 4, 1, True),
        ("4(x2)", "2", 4, 2, True),
        ("1(x2)", "2", 1, 2, True),
        ("2", "1", 1, 1, False),
        ("1", "1", 2, 1, False),
        ("4(x2)", "2", 8, 1, False),
        ("3,1", "2", 2, 2, False),
    ],
)
def test_tasks_must_be_devices_times_nodes(job, tasks, nodes, devices, on, fits):
    job(tasks, nodes)
    cfg = composed(f"trainer.devices={devices}", f"trainer.nodes={on}")
    if fits:
        scheduler.refuse_mismatch(cfg)
    else:
        with pytest.raises(
            Refusal,
            match=re.escape(f"srun started {tasks} tasks a node on {nodes} nodes, but trainer.devices={devices} and"),
        ):
            scheduler.refuse_mismatch(cfg)


def test_missing_gpus_are_named(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    for choice in ("gpu", "auto"):
        with pytest.raises(
            Refusal,
            match=r"^trainer\.devices=4 .* shows 1 GPUs \(CUDA_VISIBLE_DEVICES=3\): ask SLURM for --gpus-per-node=4",
        ):
            scheduler.refuse_missing_gpus(composed("trainer.devices=4", f"trainer.accelerator={choice}"))
    scheduler.refuse_missing_gpus(composed("trainer.devices=4", "trainer.accelerator=cpu"))
    scheduler.refuse_missing_gpus(composed())


def test_gpus_that_slurm_gave_but_torch_does_not_see_are_missing(job, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    scheduler.refuse_missing_gpus(composed("trainer.devices=2"))
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "2")
    with pytest.raises(Refusal, match="this node shows 0 GPUs"):
        scheduler.refuse_missing_gpus(composed("trainer.devices=2"))


def test_sqlite_is_refused_on_a_network_disk_and_warned_of_elsewhere(monkeypatch, tmp_path):
    assert scheduler.refuse_shared_sqlite(None) is scheduler.refuse_shared_sqlite("http://server:5000") is None
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert re.match(
        r"warning: .* is a file on one machine's own disk; .*mlflow_server\.sbatch", scheduler.refuse_shared_sqlite(uri)
    )
    monkeypatch.setattr(scheduler, "_file_system", lambda path: "nfs4")
    with pytest.raises(
        Refusal, match=r"is a file on nfs4, and jobs on several nodes break such a database: start a server"
    ):
        scheduler.refuse_shared_sqlite(uri)


def test_the_file_system_is_that_of_the_deepest_mount():
    assert scheduler._file_system(scheduler.Path("/proc/self/nothing")) == "proc"


# What `scontrol show job` says when SIGTERM comes, and whether the job will go on.
@pytest.mark.parametrize(
    "number, state, asks, goes_on",
    [
        (signal.SIGUSR1, "", True, True),
        (signal.SIGTERM, "JobState=RUNNING Restarts=1", True, True),  # some grace before a preemption
        (signal.SIGTERM, "JobState=COMPLETING Restarts=2", False, True),  # preempted: SLURM has put it back itself
        (signal.SIGTERM, "JobState=COMPLETING Restarts=1", False, False),  # cancelled
        (signal.SIGINT, "JobState=RUNNING Restarts=1", False, False),
    ],
)
def test_a_job_goes_on_unless_a_person_stopped_it(job, monkeypatch, number, state, asks, goes_on):
    asked = []

    def scontrol(*words):
        if words[0] == "requeue":
            asked.append(words[1])
            return ""
        return state

    monkeypatch.setattr(scheduler, "_scontrol", scontrol)
    assert scheduler.requeue(number) is goes_on
    assert asked == (["7"] if asks else [])


def test_a_job_that_slurm_does_not_take_back_has_stopped(job, monkeypatch):
    monkeypatch.setattr(scheduler, "_scontrol", lambda *words: None)
    assert scheduler.requeue(signal.SIGUSR1) is False


def test_outside_slurm_nothing_is_requeued():
    assert scheduler.requeue(signal.SIGTERM) is False


def test_a_job_that_goes_on_does_not_start_over_again(job):
    assert (
        scheduler.began_before_requeue({"job": "7"})
        and not scheduler.began_before_requeue({"job": "6"})
        and not scheduler.began_before_requeue({})
    )


# What bash's scontrol says, made up: the job runs; requeue notes that it was asked.
SCONTROL = """#!/bin/sh
case "$1 $2" in
    "show job") [ -s away ] && sed -i 1d away && exit 1; echo "JobState=${STATE:-RUNNING}" ;;
    "requeue 7") [ -s busy ] && sed -i 1d busy && exit 1; echo back >>requeued ;;
    *) echo n1 ;;
esac
"""


@pytest.fixture
def attempt(tmp_path, monkeypatch):
    """attempt(commands): what a job whose srun these stand for says around them; and how often it was put back so
    far."""
    (tmp_path / "scontrol").write_text(SCONTROL)
    (tmp_path / "scontrol").chmod(0o755)
    (tmp_path / "sleep").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "RESTARTS": "2", "PYTHON": "echo"}

    def attempt(commands: str, **more: str) -> tuple[str, int]:
        done = subprocess.run(
            ["bash", "-c", f". {ROOT}/slurm/job.sh; {commands}"],
            cwd=tmp_path,
            env=os.environ | slurm | more,
            capture_output=True,
            text=True,
        )
        requeued = tmp_path / "requeued"
        return done.stdout, len(requeued.read_text().split()) if requeued.exists() else 0

    return attempt


def test_only_kills_without_a_new_checkpoint_count(attempt, tmp_path, monkeypatch):
    for count, often in enumerate(("once", "2 times in a row"), start=1):
        said, back = attempt("exit 137")
        assert back == count and f"killed (exit code 137), {often} without a new checkpoint: back" in said
    for _ in range(20):  # time limits, preemptions, errors
        for end in ("exit 0", "exit 1", "exit 130"):
            assert attempt(end)[1] == 2
    assert attempt("exit 137", STATE="COMPLETING")[1] == 2  # preempted, cancelled: SLURM's own doing
    monkeypatch.setenv("JOB_KILLS", str(tmp_path / "7.kills"))
    scheduler.saved()
    assert [attempt("exit 134")[1], attempt("exit 139")[1]] == [3, 4]
    said, back = attempt('echo /runs/a >"$JOB_RUN"; exit 138')
    assert back == 4 and "3 times in a row without a new checkpoint: this job gives up" in said
    assert said.endswith("-m slurm.give_up /runs/a\n")


def test_sigterm_before_a_run_has_begun_counts_as_a_kill_unless_a_rank_has_failed(attempt, tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "== job 7, attempt 1, on n1\nsrun: error: n2: task 1: Exited with exit code 1\n== job 7, attempt 2, on n1\n"
    )
    ends = f"exec >>{log}; echo 'srun: error: n1: task 0: Terminated'; exit 143"
    assert attempt(ends)[1] == 1 and attempt(ends, STATE="COMPLETING")[1] == 1  # cancelled
    log.write_text(f"{log.read_text()}srun: error: n2: task 1: Exited with exit code 1\n")
    assert attempt(ends)[1] == 1


def test_a_controller_that_is_away_for_a_moment_is_asked_again(attempt, tmp_path):
    (tmp_path / "away").write_text("1\n2\n")
    (tmp_path / "busy").write_text("1\n2\n")
    assert attempt("exit 137")[1] == 1


def test_a_controller_that_stays_away_is_told_of(attempt, tmp_path):
    (tmp_path / "away").write_text("1\n" * 3)
    said, back = attempt("exit 137")
    assert back == 0 and said.endswith("SLURM does not say whether it was its own doing: submit it again\n")
    (tmp_path / "busy").write_text("1\n" * 3)
    said, back = attempt("exit 137")
    assert back == 0 and said.endswith("back into the queue\nSLURM does not take it back: submit it again\n")


@pytest.mark.parametrize("times, goes_on", [(2, True), (3, False)])
def test_a_run_that_has_saved_asks_again_until_it_is_put_back(job, monkeypatch, tmp_path, capfd, times, goes_on):
    why = "Socket timed out on send/recv operation"
    (tmp_path / "scontrol").write_text(
        f"#!/bin/sh\ncd {tmp_path}\n[ -s busy ] || exit 0\nsed -i 1d busy; echo {why} >&2; exit 1\n"
    )
    (tmp_path / "scontrol").chmod(0o755)
    (tmp_path / "busy").write_text("1\n" * times)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(controller, "PAUSE", 0)
    assert scheduler.requeue(signal.SIGUSR1) is goes_on
    said = f"SLURM does not answer (scontrol requeue 7: {why}): submit this job again unless squeue lists it\n"
    assert capfd.readouterr().out == ("" if goes_on else said)


def test_ranks_meet_at_the_first_node_also_where_slurm_does_not_say_its_address(attempt):
    assert attempt('echo "at $MASTER_ADDR"')[0].endswith("\nat n1\n")


def test_a_log_says_where_an_attempt_begins(attempt):
    assert re.match(
        r"== job 7, attempt 3, on n1, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n", attempt("", SLURM_RESTART_COUNT="2")[0]
    )


@pytest.mark.parametrize(
    "state, takes, asks, end",
    [
        ("PreemptTime=2026-01-01T00:00:00", True, True, None),
        ("PreemptTime=2026-01-01T00:00:00", False, True, 143),  # slurm/job.sh asks again
        ("PreemptTime=None", True, False, 143),  # and tells what another rank has failed from all else
    ],
)
def test_sigterm_before_training_puts_back_what_is_preempted_and_leaves_the_rest_to_the_job(
    job, monkeypatch, state, takes, asks, end
):
    asked = []

    def scontrol(*words):
        asked.append(words[0])
        return f"JobState=RUNNING {state}" if words[0] == "show" or takes else None

    monkeypatch.setattr(scheduler, "_scontrol", scontrol)
    with pytest.raises(KeyboardInterrupt if end is None else SystemExit) as raised:
        scheduler._interrupted(signal.SIGTERM, None)
    assert ("requeue" in asked) is asks and getattr(raised.value, "code", None) == end


@pytest.mark.parametrize("moment", ["setup", "on_fit_start", "on_train_end"])
def test_sigterm_between_watch_and_the_first_step_or_after_the_last_one_is_a_kill_to_the_job(
    job, small, monkeypatch, moment
):
    """One that srun sent to the attempt before, for example: the job must go back into the queue."""
    monkeypatch.setattr(scheduler, "_scontrol", lambda *words: "JobState=RUNNING Restarts=1 PreemptTime=None")
    run = RunDirectory(directory_of(composed(*small)))

    def terminated(*_, **__):
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        if moment == "on_train_end":  # when the signals are what they were before
            patch.setattr("pipeline.runs.session.fit", lambda *words: [fit(*words), terminated()])
        else:
            patch.setattr(Recorder, moment, terminated, raising=False)
        with pytest.raises(SystemExit) as end:
            trained(*small)
    assert end.value.code == 143 and run.facts["status"] == "running" and not run.locked
    assert trained(*small).finished
