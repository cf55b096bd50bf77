r"""What changed between two runs that ``python -m benchmarks --json DIR`` wrote.

::

    python -m benchmarks.history before.json after.json
    python -m benchmarks.history before.json after.json --least 5 --only quality

Rows are matched by benchmark, table and label. Every number that differs by at least `--least` per
cent is printed; scores are in their own units, so look at the difference of decibels and at the per
cent of milliseconds. Rows that only one of the runs has are counted, not hidden.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.record import Record, load

NUMBER = re.compile(r"(?<![\w.])[-+−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")


class Key(NamedTuple):
    """Where a cell stands; `turn` tells rows of one label apart."""

    benchmark: str
    table: int
    row: str
    turn: int
    column: str


class Change(NamedTuple):
    """A number that differs."""

    key: Key
    before: float
    after: float

    @property
    def percent(self) -> float:
        """The difference in per cent of the number before."""
        return 100 * (self.after - self.before) / abs(self.before) if self.before else float("inf")


def cells(record: Record) -> Iterator[tuple[Key, list[float]]]:
    """Every cell that holds numbers, but for the label of its row."""
    for name, tables in record["benchmarks"].items():
        for index, table in enumerate(tables):
            turns: Counter[str] = Counter()
            for label, *rest in table["rows"]:
                for place, cell in enumerate(rest, start=1):
                    columns = table["columns"]
                    column = columns[place] if place < len(columns) else ""
                    found = numbers(cell)
                    if found:
                        yield Key(name, index, label, turns[label], column or str(place)), found
                turns[label] += 1


def numbers(cell: str) -> list[float]:
    """The numbers of a cell.

    >>> numbers("**28.81** (−0.32)"), numbers("128x128"), numbers("-")
    ([28.81, -0.32], [], [])
    """
    return [float(text.replace("−", "-")) for text in NUMBER.findall(cell)]


def compare(before: Record, after: Record) -> tuple[list[Change], list[Key], list[Key]]:
    """What differs, in the order of `before`, and the cells that only one of the two has."""
    old, new = dict(cells(before)), dict(cells(after))
    changes = [
        Change(key, a, b)
        for key, values in old.items()
        for a, b in zip(values, new.get(key, []), strict=False)
        if a != b
    ]
    return changes, [key for key in old if key not in new], [key for key in new if key not in old]


def warnings(before: Record, after: Record) -> list[str]:
    """What makes the two runs hard to compare."""
    found = [
        f"the {what} has uncommitted changes: {record['commit'] or 'no commit'} does not name it"
        for what, record in (("first", before), ("second", after))
        if record["changed"]
    ]
    if before["machine"] != after["machine"]:
        found.append("the machines differ: compare scores, and of speed only ratios")
    if before["data"] != after["data"]:
        found.append("only one run had the data of DECONV_DATA: the pictures differ")
    if before["command"] != after["command"]:
        found.append("the commands differ")
    return found


def main() -> None:
    """Print the changes as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("before", type=Path, help="the earlier run")
    parser.add_argument("after", type=Path, help="the later run")
    parser.add_argument("--least", type=float, default=1, help="least change in per cent")
    parser.add_argument("--only", nargs="*", help="names of benchmarks; all otherwise")
    asked = parser.parse_args()
    try:
        before, after = load(asked.before), load(asked.after)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for name, record in (("before", before), ("after", after)):
        print(f"{name}: {record['commit']}, {record['date']}, {record['machine']}")
    for warning in warnings(before, after):
        print(f"note: {warning}")
    changes, lost, added = compare(before, after)
    if asked.only:
        changes = [change for change in changes if change.key.benchmark in asked.only]
    shown = [change for change in changes if abs(change.percent) >= asked.least]
    print(f"\n{len(shown)} numbers differ by {asked.least:g} % or more, {len(changes)} in all;")
    print(f"{len(lost)} cells only before, {len(added)} only after\n")
    columns = ("benchmark", "row", "column", "before", "after", "difference", "%")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for change in shown:
        key = change.key
        difference = f"{change.after - change.before:+.4g} | {change.percent:+.1f}"
        values = f"{change.before:g} | {change.after:g}"
        print(f"| {key.benchmark} | {key.row} | {key.column} | {values} | {difference} |")


if __name__ == "__main__":
    main()
