"""Which picture a sentence is about, and which sentence a picture has."""

from pipeline.command.setting import Count
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.groups import over_seeds
from pipeline.exhibits.numbers import visible, written
from pipeline.exhibits.tables import in_cells
from pipeline.probes.probe import Probe

ASKED = {
    "image": "pictures for a sentence, by log p(s | v)",
    "sentence": "sentences for a picture, by log p(s | v)",
    "normalized": "sentences for a picture, by log p(s | v) / p(s)",
}
SHOWN = {"r1": "R@1", "r5": "R@5", "r10": "R@10", "median": "median rank"}


class Ranking(Probe):
    """Among n pictures of the part that is judged, each with one of its sentences: how often the right one is the first
    (R@1), among the first 5 or 10, and its median rank, 1 at best. Pictures v are ranked for a sentence s by
    log p(s | v), sentences for a picture by the same, and by log p(s | v) - log p(s), p(s) = mean of p(s | v') over
    training pictures v' (Mao et al. 2015), since some sentences are likely whatever is seen.

    pictures  n, evenly spread over the part;  others  training pictures v'
    """

    measures = {
        f"{asked}_{name}": Measure(
            digits=".1f" if name == "median" else ".1%",
            better="low" if name == "median" else "high",
            title=f"{title}, {'pictures' if asked == 'image' else 'sentences'}",
        )
        for asked in ("image", "normalized")
        for name, title in SHOWN.items()
        if name in ("r1", "median")
    }

    def __init__(self, pictures: Count, others: Count):
        self.pictures, self.others = pictures, others

    def fits(self, network, data) -> bool:
        from pipeline.probes.captioning import writes_captions

        return writes_captions(network, data)

    def measure(self, network, data, seed: int) -> dict:
        """{"ASKED_r1", .. "ASKED_median"} by ASKED and SHOWN; "judged": n."""
        import numpy as np

        from pipeline.probes.captioning import chosen, log_likelihoods

        numbers = chosen(data, self.pictures)
        train = data.pictures.part_of("train")
        train = train[np.linspace(0, len(train) - 1, min(self.others, len(train))).round().astype(int)]
        sentences = [data.pictures.sentences_of(number).start for number in numbers.tolist()]
        log_p = log_likelihoods(network, data, numbers, sentences)
        among = log_likelihoods(network, data, train, sentences)
        prior = np.logaddexp.reduce(among, axis=0) - np.log(len(train))
        ranks = {"image": ranked(log_p.T), "sentence": ranked(log_p), "normalized": ranked(log_p - prior)}
        found = {"judged": len(numbers)}
        for asked, some in ranks.items():
            found |= {f"{asked}_r{k}": float(np.mean(some <= k)) for k in (1, 5, 10)}
            found[f"{asked}_median"] = float(np.median(some))
        return found

    def show(self, rows: list[dict]) -> list[Exhibit]:
        lines = []
        for row in rows:
            found = [run["found"] for run in row["runs"]]
            for asked, title in ASKED.items():
                means = {name: over_seeds(one[f"{asked}_{name}"] for one in found)["mean"] for name in SHOWN}
                cells = [written(mean, ".1f" if name == "median" else ".1%") for name, mean in means.items()]
                lines.append([visible(row["label"]), title, *cells])
        n = rows[0]["runs"][0]["found"]["judged"]
        about = (
            f"Of {n:,} pictures with one sentence each: how often the right one is first, among the first 5 and 10, "
            f"and its median rank; by chance {1 / n:.1%} and {(n + 1) / 2:.1f}. p(s) is a mean over training pictures."
        )
        return [Exhibit("Ranking", about, in_cells(["", "", *SHOWN.values()], lines))]


def ranked(scores):
    """The rank, 1 at best, of entry k of row k, [n, n] -> [n]; of equal ones the mean."""
    import numpy as np

    own = np.diagonal(scores)[:, None]
    return 1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2
