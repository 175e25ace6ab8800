"""Runs as jobs: putting them into SLURM's queue, and knowing which job is which run.

What was submitted is kept in <runs>/.slurm/<study>/: for each submission its script and a file with the runs of each of
its jobs, and their logs. The code that they run is in <runs>/.slurm/code/.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pipeline.command.controller import Unanswered, ask
from pipeline.command.refusal import Refusal
from pipeline.command.setting import SLURM_TIME
from pipeline.files.whole import read_json, write_atomically, write_json
from pipeline.runs.directory import RunDirectory
from slurm import withdrawn
from slurm.copies import copy_code, prune
from slurm.script import script
from slurm.times import minutes

# In what sbatch says where the controller is away or busy
AWAY = re.compile(r"unable to contact|timed out|connection (refused|reset)|zero bytes|communication", re.IGNORECASE)
SLURMS = re.compile(r"srun: error: (\S+): tasks? ([\d,-]+): (.+)")
AT_ONCE = 500  # jobs in one command
NOISE = ("srun: ", "slurmstepd: ", "Error executing job with overrides", "== job ")
TEMPORARY = ("down", "drain", "drng", "boot", "fail", "maint", "resv", "unk", "comp")  # states of nodes


@dataclass(frozen=True)
class Job:
    """A run in SLURM: `id` is 12, or 12_3 in an array; `place` is where it comes in a job that holds a group."""

    id: str
    run: Path
    folder: Path
    place: int = 0

    @property
    def log(self) -> Path:
        """Of its first task."""
        return self.log_of(0)

    def log_of(self, rank: int) -> Path:
        return self.folder / f"{self.id}_{rank}_log.out"

    @property
    def script(self) -> Path:
        return self.folder / f"{self.id.split('_')[0]}.sh"

    @property
    def code(self) -> Path | None:
        """The copy of the code that it runs."""
        return _code_of(self.script.read_text())

    @property
    def withdrawn(self) -> bool:
        """Whether a person has ended this run alone, and not the others of its group."""
        return self.place in withdrawn.of(self.folder, self.id)

    @property
    def cancelled(self) -> bool:
        """Whether it was ended by a person."""
        logs = self._logs()
        if logs and re.search(r"CANCELLED AT \S+ \*\*\*", _last_attempt(logs[0])) is not None:
            return True
        return self.withdrawn

    def trains(self, entry: "QueueEntry | None") -> bool:
        """Whether it is to train its run, or is at it, where the queue says this of it: a job that holds a group goes
        on with others."""
        return entry is not None and not self.withdrawn and (entry.state == "PENDING" or not _over(self.run))

    def why(self) -> list[str]:
        """Why it failed: what SLURM or the run says of it, in a line where that is enough; the end of its log
        otherwise. Of its last attempt."""
        texts = [self._own(_last_attempt(file)) for file in self._logs()]
        if not texts:
            return []
        first = texts[0]
        for ended in (out_of_memory, out_of_time):
            if ended(first):
                return [ended(first)]
        refused = [line for text in texts for line in text.splitlines() if line.startswith("error: ")]
        if refused:
            return refused[:1]
        traceback = next((text for text in texts if "Traceback" in text), None)
        said = SLURMS.search(first)
        if said is not None and not said[3].startswith("Exited") and (traceback is None or len(texts) > 1):
            given = [line for line in first.splitlines() if line.startswith("killed (exit code")]
            return [f"rank {said[2]} was killed on {said[1]} ({said[3]})", *given[-1:]]
        told = traceback or first
        return [line for line in told.splitlines() if not line.startswith(NOISE)][-8:]

    def _own(self, log: str) -> str:
        """What is of this run in the log of a group; all where it was not begun."""
        _, begins, rest = log.partition(f"== run {self.place + 1} of ")
        return rest.partition("\n")[2].partition("== run ")[0] if begins else log

    def lacked(self) -> tuple[int | None, int | None]:
        """Memory in MB for each device, and minutes, of which it had too little; None for what was enough."""
        logs = self._logs()
        if not logs or not self.script.exists():
            return None, None
        log, text = _last_attempt(logs[0]), self.script.read_text()
        asked = dict(re.findall(r"^#SBATCH --(mem|time|ntasks-per-node)=(\d+)", text, re.MULTILINE))
        memory = int(asked["mem"]) // int(asked["ntasks-per-node"]) if out_of_memory(log) else None
        return memory, int(asked["time"]) if out_of_time(log) else None

    def _logs(self) -> list[Path]:
        """Of its tasks, the first one's first."""
        logs = self.folder.glob(f"{self.id}_*_log.out")
        ranks = {int(file.name.removeprefix(f"{self.id}_").split("_")[0]): file for file in logs if _is_log(file, self)}
        return [ranks[rank] for rank in sorted(ranks)]


def _is_log(file: Path, job: Job) -> bool:
    return re.fullmatch(rf"{job.id}_\d+_log\.out", file.name) is not None


def _last_attempt(log: Path) -> str:
    text = log.read_text(errors="replace")
    return text[max(text.rfind("\n== job "), 0) :]


def out_of_memory(log: str) -> str | None:
    """What happened, where the log of a job's last attempt says so."""
    found = re.search(r"oom-kill|[Oo]ut [Oo]f [Mm]emory|OutOfMemoryError|OUT_OF_MEMORY|exceeded memory limit", log)
    return "out of memory: the same command asks for twice as much, or set hydra.launcher.memory" if found else None


def out_of_time(log: str) -> str | None:
    """What happened, where the log of a job's last attempt says so."""
    if "DUE TO TIME LIMIT" not in log:
        return None
    return (
        "the time limit came before it could save: the same command asks for twice as much, or set hydra.launcher.time "
        "and hydra.launcher.notice"
    )


def enough(profile: DictConfig, job: Job | None) -> DictConfig:
    """Twice the memory or time of a run's last job, where that is what it lacked."""
    if job is None:
        return profile
    memory, time = job.lacked()
    if memory is not None:
        gb = 2 * memory / 1024
        more = gb - profile.gpus * profile.gpu_memory
        print(f"{job.run.name}: out of memory in job {job.id}: this time {gb:g} GB for each device", flush=True)
        return OmegaConf.merge(profile, {"memory": max(profile.memory, more)})
    if time is not None:
        print(f"{job.run.name}: out of time in job {job.id}: this time {2 * time} minutes", flush=True)
        return OmegaConf.merge(profile, {"time": max(minutes(profile.time), 2 * time)})
    return profile


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
    return identify(settled, data).directory.absolute()


def folder(cfg: DictConfig) -> Path:
    """Where the jobs of the composed run's study are kept."""
    return (Path(cfg.paths.runs) / ".slurm" / cfg.study.name).absolute()


@dataclass(frozen=True)
class Submission:
    """What one submission is to hold: runs that want the same resources, and the words that `python -m pipeline.train`
    trains each with."""

    profile: DictConfig
    devices: int
    nodes: int
    runs: Mapping[Path, Sequence[str]]

    def jobs(self) -> list[list[Path]]:
        """The runs of each job."""
        runs, size = list(self.runs), self.profile.group
        return [runs[at : at + size] for at in range(0, len(runs), size)]

    def script(self, folder: Path, code: Path, jobs: Sequence[Sequence[Path]], at_once: int) -> str:
        words = [[self.runs[run] for run in runs] for runs in jobs]
        return script(self.profile, folder, code, words, self.devices, self.nodes, at_once)


def submit(submissions: Sequence[Submission], folder: Path, waiting: Sequence[Job] = ()) -> list[Job]:
    """One job for each run, or each group of them, in arrays as large as SLURM takes them, of which at_once run at a
    time, together with what is `waiting` of the same study. Copies of the code that nothing needs any more are removed.

    Refusal: they make no sense, can never run, or SLURM does not want them; before any is submitted, as far as SLURM
    knows that before.
    """
    if not submissions:
        return []
    code, found = copy_code(folder.parent / "code"), []
    most = array_size() if any(len(submission.jobs()) > 1 for submission in submissions) else 1
    for submission in submissions:
        refuse_impossible(
            submission.profile, submission.script(folder, code, submission.jobs()[:most], submission.profile.at_once)
        )
    before = list(dict.fromkeys(job.id for job in waiting))
    for submission in submissions:
        jobs = submission.jobs()
        for at in range(0, len(jobs), most):
            part = jobs[at : at + most]
            left = submission.profile.at_once - len(before)
            options = []
            if left <= 0:
                arrays = dict.fromkeys(id.split("_")[0] for id in before)
                options, left = [f"--dependency=afterany:{':'.join(arrays)}"], submission.profile.at_once
            text = submission.script(folder, code, part, left)
            id = _sbatch(text, *options, "--parsable")
            write_atomically(folder / f"{id}.sh", text)
            ids = [id] if len(part) == 1 else [f"{id}_{number}" for number in range(len(part))]
            write_json(folder / f"{id}.json", {one: [str(run) for run in runs] for one, runs in zip(ids, part)})
            found += [Job(one, run, folder, n) for one, runs in zip(ids, part) for n, run in enumerate(runs)]
            before += ids
    with suppress(Refusal, OSError):  # what is in doubt is kept
        prune(code.parent, needed)
    return found


def needed(copies: Collection[Path]) -> set[Path]:
    """Those of these copies of the code that a job in the queue runs, or with which a run was submitted that has begun
    and not ended. Refusal: SLURM does not say what is in its queue, or a file is damaged."""
    there = ask("squeue", "--noheader", "--format=%F").split()  # of all users, who may share the folder
    if not all(id.isdecimal() for id in there):
        raise _no_queue(there[0])
    kept = next(iter(copies)).parent.parent
    begun = {file.stem: Path(file.read_text().strip()) for file in kept.glob("*.code")}  # by slurm/train.sbatch
    found = {copy.name for id, copy in begun.items() if id in there}
    left = {copy.name for copy in copies} - found  # by their names: the folder may have several paths
    for file in kept.glob("*/*.sh"):
        copy = _code_of(file.read_text())
        asked = copy is not None and copy.name in left
        if asked and (file.stem in there or _goes_on(file.with_suffix(".json"))):
            left.remove(copy.name)
    return {copy for copy in copies if copy.name not in left}


def _code_of(script: str) -> Path | None:
    """The copy of the code that the jobs of a script run; None where it is none of slurm.script."""
    sourced = re.search(r"^\. (.+/slurm/job\.sh'?)$", script, re.MULTILINE)
    return Path(*shlex.split(sourced[1])).parents[1] if sourced else None


def _goes_on(submission: Path) -> bool:
    """Whether a run of the submission has begun and not ended."""
    jobs = _runs_of(submission) if submission.exists() else {}
    return any((run / "run.json").exists() and not _over(run) for runs in jobs.values() for run in map(Path, runs))


def would_submit(submission: Submission, folder: Path) -> str:
    """What `submit` would give to sbatch, and what SLURM says of it."""
    text = submission.script(folder, folder.parent / "code" / "copy", submission.jobs(), submission.profile.at_once)
    return f"{text}\nSLURM: {refuse_impossible(submission.profile, text)}"


def array_size() -> int:
    """The most jobs that SLURM takes as one array."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"))
    return max(1, int(found[1])) if found else 1001  # 0: no arrays


def refuse_impossible(profile: DictConfig, text: str) -> str:
    """What SLURM says of when the script would run. Refusal: never, on the nodes and with the limits that there are."""
    limits = ask("sinfo", "--noheader", "--format=%P|%l")
    wanted = minutes(profile.time)
    allowed = [
        (name, limit)
        for name, _, limit in (line.strip().partition("|") for line in limits.splitlines())
        if (name.rstrip("*") in profile.partition.split(",") if profile.partition else name.endswith("*"))
    ]
    most = [minutes(limit) for _, limit in allowed if re.fullmatch(rf"\d+|{SLURM_TIME}", limit)]
    if allowed and len(most) == len(allowed) and wanted > max(most):
        raise Refusal(
            f"hydra.launcher.time={profile.time}: partition {allowed[0][0].rstrip('*')} allows "
            f"{allowed[0][1]}: the job would wait for ever; a run that needs longer goes on by itself"
        )
    done = subprocess.run(["sbatch", "--test-only"], input=text, capture_output=True, text=True)
    said = " ".join(line.strip() for line in done.stderr.replace("sbatch: ", "").splitlines() if line.strip())
    if done.returncode == 0:
        return said
    states = ask("sinfo", "--noheader", "--format=%t").split()
    if "not available" in said and any(state.rstrip("*~#!%$@^-").startswith(TEMPORARY) for state in states):
        print(f"warning: SLURM could not run this now, as some nodes are away: {said}", flush=True)
        return said
    raise _refused(said)


def _sbatch(text: str, *words: str) -> str:
    done = subprocess.run(["sbatch", *words], input=text, capture_output=True, text=True)
    said = " ".join(done.stderr.replace("sbatch: error: ", "").split())
    id = re.search(r"\d+", done.stdout)
    if done.returncode or id is None:
        raise _refused(said or done.stdout.strip())
    return id[0]


def _refused(said: str) -> Refusal:
    if AWAY.search(said):
        return Unanswered(
            f"SLURM does not answer (sbatch: {said[-300:]}), and may have taken the job all the same: see squeue, then "
            "say the same again"
        )
    return Refusal(f"SLURM refuses the job: {said[-300:]}: see conf/hydra/launcher/slurm.yaml")


def submitted(folder: Path) -> list[Job]:
    """All jobs that the folder knows of, the newest last. Refusal: a file of the folder is damaged."""
    files = sorted((file for file in folder.glob("*.json") if file.stem.isdecimal()), key=lambda file: int(file.stem))
    return [
        Job(id, Path(run).absolute(), folder, place)
        for file in files
        for id, runs in _runs_of(file).items()
        for place, run in enumerate(runs)
    ]


def _runs_of(submission: Path) -> dict[str, list[str]]:
    """The runs of each job of a submission. Refusal: its file is damaged."""
    mend = "move it away, and look for its jobs with squeue"
    jobs = read_json(submission, mend, dict[str, str | list[str]])
    return {id: [runs] if isinstance(runs, str) else runs for id, runs in jobs.items()}


@dataclass(frozen=True)
class QueueEntry:
    """Of a job in the queue: SLURM's words for its state, why it waits, where it runs, for how long, and since when or,
    as far as SLURM knows, from when on."""

    state: str
    reason: str
    nodes: str
    time: str
    start: str


def queued() -> dict[str, QueueEntry]:
    """The user's jobs in the queue by their ids. Refusal: there is no SLURM here; Unanswered: it does not answer."""
    if shutil.which("squeue") is None:
        raise Refusal(
            "there is no SLURM on this machine (no squeue): "
            "submit where there is one, or take hydra/launcher=local_pool"
        )
    said = ask("squeue", f"--user={os.getuid()}", "--array", "--noheader", "--format=%i|%T|%r|%N|%M|%S")
    rows = [line.split("|") for line in said.splitlines()]
    if any(len(row) != 6 for row in rows):
        raise _no_queue(rows[0][0])
    return {id: QueueEntry(*entry) for id, *entry in rows}


def _no_queue(said: str) -> Unanswered:
    return Unanswered(f"squeue says {said[:100]!r}, which is no queue: see `type squeue`")


def by_hand(runs: Iterable[Path], submitted: Iterable[Job], entries: Mapping[str, QueueEntry]) -> dict[Path, str]:
    """Those of these runs that a job in the queue trains which is none of `submitted`, by sbatch slurm/train.sbatch or
    within salloc, and that job's id."""
    ours = {job.id for job in submitted}
    facts = {run: RunDirectory(run).legible_facts for run in runs}
    return {
        run: known["job"]
        for run, known in facts.items()
        if known.get("job") in entries and known["job"] not in ours and known.get("status") in ("running", "stopped")
    }


def of_one_run(ids: Iterable[str]) -> set[str]:
    """Those of these jobs of the user that hold one run and nothing else: by sbatch slurm/train.sbatch without -m.
    Unanswered: SLURM does not say."""
    said = ask("squeue", f"--user={os.getuid()}", "--array", "--noheader", "--format=%i|%o")
    commands = dict(line.partition("|")[::2] for line in said.splitlines())
    # A path with blanks cannot be told from a script and its arguments.
    script = re.compile(r"(\S*/)?slurm/train\.sbatch(?! (.* )?(-m|--multirun)( |$))( |$)")
    return {id for id in ids if script.match(commands.get(id, ""))}


def cancel(jobs: Sequence[Job], others: Iterable[Job], more: Iterable[str] = ()) -> list[str]:
    """Ends these jobs and `more`, by their ids; jobs that have to train others, too, withdraw their runs and go on.
    Returns the ids of the latter. Unanswered: SLURM does not."""
    shared = {job.id for job in others}
    ended, go_on = (list(dict.fromkeys(job.id for job in jobs if (job.id in shared) is so)) for so in (False, True))
    for id in go_on:
        [folder] = {job.folder for job in jobs if job.id == id}
        withdrawn.add(folder, id, [job.place for job in jobs if job.id == id])
    ended += more
    for at in range(0, len(ended), AT_ONCE):
        ask("scancel", *ended[at : at + AT_ONCE], mend="see squeue, then say the same again")
    return go_on


def outcome(run: Path) -> float | None:
    """The best validation loss of a run that has ended, infinity if it diverged; None for one that has not ended."""
    facts = RunDirectory(run).facts
    return {"finished": facts.get("validation"), "diverged": float("inf")}.get(facts.get("status"))


def ended(run: Path) -> bool:
    """Whether nothing is left to do for a run: it has ended, and MLflow has been told where it should be. Refusal: its
    run.json is damaged."""
    return outcome(run) is not None and not RunDirectory(run).facts.get("mlflow_waits")


def _over(run: Path) -> bool:
    """`ended`; not where that cannot be read."""
    try:
        return ended(run)
    except (Refusal, OSError):
        return False
