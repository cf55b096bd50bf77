r"""How noise, image spectrum and regularisation weights are found from the picture itself.

A blurred picture's periodogram P has the expectation ``V = sigma^2 + |K|^2 S`` with the otf K,
white noise, and the spectrum of the sharp picture, ``S = c / (f0^2 + |f|^2)^(p/2)``. The unknowns
maximise Whittle's marginal likelihood, ``argmin sum log V + P / V``. The sum runs over some hundred
bins of ``(log |f|, log |K|^2)``, not over frequencies: a fit costs a millisecond at any size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from deconv import fft
from deconv.arrays import Array, floating, is_numpy, namespace, to_numpy, whole
from deconv.periodogram import ROUNDING, Layout, Look, layout, look, radius, response
from deconv.spectrum import fit_shape

__all__ = ["Evidence", "estimate", "fit", "gcv", "power_law", "rows", "sure", "table"]

BINS = 24  # along each of log |f| and log |K|^2
LOWEST = 2.5  # below this many cycles per frame the window leaks
DARK = 1e-8  # |K|^2 below this carries no signal in any picture
LOG_DARK = math.log(DARK)
FLOOR = 0.1  # fraction of the frequencies that the floor estimate uses
SLOPES = (0.5, 6.0)  # range of p
LEAST = 1e-6  # sigma is at least this fraction of the picture's standard deviation
TINY = 1e-18  # and at least this: its square is a float32


@dataclass(frozen=True)
class Evidence:
    """What a blurred picture tells about itself; arrays over its leading axes.

    Attributes
    ----------
    sigma : array
        Standard deviation of the noise, in image units; always positive.
    power : array
        c of the sharp picture's spectrum ``S = c / (f0^2 + |f|^2)``, in squared image units.
    f0 : array
        Corner frequency in cycles per pixel: half a cycle per frame.
    dof : array
        Fraction of the degrees of freedom that the data determine, ``mean |K|^2 S / V``, in (0, 1).
    gradient : array
        Root-mean-square gradient of the sharp picture that the spectrum implies.
    reliable : bool
        False where the otf has no frequencies dark enough to tell noise from texture: sigma may
        then be too high, and giving it is better.
    shape : array (..., n) or None
        Coefficients of `deconv.spectrum.signal_power`, if asked for: the sharp picture's spectrum
        with a slope and directions of its own.
    """

    sigma: np.ndarray
    power: np.ndarray
    f0: np.ndarray
    dof: np.ndarray
    gradient: np.ndarray
    reliable: bool
    shape: np.ndarray | None = None


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

    1. Periodogram P under a Hann window, without the frequencies |f| < 2.5 / n.
    2. Three estimates of sigma: *floor*, median(P) / ln 2 over the tenth of the frequencies with
       the smallest ``|K|^2 / |f|^2``; *MAD* of the finest diagonal wavelet band; *ML* over
       (sigma, c, p). Their verdict is ``max(ML, min(floor, MAD))``: ML takes too little where the
       power law fails, the others too much where texture remains.
    3. With that sigma, or the given one, p = 2 and c by maximum likelihood; a free p loses on
       natural pictures.

    ``python -m benchmarks.noise`` prints bias and spread of sigma on natural pictures.

    Parameters
    ----------
    image : array (..., *spatial)
        Blurred picture in any unit. NaN pixels have weight 0.
    psf : array (..., *spatial)
        Point spread function; leading axes broadcast against the image's.
    sigma : float or array over the leading axes, optional
        Standard deviation of the noise, where known.
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

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, `sigma` is negative or `weights` leave [0, 1].
    """
    view = _view(image, psf, weights, ndim, periodic, max_pixels)
    noise = _noise(sigma, view.lead)
    results, shapes = [], []
    for index, seen, bright in view.channels():
        found = _estimate(seen, bright, view, None if noise is None else float(noise[index]))
        results.append(found)
        if shape:
            shapes.append(_shape(seen, bright, view, *found[:2]))
    columns = np.array(results, float).T.reshape(5, *view.lead)
    f0 = np.full(view.lead, _corner(view.frame))
    coefficients = np.array(shapes).reshape(*view.lead, -1) if shape else None
    reliable = bool(columns[4].all())
    return Evidence(columns[0], columns[1], f0, columns[2], columns[3], reliable, coefficients)


def power_law(shape: tuple[int, ...], f0: Any, like: Array | None = None) -> Array:
    """``f0^2 + |f|^2`` on the half spectrum of `shape`: the spectrum is ``S = c / power_law``.

    `f0` may be an array over leading axes. The result has the namespace, device and dtype of
    `like` (default: float64 NumPy).

    Examples
    --------
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
    of the prediction ``K x`` up to a constant (Mallows 1973, Stein 1981). Arguments as in `gcv`;
    `sigma` is estimated where it is not given.
    """
    if sigma is None:
        options: Any = {"weights": weights, "ndim": ndim, "max_pixels": max_pixels}
        options["periodic"] = periodic
        sigma = estimate(image, psf, **options).sigma

    def score(r: np.ndarray, power: np.ndarray, share: np.ndarray, noise: float) -> np.ndarray:
        return np.asarray((r * r * power - 2 * noise**2 * r) @ share)

    return _multiplier(score, image, psf, base, weights, ndim, periodic, max_pixels, sigma)


# --- Whittle's likelihood on a table of sufficient statistics ------------------------------------


class Rows(NamedTuple):
    """The frequencies that count, sorted into bins of log(f0^2 + |f|^2) or another law."""

    kept: np.ndarray  # boolean, over the half spectrum
    share: np.ndarray  # how often each of the kept ones counts in the full spectrum
    law: np.ndarray
    row: np.ndarray  # first cell of its row in the table


class Table(NamedTuple):
    """Sufficient statistics per bin of (law, response), for the bins that are not empty."""

    mass: np.ndarray  # how many frequencies
    power: np.ndarray  # mean of the periodogram, or of its logarithm
    law: np.ndarray  # mean log(f0^2 + |f|^2)
    response: np.ndarray  # mean log |K|^2
    rest: float  # variance of the power within the bins


class Law(NamedTuple):
    """A fitted ``V = noise + |K|^2 power / (f0^2 + |f|^2)^(slope / 2)``."""

    noise: float  # sigma^2
    power: float
    slope: float
    cost: float


def rows(law: np.ndarray, share: np.ndarray) -> Rows:
    """Sort the frequencies with `share` > 0 into 24 bins of `law`."""
    kept = share > 0
    law = law[kept]
    low, high = float(law.min()), float(law.max())
    row = ((law - low) * (BINS / max(high - low, 1e-12) * (1 - 1e-6))).astype(np.intp)
    return Rows(kept, share[kept].astype(float), law, row * BINS)


def table(power: np.ndarray, response: np.ndarray, at: Rows) -> Table:
    """Bin a periodogram, or its logarithm, in 24 x 24 cells of (law, log `response`)."""
    response = np.log(np.maximum(response[at.kept], np.float32(DARK)))
    # Blurs pass the mean: log |K|^2 is at most 0, but for rounding and psfs that sum to more.
    width = max(float(response.max()), 1.0) - LOG_DARK
    cell = ((response - np.float32(LOG_DARK)) * (BINS / width * (1 - 1e-6))).astype(np.intp)
    cell += at.row
    power = power[at.kept]
    mass = np.bincount(cell, at.share)
    full = np.flatnonzero(mass)
    mass = mass[full]
    heavy = power * at.share
    columns = [heavy, at.law * at.share, response * at.share]
    means = [np.bincount(cell, column)[full] / mass for column in columns]
    # Not a dot product: BLAS would wake its threads for it, and sleep on a busy machine.
    rest = float((heavy * power).sum() - mass @ means[0] ** 2) / float(mass.sum())
    return Table(mass, means[0], means[1], means[2], rest)


def fit(
    data: Table,
    *,
    noise: float | None = None,
    slope: float | None = None,
    logarithmic: bool = False,
    start: Law | None = None,
    tol: float = 1e-9,
) -> Law:
    """Fit (noise, power, slope), or those not given, to a table.

    Maximises Whittle's likelihood, or with `logarithmic` (a table of log P) minimises the variance
    of ``log P - log V``: less efficient where the model is true, but deaf to the peaks that
    repeated structures raise. Fisher scoring in (log noise, log power, slope) with Levenberg's
    damping, until no unknown moves by more than `tol`.
    """
    weight = data.mass / data.mass.sum()
    power = np.exp(data.power) if logarithmic else data.power
    low = math.log(LEAST**2 * float(weight @ power))
    unknown = np.array([noise is None, True, slope is None])
    theta = _start(data, weight, power, noise, slope) if start is None else np.log(start[:3])
    if start is not None:
        theta[2] = start.slope
    theta[0] = max(theta[0] if noise is None else math.log(max(noise, 1e-300)), low)
    theta[2] = theta[2] if slope is None else slope

    def model(theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        lit = np.exp(theta[1] + data.response - 0.5 * theta[2] * data.law)
        variance = np.exp(theta[0]) + lit
        if logarithmic:
            misfit = np.log(variance) - data.power
            return float(weight @ misfit**2), lit / variance, misfit
        ratio = power / variance
        return float(weight @ (np.log(variance) + ratio)), lit / variance, 1 - ratio

    damping = 1e-3
    cost, bright, misfit = model(theta)
    for _ in range(100):
        jacobian = np.stack([1 - bright, bright, -0.5 * data.law * bright])[unknown]
        heavy = jacobian * weight
        fisher = heavy @ jacobian.T
        diagonal = fisher.ravel()[:: len(fisher) + 1]
        diagonal *= 1 + damping
        diagonal += 1e-9
        trial = theta.copy()
        trial[unknown] -= np.clip(np.linalg.solve(fisher, heavy @ misfit), -2, 2)
        trial[0] = max(trial[0], low)
        trial[2] = min(max(trial[2], SLOPES[0]), SLOPES[1])
        found = model(trial)
        moved = float(np.abs(trial - theta).max())
        if found[0] <= cost:
            theta, (cost, bright, misfit) = trial, found
            damping *= 0.1
        else:
            damping *= 10
        if moved < tol or damping > 1e6:
            break
    noise, power_, slope = math.exp(theta[0]), math.exp(theta[1]), float(theta[2])
    return Law(noise, power_, slope, cost + data.rest if logarithmic else cost)


def _start(
    data: Table, weight: np.ndarray, power: np.ndarray, noise: float | None, slope: float | None
) -> np.ndarray:
    """Noise from the darkest tenth of the table; the signal from what the mean has above it."""
    slope = 2.0 if slope is None else slope
    shape = np.exp(data.response - 0.5 * slope * data.law)
    if noise is None:
        order = np.argsort(shape)
        dark = order[: max(1, int(np.searchsorted(np.cumsum(weight[order]), FLOOR)))]
        noise = float(weight[dark] @ power[dark]) / float(weight[dark].sum())
    noise = max(noise, 1e-300)
    signal = float(weight @ np.maximum(power - noise, 0.01 * power)) / float(weight @ shape)
    return np.array([math.log(noise), math.log(max(signal, 1e-300)), slope])


# --- one channel ---------------------------------------------------------------------------------


class Grid(NamedTuple):
    """What depends on the layout alone, float32 over the half spectrum."""

    squared: np.ndarray  # |f|^2, infinite where the frequency is dropped
    base: np.ndarray  # f0^2 + |f|^2
    rows: Rows  # of its logarithm
    share: np.ndarray  # 1 or 2; 0 where dropped
    whole: np.ndarray  # 1 or 2
    slope: float  # mean of |gradient's otf|^2 / base


@lru_cache(maxsize=8)
def grid_of(plan: Layout, corner: float) -> Grid:
    squared, cycles = radius(plan.tile, plan.grid)
    base = squared + np.float32(corner**2)
    whole = np.broadcast_to(fft.parseval_weights(plan.grid[-1], squared), squared.shape)
    kept = cycles >= LOWEST**2
    if kept.sum() < 8:  # a picture of a few pixels: all but the mean
        kept = squared > 0
    axes = fft.frequencies(plan.grid, squared)
    roughness = sum((2 - 2 * np.cos(2 * np.pi * f) for f in axes), np.zeros_like(squared))
    slope = float((whole * roughness / base).sum(dtype=float) / whole.sum(dtype=float))
    if not kept.any():  # a single pixel
        kept = np.ones_like(kept)
    return Grid(
        np.where(kept, squared, np.float32(np.inf)),
        base,
        rows(np.log(base), whole * kept),
        whole * kept,
        np.ascontiguousarray(whole),
        slope,
    )


def _corner(frame: tuple[int, ...]) -> float:
    return float(0.5 / math.prod(frame) ** (1 / len(frame)))


def _estimate(
    seen: Look, bright: np.ndarray, view: _View, noise: float | None
) -> tuple[float, ...]:
    """(sigma, power, dof, gradient, reliable) of one channel, in image units."""
    grid = grid_of(view.plan, _corner(view.frame))
    if seen.scale == 0:  # constant: nothing but rounding, and no spectrum to speak of
        sigma = max(noise or 0.0, seen.level * ROUNDING, TINY)
        power, reliable = sigma**2, True
        scale = 1.0
    else:
        scale = seen.scale
        data = table(seen.periodograms.mean(0), bright, grid.rows)
        if noise is None:
            dark, floor = _floor(seen, bright, grid)
            known = [s for s in (floor, seen.mad) if not math.isnan(s)]
            sigma = max(math.sqrt(fit(data).noise), min(known), LEAST)
        else:
            sigma = max(noise / scale, LEAST)
        power = fit(data, noise=sigma**2, slope=2.0).power
        # Where all is noise, keep the mean and what varies as slowly as the frame.
        power = max(power, sigma**2 * _corner(view.frame) ** 2)
        reliable = noise is not None or bool(power * dark <= sigma**2)
    ratio = bright / (bright + (sigma**2 / power) * grid.base)
    dof = float(np.vdot(ratio, grid.whole)) / float(grid.whole.sum(dtype=float))
    return sigma * scale, power * scale**2, dof, math.sqrt(power * grid.slope) * scale, reliable


def _shape(seen: Look, bright: np.ndarray, view: _View, sigma: float, power: float) -> np.ndarray:
    """Coefficients of the spectrum's own shape, in image units."""
    corner = _corner(view.frame)
    scale = seen.scale or sigma
    theta = fit_shape(
        seen.periodograms.mean(0),
        bright,
        view.plan.grid,
        grid_of(view.plan, corner).share,
        noise=(sigma / scale) ** 2,
        power=power / scale**2,
        f0=corner,
    )
    theta[0] += 2 * math.log(scale)
    return theta


def _floor(seen: Look, bright: np.ndarray, grid: Grid) -> tuple[float, float]:
    """Median |K|^2 / base over the darkest tenth of the frequencies, and sigma from them."""
    ratio = (bright / grid.squared).ravel()
    kept = int(np.count_nonzero(grid.share))
    darkest = np.argpartition(ratio, max(int(FLOOR * kept), 1) - 1)[: max(int(FLOOR * kept), 1)]
    power = seen.periodograms.reshape(len(seen.periodograms), -1)[:, darkest]
    # A periodogram of Gaussian noise is exponentially distributed.
    sigma = math.sqrt(float(np.median(power)) / math.log(2))
    return float(np.median(bright.ravel()[darkest] / grid.base.ravel()[darkest])), sigma


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
    view = _view(image, psf, weights, ndim, periodic, max_pixels)
    noise = _noise(sigma, view.lead)
    grid = grid_of(view.plan, _corner(view.frame))
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


def _law(base: Any, view: _View, index: tuple[int, ...]) -> np.ndarray:
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


# --- the door ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _View:
    """Validated arguments: everything has the leading axes `lead`."""

    image: np.ndarray
    observed: np.ndarray | None
    psf: np.ndarray
    lead: tuple[int, ...]
    frame: tuple[int, ...]
    plan: Layout

    def channels(self) -> Iterator[tuple[tuple[int, ...], Look, np.ndarray]]:
        """Each channel's index, periodograms and |K|^2."""
        previous, bright = None, np.empty(0)
        for index in np.ndindex(self.lead):
            psf = self.psf[index]
            where = psf.__array_interface__["data"][0]
            if where != previous:  # colours share one psf: transform it once
                previous, bright = where, response(psf, self.plan.grid)
            observed = None if self.observed is None else self.observed[index]
            yield index, look(self.image[index], observed, self.plan), bright


def _view(
    image: Any, psf: Any, weights: Any, ndim: int | None, periodic: bool, max_pixels: int
) -> _View:
    image = to_numpy(floating(image, "image"))
    psf = to_numpy(floating(psf, "psf"))
    ndim = psf.ndim if ndim is None else whole(ndim, "ndim", low=1)
    whole(max_pixels, "max_pixels", low=1)
    if not 1 <= ndim <= min(psf.ndim, image.ndim):
        raise ValueError(
            f"image has shape {image.shape} and psf {psf.shape}; expected {ndim} or more axes"
        )
    frame, support = image.shape[-ndim:], psf.shape[-ndim:]
    if any(k > n for k, n in zip(support, frame, strict=True)):
        raise ValueError(f"psf of shape {support} is larger than the image's {frame}")
    if np.isnan(psf).any() or not psf.any():
        raise ValueError("psf has NaN values or is zero everywhere; expected a sum of 1")
    if weights is not None:
        weights = to_numpy(floating(weights, "weights"))
        if not (weights.min() >= 0 and weights.max() <= 1):
            raise ValueError(
                f"weights lie in [{weights.min():g}, {weights.max():g}]; expected [0, 1]"
            )
    try:
        lead = np.broadcast_shapes(image.shape[:-ndim], psf.shape[:-ndim])
        if weights is not None:
            weights = np.broadcast_to(weights, image.shape)
    except ValueError:
        raise ValueError(
            f"image {image.shape}, psf {psf.shape} and weights "
            f"{None if weights is None else weights.shape} do not broadcast to the image"
        ) from None
    observed = None
    if weights is not None and not (weights == 1).all():
        observed = (weights > 0) & (weights >= 0.5 * weights.max())
    known = ~np.isnan(image)
    if not known.all():
        observed = known if observed is None else observed & known
    return _View(
        np.broadcast_to(image, lead + frame),
        None if observed is None else np.broadcast_to(observed, lead + frame),
        np.broadcast_to(psf, lead + support),
        lead,
        frame,
        layout(frame, support, max_pixels, periodic),
    )


def _noise(sigma: Any, lead: tuple[int, ...]) -> np.ndarray | None:
    if sigma is None:
        return None
    noise = to_numpy(floating(sigma, "sigma")).astype(float)
    if not (noise >= 0).all():
        raise ValueError(f"sigma={sigma!r}; expected numbers of at least 0")
    try:
        return np.broadcast_to(noise, lead)
    except ValueError:
        raise ValueError(
            f"sigma has shape {noise.shape}; expected one number, or the leading axes {lead}"
        ) from None
