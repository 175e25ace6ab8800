"""The data that a configuration names."""

from hydra.utils import instantiate
from omegaconf import DictConfig

from pipeline.corpora.prepared import Prepared, load
from pipeline.datasets.series import Series

Data = Prepared | Series
# What the choice of data says to people, trainer and models
FOR_OTHERS = ("name", "streams", "window", "washout", "ridge")


def load_data(data: DictConfig, local: str | None = None) -> Data:
    """The prepared corpus, or what is made on the spot: a signal, a problem.
    Raises Refusal where a corpus has not been prepared.

    local  a folder of this machine where the corpus is kept for its processes, if it is to be copied
    """
    if "prepared" in data:
        return load(data.prepared, local)
    return instantiate({key: value for key, value in data.items() if key not in FOR_OTHERS}).generate()
