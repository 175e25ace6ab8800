"""The Gauss-Newton matrix of a network on a batch, by its products with vectors.

Shapes: T time, B batch, O width of a prediction, H hidden, N parameters.
"""

import torch
from torch import Tensor

from pipeline.cells.cell import State
from pipeline.datasets.batch import Batch
from pipeline.models.model import SequenceModel
from pipeline.recurrence.stack import linearizing


class Curvature:
    """G = sum_{t,b} J_tb^T H_tb J_tb, J = dz / dtheta [O, N] and H the Hessian of the loss in the prediction z
    (Schraudolph 2002), and S = sum_{t,b} K_tb^T K_tb, K = dh / dtheta of all hidden units (Martens & Sutskever 2011,
    section 3.2, with the distance |h - h'|^2 / 2). Neither is ever made.

    The network is linearized once, at the parameters that it has here. J^T u is a backward pass from u; that is linear
    in u, so J v is the gradient of (J^T u) . v in u.

    network     whose parameters ask for gradients
    state       before the batch; None: sequences start here
    structural  whether S will be asked for
    Parameters are those that ask for gradients, flat, in their order [N].
    """

    def __init__(self, network: SequenceModel, batch: Batch, state: State | None, structural: bool):
        self.answers, self.targets = network.answers, batch.targets
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        with linearizing(network), torch.enable_grad():
            if state is None:
                state = network.start_of(batch)
            if structural:
                z, activities, _ = network.observe(batch.inputs, state)
            else:
                z, activities = network(batch.inputs, state)[0], []
            self.outputs = [z, *activities]
            self.changes = [torch.zeros_like(part, requires_grad=True) for part in self.outputs]
            found = torch.autograd.grad(
                self.outputs, self.parameters, self.changes, create_graph=True, materialize_grads=True
            )
        self.used = [gradient.requires_grad for gradient in found]
        self.transposed = [gradient for gradient in found if gradient.requires_grad]

    def times(self, v: Tensor, structural: float = 0.0) -> Tensor:
        """(G + structural S) v."""
        dz, *dh = self.push(v)
        with torch.no_grad():
            curved = self.answers.curvature(self.outputs[0], dz, self.targets)
        return self.pull(curved, *(structural * part for part in dh if structural))

    def push(self, v: Tensor) -> tuple[Tensor, ...]:
        """J v [T, B, O], and K v, [T, B, H] a layer."""
        parts = v.split([parameter.numel() for parameter in self.parameters])
        parts = [part.view_as(one) for part, one, used in zip(parts, self.parameters, self.used) if used]
        return torch.autograd.grad(self.transposed, self.changes, parts, retain_graph=True, materialize_grads=True)

    def pull(self, *changes: Tensor) -> Tensor:
        """J^T changes_0 + K^T of the others, of which there may be none."""
        outputs = self.outputs[: len(changes)]
        found = torch.autograd.grad(outputs, self.parameters, changes, retain_graph=True, materialize_grads=True)
        return torch.cat([gradient.flatten() for gradient in found])

    def signed_gradient(self, signs: Tensor) -> Tensor:
        """sum_b s_b d loss_b / d theta [N], loss_b that of one sequence, signs [B]."""
        with torch.enable_grad():
            z = self.outputs[0].detach().requires_grad_()
            [dz] = torch.autograd.grad(self.answers.loss(z, self.targets), z)
        return self.pull(dz * signs[:, None])
