"""`dvc repro` in a fresh checkout, of two studies at scale smoke, on the real corpora."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, SHARED

pytestmark = pytest.mark.xdist_group("pipeline")  # one checkout for all
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    **({"PIPELINE_MIRROR": str(SHARED)} if SHARED.exists() else {}),
}


FEW = {"scale": "smoke", "corpora": ["shakespeare", "sonnets"], "studies": ["min_char_rnn", "architectures"]}


def run(checkout, *words, check=True):
    done = subprocess.run(words, cwd=checkout, env=ENVIRONMENT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0 or not check, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A commit of the tree as it stands, with FEW in its params.yaml, after its first `dvc repro`."""
    folder = tmp_path_factory.mktemp("checkout")
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in files.split("\n")[:-1]:
        if (ROOT / name).exists() and not name.startswith("dvc.lock"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    parameters = yaml.safe_load((folder / "params.yaml").read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters | FEW))
    run(folder, "git", "init", "-q", ".")
    run(folder, "git", "add", "-A")
    run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "all")
    first = run(folder, "dvc", "repro", check=False)
    if "no source has" in first.stderr:
        pytest.skip("no source of the corpora can be reached: " + first.stderr[-500:])
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    return folder


def trained(checkout):
    return {path.parent: path.stat().st_mtime_ns for path in checkout.glob("runs/*/*/run.json")}


def test_the_line_ends_in_a_report_and_leaves_the_checkout_clean(checkout):
    page = (checkout / "results" / "report" / "index.html").read_text()
    for study in FEW["studies"]:
        assert f'id="{study}"' in page
    assert {path.parent.name for path in trained(checkout)} == set(FEW["studies"])
    assert (checkout / "mlflow.db").exists()
    assert run(checkout, "git", "status", "--porcelain").stdout == "?? dvc.lock\n"


def test_again_nothing_is_done(checkout):
    before = trained(checkout)
    assert "Data and pipelines are up to date." in run(checkout, "dvc", "repro").stdout
    assert trained(checkout) == before


def test_metrics_and_plots_are_declared(checkout):
    shown = run(checkout, "dvc", "metrics", "show", "--md").stdout
    assert "results/metrics/architectures.json" in shown and "| lstm 1x16" in shown
    assert "lstm 1x16" in run(checkout, "dvc", "metrics", "diff", "--all", "--md").stdout
    run(checkout, "dvc", "plots", "show", "-o", "plots")
    assert "rnn 1x16 s1" in (checkout / "plots" / "index.html").read_text()
    shutil.rmtree(checkout / "plots")


def test_touching_one_study_trains_only_its_missing_runs(checkout):
    before = trained(checkout)
    file = checkout / "conf" / "study" / "architectures.yaml"
    file.write_text(file.read_text().replace("smoke: {seeds: '0,1'}", "smoke: {seeds: '0,1,2'}"))
    done = run(checkout, "dvc", "repro").stdout
    assert [line.split("'")[1] for line in done.splitlines() if line.startswith("Running stage")] == [
        "train@architectures",
        "evaluate@architectures",
        "report",
    ]
    after = trained(checkout)
    assert {path: stamp for path, stamp in after.items() if path in before} == before
    assert sorted(path.name.split("-")[1] + path.name[-3:] for path in after.keys() - before.keys()) == [
        "gru-s2",
        "lstm-s2",
        "rnn-s2",
    ]
