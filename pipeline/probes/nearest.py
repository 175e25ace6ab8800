"""Which words a model takes for alike."""

import re

from pipeline.command.setting import Count
from pipeline.exhibits.exhibit import Exhibit
from pipeline.exhibits.gallery import evenly, folded
from pipeline.exhibits.numbers import visible
from pipeline.exhibits.tables import in_cells
from pipeline.probes.probe import Probe


class Nearest(Probe):
    """The words with the greatest cosine of v - mean(v) to that of a word, v its embedding or the mean of the hidden
    units of all layers after it has been read, of characters after its last letter.

    Where symbols are words and none is embedded, their columns of the input weights are taken as embeddings: W x_t of a
    one-hot x_t.

    elements  of the held-out part that are read
    among     the words that are compared, the most frequent in what is read
    asked     words of which the nearest are shown, spread evenly over the logarithm of their rank
    shown     nearest words of each
    """

    def __init__(self, elements: Count, among: Count, asked: Count, shown: Count):
        self.elements, self.among, self.asked, self.shown = elements, among, asked, shown

    def fits(self, network, data) -> bool:
        kind = getattr(getattr(data, "vocabulary", None), "symbols", None)
        return network.has_activities and data.foretells and data.contiguous and kind in ("characters", "words")

    def measure(self, network, data, seed: int) -> dict:
        """{"state", "embedding": [[word, [[nearest, cosine], ...]], ...], of words; "embedding" only where symbols are
        words}."""
        import numpy as np

        from pipeline.probes.inside import states

        part = data.judged_on
        symbols = np.asarray(data.parts[part][: self.elements]).astype(np.int64)
        at, h = states(network, data, part, self.elements)
        places = occurrences(data.vocabulary, symbols, at)
        chosen = sorted(places, key=lambda word: (-len(places[word]), word))[: self.among]
        row = {place: number for number, place in enumerate(at.tolist())}
        means = [h[[row[place] for place in places[word]]].mean(0, dtype=np.float64) for word in chosen]
        found = {"state": self._nearest(chosen, means)}
        if data.vocabulary.symbols == "words":
            embedded = embeddings(network, len(data.vocabulary))
            if embedded is not None:
                found["embedding"] = self._nearest(chosen, [embedded[data.vocabulary.index[word]] for word in chosen])
        return found

    def _nearest(self, words: list[str], vectors: list) -> list:
        asked = [rank - 1 for rank in evenly(list(range(1, len(words) + 1)), self.asked)]
        return [[words[one], neighbours(words, vectors, one)[: self.shown]] for one in asked]

    def show(self, rows: list[dict]) -> list[Exhibit]:
        parts = [
            folded(f"{row['label']}, seed {run['seed']}", "", table(run["found"]), unfolded=run["open"])
            for row in rows
            for run in row["runs"]
        ]
        about = (
            f"Of frequent words, the nearest among the {self.among:,} most frequent of the held-out text, by the "
            "cosine of what differs from their mean: of the hidden units after the word, and of the embedding where "
            "words are symbols."
        )
        return [Exhibit("Nearest words", about, "".join(parts), long=True)]


def occurrences(vocabulary, symbols, at) -> dict[str, list[int]]:
    """Word -> the places, among `at`, of its last letters: runs of letters of a text by characters, or symbols that are
    letters alone."""
    known, places = set(at.tolist()), {}
    if vocabulary.symbols == "words":
        found = ((vocabulary.words[symbol], place) for place, symbol in enumerate(symbols.tolist()))
        found = ((word, place) for word, place in found if word.isalpha())
    else:
        text = vocabulary.decode(symbols)
        found = ((one[0], one.end() - 1) for one in re.finditer(r"[^\W\d_]+", text))
    for word, place in found:
        if place in known:
            places.setdefault(word, []).append(place)
    return places


def embeddings(network, count: int):
    """What the model first makes of each of `count` symbols, [count, width]; None where it does not say so."""
    import numpy as np

    found = {}
    for role, parameter in network.parameters_by_role():
        if role in ("embedding", "input") and parameter.dim() == 2 and count in parameter.shape:
            array = parameter.detach().double().cpu().numpy()
            found.setdefault(role, []).append(array if array.shape[0] == count else array.T)
    some = found.get("embedding") or found.get("input")
    return np.concatenate(some, axis=1) if some else None


def neighbours(words: list[str], vectors: list, one: int) -> list[list]:
    """All other words by falling cosine of v - mean(v) to that of word number `one`: [word, cosine] each."""
    import numpy as np

    v = np.stack(vectors)
    v = v - v.mean(0)
    lengths = np.maximum(np.linalg.norm(v, axis=1), 1e-300)
    cosines = v @ v[one] / (lengths * lengths[one])
    order = [other for other in np.argsort(-cosines, kind="stable").tolist() if other != one]
    return [[words[other], round(float(cosines[other]), 3)] for other in order]


def table(found: dict):
    """HTML: a line a word."""
    kinds = [kind for kind in ("state", "embedding") if kind in found]
    heads = {"state": "nearest by hidden units", "embedding": "nearest by embedding"}

    def said(near: list):
        from markupsafe import Markup

        return Markup(", ").join(
            Markup("{} <small>{:.2f}</small>").format(visible(word), cosine) for word, cosine in near
        )

    lines = [
        [found["state"][place][0], *(said(found[kind][place][1]) for kind in kinds)]
        for place in range(len(found["state"]))
    ]
    return in_cells(["", *(heads[kind] for kind in kinds)], lines)
