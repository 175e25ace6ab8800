"""A cell's steps as straight lines of operators: forward, and backward without an autograd graph.

One step is recorded once, with the products' results taken as given: a graph of pointwise operators, and that of its
gradients. The nodes fall into stages between the products. Each is bound, for every time step, to buffers that are kept
from one pass to the next; a pass calls them one after the other.

Shapes: T time, B batch, R rows and C columns of a product.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg

from pipeline.cells.cell import Cell
from pipeline.recurrence.operators import JOINING, Call, base, is_in_place, is_view, pieces, simplify, writing

aten = torch.ops.aten
Place = Callable[[int], Tensor]  # the time step -> a buffer, or a part of one
Stage = tuple[str, int]  # "forward" after so many products of a step, "backward" before so many


class Step:
    """The graph of one step, forward and backward, for a batch of one size.

    names       products in the order of their use
    inputs      "x" name, "constant" name, "state" index, "result" name, and for the gradients of the outputs
                "d operand" name, "d state" index -> the graph's node, absent where it is not used
    outputs     "operand" name, "state" index, and for the gradients of the inputs "d x" name and so on -> node or None
    """

    def __init__(self, cell: Cell, xs: dict[str, Tensor], constants: dict[str, Tensor], state: tuple[Tensor, ...]):
        batch = len(state[0])
        new = {"dtype": state[0].dtype, "device": state[0].device}
        results = {name: torch.zeros(batch, rows, **new) for name, (rows, _) in cell.products.items()}
        given = {("x", name): part for name, part in xs.items()} | {
            ("constant", name): part for name, part in constants.items()
        }
        given |= {("state", index): part for index, part in enumerate(state)} | {
            ("result", name): part for name, part in results.items()
        }
        given = {key: torch.zeros(part.shape, **new) for key, part in given.items()}
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
        graph = make_fx(both, tracing_mode="fake")(list(given.values()), gradients).graph
        placeholders = [node for node in graph.nodes if node.op == "placeholder"]
        keys = [*given, *(("d " + kind, name) for kind, name in of_outputs)]
        self.inputs = dict(zip(keys, placeholders, strict=True))
        simplify(graph)
        returned = next(node for node in graph.nodes if node.op == "output").args[0]
        returned = [*returned[0], *returned[1]] if isinstance(returned[0], (list, tuple)) else list(returned)
        self.outputs = dict(zip([*of_outputs, *(("d " + kind, name) for kind, name in given)], returned, strict=True))
        self.graph = graph
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


class Kernel(NamedTuple):
    """A stage as one function: of what it reads, then where it writes."""

    function: Callable
    reads: list[Node]
    writes: list[Place]


class Buffers:
    """What up to `capacity` steps of a cell read and write.

    states      [capacity + 1, B, width] each, before and after every step
    xs, constants  what `step` is given: [capacity, B, R] and [B, ...]
    operands, d_results  of each product, [capacity, B, C] and [capacity, B, R]: they make its matrix's gradient
    d_operands, d_constants, d_xs  gradients of one step, sums over steps, and of each step
    d_states    [2, B, width] each: gradients of the states after step t in [t % 2], before it in the other
    """

    def __init__(self, step: Step, cell: Cell, capacity: int, batch: int):
        self.step, self.capacity, self.batch = step, capacity, batch
        example = step.inputs["state", 0].meta["val"]
        self.new = {"dtype": example.dtype, "device": example.device}
        names, states = step.names, range(len(cell.state))
        self.states = [self._buffer(capacity + 1, step.inputs["state", j]) for j in states]
        self.xs = {
            name: self._buffer(capacity, node)
            for (kind, name), node in step.inputs.items()
            if kind == "x" and node.users
        }
        self.constants = {
            name: self._buffer(node) for (kind, name), node in step.inputs.items() if kind == "constant" and node.users
        }
        self.d_results = {name: self._buffer(capacity, step.inputs["result", name]) for name in names}
        self.d_operands = {name: self._buffer(step.inputs["d operand", name]) for name in names}
        self.d_xs = {name: torch.zeros_like(buffer) for name, buffer in self.xs.items()}
        self.d_constants = {name: torch.zeros_like(buffer) for name, buffer in self.constants.items()}
        self.d_states = [self._buffer(2, step.inputs["state", j]) for j in states]
        self.operands = {}
        for name in names:
            index = next((j for j in states if step.outputs["operand", name] is step.inputs["state", j]), None)
            self.operands[name] = (
                self._buffer(capacity, step.inputs["d operand", name]) if index is None else self.states[index]
            )

    def is_state(self, name: str) -> bool:
        """Whether a product's operand is a state as it was before the step."""
        return any(self.operands[name] is state for state in self.states)

    def enter_backward(self, steps: int, d_states: tuple[Tensor, ...]) -> None:
        """Takes the gradients of the states after the last step; no sum has begun."""
        for total in self.d_constants.values():
            total.zero_()
        for buffer, gradient in zip(self.d_states, d_states, strict=True):
            buffer[(steps - 1) % 2].copy_(gradient)

    def _buffer(self, *shape: int | Node) -> Tensor:
        sizes = [
            size
            for part in shape
            for size in ([part] if isinstance(part, int) else [self.batch, *part.meta["val"].shape[1:]])
        ]
        return torch.zeros(sizes, **self.new)


class Program(Buffers):
    """The calls of up to `capacity` steps, bound to their buffers."""

    def __init__(self, step: Step, cell: Cell, capacity: int, batch: int, compiled: bool):
        super().__init__(step, cell, capacity, batch)
        self.operators = [node for node in step.graph.nodes if node.op == "call_function"]
        names, states = step.names, len(cell.state)
        last = len(names)
        self.stages = step.stages
        forward = {node for (direction, _), nodes in step.stages.items() if direction == "forward" for node in nodes}

        # What the backward pass reads has a buffer for each step, the rest share one.
        kept = {base(one) for node in self.operators if node not in forward for one in node.all_input_nodes}
        kept |= {base(node) for key, node in step.outputs.items() if key[0].startswith("d ") and node is not None}
        self.results = {
            name: self._buffer(
                *([capacity] if step.inputs["result", name] in kept else []), step.inputs["result", name]
            )
            for name in names
        }

        self.places: dict[Node, Place] = {}
        self.joined: set[Node] = set()  # those that lie in the place of what joins them
        # Outputs that no operator writes where they belong.
        self.copies: dict[Stage, list[tuple[Place, Node]]] = {key: [] for key in self.stages}
        for j in range(states):
            self._put(("forward", last), step.outputs["state", j], lambda t, j=j: self.states[j][t + 1])
        for k, name in enumerate(names):
            if not self.is_state(name):
                self._put(
                    ("forward", k), step.outputs["operand", name], lambda t, buffer=self.operands[name]: buffer[t]
                )
        for k, name in enumerate(names):
            self._put(
                ("backward", k + 1), step.outputs["d result", name], lambda t, buffer=self.d_results[name]: buffer[t]
            )
        for name, buffer in self.d_xs.items():
            self._put(("backward", 0), step.outputs["d x", name], lambda t, buffer=buffer: buffer[t])
        for j in range(states):
            self._put(("backward", 0), step.outputs["d state", j], lambda t, j=j: self.d_states[j][(t + 1) % 2])
        for node in self.operators:
            if node not in self.places and not is_view(node) and not is_in_place(node):
                if node in kept and node in forward:
                    buffer = self._buffer(capacity, node)
                    self.places[node] = lambda t, buffer=buffer: buffer[t]
                else:
                    buffer = self._buffer(node)
                    self.places[node] = lambda t, buffer=buffer: buffer
        self.sums = {key: [] for key in self.stages}
        self.sums["backward", 0] = [
            (total, step.outputs["d constant", name])
            for name, total in self.d_constants.items()
            if step.outputs["d constant", name] is not None
        ]
        self.returned = {base(node) for node in step.outputs.values() if node is not None}
        kernels = {key: self._kernel(key) for key in self.stages} if compiled else {}
        self.calls = [self._bind_compiled(t, kernels) if compiled else self._bind(t) for t in range(capacity)]
        for t, calls in enumerate(self.calls):
            calls["backward", 0] += [
                self.d_states[j][(t + 1) % 2].zero_ for j in range(states) if step.outputs["d state", j] is None
            ]
        self.places, self.copies = {}, {}  # they refer to this program, and would keep its buffers alive

    def _put(self, stage: Stage, node: Node | None, place: Place) -> None:
        if node is not None and not self._place(node, place):
            self.copies[stage].append((place, node))

    def _place(self, node: Node, place: Place) -> bool:
        """Has the operator write its result there, if it may."""
        if node.op != "call_function" or node in self.places or is_in_place(node):
            return False
        if is_view(node):
            inner = node.args[0]
            if node.target not in (aten.view.default, aten.unsqueeze.default, aten.squeeze.dim) or len(inner.users) > 1:
                return False
            return self._place(inner, lambda t: place(t).view(inner.meta["val"].shape))
        if any(is_in_place(user) for user in node.users):
            return False
        self.places[node] = place
        if node.target in JOINING:
            for index, part in enumerate(node.args[0]):
                if (
                    len(part.users) == 1
                    and not is_view(part)
                    and self._place(part, lambda t, index=index: pieces(node, place(t))[index])
                ):
                    self.joined.add(part)
        return True

    def _bind(self, t: int) -> dict[Stage, list[Call]]:
        values = self._inputs(t)

        def value(argument):
            return map_arg(argument, values.__getitem__)

        calls: dict[Stage, list[Call]] = {}
        for key, nodes in self.stages.items():
            calls[key] = []
            for node in nodes:
                arguments, options = value(node.args), value(node.kwargs)
                if is_view(node):
                    values[node] = node.target(*arguments, **options)
                elif is_in_place(node):
                    values[node] = arguments[0]
                    calls[key].append(functools.partial(node.target, *arguments, **options))
                else:
                    values[node] = self.places[node](t)
                    calls[key] += writing(node, arguments, options, values[node])
            calls[key] += [functools.partial(place(t).copy_, values[node]) for place, node in self.copies[key]]
            calls[key] += [functools.partial(total.add_, values[node]) for total, node in self.sums[key]]
        return calls

    def _bind_compiled(self, t: int, kernels: dict[Stage, Kernel | None]) -> dict[Stage, list[Call]]:
        values = self._inputs(t)
        return {
            key: [
                functools.partial(
                    kernel.function,
                    *(values[node] if node in values else self.places[node](t) for node in kernel.reads),
                    *(place(t) for place in kernel.writes),
                    *(total for total, _ in self.sums[key]),
                )
            ]
            if kernel
            else []
            for key, kernel in kernels.items()
        }

    def _kernel(self, key: Stage) -> Kernel | None:
        """One stage as one compiled function of what it reads and where it writes."""
        nodes = set(self.stages[key])
        writes: list[tuple[Place, Node]] = list(self.copies[key])

        def exported(node: Node) -> bool:
            """Whether anything outside the stage reads it."""

            def passed_on(user: Node) -> bool:
                if is_view(user) or user.target in JOINING and node in self.joined and user in nodes:
                    return exported(user)
                return user.op != "output" and user not in nodes

            return node in self.returned or any(passed_on(user) for user in node.users)

        for node in self.stages[key]:
            if is_view(node) or is_in_place(node) or not exported(node):
                continue
            if node.target in JOINING:
                writes += [
                    (lambda t, node=node, index=index: pieces(node, self.places[node](t))[index], part)
                    for index, part in enumerate(node.args[0])
                    if part not in self.joined
                ]
            else:
                writes.append((self.places[node], node))
        if not writes and not self.sums[key]:
            return None
        reads: dict[Node, None] = {}
        needed: dict[Node, None] = {}

        def need(node: Node) -> None:
            if node not in needed and node not in reads:
                if node in nodes or is_view(node):
                    for one in node.all_input_nodes:
                        need(one)
                    needed[node] = None
                else:
                    reads[node] = None

        for node in self.stages[key]:
            need(node)
        for node in [node for _, node in writes + self.sums[key]]:
            need(node)
        graph, copied, values = Graph(), {}, self._inputs(0)
        examples = [values[node] if node in values else self.places[node](0) for node in reads]
        examples += [place(0) for place, _ in writes] + [total for total, _ in self.sums[key]]
        for index, node in enumerate(reads):
            copied[node] = graph.placeholder(f"read{index}")
        targets = [graph.placeholder(f"write{index}") for index in range(len(writes) + len(self.sums[key]))]
        for node in self.step.graph.nodes:
            if node in needed:
                copied[node] = graph.node_copy(node, copied.__getitem__)
        for target, (_, node) in zip(targets, writes):
            graph.call_function(aten.copy_.default, (target, copied[node]))
        for target, (_, node) in zip(targets[len(writes) :], self.sums[key]):
            graph.call_function(aten.add_.Tensor, (target, copied[node]))
        graph.output(())
        if key not in self.step.functions:
            self.step.functions[key] = fuse(graph, examples)
        return Kernel(self.step.functions[key], list(reads), [place for place, _ in writes])

    def _inputs(self, t: int) -> dict[Node, Tensor | None]:
        """Where the graph's inputs are at step t."""
        of = {
            "x": lambda name: self.xs[name][t] if name in self.xs else None,
            "constant": self.constants.get,
            "state": lambda j: self.states[j][t],
            "result": lambda name: self.result(name, t),
            "d operand": self.d_operands.get,
            "d state": lambda j: self.d_states[j][t % 2],
        }
        return {node: of[kind](name) for (kind, name), node in self.step.inputs.items()}

    def forward(
        self, cell: Cell, weights: dict[str, Tensor], steps: int, added: dict[str, Tensor], read: dict[str, Tensor]
    ) -> None:
        """Runs `steps` steps from states[.][0].

        weights, added  product -> its matrix, and what is added to its results [T, B, R]
        read            what of x the products read, [T, B, ...]
        """
        names = self.step.names
        multiply = {name: cell.multiplier(weight, self.batch) for name, weight in weights.items()}
        read = _by_step(read, steps)
        for t in range(steps):
            calls = self.calls[t]
            for call in calls["forward", 0]:
                call()
            for k, name in enumerate(names):
                result = multiply[name](self.operands[name][t], read[t])
                if name in added:
                    torch.add(result, added[name][t], out=self.result(name, t))
                else:
                    self.result(name, t).copy_(result)
                for call in calls["forward", k + 1]:
                    call()

    def backward(
        self,
        cell: Cell,
        weights: dict[str, Tensor],
        steps: int,
        d_outputs: Tensor,
        d_states: tuple[Tensor, ...],
        read: dict[str, Tensor],
    ) -> None:
        """Runs backward from the gradients of the outputs and of the states after."""
        names = self.step.names
        multiply = {name: cell.multiplier(weight.mT, self.batch) for name, weight in weights.items()}
        read = _by_step(read, steps)
        self.enter_backward(steps, d_states)
        d_outputs = d_outputs.unbind(0)
        for t in reversed(range(steps)):
            self.d_states[0][t % 2].add_(d_outputs[t])
            calls = self.calls[t]
            for call in calls["backward", len(names)]:
                call()
            for k in reversed(range(len(names))):
                name = names[k]
                self.d_operands[name].copy_(multiply[name](self.d_results[name][t], read[t]))
                for call in calls["backward", k]:
                    call()

    def result(self, name: str, t: int) -> Tensor:
        """What product `name` gives at step t, [B, R]."""
        buffer = self.results[name]
        return buffer[t] if buffer.dim() == 3 else buffer


def _by_step(read: dict[str, Tensor], steps: int) -> list[dict[str, Tensor]]:
    return [{name: part[t] for name, part in read.items()} for t in range(steps)]


def fuse(graph: Graph, examples: list[Tensor]) -> Callable:
    """A graph that writes into some of its inputs -> one compiled function."""
    examples = [
        torch.empty_strided(one.shape, one.stride(), dtype=one.dtype, device=one.device).copy_(one) for one in examples
    ]
    with torch._inductor.config.patch({"cpp.use_decompose_tanh": True, "size_asserts": False}):
        return torch._inductor.compile(GraphModule({}, graph), examples)
