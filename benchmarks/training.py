"""What the whole pipeline costs over a bare loop: `pipeline.train` beside a loop
in plain PyTorch over the same model and data."""

import statistics
import tempfile
import time
from pathlib import Path

STEPS, ROUNDS = 150, 5
# Steps and nothing else, but for a validation at the end.
QUIET = [
    "trainer.validate_every=100000",
    "trainer.validation_symbols=2000",
    "trainer.sample.every=100000",
    "trainer.sample.at=[]",
    "trainer.accelerator=cpu",
    "trainer.progress=lines",
]


def measure() -> str:
    """A Markdown section."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        overrides = prepared(Path(folder))
        rows = []
        for model in ("lstm", "gru"):
            ratios = []
            for round in range(ROUNDS + 1):
                chosen = [*overrides, f"model={model}", "model.layers=2", f"seed={round}"]
                bare, whole = _bare(chosen), in_training(chosen, STEPS)
                if round:  # the first one warms up
                    ratios.append((whole / bare, bare))
            rows.append(
                (model, statistics.median(ratio for ratio, _ in ratios), statistics.median(bare for _, bare in ratios))
            )
    lines = [f"| `{model}` 2 x 128 | {1000 * bare:.1f} | {ratio:.3f} |" for model, ratio, bare in rows]
    return "\n".join(
        [
            "## The pipeline beside a bare loop",
            "",
            f"{STEPS} training steps, B=50, T=50, RMSProp, clipping by value; median of {ROUNDS} "
            "pairs of runs in turn. Training time alone on both sides: no validation, no samples.",
            "",
            "| | bare loop, ms a step | `pipeline.train` / bare |",
            "|---|---:|---:|",
            *lines,
            "",
            "Wanted: 1.03 or less.",
        ]
    )


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
        f"trainer.steps={STEPS}",
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


def _bare(overrides: list[str]) -> float:
    """Seconds a step of the least code that learns the same."""
    import torch

    from pipeline.datasets.data import load_data
    from pipeline.runs.building import initial_network

    cfg = composed(overrides)
    data = load_data(cfg.data)
    network, batches = initial_network(cfg, data), data.training(50, 50)
    network.run_on("cpu")
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.RMSprop(parameters, lr=0.002, alpha=0.95)
    started = time.perf_counter()
    for step in range(STEPS):
        batch = batches.at(step)
        if not batch.carried:
            state = network.start(50)
        logits, state = network(batch.inputs, tuple(part.detach() for part in state))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(parameters, 5.0)
        optimizer.step()
    return (time.perf_counter() - started) / STEPS
