"""Turns a fetched corpus into symbol arrays in data/prepared/<corpus>, and pictures into features in
data/features/<corpus>: `python -m pipeline.prepare data=linux`."""

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


main = verb(prepare)

if __name__ == "__main__":
    main()
