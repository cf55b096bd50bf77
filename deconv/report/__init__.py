"""The comparison report: pictures through every method, judged, in one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deconv.report.run import Comparison

__all__ = ["compare"]

# Bytes that all pictures of a page together take, before they grow by a third as text.
BUDGET = 13_000_000
LEAST_BUDGET = 12_000


def compare(
    source: str | PathLike[str],
    out: str | PathLike[str],
    *,
    truth: str | PathLike[str] | None = None,
    psf: str | None = None,
    methods: str | Sequence[str] | None = None,
    crop: tuple[slice, slice] | None = None,
    blind: bool = False,
    linear: bool | None = None,
    overwrite: bool = False,
    tell: Callable[[str], Any] | None = None,
) -> list[Comparison]:
    """Restore pictures by every method, score the results, and write a report.

    A method that needs a psf gets the one given, or the one that is found blind, once for each
    picture. One that fails is a row with its reason. Needs Jinja2.

    Parameters
    ----------
    source : path
        A picture, or a folder of them.
    out : path
        The report, which ends in .html; its folder exists.
    truth : path, optional
        The sharp picture, or a folder with pictures of the same stem. Some scores need it.
    psf : str, optional
        As ``deconv deblur --psf`` takes it, or a folder with files of the same stem.
    methods : str or sequence of str, optional
        Names, with commas between them or as a list; every method of the registry when None.
    crop : (slice, slice), optional
        Rows and columns to show, in full resolution. Restored and scored is the whole picture.
    blind : bool
        Whether to find the psf blind as well where it is given: there are then two rows for each
        method that needs one, and the psf found is compared with the one given.
    linear : bool, optional
        Whether to restore in linear light; None does so for photographs.
    overwrite : bool
        Whether `out` may be replaced.
    tell : callable, optional
        Is told in one line what is being done.

    Returns
    -------
    list of Comparison
        One for each picture: scores, costs, histories and commands of each row, without pixels.

    Raises
    ------
    FileNotFoundError
        For files and folders that do not exist.
    ValueError
        For an unknown method, a psf that is none, or an `out` that does not end in .html or exists
        already. What is wrong with one picture is the `error` of its comparison.
    ImportError
        If Jinja2 is not installed.

    Examples
    --------
    >>> import tempfile, numpy as np, deconv, deconv.io
    >>> from deconv.report import compare
    >>> from skimage import data
    >>> sharp = data.camera()[128:256, 128:256] / 255
    >>> A = deconv.Blur(deconv.psf.motion(7, 30), sharp.shape, boundary="periodic")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     deconv.io.write(f"{folder}/in.tif", A(sharp).astype(np.float32))
    ...     found, = compare(f"{folder}/in.tif", f"{folder}/report.html", psf="motion:7,30",
    ...                      methods="wiener")
    >>> [row.name for row in found.rows]
    ['as it is', 'wiener']
    """
    from deconv.report.cases import cases, chosen

    out = Path(out)
    _check(out, overwrite)
    wanted = chosen(methods)
    found = cases(Path(source), None if truth is None else Path(truth), psf)
    say = tell or (lambda text: None)
    from deconv import io
    from deconv.report.page import render, section, summary
    from deconv.report.panels import Encoder
    from deconv.report.run import Settings, compared
    from deconv.report.scores import available

    scores, missing = available()
    settings = Settings(wanted, scores, linear, blind, crop, say)
    each = BUDGET // (len(found) * (len(wanted) * (2 if blind else 1) + 2))
    encode = Encoder(budget=max(LEAST_BUDGET, min(400_000, each)), crop=crop)
    results, sections = [], []
    for case in found:
        result = compared(case, settings)
        sections.append(section(result, scores, encode))
        for row in result.rows:
            row.pixels = row.residual = None
        result.truth = None
        results.append(result)
    table = summary(results, scores) if len(results) > 1 else []
    facts = _facts(source, truth, psf, linear)
    page = render(sections, table, scores, missing, facts)
    with io.atomic(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return results


def _check(out: Path, overwrite: bool) -> None:
    """Refuse before any work what could not be written, or not be laid out."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"out={str(out)!r}; expected a file that ends in .html")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"the folder {out.parent} of out does not exist")
    if out.exists() and not overwrite:
        raise ValueError(
            f"out={str(out)!r} exists; pass overwrite=True (--overwrite) to replace it"
        )
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'a report needs Jinja2 ({error}): pip install "deconv[report]"'
        ) from error


def _facts(source: Any, truth: Any, psf: str | None, linear: bool | None) -> list[str]:
    light = {None: "linear light for photographs", True: "linear light", False: "stored values"}
    given = [f"pictures: {source}"]
    given += [f"{name}: {value}" for name, value in (("truth", truth), ("psf", psf)) if value]
    if psf is None:
        given.append("psf: found blind, once for each picture")
    return ["; ".join([*given, light[linear]])]
