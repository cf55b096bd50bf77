"""Restoration by one convolution with the pseudo-inverse of the psf."""

from __future__ import annotations

from typing import Any

import numpy as np

from deconv import evidence
from deconv.arrays import Array, choose, detached, namespace, number, to_numpy
from deconv.flat import dering
from deconv.operators import Blur, observe
from deconv.problem import posed
from deconv.progress import Callback, report
from deconv.pseudo_inverse import (
    SIZE,
    SPECTRA,
    checked_window,
    power_law_variance,
    pseudo_inverse,
)

__all__ = ["filter_bank"]

# What lies beyond an unknown border does more harm than little noise: without this limit, 0.2 dB
# are lost at noise of 0.2 %, and 6 dB at none.
MOST_SNR = 3000.0


def filter_bank(
    image: Any,
    psf: Any,
    *,
    snr: float | None = None,
    spectrum: str = "power-law",
    rank: int | None = None,
    size: int | None = None,
    boundary: str = "unknown",
    weights: Any = None,
    deringing: float = 0.0,
    channel_axis: int | None = None,
    callback: Callback | None = None,
) -> Array:
    """Restore an image by convolution with the pseudo-inverse of its psf, its noise found.

    One convolution; `deconv.wiener` is 0.6 to 1.3 dB better on photographs with noise of 3 and
    1 %, most of it because it estimates what lies beyond the frame.

    Parameters
    ----------
    image : array (Y, X); with `channel_axis` one axis more
        Blurred image in any unit. NaN pixels are unobserved: they take the average around them.
    psf : array or operator
        Sums to 1, centre at ``size // 2``. With a `channel_axis` it may have one psf per channel.
    snr : float, optional
        Variance of the sharp picture over that of the noise; estimated for each channel when None,
        as 3000 at most where the scene goes on beyond the frame.
    spectrum, rank, size
        See `pseudo_inverse`.
    boundary : {"unknown", "periodic", "zero"}
        What lies beyond the frame; see `deconv.Blur`. The mean level is kept, except with "zero".
    weights : array, optional
        Weight in [0, 1] of each pixel; 0 for unobserved ones.
    deringing : float
        How much of the ringing beside edges to take away, 0 to 1 (`deconv.ringing`).
    channel_axis : int, optional
        Axis that holds colours or separate images.
    callback : callable, optional
        Called once, with a `deconv.progress.State`.

    Returns
    -------
    array
        Restored image with the shape, floating dtype and scale of `image`.

    Raises
    ------
    TypeError, ValueError
        For bad input, naming the argument, before any work is done.

    Examples
    --------
    >>> import numpy as np, deconv
    >>> from deconv import filter_bank
    >>> scene = np.kron(np.random.default_rng(0).random((8, 8)), np.ones((8, 8)))
    >>> A = deconv.Blur(deconv.psf.gaussian(1.5), scene.shape, boundary="periodic")
    >>> restored = filter_bank(A(scene), A.psf, snr=1e4, boundary="periodic")
    >>> bool(np.abs(restored - scene).mean() < 0.7 * np.abs(A(scene) - scene).mean())
    True
    """
    if snr is not None:
        snr = number(snr, "snr", low=0, strict=True)
    choose(spectrum, SPECTRA, "spectrum")
    deringing = number(deringing, "deringing", low=0, high=1)
    seen = observe(image, psf, boundary=boundary, weights=weights, channel_axis=channel_axis)
    A, y = seen.A, seen.y
    if A.ndim != 2:
        raise ValueError(f"psf has {A.ndim} spatial axes; expected 2: filter pairs are for these")
    most = min(A.shape) if A.boundary == "periodic" else SIZE
    size, rank = checked_window(size, rank, min(SIZE, most - 1 + most % 2))
    psfs, lead = to_numpy(A.psf), tuple(y.shape[:-2])
    psfs = np.broadcast_to(psfs, (*lead, *psfs.shape[-2:]))
    ratios = np.broadcast_to(_estimated(A, y) if snr is None else snr, lead)
    if A.weights is not None:
        y = _filled(A, y)
    channels = []
    for i in np.ndindex(lead):
        ratio = float(ratios[i])
        bank = pseudo_inverse(psfs[i], snr=ratio, spectrum=spectrum, rank=rank, size=size)
        channels.append(bank(y[(*i, ...)], boundary=A.boundary))
    x = A.frame.pad(namespace(y).stack(channels) if lead else channels[0])
    tell = report(callback, 1, seen.finish)
    if tell:
        tell(1, x)
    return dering(seen.finish(x), deringing, lambda: posed(seen))


def _estimated(A: Blur, y: Array) -> np.ndarray:
    """The signal-to-noise ratio of each channel, as far as the border lets it count."""
    look: Any = {"weights": A.weights, "ndim": 2, "periodic": A.boundary == "periodic"}
    found = evidence.estimate(detached(y), detached(A.psf), **look)
    ratio = np.asarray(found.power * power_law_variance() / found.sigma**2)
    return ratio if A.boundary == "periodic" else np.minimum(ratio, MOST_SNR)


def _filled(A: Blur, y: Array) -> Array:
    """`y` with unobserved pixels set to the average that the psf sees around them."""
    xp = namespace(y)
    weights = xp.broadcast_to(A.weights, y.shape)
    light, seen = (A.crop(A.blur(A.frame.pad(v))) for v in (weights * y, weights))
    total = xp.sum(weights, axis=(-2, -1), keepdims=True) + 1e-6
    mean = xp.sum(weights * y, axis=(-2, -1), keepdims=True) / total
    # Where the psf sees next to nothing, the mean decides.
    around = (light + 0.01 * mean) / (seen + 0.01)
    return weights * y + (1 - weights) * around
