"""One step of a cell, traced: a graph of pointwise operators, and that of its gradients, with the products' results
taken as given, in stages between the products."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from pipeline.cells.cell import Cell, State
from pipeline.recurrence.operators import simplify

Stage = tuple[str, int]  # "forward" after so many products of a step, "backward" before so many


class Step:
    """The graph of one step, forward and backward, for a batch of one size.

    names       products in the order of their use
    inputs      "x" name, "constant" name, "state" index, "result" name, and for the gradients of the outputs
                "d operand" name, "d state" index -> the graph's node, absent where it is not used
    outputs     "operand" name, "state" index, and for the gradients of the inputs "d x" name and so on -> node or None
    stages      stage -> its operators
    """

    def __init__(self, cell: Cell, xs: dict[str, Tensor], constants: dict[str, Tensor], state: State, batch: int):
        """Of a cell that is given parts of these shapes, [batch, ...] whatever their batch."""
        new = {"dtype": state[0].dtype, "device": state[0].device}
        shapes = {("x", name): part.shape[1:] for name, part in xs.items()}
        shapes |= {("constant", name): part.shape[1:] for name, part in constants.items()}
        shapes |= {("state", index): part.shape[1:] for index, part in enumerate(state)}
        shapes |= {("result", name): (rows,) for name, (rows, _) in cell.products.items()}
        given = {key: torch.zeros(batch, *shape, **new) for key, shape in shapes.items()}
        names: list[str] = []

        def step(values: list[Tensor]) -> list[Tensor]:
            of = dict(zip(given, values, strict=True))
            operands = []

            def product(name: str, operand: Tensor) -> Tensor:
                names.append(name)
                operands.append(operand)
                return of["result", name]

            x = {name: value for (kind, name), value in of.items() if kind in ("x", "constant")}
            after = cell.step(x, tuple(value for (kind, _), value in of.items() if kind == "state"), product)
            return [*operands, *after]

        def both(values: list[Tensor], gradients: list[Tensor]) -> tuple[list[Tensor], list[Tensor | None]]:
            with torch.enable_grad():
                values = [value.requires_grad_() for value in values]
                after = step(values)
                return after, list(torch.autograd.grad(after, values, gradients, allow_unused=True))

        with torch.no_grad():
            gradients = [torch.zeros_like(part) for part in step(list(given.values()))]
        assert sorted(names) == sorted(cell.products), "a step uses each of its products once"
        self.names = list(names)
        of_outputs = [("operand", name) for name in names] + [("state", index) for index in range(len(state))]
        self.graph = graph = make_fx(both, tracing_mode="fake")(list(given.values()), gradients).graph
        placeholders = [node for node in graph.nodes if node.op == "placeholder"]
        keys = [*given, *(("d " + kind, name) for kind, name in of_outputs)]
        self.inputs = dict(zip(keys, placeholders, strict=True))
        simplify(graph)
        returned = next(node for node in graph.nodes if node.op == "output").args[0]
        returned = [*returned[0], *returned[1]] if isinstance(returned[0], (list, tuple)) else list(returned)
        self.outputs = dict(zip([*of_outputs, *(("d " + kind, name) for kind, name in given)], returned, strict=True))
        self.functions: dict[Stage, Callable] = {}  # stages, compiled

        # The operators of each stage: after how many products they run forward, and before how many backward.
        operators = [node for node in graph.nodes if node.op == "call_function"]
        last = len(self.names)
        forward = {self.outputs[key] for key in of_outputs}
        for node in reversed(operators):
            if node in forward:
                forward.update(node.all_input_nodes)
        stage = {node: 0 if node.op == "placeholder" else None for node in graph.nodes}
        level = dict.fromkeys(graph.nodes, last)
        for k, name in enumerate(self.names):
            stage[self.inputs["result", name]] = k + 1
            level[self.inputs["d operand", name]] = k
        for node in operators:
            stage[node] = max((stage[one] for one in node.all_input_nodes), default=0)
            level[node] = min((level[one] for one in node.all_input_nodes), default=last)
        self.stages = {
            ("forward", k): [node for node in operators if node in forward and stage[node] == k]
            for k in range(last + 1)
        }
        self.stages |= {
            ("backward", k): [node for node in operators if node not in forward and level[node] == k]
            for k in reversed(range(last + 1))
        }
