"""The files in which slurm.queue keeps what was submitted, where there is no SLURM."""

from pathlib import Path

import pytest

from pipeline.command.refusal import Refusal
from pipeline.files.whole import write_json
from slurm.queue import submitted


def test_jobs_are_known_by_their_submissions_the_newest_last(tmp_path):
    write_json(tmp_path / "12.json", {"12_0": "runs/a/b", "12_1": "runs/a/c"})
    write_json(tmp_path / "9.json", {"9": "runs/a/b"})
    for name in ("12_0_submitted.json", "notes.json", "12_0_log.out"):  # none of ours
        (tmp_path / name).write_text("{bad")
    assert [(job.id, job.run) for job in submitted(tmp_path)] == [
        ("9", Path("runs/a/b").absolute()),
        ("12_0", Path("runs/a/b").absolute()),
        ("12_1", Path("runs/a/c").absolute()),
    ]
    assert submitted(tmp_path / "nowhere") == []


@pytest.mark.parametrize("content", ["{bad", "", "[]", '{"12": 3}', "\0\0\0"])
def test_a_damaged_submission_is_refused_in_a_line(tmp_path, content):
    (tmp_path / "12.json").write_text(content)
    with pytest.raises(Refusal) as refusal:
        submitted(tmp_path)
    said = str(refusal.value)
    assert said.startswith(f"{tmp_path}/12.json is damaged (") and "\n" not in said
    assert said.endswith("): move it away, and look for its jobs with squeue")
