"""A finished run as a model of MLflow that works alone: without the corpus, the run's folder or a configuration.

It holds the run's config.yaml, run.json and best.ckpt; its data without their sequences, with the vocabulary and all
else that a network is asked with; what it is asked and answers (its signature); the packages that it takes, of the
versions that trained it; and the modules of a person's own, outside this project, that network and data are made of.

Shapes: T steps that are read, S steps that are predicted, D values of a series, U values that drive it.
"""

import inspect
import pickle
import platform
import shutil
import sys
import sysconfig
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import yaml

from pipeline.command.refusal import Refusal
from pipeline.runs.code import PACKAGE, changed, digest
from pipeline.runs.directory import RunDirectory
from pipeline.runs.run import Run

if TYPE_CHECKING:
    import numpy
    import pandas
    from mlflow.models import Model, ModelSignature

    from pipeline.datasets.data import Data

PROJECT = "recurrent-laboratory"
TAKEN = (PROJECT, "mlflow", "torch", "numpy")
INSTALLED = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
STEPS = 32  # of a forecast, where nobody says how many


class Asked(ABC):
    """A run's network as MLflow asks it: `predict`, with what `signature` says of these data."""

    def __init__(self, run: Run):
        self.run = run

    def get_raw_model(self):
        """The network, for `PyFuncModel.get_raw_model`."""
        return self.run.network

    def predict(self, asked, params: Mapping | None = None):
        """What `answer` says. Raises MlflowException, of which a server makes a bad request, for what it refuses."""
        from mlflow.exceptions import MlflowException

        try:
            return self.answer(asked, **(params or {}))
        except Refusal as refusal:
            raise MlflowException.invalid_parameter_value(str(refusal)) from None

    @abstractmethod
    def answer(self, asked, **params):
        """The network's answer to what `signature` names."""

    @staticmethod
    @abstractmethod
    def signature(data: "Data") -> "ModelSignature":
        """What `answer` takes and returns."""


class Texts(Asked):
    """prompt, length, temperature, seed -> text, as `Run.sample` writes it; a row a prompt."""

    def answer(self, asked: "pandas.DataFrame", **params) -> "pandas.DataFrame":
        import pandas

        return pandas.DataFrame({"text": [self.run.sample(prompt, **params) for prompt in asked["prompt"]]})

    @staticmethod
    def signature(data: "Data") -> "ModelSignature":
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

        kinds = {"length": "long", "temperature": "double", "seed": "long"}
        usual = inspect.signature(Run.sample).parameters
        return ModelSignature(
            Schema([ColSpec("string", "prompt")]),
            Schema([ColSpec("string", "text")]),
            ParamSchema([ParamSpec(name, kind, usual[name].default) for name, kind in kinds.items()]),
        )


class Pictures(Asked):
    """The bytes of a picture's file -> the likeliest sentence of it that a beam search finds; a row a picture."""

    def answer(self, asked: "pandas.DataFrame") -> "pandas.DataFrame":
        import pandas

        return pandas.DataFrame({"sentence": [self._sentence(picture) for picture in asked["picture"]]})

    def _sentence(self, picture: bytes) -> str:
        from pipeline.datasets.captions import open_picture

        data = self.run.data
        with tempfile.NamedTemporaryFile() as file:
            file.write(picture)
            file.flush()
            given = data.shown(open_picture(file.name))
        best, *_ = data.found(self.run.network, given, data.longest)
        return data.sentence(best.symbols)

    @staticmethod
    def signature(data: "Data") -> "ModelSignature":
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        return ModelSignature(Schema([ColSpec("binary", "picture")]), Schema([ColSpec("string", "sentence")]))


class Forecasts(Asked):
    """values [T, D], T >= 1 -> the values of the next steps [S, D], in the unit of the data. A series that is driven
    takes `driving` [T + S, U] too, which says how many steps are predicted; another one their number, `length`."""

    def answer(self, asked: "numpy.ndarray | dict", length: int = STEPS) -> "numpy.ndarray":
        import numpy

        driven = isinstance(asked, Mapping)
        values = asked["values"] if driven else asked
        driving = asked["driving"] if driven else numpy.empty((len(values) + max(0, length), 0))
        return self.run.data.foretell(self.run.network, values, driving)

    @staticmethod
    def signature(data: "Data") -> "ModelSignature":
        from mlflow.models import ModelSignature
        from mlflow.types import ParamSchema, ParamSpec, Schema

        observed, driving = data.answers.width, data.reads.driving
        values = Schema([_tensor("float64", -1, observed)])
        if not driving:
            return ModelSignature(values, values, ParamSchema([ParamSpec("length", "long", STEPS)]))
        asked = Schema(
            [_tensor("float64", -1, observed, name="values"), _tensor("float64", -1, driving, name="driving")]
        )
        return ModelSignature(asked, values)


class Sequences(Asked):
    """A sequence as models read it, `inputs` [T] or [T, D], and what is given before its first step, `given_1`, ..,
    symbols or a vector -> the likeliest answer of every step, [T] or [T, O]."""

    def answer(self, asked: "dict[str, numpy.ndarray]") -> "numpy.ndarray":
        from pipeline.datasets.episodes import answers_to, as_sequence

        data, (inputs, *given) = self.run.data, asked.values()
        try:
            sequence = as_sequence(data, inputs, data.answers.blank(len(inputs)), *given)
            return answers_to(data, self.run.network, sequence).cpu().numpy()
        except ValueError as error:
            raise Refusal(str(error)) from None

    @staticmethod
    def signature(data: "Data") -> "ModelSignature":
        from mlflow.models import ModelSignature
        from mlflow.types import Schema

        from pipeline.datasets.episodes import dimensions

        def tensor(space, name=None):
            return (
                _tensor("float64", -1, space.width, name=name) if dimensions(space) else _tensor("int64", -1, name=name)
            )

        given = [
            _tensor("float64", space.width, name=name) if dimensions(space) else tensor(space, name)
            for name, space in ((f"given_{number}", space) for number, space in enumerate(data.given, 1))
        ]
        return ModelSignature(Schema([tensor(data.reads, "inputs"), *given]), Schema([tensor(data.answers)]))


KINDS: dict[str, type[Asked]] = {"text": Texts, "picture": Pictures, "series": Forecasts, "sequence": Sequences}


def _tensor(kind: str, *shape: int, name: str | None = None):
    import numpy
    from mlflow.types import TensorSpec

    return TensorSpec(numpy.dtype(kind), shape, name)


def package(run: Run, folder: Path, model: "Model") -> None:
    """Writes a finished run as an MLflow model to `folder`, which is empty; `model` says what MLflow calls it."""
    from mlflow import pyfunc

    data = run.data.without_parts()
    for name in ("config.yaml", "run.json", "checkpoints/best.ckpt"):
        place = folder / "run" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.directory.path / name, place)
    (folder / "data.pickle").write_bytes(pickle.dumps(data))
    modules = own_modules(run)
    for place, file in modules.items():
        (folder / "code" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / "code" / place)
    taken = [f"{name}=={version(name).partition('+')[0]}" for name in TAKEN]
    (folder / "requirements.txt").write_text("".join(f"{each}\n" for each in taken))
    environment = {"python": platform.python_version(), "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(yaml.safe_dump(environment))
    model.signature = KINDS[data.asked_with].signature(data)
    pyfunc.add_to_model(model, __name__, code="code" if modules else None, python_env="python_env.yaml")
    model.save(str(folder / "MLmodel"))


def own_modules(run: Run) -> dict[str, Path]:
    """The modules that a run's network and data are made of and that are neither this project's nor of an installed
    package, with what else is loaded of their packages: where each is below `code` -> its file."""
    parts = [run.data, *run.network.modules()]
    names = {each.__module__ for part in parts for each in type(part).__mro__}
    packages = {name.partition(".")[0] for name in names if _own(sys.modules.get(name))} - {PACKAGE}
    loaded = {name: module for name, module in list(sys.modules.items()) if name.partition(".")[0] in packages}
    found = {}
    for name, module in loaded.items():
        if _own(module):
            file = Path(module.__file__)
            place = name.replace(".", "/") + ("/__init__.py" if file.name == "__init__.py" else ".py")
            found[place] = file
    return found


def _own(module: ModuleType | None) -> bool:
    """Whether a module is a file outside Python and its installed packages."""
    file = getattr(module, "__file__", None)
    return file is not None and module.__name__ != "__main__" and INSTALLED.isdisjoint(Path(file).parents)


def _load_pyfunc(path: str) -> Asked:
    """What MLflow calls to load what `package` wrote. As with any pickle: of sources that are trusted alone."""
    folder = Path(path)
    run = Run(RunDirectory(folder / "run"), data=pickle.loads((folder / "data.pickle").read_bytes()))
    modules = [name for name in changed(run.directory.facts) if digest(name) is not None]
    if modules:
        of = "and others " * (len(modules) > 1)
        warnings.warn(f"{modules[0]} {of}of {PROJECT} here do not do what they did in training", stacklevel=2)
    return KINDS[run.data.asked_with](run)
