"""A trained network, read back from its run."""

import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import Data
from pipeline.models.build import build
from pipeline.models.model import SequenceModel
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.recurrence.engines import choose
from pipeline.runs.directory import RunDirectory


def load_network(run: RunDirectory, data: Data) -> SequenceModel:
    """The network with the weights of the run's best validation, on the CPU, in evaluation mode.

    Raises Refusal when the run has validated nothing yet, or when the data are not those it was trained on.
    """
    if not run.best.exists():
        raise Refusal(f"{run.path} has no weights yet: it writes them at its first validation (trainer.validate_every)")
    if run.facts["data"] != data.card["fingerprint"]:
        raise Refusal(
            f"{run.path} was trained on other data than {data.card['corpus']} now holds (fingerprint "
            f"{run.facts['data'][:12]}, not {data.card['fingerprint'][:12]}): train again"
        )
    cfg = run.config()
    network = build(cfg.model, data.space).to(getattr(torch, cfg.trainer.dtype))
    network.load_state_dict(torch.load(run.best, map_location="cpu", weights_only=True)["network"])
    if isinstance(network, RecurrentNetwork):
        network.engine = choose("auto", network.cells, "cpu")
    return network.eval()
