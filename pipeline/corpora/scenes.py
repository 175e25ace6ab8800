"""Scenes: pictures of coloured shapes that a program draws, with sentences that it makes. Synthetic."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Le
from PIL import Image, ImageDraw
from tqdm import tqdm

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Seed, check_value
from pipeline.corpora.corpus import Original
from pipeline.corpora.listing import Listing, from_coco, read_pictures
from pipeline.corpora.parts import PARTS, shares_of
from pipeline.corpora.pictures import PictureSet

COLOURS = {
    "red": (214, 39, 40),
    "orange": (255, 135, 20),
    "yellow": (242, 210, 10),
    "green": (44, 160, 60),
    "blue": (40, 90, 220),
    "purple": (140, 50, 190),
    "black": (25, 25, 25),
}
SHAPES = {"circle": "circles", "square": "squares", "triangle": "triangles", "star": "stars", "cross": "crosses"}
SHAPES |= {"ring": "rings"}
NUMBERS = ("one", "two", "three", "four")
LEFT, ABOVE = "left of", "above"
# How a relation between A and B is said, and how it is said the other way round.
SAID = {
    LEFT: (("{a} to the left of {b}", "{a} left of {b}"), ("{b} to the right of {a}", "{b} right of {a}")),
    ABOVE: (("{a} above {b}", "{a} over {b}"), ("{b} below {a}", "{b} under {a}")),
}
FRAMES = ("{}", "there {be} {}", "a picture of {}", "we see {}", "here {be} {}")
GAP = 2  # pixels between two shapes, at least
OVERSAMPLING = 4  # what is drawn is so many times as large, and made smaller: soft edges
Sides = tuple[Annotated[int, Ge(32), Le(512)], Annotated[int, Ge(32), Le(512)]]


class Group(NamedTuple):
    """So many shapes of one colour."""

    count: int
    colour: str
    shape: str


class Facts(NamedTuple):
    """What is in a scene: one group, or two of which the first is LEFT or ABOVE of the second."""

    groups: tuple[Group, ...]
    relation: str | None

    @classmethod
    def known(cls, facts: dict) -> "Facts":
        """As pictures have them: Pictures.facts(k)."""
        return cls(tuple(Group(*group) for group in facts["groups"]), facts["relation"])


@dataclass
class Scenes(PictureSet):
    """Pictures of one group of shapes or of two, with their sentences, drawn anew from the seed by `fetch`.

    Of all groups (count, colour, shape) some are set aside for validation and test: none of them is in a training
    picture, each held-out picture has one at least, and each count, each colour and each shape is trained with others.

    number     pictures of all parts
    sides      the least and the largest width and height, in pixels
    sentences  of each picture, all of them different
    reading_order  sentences name the left or the upper group first; otherwise the first is either
    most       shapes of a group
    drawing_seed  of all that is drawn by chance
    """

    number: Annotated[int, Ge(30)] = 20000
    sides: Sides = (64, 96)
    sentences: Annotated[int, Ge(1), Le(5)] = 5
    reading_order: bool = True
    most: Annotated[int, Ge(1), Le(4)] = 3
    drawing_seed: Seed = 0

    synthetic = True
    usual = {"sides": [64, 96]}
    kind, where = "generated", "pipeline.corpora.scenes"  # it is its own getter

    def __post_init__(self):
        super().__post_init__()
        self.sides = tuple(self.sides)
        check_value("data.number", self.number, Annotated[int, Ge(30)])
        check_value("data.sides", self.sides, Sides)
        check_value("data.sentences", self.sentences, Annotated[int, Ge(1), Le(5)])
        check_value("data.reading_order", self.reading_order, bool)
        check_value("data.most", self.most, Annotated[int, Ge(1), Le(4)])
        check_value("data.drawing_seed", self.drawing_seed, Seed)
        if self.sides[0] > self.sides[1]:
            raise Refusal(f"data.sides=[{self.sides[0]},{self.sides[1]}]: take the least first, such as [64,96]")

    def request(self) -> dict:
        of = ("number", "sentences", "reading_order", "most", "drawing_seed", "split")
        return {name: getattr(self, name) for name in of} | {"sides": list(self.sides)}

    def originals(self) -> list[Original]:
        return [Original("made by this program, of which it has the licence", self.place, getter=self, version="2")]

    def get(self, folder: Path) -> tuple[Path, None]:
        return folder, None

    def place(self, _: Path, folder: Path) -> list[str]:
        """Draws the pictures into `folder`, with captions.json."""
        images, annotations = [], []
        for k, (part, facts, rng) in enumerate(tqdm(self.scenes(), "drawing", self.number, disable=None, delay=1)):
            name = f"{k:05}.png"
            draw(facts, self.sides, rng).save(folder / name)
            images.append({"id": k, "file_name": name, "part": part, "facts": facts._asdict()})
            for sentence in sentences_of(facts, self.sentences, self.reading_order, rng):
                annotations.append({"id": len(annotations), "image_id": k, "caption": sentence})
        content = {"info": {"description": "SYNTHETIC: made by pipeline.corpora.scenes"}}
        (folder / "captions.json").write_text(json.dumps(content | {"images": images, "annotations": annotations}))
        return ["captions.json", *(image["file_name"] for image in images)]

    def listed(self, files: list[Path], root: Path) -> Listing:
        return read_pictures(root / "captions.json", from_coco)

    def scenes(self) -> Iterator[tuple[str, Facts, np.random.Generator]]:
        """Part, facts and a generator of its own for each picture."""
        shares = shares_of(self.split)
        groups = self.groups(shares)
        ends = [self.number * sum(shares[: k + 1]) // 100 for k in range(len(shares))]
        for k in range(self.number):
            part = next(part for part, end in zip(PARTS, ends) if k < end)
            rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.drawing_seed, spawn_key=(1, k))))
            of_part, trained = groups[part], groups["train"]
            first = of_part[rng.integers(len(of_part))]
            if rng.random() < 1 / 3:
                yield part, Facts((first,), None), rng
                continue
            second = trained[rng.integers(len(trained))]
            while second[1:] == first[1:]:  # two groups of one kind are one
                second = trained[rng.integers(len(trained))]
            both = (first, second) if rng.random() < 0.5 else (second, first)
            yield part, Facts(both, (LEFT, ABOVE)[rng.integers(2)]), rng

    def groups(self, shares: list[int]) -> dict[str, list[Group]]:
        """Which groups each part has to itself. Of all in a random order those are set aside, for validation and test
        in turn up to their shares, of none of whose pairs a third is already, or one: fewer than the shares where that
        leaves no more."""
        every = [Group(n, colour, shape) for n in range(1, self.most + 1) for colour in COLOURS for shape in SHAPES]
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.drawing_seed, spawn_key=(0,))))
        found = {part: [] for part in PARTS[: len(shares)]}
        most = {part: max(1, len(every) * share // 100) for part, share in zip(PARTS[1:], shares[1:])}
        spare = {pair: max(1, n // 3) for pair, n in Counter(chain.from_iterable(map(pairs, every))).items()}
        for k in rng.permutation(len(every)):
            group = every[k]
            room = [part for part in most if len(found[part]) < most[part]]
            if room and all(spare[pair] for pair in pairs(group)):
                found[min(room, key=lambda part: len(found[part]))].append(group)
                for pair in pairs(group):
                    spare[pair] -= 1
            else:
                found["train"].append(group)
        return found


def pairs(group: Group) -> list[tuple]:
    """Count and colour, count and shape, colour and shape."""
    return list(combinations(group, 2))


def said(group: Group) -> str:
    """ "two red circles", "an orange star"."""
    if group.count == 1:
        return f"{'an' if group.colour[0] in 'aeiou' else 'a'} {group.colour} {group.shape}"
    return f"{NUMBERS[group.count - 1]} {group.colour} {SHAPES[group.shape]}"


def sentences_of(facts: Facts, number: int, reading_order: bool, rng: np.random.Generator) -> list[str]:
    """So many sentences, each in a frame of its own, that say all of the facts; the left or the upper group first in
    `reading_order`."""
    found = []
    for frame in rng.permutation(len(FRAMES))[:number]:
        groups, phrase = facts.groups, "{a}"
        if facts.relation:
            turned = 0 if reading_order else int(rng.integers(2))
            phrases = SAID[facts.relation][turned]
            phrase = phrases[rng.integers(len(phrases))]
            groups = facts.groups[::-1] if turned else facts.groups
        be = "is" if groups[0].count == 1 else "are"
        whole = phrase.format(**dict(zip("ab", map(said, facts.groups))))
        found.append(FRAMES[frame].format(whole, be=be))
    return found


GROUP = re.compile(rf"\b(an?|{'|'.join(NUMBERS)}) ({'|'.join(COLOURS)}) ({'|'.join([*SHAPES, *SHAPES.values()])})\b")
TURNED = {"left": (LEFT, False), "right": (LEFT, True), "above": (ABOVE, False), "over": (ABOVE, False)}
TURNED |= {"below": (ABOVE, True), "under": (ABOVE, True)}


def facts_of(sentence: str) -> Facts | None:
    """The facts that a sentence says; None where it says none, or more than a scene has. A relation is said once, by
    one of the words left, right, above, over, below, under."""
    groups = []
    for number, colour, shape in GROUP.findall(sentence):
        count = 1 if number in ("a", "an") else NUMBERS.index(number) + 1
        one = next(one for one, more in SHAPES.items() if shape in (one, more))
        if (shape == one) != (count == 1):
            return None
        groups.append(Group(count, colour, one))
    relations = [TURNED[word] for word in sentence.split() if word in TURNED]
    if len(groups) == 1 and not relations:
        return Facts(tuple(groups), None)
    if len(groups) != 2 or len(relations) != 1:
        return None
    [(relation, turned)] = relations
    return Facts(tuple(groups[::-1] if turned else groups), relation)


def draw(facts: Facts, sides: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """The scene, in places, sizes, angles and tints that are drawn by chance."""
    width, height = rng.integers(sides[0], sides[1] + 1, size=2).tolist()
    image = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING), tuple(rng.integers(205, 256, 3).tolist()))
    canvas = ImageDraw.Draw(image)
    boxes = [(0.0, 0.0, float(width), float(height))]
    if facts.relation == LEFT:
        cut = width * rng.uniform(0.44, 0.56)
        boxes = [(0.0, 0.0, cut, float(height)), (cut, 0.0, float(width), float(height))]
    elif facts.relation == ABOVE:
        cut = height * rng.uniform(0.44, 0.56)
        boxes = [(0.0, 0.0, float(width), cut), (0.0, cut, float(width), float(height))]
    for group, discs in zip(facts.groups, arranged(facts, boxes, min(width, height), rng)):
        for x, y, radius in discs:
            tint = np.clip(np.array(COLOURS[group.colour]) + rng.integers(-18, 19, 3), 0, 255)
            angle = math.radians(rng.uniform(-14, 14))
            draw_shape(canvas, group.shape, x, y, radius, angle, tuple(tint.tolist()))
    return image.resize((width, height), Image.Resampling.BOX)


def arranged(facts: Facts, boxes: list[tuple], side: int, rng: np.random.Generator) -> list[list[tuple]]:
    """Discs of each group in its box; from the middle of the one group to that of the other it is at least 1.5 times as
    far in the direction of their relation as across it, so that no other relation could be said."""
    while True:
        found = [places(group.count, box, side, rng) for group, box in zip(facts.groups, boxes)]
        if facts.relation is None:
            return found
        (x, y), (u, v) = (np.mean(discs, axis=0)[:2] for discs in found)
        along, across = (u - x, v - y) if facts.relation == LEFT else (v - y, u - x)
        if along >= 1.5 * abs(across):
            return found


def places(count: int, box: tuple, side: int, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Centres and radii of so many discs within a box, GAP apart."""
    left, top, right, bottom = box
    scale = 1.0
    while True:
        found = []
        for _ in range(40):
            radius = scale * side * rng.uniform(0.14, 0.2)
            inset = radius + GAP / 2
            if 2 * inset >= min(right - left, bottom - top):
                continue
            x, y = rng.uniform(left + inset, right - inset), rng.uniform(top + inset, bottom - inset)
            if all(math.hypot(x - u, y - v) > radius + r + GAP for u, v, r in found):
                found.append((x, y, radius))
            if len(found) == count:
                return found
        scale *= 0.9


def draw_shape(canvas, shape: str, x: float, y: float, r: float, angle: float, colour: tuple) -> None:
    """A shape within the disc of radius r around (x, y), turned by `angle` in radians."""

    def points(polar: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [
            (
                OVERSAMPLING * (x + r * far * math.sin(turn + angle)),
                OVERSAMPLING * (y - r * far * math.cos(turn + angle)),
            )
            for far, turn in polar
        ]

    box = [OVERSAMPLING * one for one in (x - r, y - r, x + r, y + r)]
    tau = math.tau
    if shape == "circle":
        canvas.ellipse(box, fill=colour)
    elif shape == "ring":
        canvas.ellipse(box, outline=colour, width=round(OVERSAMPLING * r * 0.35))
    elif shape == "square":
        canvas.polygon(points([(1, tau * (k + 0.5) / 4) for k in range(4)]), fill=colour)
    elif shape == "triangle":
        canvas.polygon(points([(1, tau * k / 3) for k in range(3)]), fill=colour)
    elif shape == "star":
        canvas.polygon(points([(1 if k % 2 == 0 else 0.42, tau * k / 10) for k in range(10)]), fill=colour)
    else:  # a cross: two bars
        for along, across in ((1.0, 0.28), (0.28, 1.0)):
            corners = [(across, along), (-across, along), (-across, -along), (across, -along)]
            canvas.polygon(points([(math.hypot(u, v) * 0.96, math.atan2(u, v)) for u, v in corners]), fill=colour)
