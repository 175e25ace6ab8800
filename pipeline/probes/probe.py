"""What a probe is: it measures a run, and shows a study what it found."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.exhibits.exhibit import Exhibit, Measure

if TYPE_CHECKING:
    from pipeline.datasets.data import Data
    from pipeline.models.model import SequenceModel


def probes_of(cfg: DictConfig) -> dict[str, dict]:
    """The choices of probes for a run by name: those of its data, then those of its study."""
    listed = [group.get("probes") or {} for group in (cfg.data, cfg.study)]
    return {name: OmegaConf.to_container(one, resolve=True) for some in listed for name, one in some.items()}


class Probe(ABC):
    """What a trained model knows or does. A new one is a subclass in a file of its own, and conf/probe/NAME.yaml with
    `NAME: {_target_: pipeline.probes.NAME.CLASS, ...}`, where plain values are the settings of its constructor; data
    files and studies list it.

    measures  name -> how the number is read, in the order of the columns. Of a run's probes, in their order, the first
              measure that the run has ranks it.
    tracked   whether it is measured at the end of the training too, where MLflow keeps the run, to stand on the run's
              page: `page`
    beside    names of other studies that it shows something of, too, where the report has them
    The page is made without torch: what needs it is imported in `fits` and `measure`.
    """

    measures: Mapping[str, Measure] = {}
    tracked = False
    beside = ()

    def fits(self, network: "SequenceModel", data: "Data") -> bool:
        """Whether it can measure this model on these data."""
        return True

    @abstractmethod
    def measure(self, network: "SequenceModel", data: "Data", seed: int) -> dict:
        """What is found, for JSON: numbers by the names of `measures`, those that these data have, and whatever `show`
        needs. "doubts", where measures must not be relied on: {measure: why, in a line}; tables mark them, and no
        claim rests on them. "files": {name: what is kept as JSON in results/PROBE/RUN/}, of which `show` sees nothing.

        seed  of random numbers
        """

    def follow(self, earlier: Iterable[tuple[int, "SequenceModel"]], data: "Data", seed: int) -> dict:
        """What goes into the same JSON of the model as its training went.

        earlier  (training step, model) where weights were kept, trainer.weights_at; each is loaded as it is come to
        """
        return {}

    def page(self, found: dict) -> str:
        """A page of HTML of what was found in one run, where `tracked`."""
        raise NotImplementedError(f"{type(self).__name__} has no page")

    def show(self, rows: list[dict]) -> list[Exhibit]:
        """What there is to be seen in a study beside the measures.

        rows  groups as pipeline.evaluate writes them (label, data, model, size, parameters, units, measured, ...), best
              first within each data set, at least one; besides, each has "name", its label without its data where
              several data are shown, the "study", and "runs", by seed: those in which the probe found something, each
              with that, "found", and whether what it shows of the run is "open" at first, where that folds. Settings of
              the probe that differ between data are here those of the first. The rows of studies that it names
              `beside` follow, with all their runs, and nothing "found".
        """
        return []


def headed(rows: list[dict]) -> list[str]:
    """What rows are called side by side: their names, or their labels where names repeat."""
    names = [row["name"] for row in rows]
    return names if len(set(names)) == len(names) else [row["label"] for row in rows]


def make_probe(name: str, choice: Mapping) -> Probe:
    """The probe that a choice of the group `probe` names. Raises Refusal where it is none."""
    settings = dict(choice)
    target = settings.pop("_target_", None)
    module, _, kind = str(target).rpartition(".")
    try:
        found = getattr(import_module(module), kind)
    except (ImportError, AttributeError, ValueError) as error:
        raise Refusal(f"probe {name}: there is no {target} ({error})") from None
    if not (isinstance(found, type) and issubclass(found, Probe)):
        raise Refusal(f"probe {name}: {target} is no subclass of pipeline.probes.probe.Probe")
    try:
        return found(**settings)
    except TypeError as error:
        raise Refusal(f"probe {name}: {target} cannot be made with {settings}: {error}") from None


def measures_of(probes: Iterable[tuple[str, Probe]]) -> dict[str, Measure]:
    """All that these probes measure, in order. Raises Refusal where two have one name for what they measure."""
    measures, owner = {}, {}
    for name, probe in probes:
        for measure in probe.measures:
            if owner.setdefault(measure, name) != name:
                raise Refusal(
                    f"probes {owner[measure]} and {name} both measure {measure!r}: leave out one of them, "
                    "or give its measure another name"
                )
        measures |= probe.measures
    return measures
