"""Whether a problem was solved, and what it took."""

from statistics import median

from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import GRID, drawing, legend, look, svg
from pipeline.exhibits.groups import together
from pipeline.exhibits.numbers import count
from pipeline.exhibits.tables import in_cells
from pipeline.probes.probe import Probe


class Success(Probe):
    """Whether what a run has learned meets the criterion of its problem, on the part that finished models are judged
    on; of a study whose runs end where they have solved theirs (trainer.stop_at.measure=solved), in how many, after how
    many sequences and after how many seconds of training.

    published  what was found elsewhere: mappings of texts with "problem", "lag", "way", "result" and "source"
    """

    measures = {"solved": Measure(digits=".0%", better="high")}

    def __init__(self, published: list[dict]):
        self.published = published

    def fits(self, network, data) -> bool:
        return data.criterion is not None

    def measure(self, network, data, seed: int) -> dict:
        """{"solved": 1 or 0, "problem", "lag": T, "asked": numbers asked of a sequence}."""
        from pipeline.probes.held_out import held_out

        found = held_out(network, data, data.judged_on)
        solved = data.criterion.met(found.loss, found.right)
        return {"solved": float(solved), "problem": data.name, "lag": data.lag, "asked": found.asked / data.held}

    def show(self, rows: list[dict]) -> list[Exhibit]:
        cases = [Case(row) for row in rows]
        about = (
            "In how many of the runs the criterion of the problem was met at a validation, and, of these, the median "
            "of the sequences read and of the seconds of training until then. The others ended without."
        )
        title = "Solved"
        exhibits = [
            Exhibit(title, about, table(cases)),
            Exhibit(
                "Sequences until solved",
                "By the lag T: a point a seed, the line joins the medians of those that solved it. In the band above: "
                "seeds that did not.",
                svg(figure(cases), f"{title}: {rows[0]['study']}"),
            ),
        ]
        if self.published:
            about = "As the papers have it; their sizes, batches and machines are not those above."
            exhibits.append(Exhibit("Published", about, listed(self.published)))
        return exhibits


class Case:
    """A row of `show`: problem, lag and way, the number of its `runs`, and of those that reached the criterion
    (sequences, seconds) each, `solved`."""

    def __init__(self, row: dict):
        found = row["runs"][0]["found"]
        self.problem, self.lag, self.way, self.runs = found["problem"], found["lag"], row["name"], len(row["seeds"])
        self.solved = [
            (run["reached"]["targets"] / run["found"]["asked"], run["seconds"]) for run in row["runs"] if run["reached"]
        ]

    def __str__(self) -> str:
        said = f"{len(self.solved)} of {self.runs}"
        if not self.solved:
            return said
        sequences, seconds = map(median, zip(*self.solved))
        return f"{said}: {count(round(sequences))}, {count(round(seconds))} s"


def table(cases: list[Case]):
    """A line a problem and lag, a column a way."""
    ways = sorted({case.way for case in cases})
    lines = []
    for alike in together(
        sorted(cases, key=lambda case: (case.problem, case.lag)), lambda case: (case.problem, case.lag)
    ):
        said = {case.way: str(case) for case in alike}
        lines.append([f"{alike[0].problem}, T = {alike[0].lag}", *(said.get(way, "") for way in ways)])
    return in_cells(["", *ways], lines)


def listed(published: list[dict]):
    keys = ("problem", "lag", "way", "result", "source")
    return in_cells(["problem", "T", "way", "", "source"], [[str(one[key]) for key in keys] for one in published])


def figure(cases: list[Case]):
    """Sequences against the lag, a panel a problem, a colour a way."""
    problems, ways = (sorted({getattr(case, name) for case in cases}) for name in ("problem", "way"))
    every = [sequences for case in cases for sequences, _ in case.solved] or [1.0]
    never = 4 * max(every)
    with drawing(3.8, len(problems)) as (whole, panels):
        for problem, axes in zip(problems, panels):
            lags = sorted({case.lag for case in cases if case.problem == problem})
            for index, way in enumerate(ways):
                of = sorted((case for case in cases if (case.problem, case.way) == (problem, way)), key=lambda c: c.lag)
                at = [lags.index(case.lag) + 0.6 * ((index + 0.5) / len(ways) - 0.5) for case in of]
                style = look(index)
                axes.plot([], [], label=way if problem == problems[0] else None, **style)
                medians = [(x, median(n for n, _ in case.solved)) for x, case in zip(at, of) if case.solved]
                axes.plot(*zip(*medians) if medians else ([], []), color=style["color"], linewidth=1.4)
                points = [(x, n) for x, case in zip(at, of) for n, _ in case.solved]
                failed = [(x, never) for x, case in zip(at, of) if len(case.solved) < case.runs]
                for some, alpha in ((points, 0.8), (failed, 0.35)):
                    axes.plot(*zip(*some) if some else ([], []), markersize=5, linestyle="none", alpha=alpha, **style)
            axes.axhspan(never / 1.7, 1.7 * never, color=GRID, alpha=0.5, linewidth=0)
            axes.set(xlabel="lag T", title=problem, yscale="log", ylim=(min(every) / 2, 1.7 * never))
            axes.set(xlim=(-0.5, len(lags) - 0.5), ylabel="" if problem != problems[0] else "sequences")
            axes.set_xticks(range(len(lags)), list(map(str, lags)))
        legend(whole, 3)
    return whole
