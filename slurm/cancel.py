"""Ends jobs in SLURM: all that was submitted for a study, or those of some of its runs.

Running ones save first; the command that submitted them takes them up again. Without study= it is about runs by
themselves and sweeps without a name. What was started by hand with sbatch slurm/train.sbatch is found by its run once
that has begun.

Examples:
  lab cancel study=zoo
  lab cancel study=zoo model=gru
  lab cancel study=single
  lab cancel -m model=rnn,gru seed=0,1
  lab cancel model=gru data=linux
"""

from collections import Counter

from omegaconf import DictConfig

from pipeline.command.verb import SWEPT, verb

PLACES = ("study=", "study.name=", "paths.")  # words that say where to look, and not for which runs


def cancel(cfg: DictConfig) -> None:
    """Cancels what is in the queue of the runs that status lists; of those that words beside study= name, if any.
    Refusal: some were started by hand, in jobs that may hold more than one run."""
    from hydra.core.hydra_config import HydraConfig

    from pipeline.command.refusal import Refusal
    from slurm import queue
    from slurm.status import begun, runs_of_study

    entries, submitted = queue.queued(), queue.submitted(queue.folder(cfg))
    jobs = [job for job in submitted if job.trains(entries.get(job.id))]
    by_hand = queue.by_hand([run.absolute() for run in begun(cfg)], submitted, entries)
    runs = {job.run for job in jobs} | by_hand.keys()
    asked, words = runs, SWEPT or list(HydraConfig.get().overrides.task)
    if any(not word.startswith(PLACES) for word in words):
        from pipeline.runs.settling import directory_of

        asked = runs & {run.absolute() for run in runs_of_study(cfg) or [directory_of(cfg)]}
    trains = Counter(by_hand.values())
    wanted = dict.fromkeys(by_hand[run] for run in by_hand if run in asked)
    sure = queue.of_one_run(id for id in wanted if trains[id] == 1) if wanted else set()
    meant = [job for job in jobs if job.run in asked]
    go_on = queue.cancel(meant, [job for job in jobs if job.run not in asked], [id for id in wanted if id in sure])
    ids = [*dict.fromkeys(job.id for job in meant if job.id not in go_on), *(id for id in wanted if id in sure)]
    ended = {job.run for job in meant} | {run for run in asked if by_hand.get(run) in sure}
    said = f"cancelled {len(ids)} jobs of {len(ended)} runs of {cfg.study.name}"
    said += f": {' '.join(ids)}" * bool(ids)
    said += f"; {' '.join(go_on)} {'goes' if len(go_on) == 1 else 'go'} on with the others" * bool(go_on)
    print(said + f"; {len(runs - ended)} other runs stay in the queue" * bool(runs - ended))
    left = [id for id in wanted if id not in sure]
    if left:
        held = "; ".join(f"job {id} trains {run.name}" for run, id in by_hand.items() if run in asked and id in left)
        raise Refusal(
            f"{held}: not started by sbatch slurm/train.sbatch for that run alone, and may hold more: scancel "
            f"{' '.join(left)} ends all of it"
        )


main = verb(cancel, ("study", "model", "data", "optimizer", "scale", "seed", "paths.runs"), whole=True)

if __name__ == "__main__":
    main()
