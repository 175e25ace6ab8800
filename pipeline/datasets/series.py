"""Real-valued series: values read, the next ones predicted at every step.

Shapes: N elements, T time, B streams, D observed values, U driving values.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Generator, Tensor

from pipeline.command.refusal import Refusal
from pipeline.corpora.parts import make_card, split_borders
from pipeline.datasets.batch import THROUGHOUT, Batch, Reading
from pipeline.datasets.contiguous import Windows
from pipeline.datasets.data import Data
from pipeline.datasets.space import Reals
from pipeline.decoding.network import Network, evaluating

BEFORE = 1000  # elements that are read before those of a held-out part
ROUNDING = 1e-12  # a channel that varies by this part of its greatest value is constant
PASS_LENGTH = 10_000  # steps of a batch of a pass over the training part, where the trainer does not say
BARS = "▁▂▃▄▅▆▇█"
LINE = 32  # steps of a forecast in a line: what fits a card of the report


class Series(Data):
    """y_t [D] with what drives it, u_t [U], in three contiguous parts.

    values  [N, D] float64;  inputs  [N, U] float64, U = 0: nothing drives it
    split   per cent of training, validation and test part, such as "80-10-10"
    standardize  models read (y - mean) / std, mean and std [D] those of the training part; a channel that is constant
                 there, but for rounding, has std 1. What drives the series is read as it is.
    reads [y_t, u_{t+1}], Reals(D + U); answers y_{t+1}, Reals(D), NaN where nothing was observed
    Raises Refusal for a split that is none, and for a part of less than two elements.
    """

    foretells = contiguous = forecasts = True
    context = BEFORE
    asked_with = "series"

    def __init__(self, name: str, values: np.ndarray, inputs: np.ndarray, split: str, standardize: bool):
        if (values.dtype, inputs.dtype) != (np.float64, np.float64) or len(values) != len(inputs):
            raise ValueError("values [N, D] and inputs [N, U] are to be float64 and of one length")
        self.name, self.values, self.inputs, self.split, self.standardize = name, values, inputs, split, standardize
        self.borders = split_borders(len(values), split, f"data.length={len(values)}")
        observed, driving = values.shape[1], inputs.shape[1]
        self.reads, self.answers = Reals(observed + driving, driving), Reals(observed)

    @cached_property
    def mean(self) -> np.ndarray:
        return np.nanmean(self.values[self.borders["train"]], axis=0)

    @cached_property
    def std(self) -> np.ndarray:
        train = self.values[self.borders["train"]]
        spread = np.nanstd(train, axis=0)
        return np.where(spread <= ROUNDING * np.nanmax(np.abs(train), axis=0), 1.0, spread)

    @cached_property
    def whole(self) -> tuple[np.ndarray, np.ndarray]:
        """The values as models read them, and the inputs, of all parts."""
        return (self.values - self.mean) / self.std if self.standardize else self.values, self.inputs

    def without_parts(self) -> "Series":
        _ = self.mean, self.std, self.card  # which are made of all values
        copied = super().without_parts()
        copied.values, copied.inputs = self.values[:0], self.inputs[:0]
        vars(copied).pop("whole", None)
        return copied

    def part(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Those of "train", "validation" or "test"."""
        return tuple(array[self.borders[name]] for array in self.whole)

    @cached_property
    def card(self) -> dict:
        counts = {part: border.stop - border.start for part, border in self.borders.items()}
        checksum = hashlib.sha256(repr((self.values.shape, self.inputs.shape, self.split, self.standardize)).encode())
        checksum.update(np.ascontiguousarray(self.values))
        checksum.update(np.ascontiguousarray(self.inputs))
        return make_card(self.name, self.split, counts, checksum.hexdigest())

    def shape(self, batch: int | None, length: int | None) -> tuple[int, int]:
        return 1 if batch is None else batch, (
            min(PASS_LENGTH, self.borders["train"].stop - 1) if length is None else length
        )

    def training(self, batch: int, length: int, rank: int = 0, world: int = 1) -> "SeriesWindows":
        return SeriesWindows(*self.part("train"), batch, length, rank, world)

    def held_out(self, part: str, most: int | None = None, reading: Reading = THROUGHOUT) -> Iterator[Batch]:
        """One stream; up to `burn_in` elements before the part are read first, and its own first element is asked too.
        With reading.restart as many streams as it takes, one after the other."""
        start, stop = self.borders[part].start, self.borders[part].stop
        stop = stop if most is None else min(stop, start + most)
        burn_in, restart = self.burn_in(reading), reading.restart
        asked = stop - start if restart is None else max(1, restart - min(burn_in, restart // 2))
        for begin in range(start, stop, asked):
            end = min(begin + asked, stop)
            yield self._stream(max(0, begin - burn_in), begin, end)

    def _stream(self, first: int, begin: int, end: int) -> Batch:
        """Elements `first` .. `end` - 1, of which those from `begin` on are asked."""
        values, inputs = (torch.from_numpy(array) for array in self.whole)
        targets = values[first + 1 : end].clone()
        targets[: begin - 1 - first] = torch.nan
        x = torch.cat([values[first : end - 1], inputs[first + 1 : end]], dim=-1)
        return Batch(x[:, None], targets[:, None], int((~targets.isnan()).sum()))

    def forecast(self, network: Network, steps: int) -> tuple[Tensor, Tensor]:
        """As Data; what is foretold are means, and what drives the series is known."""
        values, inputs = self.whole
        start = self.borders[self.judged_on].start
        stop = min(start + steps, self.borders[self.judged_on].stop)
        first = max(0, start - BEFORE)
        return torch.from_numpy(values[start:stop]).to(network.dtype), _continued(
            network, values[first:start], inputs[first:stop]
        )

    def foretell(self, network: Network, values: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """The means of the values that follow others, in the unit of the data, [S, D].

        values  [N, D], N >= 1;  inputs  [N + S, U], what drives the series, from the first of the values on
        Raises Refusal where there is no value to begin with, or nothing to predict.
        """
        if not len(values):
            raise Refusal("values: a forecast begins after one value or more")
        if len(inputs) <= len(values):
            raise Refusal(f"{len(values)} values, {len(inputs)} steps in all: nothing is left to be predicted")
        mean, std = (self.mean, self.std) if self.standardize else (0.0, 1.0)
        return _continued(network, (values - mean) / std, inputs).double().numpy() * std + mean

    def write(
        self, network: Network, prompt: str, temperature: float, length: int, generator: Generator
    ) -> Iterator[str]:
        """The forecast of `length` steps beside what was observed, first channel, as rows of bars; the same at every
        temperature: it predicts means."""
        if not length:
            return
        observed, foretold = (part[:, 0].tolist() for part in self.forecast(network, length))
        low, high = min(observed), max(observed)

        def bars(values: list[float]) -> str:
            parts = [(value - low) / ((high - low) or 1.0) for value in values]
            return "".join(
                BARS[round(min(max(part, 0.0), 1.0) * (len(BARS) - 1))] if part == part else "?" for part in parts
            )

        for first in range(0, len(observed), LINE):
            yield f"observed {bars(observed[first : first + LINE])}\n"
            yield f"forecast {bars(foretold[first : first + LINE])}\n"


@torch.no_grad()
def _continued(network: Network, values: np.ndarray, inputs: np.ndarray) -> Tensor:
    """The means of y_{N+1} .. y_{N+S}, each read in place of what was observed, [S, D], as models read values.

    values  [N, D];  inputs  [N + S, U]
    """
    N = len(values)
    values, inputs = (torch.from_numpy(array).to(network.device, network.dtype) for array in (values, inputs))
    x = torch.cat([values, inputs[1 : N + 1]], dim=-1)[:, None]
    with evaluating(network):
        predicted, state = network(x, network.start(1))
        found = [predicted[-1, 0]]
        for t in range(N + 1, len(inputs)):
            predicted, state = network(torch.cat([found[-1], inputs[t]])[None, None], state)
            found.append(predicted[0, 0])
    return torch.stack(found).cpu()


class SeriesWindows(Windows):
    """Windows of B streams over a series: inputs [T, B, D + U] = [y_t, u_{t+1}], targets y_{t+1} [T, B, D], NaN where a
    stream has ended or nothing was observed.

    values, inputs  [N, D], [N, U]
    """

    def __init__(self, values: np.ndarray, inputs: np.ndarray, batch: int, length: int, rank: int = 0, world: int = 1):
        super().__init__(len(values), "values", "series", batch, length, rank, world)
        self.values, self.inputs = values, inputs
        self.nothing = float(np.nanvar(values, axis=0).mean())  # the loss of knowing nothing but the mean

    @cached_property
    def scale(self) -> float:
        """As Batches, for models that do not know the mean when they begin."""
        return max(1.0, float(np.nanmean(np.square(self.values))))

    def at(self, step: int) -> Batch:
        at_TB, inside_TB, carried = self.places(step)
        targets = np.where(inside_TB[..., None], self.values[at_TB + 1], np.nan)
        count = int(np.count_nonzero(~np.isnan(targets)))
        own_TB = at_TB[:, self.own]
        inputs = np.concatenate([self.values[own_TB], self.inputs[own_TB + 1]], axis=-1)
        return Batch(
            torch.from_numpy(inputs),
            torch.from_numpy(targets[:, self.own]),
            count,
            carried,
            positions=torch.from_numpy(own_TB),
        )
