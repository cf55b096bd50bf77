"""The figure of a number that varies over a picture: the picture, and the same in colours."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from deconv import io

__all__ = ["heat_map"]

# Inches of a picture's longer side, dots per inch, and pixels of it that can be seen at these.
PICTURE, DPI, SEEN = 5.0, 130, 1000
# From blue to red over pale yellow, told apart by the colour-blind too, and none of them grey.
COLOURS, UNDECIDED = "RdYlBu_r", "0.6"
OPACITY, PALE = 0.6, 0.45


def heat_map(
    picture: Any,
    values: Any,
    side: float,
    *,
    title: str = "",
    label: str = "",
    limit: float = 1.0,
    ends: tuple[str, str] = ("", ""),
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """A picture, and beside it or below the same with a colour over each of its tiles.

    Parameters
    ----------
    picture : array (Y, X) or (Y, X, 3)
        Black is 0; white the largest value of an integer type, 1 for floats.
    values : array (h, w)
        A number for each tile, NaN where there is none: such tiles are grey.
    side : float
        Side of a tile in pixels. The last tiles may reach beyond the picture.
    title, label : str
        Above the figure, and beside the colour bar.
    limit : float
        The colours reach from ``-limit`` to `limit`.
    ends : tuple of two str
        What the lowest and the highest colour mean.
    path : path, optional
        Where to save the figure, whole or not at all.

    Returns
    -------
    matplotlib.figure.Figure
        Made without pyplot.

    Raises
    ------
    ValueError
        If the picture has another shape, or the tiles do not cover it.

    Examples
    --------
    >>> from skimage import data
    >>> from deconv.heat_map import heat_map
    >>> values = [[0.5, -1.0], [0.0, 1.0]]
    >>> figure = heat_map(data.coins()[:256, :256], values, 128, label="sharpness")
    >>> len(figure.axes)
    3
    """
    pixels, tiles = np.asarray(picture), np.asarray(values, dtype=float)
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3)):
        raise ValueError(f"picture has shape {pixels.shape}; expected (Y, X) or (Y, X, 3)")
    height, width = pixels.shape[:2]
    expected = (math.ceil(height / side), math.ceil(width / side))
    # A tile more or less, where the picture was shrunk to whole pixels.
    if tiles.ndim != 2 or max(abs(np.subtract(tiles.shape, expected))) > 1:
        raise ValueError(
            f"values has shape {tiles.shape}; expected {expected}: tiles of {side:g} pixels over "
            f"{height} x {width}"
        )
    from matplotlib.figure import Figure

    # Beside each other if that makes the squarer figure.
    rows = 2 if width > 1.3 * height else 1
    scale = PICTURE / max(height, width)
    size = (width * scale * (3 - rows) + 1.1, height * scale * rows + 0.5)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    plain, coloured = figure.subplots(rows, 3 - rows)
    shown = _displayed(pixels)
    frame = (0, width, height, 0)
    plain.imshow(shown, cmap="gray", vmin=0, vmax=1, extent=frame)
    grey = shown if shown.ndim == 2 else shown.mean(axis=-1)
    # Paler, so that the colours over it are those of the bar.
    coloured.imshow(PALE + (1 - PALE) * grey, cmap="gray", vmin=0, vmax=1, extent=frame)
    drawn = _colour(coloured, tiles, side, limit)
    for axes in (plain, coloured):
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
    bar = figure.colorbar(
        drawn, ax=[plain, coloured], extend="both", extendfrac=0.02, aspect=30, pad=0.02
    )
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    for place, align, end in ((-0.04, "top", ends[0]), (1.04, "bottom", ends[1])):
        bar.ax.text(0.5, place, end, ha="center", va=align, fontsize=9, transform=bar.ax.transAxes)
    figure.suptitle(title, fontsize=10)
    if path is not None:
        with io.atomic(path) as temporary:
            figure.savefig(temporary)
    return figure


def _colour(axes: Any, tiles: np.ndarray, side: float, limit: float) -> Any:
    """Draw the tiles over a picture, those without a number in grey."""
    from matplotlib import colormaps

    over = (0, tiles.shape[1] * side, tiles.shape[0] * side, 0)
    colours = colormaps[COLOURS].with_extremes(bad=UNDECIDED)
    return axes.imshow(
        np.ma.masked_invalid(tiles),
        cmap=colours,
        vmin=-limit,
        vmax=limit,
        alpha=OPACITY,
        extent=over,
        interpolation="nearest",
    )


def _displayed(pixels: np.ndarray) -> np.ndarray:
    """On [0, 1] and no larger than can be seen."""
    step = max(1, max(pixels.shape[:2]) // SEEN)
    white = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind in "iu" else 1.0
    height, width = (n // step * step for n in pixels.shape[:2])
    total = np.zeros((height // step, width // step, *pixels.shape[2:]), np.float32)
    # Every step-th pixel alone would make false patterns of fine ones.
    for y in range(step):
        for x in range(step):
            total += pixels[y:height:step, x:width:step]
    shown: np.ndarray = np.clip(total / (white * step**2), 0, 1)
    return shown
