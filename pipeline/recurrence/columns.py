"""Traced operators as instructions on columns: what a row of the batch goes through,
whatever the batch and the memory.

Every tensor of a step is [B, ...] and its rows do not meet, so it is known by what one row holds: a number for each
column. Operators that only move numbers (views, joins) disappear; the others become instructions of steps.cpp, which
make new columns out of old ones.
"""

import operator
from bisect import bisect_right
from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from pipeline.recurrence.operators import JOINING, is_in_place, is_view

aten = torch.ops.aten
SCALE, ADD, MULTIPLY, ADD_PRODUCT, INTERPOLATE, SIGMOID, TANH, RELU, SIGMOID_GRADIENT, TANH_GRADIENT, RELU_GRADIENT = (
    range(11)
)

ARITY = (1, 2, 2, 3, 3, 1, 1, 1, 2, 2, 2)

# operator -> instruction, sign and name of its scalar
INSTRUCTIONS = {
    aten.add.Tensor: (ADD, 1, "alpha"),
    aten.sub.Tensor: (ADD, -1, "alpha"),
    aten.sub_.Tensor: (ADD, -1, "alpha"),
    aten.rsub.Scalar: (ADD, -1, None),
    aten.neg.default: (SCALE, -1, None),
    aten.mul.Tensor: (MULTIPLY, 1, None),
    aten.mul.Scalar: (MULTIPLY, 1, None),
    aten.div.Tensor: (MULTIPLY, 1, None),
    aten.div.Scalar: (MULTIPLY, 1, None),
    aten.addcmul.default: (ADD_PRODUCT, 1, "value"),
    aten.lerp.Tensor: (INTERPOLATE, 1, None),
    aten.lerp.Scalar: (INTERPOLATE, 1, None),
    aten.sigmoid.default: (SIGMOID, 1, None),
    aten.tanh.default: (TANH, 1, None),
    aten.relu.default: (RELU, 1, None),
    aten.sigmoid_backward.default: (SIGMOID_GRADIENT, 1, None),
    aten.tanh_backward.default: (TANH_GRADIENT, 1, None),
    aten.threshold_backward.default: (RELU_GRADIENT, 1, None),
}
RESHAPING = (aten.view.default, aten._unsafe_view.default)
MOVING = (*JOINING, aten.clone.default, aten.expand.default, aten.slice_backward.default, aten.select_backward.default)
BY_LAYOUT = (aten.as_strided.default, aten.view.dtype)  # views of what lies in memory, which columns do not say


class Unsupported(NotImplementedError):
    """An operator that steps.cpp has no instruction for."""


class Value(NamedTuple):
    """Columns first .. first + width - 1."""

    first: int
    width: int


class Instruction(NamedTuple):
    """out = code(operands), each given by the columns that it reads [width]."""

    node: Node
    code: int
    out: Value
    operands: list[Tensor]
    scalar: float


class Columns:
    """The columns of each node of a graph that was traced for one sequence, and the instructions that make them.

    Columns are counted from 1; those up to 0 are numbers: column -i of every node holds numbers[i]. `given` nodes are
    not looked into, `skipped` ones are left out.
    """

    def __init__(self, graph: Graph, given: Collection[Node] = (), skipped: Collection[Node] = ()):
        self.numbers = [0.0]
        self.values: list[Value] = []
        self.instructions: list[Instruction] = []
        self.of: dict[Node, Tensor] = {}
        self._firsts: list[int] = []
        for node in graph.nodes:
            if node.op == "output" or node in skipped:
                continue
            if node.op == "placeholder" or node in given:
                self.of[node] = self.given(node.meta["val"].numel()).view(node.meta["val"].shape)
            elif node.op == "call_function":
                self.of[node] = self._result(node)
            else:
                raise Unsupported(f"a step that reads {node.target} by itself")

    def value(self, column: int) -> Value:
        """The value that a column is part of."""
        return self.values[bisect_right(self._firsts, column) - 1]

    def row(self, node: Node) -> Tensor:
        """The columns of a node as one row."""
        return self.of[node].flatten()

    def given(self, width: int) -> Tensor:
        """The columns of one more value that no instruction makes."""
        return self._columns(self._new(width))

    def _new(self, width: int) -> Value:
        value = Value(self.values[-1].first + self.values[-1].width if self.values else 1, width)
        self.values.append(value)
        self._firsts.append(value.first)
        return value

    def _columns(self, value: Value) -> Tensor:
        return torch.arange(value.first, value.first + value.width)

    def _number(self, number: float) -> int:
        if number not in self.numbers:
            self.numbers.append(float(number))
        return -self.numbers.index(number)

    def _result(self, node: Node) -> Tensor | list[Tensor]:
        arguments, options = map_arg((node.args, node.kwargs), self.of.__getitem__)
        if is_in_place(node) and (
            is_view(node.args[0]) or node.args[0].op != "call_function" or len(node.args[0].users) > 1
        ):
            raise Unsupported(f"{node.target} of what others read too in a step")
        if node.target in RESHAPING:
            return arguments[0].reshape(arguments[1])
        if node.target is operator.getitem or is_view(node) and node.target not in BY_LAYOUT or node.target in MOVING:
            return node.target(*arguments, **options)
        shape = node.meta["val"].shape
        if node.target in (aten.zeros.default, aten.zeros_like.default, aten.empty_like.default):
            return torch.zeros(shape, dtype=torch.long)
        if node.target is aten.ones_like.default:
            return torch.full(shape, self._number(1.0))
        if node.target is aten.fill_.Scalar:
            return torch.full(shape, self._number(arguments[1]))
        if node.target is aten.sum.dim_IntList:
            return self._sum(node, *arguments)
        if node.target not in INSTRUCTIONS:
            raise Unsupported(f"{node.target} in a step")
        code, sign, name = INSTRUCTIONS[node.target]
        if node.target in (aten.div.Tensor, aten.div.Scalar) and not isinstance(arguments[1], Tensor):
            arguments = (arguments[0], 1 / arguments[1])
        elif node.target is aten.div.Tensor:
            raise Unsupported("a division by other than a number in a step")
        operands = [one if isinstance(one, Tensor) else torch.tensor(self._number(one)) for one in arguments]
        if code == RELU_GRADIENT:
            operands.pop()  # the threshold, which is 0
        if node.target is aten.rsub.Scalar:
            operands.reverse()  # b - a
        if len(operands) != ARITY[code]:
            raise Unsupported(f"{node.target} of {len(operands)} in a step")
        return self._instruct(node, code, operands, shape, sign * options.get(name, 1.0))

    def _instruct(
        self, node: Node, code: int, operands: list[Tensor], shape: torch.Size, scalar: float = 1.0
    ) -> Tensor:
        out = self._new(shape.numel())
        self.instructions.append(
            Instruction(node, code, out, [one.expand(shape).flatten() for one in operands], scalar)
        )
        return self._columns(out).view(shape)

    def _sum(self, node: Node, of: Tensor, dims: list[int], keepdim: bool = False) -> Tensor:
        [dim] = [dim % of.dim() for dim in dims] if len(dims) == 1 else [0]
        if dim == 0:
            raise Unsupported("a sum over the batch or over several dimensions in a step")
        total, *others = of.split(1, dim)
        for other in others:
            total = self._instruct(node, ADD, [total, other], total.shape)
        return total if keepdim else total.squeeze(dim)
