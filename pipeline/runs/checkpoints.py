"""Checkpoints that are whole or not there."""

import io
from pathlib import Path

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from pipeline.files.whole import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, replaced in one step: a process killed while saving leaves the checkpoint before."""

    def save_checkpoint(self, checkpoint: dict, path: str | Path, storage_options=None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())
