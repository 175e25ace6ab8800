"""One symbol at a time: how a recurrent network writes."""

import weakref
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.fx import GraphModule

from pipeline.models.model import State
from pipeline.recurrence import addends
from pipeline.schedule import Line, record

if TYPE_CHECKING:
    from pipeline.models.recurrent import RecurrentNetwork

_recorded: "weakref.WeakKeyDictionary[RecurrentNetwork, tuple[list[tuple], GraphModule]]" = weakref.WeakKeyDictionary()


class Stepper:
    """A recurrent network read symbol by symbol, batch 1, without gradients, by the parameters that it has now.

    What the first layer adds to its products is looked up, for it depends on the symbol alone; a step costs a matrix-vector product for
    each weight matrix beyond that, and its operators are called in a straight line.

    state  before the first symbol, each part [L, 1, width]
    """

    @torch.no_grad()
    def __init__(self, network: "RecurrentNetwork", state: State):
        cells, names = network.cells, list(network.cells[0].state)
        every_symbol = torch.arange(network.symbols + 1, device=state[0].device)[:, None]
        table = addends(cells[0], cells[0].project(network.read(every_symbol)), every_symbol.shape)
        self.rows = list(zip(*(added.unbind(0) for added in table.values()), strict=True))

        def step(*tensors: Tensor) -> list[Tensor]:
            x, parts = dict(zip(table, tensors)), tensors[len(table):]
            outputs, after = [], []
            for layer, cell in enumerate(cells):
                if layer:
                    x = {name: added[0] for name, added in addends(cell, cell.project(outputs[-1][None]), (1, 1)).items()}
                x = x | cell.constants(1)
                before = tuple(parts[layer * len(names):(layer + 1) * len(names)])
                ends = cell.step(x, before, lambda name, operand: cell.multiply(name, cell.recurrent[name], operand, x))
                after += ends
                outputs.append(ends[0])
            return [network.readout(torch.cat(outputs, dim=-1) if network.skip_connections else outputs[-1])[0], *after]
        examples = [*self.rows[0], *(part[layer] for layer in range(len(cells)) for part in state)]
        signature = [(id(part), part.dtype, part.device) for part in network.parameters()]
        if network not in _recorded or _recorded[network][0] != signature:
            _recorded[network] = signature, record(step, examples)      # which keeps the parameters
        self.line = Line(_recorded[network][1], examples, carried=len(cells) * len(names))

    def __call__(self, symbol: int) -> Tensor:
        """Reads 0..V and returns the next symbol's logits [V]."""
        for given, row in zip(self.line.inputs, self.rows[symbol]):
            given.copy_(row)
        self.line.run()
        return self.line.outputs[0].clone()
