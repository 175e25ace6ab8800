"""What came of a sweep (-m): its configurations beside each other, at its end."""

import shlex

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class Outcome(Callback):
    """Prints a table of a sweep's configurations over their seeds, the best validation loss first, and what evaluates
    them; after a dry run, how long all runs would take."""

    def on_multirun_end(self, config: DictConfig, **more: object) -> None:
        from pipeline.command.refusal import Refusal
        from pipeline.command.sweep import without_hydra
        from pipeline.command.terminal import meanwhile
        from pipeline.runs.scheduler import STEP

        # One of the runs, as a job of a sweep that is elsewhere; or a sweep whose jobs are not waited for.
        if STEP is not None or config.hydra.launcher.get("wait") is False:
            return
        plain = without_hydra(config)
        if plain.dry_run:
            from pipeline.runs.session import EXPECTED, minutes

            if EXPECTED:
                runs = f"{len(EXPECTED)} runs" if len(EXPECTED) > 1 else "the run"
                after = " one after another" * (len(EXPECTED) > 1)
                print(f"{runs} would take {minutes(sum(EXPECTED))}{after}", flush=True)
            return
        try:
            with meanwhile("comparing ..."):
                text = table(plain, config.hydra)
        except (Refusal, OSError) as error:  # what cannot be read is said by evaluate
            text = f"no table: {error}"
        print(text, flush=True)


def table(cfg: DictConfig, hydra: DictConfig) -> str:
    """A line for each configuration of the sweep, in sections of the same data; of a search its best trials."""
    from pipeline.command.composition import compose_jobs
    from pipeline.command.space import is_search
    from pipeline.command.sweep import jobs_of, of_command, searched
    from pipeline.command.terminal import in_columns
    from pipeline.exhibits.groups import over_seeds
    from pipeline.exhibits.numbers import spread, written
    from pipeline.runs.directory import RunDirectory
    from pipeline.runs.settling import located
    from pipeline.runs.study import SEARCH, labels

    words = shlex.join(hydra.overrides.task)
    sweep = "question" not in cfg.study or any(one.is_sweep_override() for one in of_command(hydra))
    if is_search(hydra):
        from pipeline.runs import search

        return search.table(cfg, searched(cfg, hydra), f"{'-m ' * sweep}{SEARCH} {words}")
    runs, directories = [], []
    for composed in compose_jobs(jobs_of(cfg, hydra)):
        settled, _, directory = located(composed)
        runs.append(settled)
        directories.append(directory)
    groups: dict[tuple[str, str], list[dict]] = {}
    for (label, data), directory in zip(labels(runs), directories, strict=True):
        groups.setdefault((data, label), []).append(RunDirectory(directory).facts)
    finished = {key: [one for one in facts if one.get("status") == "finished"] for key, facts in groups.items()}
    some = next((facts[0] for facts in finished.values() if facts), None)
    if some is None:
        return f"none of {len(runs)} runs has finished"
    rows, units_of = [], {one["units"]["loss"] for facts in finished.values() for one in facts}
    for (data, label), facts in groups.items():
        done = finished[data, label]
        losses, units = over_seeds(one["validation"] for one in done), (done or [some])[0]["units"]
        loss = [written(losses["mean"], units["digits"]), spread(losses["std"], units["digits"])]
        loss += [units["loss"]] * (len(units_of) > 1)
        diverged = sum(one.get("status") == "diverged" for one in facts)
        seeds = f"{len(done)}" if len(done) == len(facts) else f"{len(done)} of {len(facts)}"
        rows.append(
            (
                data,
                losses["mean"] if done else float("inf"),
                [
                    label,
                    f"{facts[0]['parameters']:,}" if facts[0] else "",
                    " ".join(filter(None, loss)) if done else "",
                    seeds + (f", {diverged} diverged" if diverged else ""),
                ],
            )
        )
    rows.sort(key=lambda row: row[:2])
    validation = "validation" if len(units_of) > 1 else f"validation, {some['units']['loss']}"
    lines = [["", "parameters", validation, "seeds"], *(cells for *_, cells in rows)]
    return "\n".join(["", *in_columns(lines), f"on held-out data: lab evaluate {'-m ' * sweep}{words}"])
