"""A cell's steps as straight lines of operators: forward, and backward without an autograd graph.

The operators of a traced step are bound, for every time step, to buffers that are kept from one pass to the next; a
pass calls them one after the other.

Shapes: T time, B batch, R rows and C columns of a product.
"""

import functools
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from pipeline.cells.cell import Cell
from pipeline.cells.matrices import matrices
from pipeline.recurrence.operators import JOINING, Call, base, is_in_place, is_view, writing
from pipeline.recurrence.program import Program
from pipeline.recurrence.slots import Alternating, Piece, Shared, Slot, Timed, Viewed
from pipeline.recurrence.step import Stage, Step

aten = torch.ops.aten


class DeferredProgram(Program):
    """The calls of up to `capacity` steps, bound to their buffers."""

    def __init__(self, step: Step, cell: Cell, capacity: int, batch: int):
        super().__init__(step, cell, capacity, batch)
        operators = [node for nodes in step.stages.values() for node in nodes]
        forward = {node for (direction, _), nodes in step.stages.items() if direction == "forward" for node in nodes}

        # What the backward pass reads has a buffer for each step, the rest share one.
        kept = {base(one) for node in operators if node not in forward for one in node.all_input_nodes}
        kept |= {base(node) for key, node in step.outputs.items() if key[0].startswith("d ") and node is not None}

        def slot_of_its_own(node: Node, timed: bool) -> Slot:
            return Timed(self._buffer(capacity, node)) if timed else Shared(self._buffer(node))

        self.slots: dict[Node, Slot] = {}
        self.results = {}
        for (kind, name), node in step.inputs.items():
            if kind == "result":
                self.slots[node] = self.results[name] = slot_of_its_own(node, node in kept)
            elif kind == "x" and name in self.xs:
                self.slots[node] = Timed(self.xs[name])
            elif kind == "constant" and name in self.constants:
                self.slots[node] = Shared(self.constants[name])
            elif kind == "state":
                self.slots[node] = Timed(self.states[name])
            elif kind == "d operand":
                self.slots[node] = Shared(self.d_operands[name])
            elif kind == "d state":
                self.slots[node] = Alternating(self.d_states[name])

        self.joined: set[Node] = set()  # those that lie in the slot of what joins them
        # Outputs that no operator writes where they belong.
        self.copies: dict[Stage, list[tuple[Slot, Node]]] = {stage: [] for stage in step.stages}
        for stage, node, slot in self._outputs():
            if not self._write_there(node, slot):
                self.copies[stage].append((slot, node))
        for node in operators:
            if node not in self.slots and not is_view(node) and not is_in_place(node):
                self.slots[node] = slot_of_its_own(node, node in kept and node in forward)
        self.sums: dict[Stage, list[tuple[Tensor, Node]]] = {stage: [] for stage in step.stages}
        self.sums["backward", 0] = [
            (total, step.outputs["d constant", name])
            for name, total in self.d_constants.items()
            if step.outputs["d constant", name] is not None
        ]
        self.calls = [self._bind(t) for t in range(capacity)]
        unchanged = [
            Alternating(total, 1) for j, total in enumerate(self.d_states) if step.outputs["d state", j] is None
        ]
        for t, calls in enumerate(self.calls):
            calls["backward", 0] += [slot.at(t).zero_ for slot in unchanged]

    def _outputs(self) -> Iterator[tuple[Stage, Node, Slot]]:
        """Stage after which an output is there, its node, and where it belongs."""
        outputs, names, last = self.step.outputs, self.step.names, len(self.step.names)
        found = [(("forward", last), ("state", j), Timed(state, 1)) for j, state in enumerate(self.states)]
        found += [
            (("forward", k), ("operand", name), Timed(self.operands[name]))
            for k, name in enumerate(names)
            if not self.is_state(name)
        ]
        found += [
            (("backward", k + 1), ("d result", name), Timed(self.d_results[name])) for k, name in enumerate(names)
        ]
        found += [(("backward", 0), ("d x", name), Timed(total)) for name, total in self.d_xs.items()]
        found += [(("backward", 0), ("d state", j), Alternating(total, 1)) for j, total in enumerate(self.d_states)]
        for stage, key, slot in found:
            if outputs[key] is not None:
                yield stage, outputs[key], slot

    def _write_there(self, node: Node, slot: Slot) -> bool:
        """Has the operator write its result there, if it may."""
        if node.op != "call_function" or node in self.slots or is_in_place(node):
            return False
        if is_view(node):
            inner = node.args[0]
            if node.target not in (aten.view.default, aten.unsqueeze.default, aten.squeeze.dim) or len(inner.users) > 1:
                return False
            return self._write_there(inner, Viewed(slot, inner.meta["val"].shape))
        if any(is_in_place(user) for user in node.users):
            return False
        self.slots[node] = slot
        if node.target in JOINING:
            for index, part in enumerate(node.args[0]):
                if len(part.users) == 1 and not is_view(part) and self._write_there(part, Piece(slot, node, index)):
                    self.joined.add(part)
        return True

    def _bind(self, t: int) -> dict[Stage, list[Call]]:
        """The calls of step t."""
        values = {node: self.slots[node].at(t) for node in self.step.inputs.values() if node in self.slots}
        calls: dict[Stage, list[Call]] = {}
        for stage, nodes in self.step.stages.items():
            calls[stage] = []
            for node in nodes:
                arguments, options = map_arg((node.args, node.kwargs), values.__getitem__)
                if is_view(node):
                    values[node] = node.target(*arguments, **options)
                elif is_in_place(node):
                    values[node] = arguments[0]
                    calls[stage].append(functools.partial(node.target, *arguments, **options))
                else:
                    values[node] = self.slots[node].at(t)
                    calls[stage] += writing(node, arguments, options, values[node])
            calls[stage] += [functools.partial(slot.at(t).copy_, values[node]) for slot, node in self.copies[stage]]
            calls[stage] += [functools.partial(total.add_, values[node]) for total, node in self.sums[stage]]
        return calls

    def forward(
        self, cell: Cell, weights: dict[str, Tensor], steps: int, added: dict[str, Tensor], inputs: Tensor
    ) -> None:
        multiply = {name: matrix.ready(self.batch) for name, matrix in matrices(cell, weights).items()}
        inputs = inputs.unbind(0)
        for t in range(steps):
            calls = self.calls[t]
            for call in calls["forward", 0]:
                call()
            for k, name in enumerate(self.step.names):
                result = multiply[name](self.operands[name][t], inputs[t])
                if name in added:
                    torch.add(result, added[name][t], out=self.results[name].at(t))
                else:
                    self.results[name].at(t).copy_(result)
                for call in calls["forward", k + 1]:
                    call()

    def backward(
        self,
        cell: Cell,
        weights: dict[str, Tensor],
        steps: int,
        d_outputs: Tensor,
        d_states: tuple[Tensor | None, ...],
        inputs: Tensor,
    ) -> None:
        names = self.step.names
        transposed = {name: weight.mT for name, weight in weights.items()}
        multiply = {name: matrix.ready(self.batch) for name, matrix in matrices(cell, transposed).items()}
        self.enter_backward(steps, d_states)
        inputs, d_outputs = inputs.unbind(0), d_outputs.unbind(0)
        for t in reversed(range(steps)):
            self.d_states[0][t % 2].add_(d_outputs[t])
            calls = self.calls[t]
            for call in calls["backward", len(names)]:
                call()
            for k in reversed(range(len(names))):
                name = names[k]
                self.d_operands[name].copy_(multiply[name](self.d_results[name][t], inputs[t]))
                for call in calls["backward", k]:
                    call()
