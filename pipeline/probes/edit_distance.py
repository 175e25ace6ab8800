"""How far what a model says is from what is right."""

from collections.abc import Sequence

from pipeline.command.setting import Count
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.tables import in_cells
from pipeline.probes.probe import Probe, headed

COLUMNS = 4  # models whose answers stand beside one another
LINE = 60  # characters of an answer that are shown


class EditDistance(Probe):
    """PER = sum of distances / sum of lengths, over the words of the part that finished models are judged on: the
    distance is the least number of phones to insert, leave out or change that turns what the model says into a listed
    pronunciation, and the length is that of this one, the nearest (of those that are as near, the longest).
    WER = the share of words whose distance is not 0.

    For pronunciations.
    beam     width of the beam with which the likeliest pronunciation is sought; 1: the likeliest phone at every step
    sources  words, the first ones; None: all;  shown  words that the page shows
    """

    measures = {"per": Measure(digits=".2%", title="PER"), "wer": Measure(digits=".2%", title="WER")}

    def __init__(self, beam: Count, sources: Count | None, shown: Count):
        self.beam, self.sources, self.shown = beam, sources, shown

    def fits(self, network, data) -> bool:
        return data.answers.units.element == "phone"

    def measure(self, network, data, seed: int) -> dict:
        """The measures, the number of "words", and "examples": [word, what the model says, listed ones]."""
        pairs = data.pairs[data.judged_on][: self.sources]
        errors = phones = wrong = 0
        examples = []
        answers = data.answered(network, [pair.source for pair in pairs], self.beam)
        for pair, said in zip(pairs, answers, strict=True):
            distance, length = nearest(said.tolist(), [answer.tolist() for answer in pair.answers])
            errors, phones, wrong = errors + distance, phones + length, wrong + (distance > 0)
            if len(examples) < self.shown:
                word, listed = data.written(pair)
                examples.append([word, data.target.decode(said), listed])
        return {"per": errors / phones, "wer": wrong / len(pairs), "words": len(pairs), "examples": examples}

    def show(self, rows: list[dict]) -> list[Exhibit]:
        shown = rows[:COLUMNS]
        every = [row["runs"][0]["found"]["examples"] for row in shown]
        lines = [
            [word, " or ".join(listed), *(spoken(one[k]) for one in every)]
            for k, (word, _, listed) in enumerate(every[0])
            if all(len(one) > k for one in every)
        ]
        words = rows[0]["runs"][0]["found"]["words"]
        best = f"the {len(shown)} best of {len(rows)} models" if len(shown) < len(rows) else "each model"
        about = (
            f"Words that none of them learned from, {len(lines)} of {words:,}: the pronunciations that the dictionary "
            f"lists, and what {best} says, one seed. Struck out: what is not listed."
        )
        return [Exhibit("Pronunciations", about, in_cells(["word", "listed", *headed(shown)], lines))]


def spoken(example: list):
    """HTML of what a model says, struck out where it is not listed."""
    from markupsafe import Markup

    word, said, listed = example
    return said if said in listed else Markup("<s>{}</s>").format(said if len(said) <= LINE else said[:LINE] + "…")


def nearest(said: Sequence, answers: Sequence[Sequence]) -> tuple[int, int]:
    """The distance from what is said to the nearest answer, and the length of this."""
    from nltk.metrics.distance import edit_distance

    distances = [(0 if said == answer else edit_distance(said, answer), -len(answer)) for answer in answers]
    distance, length = min(distances)
    return distance, -length
