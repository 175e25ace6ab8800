"""What the tests share: a small prepared text, and configurations that keep everything in a temporary folder."""

import os
import random
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

# A shell has what it starts in the background ignore Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# As if in no job.
for name in [name for name in os.environ if name == "MLFLOW_TRACKING_URI" or name.startswith("SLURM_")]:
    del os.environ[name]

# The rest is imported only now: torch, MLflow and pipeline.runs.scheduler read the environment as they are imported.
# ruff: noqa: E402
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from pipeline.command.settings import CONF, check
from pipeline.command.verb import INTERRUPTS, SWEPT
from pipeline.recurrence import native

ROOT = CONF.parent
SHARED = ROOT.parent / "shared" / "data"
EXAMPLES = ("extending", "settings")  # pages that name what is not the project's own, or everything that there is
needs_steps = pytest.mark.skipif(
    native.library() is None, reason="steps.cpp was not compiled: there was no C++ compiler at installation"
)


@pytest.fixture(autouse=True)
def as_in_a_new_process():
    """What a verb's `main` that a test calls does with Ctrl-C, and that it was one of a sweep, ends with the test."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)
    INTERRUPTS.clear()
    SWEPT.clear()
    HydraConfig.instance().cfg = None
    GlobalHydra.instance().clear()


def exit_code(main: Callable[[], None], argv: Sequence[str], monkeypatch) -> object:
    """What a verb's `main` exits with, called in this process as if it were a new one, with these words; None where it
    just ends."""
    GlobalHydra.instance().clear()
    SWEPT.clear()
    monkeypatch.setattr(sys, "argv", [*argv])
    try:
        main()
    except SystemExit as end:
        return end.code
    return None


def pytest_make_parametrize_id(val, argname):
    """Bytes are called by their argument: some hold the time, and would make another test in each process."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Where pytest-xdist does not keep groups together, what a group shares would be made again in each process."""
    if getattr(config.option, "loadgroup", False):
        apart = [item.nodeid for item in items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid]
        if apart:
            raise pytest.UsageError(f"{apart[0]}: pytest-xdist groups no tests under pytest {pytest.__version__}")


def words(count: int, seed: int = 0) -> str:
    """A text of made-up lines, the same for the same seed."""
    draw = random.Random(seed)
    vocabulary = ["the", "king", "is", "not", "here", "and", "my", "lord", "says", "so", "O", "fool", "thou"]
    return (
        "\n".join(" ".join(draw.choice(vocabulary) for _ in range(8)) + draw.choice(".!?,") for _ in range(count // 8))
        + "\n"
    )


def lacks(choice: str, what: str) -> None:
    """Skips a check for which a choice of conf/ has yet to give something, and says what. Fails where README.md or a
    page of docs/ names the choice: then it is one of the project's own."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in [page for page in pages if page.stem not in EXAMPLES]:
        if re.search(rf"`{choice}`|study={choice}\b", page.read_text()):
            pytest.fail(f"{choice}, of {page.name}: {what}")
    pytest.skip(f"{choice}: {what}")


def composed(*overrides: str):
    """The configuration that `python -m pipeline.train OVERRIDES` runs with, checked as it does."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose("config", overrides=list(overrides))
    check(cfg)
    return cfg


def prepared_text(folder: Path, text: str, name: str = "text") -> list[str]:
    """Prepares `text` below `folder`; returns the overrides that let a run use it and stay in the folder."""
    from pipeline.corpora import preparation, sources
    from pipeline.corpora.corpus import corpus_of

    (folder / f"{name}.txt").write_text(text)
    overrides = [
        "data=text",
        f"data.name={name}",
        f"data.path={folder / name}.txt",
        f"paths.raw={folder / 'raw'}",
        f"paths.prepared={folder / 'prepared'}",
        f"paths.runs={folder / 'runs'}",
        f"paths.results={folder / 'results'}",
    ]
    corpus = corpus_of(composed(*overrides).data)
    sources.fetch(corpus, folder / "raw", None)
    preparation.prepare(corpus, folder / "raw")
    return overrides


@pytest.fixture
def small(tmp_path) -> list[str]:
    """Overrides of a run of seconds on a prepared text of 20,000 characters, without tracking."""
    return [*prepared_text(tmp_path, words(4000)), "scale=smoke", "tracking.uri=null"]


@pytest.fixture
def run_in(small):
    """run_in(overrides...) trains in this process and returns the run's directory object."""
    return lambda *overrides: trained(*small, *overrides)


def trained(*overrides: str):
    from pipeline.runs.directory import RunDirectory
    from pipeline.runs.settling import directory_of
    from pipeline.train import train

    cfg = composed(*overrides)
    train(cfg)
    return RunDirectory(directory_of(cfg))
