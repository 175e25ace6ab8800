"""The documentation says what is true: its protocol is the code's, its examples run, its names exist."""

import ast
import functools
import hashlib
import importlib
import inspect
import json
import re
import shlex
import subprocess
import sys
import textwrap
import threading
import tomllib
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.command.settings import CONF
from pipeline.datasets.data import load_data
from pipeline.datasets.space import Reals, Symbols
from pipeline.files.whole import read_lines
from pipeline.runs.building import load_network
from tests.conftest import ROOT, composed, needs_steps, trained, words
from tests.notebooks import NAMES as NOTEBOOKS
from tests.oracles import cells as oracle
from tests.test_rooms import ROOMS

DOCS = ROOT / "docs"
OWN = ("basic", "ours")  # choices that are no file of conf: Hydra's, and one of an example
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md"))]
PAGES += sorted(DOCS.glob("*.md"))


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks of these languages ("": of none) in a Markdown text."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for language, block in found if language in languages]


def section(page: str, title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", (DOCS / page).read_text(), flags=re.MULTILINE | re.DOTALL)[1]


def table(text: str) -> list[list[str]]:
    """The cells of the rows of a Markdown table, without its head."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip(" |") for cell in row] for row in rows[2:]]


# ---- architecture.md: the protocol is the code's ----


def shown_classes() -> list:
    """(module, class as it is shown) of the protocol; a comment names the file of the classes after it."""
    [source] = blocks(section("architecture.md", "The protocol"), "python")
    lines, found = source.splitlines(), []
    for node in ast.parse(source).body:
        above = [re.match(r"# (pipeline/\S+)\.py", line) for line in lines[: node.lineno - 1]]
        file = [match[1] for match in above if match][-1]
        found.append(pytest.param(file.replace("/", "."), node, id=node.name))
    return found


def declared(node: ast.ClassDef) -> dict[str, str]:
    """What a class states itself: methods with their signatures, attributes and properties with their types."""
    found = {}
    for one in node.body:
        if isinstance(one, ast.FunctionDef):
            of_value = any("property" in ast.unparse(decorator) for decorator in one.decorator_list)
            returns = ast.unparse(one.returns) if one.returns else ""
            found[one.name] = returns if of_value else f"({ast.unparse(one.args)}) -> {returns}"
        elif isinstance(one, ast.AnnAssign):
            value = "" if one.value is None else f" = {ast.unparse(one.value)}"
            found[one.target.id] = f"{ast.unparse(one.annotation)}{value}"
        elif isinstance(one, ast.Assign):
            found |= {target.id: ast.unparse(one.value) for target in one.targets}
    return {name: text.replace("'", "").replace('"', "") for name, text in found.items()}


@pytest.mark.parametrize("module, shown", shown_classes())
def test_the_protocol_is_that_of_the_code(module, shown):
    of = getattr(importlib.import_module(module), shown.name)
    states: dict[str, str] = {}
    for one in of.__mro__:
        if one.__module__.startswith("pipeline."):
            states = declared(ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]) | states
    for base in shown.bases:
        assert ast.unparse(base).rpartition(".")[2] in [
            one.__name__ for one in (*of.__mro__, *getattr(of, "__orig_bases__", ()))
        ]
    for name, text in declared(shown).items():
        assert states.get(name) == text, f"{module}.{shown.name}.{name}"
        for stub in (one for one in shown.body if isinstance(one, ast.FunctionDef) and one.name == name):
            names = [argument.arg for argument in (*stub.args.posonlyargs, *stub.args.args)]
            names += [stub.args.vararg.arg] if stub.args.vararg else []
            skipped = isinstance(inspect.getattr_static(of, name), classmethod)
            assert list(inspect.signature(getattr(of, name)).parameters) == names[skipped:]
    assert getattr(of, "__abstractmethods__", set()) <= set(declared(shown)), (
        "what every subclass must have is not shown"
    )


def test_the_rooms_stand_in_their_order():
    rows = table(section("architecture.md", "Rooms"))
    assert [row[0].strip("`/") for row in rows] == ["pipeline", *reversed(ROOMS)]


def test_what_every_step_needs_is_a_part_of_the_state():
    [source] = blocks(section("architecture.md", "Two laws"), "python")
    names: dict = {}
    exec(source, names)
    network = names["Shown"](Reals(2), Symbols(5), (Reals(3),), 4)
    x, image = torch.randn(6, 3, 2), torch.randn(3, 3)
    state = network.start(3, image)
    whole, _ = network(x, state)
    kept = torch.tensor([2, 0])
    first, between = network(x[:2], state)
    last, _ = network(x[2:, kept], tuple(part[:, kept] for part in between))
    torch.testing.assert_close(torch.cat([first[:, kept], last]), whole[:, kept])
    assert not torch.equal(whole, network(x, network.start(3, image + 1))[0])
    batch = names["asked_at_the_end"](network, x, image)
    assert network.answers.asked(batch.targets).sum(0).tolist() == [1, 1, 1] and batch.count == 3
    loss, _ = network.loss(batch, network.start(3, *batch.given))
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(whole[-1], batch.targets[-1], reduction="sum"))


@pytest.mark.parametrize("row", table(section("architecture.md", "Data")), ids=lambda row: row[0].split("`")[1])
def test_the_table_of_data(row):
    names, spaces, given, _, probes = row
    for name in re.findall(r"`(\w+)`", names):
        cfg = composed(f"data={name}").data
        assert re.findall(r"`(\w+)`", probes) == list(cfg.probes)
        if "prepared" not in cfg:
            data = load_data(cfg)
            assert f"{plainly(data.reads)} → {plainly(data.answers)}" == spaces
            assert (given == "-") == (not data.given)


def plainly(space) -> str:
    """Reals(2, 1 driving)."""
    driving = getattr(space, "driving", 0)
    return f"{type(space).__name__}({space.width}{f', {driving} driving' * bool(driving)})"


# ---- extending.md: each example is one Python file and one YAML file, and runs ----


@pytest.fixture
def example(tmp_path, monkeypatch):
    """example(title) writes the files of a section below `tmp_path` and puts them where the project would find them;
    returns the overrides of a run of seconds that has the choice.

    kinds  of files that the section has;  changed  what a test has otherwise than the page
    """

    def put(title: str, kinds: tuple = (".py", ".yaml"), changed: Callable[[str], str] = str) -> list[str]:
        found = blocks(section("extending.md", title), "python", "yaml")
        named = [
            (re.match(r"(?:# @package _global_\n)?# ((?:pipeline|conf)/[^\s:]+)", block), block) for block in found
        ]
        files = {name[1]: changed(block) for name, block in named if name}
        assert sorted(Path(name).suffix for name in files) == [*kinds]
        for name, block in files.items():
            if (ROOT / name).exists():
                pytest.skip(f"{name} is there already")
            (tmp_path / name).parent.mkdir(parents=True)
            (tmp_path / name).write_text(block)
            if name.endswith(".py"):
                package = importlib.import_module(str(Path(name).parent).replace("/", "."))
                monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / Path(name).parent)])
                module = name.removesuffix(".py").replace("/", ".")
                monkeypatch.setitem(sys.modules, module, None)  # so that it is forgotten with its file
                del sys.modules[module]
        for how in (["check"], ["format", "--check"]):
            ruff = [sys.executable, "-m", "ruff", *how, "--config", str(ROOT / "pyproject.toml"), str(tmp_path)]
            done = subprocess.run(ruff, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout
        folders = [f"paths.{name}={tmp_path}/{name}" for name in ("raw", "prepared", "runs", "results")]
        return [f"hydra.searchpath=[file://{tmp_path}/conf]", *folders, "scale=smoke", "tracking.uri=null"]

    return put


def prepared(folder: Path, overrides: list[str]) -> None:
    """Fetches and prepares the corpus that the overrides name, from a file of a mirror."""
    from pipeline.fetch import fetch
    from pipeline.prepare import prepare

    (folder / "mirror").mkdir(exist_ok=True)
    cfg = composed(*overrides, f"paths.mirror={folder}/mirror")
    fetch(cfg)
    prepare(cfg)


def text_of(folder: Path) -> list[str]:
    """Overrides for a small prepared text."""
    (folder / "words.txt").write_text(words(4000))
    return ["data=text", f"data.path={folder}/words.txt"]


def written(run, cfg, prompt: str = "", length: int = 20) -> str:
    """What the run's network writes, read back."""
    data = load_data(cfg.data)
    return "".join(data.write(load_network(run, data), prompt, 1.0, length, torch.Generator().manual_seed(0)))


@needs_steps
def test_a_cell(example, tmp_path, capsys):
    overrides = [*example("A cell"), *text_of(tmp_path), "model=mgu", "model.layers=2", "trainer.steps=2"]
    prepared(tmp_path, overrides)
    run = trained(*overrides)
    assert read_lines(run.metrics)[-1]["step"] == 2 and "fused recurrence" in capsys.readouterr().out
    assert len(written(run, composed(*overrides), "King", 20)) == 20
    assert run.facts["parameters"] == 2 * 16 * (24 + 16 + 1) + 2 * 16 * (16 + 16 + 1) + 24 * 17


def test_what_a_cells_checks_need_is_as_the_page_has_it(example):
    example("A cell")
    [*_, step] = blocks(section("extending.md", "A cell"), "python")
    assert step.startswith("# in tests/oracles/cells.py\n")
    names = {"np": np, "s": oracle.s, "STEPS": {}}
    exec(step, names)
    count = eval(re.search(r'"mgu": (lambda D, H: .*?)`', section("extending.md", "A cell"))[1])
    kind = importlib.import_module("pipeline.cells.mgu").MGU
    cell, x, h = kind(3, 4).double(), torch.randn(3).double(), torch.randn(4).double()
    numbers = {name: parameter.detach().numpy() for name, parameter in cell.named_parameters()}
    (expected,) = names["STEPS"]["mgu"](numbers, x.numpy(), (h.numpy(),))
    np.testing.assert_allclose(cell(x[None], (h[None],))[0][0].detach(), expected, rtol=1e-12)
    assert count(3, 4) == sum(parameter.numel() for parameter in cell.parameters())


def test_a_text_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(words(2000))
    for name in ("notes/a.md", "notes/more/b.md", "notes/c.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(words(1000, seed=ord(name[-4])))
    lines = [shlex.split(line) for line in blocks(section("extending.md", "A corpus"), "")[0].splitlines()]
    for _, _, module, *overrides in lines:
        verb = getattr(importlib.import_module(module), module.removeprefix("pipeline."))
        verb(composed(*overrides, "scale=smoke", "trainer.steps=2", "tracking.uri=null"))
    assert {module for _, _, module, *_ in lines} == {"pipeline.fetch", "pipeline.prepare", "pipeline.train"}
    assert sorted(path.name[:5] for path in Path("runs/single").glob("*-lstm-*")) == ["book-", "notes"]
    files = Path("data/raw/notes/files")
    assert sorted(path.relative_to(files).as_posix() for path in files.rglob("*.*")) == ["a.md", "more/b.md"]


@pytest.fixture
def served(tmp_path):
    """A folder, and the address on loopback by which a server gives its files."""
    (tmp_path / "site").mkdir()
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=tmp_path / "site")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield tmp_path / "site", f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_a_corpus(example, tmp_path, served):
    folder, address = served
    text = words(4000).encode()
    (folder / "alice29.txt").write_bytes(text[::-1])

    def here(block: str) -> str:
        block = re.sub(r"https://\S+/", f"{address}/", block)
        return re.sub(r"\w{64}", hashlib.sha256(text).hexdigest(), block).replace("152_089", str(len(text)))

    overrides = [*example("A corpus", changed=here), "data=alice", "trainer.steps=2"]
    with pytest.raises(Refusal, match="no source has alice: .*; official .*/alice29.txt: .*sha256"):
        prepared(tmp_path, overrides)
    (folder / "alice29.txt").write_bytes(text)
    prepared(tmp_path, overrides)
    run = trained(*overrides)
    assert run.path.name.startswith("alice-lstm-") and read_lines(run.metrics)[-1]["step"] == 2
    card = json.loads((tmp_path / "raw" / "alice" / "card.json").read_text())
    assert card["version"] == "Canterbury corpus" and card["source"]["where"] == f"{address}/alice29.txt"


def test_a_problem(example, tmp_path):
    overrides = [*example("A problem"), "data=majority", "optimizer=adam", "trainer.steps=2"]
    run = trained(*overrides)
    last = read_lines(run.metrics)[-1]
    assert (last["step"], last["targets"]) == (2, 2 * 4) and 0 <= last["right"] <= 1
    for text in (read_lines(run.samples)[-1]["text"], written(run, composed(*overrides))):
        for block in text.strip().split("\n\n"):
            read, answer, right = (line.split()[1:] for line in block.split("\n"))
            assert len(read) == 15 and answer[:-1] == right[:-1] == ["·"] * 14
            assert right[-1] == max("01", key=read.count) and answer[-1] in "01"


def test_a_probe(example, tmp_path):
    searched, *overrides = example("A probe")
    overrides += [*text_of(tmp_path), "model=rnn", "trainer.steps=2", "evaluation.length=10"]
    prepared(tmp_path, [searched, *overrides])
    lines = [line.split() for line in blocks(section("extending.md", "A probe"), "")[0].splitlines()]
    for _, _, module, *more in lines:
        more = [one for one in more if not one.startswith("hydra/launcher")]
        more += overrides if module != "pipeline.report" else [f"paths.results={tmp_path}/results"]
        code = (
            f"import pipeline.probes; pipeline.probes.__path__.append('{tmp_path}/pipeline/probes')\n"
            f"from {module} import main; main()"
        )
        command = [sys.executable, "-c", code, f"--config-dir={tmp_path}/conf", *more]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    study = json.loads((tmp_path / "results" / "studies" / "architectures.json").read_text())
    assert [list(run["probes"]) for run in study["runs"]] == [["prediction", "completions", "repetition"]] * 2
    [group] = study["groups"]
    seeds = [run["measured"]["repeated"] for run in study["runs"]]
    assert group["ranked_by"] == "nats" and group["measured"]["repeated"]["mean"] == pytest.approx(sum(seeds) / 2)
    page = (tmp_path / "results" / "report" / "index.html").read_text()
    assert "Repetition" in page and "How much of what each model writes it has written before" in page
    assert re.search(r"<th[^>]*>\s*repeated", page)


def test_data_and_studies_list_probes_as_the_page_says(example, tmp_path):
    searched, *_ = example("A probe")
    of_data, of_study = re.findall(r"`(?:- |defaults: )(.*?)`", section("extending.md", "A probe"))
    for file, text in {
        "data/mine.yaml": f"defaults:\n  - {of_data}\nname: mine\n",
        "study/mine.yaml": f"# @package _global_\ndefaults: {of_study}\nstudy: {{name: mine, question: 'Why?'}}\n",
    }.items():
        (tmp_path / "conf" / file).parent.mkdir(parents=True)
        (tmp_path / "conf" / file).write_text(text)
    cfg = composed(searched, "data=mine", "study=mine")
    assert list(cfg.data.probes) == ["prediction", "repetition"]
    assert list(cfg.study.probes) == ["repetition"] and cfg.study.question == "Why?"


def test_a_study(example, tmp_path):
    _, *overrides = example("A study with claims", kinds=(".yaml",))
    lines = [line.split() for line in blocks(section("extending.md", "A study with claims"), "")[0].splitlines()]
    for _, _, module, *words_ in lines[:2]:  # the third is tried with a probe
        words_ = [word for word in words_ if not word.startswith("hydra/launcher")]
        command = [sys.executable, "-m", module, f"--config-dir={tmp_path}/conf", *words_, *overrides]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    study = json.loads((tmp_path / "results" / "studies" / "gates.json").read_text())
    assert [claim["claim"] for claim in study["claims"]] == ["gates help", "fewer gates do as well"]
    assert all(claim["verdict"] in ("holds", "contradicted", "undecided") for claim in study["claims"])
    found = {group["label"]: group["seeds"] for group in study["groups"]}
    assert found == dict.fromkeys(("rnn 1x32", "gru 1x32", "lstm 1x32"), [0, 1])
    scales = yaml.safe_load((tmp_path / "conf" / "study" / "gates.yaml").read_text())["study"]["at"]
    assert set(scales) == {file.stem for file in (CONF / "scale").glob("*.yaml")}


def test_an_optimizer(example, tmp_path):
    overrides = [
        *example("An optimizer"),
        *text_of(tmp_path),
        "optimizer=lion",
        "schedule=cosine",
    ]
    prepared(tmp_path, overrides)
    run = trained(*overrides, "trainer.steps=200", "trainer.validate_every=100", "trainer.record_every=20")
    records = read_lines(run.metrics)
    assert records[-1]["train"] < 0.9 * records[0]["train"] and records[-1]["rate"] < records[5]["rate"]
    kept = torch.load(run.last, weights_only=False)["optimizer_states"][0]["state"]
    assert all(set(one) == {"m"} for one in kept.values())


# ---- python.md: its examples run ----


def test_the_examples_from_python_run(tmp_path, monkeypatch):
    (tmp_path / "shakespeare_input.txt").write_text(("To be\n" + words(4000) * 300)[:4_573_338])
    monkeypatch.setenv("PIPELINE_MIRROR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks((DOCS / "python.md").read_text(), "python"):
        exec(block, names)
    run = names["run"]
    assert names["again"].directory.path == run.directory.path and len(names["runs"]) == 3
    assert run.config.data.name == "shakespeare" and run.config.seed == 1
    assert len(run.states("To be")[0]) == 5 and run.sample("king", length=3).startswith("king")
    assert names["h"].shape == (5, 8) and [len(layer) for layer in names["outputs"]] == [20, 20]


# ---- every page: what it names exists ----


def anchors(page: Path) -> set[str]:
    """What links to a page's headings end with."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", head.lower()).strip() for head in heads]
    return {re.sub(r"[\s-]+", "-", head) for head in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", page.read_text()):
        there = page.parent / target if target else page
        assert target.startswith("http") or there.exists(), target
        assert not anchor or target.startswith("http") or anchor in anchors(there), f"{target}#{anchor}"


def test_every_page_stands_in_the_sites_navigation():
    def pages(node) -> list[str]:
        if isinstance(node, str):
            return [node]
        return [page for one in (node if isinstance(node, list) else node.values()) for page in pages(one)]

    shown = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    documents = {page.relative_to(DOCS).as_posix() for page in PAGES if page.parent == DOCS}
    documents |= {f"api/{room}.md" for room in (*ROOMS, "python")} | {f"notebooks/{name}.md" for name in NOTEBOOKS}
    assert len(shown) == len(set(shown)) and documents <= set(shown)
    assert all((ROOT / page.removeprefix("files/")).exists() for page in shown if page.startswith("files/"))


def test_the_cells_are_counted_as_their_table_has_them():
    table = (DOCS / "cells.md").read_text().partition("\n\n## ")[0]
    cells = {name for row in re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert cells >= set(
        yaml.safe_load((CONF / "study" / "zoo.yaml").read_text())["hydra"]["sweeper"]["params"]["model"].split(",")
    )
    for page, told in {
        "README.md": "cells]",
        "docs/models.md": "recurrent cells]",
        "docs/lecture.md": "cells]",
    }.items():
        assert re.findall(rf"\[(\d+) {told}", (ROOT / page).read_text()) == [str(len(cells))], page


def test_it_says_how_it_is_cited_and_licensed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert (ROOT / "LICENSE").read_text().startswith(f"{project['license']} License")
    for work in cited["references"]:
        assert work["title"] and work["type"] and 1900 < work["year"] < 2030
        assert all(set(author) >= {"family-names", "given-names"} for author in work["authors"])
    assert cited["references"][0]["authors"][0]["family-names"] in (DOCS / "lecture.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_choices_exist(page):
    text = page.read_text() if page.name != "extending.md" else ""  # what it adds does not exist
    groups = [folder.relative_to(CONF).as_posix() for folder in CONF.rglob("*") if folder.is_dir()]
    for group, choices in re.findall(rf"(?<![\w.])({'|'.join(groups)})=([\w|,]+)", text):
        for choice in filter(None, re.split(r"[|,]", choices)):
            assert (CONF / group / f"{choice}.yaml").exists() or choice in OWN, f"{group}={choice}"


def test_a_batch_is_shared_by_the_devices_that_are_asked_for():
    """A run on several nodes, as the page on clusters and the help of its verb submit one."""
    commands = [
        line for file in ("docs/slurm.md", "slurm/submit.py") for line in (ROOT / file).read_text().splitlines()
    ]
    asked = [re.search(r"submit (model=.* trainer\.nodes=\d+ trainer\.devices=\d+)", line) for line in commands]
    for found in filter(None, asked):
        cfg = composed(*found[1].split())
        assert cfg.trainer.batch % (cfg.trainer.nodes * cfg.trainer.devices) == 0, found[1]
    for file in ("docs/slurm.md", "slurm/train.sbatch"):
        shape = r"sbatch --nodes=(\d+) --ntasks-per-node=(\d+) .* slurm/train\.sbatch (.*)"
        nodes, tasks, words = re.search(shape, (ROOT / file).read_text()).groups()
        assert composed(*words.split()).trainer.batch % (int(nodes) * int(tasks)) == 0, file
    assert len(list(filter(None, asked))) == 2


def test_a_clusters_own_file_is_a_launcher(tmp_path):
    """As the page on clusters has it; resources refuses choices in `where` that there are not."""
    from slurm.script import resources

    [own] = blocks((DOCS / "slurm.md").read_text(), "yaml")
    (tmp_path / "ours.yaml").write_text(own)  # OmegaConf reads times as SLURM writes them
    ours = OmegaConf.load(tmp_path / "ours.yaml")
    assert ours.pop("defaults") == ["slurm"] and ours.where
    profile = OmegaConf.merge(OmegaConf.load(CONF / "hydra/launcher/slurm.yaml"), ours)
    assert resources(profile, composed()).time == ours.time


def every_setting() -> set[str]:
    """All settings of all choices, such as "trainer.sample.at"."""
    found: set[str] = set()

    def walk(node, before: str) -> None:
        for key, value in node.items() if hasattr(node, "items") else ():
            found.add(f"{before}{key}")
            walk(value, f"{before}{key}.")

    for file in CONF.rglob("*.yaml"):
        choice, group = yaml.safe_load(file.read_text()), file.relative_to(CONF).parts[0]
        walk(choice, "" if group in ("config.yaml", "study", "tuned") else f"{group}.")
        if group == "encoder":  # where data have one
            walk(choice, "data.encoder.")
    return found


SETTING = (
    r"`(?:[\w/]+=\S+ )*((?:trainer|model|data|optimizer|initialization|scale|evaluation|tracking|paths)(?:\.[a-z_]+)+)"
)


def test_settings_exist():
    known = every_setting()
    for page in PAGES:
        for name in re.findall(SETTING, page.read_text()):
            of_parts = name.startswith(("model.cell.", "data.prompts", "data.probes."))
            assert name in known or of_parts, f"{page.name}: {name}"
