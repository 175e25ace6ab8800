"""Hyperparameter search: what is tried next, what came of it, and how a search goes on after it was killed.

A trial is one configuration, its value the mean over seeds of the best validation loss. Trials are kept by Optuna in
SEARCHES in the study's folder of runs, under the identity of what is searched; the runs are those of any sweep.
"""

import hashlib
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.command.space import Parameter, Searched
from pipeline.command.terminal import in_columns
from pipeline.exhibits.numbers import spread, written
from pipeline.files.lock import Held, Lock
from pipeline.runs.building import expected_seconds
from pipeline.runs.directory import RunDirectory
from pipeline.runs.identity import identify
from pipeline.runs.session import EXPECTED
from pipeline.runs.settling import directory_of, located

if TYPE_CHECKING:
    import optuna

SEARCHES = "searches.journal"  # in runs/<study>
SPREAD = 5  # trials that are spread over what is searched, after the first and before the Gaussian process learns
SHOWN = 5  # trials of a search in the table at its end
EDGE = 0.05  # of a parameter's range: a best value so near its end may lie beyond it
MOST_REFUSED = 3  # rounds one after another, of which every run was refused: what is asked next would be too
FEWEST = 8  # trials that say which parameter matters

Launch = Callable[[list[list[str]], int], Sequence[JobReturn]]  # of the overrides of runs, and how many were before


class Round(NamedTuple):
    search: "Search"
    trial: "optuna.trial.Trial"
    jobs: list[list[str]]


class Search:
    """A search with its trials.

    fresh  whether it forgets those of before
    Raises Refusal where its runs cannot be: the models do not fit the data, the data are not there.
    """

    def __init__(self, searched: Searched, storage: "optuna.storages.BaseStorage", fresh: bool = False):
        import optuna

        self.searched, self.storage = searched, storage
        corner = searched.compose(next(searched.corners()))
        self.settled, self.data, _ = located(corner)
        self.name = f"{searched.name} {key(searched, identify(self.settled, self.data).hash)}"
        if fresh:
            with suppress(KeyError):
                optuna.delete_study(study_name=self.name, storage=storage)
        self.study: optuna.Study | None = None
        with suppress(KeyError):
            self.study = optuna.load_study(study_name=self.name, storage=storage)

    def begin(self, seed: int) -> None:
        """Creates it, where it has not begun. Its first trial has the settings as they are otherwise; the next ones are
        points of a Halton sequence, at the same places of the ranges of whatever is compared."""
        import optuna
        from scipy.stats.qmc import Halton

        if self.study is None:
            self.study = optuna.create_study(study_name=self.name, storage=self.storage)
            first, parameters = self.otherwise(), self.searched.parameters
            if first is not None:
                self.study.enqueue_trial(first)
            if parameters:
                for point in Halton(len(parameters), rng=seed).random(SPREAD):
                    self.study.enqueue_trial({one.key: _at(one, place) for one, place in zip(parameters, point)})

    def otherwise(self) -> dict[str, object] | None:
        """The values that the parameters have where nothing is searched; None where one has none that is searched."""
        cfg = self.searched.compose([*self.searched.words, *self.searched.usual, f"seed={self.searched.seeds[0]}"])
        values = {one.key: OmegaConf.select(cfg, one.key) for one in self.searched.parameters}
        within = all(_within(one, values[one.key]) for one in self.searched.parameters)
        return values if within else None

    def trials(self, *states: str) -> list["optuna.trial.FrozenTrial"]:
        """Those in one of these states, "COMPLETE" or "RUNNING", with all of their values, in their order."""
        import optuna

        if self.study is None:
            return []
        wanted = tuple(optuna.trial.TrialState[state] for state in states)
        found = self.study.get_trials(deepcopy=False, states=wanted)
        return [one for one in found if len(one.params) == len(self.searched.parameters)]

    def left_behind(self) -> list["optuna.trial.Trial"]:
        """Trials whose runs were stopped or refused."""
        import optuna

        return [optuna.trial.Trial(self.study, one._trial_id) for one in self.trials("RUNNING")]

    def ask(self, seed: int) -> "optuna.trial.Trial":
        """The next trial. It depends on those before it alone, not on how often the search was stopped."""
        import optuna

        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = optuna.samplers.GPSampler(seed=seed + number, n_startup_trials=SPREAD)
        return self.study.ask({one.key: _distribution(one) for one in self.searched.parameters})

    def jobs(self, trial: "optuna.trial.FrozenTrial | optuna.trial.Trial") -> list[list[str]]:
        """The overrides of a trial's runs."""
        return self.searched.jobs(trial.params)

    def best(self) -> "optuna.trial.FrozenTrial | None":
        """The trial with the least value; None where none has a finite one."""
        return min(self._finite(), key=lambda one: one.value, default=None)

    def _finite(self) -> list["optuna.trial.FrozenTrial"]:
        """Trials that have ended and have not diverged."""
        return [one for one in self.trials("COMPLETE") if math.isfinite(one.value)]

    def importances(self) -> dict[str, float] | None:
        """Parameter -> the part of the values' variance that it explains (fANOVA, Hutter et al. 2014); None of one
        alone, or of too few trials."""
        import optuna

        finite = self._finite()
        values = {one.value for one in finite}
        if len(self.searched.parameters) < 2 or len(finite) < FEWEST or len(values) < 2:
            return None
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return dict(optuna.importance.get_param_importances(self.study, evaluator=evaluator))

    def result(self) -> dict:
        """What results/studies/<study>.json holds of it, pipeline.exhibits.results.Search."""
        best, parameters = self.best(), self.searched.parameters
        return {
            "name": self.searched.name,
            "units": self.data.answers.units._asdict(),
            "seeds": [int(seed) for seed in self.searched.seeds],
            "parameters": [one._asdict() | {"choices": one.choices and list(one.choices)} for one in parameters],
            "trials": [
                {
                    "number": one.number,
                    "settings": {word.key: _read(word, one.params[word.key]) for word in parameters},
                    "value": one.value if math.isfinite(one.value) else None,
                }
                for one in self.trials("COMPLETE")
            ],
            "best": best and best.number,
            "at_its_end": [one.key for one in parameters if best is not None and at_end(one, best.params[one.key])],
            "importances": self.importances(),
        }


def at_end(one: Parameter, value: object) -> bool:
    """Whether a value is so near an end of an interval that a better one may lie beyond."""
    if one.choices is not None or one.step or one.low == one.high:
        return False
    scale = math.log if one.log else float
    place = (scale(value) - scale(one.low)) / (scale(one.high) - scale(one.low))
    return not EDGE <= place <= 1 - EDGE


def key(searched: Searched, corner: str) -> str:
    """The identity of a search: that of the run at its least values, its parameters and its seeds."""
    text = json.dumps([corner, [one._asdict() for one in searched.parameters], searched.seeds])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@contextmanager
def kept(folder: Path, writes: bool = False) -> Iterator["optuna.storages.BaseStorage"]:
    """Where the searches of a study's folder of runs are kept; a storage in memory where nothing is and nothing
    `writes`. Raises Refusal where the file is damaged, or another process searches."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = folder / SEARCHES
    if not writes and not file.exists():
        yield optuna.storages.InMemoryStorage()
        return
    lock = Lock(folder / f".{SEARCHES}.lock")
    if writes:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Held as owner:
            raise Refusal(f"{file} is being written by {owner}: wait for it, or stop it") from None
    try:
        if writes:
            Path(f"{file}.lock").unlink(missing_ok=True)  # Optuna's own, of a process that was killed
            _drop_what_is_not_whole(file)
        try:
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(file)))
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal(
                f"{file} is damaged ({error}): move it away; the same command finds the runs that it has trained"
            ) from None
        yield storage
    finally:
        if writes:
            lock.release()


def _drop_what_is_not_whole(file: Path) -> None:
    """Cuts off the line in which a process was killed."""
    if file.exists():
        content = file.read_bytes()
        whole = content.rpartition(b"\n")
        if whole[2]:
            with file.open("r+b") as opened:
                opened.truncate(len(content) - len(whole[2]))


def folder_of(cfg: DictConfig) -> Path:
    return Path(cfg.paths.runs) / cfg.study.name


def search(cfg: DictConfig, hydra: DictConfig, searches: list[Searched], launch: Launch, at_once: int) -> None:
    """Goes on with searches, by turns, until each has as many trials as it shall, or the time is over.

    at_once  runs that the launcher trains side by side
    A run that was refused leaves its trial to the next command. Raises Refusal in the end where there are such.
    """
    settings, began, before, in_a_row = hydra.sweeper, time.monotonic(), 0, 0
    with warnings.catch_warnings(), kept(folder_of(cfg), writes=True) as storage:
        warnings.simplefilter("ignore")  # of what Optuna calls experimental
        going = [Search(one, storage, fresh=cfg.fresh is not False) for one in searches]
        refusals: list[tuple[Search, Refusal]] = []
        for one in going:
            one.begin(settings.seed)
        again = [Round(one, trial, one.jobs(trial)) for one in going for trial in one.left_behind()]
        while True:
            asked = again or _asked(going, refusals, settings.n_trials, settings.seed, at_once)
            over = settings.timeout is not None and time.monotonic() - began >= settings.timeout
            if over and asked:
                print(f"hydra.sweeper.timeout={settings.timeout:g} is over: the same command goes on", flush=True)
            if over or not asked:
                break
            again = []
            jobs = {tuple(job): job for one in asked for job in one.jobs}  # two trials may be the same
            results = dict(zip(jobs, launch(list(jobs.values()), before), strict=True))
            before += len(jobs)
            for one in asked:
                refusal = _tell(one, [results[tuple(job)] for job in one.jobs])
                if refusal is not None:
                    refusals.append((one.search, refusal))
                else:
                    _say(one, settings.n_trials)
            in_a_row = in_a_row + 1 if all(map(_refused, results.values())) else 0
            if in_a_row == MOST_REFUSED:
                break
    if refusals:
        raise Refusal(f"{len(refusals)} trials were refused, the same command tries them again: {refusals[0][1]}")


def _asked(
    going: list[Search], refusals: list[tuple[Search, Refusal]], most: int, seed: int, at_once: int
) -> list[Round]:
    """The next trials: of each search one, or more where there is room for more at once; none where all are there."""
    refused = [search for search, _ in refusals]
    left = {
        id(one): (most if one.searched.parameters else 1) - len(one.trials("COMPLETE")) - refused.count(one)
        for one in going
    }
    open_ones = [one for one in going if left[id(one)] > 0]
    if not open_ones:
        return []
    share = max(1, math.ceil(at_once / sum(len(one.searched.seeds) for one in open_ones)))
    rounds = []
    for one in open_ones:
        for _ in range(min(share, left[id(one)])):
            trial = one.ask(seed)
            rounds.append(Round(one, trial, one.jobs(trial)))
    return rounds


def _refused(result: JobReturn) -> bool:
    return result.status != JobStatus.COMPLETED and isinstance(result._return_value, Refusal)


def _tell(one: Round, results: list[JobReturn]) -> Refusal | None:
    """Tells Optuna what came of a trial: infinity where a run diverged. Returns why a run was refused."""
    for result in results:
        if _refused(result):
            return result._return_value
    one.search.study.tell(one.trial, statistics.fmean(float(result.return_value) for result in results))
    return None


def _say(one: Round, most: int) -> None:
    """A line on a trial that has ended."""
    done, best = one.search.trials("COMPLETE"), one.search.best()
    value = next(trial.value for trial in done if trial.number == one.trial.number)
    units = one.search.data.answers.units
    words = " ".join(word.word(one.trial.params[word.key]) for word in one.search.searched.parameters)
    came = f"{value:{units.digits}} {units.loss}" if math.isfinite(value) else "diverged"
    beside = f", best {best.value:{units.digits}} of trial {best.number + 1}" if best is not None else ""
    most = most if one.search.searched.parameters else 1
    print(f"{one.search.searched.name}, trial {len(done)} of {most}: {words}  {came}{beside}", flush=True)


def would_search(cfg: DictConfig, hydra: DictConfig, searches: list[Searched]) -> None:
    """Says what a dry run does not do, and about how long it would take by a machine's usual speed."""
    with kept(folder_of(cfg)) as storage:
        for searched in searches:
            one = Search(searched, storage, fresh=False)
            done = 0 if cfg.fresh is not False else len(one.trials("COMPLETE"))
            most = hydra.sweeper.n_trials if searched.parameters else 1
            runs = max(0, most - done) * len(searched.seeds)
            EXPECTED.extend([expected_seconds(one.settled, one.data)] * runs)
            seeds = f" x {len(searched.seeds)} seeds" * (len(searched.seeds) > 1)
            space = "; ".join(map(str, searched.parameters)) or "nothing to search"
            trials = f"{most} trial{'s' * (most > 1)}{seeds}"
            print(f"{searched.name}: {space}: {trials}, {done} done", flush=True)


def results(cfg: DictConfig, searches: list[Searched]) -> list[dict]:
    """What came of each search, pipeline.exhibits.results.Search. Raises Refusal where one has no finished trial."""
    with opened(cfg, searches) as found:
        return [one.result() for one in found]


def best_runs(cfg: DictConfig, searches: list[Searched]) -> list[DictConfig]:
    """The runs of the best trial of each search. Raises Refusal where one has no finished trial."""
    with opened(cfg, searches) as found:
        return [one.searched.compose(job) for one in found for job in one.jobs(one.best())]


@contextmanager
def opened(cfg: DictConfig, searches: list[Searched]) -> Iterator[list[Search]]:
    """Searches of which each has a trial that finished; or Refusal."""
    with warnings.catch_warnings(), kept(folder_of(cfg)) as storage:
        warnings.simplefilter("ignore")
        found = [Search(one, storage) for one in searches]
        for one in found:
            if one.best() is None:
                raise Refusal(
                    f"the search of {one.searched.name} has no trial that finished: search first, by lab train"
                )
        yield found


def table(cfg: DictConfig, searches: list[Searched], words: str) -> str:
    """The best trials of each search, and what matters, for a terminal."""
    lines = []
    with warnings.catch_warnings(), kept(folder_of(cfg)) as storage:
        warnings.simplefilter("ignore")
        for searched in searches:
            one = Search(searched, storage)
            units, keys = one.data.answers.units, [word.key for word in searched.parameters]
            done = sorted(one.trials("COMPLETE"), key=lambda trial: trial.value)
            diverged = sum(not math.isfinite(trial.value) for trial in done)
            rows = [[searched.name, *keys, f"validation, {units.loss}"]]
            for trial in done[: SHOWN if len(done) > diverged else 0]:
                losses = [RunDirectory(directory_of(searched.compose(job))).facts for job in one.jobs(trial)]
                each = [facts["validation"] for facts in losses if "validation" in facts]
                std = statistics.stdev(each) if len(each) > 1 else None
                value = f"{written(trial.value, units.digits)} {spread(std, units.digits)}".strip()
                settings = [word.word(trial.params[word.key]).partition("=")[2] for word in searched.parameters]
                rows.append(
                    [f"trial {trial.number + 1}", *settings, value if math.isfinite(trial.value) else "diverged"]
                )
            lines += ["", *in_columns(rows)]
            more = [f"{len(done)} trials" + f", {diverged} diverged" * bool(diverged)]
            result = one.result()
            if result["importances"]:
                parts = ", ".join(f"{name} {part:.0%}" for name, part in result["importances"].items())
                more.append(f"what explains the differences (fANOVA): {parts}")
            more += [f"the best {name} lies at an end of its range: widen it" for name in result["at_its_end"]]
            lines += more
    return "\n".join([*lines, f"the best on held-out data: lab evaluate {words}"])


def _distribution(one: Parameter) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if one.choices is not None:
        return CategoricalDistribution(one.choices)
    if one.whole:
        return IntDistribution(one.low, one.high, log=one.log, step=one.step or 1)
    return FloatDistribution(one.low, one.high, log=one.log, step=one.step)


def _at(one: Parameter, place: float) -> object:
    """The value at a place in [0, 1) of what is searched."""
    if one.choices is not None:
        return one.choices[int(place * len(one.choices))]
    if one.log:
        value = one.low * (one.high / one.low) ** place
        return round(value) if one.whole else value
    if one.whole or one.step:
        step = one.step or 1
        return one.low + step * int(place * (round((one.high - one.low) / step) + 1))
    return one.low + place * (one.high - one.low)


def _within(one: Parameter, value: object) -> bool:
    if one.choices is not None:
        return value in one.choices
    if isinstance(value, bool) or not isinstance(value, int if one.whole else int | float):
        return False
    steps = (value - one.low) / one.step if one.step else 0
    return one.low <= value <= one.high and abs(steps - round(steps)) < 1e-9


def _read(one: Parameter, value: object) -> str | float:
    """A value as its runs have it."""
    text = one.word(value).partition("=")[2]
    return text if one.choices is not None else int(text) if one.whole else float(text)
