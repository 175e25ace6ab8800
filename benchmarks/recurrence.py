"""Forward and backward passes of every cell beside torch's kernels, memory, linearity, and sampling.

B = 50 streams, T = 50 steps, L = 2 layers, V = 65 symbols, float32. Each number is a median; all rows of one block are
timed in turn in one process, so that ratios hold on a machine whose speed drifts.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks._memory import peak_memory

B, T, V = 50, 50, 65
KERNELS = {"rnn": "RNN", "lstm": "LSTM", "gru_reset_after": "GRU"}
GATES = {"nn.RNN": 1, "nn.LSTM": 4, "nn.GRU": 3}
SOME = ["rnn", "lstm", "gru_reset_after", "gru", "lstm_cifg", "mut1", "mlstm"]
# All but mrnn_full, which has a block of its own: in a second layer every input weighs a matrix, which no LSTM does
EVERY = [
    *SOME,
    "sigmoid_rnn",
    "relu_rnn",
    "lstm_peephole",
    "lstm_nig",
    "lstm_nfg",
    "lstm_nog",
    "lstm_niaf",
    "lstm_noaf",
    "lstm_np",
    "lstm_fgr",
    "mut2",
    "mut3",
    "mrnn",
]
ENGINES = ("fused", "deferred", "compiled")
# For glibc: freed memory stays with the process.
KEEPING = {"MALLOC_TRIM_THRESHOLD_": "2000000000", "MALLOC_MMAP_MAX_": "0"}
# Threads, H, cells
BLOCKS = [(1, 128, EVERY), (1, 256, SOME), (1, 512, SOME), (2, 128, SOME), (2, 256, SOME), (2, 512, SOME)]
EMBEDDED = ["rnn", "lstm", "gru_reset_after", "gru"]
SQUARE = 1024  # rows and columns of the matrices whose product tells the machine's rate


def measure() -> str:
    """A Markdown section of tables."""
    parts = [
        "## Recurrences",
        "",
        f"Forward and backward, B={B}, T={T}, L=2, V={V}. `time` is relative to `nn.LSTM` in the same run; `per FLOP` "
        "is that divided by the cell's share of an LSTM's products; for the cells that torch ships, `own kernel` is "
        "the time relative to it. `of GEMM` is the share of its time that a cell's products alone would take at the "
        f"rate of a product of two matrices of {SQUARE} x {SQUARE}, by the faster of PyTorch's two libraries, in the "
        "same process. `fused` is what `trainer.engine=auto` takes on a CPU; `compile s` are those of a "
        "first process, later ones read the compiler's cache. Freed memory stays with the process (glibc is told "
        "so): else `nn.LSTM` alone would spend a quarter of its time "
        "at H = 128 on getting its memory anew, and the ratios would flatter ours.",
        "",
    ]
    for threads, hidden, names in BLOCKS:
        block = _child("speed", threads, hidden, *names)
        base, gemm = block["nn.LSTM"]["ms"], 2 * SQUARE**3 / block["GEMM"]["ms"] / 1e6
        parts += [
            f"### H = {hidden}, {threads} thread{'s' if threads > 1 else ''} (nn.LSTM {base:.0f} ms, "
            f"{_of_gemm(block['nn.LSTM'], block):.2f} of GEMM's {gemm:.0f} GFLOP/s)",
            "",
            "| cell | fused: time | per FLOP | own kernel | of GEMM | "
            "deferred: time | per FLOP | compiled: time | per FLOP | compile s |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for name in names:
            cells = [f"`{name}`"]
            for engine in ENGINES:
                row = block[f"{name} {engine}"]
                share = row["products"] / block["nn.LSTM"]["products"]
                cells += [f"{row['ms'] / base:.2f}", f"{row['ms'] / base / share:.2f}"]
                if engine == "fused":
                    cells.append(f"{row['ms'] / block['nn.' + KERNELS[name]]['ms']:.2f}" if name in KERNELS else "")
                    cells.append(f"{_of_gemm(row, block):.2f}")
            parts.append("| " + " | ".join([*cells, f"{block[f'{name} compiled']['first']:.0f}"]) + " |")
        parts.append("")
    parts += [
        "### The full multiplicative RNN, one layer, 1 thread",
        "",
        "| | nn.LSTM, ms | fused: time | per FLOP | of GEMM | deferred: time | per FLOP |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for hidden in (64, 128):
        block = _child("full", 1, hidden)
        base = block["nn.LSTM"]["ms"]
        fused, deferred = (block[engine]["ms"] / base for engine in ENGINES[:2])
        ratios = [
            f"{ratio:.2f}" for ratio in (fused, 4 * fused, _of_gemm(block["fused"], block), deferred, 4 * deferred)
        ]
        parts.append(" | ".join([f"| H = {hidden}", f"{base:.1f}", *ratios]) + " |")
    parts.append("")
    parts += [
        "### Symbols embedded on both sides, 1 thread",
        "",
        "Above, the first layer's symbols are gathered on our side and multiplied as one-hot vectors on theirs. Here "
        "both read an embedding as wide as the hidden state. Times of `fused` relative to those of torch's kernel:",
        "",
        "| cell | beside | H = 128 | H = 256 | H = 512 |",
        "|---|---|---:|---:|---:|",
    ]
    blocks = [_child("embedded", 1, hidden) for hidden in (128, 256, 512)]
    for name in EMBEDDED:
        kernel = f"nn.{KERNELS.get(name, 'GRU')}"
        ratios = [f"{block[f'{name} fused']['ms'] / block[kernel]['ms']:.2f}" for block in blocks]
        parts.append(f"| `{name}` | `{kernel}` | " + " | ".join(ratios) + " |")
    parts.append("")
    parts += ["### Peak memory of a training step, H = 512, MiB beyond the imports", "", "| | MiB |", "|---|---:|"]
    parts += [
        f"| {label} | {_child('memory', 1, 512, label)['MiB']:.0f} |"
        for label in ("nn.LSTM", *(f"lstm {engine}" for engine in ENGINES), "gru fused")
    ]
    linear = _child("linear", 1, 128)
    parts += [
        "",
        "### Linear in T and B: `gru` fused, H = 128, microseconds a symbol",
        "",
        "| " + " | ".join(linear) + " |",
        "|" + "---:|" * len(linear),
        "| " + " | ".join(f"{value:.1f}" for value in linear.values()) + " |",
    ]
    parts += [
        "",
        "### Sampling, batch 1, LSTM, characters a second",
        "",
        "| | stepping `nn.LSTM` | ours | ratio |",
        "|---|---:|---:|---:|",
    ]
    for hidden in (128, 512):
        speed = _child("sampling", 1, hidden)
        parts.append(
            f"| 2 x {hidden} | {speed['nn.LSTM']:,.0f} | {speed['ours']:,.0f} | "
            f"{speed['ours'] / speed['nn.LSTM']:.1f} |"
        )
    return "\n".join(parts)


def _child(what: str, threads: int, hidden: int, *names: str) -> dict:
    with tempfile.TemporaryDirectory() as cache:  # the compiler's, which is a first process's
        environment = {
            **os.environ,
            **({} if what == "memory" else KEEPING),
            "OMP_NUM_THREADS": str(threads),
            "TORCHINDUCTOR_CACHE_DIR": cache,
        }
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.recurrence", what, str(threads), str(hidden), *names],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def _of_gemm(row: dict, block: dict) -> float:
    """The share of a pass's time that its products would take alone: one forward, two backward."""
    return 3 * row["products"] * B * T / SQUARE**3 * block["GEMM"]["ms"] / row["ms"]


def _gemm():
    """A function that multiplies two matrices of SQUARE x SQUARE, by the faster of the two libraries."""
    import torch

    from pipeline.cells.products import product

    first, second = torch.randn(2, SQUARE, SQUARE)
    choices = {"torch.mm": lambda: torch.mm(first, second.t()), "product": lambda: product(first, second)}
    times = _time(choices, 0.5)
    return choices[min(choices, key=lambda name: times[name]["ms"])]


def _passes(label: str, hidden: int, batch: int = B, length: int = T, layers: int = 2, embedded: bool = False):
    """A function that does one forward and backward pass, and the multiplications of its products for a step of a
    stream. The first layer reads symbols, on their side as one-hot vectors, which are not counted; or, embedded, as
    vectors of the hidden state's width on both sides."""
    import torch
    from hydra.utils import instantiate
    from omegaconf import OmegaConf
    from torch.nn import functional as F

    from pipeline.command.settings import CONF
    from pipeline.recurrence import engines

    torch.manual_seed(0)
    symbols, width = torch.randint(0, V, (length, batch)), hidden if embedded else V
    embedding = torch.nn.Embedding(V, hidden)
    if label.startswith("nn."):
        network = getattr(torch.nn, label[3:])(width, hidden, layers)

        def library():
            network(embedding(symbols) if embedded else F.one_hot(symbols, V).float())[0].sum().backward()
            network.zero_grad()

        return library, GATES[label] * hidden**2 * (2 * layers - (not embedded))
    name, engine = label.split()
    make = instantiate(OmegaConf.load(CONF / "model" / f"{name}.yaml").cell)
    cells = [make(hidden if layer else width, hidden) for layer in range(layers)]
    products = sum(rows * columns for cell in cells for rows, columns in cell.products.values())
    products += sum(cell.input_weight.numel() for cell in cells[not embedded :])

    def own():
        x = embedding(symbols) if embedded else symbols
        for cell in cells:
            x, _ = engines.run(cell, x, tuple(torch.zeros(batch, width) for width in cell.state.values()), engine)
        x.sum().backward()
        for cell in cells:
            cell.zero_grad()

    return own, products


def _time(functions: dict, seconds: float = 1.5) -> dict:
    """Median milliseconds of each, in turn, at least 3 and as many rounds as take `seconds` a function;
    and the first call's seconds."""
    found = {}
    for label, function in functions.items():
        started = time.perf_counter()
        function()
        first = time.perf_counter() - started
        function()
        found[label] = {"first": first, "times": []}
    started = time.perf_counter()
    while len(next(iter(found.values()))["times"]) < 3 or time.perf_counter() - started < seconds * len(functions):
        for label, function in functions.items():
            began = time.perf_counter()
            function()
            found[label]["times"].append(1000 * (time.perf_counter() - began))
    return {label: {"first": one["first"], "ms": statistics.median(one["times"])} for label, one in found.items()}


def _measured(passes: dict) -> dict:
    times = _time({"GEMM": _gemm(), **{label: function for label, (function, _) in passes.items()}})
    for label, (_, products) in passes.items():
        times[label]["products"] = products
    return times


def main(what: str, threads: str, hidden: str, *names: str) -> dict:
    import torch

    torch.set_num_threads(int(threads))
    hidden = int(hidden)
    if what == "speed":
        labels = [f"nn.{kernel}" for kernel in KERNELS.values()] + [
            f"{name} {engine}" for name in names for engine in ENGINES
        ]
        return _measured({label: _passes(label, hidden) for label in labels})
    if what == "embedded":
        labels = [f"nn.{kernel}" for kernel in KERNELS.values()] + [f"{name} fused" for name in EMBEDDED]
        return _measured({label: _passes(label, hidden, embedded=True) for label in labels})
    if what == "full":
        return _measured(
            {
                label: _passes(label if label == "nn.LSTM" else f"mrnn_full {label}", hidden, layers=1)
                for label in ("nn.LSTM", *ENGINES[:2])
            }
        )
    if what == "memory":
        _passes(names[0], 8)[0]()  # loads what the first pass of a process loads
        function, _ = _passes(names[0], hidden)
        before = peak_memory()
        function()
        function()
        return {"MiB": (peak_memory() - before) / 2**20}
    if what == "linear":
        sizes = [(T, B), (2 * T, B), (4 * T, B), (T, 2 * B), (T, 4 * B)]
        times = _time(
            {f"T={length}, B={batch}": _passes("gru fused", hidden, batch, length)[0] for length, batch in sizes}
        )
        return {
            label: 1000 * one["ms"] / (length * batch) for (label, one), (length, batch) in zip(times.items(), sizes)
        }
    return _sampling(hidden)


def _sampling(hidden: int) -> dict:
    import torch

    from pipeline.cells.lstm import LSTM
    from pipeline.datasets.space import Symbols
    from pipeline.models.recurrent import RecurrentNetwork

    symbols = Symbols(V)
    network = RecurrentNetwork(
        symbols,
        symbols,
        given=(),
        cell=LSTM,
        layers=2,
        hidden=hidden,
        embedding=None,
        dropout=0.0,
        skip_connections=False,
        initial_state=0.0,
        learned_initial_state=False,
    ).eval()
    lstm, readout, rows = torch.nn.LSTM(V, hidden, 2).eval(), torch.nn.Linear(hidden, V), torch.eye(V)

    def ours(count):
        step = network.stepper(network.start(1))
        for index in range(count):
            step(index % V)

    def library(count):
        state = None
        for index in range(count):
            x, state = lstm(rows[index % V][None, None], state)
            readout(x[0])

    with torch.no_grad():
        times = _time({"nn.LSTM": lambda: library(200), "ours": lambda: ours(200)})
    return {label: 200_000 / one["ms"] for label, one in times.items()}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
