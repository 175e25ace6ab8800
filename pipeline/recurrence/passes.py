"""A pass through the steps of a cell by its program, as one operation of autograd.

Shapes: T time, B batch, R rows of a product, H hidden.
"""

import torch
from torch import Tensor

from pipeline.cells.cell import Cell, State
from pipeline.cells.inputs import projections
from pipeline.cells.matrices import matrices
from pipeline.recurrence.lending import Lease, borrow


def by_program(
    cell: Cell,
    x: Tensor,
    state: State,
    weights: dict[str, Tensor],
    engine: str,
    operation: type[torch.autograd.Function] | None = None,
) -> tuple[Tensor, State]:
    """Inputs [T, B, D] or symbols [T, B] and the state before them -> outputs [T, B, H] and the state after, with these
    weights in the products, by an engine of pipeline.recurrence.lending.PROGRAMS; as another operation of autograd than
    Steps, if one is given."""
    parts, constants = projections(cell, x), cell.constants(x.shape[1])
    added = {name: part for name, part in parts.items() if name in weights}
    xs = {name: part for name, part in parts.items() if name not in weights}
    kinds = {"added": added, "x": xs, "constant": constants, "state": dict(enumerate(state)), "weight": weights}
    given = {(kind, name): part for kind, parts in kinds.items() for name, part in parts.items()}
    lease = borrow(cell, {name: part[0] for name, part in xs.items()}, constants, state, len(x), engine)
    lasting = x.is_leaf and x.requires_grad  # its gradient may be one of a projection
    choosing = x if cell.chosen or not x.requires_grad else x.detach()
    outputs, *after = (operation or Steps).apply(lease, cell, list(given), lasting, choosing, *given.values())
    return outputs, tuple(after)


class Steps(torch.autograd.Function):
    """The steps of a cell, forward and backward, by its program: inputs where they choose matrices, what is added to
    products, other projections, constants, state and weights -> outputs [T, B, H], states after. Gradients of what is
    added and of other projections lie in the program's buffers, until its next pass, unless they have to be
    `lasting`."""

    @staticmethod
    def forward(
        ctx,
        lease: Lease,
        cell: Cell,
        keys: list[tuple[str, str | int]],
        lasting: bool,
        inputs: Tensor,
        *tensors: Tensor,
    ):
        ctx.lease, ctx.cell, ctx.keys, ctx.lasting, ctx.inputs = lease, cell, keys, lasting, inputs
        ctx.set_materialize_grads(False)
        program, steps = lease.program, len(inputs)
        of: dict[str, dict] = {kind: {} for kind in ("added", "x", "constant", "state", "weight")}
        for (kind, name), part in zip(keys, tensors, strict=True):
            of[kind][name] = part
        for name, buffer in program.xs.items():
            buffer[:steps].copy_(of["x"][name])
        for name, buffer in program.constants.items():
            buffer.copy_(of["constant"][name])
        for buffer, part in zip(program.states, of["state"].values(), strict=True):
            buffer[0].copy_(part)
        program.forward(cell, of["weight"], steps, of["added"], inputs)
        ctx.save_for_backward(*of["weight"].values())  # whose change before the backward pass is an error
        return program.states[0][1 : steps + 1].clone(), *(part[steps].clone() for part in program.states)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_outputs: Tensor | None, *d_states: Tensor | None):
        if d_outputs is None:
            d_outputs = torch.zeros_like(ctx.lease.program.states[0][: len(ctx.inputs)])
        return None, None, None, None, *Steps.gradients(ctx, d_outputs, d_states)

    @staticmethod
    def gradients(ctx, d_outputs: Tensor, d_states: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        """Of the inputs where they choose matrices, and of what ctx.keys name, where a state asks for one."""
        cell, program, inputs, steps = ctx.cell, ctx.lease.program, ctx.inputs, len(ctx.inputs)
        weights = dict(zip((name for kind, name in ctx.keys if kind == "weight"), ctx.saved_tensors, strict=True))
        program.backward(cell, weights, steps, d_outputs, d_states, inputs)
        asked = dict(zip(ctx.keys, ctx.needs_input_grad[-len(ctx.keys) :], strict=True))
        gradients = {
            ("state", index): part[1].clone() for index, part in enumerate(program.d_states) if asked["state", index]
        }
        gradients |= {("x", name): part[:steps] for name, part in program.d_xs.items()}
        gradients |= {("constant", name): part.clone() for name, part in program.d_constants.items()}
        d_inputs = None
        for name, matrix in matrices(cell, weights).items():
            gradient, operand = program.d_results[name][:steps], program.operands[name][:steps]
            gradients["added", name] = gradient
            gradients["weight", name], by_choice = program.gradients(matrix, gradient, operand, inputs)
            if by_choice is not None:
                d_inputs = by_choice if d_inputs is None else d_inputs + by_choice
        if ctx.lasting:
            gradients = {key: part.clone() for key, part in gradients.items()}
        return d_inputs, *(gradients.get(key) for key in ctx.keys)
