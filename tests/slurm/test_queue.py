"""What is asked of SLURM and what its answers are taken for, by programs that stand for SLURM's."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pipeline.command import controller
from pipeline.command.controller import Unanswered
from pipeline.command.refusal import Refusal
from pipeline.command.settings import CONF, check_choice
from pipeline.files.whole import write_json
from slurm import accounting, copies, queue, several, status, withdrawn
from slurm.logs import log_of
from slurm.queue import Job, Submission
from slurm.script import options, resources
from slurm.times import minutes
from tests.conftest import ROOT, composed

PROGRAMS = {
    "sbatch": """
[ "$1" = --test-only ] && { cat >/dev/null; cat refuses >&2 2>/dev/null; [ ! -e refuses ]; exit; }
echo x >>count; n=$(wc -l <count); echo "$*" >$n.args; cat >$n.sh; echo $n""",
    "squeue": """
[ -s away ] && { sed -i 1d away; echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1; }
case "$*" in *%F*) cut -d"|" -f1 queue | cut -d_ -f1 ;; *%o*) cat commands ;; *) cat queue ;; esac""",
    "scancel": """
[ -s busy ] && { sed -i 1d busy; echo 'scancel: error: Socket timed out' >&2; exit 1; }
echo "$@" >>cancelled""",
    "scontrol": "echo 'MaxArraySize            = 4'",
    "sinfo": """
echo x >>sinfos
case "$*" in *%P*) echo "main*|1-00:00:00"; echo "long|infinite" ;; *) cat states ;; esac""",
    "sacct": "cat accounts",
}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The folder of a SLURM whose programs these are: its files are what they answer and what they were asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/bash\ncd {folder}\n{text}\n")
        (folder / name).chmod(0o755)
    (folder / "queue").touch()
    (folder / "states").write_text("idle\nmix\n")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(controller, "PAUSE", 0)
    return folder


def profile(**settings):
    return OmegaConf.merge(OmegaConf.load(CONF / "hydra/launcher/slurm.yaml"), settings)


def submission(count: int, first: int = 0, **settings) -> Submission:
    return Submission(
        profile(**settings), 1, 1, {Path(f"/r/{n}"): ["a=b c", f"n={n}"] for n in range(first, first + count)}
    )


@pytest.mark.parametrize(
    "gpus, devices, cpus, memory", [(0, 1, 1, "4096M"), (0, 2, 1, "8192M"), (1, 4, 4, "65536M"), (2, 1, 7, "28672M")]
)
def test_a_gpu_asks_for_memory_and_cores_of_its_own(gpus, devices, cpus, memory):
    found = options(profile(gpus=gpus), "study", devices, 1)
    assert found["mem"] == memory and found["cpus-per-task"] == cpus
    assert found.get("gpus-per-node") == (gpus * devices or None)


def test_what_is_not_in_the_file_is_handed_to_sbatch(tmp_path):
    text = submission(1, more={"exclude": "n7", "mail_type": "FAIL", "exclusive": True, "requeue": False}).script(
        tmp_path, tmp_path, [[Path("/r/0")]], 1
    )
    assert "#SBATCH --exclude=n7\n#SBATCH --mail-type=FAIL\n#SBATCH --exclusive\n" in text and "--requeue" not in text


@pytest.mark.parametrize(
    "written, of",
    [
        (90, timedelta(minutes=90)),
        ("4:00:00", timedelta(hours=4)),
        ("1-00:00:00", timedelta(days=1)),
        ("2-12", timedelta(days=2, hours=12)),
        ("1-2:30", timedelta(days=1, hours=2, minutes=30)),
        ("30:00", timedelta(minutes=30)),
        ("00:00:30", timedelta(minutes=1)),  # up
    ],
)
def test_times_are_read_as_slurm_reads_them(written, of):
    check_choice("hydra.launcher", OmegaConf.to_container(profile(time=written)))
    assert timedelta(minutes=minutes(written)) == of
    assert options(profile(time=written, notice=1), "study", 1, 1)["time"] == of.total_seconds() / 60


@pytest.mark.parametrize("written", ["1d", "4h", "", "1:2:3:4", 0, -1, 1.5])
def test_other_times_are_refused(written):
    with pytest.raises(Refusal, match=r"^hydra\.launcher\.time=.*: take a whole number from 1, or a time in SLURM's"):
        check_choice("hydra.launcher", OmegaConf.to_container(profile(time=written)))


def test_a_time_in_yaml_is_no_number_to_the_base_of_60(tmp_path):
    (tmp_path / "ours.yaml").write_text("time: 4:00:00\nshort: 30:00\nports: 8080\n")
    assert OmegaConf.load(tmp_path / "ours.yaml") == {"time": "4:00:00", "short": "30:00", "ports": 8080}


def test_an_array_is_no_larger_than_slurm_takes_and_a_study_runs_no_more_at_once_than_it_may(slurm, tmp_path):
    folder = tmp_path / ".slurm" / "zoo"
    first = queue.submit([submission(10, at_once=5)], folder)
    ids = ["1_0", "1_1", "1_2", "1_3", "2_0", "2_1", "2_2", "2_3", "3_0", "3_1"]
    assert [job.id for job in first] == ids and queue.submitted(folder) == first
    arrays = [re.search(r"--array=(\S+)", (slurm / f"{n}.sh").read_text())[1] for n in (1, 2, 3)]
    assert arrays == ["0-3%5", "0-3%1", "0-1%5"]
    given = [(slurm / f"{n}.args").read_text() for n in (1, 2, 3)]
    assert ["afterany" in one for one in given] == [False, False, True] and "--dependency=afterany:1:2 " in given[2]
    [more] = queue.submit([submission(1, 10, at_once=5)], folder, first)
    assert more.id == "4" and "--dependency=afterany:1:2:3 " in (slurm / "4.args").read_text()
    [other] = queue.submit([submission(1, 11, at_once=5)], folder, first[-2:])
    assert "afterany" not in (slurm / "5.args").read_text() and "--array" not in other.script.read_text()


def test_slurm_is_asked_once_what_can_run_and_all_is_known_before_the_first_is_submitted(slurm, tmp_path):
    folder = tmp_path / ".slurm" / "zoo"
    jobs = queue.submit([submission(10)], folder)
    assert (slurm / "sinfos").read_text().count("x") == 1 and (slurm / "count").read_text().count("x") == 3
    assert {job.code for job in jobs} == {copies.copy_code(folder.parent / "code")}
    with pytest.raises(Refusal, match="the job would wait for ever"):
        queue.submit([submission(1, 10), submission(1, 11, time="9-0")], folder)
    assert (slurm / "count").read_text().count("x") == 3 and queue.submit([], folder) == []


def test_a_job_gets_the_words_of_its_runs(slurm, tmp_path):
    folder = tmp_path / ".slurm" / "zoo"
    jobs = queue.submit([submission(3, group=2)], folder)
    assert [(job.id, job.run.name) for job in jobs] == [("1_0", "0"), ("1_0", "1"), ("1_1", "2")]
    run = f'srun() {{ printf "%s|" "${{@: 3}}"; }}; SLURM_ARRAY_TASK_ID=0; {jobs[0].script.read_text()}'
    run = run.replace(f". {folder.parent}/code", f": {folder.parent}/code")
    said = subprocess.run(["bash", "-c", run], capture_output=True, text=True, check=True).stdout
    *_, module, one, two, _ = said.split("|")
    assert module == "slurm.several" and [shlex.split(one), shlex.split(two)] == [["a=b c", "n=0"], ["a=b c", "n=1"]]


def test_what_can_never_run_is_refused(slurm, tmp_path):
    folder = tmp_path / ".slurm" / "zoo"
    with pytest.raises(Refusal, match=r"time=1-00:01:00: partition main allows 1-00:00:00: the job would wait for ev"):
        queue.submit([submission(1, time="1-00:01:00")], folder)
    (slurm / "refuses").write_text("allocation failure: Requested node configuration is not available\n")
    with pytest.raises(Refusal, match="^SLURM refuses the job: allocation failure: Requested node configuration is"):
        queue.submit([submission(1)], folder)
    assert not (slurm / "count").exists()
    (slurm / "states").write_text("idle\ndrained*\n")  # it may be back in time
    assert len(queue.submit([submission(1)], folder)) == 1
    (slurm / "refuses").unlink()
    assert len(queue.submit([submission(1, time=100000, partition="long")], folder)) == 1


def test_a_controller_that_does_not_answer_sbatch_has_not_refused(slurm, tmp_path):
    said = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    (slurm / "refuses").write_text(f"{said}\n")
    with pytest.raises(Unanswered, match=r"^SLURM does not answer \(sbatch: .* timed out .*: see squeue, then say"):
        queue.submit([submission(1)], tmp_path / ".slurm" / "zoo")


def test_a_queue_that_does_not_answer_is_not_empty(slurm):
    (slurm / "queue").write_text("12_3|PENDING|Resources||0:00|2026-01-02T03:04:05\n")
    (slurm / "away").write_text("1\n2\n")
    assert queue.queued() == {"12_3": queue.QueueEntry("PENDING", "Resources", "", "0:00", "2026-01-02T03:04:05")}
    (slurm / "away").write_text("1\n2\n3\n")
    with pytest.raises(Unanswered, match=r"^SLURM does not answer \(squeue: .*Unable to contact slurm contr"):
        queue.queued()
    (slurm / "queue").write_text("strange\n")
    with pytest.raises(Unanswered, match="^squeue says 'strange', which is no queue"):
        queue.queued()


def test_nothing_is_submitted_or_cancelled_without_knowing_what_is_in_the_queue(python, slurm, small, tmp_path):
    small.append("trainer.accelerator=cpu")
    for module, more in {
        "slurm.submit": [],
        "slurm.cancel": [],
        "pipeline.train": ["-m", "seed=0,1", "hydra/launcher=slurm"],
    }.items():
        (slurm / "away").write_text("1\n" * 3)
        write_json(tmp_path / "runs" / ".slurm" / "single" / "1.json", {"1": "/r/0"})
        said = python(module, *small, *more, code=1)
        assert said.startswith("error: SLURM does not answer (squeue: ") and said.count("\n") == 1
    assert not (slurm / "count").exists() and not (slurm / "cancelled").exists()


def test_cancel_ends_what_status_lists_or_a_part_of_it(python, slurm, small, tmp_path):
    from pipeline.runs.settling import directory_of

    runs = [directory_of(composed(*small, f"model={model}")).absolute() for model in ("rnn", "gru", "lstm")]
    write_json(tmp_path / "runs/.slurm/single/7.json", {f"7_{n}": [str(run)] for n, run in enumerate(runs)})
    (slurm / "queue").write_text("".join(f"7_{n}|RUNNING|None|n1|1:00|x\n" for n in range(3)) + "8|RUNNING|a|b|c|d\n")
    where = f"paths.runs={tmp_path}/runs"
    assert python("slurm.cancel", "study=single", where) == "cancelled 3 jobs of 3 runs of single: 7_0 7_1 7_2\n"
    (slurm / "busy").write_text("1\n2\n")
    said = python("slurm.cancel", "-m", *small, "model=rnn,lstm")
    assert said == "cancelled 2 jobs of 2 runs of single: 7_0 7_2; 1 other runs stay in the queue\n"
    assert (slurm / "cancelled").read_text() == "7_0 7_1 7_2\n7_0 7_2\n"


def test_cancel_ends_one_run_of_a_group_alone_and_the_job_with_the_last(python, slurm, small, tmp_path):
    from pipeline.runs.settling import directory_of

    small.append("trainer.accelerator=cpu")
    models, folder = ("rnn", "gru", "lstm"), tmp_path / "runs/.slurm/single"
    runs = {model: directory_of(composed(*small, f"model={model}")).absolute() for model in models}
    write_json(folder / "7.json", {"7_1": [str(run) for run in runs.values()]})
    (folder / "7_1_0_log.out").write_text("== job 7, attempt 1, on n1, 2026-01-01 00:00:00\n")
    (slurm / "queue").write_text("7_1|RUNNING|None|n1|1:00|x\n")
    said = python("slurm.cancel", *small, "model=gru")
    assert said == "cancelled 0 jobs of 1 runs of single; 7_1 goes on with the others; 2 other runs stay in the queue\n"
    assert python("slurm.cancel", *small, "model=gru").startswith("cancelled 0 jobs of 0 runs of single; 2 other runs")
    assert withdrawn.of(folder, "7_1") == {1} and not (slurm / "cancelled").exists()
    states = {job.run.name: status.row(job.run, job, queue.queued())[1] for job in queue.submitted(folder)}
    assert states == {run.name: "cancelled" if model == "gru" else "running" for model, run in runs.items()}
    assert "in SLURM's queue already" in python("slurm.submit", *small, "model=rnn", code=1)
    assert f"{runs['gru']}: job 1, log " in python("slurm.submit", *small, "model=gru")
    sweep = ["-m", *small, "model=rnn,gru", "hydra/launcher=slurm", "hydra.launcher.wait=false"]
    assert "1 in SLURM's queue already, 1 submitted" in python("pipeline.train", *sweep)
    said = python("slurm.cancel", "-m", *small, "model=rnn,lstm")
    assert said == "cancelled 1 jobs of 2 runs of single: 7_1\n" and (slurm / "cancelled").read_text() == "7_1\n"


def test_what_failed_is_told_from_what_was_cancelled_and_named_as_status_takes_it(python, slurm, small, tmp_path):
    sweep, folder = ["-m", *small, "trainer.accelerator=cpu", "hydra/launcher=slurm"], tmp_path / "runs/.slurm"
    for study in ("single", "mine"):
        (folder / study).mkdir(parents=True)
    (folder / "single" / "1_0_0_log.out").write_text(
        f"{ATTEMPT}slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT x ***\n"
    )
    said = python("pipeline.train", *sweep, "seed=0,1", code=1)
    assert re.search(r"^cancelled: text-lstm-\S+-s0 \(job 1_0\)$", said, re.MULTILINE)
    assert re.search(r"^failed: text-lstm-\S+-s1 \(job 1_1\), ", said, re.MULTILINE)
    assert "error: 2 of 2 runs failed or were cancelled, see above or lab status -m data=text " in said
    pytest.importorskip("optuna")
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "study.name=mine", "optimizer.lr=interval(1e-4,1e-1)"]
    said = python("pipeline.train", *sweep, *search, code=1)
    assert "error: 1 of 1 runs failed, see above or lab status study.name=mine; the same command" in said


def test_a_dry_run_prints_the_script_and_submits_nothing(python, slurm, small):
    said = python("slurm.submit", *small, "dry_run=true", "+hydra.launcher.where.model.lstm.memory=3")
    assert "#SBATCH --mem=3072M\n" in said and not (slurm / "count").exists()
    assert said.startswith("#!/bin/bash\n#SBATCH --job-name=single\n") and "dry_run=" not in said


def test_resources_may_depend_on_the_run():
    def of(*overrides: str, **where) -> tuple:
        found = resources(profile(where=where), composed(*overrides))
        return found.memory, found.gpus

    where = {"model": {"gru": {"memory": 9}, "lstm": {"memory": 5}}, "seed": {3: {"gpus": 1}}}
    assert of("model=rnn", **where) == (4, 0) and of("model=gru", **where) == (9, 0)
    assert of("model=lstm", "seed=3", **where) == (5, 1)
    with pytest.raises(Refusal, match=r"hydra\.launcher\.memory=-1: take"):
        of("model=gru", model={"gru": {"memory": -1}})
    with pytest.raises(Refusal, match=r"hydra\.launcher\.where\.model: 3: take a mapping from values of model"):
        of(model=3)
    with pytest.raises(
        Refusal, match=r"^hydra\.launcher\.where\.model\.gruu: there is no such choice: did you mean gru\?"
    ):
        of(model={"gruu": {"memory": 9}})
    with pytest.raises(
        Refusal, match=r"^hydra\.launcher\.where\.modle: there is no such setting: did you mean model\?"
    ):
        of(modle={"gru": {"memory": 9}})
    layers = {"model.layers": {3: {"memory": 9}}}  # which not all models have
    assert of("model.layers=3", **layers) == (9, 0) and of("model=ngram", **layers) == (4, 0)


BEFORE = "== job 7, attempt 1, on n1, 2026-01-01 00:00:00\nerror: of before\n\n"
ATTEMPT = "== job 7, attempt 2, on n[1-2], 2026-01-01 00:00:00\nruns  goes on: 20 steps\n"
TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1\nRuntimeError: Connection closed by peer\n'
KILLED = "srun: error: n2: task 1: Killed\nsrun: Terminating StepId=7.0\nkilled (exit code 137), 1 in a row\n"


@pytest.mark.parametrize(
    "logs, why",
    [
        ([TRACEBACK + KILLED, ""], "rank 1 was killed on n2 (Killed)\nkilled (exit code 137), 1 in a row"),
        (["srun: error: n1: task 0: Exited with exit code 1\n", "error: model=x: no\n"], "error: model=x: no"),
        (["srun: error: n1: task 0: Exited with exit code 1\n" + TRACEBACK], "RuntimeError: Connection closed by peer"),
        (["slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0\n" + KILLED], "out of memory: the same"),
        (
            ["slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT x DUE TO TIME LIMIT ***\n"],
            "the time limit came before it",
        ),
    ],
)
def test_why_a_job_failed_is_said_in_a_line(tmp_path, logs, why):
    for rank, log in enumerate(logs):
        (tmp_path / f"7_{rank}_log.out").write_text((BEFORE + ATTEMPT if rank == 0 else "") + log)
    (tmp_path / "7_1_0_log.out").write_text("error: of another job, 7_1\n")
    found = "\n".join(Job("7", Path("/r/0"), tmp_path).why())
    assert why in found and "of before" not in found and "of another" not in found
    assert found.count("\n") <= 8


def test_each_run_of_a_group_has_its_own_reason(tmp_path):
    runs = ["error: of the first", "finished", "error: of the third\nsrun: error: n1: task 0: Exited with exit code 1"]
    log = "".join(f"== run {number} of 4\n{text}\n" for number, text in enumerate(runs, start=1))
    (tmp_path / "7_0_log.out").write_text(BEFORE + ATTEMPT + log)
    why = [Job("7", Path("/r/0"), tmp_path, place).why() for place in range(3)]
    assert why == [["error: of the first"], ["finished"], ["error: of the third"]]


def test_what_was_too_little_is_doubled(tmp_path, capsys):
    job = Job("7", Path("/r/0"), tmp_path)
    (tmp_path / "7.sh").write_text("#SBATCH --time=30\n#SBATCH --ntasks-per-node=2\n#SBATCH --mem=8192M\n")
    (tmp_path / "7_0_log.out").write_text("torch.OutOfMemoryError: CUDA out of memory\n")
    assert queue.enough(profile(), job).memory == 8
    (tmp_path / "7_0_log.out").write_text("error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***\n")
    assert queue.enough(profile(time=30), job).time == 60
    (tmp_path / "7_0_log.out").write_text("error: model=x: no\n")
    assert queue.enough(profile(), job) == profile()
    assert capsys.readouterr().out.count("this time") == 2


@pytest.mark.parametrize(
    "entry, said",
    [
        (("PENDING", "Priority", "", "0:00", "2026-01-02T03:04:05"), "waiting job 7: Priority, expected to start 2026"),
        (("PENDING", "Priority", "", "0:00", "N/A"), "waiting job 7: Priority"),
        (("RUNNING", "None", "n1", "1:00", "x"), "running job 7 on n1 for 1:00, no step yet"),
        (("SUSPENDED", "None", "n1", "1:00", "x"), "suspended job 7 on n1"),
        (("COMPLETING", "None", "n1", "1:00", "x"), "ending job 7 on n1"),
    ],
)
def test_the_state_of_a_job_is_slurms(tmp_path, entry, said):
    job = Job("7", tmp_path / "run", tmp_path)
    _, state, what, _ = status.row(job.run, job, {"7": queue.QueueEntry(*entry)})
    assert f"{state} {what}".startswith(said)


def test_what_a_person_ended_has_not_failed(tmp_path):
    job, log = Job("7", tmp_path / "run", tmp_path), tmp_path / "7_0_log.out"
    for end, state in {"*** JOB 7 ON n1 CANCELLED AT x ***": "cancelled", "error: no": "failed"}.items():
        log.write_text(f"{BEFORE}{ATTEMPT}slurmstepd: {end}\n")
        assert status.row(job.run, job, {})[1] == state
    log.write_text(f"{ATTEMPT}*** JOB 7 ON n1 CANCELLED AT x DUE TO TIME LIMIT ***\n")
    assert status.row(job.run, job, {})[1] == "failed"


def test_what_jobs_used_is_said_where_slurm_accounts_for_it(slurm, monkeypatch):
    (slurm / "accounts").write_text(
        "7_0|100|2|01:40.000||4G\n7_0.batch|100|2|00:01||\n7_0.0|100|2|01:39|1048576K|\n8|100|2|00:00:00||2048M\n"
    )
    [said] = accounting.used(["7_0", "8"])
    assert said == "ended jobs kept their cores busy for 50% of their time, the largest process took 1.0 of 4.0 GB"
    (slurm / "accounts").write_text("8|100|2|00:00:00||2048M\n")  # which nobody has measured
    assert accounting.used(["8"]) == []
    (slurm / "accounts").unlink()
    assert accounting.used(["7_0"]) == [] == accounting.used([])
    (slurm / "sacct").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(accounting, "PATIENCE", 0.1)
    assert accounting.used(["9"]) == []
    assert accounting.seconds("1-02:03:04") == timedelta(days=1, hours=2, minutes=3, seconds=4).total_seconds()


def test_a_log_is_found_by_its_run(tmp_path):
    folder = tmp_path / ".slurm" / "zoo"
    write_json(folder / "7.json", {"7_0": "/r/gru-s0", "7_10": ["/r/gru-s1", "/r/gru-s2"]})
    write_json(folder / "9.json", {"9": "/r/lstm-s0"})
    for name in ("7_0_0", "7_10_0", "7_10_1", "9_0"):
        (folder / f"{name}_log.out").touch()
    assert log_of("gru", 0, tmp_path).name == "7_10_0_log.out" and log_of("s2", 1, tmp_path).name == "7_10_1_log.out"
    assert log_of("", 0, tmp_path).name == "9_0_log.out"
    with pytest.raises(Refusal, match="^run=rnn: no job"):
        log_of("rnn", 0, tmp_path)


def test_a_copy_of_the_code_is_run_and_named(tmp_path):
    copy = copies.copy_code(tmp_path / "code")
    assert copies.copy_code(tmp_path / "code") == copy and not list(copy.rglob("__pycache__"))
    (copy / "pipeline" / "train.py").write_text("print('the copy')")
    asks = "from pipeline.runs.code import code_version as v; print(v()['copy']); import pipeline.train"
    said = subprocess.run(
        [sys.executable, "-c", asks],
        cwd=ROOT,  # the project's folder, as in a job
        env=os.environ | {"PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == f"{copy}\nthe copy\n"


def begun(run: Path, **facts: object) -> Path:
    """A run of which there is no more than its facts."""
    units = {"loss": "nats/char", "element": "char", "digits": ".4f", "also": {}, "logarithmic": False}
    code = {"commit": None, "dirty": None}
    facts = {"name": run.name, "study": "zoo", "hash": "0", "seed": 0, "created": "", "code": code, "data": ""} | facts
    write_json(run / "run.json", facts | {"process": 1, "parameters": 1, "units": units, "mlflow_run_id": None})
    return run


def test_a_record_that_waits_for_mlflow_is_told_of(tmp_path):
    said = "; its record waits for MLflow: the same command sends it"
    for name, facts in {
        "a": {"status": "finished", "validation": 1.25},
        "b": {"status": "diverged", "reason": "no"},
    }.items():
        run = begun(tmp_path / name, **facts, mlflow_waits=True)
        _, state, what, _ = status.row(run, None, {})
        assert (state, what) == (facts["status"], {"a": "validation 1.2500", "b": "no"}[name] + said)
        run = begun(run, **facts, mlflow_waits=False)
        assert "MLflow" not in status.row(run, None, {})[2]


def test_a_run_that_was_not_submitted_from_here_is_told_of(slurm, python, small, tmp_path, monkeypatch):
    """By sbatch slurm/train.sbatch, or within salloc."""
    run = begun(tmp_path / "runs" / "single" / "a", status="running", job="13")
    (slurm / "queue").write_text("13|RUNNING|None|n1|1:00|x\n")
    assert python("slurm.status", *small).splitlines() == [
        "a  running    job 13 on n1 for 1:00, no step yet",
        "1 running",
    ]
    (slurm / "queue").write_text("13|PENDING|BeginTime||0:00|N/A\n")
    begun(run, status="stopped", job="13")
    assert "a  waiting    job 13: BeginTime" in python("slurm.status", *small)
    (slurm / "queue").write_text("13|RUNNING|None|n1|0:05|x\n")  # put back, and about to go on
    assert "a  running    job 13 on n1 for 0:05" in python("slurm.status", *small)
    (slurm / "queue").write_text("")
    begun(run, status="running", job="13")
    assert "a  failed     killed at no step yet; the same command goes on" in python("slurm.status", *small)
    (tmp_path / "runs" / "single" / ".a.lock").touch()
    monkeypatch.setenv("PATH", "/nowhere")
    assert "a  running    job 13, unless that has ended: there is no SLURM here" in python("slurm.status", *small)


TRAIN = "/p/slurm/train.sbatch model=lstm data.path=a|b"


def test_cancel_ends_what_was_started_by_hand_by_its_run(slurm, python, small, tmp_path):
    from pipeline.runs.settling import directory_of

    study = tmp_path / "runs/single"
    lstm, gru = (directory_of(composed(*small, f"model={model}")) for model in ("lstm", "gru"))
    begun(lstm, status="running", job="13")
    begun(gru, status="stopped", job="14")  # and put back
    begun(study / "ended", status="finished", validation=1.0, job="15")  # whose job does something else now
    begun(study / "before", status="stopped", job="12")  # which is not in the queue any more
    (slurm / "queue").write_text("".join(f"{id}|RUNNING|None|n1|1:00|x\n" for id in (13, 14, 15, 16)))
    (slurm / "commands").write_text(f"13|{TRAIN}\n14|slurm/train.sbatch\n15|{TRAIN}\n16|(null)\n")
    said = python("slurm.cancel", *small, "model=lstm")
    assert said == "cancelled 1 jobs of 1 runs of single: 13; 1 other runs stay in the queue\n"
    write_json(tmp_path / "runs/.slurm/single/16.json", {"16": "/r/0"})
    said = python("slurm.cancel", "study=single", f"paths.runs={tmp_path}/runs")
    assert re.fullmatch("cancelled 3 jobs of 3 runs of single: 16 (13 14|14 13)\n", said)
    first, second = (slurm / "cancelled").read_text().splitlines()
    assert first == "13" and set(second.split()) == {"13", "14", "16"}


@pytest.mark.parametrize(
    "command",
    [
        f"{TRAIN} -m",
        f"{TRAIN} --multirun seed=0",
        "(null)",
        "/p/ours.sbatch /p/slurm/train.sbatch",
        "/p/slurm/train.sbatch.old",
    ],
)
def test_cancel_leaves_alone_what_may_hold_more_than_one_run_and_says_how_to_end_it(
    slurm, python, small, tmp_path, command
):
    for name, job in {"a": "13", "b": "14"}.items():
        begun(tmp_path / "runs/single" / name, status="running", job=job)
    (slurm / "queue").write_text("13|RUNNING|None|n1|1:00|x\n14|RUNNING|None|n1|1:00|x\n")
    (slurm / "commands").write_text(f"13|{command}\n14|{TRAIN}\n")
    ended, refused = python("slurm.cancel", "study=single", f"paths.runs={tmp_path}/runs", code=1).splitlines()
    assert ended == "cancelled 1 jobs of 1 runs of single: 14; 1 other runs stay in the queue"
    assert refused == (
        "error: job 13 trains a: not started by sbatch slurm/train.sbatch for that run alone, and may hold more: "
        "scancel 13 ends all of it"
    )
    assert (slurm / "cancelled").read_text() == "14\n"


def test_two_runs_that_name_one_job_are_not_of_one_run(slurm, python, small, tmp_path):
    for name in ("a", "b"):
        begun(tmp_path / "runs/single" / name, status="stopped", job="13")
    (slurm / "queue").write_text("13|RUNNING|None|n1|1:00|x\n")
    (slurm / "commands").write_text(f"13|{TRAIN}\n")
    refused = python("slurm.cancel", "study=single", f"paths.runs={tmp_path}/runs", code=1).splitlines()[-1]
    assert {"job 13 trains a", "job 13 trains b"} <= set(re.split("; |: ", refused))
    assert refused.endswith("scancel 13 ends all of it") and not (slurm / "cancelled").exists()


def test_a_run_that_was_submitted_and_then_started_by_hand_is_told_of(slurm, python, small, tmp_path):
    run = begun(tmp_path / "runs/single/a", status="running", job="13")
    write_json(tmp_path / "runs/.slurm/single/7.json", {"7": f"{run}"})
    (slurm / "queue").write_text("13|RUNNING|None|n1|1:00|x\n")
    assert "a  running    job 13 on n1 for 1:00" in python("slurm.status", *small)


def test_copies_of_the_code_that_nothing_needs_are_removed_at_a_submission(slurm, tmp_path):
    kept = tmp_path / ".slurm"
    runs = {
        "goes-on": begun(tmp_path / "a", status="stopped"),
        "unsent": begun(tmp_path / "b", status="finished", validation=1.0, mlflow_waits=True),
        "damaged": begun(tmp_path / "c", status="no such"),
        "ended": begun(tmp_path / "d", status="finished", validation=1.0),
        "fresh": tmp_path / "d",
        "young": tmp_path / "d",
        "removed": tmp_path / "e",
    }
    for number, (name, run) in enumerate(runs.items(), start=101):
        write_json(kept / "code" / name / "copied.json", {})
        job = submission(2).script(kept / "zoo", kept / "code" / name, [[Path("/r/0")], [Path("/r/1")]], 1)
        (kept / "zoo").mkdir(exist_ok=True)
        (kept / "zoo" / f"{number}.sh").write_text(job)
        write_json(kept / "zoo" / f"{number}.json", {f"{number}_0": [str(run)], f"{number}_1": str(tmp_path / "d")})
    for name in ("by-sbatch", "by-sbatch-before", ".half.17"):
        (kept / "code" / name).mkdir()
    (kept / "200.code").write_text(f"{kept}/code/by-sbatch\n")
    (kept / "201.code").write_text(f"{kept}/code/by-sbatch-before\n")
    (kept / "zoo" / "strange.sh").write_text("echo\n")
    (slurm / "queue").write_text("105_1|PENDING|Priority||0:00|x\n200|RUNNING|None|n1|1:00|x\n")
    for copy in (kept / "code").iterdir():
        if copy.name != "young":
            os.utime(copy, (0, 0))

    def left() -> set[str]:
        return {copy.name for copy in (kept / "code").iterdir()}

    before = left()
    (slurm / "away").write_text("1\n" * 3)
    [job] = queue.submit([submission(1)], kept / "other")
    assert left() == before | {job.code.name}  # SLURM does not say what is in its queue
    (slurm / "queue").rename(slurm / "kept")
    (slurm / "queue").write_text("strange\n")
    queue.submit([submission(1)], kept / "other")
    assert left() == before | {job.code.name}
    (slurm / "kept").rename(slurm / "queue")
    (tmp_path / "elsewhere").symlink_to(tmp_path)  # by which the same folder is submitted from
    kept = tmp_path / "elsewhere" / ".slurm"
    queue.submit([submission(1)], kept / "other")
    assert left() == {"goes-on", "unsent", "damaged", "fresh", "young", "by-sbatch", job.code.name}
    os.utime(job.code, (0, 0))
    assert copies.copy_code(kept / "code").samefile(job.code) and job.code.stat().st_mtime > 0  # young again


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["before the run", "as the run before ends", "as the run begins"])
def test_a_signal_between_two_runs_of_a_group_ends_the_job_as_a_kill_does(monkeypatch, tmp_path, number, moment):
    """SLURM says once that the time limit comes: a run that began after that would not save."""
    import pipeline.train

    def comes(now: str, holds: bool = True):
        if now == moment and holds and (tmp_path / "one").exists():
            signal.raise_signal(number)

    def waitpid(process, options, waitpid=os.waitpid):
        found = waitpid(process, options)
        comes("as the run before ends", found[0] != 0)
        return found

    def fork(fork=os.fork):
        child = fork()
        comes("as the run begins")
        return child

    monkeypatch.setattr(pipeline.train, "main", lambda: (tmp_path / sys.argv[1]).touch())
    monkeypatch.setattr(os, "waitpid", waitpid)
    monkeypatch.setattr(os, "fork", fork)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    try:
        assert several.several(["one", "two"], lambda: comes("before the run") or ()) == 128 + number
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
    assert (tmp_path / "one").exists() and not (tmp_path / "two").exists()


def test_several_runs_go_on_after_an_error_and_what_is_cancelled_and_end_with_what_is_killed(monkeypatch, tmp_path):
    import pipeline.train

    def main():
        (tmp_path / sys.argv[1]).touch()
        match sys.argv[1]:
            case "refused":
                sys.exit("error: refused")
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stopped":
                sys.exit(130)
            case "waits":  # until it alone is cancelled, and one that has not begun
                signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
                withdrawn.add(tmp_path, "7_3", [0, 1])
                time.sleep(60)
                os._exit(3)

    monkeypatch.setattr(pipeline.train, "main", main)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    try:
        assert several.several(["one", "'two words'"], set) == 0 and (tmp_path / "two words").exists()
        assert several.several(["refused", "three"], set) == 1 and (tmp_path / "three").exists()
        assert several.several(["killed", "four"], set) == 137 and several.several(["stopped", "four"], set) == 130
        assert not (tmp_path / "four").exists()
        job = {"JOB_LOGS": f"{tmp_path}", "SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
        for name, value in job.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(several, "LOOK", 0.01)
        assert several.several(["waits", "five", "six"], withdrawn.of_this_job) == 0
        assert not (tmp_path / "five").exists() and (tmp_path / "six").exists()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
