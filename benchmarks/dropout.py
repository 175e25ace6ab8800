"""What dropout costs a training step: masks by masks.cpp, and the same masks by torch."""

import statistics
import time

T, B, H, V, P = 100, 50, 448, 65, 0.5
ROUNDS = 11
WARM_UP = 2


def measure() -> str:
    """A Markdown section."""
    import torch
    from torch.nn import functional as F

    from pipeline.recurrence import masks

    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y = torch.randint(V, (T, B)), torch.randint(V, (T, B))
    numbers, drawn = torch.ones(T, B, H), masks.dropout
    ways = {"none": (0.0, drawn), "by torch": (P, F.dropout), "by `masks.cpp`": (P, drawn)}
    networks = {name: _network(p) for name, (p, _) in ways.items()}
    steps, alone = {name: [] for name in ways}, {name: [] for name in ways}
    for _ in range(WARM_UP + ROUNDS):
        for name, (p, dropout) in ways.items():
            masks.dropout = dropout
            steps[name].append(_seconds(lambda net=networks[name]: _step(net, x, y)))
            alone[name].append(_seconds(lambda p=p, dropout=dropout: p and dropout(numbers, p)))
    masks.dropout = drawn
    step, mask = ({name: statistics.median(taken[WARM_UP:]) for name, taken in of.items()} for of in (steps, alone))
    lines = [f"| none | {1000 * step['none']:.0f} | |"]
    lines += [f"| {name} | {1000 * step[name]:.0f} | {1000 * mask[name]:.1f} |" for name in list(ways)[1:]]
    return "\n".join(
        [
            "## Dropout",
            "",
            f"A training step of `mlstm` 1 x {H}, T={T}, B={B}, `model.dropout={P}`, float32, one thread, CPU "
            f"milliseconds; medians of {ROUNDS} rounds in turn. The masks are the same, bit for bit: torch's draws "
            "from its generator of the CPU.",
            "",
            f"| masks | step, ms | {T * B * H:,} numbers dropped alone, ms |",
            "|---|---:|---:|",
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
    started = time.process_time()
    work()
    return time.process_time() - started
