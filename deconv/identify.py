"""`fit_psf`: the parameters of a motion, defocus or Gaussian psf from one blurred picture.

A uniform blur multiplies the picture's spectrum by |K|^2, whose zeros no natural picture has. Of
all psfs of a family the likeliest is the one that leaves a plain power law and white noise behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from deconv import psf as psfs
from deconv.arrays import channels_first, choose, floating, number, to_numpy
from deconv.evidence import estimate
from deconv.periodogram import Layout, look, overlapping, response
from deconv.whittle import Law, fit, grid_of, rows, table

__all__ = ["FAMILIES", "Fit", "fit_psf"]

SIDE = 256  # of the tiles: resolves the zeros of psfs up to about 60 pixels
TILES = 64  # at most so many, spread over the picture
FINE = 0.25  # cycles per pixel
ENTRANTS = 4  # points of the coarse grid that are refined


@dataclass(frozen=True)
class Fit:
    """The psf that explains a picture best.

    Attributes
    ----------
    psf : array
        float64, sums to 1.
    family : str
    parameters : dict
        ``{"length": pixels, "angle": degrees}`` with the angle in [0, 180), ``{"radius": pixels}``
        or ``{"sigma": pixels}``: ``deconv.psf.<family>(**parameters)`` is `psf`.
    sigma : float
        Standard deviation of the noise, in image units; the mean's, for a picture in colour.
    score : float
        Fraction, at most 1, by which the variance of the picture's log spectrum about the model
        falls against no blur at all. Near 0 the picture shows no blur of this family.

    Examples
    --------
    >>> from skimage import data
    >>> import deconv
    >>> scene = data.camera()[100:228, 100:228] / 255
    >>> blurred = deconv.Blur(deconv.psf.gaussian(2.0), scene.shape, boundary="periodic")(scene)
    >>> fit = deconv.fit_psf(blurred, "gaussian", largest=4)
    >>> fit.family, list(fit.parameters), fit.score <= 1
    ('gaussian', ['sigma'], True)
    """

    psf: np.ndarray
    family: str
    parameters: dict[str, float]
    sigma: float
    score: float


class Family(NamedTuple):
    """How to make a psf, where to look for its parameters, and how finely."""

    names: tuple[str, ...]
    make: Callable[..., np.ndarray]
    largest: float  # default upper end of the first parameter
    grid: Callable[[float], Iterable[tuple[float, ...]]]
    steps: Callable[[tuple[float, ...]], tuple[float, ...]]  # about the grid's spacing
    slope: float | None = None  # of the sharp picture's spectrum, where it must be held


def _motion_grid(largest: float) -> Iterator[tuple[float, ...]]:
    for length in np.arange(2.0, largest + 1, 1.75):
        for angle in np.arange(0, 180, _turn(length)):
            yield float(length), float(angle)


def _turn(length: float) -> float:
    """Angle by which a line's ends move by about a pixel."""
    return 180 / math.ceil(180 / min(20.0, 115 / length))


FAMILIES = {
    "motion": Family(
        ("length", "angle"), psfs.motion, 50.0, _motion_grid, lambda at: (1.0, _turn(at[0]) / 2)
    ),
    "defocus": Family(
        ("radius",),
        psfs.defocus,
        20.0,
        lambda largest: ((float(r),) for r in np.arange(0.75, largest + 0.25, 0.25)),
        lambda at: (0.15,),
    ),
    "gaussian": Family(
        ("sigma",),
        psfs.gaussian,
        10.0,
        lambda largest: ((float(s),) for s in np.geomspace(0.4, largest, 40)),
        lambda at: (0.05 * at[0],),
        # Without zeros to go by, a steeper power law would pass for blur. Natural pictures have
        # 2.2 on average; with a free slope fewer are found (benchmarks/identify.py).
        slope=2.2,
    ),
}


def fit_psf(
    image: Any,
    family: str,
    *,
    channel_axis: int | None = None,
    weights: Any = None,
    largest: float | None = None,
) -> Fit:
    """Find the psf of a family that blurred a picture, from the picture alone.

    The periodogram P is averaged over half-overlapping Hann-windowed tiles. For each candidate psf,
    noise, power and slope of ``V = sigma^2 + |K|^2 c / |f|^p`` are fitted to it as in
    `deconv.evidence`, by the variance of ``log P - log V``, which repeated structures disturb less
    than the likelihood itself. The best candidates of a coarse grid are refined by Nelder and
    Mead's method. ``python -m benchmarks.identify`` prints how often it succeeds.

    Parameters
    ----------
    image : array (Y, X), with `channel_axis` one axis more
        Blurred picture in any unit; of colours the mean is used. NaN pixels have weight 0. It
        should be at least four times as wide as the psf.
    family : {"motion", "defocus", "gaussian"}
    channel_axis : int, optional
        Axis of the colours.
    weights : array (Y, X), optional
        1 where observed, 0 where not: a rectangle of ones selects a region with one blur.
    largest : float, optional
        Upper end of the search, in pixels: of the length (default 50), the radius (20) or sigma
        (10); never more than a quarter of the picture's shorter side.

    Returns
    -------
    Fit

    Raises
    ------
    TypeError, ValueError
        For an unknown family, a picture that is constant or narrower than 32 pixels, or weights
        that do not fit.

    References
    ----------
    Cannon 1976, "Blind deconvolution of spatially invariant image blurs with phase", for zeros of
    averaged log spectra; Geweke and Porter-Hudak 1983 for regression on the log periodogram.

    Examples
    --------
    >>> from skimage import data
    >>> import deconv
    >>> scene = data.camera()[100:356, 100:356] / 255
    >>> blurred = deconv.Blur(deconv.psf.defocus(4.0), scene.shape, boundary="periodic")(scene)
    >>> fit = deconv.fit_psf(blurred, "defocus", largest=8)
    >>> abs(fit.parameters["radius"] - 4) < 0.5
    True
    """
    kind = FAMILIES[choose(family, FAMILIES, "family")]
    picture, observed = _luminance(image, channel_axis, weights)
    most = min(picture.shape) / 4
    if largest is not None:
        largest = number(largest, "largest", low=0, strict=True)
    largest = min(kind.largest if largest is None else largest, most)
    cost = _Cost(picture, observed, kind.slope)

    def price(at: tuple[float, ...]) -> float:
        # Nelder and Mead's method knows no bounds; a psf has no negative size.
        if not 0 <= at[0] <= most:
            return math.inf
        return cost(kind.make(*at))

    sharp = cost(np.ones((1, 1)))
    grid = list(kind.grid(largest))
    prices = [cost(kind.make(*at), roughly=True) for at in grid]
    best, found = sharp, (0.0,) * len(kind.names)
    for at in _entrants(grid, prices, kind.steps):
        refined, value = _refine(price, at, kind.steps(at))
        if value < best:
            best, found = value, refined
    parameters = dict(zip(kind.names, found, strict=True))
    if "angle" in parameters:
        parameters["angle"] %= 180.0
    psf = kind.make(**parameters)
    shown = picture if observed is None else np.where(observed, picture, np.nan)
    noise = float(estimate(shown, psf).sigma)
    return Fit(psf, family, parameters, noise, 1 - best / sharp)


class _Cost:
    """Variance of the log periodogram about the best model with a given psf."""

    def __init__(
        self, picture: np.ndarray, observed: np.ndarray | None, slope: float | None
    ) -> None:
        plan: Layout = overlapping(picture.shape, SIDE, TILES)
        seen = look(picture, observed, plan)
        if seen.scale == 0:
            raise ValueError(f"image is constant at {float(picture.flat[0]):g}; it shows no blur")
        power = seen.periodograms.mean(0)
        # A mean of many eighths keeps the logarithm finite where rounding leaves no power.
        self.power = np.log(np.maximum(power, np.float32(1e-14) * power.mean()))
        self.plan, self.slope = plan, slope
        grid = grid_of(plan, 0.5 / max(plan.tile))
        self.rows = grid.rows
        # The fine frequencies say little but how strong the noise is: a quarter of them will do.
        thinned = np.zeros_like(grid.share)
        thinned[::2, ::2] = 4 * grid.share[::2, ::2]
        self.few = rows(np.log(grid.base), np.where(grid.squared < FINE**2, grid.share, thinned))
        self.start: Law | None = None

    def __call__(self, psf: np.ndarray, *, roughly: bool = False) -> float:
        bright = _smoothed(response(psf, self.plan.grid))
        data = table(self.power, bright, self.few if roughly else self.rows)
        self.start = fit(
            data,
            slope=self.slope,
            logarithmic=True,
            start=self.start,
            tol=1e-2 if roughly else 1e-3,
        )
        return self.start.cost


def _smoothed(power: np.ndarray) -> np.ndarray:
    """`power` as the Hann window sees it: its energy spectrum is 1/6, 2/3, 1/6 along each axis."""
    power = (4 * power + np.roll(power, 1, 0) + np.roll(power, -1, 0)) / 6
    # The last axis is half a spectrum, and symmetric: |K(-f)|^2 is what lies left of its start.
    mirrored = np.roll(power[::-1], 1, 0)
    left = np.concatenate([mirrored[:, 1:2], power[:, :-1]], 1)
    right = np.concatenate([power[:, 1:], mirrored[:, -2:-1]], 1)
    return np.asarray((4 * power + left + right) / 6)


def _entrants(
    grid: list[tuple[float, ...]],
    prices: list[float],
    steps: Callable[[tuple[float, ...]], tuple[float, ...]],
) -> list[tuple[float, ...]]:
    """Pick the best points of the grid that are not neighbours of better ones."""
    chosen: list[tuple[float, ...]] = []
    for i in np.argsort(prices):
        at = grid[i]
        near = any(
            all(
                min(abs(a - b), 180 - abs(a - b) if k else math.inf) <= 2.5 * step
                for k, (a, b, step) in enumerate(zip(at, other, steps(other), strict=True))
            )
            for other in chosen
        )
        if not near:
            chosen.append(at)
        if len(chosen) == ENTRANTS:
            break
    return chosen


def _refine(
    price: Callable[[tuple[float, ...]], float], at: tuple[float, ...], steps: tuple[float, ...]
) -> tuple[tuple[float, ...], float]:
    from scipy.optimize import minimize

    corners = np.array([at] * (len(at) + 1)) - np.array(steps) / 2
    for k, step in enumerate(steps):
        corners[k + 1, k] += 1.5 * step
    unit = np.array(steps)
    result = minimize(
        lambda u: price(tuple(float(v) for v in u * unit)),
        corners[0] / unit,
        method="Nelder-Mead",
        options={"initial_simplex": corners / unit, "xatol": 0.02, "fatol": 1e-6, "maxfev": 120},
    )
    return tuple(float(v) for v in result.x * unit), float(result.fun)


def _luminance(
    image: Any, channel_axis: int | None, weights: Any
) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean of the colours in float32, and the mask of the observed pixels or None."""
    picture = to_numpy(channels_first(floating(image, "image"), 2, channel_axis))
    if channel_axis is not None:
        picture = picture.mean(0)
    if min(picture.shape) < 32:
        raise ValueError(f"image has {picture.shape} pixels; expected at least 32 along each axis")
    known = ~np.isnan(picture)
    if weights is not None:
        weights = to_numpy(floating(weights, "weights"))
        if weights.shape != picture.shape:
            raise ValueError(
                f"weights has shape {weights.shape}; expected the picture's, {picture.shape}"
            )
        if not (weights.min() >= 0 and weights.max() <= 1):
            raise ValueError(
                f"weights lie in [{weights.min():g}, {weights.max():g}]; expected [0, 1]"
            )
        known &= (weights > 0) & (weights >= 0.5 * weights.max())
    if not known.any():
        raise ValueError("image has no observed pixel; expected some that are not NaN")
    return picture, None if known.all() else known
