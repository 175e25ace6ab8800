"""What probes show of a run on its page in MLflow."""

from omegaconf import DictConfig, OmegaConf

from pipeline.datasets.data import Data
from pipeline.models.model import SequenceModel
from pipeline.probes.probe import make_probe


def pages(cfg: DictConfig, network: SequenceModel, data: Data) -> dict[str, str]:
    """Name -> HTML, of the probes of a run's data and of its study that are `tracked`."""
    found = {}
    for group in (cfg.data, cfg.study):
        for name, choice in (group.get("probes") or {}).items():
            probe = make_probe(name, OmegaConf.to_container(choice, resolve=True))
            if probe.tracked and probe.fits(network, data):
                found[name] = probe.page(probe.measure(network, data, cfg.seed))
    return found
