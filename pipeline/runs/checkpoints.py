"""Checkpoints that are whole or not there."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import nn
from typing_extensions import TypedDict

from pipeline.files.whole import write_atomically
from pipeline.runs.weights import Weights, load_torch, load_weights


class LastCheckpoint(TypedDict):
    """What Lightning and pipeline.learning.learning read of last.ckpt."""

    epoch: int
    global_step: int
    callbacks: dict[str, dict]
    state_dict: Weights
    optimizer_states: list
    lr_schedulers: list
    carried: list
    loss: tuple


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, replaced in one step: a process killed while saving leaves the checkpoint before.

    learning  what goes on from them; None where nothing does
    """

    def __init__(self, learning: nn.Module | None = None):
        self.learning = learning

    def save_checkpoint(self, checkpoint: dict, path: str | Path, storage_options=None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())

    def load_checkpoint(
        self, path: str | Path, map_location: Callable | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """last.ckpt. Raises Refusal where it is damaged, or not of what learns. Nothing but weights, numbers and words
        is read, whatever `weights_only` says."""
        checkpoint = load_torch(Path(path), LastCheckpoint, map_location or "cpu")
        if self.learning is not None:
            load_weights(Path(path), checkpoint["state_dict"], self.learning)
        return checkpoint
