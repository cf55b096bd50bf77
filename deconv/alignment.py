"""Two pictures laid on each other: the shift between them, to a quarter of a pixel.

A blurred picture does not tell where its psf is centred: a psf moved one way and a scene moved the
other way explain it equally well. So a blind restoration may be right and lie some pixels off, and
is shifted onto the truth before it is judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from deconv.arrays import Array, channels_first, number, whole
from deconv.comparison import pair
from deconv.fft import fast_shape, irfftn, rfftn

__all__ = ["Aligned", "align"]

# Sums of squares closer to each other than this part of the pictures' energy are equal but for
# rounding; of equals the smallest shift is taken.
TIE = 1e-12
# The products of shifted pictures are summed over about this many pixels at a time.
PIECE = 1 << 18


@dataclass(frozen=True)
class Aligned:
    """A pair of pictures that lie on each other, ready for any score.

    Attributes
    ----------
    x_true, x : array
        The truth without its margin, and the estimate shifted onto it; float64, in the layout of
        the input.
    shift : tuple of float
        How far the estimate lay from the truth along each spatial axis, in pixels: a feature at
        ``i`` in the truth was at ``i + shift``. A component as large as the reach says that the
        search ended at its limit.
    ssd : float
        Sum of squared differences of the two, over pixels and channels.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.metrics import align
    >>> scene = np.random.default_rng(0).random((48, 48))
    >>> pair = align(scene, np.roll(scene, 2, axis=0))
    >>> pair.shift, pair.ssd < 1e-9
    ((2.0, 0.0), True)
    """

    x_true: np.ndarray
    x: np.ndarray
    shift: tuple[float, ...]

    @property
    def ssd(self) -> float:
        """Sum of squared differences, in squared image units."""
        difference = self.x - self.x_true
        return float(np.sum(difference * difference))


def align(
    x_true: Array,
    x: Array,
    *,
    reach: int = 5,
    step: float = 0.25,
    crop: int = 15,
    channel_axis: int | None = None,
) -> Aligned:
    """Shift an estimate onto the truth, as blind restorations are scored.

    The protocol is that of Levin et al. (2009), with their settings as the defaults. A margin of
    15 pixels is cut off the truth, where what lay beyond the frame decides. Of all shifts of the
    estimate by whole pixels, 5 at most along each axis, the one with the least sum of squared
    differences is taken, then of all within a pixel of that and 5 pixels at most, in steps of a
    quarter pixel, the best by (bi)linear interpolation. Of equals the smallest shift wins. Nothing
    is clipped or rescaled, and the margin of the estimate serves the shifts: no pixel is made up.

    For the larger psfs of Lai et al. (2016) give ``reach=30, crop=40``.

    Parameters
    ----------
    x_true, x : array (Y, X), or of 1 to 3 spatial axes; with `channel_axis` one more
        Truth and estimate, of one shape and on one scale.
    reach : int
        Largest shift along each axis, in pixels, at least 0.
    step : float
        Step of the finer search in pixels, 1 over a whole number, at least 0.01; 1 for whole
        pixels only.
    crop : int
        Margin that is not scored, in pixels, at least `reach`.
    channel_axis : int, optional
        Axis of the colours, which are shifted together.

    Returns
    -------
    Aligned
        Both pictures without the margin, and the shift.

    Raises
    ------
    TypeError, ValueError
        For different shapes, NaN or infinite values, a `step` that does not divide a pixel, a
        `crop` below `reach`, or pictures that the margin uses up.

    References
    ----------
    Levin, Weiss, Durand and Freeman (2009), "Understanding and evaluating blind deconvolution
    algorithms", CVPR; Lai, Huang, Hu, Ahuja and Yang (2016), "A comparative study for single image
    blind deblurring", CVPR.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.metrics import align
    >>> scene = np.random.default_rng(0).random((48, 48))
    >>> align(scene, np.roll(scene, (2, -3), (0, 1))).shift
    (2.0, -3.0)
    """
    true, estimate = pair(x_true, x, "x_true", "x")
    reach, crop = whole(reach, "reach"), whole(crop, "crop")
    parts = _parts(step)
    if crop < reach:
        raise ValueError(
            f"crop={crop} and reach={reach}; expected a margin of at least the reach, from which "
            f"the shifts are served"
        )
    ndim = true.ndim - (channel_axis is not None)
    if not 1 <= ndim <= 3:
        raise ValueError(f"x_true has shape {true.shape}; expected 1 to 3 spatial axes")
    true = channels_first(true, ndim, channel_axis, "x_true")
    estimate = channels_first(estimate, ndim, channel_axis, "x")
    if channel_axis is None:
        true, estimate = true[None], estimate[None]
    if min(true.shape[1:]) <= 2 * crop:
        raise ValueError(
            f"x_true has spatial axes {true.shape[1:]}; a margin of crop={crop} leaves nothing: "
            f"pass a smaller crop and reach, or channel_axis if an axis holds colours"
        )
    inner = true[(slice(None), *(slice(crop, n - crop) for n in true.shape[1:]))]
    start = tuple(crop for _ in range(ndim))
    nearest = _whole_shift(inner, estimate, start, reach)
    shift = _fine_shift(inner, estimate, start, nearest, reach, parts)
    moved = _shifted(estimate, start, inner.shape[1:], shift)
    if channel_axis is None:
        return Aligned(inner[0], moved[0], shift)
    inner, moved = (np.moveaxis(v, 0, channel_axis) for v in (inner, moved))
    return Aligned(inner, moved, shift)


def _parts(step: Any) -> int:
    """Into how many steps a pixel is divided."""
    size = number(step, "step", low=0.01, high=1)
    parts = round(1 / size)
    if abs(parts * size - 1) > 1e-9:
        raise ValueError(f"step={size:g}; expected 1 over a whole number, such as 0.25")
    return parts


def _window(x: np.ndarray, start: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    spatial = tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))
    return x[(slice(None), *spatial)]


def _whole_shift(
    inner: np.ndarray, estimate: np.ndarray, start: tuple[int, ...], reach: int
) -> tuple[int, ...]:
    """The best shift by whole pixels; all of them by one correlation.

    ``sum (u - x)^2 = sum u^2 - 2 sum u x + const``, after the truth's mean was taken from both, so
    that a pedestal costs no digits.
    """
    ndim, shape = len(start), inner.shape[1:]
    mean = inner.mean()
    around = tuple(s - reach for s in start)
    wide = _window(estimate, around, tuple(n + 2 * reach for n in shape)) - mean
    grid, count = fast_shape(wide.shape[1:]), 2 * reach + 1
    spectrum = sum(
        rfftn(_padded(u, grid), ndim) * np.conj(rfftn(_padded(x - mean, grid), ndim))
        for u, x in zip(wide, inner, strict=True)
    )
    correlation = irfftn(np.asarray(spectrum), grid)[(slice(0, count),) * ndim]
    energy = np.sum(wide * wide, axis=0)
    for axis, n in enumerate(shape):
        sums = np.cumsum(np.insert(energy, 0, 0.0, axis), axis)
        at = np.arange(count)
        energy = np.take(sums, at + n, axis) - np.take(sums, at, axis)
    cost = energy - 2 * correlation
    scale = float(energy.max()) + float(np.sum((inner - mean) ** 2))
    shifts = np.moveaxis(np.indices(cost.shape), 0, -1).reshape(-1, ndim) - reach
    best = _least(cost.reshape(-1), shifts, scale)
    return tuple(int(v) for v in shifts[best])


def _fine_shift(
    inner: np.ndarray,
    estimate: np.ndarray,
    start: tuple[int, ...],
    nearest: tuple[int, ...],
    reach: int,
    parts: int,
) -> tuple[float, ...]:
    """The best shift within a pixel of `nearest`, in steps of ``1 / parts``.

    Interpolation mixes the neighbours, shifted by whole pixels, with weights that sum to 1. So the
    cost of every shift is a quadratic form in the products of their differences from the truth.
    """
    at, mixes = [], []
    for best in nearest:
        offsets = [d for d in (-1, 0, 1) if abs(best + d) <= reach]
        places = np.arange(offsets[0] * parts, offsets[-1] * parts + 1)
        at.append((best + np.array(offsets), best + places / parts))
        mixes.append(np.maximum(0, parts - np.abs(places[:, None] - np.multiply(offsets, parts))))
    mix = np.ones((1, 1))
    for part in mixes:
        mix = np.kron(mix, part / parts)
    neighbours = list(product(*(offsets for offsets, _ in at)))
    shape = inner.shape[1:]
    moved = [
        _window(estimate, tuple(s + int(d) for s, d in zip(start, move, strict=True)), shape)
        for move in neighbours
    ]
    products = np.zeros((len(moved), len(moved)))
    rows = max(1, PIECE * shape[0] // inner[0].size)
    for channel, first in product(range(len(inner)), range(0, shape[0], rows)):
        part = slice(first, first + rows)
        differences = np.stack([v[channel, part] - inner[channel, part] for v in moved])
        differences = differences.reshape(len(moved), -1)
        products += differences @ differences.T
    cost = np.einsum("pk,kl,pl->p", mix, products, mix)
    shifts = np.array(list(product(*(places for _, places in at))))
    best_of = _least(cost, shifts, float(products.trace()))
    return tuple(float(v) for v in shifts[best_of])


def _least(cost: np.ndarray, shifts: np.ndarray, scale: float) -> int:
    """Index of the least cost; of those equal but for rounding, that of the smallest shift."""
    equal = np.flatnonzero(cost <= cost.min() + TIE * scale)
    return int(equal[np.argmin(np.sum(shifts[equal] ** 2, axis=1))])


def _shifted(
    x: np.ndarray, start: tuple[int, ...], shape: tuple[int, ...], shift: tuple[float, ...]
) -> np.ndarray:
    """The window of `shape` at ``start + shift``, interpolated along one axis at a time."""
    below = [int(np.floor(s)) for s in shift]
    shares = [s - b for s, b in zip(shift, below, strict=True)]
    # One pixel more where two are mixed; a whole shift needs no pixel beyond the window.
    wide = tuple(n + (share > 0) for n, share in zip(shape, shares, strict=True))
    x = _window(x, tuple(s + b for s, b in zip(start, below, strict=True)), wide)
    for axis, (share, n) in enumerate(zip(shares, shape, strict=True), start=1):
        if share > 0:
            first = np.take(x, np.arange(n), axis)
            x = first + share * (np.take(x, np.arange(1, n + 1), axis) - first)
    return x


def _padded(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.pad(x, [(0, n - m) for n, m in zip(shape, x.shape, strict=True)])
