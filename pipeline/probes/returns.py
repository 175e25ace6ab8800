"""What is predicted of a stock beyond that tomorrow's price is today's."""

import math

from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.groups import comparable
from pipeline.exhibits.numbers import MINUS, visible, written
from pipeline.exhibits.tables import in_cells
from pipeline.probes.probe import Probe

NORMAL = 1.96  # standard errors to either side: 95 %
STILL = 1e-6  # a return that is no greater is 0, but for the rounding of what models read


class ReturnsForetold(Probe):
    """explained = 1 - sum (r_t - f_t)^2 / sum r_t^2, f_t the forecast of day t's return r_t: the out-of-sample R^2 of
    Campbell & Thompson 2008, against the forecast that the price stays. Below 0 that naive forecast is the better one.
    direction = the share of days with r_t f_t > 0, of those with |r_t| > STILL.

    Both over the part that finished models are judged on, with 95 % intervals over days: of the differences of squared
    errors by their standard error (Diebold & Mariano 1995, one step ahead), of the share by the binomial's.
    """

    measures = {
        "explained": Measure(digits=".2%", better="high"),
        "direction": Measure(digits=".1%", better="high"),
    }

    def fits(self, network, data) -> bool:
        from pipeline.datasets.stocks import Returns

        return isinstance(data, Returns)

    def measure(self, network, data, seed: int) -> dict:
        """The measures, each with half its interval, "explained_error" and "direction_error"; the share of days on
        which the price "rose", and the number of "days"."""
        import torch

        from pipeline.probes.held_out import predictions

        std, mean = (data.std, data.mean) if data.standardize else (1.0, 0.0)
        days = []
        for batch, z in predictions(network, data, data.judged_on):
            asked = data.answers.asked(batch.targets)
            days.append(torch.stack([batch.targets[asked], z[asked]]).double().cpu())
        returns, forecasts = (part[:, 0] * std + mean for part in torch.cat(days, dim=1).numpy())
        return against_naive(returns, forecasts)

    def show(self, rows: list[dict]) -> list[Exhibit]:
        shown = []
        for section in comparable(rows):
            first = section[0]["runs"][0]["found"]
            heads, lines = ("", "explained, 95 % interval", "direction, 95 % interval"), []
            for row in section:
                found = row["runs"][0]["found"]
                lines.append((visible(row["name"]), *(with_interval(found, name) for name in self.measures)))
            about = (
                "How much less the squared error is than that of the forecast that tomorrow's price is today's, and "
                f"how often the direction is right, over {first['days']} days of the test part; one seed. The price "
                f"rose on {written(first['rose'], '.1%')} of them: who always says so is right as often."
            )
            title = f"Beyond the naive forecast, {section[0]['data']}"
            shown.append(Exhibit(title, about, in_cells(heads, lines)))
        return shown


def against_naive(returns, forecasts) -> dict:
    """Of arrays [days]: what `measure` returns."""
    naive = returns**2
    gains, moved = naive - (returns - forecasts) ** 2, abs(returns) > STILL
    hits = (returns * forecasts > 0)[moved].mean()
    count = int(moved.sum())
    return {
        "explained": float(gains.mean() / naive.mean()),
        "explained_error": float(NORMAL * gains.std(ddof=1) / math.sqrt(len(gains)) / naive.mean()),
        "direction": float(hits),
        "direction_error": float(NORMAL * math.sqrt(hits * (1 - hits) / count)),
        "rose": float((returns > 0)[moved].mean()),
        "days": len(returns),
    }


def with_interval(found: dict, name: str) -> str:
    """ "0.12% (−0.3% to 0.5%)"."""
    digits = ReturnsForetold.measures[name].digits
    ends = (found[name] - found[f"{name}_error"], found[name] + found[f"{name}_error"])
    value, low, high = (MINUS * (one < 0) + written(abs(one), digits) for one in (found[name], *ends))
    return f"{value} ({low} to {high})"
