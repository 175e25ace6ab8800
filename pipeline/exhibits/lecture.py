"""The lecture, point by point: what was said, what studies found, and the commands for what they have not.

`python -m pipeline.exhibits.lecture` prints docs/lecture.md.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from pipeline.command.refusal import Refusal
from pipeline.command.settings import CONF
from pipeline.exhibits.claims import evidence

SOURCE = Path(__file__).parent / "page" / "lecture.yaml"
HEAD = """# The lecture

Samuel Cheng, *Recurrent Neural Networks*, Deep Learning, lecture 6, University of Oklahoma, spring 2017; after
Stanford's CS231n 2016 (lecture 10) and Geoffrey Hinton's course of 2012 (weeks 7 and 8). What it says, in its own
order, and where that is here. A study decides its points, or shows them:

```
python -m pipeline.train -m study=hello
python -m pipeline.evaluate study=hello
python -m pipeline.report
```

The report opens with this list, and with what came out. Made by `python -m pipeline.exhibits.lecture > docs/lecture.md`
from `pipeline/exhibits/page/lecture.yaml` and the studies' `lecture`: change nothing here by hand.
"""


@cache
def parts() -> list[dict]:
    """{"part": title, "points": [{"name", "said", "here"}, ...]}, in the order of the lecture."""
    import yaml

    return yaml.safe_load(SOURCE.read_text(encoding="utf-8"))


def names() -> list[str]:
    """Of all points."""
    return [point["name"] for part in parts() for point in part["points"]]


def deciding(folder: Path = CONF / "study") -> dict[str, list[str]]:
    """Point -> the studies that decide or show it, by the files of `folder`. Raises Refusal for a point that there is
    not."""
    import yaml

    found: dict[str, list[str]] = {name: [] for name in names()}
    for path in sorted(folder.glob("*.yaml")):
        study = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("study") or {}
        own = study.get("lecture") or []
        for point in [*own, *(point for claim in study.get("claims") or [] for point in claim.get("lecture") or own)]:
            if point not in found:
                raise Refusal(f"{path}: lecture: there is no {point}: take of {', '.join(found)}")
            if path.stem not in found[point]:
                found[point].append(path.stem)
    return found


def opened(studies: Iterable[dict], named: Mapping[str, list[str]]) -> list[dict]:
    """The parts with what was found, for the page, of studies as `pipeline.report.present` gives them: each point gets

    claims  the claims of the evaluated studies about it: {"study", "claim", "verdict", "evidence"}
    shown   evaluated studies that name it and have no claim about it: {"study", "question"}
    left    studies that name it and were not evaluated

    named  point -> studies, as `deciding` has it
    """
    evaluated = {study["study"]: study for study in studies}
    found = []
    for part in parts():
        points = []
        for point in part["points"]:
            name = point["name"]
            here = [
                evaluated[study]
                for study in dict.fromkeys([*named.get(name, []), *evaluated])
                if study in evaluated and name in all_points(evaluated[study])
            ]
            claims = [
                {
                    "study": study["study"],
                    "claim": claim["claim"],
                    "verdict": claim["verdict"],
                    "evidence": evidence(claim, study["measures"]),
                }
                for study in here
                for claim in study["claims"] or []
                if name in points_of(claim, study)
            ]
            having = {claim["study"] for claim in claims}
            points.append(
                point
                | {
                    "claims": claims,
                    "shown": [study for study in here if study["study"] not in having],
                    "left": [study for study in named.get(name, []) if study not in evaluated],
                }
            )
        found.append({"part": part["part"], "points": points})
    return found


def points_of(claim: Mapping, study: Mapping) -> list[str]:
    """The points that a claim is about: its own `lecture`, or else its study's."""
    return claim.get("lecture") or study.get("lecture") or []


def all_points(study: Mapping) -> set[str]:
    """The points that a study names, or a claim of it."""
    claimed = (point for claim in study["claims"] or [] for point in points_of(claim, study))
    return {*(study.get("lecture") or []), *claimed}


def document() -> str:
    """docs/lecture.md."""
    named, lines = deciding(), [HEAD]
    for part in parts():
        lines += [f"## {part['part']}", ""]
        lines += ["| in the lecture | here | studies |", "|---|---|---|"]
        for point in part["points"]:
            studies = ", ".join(f"`{study}`" for study in named[point["name"]])
            lines.append(f"| {point['said']} | {point['here']} | {studies or '-'} |")
        lines.append("")
    return re.sub(r"\n+$", "\n", "\n".join(lines))


if __name__ == "__main__":
    print(document(), end="")
