"""What SLURM adds to a run and to a sweep, what two processes gain, and what to expect of up to 64 GPUs."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.training import prepared
from pipeline.command.settings import CONF

ROOT = CONF.parent
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
ROUNDS, RUNS, STEPS = 3, 8, 60


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
    profile = ["hydra/launcher=slurm", "hydra.launcher.memory=1", "hydra.launcher.at_once=2"]

    def python(module: str, *overrides: str) -> float:
        """Seconds that the command takes."""
        began = time.time()
        done = subprocess.run(
            [sys.executable, "-m", module, *overrides], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return time.time() - began

    def first_step(name: str, module: str, *overrides: str) -> float:
        """Seconds from the command to the end of the run's first step."""
        began = time.time()
        python(module, *text, "trainer.steps=1", f"paths.runs={folder}/{name}", *overrides)
        return _when(folder / name, "metrics.jsonl") - began

    alone = min(first_step(f"alone{round}", "pipeline.train") for round in range(ROUNDS))
    job = min(first_step(f"job{round}", "slurm.submit", *profile) for round in range(ROUNDS))
    short = [*text, "scale=smoke", "trainer.steps=20", f"seed=range({RUNS})"]
    pool = python(
        "pipeline.train",
        "-m",
        *short,
        f"paths.runs={folder}/pool",
        "hydra/launcher=local_pool",
        "hydra.launcher.n_jobs=2",
    )
    array = python("pipeline.train", "-m", *short, f"paths.runs={folder}/array", *profile)

    def step(name: str, *overrides: str, module: str = "pipeline.train") -> float:
        """Milliseconds a training step."""
        shape = ["model.layers=2", "trainer.length=50", f"trainer.steps={STEPS}", f"paths.runs={folder}/{name}"]
        python(module, *text, *shape, *overrides)
        while True:
            newest = max((folder / name).glob("single/*/run.json"), key=lambda file: file.stat().st_mtime, default=None)
            facts = json.loads(newest.read_text()) if newest else {}
            if facts.get("status") == "finished" and f"seed={facts['seed']}" in overrides:
                return 1000 * facts["seconds"] / STEPS
            time.sleep(1)

    rows = []
    for hidden in (128, 256):
        size = [f"model.hidden={hidden}"]
        # The fastest of some rounds in turn: other work on the machine only adds.
        one, share, two = (
            min(times)
            for times in zip(
                *(
                    (
                        step(f"one{hidden}", "trainer.batch=100", f"seed={round}", *size),
                        step(f"share{hidden}", "trainer.batch=50", f"seed={round}", *size),
                        step(
                            f"two{hidden}",
                            "trainer.batch=100",
                            "trainer.nodes=2",
                            f"seed={round}",
                            *size,
                            *profile,
                            module="slurm.submit",
                        ),
                    )
                    for round in range(ROUNDS)
                ),
                strict=True,
            )
        )
        rows.append(
            f"| 2 x {hidden} | {one:.0f} | {share:.0f} | {two:.0f} | {one / two:.2f} | "
            f"{100 * max(0.0, 1 - share / two):.0f}% |"
        )
    return [
        "On two made-up nodes of this machine (`slurm/test_cluster.sh`), one thread a process.",
        "",
        "| | seconds |",
        "|---|---:|",
        f"| `pipeline.train`: from the command to the end of the first step | {alone:.1f} |",
        f"| the same by `slurm.submit` | {job:.1f} |",
        f"| {RUNS} runs of 20 small steps, two at a time, `local_pool` (keeps its processes) | {pool:.1f} |",
        f"| the same as an array (a process a run) | {array:.1f} |",
        "",
        "LSTM, B=100 over all ranks, T=50, milliseconds a step, training alone. A rank's share is one process with "
        "B=50; what two ranks need beyond it is communication and waiting.",
        "",
        "| | one process | a rank's share | two nodes, gloo | gain | communication |",
        "|---|---:|---:|---:|---:|---:|",
        *rows,
    ]


def _when(runs: Path, name: str) -> float:
    """When the file called `name` of the only run there was last written; waits for it."""
    while True:
        for file in runs.glob(f"single/*/{name}"):
            return file.stat().st_mtime
        time.sleep(0.05)


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
