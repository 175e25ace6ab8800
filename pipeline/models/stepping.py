"""One symbol at a time: how a recurrent network writes."""

import torch
from torch import Tensor

from pipeline.models.recurrent import RecurrentNetwork, State
from pipeline.recurrence import addends


class Stepper:
    """A recurrent network read symbol by symbol, batch 1, without gradients.

    What the first layer adds to its products is looked up, for it depends on the symbol alone; a step costs a matrix-vector product for
    each weight matrix beyond that.

    state  before the first symbol, each part [L, 1, width]
    """

    def __init__(self, network: RecurrentNetwork, state: State):
        self.network = network
        self.states = [tuple(part) for part in zip(*state, strict=True)]
        first = network.cells[0]
        every_symbol = torch.arange(network.symbols + 1, device=state[0].device)[:, None]
        table = addends(first, first.project(network.read(every_symbol)), every_symbol.shape)
        self.table = [{name: added[symbol] for name, added in table.items()} | first.constants(1) for symbol in range(network.symbols + 1)]
        self.weights = [dict(cell.recurrent) for cell in network.cells]

    def __call__(self, symbol: int) -> Tensor:
        """Reads 0..V and returns the next symbol's logits [V]."""
        outputs = []
        for layer, cell in enumerate(self.network.cells):
            if layer:
                x = {name: added[0] for name, added in addends(cell, cell.project(outputs[-1][None]), (1, 1)).items()} | cell.constants(1)
            else:
                x = self.table[symbol]
            weights = self.weights[layer]
            self.states[layer] = cell.step(x, self.states[layer], lambda name, operand: cell.multiply(name, weights[name], operand, x))
            outputs.append(self.states[layer][0])
        return self.network.readout(torch.cat(outputs, dim=-1) if self.network.skip_connections else outputs[-1])[0]
