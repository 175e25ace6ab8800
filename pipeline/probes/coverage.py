"""How many words of a text a vocabulary lacks, by its size."""

from typing import Annotated

from annotated_types import Len

from pipeline.command.setting import Called, Count
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import drawing, legend, look, svg
from pipeline.exhibits.numbers import visible, written
from pipeline.exhibits.tables import in_cells
from pipeline.probes.probe import Probe

LEAST = 2  # occurrences that make a word one of a vocabulary


class Coverage(Probe):
    """1/n sum_t [w_t is not among the V most frequent words of the training part], w_t the n words of the part that
    finished models are judged on, line breaks among them. Of the training part the first `words` are counted, so that
    texts of unlike lengths compare; words that occur once among them belong to no vocabulary.

    words  of the training part that are counted, >= 1
    sizes  V, each >= 1; those above the number of words that occur twice say what all of these leave unknown
    """

    def __init__(
        self,
        words: Count,
        sizes: Annotated[list[Count], Len(1), Called("whole numbers from 1, one or more, as [100,1000]")],
    ):
        self.words, self.sizes = words, sorted(sizes)
        self.measures = {
            f"outside_{size}": Measure(digits=".1%", better="low", title=f"unknown, {size:,} words at most")
            for size in self.sizes[-1:]
        }

    def fits(self, network, data) -> bool:
        return data.answers.units.element == "word" and data.contiguous

    def measure(self, network, data, seed: int) -> dict:
        """{"outside_V": share} for every V, the words "counted", and the "known", those that occur twice."""
        import numpy as np

        counted = np.asarray(data.parts["train"][: self.words])
        counts = np.bincount(counted, minlength=data.answers.width)
        counts[0] = 0  # the vocabulary's own word for all that it lacks
        order = np.argsort(-counts, kind="stable")
        known = int((counts >= LEAST).sum())
        rank = np.full(len(counts), np.iinfo(np.int64).max)
        rank[order[:known]] = np.arange(known)
        ranks = rank[np.asarray(data.parts[data.judged_on])]
        shares = {f"outside_{size}": float((ranks >= size).mean()) for size in self.sizes}
        return shares | {"counted": len(counted), "known": known}

    def show(self, rows: list[dict]) -> list[Exhibit]:
        texts = {row["data"]: row["runs"][0]["found"] for row in rows}  # alike whatever model read them
        counted = min(found["counted"] for found in texts.values())
        about = (
            "Share of the words of the judged part that are not in a vocabulary, by its size: the most frequent words "
            f"among the first {counted:,} of the training part. A line ends where all words are in it that occur there "
            "twice."
        )
        title = "What a vocabulary lacks"
        heads = ("", *(f"{size:,}" for size in self.sizes), "words that occur twice")
        lines = (
            (
                visible(text),
                *(written(found[f"outside_{size}"], ".1%") for size in self.sizes),
                f"{found['known']:,}",
            )
            for text, found in texts.items()
        )
        drawn = svg(figure(texts, self.sizes), f"{title}: {rows[0]['study']}")
        return [Exhibit(title, about, f"{drawn}{in_cells(heads, lines)}")]


def figure(texts: dict[str, dict], sizes: list[int]):
    """Shares against sizes, a colour a text: what Coverage.measure found by the name of the data."""
    with drawing(3.8) as (whole, (axes,)):
        for index, (text, found) in enumerate(texts.items()):
            reached = [size for size in sizes if size < found["known"]]
            shares = [found[f"outside_{size}"] for size in reached] + [found[f"outside_{sizes[-1]}"]]
            reached.append(min(found["known"], sizes[-1]))
            axes.plot(reached, shares, markersize=4.5, linewidth=1.4, label=text, **look(index))
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set(xlabel="words of the vocabulary", ylabel="unknown words")
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        legend(whole)
    return whole
