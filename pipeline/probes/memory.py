"""How much a model remembers."""

import math
from collections.abc import Iterable

from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import INK, drawing, legend, look, numbers_in, svg
from pipeline.exhibits.numbers import known
from pipeline.probes.probe import Probe

EPISODES = 64  # read side by side
NEARLY = 0.9  # of a message


class Memory(Probe):
    """Bits of an episode's message that reach its recall, beside the bits that the message has and, for a model with N
    discrete states, beside log2 N, the most that it can carry."""

    measures = {"carried": Measure("bits", better="high", title="bits carried")}

    def fits(self, network, data) -> bool:
        from pipeline.datasets.copying import Recalled

        return isinstance(data, Recalled)

    def measure(self, network, data, seed: int) -> dict:
        """{"carried", "message", "bound": None where nothing bounds it}, bits."""
        states = network.discrete_states
        return {
            "carried": carried_bits(network, data),
            "message": data.bits,
            "bound": None if states is None else math.log2(states),
        }

    def show(self, rows: list[dict]) -> list[Exhibit]:
        found = [(row, run["found"]) for row in rows for run in row["runs"] if known(run["found"]["carried"])]
        if not found:
            return []
        points = [(row["name"], one["message"], one["carried"]) for row, one in found]
        bounds = {row["name"]: one["bound"] for row, one in found if one["bound"] is not None}
        title = "Bits carried"
        about = (
            "Bits of a message that reach its recall, in the mean over episodes: a point a seed, the line joins the "
            "best. Dashes: log2 N, what N states carry at most; dots: a perfect memory. Below zero: guesses worse than "
            "of one who forgot the message and knows where it ends."
        )
        shown = [Exhibit(title, about, svg(figure(points, bounds), f"{title}: {rows[0]['study']}"))]
        needed = sizes_needed(
            (row["model"], int(row["size"].rpartition("x")[2]), one["message"], one["carried"])
            for row, one in found
            if row["size"].rpartition("x")[2].isdigit()
        )
        if any(len(of) > 1 for of in needed.values()):
            title = "Size needed"
            about = (
                "The least number of units, or of states, of a model that carries nine tenths of the message with any "
                "seed. Dashes: 2^k, the states of an automaton that keeps k bits: for twice the message their square."
            )
            shown.append(
                Exhibit(
                    title,
                    about,
                    svg(needed_figure(needed, {one["message"] for _, one in found}), f"{title}: {rows[0]['study']}"),
                )
            )
        return shown


def carried_bits(network, data) -> float:
    """E[log2 p(message, when it is to be recalled) / p(message, for one who forgot it)]: bits of an episode's message
    that reach its recall, in the mean over the episodes of the part that models are judged on, but its first. At most
    log2 N for N states.

    data  pipeline.datasets.copying.Recalled
    Every episode is read from its own start, after the one before it.
    """
    import numpy as np
    import torch

    from pipeline.decoding.network import evaluating

    length = data.episode
    episodes_TB = np.asarray(data.parts[data.judged_on]).astype(np.int64).reshape(-1, length).T
    recalled = torch.from_numpy(data.recall).to(network.device)
    bits = 0.0
    with evaluating(network), torch.no_grad():
        for first in range(1, episodes_TB.shape[1], EPISODES):
            read = torch.from_numpy(episodes_TB[:, first - 1 : first + EPISODES]).to(network.device)
            # The episode before and this one, whose last symbol is a target alone.
            x = torch.cat([read[:, :-1], read[:-1, 1:]])
            logits, _ = network(x, network.start(x.shape[1]))
            log_p = torch.log_softmax(logits[length - 1 :].double(), -1).gather(-1, read[:, 1:, None])[..., 0]
            bits += (data.bits - (-log_p[recalled].sum(0) / math.log(2))).sum().item()
    return bits / (episodes_TB.shape[1] - 1)


def sizes_needed(found: Iterable[tuple[str, int, float, float]]) -> dict[str, dict[float, int]]:
    """Model -> bits of the message -> the least size with which it carries nine tenths of them, where any does; from
    (model, size, message, carried)."""
    needed: dict[str, dict[float, int]] = {}
    for model, size, message, carried in sorted(found):
        if carried >= NEARLY * message:
            needed.setdefault(model, {}).setdefault(message, size)
    return {model: dict(sorted(of.items())) for model, of in needed.items()}


def needed_figure(needed: dict[str, dict[float, int]], messages: set[float]):
    """Sizes against bits, a colour a model; dashed: 2^k for every k that was tried."""
    with drawing(3.6) as (whole, [axes]):
        for index, (model, of) in enumerate(needed.items()):
            axes.plot(of.keys(), of.values(), markersize=4.5, linewidth=1.4, label=model, **look(index))
        axes.plot(sorted(messages), [2**k for k in sorted(messages)], color=INK, linewidth=0.9, linestyle="--")
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(lambda size, _: f"{size:g}")
        axes.set(xlabel="bits of the message", ylabel="units, or states")
        legend(whole)
    return whole


def figure(points: list[tuple[str, float, float]], bounds: dict[str, float]):
    """Bits carried against bits of the message: triples (label, message, carried), a colour a label, its line through
    the best of each message; label -> the most that it can carry, dashed; dotted: all of the message."""
    with drawing(4.2) as (whole, [axes]):
        longest = max(message for _, message, _ in points)
        axes.plot([0, longest], [0, longest], color=INK, linewidth=0.9, linestyle=":", label="all")
        for index, label in enumerate(sorted({label for label, *_ in points}, key=numbers_in)):
            of = {
                message: [bits for name, at, bits in points if (name, at) == (label, message)]
                for name, message, _ in sorted(points)
                if name == label
            }
            best = [max(bits) for bits in of.values()]
            axes.plot(of.keys(), best, markersize=4.5, linewidth=1.4, label=label, **look(index))
            every = [(message, bits) for message, some in of.items() for bits in some]
            axes.plot(*zip(*every), markersize=3, linestyle="none", alpha=0.5, **look(index))
            if label in bounds:
                axes.axhline(bounds[label], color=look(index)["color"], linewidth=0.8, linestyle="--")
        axes.set(
            xlabel="bits of the message",
            ylabel="bits carried",
            xlim=(0, None),
            ylim=(min(0, *(bits for *_, bits in points)) - 0.1, longest + 0.3),
        )
        legend(whole)
    return whole
