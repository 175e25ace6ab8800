"""Words of a text: tokens that spaces separate, and line breaks."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache

UNKNOWN = "<unk>"  # what stands for words outside the vocabulary, here and in texts that are published so
END = "<end>"  # read before the first word of a sentence and answered after its last; no sentence is cut into it
BREAK = "\n"
AT_ONCE = 1 << 16  # characters that are cut into tokens at once, and the rest of their line,
LONG = 1 << 20  # unless it is as long as this
MARK = "\x02"  # stands for a line break while tokens are cut: a word of its own to every rule
# A period that ends a sentence, with what may close and open one around it; not that of an initial or of these titles.
ENDS = re.compile(
    r"(?<=[\w)\]'\"])(?<!\b[A-Z])(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bSt)(?<!\b[ei]\.[eg])(?<!\bvs)\."
    rf"(?=[\"')\]]*(?:\s+[\"'(\[]*[A-Z]|\s*{MARK}|\s*$))"
)


def cut_by(tokens: str) -> Callable[[str], list[str]]:
    """Lines -> their tokens and a BREAK for each line break: by "spaces" alone, or by the conventions of the "treebank"
    as NLTK has them, with quotes as they stand, and with the period at the end of each sentence apart from its word.
    By "captions": one sentence -> its words, see caption_words."""
    if tokens == "captions":
        return caption_words
    if tokens == "spaces":
        return lambda text: [BREAK if one == MARK else one for one in _marked(text).split()]
    return lambda text: [QUOTES.get(one, one) for one in _tokenizer().tokenize(ENDS.sub(" .", _marked(text)))]


QUOTES = {"``": '"', "''": '"', MARK: BREAK}


def _marked(text: str) -> str:
    return text.replace(MARK, " ").replace(BREAK, f" {MARK} ")


@cache
def _tokenizer():
    from nltk.tokenize.treebank import TreebankWordTokenizer

    return TreebankWordTokenizer()


# What COCO's scores leave out (PUNCTUATIONS of coco-caption's ptbtokenizer.py), with brackets as NLTK writes them.
PUNCTUATION = frozenset(("''", "'", "``", "`", "(", ")", "{", "}", ".", "?", "!", ",", ":", "-", "--", "...", ";"))


def caption_words(sentence: str) -> list[str]:
    """The words of one sentence in lower case, by the conventions of the treebank, without PUNCTUATION: what COCO's
    scores compare. Two periods at its end are one."""
    one_line = re.sub(r"(?<!\.)\.\.$", ".", " ".join(sentence.lower().split()))
    return [word for word in _tokenizer().tokenize(one_line) if word not in PUNCTUATION]


def whole_lines(blocks: Iterable[str]) -> Iterator[str]:
    """The text that comes in blocks, in pieces of whole lines, or of whole words where a line is very long; its last
    line gets a break if it has none."""
    rest = ""
    for block in blocks:
        rest += block
        if len(rest) >= AT_ONCE and BREAK in rest:
            whole, _, rest = rest.rpartition(BREAK)
            yield whole + BREAK
        elif len(rest) >= LONG and " " in rest:
            whole, _, rest = rest.rpartition(" ")
            yield whole
    if rest:
        yield rest if rest.endswith(BREAK) else rest + BREAK


def words(blocks: Iterable[str], tokens: str) -> Iterator[list[str]]:
    """The tokens of a text, line breaks among them, in pieces."""
    cut = cut_by(tokens)
    for piece in whole_lines(blocks):
        yield cut(piece)


def written(tokens: Iterable[str]) -> str:
    """The text that tokens make up: a space between two of one line."""
    return re.sub(f" ?{BREAK} ?", BREAK, " ".join(tokens))
