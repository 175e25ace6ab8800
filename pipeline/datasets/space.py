"""What an element of a sequence is, and what guessing it costs.

Shapes: T time, B batch, D width of an element, O width of a prediction, V symbols.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from pipeline.encoders.encoder import Encoder


class Units(NamedTuple):
    """How a loss is written and drawn, for what has no tensors at hand: tables, figures, pages.

    loss         the unit of the loss of one element, such as "nats/char"
    element      what one element is called
    digits       format of a loss
    also         another unit of the loss -> how many of it a loss of 1 is
    logarithmic  whether losses are drawn on a logarithmic axis
    """

    loss: str
    element: str
    digits: str = ".4f"
    also: dict[str, float] = {}
    logarithmic: bool = False

    def perplexity(self, loss: float) -> str:
        """ " (perplexity 123.4)", exp(loss), of words; of nothing else."""
        return f" (perplexity {math.exp(min(loss, 700)):.1f})" if self.element == "word" else ""


class Space(ABC):
    """The elements of a sequence, as a model reads them or answers with them.

    width  D of an element that is read (symbols: of its one-hot vector), O of a prediction
    """

    width: int

    @property
    @abstractmethod
    def units(self) -> Units:
        """Of the loss."""

    @abstractmethod
    def blank(self, *shape: int) -> Tensor:
        """Elements [*shape, ...] that as targets are not asked."""

    @abstractmethod
    def zero(self, *shape: int) -> Tensor:
        """Elements [*shape, ...] that a model reads as a zero input: what stands before a sequence and after its
        end."""

    @abstractmethod
    def entries(self, y: Tensor) -> Tensor:
        """Which numbers of targets are asked, a boolean tensor like y; the loss is a sum over them."""

    def asked(self, y: Tensor) -> Tensor:
        """The steps at which anything is asked: targets -> [T, B] boolean."""
        entries = self.entries(y)
        return entries if entries.dim() == 2 else entries.any(-1)

    @abstractmethod
    def loss(self, z: Tensor, y: Tensor) -> Tensor:
        """Predictions [T, B, O] and targets -> the sum of the losses of what is asked."""

    @abstractmethod
    def right(self, z: Tensor, y: Tensor) -> Tensor | None:
        """Predictions and targets -> the steps that are asked and guessed right [T, B]; None where nothing says what is
        right."""

    @abstractmethod
    def curvature(self, z: Tensor, dz: Tensor, y: Tensor) -> Tensor:
        """The Hessian of the loss in z times dz, [T, B, O]: what Gauss-Newton products need (Schraudolph 2002)."""

    @abstractmethod
    def measured(self, loss: float) -> dict[str, float]:
        """What a mean loss of an element is called and is worth in the units that people compare; the first one ranks
        models."""


@dataclass(frozen=True)
class Symbols(Space):
    """x in 0..V-1, and V for "unknown" or "not asked". Predictions are logits z [T, B, V].

    loss = -log softmax(z)[y], in nats

    count    V >= 1
    element  what a symbol is called: "char", "byte", "word", "symbol"
    """

    count: int
    element: str = "char"

    def __str__(self) -> str:
        return f"one of {self.count:,} {self.element}{'es' if self.element.endswith('s') else 's'}"

    @property
    def width(self) -> int:
        return self.count

    @property
    def units(self) -> Units:
        return Units(f"nats/{self.element}", self.element, also={"bits": 1 / math.log(2)})

    def blank(self, *shape: int) -> Tensor:
        return torch.full(shape, self.count)

    zero = blank

    def entries(self, y: Tensor) -> Tensor:
        return y != self.count

    def loss(self, z: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(z.flatten(0, 1), y.flatten(), ignore_index=self.count, reduction="sum")

    def right(self, z: Tensor, y: Tensor) -> Tensor:
        return z.argmax(-1) == y

    def curvature(self, z: Tensor, dz: Tensor, y: Tensor) -> Tensor:
        """p dz - p (p . dz), p = softmax(z)."""
        p = torch.softmax(z, dim=-1)
        pdz = p * dz
        return torch.where(self.entries(y)[..., None], pdz - p * pdz.sum(-1, keepdim=True), 0.0)

    def measured(self, loss: float) -> dict[str, float]:
        """Words are compared by their perplexity exp(loss), too."""
        by_words = {"perplexity": math.exp(min(loss, 700))} if self.element == "word" else {}
        return {"nats": loss, "bits": loss / math.log(2)} | by_words


class Numbers(Space):
    """Vectors of floating-point numbers, [..., D]; a target's NaN is not asked."""

    def blank(self, *shape: int) -> Tensor:
        return torch.full((*shape, self.width), math.nan, dtype=torch.float64)

    def zero(self, *shape: int) -> Tensor:
        return torch.zeros(*shape, self.width, dtype=torch.float64)

    def entries(self, y: Tensor) -> Tensor:
        return ~y.isnan()


@dataclass(frozen=True)
class Reals(Numbers):
    """x in R^D; a target's NaN is not asked. Predictions are means z [T, B, D].

    loss = (z - y)^2, summed over D

    width      D >= 0
    driving    how many of the last of them drive the rest and are not predicted; 0..D
    tolerance  an answer with |z - y| < tolerance in each entry that is asked is right; None: nothing says so
    """

    width: int
    driving: int = 0
    tolerance: float | None = None

    def __str__(self) -> str:
        return f"{self.width} value{'s' * (self.width != 1)}" + f", {self.driving} of them driving" * bool(self.driving)

    @property
    def units(self) -> Units:
        return Units("squared error", "step", ".4g", logarithmic=True)

    def loss(self, z: Tensor, y: Tensor) -> Tensor:
        return torch.where(y.isnan(), 0.0, z - y).square().sum()

    def right(self, z: Tensor, y: Tensor) -> Tensor | None:
        if self.tolerance is None:
            return None
        return ((z - y).abs().lt(self.tolerance) | y.isnan()).all(-1) & self.asked(y)

    def curvature(self, z: Tensor, dz: Tensor, y: Tensor) -> Tensor:
        """2 dz."""
        return torch.where(y.isnan(), 0.0, 2 * dz)

    def measured(self, loss: float) -> dict[str, float]:
        return {"rmse": math.sqrt(loss)}


@dataclass(frozen=True)
class Pixels(Reals):
    """A picture, 3 S S numbers 0..255 as uint8; the model makes features of it itself, by an encoder that it learns.

    chosen  the encoder
    """

    chosen: "Encoder | None" = None

    def __str__(self) -> str:
        return f"a picture of {self.chosen.size} x {self.chosen.size} pixels"

    @property
    def features(self) -> int:
        """F, of what the encoder makes of a picture."""
        return self.chosen.width

    def encoder(self) -> nn.Module:
        """Pictures [B, 3 S S] -> features [B, F]; freshly made, the same each time."""
        return nn.Sequential(nn.Unflatten(1, (3, self.chosen.size, self.chosen.size)), self.chosen.network())


@dataclass(frozen=True)
class Image(Reals):
    """Pictures as vectors of D = C H W numbers, channel by channel and in each row by row.

    shape  (C, H, W)
    """

    width: int = field(init=False)
    shape: tuple[int, int, int] = field(kw_only=True)

    def __post_init__(self):
        object.__setattr__(self, "width", math.prod(self.shape))

    def __str__(self) -> str:
        return f"{' x '.join(map(str, self.shape))} pixels"


@dataclass(frozen=True)
class Bits(Numbers):
    """x in {0, 1}^D as floating-point numbers; a target's NaN is not asked. Predictions are logits z [T, B, D] of a
    one.

    loss = log(1 + exp(z)) - y z, in nats, summed over D

    width  D >= 1
    """

    width: int

    def __str__(self) -> str:
        return f"{self.width} bit{'s' * (self.width != 1)}"

    @property
    def units(self) -> Units:
        return Units("nats/bit", "bit", also={"bits": 1 / math.log(2)})

    def loss(self, z: Tensor, y: Tensor) -> Tensor:
        asked = self.entries(y)
        return torch.where(asked, F.softplus(z) - torch.where(asked, y, 0.0) * z, 0.0).sum()

    def right(self, z: Tensor, y: Tensor) -> Tensor:
        return ((z > 0).eq(y > 0.5) | y.isnan()).all(-1) & self.asked(y)

    def curvature(self, z: Tensor, dz: Tensor, y: Tensor) -> Tensor:
        """p (1 - p) dz, p = sigmoid(z)."""
        p = torch.sigmoid(z)
        return torch.where(y.isnan(), 0.0, p * (1 - p) * dz)

    def measured(self, loss: float) -> dict[str, float]:
        return {"nats": loss, "bits": loss / math.log(2)}
