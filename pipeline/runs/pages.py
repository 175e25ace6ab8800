"""What probes show of a run on its page in MLflow."""

from omegaconf import DictConfig

from pipeline.datasets.data import Data
from pipeline.models.model import SequenceModel
from pipeline.probes.probe import make_probe, probes_of


def pages(cfg: DictConfig, network: SequenceModel, data: Data) -> dict[str, str]:
    """Name -> HTML, of the probes of a run's data and of its study that are `tracked`."""
    made = {name: make_probe(name, choice) for name, choice in probes_of(cfg).items()}
    return {
        name: probe.page(probe.measure(network, data, cfg.seed))
        for name, probe in made.items()
        if probe.tracked and probe.fits(network, data)
    }
