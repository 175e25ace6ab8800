"""Sentences of pictures: what is read, asked and given, once each, and what is written of a picture."""

import functools

import numpy as np
import pytest
import torch

from pipeline.cells.lstm import LSTM
from pipeline.command.refusal import Refusal
from pipeline.datasets.captions import Captions, Pixels
from pipeline.datasets.space import Reals, Symbols
from pipeline.models.recurrent import RecurrentNetwork
from tests.encoders.pictures import WORDS, DrawnPictures
from tests.encoders.test_features import small_cnn

COUNT, LONGEST, END = 24, 6, len(WORDS) - 1


@pytest.fixture
def pictures(tmp_path) -> DrawnPictures:
    return DrawnPictures(tmp_path, COUNT)


def captions(pictures, seed: int = 0, longest: int = LONGEST, **encoder) -> Captions:
    return Captions(pictures, small_cnn(**encoder), pictures.directory.parent / "features", longest, seed)


def sentences(batch, blank: int = len(WORDS)) -> list[tuple]:
    """(what is read, what is asked, the numbers given) of each sequence of a batch that asks anything."""
    found = []
    for b in range(batch.inputs.shape[1]):
        x, y = batch.inputs[:, b].tolist(), batch.targets[:, b].tolist()
        steps = sum(one != blank for one in x)
        assert x[steps:] == y[steps:] == [blank] * (len(x) - steps) and blank not in y[:steps]
        if steps:
            found.append((tuple(x[:steps]), tuple(y[:steps]), tuple(batch.given[0][b].tolist())))
    return found


def expected(pictures, data, part: str) -> list[tuple]:
    """The same, from the words as the stand-in has them, picture by picture."""
    network, found = data.encoder.network(), []
    for s, k in enumerate(pictures.picture_of_sentence.tolist()):
        if k in pictures.part_of(part):
            words = pictures.written(s).tolist()
            picture = torch.from_numpy(data.encoder.preprocess(pictures.open(k)).copy())[None]
            given = tuple(network(picture)[0].tolist())
            if len(words) <= LONGEST:
                found.append(((END, *words), (*words, END), given))
            else:
                found.append(((END, *words[: LONGEST - 1]), tuple(words[:LONGEST]), given))
    return found


def alike(found: list[tuple], wanted: list[tuple]) -> bool:
    order = lambda one: (one[0], one[1], one[2][:2])
    found, wanted = sorted(found, key=order), sorted(wanted, key=order)
    assert [one[:2] for one in found] == [one[:2] for one in wanted]
    return np.allclose([one[2] for one in found], [one[2] for one in wanted], rtol=1e-4, atol=1e-5)


def test_every_sentence_is_read_once_a_pass_with_its_own_picture(pictures):
    data = captions(pictures)
    assert data.reads == data.answers == Symbols(len(WORDS), "word") and data.given == (Reals(24),)
    batches = data.training(5, None)
    wanted = expected(pictures, data, "train")
    for first in (0, len(batches)):
        every = [batches.at(step) for step in range(first, first + len(batches))]
        assert all(batch.given[0].dtype == torch.float32 for batch in every)
        assert [batch.count for batch in every] == [sum(len(y) for _, y, _ in sentences(one)) for one in every]
        assert alike(sum(map(sentences, every), []), wanted)
    for part in ("validation", "test"):
        assert alike(sum(map(sentences, data.held_out(part)), []), expected(pictures, data, part))
    assert any(len(y) == LONGEST and y[-1] != END for _, y, _ in wanted)
    assert data.card["counts"]["train"] == sum(len(y) for _, y, _ in wanted) == batches.elements
    assert data.card["cut"]["train"] == sum(y[-1] != END for _, y, _ in wanted)


def test_a_pictures_features_lie_in_memory_once(pictures):
    data = captions(pictures)
    kept = {id(data.parts["train"][k].given[0].base) for k in range(len(data.parts["train"]))}
    assert len(kept) == 1 and isinstance(data.features, np.memmap)
    assert all(np.shares_memory(data.parts["train"][k].given[0], data.features) for k in range(3))


def test_the_fingerprint_covers_pictures_encoder_and_settings(pictures, tmp_path):
    other = captions(DrawnPictures(tmp_path / "other", COUNT, seed=1))
    changed = [captions(pictures, **one) for one in ({"longest": 7}, {"crop": 0.5}, {"fine_tune": True})]
    every = [captions(pictures), *changed, captions(pictures, seed=1), other]
    assert len({data.card["fingerprint"] for data in every}) == len(every)
    assert captions(pictures).card == captions(pictures).card and not (tmp_path / "prepared/drawn/features").exists()


def test_pictures_are_given_as_they_are_where_the_model_learns_to_see(pictures):
    data, kept = captions(pictures, fine_tune=True), captions(pictures)
    [space] = data.given
    assert isinstance(space, Pixels) and (space.width, space.features) == (3 * 16**2, 24)
    batch = data.training(5, None).at(0)
    moved = batch.to(torch.device("cpu"), torch.float32)
    assert batch.given[0].dtype == moved.given[0].dtype == torch.uint8
    torch.testing.assert_close(space.encoder()(data.given_of([3, 1])[0]), kept.given_of([3, 1])[0])
    encoder = space.encoder().train()
    assert all(one.requires_grad for one in encoder.parameters()) and not encoder[1].training
    torch.testing.assert_close(data.shown(pictures.open(2))[0], data.given_of([2])[0])
    assert "no encoder that learns" in RecurrentNetwork.fits(data) and RecurrentNetwork.fits(kept) is None


def network(data: Captions) -> RecurrentNetwork:
    torch.manual_seed(0)
    return RecurrentNetwork(
        data.reads, data.answers, data.given, functools.partial(LSTM), 1, 8, None, 0.0, False, 0.0, False
    )


def test_a_prompt_is_a_picture_and_what_is_written_a_sentence_and_the_five_best(pictures):
    data = captions(pictures)
    net = network(data)
    path = str(pictures.directory / pictures.names[2])
    torch.testing.assert_close(data.shown(pictures.open(2))[0], data.given_of([2])[0])
    assert data.check_prompt(path) is None
    lines = "".join(data.write(net, path, 0.7, 5, torch.Generator().manual_seed(0))).splitlines()
    assert lines[0] == "" and lines[1].startswith("     drawn  ") and len(lines) == 7
    scores = [float(line[:10]) for line in lines[2:]]
    assert scores == sorted(scores, reverse=True) and scores[0] < 0
    for line in lines[1:]:
        assert set(line[12:].split()) <= set(WORDS[:-1]) and len(line[12:].split()) <= 5
    # The best of all sentences of at most two symbols, by enumeration.
    [best] = list(data.write(net, path, 0.7, 2, torch.Generator()))[2:3]
    given = data.given_of([2])
    z, state = net(torch.tensor([[END]]), net.start(1, *given))
    first = z[0, 0].log_softmax(-1)
    every = {WORDS[END]: first[END].item()}
    for word in range(END):
        after = net(torch.tensor([[word]]), state)[0][0, 0].log_softmax(-1)
        every |= {f"{word} {k}": (first[word] + after[k]).item() for k in range(len(WORDS))}
    assert float(best[:10]) == pytest.approx(max(every.values()), abs=0.006)
    for name, why in {"gone.jpg": "missing", __file__: "corrupt, cut or no picture"}.items():
        with pytest.raises(Refusal, match=f"^prompt={name}: {why}: take the file of a picture$"):
            data.check_prompt(name)


@pytest.mark.parametrize("card, author", [({}, "people"), ({"synthetic": True}, "program")])
def test_without_a_prompt_pictures_are_shown_with_the_sentences_that_were_written(pictures, card, author):
    pictures.card |= card
    data = captions(pictures)
    text = "".join(data.write(network(data), "", 0.7, 5, torch.Generator().manual_seed(0)))
    for k in pictures.part_of("test")[:4]:
        block = next(one for one in text.split("\n\n") if one.startswith(pictures.names[k]))
        lines = block.splitlines()
        assert [line[12:] for line in lines if line.startswith(f"{author:>10}")] == pictures.sentences(k)


def test_a_part_without_a_sentence_is_refused(pictures):
    pictures.card["counts"] = pictures.card["counts"] | {"test": 0}
    pictures._parts[pictures._parts == 2] = 0
    with pytest.raises(Refusal, match="data=drawn: the test part has no sentence"):
        captions(pictures)
