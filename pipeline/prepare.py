"""Turns a fetched corpus into symbol arrays in data/prepared/<corpus>: `python -m pipeline.prepare data=linux`."""

from pathlib import Path

from omegaconf import DictConfig

from pipeline.command.refusal import Refusal
from pipeline.command.verb import verb


def prepare(cfg: DictConfig) -> None:
    """Makes <data.prepared> from <paths.raw>/<data.name>. Refusal: nothing fetched, an empty or too short corpus."""
    from pipeline.corpora import preparation
    from pipeline.corpora.corpus import corpus_of

    try:
        preparation.prepare(corpus_of(cfg.data), Path(cfg.paths.raw))
    except OSError as error:  # a full disk, a missing file
        raise Refusal(str(error)) from error


main = verb(prepare)

if __name__ == "__main__":
    main()
