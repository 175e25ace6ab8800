"""What SLURM adds to a run and to a sweep, what two processes gain, and what to expect of up to 64 GPUs."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.training import prepared
from pipeline.command.settings import CONF
from pipeline.runs.directory import RunDirectory

ROOT = CONF.parent
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
ROUNDS, RUNS = 2, 4
WARM, STEPS = 3, 12  # steps of a run before those that are timed, and those
SIZES = (128, 256)  # hidden units


def measure() -> str:
    """A Markdown section."""
    measured = ["SLURM is not installed here (`make slurm`): not measured."]
    if shutil.which("slurmctld", path=PATH):
        with tempfile.TemporaryDirectory() as folder:
            cluster = [str(ROOT / "slurm" / "test_cluster.sh"), "up", f"{folder}/cluster"]
            up = subprocess.run(cluster, check=True, capture_output=True, text=True).stdout
            try:
                measured = _measured(Path(folder), up.strip().removeprefix("export SLURM_CONF="))
            finally:
                subprocess.run([cluster[0], "down", cluster[2]], check=True)
    return "\n".join(["## SLURM", "", *measured, "", *_on_paper()])


def _measured(folder: Path, conf: str) -> list[str]:
    environment = {**os.environ, "SLURM_CONF": conf, "PATH": PATH, "OMP_NUM_THREADS": "1"}
    text = prepared(folder)
    profile = ["hydra/launcher=slurm", "hydra.launcher.memory=1"]

    def output(*words: str) -> str:
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout

    def python(name: str, module: str, *overrides: str) -> float:
        """Seconds that the command takes, with its runs in the folder `name`."""
        began = time.time()
        output(sys.executable, "-m", module, *text, f"paths.runs={folder}/{name}", *overrides)
        return time.time() - began

    def first_step(name: str, module: str, *overrides: str) -> float:
        """Seconds from the command to the end of the run's first step."""
        began = time.time()
        python(name, module, "trainer.steps=1", *overrides)
        while output("squeue", "--noheader"):
            time.sleep(0.2)
        for file in (folder / name).glob("single/*/metrics.jsonl"):
            return file.stat().st_mtime - began
        logs = "".join(log.read_text() for log in (folder / name).glob(".slurm/*/*.out"))
        raise RuntimeError(f"the job in {folder / name} has ended without a step:\n{logs}")

    alone = min(first_step(f"alone{round}", "pipeline.train") for round in range(ROUNDS))
    job = min(first_step(f"job{round}", "slurm.submit", *profile) for round in range(ROUNDS))
    short = ["-m", "scale=smoke", "trainer.steps=20", f"seed=range({RUNS})"]
    pool = python("pool", "pipeline.train", *short, "hydra/launcher=local_pool", "hydra.launcher.n_jobs=2")
    array = python("array", "pipeline.train", *short, *profile, "hydra.launcher.at_once=2")

    steps = ["-m", "model.layers=2", f"model.hidden={','.join(map(str, SIZES))}", "trainer.length=50"]
    steps += [f"trainer.steps={WARM + STEPS}", f"trainer.record_every={WARM}"]
    here = ["trainer.batch=100,50"]
    # All in one job, one after the other.
    there = ["trainer.batch=100", "trainer.nodes=2", *profile, f"hydra.launcher.group={ROUNDS * len(SIZES)}"]
    python("here", "pipeline.train", *steps, *here, "seed=0")
    python("there", "pipeline.train", *steps, *there, f"seed=range({ROUNDS})")
    for round in range(1, ROUNDS):
        python("here", "pipeline.train", *steps, *here, f"seed={round}")
    rows = []
    for hidden in SIZES:
        one, share = (_step(folder / "here", hidden, batch) for batch in (100, 50))
        two = _step(folder / "there", hidden, 100)
        rows.append(
            f"| 2 x {hidden} | {one:.0f} | {share:.0f} | {two:.0f} | {one / two:.2f} | "
            f"{100 * max(0.0, 1 - share / two):.0f}% |"
        )
    return [
        f"On two made-up nodes of this machine (`slurm/test_cluster.sh`), one thread a process; of {ROUNDS} rounds the "
        "fastest.",
        "",
        "| | seconds |",
        "|---|---:|",
        f"| `pipeline.train`: from the command to the end of the first step | {alone:.1f} |",
        f"| the same by `slurm.submit` | {job:.1f} |",
        f"| {RUNS} runs of 20 small steps, two at a time, `local_pool` (keeps its processes) | {pool:.1f} |",
        f"| the same as an array (a process a run) | {array:.1f} |",
        "",
        f"LSTM, B=100 over all ranks, T=50, milliseconds a step, training alone, {STEPS} steps after {WARM}. A rank's "
        "share is one process with B=50; what two ranks need beyond it is communication and waiting.",
        "",
        "| | one process | a rank's share | two nodes, gloo | gain | communication |",
        "|---|---:|---:|---:|---:|---:|",
        *rows,
    ]


def _step(runs: Path, hidden: int, batch: int) -> float:
    """Milliseconds a training step of the runs there of this size and batch: of their seeds the fastest, as other work
    on the machine only adds."""
    found = []
    for file in runs.glob("single/*/run.json"):
        run = RunDirectory(file.parent)
        cfg = run.config()
        if (cfg.model.hidden, cfg.trainer.batch) == (hidden, batch):
            seconds = {record["step"]: record["seconds"] for record in run.records()}
            found.append(1000 * (seconds[WARM + STEPS] - seconds[WARM]) / STEPS)
    return min(found)


# A node as sold today, and a network between such nodes.
A_NODE = 8  # GPUs
# Bytes a second that a ring moves between two GPUs of a node (NVLink), of two nodes (200 Gbit/s, four fifths of it)
INSIDE, BETWEEN = 200e9, 20e9
HOP = {False: 5e-6, True: 15e-6}  # seconds of latency a hop of the ring: inside a node, between nodes
RATE = 20e12  # FLOP a second reached in the step products of a recurrent layer (float32 by TF32; they are small)
KERNEL = 10e-6  # seconds that a step of a layer takes at least, however small: a launch and a pass through the state


def expected(gpus: int, parameters: int, layers: int, batch: int, length: int) -> tuple[float, float]:
    """Seconds of computation and of communication in a training step of a recurrent network on so many GPUs.

    computation    the larger of 6 * parameters * batch/gpus * length FLOP at RATE, and 3 * layers * length times KERNEL
                   (forward, and twice that backward): time steps follow one another however small a rank's share is
    communication  the ring all-reduce of the gradient, 4 bytes a parameter: 2 (gpus - 1) hops of 1/gpus of it each, at
                   the speed of the slowest link. Nothing of it is hidden: the gradients of all matrices are ready at
                   the end only, when weight gradients are deferred
    """
    computation = max(6 * parameters * batch / gpus * length / RATE, 3 * layers * length * KERNEL)
    between = gpus > A_NODE
    hop = 4 * parameters / gpus / (BETWEEN if between else INSIDE) + HOP[between]
    return computation, 2 * (gpus - 1) * hop


def _on_paper() -> list[str]:
    layers, hidden, vocabulary, length = 2, 512, 100, 100
    parameters = (
        4 * hidden * (vocabulary + hidden + 1)
        + (layers - 1) * 4 * hidden * (2 * hidden + 1)
        + vocabulary * (hidden + 1)
    )
    lines = []
    for gpus in (1, 2, 4, 8, 16, 32, 64):
        cells = []
        for batch in (128, 128 * gpus):
            computation, communication = expected(gpus, parameters, layers, batch, length)
            alone = sum(expected(1, parameters, layers, batch, length))
            cells += [
                f"{1000 * (computation + communication):.1f}",
                f"{alone / (computation + communication):.1f}",
                f"{100 * communication / (computation + communication):.0f}%",
            ]
        lines.append(f"| {gpus} | {-(-gpus // A_NODE)} | {' | '.join(cells)} |")
    return [
        "### Expected of 1 to 64 GPUs, on paper",
        "",
        f"An LSTM of {layers} x {hidden} over {vocabulary} symbols ({parameters / 1e6:.1f} million parameters, "
        f"{4 * parameters / 1e6:.1f} MB of gradient), T={length}. Assumed, not measured: nodes of {A_NODE} GPUs; a "
        f"ring all-reduce, 2 (N - 1) hops of 1/N of the gradient, at {INSIDE / 1e9:.0f} GB/s and "
        f"{1e6 * HOP[False]:.0f} us inside a node, {BETWEEN / 1e9:.0f} GB/s and {1e6 * HOP[True]:.0f} us between "
        f"nodes, none of it hidden; {RATE / 1e12:.0f} TFLOP/s in the products, and at least {1e6 * KERNEL:.0f} us a "
        "time step and layer. Gain is over one GPU with the same B.",
        "",
        "| GPUs | nodes | "
        "B=128 in all: ms a step | gain | communication | B=128 a GPU: ms a step | gain | communication |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
        *lines,
        "",
        "So a batch of the published size gains little: below some 60 streams a GPU the time steps, one after "
        "another, are the limit, and more GPUs only add hops. Several GPUs pay for larger batches, and for sweeps, "
        "where each trains its own run.",
    ]
