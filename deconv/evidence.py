r"""How noise, image spectrum and regularisation weights are found from the picture itself.

A blurred picture's periodogram P has the expectation ``V = sigma^2 + |K|^2 S`` with the otf K,
white noise, and the spectrum of the sharp picture, ``S = c / (f0^2 + |f|^2)^(p/2)``. The unknowns
maximise Whittle's marginal likelihood, ``argmin sum log V + P / V``. The sum runs over some hundred
bins of ``(log |f|, log |K|^2)``, not over frequencies: a fit costs a millisecond at any size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from deconv import fft
from deconv.arrays import Array, floating, is_numpy, namespace, to_numpy
from deconv.periodogram import ROUNDING, Look
from deconv.spectrum import fit_shape, signal_power
from deconv.steepness import bulk, slow
from deconv.view import View, noise_of, view_of
from deconv.whittle import FLOOR, LEAST, Grid, Law, Table, corner_of, fit, grid_of, rows, table

__all__ = ["Evidence", "estimate", "gcv", "power_law", "sure"]

LEAK = 1e-2  # what a flat window leaks counts as noise of this fraction of the picture's spread
BELOW, ABOVE = 2.0, 0.8  # bounds of the frame's gradient over its middle's: psfs may be wrong
SURE = 1.05  # a reliable sigma is hardly ever more than this factor too high
TINY = 1e-18  # sigma is at least this: its square is a float32


@dataclass(frozen=True)
class Evidence:
    """What a blurred picture tells about itself; arrays over its leading axes.

    Attributes
    ----------
    sigma : array
        Standard deviation of the noise, in image units; always positive. A given one counts if
        the picture does not surely show more.
    power : array
        c of the sharp picture's spectrum ``S = c / (f0^2 + |f|^2)``, in squared image units.
    f0 : array
        Corner frequency in cycles per pixel: half a cycle per frame.
    dof : array
        Fraction of the degrees of freedom that the data determine, ``mean |K|^2 S / V``, in (0, 1);
        for two axes with the S of the whole frame, scaled to what most of its pixels have.
    gradient : array
        Root-mean-square gradient of the sharp picture by S; for two axes that of the whole frame by
        a spectrum with slope and directions of its own, within 0.5 to 0.8 of what S has. No less
        than the waves have that are too slow to be fitted.
    reliable : bool
        False where the otf has no frequencies dark enough to tell noise from texture: sigma may
        then be too high, and giving it is better.
    shape : array (..., n) or None
        Coefficients of `deconv.spectrum.signal_power`, if asked for: the sharp picture's spectrum
        with a slope and directions of its own.
    typical : array or None
        The gradient that a prior has to do with: `gradient` by S, but that of most pixels where few
        hold nearly all of it, as lamps at night do.

    Examples
    --------
    >>> import deconv
    >>> from skimage import data
    >>> kernel = deconv.psf.gaussian(1.5)
    >>> told = deconv.evidence.estimate(data.camera() / 255, kernel)
    >>> told.power.shape, bool(0 < told.dof < 1)
    ((), True)
    """

    sigma: np.ndarray
    power: np.ndarray
    f0: np.ndarray
    dof: np.ndarray
    gradient: np.ndarray
    reliable: bool
    shape: np.ndarray | None = None
    typical: np.ndarray | None = None

    @property
    def slope(self) -> np.ndarray:
        """`typical`, or `gradient` where that is unknown: what the weight of a prior goes by."""
        return self.gradient if self.typical is None else self.typical


def estimate(
    image: Any,
    psf: Any,
    *,
    sigma: Any = None,
    weights: Any = None,
    ndim: int | None = None,
    shape: bool = False,
    periodic: bool = False,
    max_pixels: int = 2**20,
) -> Evidence:
    """Noise and power-law spectrum of a picture whose psf is known, by marginal likelihood.

    1. Periodogram P under a Hann window, without the frequencies ``|f| < 2.5 / n``.
    2. Three estimates of sigma: *floor*, median(P) / ln 2 over the tenth of the frequencies with
       the smallest ``|K|^2 / |f|^2``; *MAD* of the finest diagonal wavelet band; *ML* over
       (sigma, c, p). Their verdict is ``max(ML, min(floor, MAD))``: ML takes too little where the
       power law fails, the others too much where texture remains.
    3. With that sigma, or a given one that is not plainly too small, p = 2 and c by maximum
       likelihood; a free p loses on natural pictures.
    4. A Hann window sees the middle of the frame, where photographs have most of their detail.
       Of pictures, degrees of freedom and gradient are the frame's: from spectra fitted, with that
       sigma, under a window that is flat but for its rim.

    ``python -m benchmarks.noise`` prints bias and spread of sigma on natural pictures.

    Parameters
    ----------
    image : array, ``(..., *spatial)``
        Blurred picture in any unit. NaN pixels have weight 0.
    psf : array, ``(..., *spatial)``
        Point spread function; leading axes broadcast against the image's.
    sigma : float or array over the leading axes, optional
        Standard deviation of the noise, where known. Where the picture surely shows more, of noise
        or of what its psf cannot explain (clipped pixels, a wrong psf), that counts instead.
    weights : array, optional
        1 where observed, 0 where not; broadcasts against `image`. Pixels of less than half the
        largest weight are left out: a smooth continuation replaces them.
    ndim : int, optional
        Number of spatial axes, the last ones; default all of the psf's.
    shape : bool
        Fit the spectrum's own shape too.
    periodic : bool
        Whether the picture is one period of a periodic scene: then no window is needed.
    max_pixels : int
        A larger picture is estimated on tiles spread over it, this many pixels together.

    Returns
    -------
    Evidence

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, `sigma` is negative or `weights` leave [0, 1].

    References
    ----------
    Galatsanos and Katsaggelos (1992), "Methods for choosing the regularization parameter and
    estimating the noise variance in image restoration and their relation", IEEE TIP 1.

    Examples
    --------
    >>> import deconv
    >>> from skimage import data
    >>> A = deconv.Blur(deconv.psf.gaussian(2.0), (512, 512), boundary="periodic")
    >>> blurred = deconv.noise.simulate(A(data.camera() / 255), sigma=0.01, rng=0)
    >>> float(deconv.evidence.estimate(blurred, A.psf).sigma.round(3))
    0.01
    """
    view = view_of(image, psf, weights, ndim, periodic, max_pixels)
    noise = noise_of(sigma, view.lead)
    results, shapes = [], []
    for index, seen, bright in view.channels(flat=True):
        many = 1.0
        if len(view.frame) == 2:
            observed = None if view.observed is None else view.observed[index]
            many = bulk(view.image[index], observed, view.plan)
        told = None if noise is None else float(noise[index])
        found = _estimate(seen, bright, view, told, many)
        results.append(found)
        if shape:
            scale = seen.scale or found[0]
            law = found[0] / scale, found[1] / scale**2
            shapes.append(_shape(seen.periodograms.mean(0), bright, view, *law))
            shapes[-1][0] += 2 * math.log(scale)
    columns = np.array(results, float).T.reshape(6, *view.lead)
    f0 = np.full(view.lead, corner_of(view.frame))
    coefficients = np.array(shapes).reshape(*view.lead, -1) if shape else None
    reliable = bool(columns[4].all())
    sigmas, powers, dof, gradient, _, typical = columns
    return Evidence(sigmas, powers, f0, dof, gradient, reliable, coefficients, typical)


def power_law(shape: tuple[int, ...], f0: Any, like: Array | None = None) -> Array:
    """``f0^2 + |f|^2`` on the half spectrum of `shape`: the spectrum is ``S = c / power_law``.

    Parameters
    ----------
    shape : tuple of int
        Spatial shape of the pictures.
    f0 : float or array over leading axes
        Corner frequency in cycles per pixel.
    like : array, optional
        Gives the result's namespace, device and dtype; float64 NumPy without it.

    Returns
    -------
    array, ``(..., *spatial)``
        On the half spectrum of `shape`.

    Examples
    --------
    >>> from deconv.evidence import power_law
    >>> power_law((4,), 0.5)
    array([0.25  , 0.3125, 0.5   ])
    """
    like = np.zeros(()) if like is None else like
    axes = fft.frequencies(shape, like)
    squares = sum((f * f for f in axes[1:]), axes[0] * axes[0])
    corner = np.asarray(to_numpy(f0), float) ** 2
    if corner.ndim == 0:
        return squares + float(corner)
    corner = corner[(..., *(None,) * len(shape))]
    if is_numpy(like):
        return squares + corner.astype(like.dtype)
    return squares + namespace(like).asarray(
        corner.tolist(), dtype=like.dtype, device=squares.device
    )


def gcv(
    image: Any,
    psf: Any,
    *,
    base: Any = None,
    weights: Any = None,
    ndim: int | None = None,
    periodic: bool = False,
    max_pixels: int = 2**20,
) -> np.ndarray:
    """Multiplier m of a noise-to-signal spectrum, ``R = m * base``, by cross-validation.

    Minimises ``mean(P r^2) / mean(r)^2`` with ``r = R / (|K|^2 + R)`` (Golub, Heath and Wahba
    1979). As good as `estimate` on average, but at low noise it can fail badly.

    Parameters
    ----------
    image, psf, weights, ndim, periodic, max_pixels
        As in `estimate`.
    base : array, optional
        Form of R, over the half spectrum of any grid; leading axes broadcast. The default is
        `power_law`, which makes m the ratio sigma^2 / c.

    Returns
    -------
    array over the leading axes

    Raises
    ------
    TypeError, ValueError
        As in `estimate`.

    Examples
    --------
    >>> import deconv
    >>> from skimage import data
    >>> kernel = deconv.psf.gaussian(2.0)
    >>> blurred = deconv.Blur(kernel, (512, 512), boundary="periodic")(data.camera() / 255)
    >>> noisy = [deconv.noise.simulate(blurred, sigma=s, rng=0) for s in (0.01, 0.03)]
    >>> bool(deconv.evidence.gcv(noisy[1], kernel) > deconv.evidence.gcv(noisy[0], kernel))
    True
    """

    def score(r: np.ndarray, power: np.ndarray, share: np.ndarray, noise: float) -> np.ndarray:
        return np.asarray((r * r * power) @ share / (r @ share) ** 2)

    return _multiplier(score, image, psf, base, weights, ndim, periodic, max_pixels, None)


def sure(
    image: Any,
    psf: Any,
    *,
    base: Any = None,
    sigma: Any = None,
    weights: Any = None,
    ndim: int | None = None,
    periodic: bool = False,
    max_pixels: int = 2**20,
) -> np.ndarray:
    """Multiplier m of a noise-to-signal spectrum, ``R = m * base``, by Stein's unbiased risk.

    Minimises ``mean(P r^2) - 2 sigma^2 mean(r)`` with ``r = R / (|K|^2 + R)``: the expected error
    of the prediction ``K x`` up to a constant (Mallows 1973, Stein 1981).

    Parameters
    ----------
    image, psf, base, weights, ndim, periodic, max_pixels
        As in `gcv`.
    sigma : float or array over the leading axes, optional
        Standard deviation of the noise; estimated where it is not given.

    Returns
    -------
    array over the leading axes

    Raises
    ------
    TypeError, ValueError
        As in `estimate`.

    Examples
    --------
    >>> import deconv
    >>> from skimage import data
    >>> A = deconv.Blur(deconv.psf.gaussian(2.0), (512, 512), boundary="periodic")
    >>> noisy = deconv.noise.simulate(A(data.camera() / 255), sigma=0.03, rng=0)
    >>> ratio = deconv.evidence.sure(noisy, A.psf, sigma=0.03) / deconv.evidence.gcv(noisy, A.psf)
    >>> bool(0.5 < ratio < 2)
    True
    """
    if sigma is None:
        options: Any = {"weights": weights, "ndim": ndim, "max_pixels": max_pixels}
        options["periodic"] = periodic
        sigma = estimate(image, psf, **options).sigma

    def score(r: np.ndarray, power: np.ndarray, share: np.ndarray, noise: float) -> np.ndarray:
        return np.asarray((r * r * power - 2 * noise**2 * r) @ share)

    return _multiplier(score, image, psf, base, weights, ndim, periodic, max_pixels, sigma)


# --- one channel ---------------------------------------------------------------------------------


def _estimate(
    seen: Look, bright: np.ndarray, view: View, noise: float | None, many: float
) -> tuple[float, ...]:
    """(sigma, power, dof, gradient, reliable, typical) of one channel, in image units."""
    grid = grid_of(view.plan, corner_of(view.frame))
    if seen.scale == 0:  # constant: nothing but rounding, and no spectrum to speak of
        sigma = max(noise or 0.0, seen.level * ROUNDING, TINY)
        power, reliable = sigma**2, True
        scale = 1.0
    else:
        scale = seen.scale
        data = table(seen.periodograms.mean(0), bright, grid.rows)
        dark, floor = _floor(seen, bright, grid)
        known = [s for s in (floor, seen.mad) if not math.isnan(s)]
        free = fit(data)
        sigma = max(math.sqrt(free.noise), min(known), LEAST)
        power = _power(data, view, sigma)
        reliable = _dark(sigma, power, free, *dark)
        if noise is not None:
            # Noise that is not accounted for would have to be scene: where the psf passes little, a
            # scene of any power. So what surely shows counts, though less be told.
            sigma = max(noise / scale, sigma / SURE if reliable else 0.0, LEAST)
            power, reliable = _power(data, view, sigma), True
    dof, gradient = _frame(seen, bright, view, sigma, power, many)
    typical = max(math.sqrt(many) * gradient, min(2 * sigma, gradient))
    gradient = max(gradient, slow(seen.periodograms.mean(0), bright, grid, sigma))
    return sigma * scale, power * scale**2, dof, gradient * scale, reliable, typical * scale


def _power(data: Table, view: View, sigma: float) -> float:
    """Height of the power law beside noise of that sigma."""
    power = fit(data, noise=sigma**2, slope=2.0).power
    # Where all is noise, keep the mean and what varies as slowly as the frame.
    return max(power, sigma**2 * corner_of(view.frame) ** 2)


def _frame(
    seen: Look, bright: np.ndarray, view: View, sigma: float, power: float, many: float
) -> tuple[float, float]:
    """Degrees of freedom and rms gradient of the whole frame, in units of the picture's scale."""
    corner = corner_of(view.frame)
    grid = grid_of(view.plan, corner)
    gradient = math.sqrt(power * grid.steepness(1 / grid.base))
    # In lines and volumes a window that leaks, or a shape, runs away where the psf passes nothing.
    if seen.flat is not None and seen.scale > 0 and len(view.frame) == 2:
        noise = max(sigma, LEAK) if view.plan.tapered else sigma
        if view.plan.tapered:
            found = fit(table(seen.flat, bright, grid.rows), noise=noise**2, slope=2.0).power
            power = min(max(found, power / BELOW**2), power * ABOVE**2)
        theta = _shape(seen.flat, bright, view, noise, power)
        own = math.sqrt(grid.steepness(signal_power(theta, corner, view.plan.grid, seen.flat)))
        gradient = min(max(own, gradient / BELOW), gradient * ABOVE)
    ratio = bright / (bright + (sigma**2 / (many * power)) * grid.base)
    dof = float(np.vdot(ratio, grid.whole)) / float(grid.whole.sum(dtype=float))
    return dof, gradient


def _shape(
    periodogram: np.ndarray, bright: np.ndarray, view: View, sigma: float, power: float
) -> np.ndarray:
    """Coefficients of the spectrum's own shape, in units of the picture's scale."""
    corner = corner_of(view.frame)
    law = {"noise": sigma**2, "power": power, "f0": corner}
    return fit_shape(periodogram, bright, view.plan.grid, grid_of(view.plan, corner).share, **law)


def _dark(sigma: float, power: float, free: Law, response: float, base: float) -> bool:
    """Whether the darkest frequencies show noise: the fitted signals there lie below sigma^2.

    The signal with p = 2 is fitted beside that sigma, so a sigma full of texture leaves it little;
    the free fit, which had all three unknowns, must not explain half of sigma^2 as signal either.
    """
    plain = power * response / base
    bent = free.power * response / base ** (free.slope / 2)
    return bool(max(plain, 2 * bent) <= sigma**2)


def _floor(seen: Look, bright: np.ndarray, grid: Grid) -> tuple[tuple[float, float], float]:
    """Medians of |K|^2 and f0^2 + |f|^2 over the darkest tenth of the frequencies; sigma there."""
    ratio = (bright / grid.squared).ravel()
    n = max(int(FLOOR * np.count_nonzero(grid.share)), 1)
    darkest = np.argpartition(ratio, n - 1)[:n]
    power = seen.periodograms.reshape(len(seen.periodograms), -1)[:, darkest]
    # A periodogram of Gaussian noise is exponentially distributed.
    sigma = math.sqrt(float(np.median(power)) / math.log(2))
    dark = float(np.median(bright.ravel()[darkest])), float(np.median(grid.base.ravel()[darkest]))
    return dark, sigma


def _multiplier(
    score: Callable[..., np.ndarray],
    image: Any,
    psf: Any,
    base: Any,
    weights: Any,
    ndim: int | None,
    periodic: bool,
    max_pixels: int,
    sigma: Any,
) -> np.ndarray:
    """Minimise ``score(r, power, share, noise)`` over m on a log grid, then on ever finer ones."""
    view = view_of(image, psf, weights, ndim, periodic, max_pixels)
    noise = noise_of(sigma, view.lead)
    grid = grid_of(view.plan, corner_of(view.frame))
    result = np.empty(view.lead)
    for index, seen, bright in view.channels():
        at = grid.rows if base is None else rows(_law(base, view, index), grid.share)
        data = table(seen.periodograms.mean(0), bright, at)
        share = data.mass / data.mass.sum()
        level = 0.0 if noise is None or seen.scale == 0 else float(noise[index]) / seen.scale
        middle, reach = -float(share @ data.law), 14.0 * math.log(10) / 2
        for points in (141, 21, 21, 21):
            trials = np.linspace(middle - reach, middle + reach, points)
            ratio = np.exp(data.law + trials[:, None])
            found = score(ratio / (np.exp(data.response) + ratio), data.power, share, level)
            middle, reach = float(trials[np.argmin(found)]), 2 * reach / (points - 1)
        result[index] = math.exp(middle)
    return result


def _law(base: Any, view: View, index: tuple[int, ...]) -> np.ndarray:
    """Logarithm of the spectrum `base`, read at the nearest frequencies of our own grid."""
    base = to_numpy(floating(base, "base"))
    ndim = len(view.frame)
    if base.ndim < ndim or not (base >= 0).all() or not (base > 0).any():
        raise ValueError(
            f"base of shape {base.shape} has its minimum at {base.min():g}; expected a "
            f"non-negative half spectrum of {ndim} axes that is not zero everywhere"
        )
    base = np.broadcast_to(base, (*view.lead, *base.shape[-ndim:]))[index]
    for axis, (n, m) in enumerate(zip(view.plan.grid, base.shape, strict=True)):
        last = axis == ndim - 1
        f = np.fft.rfftfreq(n) if last else np.fft.fftfreq(n)
        place = np.rint(f * 2 * (m - 1)) if last else np.rint(f * m) % m
        base = np.take(base, place.astype(np.intp), axis)
    return np.asarray(np.log(np.maximum(base, 1e-12 * base.max())))
