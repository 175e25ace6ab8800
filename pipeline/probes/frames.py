"""What a whole frame of a piano roll costs."""

from pipeline.exhibits.exhibit import Measure
from pipeline.probes.probe import Probe


class Frames(Probe):
    """frame = mean over frames of sum_d -log p(x_t,d | x_<t), in nats, as Boulanger-Lewandowski et al. 2012 report
    polyphonic music; notes = TP / (TP + FP + FN) over all keys and frames, a key being predicted where p > 1/2: their
    accuracy, after Bay et al. 2009. Of the part that finished models are judged on.

    For bits that are the next element of what is read.
    """

    measures = {"frame": Measure("nats/frame"), "notes": Measure(digits=".1%", better="high")}

    def fits(self, network, data) -> bool:
        return data.foretells and data.answers.units.element == "bit"

    def measure(self, network, data, seed: int) -> dict:
        from pipeline.probes.held_out import predictions

        loss, frames, both, either = 0.0, 0, 0, 0
        for batch, z in predictions(network, data, data.judged_on):
            asked = data.answers.asked(batch.targets)
            foretold, sounding = z[asked] > 0, batch.targets[asked] > 0.5
            loss += data.answers.loss(z, batch.targets).item()
            frames += int(asked.sum())
            both += int((foretold & sounding).sum())
            either += int((foretold | sounding).sum())
        return {"frame": loss / frames, "notes": both / either if either else 0.0}
