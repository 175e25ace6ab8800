"""What models wrote, as HTML."""

import math
from collections.abc import Iterable, Mapping

from pipeline.exhibits.exhibit import Measure
from pipeline.exhibits.numbers import DOUBT, count, several, visible, written

MOST_MOMENTS = 5  # shown of a run


def written_text(one: dict):
    """HTML of {"prompt", "text"}: the prompt in bold, then what the model wrote."""
    from markupsafe import Markup

    prompt = Markup("<b>{}</b>").format(visible(one["prompt"])) if one["prompt"] else ""
    return Markup("<pre><samp>{}{}</samp></pre>").format(prompt, visible(one["text"]))


def temperatures(samples: Iterable[dict]) -> str:
    return "temperature " + ", ".join(dict.fromkeys(f"{sample['temperature']}" for sample in samples))


def folded(title: str, about: str, inside, unfolded: bool = False):
    """HTML of a part that opens at a click; `inside` is HTML."""
    from markupsafe import Markup

    return Markup('<details class="run"{}><summary><b>{}</b> <span>{}</span></summary>\n{}</details>\n').format(
        Markup(" open") if unfolded else "", title, about, inside
    )


def cards(parts: Iterable[tuple[str, str, Iterable]]):
    """HTML of cards side by side: a heading, a line below it, either may be empty, and HTML of what is on it."""
    from markupsafe import Markup

    def part(frame: str, text: str):
        return Markup(frame).format(text) if text else ""

    cards = (
        Markup("<li>{}{}{}</li>\n").format(
            part("<h4>{}</h4>\n", title), part('<p class="when">{}</p>\n', about), Markup("\n").join(inside)
        )
        for title, about, inside in parts
    )
    return Markup('<ol class="moments">\n{}</ol>\n').format(Markup("").join(cards))


def story(row: dict, run: dict, measures: Mapping[str, Measure]):
    """HTML of what a run wrote as its training went.

    row  the run's group;  run  with its "moments", "about" (run.json, {} where there is none), "folder" and "mlflow"
         (links, or None), and "open"
    """
    from markupsafe import Markup

    name, units = row["ranked_by"], row["units"]
    about = Markup("")
    if run["about"].get("status", "finished") != "finished":
        about += Markup('<mark class="bad">{}</mark> ').format(run["about"]["status"])
    if name is not None:
        number = written(run["measured"].get(name), measures[name].digits) + DOUBT * (name in run["doubts"])
        about += f"{number} {measures[name].axis(name, units)} "
    about += f"after {count(run['steps'])} training steps, {count(run['targets'])} {several(units['element'])} asked"
    inside = cards(
        (
            moment["words"],
            f"training step {count(moment['step'])}, {count(moment['targets'])} {several(units['element'])} asked, "
            f"{temperatures(moment['samples'])}",
            map(written_text, moment["samples"]),
        )
        for moment in run["moments"]
    )
    if not run["moments"]:
        note = '<p class="note">No samples: {}/samples.jsonl is missing or empty.</p>\n'
        inside = Markup(note).format(run["directory"])
    links = (("folder", "Its folder"), ("mlflow", "its record in MLflow"))
    shown = [Markup('<a href="{}">{}</a>').format(run[name], said) for name, said in links if run.get(name)]
    if shown:
        inside += Markup('<p class="when">{}</p>\n').format(Markup(", ").join(shown))
    return folded(f"{row['label']}, seed {run['seed']}", about, inside, run["open"])


def moments(samples: list[dict]) -> list[dict]:
    """Samples of the moments to show, {"words", "step", "targets", "samples"}: at first, train more, ..., at last."""
    steps = evenly(sorted({sample["step"] for sample in samples}), MOST_MOMENTS)
    words = ["at first", *["train more"] * (len(steps) - 2), "at last"] if len(steps) > 1 else ["at first and at last"]
    shown = [[sample for sample in samples if sample["step"] == step] for step in steps]
    return [
        {"words": word, "step": step, "targets": some[0]["targets"], "samples": some}
        for word, step, some in zip(words, steps, shown)
    ]


def evenly(steps: list[int], most: int) -> list[int]:
    """At most `most` of the increasing `steps`: the first, the last, and between them even spacing in log step."""
    if len(steps) <= most:
        return steps
    if steps[0] < 1:
        return [steps[0], *evenly(steps[1:], most - 1)]
    chosen = [0]
    for place in range(1, most - 1):
        wanted = steps[0] * (steps[-1] / steps[0]) ** (place / (most - 1))
        free = range(chosen[-1] + 1, len(steps) - (most - 1 - place))
        chosen.append(min(free, key=lambda index: abs(math.log(steps[index] / wanted))))
    return [steps[index] for index in (*chosen, len(steps) - 1)]
