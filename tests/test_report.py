"""The report, read back with the standard library's HTML parser and compared with numbers computed here."""

import json
import math
import random
import re
import statistics
from html.parser import HTMLParser

import pytest

from pipeline.command.refusal import Refusal
from pipeline.report import evenly, visible, write_report

VOID = {"meta", "br", "link", "img", "input", "hr"}


# ---- synthetic studies, in the form that evaluate and train write ----


def make_study(root, name, cells, seeds=(0,), published=None, scale="laptop", steps=3000, samples=5, text=None):
    """A study under `root`: cells are (data, model, layers, hidden, final loss). Returns the results as written."""
    random.seed(name)
    runs, groups = [], []
    for data, model, layers, hidden, final in cells:
        label = f"{model} {layers}x{hidden}"
        if len({cell[0] for cell in cells}) > 1:
            label = f"{data} {label}"
        common = {
            "hash": f"{len(groups):08x}",
            "label": label,
            "data": data,
            "model": model,
            "optimizer": "rmsprop",
            "size": f"{layers}x{hidden}",
            "unit": "nats/char",
            "parameters": 4 * layers * hidden * (hidden + 65),
            "split": "80-10-10",
        }
        of_group = []
        for seed in seeds:
            directory = root / "runs" / name / f"{data}-{model}-{layers}x{hidden}-rmsprop-{common['hash']}-s{seed}"
            directory.mkdir(parents=True)
            loss, seconds = final + random.gauss(0, 0.01), 60 + random.random()
            read = 2500 * steps
            lines = []
            for step in range(10, steps + 1, 10):
                falling = loss + (4.17 - loss) / (1 + 30 * step / steps) + random.gauss(0, 0.01)
                lines.append(
                    {
                        "step": step,
                        "symbols": 2500 * step,
                        "seconds": seconds * step / steps,
                        "rate": 0.002,
                        "train": falling,
                        "smoothed": falling,
                    }
                )
                if step % (steps // 10) == 0:
                    lines[-1]["validation"] = falling + 0.08
            write_lines(directory / "metrics.jsonl", lines)
            moments = sorted({round(steps ** (i / (samples - 1))) for i in range(samples)})
            write_lines(
                directory / "samples.jsonl",
                [
                    {
                        "step": step,
                        "symbols": 2500 * step,
                        "prompt": "",
                        "temperature": 0.7,
                        "text": (text or "{step}\n\nKING:\n\tWhat, so many & no more?").format(step=step),
                    }
                    for step in moments
                ],
            )
            (directory / "run.json").write_text(
                json.dumps(
                    {
                        "name": directory.name,
                        "study": name,
                        "hash": common["hash"],
                        "seed": seed,
                        "status": "finished",
                        "mlflow_run_id": "0" * 32,
                        "created": "2026-11-03T10:00:00+00:00",
                        "vocabulary": 65,
                        "code": {"commit": "0123456789abcdef" * 2, "dirty": seed == 1},
                        "data": "fedcba9876543210" * 4,
                        "parameters": common["parameters"],
                    }
                )
            )
            of_group.append(
                common
                | {
                    "name": directory.name,
                    "directory": str(directory),
                    "seed": seed,
                    "vocabulary": 65,
                    "symbols": "characters",
                    "steps": steps,
                    "symbols_read": read,
                    "seconds": seconds,
                    "symbols_per_second": read / seconds,
                    "validation_loss": loss + 0.08,
                    "test_loss": loss + 0.1,
                    "test_bits": (loss + 0.1) / math.log(2),
                    "test_symbols": 100_000,
                    "unknown_symbols": 0,
                    "completions": [
                        {"prompt": "The meaning of life is", "temperature": 0.7, "text": " the <b>king</b> & crown."}
                    ],
                }
            )
        summary = {}
        for key in ("test_loss", "test_bits", "validation_loss", "symbols_per_second"):
            values = [run[key] for run in of_group]
            summary[key] = {
                "mean": statistics.fmean(values),
                "std": statistics.stdev(values) if len(values) > 1 else None,
            }
        groups.append(common | {"seeds": list(seeds)} | summary)
        runs += of_group
    study = {
        "study": name,
        "scale": scale,
        "question": f"What does {name} tell?",
        "description": "One paragraph.",
        "runs": runs,
        "groups": groups,
        "published": published,
    }
    results = root / "results"
    (results / "studies").mkdir(parents=True, exist_ok=True)
    (results / "studies" / f"{name}.json").write_text(json.dumps(study))
    return study


def write_lines(path, records):
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def karpathy_table():
    """Forty rows in the form of the published table; values are made up, in order, so that each is unique."""
    rows = [
        {"data": data, "model": model, "size": f"{layers}x{hidden}"}
        for data in ("war_and_peace", "linux")
        for model in ("lstm", "rnn", "gru")
        for hidden in (64, 128)
        for layers in (1, 2, 3)
    ]
    rows += [{"data": data, "model": "ngram", "size": "20"} for data in ("war_and_peace", "linux")]
    return {
        "source": "A paper & its table",
        "unit": "nats per character",
        "note": "80/10/10.",
        "rows": [row | {"value": 1.5 - 0.01 * place} for place, row in enumerate(rows)],
    }


def make_all(root):
    """The four studies of the project in small."""
    return {
        study["study"]: study
        for study in (
            make_study(
                root,
                "architectures",
                [
                    ("shakespeare", "rnn", 2, 128, 1.5),
                    ("shakespeare", "lstm", 2, 128, 1.3),
                    ("shakespeare", "gru", 2, 128, 1.4),
                ],
                seeds=(0, 1, 2),
            ),
            make_study(
                root,
                "corpora",
                [
                    (data, "lstm", 2, 128, final)
                    for data, final in (("shakespeare", 1.4), ("linux", 1.0), ("latex", 1.2))
                ],
            ),
            make_study(root, "min_char_rnn", [("tiny_shakespeare", "rnn", 1, 100, 1.9)], samples=40),
            make_study(
                root,
                "karpathy_2015",
                [("linux", "lstm", 1, 128, 1.2), ("linux", "gru", 1, 128, 1.3)],
                published=karpathy_table(),
            ),
        )
    }


# ---- reading the page ----


class Node:
    def __init__(self, tag, attributes):
        self.tag, self.attributes, self.children = tag, dict(attributes), []

    def find(self, tag, **attributes):
        for child in self.children:
            if isinstance(child, Node):
                if child.tag == tag and all(
                    child.attributes.get(key.rstrip("_")) == value for key, value in attributes.items()
                ):
                    yield child
                yield from child.find(tag, **attributes)

    @property
    def text(self):
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class Tree(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.root = Node("root", ())
        self.open = [self.root]
        self.feed(text)
        assert [node.tag for node in self.open] == ["root"], "elements left open"

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(self.open[-1].children[-1])

    def handle_startendtag(self, tag, attributes):
        self.open[-1].children.append(Node(tag, attributes))

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        self.open[-1].children.append(data)


def read(results):
    page = write_report(results)
    assert page == results / "report" / "index.html"
    return Tree(page.read_text(encoding="utf-8")).root


def section(root, name):
    return next(root.find("section", id=name))


def table(node, kind):
    """Rows of cell texts of each table of the class, heads left out."""
    return [
        [
            [cell.text.strip() for cell in row.children if isinstance(cell, Node)]
            for body in found.find("tbody")
            for row in body.find("tr")
        ]
        for found in node.find("table", class_=kind)
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    studies = make_all(root)
    return studies, read(root / "results")


# ---- what the page says ----


def test_comparison_holds_the_numbers_sorted_by_test_loss(page):
    studies, root = page
    study = studies["architectures"]
    (rows,) = table(section(root, "architectures"), "comparison")
    assert rows.pop(0) == ["shakespeare characters, split 80-10-10, nats"]
    expected = []
    for model in ("rnn", "lstm", "gru"):
        runs = [run for run in study["runs"] if run["model"] == model]
        nats = [run["test_loss"] for run in runs]
        expected.append(
            (
                statistics.fmean(nats),
                [
                    f"{model} 2x128",
                    "2 × 128",
                    f"{runs[0]['parameters']:,}",
                    f"{statistics.fmean(nats):.3f}",
                    f"± {statistics.stdev(nats):.3f}",
                    "3",
                    f"{statistics.fmean(nats) / math.log(2):.3f}",
                    f"± {statistics.stdev(nats) / math.log(2):.3f}",
                    f"{statistics.fmean(run['validation_loss'] for run in runs):.3f}",
                    f"{statistics.fmean(run['symbols_per_second'] for run in runs):,.0f}",
                    f"{statistics.fmean(run['seconds'] for run in runs):,.0f}",
                ],
            )
        )
    expected = [row for _, row in sorted(expected)]
    expected[0][0] += " best"
    assert rows == expected
    assert [row[0].split()[0] for row in rows] == ["lstm", "gru", "rnn"]


def test_data_sets_stand_apart_and_one_seed_has_no_spread(page):
    _, root = page
    (rows,) = table(section(root, "corpora"), "comparison")
    assert [row[0].split()[0] for row in rows] == ["shakespeare", "lstm", "linux", "lstm", "latex", "lstm"]
    assert [len(row) for row in rows] == [1, 11] * 3
    assert all(row[4] == row[7] == "" and "best" not in row[0] for row in rows[1::2])


def test_splits_are_never_compared(tmp_path):
    make_study(tmp_path, "splits", [("shakespeare", "lstm", 1, 8, 1.2), ("shakespeare", "gru", 1, 8, 1.1)])
    path = tmp_path / "results" / "studies" / "splits.json"
    study = json.loads(path.read_text())
    for part in (study["runs"][1], study["groups"][1]):
        part["split"] = "90-10"
    path.write_text(json.dumps(study))
    (rows,) = table(read(tmp_path / "results"), "comparison")
    assert [row[0] for row in rows if len(row) == 1] == [
        "shakespeare characters, split 80-10-10, nats",
        "shakespeare characters, split 90-10, nats",
    ]
    assert not any("best" in row[0] for row in rows)


def test_a_run_without_a_finite_loss_comes_last(tmp_path):
    make_study(tmp_path, "architectures", [("shakespeare", "rnn", 1, 8, 1.2), ("shakespeare", "gru", 1, 8, 1.4)])
    path = tmp_path / "results" / "studies" / "architectures.json"
    study = json.loads(path.read_text())
    study["groups"][0]["test_loss"] = study["groups"][0]["test_bits"] = {"mean": None, "std": None}
    study["runs"][0]["test_loss"] = math.nan
    path.write_text(json.dumps(study))
    (rows,) = table(read(tmp_path / "results"), "comparison")
    assert [row[0] for row in rows[1:]] == ["gru 1x8 best", "rnn 1x8"]
    assert rows[2][3] == "—"


def test_published_numbers_stand_beside_ours(page):
    studies, root = page
    published = studies["karpathy_2015"]["published"]["rows"]
    ours = {group["model"]: group["test_loss"]["mean"] for group in studies["karpathy_2015"]["groups"]}
    tables = table(section(root, "karpathy_2015"), "published")
    assert [len(rows) for rows in tables] == [19, 19]
    for rows, data in zip(tables, ("war_and_peace", "linux")):
        for row, source in zip(rows, (source for source in published if source["data"] == data), strict=True):
            value = f"{source['value']:.3f}"
            cell = source["size"].replace("x", " × ")
            if data == "linux" and cell == "1 × 128" and source["model"] in ours:
                mean = ours.pop(source["model"])
                gap = f"{mean - source['value']:+.3f}".replace("-", "−")
                assert row == [source["model"], cell, value, f"{mean:.3f}", "", gap]
            else:
                assert row == [source["model"], cell, value, "—", "", "—"]
    assert not ours
    assert "A paper & its table" in section(root, "karpathy_2015").text
    assert not table(section(root, "corpora"), "published")


def test_published_bits_are_compared_with_bits(tmp_path):
    published = {
        "source": "S",
        "unit": "bits per character",
        "note": None,
        "rows": [{"data": "linux", "model": "lstm", "size": "1x8", "value": 2.5}],
    }
    study = make_study(tmp_path, "bits", [("linux", "lstm", 1, 8, 1.2)], published=published)
    (((*_, ours, _, gap),),) = table(read(tmp_path / "results"), "published")
    bits = study["runs"][0]["test_loss"] / math.log(2)
    assert (ours, gap) == (f"{bits:.3f}", f"{bits - 2.5:+.3f}".replace("-", "−"))
    study["published"]["unit"] = "furlongs"
    (tmp_path / "results" / "studies" / "bits.json").write_text(json.dumps(study))
    with pytest.raises(Refusal, match="^study bits: published unit 'furlongs'"):
        write_report(tmp_path / "results")


def test_samples_go_from_first_to_last(page):
    _, root = page
    (run,) = section(root, "min_char_rnn").find("details", class_="run")
    moments = list(next(run.find("ol", class_="moments")).find("li"))[:-1]  # the last holds the completions
    steps = [next(moment.find("p", class_="when")).text for moment in moments]
    steps = [int(re.match(r"step ([\d,]+), ", step)[1].replace(",", "")) for step in steps]
    words = [next(moment.find("h4")).text for moment in moments]
    assert words == ["at first", "train more", "train more", "train more", "at last"]
    assert steps == sorted(set(steps)) and steps[0] == 1 and steps[-1] == 3000
    assert all(4 < later / earlier < 13 for earlier, later in zip(steps, steps[1:])), "not even in log step"
    for step, moment in zip(steps, moments):
        assert next(moment.find("samp")).text == f"{step}\n\nKING:\n\tWhat, so many & no more?"
        assert f"{2500 * step:,} characters" in moment.text


def test_first_seed_is_open_and_the_others_folded(page):
    _, root = page
    runs = list(section(root, "architectures").find("details", class_="run"))
    assert [next(run.find("summary")).text.split(",")[1][:7] for run in runs] == [" seed 0", " seed 1", " seed 2"] * 3
    assert ["open" in run.attributes for run in runs] == [True, False, False] * 3


def test_completions_show_prompt_and_continuation(page):
    _, root = page
    completion = next(next(section(root, "corpora").find("li", class_="completions")).find("samp"))
    assert next(completion.find("b")).text == "The meaning of life is"
    assert completion.text == "The meaning of life is the <b>king</b> & crown."


def test_everything_is_escaped_and_shown(tmp_path):
    evil = "\n<script>alert(1)</script> </samp>&amp;\r\x00\x1b\u202e tab\tend "
    study = make_study(tmp_path, "evil", [("shakespeare", "rnn", 1, 8, 1.2)], text=evil)
    study["question"] = study["description"] = "<script>x</script>"
    study["groups"][0]["label"] = "<i>rnn</i>"
    study["runs"][0]["completions"] = [{"prompt": "<script>\x00", "temperature": 1, "text": "</script>"}]
    (tmp_path / "results" / "studies" / "evil.json").write_text(json.dumps(study))
    root = read(tmp_path / "results")
    assert not list(root.find("script"))
    assert next(section(root, "evil").find("h2")).text == "<script>x</script>"
    shown = "\n<script>alert(1)</script> </samp>&amp;\\x0d\\x00\\x1b\\u202e tab\tend "
    assert next(section(root, "evil").find("samp")).text == shown
    assert [samp.text for samp in section(root, "evil").find("samp")][-1] == "<script>\\x00</script>"
    assert next(section(root, "evil").find("svg")).text.count("<i>rnn</i>") == 1


def test_page_needs_nothing_else(page):
    _, root = page
    for node in root.find("svg"):
        assert node.attributes["viewbox"]
    for tag in ("script", "link", "img", "iframe"):
        assert not list(root.find(tag))

    def every(node):
        for child in node.children:
            if isinstance(child, Node):
                yield child
                yield from every(child)

    nodes = list(every(root))
    targets = {node.attributes["id"] for node in nodes if "id" in node.attributes}
    assert len(targets) == sum("id" in node.attributes for node in nodes), "an id twice"
    for node in nodes:
        for name in ("src", "href", "xlink:href"):
            link = node.attributes.get(name)
            assert link is None or link.startswith("#") and link[1:] in targets
        assert not re.search(r"url\((?!#)|@import", node.attributes.get("style") or "")
    assert not re.search(r"url\(|@import", next(root.find("style")).text)


def test_figures_hold_every_label_and_split_when_many(tmp_path, page):
    _, root = page
    figures = list(section(root, "architectures").find("svg"))
    assert len(figures) == 1
    assert all(f"{model} 2x128" in figures[0].text for model in ("rnn", "lstm", "gru"))
    cells = [
        (data, model, layers, 8, final)
        for data in ("linux", "latex")
        for model, final in (("rnn", 1.2), ("gru", 1.5))
        for layers in range(1, 6)
    ]
    make_study(tmp_path, "many", cells)
    study = section(read(tmp_path / "results"), "many")
    assert [figure.attributes["aria-label"] for figure in study.find("svg")] == [
        f"Loss while training: many, {data}, 80-10-10, ranks {ranks}"
        for data in ("linux", "latex")
        for ranks in ("1 to 6", "7 to 10")
    ]


def test_provenance(page):
    _, root = page
    rows = [row for rows in table(next(root.find("footer")), "provenance") for row in rows]
    assert len(rows) == 9 + 3 + 1 + 2
    for directory, *facts in rows:
        commit = "0123456789 changed" if directory.endswith("-s1") else "0123456789"
        assert facts == ["finished", "2026-11-03T10:00:00+00:00", commit, "fedcba987654"]


# ---- what may be missing ----


def test_missing_directories_are_said(tmp_path):
    study = make_study(tmp_path, "architectures", [("shakespeare", "rnn", 1, 8, 1.2)])
    study["runs"][0]["directory"] = "runs/gone"
    (tmp_path / "results" / "studies" / "architectures.json").write_text(json.dumps(study))
    root = read(tmp_path / "results")
    notes = [note.text for note in root.find("p", class_="note")]
    assert notes == [
        "None to draw: the runs learned in one pass over the data, or their directories hold no losses.",
        "No samples: runs/gone/samples.jsonl is missing or empty.",
    ]
    assert table(next(root.find("footer")), "provenance") == [[["runs/gone", "no run.json here"]]]


def test_no_results_name_the_command_that_makes_them(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(Refusal, match=r"make them with `python -m pipeline.evaluate study=NAME`$"):
            write_report(folder)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["{", '{"accuracy": 1}', "[]"])
def test_a_file_that_is_no_study_is_refused_in_a_line(tmp_path, text):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "mine.json").write_text(text)
    with pytest.raises(Refusal, match=r"mine\.json is not .*evaluate study=mine`[^\n]*$"):
        write_report(tmp_path)


def test_the_page_is_the_same_each_time_and_nothing_else_is_left(tmp_path):
    make_study(tmp_path, "architectures", [("shakespeare", "rnn", 1, 8, 1.2), ("shakespeare", "gru", 1, 8, 1.1)])
    first = write_report(tmp_path / "results").read_bytes()
    assert write_report(tmp_path / "results").read_bytes() == first
    assert [path.name for path in (tmp_path / "results" / "report").iterdir()] == ["index.html"]


@pytest.mark.parametrize(
    "steps, shown",
    [
        ([], []),
        ([7], [7]),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),
        ([0, 1, 10, 100, 500, 1000], [0, 1, 10, 100, 1000]),
        (list(range(100, 10001, 100)), [100, 300, 1000, 3200, 10000]),
        ([1, 996, 997, 998, 999, 1000], [1, 996, 997, 998, 1000]),
    ],
)
def test_evenly(steps, shown):
    assert evenly(steps, 5) == shown


def test_visible():
    assert str(visible("a<b>&\t\n")) == "a&lt;b&gt;&amp;\t\n"
    assert str(visible("\x07\x7f\x85")) == "<i>\\x07</i><i>\\x7f</i><i>\\x85</i>"
    assert str(visible("é你🙂\ufffd")) == "é你🙂\ufffd"


def test_claims_stand_with_their_evidence(tmp_path):
    study = make_study(tmp_path, "zoo", [("shakespeare", "lstm", 1, 8, 1.2), ("shakespeare", "gru", 1, 8, 1.1)])
    study["claims"] = [
        {
            "source": "A <2015>",
            "claim": "gates help",
            "model": "lstm",
            "than": "rnn",
            "relation": "better",
            "difference": 0.1234,
            "error": 0.01,
            "verdict": "holds",
        },
        {
            "source": "B",
            "claim": "more gates hurt",
            "model": "gru",
            "than": "lstm",
            "relation": "no_worse",
            "difference": None,
            "error": None,
            "verdict": "not tried",
        },
    ]
    (tmp_path / "results" / "studies" / "zoo.json").write_text(json.dumps(study))
    (rows,) = table(read(tmp_path / "results"), "claims")
    assert rows == [
        ["A <2015>", "gates help", "lstm and rnn", "+0.123", "0.010", "holds"],
        ["B", "more gates hurt", "gru and lstm", "—", "—", "was not tried"],
    ]
