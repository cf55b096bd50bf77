r"""A sharp picture's power spectrum, with a slope, a curve and directions of its own.

Natural spectra follow ``c / |f|^2`` only roughly: a skyline has its power along the axes, a lawn is
flatter. With ``l = log sqrt(f0^2 + |f|^2)`` and the direction ``u = f / |f|``,

.. math:: \log S(f) = \theta_0 + \theta_1 l + \theta_2 l^2 + \sum_{i<j} \theta_{ij} u_i u_j
          + \sum_i \left( \theta_{i1} u_i^2 + \theta_{i2} u_i^8 + \theta_{i3} u_i^{32} \right)

where the even powers of u_i are lobes along axis i, the higher the narrower. The coefficients
maximise Whittle's likelihood of the blurred picture times a normal prior about the plain
``c / |f|^2``, so that what the blur has made unreadable stays where it was.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from deconv import fft
from deconv.arrays import Array, elementwise, namespace

__all__ = ["fit_shape", "signal_power"]

RINGS, SECTORS, SHADES = 24, 48, 24  # cells along log |f|, direction angle and log |K|^2
DARK = 1e-8  # |K|^2 below this carries no signal in any picture
# The prior weighs as much as this many frequencies: nothing in a photograph, all in the dark.
PRIOR = 50.0
LOWEST = 2.5  # cycles per frame; below, the window leaks
MOST_STEPS = 50


def _terms(xp: Any, level: Array, f: tuple[Array, ...], f0: float) -> list[Array]:
    """The terms of the model but the constant, for `level` = f0^2 + |f|^2.

    The first is no term but how far l lies below the lowest fitted frequency: from there down the
    plain ``1 / |f|^2`` goes on, and the model's own l stays.
    """
    log = 0.5 * xp.log(level)
    fitted = xp.clip(log, math.log(LOWEST * 2 * f0), None)
    terms = [log - fitted, fitted, fitted * fitted]
    if len(f) > 1:
        terms += [a * b / level for a, b in itertools.combinations(f, 2)]
        for a in f:
            lobe = a * a / level
            narrow = (lobe * lobe) ** 2
            terms += [lobe, narrow, (narrow * narrow) ** 2]
    return terms


def signal_power(
    theta: np.ndarray, f0: float, shape: tuple[int, ...], like: Array, *, exponent: float = 1.0
) -> Array:
    """``S^exponent`` on the half spectrum of `shape`, for coefficients (..., n) of `fit_shape`.

    Returns an array (..., *half spectrum) with namespace, device and dtype of `like`.
    """
    xp = namespace(like)
    f = fft.frequencies(shape, like)
    half = tuple(max(a.shape[i] for a in f) for i in range(len(f)))

    def channel(coefficients: np.ndarray) -> Array:
        def power(*f: Array) -> Array:
            level = sum((a * a for a in f), f[0] * 0 + f0 * f0)
            below, *terms = _terms(xp, level, f, f0)
            value = float(coefficients[0]) - 2 * below
            for weight, term in zip(coefficients[1:], terms, strict=True):
                value = value + float(weight) * term
            # Constant pictures have no spectrum to speak of; float32 ends at exp(88).
            return xp.exp(xp.clip(exponent * value, -80, 80))

        return elementwise(power, *f)

    lead = theta.shape[:-1]
    if not lead:
        return channel(theta)
    channels = xp.stack([channel(theta[index]) for index in np.ndindex(*lead)])
    return xp.reshape(channels, (*lead, *half))


def fit_shape(
    periodogram: np.ndarray,
    response: np.ndarray,
    grid: tuple[int, ...],
    share: np.ndarray,
    *,
    noise: float,
    power: float,
    f0: float,
) -> np.ndarray:
    """Coefficients of ``log S`` that make a blurred picture's periodogram most likely.

    Parameters
    ----------
    periodogram, response, share : array
        P, ``|K|^2`` and how often each frequency counts (0, 1 or 2), on the half spectrum of
        `grid`.
    noise, power, f0 : float
        sigma^2, and c and f0 of the plain ``c / (f0^2 + |f|^2)`` that the prior is about.
    """
    f = fft.frequencies(grid, np.zeros((), np.float32))
    mass, power_seen, shade, where = _cells(periodogram, response, f, share)
    level = sum((a * a for a in where), np.full(mass.shape, f0 * f0))
    basis = np.array([np.ones(mass.shape), *_terms(np, level, where, f0)[1:]])
    theta = prior = np.concatenate([[math.log(power), -2.0], np.zeros(len(basis) - 2)])
    precision = np.full(len(basis), PRIOR)
    precision[0] = 0

    def model(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        lit = np.exp(np.clip(theta @ basis + shade, -60, 60))
        variance = noise + lit
        fit = float(mass @ (np.log(variance) + power_seen / variance))
        return lit, variance, fit + 0.5 * float(precision @ (theta - prior) ** 2)

    # Fisher scoring with Levenberg's damping.
    lit, variance, cost = model(theta)
    damping = 1e-3
    for _ in range(MOST_STEPS):
        jacobian = basis * (lit / variance)
        gradient = jacobian @ (mass * (1 - power_seen / variance)) + precision * (theta - prior)
        fisher = (jacobian * mass) @ jacobian.T + np.diag(precision)
        fisher[np.diag_indices_from(fisher)] *= 1 + damping
        fisher[0, 0] += 1e-9
        trial = theta - np.linalg.solve(fisher, gradient)
        trial_lit, trial_variance, trial_cost = model(trial)
        if trial_cost <= cost:
            settled = cost - trial_cost < 1e-9 * abs(cost)
            theta, lit, variance, cost = trial, trial_lit, trial_variance, trial_cost
            if settled:
                break
            damping *= 0.2
        elif damping > 1e6:
            break
        else:
            damping *= 8
    return theta


def _cells(
    periodogram: np.ndarray,
    response: np.ndarray,
    f: tuple[np.ndarray, ...],
    share: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """Sums over cells of like frequency, direction and response: some thousand stand for all.

    Returns each cell's mass, mean P, mean ``log |K|^2`` and mean frequency along each axis.
    """
    tiny = np.float32(1e-12)
    squared = sum((a * a for a in f), f[0] * 0 + tiny)
    cell = _steps(np.log(squared), RINGS, share > 0)
    radius = np.sqrt(squared)
    for a in f[:-1]:
        angle = np.arcsin(np.clip(a / radius, -1, 1))
        cell = cell * SECTORS + _steps(angle, SECTORS, None)
    shade = np.log(np.maximum(response, np.float32(DARK)))
    cell = cell * SHADES + _steps(shade, SHADES, share > 0)
    cell = np.where(share > 0, cell, 0).ravel()
    weight = share.ravel()
    mass = np.bincount(cell, weight)
    full = np.flatnonzero(mass)
    mass = mass[full]

    def mean(values: np.ndarray) -> np.ndarray:
        wide = np.broadcast_to(values, share.shape).ravel()
        return np.bincount(cell, wide * weight)[full] / mass

    return mass, mean(periodogram), mean(shade), tuple(mean(a) for a in f)


def _steps(values: np.ndarray, n: int, within: np.ndarray | None) -> np.ndarray:
    """`values` quantised to 0 ... n - 1 over the range that they span `within`."""
    spanned = values if within is None else values[within]
    low, high = float(spanned.min()), float(spanned.max())
    scale = n * (1 - 1e-6) / max(high - low, 1e-12)
    return np.clip((values - low) * scale, 0, n - 1).astype(np.intp)
