"""How well a model answers what it was not trained on."""

from pipeline.exhibits.exhibit import Measure
from pipeline.probes.probe import Probe

STEADY = 0.005  # part of a loss that it may move by when twice as much is read before what is asked
MOVED = 50_000  # elements of the part on which that is seen


class Prediction(Probe):
    """The mean loss of what is asked in the whole of the part that finished models are judged on, in every unit in
    which such losses are compared, and the share of right answers where something says what is right.

    A loss is doubted that depends on where the state starts: one that moves by more than half a per cent (STEADY) when
    twice as much is read before what is asked, over the first 50,000 elements (MOVED).
    """

    measures = {
        "nats": Measure("nats/{element}"),
        "bits": Measure("bits/{element}"),
        "perplexity": Measure(digits=".1f"),
        "per_character": Measure("bits/char"),
        "rmse": Measure(title="RMSE"),
        "right": Measure(digits=".1%", better="high"),
    }

    def measure(self, network, data, seed: int) -> dict:
        """The measures, the "loss" as in training, the "part", the numbers "asked", and those that were "unknown" and
        so are not; "moved", the loss when less and when more is read before, where parts are one sequence; "doubts"."""
        from pipeline.probes.held_out import held_out

        part = data.judged_on
        found = held_out(network, data, part)
        measured = data.measured(found.loss, part)
        moved = self._moved(network, data, part) if data.contiguous else None
        doubt = moved and abs(moved[1] - moved[0]) > STEADY * abs(moved[0])
        why = doubt and (
            f"the loss depends on where the state starts: {moved[0]:.4g} {data.answers.units.loss}, {moved[1]:.4g} "
            "when twice as much is read before"
        )
        return measured | {
            "loss": found.loss,
            "right": found.right,
            "part": part,
            "asked": found.asked,
            "unknown": data.card.get("unknown", {}).get(part, 0),
            "moved": moved,
            "doubts": dict.fromkeys([*measured, *["right"] * (found.right is not None)], why) if doubt else {},
        }

    def _moved(self, network, data, part: str) -> tuple[float, float]:
        """The loss with the burn-in that these data take, and with twice that."""
        from pipeline.datasets.batch import Reading
        from pipeline.probes.held_out import held_out

        before = data.burn_in(Reading(restart=network.restart))
        less, more = (held_out(network, data, part, MOVED, burn_in).loss for burn_in in (before, 2 * before))
        return less, more
