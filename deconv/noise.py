"""The noise of a picture: its standard deviation, a camera's gain, and simulated exposures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from deconv.arrays import (
    Array,
    channels_first,
    floating,
    is_numpy,
    namespace,
    number,
    to_numpy,
)

__all__ = ["Gain", "estimate_gain", "estimate_sigma", "simulate"]

# High-pass filter of Daubechies' wavelet with two vanishing moments: unit energy, so that white
# noise keeps its standard deviation, and blind to constants and slopes.
_ROOT3 = 3.0**0.5
DB2 = np.array([1 - _ROOT3, _ROOT3 - 3, 3 + _ROOT3, -1 - _ROOT3]) / (4 * 2**0.5)
# Median of |N(0, 1)|: the third quartile of the normal distribution.
MEDIAN_OF_NORMAL = 0.6744897501960817
# What an FFT may leave below 0, in units of the largest value's last digit.
ROUNDING = 16


def estimate_sigma(image: Any, *, channel_axis: int | None = None) -> float | np.ndarray:
    """Estimate the standard deviation of white Gaussian noise, in image units.

    The median absolute value of the finest diagonal db2 wavelet band over 0.6745 (Donoho and
    Johnstone 1994). Fine texture counts as noise: on sharp pictures the estimate is too high at low
    noise. Where the psf is known, `deconv.evidence.estimate` does better.

    Parameters
    ----------
    image : array (Y, X), or of 1 to 4 axes all spatial; with `channel_axis` one axis more
        In any unit. NaN pixels are ignored.
    channel_axis : int, optional
        Axis that holds colours or separate images, each estimated on its own.

    Returns
    -------
    float, or an array (C,) with `channel_axis`
        NaN where too few pixels are known: the filter needs four in a row.

    Raises
    ------
    TypeError, ValueError
        For an image that is none, or with fewer than 1 or more than 4 spatial axes.

    References
    ----------
    Donoho and Johnstone (1994), "Ideal spatial adaptation by wavelet shrinkage", Biometrika 81.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.noise import estimate_sigma
    >>> noise = np.random.default_rng(0).normal(0, 3, (128, 128))
    >>> abs(estimate_sigma(noise) - 3) < 0.2
    True
    """
    image = floating(image, "image")
    ndim = len(image.shape) - (channel_axis is not None)
    if not 1 <= ndim <= 4:
        raise ValueError(f"image has shape {tuple(image.shape)}; expected 1 to 4 spatial axes")
    image = to_numpy(channels_first(image, ndim, channel_axis))
    if channel_axis is None:
        return mad(image)
    return np.array([mad(channel) for channel in image])


@dataclass(frozen=True)
class Gain:
    """A camera's noise: ``variance = gain * (image - offset) + sigma^2``, all in counts.

    Attributes
    ----------
    gain : float
        Counts per detected photon.
    sigma : float
        Standard deviation of the noise in the dark.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv import noise
    >>> steps = np.kron(np.linspace(100, 2000, 64).reshape(8, 8), np.ones((32, 32)))
    >>> camera = noise.estimate_gain(noise.simulate(steps, gain=2.0, sigma=5.0, rng=0))
    >>> abs(camera.gain - 2) < 0.1
    True
    """

    gain: float
    sigma: float


def estimate_gain(image: Any, *, offset: float = 0.0) -> Gain:
    """Gain and read noise of the camera that took a picture, by regression of variance on mean.

    Pixels are sorted by local brightness into bins; a bin's variance is that of the finest
    diagonal db2 band (median absolute value), over the half of its pixels where the smooth part of
    the picture is flattest; a robust line through the bins has the gain as slope (after Foi et al.
    2008). Fine texture everywhere reads as read noise, as in `estimate_sigma`.

    Parameters
    ----------
    image : array (Y, X), or of 1 to 4 axes all spatial
        Camera counts. NaN pixels are ignored, and so is a clipped white.
    offset : float
        Counts without light.

    Returns
    -------
    Gain

    Raises
    ------
    ValueError
        If fewer than some 500 coefficients are known, or brightness does not vary.

    References
    ----------
    Foi, Trimeche, Katkovnik and Egiazarian (2008), "Practical Poissonian-Gaussian noise modeling
    and fitting for single-image raw-data", IEEE Trans. Image Process. 17.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.noise import estimate_gain, simulate
    >>> ramp = np.linspace(20, 2000, 256) * np.ones((256, 1))
    >>> camera = estimate_gain(simulate(ramp, gain=2.0, sigma=5.0, rng=0))
    >>> abs(camera.gain - 2) < 0.1
    True
    """
    image = to_numpy(floating(image, "image")).astype(float)
    offset = number(offset, "offset")
    if not 1 <= image.ndim <= 4 or min(image.shape) < 2 * len(DB2):
        raise ValueError(f"image has shape {image.shape}; expected 1 to 4 axes of 8 or more pixels")
    white = np.nanmax(image) if not np.isnan(image).all() else np.nan
    if np.count_nonzero(image == white) > 1e-3 * image.size:
        image = np.where(image == white, np.nan, image)
    mean, detail, slope = _bands(image - offset)
    known = ~np.isnan(mean + detail + slope)
    mean, detail, slope = mean[known], detail[known], slope[known]
    n_bins = min(64, mean.size // 64)
    if n_bins < 8 or np.ptp(mean) <= 1e-9 * np.abs(mean).max():
        raise ValueError(
            f"image has {mean.size} usable wavelet coefficients between brightness "
            f"{mean.min(initial=np.inf):g} and {mean.max(initial=-np.inf):g}; expected at least "
            f"512 and a brightness that varies"
        )
    level, variance = np.empty(n_bins), np.empty(n_bins)
    for i, members in enumerate(np.array_split(np.argsort(mean), n_bins)):
        flat = members[np.argsort(slope[members])[: members.size // 2 + 1]]
        level[i] = mean[flat].mean()
        variance[i] = (np.median(detail[flat]) / MEDIAN_OF_NORMAL) ** 2
    gain, dark = _line(level, variance)
    return Gain(gain, dark**0.5)


def simulate(
    image: Any,
    *,
    sigma: float = 0.0,
    gain: float | None = None,
    offset: float = 0.0,
    rng: int | np.random.Generator | None = None,
) -> Array:
    """Expose `image` once, with noise: ``gain * Poisson(image / gain) + offset + N(0, sigma^2)``.

    Its variance is ``gain * image + sigma^2``; without `gain` there is no photon noise.

    Parameters
    ----------
    image : array
        Expected counts above the offset; not negative where `gain` is given, but for the rounding
        of an FFT, which counts as 0. NaN stays NaN.
    sigma : float
        Standard deviation of the read noise, in image units.
    gain : float, optional
        Counts per photon.
    offset : float
        Added to every pixel.
    rng : int or numpy.random.Generator, optional

    Returns
    -------
    array of the image's shape, namespace and floating dtype; nothing is clipped or rounded

    Raises
    ------
    TypeError, ValueError
        For a negative `sigma`, a `gain` that is not above 0, or negative counts with `gain`.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.noise import simulate
    >>> float(simulate(np.full((256, 256), 100.0), gain=4.0, rng=0).var().round(-1))
    400.0
    """
    image = floating(image, "image")
    sigma = number(sigma, "sigma", low=0)
    offset = number(offset, "offset")
    generator = np.random.default_rng(rng)
    expected = to_numpy(image)
    clean = expected.astype(float)
    if gain is not None:
        gain = number(gain, "gain", low=0, strict=True)
        least = np.nanmin(clean, initial=0)
        if least < -ROUNDING * np.finfo(expected.dtype).eps * np.nanmax(clean, initial=0):
            raise ValueError(
                f"image goes down to {least:g}; expected counts of at least 0 with gain"
            )
        photons = generator.poisson(np.nan_to_num(clean, nan=0.0).clip(min=0) / gain)
        clean = np.where(np.isnan(clean), np.nan, gain * photons)
    noisy = clean + offset
    if sigma:
        noisy += generator.normal(0, sigma, noisy.shape)
    if is_numpy(image):
        return noisy.astype(image.dtype)
    xp = namespace(image)
    return xp.asarray(noisy, dtype=image.dtype, device=image.device)


# --- wavelet bands -------------------------------------------------------------------------------


def mad(image: np.ndarray, known: np.ndarray | None = None) -> float:
    """Median-absolute-value estimate of sigma of one picture; NaN where nothing can be said.

    `known` is a boolean mask of the observed pixels; NaN pixels are never used. Axes too short to
    filter (a single row) are left as they are.
    """
    axes = [axis for axis, n in enumerate(image.shape) if n >= len(DB2)]
    if not axes:
        return float("nan")
    detail = np.abs(_band(image, axes, DB2)).ravel()
    if known is not None:
        for axis in axes:
            known = np.logical_and.reduce(_taps(known, axis))
        detail = detail[known.ravel()]
    if np.isnan(detail).any():
        detail = detail[~np.isnan(detail)]
    if detail.size == 0:
        return float("nan")
    middle = detail.size // 2
    return float(np.partition(detail, middle)[middle]) / MEDIAN_OF_NORMAL


def _taps(x: np.ndarray, axis: int) -> list[np.ndarray]:
    """List the four samples under the filter at every second position along `axis`."""
    positions = (x.shape[axis] - len(DB2)) // 2 + 1
    before = (slice(None),) * axis
    return [x[(*before, slice(k, k + 2 * positions - 1, 2))] for k in range(len(DB2))]


def _band(image: np.ndarray, axes: Iterable[int], taps: np.ndarray) -> np.ndarray:
    """`image` filtered by the four `taps` along each of `axes`, decimated by two."""
    for axis in axes:
        weights = taps.astype(image.dtype)
        first, *rest = _taps(image, axis)
        band = first * weights[0]
        for sample, weight in zip(rest, weights[1:], strict=True):
            band += sample * weight
        image = band
    return image


def _bands(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Local mean, absolute detail and steepness of the smooth part, for each 4-pixel window.

    Mean and steepness come from bands orthogonal to the detail, so that choosing pixels by them
    does not bias the variance of the detail.
    """
    axes = range(image.ndim)
    smooth = DB2[::-1] * np.array([1, -1, 1, -1]) * -1  # the low-pass of the same wavelet
    mean = _band(image, axes, smooth / smooth.sum())
    detail = np.abs(_band(image, axes, DB2))
    steepness = sum(np.square(np.gradient(mean, axis=axis)) for axis in axes)
    return mean, detail, np.asarray(steepness)


def _line(level: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    """Non-negative (slope, intercept) by least squares on relative residuals, reweighted."""
    from scipy.optimize import nnls

    design = np.stack([level, np.ones_like(level)], 1)
    top = float(variance.max())
    if top == 0:
        return 0.0, 0.0
    scale = np.array([1 / np.abs(level).max(), 1.0])  # both columns of order one
    weight = np.ones_like(level) / top
    found = np.zeros(2)
    for _ in range(20):
        found, _ = nnls(design * scale * weight[:, None], variance * weight)
        fitted = np.maximum(design @ (found * scale), 1e-6 * top)
        relative = variance / fitted - 1
        # Texture only ever adds variance: Cauchy's weights let such bins go.
        spread = max(1.4826 * float(np.median(np.abs(relative))), 1e-6)
        weight = 1 / (fitted * np.sqrt(1 + (relative / (2 * spread)) ** 2))
    gain, dark = found * scale
    return float(gain), float(dark)
