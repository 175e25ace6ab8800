"""From scenes to sentences: drawn, prepared, encoded, learned, and written of a picture, as a person would."""

from pathlib import Path

import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.corpora import sources
from pipeline.corpora.corpus import corpus_of
from pipeline.datasets.data import load_data
from pipeline.datasets.ragged import Bucketed
from pipeline.prepare import prepare
from pipeline.runs.building import load_network
from tests.conftest import composed, trained


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> list[str]:
    """Overrides of a run of seconds on 40 scenes, fetched and prepared."""
    folder = tmp_path_factory.mktemp("scenes")
    overrides = ["data=scenes", "data.number=40", "data.sides=[32,40]", "data.split=60-20-20"]
    overrides += [
        f"paths.raw={folder / 'raw'}",
        f"paths.prepared={folder / 'prepared'}",
        f"paths.runs={folder / 'runs'}",
    ]
    overrides += [
        "scale=smoke",
        "tracking.uri=null",
        "trainer.steps=6",
        "trainer.batch=4",
        "trainer.checkpoint_every=1",
    ]
    sources.fetch(corpus_of(composed(*overrides).data), folder / "raw", None)
    prepare(composed(*overrides, "encoder=small_cnn", "model=show_and_tell"))
    return overrides


def features_below(overrides: list[str]) -> list[str]:
    [prepared] = [one.partition("=")[2] for one in overrides if one.startswith("paths.prepared=")]
    return sorted(
        path.name.rpartition("-")[0].rpartition("-")[0] for path in Path(prepared, "../features/scenes").glob("*/")
    )


def tensors(part) -> list:
    """All that a checkpoint holds, for `torch.equal` or ==."""
    if isinstance(part, dict):
        return [one for key in part for one in tensors(part[key])]
    return [one for inner in part for one in tensors(inner)] if isinstance(part, (list, tuple)) else [part]


def test_an_encoder_is_learned_with_the_captioner_and_goes_on_exactly(scenes, tmp_path, monkeypatch):
    overrides = [*scenes, "encoder=small_cnn", "model=show_and_tell"]
    assert features_below(scenes) == ["small_cnn-pictures"]
    whole = trained(*overrides, f"paths.runs={tmp_path}/whole")
    at, stopped = Bucketed.at, []

    def interrupted(self, step):
        if step == 4 and not stopped:
            stopped.append(step)
            raise KeyboardInterrupt
        return at(self, step)

    monkeypatch.setattr(Bucketed, "at", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(*overrides, f"paths.runs={tmp_path}/parts")
    parts = trained(*overrides, f"paths.runs={tmp_path}/parts")
    ours, theirs = (torch.load(run.best, weights_only=True) for run in (parts, whole))
    assert ours.keys() == theirs.keys() and stopped
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(tensors(ours), tensors(theirs)))

    data = load_data(whole.config().data)
    network = load_network(whole, data)
    first, drawn = next(network.encoder.parameters()), next(data.given[0].encoder().parameters())
    assert not torch.equal(first, drawn)
    path = str(data.pictures.path(int(data.pictures.part_of("test")[0])))
    lines = "".join(data.write(network, path, 0.0, 8, torch.Generator())).splitlines()
    assert len(lines) == 7 and all(word in data.vocabulary.index for line in lines for word in line[12:].split())


def test_training_makes_the_features_that_are_missing_and_names_a_picture_that_is_gone(scenes, tmp_path):
    before = features_below(scenes)
    overrides = [*scenes, "encoder=pixels", "encoder.size=4", "model=lstm", f"paths.runs={tmp_path}"]
    picture = load_data(composed(*overrides).data).pictures.path(3)
    picture.rename(picture.with_suffix(".away"))
    try:
        with pytest.raises(Refusal, match=f"{picture.name}: missing"):
            trained(*overrides)
        assert not list(tmp_path.glob("*/*"))
    finally:
        picture.with_suffix(".away").rename(picture)
    run = trained(*overrides)
    assert run.finished and len(features_below(scenes)) == len(before) + 1
