"""How well numbers are added that are longer than those of training."""

from statistics import mean

from pipeline.command.setting import Count
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import INK, drawing, legend, look, svg
from pipeline.probes.probe import Probe


class Lengths(Probe):
    """The share of the bits of sums that are right, and of the sums that are right in every bit, by the bits of the
    numbers that are added. Numbers as long as those of training are few enough to have been trained on.

    lengths  bits of the numbers;  sums  so many of each
    """

    def __init__(self, lengths: list[Count], sums: Count):
        self.lengths, self.sums = lengths, sums
        shown = [("bits", bits) for bits in lengths] + [("sums", max(lengths))]
        self.measures = {
            f"{what}_{bits}": Measure(digits=".2%", better="high", title=f"{what} right, {bits} bits")
            for what, bits in shown
        }

    def fits(self, network, data) -> bool:
        from pipeline.datasets.binary_addition import BinaryAddition

        return isinstance(data, BinaryAddition)

    def measure(self, network, data, seed: int) -> dict:
        """{"bits_N", "sums_N": shares; "trained": bits of the numbers of training}."""
        import torch

        from pipeline.decoding.network import evaluating

        found = {"trained": data.bits}
        for bits in self.lengths:
            right = []
            with evaluating(network), torch.no_grad():
                for batch in data.of_length(bits, self.sums).held_out("test"):
                    batch = batch.to(network.device, network.dtype)
                    z, _ = network(batch.inputs, network.start(batch.inputs.shape[1]))
                    right.append(data.answers.right(z, batch.targets))
            right_TB = torch.cat(right, 1)
            found[f"bits_{bits}"] = right_TB.double().mean().item()
            found[f"sums_{bits}"] = right_TB.all(0).double().mean().item()
        return found

    def show(self, rows: list[dict]) -> list[Exhibit]:
        about = (
            "Bits of sums that are right, and sums of which every bit is, by the bits of the numbers added: a point a "
            f"seed, the line joins their means. Dotted: as long as in training. {self.sums} sums of each length."
        )
        title = "Longer numbers"
        return [Exhibit(title, about, svg(figure(rows, self.lengths), f"{title}: {rows[0]['study']}"))]


def figure(rows: list[dict], lengths: list[int]):
    """Shares against bits, a panel for bits and one for sums, a colour a row; rows as Probe.show gets them."""
    with drawing(3.8, 2) as (whole, panels):
        for what, axes in zip(("bits", "sums"), panels):
            for index, row in enumerate(rows):
                runs = [[run["found"][f"{what}_{bits}"] for bits in lengths] for run in row["runs"]]
                for run in runs:
                    axes.plot(lengths, run, linestyle="none", markersize=3, alpha=0.5, **look(index))
                label = row["name"] if what == "bits" else None
                axes.plot(
                    lengths, list(map(mean, zip(*runs))), markersize=4.5, linewidth=1.4, label=label, **look(index)
                )
            for trained in {run["found"]["trained"] for row in rows for run in row["runs"]}:
                axes.axvline(trained, color=INK, linewidth=0.9, linestyle=":")
            axes.set_xscale("log", base=2)
            axes.set(xlabel="bits of the numbers", title=f"{what} right", ylim=(-0.03, 1.03))
            axes.set_xticks(lengths, [str(bits) for bits in lengths])
            axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        legend(whole)
    return whole
