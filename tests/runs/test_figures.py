"""Loss curves: what is drawn, read back from the figure."""

import math

import pytest

from pipeline.runs.figures import loss_curves, svg


def records(losses, every=5):
    return [{"symbols": 100 * place, "train": loss} | ({"validation": loss + 1} if place % every == 0 else {})
            for place, loss in enumerate(losses, 1)]


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
    odd = [{"symbols": 1, "train": None, "validation": None}, {"symbols": 2, "train": 2.0},
           {"symbols": 3, "train": math.nan}, {"symbols": 4, "train": math.inf}]
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
