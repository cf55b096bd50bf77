"""The rows behind the tables of `benchmarks.blind`: measured once, kept in a file, resumed."""

from __future__ import annotations

import csv
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import deconv
from deconv import blind

AUTO = "auto"
COLUMNS = (
    "table",
    "method",
    "case",
    "psnr",
    "ssd",
    "psnr_periodic",
    "ssd_periodic",
    "similarity",
    "change",
    "cpu",
    "wall",
    "memory",
    "prior",
    "blurred",
    "note",
)
Row = dict[str, Any]


class Options(NamedTuple):
    """What the command line asks for.

    `priors` are names; empty for each table's own choice. `box` is the psf_shape that single priors
    are given, in pixels; None leaves it to the library, as it is always left for "auto".
    """

    levin: Path
    priors: tuple[str, ...] = ()
    box: int | None = None
    periodic: bool = False
    sheet: Path | None = None
    photographs: tuple[str, ...] = ()

    def methods(self, default: Iterable[str]) -> list[str]:
        """Names of methods: priors, with the box they are given behind an @."""
        box = "" if self.box is None else f" @{self.box}"
        return [p if p == AUTO else p + box for p in self.priors or default]


class Task(NamedTuple):
    """One row to be measured."""

    table: str
    method: str
    case: str


Measure = Callable[[Task, Options], Row]


class Estimate(NamedTuple):
    """A psf, and the processor seconds that it took."""

    psf: np.ndarray
    cpu: float


def registered() -> list[str]:
    """Every prior by name, "auto" last."""
    return [*blind.PRIORS, AUTO]


def arguments(method: str) -> dict[str, Any]:
    """The library's arguments for the name of a method.

    >>> arguments("l0 @31")
    {'prior': 'l0', 'psf_shape': (31, 31)}
    """
    prior, _, box = method.partition(" @")
    return {"prior": prior, "psf_shape": (int(box), int(box)) if box else None}


def estimated(image: np.ndarray, method: str, channel_axis: int | None = None) -> Estimate:
    """The psf that a method finds."""
    start = time.process_time()
    psf = blind.estimate_psf(image, **arguments(method), channel_axis=channel_axis)
    return Estimate(np.asarray(psf), time.process_time() - start)


def first(tasks: Sequence[Task], count: int) -> list[Task]:
    """The first tasks of every method of every table."""
    seen: Counter[tuple[str, str]] = Counter()
    kept = []
    for task in tasks:
        seen[task.table, task.method] += 1
        if seen[task.table, task.method] <= count:
            kept.append(task)
    return kept


def completed(
    tasks: Sequence[Task],
    measures: dict[str, Measure],
    options: Options,
    path: Path | None,
    jobs: int,
) -> list[Row]:
    """The rows of all tasks; those in the file at `path` are not measured again, others added.

    A task that fails is a row whose note is the error.
    """
    from tqdm import tqdm

    rows: dict[Task, Row] = {}
    if path and path.exists():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                rows[Task(row["table"], row["method"], row["case"])] = row
    missing = [task for task in tasks if task not in rows]
    run = partial(_attempted, measures, options)
    bar = tqdm(total=len(missing), leave=False, disable=None)

    def keep(task: Task, row: Row) -> None:
        rows[task] = row
        if path:
            _append(path, row)
        bar.update()

    # One process is this one: errors and Ctrl-C are then plain.
    if jobs == 1:
        for task in missing:
            keep(task, run(task))
    elif missing:
        with ProcessPoolExecutor(jobs, initializer=deconv.fft.set_threads, initargs=(1,)) as pool:
            waiting = {pool.submit(run, task): task for task in missing}
            for future in as_completed(waiting):
                keep(waiting[future], future.result())
    bar.close()
    return [rows[task] for task in tasks]


def _attempted(measures: dict[str, Measure], options: Options, task: Task) -> Row:
    try:
        found = measures[task.table](task, options)
    # A night's run outlives whatever one picture does.
    except Exception as error:
        found = {"note": f"{type(error).__name__}: {error}"}
    return {**task._asdict(), **{name: _text(value) for name, value in found.items()}}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())


def _append(path: Path, row: Row) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        if new:
            writer.writeheader()
        writer.writerow(row)


def number(row: Row, name: str) -> float:
    """A column's value; NaN where there is none."""
    return float(row.get(name) or math.nan)


def values(rows: Iterable[Row], name: str) -> np.ndarray:
    """A column over some rows."""
    return np.array([number(row, name) for row in rows])


def mean(found: Sequence[float] | np.ndarray) -> float:
    """Over what is there; NaN if nothing is."""
    array = np.asarray(found, float)
    there = array[~np.isnan(array)]
    return float(there.mean()) if there.size else math.nan


def figure(value: float, digits: int = 2, unit: str = "") -> str:
    """A number of a table; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}{unit}"


def show(title: str, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n" + "|---" * len(columns) + "|")
    for line in lines:
        print(f"| {' | '.join(line)} |", flush=True)
