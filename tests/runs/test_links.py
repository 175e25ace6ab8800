"""Addresses of MLflow's pages, and what a browser shows there."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from mlflow import MlflowClient

from pipeline.runs.links import links, main
from pipeline.runs.tracking import database
from tests.conftest import trained

BROWSER = shutil.which("chromium")


def test_each_study_has_the_address_of_its_runs(tmp_path, monkeypatch, capsys):
    file = tmp_path / "ml flow.db"
    assert links(file, "http://127.0.0.1:5000") == []
    client = MlflowClient(database(f"sqlite:///{file}"))
    first, second = (client.create_experiment(name) for name in ("zoo", "words"))
    client.delete_experiment(client.create_experiment("gone"))
    pages = {
        name: f"http://h:1/#/experiments/{id_}/runs?workflowType=machine_learning"
        for name, id_ in (("zoo", first), ("words", second))
    }
    assert dict(links(file, "http://h:1")) == pages
    monkeypatch.setattr(sys, "argv", ["links", str(file), "http://h:1"])
    main()
    assert f"words  {pages['words']}\n" in capsys.readouterr().out


@pytest.fixture
def browse(tmp_path):
    """browse(address, shown..) -> the page as a browser without a window has it, once it has all that is shown."""

    def dom(address: str, *shown: str) -> str:
        command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/browser"]
        for seconds in (10, 30, 100):  # that the page believes to pass; requests are waited for
            words = [*command, f"--virtual-time-budget={1000 * seconds}", "--dump-dom", address]
            page = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            if all(one in page for one in shown):
                break
        return page

    return dom


@pytest.mark.skipif(BROWSER is None, reason="there is no chromium")
def test_a_browser_shows_runs_samples_and_figures(small, tmp_path, monkeypatch, capsys, browse):
    """After the folder has been renamed, by the printed link."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    monkeypatch.chdir(old)
    run = trained(*small[:-1], "tracking.uri=sqlite:///mlflow.db", "paths.runs=runs")
    old.rename(new)
    monkeypatch.chdir(new)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(sys, "argv", ["links", "mlflow.db", address])
    capsys.readouterr()
    main()
    study, link = capsys.readouterr().out.split()
    server = subprocess.Popen(
        [*(sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", f"sqlite:///{new}/mlflow.db", "--workers", "1")]
        + ["--host", "127.0.0.1", "--port", address.rpartition(":")[2]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/health")
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.1)
        assert study == "single" and "lstm 1x16 text rmsprop s0" in browse(link, "lstm 1x16 text rmsprop s0")
        page = f"{link.partition('/runs?')[0]}/runs/{run.facts['mlflow_run_id']}"
        text = re.sub(r"<[^>]*>", "", browse(page, "at last (step 20)"))
        first, last = (" ".join(sample["text"].split()[:1]) for sample in (run.written()[0], run.written()[-1]))
        assert re.search(f"at first .step 10.*{re.escape(first)}.*at last .step 20.*{re.escape(last)}", text, re.DOTALL)
        assert "loss/validation" in text
        assert '<img alt="loss.png" src="blob:' in browse(f"{page}/artifacts/loss.png", '<img alt="loss.png"')
    finally:
        os.killpg(server.pid, 15)
        server.wait()
