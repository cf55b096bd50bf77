"""The command ``deconv compare``: every method on a picture or a folder, in one HTML report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["compare", "crop_slices"]


def compare(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A picture, or a folder of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The report, a file .html.")],
    truth: Annotated[
        Path | None,
        typer.Option(help="The sharp picture, or a folder of pictures with the names of IN's."),
    ] = None,
    psf: Annotated[
        str | None,
        typer.Option(
            help="As of deconv deblur, or a folder of psf files with the names of IN's pictures; "
            "found from each picture when left out."
        ),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Some of: deconv methods. Default: all.")
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,WIDTH,HEIGHT",
            help="Show this part, in full resolution; scores are of the whole picture.",
        ),
    ] = None,
    blind: Annotated[
        bool,
        typer.Option("--blind", help="Find the psf blind as well, and compare it with --psf."),
    ] = False,
    linear: Annotated[
        bool | None,
        typer.Option(
            "--linear/--no-linear",
            help="Restore in linear light; the default does so for photographs.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a report that exists.")
    ] = False,
    progress: Annotated[
        bool | None, typer.Option(help="Say what is being done; the default does on a terminal.")
    ] = None,
) -> None:
    """Restore by every method, score the results, and write one HTML page that shows them.

    The page needs no network: sliders, psfs, residuals, spectra, convergence, and a table with
    the command that makes each row again. A method that fails is a row with its reason.
    """
    from deconv.report import compare as report

    talk = sys.stderr.isatty() if progress is None else progress
    results = report(
        source,
        out,
        truth=truth,
        psf=psf,
        methods=methods,
        crop=None if crop is None else crop_slices(crop),
        blind=blind,
        linear=linear,
        overwrite=overwrite,
        tell=_say if talk else None,
    )
    failed = [r for r in results if r.error is not None]
    for result in failed:
        _say(f"{result.case.source}: {result.error}")
    rows = [row for result in results for row in result.rows[1:]]
    lost = sum(row.error is not None for row in rows)
    _say(f"{out}: {len(results) - len(failed)} pictures, {len(rows)} rows, {lost} of them failed")
    if failed:
        raise typer.Exit(1)


def crop_slices(text: str) -> tuple[slice, slice]:
    """Rows and columns of ``x,y,width,height``."""
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--crop {text!r}; expected x,y,width,height in whole pixels") from None
    if min(x, y) < 0 or min(width, height) < 1:
        raise ValueError(f"--crop {text!r}; expected a corner inside and a size above 0")
    return slice(y, y + height), slice(x, x + width)


def _say(message: str) -> None:
    print("deconv:", " ".join(message.split()), file=sys.stderr)
