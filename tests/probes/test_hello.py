"""The slide's numbers, by hand."""

import math

import numpy as np
import pytest
from scipy.optimize import linprog

from pipeline.datasets.hello import Hello
from pipeline.probes.hello import HIDDEN, OUTPUTS, SlideNumbers, numbers, slide_network, slide_weights, without_bias

TARGETS = [1, 2, 2, 3]  # e, l, l, o


def by_hand(weights) -> tuple[list, list]:
    """h_t = tanh(W_hh h_{t-1} + W_xh x_t), y_t = W_hy h_t + b_y, a number at a time."""
    h, hidden, outputs = [0.0] * 3, [], []
    for letter in (0, 1, 2, 2):  # h, e, l, l
        a = [sum(w * x for w, x in zip(row, h)) + weights["W_xh"][i][letter] for i, row in enumerate(weights["W_hh"])]
        h = [math.tanh(x) for x in a]
        hidden.append(h)
        outputs.append([sum(w * x for w, x in zip(row, h)) + b for row, b in zip(weights["W_hy"], weights["b_y"])])
    return hidden, outputs


def test_the_weights_give_every_number_on_the_slide_to_its_digit():
    hidden, outputs = by_hand(slide_weights())
    assert np.round(hidden, 1).tolist() == [list(row) for row in HIDDEN]
    assert np.round(outputs, 1).tolist() == [list(row) for row in OUTPUTS]
    found = numbers(slide_network(), Hello())
    np.testing.assert_allclose(found["hidden"], hidden, rtol=1e-12)
    np.testing.assert_allclose(found["output"], outputs, rtol=1e-12)


def test_probabilities_are_the_softmax_of_the_slides_logits_at_its_targets():
    found = numbers(slide_network(), Hello())
    p = [math.exp(z[k]) / sum(map(math.exp, z)) for z, k in zip(OUTPUTS, TARGETS)]
    assert found["p"] == pytest.approx(p) and found["loss"] == pytest.approx(-sum(map(math.log, p)) / 4)
    assert [round(one, 2) for one in p] == [0.13, 0.06, 0.68, 0.79]


def test_without_a_bias_the_outputs_have_no_weights():
    """The least largest error, as a linear program."""
    h, y = np.minimum(HIDDEN, 0.975), np.array(OUTPUTS)
    for letter, least in enumerate(without_bias()):
        bounds = np.vstack([np.hstack([sign * h, -np.ones((4, 1))]) for sign in (1, -1)])
        at_most = np.concatenate([y[:, letter], -y[:, letter]])
        free = [(None, None)] * 3 + [(0, None)]
        assert least == pytest.approx(linprog([0, 0, 0, 1], A_ub=bounds, b_ub=at_most, bounds=free).fun)
        assert least > 0.05  # more than rounding


def test_learning_from_the_slide_makes_every_target_likelier_and_the_model_itself_is_shown():
    found = SlideNumbers(20, 0.5).measure(slide_network(), Hello(), 0)
    assert all(after > before for before, after in zip(found["slide"]["p"], found["learned"]["p"]))
    assert found["run"] == found["slide"] and found["least"] == min(found["slide"]["p"])
    rows = [{"name": "rnn", "runs": [{"seed": 0, "found": found}]}]
    (exhibit,) = SlideNumbers(20, 0.5).show(rows)
    table = exhibit.html[: exhibit.html.index("</table>")]
    assert [cell.split("</b>")[0] for cell in table.split("<b>")[1:]] == ["2.2", "−1.0", "1.9", "2.2"]
    for row in zip(*OUTPUTS, strict=True):
        texts = [f"{z:.1f}".replace("-", "−") for z in row]
        assert "</td><td>".join(texts) in table.replace("<b>", "").replace("</b>", "")
