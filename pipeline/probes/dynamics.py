"""How a network moves when it is left to itself."""

from statistics import mean

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Count
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import INK, drawing, legend, look, svg
from pipeline.probes.probe import Probe

KINDS = ("point attractor", "limit cycle", "oscillation without a period", "chaos")
CHAOTIC = 0.01  # nats a step from which an exponent is one of chaos, and not what few steps leave of 0
SHOWN = 60  # steps of an orbit
UNITS = 3  # of them
LARGEST = 1024  # numbers of a state


class Dynamics(Probe):
    """Orbits of the network's state under what it does by itself (pipeline.probes.orbits.FreeRun): with nothing to
    read, or reading its own predictions of a series. Orbits begin where held-out sequences leave the network; a point
    attractor, or a cycle of at most `longest` steps, is one that an orbit has come to, within 1e-6; chaos is an orbit
    with neither and a Lyapunov exponent above 0.01 nats a step; others oscillate without a period, as a rotation does.

    starts     orbits, and beside them so many random states in which the search for fixed points begins
    transient  steps until an orbit is looked at;  steps  for which it is, >= 2 longest
    longest    the longest period
    """

    measures = {
        "lyapunov": Measure("nats/step", better="high", title="Lyapunov exponent"),
        "chaotic": Measure(digits=".0%", better="high", title="chaotic orbits"),
        "period": Measure("steps", ".1f", better="high"),
        "fixed_points": Measure(digits=".1f", better="high", title="fixed points found"),
        "stable_points": Measure(digits=".1f", better="high", title="stable ones"),
    }

    def __init__(self, starts: Count, transient: Count, steps: Count, longest: Count):
        if steps < 2 * longest:
            raise Refusal(f"probe dynamics: steps={steps}: a period of longest={longest} steps shows in twice as many")
        self.starts, self.transient, self.steps, self.longest = starts, transient, steps, longest

    def fits(self, network, data) -> bool:
        """Whether its state is made of real numbers, which a step can change a little."""
        from pipeline.probes.orbits import held_out

        if not network.has_activities:
            return False
        _, given = held_out(data, 1)
        state = network.start(1, *(part.to(network.device, network.dtype) for part in given))
        return all(part.is_floating_point() for part in state) and sum(part.numel() for part in state) <= LARGEST

    def measure(self, network, data, seed: int) -> dict:
        """The measures: means over orbits, the period over those that have one or turn. "kinds": how many orbits are of
        each; "radius": largest |eigenvalue| of the Jacobian at the state of zeros; "shown": an orbit of each kind,
        numbers [units, steps]."""
        import torch

        from pipeline.probes import orbits

        free = orbits.FreeRun(network, data, self.starts)
        begin = free.starts
        followed = orbits.follow(free, begin, self.transient, self.steps, seed)
        periods = orbits.periods(followed.states, self.longest)
        exponents = followed.exponents.tolist()
        kinds = list(map(kind_of, periods, exponents))
        turns = [
            period or orbits.turning(followed.states[:, orbit])
            for orbit, (kind, period) in enumerate(zip(kinds, periods))
            if kind in KINDS[1:3]
        ]
        turns = [turn for turn in turns if turn is not None]
        generator = torch.Generator().manual_seed(seed)
        anywhere = 2 * torch.rand(begin.shape, dtype=begin.dtype, generator=generator) - 1
        every = torch.cat([followed.states[-1], begin, anywhere, torch.zeros_like(begin[:1])])
        own = torch.arange(len(begin)).repeat(3)
        start_of = torch.cat([own, own[:1]])
        points = orbits.fixed_points(free, every, start_of)
        [at_zero] = orbits.jacobians(free, torch.zeros_like(begin[:1]), own[:1])
        shown = {}
        for kind in dict.fromkeys(kinds):
            states = followed.states[-SHOWN:, kinds.index(kind)]
            most = states.var(0).argsort(descending=True, stable=True)[:UNITS]
            shown[kind] = states[:, most].t().tolist()
        return {
            "lyapunov": mean(exponents),
            "chaotic": kinds.count(KINDS[3]) / len(kinds),
            "period": mean(turns) if turns else None,
            "fixed_points": len(points),
            "stable_points": sum(point.radius < 1 for point in points),
            "kinds": {kind: kinds.count(kind) for kind in KINDS},
            "radius": torch.linalg.eigvals(at_zero).abs().max().item(),
            "shown": shown,
        }

    def show(self, rows: list[dict]) -> list[Exhibit]:
        study, title = rows[0]["study"], "Points, oscillations, chaos"
        about = (
            "Largest Lyapunov exponent of networks that are left to themselves, against the largest absolute "
            "eigenvalue of the Jacobian at the state of zeros, which grows with the gain: a point a run, the mean over "
            "its orbits. Below the line orbits run together, above it they part; the scale is logarithmic beyond 0.1."
        )
        shown = [Exhibit(title, about, svg(by_gain(rows), f"{title}: {study}"))]
        found = examples(rows)
        title = "Orbits"
        about = "Units that vary the most, at the last steps of an orbit of each kind: " + "; ".join(
            f"{kind}, {name}" for kind, (name, _) in found.items()
        )
        return [*shown, Exhibit(title, about + ".", svg(drawn(found), f"{title}: {study}"))]


def kind_of(period: int | None, exponent: float) -> str:
    """What of KINDS an orbit is."""
    if period is not None:
        return KINDS[min(period, 2) - 1]
    return KINDS[3] if exponent > CHAOTIC else KINDS[2]


def by_gain(rows: list[dict]):
    """Exponents against gains, a colour for each way in which models learned; rows as Probe.show gets them."""
    ways = sorted({(row["model"], row["optimizer"]) for row in rows})
    with drawing(3.8) as (whole, [axes]):
        for index, way in enumerate(ways):
            runs = [run["found"] for row in rows if (row["model"], row["optimizer"]) == way for run in row["runs"]]
            points = sorted((found["radius"], found["lyapunov"]) for found in runs)
            axes.plot(*zip(*points), linestyle="none", markersize=4.5, label=" ".join(way), **look(index))
        axes.set_yscale("symlog", linthresh=0.1)
        axes.yaxis.set_major_formatter(lambda exponent, _: f"{exponent:g}")
        axes.axhline(0, color=INK, linewidth=0.9)
        axes.axvline(1, color=INK, linewidth=0.9, linestyle=":")
        axes.set(xlabel="largest absolute eigenvalue at the state of zeros", ylabel="Lyapunov exponent, nats/step")
        legend(whole)
    return whole


def examples(rows: list[dict]) -> dict[str, tuple[str, list]]:
    """Of each kind the first run that has an orbit of it: its name and the orbit, units by steps."""
    return {
        kind: next((row["name"], run["found"]["shown"][kind]) for row, run in having)
        for kind in KINDS
        if (having := [(row, run) for row in rows for run in row["runs"] if kind in run["found"]["shown"]])
    }


def drawn(found: dict[str, tuple[str, list]]):
    """A panel for each kind of orbit."""
    with drawing(2.6, len(found)) as (whole, panels):
        for axes, (kind, (_, units)) in zip(panels, found.items()):
            for index, unit in enumerate(units):
                axes.plot(range(1, len(unit) + 1), unit, linewidth=1.1, color=look(index)["color"])
            axes.set_title(kind, fontsize=9)
            axes.set_xlabel("steps")
    return whole
