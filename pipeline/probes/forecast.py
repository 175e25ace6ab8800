"""Where a model of a series thinks that it goes."""

from pipeline.command.setting import Whole
from pipeline.exhibits.exhibit import Exhibit
from pipeline.exhibits.figures import INK, drawing, legend, look, svg
from pipeline.exhibits.groups import comparable
from pipeline.probes.probe import Probe

MOST_CURVES = 6  # forecasts in one figure


class Forecast(Probe):
    """A forecast that reads itself, from the beginning of the test part on, beside what was observed.

    length  its steps, >= 1, where the test part has as many
    """

    def __init__(self, length: Whole):
        self.length = length

    def fits(self, network, data) -> bool:
        return data.forecasts and self.length > 0

    def measure(self, network, data, seed: int) -> dict:
        """{"observed": [steps][D], "forecast": [steps][D]}, as models read values."""
        observed, forecast = data.forecast(network, self.length)
        return {"observed": observed.tolist(), "forecast": forecast.tolist()}

    def show(self, rows: list[dict]) -> list[Exhibit]:
        shown = []
        for section in comparable(rows):
            found = [(row["name"], row["runs"][0]["found"]) for row in section]
            best = f"The {MOST_CURVES} best of {len(found)} models. " if len(found) > MOST_CURVES else ""
            title = f"Forecasts of {section[0]['data']}"
            about = (
                f"{best}Each reads its own forecasts from the beginning of the test part on; one seed. Channel 1, as "
                "models read it."
            )
            drawn = svg(figure(found[:MOST_CURVES]), f"{title}, split {section[0]['split']}: {rows[0]['study']}")
            shown.append(Exhibit(title, about, drawn))
        return shown


def figure(found: list[tuple[str, dict]]):
    """What was observed and what each model forecast, first channel against steps ahead: pairs (label, what `measure`
    returned)."""
    with drawing(3.6) as (whole, [axes]):
        observed = [step[0] for step in found[0][1]["observed"]]
        axes.plot(range(1, len(observed) + 1), observed, color=INK, linewidth=1.2, label="observed")
        for index, (label, one) in enumerate(found):
            values = [step[0] for step in one["forecast"]]
            every = max(1, len(values) // 12)
            axes.plot(
                range(1, len(values) + 1),
                values,
                markevery=every,
                markersize=3.5,
                linewidth=0.9,
                label=label,
                **look(index),
            )
        known = [value for value in observed if value == value]
        low, high = min(known, default=0.0), max(known, default=1.0)
        margin = 0.5 * ((high - low) or 1.0)
        axes.set(
            xlabel="steps ahead", ylabel="value", xlim=(1, max(2, len(observed))), ylim=(low - margin, high + margin)
        )
        legend(whole, min(3, max(1, 100 // (6 + max(len(label) for label, _ in found)))))
    return whole
