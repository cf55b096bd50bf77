"""Coarse to fine: the psf of a small picture first, then, enlarged, as the start of the next one.

A long blur is short in a small picture, where few psfs are possible and the strong edges decide
between them. Every estimator here goes through the same scales; what it does at one of them is its
own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.ndimage import affine_transform, correlate1d

from deconv.blind.kernel import centred, normalised

__all__ = ["Level", "Refine", "coarse_to_fine", "levels", "odd", "resized", "smaller"]

RATIO = math.sqrt(0.5)
# The psf has about this size at the coarsest scale.
COARSEST = 5
# The low-pass before sampling has this standard deviation over the step, and its tails of less than
# this mass are cut (Pan et al. 2016 in their published code).
WIDTH, TAIL = 0.5, 0.05


@dataclass(frozen=True, eq=False)
class Level:
    """One scale of the picture.

    Attributes
    ----------
    index, count : int
        0 is the full size, ``count - 1`` the coarsest.
    image : array (Y, X)
        The blurred picture at this scale, float32.
    shape : (int, int)
        Of the psf at this scale, odd.
    weights : array (Y, X) or None
        In [0, 1]; 0 where no value was observed.
    """

    index: int
    count: int
    image: np.ndarray
    shape: tuple[int, int]
    weights: np.ndarray | None = None


Refine: TypeAlias = Callable[[Level, np.ndarray], np.ndarray]


def coarse_to_fine(
    image: np.ndarray,
    shape: tuple[int, int],
    refine: Refine,
    *,
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """The psf that `refine` arrives at, scale by scale.

    Parameters
    ----------
    image : array (Y, X)
        Blurred picture on [0, 1], float32, without NaN.
    shape : (int, int)
        Odd shape of the box that the psf is sought in; a quarter larger than the psf itself, which
        is only centred on the way.
    refine : callable
        ``refine(level, psf)`` returns the better psf of one level, of the level's shape.
    weights : array (Y, X), optional
        In [0, 1]; 0 for pixels that do not count.
    start : array, optional
        First psf, of the coarsest level's shape. Two pixels side by side when None: a single pixel
        is where every prior would stay.

    Returns
    -------
    array
        Of `shape`, non-negative, sum 1, its centroid within half a pixel of the middle.
    """
    psf = start
    for level in levels(image, shape, weights):
        if psf is None:
            psf = segment(level.shape)
        elif level.index + 1 < level.count:
            psf = resized(psf, level.shape, 1 / RATIO)
        psf = centred(refine(level, psf))
    assert psf is not None
    return psf


def levels(
    image: np.ndarray, shape: tuple[int, int], weights: np.ndarray | None = None
) -> list[Level]:
    """All scales, the coarsest first."""
    steps = math.log(COARSEST / max(shape)) / math.log(RATIO)
    count = max(math.floor(steps + 1e-9), 0) + 1
    made = []
    for index in reversed(range(count)):
        scale = RATIO**index
        size = (odd(shape[0] * scale), odd(shape[1] * scale))
        seen = None if weights is None else (smaller(weights, scale) > 0.99).astype(np.float32)
        made.append(Level(index, count, smaller(image, scale), size, seen))
    return made


def odd(size: float) -> int:
    """The least odd number not below `size`, at least 3 unless `size` is 1."""
    n = max(1, math.ceil(size - 1e-9))
    return n + 1 - n % 2


def segment(shape: tuple[int, int]) -> np.ndarray:
    """Two pixels side by side at the middle of a psf, or one above the other in a column."""
    psf = np.zeros(shape, np.float32)
    y, x = shape[0] // 2, shape[1] // 2
    psf[y, x] = 0.5
    if shape[1] > 1:
        psf[y, x - 1] = 0.5
    elif shape[0] > 1:
        psf[y - 1, x] = 0.5
    return normalised(psf)


def smaller(image: np.ndarray, scale: float) -> np.ndarray:
    """`image` reduced by `scale` (at most 1): low-pass, then linear interpolation."""
    if scale >= 1:
        return image
    for axis in range(image.ndim):
        image = _sampled(image, scale, axis)
    return np.ascontiguousarray(image, np.float32)


def _sampled(image: np.ndarray, scale: float, axis: int) -> np.ndarray:
    """One axis low-passed where the filter fits in, and sampled at steps of ``1 / scale``."""
    sigma = WIDTH / scale
    reach = math.ceil(4 * sigma)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps /= taps.sum()
    mass = np.cumsum(taps)
    taps = taps[np.minimum(mass, mass[::-1]) > TAIL]
    taps = (taps / taps.sum()).astype(np.float32)
    half = len(taps) // 2
    low = correlate1d(image, taps, axis=axis, mode="nearest")
    at = np.arange(half, image.shape[axis] - half - 1 + 1e-6, 1 / scale)
    below = np.minimum(at.astype(int), image.shape[axis] - 2)
    part = (at - below).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(2)])
    first = np.take(low, below, axis)
    return np.asarray(first + part * (np.take(low, below + 1, axis) - first))


def resized(psf: np.ndarray, shape: tuple[int, int], scale: float) -> np.ndarray:
    """`psf` enlarged by `scale` about its middle, in a box of `shape`; sum 1."""
    offset = [n // 2 - (m // 2) / scale for n, m in zip(psf.shape, shape, strict=True)]
    larger = affine_transform(psf, [1 / scale] * 2, offset, shape, order=3, mode="constant")
    return normalised(larger)
