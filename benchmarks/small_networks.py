"""What a training step of a small network costs: `pipeline.train` beside a bare loop in plain PyTorch, beside its own
arithmetic, and beside the lecture's 112 lines in NumPy."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.training import QUIET, composed, in_training, prepared

STEPS, ROUNDS = 1000, 5
SHORT = ["tracking.uri=null", f"trainer.steps={STEPS}", "trainer.record_every=100", *QUIET]
CLIPPED = ["trainer.clip_value=null", "trainer.clip_norm=1"]
MIN_CHAR_RNN = ["scale.hidden=100", "trainer.batch=1", "trainer.length=25", "trainer.loss=sum"]
SETTINGS = {
    "min-char-rnn: 100 units, one stream of 25 characters, Adagrad": [
        *MIN_CHAR_RNN,
        "optimizer=adagrad",
        "initialization=gaussian",
    ],
    "binary addition: 16 units, 50 sums of 8 bits, Adam": [
        "data=binary_addition",
        "scale.hidden=16",
        "trainer.batch=50",
        "optimizer=adam",
        *CLIPPED,
    ],
    "adding, T = 100: 100 units, 20 episodes, Nesterov": [
        "data=adding",
        "scale.hidden=100",
        "trainer.batch=20",
        "optimizer=nesterov",
        *CLIPPED,
    ],
}


def measure() -> str:
    """A Markdown section."""
    import torch

    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        text = prepared(Path(folder))
        for name, settings in SETTINGS.items():
            ours = [*([] if any(one.startswith("data=") for one in settings) else text), f"paths.runs={folder}/runs"]
            overrides = [*ours, *SHORT, "model=rnn", "model.layers=1", *settings]
            rounds = [
                [
                    in_training([*overrides, f"seed={k}"], STEPS),
                    _seconds(_bare(overrides)),
                    _seconds(_arithmetic(overrides)),
                ]
                for k in range(ROUNDS + 1)
            ]
            whole, bare, arithmetic = (statistics.median(column) for column in zip(*rounds[1:]))  # the first warms up
            ratio = statistics.median(one / other for one, other, _ in rounds[1:])
            beside = statistics.median(one - other for one, _, other in rounds[1:])
            rows.append(
                f"| {name} | {1000 * whole:.2f} | {1000 * bare:.2f} | {ratio:.2f} | {1000 * arithmetic:.2f} "
                f"| {1000 * beside:.2f} |"
            )
            if name.startswith("min-char-rnn"):
                numpy = statistics.median(_seconds(_numpy(overrides), 200) / one for one, *_ in rounds[1:])
    return "\n".join(
        [
            "## Small networks",
            "",
            f"Milliseconds a training step of a tanh RNN in float32, one thread; median of {ROUNDS} rounds of {STEPS} "
            "steps in turn. The bare loop: `nn.RNN`, `nn.Linear`, clipping and `torch.optim` over the same batches, "
            "which lie ready. Arithmetic: the loss and its gradients of the network on one batch of ours, and nothing "
            "else.",
            "",
            "| | `pipeline.train` | bare loop | ratio | arithmetic | beside it |",
            "|---|---:|---:|---:|---:|---:|",
            *rows,
            "",
            f"The 112 lines of min-char-rnn in NumPy (float64) take {numpy:.1f} times as long as `pipeline.train`. "
            "Wanted: 5 times or more, and 0.6 ms or less beside the arithmetic.",
        ]
    )


def _seconds(step: Callable[[], object], steps: int = STEPS) -> float:
    for _ in range(20):
        step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - started) / steps


def _made(overrides: list[str]):
    """Configuration, network, and batches that lie ready."""
    import itertools

    import torch

    from pipeline.datasets.data import load_data
    from pipeline.runs.building import initial_network

    cfg = composed(overrides)
    data = load_data(cfg.data)
    network = initial_network(cfg, data)
    network.run_on("cpu")
    batches = data.training(cfg.trainer.batch, cfg.trainer.length if "text" in cfg.data.name else None)
    ready = [batches.at(step).to(torch.device("cpu"), torch.float32) for step in range(50)]
    return cfg, network, itertools.cycle(ready)


def _arithmetic(overrides: list[str]) -> Callable[[], object]:
    _, network, batches = _made(overrides)
    batch = next(batches)
    state = network.start(batch.inputs.shape[1])

    def step() -> None:
        network.loss(batch, state)[0].backward()
        for parameter in network.parameters():
            parameter.grad = None

    return step


def _bare(overrides: list[str]) -> Callable[[], object]:
    """The least code that learns the same."""
    from hydra.utils import instantiate
    from torch import nn
    from torch.nn import functional as F

    cfg, network, batches = _made(overrides)
    reads, answers = network.reads.width, network.answers.width
    rnn, readout = nn.RNN(reads, cfg.model.hidden), nn.Linear(cfg.model.hidden, answers)
    parameters = [*rnn.parameters(), *readout.parameters()]
    optimizer = instantiate({key: value for key, value in cfg.optimizer.items() if key not in ("rule", "name")})(
        parameters
    )
    h = None

    def step() -> None:
        nonlocal h
        batch = next(batches)
        text = not batch.inputs.is_floating_point()
        inputs = F.one_hot(batch.inputs, reads).float() if text else batch.inputs
        outputs, h = rnn(inputs, h.detach() if text and h is not None else None)
        if text:
            loss = F.cross_entropy(readout(outputs).flatten(0, 1), batch.targets.flatten(), reduction="sum")
        elif cfg.data.name == "binary_addition":
            loss = F.binary_cross_entropy_with_logits(readout(outputs), batch.targets)
        else:
            asked = ~batch.targets.isnan()
            loss = F.mse_loss(readout(outputs)[asked], batch.targets[asked])
        optimizer.zero_grad()
        loss.backward()
        if cfg.trainer.clip_value is not None:
            nn.utils.clip_grad_value_(parameters, cfg.trainer.clip_value)
        if cfg.trainer.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, cfg.trainer.clip_norm)
        optimizer.step()

    return step


def _numpy(overrides: list[str]) -> Callable[[], object]:
    from tests.oracles.min_char_rnn import MinCharRNN

    _, network, batches = _made(overrides)
    w = {name: parameter.detach().double().numpy() for name, parameter in network.named_parameters()}
    oracle = MinCharRNN(
        {
            "Wxh": w["stack.cells.0.input_weight"],
            "Whh": w["stack.cells.0.recurrent.h"],
            "bh": w["stack.cells.0.input_bias"],
            "Why": w["readout.weight"],
            "by": w["readout.bias"],
        }
    )

    def step() -> None:
        batch = next(batches)
        oracle.step(batch.inputs[:, 0].numpy(), batch.targets[:, 0].numpy(), 0.1)

    return step
