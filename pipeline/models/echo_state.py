"""Echo state network: a driven random reservoir with a linear readout fitted by ridge regression.

Shapes: T time, B batch, D observed, U driving, V symbols, I inputs, N units, O outputs, P what the readout sees and a
one (N + 1, or N + I + 1 with a direct connection), C steps of a chunk.
"""

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from scipy.linalg import blas
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.cells.cell import State
from pipeline.command.refusal import Refusal
from pipeline.command.setting import NotNegative, Positive, Whole
from pipeline.datasets.batch import Batch, Batches
from pipeline.datasets.space import Bits, Reals, Space, Symbols
from pipeline.models import echo_state_compiled
from pipeline.models.model import StatisticsModel
from pipeline.models.reservoir import Reservoir

CHUNK = 1024  # rows of the normal equations that are built at once: C B, about
NOISE_PERIOD = 2**16  # positions after which the noise repeats
EPSILON = 2.0**-52  # of float64


class EchoState(StatisticsModel):
    """x_{t+1} = (1 - a) x_t + a tanh(W x_t + W_in v_t + b), prediction_{t+1} = W_out [x_{t+1}; v_t] + c   (Jaeger 2001;
    Lukosevicius 2012, equations 2 to 4).

    Series: v_t = [y_t, u_{t+1}]; the prediction is the mean of y_{t+1}. That y_t is the observed one is what the
    literature calls teacher forcing; `free_run` reads its own predictions instead. Symbols: v_t is one-hot (unknown:
    zero) and so are the targets, which makes the readout the least-squares estimate of p(x_{t+1} | x_{<=t}); raised to
    `floor` at least and normalized, its logarithms are the logits. Bits: targets 0 and 1, so that the readout is the
    least-squares estimate of p(one); between `floor` and 1 - `floor`, its logits are the predictions. What is answered
    need not be what is read: series may be named by a symbol at their end, when the washout is shorter than they are.

    units, spectral_radius, connectivity, leak, bias_scale   of the reservoir, pipeline.models.reservoir.Reservoir
    feedback_scale     of the columns of W_in that read y_t, or the symbol;  input_scale  of those that read u_{t+1}
    direct_connection  whether the readout sees v_t beside x_{t+1}; without, predictions are bounded, for |x| <= 1
    washout            steps after a start that are not learned from, >= 0: the state is still that of the start
    ridge              lambda >= 0: sum |prediction - target|^2 + lambda |W_out|^2 is least; c is free. At 0, of all
                       W_out that fit equally well (fewer steps than P, units that agree) the smallest, directions
                       weaker than 1e-16 of all taken as none
    noise              standard deviation of what is added to each y_t while learning, a function of its position (with
                       period 2^16): the readout then holds a course that its own errors disturb, which makes free
                       running stable (Jaeger 2001). For series
    floor              least probability before normalizing, in (0, 1/V); of bits, in (0, 1/2)
    Learned: readout.weight [O, P - 1], readout.bias [O]; zero at first. The statistic is one sum over steps, rows [x;
    v; 1; target] times themselves, in float64: memory (P + O)^2 and CHUNK rows, whatever the length.
    """

    learned_by = ("ridge",)

    def __init__(
        self,
        reads: Space,
        answers: Space,
        given: tuple[Space, ...],
        units: Annotated[int, Ge(1), Le(100_000)],
        spectral_radius: NotNegative,
        connectivity: Annotated[float, Gt(0), Le(1)],
        leak: Annotated[float, Gt(0), Le(1)],
        feedback_scale: float,
        input_scale: float,
        bias_scale: float,
        direct_connection: bool,
        washout: Whole,
        ridge: NotNegative,
        noise: NotNegative,
        floor: Positive,
    ):
        super().__init__(reads, answers, given)
        if isinstance(answers, Symbols) and floor >= 1 / answers.count:
            raise Refusal(
                f"model.floor={floor}: take less than 1/{answers.count}, "
                f"the probability of {answers.count} symbols alike"
            )
        if isinstance(answers, Bits) and floor >= 1 / 2:
            raise Refusal(f"model.floor={floor}: take less than 1/2, the probability of both values of a bit alike")
        if isinstance(reads, Symbols) and noise:
            raise Refusal(f"model.noise={noise}: is added to values, not to symbols: take 0")
        driving = reads.driving if isinstance(reads, Reals) else 0
        self.fed_back, outputs = reads.width - driving, answers.width
        scales = [feedback_scale] * self.fed_back + [input_scale] * driving
        self.direct_connection, self.washout, self.ridge, self.floor = direct_connection, washout, ridge, floor
        self.reservoir = Reservoir(units, scales, spectral_radius, connectivity, leak, bias_scale)
        self.readout = nn.Linear(units + direct_connection * len(scales), outputs).requires_grad_(False)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)
        self.register_buffer("noise", noise * torch.randn(NOISE_PERIOD, self.fed_back) if noise else None)

    def start(self, batch: int) -> State:
        """No activity [1, B, N], and no step read [1, B, 1]."""
        return self.readout.weight.new_zeros(1, batch, self.reservoir.units), self.readout.weight.new_zeros(
            1, batch, 1, dtype=torch.int64
        )

    @torch.no_grad()
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Symbols [T, B] or [y_t, u_{t+1}] [T, B, D + U], and the state before them -> log-probabilities [T, B, V],
        logits or means [T, B, D], and the state after."""
        predictions = []
        for chunk in self._read(x, state):
            rows, state = chunk
            predictions.append(self._predict(rows).to(self.readout.weight.dtype))
        return torch.cat(predictions), state

    @torch.no_grad()
    def free_run(self, y: Tensor, driving: Tensor, state: State) -> tuple[Tensor, State]:
        """The last observation y_t [B, D], the state before it was read, and u_{t+1} .. u_{t+S} [S, B, U] (U = 0 where
        nothing drives) -> predictions of y_{t+1} .. y_{t+S} [S, B, D],
        each read in the place of an observation, and the state after.

        Refusal: they run away, which the direct connection allows."""
        predictions = []
        for u in driving:
            prediction, state = self(torch.cat([y, u], dim=-1)[None], state)
            y = prediction[0]
            if not y.isfinite().all():
                raise Refusal(
                    f"the free run has run away after {len(predictions)} steps: "
                    "learn with model.noise, or model.direct_connection=false"
                )
            predictions.append(y)
        return torch.stack(predictions), state

    def zero_statistics(self, elements: int) -> dict[str, Tensor]:
        size = self.readout.in_features + 1 + self.readout.out_features
        return {"products": torch.zeros(size, size, dtype=torch.float64, device=self.readout.weight.device)}

    def check(self, batches: Batches) -> None:
        """Refusal: the washout leaves nothing."""
        if batches.reach <= self.washout:
            raise Refusal(
                f"model.washout={self.washout}: no sequence of the training part is read for more than "
                f"{batches.reach} steps, so none is left to learn from: take less, or longer sequences (a smaller "
                "trainer.batch of one text or series)"
            )

    @torch.no_grad()
    def accumulate(self, statistics: dict[str, Tensor], batch: Batch, state: State) -> tuple[State, Tensor]:
        """Adds rows^T rows over the batch's asked steps beyond the washout -> the state after, and the loss of the
        readout as it is, over all scored steps. Refusal: an observation is missing."""
        x, targets = batch.inputs, batch.targets
        if x.is_floating_point() and not x.isfinite().all():
            raise Refusal("model=echo_state: reads every observation, but some are missing: take model=lds")
        if self.noise is not None:
            x = torch.cat(
                [
                    x[..., : self.fed_back] + self.noise[batch.positions % NOISE_PERIOD],
                    x[..., self.fed_back :],
                ],
                dim=-1,
            )
        loss = torch.zeros((), dtype=torch.float64, device=x.device)
        for chunk in self._read(x, state):
            rows, state = chunk
            wanted, scored = self._wanted(targets[: len(rows)])
            targets = targets[len(rows) :]
            loss += torch.where(scored, self._errors(self._predict(rows), wanted), 0.0).sum()
            # Steps read, with this one.
            age = state[1][0].T - torch.arange(len(rows) - 1, -1, -1, device=x.device)[:, None]
            counted = scored & (age > self.washout)
            rows[..., -self.readout.out_features :] = wanted
            if not rows.is_cpu or not counted.all():  # a GPU would be waited for
                rows.masked_fill_(~counted[..., None], 0.0)
            add_products(statistics["products"], rows.flatten(0, 1))
        return state, loss

    @torch.no_grad()
    def update(self, statistics: dict[str, Tensor]) -> None:
        """Solves for the readout. Refusal: the washout left nothing."""
        products, seen = statistics["products"], self.readout.in_features  # below the diagonal
        count = products[seen, seen]
        if not count:
            raise Refusal(
                f"model.washout={self.washout}: no step of any stream is left to learn from: "
                "take less, or longer streams (fewer of them)"
            )
        mean, wanted = products[seen, :seen] / count, products[seen + 1 :, seen] / count
        weight = ridge_solution(
            products[:seen, :seen] - count * torch.outer(mean, mean),
            products[seen + 1 :, :seen].T - count * torch.outer(mean, wanted),
            self.ridge,
            EPSILON * seen * products.diagonal()[:seen].sum(),
        )
        self.readout.weight.copy_(weight.T)
        self.readout.bias.copy_(wanted - mean @ weight)

    def _read(self, x: Tensor, state: State) -> Iterator[tuple[Tensor, State]]:
        """Chunks of steps: the rows of what the readout sees, a one, and room for targets, [C, B, P + O] float64,
        written over by the next chunk, and the state after them."""
        batch, units = x.shape[1], self.reservoir.units
        activity, age = state[0][0].T.contiguous(), state[1]
        whole = activity.new_empty(
            max(1, CHUNK // batch), batch, self.readout.in_features + 1 + self.readout.out_features, dtype=torch.float64
        )
        for v in x.split(len(whole)):
            rows = whole[: len(v)]
            activity = self.reservoir.drive(v, activity, rows[..., :units])
            age = age + len(v)
            if self.direct_connection:
                rows[..., units : self.readout.in_features] = self._inputs(v)
            rows[..., self.readout.in_features] = 1.0
            yield rows, (activity.T[None], age)

    def _inputs(self, x: Tensor) -> Tensor:
        """v, [C, B, I]."""
        return F.one_hot(x, self.reads.count + 1)[..., :-1] if isinstance(self.reads, Symbols) else x

    def _predict(self, rows: Tensor) -> Tensor:
        """Log-probabilities, logits or means of [C, B, P + O], in float64."""
        readout = torch.cat([self.readout.weight, self.readout.bias[:, None]], dim=1).double()
        if not rows.is_cpu or readout.any():  # a GPU would be waited for
            estimate = (rows.flatten(0, 1)[:, : readout.shape[1]] @ readout.T).view(*rows.shape[:2], -1)
        else:  # nothing is learned yet, which is most of what `accumulate` sees
            estimate = rows.new_zeros(*rows.shape[:2], len(readout))
        if isinstance(self.answers, Reals):
            return estimate
        if isinstance(self.answers, Bits):
            return estimate.clamp(self.floor, 1 - self.floor).logit()
        probability = estimate.clamp(min=self.floor)
        return (probability / probability.sum(-1, keepdim=True)).log()

    def _wanted(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What the readout is to give, [C, B, O], and which steps are scored [C, B]."""
        if isinstance(self.answers, Symbols):
            return F.one_hot(targets, self.answers.count + 1)[..., :-1], targets < self.answers.count
        return targets, ~targets.isnan().any(-1)

    def _errors(self, prediction: Tensor, wanted: Tensor) -> Tensor:
        """-log p of the target, or the sum of squared errors; [C, B]."""
        if isinstance(self.answers, Symbols):
            return -(prediction * wanted).sum(-1)
        if isinstance(self.answers, Bits):
            return (F.softplus(prediction) - wanted * prediction).sum(-1)
        return (prediction - wanted).square().sum(-1)


def add_products(sums: Tensor, rows: Tensor) -> None:
    """sums += rows^T rows, at least its lower triangle: half the work, which torch does not spare on a CPU. [M, M],
    [R, M] float64."""
    if sums.is_cpu and echo_state_compiled.products_library():
        echo_state_compiled.add_products(sums, rows)
    elif sums.is_cpu:
        # Transposed: in BLAS's order, without a copy.
        blas.dsyrk(1.0, rows.numpy().T, beta=1.0, c=sums.numpy().T, overwrite_c=True)
    else:
        sums.addmm_(rows.T, rows)


def ridge_solution(products: Tensor, moments: Tensor, ridge: float, least: Tensor) -> Tensor:
    """(A + lambda I)^-1 M for A = X^T X [F, F], of which the lower triangle is read, and M = X^T Y [F, O].

    For lambda = 0, and where rounding has left A + lambda I without a Cholesky factor, by A's eigenvectors, without
    those whose eigenvalues are not above `least`, in which A and M are nothing but rounding.
    """
    regular = products.clone()
    regular.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(regular)
    if ridge and not failed:
        return torch.cholesky_solve(moments, factor)
    values, vectors = torch.linalg.eigh(products)
    inverse = torch.where(values > least, 1 / (values + ridge), 0.0)
    return vectors @ (inverse[:, None] * (vectors.T @ moments))
