"""A finished run as a model of MLflow: it answers as the run does, with nothing else at hand."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pandas
import pytest
import torch
from mlflow.exceptions import MlflowException
from PIL import Image

from pipeline.api import prepare
from pipeline.runs.packaged import package
from pipeline.runs.run import Run
from tests.conftest import ROOT, trained, words
from tests.datasets.dictionary import prepared_dictionary


def packaged(directory, folder):
    """A run, and its model as MLflow loads it, once the run is gone."""
    from mlflow import pyfunc
    from mlflow.models import Model

    folder.mkdir()
    run = Run(directory)
    _ = run.config, run.data, run.network
    package(run, folder, Model())
    shutil.rmtree(directory.path)
    return run, pyfunc.load_model(str(folder), suppress_warnings=True)


def refused(model, *asked, **params) -> str:
    with pytest.raises(MlflowException) as error:
        model.predict(*asked, params)
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"
    return str(error.value)


def test_a_model_is_served_with_nothing_but_the_project(run_in, tmp_path):
    """By `mlflow models serve`, in a folder that has neither corpus nor run nor configurations."""
    run, model = packaged(run_in(), tmp_path / "model")
    alone = tmp_path / "alone"
    shutil.copytree(ROOT / "pipeline", alone / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for kept in ("raw", "prepared", "text.txt"):
        (tmp_path / kept).rename(tmp_path / f"gone-{kept}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", tmp_path / "model", "--env-manager", "local"]
    server = subprocess.Popen(
        [*map(str, command), "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        cwd=alone,
        env=os.environ | {"PYTHONPATH": str(alone)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def asked(body: dict) -> dict:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            return json.load(urllib.request.urlopen(request))
        except urllib.error.HTTPError as error:
            return {"code": error.code} | json.load(error)

    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping")
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.1)
        params = {"length": 40, "temperature": 0.5, "seed": 3}
        body = {"dataframe_split": {"columns": ["prompt"], "data": [["the king "], [""]]}, "params": params}
        texts = [run.sample(prompt, 40, 0.5, 3) for prompt in ("the king ", "")]
        assert asked(body) == {"predictions": [{"text": text} for text in texts]} and len(set(texts)) == 2
        answer = asked(body | {"params": {"length": -1}})
        assert answer["code"] == 400 and "length=-1: take a number of elements from 0" in answer["message"]
    finally:
        os.killpg(server.pid, 15)
        server.wait()
    frame = pandas.DataFrame({"prompt": ["the king "]})
    assert model.predict(frame)["text"].tolist() == [run.sample("the king ")]
    assert model.get_raw_model().count_parameters() == run.network.count_parameters()
    taken = (tmp_path / "model" / "requirements.txt").read_text()
    assert "recurrent-laboratory==" in taken and "torch==" in taken and "mlflow==" in taken and "+" not in taken
    assert words(4000) not in (tmp_path / "model" / "data.pickle").read_bytes().decode(errors="replace")


def test_sources_are_answered(tmp_path):
    overrides = prepared_dictionary(tmp_path)
    run, model = packaged(trained(*overrides, "model=encoder_decoder"), tmp_path / "model")
    assert run.data.without_parts().pairs == {}
    texts = model.predict(pandas.DataFrame({"prompt": ["abc", "head"]}))["text"].tolist()
    assert texts == [run.sample("abc"), run.sample("head")] and texts[0].startswith("abc ")
    assert "is not written with '7'" in refused(model, pandas.DataFrame({"prompt": ["a7"]}))


@pytest.mark.parametrize("data", ["sine", "mackey_glass"])
def test_a_series_is_foretold_in_its_own_unit(tmp_path, data):
    """As `forecast` does from the beginning of the test part; `sine` is driven."""
    overrides = [f"data={data}", "data.length=1500", "scale=smoke", "model=rnn", "tracking.uri=null"]
    overrides += ["data.standardize=true", f"paths.runs={tmp_path}/runs"]
    run, model = packaged(trained(*overrides), tmp_path / "model")
    series, start = run.data, run.data.borders["test"].start
    foretold = series.forecast(run.network, 20)[1].numpy() * series.std + series.mean
    values, inputs = series.values[start - 1000 : start], series.inputs[start - 1000 : start + 20]
    asked, params = ({"values": values, "driving": inputs}, None) if data == "sine" else (values, {"length": 20})
    assert np.array_equal(model.predict(asked, params), foretold) and foretold.shape == (20, 1)
    nothing = asked | {"driving": inputs[:1000]} if data == "sine" else values
    more = {} if data == "sine" else {"length": 0}
    assert "nothing is left to be predicted" in refused(model, nothing, **more)
    empty = {"values": values[:0], "driving": inputs} if data == "sine" else values[:0]
    assert "after one value or more" in refused(model, empty)
    assert (tmp_path / "model" / "data.pickle").stat().st_size < 5000  # the series alone: 12,000


def test_a_pictures_sentence_is_the_best_that_sample_writes(tmp_path):
    overrides = ["data=scenes", "data.number=40", "data.sides=[32,40]", "encoder=pixels", "encoder.size=8"]
    overrides += ["model=show_and_tell", "scale=smoke", "tracking.uri=null"]
    overrides += [f"paths.{name}={tmp_path}/{name}" for name in ("raw", "prepared", "runs", "results")]
    prepare(*overrides)
    run, model = packaged(trained(*overrides), tmp_path / "model")
    file = tmp_path / "picture.png"
    pixels = np.random.default_rng(0).integers(256, size=(30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    [sentence] = model.predict(pandas.DataFrame({"picture": [file.read_bytes()]}))["sentence"]
    written = "".join(run.write(str(file), run.data.longest)).strip().splitlines()
    assert written[1].split(maxsplit=1)[1:] == ([sentence] if sentence else [])
    assert "no picture" in refused(model, pandas.DataFrame({"picture": [b"noise"]}))


@pytest.mark.parametrize("given", [False, True])
def test_a_sequence_is_answered_by_a_problem_of_ones_own(tmp_path, monkeypatch, given):
    """Its module is not of this project, and travels along."""
    kind, name = ("Shift", "own_shift") if given else ("Sum", "own_sum")
    own = tmp_path / name
    own.mkdir()
    (own / "__init__.py").write_text("")
    (own / "parts.py").write_text("def unchanged(x):\n    return x\n")
    source = (ROOT / "tests" / "datasets" / "problems.py").read_text()
    (own / "problems.py").write_text(f"from {name}.parts import unchanged\n{source}")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text(
        "defaults:\n  - /probe@probes: [prediction]\nname: mine\n"
        f"_target_: {name}.problems.{kind}\nseed: 0\nepisodes: 400\nheld: 100\n"
    )
    overrides = [f"hydra.searchpath=[file://{tmp_path}]", "data=mine", "model=lstm", "scale=smoke"]
    overrides += ["tracking.uri=null", f"paths.runs={tmp_path}/runs"]
    run, model = packaged(trained(*overrides), tmp_path / "model")
    code = tmp_path / "model" / "code"
    found = {str(file.relative_to(code)) for file in code.rglob("*.py")}
    assert found == {f"{name}/{module}.py" for module in ("__init__", "parts", "problems")}
    sequence = run.data.drawn("test", 0)
    asked = {"inputs": sequence.inputs} | ({"given_1": sequence.given[0]} if given else {})
    answers = model.predict(asked)
    with torch.no_grad():
        x = torch.from_numpy(sequence.inputs)[:, None]
        x = x.to(run.network.dtype) if x.is_floating_point() else x
        more = [torch.from_numpy(part)[None].to(run.network.dtype) for part in sequence.given]
        z, _ = run.network(x, run.network.start(1, *more))
    likeliest = z[:, 0].argmax(-1) if given else (z[:, 0] > 0).double()
    assert np.array_equal(answers, likeliest.numpy())
    wrong = {"given_1": sequence.given[0][:3]} if given else {"inputs": sequence.inputs[:, :1]}
    with pytest.raises(MlflowException, match="does not match expected shape"):
        model.predict(asked | wrong)
    if given:
        assert "digit" in refused(model, asked | {"inputs": np.array([0, 9, 1])})
