"""How much better a model knows what it was trained on than what it was not."""

from statistics import mean

from pipeline.command.setting import Count
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import drawing, legend, look, svg
from pipeline.probes.probe import Probe


class Overfitting(Probe):
    """gap = test loss - training loss, nats, of the weights of the best validation, without dropout.

    The training part is read from its beginning in `streams` sequences side by side, `length` steps a batch, until so
    many `elements` of it were asked; where states are carried on, the first batch is read alone, for the state.
    """

    measures = {
        "training_nats": Measure("nats/{element}", title="training loss"),
        "gap": Measure("nats/{element}", title="test less training loss"),
    }

    def __init__(self, elements: Count, streams: Count, length: Count):
        self.elements, self.streams, self.length = elements, streams, length

    def fits(self, network, data) -> bool:
        return data.answers.units.loss.startswith("nats")

    def measure(self, network, data, seed: int) -> dict:
        """The measures, and "test_nats"."""
        from pipeline.probes.held_out import held_out

        test, training = held_out(network, data, data.judged_on).loss, self.training_loss(network, data)
        return {"training_nats": training, "test_nats": test, "gap": test - training}

    def training_loss(self, network, data) -> float:
        import torch

        from pipeline.decoding.network import evaluating

        batches, state = data.training(*data.shape(self.streams, self.length)), None
        loss, asked = 0.0, 0
        with evaluating(network), torch.no_grad():
            for step in range(len(batches)):
                batch = batches.at(step).to(network.device, network.dtype)
                warms_up = step == 0 and len(batches) > 1 and batches.at(1).carried
                if not batch.carried:
                    state = network.start(batch.inputs.shape[1], *batch.given)
                z, state = network(batch.inputs, state)
                if not warms_up:
                    loss += data.answers.loss(z, batch.targets).item()
                    asked += batch.count
                if asked >= self.elements:
                    break
        return loss / asked

    def show(self, rows: list[dict]) -> list[Exhibit]:
        about = (
            "Means over seeds, by the weights of the best validation. Solid: of what was not trained on. Dashed: of "
            f"{self.elements:,} elements of the training part. The further apart, the more is known by heart."
        )
        data = list(dict.fromkeys(row["data"] for row in rows))
        exhibits = []
        for name in data:
            title = f"Training and test loss by parameters, {name}"
            own = [row for row in rows if row["data"] == name]
            exhibits.append(Exhibit(title, about, svg(figure(own), f"{title}: {rows[0]['study']}")))
        return exhibits


def figure(rows: list[dict]):
    """Losses against parameters, a colour a model; rows as Probe.show gets them."""
    with drawing(4.2) as (whole, [axes]):
        for index, model in enumerate(dict.fromkeys(row["model"] for row in rows)):
            own = sorted((row for row in rows if row["model"] == model), key=lambda row: row["parameters"])
            parameters = [row["parameters"] for row in own]
            for name, style in (("test_nats", "-"), ("training_nats", "--")):
                losses = [mean(run["found"][name] for run in row["runs"]) for row in own]
                label = model if name == "test_nats" else None
                axes.plot(
                    parameters, losses, markersize=5, linewidth=1.3, label=label, **look(index) | {"linestyle": style}
                )
        axes.set(xscale="log", xlabel="parameters", ylabel=f"nats/{rows[0]['units']['element']}")
        legend(whole)
    return whole
