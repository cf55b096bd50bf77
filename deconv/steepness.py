"""What a fitted spectrum cannot tell of a picture's gradient: few bright spots, and slow waves."""

from __future__ import annotations

import math

import numpy as np

from deconv.periodogram import Layout
from deconv.whittle import Grid

__all__ = ["bulk", "slow"]

FEW = 0.1  # share of the pixels that `bulk` leaves out
# The others hold at least this share of the squared gradient in photographs: in all quarters of 19
# of scikit-image's and Kodak's, under a Gaussian and a motion blur, with noise from 0.3 %.
LEAST_SHARE = 0.08
# |K|^2 counts as no less, where a psf is as wide as the frame.
PASSED = 0.25


def bulk(image: np.ndarray, observed: np.ndarray | None, plan: Layout) -> float:
    """Factor of at most 1 from the mean squared gradient to the one that most pixels have.

    A few lamps in the dark hold nearly all of a night scene's squared gradient, so that its mean
    says nothing of the rest, which is what a prior has to smooth. Noise counts as gradient here, so
    that the factor vanishes for no picture; it is 1 for photographs.
    """
    squares = []
    for corner in plan.corners:
        box = tuple(slice(a, a + t) for a, t in zip(corner, plan.tile, strict=True))
        squares.append(_squares(image[box], None if observed is None else observed[box]))
    steep = np.concatenate(squares)
    kept = steep.size - round(FEW * steep.size)
    if kept == 0:
        return 1.0
    rest = float(np.partition(steep, kept - 1)[:kept].sum(dtype=float))
    total = float(steep.sum(dtype=float))
    return min(1.0, rest / (LEAST_SHARE * total)) if rest > 0 else 1.0


def _squares(tile: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Squared gradients of the pixels that are observed with their next ones, in one row."""
    known = tile if mask is None else tile[mask]
    largest = max(-float(known.min()), float(known.max())) if known.size else 0.0
    # In float32's range, whatever the unit; what is unobserved may be NaN, and is left out below.
    unit = np.divide(tile, largest or 1.0, dtype=tile.dtype).astype(np.float32)
    here = (slice(None, -1),) * tile.ndim
    total = np.zeros(unit[here].shape, np.float32)
    seen = np.ones(total.shape, bool) if mask is None else mask[here].copy()
    for axis in range(tile.ndim):
        ahead = tuple(slice(1, None) if a == axis else slice(None, -1) for a in range(tile.ndim))
        total += np.square(unit[ahead] - unit[here])
        if mask is not None:
            seen &= mask[ahead]
    steep: np.ndarray = total[seen]
    return steep


def slow(periodogram: np.ndarray, bright: np.ndarray, grid: Grid, sigma: float) -> float:
    """Rms gradient by the frequencies that are too low to be fitted, which the window blurs."""
    low = grid.share == 0
    shown = np.maximum(periodogram[low] - sigma**2, 0) / np.maximum(bright[low], PASSED)
    total = float((grid.whole[low] * grid.steep[low] * shown).sum(dtype=float))
    return math.sqrt(total / float(grid.whole.sum(dtype=float)))
