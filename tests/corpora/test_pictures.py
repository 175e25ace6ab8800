"""Pictures with sentences, from a list to what training reads."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from pipeline.corpora.preparation import prepare
from pipeline.corpora.scenes import COLOURS, LEFT, SHAPES, Facts, Scenes, facts_of, sentences_of
from pipeline.corpora.sources import fetch
from pipeline.corpora.tokens import caption_words


def made(tmp_path, **settings) -> Scenes:
    place = {"pictures": f"{tmp_path}/raw/scenes/files", "prepared": f"{tmp_path}/prepared/scenes/pictures-60-20-20"}
    usual = {"folder": "scenes", "split": "60-20-20", "least": 1, "dataset": "", "number": 60, "sides": [32, 40]}
    return Scenes(**usual | place | settings)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Sixty small scenes, prepared."""
    chosen = made(tmp_path_factory.mktemp("scenes"))
    fetch(chosen, Path(chosen.pictures).parents[1], None)
    prepare(chosen, Path(chosen.pictures).parents[1])
    return chosen


def test_no_held_out_group_is_trained_and_each_of_its_words_is(scenes):
    pictures = scenes.read()
    assert pictures.card["counts"] == {"train": 36, "validation": 12, "test": 12} and pictures.card["synthetic"]
    groups = {
        part: [{tuple(group) for group in pictures.facts(k)["groups"]} for k in pictures.part_of(part)]
        for part in pictures.card["counts"]
    }
    trained = set.union(*groups["train"])
    assert all(some - trained for part in ("validation", "test") for some in groups[part])
    assert (pictures.words > 0).all()  # the vocabulary is that of the training part
    assert not set.union(*groups["validation"]) & set.union(*groups["test"]) - trained


@pytest.mark.parametrize(
    "most, split", [(3, "80-10-10"), (3, "34-33-33"), (4, "80-10-10"), (2, "60-20-20"), (2, "90-10")]
)
def test_two_thirds_of_the_groups_of_each_pair_of_words_are_trained(tmp_path, most, split):
    shares = [int(share) for share in split.split("-")]
    groups = made(tmp_path, most=most, split=split).groups(shares)
    every = [group for some in groups.values() for group in some]
    assert len(every) == len(set(every)) == most * len(COLOURS) * len(SHAPES)
    assert all(some for some in groups.values())
    for one, other in ((0, 1), (0, 2), (1, 2)):
        trained = Counter((group[one], group[other]) for group in groups["train"])
        for pair, there in Counter((group[one], group[other]) for group in every).items():
            assert there - trained[pair] <= max(1, there / 3)


def test_usual_scenes_set_a_tenth_of_the_groups_aside_for_each_held_out_part(tmp_path):
    groups = made(tmp_path, most=3).groups([80, 10, 10])
    assert {part: len(some) for part, some in groups.items()} == {"train": 102, "validation": 12, "test": 12}


def test_two_groups_of_a_scene_are_of_two_kinds_and_all_there_is_occurs(tmp_path):
    found = [facts for _, facts, _ in made(tmp_path, number=1000, most=1).scenes()]
    both = [facts.groups for facts in found if facts.relation]
    assert all(first[1:] != second[1:] for first, second in both) and 600 < len(both) < 733
    assert {facts.relation for facts in found} == {None, "left of", "above"}
    assert len({group for facts in found for group in facts.groups}) == len(COLOURS) * len(SHAPES)


def test_sentences_are_in_reading_order_unless_either_is_asked_for(tmp_path):
    turned = {"right", "below", "under"}
    for reading_order in (True, False):
        chosen = made(tmp_path, reading_order=reading_order)
        said = [
            sentence
            for _, facts, rng in chosen.scenes()
            if facts.relation
            for sentence in sentences_of(facts, 5, reading_order, rng)
        ]
        shares = Counter(bool(turned & set(sentence.split())) for sentence in said)
        assert shares[True] == 0 if reading_order else 0.35 < shares[True] / len(said) < 0.65


def test_each_sentence_says_what_is_in_the_picture(scenes):
    pictures = scenes.read()
    for k in range(len(pictures)):
        assert len(set(pictures.sentences(k))) == 5
        assert {facts_of(sentence) for sentence in pictures.sentences(k)} == {Facts.known(pictures.facts(k))}
    assert facts_of("here is a blue star under two red rings") == facts_of("two red rings above a blue star")
    assert facts_of("an orange star").groups == ((1, "orange", "star"),)
    for none in ("a circle", "two red circle", "a red star and a blue star", "a red star left of a star", "left", ""):
        assert facts_of(none) is None


def test_each_picture_shows_its_facts(scenes):
    """Read from the pixels: connected spots that are not of the ground, their colours, and where their middles are."""
    pictures, palette = scenes.read(), np.array(list(COLOURS.values()))
    for k in range(len(pictures)):
        pixels = np.asarray(pictures.open(k)).astype(int)
        away = np.abs(pixels - pixels[0, 0]).sum(-1) > 60  # no shape lies in the corner
        spots, count = ndimage.label(away, np.ones((3, 3)))
        facts = Facts.known(pictures.facts(k))
        assert count == sum(group.count for group in facts.groups)
        middles, colours = defaultdict(list), Counter()
        for spot in range(1, count + 1):
            inside = spots == spot
            deepest = pixels[inside][np.abs(pixels[inside] - pixels[0, 0]).sum(-1).argmax()]  # not of a soft edge
            colour = list(COLOURS)[np.abs(deepest - palette).sum(-1).argmin()]
            middles[colour].append(ndimage.center_of_mass(inside))
            colours[colour] += 1
        expected = Counter()
        for group in facts.groups:
            expected[group.colour] += group.count
        assert colours == expected, k
        if len(colours) == 2:
            (y, x), (v, u) = (np.mean(middles[group.colour], axis=0) for group in facts.groups)
            assert (u - x > abs(v - y)) if facts.relation == LEFT else (v - y > abs(u - x)), k


def test_what_is_prepared_is_read_back_by_words(scenes):
    pictures = scenes.read()
    assert (
        len(pictures) == 60 and len(pictures.sentence_ends) == 300 and pictures.sentence_ends[-1] == len(pictures.words)
    )
    assert pictures.vocabulary.words[0] == "<unk>" and pictures.vocabulary.words[-1] == "<end>"
    counts = Counter(word for k in pictures.part_of("train") for one in pictures.sentences(k) for word in one.split())
    words = pictures.vocabulary.words[1:-1]
    assert set(words) == set(counts) and [counts[one] for one in words] == sorted(counts.values(), reverse=True)
    for k in (0, 7, 59):
        numbers = pictures.sentences_of(k)
        assert set(pictures.picture_of_sentence[numbers]) == {k}
        written = [pictures.vocabulary.decode(pictures.sentence_words(s)) for s in range(numbers.start, numbers.stop)]
        assert written == pictures.sentences(k)
    scenes.least = 30
    fewer = scenes.read()
    scenes.least = 1
    assert fewer.vocabulary.words[1:-1] == [one for one in words if counts[one] >= 30]
    assert (
        fewer.card["fingerprint"] != pictures.card["fingerprint"]
        and fewer.card["pictures"] == pictures.card["pictures"]
    )
    unknown = np.isin(pictures.words, np.flatnonzero([counts[one] < 30 for one in pictures.vocabulary.words]))
    assert (fewer.words[unknown] == 0).all() and (fewer.words[~unknown] == pictures.words[~unknown]).all()


def test_drawn_anew_they_are_the_same_and_with_another_seed_others(tmp_path, scenes):
    sums = []
    for seed in (0, 1):
        chosen = made(tmp_path / str(seed), drawing_seed=seed)
        fetch(chosen, Path(chosen.pictures).parents[1], None)
        sums.append(json.loads((Path(chosen.pictures).parent / "card.json").read_text())["sha256"])
    assert sums[0] == scenes.read().card["raw"]["sha256"] != sums[1]


@pytest.mark.parametrize(
    "sentence, words",
    [
        ("A man's hat, it's (very) nice..", "a man 's hat it 's very nice"),
        ('Two dogs -- "big" ones; can\'t you see?!', "two dogs big ones ca n't you see"),
        ("A U.S. flag at 3:30, well-known...", "a u.s. flag at 3:30 well-known"),
        ("  One\nline  ", "one line"),
        ("?!", ""),
    ],
)
def test_sentences_are_cut_as_cocos_scores_cut_them(sentence, words):
    assert caption_words(sentence) == words.split()
