"""The page itself: what was compared, laid out by a template into one file that needs no other."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

import numpy as np

from deconv.methods import Method
from deconv.report.charts import COLOURS, Line, chart
from deconv.report.panels import (
    Encoder,
    psf_panel,
    radial,
    residual_panel,
    spectrum,
    spectrum_panel,
)
from deconv.report.run import Comparison, Row
from deconv.report.scores import Score

__all__ = ["render", "section", "summary"]

LIBRARIES = ("numpy", "scipy", "torch")


def section(result: Comparison, scores: Sequence[Score], encode: Encoder) -> dict[str, Any]:
    """What the template needs of one picture; its pictures become text here."""
    rows = [_row(row, scores, index) for index, row in enumerate(result.rows)]
    _mark_best(rows, scores)
    pictures, panels = _pictures(result, encode)
    height, width = _shown_shape(result, encode)
    return {
        "name": result.case.source.name,
        "path": str(result.case.source),
        "truth": None if result.case.truth is None else str(result.case.truth),
        "notes": result.notes,
        "error": result.error,
        "rows": rows,
        "width": width,
        "height": height,
        "psfs": _psfs(result),
        "data": _json({"pictures": pictures, "panels": panels}),
        "thumbnail": _thumbnail(result, encode),
        "charts": _charts(result),
        "best": next((r["name"] for r in rows[1:] if r["leads"]), None),
    }


def summary(results: Sequence[Comparison], scores: Sequence[Score]) -> list[dict[str, Any]]:
    """One row per method: the mean of each score over the pictures that have it."""
    named: dict[str, list[Row]] = {}
    for result in results:
        for row in result.rows:
            named.setdefault(row.name, []).append(row)
    table = []
    for index, (name, rows) in enumerate(named.items()):
        mean = Row(name, rows[0].method)
        for score in scores:
            values = [row.scores[score.name] for row in rows if score.name in row.scores]
            finite = [value for value in values if math.isfinite(value)]
            if finite:
                mean.scores[score.name] = float(np.mean(finite))
        line = _row(mean, scores, index)
        costs = [row.cost for row in rows if row.cost is not None]
        line["seconds"] = float(np.mean([c.seconds for c in costs])) if costs else None
        sizes = [c.memory for c in costs if c.memory is not None]
        line["memory"] = max(sizes) / 2**20 if sizes else None
        line["failed"] = sum(row.error is not None for row in rows)
        line["count"] = len(rows)
        table.append(line)
    _mark_best(table, scores)
    return table


def render(
    sections: Sequence[Mapping[str, Any]],
    table: Sequence[Mapping[str, Any]],
    scores: Sequence[Score],
    missing: Mapping[str, str],
    facts: Iterable[str] = (),
) -> str:
    """The page as HTML.

    Raises
    ------
    ImportError
        If Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise ImportError(
            f'a report needs Jinja2 ({error}): pip install "deconv[report]"'
        ) from error
    environment = Environment(
        loader=FunctionLoader(_part),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals.update(
        style=Markup(_part("style.css")), script=Markup(_part("script.js")), raw=Markup
    )
    shown = {cell["name"] for part in sections for row in part["rows"] for cell in row["cells"]}
    page: str = environment.get_template("template.html").render(
        sections=sections,
        summary=table,
        scores=[score for score in scores if score.name in shown],
        missing=missing,
        facts=[*facts, _machine()],
    )
    return page


def _part(name: str) -> str:
    return files("deconv.report").joinpath(name).read_text(encoding="utf-8")


def _machine() -> str:
    parts = [f"Python {platform.python_version()}"]
    for name in ("deconv", *LIBRARIES):
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return f"{platform.system()} {platform.machine()}, {', '.join(parts)}"


def _row(row: Row, scores: Sequence[Score], index: int) -> dict[str, Any]:
    cells = [
        {
            "name": score.name,
            "value": row.scores.get(score.name),
            "sort": _sortable(row.scores.get(score.name)),
            "text": number_text(row.scores.get(score.name), score.digits),
            "why": row.failed.get(score.name, ""),
            "best": False,
        }
        for score in scores
    ]
    cost = row.cost
    return {
        "name": row.name,
        "summary": row.method.summary if row.method else "",
        "colour": index % COLOURS,
        "cells": cells,
        "seconds": None if cost is None else cost.seconds,
        "memory": None if cost is None or cost.memory is None else cost.memory / 2**20,
        "parameters": _parameters(row),
        "shell": row.recipe.shell if row.recipe else "",
        "python": row.recipe.python if row.recipe else "",
        "notes": row.notes,
        "error": row.error,
        "lead": "",
        "leads": False,
    }


def number_text(value: float | None, digits: int) -> str:
    """A number as the table shows it.

    >>> number_text(31.256, 2), number_text(None, 2), number_text(math.inf, 2)
    ('31.26', '–', '∞')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}f}".replace("-", "−")


def _sortable(value: float | None) -> str | None:
    """A number as JavaScript reads it."""
    return None if value is None else str(value).replace("inf", "Infinity")


def _parameters(row: Row) -> str:
    """The parameters of a method as they were, those told to it first."""
    method: Method | None = row.method
    if method is None:
        return ""
    told = (row.recipe.parameters if row.recipe else None) or {}
    values = {parameter.name: parameter.default for parameter in method.parameters} | told
    names = [*told, *(name for name in values if name not in told)]
    return ", ".join(f"{n}={'auto' if values[n] is None else values[n]}" for n in names)


def _mark_best(rows: Sequence[dict[str, Any]], scores: Sequence[Score]) -> None:
    """Mark the best of each column; drop the columns that are empty.

    Where there is a truth, the first score is shown with the picture and says which row is best.
    """
    for place, score in enumerate(scores):
        # The picture as it is has not been restored, and does not compete.
        cells = [row["cells"][place] for row in rows[1:]]
        values = [cell["value"] for cell in cells if cell["value"] is not None]
        if len(values) < 2:
            continue
        best = max(values) if score.better > 0 else min(values)
        for cell in cells:
            cell["best"] = cell["value"] == best
    held = [any(row["cells"][i]["value"] is not None for row in rows) for i in range(len(scores))]
    for row in rows:
        row["cells"] = [cell for cell, kept in zip(row["cells"], held, strict=True) if kept]
        first = row["cells"][0] if row["cells"] else None
        if first is not None and first["name"] == scores[0].name:
            row["lead"], row["leads"] = f"{first['name']} {first['text']}", first["best"]


def _pictures(result: Comparison, encode: Encoder) -> tuple[list[Any], dict[str, Any]]:
    """Data URIs of the rows' pictures, the truth last, and those of the panels by row."""
    pictures: list[str | None] = [
        None if row.pixels is None else encode(row.pixels) for row in result.rows
    ]
    panels: dict[str, Any] = {}
    if result.truth is not None and result.rows:
        pictures.append(encode(result.truth))
    spectra = {i: spectrum(pixels) for i, pixels, _ in _restored(result)}
    if not spectra:
        return pictures, panels
    low, high = np.percentile(np.stack(list(spectra.values())), (5, 99.9))
    # By the median of their deviations one wild residual does not blacken the others.
    spread = [float(r.residual.std()) for r in result.rows[1:] if r.residual is not None]
    unit = float(np.median(spread)) if spread else 1.0
    for i, _, row in _restored(result):
        panels[f"spectrum-{i}"] = spectrum_panel(spectra[i], float(low), float(high))
        if row.residual is not None:
            panels[f"residual-{i}"] = residual_panel(row.residual, unit)
    return pictures, panels


def _restored(result: Comparison) -> list[tuple[int, np.ndarray, Row]]:
    rows = enumerate(result.rows)
    return [(i, row.pixels, row) for i, row in rows if row.pixels is not None]


def _shown_shape(result: Comparison, encode: Encoder) -> tuple[int, int]:
    if not result.rows or result.rows[0].pixels is None:
        return 1, 1
    pixels = result.rows[0].pixels
    height, width = (pixels if encode.crop is None else pixels[encode.crop]).shape[:2]
    return height, width


def _thumbnail(result: Comparison, encode: Encoder) -> str:
    if not result.rows or result.rows[0].pixels is None:
        return ""
    return Encoder(120, 6000, encode.crop)(result.rows[0].pixels)


def _psfs(result: Comparison) -> list[dict[str, str]]:
    named = {"psf given": result.psf, "psf found blind": result.psf_found}
    return [
        {"name": f"{name}, {' × '.join(map(str, psf.shape))} px", "uri": psf_panel(psf)}
        for name, psf in named.items()
        if psf is not None
    ]


def _charts(result: Comparison) -> list[dict[str, Any]]:
    """How the solvers converged, and how strong each restoration is at each frequency."""
    fall, change, power = [], [], []
    for i, row in enumerate(result.rows):
        history = row.history
        steps = [float(step) for step in history.iterations]
        change.append(Line(row.name, steps, history.changes, i))
        values = [v for v in history.objectives if v is not None]
        if len(values) == len(steps) > 1 and values[0] > min(values):
            least, most = min(values), values[0]
            fall.append(Line(row.name, steps, [(v - least) / (most - least) for v in values], i))
        if row.pixels is not None:
            f, mean = radial(spectrum(row.pixels))
            power.append(Line(row.name, list(f), list(mean), i))
    if result.truth is not None and result.rows:
        f, mean = radial(spectrum(result.truth))
        power.append(Line("truth", list(f), list(mean), COLOURS - 1))
    drawn = [
        ("How the picture settles", chart(change, "iteration", "relative change", True, True)),
        ("How the objective falls", chart(fall, "iteration", "above its least, from 1", True)),
        ("What is left at each frequency", chart(power, "cycles per pixel", "log10 power")),
    ]
    legends = ([*change], fall, power)
    return [
        {"title": title, "svg": svg, "legend": _legend(lines)}
        for (title, svg), lines in zip(drawn, legends, strict=True)
        if svg
    ]


def _legend(lines: Sequence[Line]) -> list[dict[str, Any]]:
    drawn = [line for line in lines if any(map(math.isfinite, line.y))]
    return [{"name": line.name, "colour": line.colour % COLOURS} for line in drawn]


def _json(value: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(value).replace("<", "\\u003c")
