"""Files of torch, read without running what they hold, and weights for the network that they are of."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import InstanceOf
from torch import Tensor, nn
from typing_extensions import TypedDict

from pipeline.command.refusal import Refusal
from pipeline.files.form import misfit
from pipeline.runs.directory import MEND

Weights = dict[str, InstanceOf[Tensor]]


class KeptCheckpoint(TypedDict):
    """step-N.ckpt; best.ckpt has its "validation" besides."""

    network: Weights
    step: int


def load_kept(path: Path, network: nn.Module) -> None:
    """Gives the network the weights of best.ckpt or step-N.ckpt. Raises Refusal where that is damaged, or of another
    network."""
    load_weights(path, load_torch(path, KeptCheckpoint)["network"], network)


def load_torch(path: Path, form: Any, where: Callable | str = "cpu") -> dict:
    """What torch.save wrote to `path`. Raises Refusal where it is anything else, or not of the type `form`."""
    content = io.BytesIO(path.read_bytes())
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is refused here in a line
            value = torch.load(content, map_location=where, weights_only=True)
        why = misfit(value, form)
    except Exception as error:  # torch raises anything at what is not its file
        why = f"torch cannot read it, {type(error).__name__}"
    if why is not None:
        raise Refusal(f"{path} is damaged ({why}): {MEND}")
    return value


def load_weights(path: Path, weights: Weights, network: nn.Module) -> None:
    """Gives the network weights from `path`. Raises Refusal where they are those of another one."""
    try:
        network.load_state_dict(weights)
    except Exception as error:  # as a model finds them unfit; torch's last line says what is
        why = " ".join(str(error).splitlines()[-1:]).strip()
        raise Refusal(f"{path} is of another network ({why}): {MEND}") from error
