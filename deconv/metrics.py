"""How good a picture, a prediction or a psf is.

Scores of pictures are scikit-image's; the settings that change the figures are stated. Blind
restorations may lie some pixels off the truth: for them there are scores of aligned pictures, with
the protocol of their literature (`align`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deconv.alignment import Aligned, align
from deconv.arrays import Array, number
from deconv.comparison import finite, numeric, pair, same_shape
from deconv.similarity import psf_similarity

__all__ = [
    "Aligned",
    "align",
    "aligned_psnr",
    "aligned_ssim",
    "error_ratio",
    "i_divergence",
    "psf_similarity",
    "psnr",
    "ssim",
    "success_rate",
]


def psnr(x_true: Array, x: Array, *, data_range: float | None = None) -> float:
    """Peak signal-to-noise ratio in dB, over all pixels and channels; infinite for equal pictures.

    Parameters
    ----------
    x_true, x : array
        Truth and estimate, of one shape and on one scale.
    data_range : float, optional
        The peak; 1 or 255 is usual. Default: maximum minus minimum of `x_true`.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        For different shapes, NaN or infinite values, or a range that is not above 0.

    Examples
    --------
    >>> from deconv.metrics import psnr
    >>> round(psnr([0.0, 0.5, 1.0], [0.1, 0.4, 1.1]), 3)
    20.0
    """
    from skimage.metrics import peak_signal_noise_ratio

    true, estimate = pair(x_true, x, "x_true", "x")
    data_range = _data_range(true, data_range)
    if np.array_equal(true, estimate):
        return math.inf
    return float(peak_signal_noise_ratio(true, estimate, data_range=data_range))


def ssim(
    x_true: Array,
    x: Array,
    *,
    data_range: float | None = None,
    channel_axis: int | None = None,
) -> float:
    """Structural similarity, at most 1, with the settings of Wang et al. 2004.

    That is a Gaussian window with a standard deviation of 1.5 pixels, 11 wide, and population
    covariances; the mean over pixels and channels.

    Parameters
    ----------
    x_true, x : array
        Truth and estimate, of one shape and on one scale, at least 11 pixels along each axis.
    data_range : float, optional
        As in `psnr`.
    channel_axis : int, optional
        Axis of the colours, which are scored one by one. All other axes are spatial.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        As in `psnr`, and for a picture smaller than the window.

    References
    ----------
    Wang, Bovik, Sheikh and Simoncelli (2004), "Image quality assessment: from error visibility to
    structural similarity", IEEE TIP 13.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.metrics import ssim
    >>> scene = np.random.default_rng(0).random((32, 32))
    >>> round(ssim(scene, scene), 3), ssim(scene, scene.T) < 0.5
    (1.0, True)
    """
    from skimage.metrics import structural_similarity

    true, estimate = pair(x_true, x, "x_true", "x")
    data_range = _data_range(true, data_range)
    if channel_axis is not None and not -true.ndim <= channel_axis < true.ndim:
        raise ValueError(f"channel_axis={channel_axis} is out of range for {true.ndim} axes")
    axes = range(true.ndim)
    spatial = [true.shape[i] for i in axes if channel_axis is None or i != axes[channel_axis]]
    if min(spatial) < 11:
        raise ValueError(
            f"x_true has spatial axes {tuple(spatial)}; the window of ssim is 11 wide: "
            f"pass channel_axis if an axis holds colours"
        )
    return float(
        structural_similarity(
            true,
            estimate,
            data_range=data_range,
            channel_axis=channel_axis,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def aligned_psnr(
    x_true: Array,
    x: Array,
    *,
    reach: int = 5,
    step: float = 0.25,
    crop: int = 15,
    data_range: float | None = None,
    channel_axis: int | None = None,
) -> float:
    """Peak signal-to-noise ratio in dB at the best shift, for blind restorations.

    By default the protocol of Levin et al. (2009), stated in `align`. Printed figures have
    ``data_range=1`` for pictures on [0, 1], and compare only where the non-blind step was the same.

    Parameters
    ----------
    x_true, x, reach, step, crop, channel_axis
        As in `align`.
    data_range : float, optional
        The peak. Default: maximum minus minimum of the whole `x_true`.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        As in `align` and `psnr`.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.metrics import aligned_psnr, psnr
    >>> scene = np.random.default_rng(0).random((48, 48))
    >>> off = np.roll(scene, 2, axis=0) + 0.01
    >>> round(psnr(scene, off, data_range=1)), round(aligned_psnr(scene, off, data_range=1))
    (8, 40)
    """
    data_range = _data_range(finite(x_true, "x_true"), data_range)
    found = align(x_true, x, reach=reach, step=step, crop=crop, channel_axis=channel_axis)
    return psnr(found.x_true, found.x, data_range=data_range)


def aligned_ssim(
    x_true: Array,
    x: Array,
    *,
    reach: int = 5,
    step: float = 0.25,
    crop: int = 15,
    data_range: float | None = None,
    channel_axis: int | None = None,
) -> float:
    """Structural similarity at the best shift, for blind restorations.

    `ssim` of the pair that `align` returns: the shift has the least sum of squared differences, not
    the largest similarity.

    Parameters
    ----------
    x_true, x, reach, step, crop, data_range, channel_axis
        As in `aligned_psnr`.

    Returns
    -------
    float
        At most 1.

    Raises
    ------
    TypeError, ValueError
        As in `align` and `ssim`.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.metrics import aligned_ssim, ssim
    >>> scene = np.random.default_rng(0).random((48, 48))
    >>> off = np.roll(scene, 2, axis=0)
    >>> ssim(scene, off) < 0.5, round(aligned_ssim(scene, off), 3)
    (True, 1.0)
    """
    data_range = _data_range(finite(x_true, "x_true"), data_range)
    found = align(x_true, x, reach=reach, step=step, crop=crop, channel_axis=channel_axis)
    return ssim(found.x_true, found.x, data_range=data_range, channel_axis=channel_axis)


def error_ratio(
    x_true: Array,
    x: Array,
    x_known: Array,
    *,
    reach: int = 5,
    step: float = 0.25,
    crop: int = 15,
    channel_axis: int | None = None,
) -> float:
    """How much worse an estimated psf restores than the true one (Levin et al. 2009).

    The sum of squared differences of `x` from the truth over that of `x_known`, each at its own
    best shift. The difficulty of the picture and of the psf drops out: 1 is as good as knowing the
    psf, up to 2 a success, and below 1 is possible where the "true" psf was measured.

    Parameters
    ----------
    x_true, reach, step, crop, channel_axis
        As in `align`.
    x, x_known : array
        Restorations with the estimated and with the true psf, by the same method and settings.

    Returns
    -------
    float
        At least 0; infinite where only `x_known` is exact, 1 where both are.

    Raises
    ------
    TypeError, ValueError
        As in `align`.

    References
    ----------
    Levin, Weiss, Durand and Freeman (2009), "Understanding and evaluating blind deconvolution
    algorithms", CVPR.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.metrics import error_ratio
    >>> scene = np.random.default_rng(0).random((48, 48))
    >>> noise = np.random.default_rng(1).normal(0, 0.01, scene.shape)
    >>> round(error_ratio(scene, scene + 2 * noise, scene + noise), 3)
    4.0
    """
    pair(x_true, x_known, "x_true", "x_known")
    error, known = (
        align(x_true, v, reach=reach, step=step, crop=crop, channel_axis=channel_axis).ssd
        for v in (x, x_known)
    )
    if known == 0:
        return 1.0 if error == 0 else math.inf
    return error / known


def success_rate(ratios: Any, limit: float = 2.0) -> float:
    """Part of the error ratios that are at most `limit`; a missing one is a failure.

    Parameters
    ----------
    ratios : sequence of float
        One `error_ratio` per picture. NaN or None is a picture without result.
    limit : float
        Largest ratio that counts as a success, above 0. Beyond 2, restorations look wrong (Levin
        et al. 2009); name the limit beside the figure.

    Returns
    -------
    float
        On [0, 1].

    Raises
    ------
    TypeError, ValueError
        If there are no ratios, or negative ones.

    Examples
    --------
    >>> from deconv.metrics import success_rate
    >>> success_rate([1.1, 2.0, 3.7, None])
    0.5
    """
    limit = number(limit, "limit", low=0, strict=True)
    try:
        values = np.asarray(ratios, float).reshape(-1)
    except (TypeError, ValueError):
        raise TypeError(f"ratios={ratios!r}; expected numbers, NaN or None where missing") from None
    if values.size == 0:
        raise ValueError("ratios is empty; expected one ratio per picture")
    if (values < 0).any():
        raise ValueError(f"ratios go down to {np.nanmin(values):g}; expected none below 0")
    return float(np.mean(values <= limit))


def i_divergence(y: Array, prediction: Array, *, weights: Array | None = None) -> float:
    """Csiszar's I-divergence, the sum of y log(y / p) - y + p: what Richardson-Lucy decreases.

    Zero where `prediction` equals `y` and positive elsewhere; 0 log 0 is 0, and a prediction of 0
    where `y` is above 0 costs infinitely much. For photon counts it is the negative log-likelihood
    less that of the best conceivable prediction.

    Parameters
    ----------
    y, prediction : array
        Observation and `A(x)`, of one shape and non-negative. NaN in `y` marks unobserved pixels.
    weights : array, optional
        Non-negative, broadcast against `y`.

    Returns
    -------
    float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        For different shapes, negative or infinite values, or NaN in `prediction`.

    References
    ----------
    Csiszar (1991), "Why least squares and maximum entropy?", Ann. Stat. 19.

    Examples
    --------
    >>> from deconv.metrics import i_divergence
    >>> i_divergence([0.0, 2.0], [1.0, 2.0])
    1.0
    """
    from scipy.special import kl_div

    observed = numeric(y, "y")
    predicted = finite(prediction, "prediction")
    same_shape(observed, predicted, "y", "prediction")
    seen = ~np.isnan(observed)
    observed = np.where(seen, observed, 0.0)
    for name, values in (("y", observed), ("prediction", predicted)):
        if values.min() < 0:
            raise ValueError(f"{name} has negative values, down to {values.min():.3g}")
    weighed = seen.astype(np.float64)
    if weights is not None:
        w = finite(weights, "weights")
        if w.min() < 0:
            raise ValueError(f"weights has negative values, down to {w.min():.3g}")
        try:
            weighed = weighed * np.broadcast_to(w, observed.shape)
        except ValueError:
            raise ValueError(
                f"weights has shape {w.shape}; expected one that broadcasts to {observed.shape}"
            ) from None
    # Below this, y / p may underflow and its logarithm with it.
    observed[observed < 1e-200] = 0.0
    counted = weighed > 0
    each = np.maximum(kl_div(observed[counted], predicted[counted]), 0.0)
    return float(np.sum(weighed[counted] * each))


def _data_range(true: np.ndarray, data_range: float | None) -> float:
    if data_range is not None:
        return number(data_range, "data_range", low=0.0, strict=True)
    found = float(np.ptp(true))
    if found == 0:
        raise ValueError(
            "x_true is constant, so its range is 0; pass data_range, for example 1.0 or 255"
        )
    return found
