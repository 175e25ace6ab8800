"""What a product with the Gauss-Newton matrix, the work of a step of conjugate gradients, costs in gradients: ours, and
curvlinops'."""

import statistics
import time

T, B, H = 100, 100, 100
ROUNDS = 9
WARM_UP = 10  # rounds, in which the process comes to keep its memory
MODELS = ("rnn", "lstm", "gru", "mrnn")


def measure() -> str:
    """A Markdown section."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y = torch.randn(T, B, 2), torch.full((T, B, 1), torch.nan)
    y[-1] = torch.rand(B, 1)
    rows = []
    for model in MODELS:
        network, batch = _network(model), _batch(x, y)
        rows.append((f"`{model}`", *_ratios(_gradient(network, batch), *_products(network, batch))))
    theirs = _ratios(*_theirs(x, y[-1]))
    lines = [
        f"| {name} | {1000 * gradient:.1f} | {plain:.2f} | {damped:.2f} |" for name, gradient, plain, damped in rows
    ]
    return "\n".join(
        [
            "## Products of Hessian-free optimization",
            "",
            f"H={H}, T={T}, B={B}, squared error at the last step, float32, one thread, CPU seconds; medians of "
            f"{ROUNDS} rounds in turn of a gradient and a product G v = J^T H J v, in the same process and with the "
            "same recurrence, the fused one. The linearization, made once for all products of a run of conjugate "
            "gradients, is not counted. curvlinops 3.0.1's `GGNLinearOperator` is beside the gradient of the "
            "`torch.nn.RNN` that it was given.",
            "",
            "| | gradient, ms | G v, in gradients | with structural damping |",
            "|---|---:|---:|---:|",
            *lines,
            f"| curvlinops, `nn.RNN` | {1000 * theirs[0]:.1f} | {theirs[1]:.2f} | |",
            "",
            f"A product of theirs takes {theirs[0] * theirs[1] / (rows[0][1] * rows[0][2]):.1f} times as long as ours "
            "of `rnn`. Wanted of that: 1.4 gradients or less.",
        ]
    )


def _ratios(gradient, *products) -> tuple[float, ...]:
    """Seconds of a gradient, and how many of it each product takes: the medians of the rounds' ratios."""
    seconds = []
    for round in range(WARM_UP + ROUNDS):
        taken = []
        for work in (gradient, *products):
            started = time.process_time()
            work()
            taken.append(time.process_time() - started)
        if round >= WARM_UP:
            seconds.append(taken)
    ratios = [statistics.median(row[k] / row[0] for row in seconds) for k in range(1, len(products) + 1)]
    return statistics.median(row[0] for row in seconds), *ratios


def _network(model: str):
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from pipeline.command.settings import CONF
    from pipeline.datasets.data import load_data
    from pipeline.runs.building import initial_network

    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose("config", overrides=[f"model={model}", f"model.hidden={H}", "model.layers=1", "data=adding"])
    network = initial_network(cfg, load_data(cfg.data))
    network.run_on("cpu")
    return network


def _batch(x, y):
    from pipeline.datasets.batch import Batch

    return Batch(x, y, B)


def _gradient(network, batch):
    import torch

    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]

    def gradient():
        loss, _ = network.loss(batch, network.start(B))
        return torch.autograd.grad(loss, parameters)

    return gradient


def _products(network, batch):
    import torch

    from pipeline.learning.curvature import Curvature

    plain, damped = (Curvature(network, batch, None, structural) for structural in (False, True))
    v = torch.randn(network.count_parameters())
    return lambda: plain.times(v), lambda: damped.times(v, 0.1)


def _theirs(x, y):
    import torch
    from curvlinops import GGNLinearOperator

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.readout = torch.nn.RNN(2, H, batch_first=True), torch.nn.Linear(H, 1)

        def forward(self, x):
            return self.readout(self.rnn(x)[0][:, -1])

    network, x = Network(), x.transpose(0, 1).contiguous()
    parameters, loss = list(network.parameters()), torch.nn.MSELoss(reduction="sum")
    operator = GGNLinearOperator(network, loss, parameters, [(x, y)], check_deterministic=False)
    v = torch.randn(sum(parameter.numel() for parameter in parameters))
    return lambda: torch.autograd.grad(loss(network(x), y), parameters), lambda: operator @ v
