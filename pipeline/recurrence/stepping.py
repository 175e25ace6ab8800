"""One step at a time, batch 1, without gradients: how what stands on a stack of cells writes symbols."""

import functools
import weakref
from collections.abc import Callable, Hashable, Iterable

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg

from pipeline.cells.cell import State
from pipeline.cells.inputs import addends
from pipeline.cells.matrices import matrices, product_plus
from pipeline.recurrence.columns import Columns, Unsupported
from pipeline.recurrence.graphs import Replayed
from pipeline.recurrence.operators import Call, is_in_place, is_view, simplify, writing
from pipeline.recurrence.stack import Stack
from pipeline.recurrence.tables import Tables
from pipeline.recurrence.tape import Move, Place

aten = torch.ops.aten
# Of each stack, what its last step was traced with, and (what each symbol gives, state) -> symbol -> prediction.
_traced: weakref.WeakKeyDictionary[Stack, tuple[tuple, Callable]] = weakref.WeakKeyDictionary()


class Stepper:
    """symbol -> the prediction after it, by the parameters as they are now.

    What the first layer adds to its products is looked up, for it depends on the symbol alone; a step costs a
    matrix-vector product for each weight matrix beyond that. All of a step is one call of steps.cpp; where that cannot
    be, its operators are called in a straight line. A step is traced once for a stack with the same parameters.

    read        symbols [T, B] -> what the first layer reads
    answer      the outputs of the layers, [1, H] each -> prediction [1, O]; a function of these alone
    symbols     V; symbol V, "unknown", can be read too
    state       before the first symbol, each part [L, 1, width]
    parameters  that `answer` uses, beside those of the stack
    """

    @torch.no_grad()
    def __init__(
        self,
        stack: Stack,
        read: Callable[[Tensor], Tensor],
        answer: Callable[[list[Tensor]], Tensor],
        symbols: int,
        state: State,
        parameters: Iterable[nn.Parameter],
    ):
        self.symbols = symbols
        parts = [part[layer] for layer in range(len(stack.cells)) for part in state]
        inputs = read(torch.arange(symbols + 1, device=state[0].device)[:, None])
        given = addends(stack.cells[0], inputs)
        table = list(given.values()) + [inputs] * bool(stack.cells[0].chosen)
        signature = (
            stack.training,
            [part.shape[1:] for part in table],
            [(id(part), part.dtype, part.device) for part in (*stack.parameters(), *parameters)],
        )
        if stack not in _traced or _traced[stack][0] != signature:
            step = functools.partial(_step, stack, answer, list(given), len(table))
            module = graph_of(step, [*(part[0] for part in table), *parts])  # which keeps the parameters
            try:
                begin = FusedStep(module, state[0].dtype, state[0].device).begin
            except Unsupported:
                begin = functools.partial(Line, module)
            _traced[stack] = signature, begin
        self.line = _traced[stack][1](table, parts)

    def __call__(self, symbol: int) -> Tensor:
        """Reads 0..V and returns the prediction [O] of what follows. Raises IndexError for another symbol."""
        if not 0 <= symbol <= self.symbols:
            raise IndexError(f"symbol {symbol}: there are 0 to {self.symbols}")
        return self.line(symbol)


def _step(
    stack: Stack, answer: Callable[[list[Tensor]], Tensor], names: list[str], count: int, *tensors: Tensor
) -> list[Tensor]:
    """What a symbol gives the first layer, `count` tensors, `names` of them addends, and the state of each layer
    -> prediction, and the state after."""
    table, parts = tensors[:count], list(tensors[count:])
    outputs, after = [], []
    for cell in stack.cells:
        if outputs:
            inputs = outputs[-1]
            added = {name: part[0] for name, part in addends(cell, inputs[None]).items()}
        else:
            inputs, added = table[-1], dict(zip(names, table))
        before, parts = tuple(parts[: len(cell.state)]), parts[len(cell.state) :]
        product = product_plus(matrices(cell, dict(cell.recurrent)), added, inputs)
        ends = cell.step(added | cell.constants(1), before, product)
        after += ends
        outputs.append(ends[0])
    return [answer(outputs)[0], *after]


def graph_of(function: Callable[..., list[Tensor]], examples: list[Tensor]) -> GraphModule:
    """The graph of a function of tensors that returns some, without operators that change their arguments; parameters
    are constants in it."""
    for form in (function, torch.func.functionalize(function, remove="mutations")):
        with torch.no_grad():
            module = make_fx(form, tracing_mode="fake", _allow_non_fake_inputs=True)(*examples)
        simplify(module.graph)
        if not any(is_in_place(node) for node in module.graph.nodes):
            return module
    raise NotImplementedError("a step that changes what it is given")


def _constants(module: GraphModule) -> dict[Node, Tensor]:
    """What depends on parameters alone."""
    known: dict[Node, Tensor] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            known[node] = getattr(module, node.target).detach()
        elif node.op == "call_function" and all(one in known for one in node.all_input_nodes):
            arguments, options = map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = node.target(*arguments, **options)
    return known


class Line:
    """A traced step as calls on kept buffers; on a GPU they are replayed as a CUDA graph.

    table  what the step is first given for each symbol [V + 1, 1, R]
    state  what it is given then, and returns after the prediction
    """

    @torch.no_grad()
    def __init__(self, module: GraphModule, table: list[Tensor], state: list[Tensor]):
        self.rows = list(zip(*(part.unbind(0) for part in table), strict=True))
        self.given = [part[0].clone() for part in table]
        self.calls: list[Call] = []
        nodes = list(module.graph.nodes)
        placeholders = [node for node in nodes if node.op == "placeholder"]
        inputs = self.given + [part.clone() for part in state]
        values: dict[Node, object] = _constants(module) | dict(zip(placeholders, inputs, strict=True))
        for node in nodes:
            if node.op != "call_function" or node in values:
                continue
            arguments, options = map_arg((node.args, node.kwargs), values.get)
            if is_view(node):
                values[node] = node.target(*arguments, **options)
            else:
                example = node.meta["val"]
                values[node] = torch.empty(example.shape, dtype=example.dtype, device=example.device)
                self.calls += writing(node, arguments, options, values[node])
        prediction, *after = nodes[-1].args[0]
        self.prediction = values[prediction]
        ends = [
            (torch.empty_like(before), before, values[node])
            for before, node in zip(inputs[len(table) :], after, strict=True)
        ]
        # All are kept before the first is overwritten.
        self.calls += [functools.partial(end.copy_, value) for end, _, value in ends]
        self.calls += [functools.partial(before.copy_, end) for end, before, _ in ends]
        self.step = Replayed(self._step, state[0].device)

    @torch.no_grad()
    def __call__(self, symbol: int) -> Tensor:
        for given, row in zip(self.given, self.rows[symbol]):
            given.copy_(row)
        self.step()
        return self.prediction.clone()

    def _step(self) -> None:
        for call in self.calls:
            call()


class FusedStep:
    """A traced step as one line of a tape, whose time is the symbol.

    Raises Unsupported where steps.cpp cannot do it.
    """

    @torch.no_grad()
    def __init__(self, module: GraphModule, dtype: torch.dtype, device: torch.device):
        if device.type != "cpu":
            raise Unsupported("steps.cpp runs on a CPU")
        self.module, known, nodes = module, _constants(module), list(module.graph.nodes)
        self.placeholders = [node for node in nodes if node.op == "placeholder"]
        self.products = [
            node for node in nodes if node.target in (aten.mm.default, aten.addmm.default) and node not in known
        ]
        if any(node.kwargs for node in self.products):
            raise Unsupported("a scaled product")
        matrices = {node.args[-1] for node in self.products}
        self.constants = [
            node for node in known if node not in matrices and any(user not in known for user in node.users)
        ]
        columns = Columns(module.graph, given={*self.products, *self.constants}, skipped=known.keys() - self.constants)
        self.tape = tape = Tables(columns, dtype)
        prediction, *after = nodes[-1].args[0]
        carried = self.placeholders[-len(after) :]
        for node in [*self.placeholders, *self.products, *self.constants]:
            tape.located[int(columns.row(node)[0])] = Place(
                node, timed=node in self.placeholders and node not in carried
            )

        # Stage k comes after k products.
        stage_of: dict[Node, int] = {}
        for node in nodes[:-1]:
            before = max((stage_of[one] for one in node.all_input_nodes), default=0)
            stage_of[node] = self.products.index(node) + 1 if node in self.products else before
        instructions = {
            k: [one for one in columns.instructions if stage_of[one.node] == k] for k in range(len(self.products) + 1)
        }
        moves: dict[int, list[Move]] = {k: [] for k in instructions}
        of_carried = {int(columns.row(node)[0]) for node in carried}
        for node, to in zip(after, map(Place, carried), strict=True):
            if of_carried & {columns.value(int(part[0])).first for part in tape.runs(columns.row(node)) if part[0] > 0}:
                # That place may have been overwritten by then.
                raise Unsupported("a state that holds what another one held before")
            moves[len(self.products)] += tape.moves(columns.row(node), to)
        self.widths: dict[Hashable, int] = {node: len(columns.row(node)) for node in self.products}
        joined: dict[Node, Place] = {}
        # Each of these has to be in one place.
        for node in {prediction, *(one for product in self.products for one in product.args[:-1])}:
            if len(tape.runs(columns.row(node))) > 1:
                joined[node] = Place(("joined", node))
                moves[stage_of[node]] += tape.moves(columns.row(node), joined[node])
                self.widths["joined", node] = len(columns.row(node))
        readers = tape.readers(instructions, moves)
        for node in self.products:
            for one in node.args[:-1]:
                readers[columns.value(int(columns.row(one)[0])).first].add(node)
        for one in columns.instructions:
            if readers[one.out.first] - {stage_of[one.node]}:
                tape.located[one.out.first] = Place(one.out)
                self.widths[one.out] = one.out.width

        def place(node: Node) -> Place:
            return joined[node] if node in joined else tape.place(columns.row(node))

        self.prediction = place(prediction)
        for k in instructions:
            tape.stage("step", instructions[k], after=moves[k])
            if k < len(self.products):
                *added, operand, matrix = self.products[k].args
                tape.product(
                    "step",
                    place(operand),
                    place(added[0]) if added else None,
                    Place(self.products[k]),
                    matrix,
                    known[matrix].shape[::-1],
                )
        tape.ready()

    @torch.no_grad()
    def begin(self, table: list[Tensor], state: list[Tensor]) -> Callable[[int], Tensor]:
        """symbol -> prediction, from this state on, by the parameters as they are now."""
        tape, known = self.tape.again(), _constants(self.module)
        for node, part in zip(
            self.placeholders, [*(part.contiguous() for part in table), *(part.clone() for part in state)], strict=True
        ):
            tape.bind(node, part)
        for node in self.constants:
            tape.bind(node, known[node].reshape(1, -1).contiguous())
        for name, width in self.widths.items():
            tape.bind(name, state[0].new_empty(1, width))
        for node in self.products:
            tape.pack(node.args[-1], known[node.args[-1]].t())

        prediction = tape.tensors[self.prediction.tensor][0, self.prediction.column :]

        def step(symbol: int) -> Tensor:
            tape.run("step", symbol, 1, 1, 1)
            return prediction.clone()

        return step
