"""The runs that a study consists of."""

import hashlib
import shlex

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pipeline.command.composition import compose_jobs
from pipeline.command.refusal import Refusal
from pipeline.command.space import is_search
from pipeline.command.sweep import jobs_of, searched
from pipeline.command.verb import SWEPT
from pipeline.runs.identity import SIZES, flat, size

SEARCH = "hydra/sweeper=optuna"


def runs_of(cfg: DictConfig) -> list[DictConfig]:
    """The configurations that `python -m pipeline.train -m` with the same overrides trains, in its order; of a search
    those of the best trial of each of what it compares."""
    if "question" not in cfg.study and not SWEPT:
        raise Refusal(
            f"study={cfg.study.name} is no study: choose one of conf/study, e.g. study=architectures, or repeat the "
            "overrides of a sweep with -m"
        )
    hydra = HydraConfig.get()
    if not is_search(hydra):
        return list(compose_jobs(jobs_of(cfg, hydra)))
    from pipeline.runs.search import best_runs

    return best_runs(cfg, searched(cfg, hydra))


def search_of(cfg: DictConfig) -> list[dict] | None:
    """What came of each search that the same overrides name, pipeline.exhibits.results.Search; None: they name none."""
    hydra = HydraConfig.get()
    if not is_search(hydra):
        return None
    from pipeline.runs.search import results

    return results(cfg, searched(cfg, hydra))


def study_of(cfg: DictConfig) -> DictConfig:
    """The study that is chosen, where it was searched with "-search" to its name; of a sweep by -m, one with its
    overrides as question, called by study.name, or by a hash of them where that is not given."""
    search = is_search(HydraConfig.get())
    if "question" in cfg.study:
        if not search:
            return cfg.study
        question = f"{cfg.study.question.rstrip('?')}, each with its best settings?"
        return OmegaConf.merge(cfg.study, {"name": f"{cfg.study.name}-search", "question": question})
    compared = [word for word in SWEPT if not word.startswith(("seed=", "study.", "paths.", "tracking."))]
    key = hashlib.sha256(" ".join(sorted(compared)).encode()).hexdigest()[:8]
    return OmegaConf.create(
        {
            "name": cfg.study.name if cfg.study.name != "single" else f"{'search' if search else 'sweep'}-{key}",
            "question": f"Which settings are best in {' '.join(compared)}?"
            if search
            else f"How do the runs of {' '.join(compared) or 'several seeds'} compare?",
            "description": None,
        }
    )


def given(cfg: DictConfig) -> str:
    """The words that name the runs of a study, or of a sweep, to train and evaluate."""
    search = f"{SEARCH} " * is_search(HydraConfig.get())
    if "question" in cfg.study:
        return f"{search}study={cfg.study.name} scale={cfg.scale.name}"
    return search + shlex.join(SWEPT)


def labels(runs: list[DictConfig]) -> list[tuple[str, str]]:
    """Short names for each run's configuration (its seed aside) and for its data: what differs within the study, e.g.
    "linux lstm 2x128", "linux"."""

    groups = ("data", "model", "optimizer")
    settings = {group: [flat(_settings(run[group])) for run in runs] for group in groups}

    def words(place: int, group: str) -> str:
        run, own = runs[place], settings[group][place]
        alike = [
            others
            for other, others in zip(runs, settings[group])
            if other[group].name == run[group].name
            and (group == "data" or other.data.name == run.data.name)  # some settings follow from the data
        ]
        differing = [f"{key}={value}" for key, value in _differing(own, alike) if group != "model" or key not in SIZES]
        return " ".join(filter(None, (run[group].name, size(run.model) if group == "model" else "", *differing)))

    named = {group: [words(place, group) for place in range(len(runs))] for group in groups}
    chosen = {(run.model.name, name) for run, name in zip(runs, named["optimizer"])}
    # The optimizer is not shown where the model decides it.
    shown = [
        group
        for group in named
        if group == "model"
        or group == "data"
        and len(set(named["data"])) > 1
        or group == "optimizer"
        and len(chosen) > len({model for model, _ in chosen})
    ]
    return [(" ".join(named[group][place] for group in shown), named["data"][place]) for place in range(len(runs))]


def _settings(choice: DictConfig) -> dict:
    """The settings of a choice; of runs that it is made of the names of their models."""
    settings = OmegaConf.to_container(choice, resolve=True)
    if "networks" in settings:
        settings.pop("member", None)
        settings["members"] = "+".join(sorted(one["model"]["name"] for one in settings.pop("networks")))
    return settings


def _differing(own: dict, alike: list[dict]) -> list[tuple[str, object]]:
    """The settings of a choice, and their values, in which those of its name differ, beside where their data are."""
    return [(key, own[key]) for key in own if key != "prepared" and len({str(one.get(key)) for one in alike}) > 1]
