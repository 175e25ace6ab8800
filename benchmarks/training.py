"""What the whole pipeline costs over a bare loop: `pipeline.train` beside a loop
in plain PyTorch over the same model and data."""

import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ACCELERATORS = {"cpu": "cpu", "cuda": "gpu"}


class Size(NamedTuple):
    hidden: int
    batch: int
    length: int
    steps: int
    rounds: int
    label: str

    def overrides(self) -> list[str]:
        return [
            "model.layers=2",
            f"model.hidden={self.hidden}",
            f"trainer.batch={self.batch}",
            f"trainer.length={self.length}",
            f"trainer.steps={self.steps}",
        ]


SIZES = {
    "cpu": Size(128, 50, 50, 150, 5, "2 x 128, B=50, T=50, CPU"),
    "cuda": Size(512, 100, 100, 600, 2, "2 x 512, B=100, T=100, GPU"),
}
# Steps and nothing else, but for a validation at the end.
QUIET = [
    "trainer.validate_every=100000",
    "trainer.validation_symbols=2000",
    "trainer.sample.every=100000",
    "trainer.sample.at=[]",
    "trainer.progress=lines",
]


def measure() -> str:
    """A Markdown section."""
    import torch

    torch.set_num_threads(1)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    lines = []
    for device, model in itertools.product(devices, ("lstm", "gru")):
        with tempfile.TemporaryDirectory() as folder:
            bare, ratio = _beside(Path(folder), device, model)
        lines.append(f"| `{model}` {SIZES[device].label} | {1000 * bare:.1f} | {ratio:.3f} |")
    return "\n".join(
        [
            "## The pipeline beside a bare loop",
            "",
            "Training steps, RMSProp, clipping by value; median of pairs of runs in turn. Training time alone on both "
            "sides: no validation, no samples.",
            "",
            "| | bare loop, ms a step | `pipeline.train` / bare |",
            "|---|---:|---:|",
            *lines,
            "",
            "Wanted: 1.03 or less.",
        ]
    )


def _beside(folder: Path, device: str, model: str) -> tuple[float, float]:
    """Seconds a step of the bare loop, and how many times as long the pipeline takes."""
    size, ratios = SIZES[device], []
    overrides = [*prepared(folder), f"model={model}", f"trainer.accelerator={ACCELERATORS[device]}"]
    overrides += size.overrides()
    for round in range(size.rounds + 1):
        chosen = [*overrides, f"seed={round}"]
        bare, whole = _bare(chosen, device), in_training(chosen, size.steps)
        if round:  # the first one warms up
            ratios.append((whole / bare, bare))
    return statistics.median(bare for _, bare in ratios), statistics.median(ratio for ratio, _ in ratios)


def composed(overrides: list[str]):
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from pipeline.command.settings import CONF

    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("config", overrides=overrides)


def prepared(folder: Path) -> list[str]:
    import random

    from pipeline.corpora import preparation, sources
    from pipeline.corpora.corpus import corpus_of

    draw = random.Random(0)
    (folder / "text.txt").write_text(
        "".join(draw.choice("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ,.!?'\n") for _ in range(600_000))
    )
    overrides = [
        "data=text",
        f"data.path={folder}/text.txt",
        f"paths.raw={folder}/raw",
        f"paths.prepared={folder}/prepared",
        f"paths.runs={folder}/runs",
        "tracking.uri=null",
        *QUIET,
    ]
    corpus = corpus_of(composed(overrides).data)
    sources.fetch(corpus, folder / "raw", None)
    preparation.prepare(corpus, folder / "raw")
    return overrides


def in_training(overrides: list[str], steps: int) -> float:
    """Seconds a training step of `pipeline.train`."""
    from pipeline.runs.directory import RunDirectory
    from pipeline.runs.settling import directory_of
    from pipeline.train import train

    cfg = composed(overrides)
    train(cfg)
    return RunDirectory(directory_of(cfg)).facts["seconds"] / steps


def _bare(overrides: list[str], device: str) -> float:
    """Seconds a step of the least code that learns the same."""
    import torch

    from pipeline.datasets.data import load_data
    from pipeline.runs.building import initial_network

    cfg = composed(overrides)
    data, trainer = load_data(cfg.data), cfg.trainer
    network, batches = initial_network(cfg, data), data.training(trainer.batch, trainer.length)
    network.run_on(device)
    network.to(device)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.RMSprop(parameters, lr=0.002, alpha=0.95)
    began = time.perf_counter()
    for step in range(trainer.steps):
        batch = batches.at(step)
        inputs, targets = batch.inputs.to(device), batch.targets.to(device)
        if not batch.carried:
            state = network.start(trainer.batch)
        logits, state = network(inputs, tuple(part.detach() for part in state))
        nothing = logits.shape[-1]  # asked after the last character of a text
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=nothing)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(parameters, 5.0)
        optimizer.step()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / trainer.steps
