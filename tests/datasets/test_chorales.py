"""Piano rolls of MusicXML scores that are written here."""

import zipfile

import numpy as np
import pytest

from pipeline.corpora.corpus import CorpusError
from pipeline.datasets.chorales import TICKS, Chorales, by_number, notes_of, piano_roll
from pipeline.datasets.space import Bits


def note(pitch, duration, more=""):
    """pitch  "C4" or "F+3", + a sharp and - a flat; "": a rest"""
    said = "<rest/>"
    if pitch:
        alter = {"+": "<alter>1</alter>", "-": "<alter>-1</alter>"}.get(pitch[1], "")
        said = f"<pitch><step>{pitch[0]}</step>{alter}<octave>{pitch[-1]}</octave></pitch>"
    return f"<note>{more}{said}<duration>{duration}</duration></note>"


def measure(*elements, divisions=None):
    said = f"<attributes><divisions>{divisions}</divisions></attributes>" if divisions else ""
    return f"<measure>{said}{''.join(elements)}</measure>"


def score(*parts):
    return f"<score-partwise>{''.join(f'<part>{part}</part>' for part in parts)}</score-partwise>"


SILENT = measure(note("", 4), divisions=2) + measure(note("", 2))


def read(tmp_path, text, name="a.xml"):
    (tmp_path / name).write_text(text)
    return notes_of(tmp_path / name)


def quarters(notes):
    """(pitch, beginning, end) in quarter notes."""
    return sorted((pitch, begin / TICKS, end / TICKS) for pitch, begin, end in notes.tolist())


def test_notes_begin_and_end_where_the_score_says(tmp_path):
    """Divisions of its own in each part, which hold on; a chord; a second voice; a rest; an ornament without duration.
    The second measure begins when the longest part of the first is over."""
    soprano = measure(note("C4", 2), note("E4", 2, "<chord/>"), note("", 1), note("B-4", 1), divisions=2)
    soprano += measure(note("F+5", 1))
    alto = measure(note("G3", 8), "<backup><duration>8</duration></backup>", note("A3", 4), divisions=4)
    alto += measure("<forward><duration>2</duration></forward>", note("D3", 2))
    grace = "<note><grace/><pitch><step>C</step><octave>2</octave></pitch></note>"
    tenor = measure(grace, note("C2", 3), divisions=1) + measure(note("C2", 1))
    notes = read(tmp_path, score(soprano, alto, tenor, SILENT))
    assert quarters(notes) == [
        (36, 0, 3),
        (36, 3, 4),
        (50, 3.5, 4),
        (55, 0, 2),
        (57, 0, 1),
        (60, 0, 1),
        (64, 0, 1),
        (70, 1.5, 2),
        (78, 3, 3.5),
    ]


def test_scores_that_are_packed_or_in_other_than_four_parts(tmp_path):
    plain = score(measure(note("C4", 1)), *[SILENT[: SILENT.index("</measure>") + 10]] * 3)
    with zipfile.ZipFile(tmp_path / "b.mxl", "w") as packed:
        packed.writestr("META-INF/container.xml", "<container/>")
        packed.writestr("b.musicxml", plain)
    assert quarters(notes_of(tmp_path / "b.mxl")) == [(60, 0, 1)]
    assert read(tmp_path, score(SILENT, SILENT)) is None
    for text in ("no score", score(measure(note("C4", "x")), *[SILENT] * 3), score(SILENT + SILENT, *[SILENT] * 3)):
        with pytest.raises(CorpusError, match="^a.xml is no score in MusicXML: "):
            read(tmp_path, text)


def test_a_key_sounds_at_a_frame_from_its_beginning_until_before_its_end():
    notes = np.array([[60, 0, 4], [64, 1, 2], [67, 4, 6], [21, 7, 8], [108, 8, 9]])
    expected = np.zeros((5, 88))
    expected[[0, 1], 60 - 21] = expected[2, 67 - 21] = expected[4, 87] = 1  # 64 and 21 fall between two frames
    assert (piano_roll(notes, 2) == expected).all()


def test_parts_frames_and_targets(tmp_path, monkeypatch):
    """Seven chorales, one of them again in another key; number k of the six that differ lasts k + 2 quarters."""
    paths = []
    for k in (0, 1, 2, 9, 3, 4, 5):
        pitch, length = ("E4", 3) if k == 9 else ("C4", k + 2)
        body = measure(*[note(pitch, 1), note(pitch.replace("4", "5"), 1)], *[note(pitch, 1)] * (length - 2))
        paths.append(tmp_path / f"{len(paths)}.xml")
        paths[-1].write_text(score(body, *[measure(note("", 1))] * 3))
    chorales = Chorales("chorales", "unused", frame="eighth", seed=0)
    arrays = chorales.arrays(paths)
    monkeypatch.setattr(Chorales, "read", lambda self, local: arrays)
    data = chorales.open()
    assert (data.reads, data.answers, data.foretells) == (Bits(88), Bits(88), True)
    lengths = {part: [len(one.inputs) for one in some] for part, some in data.parts.items()}
    assert lengths == {"train": [4, 6, 8, 14], "validation": [10], "test": [12]}
    one = data.parts["train"][1]
    assert one.inputs.argmax(1).tolist() == [39, 39, 51, 51, 39, 39] and (one.inputs.sum(1) == 1).all()
    assert (one.targets[:-1] == one.inputs[1:]).all() and np.isnan(one.targets[-1]).all()


def test_numbers_in_names_sort_as_numbers():
    assert sorted(["bwv10.7.mxl", "bwv2.6.mxl", "bwv2.6-a.mxl"], key=by_number)[-1] == "bwv10.7.mxl"
