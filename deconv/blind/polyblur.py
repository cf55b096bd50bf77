r"""Mild blur taken off at interactive speed: a Gaussian psf from the gradients, and its polynomial.

The sharpest step of a picture that spans black to white has a known slope; blurred by a Gaussian of
standard deviation s across it, its slope is about :math:`f = c / \sqrt{s^2 + b^2}`. So the largest
directional derivative of the picture, its values stretched to [0, 1], gives s in that direction
(Delbracio et al. 2021). The direction of least slope and the one across it make an ellipse.

A polynomial of degree 3 in the blur K then approximates its inverse,

.. math:: p(K) = a_3 K^3 + a_2 K^2 + a_1 K + a_0, \quad a_3 = \alpha / 2 - a_0 + 2, \quad
    a_2 = 3 a_0 - \alpha - 6, \quad a_1 = 5 - 3 a_0 + \alpha / 2

which keeps the mean, makes :math:`p(K) K` flat at low frequencies (a derivative of 0 at K = 1) and
multiplies no frequency, noise included, by more than 1.83. Where it turns a gradient
round, a halo, the picture is mixed with the blurred one until the gradient vanishes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from deconv.arrays import (
    Array,
    channels_first,
    checked,
    choose,
    is_numpy,
    like,
    namespace,
    number,
    to_numpy,
    whole,
)
from deconv.fft import centred_rfftn, irfftn, rfftn
from deconv.operators import BOUNDARIES
from deconv.operators.frame import Frame
from deconv.progress import Callback, report
from deconv.psf.families import gaussian

__all__ = ["polyblur", "polyblur_psf"]

# The two constants of the slope, for derivatives over two pixels: fitted to 79 photographs (every
# fifth of BSDS500's train and test parts and of half-size ImageNet ones) blurred by `gaussian` of
# 0.5 to 3 pixels, for the least mean absolute error of s.
C, B = 0.278, 0.496
# Black and white are these quantiles of the picture.
STRETCH = 1e-4
# Directions in which the slope is measured, over half a turn; between them it is interpolated.
ANGLES, FINE = 6, 36
# The widths that can be told: below the first a picture is sharp, beyond the second it is no mild
# blur.
LEAST, MOST = 0.3, 4.0
# Of the polynomials the one that leaves the finest frequencies as they are.
ALPHA, A0 = 6.0, 1.0


def polyblur(
    image: Any,
    *,
    strength: float = 1.0,
    n_iter: int = 1,
    boundary: str = "unknown",
    weights: Any = None,
    channel_axis: int | None = None,
    callback: Callback | None = None,
) -> Array:
    """Sharpen a slightly blurred picture, given nothing else; quick.

    For blur that is about Gaussian, of 0.5 to 3 pixels: a lens a little out of focus, a picture
    enlarged. Shake needs `deconv.blind.deblur`. A sharp picture changes little, one that has no
    sharp step at all, as of fog, is taken for a blurred one.

    Parameters
    ----------
    image : array (Y, X), or with `channel_axis` one more axis
        In any unit, without NaN.
    strength : float
        How much of the change to make, 0 to 1.
    n_iter : int
        Rounds, each of which finds what blur is left.
    boundary : {"unknown", "periodic", "zero"}
        What lies beyond the frame; see `deconv.Blur`.
    weights : array, optional
        Broadcast against the image; pixels of weight 0 are replaced by their nearest neighbours.
    channel_axis : int, optional
        Axis that holds colours, which share the psf.
    callback : callable, optional
        Called with a `deconv.progress.State` after each round, whose psf is the one that the round
        took off; may raise StopIteration.

    Returns
    -------
    array
        With the shape, floating dtype and scale of `image`, and not clipped.

    Raises
    ------
    TypeError, ValueError
        For bad input, naming the argument, before any work is done.

    References
    ----------
    Delbracio, Garcia-Dorado, Choi, Kelly and Milanfar (2021), "Polyblur: removing mild blur by
    polynomial reblurring", IEEE Trans. Comput. Imaging 7.

    Examples
    --------
    >>> from skimage import data
    >>> import deconv
    >>> from deconv.blind import polyblur
    >>> scene = data.camera() / 255
    >>> A = deconv.Blur(deconv.psf.gaussian(1.5), scene.shape, boundary="periodic")
    >>> restored = polyblur(A(scene))
    >>> bool(deconv.metrics.psnr(scene, restored) > deconv.metrics.psnr(scene, A(scene)) + 1)
    True
    """
    strength = number(strength, "strength", low=0, high=1)
    whole(n_iter, "n_iter", low=1)
    choose(boundary, BOUNDARIES, "boundary")
    values, y = _planes(image, weights, channel_axis)

    def finish(x: np.ndarray) -> Array:
        blended = y + y.dtype.type(strength) * (x - y)
        if channel_axis is None:
            blended = blended[0]
        else:
            blended = np.ascontiguousarray(np.moveaxis(blended, 0, channel_axis))
        return blended if is_numpy(values) else like(blended, values)

    tell = report(callback, n_iter, finish)
    x = y
    for i in range(n_iter):
        sigma, angle = _widths(x)
        psf = gaussian(sigma, angle=angle)
        if max(sigma):
            x = _sharpened(x, psf, boundary)
        stopped = None if max(sigma) else "no blur was found"
        if (tell and tell(i + 1, x, stopped=stopped, psf=psf.copy)) or stopped:
            break
    return finish(x)


def polyblur_psf(image: Any, *, weights: Any = None, channel_axis: int | None = None) -> np.ndarray:
    """The Gaussian psf that `polyblur` takes from a picture.

    Parameters
    ----------
    image, weights, channel_axis
        As in `polyblur`.

    Returns
    -------
    array (y, x)
        float64, odd, sums to 1; a single pixel (1, 1) for a sharp picture. Its two widths, along
        and across any direction, are 0.3 to 4 pixels or 0.

    Examples
    --------
    >>> from skimage import data
    >>> import deconv
    >>> from deconv.blind import polyblur_psf
    >>> A = deconv.Blur(deconv.psf.gaussian(2), data.camera().shape, boundary="periodic")
    >>> psf = polyblur_psf(A(data.camera() / 255))
    >>> bool(deconv.metrics.psf_similarity(psf, deconv.psf.gaussian(2)) > 0.95)
    True
    """
    _, planes = _planes(image, weights, channel_axis)
    sigma, angle = _widths(planes)
    return gaussian(sigma, angle=angle)


# --- the psf -------------------------------------------------------------------------------------


def _widths(planes: np.ndarray) -> tuple[tuple[float, float], float]:
    """Standard deviations across and along the blurriest direction, and the angle for `gaussian`.

    `planes` are (C, Y, X); the mean of the channels is looked at.
    """
    grey = planes[0] if len(planes) == 1 else planes.mean(axis=0)
    low, high = _ends(grey)
    if not high > low or min(grey.shape) < 3:
        return (0.0, 0.0), 0.0
    clipped = np.clip(grey, low, high)
    dy = clipped[2:, 1:-1] - clipped[:-2, 1:-1]
    dx = clipped[1:-1, 2:] - clipped[1:-1, :-2]
    slope = _slopes(dy, dx) / (2 * (high - low))
    # Directions beyond both ends of the half turn: it closes.
    at = np.arange(-2, ANGLES + 3)
    fine = np.arange(FINE) * ANGLES / FINE
    from scipy.interpolate import CubicSpline

    smooth = CubicSpline(at, slope[at % ANGLES])(fine)
    blurriest = int(smooth.argmin())
    across = float(smooth[(blurriest + FINE // 2) % FINE])
    along = _width(float(smooth[blurriest]))
    return (_width(across), along), blurriest * 180 / FINE


def _ends(grey: np.ndarray) -> tuple[float, float]:
    """Black and white."""
    skip = int(STRETCH * grey.size)
    ordered = np.partition(grey.reshape(-1), (skip, grey.size - 1 - skip))
    return float(ordered[skip]), float(ordered[-1 - skip])


def _slopes(dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """Largest derivative in each direction: counter-clockwise as seen on screen, y pointing down.

    A gradient counts in no direction whose slope is larger than its length. So a few of the longest
    bound the slopes from below, and then those longer than the least bound give them exactly.
    """
    turns = np.arange(ANGLES) * np.pi / ANGLES
    across, down = np.cos(turns)[:, None], np.sin(turns)[:, None]
    power = dy * dy + dx * dx
    slopes = np.full(ANGLES, 0.7 * float(power.max()) ** 0.5)
    for _ in range(2):
        strong = power >= 0.999 * slopes.min() ** 2
        slopes = np.abs(across * dx[strong] - down * dy[strong]).max(axis=1)
    return slopes


def _width(slope: float) -> float:
    """Standard deviation of the blur that leaves this slope; 0 where it is too small to tell."""
    squared = (C / max(slope, 1e-6)) ** 2 - B**2
    return 0.0 if squared < LEAST**2 else min(float(squared) ** 0.5, MOST)


# --- the restoration -----------------------------------------------------------------------------


def _sharpened(y: np.ndarray, psf: np.ndarray, boundary: str) -> np.ndarray:
    """The polynomial of a symmetric psf applied to (C, Y, X), without halos."""
    shape = (psf.shape[0], psf.shape[1])
    frame = Frame.place(y.shape[1:], shape, boundary)
    seen = frame.extend(y) if boundary == "unknown" else frame.pad(y)
    # The psf is symmetric: its spectrum is real.
    k = centred_rfftn(psf.astype(y.dtype), frame.domain).real
    spectrum = rfftn(np.ascontiguousarray(seen), 2)
    spectrum *= _polynomial(k)
    x = np.array(frame.crop(irfftn(spectrum, frame.domain)))
    return _without_halos(x, y)


def _polynomial(k: np.ndarray) -> np.ndarray:
    """p(k): near 1 / k for k near 1, and 1 at k = 0."""
    a3, a2 = ALPHA / 2 - A0 + 2, 3 * A0 - ALPHA - 6
    a1 = 5 - 3 * A0 + ALPHA / 2
    result: np.ndarray = ((a3 * k + a2) * k + a1) * k + A0
    return result


def _without_halos(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`x` mixed with `y`, in place, where their gradients point in opposite directions."""
    for sharp, blurred in zip(x, y, strict=True):
        against, power = np.zeros_like(blurred), np.zeros_like(blurred)
        for axis in (0, 1):
            before, after = _step(blurred, axis), _step(sharp, axis)
            power += before * before
            before *= after
            against -= before
        np.maximum(against, 0, out=against)
        power += against
        # Flat areas have no gradient to turn round.
        power[power == 0] = 1
        against /= power
        sharp += against * (blurred - sharp)
    return x


def _step(x: np.ndarray, axis: int) -> np.ndarray:
    """Differences over two pixels, over one at the border."""
    out = np.empty_like(x)
    v, o = (x, out) if axis == 0 else (x.T, out.T)
    if len(v) == 1:
        out[...] = 0
        return out
    np.subtract(v[2:], v[:-2], out=o[1:-1])
    o[0], o[-1] = v[1] - v[0], v[-1] - v[-2]
    return out


# --- layout --------------------------------------------------------------------------------------


def _planes(image: Any, weights: Any, channel_axis: int | None) -> tuple[Array, np.ndarray]:
    """The checked image, and its channels (C, Y, X) with unobserved pixels filled."""
    values, holes = checked(image, "image")
    if holes:
        count = int(np.isnan(to_numpy(values)).sum())
        raise ValueError(
            f"image has {count} NaN pixels; expected none: fill them, or use deconv.blind.deblur"
        )
    first = to_numpy(channels_first(values, 2, channel_axis))
    planes = np.ascontiguousarray(first if channel_axis is not None else first[None])
    if weights is None:
        return values, planes
    given, _ = checked(weights, "weights")
    try:
        given = namespace(given).broadcast_to(given, tuple(values.shape))
    except (ValueError, RuntimeError):
        raise ValueError(
            f"weights has shape {tuple(given.shape)}; expected one that broadcasts to "
            f"{tuple(values.shape)}"
        ) from None
    seen = to_numpy(channels_first(given, 2, channel_axis)) > 0
    return values, _filled(planes, seen if channel_axis is not None else seen[None])


def _filled(planes: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """`planes` with unseen pixels replaced by their nearest neighbours of the same channel."""
    from scipy.ndimage import distance_transform_edt

    if not seen.any(axis=(1, 2)).all():
        raise ValueError("weights are 0 everywhere; expected some pixels above 0")
    filled = [
        plane[tuple(distance_transform_edt(~s, return_distances=False, return_indices=True))]
        for plane, s in zip(planes, seen, strict=True)
    ]
    return np.stack(filled)
