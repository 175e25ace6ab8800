"""Verdicts on C and LaTeX by hand, delimiters against counters of another kind, and the scale of real text."""

import json
import os
import random
import re
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from pipeline.command.settings import check_choice
from pipeline.corpora.prepared import Prepared
from pipeline.corpora.vocabulary import Vocabulary
from pipeline.datasets.text import Text
from pipeline.exhibits.figures import PAPER
from pipeline.probes.grammars import GRAMMARS, balanced, corrupted, judged, summary
from pipeline.probes.probe import make_probe
from pipeline.probes.syntax import FEW, Syntax, course
from tests.conftest import SHARED, composed

RIGHT = {
    "c": [
        "static int sum(const int *x, int n)\n{\n\tint s = 0;\n\n\twhile (n--)\n\t\ts += x[n];\nout:\n\treturn s;\n}",
        '/* (a { comment */\n#define OPEN "{"\nstruct point { int x, y; };',
        "enum { A, B = '{' };",
    ],
    "latex": [
        "\\begin{proof}\nLet $x \\in X$.\n\nThen $$ x_1 = \\{1\\} $$ is {\\it closed}. 100\\% \\& % {\n\\end{proof}",
        "\\section{Groups}\n\\label{section-groups}\nA group $G$ is a set.",
    ],
}
WRONG = {
    "c": ["int f(int x)\n{\n\treturn x", "int f(int x)\n{\n\treturn (x;\n}", "if else for"],
    "latex": [
        "\\begin{proof}\nLet $x$.",
        "Let $x \\in X.",
        "A {\\it group is a set.",
        "\\section{Groups",
    ],
}


@pytest.mark.parametrize("language", GRAMMARS)
def test_hand_made_blocks_get_the_verdict_that_they_deserve(language):
    for block in RIGHT[language]:
        [found] = judged(block, language)
        assert not found.errors and found.text == block and all(found.balanced.values()), block
    for block in WRONG[language]:
        [found] = judged(block, language)
        assert found.errors, block
    right = len(RIGHT[language])
    # The first and the last of a text are not judged.
    whole = summary(judged("\n\n".join(["x"] + RIGHT[language] + WRONG[language][-1:] + ["x"]), language))
    assert whole["blocks"] == right + 1 and whole["parsed"] == right / (right + 1)


def test_an_error_is_found_where_it_is():
    [block] = judged("int é = 1;\nint f(void) { return (1; }", "c")
    [(first, after, missing)] = block.errors
    assert (first, after, missing) == (block.text.index("(1") + 2,) * 2 + (")",)
    [block] = judged("int x; @@@ int y;", "c")
    assert [block.text[first:after] for first, after, _ in block.errors] == ["@@@"]


def test_blocks_end_at_definitions_and_blank_lines_and_not_within():
    one = "int f(void)\n{\n\tx();\n\n#ifdef A\n\ty();\n\nout:\n\tz();\n}"
    two, three = "int a;\nint b;", "struct s {\n};"
    assert [block.text for block in judged(f"cut\n\n{one}\n{two}\n \n{three}\nrest", "c")] == [one, two, three]
    proof, lemma = "\\begin{proof}\na\n\nb $x$\n\\end{proof}", "\\begin{lemma}\nd\n\\end{lemma}"
    open_ = "\\begin{proof}\nc"
    text = f"cut\n\n{proof}\n\nplain words alone\n\n{open_}\n\n{lemma}\n\nrest"
    assert [block.text for block in judged(text, "latex")] == [proof, open_, lemma]


def pairs_by_rewriting(text: str, pair: str) -> bool:
    """Whether what is left of a text but two delimiters vanishes when pairs of them are taken out."""
    left = re.sub(f"[^{re.escape(pair)}]", "", text)
    while pair in left:
        left = left.replace(pair, "")
    return not left


def test_delimiters_pair_as_rewriting_says():
    draw, seen = random.Random(0), set()
    for _ in range(2000):
        text = "".join(draw.choice("{}()[] x") for _ in range(draw.randrange(9)))
        expected = {
            kind: pairs_by_rewriting(text, pair)
            for kind, pair in {"braces": "{}", "parentheses": "()", "brackets": "[]"}.items()
            if set(pair) & set(text)
        }
        assert balanced(text, GRAMMARS["c"]) == expected
        text = "".join(draw.choice(["{", "}", "$ ", "\\{", "\\\\", "x", "\\$ "]) for _ in range(draw.randrange(9)))
        bare = re.sub(r"\\.", "", text)
        found = balanced(text, GRAMMARS["latex"])
        assert found.get("braces", True) == pairs_by_rewriting(bare, "{}")
        assert found.get("dollars", True) == (bare.count("$") % 2 == 0)
        seen |= {("braces", found.get("braces")), ("dollars", found.get("dollars"))}
        text = "".join(f"\\{draw.choice(['begin', 'end'])}{{{draw.choice('ab')}}}" for _ in range(draw.randrange(5)))
        left = text
        while left != (left := re.sub(r"\\begin\{(.)\}\\end\{\1\}", "", left)):
            pass
        assert balanced(text, GRAMMARS["latex"]).get("environments", True) == (not left)
    assert seen == {(kind, answer) for kind in ("braces", "dollars") for answer in (None, True, False)}


@pytest.mark.parametrize(
    "language, text, expected",
    [
        ("c", "/* { */ x", {"comments": True}),
        ("c", "/* { ", {"comments": False, "braces": False}),
        ("c", "a */ f(\"(\", '(')", {"comments": False, "parentheses": True}),
        ("c", "// )\n/*/ ) */ f(')')", {"comments": True, "parentheses": True}),
        ("latex", "$$ x $ y $$", {"dollars": False}),
        ("latex", "\\begin{a} $x$ \\end{b}", {"environments": False, "dollars": True}),
        ("latex", "$$x$$ costs 5\\$ % $", {"dollars": True}),
    ],
)
def test_comments_strings_and_escapes_are_no_delimiters(language, text, expected):
    assert balanced(text, GRAMMARS[language]) == expected


def test_so_many_characters_are_corrupted_and_no_more():
    text = "int main(void)\n" * 100
    for part in (0.0, 0.001, 0.02, 1.0):
        found = corrupted(text, part, np.random.default_rng(1))
        assert sum(a != b for a, b in zip(text, found, strict=True)) == round(part * len(text))
        assert set(found) <= set(text) and found == corrupted(text, part, np.random.default_rng(1))


# ---- the probe ----


def data_of(text: str) -> Text:
    vocabulary = Vocabulary("characters", sorted(set(map(ord, text))))
    parts = dict.fromkeys(("train", "validation", "test"), vocabulary.encode(text))
    return Text(Prepared(parts, vocabulary, {"corpus": "made", "counts": dict.fromkeys(parts, len(text))}, ("x",)))


def test_what_a_model_writes_is_measured_and_shown(monkeypatch):
    real = "int f(void)\n{\n\treturn (1 < 2);\n}\n" * 40
    wrote = {1.0: "<b>;\n}\n" + "int y(;\n\nint x;\n\n" * FEW + "x", 0.5: "int x;\n\n" * 3}
    data, probe = data_of(real), Syntax("c", 200, [1.0, 0.5], 300, [0.5], 50)
    monkeypatch.setattr(data, "write", lambda network, prompt, temperature, length, generator: iter(wrote[temperature]))
    found = probe.measure(None, data, 0)
    assert probe.fits(None, data) and not found["doubts"]
    assert found["parsed"] == 0.5 and found["errors"] == 1000 * FEW / (13 * FEW)
    assert found["balanced"] == 0.0 and found["written"][0][1]["kinds"] == {"parentheses": 0.0}
    assert found["real"][0][1]["parsed"] == 1.0 > found["real"][1][1]["parsed"] and found["real"][1][0] == 0.5
    assert set(Syntax("c", 200, [0.5], 300, [], 50).measure(None, data, 0)["doubts"]) == set(probe.measures)

    row = {"name": "<lstm>", "label": "<lstm>", "study": "s", "data": "linux", "split": "80-10-10", "units": {}}
    figure, table, blocks = probe.show([row | {"runs": [{"seed": 0, "open": True, "found": found}]}])
    assert figure.html.startswith("<svg") and "50.0%" in table.html and "real text, 50% replaced" in table.html
    assert "&lt;lstm&gt;, temperature 0.5" in table.html and blocks.long and "<samp>int x;</samp>" in blocks.html


def test_it_is_followed_as_training_goes(monkeypatch):
    """Nothing parses, then half of it, then all; what is left to say of a run whose weights were not kept is the
    end."""
    right, wrong = "int x;\n\n", "int y(;\n\n"
    wrote = {"first": wrong * 2, "then": (wrong + right) * FEW, "last": right * (FEW + 2)}
    asked, data, probe = [], data_of(right * 60), Syntax("c", 200, [1.0, 0.5], 300, [0.5], 50)

    def write(network, prompt, temperature, length, generator):
        asked.append((network, temperature, length))
        return iter("cut\n\n" + wrote[network] + "cut")

    monkeypatch.setattr(data, "write", write)
    followed = probe.follow(iter([(1, "first"), (30, "then")]), data, 0)
    assert asked == [(name, temperature, 50) for name in ("first", "then") for temperature in (1.0, 0.5)]
    assert [(step, [(t, found["parsed"]) for t, found in some]) for step, some in followed["earlier"]] == [
        (1, [(1.0, 0.0), (0.5, 0.0)]),
        (30, [(1.0, 0.5), (0.5, 0.5)]),
    ]
    run = {"seed": 0, "open": True, "steps": 100, "found": probe.measure("last", data, 0) | followed}
    run = json.loads(json.dumps(run))
    row = {"name": "lstm", "label": "lstm", "study": "s", "data": "linux", "split": "80-10-10", "units": {}}
    [axes] = course([row | {"runs": [run]}], "parsed").axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
    for temperature in ("1", "0.5"):
        assert drawn[f"lstm, temperature {temperature}"] == [[1, 0], [30, 0.5], [100, 1]]
    hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == PAPER]
    assert [line.get_xydata().tolist() for line in hollow] == [[[1, 0]]] * 2  # two blocks alone
    assert [text.get_text() for text in axes.texts] == ["real", "50%"]
    shown = probe.show([row | {"runs": [run]}])
    assert [one.title for one in shown][:2] == ["Blocks that parse", "What parses as training goes"]
    assert shown[1].html.count("<svg") == 2
    del run["found"]["earlier"]
    assert len(probe.show([row | {"runs": [run]}])) == len(shown) - 1


def test_an_error_is_marked_and_all_is_escaped():
    from pipeline.probes.syntax import marked

    [block] = judged("int x; <b> @@ int y() { return (1; }", "c")
    html = str(marked({"text": block.text, "errors": block.errors}))
    assert "<b>" not in html and '<mark class="bad">&lt;b&gt; @@</mark>' in html and "<i>missing )</i>; }" in html
    assert re.sub("<[^>]*>|missing [)]", "", html).replace("&lt;", "<").replace("&gt;", ">") == block.text


def test_latex_is_not_judged_as_c():
    assert composed("data=latex").data.probes.syntax.language == "latex"


@pytest.mark.parametrize(
    "name, language, best, worst", [("linux_kernel_dir.txt", "c", 0.7, 0.4), ("stacks_10mb.tex", "latex", 0.95, 0.55)]
)
def test_real_text_parses_the_less_the_more_of_it_is_corrupted(name, language, best, worst):
    file = Path(os.environ.get("PIPELINE_MIRROR") or SHARED) / name
    if not file.exists():
        pytest.skip(f"{file} is not there")
    text = file.read_text(errors="replace")
    part = text[int(0.93 * len(text)) :][:100_000]
    scale = [
        summary(judged(corrupted(part, share, np.random.default_rng(0)), language)) for share in (0, 0.001, 0.005, 0.02)
    ]
    for name, sign in (("parsed", -1), ("errors", 1), ("balanced", -1)):
        assert (np.diff([found[name] for found in scale]) * sign > 0).all()
    assert scale[0]["parsed"] > best and scale[-1]["parsed"] < worst and scale[0]["balanced"] > 0.97


def test_runs_from_before_a_setting_are_read():
    """As RunDirectory.config does; `earlier` came later than the first runs that have this probe."""
    data = OmegaConf.to_container(composed("data=linux").data, resolve=True)
    del data["probes"]["syntax"]["earlier"]
    check_choice("data", data)
    assert make_probe("syntax", data["probes"]["syntax"]).earlier == 10_000
