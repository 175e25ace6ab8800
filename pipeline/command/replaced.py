"""Settings of a class that a command line replaces by another: "model.cell._target_=pipeline.cells.gru.GRU"."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf, open_dict

from pipeline.command.declared import declared
from pipeline.command.otherwise import key_of
from pipeline.command.settings import HYDRA


def leave_out_replaced(cfg: DictConfig, words: Sequence[str]) -> None:
    """Leaves out what a choice sets for the class that it names, where `words`, the overrides of the run, name another
    class within it that has no such setting. What words set themselves stays, to be refused.

    Raises Refusal for a class that there is not.
    """
    keys = set(map(key_of, words))
    for key in sorted(keys):
        place, _, last = key.rpartition(".")
        node = OmegaConf.select(cfg, place) if last == "_target_" and "." in place else None
        if not isinstance(node, DictConfig) or last not in node:
            continue
        found = declared(key, node[last])
        if not found.open:
            with open_dict(node):
                for name in [*node]:
                    if name not in {*found.settings, *HYDRA} and f"{place}.{name}" not in keys:
                        del node[name]
