"""Whittle's likelihood of a power law under a blur, on a table of sufficient statistics.

The sum over the frequencies of ``log V + P / V``, with ``V = noise + |K|^2 power / |f|^slope``,
depends on little but ``log |f|`` and ``log |K|^2``. Some hundred bins of them stand for all
frequencies, so that a fit costs a millisecond at any size.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from deconv import fft
from deconv.periodogram import Layout, radius

__all__ = [
    "FLOOR",
    "LEAST",
    "Grid",
    "Law",
    "Rows",
    "Table",
    "corner_of",
    "fit",
    "grid_of",
    "rows",
    "table",
]

BINS = 24  # along each of log |f| and log |K|^2
LOWEST = 2.5  # below this many cycles per frame the window leaks
DARK = 1e-8  # |K|^2 below this carries no signal in any picture
LOG_DARK = math.log(DARK)
FLOOR = 0.1  # fraction of the frequencies that are called dark
SLOPES = (0.5, 6.0)  # range of p
LEAST = 1e-6  # sigma is at least this fraction of the picture's standard deviation


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


class Grid(NamedTuple):
    """What depends on the layout alone, float32 over the half spectrum."""

    squared: np.ndarray  # |f|^2, infinite where the frequency is dropped
    base: np.ndarray  # f0^2 + |f|^2
    rows: Rows  # of its logarithm
    share: np.ndarray  # 1 or 2; 0 where dropped
    whole: np.ndarray  # 1 or 2
    steep: np.ndarray  # |gradient's otf|^2

    def steepness(self, law: np.ndarray) -> float:
        """Mean square gradient of a picture with the power spectrum `law`."""
        total = float((self.whole * self.steep * law).sum(dtype=float))
        return total / float(self.whole.sum(dtype=float))


@lru_cache(maxsize=8)
def grid_of(plan: Layout, corner: float) -> Grid:
    """Everything that estimates on this layout share; `corner` is f0."""
    squared, cycles = radius(plan.tile, plan.grid)
    base = squared + np.float32(corner**2)
    whole = np.broadcast_to(fft.parseval_weights(plan.grid[-1], squared), squared.shape)
    kept = cycles >= LOWEST**2
    if kept.sum() < 8:  # a picture of a few pixels: all but the mean
        kept = squared > 0
    axes = fft.frequencies(plan.grid, squared)
    steep = sum((2 - 2 * np.cos(2 * np.pi * f) for f in axes), np.zeros_like(squared))
    if not kept.any():  # a single pixel
        kept = np.ones_like(kept)
    return Grid(
        np.where(kept, squared, np.float32(np.inf)),
        base,
        rows(np.log(base), whole * kept),
        whole * kept,
        np.ascontiguousarray(whole),
        steep,
    )


def corner_of(frame: tuple[int, ...]) -> float:
    """Give f0 of a picture: half a cycle per frame, in cycles per pixel."""
    return float(0.5 / math.prod(frame) ** (1 / len(frame)))
