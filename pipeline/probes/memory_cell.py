"""A memory cell as a circuit, and what one of a trained network holds."""

import math
import textwrap
from typing import TYPE_CHECKING

from pipeline.command.setting import Count
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import GRID, drawing, legend, look, svg
from pipeline.exhibits.numbers import known
from pipeline.probes.probe import Probe

if TYPE_CHECKING:
    import numpy as np

LANES = ("input", "write", "keep", "read", "content", "output")  # from top to bottom
GATES = {"write": "i", "keep": "f", "read": "o"}  # of an LSTM
MOST_RUNS = 2  # drawn beside the circuit
# Gates set by hand: 1.7 is written at step 2, kept until step 9, and read at step 7; at other steps something else is
# at the input.
INPUT = (0.4, -1.1, 1.7, 0.9, -0.6, 1.3, -1.5, 0.2, 0.8, -0.3, 1.0, -0.7)
BY_HAND = {
    "write": [float(t == 2) for t in range(len(INPUT))],
    "keep": [float(2 < t <= 9) for t in range(len(INPUT))],
    "read": [float(t == 7) for t in range(len(INPUT))],
}


class MemoryCell(Probe):
    """Of all memory cells of a network the one whose content holds most of what is asked: r_t, the correlation over
    episodes of its content c_t after step t with the answer at the end, is largest in the mean over t = 0 .. T - 1, as
    an absolute value; T is the length of the shortest episode. Its gates and its content are shown beside those of the
    circuit that the lecture draws. A cell that is written at once and keeps it has 1; one that learns of it late, less.

    episodes  N of the part that finished models are judged on: of cells that hold nothing the best has some 1/sqrt(N)
    The answer is a symbol's number, or the first of several numbers. Measured where sequences are asked at their ends
    and the cell has gates named by Cell.gate_values.
    """

    measures = {"held": Measure(digits=".3f", better="high", title="one cell holds, |r|")}

    def __init__(self, episodes: Count):
        self.episodes = episodes

    def fits(self, network, data) -> bool:
        from pipeline.probes.state_gradients import beginning

        return not data.contiguous and bool(network.memory_cells(*beginning(network, data)))

    def measure(self, network, data, seed: int) -> dict:
        """{"held": |mean of r_t|, None where contents or answers are all the same; "layer", "unit" from 1; "kept": the
        mean of its keep gate over the steps of the first example but its first; "examples": an episode of the smallest
        answer and one of the largest, {"answer", "input", "write", "keep", "read", "content", "output": a number a
        step}, gates that there are, an input that is a number}."""
        import torch

        from pipeline.decoding.network import evaluating
        from pipeline.probes.state_gradients import asked_sequences

        contents, answers, inputs, episodes = [], [], [], []
        with evaluating(network), torch.no_grad():
            for episode in asked_sequences(network, data, data.judged_on, self.episodes):
                layers = network.memory_cells(episode.inputs, network.start(1, *episode.given))
                contents.append(torch.stack([layer["c"][:, 0] for layer in layers], dim=1).double())  # [T, L, H]
                answers.append(episode.targets[-1].flatten()[0].item())
                inputs.append(episode.inputs[:, 0])
                episodes.append(layers)
        shortest = min(map(len, contents))
        told = torch.stack([one[:shortest] for one in contents]).cpu().numpy()
        r = abs(correlations(told, answers).mean(0))
        layer, unit = divmod(int(r.argmax()), r.shape[1])
        examples = []
        for answer in (min(answers), max(answers)):
            number = answers.index(answer)
            of, x = episodes[number][layer], inputs[number]
            lanes = {**GATES, "content": "c", "output": "h"}.items()
            series = {lane: of[name][:, 0, unit].tolist() for lane, name in lanes if name in of}
            if x.is_floating_point() and x.shape[1] == 1:
                series["input"] = x[:, 0].tolist()
            examples.append({"answer": answer} | {lane: [round(v, 4) for v in all_] for lane, all_ in series.items()})
        kept = examples[0].get("keep", [1.0, 1.0])[1:]
        return {
            "held": float(r.max()) or None,
            "layer": layer + 1,
            "unit": unit + 1,
            "kept": sum(kept) / len(kept) if kept else None,
            "examples": examples,
        }

    def show(self, rows: list[dict]) -> list[Exhibit]:
        runs = [(row["name"], row["runs"][0]) for row in rows if known(row["runs"][0]["found"]["held"])][:MOST_RUNS]
        title = "Write, keep, read"
        about = (
            "Left: the lecture's circuit, its gates set by hand. 1.7 is written at step 2, kept, read at step 7, and "
            "forgotten after step 9, whatever else is at the input. Beside it: the same gates, content and output of a "
            "memory cell of a trained network, of all its cells the one whose content tells most of the answer all "
            "along, in an episode of each of two answers. Gates are from 0 to 1; inputs, contents and outputs are "
            "drawn to their own scale."
        )
        for name, run in runs:
            found = run["found"]
            kept = f", keep gate {found['kept']:.3f} in the mean" if known(found["kept"]) else ""
            about += f" {name}, seed {run['seed']}: layer {found['layer']}, cell {found['unit']}{kept}."
        return [Exhibit(title, about, svg(figure(runs), f"{title}: {rows[0]['study']}"))]


def circuit(x, write, keep, read) -> tuple[list, list]:
    """c_t = keep_t c_{t-1} + write_t x_t, c_{-1} = 0; y_t = read_t c_t: a linear unit with a self-link of weight 1
    while its keep gate is open. Sequences of T numbers or tensors -> c and y.

    Source: the memory cell of Hochreiter & Schmidhuber 1997 with the keep gate of Gers et al. 2000, without squashing.

    write, keep, read  in 0..1
    """
    c, contents, outputs = 0.0, [], []
    for x_t, write_t, keep_t, read_t in zip(x, write, keep, read, strict=True):
        c = keep_t * c + write_t * x_t
        contents.append(c)
        outputs.append(read_t * c)
    return contents, outputs


def correlations(contents: "np.ndarray", answers: list[float]) -> "np.ndarray":
    """Pearson's r with N numbers of [N, ...], for each place of [...]; 0 where either is constant."""
    import numpy as np

    centred, wanted = contents - contents.mean(0), np.array(answers) - np.mean(answers)
    scale = np.sqrt((centred**2).sum(0) * (wanted**2).sum())
    return np.divide(np.tensordot(wanted, centred, 1), scale, out=np.zeros_like(scale), where=scale > 1e-12)


def figure(runs: list[tuple[str, dict]]):
    """Lanes of the circuit and of runs, a panel each: pairs (name, run), as Probe.show gets them."""
    contents, outputs = circuit(INPUT, **BY_HAND)
    by_hand = BY_HAND | {"input": INPUT, "content": contents, "output": outputs}
    panels = [("set by hand", [by_hand])] + [(name, run["found"]["examples"]) for name, run in runs]
    with drawing(4.2, len(panels)) as (whole, row):
        for (name, examples), axes in zip(panels, row):
            for height, lane in enumerate(reversed(LANES)):
                draw_lane(axes, height, lane, [one[lane] for one in examples if lane in one])
            axes.set_title(textwrap.fill(name, 80 // len(panels)), fontsize=9, parse_math=False)
            axes.set(xlabel="step", ylim=(-0.1, len(LANES)))
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set_yticks([height + 0.4 for height in range(len(LANES))], reversed(LANES))
        for index, example in enumerate(runs[0][1]["found"]["examples"] if runs else []):
            row[1].plot([], [], color=look(index)["color"], label=f"answer {example['answer']:g}")
        legend(whole)
    return whole


def draw_lane(axes, height: int, lane: str, series: list[list[float]]) -> None:
    """Numbers a step as lines from `height` to `height` + 0.8; gates from 0 to 1, others around 0 with the largest
    number written beside."""
    low, high = 0.0, 1.0
    if series and lane not in GATES:
        high = max(abs(v) for of in series for v in of) or 1.0
        low = -high
        axes.annotate(f"±{high:.2g}", (1, height + 0.8), xycoords=("axes fraction", "data"), fontsize=7, ha="right")
    axes.axhline(height - low / (high - low) * 0.8, color=GRID, linewidth=0.8)
    for index, of in enumerate(series):
        places = [height + 0.8 * (v - low) / (high - low) if math.isfinite(v) else math.nan for v in of]
        axes.plot(places, color=look(index)["color"], linewidth=1.3, drawstyle="steps-mid")
