"""Settings: declared once, by the signature of what they configure; checked, worded and documented from there."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from pipeline.command import manual
from pipeline.command.declared import Choice, declared
from pipeline.command.overrides import in_a_line, quoted
from pipeline.command.refusal import Refusal
from pipeline.command.settings import CONF, check

ROOT = CONF.parent
CHOICES = [(group, name) for group in list(manual.GROUPS)[:-1] for name in manual.names(CONF / group)]
TARGETS = sorted(
    {
        target
        for file in CONF.rglob("*.yaml")
        for target in re.findall(r"(?:_target_|rule): (pipeline[\w.]+)", file.read_text())
    }
)


def composed(*words: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(words))


def refusal(*words: str) -> str:
    with pytest.raises(Refusal) as found:
        check(composed(*words))
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.mark.parametrize("group, name", CHOICES)
def test_every_choice_can_be_had(group, name):
    check(composed(f"{group}={name}"))


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_read_from_the_source_is_what_python_sees(target):
    module, _, name = target.rpartition(".")
    made = getattr(importlib.import_module(module), name)
    hints = get_type_hints(made.__init__ if "__init__" in vars(made) else made, include_extras=True)
    for setting, annotation in declared("", target).settings.items():
        if annotation not in (Any, Choice) and setting in hints:
            assert hints[setting] == annotation, setting


BAD = [
    ("model.hidden=true", "model.hidden=true: take a whole number from 1"),
    ("model.dropout=1", "model.dropout=1: take a number from 0, below 1"),
    ("model.dropout=nan", "model.dropout=nan: take a number from 0, below 1"),
    ("model.dropout=null", "model.dropout=null: take a number from 0, below 1"),
    ("model.embedding=abc", "model.embedding=abc: take a whole number from 1, or null"),
    (
        "model.parameter_budget=inf",
        "model.parameter_budget=inf: take a whole number from 1 to 1,099,511,627,776, or a network that has as many, "
        "as 'lstm 1x64' for one layer of 64 units, or null",
    ),
    ("model.layers=2000000", "model.layers=2000000: take a whole number from 1 to 1,000"),
    ("model.initial_state=nan", "model.initial_state=nan: take a number"),
    ("model.cell._target_=os.getcwd", "model.cell._target_=os.getcwd: there is no such class or function"),
    (
        "+model.cell.forget_bais=1",
        "model.cell.forget_bais: there is no such setting: did you mean model.cell.forget_bias?",
    ),
    ("+trainer.stpes=9", "trainer.stpes: there is no such setting: did you mean trainer.steps?"),
    ("++data.nmae=x", "data.nmae: there is no such setting: did you mean data.name?"),
    ("++sead=1", "sead: there is no such setting: did you mean seed?"),
    ("+model.reads=1", "model.reads: there is no such setting: did you mean model.readout?"),
    ("+model.cell.hidden=3", "model.cell.hidden: there is no such setting: take one of chrono, forget_bias, rec"),
    ("+initialization.network=3", "initialization.network: there is no such setting: leave it out"),
    ("~trainer.batch", "trainer.batch: is missing"),
    ("trainer.clip_norm=0", "trainer.clip_norm=0: take a number above 0, or null"),
    ("trainer.seconds=-1", "trainer.seconds=-1: take a number above 0, or null"),
    ("trainer.patience=0", "trainer.patience=0: take a whole number from 1, or null"),
    ("trainer.validation_symbols=1", "trainer.validation_symbols=1: take a whole number from 2, or null"),
    ("trainer.explode=nan", "trainer.explode=nan: take a number above 0"),
    ("trainer.sample.at=[-1]", "trainer.sample.at=[-1]: take a list of whole numbers from 1, as [..,..]"),
    ("trainer.sample.prompt=123", """trainer.sample.prompt=123: take text, as trainer.sample.prompt='"123"'"""),
    ("trainer.sample.prompt='\udcff'", "trainer.sample.prompt='\\udcff': take text in UTF-8"),
    ("trainer.accelerator=mps", "trainer.accelerator=mps: take auto, cpu, gpu or cuda"),
    ("trainer.devices=auto", "trainer.devices=auto: take a whole number from 1"),
    ("fresh=no", "fresh=no: take true or false"),
    ("seed=4294967296", "seed=4294967296: take a whole number from 0, below 4,294,967,296"),
    ("optimizer.lr=0", "optimizer.lr=0: take a number above 0"),
    ("+optimizer.betas=[0.9]", "optimizer.betas=[0.9]: take two numbers from 0, below 1: [0.9,0.999]"),
    ("study.name=../../evil", "study.name=../../evil: take a name of letters"),
    ("model.name=a/b", "model.name=a/b: take a name of letters"),
    ("evaluation.temperature=-0.5", "evaluation.temperature=-0.5: take a number from 0"),
    ("tracking.uri=123", "tracking.uri=123: take text, or null"),
]


@pytest.mark.parametrize("word, said", BAD, ids=[word for word, _ in BAD])
def test_refused_in_one_line_with_value_place_and_mend(word, said):
    assert refusal(word).startswith(said)


def test_of_other_choices():
    assert refusal("model=ngram", "optimizer.passes=2") == "optimizer.passes=2: take 1"
    assert refusal("schedule=cosine", "schedule.warmup=-5").startswith("schedule.warmup=-5: take a whole number from 0")
    assert refusal("model=hmm", "model.precision=half") == "model.precision=half: take float32 or float64"
    assert refusal("data=mackey_glass", "data.scheme=euler").startswith("data.scheme=euler: take reservoirpy or")
    for word, said in (
        ("closing.pairs=['(']", "[(]: take an opening and a closing symbol each, one or more, as ['()','[]']"),
        ("closing.pairs=[]", "[]: take an opening and a closing symbol each, one or more"),
        ("inside.pairs=['abc']", "[abc]: take an opening and a closing symbol each, one or more"),
        ("completions.temperature=[]", "[]: take a number from 0, or numbers from 0, one or more, as [0.5,1.0]"),
    ):
        place = word.partition("=")[0]
        assert refusal("study=knows", f"study.probes.{word}").startswith(f"study.probes.{place}={said}")
    said = refusal("study=coverage", "study.probes.coverage.sizes=[]")
    assert said == "study.probes.coverage.sizes=[]: take whole numbers from 1, one or more, as [100,1000]"


HYDRA = [
    ("model.hiden=3", "model.hiden=3: there is no such setting: did you mean model.hidden?"),
    ("optimizer=adma", "optimizer=adma: there is no such choice: did you mean adam?"),
    ("study=nonexistent", "study=nonexistent: there is no such choice: take one of architectures, "),
    ("hydra/launcher=typo", "hydra/launcher=typo: there is no such choice: take one of basic, "),
    ("trainer.lenght=5", "trainer.lenght=5: there is no such setting: did you mean trainer.length?"),
    ("model.order=3", "model.order=3: this model has no such setting: take model=ngram or word_ngram with it"),
    (
        "optimizer.momentun=0.9",
        "optimizer.momentun=0.9: there is no such setting: did you mean optimizer.momentum, of optimizer=",
    ),
    ("hidden=3", "hidden=3: there is no such setting: did you mean model.hidden or scale.hidden?"),
    ("hiden=3", "hiden=3: there is no such setting: did you mean model.hidden or scale.hidden?"),
    ("length=3", "length=3: there is no such setting: did you mean evaluation.length or trainer.length or scale.len"),
    ("model.lr=3", "model.lr=3: there is no such setting: did you mean optimizer.lr?"),
    ("model=lstm,gru", "model=lstm,gru: several values: add -m to run each"),
    ("model", "model: cannot be read (no value): give key=value without spaces around =, and put"),
    ("trainer.sample.at=[1,2", "trainer.sample.at=[1,2: cannot be read ("),
    ("data.name='a", "data.name='a: cannot be read ("),
    ("foo/bar=x", "foo/bar=x: there is no such group of choices: take one of data, "),
]


@pytest.mark.parametrize("word, said", HYDRA, ids=[word for word, _ in HYDRA])
def test_what_hydra_refuses_is_said_in_one_line(word, said):
    with pytest.raises((HydraException, ValueError)) as found:
        composed(word)
    line = in_a_line(found.value, CONF, [word])
    assert line.startswith(said) and "\n" not in line


@pytest.mark.parametrize("value", ["a=b.txt", "it's", "~/é", "a#b", "[1,2", "'a", "a'b\\'c\\", "{x", "a\nb", "\\\\'"])
def test_values_that_hydra_does_not_read_are_put_into_quotes(value):
    assert OverridesParser.create().parse_override(quoted(f"data.path={value}")).value() == value


@pytest.mark.parametrize("word", ["model", "-m", "--config-dir=x", "a=1", "a=b c", "a=1,2", "a='b'", "+a={b:1}", "~a"])
def test_other_words_stay_as_they_are(word):
    assert quoted(word) == word


def run(*words: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


def test_flags_that_there_are_not_are_refused_in_a_line():
    mends = {"--model": "a setting is written model=VALUE, without dashes", "--hlep": "did you mean --help?"}
    for flag, mend in mends.items():
        code, said = run("pipeline.train", flag, "3")
        assert (code, said) == (1, f"error: {flag}: there is no such flag: {mend}\n")


def test_help_on_what_there_is_not_is_refused_in_a_line():
    code, said = run("pipeline.train", "--help", "modle")
    assert (code, said) == (1, "error: --help modle: there is nothing of that name: did you mean model?\n")


def test_a_sweep_is_refused_before_its_first_run():
    of = "pipeline.train", "-m", "data=sine", "scale=smoke", "tracking.uri=null", "paths.runs=/dev/null/none"
    for words in (
        ("model=lstm,typo",),
        ("seed=0,1,a",),
        ("trainer.batch=4", "trainer.length=8,0"),
        ("trainer.devices=2",),
    ):
        code, said = run(*of, *words)
        assert code == 1 and said.startswith("error: ") and said.count("\n") == 1, said


def test_verbs_that_run_once_refuse_m():
    assert run("pipeline.prepare", "-m", "study=zoo") == (
        1,
        "error: -m: this command runs once, for a study as a whole: leave it out\n",
    )


def test_refused_before_torch_is_imported():
    code = (
        "import sys; from hydra import compose, initialize_config_dir; from pipeline.command.settings import check\n"
        f"with initialize_config_dir({str(CONF)!r}, version_base='1.3'):\n"
        "    for words in ([], ['model=hmm', 'data=sine'], ['study=signals', 'model=echo_state']):\n"
        "        check(compose('config', overrides=words))\n"
        "print(sorted({'torch', 'pytorch_lightning', 'mlflow'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "[]\n"


def test_the_page_of_settings_is_made_from_them_and_says_what_each_is_for(monkeypatch):
    rows, rows_of, names = [], manual.rows_of, manual.names

    def noted(cfg, conf):
        found = list(rows_of(cfg, conf))
        rows.extend(found)
        return found

    monkeypatch.setattr(manual, "rows_of", noted)
    _, found, tables = Path(ROOT, "docs/settings.md").read_text().partition(manual.AFTER)
    listed = dict(re.findall(r"^### `(\w+)`\n\n(.*)$", tables, re.MULTILINE))
    new = {
        f"{group}={name}"
        for group, line in listed.items()
        for name in names(CONF / group)
        if f"`{name}`" not in line.split(", ")
    }
    monkeypatch.setattr(
        manual, "names", lambda folder: [name for name in names(folder) if f"{folder.name}={name}" not in new]
    )
    assert found and tables.strip() == manual.reference(CONF).strip(), "python -m pipeline.command.manual"
    assert len(rows) > 100 * len(manual.GROUPS)
    for choice in new:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            rows += rows_of(compose("config", overrides=[choice]), CONF)
    assert not {row.place for row in rows if not row.purpose}, "write a comment beside them in conf/"
    if new:
        pytest.skip(
            f"docs/settings.md has no {', '.join(sorted(new))}: python -m pipeline.command.manual prints it anew"
        )


def test_notes_beside_settings_are_read(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("# of all\na: 1   # first\nb:\n  c: 'x'  # inner\nd: 2\n# cell.bias: alone\n")
    assert yaml.safe_load(file.read_text())["b"] == {"c": "x"}
    assert manual.comments(file) == {"a": "first", "b.c": "inner", "cell.bias": "alone"}
