"""The numbers on the slide of the four-symbol example "hello", before and after learning."""

from typing import TYPE_CHECKING

from pipeline.command.setting import Count, Positive
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.gallery import cards
from pipeline.exhibits.numbers import MINUS, visible, written
from pipeline.exhibits.tables import scrolled
from pipeline.probes.probe import Probe

if TYPE_CHECKING:
    import numpy as np

LETTERS, READ, ASKED = "helo", "hell", "ello"
# By step, as the slide prints them: Karpathy 2015, "The Unreasonable Effectiveness of Recurrent Neural Networks", and
# CS231n 2016, lecture 10. The article's text has the first outputs; the rest is second-hand, quoted from memory of
# its figure.
HIDDEN = ((0.3, -0.1, 0.9), (1.0, 0.3, 0.1), (0.1, -0.5, -0.3), (-0.3, 0.9, 0.7))
OUTPUTS = ((1.0, 2.2, -3.0, 4.1), (0.5, 0.3, -1.0, 1.2), (0.1, 0.5, 1.9, -1.1), (0.2, -1.5, -0.1, 2.2))
LARGEST = 0.975  # of tanh, that is printed as 1.0: the middle of 0.95..1


class SlideNumbers(Probe):
    """Inputs, hidden units and logits at each step of "hell", as the slide shows them: of a network that has the
    slide's numbers, of the same after some steps of gradient descent from there, and of the model that was trained.

    The slide prints h_t and y_t, no weights. W_xh of "h" follows from h_1 = tanh(W_xh x_1); W_hh and W_xh of "e" and
    "l", 15 numbers, stand in 9 equations, of which the solution nearest to zero is taken. y_t = W_hy h_t alone has no
    solution: the 4 h_t lie in 3 dimensions and are bound by a linear relation that the y_t do not obey. With a bias, as
    in min-char-rnn, there is exactly one.

    steps, lr  of the gradient descent from the slide's numbers, on the mean loss of the four targets
    """

    measures = {"least": Measure(digits=".1%", better="high", title="least p(target)")}

    def __init__(self, steps: Count, lr: Positive):
        self.steps, self.lr = steps, lr

    def fits(self, network, data) -> bool:
        from pipeline.datasets.hello import Hello

        recurrent = any(role == "recurrent" for role, _ in network.parameters_by_role())
        return isinstance(data, Hello) and recurrent

    def measure(self, network, data, seed: int) -> dict:
        """{"least": the least probability that a target has; "slide", "learned", "run": what `numbers` returns;
        "weights": of the slide's network}."""
        import torch

        slide = slide_network()
        weights = {name: array.tolist() for name, array in slide_weights().items()}
        before = numbers(slide, data)
        descent = torch.optim.SGD(slide.parameters(), self.lr)
        batch = next(data.held_out("test"))
        for _ in range(self.steps):
            loss, _ = slide.loss(batch, slide.start(1))
            descent.zero_grad()
            (loss / batch.count).backward()
            descent.step()
        run = numbers(network, data)
        least = min(run["p"])
        return {"least": least, "slide": before, "learned": numbers(slide, data), "run": run, "weights": weights}

    def show(self, rows: list[dict]) -> list[Exhibit]:
        first = rows[0]["runs"][0]["found"]
        off = " ".join(f"{letter} {_short(one)}" for letter, one in zip(LETTERS, without_bias()))
        parts = [
            ("The slide", "recomputed from the weights below", [_table(first["slide"])]),
            (
                "Learned from there",
                f"{self.steps} steps of gradient descent at {self.lr:g}",
                [_table(first["learned"])],
            ),
            ("Its weights", f"without b_y, outputs stay off by at least: {off}", [_weights(first["weights"])]),
        ]
        for row in rows:
            run = row["runs"][0]
            parts.append((row["name"], f"trained, seed {run['seed']}", [_table(run["found"]["run"])]))
        about = (
            "Layers from the bottom up, a column a step, the target's logit in bold: it is to be high and the others "
            "low. p: the softmax at the target. The slide's h_t and y_t are printed to one digit, its weights are not: "
            "those that give these numbers are shown, the nearest to zero where there are many."
        )
        return [Exhibit("hello", about, cards(parts))]


def slide_weights() -> dict[str, "np.ndarray"]:
    """W_xh [3, 4], W_hh [3, 3], W_hy [4, 3] and b_y [4] of a network that gives the slide's numbers."""
    import numpy as np

    h, y = np.minimum(HIDDEN, LARGEST), np.array(OUTPUTS)
    a = np.arctanh(h)
    # At steps 2 to 4: what stands before, and which of "e" and "l" is read.
    seen = np.hstack([h[:3], [[1, 0], [0, 1], [0, 1]]])
    found = np.linalg.lstsq(seen, a[1:], rcond=None)[0].T
    w_xh = np.column_stack([a[0], found[:, 3:], np.zeros(3)])
    w_hy = np.linalg.solve(np.hstack([h, np.ones((4, 1))]), y).T
    return {"W_xh": w_xh, "W_hh": found[:, :3], "W_hy": w_hy[:, :3], "b_y": w_hy[:, 3]}


def without_bias() -> list[float]:
    """min over W of max over t of |W h_t - y_t|, by output: |c y| / |c|_1 for the c with sum_t c_t h_t = 0."""
    import numpy as np

    c = np.linalg.svd(np.minimum(HIDDEN, LARGEST).T)[2][-1]
    return (abs(c @ np.array(OUTPUTS)) / abs(c).sum()).tolist()


def slide_network():
    """A tanh network of three units with slide_weights()."""
    import torch

    from pipeline.cells.rnn import TanhRNN
    from pipeline.datasets.hello import Hello
    from pipeline.models.recurrent import RecurrentNetwork

    network = RecurrentNetwork(
        Hello.reads,
        Hello.answers,
        given=(),
        cell=TanhRNN,
        layers=1,
        hidden=3,
        embedding=None,
        dropout=0.0,
        skip_connections=False,
        initial_state=0.0,
        learned_initial_state=False,
    ).double()
    (cell,) = network.stack.cells
    weights = {name: torch.from_numpy(array) for name, array in slide_weights().items()}
    with torch.no_grad():
        cell.input_weight.copy_(weights["W_xh"])
        cell.recurrent["h"].copy_(weights["W_hh"])
        cell.input_bias.zero_()
        network.readout.weight.copy_(weights["W_hy"])
        network.readout.bias.copy_(weights["b_y"])
    return network


def numbers(network, data) -> dict:
    """{"hidden": [4][H] of the last layer, "output": [4][4] logits, "p": [4] probabilities of the targets, "loss": the
    mean of -log p}."""
    import torch

    from pipeline.decoding.network import evaluating

    batch = next(data.held_out("test")).to(network.device, network.dtype)
    with evaluating(network), torch.no_grad():
        layers, _ = network.activities(batch.inputs, network.start(1))
        z, _ = network(batch.inputs, network.start(1))
    log_p = torch.log_softmax(z.double(), -1).gather(-1, batch.targets[..., None])[:, 0, 0]
    return {
        "hidden": layers[-1][:, 0].tolist(),
        "output": z[:, 0].tolist(),
        "p": log_p.exp().tolist(),
        "loss": -log_p.mean().item(),
    }


def _table(one: dict):
    """The layers of what `numbers` returned, as the slide has them."""
    from markupsafe import Markup

    def row(head: str, cells) -> Markup:
        return Markup("<tr><th>{}</th>{}</tr>").format(head, Markup("").join(map(Markup("<td>{}</td>").format, cells)))

    lines = [row("target", ASKED), row("p", (written(p, ".2f") for p in one["p"]))]
    for k, letter in enumerate(LETTERS):
        logits = (_short(z[k]) for z in one["output"])
        cells = [Markup("<b>{}</b>").format(z) if letter == asked else z for z, asked in zip(logits, ASKED)]
        lines.append(row(f"output {letter}", cells))
    for unit in range(len(one["hidden"][0])):
        lines.append(row(f"hidden {unit + 1}", (_short(h[unit]) for h in one["hidden"])))
    lines += [row(f"input {letter}", (int(letter == read) for read in READ)) for letter in LETTERS]
    lines.append(row("read", READ))
    loss = Markup("<p>loss {} nats/char</p>").format(written(one["loss"]))
    return scrolled(Markup("<table>{}</table>").format(Markup("").join(lines)), "The numbers of the slide") + loss


def _weights(weights: dict):
    """The matrices, one below the other."""
    from markupsafe import Markup

    parts = []
    for name, array in weights.items():
        rows = array if isinstance(array[0], list) else [array]
        cells = Markup("").join(
            Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(_short(x, 2)) for x in line))
            for line in rows
        )
        parts.append(Markup("<p>{}</p>{}").format(visible(name), scrolled(f"<table>{cells}</table>", name)))
    return Markup("").join(parts)


def _short(number: float, decimals: int = 1) -> str:
    return f"{round(number, decimals) + 0.0:.{decimals}f}".replace("-", MINUS)
