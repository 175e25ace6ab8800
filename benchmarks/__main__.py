"""Runs the benchmarks and writes benchmarks/RESULTS.md: `python -m benchmarks`,
or some of them: `python -m benchmarks prepare`.

Each module here but this one has `measure() -> str`, its section of the page.
A section that is not run again, or for which there is no machine here, stays as it is.
"""

import importlib
import os
import platform
import re
import sys
from datetime import date
from pathlib import Path

from pipeline.files.whole import write_atomically

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "RESULTS.md"
INTRODUCTION = """# Benchmarks

Made by `make bench`. Each section was measured in one go on one machine, side by side with what it is compared to;
ratios are steadier than times.
"""


def machine() -> str:
    """A line on what this was measured with."""
    import torch

    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"*{date.today()}, {cpu.group(1) if cpu else platform.machine()}, {os.cpu_count()} cores "
        f"({torch.backends.cpu.get_cpu_capability()}){gpu}, "
        f"Python {platform.python_version()}, torch {torch.__version__}*"
    )


def main(names: list[str]) -> None:
    every = sorted(file.stem for file in FOLDER.glob("[!_]*.py"))
    unknown = set(names) - set(every)
    if unknown:
        sys.exit(f"error: {', '.join(sorted(unknown))}: no such benchmark, choose among {', '.join(every)}")
    text = RESULTS.read_text() if RESULTS.exists() else ""
    sections = {
        name: body for name, body in re.findall(r"<!-- (\w+) -->\n(.*?)(?=\n<!-- |\Z)", text, re.S) if name in every
    }
    for name in names or every:
        print(f"{name} ...", flush=True)
        measured = importlib.import_module(f"benchmarks.{name}").measure().strip()
        if not measured:
            print("nothing to measure it on here: its section stays as it is", flush=True)
            continue
        sections[name] = f"{measured}\n\n{machine()}\n"
        print(sections[name], flush=True)
        write_atomically(
            RESULTS,
            INTRODUCTION
            + "".join(f"\n<!-- {name} -->\n{sections[name].strip()}\n" for name in every if name in sections),
        )


main(sys.argv[1:])
