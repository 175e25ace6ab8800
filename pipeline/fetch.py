"""Fetches a corpus into data/raw/<corpus>: `python -m pipeline.fetch data=linux`."""

from pathlib import Path

from omegaconf import DictConfig

from pipeline.command.verb import verb


def fetch(cfg: DictConfig) -> None:
    """Puts the texts of `cfg.data` and their card into <paths.raw>/<data.name>. Refusal: no source has them."""
    from pipeline.corpora import sources
    from pipeline.corpora.corpus import corpus_of

    mirror = Path(cfg.paths.mirror) if cfg.paths.mirror else None
    sources.fetch(corpus_of(cfg.data), Path(cfg.paths.raw), mirror)


main = verb(fetch)

if __name__ == "__main__":
    main()
