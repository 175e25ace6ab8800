"""Loss curves: what is drawn, read back from the figure."""

import math

import pytest

from pipeline.exhibits.figures import against_settings, carried, loss_curves, svg


def records(losses, every=5):
    return [
        {"symbols": 100 * place, "train": loss} | ({"validation": loss + 1} if place % every == 0 else {})
        for place, loss in enumerate(losses, 1)
    ]


def drawn(figure):
    """Lines of curves: those that have no place in the column of labels."""
    return [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]


def test_train_is_thin_and_validation_thick_with_markers():
    train, validation = drawn(loss_curves([("lstm", records([3.0, 2.5, 2.2, 2.1, 2.0]))]))
    assert train.get_xdata().tolist() == [100, 200, 300, 400, 500]
    assert train.get_ydata().tolist() == [3.0, 2.5, 2.2, 2.1, 2.0]
    assert (validation.get_xdata().tolist(), validation.get_ydata().tolist()) == ([500], [3.0])
    assert validation.get_linewidth() > train.get_linewidth()
    assert validation.get_marker() != "None" and train.get_marker() == "None"


def test_seeds_of_a_group_share_colour_and_label():
    losses = [3.0, 2.0, 1.9, 1.8, 1.7]
    higher = [loss + 0.1 for loss in losses]
    figure = loss_curves([("lstm", records(losses)), ("gru", records(higher)), ("lstm", records(losses))])
    colours = [line.get_color() for line in drawn(figure)]
    assert len(colours) == 6 and len(set(colours[:4])) == 1 and len(set(colours[4:])) == 1 and len(set(colours)) == 2
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["gru", "lstm"]


def test_a_curve_alone_is_named_in_the_title():
    (axes,) = loss_curves([("shakespeare-lstm-2x128-$1$", records([3.0, 2.0]))]).axes
    assert axes.get_title(loc="left") == "shakespeare-lstm-2x128-$1$" and not axes.texts


def test_labels_stand_apart_when_the_ends_are_close():
    figure = loss_curves([(f"model {i}", records([3.0, 1.5 + 1e-4 * i])) for i in range(9)])
    heights = sorted(text.xy[1] for text in figure.axes[0].texts)
    low, high = figure.axes[0].get_ylim()
    line = 9 / 72 / figure.get_figheight() * (high - low)
    assert all(later - earlier > line for earlier, later in zip(heights, heights[1:]))
    assert low < heights[0] and heights[-1] < high


def test_unknown_and_infinite_losses_are_left_out():
    odd = [
        {"symbols": 1, "train": None, "validation": None},
        {"symbols": 2, "train": 2.0},
        {"symbols": 3, "train": math.nan},
        {"symbols": 4, "train": math.inf},
    ]
    (line,) = drawn(loss_curves([("rnn", odd)]))
    assert line.get_ydata().tolist() == [2.0]


def test_bits_are_nats_over_ln_2():
    figure = loss_curves([("rnn", records([3.0, 2.0, 1.5]))])
    figure.draw_without_rendering()
    (bits,) = figure.axes[0].child_axes
    assert bits.get_ylim() == pytest.approx([nats / math.log(2) for nats in figure.axes[0].get_ylim()])


@pytest.mark.parametrize("curves", [[], [("rnn", [])], [("rnn", [{"symbols": 5, "train": 2.0}])]])
def test_little_to_draw_is_drawn(curves):
    assert svg(loss_curves(curves), "title").startswith("<svg viewBox=")


def test_svg_stands_alone_and_is_repeatable():
    curves = [("a<b", records([3.0, 2.0, 1.5]))]
    text = svg(loss_curves(curves), 'of "A" & B')
    assert text == svg(loss_curves(curves), 'of "A" & B')
    assert 'aria-label="of &#34;A&#34; &amp; B"' in text and "a&lt;b" in text and "http" not in text


def test_settings_have_a_panel_each_with_values_by_size_and_a_line_through_the_best():
    points = [
        ({"radius": radius, "scale": scale}, float(radius) * float(scale))
        for radius in ("10", "9", "0.5")
        for scale in ("2", "1")
    ]
    radius, scale = against_settings(points).axes
    assert [label.get_text() for label in radius.get_xticklabels()] == ["0.5", "9", "10"]
    assert list(radius.lines[1].get_ydata()) == [0.5, 9, 10] and list(scale.lines[1].get_ydata()) == [0.5, 1]
    assert len(radius.lines[0].get_ydata()) == 6


def test_carried_bits_join_the_best_seed_of_each_message_below_the_models_bound():
    points = [("hmm 16", 2, 1.0), ("hmm 16", 2, 2.0), ("hmm 16", 1, 1.0), ("hmm 4", 1, -0.5)]
    figure = carried(points, {"hmm 16": 4.0})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["all", "hmm 4", "hmm 16"]
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["hmm 16"].get_xdata()) == [1, 2] and list(lines["hmm 16"].get_ydata()) == [1, 2]
    assert any(
        list(line.get_ydata()) == [4, 4] and line.get_color() == lines["hmm 16"].get_color()
        for line in figure.axes[0].lines
    )
