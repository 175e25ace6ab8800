"""Tables on a terminal."""

from pipeline.command.terminal import in_columns

ROWS = [["", "nats", "bits", "seeds"], ["rnn", "1.900", "2.741", "3"], ["lstm 2x64", "1.85", "2.669", "3"]]


def test_the_first_column_stands_to_the_left_and_the_others_to_the_right():
    assert in_columns(ROWS) == [
        "            nats   bits  seeds",
        "rnn        1.900  2.741      3",
        "lstm 2x64   1.85  2.669      3",
    ]


def test_columns_for_which_lines_have_no_room_stand_below():
    assert in_columns(ROWS, 30) == in_columns(ROWS)
    assert in_columns(ROWS, 29) == [
        "            nats   bits",
        "rnn        1.900  2.741",
        "lstm 2x64   1.85  2.669",
        "",
        "           seeds",
        "rnn            3",
        "lstm 2x64      3",
    ]
    assert len(in_columns(ROWS, 1)) == 3 * 3 + 2


def test_a_terminal_is_as_wide_as_it_says(monkeypatch):
    monkeypatch.setenv("COLUMNS", "29")
    assert len(in_columns(ROWS)) == 3
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert len(in_columns(ROWS)) == 7
