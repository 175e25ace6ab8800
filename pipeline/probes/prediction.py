"""How well a model answers what it was not trained on."""

from pipeline.exhibits.exhibit import Measure
from pipeline.probes.probe import Probe


class Prediction(Probe):
    """The mean loss of what is asked in the whole of the part that finished models are judged on, in every unit in
    which such losses are compared, and the share of right answers where something says what is right."""

    measures = {
        "nats": Measure("nats/{element}"),
        "bits": Measure("bits/{element}"),
        "rmse": Measure(title="RMSE"),
        "right": Measure(digits=".1%", better="high"),
    }

    def measure(self, network, data, seed: int) -> dict:
        """The measures, and the "part", the numbers "asked", and those that were "unknown" and so are not."""
        from pipeline.probes.held_out import held_out

        part = data.judged_on
        found = held_out(network, data, part)
        return data.answers.measured(found.loss) | {
            "right": found.right,
            "part": part,
            "asked": found.asked,
            "unknown": data.card.get("unknown", {}).get(part, 0),
        }
