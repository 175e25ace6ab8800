"""A run as people meet it after training: its losses, and what its network writes, expects and holds."""

import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from pipeline.command.refusal import Refusal
from pipeline.runs.directory import RunDirectory, find_run

if TYPE_CHECKING:
    import pandas
    from torch import Tensor

    from pipeline.datasets.data import Data
    from pipeline.models.model import SequenceModel

PIECE = 1000  # symbols of a long text that are read at a time


class Run:
    """A run that has been trained, or is being trained.

    directory  where it is: config.yaml, metrics.jsonl, checkpoints, ...
    config     its settled configuration
    data       what it is trained on
    network    its model, a torch.nn.Module, with the weights of its best validation, on the CPU, in evaluation mode
    Each of the last three is read when it is first asked for. Raises Refusal where what is asked for is missing,
    damaged, or of other data than the run's, and for a model that does not have it.
    """

    def __init__(self, directory: RunDirectory, config: DictConfig | None = None, data: "Data | None" = None):
        self.directory = directory
        if config is not None:
            self.config = config
        if data is not None:
            self.data = data

    @classmethod
    def of(cls, cfg: DictConfig) -> "Run":
        """The run that a composed configuration describes, whether or not it has begun."""
        from pipeline.runs.settling import located

        config, data, path = located(cfg)
        return cls(RunDirectory(path), config, data)

    def __repr__(self) -> str:
        return f"<Run {self.directory.path}, {self.directory.facts.get('status', 'not begun')}>"

    @cached_property
    def config(self) -> DictConfig:
        return self.directory.config()

    @cached_property
    def data(self) -> "Data":
        from pipeline.datasets.data import load_data

        return load_data(self.config.data)

    @cached_property
    def network(self) -> "SequenceModel":
        return self.load()

    def load(self) -> "SequenceModel":
        """A copy of `network` that is not kept here."""
        from pipeline.runs.building import load_network
        from pipeline.runs.process import settle_process

        settle_process(self.config.trainer.threads)
        return load_network(self.directory, self.data)

    def earlier(self) -> "Iterator[tuple[int, SequenceModel]]":
        """What `network` was after each training step of trainer.weights_at, ascending: the step, and a copy."""
        from pipeline.runs.building import load_network

        for step in self.directory.kept():
            yield step, load_network(self.directory, self.data, step)

    def losses(self) -> "pandas.DataFrame":
        """What was recorded as it was trained, a row a training step, in the unit of `data.answers.units.loss`.

        Columns: `train`, the mean loss since the row before; `smoothed`, its moving average; `validation`, NaN where
        there was none; `targets`, elements that had been asked; `seconds` of training; `rate`, the learning rate.
        """
        import pandas

        records = self.directory.records()
        return pandas.DataFrame(records, columns=None if records else ["step"]).set_index("step")

    def write(self, prompt: str = "", length: int = 500, temperature: float = 0.7, seed: int = 0) -> Iterator[str]:
        """What the network writes, piece by piece: a text that goes on from the prompt, answers to questions, a
        forecast.

        prompt       of a text, read first and not repeated: symbols that the training part lacks are read as unknown
        length       elements at most, >= 0
        temperature  >= 0; 0: the likeliest symbol, 1: drawn from the model's own distribution
        seed         of what is drawn, 0..2^32 - 1
        """
        if length < 0:
            raise Refusal(f"length={length}: take a number of elements from 0")
        if not 0 <= temperature < float("inf"):
            raise Refusal(
                f"temperature={temperature}: take a number from 0 (0: the likeliest, 1: the model's own distribution)"
            )
        if not 0 <= seed < 2**32:
            raise Refusal(f"seed={seed}: take a whole number from 0, below {2**32:,}")
        return self._pieces(prompt, length, temperature, seed)

    def _pieces(self, prompt: str, length: int, temperature: float, seed: int) -> Iterator[str]:
        from torch import Generator

        yield from self.data.write(self.network, prompt, temperature, length, Generator().manual_seed(seed))

    def sample(self, prompt: str = "", length: int = 500, temperature: float = 0.7, seed: int = 0) -> str:
        """The prompt and what `write` makes of it, as one text. Warns of symbols that are read as unknown."""
        pieces = self.write(prompt, length, temperature, seed)
        if warning := self.data.check_prompt(prompt):
            warnings.warn(warning, stacklevel=2)
        return prompt + "".join(pieces)

    def probabilities(self, text: str) -> dict[str, float]:
        """p(x | text) of each symbol x that may follow the text, by its name, the likeliest first; they sum to 1."""
        import torch

        for z, _ in self._read(text, lambda x, state: self.network(x, state)):
            last = z[-1, 0]
        p, symbols = torch.softmax(last.double(), dim=0).sort(descending=True)
        return {self.data.names[symbol]: value for symbol, value in zip(symbols.tolist(), p.tolist())}

    def states(self, text: str) -> "list[Tensor]":
        """The hidden units of each layer after each symbol of the text, [T, H]. Raises Refusal for a model that has no
        hidden units."""
        import torch

        if not self.network.has_activities:
            raise Refusal(f"model={self.config.model.name} has no hidden units: take a recurrent network")
        pieces = [layers for layers, _ in self._read(text, self.network.activities)]
        return [torch.cat(layer)[:, 0] for layer in zip(*pieces)]

    def _read(self, text: str, pass_through) -> Iterator[tuple]:
        """What a pass gives for each piece of a text, and the state after."""
        import torch

        symbols = torch.tensor(self.data.encode(text))[:, None]
        with torch.no_grad():
            state = self.network.start(1)
            for piece in symbols.split(PIECE):
                found, state = pass_through(piece, state)
                yield found, state


def open_run(name: str = "", runs: str | Path = "runs") -> Run:
    """The run called `name`: its directory, or a part of its name that only one run below the folder `runs` has; the
    run trained last where it is empty. Raises Refusal where none or several are meant."""
    return Run(RunDirectory(find_run(name, Path(runs))))
