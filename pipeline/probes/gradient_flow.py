"""How far back in time the gradient of a loss reaches."""

import math
from statistics import median
from typing import TYPE_CHECKING, Literal

from pipeline.command.setting import Count, Positive, Seed, Whole
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import INK, drawing, legend, look, svg
from pipeline.exhibits.numbers import known, visible, written
from pipeline.exhibits.tables import in_cells
from pipeline.probes.backward_signal import rectifier_norms, squashing
from pipeline.probes.probe import Probe

if TYPE_CHECKING:
    from pipeline.datasets.data import Data
    from pipeline.models.model import SequenceModel

FALLEN = 0.01  # of the gradient's norm at the step that is asked
LAGS = 24  # at which singular values are taken, at most
FACTORS = [k / 8 for k in range(33)]  # of what is squashed
SQUASHED = 10  # steps of it
MOST_PANELS = 4  # of models whose singular values are drawn


class GradientFlow(Probe):
    """For s_t, the whole state that enters step t (h and c of all layers), and the loss L of the last step T that is
    asked anything:

        |dL/ds_{T-n}| / |dL/ds_T|            over the lag n; the median over sequences
        singular values of ds_T/ds_{T-n} = J_T .. J_{T-n+1}, J_t = ds_t/ds_{t-1}, of one sequence
        clipping                             norm of the gradient of a batch, before and after, and the angle between

    `reach` is the first lag at which the norm is below one hundredth (FALLEN) of that at lag 0, or, where none is, the
    number of lags that there are, 0 among them. All is computed in float64. A model has a reach if it learns by
    gradient and its state has real numbers.

    steps       lags to look at, at most;  sequences  of the part that finished models are judged on
    most_state  numbers of the largest state whose Jacobians are multiplied out
    batches     of training, for clipping, as `batch`, `length`, `loss`, `clip_value` and `clip_norm` of the trainer say
    units, time, eigenvalues, draws, seed  of the experiment with rectifiers: pipeline.probes.backward_signal
    Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks".
    """

    measures = {"reach": Measure("steps", ".0f", better="high", title="gradient reaches")}

    def __init__(
        self,
        steps: Count,
        sequences: Count,
        most_state: Whole,
        batches: Count,
        batch: Count | None,
        length: Count | None,
        loss: Literal["mean", "sum"],
        clip_value: Positive | None,
        clip_norm: Positive | None,
        units: Count,
        time: Count,
        eigenvalues: list[Positive],
        draws: Count,
        seed: Seed,
    ):
        self.steps, self.sequences, self.most_state = steps, sequences, most_state
        self.batches, self.batch, self.length, self.loss = batches, batch, length, loss
        self.clip_value, self.clip_norm = clip_value, clip_norm
        self.units, self.time, self.eigenvalues, self.draws, self.seed = units, time, eigenvalues, draws, seed

    def fits(self, network, data) -> bool:
        from pipeline.probes.state_gradients import state_size

        return "gradient" in network.learned_by and state_size(network, data) > 0

    def measure(self, network, data, seed: int) -> dict:
        """{"reach": None where no sequence has a gradient; "norms" by lag; "singular": {"lags", "largest", "median",
        "smallest"}, values None where they are 0 or drowned by rounding, no lags for a state that is too large;
        "clipping": [norm before, norm after, angle in degrees] a batch}."""
        import copy

        from pipeline.decoding.network import evaluating
        from pipeline.probes.state_gradients import asked_sequences, gradient_norms, singular_values, state_size

        exact = copy.deepcopy(network).double()
        exact.run_on(exact.device.type, "reference")
        with evaluating(exact):
            sequences = list(asked_sequences(exact, data, data.judged_on, self.sequences))
            norms = [norms for one in sequences if (norms := gradient_norms(exact, one, self.steps))[0] > 0]
            lags = min(map(len, norms), default=0)
            found = [median(one[lag] / one[0] for one in norms) for lag in range(lags)]
            values = {}
            if lags > 1 and state_size(exact, data) <= self.most_state:
                values = singular_values(exact, sequences[0], self.steps, spaced(lags - 1))
        below = [lag for lag, norm in enumerate(found) if norm < FALLEN]
        return {
            "reach": (below or [lags])[0] if lags > 1 else None,
            "norms": found,
            "singular": {
                "lags": list(values),
                "largest": [one[0] or None for one in values.values()],
                "median": [one[len(one) // 2] or None for one in values.values()],
                "smallest": [one[-1] or None for one in values.values()],
            },
            "clipping": self._clipping(network, data),
        }

    def _clipping(self, network: "SequenceModel", data: "Data") -> list[tuple[float, float, float]]:
        from pipeline.decoding.network import evaluating
        from pipeline.probes.state_gradients import clipped

        batches = data.training(*data.shape(self.batch, self.length))
        found = []
        with evaluating(network):
            for step in range(self.batches):
                batch = batches.at(step).to(network.device, network.dtype)
                divisor = max(1, batch.count) if self.loss == "mean" else batches.batch
                found.append(clipped(network, batch, divisor, self.clip_value, self.clip_norm))
        return found

    def show(self, rows: list[dict]) -> list[Exhibit]:
        study = rows[0]["study"]
        found = [
            Exhibit(
                "A gradient through rectifiers",
                f"The gradient's norm n steps before the last, over that at the last, through {self.units} rectified "
                f"units that read nothing, and through as many linear ones, for several largest eigenvalues of one "
                f"random matrix: the median of {self.draws} matrices, and the half of them around it. Through linear "
                "units the eigenvalue decides alone. A rectifier passes nothing back through a unit that is off, so "
                "that few of these networks explode just above 1; those whose units all go off, which pass nothing "
                "back at all, are left out.",
                svg(
                    rectifier_figure(self.units, self.time, self.eigenvalues, self.draws, self.seed),
                    f"A gradient through rectifiers: {study}",
                ),
            ),
            Exhibit(
                "Forward squashes, backward is linear",
                f"A tanh network of {self.units} units, drawn at random, over {SQUASHED} steps. Forward: the size of "
                "its last state when all its inputs are multiplied by a factor. Backward: the size of the gradient at "
                "the first step when the error at the last is.",
                svg(squashing_figure(self.units, self.seed), f"Forward squashes, backward is linear: {study}"),
            ),
        ]
        having = [row for row in rows if any(known(run["found"]["reach"]) for run in row["runs"])]
        if not having:
            return found
        title = "How far the gradient reaches"
        about = (
            "The norm of the gradient of the last loss by the state n steps before, over that by the state that enters "
            f"the last step; the median over {self.sequences} sequences, a line a seed. Dots: one hundredth, where it "
            "is said to reach no further. All at the trained weights."
        )
        found.append(Exhibit(title, about, svg(norms_figure(having), f"{title}: {study}")))
        shown = [row for row in having if row["runs"][0]["found"]["singular"]["lags"]][:MOST_PANELS]
        if shown:
            title = "The product of Jacobians"
            about = (
                "Largest, median and smallest singular value of the derivative of the state at the last step by the "
                f"state n steps before, along one sequence: seed {shown[0]['runs'][0]['seed']}. A line ends where "
                "rounding drowns it, or where a value is 0."
            )
            found.append(Exhibit(title, about, svg(singular_figure(shown), f"{title}: {study}")))
        limits = {"entries": self.clip_value, "the norm": self.clip_norm}
        said = " and ".join(f"{what} to {limit:g}" for what, limit in limits.items() if limit is not None)
        about = (
            f"The gradient of {self.batches} batches of training at the trained weights, clipped as in training"
            f" ({said or 'not at all'}): how often that changes it, and what it does to the largest."
        )
        found.append(Exhibit("Clipping", about, clipping_table(having)))
        return found


def spaced(last: int) -> list[int]:
    """1 .. last, LAGS of them at most, evenly."""
    return sorted({math.ceil(last * k / LAGS) for k in range(1, LAGS + 1)})


def rectifier_figure(units: int, time: int, eigenvalues: list[float], draws: int, seed: int):
    """Norms against lags, a colour an eigenvalue: through rectifiers, and through linear units."""
    import numpy as np

    with drawing(3.4, 2) as (whole, panels):
        for rectified, axes in zip((True, False), panels):
            norms = np.stack([rectifier_norms(units, time, one, draws, seed, rectified) for one in eigenvalues])
            norms = norms[:, (norms > 0).all(axis=(0, 2))]
            for index, (eigenvalue, of) in enumerate(zip(eigenvalues, norms)):
                low, middle, high = np.quantile(of, (0.25, 0.5, 0.75), axis=0) if len(of) else np.empty((3, time + 1))
                colour = look(index)["color"]
                axes.fill_between(range(time + 1), low, high, color=colour, alpha=0.15, linewidth=0)
                label = f"eigenvalue {eigenvalue:g}" if rectified else None
                axes.plot(middle, color=colour, linewidth=1.6, label=label)
            what = f"rectifiers, {norms.shape[1]} of {draws} matrices" if rectified else "linear units"
            axes.set(yscale="log", xlabel="steps before the last", title=what)
        panels[0].set_ylabel("gradient norm")
        legend(whole, 4)
    return whole


def squashing_figure(units: int, seed: int):
    """Sizes against the factor, each relative to factor 1."""
    forward, backward = squashing(units, SQUASHED, FACTORS, seed)
    with drawing(3.0) as (whole, [axes]):
        for index, (label, sizes) in enumerate(
            {"backward: the gradient": backward, "forward: the state": forward}.items()
        ):
            axes.plot(FACTORS, sizes, linewidth=1.6, markersize=4, markevery=4, label=label, **look(index))
        axes.set(xlabel="factor on the error, on the inputs", ylabel="times as large", xlim=(0, None), ylim=(0, None))
        legend(whole)
    return whole


def norms_figure(rows: list[dict]):
    """Norms against lags, a colour a row, a line a seed; rows as Probe.show gets them."""
    with drawing(3.8) as (whole, [axes]):
        for index, row in enumerate(rows):
            label, colour = row["name"], look(index)["color"]
            for run in row["runs"]:
                norms = [norm if norm > 0 else math.nan for norm in run["found"]["norms"]]
                axes.plot(norms, color=colour, linewidth=1.3, alpha=0.85, label=label)
                label = None
        axes.axhline(FALLEN, color=INK, linewidth=0.9, linestyle=":")
        axes.set(yscale="log", xlabel="steps before the last", ylabel="gradient norm")
        legend(whole)
    return whole


def singular_figure(rows: list[dict]):
    """Singular values against lags, a panel a row, of its first seed."""
    with drawing(3.2, len(rows)) as (whole, panels):
        for panel, (row, axes) in enumerate(zip(rows, panels)):
            found = row["runs"][0]["found"]["singular"]
            for index, name in enumerate(("largest", "median", "smallest")):
                values = [math.nan if value is None else value for value in found[name]]
                label = None if panel else name
                axes.plot(found["lags"], values, linewidth=1.4, color=look(index)["color"], label=label)
            axes.axhline(1, color=INK, linewidth=0.9, linestyle=":")
            axes.set(yscale="log", xlabel="steps before the last")
            axes.set_title(row["name"], fontsize=9, parse_math=False)
        panels[0].set_ylabel("singular value")
        legend(whole)
    return whole


def clipping_table(rows: list[dict]) -> str:
    """A line a run: the share of batches that clipping changes, and the largest gradient before and after."""
    head = ("", "seed", "clipped", "median norm", "largest norm", "after clipping", "angle between")
    lines = []
    for row in rows:
        for run in row["runs"]:
            found = run["found"]["clipping"]
            before, after, angle = max(found)
            share = sum(after < before for before, after, _ in found) / len(found)
            cells = (
                visible(row["name"]),
                run["seed"],
                written(share, ".0%"),
                written(median(before for before, *_ in found), ".3g"),
                written(before, ".3g"),
                written(after, ".3g"),
                f"{written(round(angle, 1), '.1f')}°",
            )
            lines.append(cells)
    return in_cells(head, lines)
