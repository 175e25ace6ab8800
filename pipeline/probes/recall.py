"""What of stored patterns is recalled from corrupted ones."""

from statistics import mean

from pipeline.command.setting import Count, Share
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import INK, drawing, legend, look, svg
from pipeline.probes.probe import Probe


class Recall(Probe):
    """The share of stored patterns that are recalled in every bit at an episode's last step, and the share of their
    bits, by the share of bits that are turned in what is given.

    corruption  shares of bits that are turned;  episodes  so many of each
    """

    def __init__(self, corruption: list[Share], episodes: Count):
        self.corruption, self.episodes = corruption, episodes
        self.measures = {
            named(share): Measure(digits=".1%", better="high", title=f"recalled, {share:.0%} turned")
            for share in corruption
        }

    def fits(self, network, data) -> bool:
        from pipeline.datasets.attractors import Attractors

        return isinstance(data, Attractors)

    def measure(self, network, data, seed: int) -> dict:
        """{"recalled_NN": shares of patterns; "bits": shares of bits, by corruption; "patterns" and "units", their
        numbers; "trained": the corruption of training}."""
        import torch

        from pipeline.decoding.network import evaluating

        found = {"patterns": data.patterns, "units": data.units, "trained": data.corruption, "bits": []}
        for share in self.corruption:
            right = []
            with evaluating(network), torch.no_grad():
                for batch in data.corrupted(share, self.episodes).held_out("test"):
                    batch = batch.to(network.device, network.dtype)
                    z, _ = network(batch.inputs, network.start(batch.inputs.shape[1], *batch.given))
                    right.append((z[-1] > 0) == (batch.targets[-1] > 0.5))
            right_BN = torch.cat(right)
            found[named(share)] = right_BN.all(1).double().mean().item()
            found["bits"].append(right_BN.double().mean().item())
        return found

    def show(self, rows: list[dict]) -> list[Exhibit]:
        about = (
            "Patterns that are recalled in every bit, in the mean over seeds, by the share of bits that are turned in "
            "what is given: a panel for each number of stored patterns. Dotted: the share turned in training."
        )
        title = "Recall by corruption"
        study = rows[0]["study"]
        shown = [Exhibit(title, about, svg(self.by_corruption(rows), f"{title}: {study}"))]
        if len({load(row) for row in rows}) > 1:
            share = nearest(self.corruption, rows[0]["runs"][0]["found"]["trained"])
            about = (
                f"Patterns that are recalled in every bit, {share:.0%} of the bits turned, by the patterns stored for "
                "each unit: a point a seed, the line joins their means. Dotted: 0.138, where a Hopfield network of "
                "endlessly many units forgets all of them (Amit, Gutfreund and Sompolinsky 1985)."
            )
            title = "Recall by the number of patterns"
            shown.append(Exhibit(title, about, svg(by_load(rows, named(share)), f"{title}: {study}")))
        return shown

    def by_corruption(self, rows: list[dict]):
        """A panel for each number of patterns, a colour for each model; rows as Probe.show gets them."""
        loads = sorted({load(row) for row in rows})
        models = sorted({model_of(row) for row in rows})
        with drawing(3.4, len(loads)) as (whole, panels):
            for one, axes in zip(loads, panels):
                for row in rows:
                    if load(row) == one:
                        runs = [[run["found"][named(share)] for share in self.corruption] for run in row["runs"]]
                        label = model_of(row) if one == loads[0] else None
                        style = look(models.index(model_of(row)))
                        axes.plot(self.corruption, list(map(mean, zip(*runs))), markersize=4, label=label, **style)
                for trained in {run["found"]["trained"] for row in rows for run in row["runs"]}:
                    axes.axvline(trained, color=INK, linewidth=0.9, linestyle=":")
                patterns = {row["runs"][0]["found"]["patterns"] for row in rows if load(row) == one}
                axes.set(title=f"{', '.join(map(str, sorted(patterns)))} patterns", ylim=(-0.03, 1.03))
                axes.set_xlabel("bits turned")
                axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
                axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
            legend(whole)
        return whole


def named(share: float) -> str:
    """The measure at this corruption."""
    return f"recalled_{100 * share:g}"


def nearest(shares: list[float], one: float) -> float:
    return min(shares, key=lambda share: abs(share - one))


def load(row: dict) -> float:
    """Patterns for each unit."""
    found = row["runs"][0]["found"]
    return found["patterns"] / found["units"]


def model_of(row: dict) -> str:
    """What its curves are called: its label without its data."""
    return row["label"].removeprefix(row["data"]).strip() or row["model"]


def by_load(rows: list[dict], measure: str):
    """Shares recalled against patterns for each unit, a colour for each model."""
    with drawing(3.6) as (whole, [axes]):
        for index, model in enumerate(sorted({model_of(row) for row in rows})):
            of = sorted((row for row in rows if model_of(row) == model), key=load)
            shares = [[run["found"][measure] for run in row["runs"]] for row in of]
            loads = list(map(load, of))
            points = [(one, share) for one, some in zip(loads, shares) for share in some]
            axes.plot(*zip(*points), linestyle="none", markersize=3, alpha=0.5, **look(index))
            axes.plot(loads, list(map(mean, shares)), markersize=4.5, linewidth=1.4, label=model, **look(index))
        axes.axvline(0.138, color=INK, linewidth=0.9, linestyle=":")
        axes.set(xlabel="patterns for each unit", ylabel="patterns recalled", ylim=(-0.03, 1.03))
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        legend(whole)
    return whole
