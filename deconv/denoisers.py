"""Denoisers to plug into a solver: what takes white noise of a known level out of a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from deconv.arrays import choose, number, whole

__all__ = ["DENOISERS", "denoiser"]

Denoiser: TypeAlias = Callable[[np.ndarray, float], np.ndarray]

# In units of the noise; measured on Kodak pictures at sigma 5 to 49 of 255 and in plug-and-play.
TV_WEIGHT = 0.75
NL_MEANS_WIDTH = 0.7
DCT_THRESHOLD = 2.7
SIDE = {1: 16, 2: 8, 3: 4}  # of a block, by the number of spatial axes


def denoiser(name: str = "dct", *, ndim: int = 2) -> Denoiser:
    """A denoiser by its name, to be plugged into a solver: ``denoise(v, sigma)``.

    `v` is a NumPy array ``(..., *spatial)`` with `ndim` spatial axes, in any unit; `sigma` the
    standard deviation of its white noise in the same unit. The result has the shape and dtype of
    `v`, nothing is clipped, and ``denoise(c * v, c * sigma) = c * denoise(v, sigma)``. With
    sigma 0 it is `v`.

    Parameters
    ----------
    name : {"dct", "nl_means", "tv"}
        "dct": hard thresholds on the cosine transform of every 8 x 8 block (4 x 4 x 4 in volumes),
        the overlapping results averaged (Yu and Sapiro 2011), on the colours' principal axes. The
        best of the three and the default.
        "nl_means": non-local means in a 13 x 13 neighbourhood (Buades, Coll and Morel 2005) by
        `skimage.restoration.denoise_nl_means`; colours share their weights.
        "tv": total variation (Rudin, Osher and Fatemi 1992) by
        `skimage.restoration.denoise_tv_chambolle`, each colour on its own. The fastest.
    ndim : int
        Number of spatial axes, 1 to 3.

    Returns
    -------
    callable
        ``denoise(v, sigma)``, as above.

    Raises
    ------
    ValueError
        For an unknown `name` or an `ndim` outside 1 to 3; by the denoiser, for a `v` of fewer axes.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.denoisers import denoiser
    >>> square = np.zeros((64, 64))
    >>> square[16:48, 16:48] = 100
    >>> noisy = square + np.random.default_rng(0).normal(0, 10, square.shape)
    >>> clean = denoiser("dct")(noisy, 10)
    >>> bool(np.abs(clean - square).mean() < np.abs(noisy - square).mean() / 2)
    True
    """
    method = _DENOISERS[choose(name, _DENOISERS, "denoiser")]
    if whole(ndim, "ndim", low=1) > 3:
        raise ValueError(f"ndim={ndim}; expected 1 to 3 spatial axes")

    def denoise(v: np.ndarray, sigma: float) -> np.ndarray:
        sigma = number(sigma, "sigma", low=0)
        if v.ndim < ndim:
            raise ValueError(f"v has shape {v.shape}; expected {ndim} spatial axes or more")
        if sigma == 0:
            return np.array(v)
        # In units of the noise: no method below can then depend on the scale.
        unit = v.dtype.type(sigma)
        channels = (v / unit).reshape(-1, *v.shape[v.ndim - ndim :])
        clean = method(channels).astype(v.dtype, copy=False)
        clean *= unit
        return clean.reshape(v.shape)

    return denoise


def _tv(x: np.ndarray) -> np.ndarray:
    from skimage.restoration import denoise_tv_chambolle

    # Its own stopping rule ends after a few of the dual steps that convergence takes.
    options: dict[str, Any] = {"weight": TV_WEIGHT, "eps": 0, "max_num_iter": 50}
    return np.stack([denoise_tv_chambolle(channel, **options) for channel in x])


def _nl_means(x: np.ndarray) -> np.ndarray:
    from skimage.restoration import denoise_nl_means

    options: dict[str, Any] = {
        "patch_size": 5,
        "patch_distance": 6 if x.ndim < 4 else 3,
        "fast_mode": True,
    }
    options |= {"h": NL_MEANS_WIDTH, "sigma": 1.0}
    flat = x[:, None] if x.ndim == 2 else x  # it knows no images of one axis
    if len(flat) == 1:  # of one channel it would return the transpose
        clean = denoise_nl_means(flat[0], **options)
    else:
        clean = denoise_nl_means(flat, channel_axis=0, **options)
    return np.asarray(clean).reshape(x.shape)


def _dct(x: np.ndarray) -> np.ndarray:
    mean = x.mean(axis=tuple(range(1, x.ndim)), keepdims=True)
    centred = (x - mean).reshape(x.shape[0], -1)
    _, axes = np.linalg.eigh(centred @ centred.T)
    turned = (axes.T @ centred).reshape(x.shape)
    clean = np.stack([_dct_channel(channel) for channel in turned])
    return np.asarray((axes @ clean.reshape(x.shape[0], -1)).reshape(x.shape) + mean)


def _dct_channel(x: np.ndarray) -> np.ndarray:
    """One channel with noise of 1, by thresholds on the transforms of all its blocks."""
    from scipy.fft import dct

    side = SIDE[x.ndim]
    basis = transform = dct(np.eye(side), axis=0, norm="ortho")
    for _ in range(x.ndim - 1):
        basis = np.kron(basis, transform)
    basis = basis.astype(x.dtype)
    padded = np.pad(x, side - 1, mode="symmetric")
    total, norm = np.zeros_like(padded), np.zeros_like(padded)
    # The blocks that begin on one line: offsets along the last axis stand before places on it.
    length = padded.shape[-1] - side + 1
    blocks = np.lib.stride_tricks.sliding_window_view(padded, length, axis=-1)

    for line in np.ndindex(*(n - side + 1 for n in padded.shape[:-1])):
        place = tuple(slice(i, i + side) for i in line)
        kept = _product(basis, np.ascontiguousarray(blocks[place]).reshape(-1, length))
        large = np.abs(kept) > DCT_THRESHOLD
        large[0] = True
        kept *= large
        # A block of few coefficients has little noise left, and so counts for more.
        weight = 1 / np.count_nonzero(large, axis=0).astype(x.dtype)
        clean = (_product(basis.T, kept) * weight).reshape(*[side] * x.ndim, length)
        for k in range(side):
            total[(*place, slice(k, k + length))] += clean[..., k, :]
            norm[(*place, slice(k, k + length))] += weight
    inside = (slice(side - 1, 1 - side),) * x.ndim
    return np.asarray(total[inside] / norm[inside])


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a @ b`` in pieces that BLAS does not share out: on a busy machine its threads stall."""
    out = np.empty((len(a), b.shape[1]), b.dtype)
    for start in range(0, b.shape[1], 64):
        piece = slice(start, start + 64)
        np.matmul(a, b[:, piece], out=out[:, piece])
    return out


_DENOISERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dct": _dct,
    "nl_means": _nl_means,
    "tv": _tv,
}
DENOISERS = tuple(_DENOISERS)
