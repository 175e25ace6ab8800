"""Every cell on a GPU, beside cuDNN's LSTM and the loop in Python: correctness, forward and backward passes, launches,
graphs. Needs a GPU and takes five minutes on an H100 with 16 cores, which compile at once."""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time

T, LAYERS, V = 100, 2, 65
ONE = ["rnn", "sigmoid_rnn", "relu_rnn", "lstm", "lstm_peephole", "lstm_nig", "lstm_nfg", "lstm_nog", "lstm_niaf"]
ONE += ["lstm_noaf", "lstm_np", "lstm_cifg", "lstm_fgr", "gru_reset_after"]
CELLS = [*ONE, "gru", "mut1", "mut2", "mut3", "mrnn", "mlstm"]
SIZES = [(128, 100), (512, 64), (512, 100), (512, 128), (1024, 100)]  # H, B
MIDDLE = (512, 100)
FULL = [(128, 100), (512, 100)]  # of the full multiplicative RNN; its errors and graphs are of the first
PRECISIONS = {size: ["tf32", "bf16"] for size in SIZES} | {MIDDLE: ["ieee", "tf32", "bf16"]}


def measure() -> str:
    """A Markdown section; nothing where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        return ""
    _compile_all()
    errors, speeds, graphs = _child("errors"), _child("speeds"), _child("graphs")
    parts = [
        "## Recurrences on a GPU",
        "",
        f"Forward and backward, T={T}, L={LAYERS}, inputs as wide as the layer on both sides, "
        "`trainer.engine=fused`. `nn.LSTM` is cuDNN's; each precision is compared at the same one, bf16 with "
        "`nn.LSTM(...).bfloat16()`, whose states are bf16 too. Numbers above 1: faster than `nn.LSTM`.",
        "",
        "| H, B | nn.LSTM, ms: " + " | ".join(("ieee", "tf32", "bf16")) + " |",
        "|---|---:|---:|---:|",
    ]
    for hidden, batch in SIZES:
        row = [speeds["nn.LSTM"].get(f"{(hidden, batch)} {precision}") for precision in ("ieee", "tf32", "bf16")]
        shown = " | ".join("" if one is None else f"{one:.2f}" for one in row)
        parts.append(f"| {hidden}, {batch} | {shown} |")
    columns = [(size, precision) for size in SIZES for precision in PRECISIONS[size]]
    parts += [
        "",
        "### Throughput relative to nn.LSTM",
        "",
        "| cell | " + " | ".join(f"{size[0]}, {size[1]} {precision}" for size, precision in columns) + " | loop |",
        "|---|" + "---:|" * (len(columns) + 1),
    ]
    for name in CELLS:
        found = speeds[name]
        row = []
        for size, precision in columns:
            ours, theirs = found.get(f"{size} {precision}"), speeds["nn.LSTM"].get(f"{size} {precision}")
            row.append(f"{theirs / ours:.2f}" if ours and theirs else "")
        loop, theirs = found.get("loop"), speeds["nn.LSTM"].get(f"{MIDDLE} tf32")
        parts.append(f"| `{name}` | " + " | ".join([*row, f"{theirs / loop:.3f}" if loop and theirs else ""]) + " |")
    full = speeds["mrnn_full"]
    parts += [
        "",
        f"`loop` is the reference engine, tf32, H, B = {MIDDLE[0]}, {MIDDLE[1]}: a loop over the steps in Python. "
        f"`mrnn_full`, tf32, one layer reading {V} symbols drawn uniformly, has this part of the throughput of an "
        "`nn.LSTM` of its size: "
        + "; ".join(
            f"H, B = {size[0]}, {size[1]}: {full[f'nn.LSTM {size}'] / full[f'ours {size}']:.2f}" for size in FULL
        )
        + ".",
        "",
        "### Correctness, launches and graphs",
        "",
        f"Largest error of outputs, states and gradients, relative to the largest number of each, against float64 on a "
        f"CPU: H, B = {MIDDLE[0]}, {MIDDLE[1]} (`mrnn_full`: {FULL[0][0]}, {FULL[0][1]}), 12 steps. `kernels` of a "
        f"step, forward + backward, were counted by the profiler in a replay of {T} steps; "
        "`record` is the time to record both graphs of a layer, `graph` what they take of the GPU's memory.",
        "",
        "| cell | ieee | tf32 | bf16 | kernels | record, ms | graph, MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in [*CELLS, "mrnn_full"]:
        row = [f"{errors[name][precision]:.0e}" for precision in ("ieee", "tf32", "bf16")]
        forward, backward, seconds, memory = graphs[name]
        row += [f"{forward:.2f} + {backward:.2f}", f"{1000 * seconds:.0f}", f"{memory:.1f}"]
        parts.append(f"| `{name}` | " + " | ".join(row) + " |")
    return "\n".join(parts)


def _compile_all() -> None:
    """Fills Triton's cache by as many processes as there are cores."""
    count = max(1, (os.cpu_count() or 1) - 2)
    command = [sys.executable, "-m", "benchmarks.gpu", "compile"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [subprocess.Popen([*command, str(index), str(count)], env=environment) for index in range(count)]
    for process in running:
        process.wait()


def _child(what: str) -> dict:
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu", what], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _cell(name: str, inputs: int, hidden: int):
    import torch
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from pipeline.command.settings import CONF

    torch.manual_seed(0)
    return instantiate(OmegaConf.load(CONF / "model" / f"{name}.yaml").cell)(inputs, hidden)


def _jobs() -> list[tuple[str, tuple[int, int], str]]:
    """What is compiled: whatever the batch, for each cell, number of hidden units and precision."""
    found = {
        (name, size[0], precision): (name, size, precision)
        for size in SIZES
        for precision, name in itertools.product(PRECISIONS[size], CELLS)
    }
    full = [(FULL[0], precision) for precision in ("ieee", "tf32", "bf16")] + [(size, "tf32") for size in FULL[1:]]
    return [*found.values(), *(("mrnn_full", *one) for one in full)]


def _compile(index: int, count: int) -> None:
    for number, (name, (hidden, batch), precision) in enumerate(_jobs()):
        if number % count == index:
            _pass(name, hidden, batch, precision, 2, 1)[0]()


def _pass(name: str, hidden: int, batch: int, precision: str, steps: int, layers: int, engine: str = "fused"):
    """A function that does one forward and backward pass, and the cells."""
    import torch

    from pipeline.recurrence import engines
    from pipeline.recurrence.passes import by_program
    from pipeline.recurrence.precision import set_matmul_precision

    set_matmul_precision(precision, True)
    symbols = name == "mrnn_full"
    x = torch.randint(0, V, (steps, batch)) if symbols else torch.randn(steps, batch, hidden)
    x, gradient = x.cuda(), torch.randn(steps, batch, hidden).cuda()
    if name == "nn.LSTM":
        network = torch.nn.LSTM(hidden, hidden, layers).cuda()
        if precision == "bf16":
            network, x, gradient = network.bfloat16(), x.bfloat16(), gradient.bfloat16()
            network.flatten_parameters()
        x.requires_grad_()

        def library():
            network(x)[0].backward(gradient)

        return library, []
    cells = [_cell(name, V if symbols else hidden, hidden).cuda() for _ in range(layers)]
    states = [tuple(torch.zeros(batch, width).cuda() for width in cell.state.values()) for cell in cells]
    if not symbols:
        x.requires_grad_()

    def own():
        y = x
        for cell, state in zip(cells, states):
            if engine == "fused":
                y, _ = by_program(cell, y, state, dict(cell.recurrent), engine)
            else:
                y, _ = engines.run(cell, y, state, engine)
        y.backward(gradient)

    return own, cells


def _time(function, rounds: int = 7) -> float:
    """Median milliseconds."""
    import torch

    for _ in range(3 if rounds > 1 else 1):
        function()
    torch.cuda.synchronize()
    times = []
    for _ in range(rounds):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        function()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def _speeds() -> dict:
    found: dict = {name: {} for name in ["nn.LSTM", *CELLS, "mrnn_full"]}
    for size in SIZES:
        for precision, name in itertools.product(PRECISIONS[size], ["nn.LSTM", *CELLS]):
            found[name][f"{size} {precision}"] = _time(_pass(name, *size, precision, T, LAYERS)[0])
        print(size, file=sys.stderr, flush=True)
    for size in FULL:
        found["mrnn_full"][f"ours {size}"] = _time(_pass("mrnn_full", *size, "tf32", T, 1)[0])
        found["mrnn_full"][f"nn.LSTM {size}"] = _time(_pass("nn.LSTM", *size, "tf32", T, 1)[0])
    for name in CELLS:
        found[name]["loop"] = _time(_pass(name, *MIDDLE, "tf32", T, LAYERS, "reference")[0], 1)
    return found


def _graphs() -> dict:
    """Cell -> kernels of a step forward and backward, seconds to record both graphs, and their MiB."""
    return {name: _graph(name, *(FULL[0] if name == "mrnn_full" else MIDDLE)) for name in [*CELLS, "mrnn_full"]}


def _graph(name: str, hidden: int, batch: int) -> tuple[float, float, float, float]:
    import torch
    from torch.profiler import ProfilerActivity, profile

    from pipeline.recurrence import lending

    function, [cell] = _pass(name, hidden, batch, "tf32", T, 1)
    function()
    torch.cuda.synchronize()
    [(_, [program])] = lending._programs[cell].values()
    before, began = torch.cuda.mem_get_info()[0], time.perf_counter()
    function()
    torch.cuda.synchronize()
    recorded, memory = time.perf_counter() - began, before - torch.cuda.mem_get_info()[0]
    counts = []
    for replayed in program.tape._passes.values():
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            replayed()
            torch.cuda.synchronize()
        counts.append(sum(event.name.startswith("kernel") for event in profiled.events()) / T)
    return *counts, recorded - _time(function, 3) / 1000, memory / 2**20


def _errors() -> dict:
    import torch

    from pipeline.recurrence import engines
    from pipeline.recurrence.passes import by_program
    from pipeline.recurrence.precision import set_matmul_precision

    found: dict = {}
    for name in [*CELLS, "mrnn_full"]:
        hidden, batch = FULL[0] if name == "mrnn_full" else MIDDLE
        symbols, steps = name == "mrnn_full", 12
        cell = _cell(name, V if symbols else hidden, hidden)
        x = torch.randint(0, V + 1, (steps, batch)) if symbols else torch.randn(steps, batch, hidden)
        start = [torch.rand(batch, width) - 0.5 for width in cell.state.values()]
        weights = torch.randn(steps, batch, hidden)
        results = {}
        for precision in ("float64", "ieee", "tf32", "bf16"):
            dtype, device = (torch.float64, "cpu") if precision == "float64" else (torch.float32, "cuda")
            set_matmul_precision("ieee" if precision == "float64" else precision, True)
            copy = _cell(name, V if symbols else hidden, hidden)
            copy.load_state_dict(cell.state_dict())
            copy = copy.to(device, dtype)
            given = x.to(device) if symbols else x.to(device, dtype)
            for _ in range(3):  # the third is a replay
                state = tuple(part.to(device, dtype).requires_grad_() for part in start)
                if precision == "float64":
                    outputs, after = engines.run(copy, given, state, "reference")
                else:
                    outputs, after = by_program(copy, given, state, dict(copy.recurrent), "fused")
                loss = (outputs * weights.to(device, dtype)).sum() + sum((part * part).sum() for part in after)
                of_loss = torch.autograd.grad(
                    loss, [*copy.parameters(), *state], allow_unused=True, materialize_grads=True
                )
                if precision == "float64":
                    break
            results[precision] = [part.detach().cpu().double() for part in (outputs, *after, *of_loss)]
        found[name] = {
            precision: max(
                ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-6)).item()
                for ours, theirs in zip(results[precision], results["float64"], strict=True)
            )
            for precision in ("ieee", "tf32", "bf16")
        }
    return found


if __name__ == "__main__":
    if sys.argv[1] == "compile":
        _compile(*map(int, sys.argv[2:]))
    else:
        print(json.dumps({"errors": _errors, "speeds": _speeds, "graphs": _graphs}[sys.argv[1]]()))
