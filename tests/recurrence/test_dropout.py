"""Forms of dropout against masks that are applied by hand."""

import pytest
import torch
from torch.nn import functional as F

from pipeline.cells.gru import ResetAfterGRU
from pipeline.cells.lstm import LSTM
from pipeline.cells.mrnn import FullMultiplicativeRNN, MultiplicativeLSTM
from pipeline.command.refusal import Refusal
from pipeline.datasets.space import Symbols
from pipeline.models.readout import TiedReadout
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.recurrence.dropout import Dropout, share_masks
from pipeline.recurrence.stack import Stack
from tests.conftest import needs_steps
from tests.oracles import cells as oracle

T, B, V, H = 5, 4, 6, 3


def test_a_locked_mask_is_one_for_all_steps_and_another_for_each_sequence():
    torch.manual_seed(0)
    dropout = Dropout(0.3, locked=True)
    x = 1 + torch.rand(3, 200, 100, dtype=torch.double)
    masks = dropout(x) / x
    assert torch.equal(masks[0] > 0, masks[1] > 0) and torch.equal(masks[0] > 0, masks[2] > 0)
    assert not torch.equal(masks[0, 0], masks[0, 1])
    torch.testing.assert_close(masks[masks > 0], torch.full_like(masks[masks > 0], 1 / 0.7))
    assert abs(masks[0].mean() - 1) < 4 * (0.3 / 0.7 / masks[0].numel()) ** 0.5  # standard errors
    assert dropout.eval()(x) is x


def test_a_rank_locks_its_own_part_of_the_masks_of_all():
    whole, part = Dropout(0.5, locked=True), Dropout(0.5, locked=True)
    share_masks(part, 6, slice(2, 4))
    x = torch.ones(5, 6, 7)
    found = []
    for dropout, own in ((whole, slice(None)), (part, slice(2, 4))):
        torch.manual_seed(0)
        found.append((dropout(x[:, own]), torch.rand(())))
    assert torch.equal(found[0][0][:, 2:4], found[1][0]) and torch.equal(found[0][1], found[1][1])


def network(**options) -> RecurrentNetwork:
    torch.manual_seed(0)
    settings = {"layers": 1, "hidden": H, "embedding": H, "dropout": 0.0, "skip_connections": False}
    settings |= {"initial_state": 0.0, "learned_initial_state": False}
    return RecurrentNetwork(Symbols(V), Symbols(V), (), LSTM, **settings | options).double()


def test_a_dropped_symbol_is_read_as_zero_wherever_it_stands_and_answered_as_ever():
    net = network(embedding_dropout=0.5, readout=TiedReadout)
    symbols = torch.arange(V).repeat(3, 1)
    read = net.read(symbols)
    factors = torch.stack([part / net.embedding.weight for part in read])
    assert (factors == factors[0, :, :1]).all() and set(factors.unique().tolist()) == {0.0, 2.0}
    h = torch.randn(1, H, dtype=torch.double)
    torch.testing.assert_close(net.readout(h), h @ net.embedding.weight.t() + net.readout.bias)
    torch.testing.assert_close(net.eval().read(symbols)[0], net.embedding.weight)
    with pytest.raises(Refusal, match="model.embedding_dropout=0.5: no embedding to drop from: set model.embedding"):
        network(embedding=None, embedding_dropout=0.5)


@pytest.mark.parametrize(
    "cell, name, engine",
    [
        (LSTM, "lstm", "reference"),
        (LSTM, "lstm", "library"),
        (LSTM, "lstm", "deferred"),
        (ResetAfterGRU, "gru_reset_after", "library"),
        (MultiplicativeLSTM, "mlstm", "deferred"),
        pytest.param(MultiplicativeLSTM, "mlstm", "fused", marks=needs_steps),
        (FullMultiplicativeRNN, "mrnn_full", "deferred"),
    ],
)
def test_weights_are_dropped_as_by_hand(cell, name, engine):
    """Steps in NumPy with masked matrices; and the masks, which are the same at every step, on the gradient."""
    torch.manual_seed(0)
    p = 0.4
    stack = Stack(cell, V, 2, H, weight_drop=p).double()
    stack.run_on("cpu", engine)
    symbols = torch.randint(0, V, (T, B))
    torch.manual_seed(3)
    masks = [
        {key: F.dropout(torch.ones_like(weight), p) for key, weight in one.recurrent.items()} for one in stack.cells
    ]
    assert {0.0} < {round(number, 9) for mask in masks[0].values() for number in mask.unique().tolist()}
    torch.manual_seed(3)
    outputs, _ = stack(symbols, stack.start(B))
    plain = Stack(cell, V, 2, H).double()
    plain.load_state_dict(stack.state_dict())
    parameters = []
    with torch.no_grad():
        for one, mask in zip(plain.cells, masks):
            for key, weight in one.recurrent.items():
                weight *= mask[key]
            parameters.append({key: part.numpy() for key, part in one.named_parameters()})
    for b in range(B):
        x = F.one_hot(symbols[:, b], V).double().numpy()
        for own, layer in zip(parameters, outputs):
            x, _ = oracle.run(name, own, x, [part[0, b].detach().numpy() for part in stack.start(B)])
            torch.testing.assert_close(layer[:, b].detach(), torch.as_tensor(x), rtol=1e-9, atol=1e-11)

    wanted = plain(symbols, plain.start(B))[0][-1].square().sum()
    outputs[-1].square().sum().backward()
    wanted.backward()
    for one, other, mask in zip(stack.cells, plain.cells, masks):
        for key, weight in one.recurrent.items():
            torch.testing.assert_close(weight.grad, other.recurrent[key].grad * mask[key], rtol=1e-9, atol=1e-11)
    stack.eval()
    assert torch.equal(stack(symbols, stack.start(B))[0][-1], stack(symbols, stack.start(B))[0][-1])
