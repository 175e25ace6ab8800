"""Studies and runs as jobs of a real SLURM."""

import os
import re
import signal
import urllib.request
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.command.settings import CONF
from pipeline.files.whole import read_lines
from pipeline.runs.directory import RunDirectory
from pipeline.runs.settling import directory_of
from slurm import queue
from tests.conftest import composed, trained
from tests.runs.test_resume import records, same

SMALL = ["hydra/launcher=slurm", "hydra.launcher.memory=0.5"]
# Long enough to be caught while it trains; saved only when asked.
LONG = [
    "trainer.steps=1500",
    "trainer.validate_every=500",
    "trainer.record_every=10",
    "trainer.checkpoint_every=100000",
    "trainer.sample.every=500",
    "trainer.sample.at=[4]",
    "trainer.sample.length=20",
    "model=gru",
    "model.dropout=0.3",
]


def directory(*overrides: str) -> RunDirectory:
    return RunDirectory(directory_of(composed(*overrides)))


def reached(run: RunDirectory, step: int):
    """Whether the run has got that far."""
    return lambda: any(record["step"] >= step for record in read_lines(run.metrics))


def log(run: RunDirectory) -> str:
    return "".join(file.read_text() for file in sorted((run.path.parents[1] / ".slurm" / "single").glob("*.out")))


def processes(words: str) -> list[int]:
    """Numbers of the processes whose environment has all these words."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = environment.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if set(words.split()) <= set(variables):
            found.append(int(environment.parent.name))
    return found


def test_a_sweep_is_an_array_of_groups_on_two_nodes_with_a_gpu_each_and_says_what_failed(python, cluster, project):
    # A GPU asks for 4 cores here, which a node has; one optimizer does not take the setting.
    sweep = ["-m", *project, *SMALL, "optimizer=sgd,rmsprop", "seed=0,1", "++optimizer.alpha=0.9"]
    sweep += ["hydra.launcher.group=2", "hydra.launcher.gpus=1", "hydra.launcher.gpu_memory=0"]
    sweep += ["hydra.launcher.setup=['srun sh -c \"echo GPU $CUDA_VISIBLE_DEVICES\"']"]
    said = python("pipeline.train", *sweep, code=1)
    assert "4 runs: 0 ended before, 0 in SLURM's queue already, 4 submitted" in said and "2 finished, 2 failed" in said
    refusal = "error: optimizer=sgd: SGD.__init__() got an unexpected keyword argument 'alpha'"
    assert said.count(f"    {refusal}\n") == 2 and "error: 2 of 4 runs failed, see above or lab status -m " in said
    runs = [directory(*project, "optimizer=rmsprop", "++optimizer.alpha=0.9", f"seed={seed}") for seed in (0, 1)]
    assert all(run.finished for run in runs) and runs[0].facts["job"] == runs[1].facts["job"]
    for node in ("n1", "n2"):
        assert len(re.findall(rf"^== job \d+, attempt 1, on {node}, ", log(runs[0]), re.MULTILINE)) == 1
    assert log(runs[0]).count("\nGPU 0\n") == 2
    copy = Path(runs[0].facts["code"]["copy"])
    assert copy.parent == runs[0].path.parents[1].absolute() / ".slurm" / "code" and (copy / "pipeline").is_dir()
    status = python("slurm.status", *project)
    assert f"{runs[0].path.name}  finished   validation {runs[0].facts['validation']:.4f}" in status
    assert status.count(f"    {refusal}\n") == 2 and "2 failed" in status
    again = python("pipeline.train", *sweep, "hydra.launcher.wait=false")
    assert "4 runs: 2 ended before, 0 in SLURM's queue already, 2 submitted" in again


def test_a_search_trains_its_trials_as_jobs_and_learns_what_came_of_them(python, cluster, project):
    pytest.importorskip("optuna")
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "optimizer.lr=tag(log,interval(1e-4,1e-1))"]
    said = python("pipeline.train", "-m", *project, *SMALL, *search, "study.name=mine", "model=rnn", "trainer.steps=4")
    assert "2 runs: 0 ended before, 0 in SLURM's queue already, 2 submitted" in said and said.count("submitted") == 1
    [runs] = [Path(word.removeprefix("paths.runs=")) for word in project if word.startswith("paths.runs=")]
    found = [RunDirectory(file.parent) for file in runs.glob("mine/*/run.json")]
    losses = {run.config().optimizer.lr: run.facts["validation"] for run in found}
    told = {float(lr): float(loss) for lr, loss in re.findall(r"optimizer\.lr=(\S+)  ([\d.]+) nats", said)}
    assert len({run.facts["job"] for run in found}) == 2 == len(told)
    assert told == {lr: pytest.approx(loss, abs=5e-5) for lr, loss in losses.items()}


def test_two_devices_learn_what_one_process_learns_and_start_over_together(cluster, project, tmp_path):
    overrides = ["trainer.dtype=float64", "model.learned_initial_state=true", "trainer.steps=30"]
    whole = trained(*project, *overrides)
    expected = read_lines(whole.metrics)
    # In the place of the finished run: a late rank must not take up the checkpoint
    # that the first one is about to remove.
    job = cluster.run(
        "sbatch",
        "--parsable",
        "--ntasks-per-node=2",
        "--gpus-per-node=2",
        "--mem-per-cpu=500",
        f"--output={tmp_path}/log.out",
        "slurm/train.sbatch",
        *project,
        *overrides,
        "fresh=true",
    ).strip()
    cluster.until("two tasks that see both GPUs", lambda: len(processes("SLURM_NTASKS=2 CUDA_VISIBLE_DEVICES=0,1")) > 1)
    cluster.until_empty()
    log = (tmp_path / "log.out").read_text()
    assert "ExitCode=0:0" in cluster.run("scontrol", "show", "job", job) and "starts: " in log, log
    found = read_lines(whole.metrics)
    assert [record["step"] for record in found] == [record["step"] for record in expected] == [10, 20, 30]
    for ours, theirs in zip(found, expected):
        for key in ("train", "smoothed", "validation"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-12)


def test_a_time_limit_and_a_preemption_save_and_the_run_goes_on_exactly_as_one_run_in_mlflow_whose_server_moves(
    python, cluster, project, tmp_path
):
    from mlflow import MlflowClient

    server = [
        "sbatch",
        "--parsable",
        "--mem=1500",
        "--cpus-per-task=1",
        "--nodelist=n2",
        f"--export=ALL,MLFLOW_FOLDER={tmp_path}/mlflow,MLFLOW_LOCAL={tmp_path}/local",
    ]
    serving = cluster.run(*server, f"--output={tmp_path}/server.out", "slurm/mlflow_server.sbatch").strip()
    address = tmp_path / "mlflow" / "address"
    overrides, run = [*project, *LONG], directory(*project, *LONG)

    def halt():  # so that it is not at its end before it hears of what comes, however fast this machine is
        os.kill(run.facts["process"], signal.SIGSTOP)

    cluster.until("an MLflow server", address.exists)
    second = cluster.run(*server, f"--output={tmp_path}/second.out", "slurm/mlflow_server.sbatch").strip()
    assert urllib.request.urlopen(f"{address.read_text().strip()}/health").read() == b"OK"
    on = ["+hydra.launcher.more.nodelist=n1", "+hydra.launcher.more.exclusive=true"]
    python("slurm.submit", *overrides, f"tracking.uri={address}", "hydra.launcher.memory=1", *on)
    cluster.until("training", reached(run, 20))
    halt()
    job = run.facts["job"]
    cluster.run("scancel", "--signal=USR1", "--batch", serving)  # as SLURM does before the limit
    cluster.until("no MLflow server", lambda: not address.exists())
    cluster.run("scancel", "--signal=USR1", job)
    cluster.run("scancel", "--signal=CONT", job)
    cluster.until("saved", lambda: run.facts["status"] == "stopped")
    step = torch.load(run.last, weights_only=False)["global_step"]
    whole = trained(*overrides, f"paths.runs={tmp_path}/whole")
    cluster.until("training again", reached(run, step + 10))
    halt()
    cluster.run("sbatch", "--partition=high", "--nodelist=n1", "--exclusive", "--output=/dev/null", "--wrap=true")
    cluster.until("saved", lambda: run.facts["status"] == "stopped")  # SLURM wakes what it is about to end
    cluster.until("finished", lambda: run.finished)
    assert run.facts["job"] == job and log(run).count("SLURM goes on with it") == 2
    assert re.findall(r"^== job \d+, attempt (\d)", log(run), re.MULTILINE) == ["1", "2", "3"]
    assert run.facts["status"] == "finished" and records(run.metrics) == records(whole.metrics)
    assert read_lines(run.samples) == read_lines(whole.samples)
    same(torch.load(run.last, weights_only=False), torch.load(whole.last, weights_only=False))
    assert re.search(rf"/mlflow has a server already, .* SLURM job {serving} ", (tmp_path / "second.out").read_text())
    assert "ExitCode=1:0" in cluster.run("scontrol", "show", "job", second)

    cluster.until("an MLflow server again", address.exists)
    client = MlflowClient(address.read_text().strip())
    [tracked] = client.search_runs([client.get_experiment_by_name("single").experiment_id])
    assert (tracked.info.run_id, tracked.info.status) == (run.facts["mlflow_run_id"], "FINISHED")
    history = [(metric.step, metric.value) for metric in client.get_metric_history(tracked.info.run_id, "loss/train")]
    assert sorted(history) == [(record["step"], record["train"]) for record in read_lines(run.metrics)]


def test_two_nodes_stop_together_at_a_signal_and_a_killed_rank_takes_the_job_back_to_its_last_checkpoint(
    python, cluster, project, tmp_path
):
    overrides = [*LONG, "model.dropout=0", "trainer.dtype=float64", "trainer.checkpoint_every=100", "trainer.steps=600"]
    run = directory(*project, *overrides)
    sweep = ["-m", *project, *overrides, *SMALL, "hydra.launcher.wait=false", "trainer.nodes=2"]
    assert "1 submitted" in python("pipeline.train", *sweep)  # each run of a sweep has a job of its own
    cluster.until("training", reached(run, 110))
    job = run.facts["job"]
    [second] = processes(f"SLURM_JOB_ID={job} SLURM_PROCID=1 SLURM_STEP_ID=0")
    os.kill(second, signal.SIGUSR1)  # one rank alone: the others hear of it from there
    cluster.until("saved", lambda: run.facts["status"] == "stopped")
    step = torch.load(run.last, weights_only=False)["global_step"]
    whole = trained(*project, *overrides, f"paths.runs={tmp_path}/whole")
    cluster.until("training again", reached(run, max(step + 10, 200)))
    [second] = processes(f"SLURM_JOB_ID={job} SLURM_PROCID=1 SLURM_STEP_ID=0")
    os.kill(second, signal.SIGKILL)
    cluster.until(
        "no rank left", lambda: not processes(f"SLURM_JOB_ID={job} SLURM_STEP_ID=0 SLURM_RESTART_COUNT=1"), 30
    )
    at = read_lines(run.metrics)[-1]["step"]
    assert at - torch.load(run.last, weights_only=False)["global_step"] <= 100
    cluster.until("finished", lambda: run.finished)
    assert "killed (exit code 137), once without a new checkpoint: back into the queue" in log(run)
    # SLURM may repeat an order to end the step of before.
    assert run.facts["job"] == job and log(run).count("  goes on: ") >= 2
    for ours, theirs in zip(read_lines(run.metrics), read_lines(whole.metrics), strict=True):
        assert ours["step"] == theirs["step"] and ours["train"] == pytest.approx(theirs["train"], rel=1e-9)


def test_a_node_that_slurm_loses_leaves_its_run_to_the_other(python, cluster, project):
    overrides = [*project, *LONG, "trainer.checkpoint_every=50", "trainer.steps=1000000"]
    run = directory(*overrides)
    python("slurm.submit", *overrides, *SMALL)
    cluster.until("a checkpoint", run.last.exists)
    job = run.facts["job"]
    node = re.search(r"NodeList=(n\d)", cluster.run("scontrol", "show", "job", job))[1]
    # The daemon alone: the run trains on there, unseen, until its successor takes over.
    os.kill(int((cluster.folder / "run" / f"slurmd.{node}.pid").read_text()), signal.SIGKILL)
    try:
        cluster.until(
            "on the other node",
            lambda: f"NodeList={'n2' if node == 'n1' else 'n1'}" in cluster.run("scontrol", "show", "job", job),
        )
        cluster.until("going on", lambda: "  goes on: " in log(run))
        cluster.until("training again", reached(run, read_lines(run.metrics)[-1]["step"] + 100))
    finally:
        cluster.run("slurmd", "-N", node)
        cluster.until("the node back", lambda: node in cluster.run("sinfo", "-h", "-N", "-r", "-o", "%N"))
    assert (
        log(run).count("another process has taken this lock over: this one ends") == log(run).count("  goes on: ") == 1
    )
    assert run.facts["job"] == job and run.facts["srun"] == f"{job}.1.0"
    steps = [record["step"] for record in read_lines(run.metrics)]
    assert steps == [4, *range(10, 10 * len(steps), 10)]  # of one writer at a time


def test_a_run_is_told_of_while_it_runs_is_suspended_and_cancelled(python, cluster, project):
    overrides = [*project, *LONG, "trainer.steps=100000"]
    run = directory(*overrides)
    python("slurm.submit", *overrides, *SMALL)
    assert "is in SLURM's queue already: job " in python("slurm.submit", *overrides, *SMALL, code=1)
    cluster.until("training", reached(run, 10))
    job = run.facts["job"]
    refusal = python("pipeline.train", *overrides, code=1)
    assert re.fullmatch(
        rf"error: {run.path} is being trained by process \d+ on \S+, "
        rf"SLURM job {job} for (\d+ min|less than a minute): wait for it, or stop it\n",
        refusal,
    )
    running = python("slurm.status", *project)
    assert re.match(rf"{run.path.name}  running    job {job} on n\d for \d+:\d\d, step [\d,]+\n1 running\n$", running)
    cluster.run("scontrol", "suspend", job)
    assert "1 suspended" in python("slurm.status", *project)
    step = read_lines(run.metrics)[-1]["step"]
    cluster.run("scontrol", "resume", job)
    cluster.until("training again", reached(run, step + 500))  # what it has just resumed SLURM kills without a warning
    where = [one for one in project if one.startswith("paths.runs=")]
    assert python("slurm.cancel", "study=single", *where) == f"cancelled 1 jobs of 1 runs of single: {job}\n"
    cluster.until_empty()
    assert run.facts["status"] == "stopped" and run.last.exists() and not run.locked
    assert "the same command goes on" in python("slurm.status", *project)


def test_a_job_by_hand_goes_on_after_a_sigterm_before_it_trains_and_is_cancelled_by_its_run(
    python, cluster, project, tmp_path
):
    overrides = [*project, *LONG, "trainer.steps=100000"]
    run = directory(*overrides)
    sbatch = ["sbatch", "--parsable", "--mem-per-cpu=500", f"--output={tmp_path}/log.out", "slurm/train.sbatch"]
    job = cluster.run(*sbatch, *overrides).strip()
    cluster.until("a run that is about to train", lambda: run.locked)
    [process] = processes(f"SLURM_JOB_ID={job} SLURM_PROCID=0 SLURM_STEP_ID=0")
    os.kill(process, signal.SIGTERM)
    cluster.until("a second attempt", lambda: f"== job {job}, attempt 2, " in (tmp_path / "log.out").read_text())
    cluster.until("training", reached(run, 10))
    assert python("slurm.cancel", *overrides) == f"cancelled 1 jobs of 1 runs of single: {job}\n"
    cluster.until_empty()
    assert run.facts["status"] == "stopped" and run.last.exists() and not run.locked
    assert "  stopped and saved: the same command goes on" in (tmp_path / "log.out").read_text()


def test_a_run_that_is_killed_too_often_gives_up(python, cluster, project, tmp_path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    overrides = [*project, *LONG, "trainer.steps=100000", f"tracking.uri={uri}"]
    run = directory(*overrides)
    python("slurm.submit", *overrides, *SMALL, "hydra.launcher.memory=1", "hydra.launcher.restarts=0")
    cluster.until("training", reached(run, 10))
    job = run.facts["job"]
    os.kill(run.facts["process"], signal.SIGKILL)
    cluster.until_empty()
    status = python("slurm.status", *project)
    assert re.search(rf"^{run.path.name}  failed     job {job}, step [\d,]+$", status, re.MULTILINE)
    assert re.search(r"^    rank 0 was killed on n\d \(Killed\)$", status, re.MULTILINE)
    assert "    killed (exit code 137), once without a new checkpoint: this job gives up" in status
    assert MlflowClient(uri).get_run(run.facts["mlflow_run_id"]).info.status == "KILLED"


@pytest.mark.parametrize(
    "nodes, settings, why",
    [
        (1, {"partition": "nowhere"}, "^SLURM refuses the job: .*partition.*: see conf/hydra/launcher/slurm.yaml$"),
        (1, {"time": "1-00:00:00"}, "^hydra.launcher.time=1-00:00:00: partition main allows 1:00:00: the job would"),
        (3, {}, "^SLURM refuses the job: .*configuration is not available"),
        (1, {"gpus": 3, "gpu_cpus": 0, "gpu_memory": 0}, "^SLURM refuses the job: .*configuration is not available"),
        (1, {"memory": 8}, "^SLURM refuses the job: .*configuration is not available"),
    ],
)
def test_what_can_never_run_is_refused(cluster, tmp_path, monkeypatch, nodes, settings, why):
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, cluster.environment[name])
    profile = OmegaConf.merge(OmegaConf.load(CONF / "hydra/launcher/slurm.yaml"), settings)
    with pytest.raises(Refusal, match=why):
        queue.submit([queue.Submission(profile, 1, nodes, {tmp_path / "run": ["seed=0"]})], tmp_path / "jobs")
    assert not cluster.queue()


def test_up_twice_is_up_once(cluster):
    daemons = {file.name: file.read_text() for file in (cluster.folder / "run").glob("*.pid")}
    assert len(daemons) == 4 and cluster.script("up") == f"export SLURM_CONF={cluster.folder}/slurm.conf\n"
    assert {file.name: file.read_text() for file in (cluster.folder / "run").glob("*.pid")} == daemons
