"""The report, read back with the standard library's HTML parser and compared with numbers computed here."""

import json
import math
import os
import random
import re
import statistics
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from pipeline.command.refusal import Refusal
from pipeline.report import write_report
from pipeline.runs.directory import RunDirectory

VOID = {"meta", "br", "link", "img", "input", "hr"}


# ---- synthetic studies, in the form that evaluate and train write ----

CHARS = {"loss": "nats/char", "element": "char", "digits": ".4f", "also": {"bits": 1.4427}, "logarithmic": False}
STEPS = {"loss": "squared error", "element": "step", "digits": ".4g", "also": {}, "logarithmic": True}
PROBES = {
    "prediction": {"_target_": "pipeline.probes.prediction.Prediction"},
    "completions": {"_target_": "pipeline.probes.completions.Completions", "length": 9, "temperature": 0.7},
}
MEASURES = {
    "nats": {"unit": "nats/{element}", "digits": ".3f", "better": "low", "title": ""},
    "bits": {"unit": "bits/{element}", "digits": ".3f", "better": "low", "title": ""},
    "rmse": {"unit": "", "digits": ".3f", "better": "low", "title": "RMSE"},
    "right": {"unit": "", "digits": ".1%", "better": "high", "title": ""},
}


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
            "units": CHARS,
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
                        "targets": 2500 * step,
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
                        "targets": 2500 * step,
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
                        "validation": loss + 0.08,
                        "process": 1,
                        "mlflow_run_id": "0" * 32,
                        "created": "2026-11-03T10:00:00+00:00",
                        "units": CHARS,
                        "code": {"commit": "0123456789abcdef" * 2, "dirty": seed == 1},
                        "data": "fedcba9876543210" * 4,
                        "machine": "Some GPU, products in tf32",
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
                    "status": "finished",
                    "steps": steps,
                    "targets": read,
                    "seconds": seconds,
                    "targets_per_second": read / seconds,
                    "validation_loss": loss + 0.08,
                    "reached": None,
                    "probes": {
                        "prediction": {
                            "nats": loss + 0.1,
                            "bits": (loss + 0.1) / math.log(2),
                            "right": 0.5 - loss / 10,
                        },
                        "completions": {
                            "completions": [
                                {
                                    "prompt": "The meaning of life is",
                                    "temperature": 0.7,
                                    "text": " the <b>king</b> & crown.",
                                }
                            ]
                        },
                    },
                    "measured": {
                        "nats": loss + 0.1,
                        "bits": (loss + 0.1) / math.log(2),
                        "rmse": None,
                        "right": 0.5 - loss / 10,
                    },
                    "doubts": {},
                }
            )

        def summary(values):
            spread = statistics.stdev(values) if len(values) > 1 else None
            return {"mean": statistics.fmean(values), "std": spread}

        groups.append(
            common
            | {
                "seeds": list(seeds),
                "ranked_by": "nats",
                "measured": {
                    key: summary([run["measured"][key] for run in of_group]) for key in ("nats", "bits", "right")
                },
                "by_seed": {
                    "validation_loss": {str(run["seed"]): run["validation_loss"] for run in of_group},
                    **{
                        key: {str(run["seed"]): run["measured"][key] for run in of_group}
                        for key in ("nats", "bits", "right")
                    },
                },
                "doubts": {},
                "validation_loss": summary([run["validation_loss"] for run in of_group]),
                "targets_per_second": summary([run["targets_per_second"] for run in of_group]),
                "diverged": 0,
            }
        )
        runs += of_group
    study = {
        "study": name,
        "scale": scale,
        "question": f"What does {name} tell?",
        "description": "One paragraph.",
        "versus": None,
        "probes": dict(PROBES),
        "measures": dict(MEASURES),
        "runs": runs,
        "groups": groups,
        "claims": [],
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
        "measure": "nats",
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
                "gallery",
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
    assert rows.pop(0) == ["shakespeare split 80-10-10, loss in nats/char"]
    expected = []
    for model in ("rnn", "lstm", "gru"):
        runs = [run for run in study["runs"] if run["model"] == model]
        nats = [run["measured"]["nats"] for run in runs]
        right = [0.5 - (one - 0.1) / 10 for one in nats]
        expected.append(
            (
                statistics.fmean(nats),
                [
                    f"{model} 2x128",
                    "2 × 128",
                    f"{runs[0]['parameters']:,}",
                    f"{statistics.fmean(nats):.3f}",
                    f"± {statistics.stdev(nats):.3f}",
                    f"{statistics.fmean(nats) / math.log(2):.3f}",
                    f"± {statistics.stdev(nats) / math.log(2):.3f}",
                    f"{statistics.fmean(right):.1%}",
                    f"± {statistics.stdev(right):.1%}",
                    "3",
                    f"{statistics.fmean(run['validation_loss'] for run in runs):.3f}",
                    f"{statistics.fmean(run['targets_per_second'] for run in runs):,.0f}",
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
    (rows,) = table(section(root, "gallery"), "comparison")
    assert [row[0].split()[0] for row in rows] == ["shakespeare", "lstm", "linux", "lstm", "latex", "lstm"]
    assert [len(row) for row in rows] == [1, 13] * 3
    assert all(row[4] == row[6] == row[8] == "" and "best" not in row[0] for row in rows[1::2])


def test_splits_are_never_compared(tmp_path):
    make_study(tmp_path, "splits", [("shakespeare", "lstm", 1, 8, 1.2), ("shakespeare", "gru", 1, 8, 1.1)])
    path = tmp_path / "results" / "studies" / "splits.json"
    study = json.loads(path.read_text())
    for part in (study["runs"][1], study["groups"][1]):
        part["split"] = "90-10"
    path.write_text(json.dumps(study))
    (rows,) = table(read(tmp_path / "results"), "comparison")
    assert [row[0] for row in rows if len(row) == 1] == [
        "shakespeare split 80-10-10, loss in nats/char",
        "shakespeare split 90-10, loss in nats/char",
    ]
    assert not any("best" in row[0] for row in rows)


def test_a_run_without_a_finite_loss_comes_last(tmp_path):
    make_study(tmp_path, "architectures", [("shakespeare", "rnn", 1, 8, 1.2), ("shakespeare", "gru", 1, 8, 1.4)])
    path = tmp_path / "results" / "studies" / "architectures.json"
    study = json.loads(path.read_text())
    study["groups"][0]["measured"] = dict.fromkeys(("nats", "bits", "right"), {"mean": None, "std": None})
    study["runs"][0]["measured"] = dict.fromkeys(MEASURES)
    path.write_text(json.dumps(study))
    (rows,) = table(read(tmp_path / "results"), "comparison")
    assert [row[0] for row in rows[1:]] == ["gru 1x8 best", "rnn 1x8"]
    assert rows[2][3] == "—"


def test_published_numbers_stand_beside_ours(page):
    studies, root = page
    published = studies["karpathy_2015"]["published"]["rows"]
    ours = {group["model"]: group["measured"]["nats"]["mean"] for group in studies["karpathy_2015"]["groups"]}
    [rows] = table(section(root, "karpathy_2015"), "published")
    for row in rows:
        asked = {"data": "linux", "model": row[0], "size": "1x128"}
        [value] = [one["value"] for one in published if asked.items() <= one.items()]
        mean = ours.pop(row[0])
        gap = f"{mean - value:+.3f}".replace("-", "−")
        assert row[1:] == ["1 × 128", f"{value:.3f}", f"{mean:.3f}", "", gap]
    rest = [row for rows in table(section(root, "karpathy_2015"), "rest") for row in rows]
    assert len(rest) == len(published) - len(rows)
    assert rest[0] == [published[0]["model"], published[0]["size"].replace("x", " × "), f"{published[0]['value']:.3f}"]
    assert "at scale laptop, 3,000 steps at most, not at the published one" in section(root, "karpathy_2015").text
    assert not ours
    assert "A paper & its table" in section(root, "karpathy_2015").text
    assert not table(section(root, "gallery"), "published")


def test_results_of_other_code_and_of_before_a_new_training_are_told(tmp_path):
    make_study(tmp_path, "old", [("linux", "rnn", 1, 8, 1.2), ("linux", "gru", 1, 8, 1.1)])
    assert not list(section(read(tmp_path / "results"), "old").find("p", class_="outdated"))
    first = sorted((tmp_path / "runs").rglob("run.json"))[0]
    facts = json.loads(first.read_text())
    facts["code"]["sources"] = {"models.gone": "12345678"}
    first.write_text(json.dumps(facts))
    best = RunDirectory(first.parent).best
    best.parent.mkdir(exist_ok=True)
    best.touch()
    os.utime(best, (2e9, 2e9))
    said = [line.text for line in section(read(tmp_path / "results"), "old").find("p", class_="outdated")]
    again = "python -m pipeline.train -m study=old scale=laptop fresh=code"
    assert said == [
        f"1 of 2 runs were trained by code that has changed since (models.gone): {again}",
        "1 of 2 runs were trained again since they were evaluated: python -m pipeline.evaluate study=old scale=laptop",
    ]


def test_a_number_whose_paper_names_no_size_stands_beside_all_of_ours(tmp_path):
    """As Mikolov's of the Penn Treebank: study=words has networks of 150 units at one scale, of 300 at another."""
    rows = [{"data": "linux", "model": "lstm", "size": "", "value": 1.1}]
    rows.append({"data": "linux", "model": "gru", "size": "", "value": 1.2})
    published = {"source": "A paper", "measure": "nats", "rows": rows}
    made = make_study(tmp_path, "s", [("linux", "lstm", 1, 8, 1.2), ("linux", "lstm", 2, 9, 1.3)], published=published)
    [found] = table(read(tmp_path / "results"), "published")
    ours = {group["size"].replace("x", " × "): group["measured"]["nats"]["mean"] for group in made["groups"]}
    assert [row[:3] for row in found] == [["lstm", size, "1.100"] for size in ours]
    assert [row[3] for row in found] == [f"{mean:.3f}" for mean in ours.values()]


def test_published_bits_are_compared_with_bits(tmp_path):
    published = {
        "source": "S",
        "measure": "bits",
        "note": None,
        "rows": [{"data": "linux", "model": "lstm", "size": "1x8", "value": 2.5}],
    }
    study = make_study(tmp_path, "bits", [("linux", "lstm", 1, 8, 1.2)], published=published)
    (((*_, ours, _, gap),),) = table(read(tmp_path / "results"), "published")
    bits = study["runs"][0]["measured"]["nats"] / math.log(2)
    assert (ours, gap) == (f"{bits:.3f}", f"{bits - 2.5:+.3f}".replace("-", "−"))
    study["published"]["measure"] = "furlongs"
    (tmp_path / "results" / "studies" / "bits.json").write_text(json.dumps(study))
    with pytest.raises(
        Refusal,
        match="^study bits: published.measure=furlongs is measured by none of its probes: take one of nats, bits, ",
    ):
        write_report(tmp_path / "results")


def test_samples_go_from_first_to_last(page):
    _, root = page
    _, run = section(root, "min_char_rnn").find("details", class_="run")  # completions come first
    moments = list(next(run.find("ol", class_="moments")).find("li"))
    steps = [next(moment.find("p", class_="when")).text for moment in moments]
    steps = [int(re.match(r"training step ([\d,]+), ", step)[1].replace(",", "")) for step in steps]
    words = [next(moment.find("h4")).text for moment in moments]
    assert words == ["at first", "train more", "train more", "train more", "at last"]
    assert steps == sorted(set(steps)) and steps[0] == 1 and steps[-1] == 3000
    assert all(4 < later / earlier < 13 for earlier, later in zip(steps, steps[1:])), "not even in log step"
    for step, moment in zip(steps, moments):
        assert next(moment.find("samp")).text == f"{step}\n\nKING:\n\tWhat, so many & no more?"
        assert f"{2500 * step:,} chars" in moment.text


def test_first_seed_is_open_and_the_others_folded(page):
    _, root = page
    runs = list(section(root, "architectures").find("details", class_="run"))
    # Completions, then what was written as training went.
    assert [next(run.find("summary")).text.split(",")[1][:7] for run in runs] == [" seed 0", " seed 1", " seed 2"] * 6
    assert ["open" in run.attributes for run in runs] == [True, False, False] * 6


def test_completions_show_prompt_and_continuation(page):
    _, root = page
    completion = next(section(root, "gallery").find("samp"))
    assert next(completion.find("b")).text == "The meaning of life is"
    assert completion.text == "The meaning of life is the <b>king</b> & crown."


def test_everything_is_escaped_and_shown(tmp_path):
    evil = "\n<script>alert(1)</script> </samp>&amp;\r\x00\x1b\u202e tab\tend "
    study = make_study(tmp_path, "evil", [("shakespeare", "rnn", 1, 8, 1.2)], text=evil)
    study["question"] = study["description"] = "<script>x</script>"
    study["groups"][0]["label"] = "<i>rnn</i>"
    completion = {"prompt": "<script>\x00", "temperature": 1, "text": "</script>"}
    study["runs"][0]["probes"]["completions"]["completions"] = [completion]
    (tmp_path / "results" / "studies" / "evil.json").write_text(json.dumps(study))
    root = read(tmp_path / "results")
    assert not list(root.find("script"))
    assert next(section(root, "evil").find("h2")).text == "<script>x</script>"
    first, *samples = [samp.text for samp in section(root, "evil").find("samp")]
    assert first == "<script>\\x00</script>"
    shown = "\n<script>alert(1)</script> </samp>&amp;\\x0d\\x00\\x1b\\u202e tab\tend "
    assert set(samples) == {shown}
    [drawn] = section(root, "evil").find("svg")
    assert next(drawn.find("desc")).text.startswith("nats/char against chars asked: <i>rnn</i> from ")
    assert [text.text.strip() for text in drawn.find("text")].count("<i>rnn</i>") == 1


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
            inside = link is None or link.startswith("#") and link[1:] in targets
            assert inside or node.tag == "a" and link.startswith("../../runs/")
        assert not re.search(r"url\((?!#)|@import", node.attributes.get("style") or "")
    assert not re.search(r"url\(|@import", next(root.find("style")).text)


def test_a_run_leads_to_its_folder_and_to_mlflow(tmp_path):
    study = make_study(tmp_path, "a & b", [("shakespeare", "rnn", 1, 8, 1.2)], seeds=(0, 1, 2))
    folders = [Path(run["directory"]) for run in study["runs"]]
    for folder, address in zip(folders, ("sqlite:////home/mlflow.db", "https://h/", None)):
        facts = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(facts | {"mlflow_records": {address: "f00"} if address else {}}))
    root = read(tmp_path / "results")
    mlflow = ["http://127.0.0.1:5000/#/runs/f00", "https://h/#/runs/f00"]
    for part, shown in ((section(root, "a & b"), "Its folder"), (next(root.find("footer")), None)):
        links = [(a.text, a.attributes["href"]) for a in part.find("a")]
        found = [
            (tmp_path / "results" / "report" / unquote(href)).resolve()
            for text, href in links
            if text == shown or shown is None and not href.startswith("http")
        ]
        assert found == folders
        assert [href for _, href in links if href.startswith("http")] == mlflow


def test_whatever_may_be_wider_than_the_page_scrolls_by_keyboard_and_has_a_name(page):
    _, root = page
    frames = [*root.find("div", class_="wide"), *root.find("div", class_="exhibit")]
    assert all(one.attributes["tabindex"] == "0" and one.attributes["aria-label"] for one in frames)
    for kind in ("table", "svg"):
        framed = {id(found) for frame in frames for found in frame.find(kind)}
        assert framed and framed == set(map(id, root.find(kind)))


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
        assert facts == ["finished", "2026-11-03T10:00:00+00:00", commit, "fedcba987654", "Some GPU, products in tf32"]


# ---- what may be missing ----


def test_missing_directories_are_said(tmp_path):
    study = make_study(tmp_path, "architectures", [("shakespeare", "rnn", 1, 8, 1.2)])
    study["runs"][0]["directory"] = "runs/gone"
    (tmp_path / "results" / "studies" / "architectures.json").write_text(json.dumps(study))
    root = read(tmp_path / "results")
    notes = [note.text for note in root.find("p", class_="note")]
    assert notes == [
        "None to draw: too few losses were recorded, as of runs that learn in one pass over the data.",
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
    with pytest.raises(Refusal, match=r"mine\.json is damaged .*evaluate study=mine`[^\n]*$"):
        write_report(tmp_path)


DAMAGES = {
    "null": lambda study: None,
    "numbers for what is more": lambda study: study | {"runs": 3, "groups": []},
    "a run without a name": lambda study: study | {"runs": [{}]},
    "a measure that is not described": lambda study: study | {"measures": {}},
    "a group without its seeds": lambda study: study | {"groups": [study["groups"][0] | {"by_seed": {}}]},
    "a group without runs": lambda study: study | {"runs": []},
    "what no probe finds": lambda study: (
        study | {"runs": [run | {"probes": {"completions": {}}} for run in study["runs"]]}
    ),
    "half of it": lambda study: "half",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_study_among_others_is_named_and_the_old_page_stays(tmp_path, damage):
    for name in ("a", "b", "c"):
        study = make_study(tmp_path, name, [("linux", "rnn", 1, 8, 1.2)])
    page = write_report(tmp_path / "results").read_bytes()
    path = tmp_path / "results" / "studies" / "b.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    if damage(study) == "half":
        path.write_text(json.dumps(study)[:999])
    with pytest.raises(Refusal) as refusal:
        write_report(tmp_path / "results")
    said = str(refusal.value)
    assert said.startswith(f"{path} is damaged (") and "\n" not in said
    assert said.endswith("): write it again with `python -m pipeline.evaluate study=b`, or move it away")
    assert (tmp_path / "results" / "report" / "index.html").read_bytes() == page


@pytest.mark.parametrize(
    "name, content",
    [
        ("run.json", "{bad"),
        ("run.json", "{}"),
        ("metrics.jsonl", '{"step": 1}\n'),
        ("metrics.jsonl", "[]\n"),
        ("samples.jsonl", '{"step": 1}\n'),
    ],
)
def test_a_damaged_file_of_a_run_is_refused_in_a_line(tmp_path, name, content):
    [run] = make_study(tmp_path, "lost", [("linux", "rnn", 1, 8, 1.2)])["runs"]
    (tmp_path / "runs" / "lost" / run["name"] / name).write_text(content)
    with pytest.raises(Refusal, match=rf"{re.escape(run['directory'])}/{name}.* is damaged \([^\n]*fresh=true$"):
        write_report(tmp_path / "results")


def test_a_run_that_was_not_evaluated_is_named_with_its_reason_and_counts_nowhere(tmp_path):
    study = make_study(tmp_path, "lost", [("linux", "rnn", 1, 8, 1.2)], seeds=(0, 1))
    run = study["runs"][1]
    nothing = {"steps": None, "targets": None, "seconds": None, "measured": {}, "probes": {}}
    reason = {"status": "failed", "reason": "best.ckpt is <damaged>"}
    kept = {key: run[key] for key in ("name", "directory", "hash", "seed", "label", "data", "doubts")}
    study["runs"][1] = kept | nothing | reason
    (tmp_path / "results" / "studies" / "lost.json").write_text(json.dumps(study))
    (tmp_path / "runs" / "lost" / run["name"] / "metrics.jsonl").write_text("noise\n")
    root = read(tmp_path / "results")
    lost = section(root, "lost")
    assert next(lost.find("h3", id="lost-findings-1")).text == "Runs that were not evaluated"
    assert [item.text for item in next(lost.find("div", class_="exhibit")).find("li")] == [
        "rnn 1x8, seed 1: best.ckpt is <damaged>"
    ]
    assert len(list(lost.find("details", class_="run"))) == 2  # a story and completions of the other
    (rows,) = table(next(root.find("footer")), "provenance")
    assert [row[1] for row in rows] == ["finished", "not evaluated"]


def test_published_numbers_need_no_note(tmp_path):
    published = karpathy_table()
    del published["note"]
    make_study(tmp_path, "lost", [("linux", "lstm", 1, 64, 1.2)], published=published)
    assert "Source: A paper & its table. In nats/char." in section(read(tmp_path / "results"), "lost").text


def test_the_page_is_the_same_each_time_and_nothing_else_is_left(tmp_path):
    make_study(tmp_path, "architectures", [("shakespeare", "rnn", 1, 8, 1.2), ("shakespeare", "gru", 1, 8, 1.1)])
    first = write_report(tmp_path / "results").read_bytes()
    assert write_report(tmp_path / "results").read_bytes() == first
    assert {path.name for path in (tmp_path / "results" / "report").iterdir()} == {"index.html", "published.md"}


def test_a_probe_shows_what_another_study_found_where_the_report_has_it(tmp_path):
    study = make_study(tmp_path, "shapes", [("clothes", "cnn", 1, 8, 1.2)])
    task = {"shape": "one to many", "data": "scenes", "task": "a sentence", "measure": "right", "digits": ".1%"}
    task |= {"baseline": "none", "called": "", "command": "python -m pipeline.train -m study=captions"}
    study["probes"]["shapes"] = {"_target_": "pipeline.probes.shapes.Shapes", "tasks": [task]}
    study["runs"][0]["probes"]["shapes"] = {}
    (tmp_path / "results" / "studies" / "shapes.json").write_text(json.dumps(study))
    assert "not run" in section(read(tmp_path / "results"), "shapes").text
    other = make_study(tmp_path, "captions", [("scenes", "lrcn", 1, 8, 1.0)])
    right = other["groups"][0]["measured"]["right"]["mean"]
    text = section(read(tmp_path / "results"), "shapes").text
    assert f"lrcn {right:.1%}" in text and "not run" not in text


def test_claims_stand_with_their_evidence(tmp_path):
    study = make_study(tmp_path, "zoo", [("shakespeare", "lstm", 1, 8, 1.2), ("shakespeare", "gru", 1, 8, 1.1)])
    judged = {
        "source": "A <2015>",
        "claim": "gates help",
        "model": "lstm",
        "than": "rnn",
        "relation": "better",
        "measure": "nats",
        "difference": 0.1234,
        "error": 0.01,
        "seeds": 3,
        "verdict": "holds",
        "why": None,
    }
    nothing = {"measure": None, "difference": None, "error": None}
    study["claims"] = [
        judged,
        judged | nothing | {"source": "B", "verdict": "not tried", "why": "no run of <rnn>"},
        judged | {"relation": "no_worse", "margin": 0.02, "error": 0.2, "seeds": 2, "verdict": "undecided"},
        judged | {"difference": None, "error": None, "verdict": "contradicted", "why": "lstm diverged on 3 of 3 seeds"},
    ]
    (tmp_path / "results" / "studies" / "zoo.json").write_text(json.dumps(study))
    root = read(tmp_path / "results")
    (rows,) = table(root, "claims")
    better = ["A <2015>", "gates help", "lstm better than rnn", "nats/char"]
    assert rows == [
        [*better, "+0.123, 95% interval 0.113 to 0.133, 3 seeds", "holds"],
        ["B", "gates help", "lstm better than rnn", "—", "no run of <rnn>", "was not tried"],
        [
            "A <2015>",
            "gates help",
            "lstm at most 0.020 worse than rnn",
            "nats/char",
            "+0.123, 95% interval −0.077 to 0.323, 2 seeds",
            "is undecided",
        ],
        [*better, "3 seeds: lstm diverged on 3 of 3 seeds", "is contradicted"],
    ]
    assert "by Student's t over the seeds" in section(root, "zoo").text


# ---- what is in doubt, and what is of fewer seeds ----


def doubtful(root, **changes):
    """The section of a study of which the first model, the better one, is in doubt, with changes to its results."""
    study = make_study(root, "odd", [("linux", "lstm", 1, 8, 1.1), ("linux", "gru", 1, 8, 1.5)], (0, 1))
    for part in (study["groups"][0], *study["runs"][:2]):
        part["doubts"] = {"nats": "moves by <0.21> nats"}
    (root / "results" / "studies" / "odd.json").write_text(json.dumps(study | changes))
    return section(read(root / "results"), "odd")


def test_a_number_in_doubt_is_marked_never_best_and_explained(tmp_path):
    odd = doubtful(tmp_path, versus="parameters")
    (rows,) = table(odd, "comparison")
    assert [row[0] for row in rows[1:]] == ["gru 1x8 best", "lstm 1x8"]
    assert ["†" in cell for cell in rows[2]] == [place == 3 for place in range(len(rows[2]))]
    assert re.fullmatch(r"1\.\d\d\d†", rows[2][3]) and "†" not in "".join(rows[1])
    notes = [note.text for note in odd.find("p", class_="doubt")]
    assert notes == ["† lstm 1x8, nats/char: moves by <0.21> nats"]
    stories = [next(run.find("summary")).text for run in odd.find("details", class_="run")]
    assert ["† nats/char after" in story for story in stories if "after" in story] == [False, False, True, True]
    about = [text.text for text in odd.find("p", class_="about")]
    assert "Mean over seeds. Left out, for their numbers are in doubt: lstm 1x8." in about
    assert "lstm 1x8" not in next(odd.find("svg")).text and "gru 1x8" in next(odd.find("svg")).text


def test_a_number_in_doubt_is_so_beside_published_ones(tmp_path):
    rows = [{"data": "linux", "model": model, "size": "1x8", "value": 1.0} for model in ("lstm", "gru")]
    odd = doubtful(tmp_path, published={"source": "S", "measure": "nats", "note": None, "rows": rows})
    (rows,) = table(odd, "published")
    assert [row[3].endswith("†") for row in rows] == [True, False]
    notes = [note.text for note in odd.find("p", class_="doubt")]
    assert notes == ["† lstm 1x8, nats/char: moves by <0.21> nats"] * 2


def test_settings_in_doubt_are_in_no_figure(tmp_path):
    study = make_study(tmp_path, "odd", [("linux", "lstm", 1, 8, 1.1), ("linux", "gru", 1, 8, 1.5)])
    for place, part in enumerate((*study["groups"], *study["runs"])):
        part["label"] = f"lstm taps={place % 2 + 3}"
    study["groups"][0]["doubts"] = {"nats": "it moves"}
    path = tmp_path / "results" / "studies" / "odd.json"
    path.write_text(json.dumps(study | {"versus": "settings"}))
    odd = section(read(tmp_path / "results"), "odd")
    assert "whatever the other settings. Left out, for their numbers are in doubt: lstm taps=3." in odd.text
    for part in study["groups"]:
        part["doubts"] = {"nats": "it moves"}
    path.write_text(json.dumps(study | {"versus": "settings"}))
    assert "nats/char by settings" not in section(read(tmp_path / "results"), "odd").text


def test_means_say_of_how_many_seeds_they_are(tmp_path):
    cells = [("linux", "lstm", 1, 8, 1.1), ("linux", "gru", 1, 8, 1.5)]
    study = make_study(tmp_path, "few", cells, (0, 1, 2))
    lstm = study["groups"][0]
    lstm["by_seed"]["nats"]["1"] = lstm["by_seed"]["validation_loss"]["1"] = None
    lstm["diverged"] = 1
    (tmp_path / "results" / "studies" / "few.json").write_text(json.dumps(study | {"versus": "parameters"}))
    few = section(read(tmp_path / "results"), "few")
    (rows,) = table(few, "comparison")
    assert [row[0] for row in rows[1:]] == ["gru 1x8 best", "lstm 1x8 1 diverged"]
    assert [place for place, cell in enumerate(rows[2]) if cell.endswith("(2 of 3)")] == [4, 10]
    assert not any("(" in cell for cell in rows[1])
    assert "Mean over seeds. Over those that did not diverge: lstm 1x8 (2 of 3)." in few.text


def test_results_of_before_are_to_be_written_again(tmp_path):
    study = make_study(tmp_path, "old", [("linux", "lstm", 1, 8, 1.1)])
    del study["groups"][0]["by_seed"], study["groups"][0]["doubts"]
    (tmp_path / "results" / "studies" / "old.json").write_text(json.dumps(study))
    with pytest.raises(Refusal, match=r"it lacks groups.0.by_seed, groups.0.doubts\): write it again with `python"):
        write_report(tmp_path / "results")


# ---- other kinds of data than text ----


def make_series(root, name, rmse, data="sine"):
    """A study of a series, in place of one of texts: its units, its measures, its forecasts, its samples."""
    study = make_study(root, name, [(data, model, 1, 8, 1.0) for model in rmse], seeds=(0, 1))
    study["probes"] = {
        "prediction": PROBES["prediction"],
        "forecast": {"_target_": "pipeline.probes.forecast.Forecast", "length": 2},
    }
    for part in (*study["runs"], *study["groups"]):
        part["units"] = STEPS
    for run in study["runs"]:
        error = rmse[run["model"]] * (1 + run["seed"])
        run["measured"] = {"nats": None, "bits": None, "rmse": error, "right": None}
        forecast = {"observed": [[0.0], [1.0]], "forecast": [[error], [error]]}
        run["probes"] = {"prediction": {"rmse": error}, "forecast": forecast}
    for group in study["groups"]:
        values = [run["measured"]["rmse"] for run in study["runs"] if run["hash"] == group["hash"]]
        group["ranked_by"] = "rmse"
        group["by_seed"]["rmse"] = dict(zip("01", values))
        group["measured"] = {"rmse": {"mean": statistics.fmean(values), "std": statistics.stdev(values)}}
    (root / "results" / "studies" / f"{name}.json").write_text(json.dumps(study))
    return study


def test_a_series_has_its_measure_its_figures_and_its_gallery(tmp_path):
    make_series(tmp_path, "signals", {"lds": 0.2, "esn": 0.002})
    study = section(read(tmp_path / "results"), "signals")
    (rows,) = table(study, "comparison")
    assert rows[0] == ["sine split 80-10-10, loss in squared error"]
    assert [row[0].split()[0] for row in rows[1:]] == ["esn", "lds"]
    assert [row[3:6] for row in rows[1:]] == [["0.003", "± 0.001", "2"], ["0.300", "± 0.141", "2"]]
    forecasts, curves = study.find("svg")
    assert forecasts.attributes["aria-label"] == "Forecasts of sine, split 80-10-10: signals"
    assert "steps asked" in curves.text and "squared error" in curves.text and "bits" not in curves.text
    headings = [heading.text for heading in study.find("h3")]
    assert headings == ["Comparison", "Forecasts of sine", "Loss curves", "What it wrote as training went"]
    runs = list(study.find("details", class_="run"))
    assert [next(run.find("summary")).text for run in runs[:2]] == [
        f"esn 1x8, seed {seed} {0.002 * (1 + seed)} RMSE after 3,000 training steps, 7,500,000 steps asked"
        for seed in (0, 1)
    ]
    assert all(list(run.find("samp")) for run in runs)


def test_curves_of_unlike_losses_never_share_a_figure(tmp_path):
    text = make_study(tmp_path, "mixed", [("linux", "lstm", 1, 8, 1.2), ("latex", "lstm", 1, 8, 1.1)])
    series = make_series(tmp_path, "signals", {"lds": 0.2, "esn": 0.002})
    for key in ("runs", "groups"):
        for part in series[key]:
            part["hash"] = "s" + part["hash"]
        text[key] += series[key]
    text["probes"] |= series["probes"]
    (tmp_path / "results" / "studies" / "mixed.json").write_text(json.dumps(text))
    study = section(read(tmp_path / "results"), "mixed")
    labels = [figure.attributes["aria-label"] for figure in study.find("svg")]
    assert labels[1:] == ["Loss while training: mixed, linux, latex", "Loss while training: mixed, sine"]
    (rows,) = table(study, "comparison")
    # What a section has no number for stays empty: no nats of a series.
    assert [row[3:11:2] for row in rows if len(row) > 1 and row[0].startswith("lds")] == [["", "", "0.300", ""]]


def test_where_high_is_better_the_highest_comes_first(tmp_path):
    study = make_study(tmp_path, "memory", [("copying", "rnn", 1, 8, 1.5), ("copying", "lstm", 1, 8, 1.2)])
    for group, right in zip(study["groups"], (0.9, 0.4)):
        group["ranked_by"], group["measured"]["right"] = "right", {"mean": right, "std": None}
    (tmp_path / "results" / "studies" / "memory.json").write_text(json.dumps(study))
    (rows,) = table(read(tmp_path / "results"), "comparison")
    assert [row[0] for row in rows[1:]] == ["rnn 1x8 best", "lstm 1x8"]
    assert [row[7] for row in rows[1:]] == ["90.0%", "40.0%"]


def test_models_stand_against_what_the_study_varies(tmp_path):
    study = make_study(tmp_path, "orders", [("linux", "lstm", 1, 8, 1.5), ("linux", "gru", 1, 8, 1.2)])
    path = tmp_path / "results" / "studies" / "orders.json"

    def figure(**changes):
        path.write_text(json.dumps(study | changes))
        return next(section(read(tmp_path / "results"), "orders").find("svg"))

    drawn = figure(versus="parameters")
    assert drawn.attributes["aria-label"] == "nats/char by parameters, linux, split 80-10-10: orders"
    assert "lstm 1x8" in drawn.text and "parameters" in drawn.text and "nats/char" in drawn.text
    drawn = figure(versus="units")
    assert drawn.attributes["aria-label"] == "nats/char by units, linux, split 80-10-10: orders"
    assert "lstm" in drawn.text and "units" in drawn.text and "8" in drawn.text
    for place, part in enumerate((*study["groups"], *study["runs"])):
        part["label"] = f"lstm taps={place % 2 + 3}"
    drawn = figure(versus="settings")
    assert drawn.attributes["aria-label"] == "nats/char by settings, linux, split 80-10-10: orders"
    assert "taps" in drawn.text and "3" in drawn.text and "4" in drawn.text
    with pytest.raises(Refusal, match="^study orders: study.versus=moons: take one of parameters, settings, units$"):
        figure(versus="moons")


def test_a_run_that_diverged_says_so_and_shows_no_number(tmp_path):
    study = make_study(tmp_path, "lost", [("linux", "lstm", 1, 8, 1.5)])
    [run], [group] = study["runs"], study["groups"]
    run |= {"status": "diverged", "probes": {}, "measured": dict.fromkeys(MEASURES), "validation_loss": None}
    group |= {"measured": {"nats": {"mean": None, "std": None}}, "diverged": 1}
    group["validation_loss"] = {"mean": None, "std": None}
    about = json.loads((tmp_path / "runs" / "lost" / run["name"] / "run.json").read_text())
    about |= {"status": "diverged", "reason": "the training loss is nan"}
    (tmp_path / "runs" / "lost" / run["name"] / "run.json").write_text(json.dumps(about))
    (tmp_path / "results" / "studies" / "lost.json").write_text(json.dumps(study))
    lost = section(read(tmp_path / "results"), "lost")
    ((_, row),) = table(lost, "comparison")
    assert row[0] == "lstm 1x8 1 diverged" and row[3:7] == ["—", "", "1", "—"]
    [run] = lost.find("details", class_="run")
    assert next(run.find("summary")).text.startswith("lstm 1x8, seed 0 diverged — nats/char after 3,000 training steps")


def test_bytes_are_called_bytes(tmp_path):
    study = make_study(tmp_path, "octets", [("linux", "lstm", 1, 8, 1.5)])
    for part in (*study["runs"], *study["groups"]):
        part["units"] = CHARS | {"loss": "nats/byte", "element": "byte"}
    (tmp_path / "results" / "studies" / "octets.json").write_text(json.dumps(study))
    octets = section(read(tmp_path / "results"), "octets")
    heads = [cell.text for cell in next(octets.find("thead")).find("th")]
    assert heads[3:6] == ["nats/byte", "bits/byte", "right"]
    assert "loss in nats/byte" in octets.text and "7,500,000 bytes asked" in octets.text and "char" not in octets.text
