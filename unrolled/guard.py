"""What a network has painted that is no deblurring: the means of areas tell.

Blur spreads light over a few pixels, and deblurring puts it back: over an area larger than that,
the mean stays what it was. Networks far from what they were trained on fill areas with patterns,
black or white instead, and now and then with no number at all.
"""

from __future__ import annotations

import warnings

import numpy as np

__all__ = ["AREA", "GUARDS", "MOST", "Guard"]

GUARDS = ("keep", "warn", None)
# Side of the areas, and how far a mean may go, in parts of the picture's range. That is more than
# in the truth behind any of 40 photographs of BSDS500 blurred over 31 pixels by motion or defocus
# (0.12 at most, 0.20 where light was blurred and not the stored values), and twice what it is in
# 30 patches of GoPro (0.10). Blurred over 51 pixels, in linear light, one in ten goes further,
# 0.30 at most.
AREA, MOST = 49, 0.25


class Guard:
    """Compares restored tiles with what was observed, and keeps the latter where they part.

    Parameters
    ----------
    mode : {"keep", "warn", None}
        Whether observed pixels are kept there, or only a warning is given, or nothing is done.
    unit : float
        The picture's range.
    """

    def __init__(self, mode: str | None, unit: float) -> None:
        if mode not in GUARDS:
            raise ValueError(f"guard={mode!r}; expected 'keep', 'warn' or None")
        self.mode, self.unit = mode, unit or 1.0
        self.most, self.place, self.count, self.undefined = 0.0, (0, 0), 0, 0

    def __call__(self, x: np.ndarray, y: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
        """Restored planes (C, h, w) that begin at this corner of the picture, made sane.

        What is not finite is replaced by `y`, the observed planes, unless the mode is None.
        """
        if self.mode is None:
            return x
        lost = ~np.isfinite(x)
        if lost.any():
            self.undefined += int(lost.any(axis=0).sum())
            x = np.where(lost, y, x)
        away = self._away(x, y)
        wrong = away > MOST
        if not wrong.any():
            return x
        self.count += int(wrong.sum())
        if away.max() > self.most:
            self.most = float(away.max())
            at = np.unravel_index(int(away.argmax()), away.shape)
            self.place = (corner[0] + int(at[0]), corner[1] + int(at[1]))
        if self.mode == "warn":
            return x
        kept = _widened(wrong).astype(x.dtype)
        return (1 - kept) * x + kept * y

    def _away(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """How far the mean around each pixel has gone, in the channel where it has most."""
        away = np.zeros(x.shape[1:], np.float32)
        for restored, observed in zip(x, y, strict=True):
            # One pixel alone may not drown the running sums, but still count for its area.
            change = np.clip((restored - observed) / self.unit, -(AREA**2), AREA**2)
            np.maximum(away, np.abs(_mean(change.astype(np.float32))), out=away)
        return away

    def report(self, name: str, pixels: int) -> None:
        """Warn the caller's caller of what was found in a picture of so many pixels."""
        kept = "; the input is kept there" if self.mode == "keep" else ""
        if self.undefined:
            warnings.warn(
                f"{name} gave {self.undefined} pixels that are not finite; those of the input are "
                f"in their place",
                stacklevel=3,
            )
        if self.count:
            row, column = self.place
            warnings.warn(
                f"{name} changed the mean of {AREA} x {AREA} pixels around row {row}, column "
                f"{column} by {self.most:.2g} of the picture's range, and in "
                f"{100 * min(self.count / pixels, 1):.2g} % of it by more than {MOST}, which is no "
                f"deblurring{kept}",
                stacklevel=3,
            )


def _mean(plane: np.ndarray) -> np.ndarray:
    """The mean of the area around each pixel; near the edges, of the nearest whole one."""
    from scipy.ndimage import uniform_filter

    sides = [min(AREA, n - 1 + n % 2) for n in plane.shape]
    at = [
        np.arange(n).clip(s // 2, n - 1 - s // 2) for n, s in zip(plane.shape, sides, strict=True)
    ]
    means: np.ndarray = uniform_filter(plane, sides)[np.ix_(*at)]
    return means


def _widened(wrong: np.ndarray) -> np.ndarray:
    """1 where an area around a wrong place reaches, then falling to 0 over half an area."""
    from scipy.ndimage import maximum_filter, uniform_filter

    # Half an area to reach all that made the mean wrong, half for the slope to begin behind it.
    wide = maximum_filter(wrong, 2 * AREA - 1).astype(np.float32)
    slope = uniform_filter(wide, AREA)
    # Of what is kept out not even a rounding error may come through.
    return np.where(slope > 0.999, 1.0, slope)
