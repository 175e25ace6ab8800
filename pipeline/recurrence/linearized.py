"""A pass through the steps of a cell that can be differentiated once more in the gradients it was given: the derivative
of a recurrence, J, times a change of what it depends on, and J^T times a change of its outputs.

With u -> J^T u, what a backward pass computes, J v is the gradient of (J^T u) . v in u. Both are recurrences and run by
the programs of pipeline.recurrence.lending: the steps of J are those of a cell, `Tangent`, and the change of a weight
matrix leaves the loop as one product, dW a_t for all steps.

Shapes: T time, B batch, R rows and C columns of a product, H hidden.
"""

import warnings
import weakref

import torch
from torch import Tensor
from torch.autograd import forward_ad

from pipeline.cells.cell import Cell, Product, State
from pipeline.cells.matrices import ChosenMatrix, matrices
from pipeline.recurrence.columns import Unsupported
from pipeline.recurrence.lending import PROGRAMS, Lease, borrow
from pipeline.recurrence.passes import Steps, by_program
from pipeline.recurrence.program import Program

# PyTorch scripts some of its own forward derivatives at the first that is asked for.
warnings.filterwarnings("ignore", "`torch.jit.script`")


def linearized(cell: Cell, x: Tensor, state: State, recurrent: dict[str, Tensor], engine: str) -> tuple[Tensor, State]:
    """As by_program. The gradients may be differentiated in the gradients of the outputs, for J v, and in nothing else:
    of what they have of second derivatives nothing is known here. J v lies in buffers until the next product."""
    return by_program(cell, x, state, recurrent, engine, _Linearized)


class _Linearized(Steps):
    @staticmethod
    def forward(ctx, lease, cell, keys, lasting, inputs, *tensors):
        ctx.values = {key: part.detach() for key, part in zip(keys, tensors, strict=True)}
        ctx.tangent = None
        found = Steps.forward(ctx, lease, cell, keys, lasting, inputs, *tensors)
        ctx.set_materialize_grads(True)
        return found

    @staticmethod
    def backward(ctx, d_outputs: Tensor, *d_states: Tensor):
        # What is differentiated again must not lie in buffers that the next pass writes to.
        ctx.lasting = ctx.lasting or torch.is_grad_enabled()
        return None, None, None, None, *_Transposed.apply(ctx, d_outputs, *d_states)


class _Transposed(torch.autograd.Function):
    """u -> J^T u, and backward v -> J v."""

    @staticmethod
    def forward(ctx, pass_, d_outputs: Tensor, *d_states: Tensor):
        ctx.pass_ = pass_
        return Steps.gradients(pass_, d_outputs, d_states)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, change_of_inputs: Tensor | None, *changes: Tensor | None):
        if ctx.pass_.tangent is None:
            ctx.pass_.tangent = _Derivative(ctx.pass_)
        return None, *ctx.pass_.tangent.times(change_of_inputs, dict(zip(ctx.pass_.keys, changes, strict=True)))


class _Derivative:
    """J of one pass: what its steps read of the pass is put in place once."""

    def __init__(self, pass_):
        self.cell, self.inputs, self.values = pass_.cell, pass_.inputs, pass_.values
        program, steps = pass_.lease.program, len(self.inputs)
        self.operands = {name: part[:steps] for name, part in program.operands.items()}
        self.weights = self._of("weight")
        xs = {f"value of {name}": part for name, part in self._of("x").items()}
        xs |= {f"state {index}": part[:steps] for index, part in enumerate(program.states)}
        xs |= {f"result {name}": self._plus(name, self._of("added").get(name), self.weights) for name in self.weights}
        constants = {f"value of {name}": part for name, part in self._of("constant").items()}
        shapes = {f"change of {name}": part for name, part in self._of("x").items()}
        changing = {f"change of {name}": part for name, part in self._of("constant").items()}
        self.tangent = tangent_of(self.cell)
        first = {name: part[0] for name, part in (xs | shapes).items()}
        self.lease = self._borrow(type(program), first, constants | changing)
        for name, buffer in self.lease.program.xs.items():
            if name in xs:
                buffer[:steps].copy_(xs[name])
        for name, buffer in self.lease.program.constants.items():
            if name in constants:
                buffer.copy_(constants[name])

    def _borrow(self, kind: type[Program], xs: dict[str, Tensor], constants: dict[str, Tensor]) -> Lease:
        """A program of the kind of the pass's own, or one in Python where the derivative has other operators."""
        engine = next(name for name, its in PROGRAMS.items() if its is kind)
        state, steps = tuple(self._of("state").values()), len(self.inputs)
        try:
            return borrow(self.tangent, xs, constants, state, steps, engine)
        except Unsupported:
            return borrow(self.tangent, xs, constants, state, steps, "deferred")

    def times(self, change_of_inputs: Tensor | None, changes: dict[tuple, Tensor | None]) -> tuple[Tensor, ...]:
        """Changes of what the pass depends on -> those of its outputs and of the states after, in the program's buffers
        until it is called again."""
        program, steps = self.lease.program, len(self.inputs)
        for name, buffer in program.xs.items():
            if name.startswith("change of "):
                buffer[:steps].copy_(changes["x", name.removeprefix("change of ")])
        for name, buffer in program.constants.items():
            if name.startswith("change of "):
                buffer.copy_(changes["constant", name.removeprefix("change of ")])
        for index, part in enumerate(program.states):
            change = changes["state", index]
            part[0].zero_() if change is None else part[0].copy_(change)
        weights = {name: changes["weight", name] for name in self.weights}
        added = {name: self._plus(name, changes.get(("added", name)), weights) for name in weights}
        if self.cell.chosen and change_of_inputs is not None:
            for name in self.cell.chosen:
                added[name] = ChosenMatrix(self.weights[name]).plus_all(
                    added[name], self.operands[name], change_of_inputs
                )
        program.forward(self.tangent, self.weights, steps, added, self.inputs)
        return program.states[0][1 : steps + 1], *(part[steps] for part in program.states)

    def _of(self, kind: str) -> dict:
        return {name: part for (its, name), part in self.values.items() if its == kind}

    def _plus(self, name: str, added: Tensor | None, weights: dict[str, Tensor]) -> Tensor:
        """added + W a_t for all steps, [T, B, R]."""
        matrix, operands = matrices(self.cell, weights)[name], self.operands[name]
        if added is None:
            added = operands.new_zeros(matrix.weight.shape[-2]).expand(*operands.shape[:2], -1)
        return matrix.plus_all(added, operands, self.inputs)


class Tangent:
    """The derivative of a cell's step, as a cell: d state_t from d state_{t-1} by products with the same matrices, and
    by what the step's pointwise functions are at the values that it went through.

    A step finds in x, beside "change of" each projection and constant, the "value of" it, the "state" before and the
    "result" of each product. What else there is of a cell is that of `cell`.
    """

    def __init__(self, cell: Cell):
        self._cell = weakref.ref(cell)

    def __getattr__(self, name: str):
        return getattr(self._cell(), name)

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        with forward_ad.dual_level():

            def dual(value: Tensor, change: Tensor) -> Tensor:
                return forward_ad.make_dual(value.detach(), change)

            def known(name: str, operand: Tensor) -> Tensor:
                return dual(x[f"result {name}"], product(name, forward_ad.unpack_dual(operand).tangent))

            names = [name.removeprefix("value of ") for name in x if name.startswith("value of ")]
            given = {name: dual(x[f"value of {name}"], x[f"change of {name}"]) for name in names}
            before = tuple(dual(x[f"state {index}"], change) for index, change in enumerate(state))
            after = self._cell().step(given, before, known)
            return tuple(forward_ad.unpack_dual(part).tangent for part in after)


_tangents: weakref.WeakKeyDictionary[Cell, Tangent] = weakref.WeakKeyDictionary()


def tangent_of(cell: Cell) -> Tangent:
    """The same one each time, for programs are kept by cell."""
    return _tangents.setdefault(cell, Tangent(cell))
