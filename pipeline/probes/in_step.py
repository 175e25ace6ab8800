"""What is answered at each frame, while more and more has been seen."""

from statistics import mean, stdev

from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import drawing, legend, look, svg
from pipeline.exhibits.groups import together
from pipeline.probes.probe import Probe

EXAMPLES = 3  # sequences that are shown
FRAMES = 12  # of each, at most
PICTURE, LINE = 0.6, 0.17  # inches, the heights of a frame and of a line of answers


class InStep(Probe):
    """The share of right answers by the frame at which they are given, of the part that finished models are judged on;
    `last`, that of the last frame. For pictures in order at each of which a class is asked.
    """

    measures = {"last": Measure(digits=".1%", better="high", title="right, last frame")}

    def fits(self, network, data) -> bool:
        from pipeline.datasets.moving import Moving

        return isinstance(data, Moving)

    def measure(self, network, data, seed: int) -> dict:
        """{"last"; "right": shares by frame; "shape": rows and columns of a frame; "examples": [{"frames": lists of
        pixels of 0..255, "answers", "is": what it is called}]}."""
        from pipeline.probes.held_out import predictions

        right, asked, examples = 0, 0, []
        for batch, z in predictions(network, data, data.judged_on):
            right = right + data.answers.right(z, batch.targets).sum(1)
            asked = asked + data.answers.asked(batch.targets).sum(1)
            if not examples:
                examples = [self._example(data, batch, z, number) for number in range(EXAMPLES)]
        shares = (right / asked).tolist()
        return {"last": shares[-1], "right": shares, "shape": list(data.reads.shape[1:]), "examples": examples}

    def _example(self, data, batch, z, number: int) -> dict:
        frames = (batch.inputs[:FRAMES, number].clamp(0, 1) * 255).round().int()
        answers = z[:FRAMES, number].argmax(-1).tolist()
        named = [data.classes[one] for one in answers]
        return {"frames": frames.tolist(), "answers": named, "is": data.classes[int(batch.targets[0, number])]}

    def show(self, rows: list[dict]) -> list[Exhibit]:
        exhibits = []
        for alike in together(rows, lambda row: row["data"]):
            data = alike[0]["data"]
            title = f"Right answers by frame: {data}"
            about = (
                "Of the test sequences; a line a model, the mean over its seeds, and in its shade a standard deviation "
                "to either side. What remembers gets better as more frames have gone by."
            )
            exhibits.append(Exhibit(title, about, svg(by_frame(alike), f"{title}: {alike[0]['study']}")))
            title = f"Frames and answers: {data}"
            about = (
                "The first test sequences, clipped to black and white, and below each frame what each model, of the "
                "first seed, says that it is; what is right stands in bold."
            )
            exhibits.append(Exhibit(title, about, svg(strips(alike), f"{title}: {alike[0]['study']}")))
        return exhibits


def by_frame(rows: list[dict]):
    """A line a row of Probe.show."""
    with drawing(3.4) as (figure, [axes]):
        for index, row in enumerate(rows):
            seeds = list(zip(*(run["found"]["right"] for run in row["runs"])))
            frames = range(1, len(seeds) + 1)
            means = list(map(mean, seeds))
            spreads = [stdev(some) if len(some) > 1 else 0.0 for some in seeds]
            axes.plot(frames, means, markersize=4, label=row["name"], **look(index))
            edges = [[one + sign * other for one, other in zip(means, spreads)] for sign in (-1, 1)]
            axes.fill_between(frames, *edges, color=look(index)["color"], alpha=0.2, linewidth=0)
        axes.set(xlabel="frame", ylabel="right", ylim=(0, 1.02))
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes.set_xticks(frames)
        legend(figure, 3)
    return figure


def strips(rows: list[dict]):
    """The frames of each example, and the answers of each row of Probe.show below them."""
    found = [row["runs"][0]["found"] for row in rows]
    [height, width], examples = found[0]["shape"], found[0]["examples"]
    frames, pitch = len(examples[0]["frames"]), PICTURE + 0.25 + LINE * len(rows)
    with drawing(len(examples) * pitch) as (figure, [axes]):
        for place, example in enumerate(examples):
            top = place * pitch
            for at, pixels in enumerate(example["frames"]):
                picture = [pixels[row * width : (row + 1) * width] for row in range(height)]
                extent = (at + 0.04, at + 0.96, top + PICTURE, top)
                axes.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")
            axes.text(-0.1, top + PICTURE / 2, example["is"], ha="right", va="center", fontsize=8, weight="bold")
            for line, (row, one) in enumerate(zip(rows, found)):
                below = top + PICTURE + LINE * (line + 0.7)
                axes.text(-0.1, below, row["name"], ha="right", va="center", fontsize=7)
                for at, answer in enumerate(one["examples"][place]["answers"]):
                    weight = "bold" if answer == example["is"] else "normal"
                    axes.text(at + 0.5, below, answer, ha="center", va="center", fontsize=7, weight=weight)
        axes.set(xlim=(-1.6, frames), ylim=(len(examples) * pitch, -0.05))
        axes.set_axis_off()
    return figure
