"""Language models of words with a large vocabulary: what a word costs and what memory they take, by readout, beside
the form of awd-lstm-lm in plain PyTorch."""

import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks._memory import peak_memory
from benchmarks.training import QUIET, composed

VOCABULARY = 33_278  # as WikiText-2
WIDTH, BATCH, LENGTH = 200, 20, 35  # as the small network of Zaremba et al. 2014
LARGE = 64  # a batch whose logits, all at once, would be 284 MiB
STEPS, ROUNDS = 4, 3
READOUTS = {
    "linear": ["readout=linear"],
    "tied": ["readout=tied"],
    "adaptive": ["readout=adaptive"],
    "sampled": ["readout=sampled"],
}
PLAIN = "plain PyTorch: `nn.Embedding`, `nn.LSTM`, `nn.Linear` with its weight"


def measure() -> str:
    """A Markdown section."""
    with tempfile.TemporaryDirectory() as folder:
        text = prepared(Path(folder))
        found = {}
        for _ in range(ROUNDS):
            for name, settings in READOUTS.items():
                overrides = [*text, *settings, f"paths.runs={folder}/runs-{name}"]
                found.setdefault(f"`readout={name}`", []).append(_alone(ours, overrides, BATCH))
            found.setdefault(PLAIN, []).append(_alone(plain, BATCH))
        large = {
            f"`readout={name}`": _alone(
                ours, [*text, *settings, f"paths.runs={folder}/large-{name}", f"trainer.batch={LARGE}"], LARGE
            )[1]
            for name, settings in READOUTS.items()
        } | {PLAIN: _alone(plain, LARGE)[1]}
    ratios = {
        name: statistics.median(theirs[0] / one[0] for one, theirs in zip(rounds, found[PLAIN]))
        for name, rounds in found.items()
    }
    lines = []
    for name, rounds in found.items():
        seconds, peak = statistics.median(one[0] for one in rounds), max(one[1] for one in rounds)
        lines.append(
            f"| {name} | {1 / seconds:,.0f} | {ratios[name]:.2f} | {peak / 2**30:.2f} | {large[name] / 2**30:.2f} |"
        )
    return "\n".join(
        [
            "## Words",
            "",
            f"One LSTM of {WIDTH} units over embeddings of {WIDTH} numbers, {VOCABULARY:,} words, B={BATCH}, "
            f"T={LENGTH}, plain gradient descent, float32, one thread; words a second of CPU time in a training step, "
            f"median of {ROUNDS} processes in turn with {STEPS} steps each. Memory: the largest resident set of a "
            "process, Python and libraries included; ours is of `pipeline.train` with a validation, theirs of the "
            "steps alone. awd-lstm-lm trains with the whole softmax, tied; its dropout is left out on both sides.",
            "",
            f"| | words a second | times as fast | GiB | GiB at B={LARGE} |",
            "|---|---:|---:|---:|---:|",
            *lines,
            "",
            "Wanted: less than 2 GiB.",
        ]
    )


def prepared(folder: Path) -> list[str]:
    """A text in which every word of the vocabulary occurs and their frequencies fall as 1 / rank, made ready."""
    from pipeline.corpora import preparation, sources
    from pipeline.corpora.corpus import corpus_of

    draw = random.Random(0)
    every = [f"w{rank}" for rank in range(1, VOCABULARY - 1)]  # without <unk> and the line break
    drawn = [every[int(len(every) ** draw.random()) - 1] for _ in range(60_000)]
    words = [*every, *drawn]
    lines = [" ".join(words[k : k + 20]) for k in range(0, len(words), 20)]
    (folder / "text.txt").write_text("\n".join(lines))
    overrides = [
        *["data=text", f"data.path={folder}/text.txt", "data.symbols=words", "data.tokens=spaces", "data.least=1"],
        *[f"paths.raw={folder}/raw", f"paths.prepared={folder}/prepared", "tracking.uri=null"],
        *["model=lstm", "model.layers=1", f"model.hidden={WIDTH}", f"model.embedding={WIDTH}", "optimizer=sgd"],
        *["initialization=uniform", f"trainer.batch={BATCH}", f"trainer.length={LENGTH}", f"trainer.steps={STEPS}"],
        *QUIET,
    ]
    corpus = corpus_of(composed(overrides).data)
    sources.fetch(corpus, folder / "raw", None)
    card = preparation.prepare(corpus, folder / "raw")
    assert card["vocabulary"] == VOCABULARY, card["vocabulary"]
    return overrides


def _alone(task: Callable, *arguments) -> tuple[float, int]:
    """What a task returns in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(task, arguments)


def ours(overrides: list[str], size: int) -> tuple[float, int]:
    """CPU seconds a word with batches of a size, and bytes."""
    import torch

    from pipeline.datasets.data import load_data
    from pipeline.runs.building import initial_network
    from pipeline.train import train

    torch.set_num_threads(1)
    cfg = composed([*overrides, "fresh=true"])
    train(cfg)
    peak = peak_memory()
    data = load_data(cfg.data)
    network, batches = initial_network(cfg, data), data.training(size, LENGTH)
    network.run_on("cpu")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    state = network.start(size)

    def step(number: int) -> None:
        nonlocal state
        loss, state = network.loss(batches.at(number), tuple(part.detach() for part in state))
        optimizer.zero_grad()
        (loss / (size * LENGTH)).backward()
        torch.nn.utils.clip_grad_value_(network.parameters(), 5.0)
        optimizer.step()

    return _seconds(step, size), peak


def plain(size: int) -> tuple[float, int]:
    """The same of the least code that learns as awd-lstm-lm does."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    embedding, lstm, readout = (
        nn.Embedding(VOCABULARY, WIDTH),
        nn.LSTM(WIDTH, WIDTH),
        nn.Linear(WIDTH, VOCABULARY),
    )
    readout.weight = embedding.weight
    parameters = [*embedding.parameters(), *lstm.parameters(), readout.bias]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    state = None

    def step(number: int) -> None:
        nonlocal state
        words = torch.randint(VOCABULARY, (LENGTH + 1, size))
        outputs, state = lstm(embedding(words[:-1]), state)
        state = tuple(part.detach() for part in state)
        loss = nn.functional.cross_entropy(readout(outputs).flatten(0, 1), words[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(parameters, 5.0)
        optimizer.step()

    return _seconds(step, size), peak_memory()


def _seconds(step: Callable[[int], None], size: int) -> float:
    step(0)
    began = time.process_time()
    for number in range(1, STEPS + 1):
        step(number)
    return (time.process_time() - began) / (STEPS * size * LENGTH)
