"""Psfs of a moving camera: a straight line at even speed, and a random shake."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence

import numpy as np

from deconv.arrays import number
from deconv.psf.families import Size, fitted, radii_of
from deconv.psf.geometry import sizes

__all__ = ["motion", "trajectory"]

_STEPS = 2000
_LENGTH = 60.0  # in the units of the published constants


def motion(length: float, angle: float = 0.0, *, size: Size = None) -> np.ndarray:
    """Motion at even speed along a straight line.

    The line is integrated exactly with bilinear weights, which, unlike the areas of square pixels,
    follow every change of length and angle. They cost a factor of about sinc(f)^2 in the otf; one
    step of sharpening takes back its leading term, as far as the psf stays non-negative. Up to half
    the Nyquist frequency the otf is then that of the ideal line, sinc(length f.u), to 0.03 rms
    (0.04 for either footprint alone).

    Parameters
    ----------
    length : float
        Pixels, at least 0, whole or not. 0 is a single pixel; 1 smears by one pixel's width, which
        also lights the neighbours a little.
    angle : float
        Degrees, counter-clockwise from the x axis as seen on screen (rows count downwards in
        memory, so 45 runs from the lower left to the upper right).
    size : int or (int, int), optional
        Shape. Default: the smallest odd rectangle that holds the line.

    Returns
    -------
    array
        (y, x), float64, sums to 1, unchanged by a turn of 180 degrees.

    Raises
    ------
    TypeError, ValueError
        If `length` is not a number of at least 0, `angle` is not finite, or `size` is too small.

    Examples
    --------
    >>> from deconv import psf
    >>> psf.motion(3, 0).round(3)
    array([[0.027, 0.305, 0.337, 0.305, 0.027]])
    """
    length = number(length, "length", low=0.0)
    turn = math.radians(number(angle, "angle") % 180.0)
    run = np.array([-length * math.sin(turn), length * math.cos(turn)])
    run[np.abs(run) < 1e-9] = 0.0
    own = [math.ceil(abs(d) / 2) for d in run]
    radii_of(own, None)
    psf = np.zeros([2 * r + 1 for r in own])
    # Bilinear weights are quadratic in t between the crossings of the grid's lines: two Gauss
    # nodes in each piece integrate them exactly.
    crossings = [np.arange(-r, r + 1) / d for r, d in zip(own, run, strict=True) if d]
    breaks = np.unique(np.clip(np.concatenate([[-0.5, 0.5], *crossings]), -0.5, 0.5))
    middle, width = 0.5 * (breaks[1:] + breaks[:-1]), np.diff(breaks)
    t = np.concatenate([middle - width / math.sqrt(12), middle + width / math.sqrt(12)])
    _splat(psf, t[:, None] * run + own, np.tile(width / 2, 2))
    edged = np.pad(psf, 1)
    around = edged[:-2, 1:-1] + edged[2:, 1:-1] + edged[1:-1, :-2] + edged[1:-1, 2:]
    psf = np.maximum(psf + (4 * psf - around) / 12, 0.0)
    psf = psf + psf[::-1, ::-1]
    return fitted(psf / psf.sum(), own, size)


def trajectory(
    size: int | Sequence[int] = 25,
    *,
    exposure: float = 1.0,
    shakiness: float = 0.3,
    rng: int | np.random.Generator | None = None,
) -> np.ndarray:
    """Psf of a random camera shake (Boracchi and Foi 2012; Kupyn et al. 2018, DeblurGAN).

    The velocity of a point of even speed is disturbed by Gaussian noise, a pull back to where it
    began and rare reversals; how strong each is, is drawn too. The path is 1.5 times as long as the
    smaller side of `size`, is shrunk if it does not fit, and is moved so that the centroid of the
    psf is its centre to rounding: it adds blur and no shift.

    Parameters
    ----------
    size : int or (int, int)
        Shape of the psf, any positive size; at 1 or 2 nothing but a single pixel can be centred.
    exposure : float
        Part of the path that is seen, in (0, 1]: the same `rng` with a smaller `exposure` gives a
        shorter blur along the same path.
    shakiness : float
        In [0, 1]; 0 is a straight line, 0.15 a bent stroke, 0.3 a stroke with a loop or two (the
        published setting), 1 a small tangle.
    rng : int, numpy.random.Generator, optional
        Where the randomness comes from; the same int gives the same psf.

    Returns
    -------
    array
        (y, x), float64, sums to 1, non-negative.

    Raises
    ------
    TypeError, ValueError
        For a size that is not positive, or an argument out of its range.

    Examples
    --------
    >>> from deconv import psf
    >>> kernel = psf.trajectory(15, rng=3)
    >>> kernel.shape, [round(at, 9) for at in psf.centroid(kernel)]
    ((15, 15), [7.0, 7.0])
    """
    shape = np.array(sizes(size, 2))
    exposure = number(exposure, "exposure", low=0.0, high=1.0, strict=True)
    shakiness = number(shakiness, "shakiness", low=0.0, high=1.0)
    path = _path(0.05 * shakiness**2, np.random.default_rng(rng)) * (1.5 * shape.min() / _LENGTH)
    # The whole path is shrunk first, so that every exposure sees a part of the same one.
    path = _inside(path, shape)
    path = _inside(path[: max(1, round(exposure * len(path)))], shape)
    psf = np.zeros(shape)
    _splat(psf, path + shape // 2, np.full(len(path), 1 / len(path)))
    psf /= psf.sum()
    return psf


def _inside(path: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """`path` about its mean, shrunk where it would leave the outermost pixel centres.

    Bilinear weights keep the mean of the points, so its psf is centred to rounding.
    """
    path = path - path.mean(axis=0)
    room = np.stack([shape // 2, (shape - 1) // 2])
    extent = np.stack([-path.min(axis=0), path.max(axis=0)])
    # Rounding must not push the outermost point over the border again.
    fits = np.min(room / np.maximum(extent, 1e-12)) * (1 - 1e-12)
    result: np.ndarray = path * min(1.0, fits)
    return result


def _splat(psf: np.ndarray, points: np.ndarray, weights: np.ndarray) -> None:
    """Add `weights` at `points` (n, 2) to `psf`, each shared by the four pixels around it."""
    low = np.clip(np.floor(points), 0, np.maximum(np.array(psf.shape) - 2, 0)).astype(int)
    part = points - low
    for dy in (0, 1):
        for dx in (0, 1):
            share = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1]) * weights
            inside = share > 0
            np.add.at(psf, (low[inside, 0] + dy, low[inside, 1] + dx), share[inside])


def _path(impulse: float, rng: np.random.Generator) -> np.ndarray:
    """Points (y, x) of a path of length `_LENGTH`, in equal steps."""
    pull, jump, tremble, turn = rng.uniform(size=4) * (0.7, 0.2, 10.0, 2 * math.pi)
    noise = tremble * (rng.standard_normal((_STEPS, 2)) @ (1, 1j))
    reversal = np.exp(1j * (math.pi + rng.uniform(-0.5, 0.5, _STEPS)))
    reversed_at = rng.uniform(size=_STEPS) < jump * impulse
    step = _LENGTH / (_STEPS - 1)
    velocity, at = step * cmath.exp(1j * turn), 0j
    points = np.empty(_STEPS, complex)
    for i in range(_STEPS):
        points[i] = at
        change = impulse * step * (noise[i] - pull * at)
        if reversed_at[i]:
            change += 2 * velocity * reversal[i]
        velocity += change
        velocity *= step / abs(velocity)
        at += velocity
    return np.stack([points.imag, points.real], axis=1)
