"""Ends jobs in SLURM: all that was submitted for a study, or those of some of its runs.

Running ones save first; the command that submitted them takes them up again. Without study= it is about runs by
themselves and sweeps without a name.

Examples:
  lab cancel study=zoo
  lab cancel study=zoo model=gru
  lab cancel study=single
  lab cancel -m model=rnn,gru seed=0,1
  lab cancel model=gru data=linux
"""

from omegaconf import DictConfig

from pipeline.command.verb import SWEPT, verb

PLACES = ("study=", "study.name=", "paths.")  # words that say where to look, and not for which runs


def cancel(cfg: DictConfig) -> None:
    """Cancels what is in the queue of the folder that status lists; of the runs that words beside study= name, if
    any."""
    from hydra.core.hydra_config import HydraConfig

    from slurm import queue
    from slurm.status import runs_of_study

    there = queue.queued()
    jobs = [job for job in queue.submitted(queue.folder(cfg)) if job.trains(there.get(job.id))]
    words = SWEPT or list(HydraConfig.get().overrides.task)
    meant, others = jobs, []
    if any(not word.startswith(PLACES) for word in words):
        from pipeline.runs.settling import directory_of

        asked = {run.absolute() for run in runs_of_study(cfg) or [directory_of(cfg)]}
        meant = [job for job in jobs if job.run in asked]
        others = [job for job in jobs if job.run not in asked]
    go_on = queue.cancel(meant, others)
    ids = dict.fromkeys(job.id for job in meant if job.id not in go_on)
    said = f"cancelled {len(ids)} jobs of {len({job.run for job in meant})} runs of {cfg.study.name}"
    said += f": {' '.join(ids)}" * bool(ids)
    said += f"; {' '.join(go_on)} {'goes' if len(go_on) == 1 else 'go'} on with the others" * bool(go_on)
    print(said + f"; {len({job.run for job in others})} other runs stay in the queue" * bool(others))


main = verb(cancel, ("study", "model", "data", "optimizer", "scale", "seed", "paths.runs"), whole=True)

if __name__ == "__main__":
    main()
