"""How near a captioner's sentences are to people's."""

from pipeline.command.setting import Count, NotNegative
from pipeline.corpora.authors import origin, whose
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.groups import over_seeds
from pipeline.exhibits.numbers import visible, written
from pipeline.exhibits.tables import in_cells
from pipeline.probes.probe import Probe

TITLES = {"cider": "CIDEr", "rouge_l": "ROUGE-L", "meteor": "METEOR"}
TITLES |= {f"bleu_{n}": f"BLEU-{n}" for n in (4, 3, 2, 1)}
OTHERS = {"nearest": "the nearest training picture's sentence", "people": "{whose} sentences among themselves"}


class CaptionScores(Probe):
    """BLEU-1 to 4, ROUGE-L, CIDEr and METEOR of the best sentence that a beam search finds for each picture of the part
    that models are judged on; beside them those of the first sentence of the nearest training picture, by the features
    that the network sees, and those of people's sentences, each beside the others of its picture.

    pictures        of the part, evenly spread; null: all
    width           of the beam; 1 takes the likeliest word at each step
    length_penalty  a of log p / n^a, by which sentences of n words are ranked, >= 0
    The sentences are kept in COCO's format of results, [{"image_id", "caption"}, ...].
    """

    measures = {name: Measure(digits=".3f", better="high", title=title) for name, title in TITLES.items()}

    def __init__(self, pictures: Count | None, width: Count, length_penalty: NotNegative):
        self.pictures, self.width, self.length_penalty = pictures, width, length_penalty

    def fits(self, network, data) -> bool:
        from pipeline.probes.captioning import writes_captions

        return writes_captions(network, data)

    def measure(self, network, data, seed: int) -> dict:
        """The scores; "others": those of the nearest sentence and of people, None where pictures have one sentence;
        "judged": pictures; "java": whether there was one for METEOR; the file captions.json."""
        from pipeline.probes import captioning
        from pipeline.probes.caption_scores import has_java, people_among_themselves, scores

        numbers = captioning.chosen(data, self.pictures)
        found = captioning.written(network, data, numbers, self.width, self.length_penalty)
        sentences = {number: some[0][0] for number, some in zip(numbers.tolist(), found)}
        references = {number: data.pictures.sentences(number) for number in numbers.tolist()}
        near = captioning.nearest(network, data, numbers).tolist()
        theirs = {number: data.pictures.sentences(other)[0] for number, other in zip(numbers.tolist(), near)}
        results = [{"image_id": data.pictures.ids[number], "caption": one} for number, one in sentences.items()]
        return scores(sentences, references) | {
            "others": {"nearest": scores(theirs, references), "people": people_among_themselves(references)},
            "judged": len(numbers),
            "part": data.judged_on,
            "synthetic": bool(data.card.get("synthetic")),
            "java": has_java(),
            "files": {"captions.json": results},
        }

    def show(self, rows: list[dict]) -> list[Exhibit]:
        """A table with the models, the nearest neighbour and people, for each data set."""
        lines = []
        for data in dict.fromkeys(row["data"] for row in rows):
            of = [row for row in rows if row["data"] == data]
            for row in of:
                lines.append([row["label"], *self._means([run["found"] for run in row["runs"]])])
            first = [run["found"]["others"] for run in of[0]["runs"]]
            theirs = whose(run["found"]["synthetic"] for run in of[0]["runs"])
            for other, title in OTHERS.items():
                some = [one[other] for one in first if one[other]]
                if some:
                    which = f", as {of[0]['label']} sees it" if other == "nearest" else ""
                    lines.append([visible(f"{data}: {title.format(whose=theirs)}{which}"), *self._means(some)])
        found = [run["found"] for row in rows for run in row["runs"]]
        synthetic = [one["synthetic"] for one in found]
        wrote = whose(synthetic)
        about = (
            f"The best of a beam of {self.width}, of {found[0]['judged']:,} pictures of the {found[0]['part']} part, "
            f"beside {wrote} sentences; CIDEr is of 10, the others are of 1. {wrote.capitalize()} are compared with "
            "one sentence fewer than models' are. The sentences lie in results/captions/, as COCO's server takes them."
            f"{origin(synthetic)}"
        )
        if not all(one["java"] for one in found):
            about += " METEOR needs Java, which was not found."
        return [Exhibit("Captions", about, in_cells(["", *TITLES.values()], lines))]

    def _means(self, found: list[dict]) -> list[str]:
        return [written(over_seeds(one[name] for one in found)["mean"], ".3f") for name in TITLES]
