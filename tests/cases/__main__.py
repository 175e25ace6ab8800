"""Tries bad input: all of bad_input.tsv, or the cases whose ids begin so: `python -m tests.cases [id ...]`."""

import sys
from concurrent.futures import ThreadPoolExecutor, as_completed

from tqdm import tqdm

from tests.cases.checkout import checkout
from tests.cases.table import read_table

AT_ONCE = 2  # as many as the cores of the smallest machine


def main(beginnings: list[str]) -> None:
    cases = [case for case in read_table() if not beginnings or case.id.startswith(tuple(beginnings))]
    if not cases:
        sys.exit(f"error: no case's id begins with {' or '.join(beginnings)}")
    for case in cases:
        if case.skipped:
            print(f"{case.id}  skipped: {case.skipped}")
    tried = [case for case in cases if not case.skipped]
    failed = 0
    with checkout() as small, ThreadPoolExecutor(AT_ONCE) as pool:
        running = {pool.submit(small.run, case.command): case for case in tried}
        for done in tqdm(as_completed(running), desc="cases", total=len(tried), unit="case", disable=None):
            case = running[done]
            wrong = case.wrong(done.result())
            if wrong is not None:
                failed += 1
                tqdm.write(f"{case.id}  wanted {case.wanted}, got {wrong[:200]}\n    {case.command}", file=sys.stdout)
    print(f"{len(tried) - failed} of {len(tried)} cases as wanted")
    sys.exit(failed > 0)


main(sys.argv[1:])
