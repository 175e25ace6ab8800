"""How good a translation is, beside people's."""

from pipeline.command.setting import Count
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.numbers import visible
from pipeline.exhibits.tables import in_cells
from pipeline.probes.probe import Probe, headed

COLUMNS = 3  # models whose translations stand beside one another


class Translation(Probe):
    """BLEU = BP (p_1 p_2 p_3 p_4)^(1/4), in per cent, of all translations together: p_n the share of their runs of n
    words that the reference has, BP the brevity penalty (Papineni et al. 2002). By sacrebleu (Post 2018), whose
    signature says how it was computed, of texts as they are written; of the part that finished models are judged on.

    For pairs of texts.
    beam     width of the beam with which the likeliest translation is sought; 1: the likeliest symbol at every step
    sources  texts, the first ones; None: all;  shown  of them on the page
    """

    measures = {"bleu": Measure(digits=".1f", better="high", title="BLEU")}

    def __init__(self, beam: Count, sources: Count | None, shown: Count):
        self.beam, self.sources, self.shown = beam, sources, shown

    def fits(self, network, data) -> bool:
        return hasattr(data, "pairs") and data.answers.units.element in ("word", "char")

    def measure(self, network, data, seed: int) -> dict:
        """The measure, its "signature", the number of "texts", and "examples": [text, its translation, the
        reference]."""
        from sacrebleu.metrics import BLEU

        pairs = data.pairs[data.judged_on][: self.sources]
        answers = data.answered(network, [pair.source for pair in pairs], self.beam)
        texts = [data.target.decode(answer) for answer in answers]
        sources, references = zip(*((text, right[0]) for text, right in map(data.written, pairs)))
        metric = BLEU()
        score = metric.corpus_score(texts, [list(references)]).score
        examples = list(map(list, zip(sources, texts, references)))[: self.shown]
        return {"bleu": score, "signature": str(metric.get_signature()), "texts": len(pairs), "examples": examples}

    def show(self, rows: list[dict]) -> list[Exhibit]:
        shown = rows[:COLUMNS]
        every = [row["runs"][0]["found"]["examples"] for row in shown]
        lines = [
            [visible(text), visible(reference), *(visible(one[k][1]) for one in every)]
            for k, (text, _, reference) in enumerate(every[0])
            if all(len(one) > k for one in every)
        ]
        found = rows[0]["runs"][0]["found"]
        about = (
            f"The first of the {found['texts']:,} that were translated, people's translation of them, and the models', "
            f"best first, one seed. BLEU: {found['signature']}."
        )
        heads = ["text", "reference", *headed(shown)]
        return [Exhibit("Translations", about, in_cells(heads, lines), long=True)]
