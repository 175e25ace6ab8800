import numpy as np
import pytest
import torch

from pipeline.datasets.hello import Hello
from pipeline.datasets.sine import Sine
from pipeline.datasets.space import Bits, Symbols
from pipeline.models.fixed_width import FixedWidth

B, T, WIDTH, HIDDEN = 3, 7, 5, 4


def filled(reads, answers):
    torch.manual_seed(0)
    model = FixedWidth(reads, answers, (), WIDTH, HIDDEN).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("space", [Bits(2), Symbols(3)])
def test_each_answer_is_that_of_a_network_that_reads_all_places_at_once(space):
    """One matrix over all places; those that are still to be read are zeros."""
    model = filled(space, space)
    x = torch.randint(0, 4, (T, B)) if isinstance(space, Symbols) else torch.rand(T, B, 2, dtype=torch.double)
    z, _ = model(x, model.start(B))
    W, b, U, c = (p.detach().numpy() for p in (model.places, model.bias, model.outputs, model.output_bias))
    matrix = np.concatenate(list(W), axis=0)  # [N D, H]
    for t in range(T):
        for k in range(B):
            read = np.zeros((WIDTH, space.width))
            for place in range(min(t + 1, WIDTH)):
                if not isinstance(space, Symbols):
                    read[place] = x[place, k]
                elif x[place, k] < space.count:
                    read[place, x[place, k]] = 1
            h = np.tanh(read.ravel() @ matrix + b)
            np.testing.assert_allclose(z[t, k].detach(), h @ U[t] + c[t] if t < WIDTH else np.zeros(space.width))


def test_pieces_go_on_where_the_last_one_ended_and_hidden_units_are_those_of_the_answers():
    model = filled(Bits(2), Bits(1))
    x = torch.rand(T, B, 2, dtype=torch.double)
    whole, end = model(x, model.start(B))
    state, parts = model.start(B), []
    for piece in x.split([1, 2, 3, 1]):
        part, state = model(piece, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), whole)
    assert all(torch.allclose(one, other) for one, other in zip(state, end, strict=True))
    (h,), _ = model.activities(x, model.start(B))
    for t in range(WIDTH):
        torch.testing.assert_close(h[t] @ model.outputs[t] + model.output_bias[t], whole[t])


def test_places_beyond_what_was_read_learn_nothing():
    model = filled(Bits(2), Bits(1))
    z, _ = model(torch.ones(3, B, 2, dtype=torch.double), model.start(B))
    z.sum().backward()
    for parameter in (model.places, model.outputs, model.output_bias):
        assert parameter.grad[:3].any() and not parameter.grad[3:].any()


def test_what_has_no_end_has_no_places():
    sine = Sine(2000, 50, 10, 50, 200, 0, "80-10-10", False).open()
    assert FixedWidth.fits(sine).endswith("take model=delay_taps, or data=binary_addition")
    assert FixedWidth.fits(Hello()) is None
