"""How near sentences are to those that people wrote: BLEU, ROUGE-L, CIDEr and METEOR as COCO's evaluation has them."""

import contextlib
import io
import shutil
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from statistics import fmean

from pipeline.corpora.tokens import caption_words

NAMES = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider", "meteor")


def has_java() -> bool:
    """Whether METEOR can be had."""
    return shutil.which("java") is not None


@cache
def _meteor():
    from pycocoevalcap.meteor.meteor import Meteor

    return Meteor()


def scores(
    sentences: Mapping[Hashable, str], references: Mapping[Hashable, Sequence[str]], meteor: bool = True
) -> dict[str, float | None]:
    """BLEU-1 to 4, ROUGE-L, CIDEr and METEOR by NAMES, as parts of 1 (CIDEr of 10), of one sentence for each picture
    beside those that people wrote of it, by pycocoevalcap. METEOR is None without Java, or where it is not wanted."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    def cut(sentence: str) -> str:
        return " ".join(caption_words(sentence))

    ours = {picture: [cut(sentence)] for picture, sentence in sentences.items()}
    theirs = {picture: list(map(cut, references[picture])) for picture in sentences}
    with contextlib.redirect_stdout(io.StringIO()):
        bleu, _ = Bleu(4).compute_score(theirs, ours, verbose=0)
    found = [*bleu, Rouge().compute_score(theirs, ours)[0], Cider().compute_score(theirs, ours)[0]]
    found.append(_meteor().compute_score(theirs, ours)[0] if meteor and has_java() else None)
    return {name: None if score is None else float(score) for name, score in zip(NAMES, found, strict=True)}


def people_among_themselves(
    references: Mapping[Hashable, Sequence[str]], meteor: bool = True
) -> dict[str, float | None] | None:
    """The scores of people's own sentences, each beside the others of its picture, one fewer than a model is compared
    with: means over rounds, of which the k-th judges the k-th sentence of every picture. None where a picture has a
    single one."""
    rounds = min(map(len, references.values()))
    if rounds < 2:
        return None
    found = [
        scores(
            {picture: some[k] for picture, some in references.items()},
            {picture: [*some[:k], *some[k + 1 :]] for picture, some in references.items()},
            meteor,
        )
        for k in range(rounds)
    ]
    return {name: None if found[0][name] is None else fmean(one[name] for one in found) for name in NAMES}
