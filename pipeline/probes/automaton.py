"""The finite automaton by which a network adds, drawn from its hidden states."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

from annotated_types import Ge, Le

from pipeline.command.setting import Count
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import INK, PAPER, drawing, look, svg
from pipeline.exhibits.numbers import visible, written
from pipeline.exhibits.tables import in_cells
from pipeline.probes.probe import Probe

if TYPE_CHECKING:
    import numpy as np

COLUMNS = ("0+0", "0+1", "1+0", "1+1")  # of two bits, in the order 2 a + b
ALIKE = 0.999  # agreement at which more clusters are not tried
MOST_POINTS = 2000  # states that are clustered
MOST_SHOWN = 400  # and shown


class Automaton(NamedTuple):
    """A Moore machine: column c takes state s to moves[s][c], which prints prints[c]; the first column takes it to
    start[c].

    moves [N][4], prints [N] of 0 and 1, start [4]
    """

    moves: list[list[int]]
    prints: list[int]
    start: list[int]


class AdderAutomaton(Probe):
    """From the states of a network that adds, an automaton: k clusters of its whole state (Ward 1963), the commonest
    transition of each under each of the four columns, and the commonest bit that it prints. k is the least with which
    automaton and network agree on 99.9 % of the bits where the clusters were found, or that with which they agree most;
    then states that no columns tell apart are one (Moore 1956).

    most_states  largest k, from 2 on
    sums         at most so many of numbers as long as in training to find the clusters, and so many others to judge on
    bits         of the numbers that automaton and network are compared on
    Source of the method: Giles et al. 1992, "Learning and extracting finite state automata with second-order recurrent
    neural networks".
    """

    measures = {"agreed": Measure(digits=".2%", better="high", title="automaton agrees")}

    def __init__(self, most_states: Annotated[int, Ge(2), Le(50)], sums: Count, bits: Count):
        self.most_states, self.sums, self.bits = most_states, sums, bits

    def fits(self, network, data) -> bool:
        from pipeline.datasets.binary_addition import BinaryAddition

        recurrent = any(role == "recurrent" for role, _ in network.parameters_by_role())
        return isinstance(data, BinaryAddition) and recurrent

    def measure(self, network, data, seed: int) -> dict:
        """{"agreed": share of the bits of `sums` sums of `bits` bits; "clusters": k; "automaton": moves, prints, start,
        minimal; "adds": whether that is the automaton of addition; "carries": whether a carry stands, by state;
        "points": [x, y, state], states of the network on their two principal axes}."""
        import numpy as np

        few = max(2, min(self.sums, MOST_POINTS // data.longest))
        columns, printed = observed(network, data.of_length(data.bits, few))
        states = states_after(network, columns)
        flat = states.reshape(-1, states.shape[-1])
        tried = []
        for labels in clustered(flat, self.most_states):
            labels = labels.reshape(columns.shape)
            found = tabulated(labels, columns, printed)
            tried.append((float((printed_by(found, columns) == printed).mean()), found, labels))
            if tried[-1][0] >= ALIKE:
                break
        _, found, labels = max(tried, key=lambda one: one[0])
        automaton, merged = minimized(found)
        labels = np.array(merged)[labels]
        long, long_printed = observed(network, data.of_length(self.bits, self.sums))
        carried = carries(columns)
        axes = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:2]
        every = max(1, len(flat) // MOST_SHOWN)
        points = ((flat - flat.mean(0)) @ axes.T)[::every]
        return {
            "agreed": float((printed_by(automaton, long) == long_printed).mean()),
            "clusters": len(found.moves),
            "automaton": automaton._asdict(),
            "adds": automaton == ADDER,
            "carries": [
                bool((labels == state).any() and carried[labels == state].mean() > 0.5)
                for state in range(len(automaton.moves))
            ],
            "points": [
                [round(float(x), 3) for x in point] + [int(label)]
                for point, label in zip(points, labels.reshape(-1)[::every])
            ],
        }

    def show(self, rows: list[dict]) -> list[Exhibit]:
        from markupsafe import Markup

        head = ("", "seed", "clusters", "states", "the automaton of addition", f"agrees at {self.bits} bits")
        lines, drawn = [], Markup("")
        for row in rows:
            for run in row["runs"]:
                one = run["found"]
                cells = (
                    visible(row["name"]),
                    run["seed"],
                    one["clusters"],
                    len(one["automaton"]["moves"]),
                    "yes" if one["adds"] else "no",
                    written(one["agreed"], ".2%"),
                )
                lines.append(cells)
            first = row["runs"][0]
            name = f"{row['name']}, seed {first['seed']}"
            drawn += Markup(svg(figure(first["found"], name), f"Automaton of {name}: {row['study']}"))
        about = (
            "Left: what the network carries from column to column, on the two principal axes, a colour a state of the "
            "automaton. Right: the automaton; an arrow is a transition, with the columns, a bit of either number, that "
            "take it; the state says whether a carry stands and which bit is printed. Hinton's has four states."
        )
        return [Exhibit("The automaton of addition", about, in_cells(head, lines) + drawn)]


def observed(network, data) -> tuple["np.ndarray", "np.ndarray"]:
    """The columns of the sums of `data`'s test part, as 2 a + b, and the bits that the network answers, [T, B] both."""
    import torch

    from pipeline.decoding.network import evaluating

    columns, printed = [], []
    with evaluating(network), torch.no_grad():
        for batch in data.held_out("test"):
            x = batch.to(network.device, network.dtype).inputs
            z, _ = network(x, network.start(x.shape[1]))
            columns.append(2 * x[..., 0] + x[..., 1])
            printed.append(z[..., 0] > 0)
    return torch.cat(columns, 1).long().cpu().numpy(), torch.cat(printed, 1).cpu().numpy()


def states_after(network, columns: "np.ndarray") -> "np.ndarray":
    """The whole state of the network after each column: [T, B] as 2 a + b -> [T, B, S]."""
    import torch

    from pipeline.decoding.network import evaluating

    bits = torch.from_numpy(columns)[..., None].expand(-1, -1, 2).div(torch.tensor([2, 1]), rounding_mode="floor") % 2
    state, found = network.start(columns.shape[1]), []
    with evaluating(network), torch.no_grad():
        for step in bits.to(network.device, network.dtype).split(1):
            _, state = network(step, state)
            found.append(torch.cat([part.transpose(0, 1).flatten(1) for part in state], -1))
    return torch.stack(found).double().cpu().numpy()


def carries(columns: "np.ndarray") -> "np.ndarray":
    """Whether a carry stands after each column [T, B]."""
    import numpy as np

    carry, found = np.zeros(columns.shape[1], dtype=int), []
    for column in columns:
        carry = (column // 2 + column % 2 + carry) // 2
        found.append(carry)
    return np.stack(found).astype(bool)


def clustered(points: "np.ndarray", most: int) -> Iterator["np.ndarray"]:
    """Labels 0..k-1 [N] of points [N, S], N >= 2, for k = 2, 3, .. most: the clusters of Ward 1963."""
    from scipy.cluster.hierarchy import cut_tree, ward

    yield from cut_tree(ward(points), range(2, min(most, len(points)) + 1)).T


def tabulated(labels: "np.ndarray", columns: "np.ndarray", printed: "np.ndarray") -> Automaton:
    """The commonest transitions and prints: labels 0..k-1, columns and printed [T, B]. A transition that is never
    seen leads where the state's own commonest one does."""
    import numpy as np

    count = int(labels.max()) + 1
    seen = np.zeros((count, len(COLUMNS), count), dtype=int)
    np.add.at(seen, (labels[:-1], columns[1:], labels[1:]), 1)
    at_all = seen.sum(1, keepdims=True)
    moves = np.where(seen.any(-1, keepdims=True), seen, at_all).argmax(-1)
    ones = np.array([[(printed[labels == state] == bit).sum() for bit in (0, 1)] for state in range(count)])
    first = np.zeros((len(COLUMNS), count), dtype=int)
    np.add.at(first, (columns[0], labels[0]), 1)
    return Automaton(moves.tolist(), ones.argmax(-1).tolist(), first.argmax(-1).tolist())


def printed_by(automaton: Automaton, columns: "np.ndarray") -> "np.ndarray":
    """What it prints after each column: [T, B] -> [T, B]."""
    import numpy as np

    moves, prints = np.array(automaton.moves), np.array(automaton.prints)
    state, found = np.array(automaton.start)[columns[0]], []
    for column in columns[1:]:
        found.append(prints[state])
        state = moves[state, column]
    return np.stack([*found, prints[state]]).astype(bool)


def minimized(automaton: Automaton) -> tuple[Automaton, list[int]]:
    """The smallest automaton that prints the same after every columns, its states in the order in which they are first
    reached, breadth first and by column; and the state that each old one became (those that are never reached: -1).

    Two states are one if they print the same and every column takes both to states that are one: the coarsest such
    partition, by refining that by prints until nothing changes.
    """
    groups = list(automaton.prints)
    while True:
        signatures = [(groups[s], *(groups[to] for to in moves)) for s, moves in enumerate(automaton.moves)]
        numbers = {signature: number for number, signature in enumerate(dict.fromkeys(signatures))}
        refined = [numbers[signature] for signature in signatures]
        if len(set(refined)) == len(set(groups)):
            break
        groups = refined
    members = {groups[state]: state for state in reversed(range(len(groups)))}
    order, waiting = {}, [groups[to] for to in automaton.start]
    while waiting:
        group = waiting.pop(0)
        if group not in order:
            order[group] = len(order)
            waiting += [groups[to] for to in automaton.moves[members[group]]]
    moves = [[order[groups[to]] for to in automaton.moves[members[group]]] for group in order]
    prints = [automaton.prints[members[group]] for group in order]
    smallest = Automaton(moves, prints, [order[groups[to]] for to in automaton.start])
    return smallest, [order.get(group, -1) for group in groups]


# State 2 c + p: carry c stands and p was printed. A column with s ones takes it to carry (c + s) div 2, printing
# (c + s) mod 2; at first there is no carry. Sorted as minimized() does it.
ADDER, _ = minimized(
    Automaton(
        moves=[[carry + ones for ones in (0, 1, 1, 2)] for carry in (0, 0, 1, 1)],
        prints=[0, 1, 0, 1],
        start=[0, 1, 1, 2],
    )
)


def figure(found: dict, name: str):
    """Hidden states and the automaton side by side, of what `measure` returned."""
    automaton = Automaton(**found["automaton"])
    with drawing(3.9, 2) as (whole, (left, right)):
        furthest = max((abs(x) for *at, _ in found["points"] for x in at), default=1.0) or 1.0
        for state in range(len(automaton.moves)):
            of = [point for point in found["points"] if point[2] == state]
            colour = look(state)["color"]
            left.scatter(*zip(*((x / furthest, y / furthest) for x, y, _ in of)), s=7, color=colour, alpha=0.6)
        left.set(xlim=(-1.2, 1.2), ylim=(-1.75, 1.75))
        left.set_title(f"{name}: its states", loc="left", fontsize=9, parse_math=False)
        _draw(right, automaton, found["carries"])
        right.set_title(f"its automaton, of {len(automaton.moves)} states", loc="left", fontsize=9)
        for axes in (left, right):
            axes.set_axis_off()
    return whole


def _draw(axes, automaton: Automaton, carries: Sequence[bool]) -> None:
    """Circles and arrows: states without a carry on the left, those with one on the right."""
    count = len(automaton.moves)
    around = sorted(range(count), key=lambda s: (carries[s], automaton.prints[s] * (-1 if carries[s] else 1)))
    places = {}
    for k, state in enumerate(around):
        angle = math.radians(135 + 360 * k / count)
        places[state] = (1.1 * math.cos(angle), 1.1 * math.sin(angle))
    arrows: dict[tuple[int, int], list[str]] = {}
    for state, moves in enumerate(automaton.moves):
        for column, to in zip(COLUMNS, moves):
            arrows.setdefault((state, to), []).append(column)
    for (state, to), columns in arrows.items():
        draw = _loop if state == to else _arrow
        draw(axes, places[state], places[to], "\n".join(columns), look(state)["color"])
    for state, (x, y) in places.items():
        axes.scatter([x], [y], s=1500, color=PAPER, edgecolors=look(state)["color"], linewidths=1.6, zorder=3)
        words = f"{'carry' if carries[state] else 'no carry'}\nprint {automaton.prints[state]}"
        axes.text(x, y, words, ha="center", va="center", fontsize=7.5, color=INK, zorder=4)
    axes.set(xlim=(-2, 2), ylim=(-1.75, 1.75))


def _arrow(axes, start: tuple[float, float], end: tuple[float, float], words: str, colour: str) -> None:
    """From circle to circle, bent to the left of its way, its words beside it."""
    (x, y), (u, v) = start, end
    far = math.hypot(u - x, v - y)
    to_x, to_y = (u - x) / far, (v - y) / far
    first, last = (x + 0.37 * to_x, y + 0.37 * to_y), (u - 0.37 * to_x, v - 0.37 * to_y)
    aside = 0.09 * (far - 0.74) + 0.17
    at = (x + 0.55 * (u - x) - aside * to_y, y + 0.55 * (v - y) + aside * to_x)
    _head(axes, first, last, "arc3,rad=-0.18", colour)
    axes.text(*at, words, ha="center", va="center", fontsize=7, color=colour, zorder=5)


def _loop(axes, start: tuple[float, float], end: tuple[float, float], words: str, colour: str) -> None:
    """From a circle back to it, outwards, its words beyond it."""
    x, y = start
    far = math.hypot(x, y) or 1.0
    out_x, out_y = x / far, y / far
    first, last = ((x + 0.27 * out_x - side * 0.25 * out_y, y + 0.27 * out_y + side * 0.25 * out_x) for side in (1, -1))
    _head(axes, first, last, "arc3,rad=-1.5", colour)
    at = (x + 0.87 * out_x, y + 0.8 * out_y)
    axes.text(*at, words, ha="center", va="center", fontsize=7, color=colour, zorder=5)


def _head(axes, first: tuple[float, float], last: tuple[float, float], style: str, colour: str) -> None:
    look = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", last, first, arrowprops=look | {"connectionstyle": style})
