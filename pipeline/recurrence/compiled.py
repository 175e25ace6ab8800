"""A cell's steps as straight lines of kernels: what lies between two products is compiled into one function."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from pipeline.recurrence.deferred import DeferredProgram
from pipeline.recurrence.operators import JOINING, Call, base, is_in_place, is_view
from pipeline.recurrence.slots import Piece, Slot
from pipeline.recurrence.step import Stage

aten = torch.ops.aten


class Kernel(NamedTuple):
    """A stage as one function: of what it reads, then where it writes."""

    function: Callable
    reads: list[Node]
    writes: list[Slot]


class CompiledProgram(DeferredProgram):
    """The kernels of up to `capacity` steps, bound to their buffers."""

    def _bind(self, t: int) -> dict[Stage, list[Call]]:
        return {
            stage: [
                functools.partial(
                    kernel.function,
                    *(self.slots[node].at(t) for node in kernel.reads),
                    *(slot.at(t) for slot in kernel.writes),
                    *(total for total, _ in self.sums[stage]),
                )
            ]
            if kernel
            else []
            for stage, kernel in self._kernels.items()
        }

    @functools.cached_property
    def _kernels(self) -> dict[Stage, Kernel | None]:
        return {stage: self._kernel(stage) for stage in self.step.stages}

    def _kernel(self, stage: Stage) -> Kernel | None:
        """One stage as one compiled function of what it reads and where it writes."""
        operators = self.step.stages[stage]
        writes = [*self.copies[stage], *self._written(operators)]
        results = [node for _, node in writes + self.sums[stage]]
        if not results:
            return None
        needed, reads = _sources([*operators, *results], set(operators))
        if stage not in self.step.functions:
            graph, copied = Graph(), {}
            for index, node in enumerate(reads):
                copied[node] = graph.placeholder(f"read{index}")
            targets = [graph.placeholder(f"write{index}") for index in range(len(results))]
            for node in self.step.graph.nodes:
                if node in needed:
                    copied[node] = graph.node_copy(node, copied.__getitem__)
            for index, (target, node) in enumerate(zip(targets, results, strict=True)):
                put = aten.copy_.default if index < len(writes) else aten.add_.Tensor
                graph.call_function(put, (target, copied[node]))
            graph.output(())
            examples = [self.slots[node].at(0) for node in reads]
            examples += [slot.at(0) for slot, _ in writes] + [total for total, _ in self.sums[stage]]
            self.step.functions[stage] = fuse(graph, examples)
        return Kernel(self.step.functions[stage], reads, [slot for slot, _ in writes])

    def _written(self, operators: list[Node]) -> Iterator[tuple[Slot, Node]]:
        """Where a stage's operators write what is read outside of it."""
        inside, returned = set(operators), {base(node) for node in self.step.outputs.values() if node is not None}

        def exported(node: Node) -> bool:
            return node in returned or any(passed_on(node, user) for user in node.users)

        def passed_on(node: Node, user: Node) -> bool:
            if is_view(user) or user.target in JOINING and node in self.joined and user in inside:
                return exported(user)
            return user.op != "output" and user not in inside

        for node in operators:
            if is_view(node) or is_in_place(node) or not exported(node):
                continue
            if node.target in JOINING:
                for index, part in enumerate(node.args[0]):
                    if part not in self.joined:
                        yield Piece(self.slots[node], node, index), part
            else:
                yield self.slots[node], node


def _sources(nodes: list[Node], inside: set[Node]) -> tuple[set[Node], list[Node]]:
    """What nodes are computed from, themselves included: operators inside a stage and views, and what is read there."""
    needed: set[Node] = set()
    reads: dict[Node, None] = {}

    def need(node: Node) -> None:
        if node in needed or node in reads:
            return
        if node in inside or is_view(node):
            for one in node.all_input_nodes:
                need(one)
            needed.add(node)
        else:
            reads[node] = None

    for node in nodes:
        need(node)
    return needed, list(reads)


def fuse(graph: Graph, examples: list[Tensor]) -> Callable:
    """A graph that writes into some of its inputs -> one compiled function."""
    examples = [
        torch.empty_strided(one.shape, one.stride(), dtype=one.dtype, device=one.device).copy_(one) for one in examples
    ]
    with torch._inductor.config.patch({"cpp.use_decompose_tanh": True, "size_asserts": False}):
        return torch._inductor.compile(GraphModule({}, graph), examples)
