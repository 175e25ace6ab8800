"""Whether sentences say what is in drawn scenes."""

from pipeline.command.setting import Count, NotNegative
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.groups import over_seeds
from pipeline.exhibits.numbers import visible, written
from pipeline.exhibits.tables import in_cells
from pipeline.probes.probe import Probe

KINDS = {"colour": "colours", "shape": "shapes", "count": "counts", "relation": "relations", "all": "all of it"}


class SceneFacts(Probe):
    """Of synthetic scenes, whose pictures and truth a program made: the share of unseen compositions, pictures of the
    part that is judged, whose sentence names every colour, every shape, every count and the relation right; and
    all of these. The sentence is the best that a beam search finds. A sentence that says no facts, or more than a scene
    has, has none right. Beside it the first sentence of the nearest training picture, by the features that the network
    sees.

    pictures  of the part, evenly spread; null: all;  width, length_penalty  of the beam search: see captions
    """

    measures = {
        f"facts_{kind}": Measure(digits=".1%", better="high", title=f"facts right: {title}")
        for kind, title in reversed(KINDS.items())
    }

    def __init__(self, pictures: Count | None, width: Count, length_penalty: NotNegative):
        self.pictures, self.width, self.length_penalty = pictures, width, length_penalty

    def fits(self, network, data) -> bool:
        from pipeline.probes.captioning import writes_captions

        return writes_captions(network, data) and data.pictures.facts(0) is not None

    def measure(self, network, data, seed: int) -> dict:
        """The shares; "nearest": those of the nearest training picture's sentence; "judged": pictures."""
        from pipeline.probes import captioning

        numbers = captioning.chosen(data, self.pictures)
        found = captioning.written(network, data, numbers, self.width, self.length_penalty)
        near = captioning.nearest(network, data, numbers).tolist()
        truth = [data.pictures.facts(number) for number in numbers.tolist()]
        ours = shares(truth, [some[0][0] for some in found])
        theirs = shares(truth, [data.pictures.sentences(other)[0] for other in near])
        return ours | {"nearest": theirs, "judged": len(numbers), "part": data.judged_on}

    def show(self, rows: list[dict]) -> list[Exhibit]:
        lines = [[visible(row["label"]), *self._means([run["found"] for run in row["runs"]])] for row in rows]
        first = [run["found"]["nearest"] for run in rows[0]["runs"]]
        lines.append([f"the nearest training picture's sentence, as {rows[0]['label']} sees it", *self._means(first)])
        found = rows[0]["runs"][0]["found"]
        about = (
            f"Synthetic scenes: a program drew {found['judged']:,} pictures of the {found['part']} part, each with a "
            "group of shapes that no training picture has, and knows what is in them. Shares of pictures whose "
            "sentence names every colour, shape and count, and the relation, right; a relation is right where there is "
            "none, and none is said."
        )
        return [Exhibit("Facts of scenes", about, in_cells(["", *KINDS.values()], lines))]

    def _means(self, found: list[dict]) -> list[str]:
        return [written(over_seeds(one[f"facts_{kind}"] for one in found)["mean"], ".1%") for kind in KINDS]


def shares(truth: list[dict], sentences: list[str]) -> dict[str, float]:
    """The shares of scenes of which a sentence names each kind of fact right, and all of them."""
    right = [judged(*one) for one in zip(truth, sentences, strict=True)]
    return {f"facts_{kind}": sum(one[kind] for one in right) / len(right) for kind in KINDS}


def judged(truth: dict, sentence: str) -> dict[str, bool]:
    """Which kinds of facts of a scene the sentence names right. Its groups are taken in the order in which most of what
    it says of them is right; the relation is right where that is the order in which it has them."""
    from pipeline.corpora.scenes import Facts, facts_of

    known, said = Facts.known(truth), facts_of(sentence)
    if said is None or len(said.groups) != len(known.groups):
        return dict.fromkeys(KINDS, False)
    orders = [said.groups, said.groups[::-1]]

    def right(kind: str, groups: tuple) -> bool:
        return all(getattr(one, kind) == getattr(other, kind) for one, other in zip(groups, known.groups))

    best = max(orders, key=lambda groups: sum(right(kind, groups) for kind in ("colour", "shape", "count")))
    found = {kind: right(kind, best) for kind in ("colour", "shape", "count")}
    found["relation"] = said.relation == known.relation and best is said.groups
    return found | {"all": said == known}
