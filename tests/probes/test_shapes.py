"""The figure of the five shapes: which numbers stand in it, and what is said where there is none."""

import re

import pytest
import yaml

from pipeline.command.settings import CONF
from pipeline.probes.shapes import SHAPES, Shapes, result, words
from tests.test_conf import choices

ROW = {"study": "shapes", "doubts": {}}
ROWS = [
    ROW | {"data": "clothes", "model": "cnn", "measured": {"right": {"mean": 0.9, "std": 0.01}}},
    ROW | {"data": "clothes", "model": "linear", "measured": {"right": {"mean": 0.8, "std": 0.0}}},
    ROW
    | {"data": "news", "model": "lstm", "doubts": {"right": "few"}}
    | {"runs": [{"probes": {"near": {"others": {"right": share}}}} for share in (0.4, 0.6)]}
    | {"measured": {"right": {"mean": 0.95, "std": None}, "tf_idf": {"mean": 0.97, "std": 0.0}}},
]
TASK = {"shape": "one to one", "task": "what it is", "measure": "right", "digits": ".1%", "called": "lines"}
TASK |= {"command": "python -m pipeline.train", "data": "clothes", "baseline": "linear"}


@pytest.mark.parametrize(
    "changes, said",
    [
        ({}, ("cnn 90.0% ± 1.0%", "lines 80.0%")),
        ({"baseline": "svm"}, ("cnn 90.0% ± 1.0%", "lines not run")),
        ({"data": "news", "baseline": "tf_idf"}, ("lstm 95.0%†", "lines 97.0%")),
        (
            {"data": "news", "baseline": "near.others.right", "unit": "share"},
            ("lstm share 95.0%†", "lines 50.0% ± 14.1%"),
        ),
        ({"data": "video"}, ("not run", "")),
        ({"measure": "per"}, ("not run", "")),
    ],
)
def test_ours_stands_beside_the_baseline(changes, said):
    task = TASK | changes
    found = tuple(text.replace("\N{NO-BREAK SPACE}", " ") for text in words(task, result(task, ROWS)))
    assert found == said


def test_the_figure_has_every_shape_and_how_to_run_what_was_not():
    tasks = [TASK, TASK | {"shape": "many to many", "data": "video", "reference": "theirs 5%"}]
    drawing, table = Shapes(tasks).show(ROWS)
    texts = re.findall(r">([^<>]+)</text>", drawing.html)
    assert {*SHAPES, "lines 80.0%", "not run", "theirs 5%", "python -m pipeline.train"} <= set(texts)
    colours = [drawing.html.count(f"fill: {colour}") for colour in ("#f2b5ad", "#b7dfae", "#aebff0")]
    assert colours == [1 + 1 + 3 + 3 + 3, 1 + 3 + 3 + 5 + 3, 1 + 3 + 1 + 3 + 3]  # of the lecture's drawing
    assert "<code>python -m pipeline.train</code>" in table.html


def test_tasks_of_the_study_are_of_shapes_and_commands_that_there_are():
    tasks = yaml.safe_load((CONF / "probe" / "shapes.yaml").read_text())["shapes"]["tasks"]
    assert {task["shape"] for task in tasks} == set(SHAPES)
    for task in tasks:
        assert set(TASK) <= set(task) and task["command"].startswith("python -m pipeline.train -m study=")
    assert {"fashion_mnist", "reuters", "speakers", "moving_digits"} <= {task["data"] for task in tasks} & set(
        choices("data")
    )


def test_a_task_of_another_study_is_found_there():
    tasks = [
        TASK,
        TASK | {"data": "scenes", "called": "", "command": "python -m pipeline.train -m study=captions scale=tour"},
    ]
    probe = Shapes(tasks)
    assert probe.beside == {"captions"}
    _, table = probe.show([*ROWS, ROWS[0] | {"study": "captions", "data": "scenes"}])
    assert "not run" in probe.show(ROWS)[1].html and "not run" not in table.html
