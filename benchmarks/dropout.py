"""What dropout costs a training step: masks by masks.cpp, and the same masks by torch."""

import statistics
import time
from collections import defaultdict

T, B, H, V, P = 100, 50, 448, 65, 0.5
ROUNDS = 11
WARM_UP = 2
THREADS = 1, 2


def measure() -> str:
    """A Markdown section."""
    import torch
    from torch.nn import functional as F

    from pipeline.recurrence import masks
    from pipeline.runs.process import settle_process

    settle_process(1)  # as in training
    torch.manual_seed(0)
    x, y = torch.randint(V, (T, B)), torch.randint(V, (T, B))
    numbers, drawn = torch.ones(T, B, H), masks.dropout
    ways = {"none": (0.0, drawn), "by torch": (P, F.dropout), "by `masks.cpp`": (P, drawn)}
    networks = {name: _network(p) for name, (p, _) in ways.items()}
    operands = torch.randn(T * B, H), torch.randn(H, 4 * H)
    taken: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for _ in range(WARM_UP + ROUNDS):
        for threads in THREADS:
            torch.set_num_threads(threads)
            for name, (p, dropout) in ways.items():
                masks.dropout = dropout
                taken[name, "step", threads].append(_seconds(lambda net=networks[name]: _step(net, x, y)))
                taken[name, "alone", threads].append(_seconds(lambda p=p, dropout=dropout: p and dropout(numbers, p)))
            taken["products", "step", threads].append(_seconds(lambda: [torch.mm(*operands) for _ in range(4)]))
    masks.dropout = drawn
    torch.set_num_threads(1)
    found = {key: 1000 * statistics.median(times[WARM_UP:]) for key, times in taken.items()}
    lines = []
    for name in [*ways, "products"]:
        one, two = (found[name, "step", threads] for threads in THREADS)
        alone = f"{found[name, 'alone', 1]:.1f}" if name.startswith("by") else ""
        said = f"four products [{T * B}, {H}] x [{H}, {4 * H}], no masks" if name == "products" else name
        lines.append(f"| {said} | {one:.0f} | {two:.0f} | {one / two:.2f} | {alone} |")
    return "\n".join(
        [
            "## Dropout",
            "",
            f"A training step of `mlstm` 1 x {H}, T={T}, B={B}, `model.dropout={P}`, float32, milliseconds; medians of "
            f"{ROUNDS} rounds in turn. The masks are the same, bit for bit: torch's draws from its generator of the "
            "CPU, one after the other, so that threads do not share them.",
            "",
            f"| masks | step | by two threads | times as fast | {T * B * H:,} numbers dropped alone |",
            "|---|---:|---:|---:|---:|",
            *lines,
        ]
    )


def _network(p: float):
    import torch

    from pipeline.cells.mrnn import MultiplicativeLSTM
    from pipeline.datasets.space import Symbols
    from pipeline.models.recurrent import RecurrentNetwork

    torch.manual_seed(0)
    network = RecurrentNetwork(
        Symbols(V),
        Symbols(V),
        (),
        MultiplicativeLSTM,
        layers=1,
        hidden=H,
        embedding=None,
        dropout=p,
        skip_connections=False,
        initial_state=0.0,
        learned_initial_state=False,
    )
    network.run_on("cpu", "fused")
    return network.train()


def _step(network, x, y) -> None:
    import torch

    z, _ = network(x, network.start(B))
    torch.nn.functional.cross_entropy(z.flatten(0, 1), y.flatten()).backward()


def _seconds(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
