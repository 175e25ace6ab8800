"""One symbol at a time: how a recurrent network writes."""

import functools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg

from pipeline.models.model import State
from pipeline.operators import Call, is_in_place, is_view, simplify, writing
from pipeline.recurrence import addends

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


def record(function: Callable[..., list[Tensor]], examples: list[Tensor]) -> GraphModule:
    """The graph of a function of tensors that returns some; parameters are constants in it."""
    with torch.no_grad():
        module = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*examples)
    simplify(module.graph)
    return module


class Line:
    """A recorded function as calls on kept buffers: put the arguments into `inputs`, `run`, and read `outputs`. What depends on parameters
    alone is computed once, here. `carried` of the last inputs are the last outputs of the run before."""

    @torch.no_grad()
    def __init__(self, module: GraphModule, examples: list[Tensor], carried: int):
        self.inputs = [one.clone() for one in examples]
        self.calls: list[Call] = []
        nodes = list(module.graph.nodes)
        placeholders = [node for node in nodes if node.op == "placeholder"]
        values: dict[Node, object] = dict(zip(placeholders, self.inputs, strict=True))
        returned = nodes[-1].args[0]
        order = {node: index for index, node in enumerate(nodes)}
        changing = set(placeholders)

        def last_read(node: Node) -> int:
            return max((last_read(user) if is_view(user) else order[user] for user in node.users), default=0)
        kept, copies = {}, []       # outputs that may be written over the inputs that they become, and that may not
        for before, after in zip(placeholders[-carried:], returned[-carried:], strict=True):
            if after.op == "call_function" and not is_view(after) and after not in kept and last_read(before) < order[after]:
                kept[after] = values[before]
            else:
                copies.append((before, after))
        for node in nodes:
            arguments, options = map_arg((node.args, node.kwargs), values.get)
            if node.op == "get_attr":
                values[node] = getattr(module, node.target).detach()
            elif node.op == "call_function":
                if changing.isdisjoint(node.all_input_nodes):
                    values[node] = node.target(*arguments, **options)
                    continue
                changing.add(node)
                if is_view(node):
                    values[node] = node.target(*arguments, **options)
                elif is_in_place(node):
                    raise NotImplementedError(f"{node.target} changes its argument")
                else:
                    example = node.meta["val"]
                    new = {"dtype": example.dtype, "device": example.device}
                    values[node] = kept[node] if node in kept else torch.empty(example.shape, **new)
                    self.calls += writing(node, arguments, options, values[node])
        self.calls += [functools.partial(values[before].copy_, values[after]) for before, after in copies]
        self.outputs: list[Tensor] = [values[node] for node in returned]

    def run(self) -> None:
        for call in self.calls:
            call()
