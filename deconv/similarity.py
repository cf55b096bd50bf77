"""Two psfs laid on each other: how alike they are but for a shift and a factor."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from deconv.arrays import Array, whole
from deconv.comparison import finite
from deconv.fft import fast_shape, irfftn, rfftn

__all__ = ["psf_similarity"]


def psf_similarity(a: Array, b: Array, *, parts: int = 1) -> float:
    """Largest normalised cross-correlation of two psfs over all shifts.

    At most 1, which means equal up to a shift and a factor (Hu and Yang 2012, equation 4). The
    shapes may differ.

    Parameters
    ----------
    a, b : array
        Of as many axes.
    parts : int
        Shifts are by whole pixels over this number, at least 1. A blurred picture says nothing of
        where its psf is centred, so an estimated one may lie parts of a pixel off: 4 compares it as
        `align` compares pictures. Between pixels, psfs are interpolated by their spectra.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        For different numbers of axes, NaN or infinite values, or a psf that is zero everywhere.

    References
    ----------
    Hu and Yang (2012), "Good regions to deblur", ECCV (equation 4).

    Examples
    --------
    >>> from deconv.metrics import psf_similarity
    >>> round(psf_similarity([[0, 1, 2]], [[1, 2, 0, 0]]), 12)
    1.0
    """
    first, second = finite(a, "a"), finite(b, "b")
    if first.ndim != second.ndim or first.ndim == 0:
        raise ValueError(
            f"a has shape {first.shape} and b {second.shape}; expected as many axes, one at least"
        )
    for name, values in (("a", first), ("b", second)):
        if not values.any():
            raise ValueError(f"{name} is zero everywhere")
    # Padded to hold every shift at which the two overlap, so that nothing wraps around.
    shape = fast_shape(tuple(n + m - 1 for n, m in zip(first.shape, second.shape, strict=True)))
    spectra = [rfftn(_padded(v / np.linalg.norm(v), shape), v.ndim) for v in (first, second)]
    crossed = spectra[0] * np.conj(spectra[1])
    best = float(irfftn(crossed, shape).max())
    for part in product(range(whole(parts, "parts", low=1)), repeat=first.ndim):
        if any(part):
            shift = [p / parts for p in part]
            best = max(best, float(irfftn(crossed * _phases(shift, shape), shape).max()))
    return best


def _phases(shift: list[float], shape: tuple[int, ...]) -> np.ndarray:
    """What multiplies the half spectrum of `shape` when its array is shifted.

    The highest frequency of an even axis has no phase of its own; its real part stays.
    """
    factors = []
    for axis, (s, n) in enumerate(zip(shift, shape, strict=True)):
        f = np.fft.rfftfreq(n) if axis == len(shape) - 1 else np.fft.fftfreq(n)
        phase = np.exp(-2j * np.pi * f * s)
        phase[np.abs(f) == 0.5] = np.cos(np.pi * s)
        factors.append(phase.reshape([-1 if i == axis else 1 for i in range(len(shape))]))
    return np.asarray(math.prod(factors[1:], start=factors[0]))


def _padded(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.pad(values, [(0, n - m) for n, m in zip(shape, values.shape, strict=True)])
