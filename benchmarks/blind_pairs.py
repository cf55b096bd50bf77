"""The tables of blind estimation on pictures whose truth is known: Levin's and Lai's.

Levin's are captured. Lai's are synthetic, circular and free of noise, so the common final step is
held back by its padded border; a periodic final step shows the error of the psf alone. Both are
measured, ``--circular`` prints the second.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import numpy as np

from benchmarks.blind_protocol import Pair, Score, compared, lai_pair, levin_pair, luma, scored
from benchmarks.blind_rows import (
    AUTO,
    Options,
    Row,
    Task,
    arguments,
    estimated,
    figure,
    mean,
    number,
    registered,
    show,
    values,
)
from benchmarks.protocol import DATA
from deconv import blind
from deconv.metrics import psf_similarity, success_rate
from deconv.progress import State

TRUE, BLURRED = "true kernel", "blurred input"
LEVIN, LAI = DATA / "pairs" / "levin2009", DATA / "pairs" / "lai2016"
PUBLISHED = DATA / "kernels" / "levin_published_estimates"


# --- Levin ---------------------------------------------------------------------------------------


def levin_tasks(options: Options) -> list[Task]:
    """All priors, the bounds and the published estimates, on every picture of the folder."""
    cases = [file.stem for file in sorted(options.levin.glob("im0?_ker0?.mat"))]
    published = sorted(folder.name for folder in PUBLISHED.glob("BD_*"))
    methods = [TRUE, *options.methods(registered()), *published, BLURRED]
    return [Task("levin", method, case) for method in methods for case in cases]


def levin_measure(task: Task, options: Options) -> Row:
    """One method on one picture of Levin's."""
    pair = levin_pair(options.levin / f"{task.case}.mat")
    if task.method.startswith("BD_"):
        image, kernel = task.case[3], task.case[-1]
        files = [*(PUBLISHED / task.method).glob(f"k_{kernel}_im_{image}_*.png")]
        if not files:
            return {"note": "not published"}
        # The published files are turned by 180 degrees, as Levin's own psfs are.
        return _of(pair, luma(files[0])[::-1, ::-1])
    return _measured(pair, task.method)


def levin_show(rows: list[Row], options: Options) -> None:
    """One line per method."""
    known = {row["case"]: number(row, "ssd") for row in rows if row["method"] == TRUE}
    columns = ["method", "n", "PSNR, dB", "error ratio, mean", "worst", "success at 2"]
    columns += ["psf similarity", "CPU, s"]
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        ratios = np.array([number(row, "ssd") / known[row["case"]] for row in own])
        there = int(np.isfinite(ratios).sum())
        lines.append(
            [
                method.removeprefix("BD_").replace("_", " ") if method[:3] == "BD_" else method,
                f"{there}/{len(own)}",
                figure(mean(values(own, "psnr"))),
                figure(mean(ratios)),
                figure(float(np.nanmax(ratios)) if there else np.nan),
                f"{success_rate(ratios):.0%}",
                figure(mean(values(own, "similarity")), 3),
                figure(mean(values(own, "cpu"))),
            ]
        )
    show("Levin et al. 2009, images as in the folder, one common final step", columns, lines)
    _failures(rows)


# --- Lai -----------------------------------------------------------------------------------------


def lai_tasks(options: Options) -> list[Task]:
    """The automatic choice beside L0 alone."""
    cases = [file.stem for file in sorted((LAI / "blurred").glob("*_kernel_*.png"))]
    methods = [TRUE, *options.methods((AUTO, "l0")), BLURRED]
    return [Task("lai", method, case) for method in methods for case in cases]


def lai_measure(task: Task, options: Options) -> Row:
    """One method on one picture of Lai's, with both final steps."""
    return _measured(lai_pair(LAI, task.case), task.method, periodic=True)


def lai_show(rows: list[Row], options: Options) -> None:
    """One line per picture, then one per kind."""
    ending = "_periodic" if options.periodic else ""
    known = {row["case"]: number(row, "ssd" + ending) for row in rows if row["method"] == TRUE}
    step = "periodic final step" if options.periodic else "padded final step"
    methods = list(dict.fromkeys(row["method"] for row in rows if row["method"] in _tried(rows)))
    cell = {(row["method"], row["case"]): row for row in rows}

    def ratio(method: str, case: str) -> float:
        return number(cell[method, case], "ssd" + ending) / known[case]

    columns = ["picture", f"{TRUE}, dB", f"{BLURRED}, dB"]
    for method in methods:
        columns += [f"{method}: dB", "error ratio", "similarity", "picked", "CPU, s"]
    lines = []
    for case in known:
        line = [case, *(figure(number(cell[m, case], "psnr" + ending)) for m in (TRUE, BLURRED))]
        for method in methods:
            row = cell[method, case]
            line += [figure(number(row, "psnr" + ending)), figure(ratio(method, case))]
            line += [figure(number(row, "similarity"), 3), row.get("prior") or "–"]
            line += [figure(number(row, "cpu"), 1)]
        lines.append(line)
    show(f"Lai et al. 2016, {step}", columns, lines)

    columns = ["kind"]
    for method in methods:
        columns += [f"{method}: dB", "error ratio, mean", "success at 2", "picked"]
    kinds = list(dict.fromkeys(case.partition("_")[0] for case in known))
    lines = []
    for kind in [*kinds, "all"]:
        cases = [case for case in known if kind in ("all", case.partition("_")[0])]
        line = [kind]
        for method in methods:
            own = [cell[method, case] for case in cases]
            ratios = np.array([ratio(method, case) for case in cases])
            picked = dict.fromkeys(row["prior"] for row in own if row.get("prior"))
            line += [figure(mean(values(own, "psnr" + ending))), figure(mean(ratios))]
            line += [f"{int((ratios <= 2).sum())}/{len(cases)}", ", ".join(picked) or "–"]
        lines.append(line)
    show(f"Lai et al. 2016 by kind, {step}", columns, lines)
    _failures(rows)


def _tried(rows: Iterable[Row]) -> set[str]:
    return {row["method"] for row in rows} - {TRUE, BLURRED}


# --- both ----------------------------------------------------------------------------------------


def _measured(pair: Pair, method: str, *, periodic: bool = False) -> Row:
    """A bound or an estimator on a pair."""
    if method == BLURRED:
        score = compared(pair, pair.blurred)
        return _row(score, score if periodic else None)
    if method == TRUE:
        return _of(pair, pair.psf, periodic=periodic)
    image = pair.blurred.astype(np.float32)
    if method != AUTO or not periodic:
        psf, cpu = estimated(image, method)
        return {**_of(pair, psf, periodic=periodic), "cpu": cpu}
    # Which prior was picked is told with the restored picture only, whose making ends at once.
    start = time.process_time()
    end = math.nan

    def stop(state: State) -> None:
        nonlocal end
        if state.n_iter is not None:
            end = time.process_time()
            raise StopIteration

    found = blind.deblur(image, **arguments(method), callback=stop)
    cpu = (time.process_time() if math.isnan(end) else end) - start
    said = {"prior": found.prior, "blurred": found.blurred, "note": found.message}
    return {**_of(pair, found.psf, periodic=True), "cpu": cpu, **said}


def _of(pair: Pair, psf: np.ndarray, *, periodic: bool = False) -> Row:
    """The scores of a psf."""
    both = scored(pair, psf), scored(pair, psf, periodic=True) if periodic else None
    return {**_row(*both), "similarity": psf_similarity(psf, pair.psf)}


def _row(score: Score, periodic: Score | None) -> Row:
    row: Row = {"psnr": score.psnr, "ssd": score.ssd}
    if periodic is not None:
        row |= {"psnr_periodic": periodic.psnr, "ssd_periodic": periodic.ssd}
    return row


def _failures(rows: Iterable[Row]) -> None:
    """What ended in an error, below the table."""
    for row in rows:
        if not row.get("ssd") and row.get("note") != "not published":
            print(f"- {row['method']}, {row['case']}: {row.get('note')}")
