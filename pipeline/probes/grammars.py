"""What parsers say of C and of LaTeX, block by block; and text that is corrupted, to compare with."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

BLANK = r"\n(?:[ \t]*\n)+"  # lines


class Block(NamedTuple):
    """A part of a text that is parsed by itself.

    errors    (first character, the one after the last, what is missing there or "") of each that the parser finds
    balanced  kind of delimiter -> whether all of them pair, of the kinds that the block has
    """

    text: str
    errors: list[tuple[int, int, str]]
    balanced: dict[str, bool]


class Grammar(NamedTuple):
    """title       what people call the language
    cut         a text -> its blocks
    telling     what a block has that is more than words, which any parser takes
    delimiters  finds them, by kind as named groups, and what is to be skipped, such as strings
    parser      makes what reads bytes
    """

    title: str
    cut: Callable[[str], list[str]]
    telling: re.Pattern
    delimiters: re.Pattern
    parser: Callable


def cut_c(text: str) -> list[str]:
    """At blank lines before what begins in the first column and is no preprocessor line, label or closing brace, and
    after a closing brace in the first column: a definition a block."""
    return re.split(rf"{BLANK}(?=[^\s}}#])(?!\w+:[ \t]*\n)|(?<=^}})\n|(?<=^}};)\n", text, flags=re.MULTILINE)


def cut_latex(text: str) -> list[str]:
    """At blank lines, but not within an environment, unless an environment or a section begins after them."""
    blocks: list[str] = []
    depth = 0
    for paragraph in re.split(BLANK, text):
        if depth and not re.match(r"\\(begin|chapter|(sub)*section)\b", paragraph):
            blocks[-1] += f"\n\n{paragraph}"
        else:
            blocks.append(paragraph)
            depth = 0
        for end in re.findall(r"\\(?:begin|(end))\{", paragraph):
            depth = max(0, depth + (-1 if end else 1))
    return blocks


def c_parser():
    import tree_sitter_c
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_c.language()))


def latex_parser():
    from tree_sitter_language_pack import get_parser

    return get_parser("latex")


GRAMMARS = {
    "c": Grammar(
        "C",
        cut_c,
        re.compile(r"\S"),
        re.compile(
            r"""//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n]){1,4}'"""
            r"|(?P<comments>/\*.*?(?=\*/)|/\*|\*/)|(?P<braces>[{}])|(?P<parentheses>[()])|(?P<brackets>[][])",
            re.DOTALL,
        ),
        c_parser,
    ),
    "latex": Grammar(
        "LaTeX",
        cut_latex,
        re.compile(r"[\\{}$]"),
        re.compile(
            r"(?P<environments>\\(?:begin|end)\{[^{}\n]*\})|\\.|%[^\n]*|(?P<braces>[{}])|(?P<dollars>\$\$?)", re.DOTALL
        ),
        latex_parser,
    ),
}


def closing(delimiter: str) -> str | None:
    """The one that pairs with it, None if it opens nothing."""
    if delimiter.startswith("\\begin"):
        return delimiter.replace("begin", "end", 1)
    return {"/": "*/", "{": "}", "(": ")", "[": "]", "$": delimiter}.get(delimiter[0])


def balanced(text: str, grammar: Grammar) -> dict[str, bool]:
    """Kind of delimiter -> whether all of them pair, each closing one with the last that is open, of the kinds that the
    text has."""
    found: dict[str, list[str | None]] = {}
    for match in grammar.delimiters.finditer(text):
        if match.lastgroup:
            waiting = found.setdefault(match.lastgroup, [])
            if waiting and waiting[-1] == match[0]:
                waiting.pop()
            else:  # None, for what opens nothing, is never closed
                waiting.append(closing(match[0]))
    return {kind: not waiting for kind, waiting in found.items()}


def errors(tree, text: bytes) -> Iterator[tuple[int, int, str]]:
    """(first character, the one after the last, what is missing there or "") of each outermost error of a parse tree,
    in their order."""
    waiting = [tree.root_node]
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            first, after = (len(text[:place].decode(errors="replace")) for place in (node.start_byte, node.end_byte))
            yield first, after, node.type if node.is_missing else ""
        elif node.has_error:
            waiting += reversed(node.children)


def judged(text: str, language: str) -> list[Block]:
    """The blocks of a text that tell something, parsed each by itself. The first and the last, which may have been cut
    off, are left out where there are others."""
    grammar = GRAMMARS[language]
    blocks = [block for block in map(str.strip, grammar.cut(text)) if block]
    parser, found = grammar.parser(), []
    for block in blocks[1:-1] or blocks:
        if grammar.telling.search(block):
            source = f"{block}\n".encode(errors="replace")
            found.append(Block(block, list(errors(parser.parse(source), source)), balanced(block, grammar)))
    return found


def summary(blocks: Iterable[Block]) -> dict:
    """blocks      how many
    characters  of a block, their mean
    parsed      share of the blocks that have no error, 0..1
    errors      per 1,000 characters
    balanced    share of the blocks in which all delimiters pair, of those that have any
    kinds       kind of delimiter -> the same of those that have it

    Shares and means of nothing are None.
    """
    blocks = list(blocks)
    characters = sum(len(block.text) for block in blocks)
    kinds: dict[str, list[bool]] = {}
    for block in blocks:
        for kind, pairs in block.balanced.items():
            kinds.setdefault(kind, []).append(pairs)
    return {
        "blocks": len(blocks),
        "characters": characters / len(blocks) if blocks else None,
        "parsed": share(not block.errors for block in blocks),
        "errors": 1000 * sum(len(block.errors) for block in blocks) / characters if blocks else None,
        "balanced": share(all(block.balanced.values()) for block in blocks if block.balanced),
        "kinds": {kind: share(pairs) for kind, pairs in kinds.items()},
    }


def share(answers: Iterable[bool]) -> float | None:
    """Of answers, those that are true; None where there are no answers."""
    answers = list(answers)
    return sum(answers) / len(answers) if answers else None


def corrupted(text: str, part: float, rng: np.random.Generator) -> str:
    """The text with round(part * n) of its n characters each replaced by another of those that occur in it, all alike
    likely."""
    alphabet = sorted(set(text))
    characters = list(text)
    for place in rng.choice(len(text), round(part * len(text)), replace=False):
        others = int(rng.integers(len(alphabet) - 1))
        characters[place] = alphabet[others + (alphabet[others] >= characters[place])]
    return "".join(characters)
