"""Every entry of every group composes, builds, trains two steps, is saved, read back and sampled."""

import re
from functools import cache

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_class

from pipeline.command.settings import CONF
from pipeline.corpora.corpus import corpus_of
from pipeline.datasets.data import load_data
from pipeline.files.whole import read_lines
from pipeline.learning.held_out import HeldOut
from pipeline.learning.rule import InPasses, Rule, Untrained
from pipeline.probes.probe import Probe, make_probe
from pipeline.runs.building import load_network
from tests.conftest import ROOT, composed, lacks, trained
from tests.datasets.dictionary import prepared_dictionary


def choices(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


IN_PASSES = {"em": "hmm", "ridge": "echo_state", "count": "ngram"}  # rule -> a model that learns text by it
# What a choice does not go without.
NEEDS = {
    "tied": ["model.embedding=16"],
    "adaptive": ["readout.cutoffs=[8]"],
    "sampled": ["readout.samples=8"],
    "hessian_free": ["trainer.batch=4", "optimizer.curvature_batch=2", "trainer.validate_every=2"],
}
PICTURES = [f"hydra.searchpath=[file://{ROOT}/tests/datasets/conf]", "data=blobs"]
# Models that read no text without end.
BESIDE_TEXT = {
    "lds": ["data=sine", "data.length=20000"],
    "fixed_width": ["data=hello"],
    "hopfield": ["data=attractors", "data.episodes=8"],
    "frame_tagger": PICTURES,
    "cnn": PICTURES,
}
CAPTIONERS = ("show_and_tell", "neuraltalk", "m_rnn", "lrcn", "chen_zitnick")
BESIDE_TEXT |= dict.fromkeys(CAPTIONERS, [f"hydra.searchpath=[file://{ROOT}/tests/conf]", "data=shift"])
# Models that are given what they turn into something else.
OF_SOURCES = {"encoder_decoder", "encoder_decoder_gru"}
# Models that are made of a finished run, on two passes of one batch.
OF_RUNS = {
    "mixture": "members=[constant]",
    "mixture_log_linear": "members=[constant]",
    "held_out": "members=[constant]",
}
OF_RUNS |= {"cache": "member=constant", "dynamic_evaluation": "member=constant"}
GROUPS = [
    (group, choice)
    for group in ("model", "optimizer", "initialization", "schedule", "trainer", "readout", "way")
    for choice in choices(group)
]
# Two batches, by gradient or in passes.
SHORT = {False: ["trainer.steps=2"], True: ["optimizer.passes=1", "trainer.batch=4", "trainer.length=2000"]}


def written(run, data, length: int) -> str:
    return "".join(data.write(load_network(run, data), "", 1.0, length, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("group, choice", GROUPS)
def test_entry_trains_two_steps_is_read_back_and_writes(small, tmp_path, group, choice):
    overrides = [f"{group}={choice}", *NEEDS.get(choice, [])]
    if choice in OF_RUNS:
        trained(*small, "model=constant", "trainer.steps=2")
        overrides += ["model=mixture"] * (choice == "held_out") + [f"model.{OF_RUNS[choice]}"]
        overrides += ["optimizer.passes=2", "trainer.validation_symbols=251"]
    else:
        if choice in IN_PASSES or choice == "passes":
            overrides.append(f"model={IN_PASSES.get(choice, 'hmm')}")
        overrides += SHORT["passes" in composed(*overrides).optimizer]
    if choice in OF_SOURCES:
        overrides += prepared_dictionary(tmp_path / "words")
    elif choice in BESIDE_TEXT:
        overrides += [*BESIDE_TEXT[choice], "scale=smoke", f"paths.runs={tmp_path}/runs", "tracking.uri=null"]
    else:
        overrides = [*small, *overrides]
    run = trained(*overrides)
    last = 1 if choice == "untrained" else 2  # a step is enough where nothing changes
    assert [record["step"] for record in read_lines(run.metrics)] == [last]
    assert [sample["step"] for sample in read_lines(run.samples)] == [last]
    data = load_data(composed(*overrides).data)
    text = written(run, data, 30)
    if choice in OF_SOURCES:
        assert text.startswith("given   ") and "\nright   " in text
    elif choice == "fixed_width":
        assert text.startswith("read    h e l l\nanswer")
    elif choice in ("frame_tagger", "cnn"):
        assert text.startswith("read    ") and "\nright   " in text
    elif choice in ("hopfield", *CAPTIONERS):
        assert text.startswith("given   ") and "\nright   " in text
    elif choice == "lds":
        assert text.count("\n") == 2 and len(text.split()[1]) == len(text.split()[3]) == 30
    else:
        assert len(text) == 30 and set(text) <= set(chr(code) for code in data.vocabulary.codes)


@cache
def listed_probes() -> list[dict]:
    """The probes of every data set and every study."""
    listed = [composed(f"data={data}").data.get("probes") or {} for data in choices("data")]
    return listed + [composed(f"study={study}").study.get("probes") or {} for study in choices("study")]


@pytest.mark.parametrize("choice", choices("probe"))
def test_probe_is_one_and_a_data_set_or_a_study_lists_it(choice):
    [(name, node)] = yaml.safe_load((CONF / "probe" / f"{choice}.yaml").read_text()).items()
    assert name == choice and issubclass(get_class(node["_target_"]), Probe)
    found = next((probes[choice] for probes in listed_probes() if choice in probes), None)
    assert make_probe(choice, dict(found or node)).measures is not None
    if found is None:
        lacks(choice, "list it among the probes of a data set or a study: `- /probe@probes: [prediction, NAME]`")


@pytest.mark.parametrize("choice", choices("tuned"))
def test_what_a_data_set_wants_is_had_with_it_and_not_without(choice):
    node = yaml.safe_load((CONF / "tuned" / f"{choice}.yaml").read_text())["scale"]
    ours, other = composed(f"data={choice}", "scale=smoke"), composed("data=sine", "scale=smoke")
    assert node.items() <= dict(ours.scale).items() and not node.items() <= dict(other.scale).items()


@pytest.mark.parametrize("choice", choices("tuned/model"))
def test_what_a_data_set_wants_of_a_model_is_had_with_both(choice):
    data, model = choice.split("-")
    node = yaml.safe_load((CONF / "tuned/model" / f"{choice}.yaml").read_text())["model"]
    assert node.items() <= dict(composed(f"data={data}", f"model={model}").model).items()
    assert not node.items() <= dict(composed("data=sine", f"model={model}").model).items()


# Nothing drives an HMM.
@pytest.mark.parametrize(
    "model, data",
    [
        (model, data)
        for model in ("delay_taps", "hmm", "lds", "echo_state", "lstm", "mut1")
        for data in ("sine", "mackey_glass", "sunspots")
        if (model, data) != ("hmm", "sine")
    ],
)
def test_models_of_series_learn_and_forecast(tmp_path, model, data):
    overrides = [f"data={data}", f"model={model}", "scale=smoke", "tracking.uri=null", f"paths.runs={tmp_path}/runs"]
    overrides += (
        []
        if "passes" in composed(*overrides).optimizer
        else ["optimizer=adam", "optimizer.lr=0.01", "trainer.steps=100"]
    )
    run = trained(*overrides)
    series = load_data(composed(*overrides).data)
    observed, forecast = series.forecast(load_network(run, series), 20)
    assert np.isfinite(forecast).all() and forecast.shape == observed.shape == (20, 1)
    nothing = np.var(series.part("train")[0])
    # The sun was livelier in the validation years.
    assert run.facts["validation"] < (3 if data == "sunspots" else 0.9) * nothing


def rule_of(optimizer: str) -> type[Rule]:
    return get_class(yaml.safe_load((CONF / "optimizer" / f"{optimizer}.yaml").read_text())["rule"])


@pytest.mark.parametrize(
    "choice",
    [choice for choice in choices("optimizer") if not issubclass(rule_of(choice), (InPasses, Untrained, HeldOut))],
)
def test_every_optimizer_learns(run_in, choice):
    few = choice == "hessian_free"  # of long ones
    records = read_lines(
        run_in(
            f"optimizer={choice}",
            f"trainer.steps={10 if few else 400}",
            f"trainer.record_every={2 if few else 20}",
            "trainer.validate_every=400",
            "model=gru",
        ).metrics
    )
    assert records[-1]["train"] < 0.8 * records[0]["train"], "it learns next to nothing: take a larger optimizer.lr"


def base_of(data: str) -> str:
    """What a data set is: "corpus", "arrays" or "pictures", which are fetched and prepared, "made" on the spot, or
    "owned" by who has its files."""
    choice = yaml.safe_load((CONF / "data" / f"{data}.yaml").read_text())
    first = (choice.get("defaults") or [None])[0]
    found = first if isinstance(first, str) else ""
    if found.startswith("base/"):
        return found.removeprefix("base/").partition("@")[0]
    return base_of(found.partition("@")[0]) if found else "owned" if "path" in choice else "made"


def based(*kinds: str) -> list[str]:
    return [data for data in choices("data") if base_of(data) in kinds]


SPLITS = {"wikitext2": "published", "penn_treebank": "published", "enwik8": "90-5-5", "text8": "90-5-5"}
SPLITS |= {"coco": "karpathy"}


@pytest.mark.parametrize("choice", based("arrays"))
def test_published_numbers_compose_and_say_how_they_are_fetched(choice):
    data = composed(f"data={choice}").data
    assert data.name == choice and data.prepared == f"data/prepared/{data.folder}/arrays"
    published = corpus_of(data)
    [original] = published.originals()
    assert published.words() == f"data={data.folder}" and (original.sha256 or original.getter.kind == "apt")


@pytest.mark.parametrize("choice", based("corpus"))
def test_corpus_composes_with_what_every_corpus_has(choice):
    data = composed(f"data={choice}").data
    assert data.name == choice and data.prompts
    assert data.prepared == f"data/prepared/{choice}/{data.symbols}-{data.split}"


@pytest.mark.parametrize("choice", based("pictures"))
def test_sets_of_pictures_compose_and_say_how_they_are_fetched(choice):
    data, own = composed(f"data={choice}").data, choice == "captions"
    assert data.name == choice and data.pictures == f"data/raw/{choice}/files"
    assert data.prepared == f"data/prepared/{choice}/pictures-{data.split}"
    pictures = corpus_of(composed(f"data={choice}", *["data.path=mine"] * own).data)
    assert pictures.words() == f"data={choice}" + " data.path=mine" * own and pictures.originals()[0].licence


@pytest.mark.parametrize("choice", based("corpus", "pictures"))
def test_parts_are_tenths_but_where_a_paper_had_others(choice):
    split = composed(f"data={choice}").data.split
    if split != SPLITS.get(choice, "80-10-10"):
        lacks(choice, f"note its split, {split}, in SPLITS of tests/test_conf.py")


@pytest.mark.parametrize("choice", based("made"))
def test_what_is_made_on_the_spot_is_the_same_each_time(choice):
    data = composed(f"data={choice}").data
    assert data.name == choice and load_data(data).card == load_data(data).card


@pytest.mark.parametrize("choice", choices("shape"))
def test_shape_chooses_data_and_a_model_that_learns_by_its_optimizer(choice):
    chosen = yaml.safe_load((CONF / "shape" / f"{choice}.yaml").read_text())["defaults"]
    cfg, named = composed(f"shape={choice}"), {key: value for one in chosen for key, value in one.items()}
    assert (cfg.data.name, cfg.model.name) == (named["override /data"], named["override /model"])
    assert rule_of(cfg.optimizer.name).name in get_class(cfg.model._target_).learned_by


@pytest.mark.parametrize("scale", choices("scale"))
def test_scale_sizes_model_and_trainer(scale):
    cfg = composed(f"scale={scale}")
    assert (cfg.model.hidden, cfg.trainer.steps, cfg.scale.name) == (cfg.scale.hidden, cfg.scale.steps, scale)


@pytest.mark.parametrize("scale", choices("scale"))
@pytest.mark.parametrize("study", [name for name in choices("study") if name != "single"])
def test_study_has_a_grid_at_every_scale(study, scale):
    cfg = composed(f"study={study}", f"scale={scale}")
    assert cfg.study.name == study and cfg.study.question.endswith("?")
    assert scale in cfg.study.get("at", [scale])  # one of the same grid at every scale needs none


def test_the_tours_studies_read_what_params_has_fetched_or_what_is_made_on_the_spot():
    parameters = yaml.safe_load((CONF.parent / "params.yaml").read_text())
    for study in parameters["studies"]:
        GlobalHydra.instance().clear()
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            overrides = [f"study={study}", f"scale={parameters['scale']}"]
            params = compose("config", overrides=overrides, return_hydra_config=True).hydra.sweeper.params
            [(group, choices)] = [(name, params[name]) for name in ("data", "shape") if name in params]
            read = [compose("config", overrides=[f"{group}={choice}"]).data for choice in choices.split(",")]
        fetched = {data.get("folder", data.name) for data in read} - set(based("made"))
        assert fetched <= set(parameters["corpora"]), study


PARAMETERS = (CONF.parent / "params.yaml").read_text()


@pytest.mark.parametrize("study", sorted(set(choices("study")) - {"single"}))
def test_params_names_every_study(study):
    if not re.search(rf"^  (# )?- {study}\b", PARAMETERS, re.MULTILINE):
        lacks(study, "name it in params.yaml, for `dvc repro` to make it, or behind a # with the time that it takes")


def test_params_names_studies_and_corpora_that_exist():
    parameters, left = yaml.safe_load(PARAMETERS), re.findall(r"^  # - (\w+)", PARAMETERS, re.MULTILINE)
    assert set(parameters["studies"] + left) <= set(choices("study")) - {"single"}
    assert len(set(parameters["studies"] + left)) == len(parameters["studies"] + left)
    assert set(parameters["corpora"]) <= set(choices("data")) and parameters["scale"] == "tour"
