"""The figures: pictures side by side with the psf enlarged, and how solvers converge."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deconv import io
from deconv.progress import History

__all__ = ["before_after", "convergence"]

# Inches of a picture's longer side and of the column with the psf, at this many dots per inch.
PICTURE, COLUMN, DPI = 4.2, 1.7, 110


def before_after(
    pictures: Mapping[str, Any],
    psf: Any = None,
    *,
    notes: Sequence[str] = (),
    white: float | None = None,
    columns: int | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Pictures under their titles in a grid, and beside them the psf and notes.

    Parameters
    ----------
    pictures : mapping of str to array (Y, X) or (Y, X, 3)
        Title and picture, in reading order.
    psf : array (Y, X), optional
        Shown enlarged, its brightest pixel white; of a 3-D psf the sum along depth.
    notes : sequence of str
        Lines of text below the psf.
    white : float, optional
        The value shown as white; the largest of an integer type, 1 for floats.
    columns : int, optional
        Pictures per row; all in one row unless there are more than three.
    path : path, optional
        Where to save the figure, whole or not at all.

    Returns
    -------
    matplotlib.figure.Figure
        Made without pyplot, so that no window, back-end or global state is touched.

    Raises
    ------
    ValueError
        If there is no picture, or one is not (Y, X) or (Y, X, 3).

    Examples
    --------
    >>> from skimage import data
    >>> import deconv
    >>> from deconv import figures
    >>> coins, kernel = data.coins(), deconv.psf.gaussian(1.5)
    >>> pictures = {"coins": coins, "restored": deconv.wiener(coins / 255, kernel)}
    >>> figure = figures.before_after(pictures, kernel, notes=["Wiener"])
    >>> [axes.get_title() for axes in figure.axes][:2]
    ['coins', 'restored']
    """
    shown = {title: _displayed(picture, title, white) for title, picture in pictures.items()}
    if not shown:
        raise ValueError("pictures is empty; expected at least one title with its picture")
    from matplotlib.figure import Figure

    columns = columns or (len(shown) if len(shown) <= 3 else math.ceil(len(shown) / 2))
    rows = math.ceil(len(shown) / columns)
    height, width = next(iter(shown.values())).shape[:2]
    scale = PICTURE / max(height, width)
    aside = COLUMN if psf is not None or notes else 0.0
    size = (columns * width * scale + aside, rows * (height * scale + 0.3))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    ratios = [width * scale] * columns + ([aside] if aside else [])
    grid = figure.add_gridspec(rows, len(ratios), width_ratios=ratios)
    for place, (title, picture) in enumerate(shown.items()):
        axes = figure.add_subplot(grid[divmod(place, columns)])
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="none")
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    if aside:
        axes = figure.add_subplot(grid[:, -1])
        axes.set_axis_off()
        if psf is not None:
            _draw_psf(axes, np.asarray(psf))
        text = "\n".join(notes)
        axes.text(0.02, 0.5, text, fontsize=8, va="top", linespacing=1.5, transform=axes.transAxes)
    if path is not None:
        with io.atomic(path) as temporary:
            figure.savefig(temporary)
    return figure


def convergence(
    histories: Mapping[str, History], *, path: str | os.PathLike[str] | None = None
) -> Any:
    """Objective and change of the image over the iterations, one line per solver.

    Parameters
    ----------
    histories : mapping of str to History
        Label and what the solver's `callback` recorded. Each objective is drawn relative to its
        least, on a logarithmic axis, since solvers minimise different ones.
    path : path, optional
        Where to save the figure, whole or not at all.

    Returns
    -------
    matplotlib.figure.Figure
        Made without pyplot.

    Raises
    ------
    ValueError
        If there is no history, or one has recorded nothing.

    Examples
    --------
    >>> import numpy as np, deconv
    >>> from deconv import figures
    >>> history = deconv.progress.History()
    >>> step, kernel = np.repeat([0.0, 1.0], 32), deconv.psf.gaussian(2, ndim=1)
    >>> _ = deconv.tv(step, kernel, lam=1e-3, callback=history)
    >>> figure = figures.convergence({"total variation": history})
    >>> len(figure.axes)
    2
    """
    empty = [name for name, history in histories.items() if not history.iterations]
    if not histories or empty:
        raise ValueError(f"histories without an iteration: {empty or 'all, there are none'}")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 * PICTURE, 0.8 * PICTURE), dpi=DPI, layout="constrained")
    fall, change = figure.subplots(1, 2)
    for name, history in histories.items():
        seconds = history.seconds[-1]
        label = f"{name}: {len(history.iterations)} iterations, {seconds:.2g} s"
        change.semilogy(history.iterations, history.changes, marker=".", label=label)
        values = [v for v in history.objectives if v is not None]
        if len(values) == len(history.iterations) > 0:
            least = min(values)
            fall.plot(history.iterations, [v / least for v in values], marker=".", label=name)
    fall.set(xlabel="iteration", ylabel="objective over its least", title="objective")
    change.set(xlabel="iteration", ylabel="relative change", title="change of the image")
    change.legend(fontsize=8)
    if path is not None:
        with io.atomic(path) as temporary:
            figure.savefig(temporary)
    return figure


def _displayed(picture: Any, title: str, white: float | None) -> np.ndarray:
    pixels = np.asarray(picture)
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3)):
        raise ValueError(
            f"the picture {title!r} has shape {pixels.shape}; expected (Y, X) or (Y, X, 3)"
        )
    if white is None:
        white = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind in "iu" else 1.0
    return np.clip(pixels / white, 0, 1)


def _draw_psf(axes: Any, psf: np.ndarray) -> None:
    """The psf in a square frame at the top of `axes`, each of its pixels a visible square."""
    shape = " × ".join(map(str, psf.shape))
    flat = psf.sum(axis=0) if psf.ndim == 3 else np.atleast_2d(psf)
    side = max(flat.shape)
    spare = [side - n for n in flat.shape]
    square = np.pad(flat, [(n // 2, n - n // 2) for n in spare])
    frame = axes.inset_axes((0.02, 0.56, 0.96, 0.36))
    frame.imshow(square / (square.max() or 1), cmap="gray", interpolation="nearest")
    frame.set(xticks=[], yticks=[], anchor="SW")
    frame.set_title(f"psf, {shape} px", fontsize=9, loc="left")
