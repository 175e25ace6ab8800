"""How many words of a text a vocabulary lacks, by its size."""

from pipeline.command.setting import Count
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import drawing, legend, look, svg
from pipeline.exhibits.numbers import visible, written
from pipeline.probes.probe import Probe

LEAST = 2  # occurrences that make a word one of a vocabulary


class Coverage(Probe):
    """1/n sum_t [w_t is not among the V most frequent words of the training part], w_t the n words of the part that
    finished models are judged on, line breaks among them. Of the training part the first `words` are counted, so that
    texts of unlike lengths compare; words that occur once among them belong to no vocabulary.

    words  of the training part that are counted, >= 1
    sizes  V, each >= 1; those above the number of words that occur twice say what all of these leave unknown
    """

    def __init__(self, words: Count, sizes: list[Count]):
        self.words, self.sizes = words, sorted(sizes)
        self.measures = {
            f"outside_{size}": Measure(digits=".1%", better="low", title=f"unknown of {size:,} words")
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
        counted = min(run["found"]["counted"] for row in rows for run in row["runs"])
        about = (
            "Share of the words of the judged part that are not in a vocabulary, by its size: the most frequent words "
            f"among the first {counted:,} of the training part. A line ends where all words are in it that occur there "
            "twice."
        )
        title = "What a vocabulary lacks"
        lines = [
            f"<tr><th>{visible(row['name'])}</th><td>{row['runs'][0]['found']['known']:,}</td>"
            + "".join(f"<td>{written(row['runs'][0]['found'][f'outside_{size}'], '.1%')}</td>" for size in self.sizes)
            + "</tr>"
            for row in rows
        ]
        heads = "".join(f"<th>{size:,}</th>" for size in self.sizes)
        table = f"<table><tr><th></th><th>words that occur twice</th>{heads}</tr>{''.join(lines)}</table>"
        return [Exhibit(title, about, svg(figure(rows, self.sizes), f"{title}: {rows[0]['study']}") + table)]


def figure(rows: list[dict], sizes: list[int]):
    """Shares against sizes, a colour a row; rows as Probe.show gets them."""
    with drawing(3.8) as (whole, (axes,)):
        for index, row in enumerate(rows):
            found = row["runs"][0]["found"]
            reached = [size for size in sizes if size <= found["known"]] + [found["known"]]
            shares = [found[f"outside_{size}"] for size in reached[:-1]] + [found[f"outside_{sizes[-1]}"]]
            axes.plot(reached, shares, markersize=4.5, linewidth=1.4, label=row["name"], **look(index))
        axes.set_xscale("log")
        axes.set(xlabel="words of the vocabulary", ylabel="unknown words", ylim=(0, None))
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        legend(whole)
    return whole
