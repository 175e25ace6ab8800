"""How much of the C or the LaTeX that a model writes a parser takes, beside real text and corrupted real text."""

from statistics import fmean
from typing import Literal

from pipeline.command.setting import Count, Share, Temperatures
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import INK, PAPER, drawing, legend, look, svg
from pipeline.exhibits.gallery import cards, folded
from pipeline.exhibits.groups import comparable
from pipeline.exhibits.numbers import known, visible, written
from pipeline.exhibits.tables import scrolled
from pipeline.probes.grammars import GRAMMARS, Block, corrupted, judged, summary
from pipeline.probes.probe import Probe

FEW = 10  # blocks say little
SHOWN = 4  # blocks of a run that parse, and as many that do not


class Syntax(Probe):
    """Text is cut into blocks, at definitions and blank lines, which tree-sitter parses one by one: whole real files
    come out as errors, because of macros. Of what a model writes, and of real text:

    parsed    the share of blocks without error, 0..1
    errors    errors that the parser finds in 1,000 characters; errors within others do not count
    balanced  the share of blocks in which every brace, environment, dollar and comment has its counterpart, 0..1

    The measures are at the first of the temperatures. The same is found of the model as its training went, where
    weights were kept (trainer.weights_at).

    language      c | latex
    length        characters that the model writes at each temperature
    earlier       characters that it writes at each temperature with weights of before
    temperatures  1 is the model's own distribution
    real          characters of the part that finished models are judged on
    corruption    shares of these that are replaced by others, to compare with
    """

    measures = {
        "parsed": Measure(digits=".1%", better="high", title="blocks that parse"),
        "errors": Measure("errors/1,000 characters", digits=".2f"),
        "balanced": Measure(digits=".1%", better="high", title="balanced blocks"),
    }

    def __init__(
        self,
        language: Literal["c", "latex"],
        length: Count,
        temperatures: Temperatures,
        real: Count,
        corruption: list[Share],
        earlier: Count = 10_000,  # runs from before this setting have none
    ):
        self.language, self.length, self.earlier, self.temperatures = language, length, earlier, temperatures
        self.real, self.corruption = real, corruption

    def fits(self, network, data) -> bool:
        return bool(data.prompts) and data.answers.units.element in ("char", "byte")

    def measure(self, network, data, seed: int) -> dict:
        """The measures; "written", what the model writes, [temperature, summary] each, and "real", real text, [share
        that is corrupted, summary] each; some blocks at the last temperature, "shown"; and the "language"."""
        from numpy.random import default_rng

        blocks = [self._blocks(network, data, one, self.length, seed) for one in self.temperatures]
        doubts = {}
        if len(blocks[0]) < FEW:
            why = f"of {self.length:,} characters that it wrote, {len(blocks[0])} blocks could be judged"
            doubts = dict.fromkeys(self.measures, why)
        text = data.vocabulary.decode(data.parts[data.judged_on][: self.real])
        real = {part: corrupted(text, part, default_rng(seed)) for part in (0.0, *self.corruption)}
        found = summary(blocks[0])
        return {name: found[name] for name in self.measures} | {
            "written": list(zip(self.temperatures, map(summary, blocks))),
            "real": [(part, summary(judged(some, self.language))) for part, some in real.items()],
            "shown": chosen(blocks[-1]),
            "language": self.language,
            "doubts": doubts,
        }

    def follow(self, earlier, data, seed: int) -> dict:
        """{"earlier": [training step, what "written" is after it] each}."""

        def at(network, temperature: float) -> tuple[float, dict]:
            return temperature, summary(self._blocks(network, data, temperature, self.earlier, seed))

        return {"earlier": [(step, [at(network, one) for one in self.temperatures]) for step, network in earlier]}

    def _blocks(self, network, data, temperature: float, length: int, seed: int) -> list[Block]:
        """Of so many characters that the model writes."""
        from torch import Generator

        generator = Generator().manual_seed(seed)
        return judged("".join(data.write(network, "", temperature, length, generator)), self.language)

    def show(self, rows: list[dict]) -> list[Exhibit]:
        about = (
            f"Blocks without an error, of {self.length:,} characters that each model wrote at temperature "
            f"{self.temperatures[0]:g} (lines across), and of held-out real text with so many of its characters "
            "replaced (points)."
        )
        title = "Blocks that parse"
        exhibits = [Exhibit(title, about, svg(figure(rows), f"{title}: {rows[0]['study']}"))]
        followed = [row for row in rows if any(run["found"].get("earlier") for run in row["runs"])]
        if followed:
            title = "What parses as training goes"
            about = (
                f"Of {self.earlier:,} characters that each model wrote after so many training steps, and of "
                f"{self.length:,} at the end: the shares of blocks without an error, and of blocks that are balanced. "
                f"Hollow: of fewer than {FEW} blocks, as of who has not learned to leave lines blank. "
                "Dotted: held-out real text, with so many of its characters replaced."
            )
            drawn = (
                svg(course(followed, measure), f"{title}, {self.measures[measure].head(measure)}: {rows[0]['study']}")
                for measure in ("parsed", "balanced")
            )
            exhibits.append(Exhibit(title, about, "".join(drawn)))
        for section in comparable(rows):
            language = GRAMMARS[section[0]["runs"][0]["found"]["language"]].title
            about = (
                f"Means over seeds. A block is {language} between definitions or blank lines. Delimiters are balanced "
                "where each has its counterpart; shares are of the blocks that have any of the kind."
            )
            exhibits.append(Exhibit(f"{language} that parses, {section[0]['data']}", about, table(section)))
        parts = [
            folded(
                f"{row['label']}, seed {run['seed']}",
                f"temperature {self.temperatures[-1]:g}",
                cards((verdict(block), "", [marked(block)]) for block in run["found"]["shown"]),
                run["open"],
            )
            for row in rows
            for run in row["runs"]
        ]
        about = (
            f"Of what each model wrote, the {SHOWN} longest blocks that parse, and the first {SHOWN} that do not, with "
            "what the parser could not take underlined."
        )
        return [*exhibits, Exhibit("Blocks with their errors", about, "".join(parts), long=True)]


def chosen(blocks: list[Block]) -> list[dict]:
    """Those that are shown, as {"text", "errors"}."""
    parsed = sorted((block for block in blocks if not block.errors), key=lambda block: -len(block.text))
    others = [block for block in blocks if block.errors]
    return [{"text": block.text, "errors": block.errors} for block in (*parsed[:SHOWN], *others[:SHOWN])]


def verdict(block: dict) -> str:
    count = len(block["errors"])
    return "parses" if not count else "1 error" if count == 1 else f"{count} errors"


def marked(block: dict):
    """HTML of a block, its errors marked, and named what is missing."""
    from markupsafe import Markup

    text, html, last = block["text"], Markup(""), 0
    for first, after, missing in block["errors"]:
        html += visible(text[last:first])
        if missing:
            html += Markup("<i>missing {}</i>").format(missing)
        else:
            html += Markup('<mark class="bad">{}</mark>').format(visible(text[first:after]))
        last = after
    return Markup("<pre><samp>{}{}</samp></pre>").format(html, visible(text[last:]))


def figure(rows: list[dict]):
    """The share of blocks that parse against that of characters that are corrupted, a panel for each data set; rows as
    Probe.show gets them."""
    sections = comparable(rows)
    names = list(dict.fromkeys(row["name"] for row in rows))
    with drawing(3.8, len(sections)) as (whole, panels):
        for section, axes in zip(sections, panels):
            parts, real = zip(*section[0]["runs"][0]["found"]["real"])
            shares = [found["parsed"] for found in real]
            axes.plot(range(len(parts)), shares, color=INK, marker="o", markersize=4.5, linewidth=1.4)
            for row in section:
                for run in row["runs"]:
                    if known(run["found"]["parsed"]):
                        colour = look(names.index(row["name"]))["color"]
                        axes.axhline(run["found"]["parsed"], color=colour, linewidth=1.4)
            axes.set_xticks(range(len(parts)), [f"{100 * part:g}%" for part in parts])
            axes.set(title=section[0]["data"], xlabel="share of characters replaced", ylim=(-0.03, 1.03))
            axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        for index, name in enumerate(names):
            panels[0].plot([], [], color=look(index)["color"], linewidth=1.4, label=name)
        panels[0].plot([], [], color=INK, marker="o", markersize=4.5, label="real text")
        legend(whole)
    return whole


def course(rows: list[dict], measure: str):
    """A share of blocks, parsed or balanced, against the training step, a panel for each data set; rows as Probe.show
    gets them."""
    sections = comparable(rows)
    names = list(dict.fromkeys(row["name"] for row in rows))
    told = set()
    with drawing(3.4, len(sections)) as (whole, panels):
        for section, axes in zip(sections, panels):
            for row in section:
                for run in row["runs"]:
                    draw_course(axes, row["name"], run, measure, look(names.index(row["name"])), told)
            for place, (part, found) in enumerate(section[0]["runs"][0]["found"]["real"]):
                if known(found[measure]):
                    axes.axhline(found[measure], color=INK, linewidth=0.8, linestyle=":")
                    said, beside = f"{100 * part:g}%" if part else "real", (2 + 26 * place, 1)
                    at = {"xycoords": ("axes fraction", "data"), "xytext": beside, "textcoords": "offset points"}
                    axes.annotate(said, (0, found[measure]), fontsize=7, **at)
            axes.set(title=section[0]["data"], xscale="log", xlabel="training step")
            axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
        panels[0].set(ylabel=Syntax.measures[measure].title, ylim=(-0.03, 1.08))
        panels[0].yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        legend(whole, 3)
    return whole


def draw_course(axes, name: str, run: dict, measure: str, style: dict, told: set[str]) -> None:
    """A line a temperature, broken where nothing was found.

    told  names that the legend has; this adds its own
    """
    last = run["steps"], run["found"]["written"]
    points = [one for one in run["found"].get("earlier", []) if one[0] < last[0]] + [last]
    for place, (temperature, _) in enumerate(last[1]):
        found = [(step, some[place][1]) for step, some in points]
        values = [one[measure] if known(one[measure]) else float("nan") for _, one in found]
        steps, label = [step for step, _ in found], f"{name}, temperature {temperature:g}"
        line = {"color": style["color"], "linewidth": 1.4, "linestyle": "--" if place else "-"}
        axes.plot(steps, values, marker=style["marker"], markersize=4.5, label=None if label in told else label, **line)
        told.add(label)
        few = [(step, value) for (step, one), value in zip(found, values) if one["blocks"] < FEW]
        hollow = {"marker": style["marker"], "markersize": 4.5, "linestyle": "none", "markerfacecolor": PAPER}
        axes.plot(*zip(*few) if few else ([], []), markeredgecolor=style["color"], **hollow)


def table(section: list[dict]) -> str:
    """HTML: models at each temperature, and below them real text and what is corrupted of it."""
    lines: list[tuple[str, list[dict]]] = []
    for row in section:
        for place, (temperature, _) in enumerate(row["runs"][0]["found"]["written"]):
            found = [run["found"]["written"][place][1] for run in row["runs"]]
            lines.append((f"{row['name']}, temperature {temperature:g}", found))
    for part, found in section[0]["runs"][0]["found"]["real"]:
        lines.append((f"real text, {100 * part:g}% replaced" if part else "real text, held out", [found]))
    kinds = list(dict.fromkeys(kind for _, found in lines for one in found for kind in one["kinds"]))
    heads = ["blocks", "characters a block", "parse", "errors/1,000 characters", "balanced", *kinds]
    html = "".join(f'<th scope="col" class="n">{head}</th>' for head in ("", *heads))
    body = []
    for name, found in lines:
        digits = {"blocks": ",.0f", "characters": ",.0f", "parsed": ".1%", "errors": ".2f", "balanced": ".1%"}
        cells = [mean([one[key] for one in found], form) for key, form in digits.items()]
        cells += [mean([one["kinds"].get(kind) for one in found], ".1%") for kind in kinds]
        body.append(f'<tr><th scope="row">{visible(name)}</th>{"".join(cells)}</tr>')
    rows = f"<thead><tr>{html}</tr></thead><tbody>{''.join(body)}</tbody>"
    return scrolled(f"<table>{rows}</table>", f"Table of {', '.join(heads)}")


def mean(values: list[float | None], digits: str) -> str:
    """A cell with the mean of those that are known."""
    having = [value for value in values if known(value)]
    return f'<td class="n">{written(fmean(having) if having else None, digits)}</td>'
