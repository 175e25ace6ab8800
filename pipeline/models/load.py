"""A trained network, read back from its run."""

import torch
from torch import nn

from pipeline.corpora.prepared import Prepared
from pipeline.models.build import build
from pipeline.recurrence import choose
from pipeline.runs.directory import RunDirectory
from pipeline.verb import Refusal


def load_network(run: RunDirectory, prepared: Prepared) -> nn.Module:
    """The network with the weights of the run's best validation, on the CPU, in evaluation mode.

    Raises Refusal when the run has validated nothing yet, or when the prepared data are not those it was trained on.
    """
    if not run.best.exists():
        raise Refusal(f"{run.path} has no weights yet: it writes them at its first validation (trainer.validate_every)")
    if run.facts["data"] != prepared.card["fingerprint"]:
        raise Refusal(f"{run.path} was trained on other data than {prepared.card['corpus']} now holds (fingerprint "
                      f"{run.facts['data'][:12]}, not {prepared.card['fingerprint'][:12]}): train again")
    cfg = run.config()
    network = build(cfg.model, len(prepared.vocabulary)).to(getattr(torch, cfg.trainer.dtype))
    network.load_state_dict(torch.load(run.best, map_location="cpu", weights_only=True)["network"])
    network.engine = choose("auto", network.cells, "cpu")
    return network.eval()
