"""What a run's directory does with files that are not what the run has written."""

import errno
import io
import json
import os
import random
import shutil
import subprocess
import sys

import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import load_data
from pipeline.runs.building import load_network
from pipeline.runs.checkpoints import AtomicCheckpointIO
from pipeline.runs.directory import RunDirectory
from tests.conftest import prepared_text, trained, words


def zero(content: bytes) -> bytes:
    return bytes(len(content))


def noise(content: bytes) -> bytes:
    return random.Random(0).randbytes(len(content))


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def empty(content: bytes) -> bytes:
    return b""


DAMAGES = (zero, noise, cut, empty)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return trained(*prepared_text(folder, words(4000)), "scale=smoke", "tracking.uri=null")


@pytest.fixture
def run(whole, tmp_path) -> RunDirectory:
    """A copy of a finished run, to be damaged."""
    shutil.copytree(whole.path, tmp_path / "study" / whole.path.name)
    return RunDirectory(tmp_path / "study" / whole.path.name)


def refused(read) -> str:
    """The one line with which `read` is refused; it says how the run is mended."""
    with pytest.raises(Refusal) as refusal:
        read()
    said = str(refusal.value)
    assert "\n" not in said and said.endswith(": train the run again with fresh=true")
    return said


def network_of(run):
    return load_network(run, load_data(run.config().data))


def test_what_training_writes_is_of_the_form_that_is_read(whole):
    assert whole.finished and whole.facts == whole.legible_facts
    assert len(whole.records()) == 2 and len(whole.written()) == 2
    assert whole.config().model.name == "lstm"
    assert set(AtomicCheckpointIO(network_and_loss(whole)).load_checkpoint(whole.last)) >= {"state_dict", "carried"}


def network_and_loss(run):
    """What has the weights of last.ckpt."""
    learning = torch.nn.Module()
    learning.network = network_of(run)
    return learning


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_json_is_refused_and_known_to_be_damaged(run, damage):
    file = run.path / "run.json"
    file.write_bytes(damage(file.read_bytes()))
    for read in (lambda: run.facts, lambda: run.finished, lambda: run.note(status="running")):
        assert refused(read).startswith(f"{file} is damaged (")
    assert run.legible_facts == {}


@pytest.mark.parametrize(
    "change, why",
    [
        ({"status": "asleep"}, "status should be 'running', 'stopped', 'finished' or 'diverged'"),
        ({"validation": None}, "validation should be a valid number"),
        ({"status": "diverged"}, "it lacks reason"),
        ({"units": []}, "units should be a valid dictionary"),
        ({"seed": "0"}, "seed should be a valid integer"),
    ],
)
def test_a_run_json_of_another_kind_is_refused(run, change, why):
    file = run.path / "run.json"
    file.write_text(json.dumps(run.facts | change))
    assert refused(lambda: run.facts) == f"{file} is damaged ({why}): train the run again with fresh=true"
    for content in ("[]", "{}"):
        file.write_text(content)
        refused(lambda: run.facts)


def test_a_run_that_was_never_created_has_no_facts(tmp_path):
    assert RunDirectory(tmp_path / "nowhere").facts == {}
    (tmp_path / "file").touch()
    assert RunDirectory(tmp_path / "file").facts == {}
    (tmp_path / "run" / "run.json").mkdir(parents=True)
    assert RunDirectory(tmp_path / "run").legible_facts == {}


@pytest.mark.parametrize("damage", [noise, lambda content: b'{"step": 1}\n'])
def test_damaged_records_are_refused(run, damage):
    for file, read in ((run.metrics, run.records), (run.samples, run.written)):
        file.write_bytes(damage(file.read_bytes()))
        for reads in (read, lambda: run.rewind(0)):
            with pytest.raises(Refusal, match=r"jsonl, line 1, is damaged \(.*\): take that line out, or train") as one:
                reads()
            assert str(one.value).startswith(f"{file}, ")
        file.unlink()


@pytest.mark.parametrize(
    "damage", [*DAMAGES, lambda content: b"a: b", lambda content: b"[1]", lambda content: b"a: ${b"]
)
def test_a_damaged_configuration_is_refused(run, damage):
    file = run.path / "config.yaml"
    file.write_bytes(damage(file.read_bytes()))
    assert refused(run.config).startswith(f"{file} is damaged (")


def test_a_missing_configuration_is_refused(run):
    (run.path / "config.yaml").unlink()
    assert refused(run.config).startswith(f"{run.path / 'config.yaml'} is missing: ")


def saved(value) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


FOREIGN = {
    "of other keys": {"a": torch.zeros(3)},
    "a list": [1],
    "code": torch.nn.Linear(2, 2),
}


@pytest.mark.parametrize("damage", [*DAMAGES, *(lambda content, one=one: saved(one) for one in FOREIGN.values())])
def test_damaged_checkpoints_are_refused(run, damage):
    for file, read in (
        (run.last, lambda: AtomicCheckpointIO().load_checkpoint(run.last)),
        (run.best, lambda: network_of(run)),
    ):
        file.write_bytes(damage(file.read_bytes()))
        assert refused(read).startswith(f"{file} is damaged (")


def test_weights_of_another_network_are_refused(run):
    learning = network_and_loss(run)
    for file, name, read in (
        (run.best, "network", lambda: network_of(run)),
        (run.last, "state_dict", lambda: AtomicCheckpointIO(learning).load_checkpoint(run.last)),
    ):
        checkpoint = torch.load(file, weights_only=True)
        key = next(iter(checkpoint[name]))
        for weights in (checkpoint[name] | {key: torch.zeros(7)}, {"a": torch.zeros(3)}, {}):
            file.write_bytes(saved(checkpoint | {name: weights}))
            said = refused(read)
            assert said.startswith(f"{file} is of another network (") and "state_dict for" not in said


def test_code_in_a_checkpoint_is_never_run(run, tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    run.last.write_bytes(saved({"state_dict": Harm()}))
    refused(lambda: AtomicCheckpointIO().load_checkpoint(run.last, weights_only=False))
    assert not (tmp_path / "harm").exists()


def test_starting_over_forgets_whatever_there_is_at_once(run, monkeypatch):
    (run.path / "run.json").write_text("{bad")
    remove, seen = shutil.rmtree, []
    monkeypatch.setattr(
        shutil, "rmtree", lambda *words, **more: (seen.append(run.path.exists()), remove(*words, **more))
    )
    run.forget()
    assert seen == [False] and os.listdir(run.path.parent) == [] and run.facts == {}
    run.forget()  # there is nothing
    run.path.touch()
    run.forget()  # a file
    assert os.listdir(run.path.parent) == []


def test_what_cannot_be_forgotten_is_an_error(run, monkeypatch):
    def refuse(*paths):
        raise PermissionError(13, "Permission denied", str(paths[0]))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(PermissionError):
        run.forget()


def test_the_next_process_removes_what_a_killed_one_has_left(run):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    before = sorted(path for path in run.path.rglob("*"))
    for path in (run.path / f".run.json.{dead.pid}", run.last.with_name(f".last.ckpt.{dead.pid}")):
        path.write_text("half")
    living = run.path / f".config.yaml.{os.getppid()}"
    living.touch()
    forgotten = run.path.with_name(f".{run.path.name}.forgotten")
    shutil.copytree(run.path, forgotten)
    run.lock().release()
    assert sorted(path for path in run.path.rglob("*")) == sorted([*before, living])
    assert os.listdir(run.path.parent) == [run.path.name]


def test_a_lock_whose_holder_cannot_begin_is_given_back(run, monkeypatch):
    monkeypatch.setattr("pipeline.runs.directory.remove_partials", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.lock()
    assert not run.locked


def test_a_full_disk_leaves_nothing_half_written_and_the_run_goes_on_once_there_is_room(tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", full], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    often = [f"trainer.{setting}" for setting in ("record_every=1", "sample.every=1", "checkpoint_every=5", "steps=60")]
    overrides = [*prepared_text(tmp_path, words(4000)), "scale=smoke", "tracking.uri=null", *often]
    try:
        (full / "other").write_bytes(bytes(1024 * 960))
        with pytest.raises(OSError) as error:
            trained(*overrides, f"paths.runs={full}")
        [run] = [RunDirectory(path) for path in full.glob("single/*")]
        assert error.value.errno == errno.ENOSPC and str(run.path) in error.value.filename
        assert run.facts["status"] == "running" and run.records() and not run.locked
        assert not [path for path in full.rglob("*") if path.name.startswith(".")]
        (full / "other").unlink()
        run = trained(*overrides, f"paths.runs={full}")
        whole = trained(*overrides)
        assert run.written() == whole.written()
        for ours, other in zip(run.records(), whole.records(), strict=True):
            assert ours | {"seconds": 0} == other | {"seconds": 0}
    finally:
        subprocess.run(["umount", full], check=True)
