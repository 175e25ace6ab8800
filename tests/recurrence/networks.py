"""Small recurrent networks for tests."""

import torch
from hydra.utils import instantiate

from pipeline.models.recurrent import RecurrentNetwork
from tests.conftest import composed


def network_of(name: str, reads, answers, hidden: int, layers: int = 1) -> RecurrentNetwork:
    """The model conf/model/NAME.yaml, float64, on the reference engine, its parameters ~ N(0, 1), seed 0."""
    torch.manual_seed(0)
    cell = instantiate(composed(f"model={name}").model.cell)
    network = RecurrentNetwork(reads, answers, (), cell, layers, hidden, None, 0.0, False, 0.0, False).double()
    with torch.no_grad():
        for _, parameter in network.parameters_by_role():
            parameter.copy_(torch.randn_like(parameter))
    network.run_on("cpu", "reference")
    return network.eval()
