"""Pictures with the sentences that a captioner writes of them, and with people's."""

import base64
import io

from pipeline.command.setting import Count, NotNegative
from pipeline.corpora.authors import author, origin, whose
from pipeline.exhibits.exhibit import Exhibit
from pipeline.exhibits.numbers import visible
from pipeline.probes.probe import Probe

LARGEST = 160  # pixels of the longer side of a picture on the page


class CaptionGallery(Probe):
    """Pictures of the part that is judged with the best sentences that a beam search finds and their log-probabilities,
    the likeliest word at each step, and a drawn sentence; the nearest training picture's sentence, by the features that
    the network sees, and people's.

    pictures  of the part, evenly spread;  best  sentences of the beam that are shown, at most its width
    width, length_penalty  of the beam search: see captions
    temperature  of the drawn sentence, >= 0
    """

    tracked = True

    def __init__(
        self,
        pictures: Count,
        best: Count,
        width: Count,
        length_penalty: NotNegative,
        temperature: NotNegative,
    ):
        self.pictures, self.best, self.width = pictures, best, width
        self.length_penalty, self.temperature = length_penalty, temperature

    def fits(self, network, data) -> bool:
        from pipeline.probes.captioning import writes_captions

        return writes_captions(network, data)

    def measure(self, network, data, seed: int) -> dict:
        """{"shown": [{"name", "picture": a data URI, "best": [[sentence, log p], ..], "greedy", "drawn", "nearest",
        "people": [..]}], "part", "synthetic"}."""
        from torch import Generator

        from pipeline.decoding.sampling import draw_symbols
        from pipeline.probes import captioning

        numbers = captioning.chosen(data, self.pictures)
        beams = captioning.written(network, data, numbers, self.width, self.length_penalty)
        greedy = captioning.written(network, data, numbers, 1, 0.0)
        near = captioning.nearest(network, data, numbers).tolist()
        generator, shown = Generator().manual_seed(seed), []
        for number, beam, [(likeliest, _)], other in zip(numbers.tolist(), beams, greedy, near, strict=True):
            given = captioning.given_to(network, data, [number])
            drawn = draw_symbols(network, [data.end], self.temperature, data.longest, generator, given)
            shown.append(
                {
                    "name": data.pictures.names[number],
                    "picture": embedded(data.pictures.open(number)),
                    "best": [[sentence, one.log_p] for sentence, one in beam[: self.best]],
                    "greedy": likeliest,
                    "drawn": data.sentence(until(drawn, data.end)),
                    "nearest": data.pictures.sentences(other)[0],
                    "people": data.pictures.sentences(number),
                }
            )
        return {"shown": shown, "part": data.judged_on, "synthetic": bool(data.card.get("synthetic"))}

    def show(self, rows: list[dict]) -> list[Exhibit]:
        from pipeline.exhibits.gallery import folded

        parts = [
            folded(f"{row['label']}, seed {run['seed']}", "", cards(run["found"]), unfolded=run["open"])
            for row in rows
            for run in row["runs"][:1]
        ]
        found = [row["runs"][0]["found"] for row in rows]
        synthetic = [one["synthetic"] for one in found]
        about = (
            f"Pictures of the {found[0]['part']} part: in bold the best sentence of a beam of {self.width}, with "
            "others and their log-probabilities in nats; the likeliest word at each step; a sentence drawn at "
            f"temperature {self.temperature}; the nearest training picture's; and {whose(synthetic)}. One seed of each "
            f"model.{origin(synthetic)}"
        )
        return [Exhibit("Captions of pictures", about, "".join(parts), long=True)]

    def page(self, found: dict) -> str:
        from markupsafe import Markup

        style = ".moments{display:grid;grid-template-columns:repeat(auto-fill,minmax(19rem,1fr));gap:1rem;padding:0}"
        style += "li{list-style:none}body{font:14px sans-serif}"
        return str(Markup('<!doctype html><meta charset="utf-8"><style>{}</style>{}').format(style, cards(found)))


def cards(found: dict):
    """HTML of pictures with their sentences."""
    from markupsafe import Markup

    from pipeline.exhibits import gallery

    def line(what: str, sentence: str):
        return Markup('<p class="when">{} <samp>{}</samp></p>').format(what, visible(sentence))

    label = f"{author(found['synthetic'])}:"

    def inside(one: dict):
        (first, _), *others = one["best"]
        yield Markup('<img src="{}" alt="{}" style="align-self:start;max-width:100%">').format(
            one["picture"], one["name"]
        )
        yield Markup("<p><b>{}</b></p>").format(visible(first))
        yield from (line(f"{log_p:.1f}", sentence) for sentence, log_p in others)
        yield line("greedy:", one["greedy"])
        yield line("drawn:", one["drawn"])
        yield line("nearest:", one["nearest"])
        yield from (line(label, sentence) for sentence in one["people"][:3])

    return gallery.cards(("", "", inside(one)) for one in found["shown"])


def until(symbols, end: int) -> list[int]:
    """Symbols before the end, or all of them; no more are drawn than are needed."""
    found = []
    for symbol in symbols:
        if symbol == end:
            break
        found.append(symbol)
    return found


def embedded(picture) -> str:
    """A PIL picture, made small, as a data URI of WebP."""
    small, file = picture.copy(), io.BytesIO()
    small.thumbnail((LARGEST, LARGEST))
    small.save(file, "webp", quality=70)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
