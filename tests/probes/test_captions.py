"""Scores of sentences about pictures, rankings, facts of scenes, and the gallery."""

import html
import json
import re

import numpy as np
import pytest
import torch

from pipeline.corpora import preparation, sources
from pipeline.corpora.corpus import corpus_of
from pipeline.datasets.batch import Batch
from pipeline.datasets.data import load_data
from pipeline.decoding.beam import beam_search
from pipeline.evaluate import evaluate_run
from pipeline.probes import caption_scores, captioning
from pipeline.probes.caption_scores import people_among_themselves, scores
from pipeline.probes.captioning import chosen, features, log_likelihoods, nearest, written
from pipeline.probes.captions import TITLES, CaptionScores
from pipeline.probes.probe import make_probe, probes_of
from pipeline.probes.ranking import ranked
from pipeline.probes.scene_facts import judged
from pipeline.runs.building import load_network
from pipeline.runs.pages import pages
from pipeline.runs.run import Run
from tests.conftest import SHARED, composed, trained

COCO = SHARED / "coco_mini" / "captions.json"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Overrides of a run on forty scenes as small pixels, and the run."""
    folder = tmp_path_factory.mktemp("scenes")
    base = ["data=scenes", "data.number=40", "encoder=pixels", "encoder.size=8", "model=show_and_tell", "scale=smoke"]
    base += [f"paths.{name}={folder / name}" for name in ("raw", "prepared", "runs", "results")]
    base += ["tracking.uri=null", "trainer.batch=20", "trainer.sample.at=[]", "trainer.sample.every=null"]
    corpus = corpus_of(composed(*base).data)
    sources.fetch(corpus, folder / "raw", None)
    preparation.prepare(corpus, folder / "raw")
    run = trained(*base)
    return base, run, load_data(composed(*base).data)


@pytest.mark.skipif(not COCO.exists(), reason=f"no real sentences in {COCO}")
def test_scores_of_real_sentences_are_those_of_the_tokenizer_that_needs_java():
    """The first sentence of each of 100 pictures beside its others, scored by pycocoevalcap with its own tokenizer; of
    all 388 they are the same to four decimals too."""
    references = {}
    for one in json.loads(COCO.read_text())["annotations"]:
        references.setdefault(one["image_id"], []).append(one["caption"])
    references = dict(list(references.items())[:100])
    found = scores(
        {picture: some[0] for picture, some in references.items()},
        {picture: some[1:] for picture, some in references.items()},
        meteor=False,
    )
    expected = {"bleu_1": 0.66302, "bleu_2": 0.45749, "bleu_3": 0.31204, "bleu_4": 0.19412, "rouge_l": 0.48604}
    assert found.pop("meteor") is None
    assert found == pytest.approx(expected | {"cider": 1.00091}, abs=5e-5)


def test_people_are_judged_by_each_others_sentences():
    references = {"a": ["A dog runs.", "a dog runs", "one dog is running"], "b": ["two cats", "Cats!", "two cats"]}
    found = people_among_themselves(references, meteor=False)
    # Words of each sentence that another of its picture has, of all words of a round; too short ones are punished.
    rounds = [5 / 5, 4 / 4 * np.exp(1 - 5 / 4), 1 / 4 + 2 / 4]
    rounds[2] = 3 / 6
    assert found["bleu_1"] == pytest.approx(np.mean(rounds), abs=1e-6) and found["meteor"] is None
    assert people_among_themselves(references | {"c": ["alone"]}) is None


def test_ranks_are_counted_and_equal_ones_shared():
    log_p = np.array([[-1.0, -2.0, -0.5], [-3.0, -3.0, -4.0], [-1.0, -2.0, -9.0]])
    assert ranked(log_p).tolist() == [2.0, 1.5, 3.0] and ranked(log_p.T).tolist() == [1.5, 3.0, 3.0]


TRUTH = {"groups": [[2, "red", "circle"], [1, "blue", "star"]], "relation": "left of"}
RIGHT = {"colour": True, "shape": True, "count": True, "relation": True, "all": True}


@pytest.mark.parametrize(
    "sentence, wrong",
    [
        ("there are two red circles to the left of a blue star", []),
        ("a blue star right of two red circles", []),
        ("a blue star left of two red circles", ["relation"]),
        ("two red circles above a blue star", ["relation"]),
        ("three red circles left of a blue star", ["count"]),
        ("two red stars left of a blue star", ["shape"]),
        ("two green circles left of a blue circle", ["colour", "shape"]),
        ("two red circles", ["colour", "shape", "count", "relation"]),
        ("a picture of", ["colour", "shape", "count", "relation"]),
    ],
)
def test_facts_of_a_scene_are_told_one_by_one(sentence, wrong):
    assert judged(TRUTH, sentence) == RIGHT | dict.fromkeys([*wrong, *["all"] * bool(wrong)], False)


def test_a_single_group_has_no_relation():
    truth = {"groups": [[1, "red", "ring"]], "relation": None}
    assert judged(truth, "we see a red ring") == RIGHT
    assert not any(judged(truth, "a red ring above a red star").values())


def test_probabilities_are_those_of_the_loss_and_the_nearest_picture_that_of_the_greatest_cosine(scenes):
    _, run, data = scenes
    network = load_network(run, data).double()
    numbers = chosen(data, 3)
    assert set(numbers.tolist()) <= set(data.pictures.part_of("test").tolist()) and len(numbers) == 3
    sentences = [data.pictures.sentences_of(number).start for number in numbers.tolist()]
    found = log_likelihoods(network, data, numbers, sentences)
    for row, picture in enumerate(numbers.tolist()):
        for column, sentence in enumerate(sentences):
            symbols = [data.end, *data.pictures.sentence_words(sentence).tolist(), data.end]
            read, asked = torch.tensor(symbols)[:-1, None], torch.tensor(symbols)[1:, None]
            given = tuple(part.double() for part in data.given_of([picture]))
            with torch.no_grad():
                loss, _ = network.loss(Batch(read, asked, len(asked)), network.start(1, *given))
            assert found[row, column] == pytest.approx(-loss.item(), rel=1e-9)
    train = data.pictures.part_of("train")
    mean, deviation = network.mean.numpy(), network.deviation.numpy()
    seen = {k: (data.features[k] - mean) / deviation for k in (*train.tolist(), *numbers.tolist())}
    for number, other in zip(numbers.tolist(), nearest(network, data, numbers).tolist(), strict=True):
        cosine = {k: seen[k] @ seen[number] / np.linalg.norm(seen[k]) / np.linalg.norm(seen[number]) for k in train}
        assert cosine[other] == pytest.approx(max(cosine.values()), rel=1e-5)
    assert features(network, data, numbers).norm(dim=1).numpy() == pytest.approx(1)


def test_training_pictures_are_seen_once_by_the_same_weights(scenes, monkeypatch):
    _, run, data = scenes
    network, seen = load_network(run, data), []
    monkeypatch.setattr(captioning, "features", lambda *of: seen.append(of[2]) or features(*of))
    train, numbers = data.pictures.part_of("train"), chosen(data, 3)
    first = nearest(network, data, numbers)
    assert (nearest(network, data, numbers) == first).all()
    assert [len(one) for one in seen] == [len(train), 3, 3]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1)
    nearest(network, data, numbers)
    nearest(load_network(run, data), data, numbers)
    assert [len(one) for one in seen[3:]] == [len(train), 3, len(train), 3]


def test_probes_judge_the_sentences_of_one_beam_search(scenes, monkeypatch):
    monkeypatch.setattr(caption_scores, "has_java", lambda: False)
    base, run, data = scenes
    searched, search = [], captioning.beam_search

    def counted(network, begin, end, width, longest, given, length_penalty):
        searched.append((width, len(given[0])))
        return search(network, begin, end, width, longest, given, length_penalty)

    monkeypatch.setattr(captioning, "beam_search", counted)
    study = Run(run, composed(*base, "study=captions"), data)
    assert {"captions", "scene_facts", "caption_gallery"} <= set(probes_of(study.config))
    evaluate_run(study, "show_and_tell", "scenes")
    pictures = len(data.pictures.part_of("test"))
    assert sorted(searched) == [(1, pictures), (5, pictures)]  # the likeliest words are shown in the gallery


def test_a_beam_search_is_made_for_what_it_has_not_found_yet(scenes, monkeypatch):
    _, run, data = scenes
    network, searched = load_network(run, data), []
    numbers = data.pictures.part_of("test")

    def search(network, begin, end, width, longest, given, length_penalty):
        searched.append((width, length_penalty, len(given[0])))
        return beam_search(network, begin, end, width, longest, given, length_penalty)

    monkeypatch.setattr(captioning, "beam_search", search)
    first = written(network, data, numbers[1:2], 3, 0.0)
    found = written(network, data, numbers, 3, 0.0)
    assert found[1] == first[0] and searched == [(3, 0.0, 1), (3, 0.0, len(numbers) - 1)]
    given = captioning.given_to(network, data, numbers)
    alone = beam_search(network, data.end, data.end, 3, data.longest, given)
    assert [[one.symbols for _, one in some] for some in found] == [[one.symbols for one in some] for some in alone]
    written(network, data, numbers, 3, 1.0)
    with torch.no_grad():
        network.mean.add_(1)
    written(network, data, numbers, 3, 1.0)
    assert searched[2:] == [(3, 1.0, len(numbers))] * 2


def test_a_study_of_scenes_is_evaluated_shown_and_kept(scenes, monkeypatch):
    monkeypatch.setattr(caption_scores, "has_java", lambda: False)  # METEOR takes many seconds to start
    base, run, data = scenes
    result = evaluate_run(Run(run, composed(*base), data), "show_and_tell", "scenes")
    for name in ("cider", "bleu_4", "image_r1", "normalized_median", "facts_all", "facts_colour"):
        assert result["measured"][name] is not None, name
    numbers = data.pictures.part_of("test").tolist()
    kept = json.loads((run.path.parents[2] / "results" / "captions" / run.path.name / "captions.json").read_text())
    assert [set(one) for one in kept] == [{"image_id", "caption"}] * len(numbers)
    assert [one["image_id"] for one in kept] == [data.pictures.ids[number] for number in numbers]
    page = ""
    for name, choice in composed(*base).data.probes.items():
        row = {"label": "show_and_tell", "data": "scenes", "study": "captions"}
        row |= {"runs": [{"seed": 0, "open": True, "found": result["probes"][name]}]}
        page += "".join(f"{one.about}{one.html}" for one in make_probe(name, dict(choice)).show([row]))
    assert page.count('<img src="data:image/webp;base64,') == min(12, len(numbers))
    texts = (
        "sentences among themselves",
        "program: <samp>",
        "synthetic",
        "Synthetic scenes",
        "by log p(s | v)",
        "METEOR needs Java",
    )
    assert result["measured"]["meteor"] is None and all(text in page for text in texts) and "eople" not in page
    [alone] = pages(composed(*base), load_network(run, data), data).values()
    assert alone.startswith("<!doctype html>") and result["probes"]["caption_gallery"]["shown"][0]["nearest"] in alone


def test_a_table_of_scenes_and_photographs_says_who_wrote_of_which():
    scored = dict.fromkeys(TITLES, 0.5)
    found = scored | {"others": {"nearest": scored, "people": scored}, "judged": 2, "part": "test", "java": True}
    rows = [
        {"label": "lrcn", "data": data, "runs": [{"found": found | {"synthetic": synthetic}}]}
        for data, synthetic in (("scenes", True), ("coco", False))
    ]
    [both] = CaptionScores(None, 5, 0.0).show(rows)
    assert "beside people's and the program's sentences;" in both.about and "a program made both" in both.about
    lines = dict.fromkeys(html.unescape(re.sub("<[^>]+>", "\n", both.html)).split("\n"))
    for line in ("scenes: the program's sentences among themselves", "coco: people's sentences among themselves"):
        assert line in lines
    [alone] = CaptionScores(None, 5, 0.0).show(rows[1:])
    assert "beside people's sentences;" in alone.about and "program" not in f"{alone.about}{alone.html}"
