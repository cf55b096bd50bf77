"""Where a psf lies in its array: normalise, centre, shift, pad, crop and resize.

Each function takes any psf (an array, a tensor, nested lists) and returns a new NumPy array that is
non-negative and sums to 1: float32 for float32, float64 for everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deconv.arrays import Array, floating, number, to_numpy, whole

__all__ = ["centre", "centroid", "checked", "crop", "normalise", "pad", "resize", "shift", "sizes"]

_ROUNDING = 1e-6  # negative values above -_ROUNDING * max(psf) are what an FFT leaves behind
_STILL = 1e-9  # offsets below this many pixels are rounding, not a shift


def checked(psf: Any, name: str = "psf") -> np.ndarray:
    """`psf` as float64 and non-negative, on its own scale; the one gate of this package.

    Raises
    ------
    TypeError
        For complex, object or text arrays.
    ValueError
        For NaN, infinite or negative values, an all-zero or empty array, or no axes at all.
    """
    values = to_numpy(floating(_exact(psf), name)).astype(np.float64)
    if values.ndim == 0:
        raise ValueError(f"{name} is the single number {psf!r}; expected an array with axes")
    if np.isnan(values).any():
        raise ValueError(f"{name} has {np.isnan(values).sum()} NaN values; a psf has none")
    top = values.max()
    if values.min() < -_ROUNDING * max(top, 0.0):
        raise ValueError(
            f"{name} has negative values, down to {values.min():.3g} (its maximum is {top:.3g}); "
            f"light does not subtract: clip it with numpy.maximum({name}, 0) if that is noise"
        )
    if top <= 0:
        raise ValueError(f"{name} is zero everywhere; expected some light to normalise")
    return np.maximum(values, 0.0)


def _exact(psf: Any) -> Any:
    """Integers as float64, so that counts of any size keep their digits."""
    if hasattr(psf, "detach"):
        return psf.detach()
    if not hasattr(psf, "shape"):
        return psf
    return psf.astype(np.float64) if getattr(psf.dtype, "kind", "") in "iub" else psf


def _like(values: np.ndarray, psf: Any) -> np.ndarray:
    """`values` summing to 1, in the float dtype that `psf` came in."""
    single = str(getattr(psf, "dtype", "")).endswith("float32")
    values = values / values.sum()
    return values.astype(np.float32) if single else values


def sizes(value: Any, ndim: int, name: str = "size") -> tuple[int, ...]:
    """`value`, an int for every axis or one per axis, as a tuple of `ndim` positive ints."""
    if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str):
        found = tuple(whole(n, f"{name}[{i}]", low=1) for i, n in enumerate(value))
    else:
        found = (whole(value, name, low=1),) * ndim
    if len(found) != ndim:
        raise ValueError(f"{name}={value!r} has {len(found)} numbers; expected one or {ndim}")
    return found


def _per_axis(value: Any, ndim: int, name: str, *, low: float | None = None) -> tuple[float, ...]:
    """`value`, one number or one per axis, as a tuple of `ndim` floats (above `low`, if given)."""
    if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str):
        found = tuple(
            number(v, f"{name}[{i}]", low=low, strict=low is not None) for i, v in enumerate(value)
        )
    else:
        found = (number(value, name, low=low, strict=low is not None),) * ndim
    if len(found) != ndim:
        raise ValueError(f"{name}={value!r} has {len(found)} numbers; expected one or {ndim}")
    return found


def normalise(psf: Array) -> np.ndarray:
    """`psf` divided by its sum.

    Negative values down to a millionth of the maximum are taken for rounding and become 0.

    Parameters
    ----------
    psf : array
        Any number of axes.

    Returns
    -------
    array
        Non-negative and summing to 1; float32 stays, all else becomes float64.

    Raises
    ------
    ValueError
        If `psf` is empty, zero everywhere, or holds NaN, infinite or negative values.

    Examples
    --------
    >>> from deconv import psf
    >>> psf.normalise([[0, 1], [1, 2]])
    array([[0.  , 0.25],
           [0.25, 0.5 ]])
    """
    return _like(checked(psf), psf)


def centroid(psf: Array) -> tuple[float, ...]:
    """Centre of mass of `psf`, as an index per axis; ``size // 2`` where it is centred.

    Parameters
    ----------
    psf : array
        Any number of axes, non-negative; its sum does not matter.

    Returns
    -------
    tuple of float
        One index per axis.

    Raises
    ------
    ValueError
        As in `normalise`.

    Examples
    --------
    >>> from deconv import psf
    >>> psf.centroid([[0, 0, 0], [0, 1, 3]])
    (1.0, 1.75)
    """
    return _centroid(checked(psf))


def _centroid(values: np.ndarray) -> tuple[float, ...]:
    total = values.sum()
    found = []
    for axis, n in enumerate(values.shape):
        others = tuple(i for i in range(values.ndim) if i != axis)
        found.append(float(values.sum(axis=others) @ np.arange(n) / total))
    return tuple(found)


def shift(psf: Array, offset: float | Sequence[float]) -> np.ndarray:
    """`psf` moved by `offset` pixels, whole or not.

    Linear interpolation, because its result is never negative, keeps the sum and moves the centroid
    by exactly `offset`; a Fourier shift rings below zero around every sharp edge. The price is a
    slight blur, of variance t (1 - t) for a fraction t of a pixel; whole pixels cost none.

    Parameters
    ----------
    psf : array
        Any number of axes.
    offset : float or sequence of float
        Pixels towards higher indices, one number or one per axis.

    Returns
    -------
    array
        Same shape, unless light would leave it: then it grows, by as many pixels before as after,
        so that nothing is lost and the centre stays at ``size // 2``.

    Raises
    ------
    TypeError, ValueError
        As in `normalise`, and for an `offset` that is not finite or does not fit the axes.

    Examples
    --------
    >>> from deconv import psf
    >>> psf.shift([0, 0, 1, 0, 0], 1.5)
    array([0. , 0. , 0. , 0.5, 0.5])
    """
    values = checked(psf)
    offset = _per_axis(offset, values.ndim, "offset")
    return _like(_shift(values, offset), psf)


def _shift(values: np.ndarray, offset: Sequence[float]) -> np.ndarray:
    for axis, distance in enumerate(offset):
        nearest = round(distance)
        if abs(distance - nearest) < _STILL:
            distance = nearest
        step = int(np.floor(distance))
        part = distance - step
        others = tuple(i for i in range(values.ndim) if i != axis)
        lit = np.flatnonzero(values.any(axis=others))
        n = values.shape[axis]
        before, after = -(lit[0] + step), lit[-1] + step + (part > 0) - (n - 1)
        grow = max(0, int(before), int(after))
        moved = np.zeros([m + 2 * grow if i == axis else m for i, m in enumerate(values.shape)])
        source = np.moveaxis(values, axis, 0)[lit[0] : lit[-1] + 1]
        target = np.moveaxis(moved, axis, 0)
        start, count = lit[0] + step + grow, len(source)
        target[start : start + count] = (1 - part) * source
        if part > 0:
            target[start + 1 : start + 1 + count] += part * source
        values = moved
    return values


def centre(psf: Array) -> np.ndarray:
    """`psf` moved so that its centroid lies at ``size // 2`` on every axis, to sub-pixel accuracy.

    An off-centre psf shifts the restored picture by as much. See `shift` for how it is moved and
    when the shape grows.

    Parameters
    ----------
    psf : array
        Any number of axes, non-negative.

    Returns
    -------
    array
        Summing to 1; float32 stays, all else becomes float64.

    Raises
    ------
    ValueError
        As in `normalise`.

    Examples
    --------
    >>> from deconv import psf
    >>> psf.centre([[1.0, 1.0, 0.0]])
    array([[0.25, 0.5 , 0.25]])
    """
    values = checked(psf)
    offset = [n // 2 - at for n, at in zip(values.shape, _centroid(values), strict=True)]
    return _like(_shift(values, offset), psf)


def pad(psf: Array, shape: int | Sequence[int]) -> np.ndarray:
    """`psf` inside zeros of `shape`, its centre at ``size // 2`` before and after.

    Parameters
    ----------
    psf : array
        Any number of axes.
    shape : int or sequence of int
        Of the result, one number or one per axis.

    Returns
    -------
    array
        Summing to 1.

    Raises
    ------
    ValueError
        If `shape` is smaller than the psf along any axis.

    Examples
    --------
    >>> from deconv import psf
    >>> psf.pad([0.25, 0.5, 0.25], 6)
    array([0.  , 0.  , 0.25, 0.5 , 0.25, 0.  ])
    """
    values = checked(psf)
    shape = sizes(shape, values.ndim, "shape")
    if any(n < m for n, m in zip(shape, values.shape, strict=True)):
        raise ValueError(
            f"shape={shape} is smaller than the psf's {values.shape}; crop(psf, shape) cuts it"
        )
    return _like(framed(values, shape), psf)


def framed(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """`values` cut or padded by zeros to `shape`, centre on centre."""
    out = np.zeros(shape)
    here, there = [], []
    for n, m in zip(shape, values.shape, strict=True):
        before = min(n // 2, m // 2)
        after = min(n - n // 2, m - m // 2)
        here.append(slice(n // 2 - before, n // 2 + after))
        there.append(slice(m // 2 - before, m // 2 + after))
    out[tuple(here)] = values[tuple(there)]
    return out


def crop(
    psf: Array, shape: int | Sequence[int] | None = None, *, threshold: float | None = None
) -> np.ndarray:
    """Cut out the middle of `psf`, its centre at ``size // 2`` before and after, summing to 1.

    Parameters
    ----------
    psf : array
        Any number of axes.
    shape : int or sequence of int, optional
        The shape to keep. Without it, the smallest one that holds every pixel above `threshold`.
    threshold : float, optional
        Fraction of the maximum, in [0, 1); 0, the default, trims borders that are exactly zero.
        Pixels below it that lie inside the kept window stay.

    Returns
    -------
    array
        Summing to 1.

    Raises
    ------
    ValueError
        If `shape` is larger than the psf, if no light is left, or if `shape` and `threshold` are
        both given.

    Examples
    --------
    >>> from deconv import psf
    >>> psf.crop([0, 1, 2, 1, 0], 3)
    array([0.25, 0.5 , 0.25])
    >>> psf.crop([0.01, 1, 2, 1, 0], threshold=0.1).shape
    (3,)
    """
    values = checked(psf)
    if shape is None:
        level = number(0.0 if threshold is None else threshold, "threshold", low=0.0, high=1.0)
        shape = _tight(values, level)
    elif threshold is not None:
        raise ValueError("shape and threshold are both given; expected one of them")
    shape = sizes(shape, values.ndim, "shape")
    if any(n > m for n, m in zip(shape, values.shape, strict=True)):
        raise ValueError(
            f"shape={shape} is larger than the psf's {values.shape}; pad(psf, shape) extends it"
        )
    kept = framed(values, shape)
    if not kept.any():
        raise ValueError(
            f"shape={shape} keeps no light: the psf's centroid is at {_centroid(values)}, not at "
            f"its middle; centre(psf) moves it there"
        )
    return _like(kept, psf)


def _tight(values: np.ndarray, threshold: float) -> tuple[int, ...]:
    """Smallest shape that keeps the pixels above `threshold` and the centre at ``size // 2``."""
    lit = np.nonzero(values > min(threshold, 1 - 1e-12) * values.max())
    reach = [
        (n // 2 - at.min(), at.max() - n // 2) for n, at in zip(values.shape, lit, strict=True)
    ]
    return tuple(_span(int(before), int(after)) for before, after in reach)


def _span(before: int, after: int) -> int:
    """Smallest n with ``n // 2 >= before`` and ``n - 1 - n // 2 >= after``."""
    return max(1, 2 * before if before > after else 2 * after + 1)


def resize(psf: Array, scale: float | Sequence[float]) -> np.ndarray:
    """Return the psf of the same picture resized by `scale`.

    Every pixel is a square of even density, scaled and shared out among the new pixels by area, so
    that the result is non-negative, sums to 1 and is `psf` itself for ``scale=1``; the centroid's
    distance from the centre is multiplied by `scale`.

    Parameters
    ----------
    psf : array
        Any number of axes.
    scale : float or sequence of float
        Factor above 0, one number or one per axis; below 1 for a smaller picture.

    Returns
    -------
    array
        About `scale` times the size, centre at ``size // 2``. An odd size stays odd.

    Raises
    ------
    TypeError, ValueError
        As in `normalise`, and for a `scale` that is not above 0.

    Examples
    --------
    >>> from deconv import psf
    >>> psf.resize([0, 1, 2, 1, 0], 0.5)
    array([0.125, 0.75 , 0.125])
    """
    values = checked(psf)
    scale = _per_axis(scale, values.ndim, "scale", low=0.0)
    about = [n // 2 for n in values.shape]
    goal = [s * (at - c) for s, at, c in zip(scale, _centroid(values), about, strict=True)]
    for axis, factor in enumerate(scale):
        overlap = _overlap(values.shape[axis], factor)
        values = np.moveaxis(np.tensordot(overlap, values, axes=(1, axis)), 0, axis)
    # Sharing out by area puts a pixel's light at its middle; the sum of these errors, some
    # hundredths of a pixel, is taken back.
    at = _centroid(values)
    offset = [g - (a - n // 2) for g, a, n in zip(goal, at, values.shape, strict=True)]
    return _like(_shift(values, offset), psf)


def _overlap(n: int, scale: float) -> np.ndarray:
    """Share of each of `n` old pixels in each new pixel, along one axis: (new, old)."""
    before, after = n // 2, n - 1 - n // 2
    # The outermost new pixels may hold a sliver; rounding must not add an empty one.
    reach = [int(np.ceil(scale * (m + 0.5) - 0.5 - _STILL)) for m in (before, after)]
    size = _span(*reach)
    edges = np.arange(size + 1) - size // 2 - 0.5
    old = scale * (np.arange(n) - before)
    low = np.maximum(edges[:-1, None], old - scale / 2)
    high = np.minimum(edges[1:, None], old + scale / 2)
    shares: np.ndarray = np.maximum(high - low, 0.0) / scale
    return shares
