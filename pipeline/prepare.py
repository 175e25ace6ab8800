"""Turns a fetched corpus into symbol arrays in data/prepared/<corpus>: `python -m pipeline.prepare data=linux`."""

from pathlib import Path

from omegaconf import DictConfig

from pipeline.command.verb import verb


def prepare(cfg: DictConfig) -> None:
    """Makes <data.prepared> from <paths.raw>/<data.name>. Raises Refusal where nothing was
    fetched, or what was is damaged, is no text, or holds nothing to learn."""
    from pipeline.corpora import preparation
    from pipeline.corpora.corpus import corpus_of

    preparation.prepare(corpus_of(cfg.data), Path(cfg.paths.raw))


main = verb(prepare)

if __name__ == "__main__":
    main()
