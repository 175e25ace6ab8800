"""Loss curves: what is drawn, read back from the figure."""

import math
import re

import pytest

from pipeline.exhibits.figures import COLOURS, against_parameters, against_settings, against_units, loss_curves, svg
from tests.exhibits.contrast import contrast

CHARS = {"loss": "nats/char", "element": "char", "also": {"bits": 1 / math.log(2)}, "logarithmic": False}
STEPS = {"loss": "squared error", "element": "step", "also": {}, "logarithmic": True}


def records(losses, every=5):
    return [
        {"targets": 100 * place, "train": loss} | ({"validation": loss + 1} if place % every == 0 else {})
        for place, loss in enumerate(losses, 1)
    ]


def drawn(figure):
    """Lines of curves: those that have no place in the column of labels."""
    return [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]


def test_train_is_thin_and_validation_thick_with_markers():
    train, validation = drawn(loss_curves([("lstm", records([3.0, 2.5, 2.2, 2.1, 2.0]))], CHARS))
    assert train.get_xdata().tolist() == [100, 200, 300, 400, 500]
    assert train.get_ydata().tolist() == [3.0, 2.5, 2.2, 2.1, 2.0]
    assert (validation.get_xdata().tolist(), validation.get_ydata().tolist()) == ([500], [3.0])
    assert validation.get_linewidth() > train.get_linewidth()
    assert validation.get_marker() != "None" and train.get_marker() == "None"


def test_seeds_of_a_group_share_colour_and_label():
    losses = [3.0, 2.0, 1.9, 1.8, 1.7]
    higher = [loss + 0.1 for loss in losses]
    figure = loss_curves([("lstm", records(losses)), ("gru", records(higher)), ("lstm", records(losses))], CHARS)
    colours = [line.get_color() for line in drawn(figure)]
    assert len(colours) == 6 and len(set(colours[:4])) == 1 and len(set(colours[4:])) == 1 and len(set(colours)) == 2
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["gru", "lstm"]


def test_a_curve_alone_is_named_in_the_title():
    (axes,) = loss_curves([("shakespeare-lstm-2x128-$1$", records([3.0, 2.0]))], CHARS).axes
    assert axes.get_title(loc="left") == "shakespeare-lstm-2x128-$1$" and not axes.texts


def test_labels_stand_apart_when_the_ends_are_close():
    figure = loss_curves([(f"model {i}", records([3.0, 1.5 + 1e-4 * i])) for i in range(9)], CHARS)
    heights = sorted(text.xy[1] for text in figure.axes[0].texts)
    low, high = figure.axes[0].get_ylim()
    line = 9 / 72 / figure.get_figheight() * (high - low)
    assert all(later - earlier > line for earlier, later in zip(heights, heights[1:]))
    assert low < heights[0] and heights[-1] < high


def test_unknown_and_infinite_losses_are_left_out():
    odd = [
        {"targets": 1, "train": None, "validation": None},
        {"targets": 2, "train": 2.0},
        {"targets": 3, "train": math.nan},
        {"targets": 4, "train": math.inf},
    ]
    (line,) = drawn(loss_curves([("rnn", odd)], CHARS))
    assert line.get_ydata().tolist() == [2.0]


def test_bits_are_nats_over_ln_2():
    figure = loss_curves([("rnn", records([3.0, 2.0, 1.5]))], CHARS)
    figure.draw_without_rendering()
    (bits,) = figure.axes[0].child_axes
    assert bits.get_ylim() == pytest.approx([nats / math.log(2) for nats in figure.axes[0].get_ylim()])


def test_axes_are_those_of_the_units():
    figure = loss_curves([("rnn", records([3.0, 2.0, 1.5]))], CHARS | {"loss": "nats/byte", "element": "byte"})
    [axes], [bits] = figure.axes, figure.axes[0].child_axes
    assert (axes.get_xlabel(), axes.get_ylabel(), bits.get_ylabel()) == ("bytes asked", "nats/byte", "bits/byte")
    [axes] = loss_curves([("rnn", records([3.0, 2.0, 1.5]))], STEPS).axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.child_axes) == ("steps asked", "squared error", [])


def test_a_logarithmic_axis_shows_the_numbers_themselves_in_both_units():
    units = STEPS | {"also": {"hundredths": 100.0}}
    figure = loss_curves([("esn", records([1.0, 0.1, 0.001], every=3))], units)
    figure.draw_without_rendering()
    train, validation = drawn(figure)
    assert train.get_ydata() == pytest.approx([0, -1, -3]) and validation.get_ydata() == pytest.approx(
        [math.log10(1.001)]
    )
    [axes], [right] = figure.axes, figure.axes[0].child_axes
    assert axes.yaxis.get_major_formatter()(-2, 0) == "0.01" and right.yaxis.get_major_formatter()(-2, 0) == "0.01"
    assert right.get_ylim() == pytest.approx([y + 2 for y in axes.get_ylim()])


@pytest.mark.parametrize("curves", [[], [("rnn", [])], [("rnn", [{"targets": 5, "train": 2.0}])]])
def test_little_to_draw_is_drawn(curves):
    assert svg(loss_curves(curves, CHARS), "title").startswith("<svg viewBox=")


def test_svg_stands_alone_and_is_repeatable():
    curves = [("a<b", records([3.0, 2.0, 1.5]))]
    text = svg(loss_curves(curves, CHARS), 'of "A" & B')
    assert text == svg(loss_curves(curves, CHARS), 'of "A" & B')
    assert 'aria-label="of &#34;A&#34; &amp; B"' in text and "a&lt;b" in text and "http" not in text


def test_what_is_drawn_is_said_and_has_a_key_of_text():
    curves = [("a<b", records([3.0, 2.0, 1.5])), ("gru", records([3.0, 2.5, 2.0])), ("gru", records([3.2, 2.5, 1.0]))]
    text = svg(loss_curves(curves, CHARS), "title")
    assert "<desc>nats/char against chars asked: a&lt;b 3, 2, 1.5; gru from 3.1 to 1.5</desc>" in text
    keys = re.findall(r'<li><i style="color: (#\w+)">(.)</i> (.*?)</li>', text.partition("</svg>")[2])
    assert keys == [("#0072b2", "━", "a&lt;b"), ("#d55e00", "━", "gru")]
    powers = svg(loss_curves([("esn", records([1.0, 0.1, 0.001]))], STEPS), "title")
    assert "<desc>squared error against steps asked: esn 1, 0.1, 0.001</desc>" in powers and "<ul" not in powers
    points = svg(against_parameters([("lstm", 1000, 0.5), ("gru", 800, 0.4)], "nats/byte"), "title")
    assert "<desc>nats/byte against parameters: lstm 0.5; gru 0.4</desc>" in points and "●</i> lstm" in points
    lines = {"rnn": [(16, [0.2, 0.4]), (4, [0.8])]}
    assert "units: rnn 0.8, 0.3</desc>" in svg(against_units(lines, "RMSE", True), "title")


@pytest.mark.parametrize("paper", ["#ffffff", "#16191d"])
def test_curves_stand_out_from_the_page(paper):
    assert min(contrast(colour, paper) for colour in COLOURS) >= 3


def test_settings_have_a_panel_each_with_values_by_size_and_a_line_through_the_best():
    points = [
        ("echo_state", {"radius": radius, "scale": scale}, float(radius) * float(scale))
        for radius in ("10", "9", "0.5")
        for scale in ("2", "1")
    ]
    radius, scale = against_settings(points, "RMSE").axes
    assert [label.get_text() for label in radius.get_xticklabels()] == ["0.5", "9", "10"]
    assert list(radius.lines[1].get_ydata()) == [0.5, 9, 10] and list(scale.lines[1].get_ydata()) == [0.5, 1]
    assert len(radius.lines[0].get_ydata()) == 6
    assert [axes.get_ylabel() for axes in (radius, scale)] == ["RMSE", ""] and radius.get_yscale() == "log"


def test_the_best_of_a_setting_is_the_highest_where_high_is_better():
    points = [("a", {"radius": "1"}, 0.2), ("a", {"radius": "1"}, 0.9), ("a", {"radius": "2", "taps": "3"}, 0.0)]
    radius, taps = against_settings(points, "right", "high").axes
    assert list(radius.lines[1].get_ydata()) == [0.9, 0.0] and radius.get_yscale() == "linear"
    assert list(taps.lines[0].get_ydata()) == [0.0]


def test_each_of_several_models_has_its_line_against_a_setting():
    points = [("sgd", {"lr": "1"}, 0.5), ("adam", {"lr": "0.1"}, 0.2), ("adam", {"lr": "1"}, 0.9)]
    figure = against_settings([*points, ("adam", {"lr": "0.1"}, 0.1)], "nats")
    [axes] = figure.axes
    assert [text.get_text() for text in figure.legends[0].texts] == ["adam", "sgd"]
    adam, sgd = ([line for line in axes.lines if line.get_color() == colour] for colour in ("#0072b2", "#d55e00"))
    assert [list(line.get_ydata()) for line in adam] == [[0.2, 0.9, 0.1], [0.1, 0.9], []]
    assert [list(line.get_xdata()) for line in sgd] == [[1], [1], []]


def test_a_measure_stands_against_parameters_under_its_own_name():
    [axes] = against_parameters([("lstm", 1000, 0.5), ("gru", 800, 0.4)], "nats/byte").axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("parameters", "nats/byte", "log")
    assert [(*line.get_xdata(), *line.get_ydata(), line.get_label()) for line in axes.lines] == [
        (1000, 0.5, "lstm"),
        (800, 0.4, "gru"),
    ]


def test_a_measure_stands_against_units_a_line_a_model_with_its_range_over_seeds():
    lines = {"rnn": [(16, [0.2, 0.4]), (4, [0.8])], "echo_state": [(50, [0.5, 0.6, 1.0])]}
    [axes] = against_units(lines, "RMSE", True).axes
    drawn = {bars.get_label(): bars for bars in axes.containers}
    data, _, [bars] = drawn["rnn"].lines
    assert data.get_xdata().tolist() == [4, 16] and data.get_ydata() == pytest.approx([0.8, 0.3])
    assert [part[:, 1].tolist() for part in bars.get_segments()] == [[0.8, 0.8], pytest.approx([0.2, 0.4])]
    assert drawn["echo_state"].lines[2][0].get_segments()[0][:, 1] == pytest.approx([0.5, 1.0])
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_ylabel()) == ("log", "log", "RMSE")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["4", "16", "50"]
    assert any(label.get_text() for label in axes.get_yticklabels(minor=True))  # no power of ten is among the numbers
