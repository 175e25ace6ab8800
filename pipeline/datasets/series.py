"""Real-valued series, and their contiguous streams for training with carried state.

Shapes: N elements, T time, B streams, D observed values, U driving values.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.space import Reals
from pipeline.datasets.streams import Contiguous, Window

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Series:
    """y_t [D] with what drives it, u_t [U], in three contiguous parts.

    values  [N, D] float64;  inputs  [N, U] float64, U = 0: nothing drives it
    split   per cent of training, validation and test part, such as "80-10-10"
    standardize  models read (y - mean) / std, mean and std [D] those of the training part; a channel that is constant
                 there has std 1. What drives the series is read as it is.
    Raises Refusal for a split that is none, and for a part of less than two elements.
    """

    name: str
    values: np.ndarray
    inputs: np.ndarray
    split: str
    standardize: bool

    def __post_init__(self):
        if (self.values.dtype, self.inputs.dtype) != (np.float64, np.float64) or len(self.values) != len(self.inputs):
            raise ValueError("values [N, D] and inputs [N, U] are to be float64 and of one length")
        split_borders(len(self.values), self.split)

    @property
    def borders(self) -> dict[str, slice]:
        return split_borders(len(self.values), self.split)

    @property
    def mean(self) -> np.ndarray:
        return np.nanmean(self.values[self.borders["train"]], axis=0)

    @property
    def std(self) -> np.ndarray:
        train = self.values[self.borders["train"]]
        return np.where(np.nanmin(train, axis=0) == np.nanmax(train, axis=0), 1.0, np.nanstd(train, axis=0))

    def whole(self) -> tuple[np.ndarray, np.ndarray]:
        """The values as models read them, and the inputs, of all parts."""
        return (self.values - self.mean) / self.std if self.standardize else self.values, self.inputs

    def part(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Those of "train", "validation" or "test"."""
        return tuple(array[self.borders[name]] for array in self.whole())

    @property
    def space(self) -> Reals:
        return Reals(self.values.shape[1], self.inputs.shape[1])

    @property
    def elements(self) -> int:
        """Elements of the training part."""
        return self.borders["train"].stop

    @property
    def card(self) -> dict:
        """What is known of it; the fingerprint is the sha256 of all that a model can see."""
        counts = {part: border.stop - border.start for part, border in self.borders.items()}
        checksum = hashlib.sha256(repr((self.values.shape, self.inputs.shape, self.split, self.standardize)).encode())
        checksum.update(np.ascontiguousarray(self.values))
        checksum.update(np.ascontiguousarray(self.inputs))
        return {"corpus": self.name, "split": self.split, "counts": counts, "fingerprint": checksum.hexdigest()}

    def streams(
        self, batch: int, length: int, rank: int = 0, world: int = 1, dtype: torch.dtype = torch.float32
    ) -> "SeriesStreams":
        """The training part as windows of `batch` streams over `length` steps; this rank's share of them."""
        return SeriesStreams(*self.part("train"), batch, length, rank, world, dtype)


def split_borders(length: int, split: str, setting: str = "data.length") -> dict[str, slice]:
    """Where the parts of `length` elements, the value of `setting`, begin and end; borders round down.

    Refusal: no split, or a part with less than two elements.
    """
    shares = [int(share) if share.isdecimal() else 0 for share in split.split("-")]
    if len(shares) != len(PARTS) or min(shares) < 1 or sum(shares) != 100:
        raise Refusal(f"data.split={split}: take per cent of training, validation and test part, such as 80-10-10")
    ends = [length * sum(shares[:k]) // 100 for k in range(len(PARTS) + 1)]
    found = {part: slice(start, end) for part, start, end in zip(PARTS, ends, ends[1:])}
    for part, border in found.items():
        if border.stop - border.start < 2:
            raise Refusal(
                f"{setting}={length}: too few for data.split={split}, the {part} part would have "
                f"{border.stop - border.start} of them: take more"
            )
    return found


class SeriesStreams(Contiguous):
    """Windows of `batch` streams over a series, `length` steps each; this rank's share of them.
    pipeline.datasets.streams.Streams for values: N elements give N - 1 targets, every target is read once an epoch,
    rank r reads streams r*B/world .. (r+1)*B/world - 1.

    values, inputs  [N, D], [N, U];  dtype  of the windows
    A window has inputs [T, B, D + U] = [y_t, u_{t+1}], targets y_{t+1} [T, B, D], NaN (not scored) where a stream has
    ended or nothing was observed; positions [T, B] of y_t; count: values (steps times D) that are targets, over all
    ranks. Raises Refusal when the series does not fill one window, or when world does not divide batch.
    """

    def __init__(
        self,
        values: np.ndarray,
        inputs: np.ndarray,
        batch: int,
        length: int,
        rank: int = 0,
        world: int = 1,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__(len(values), "values", "series", batch, length, rank, world)
        self.values, self.inputs, self.dtype = values, inputs, dtype
        self.nothing = float(np.nanvar(values, axis=0).mean())  # the loss of knowing nothing but the mean

    def window(self, step: int) -> Window:
        at_TB, inside_TB, reset = self.places(step)
        targets = np.where(inside_TB[..., None], self.values[at_TB + 1], np.nan)
        count = int(np.count_nonzero(~np.isnan(targets)))
        own_TB = at_TB[:, self.own]
        inputs = np.concatenate([self.values[own_TB], self.inputs[own_TB + 1]], axis=-1)
        return Window(
            torch.from_numpy(inputs).to(self.dtype),
            torch.from_numpy(targets[:, self.own]).to(self.dtype),
            count,
            reset,
            torch.from_numpy(own_TB),
        )
