"""WikiText-2: articles of Wikipedia in words, as Merity, Xiong, Bradbury and Socher (2017) published them."""

from pathlib import Path, PurePosixPath

from pipeline.corpora.corpus import Corpus, Original
from pipeline.corpora.download import Official
from pipeline.corpora.unpack import from_zip

URL = "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip"
PARTS = ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens")


def place_parts(path: Path, folder: Path) -> list[str]:
    """Training, validation and test part."""

    def part(member: str) -> str | None:
        name = PurePosixPath(member).name
        return name if name in PARTS else None

    return sorted(from_zip(path, folder, part), key=PARTS.index)


class WikiText2(Corpus):
    """WikiText-2, 2,088,628, 217,646 and 245,569 words with line breaks, 33,278 different ones, `<unk>` among them."""

    in_parts = True
    usual = {"symbols": "words", "tokens": "spaces", "least": 1, "split": "published"}

    def originals(self) -> list[Original]:
        return [
            Original(
                "CC BY-SA",
                place_parts,
                "wikitext-2-v1.zip",
                Official(URL),
                "1",
                sha256="92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
            )
        ]
