"""The LSTM with peepholes and the eight variants of Greff et al. 2015,
"LSTM: a search space odyssey" (their section II)."""

import torch
from torch import Tensor, nn

from pipeline.cells.cell import Cell, Product, State


class VanillaLSTM(Cell):
    """z = tanh(W x_t + R h_{t-1} + b); i, f = s(W x_t + R h_{t-1} + p c_{t-1} + b); c_t = z i + c_{t-1} f;
    o = s(W x_t + R h_{t-1} + p c_t + b), h_t = tanh(c_t) o, p the peepholes (Gers & Schmidhuber 2000).

    4 H (D + H + 1) + 3 H parameters, rows in the order i, f, o, z.
    A variant lists the gates it has, those that see c_{t-1} before `o`.
    """

    roles = Cell.roles | {"peephole": "peephole"}
    gates: tuple[str, ...] = ("i", "f", "o")
    peepholes = True
    input_activation = staticmethod(torch.tanh)
    output_activation = staticmethod(torch.tanh)

    def __init__(self, inputs: int, hidden: int, recurrent_bias: bool = False):
        rows = (len(self.gates) + 1) * hidden
        super().__init__(
            inputs, hidden, {"block": rows}, {"block": (rows, hidden)}, {"h": hidden, "c": hidden}, recurrent_bias
        )
        if self.peepholes:
            self.peephole = nn.Parameter(torch.empty(len(self.gates), hidden))
        self.reset_parameters()

    def constants(self, batch: int) -> dict[str, Tensor]:
        return {"peephole": self.peephole.expand(batch, -1, -1)} if self.peepholes else {}

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        _, c = state
        h, c, _ = self.block(self.sums(state, product), c, x)
        return h, c

    def sums(self, state: State, product: Product) -> Tensor:
        """Sums of the inputs of the block, [B, rows], but what its peepholes see."""
        return product("block", state[0])

    def gate_values(self, x: dict[str, Tensor], state: State, product: Product) -> dict[str, Tensor]:
        *_, values = self.block(self.sums(state, product), state[1], x)
        return dict(zip(self.gates, values.unbind(1)))

    def block(self, a: Tensor, c: Tensor, x: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of inputs [B, rows] and c_{t-1} -> h_t, c_t and the gates' values [B, gates, H]."""
        early = len(self.gates) - ("o" in self.gates)
        parts = (early, len(self.gates) - early, 1)
        sees_before, sees_after, z = a.unflatten(-1, (-1, self.hidden)).split(parts, dim=1)
        p = x["peephole"].split(parts[:2], dim=1) if self.peepholes else (None, None)

        def gate(a: Tensor, p: Tensor | None, c: Tensor) -> Tensor:
            return torch.sigmoid(a if p is None else torch.addcmul(a, p, c.unsqueeze(1)))

        values = gate(sees_before, p[0], c)
        gates = dict(zip(self.gates, values.unbind(1)))
        c = self.remember(c, self.input_activation(z.squeeze(1)), gates)
        if "o" not in self.gates:
            return self.output_activation(c), c, values
        o = gate(sees_after, p[1], c)
        return o.squeeze(1) * self.output_activation(c), c, torch.cat([values, o], dim=1)

    def remember(self, c: Tensor, z: Tensor, gates: dict[str, Tensor]) -> Tensor:
        """c_t from c_{t-1}, the block's input z and the gates."""
        return torch.addcmul(gates["f"] * c, gates["i"], z)


class NoInputGate(VanillaLSTM):
    """NIG: i = 1."""

    gates = ("f", "o")

    def remember(self, c: Tensor, z: Tensor, gates: dict[str, Tensor]) -> Tensor:
        return torch.addcmul(z, gates["f"], c)


class NoForgetGate(VanillaLSTM):
    """NFG: f = 1, the LSTM of 1997 with peepholes."""

    gates = ("i", "o")

    def remember(self, c: Tensor, z: Tensor, gates: dict[str, Tensor]) -> Tensor:
        return torch.addcmul(c, gates["i"], z)


class NoOutputGate(VanillaLSTM):
    """NOG: o = 1."""

    gates = ("i", "f")


class NoInputActivation(VanillaLSTM):
    """NIAF: z = W x_t + R h_{t-1} + b."""

    input_activation = staticmethod(lambda a: a)


class NoOutputActivation(VanillaLSTM):
    """NOAF: h_t = c_t o."""

    output_activation = staticmethod(lambda c: c)


class CoupledGates(VanillaLSTM):
    """CIFG: f = 1 - i. 3 H (D + H + 1) + 2 H parameters."""

    gates = ("i", "o")

    def remember(self, c: Tensor, z: Tensor, gates: dict[str, Tensor]) -> Tensor:
        return torch.addcmul(c, gates["i"], z - c)

    def gate_values(self, x: dict[str, Tensor], state: State, product: Product) -> dict[str, Tensor]:
        gates = super().gate_values(x, state, product)
        return gates | {"f": 1 - gates["i"]}


class NoPeepholes(VanillaLSTM):
    """NP: p = 0."""

    peepholes = False


class FullGateRecurrence(VanillaLSTM):
    """FGR: every gate's sum also has R' [i, f, o]_{t-1}, as in the LSTM of 1997.
    9 H^2 parameters more; the state holds the gates too."""

    def __init__(self, inputs: int, hidden: int, recurrent_bias: bool = False):
        rows, gates = 4 * hidden, 3 * hidden
        Cell.__init__(
            self,
            inputs,
            hidden,
            {"block": rows},
            {"block": (rows, hidden), "gates": (gates, gates)},
            {"h": hidden, "c": hidden, "gates": gates},
            recurrent_bias,
        )
        self.peephole = nn.Parameter(torch.empty(3, hidden))
        self.reset_parameters()

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        _, c, _ = state
        h, c, values = self.block(self.sums(state, product), c, x)
        return h, c, values.flatten(1)

    def sums(self, state: State, product: Product) -> Tensor:
        h, _, gates = state
        a = product("block", h)
        return torch.cat([a[:, : 3 * self.hidden] + product("gates", gates), a[:, 3 * self.hidden :]], dim=-1)
