"""Which words a model writes that the training text has, which it invents, and its numbers, dates and names."""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from pipeline.command.setting import Count, NotNegative
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.groups import comparable
from pipeline.exhibits.numbers import visible, written
from pipeline.exhibits.tables import scrolled
from pipeline.probes.probe import Probe

if TYPE_CHECKING:
    from pipeline.datasets.data import Data

PIECE = 1_000_000  # symbols of the training part that are read at a time
MOST = 24  # examples of a kind
WORD = re.compile(r"(?<![^\W_])[^\W\d_]+(?:['’-][^\W\d_]+)*(?![^\W_])")
MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
KINDS = {
    "numbers": re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)*(?![\w])"),
    "dates": re.compile(rf"\b\d\d?(?:st|nd|rd|th)? (?:{MONTH})\b|\b(?:{MONTH}) \d\d?\b|\b\d{{4}}-\d\d-\d\d\b"),
    # Capitals within a sentence: after a small letter or a comma.
    "names": re.compile(r"(?<=[a-zà-ÿ,] )[A-ZÀ-Þ][a-zà-ÿ]+(?: [A-ZÀ-Þ][a-zà-ÿ]+)*"),
}


class WordsWritten(Probe):
    """real_words = the share of the words written that occur in the training part, 0..1; capitals and small letters
    are one. A word is a run of letters, with apostrophes and hyphens within, and no digit beside it.

    Beside it, numbers, dates and names (capitals within a sentence) by 1,000 words. The same of held-out text tells
    what is usual: real text has words too that the training part lacks.

    length       characters that the model writes
    temperature  at which; 1 is the model's own distribution
    real         characters of the part that finished models are judged on
    """

    measures = {"real_words": Measure(digits=".1%", better="high", title="real words")}

    def __init__(self, length: Count, temperature: NotNegative, real: Count):
        self.length, self.temperature, self.real = length, temperature, real

    def fits(self, network, data) -> bool:
        return bool(data.prompts) and data.answers.units.element in ("char", "byte")

    def measure(self, network, data, seed: int) -> dict:
        """{"real_words", "written", "real"}: the last two are what `counted` says of what the model writes, and of
        held-out text."""
        from torch import Generator

        vocabulary = words_of_training(data)
        text = "".join(data.write(network, "", self.temperature, self.length, Generator().manual_seed(seed)))
        real = data.vocabulary.decode(data.parts[data.judged_on][: self.real])
        found = counted(text, vocabulary)
        return {"real_words": found["real_words"], "written": found, "real": counted(real, vocabulary)}

    def show(self, rows: list[dict]) -> list[Exhibit]:
        about = (
            f"In {self.length:,} characters that each model wrote at temperature {self.temperature:g}: words, the "
            "share of them that the training text has, and by 1,000 words numbers, dates, and names, which are "
            "capitals within a sentence. After the models of each text, held-out text. One seed."
        )
        body, examples = [], []
        for section in comparable(rows):
            found = [(row["label"], row["runs"][0]["found"]["written"]) for row in section]
            real = (f"{section[0]['data']}, held-out text", section[0]["runs"][0]["found"]["real"])
            body += [line(name, one) for name, one in (*found, real)]
            examples += [line_of_examples(name, one) for name, one in found]
        titles = ["words", "real words", *KINDS, "words that the training text lacks"]
        more = "The most frequent ones of each model."
        return [
            Exhibit("Words written", about, table(titles, body)),
            Exhibit("Numbers, dates and names that they wrote", more, table(KINDS, examples), long=True),
        ]


def words_of_training(data: "Data") -> set[str]:
    """Words of the training part, in small letters."""
    found: set[str] = set()
    symbols, rest = data.parts["train"], ""
    for first in range(0, len(symbols), PIECE):
        text = rest + data.vocabulary.decode(symbols[first : first + PIECE])
        whole = max(text.rfind(" "), text.rfind("\n")) + 1
        found.update(words(text[:whole]))
        rest = text[whole:]
    return found | set(words(rest))


def words(text: str) -> Iterator[str]:
    return (match[0].casefold() for match in WORD.finditer(text))


def counted(text: str, vocabulary: set[str]) -> dict:
    """words       how many there are
    real_words  the share of them that are in `vocabulary`; None where there are none
    invented    the most frequent of the others
    kinds       name of KINDS -> {"rate": how many by 1,000 words, "examples": the most frequent}
    """
    having = Counter(words(text))
    invented = Counter({word: times for word, times in having.items() if word not in vocabulary})
    total = having.total()
    kinds = {}
    for name, pattern in KINDS.items():
        found = Counter(match[0] for match in pattern.finditer(text))
        rate = 1000 * found.total() / total if total else None
        kinds[name] = {"rate": rate, "examples": [example for example, _ in found.most_common(MOST)]}
    return {
        "words": total,
        "real_words": 1 - invented.total() / total if total else None,
        "invented": [word for word, _ in invented.most_common(MOST)],
        "kinds": kinds,
    }


def table(titles: Collection[str], lines: list[str]) -> str:
    """HTML: rows that have a name, below the titles of their cells."""
    heads = "".join(f'<th scope="col">{title}</th>' for title in ("", *titles))
    rows = f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return scrolled(f'<table class="claims">{rows}</table>', f"Table of {', '.join(titles)}")


def line(name: str, found: dict) -> str:
    """A row of the table: words, the share of real ones, rates, and what was invented."""
    cells = [f"{found['words']:,}", written(found["real_words"], ".1%")]
    cells += [written(found["kinds"][kind]["rate"], ".1f") for kind in KINDS]
    numbers = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{visible(name)}</th>{numbers}<td>{visible(", ".join(found["invented"]))}</td></tr>'


def line_of_examples(name: str, found: dict) -> str:
    cells = "".join(f"<td>{visible('; '.join(found['kinds'][kind]['examples']))}</td>" for kind in KINDS)
    return f'<tr><th scope="row">{visible(name)}</th>{cells}</tr>'
