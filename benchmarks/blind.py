r"""Blind estimation: the tables of docs/blind.md.

Levin's captured pairs over all priors, with the published estimates; Lai's synthetic ones, the
automatic choice beside L0 alone; blur planted in scikit-image's pictures, the same pictures sharp
and some without hope; times and memory; a contact sheet of real photographs. What data is not at
hand is left out, saying so.

    export OMP_NUM_THREADS=1 DECONV_THREADS=1
    python -m benchmarks.blind --csv blind.csv                    # all tables but the sheet
    python -m benchmarks.blind --only levin --priors l0,auto      # some
    python -m benchmarks.blind --only levin --levin ~/levin2009   # the full set, im0?_ker0?.mat
    python -m benchmarks.blind --only lai --circular              # the error of the psfs alone
    python -m benchmarks.blind --only sheet --sheet sheet.png     # real photographs
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.blind_pairs import (
    LAI,
    LEVIN,
    lai_measure,
    lai_show,
    lai_tasks,
    levin_measure,
    levin_show,
    levin_tasks,
)
from benchmarks.blind_planted import (
    hopeless_measure,
    planted_measure,
    planted_show,
    planted_tasks,
    sharp_measure,
    sharp_show,
    sharp_tasks,
)
from benchmarks.blind_rows import Measure, Options, Row, Task, completed, first, registered
from benchmarks.blind_sheet import sheet_measure, sheet_show, sheet_tasks
from benchmarks.blind_times import times_measure, times_show, times_tasks
from benchmarks.protocol import machine


class Table(NamedTuple):
    """The rows that a table needs, and how it is printed."""

    tasks: Callable[[Options], list[Task]]
    show: Callable[[list[Row], Options], None]


TABLES = {
    "levin": Table(levin_tasks, levin_show),
    "lai": Table(lai_tasks, lai_show),
    "planted": Table(planted_tasks, planted_show),
    "sharp": Table(sharp_tasks, sharp_show),
    "times": Table(times_tasks, times_show),
    "sheet": Table(sheet_tasks, sheet_show),
}
MEASURES: dict[str, Measure] = {
    "levin": levin_measure,
    "lai": lai_measure,
    "planted": planted_measure,
    "sharp": sharp_measure,
    "hopeless": hopeless_measure,
    "times": times_measure,
    "sheet": sheet_measure,
}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def main() -> None:
    """Measure what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=_names, default=tuple(TABLES), help=", ".join(TABLES))
    parser.add_argument("--priors", type=_names, default=(), help="names; a table's own otherwise")
    parser.add_argument("--box", type=int, help="psf_shape of single priors, found otherwise")
    parser.add_argument("--levin", type=Path, default=LEVIN, help="folder of im0?_ker0?.mat")
    parser.add_argument("--circular", action="store_true", help="Lai with a periodic final step")
    parser.add_argument("--sheet", type=Path, help="the contact sheet's file")
    parser.add_argument("--photographs", type=_names, default=(), help="folder/name, ... or all")
    parser.add_argument("--csv", type=Path, help="rows, read and added to")
    parser.add_argument("--quick", action="store_true", help="two cases of every table")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    given = parser.parse_args()
    for name in given.only:
        if name not in TABLES:
            parser.error(f"--only {name}: expected one of {', '.join(TABLES)}")
    for name in given.priors:
        if name not in registered():
            parser.error(f"--priors {name}: expected some of {', '.join(registered())}")
    if given.sheet is None and given.only == ("sheet",):
        parser.error("--only sheet needs --sheet FILE")
    options = Options(
        given.levin, given.priors, given.box, given.circular, given.sheet, given.photographs
    )
    print(machine())
    for name in given.only:
        if (name == "levin" and not options.levin.is_dir()) or (name == "lai" and not LAI.is_dir()):
            print(f"\n### {name}: its pictures are not at hand")
            continue
        tasks = TABLES[name].tasks(options)
        if given.quick:
            tasks = first(tasks, 2)
        if not tasks:
            continue
        # Times are measured one after the other, with the threads that a user has.
        jobs = 1 if name == "times" else given.jobs
        rows = completed(tasks, MEASURES, options, given.csv, jobs)
        TABLES[name].show(rows, options)


if __name__ == "__main__":
    main()
