"""Real FFTs for every array type: the only package that knows an FFT library.

NumPy arrays go to the fastest of ducc0 (where installed), FFTW (where a plan is known or the work
repays measuring one) and scipy.fft; torch tensors to torch.fft; other arrays to their namespace.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

import numpy as np

from deconv.arrays import Array, device, is_numpy, namespace
from deconv.fft.libraries import Ducc, Window, unplanned
from deconv.fft.plans import library, prepare, tune
from deconv.memory import empty, release_memory
from deconv.threads import get_threads, set_threads

__all__ = [
    "centred_rfftn",
    "empty",
    "fast_shape",
    "frequencies",
    "get_threads",
    "irfftn",
    "parseval_weights",
    "prepare",
    "release_memory",
    "rfftn",
    "set_threads",
    "tune",
]


def rfftn(x: Array, ndim: int, *, out: Array | None = None, within: Window | None = None) -> Array:
    """Half spectrum over the last `ndim` axes of the real array `x`.

    Parameters
    ----------
    x : array
        float32 or float64.
    ndim : int
        Number of axes to transform.
    out : array, optional
        Complex NumPy array that receives the result; use the value returned.
    within : tuple of slice, optional
        A promise that x is zero outside these ranges of the transformed axes but the last, which
        saves the transforms of the zero rows.

    Returns
    -------
    array
        complex64 or complex128; the last axis has ``n // 2 + 1`` entries.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv import fft
    >>> fft.rfftn(np.array([1.0, 2.0, 3.0, 4.0]), 1)
    array([10.+0.j, -2.+2.j, -2.+0.j])
    """
    if not is_numpy(x):
        xp = namespace(x)
        return xp.fft.rfftn(x, axes=tuple(range(-ndim, 0)))
    shape = (*x.shape[:-1], x.shape[-1] // 2 + 1)
    if out is None:
        out = empty(shape, np.complex64 if x.dtype == np.float32 else np.complex128)
    library(x.shape, x.dtype.name, ndim).forward(x, out, within)
    return out


def irfftn(
    spectrum: Array,
    shape: tuple[int, ...],
    *,
    out: Array | None = None,
    overwrite: bool = False,
    within: Window | None = None,
) -> Array:
    """Real array of spatial `shape` whose half spectrum over the last axes is `spectrum`.

    Parameters
    ----------
    spectrum : array
        complex64 or complex128.
    shape : tuple of int
        Of the transformed axes, in the result.
    out : array, optional
        Real NumPy array that receives the result; use the value returned.
    overwrite : bool
        Whether the contents of `spectrum` may be destroyed, which saves a copy.
    within : tuple of slice, optional
        The ranges of the transformed axes but the last that are needed; what the result holds
        elsewhere is undefined.

    Returns
    -------
    array
        float32 or float64, ``(..., *shape)``.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv import fft
    >>> x = np.random.default_rng(0).random((3, 6, 8))
    >>> bool(np.allclose(fft.irfftn(fft.rfftn(x, 2), (6, 8)), x))
    True
    """
    ndim = len(shape)
    if not is_numpy(spectrum):
        xp = namespace(spectrum)
        return xp.fft.irfftn(spectrum, s=shape, axes=tuple(range(-ndim, 0)))
    full = (*spectrum.shape[:-ndim], *shape)
    if out is None:
        out = empty(full, np.float32 if spectrum.dtype == np.complex64 else np.float64)
    library(full, out.dtype.name, ndim).inverse(spectrum, out, overwrite, within)
    return out


def centred_rfftn(small: Array, shape: tuple[int, ...]) -> Array:
    """Half spectrum, on the domain `shape`, of a small array whose centre ``size // 2`` is origin.

    One axis at a time, padded just before its own transform: the zero rows of a psf in a large
    domain are never transformed, which halves the cost of a full FFT.

    Parameters
    ----------
    small : array
        Real, such as a psf; all its axes are spatial, or leading ones come first.
    shape : tuple of int
        Of the domain, at least as large.

    Returns
    -------
    array
        complex64 or complex128.

    Examples
    --------
    The otf of a symmetric psf is real:

    >>> import numpy as np
    >>> from deconv import fft
    >>> otf = fft.centred_rfftn(np.array([0.25, 0.5, 0.25]), (8,))
    >>> otf.real.round(3), bool(np.allclose(otf.imag, 0))
    (array([1.   , 0.854, 0.5  , 0.146, 0.   ]), True)
    """
    ndim = len(shape)
    spectrum = small
    for axis in range(-1, -ndim - 1, -1):
        spectrum = _wrapped(spectrum, axis, shape[axis])
        spectrum = _fft_axis(spectrum, axis, real=axis == -1)
    return spectrum


def _wrapped(x: Array, axis: int, n: int) -> Array:
    """`x` zero-padded to length `n` along `axis`, its centre rolled to index 0."""
    size = x.shape[axis]
    head = size - size // 2
    after, before = _along(axis, slice(size // 2, None)), _along(axis, slice(0, size // 2))
    shape = list(x.shape)
    if is_numpy(x):
        shape[axis] = n
        out = empty(tuple(shape), x.dtype)
        out[_along(axis, slice(0, head))] = x[after]
        out[_along(axis, slice(head, n - size // 2))] = 0
        out[_along(axis, slice(n - size // 2, None))] = x[before]
        return out
    shape[axis] = n - size
    xp = namespace(x)
    gap = xp.zeros(tuple(shape), dtype=x.dtype, device=device(x))
    return xp.concat([x[after], gap, x[before]], axis=axis)


def _along(axis: int, part: slice) -> tuple[Any, ...]:
    return (..., part, *[slice(None)] * (-axis - 1))


def _fft_axis(x: Array, axis: int, *, real: bool) -> Array:
    if not is_numpy(x):
        transform = namespace(x).fft.rfft if real else namespace(x).fft.fft
        return transform(x, axis=axis)
    if real:
        return rfftn(x, 1)
    if unplanned() is Ducc:
        ducc = importlib.import_module("ducc0.fft")
        return ducc.c2c(x, axes=(x.ndim + axis,), out=x, nthreads=get_threads())
    return importlib.import_module("scipy.fft").fft(
        x, axis=axis, overwrite_x=True, workers=get_threads()
    )


@lru_cache(maxsize=1024)
def _fast_length(n: int, last: bool) -> int:
    if n <= 6:
        return n + (n % 2 if last else 0)
    primes = (2, 3, 5, 7) if last else (2, 3, 5, 7, 11)
    while True:
        rest = n
        for p in primes:
            while rest % p == 0:
                rest //= p
        # A row stride of a multiple of 1024 makes whole columns share a cache set.
        if rest == 1 and not (last and (n % 2 or n % 1024 == 0)):
            return n
        n += 1


def fast_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The smallest FFT-friendly shape that holds `shape`.

    The last axis becomes even and 2-3-5-7-smooth, but no multiple of 1024; the others become
    2-3-5-7-11-smooth. A good size is worth a factor of 1.3 to 4.5, and a power of two is often
    slower than its neighbours.

    Parameters
    ----------
    shape : tuple of int
        What is to fit.

    Returns
    -------
    tuple of int
        At least as long along every axis.

    Examples
    --------
    >>> from deconv import fft
    >>> fft.fast_shape((527, 527))
    (528, 540)
    """
    return (*(_fast_length(n, False) for n in shape[:-1]), _fast_length(shape[-1], True))


def frequencies(shape: tuple[int, ...], like: Array) -> tuple[Array, ...]:
    """Frequency along each axis in cycles per pixel, shaped to broadcast to the half spectrum.

    Parameters
    ----------
    shape : tuple of int
        Spatial shape.
    like : array
        Gives the result's namespace, device and real dtype.

    Returns
    -------
    tuple of array
        One for each axis.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv import fft
    >>> fy, fx = fft.frequencies((4, 6), np.zeros(1))
    >>> fy.shape, fx.round(3)
    ((4, 1), array([[0.   , 0.167, 0.333, 0.5  ]]))
    """
    xp = namespace(like)
    result = []
    for axis, n in enumerate(shape):
        f = np.fft.rfftfreq(n) if axis == len(shape) - 1 else np.fft.fftfreq(n)
        f = f.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        if is_numpy(like):
            result.append(f.astype(like.dtype))
        else:
            result.append(xp.asarray(f.tolist(), dtype=like.dtype, device=device(like)))
    return tuple(result)


def parseval_weights(n: int, like: Array) -> Array:
    """How often each entry of a half spectrum's last axis counts in the full spectrum: 1 or 2.

    Parameters
    ----------
    n : int
        Length of the last axis.
    like : array
        Gives the result's namespace, device and real dtype.

    Returns
    -------
    array (n // 2 + 1,)

    Examples
    --------
    >>> import numpy as np
    >>> from deconv import fft
    >>> x = np.array([1.0, 2.0, 3.0, 4.0])
    >>> weights = fft.parseval_weights(4, x)
    >>> float(weights @ np.abs(fft.rfftn(x, 1)) ** 2) / 4 == float(x @ x)
    True
    """
    xp = namespace(like)
    twice = [1.0] + [2.0] * ((n - 1) // 2) + [1.0] * (1 - n % 2 if n > 1 else 0)
    if is_numpy(like):
        return np.asarray(twice, like.dtype)
    return xp.asarray(twice, dtype=like.dtype, device=device(like))
