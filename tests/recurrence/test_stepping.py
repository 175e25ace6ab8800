"""A symbol at a time against whole sequences."""

import gc
import weakref

import pytest
import torch
from hydra.utils import instantiate
from torch import nn
from torch.nn import functional as F

from pipeline.recurrence import native, stepping
from pipeline.recurrence.stack import Stack
from pipeline.recurrence.stepping import Line, Stepper
from tests.cells.test_cells import NAMES
from tests.conftest import composed, needs_steps
from tests.recurrence.test_fused import FORMULAS, Written

V, H, L = 5, 4, 2
SYMBOLS = torch.tensor([3, 5, 0, 1, 1, 4])  # 5: unknown


class Writer(nn.Module):
    """Logits = W [h^1, .., h^L] + b; symbols are read as they are, or embedded where there is a width."""

    def __init__(self, cell, embedding=None, initial_state=0.2, hidden=H):
        super().__init__()
        torch.manual_seed(0)
        self.stack = Stack(cell, embedding or V, L, hidden, initial_state=initial_state)
        self.stack.run_on("cpu", "reference")
        self.embedding = nn.Parameter(torch.randn(V + 1, embedding)) if embedding else None
        self.readout = nn.Linear(L * hidden, V)
        self.double().eval()

    def read(self, symbols):
        return symbols if self.embedding is None else F.embedding(symbols, self.embedding)

    def answer(self, outputs):
        return self.readout(torch.cat(outputs, dim=-1))

    @torch.no_grad()
    def whole(self, symbols):
        outputs, _ = self.stack(self.read(symbols[:, None]), self.stack.start(1))
        return self.answer(outputs)[:, 0]

    def stepper(self):
        return Stepper(self.stack, self.read, self.answer, V, self.stack.start(1), self.parameters())


def same(step, writer):
    found = torch.stack([step(symbol) for symbol in SYMBOLS.tolist()])
    torch.testing.assert_close(found, writer.whole(SYMBOLS), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_steps), False])
def test_steps_give_what_whole_sequences_give(name, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(native, "library", lambda: None)
    for options in ({}, {"embedding": 3}):
        writer = Writer(instantiate(composed(f"model={name}").model.cell), **options)
        step, other = writer.stepper(), writer.stepper()
        assert isinstance(step.line, Line) == (not compiled or name == "mrnn_full")
        other(2)  # whose state is its own
        same(step, writer)


@needs_steps
@pytest.mark.parametrize("name", ["a delay", "shifted"])
@pytest.mark.parametrize("compiled", [True, False])
def test_stepping_keeps_what_other_states_still_need(name, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(native, "library", lambda: None)
    writer = Writer(lambda inputs, hidden: Written(inputs, hidden, FORMULAS[name], states=2), hidden=6)
    step = writer.stepper()
    assert isinstance(step.line, Line)
    same(step, writer)


def writer_of_numbers():
    return Writer(lambda inputs, hidden: Written(inputs, hidden, FORMULAS["numbers"]))


def test_a_symbol_that_is_none_is_refused():
    step = writer_of_numbers().stepper()
    for symbol in (-1, 6):
        with pytest.raises(IndexError, match=f"symbol {symbol}: there are 0 to 5"):
            step(symbol)


def test_a_step_is_traced_once_until_a_parameter_is_another(monkeypatch):
    traced, graph_of = [], stepping.graph_of
    monkeypatch.setattr(stepping, "graph_of", lambda *given: traced.append(0) or graph_of(*given))
    writer = writer_of_numbers()
    writer.stepper()
    with torch.no_grad():
        for parameter in writer.parameters():
            parameter.mul_(1.5)
    same(writer.stepper(), writer)  # by the numbers as they are now
    assert len(traced) == 1
    for change in (
        lambda: setattr(writer.readout, "bias", nn.Parameter(torch.randn(V).double())),
        lambda: setattr(writer.stack.cells[1].recurrent, "a", nn.Parameter(torch.randn(H, H).double())),
    ):
        change()
        traced.clear()
        same(writer.stepper(), writer)
        assert len(traced) == 1


def test_an_answer_may_be_written_piece_by_piece():
    writer = writer_of_numbers()
    plain = writer.answer

    def answer(outputs):
        logits = plain(outputs)
        found = torch.empty_like(logits)
        found[..., :2] = logits[..., :2]
        found[..., 2:] = logits[..., 2:].log_softmax(-1)
        return found.sub_(1.0)

    writer.answer = answer
    same(writer.stepper(), writer)


def test_two_may_write_with_one_stack():
    writer, other = writer_of_numbers(), writer_of_numbers()
    other.stack = writer.stack
    other.readout.weight.data.neg_()
    for one in (writer, other, writer):
        same(one.stepper(), one)


def test_a_stack_that_is_gone_leaves_nothing():
    writer = writer_of_numbers()
    stack = weakref.ref(writer.stack)
    writer.stepper()(1)
    del writer
    gc.collect()
    assert stack() is None
