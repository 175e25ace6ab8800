"""Turns a fetched corpus into arrays in data/prepared/<corpus>, and pictures into features in data/features/<corpus>.

What was prepared before, from the same originals and with the same settings, is kept.

Examples:
  lab prepare data=linux
  lab prepare data=shakespeare data.split=90-5-5
  lab prepare data=wikipedia data.symbols=words data.vocabulary=10000
  lab prepare data=emoji encoder=resnet18
"""

from pathlib import Path

from omegaconf import DictConfig

from pipeline.command.verb import verb


def prepare(cfg: DictConfig) -> None:
    """Makes <data.prepared> from <paths.raw>/<data.name>. Raises Refusal where nothing was
    fetched, or what was is damaged, is no text, or holds nothing to learn."""
    from pipeline.corpora import preparation
    from pipeline.corpora.corpus import corpus_of

    corpus = corpus_of(cfg.data)
    preparation.prepare(corpus, Path(cfg.paths.raw))
    corpus.complete()


ASKED = (
    "data",
    "encoder",
    "data.name",
    "data.folder",
    "data.symbols",
    "data.split",
    "data.tokens",
    "data.vocabulary",
    "data.least",
    "data.encoding",
    "data.path",
    "data.subset",
    "data.prepared",
    "paths.raw",
    "paths.prepared",
)
main = verb(prepare, ASKED)

if __name__ == "__main__":
    main()
