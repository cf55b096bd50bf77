"""Windows that say how much of each kernel acts where: smooth, and 1 in sum everywhere."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np

from deconv.arrays import (
    Array,
    choose,
    detached,
    device,
    dtype_name,
    floating,
    is_numpy,
    namespace,
    number,
    whole,
)
from deconv.arrays import like as converted
from deconv.operators.checks import checked_psf
from deconv.operators.frame import Frame

__all__ = ["PROFILES", "checked_psfs", "checked_windows", "grid_windows"]

PROFILES = ("linear", "cosine")

# As for the sum of a psf: windows written with few digits still sum to 1.
SUM_TOLERANCE = 1e-3


def grid_windows(
    grid: tuple[int, ...],
    shape: tuple[int, ...],
    *,
    overlap: float = 1.0,
    profile: str = "linear",
    like: Array | None = None,
) -> Array:
    """A partition of unity over `shape`: one window for each cell of a regular grid.

    The frame is cut into cells of equal size, and a window is 1 inside its cell and fades to 0
    across each edge that it shares with another.

    Parameters
    ----------
    grid : tuple of int
        Number of cells along each axis, at most one a pixel.
    shape : tuple of int
        Spatial shape to cover, 1 to 3 axes.
    overlap : float
        Width of a fade in cells, 0 (cells with sharp edges) to 1 (from centre to centre).
    profile : {"linear", "cosine"}
        Course of a fade. "linear" with an overlap of 1 interpolates between the kernels, which
        follows a field that changes steadily (Nagy and O'Leary 1998); "cosine" has no kinks.
    like : array, optional
        Gives namespace, dtype and device of the result (default: NumPy, float64).

    Returns
    -------
    array, shape ``(prod(grid), *shape)``
        Windows in [0, 1] that sum to 1, the last axis of the grid running fastest.

    Raises
    ------
    TypeError, ValueError
        If the grid does not fit `shape`, `overlap` leaves [0, 1] or the profile is unknown.

    References
    ----------
    Nagy and O'Leary (1998), "Restoring images degraded by spatially variant blur", SIAM J. Sci.
    Comput. 19(4).

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.operators import grid_windows
    >>> windows = grid_windows((2, 3), (40, 60))
    >>> windows.shape, bool(np.allclose(windows.sum(axis=0), 1))
    ((6, 40, 60), True)
    """
    grid, shape = _counts(grid, "grid"), _counts(shape, "shape")
    if not 1 <= len(shape) <= 3:
        raise ValueError(f"shape={shape} has {len(shape)} axes; expected 1 to 3")
    if len(grid) != len(shape) or any(m > n for m, n in zip(grid, shape, strict=True)):
        raise ValueError(
            f"grid={grid} does not fit shape={shape}; expected one number of cells for each axis, "
            f"at most one cell a pixel"
        )
    overlap = number(overlap, "overlap", low=0, high=1)
    choose(profile, PROFILES, "profile")
    other = np.empty(0) if like is None else like
    axes = [
        [_column(values, axis - len(shape), other) for values in _fades(m, n, overlap, profile)]
        for axis, (m, n) in enumerate(zip(grid, shape, strict=True))
    ]
    windows = [functools.reduce(lambda a, b: a * b, cell) for cell in itertools.product(*axes)]
    return namespace(other).stack(windows)


def _counts(values: Any, name: str) -> tuple[int, ...]:
    if not hasattr(values, "__iter__"):
        raise TypeError(f"{name}={values!r}; expected one whole number for each axis")
    return tuple(whole(n, name, low=1) for n in values)


def _fades(cells: int, n: int, overlap: float, profile: str) -> np.ndarray:
    """The windows along one axis, shape (cells, n)."""
    at = (np.arange(n) + 0.5) * cells / n
    rises = [np.ones(n)]
    for edge in range(1, cells):
        t = np.clip((at - edge) / max(overlap, 1e-9) + 0.5, 0, 1)
        rises.append(t if profile == "linear" else np.sin(np.pi / 2 * t) ** 2)
    return -np.diff([*rises, np.zeros(n)], axis=0)


def _column(values: np.ndarray, axis: int, other: Array) -> Array:
    return converted(values.reshape(-1, *[1] * (-axis - 1)), other)


def checked_psfs(psfs: Any, shape: tuple[int, ...]) -> Array:
    """`psfs` as a floating array, each of which can blur images of `shape`, or an error."""
    psfs = floating(psfs, "psfs")
    if psfs.ndim <= len(shape):
        raise ValueError(
            f"psfs have shape {tuple(psfs.shape)}; expected (K, ..., *size) with {len(shape)} "
            f"spatial axes for an image of spatial shape {shape}"
        )
    for i in range(psfs.shape[0]):
        try:
            checked_psf(psfs[i, ...], shape)
        except ValueError as error:
            raise ValueError(f"psfs[{i}]: {error}") from None
    return psfs.copy() if is_numpy(psfs) else psfs


def checked_windows(windows: Any, psfs: Array, frame: Frame) -> Array:
    """`windows` on the domain, with namespace and dtype of the `psfs`, or an error.

    Those given on the frame go on beyond it as they are at its edge.
    """
    windows = floating(windows, "windows")
    count, ndim = psfs.shape[0], frame.ndim
    size = tuple(windows.shape[-ndim:])
    if windows.ndim <= ndim or size not in (frame.shape, frame.domain):
        raise ValueError(
            f"windows have shape {tuple(windows.shape)}; expected ({count}, ..., "
            f"{', '.join(map(str, frame.shape))}), one on the frame for each psf, or the domain "
            f"{frame.domain} in place of the frame"
        )
    if windows.shape[0] != count:
        raise ValueError(f"windows are {windows.shape[0]}, psfs are {count}; expected one each")
    _check_sum(windows)
    if is_numpy(psfs) != is_numpy(windows) or dtype_name(psfs) != dtype_name(windows):
        windows = converted(windows, psfs)
    if size == frame.shape and not frame.is_domain:
        return _continued(windows, frame)
    return windows.copy() if is_numpy(windows) else windows


def _check_sum(windows: Array) -> None:
    """An error that says where windows are negative or do not sum to 1."""
    xp, values = namespace(windows), detached(windows)
    least = float(xp.min(values))
    if math.isnan(least):
        raise ValueError("windows hold NaN; expected finite values")
    if least < 0:
        raise ValueError(f"windows have {least:g} at {_where(-values)}; expected none below 0")
    total = xp.sum(values, axis=0)
    error = xp.abs(total - 1)
    if float(xp.max(error)) > SUM_TOLERANCE:
        at = _where(error)
        raise ValueError(
            f"windows sum to {float(total[at]):g} at {at}; expected 1 everywhere: divide them by "
            f"their sum"
        )


def _where(x: Array) -> tuple[int, ...]:
    """Index of the largest element."""
    flat = int(namespace(x).argmax(namespace(x).reshape(x, (-1,))))
    return tuple(int(i) for i in np.unravel_index(flat, tuple(x.shape)))


def _continued(windows: Array, frame: Frame) -> Array:
    """Frame to domain, the edge pixels repeated."""
    xp = namespace(windows)
    for axis, (n, d, o) in enumerate(zip(frame.shape, frame.domain, frame.origin, strict=True)):
        index = np.clip(np.arange(d) - o, 0, n - 1)
        at = index if is_numpy(windows) else xp.asarray(index.tolist(), device=device(windows))
        windows = xp.take(windows, at, axis=windows.ndim - frame.ndim + axis)
    return windows
