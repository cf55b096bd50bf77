r"""The weight of a prior by Stein's unbiased risk: the prediction error, without knowing the truth.

With white noise of deviation sigma, a restoration x of the data y is expected to predict the
noiseless blurred picture up to

.. math:: E\|A x - A x_0\|^2 = E\left[\|A x - y\|^2 + 2 \sigma^2 \operatorname{div}_y (A x)\right]
          - n \sigma^2

(Stein 1981). The divergence says how much of a pixel's noise reaches its prediction; one random
probe b measures it for any solver, ``b (A x(y + e b) - A x(y)) / e`` (Ramani, Blu and Unser 2008).
Only pixels that count as observed enter. A weighted data term is one whose pixels have the noise
``sigma^2 / w``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from deconv.arrays import Array, detached, like, to_numpy
from deconv.evidence import Evidence
from deconv.fidelity import Fidelity

__all__ = ["best_weight"]

# Weights tried, as powers of 2 times the start: two solves each. A closed rule is rarely further
# off than a factor of 2, and where it is, the risk is flat.
OCTAVES = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
# Size of the probe relative to the noise; at least this share of the gradient, above rounding.
PROBE, LEAST_PROBE = 0.1, 0.01


def best_weight(
    solve: Callable[[Fidelity, np.ndarray], Array],
    fidelity: Fidelity,
    found: Evidence,
    start: np.ndarray,
    *,
    scale: Any = 1.0,
) -> np.ndarray:
    """The weight with the least estimated prediction error within a factor of 4 of `start`.

    Parameters
    ----------
    solve : callable
        ``solve(fidelity, lam)``, the domain image; it is called twice per weight, ten times.
    fidelity : Fidelity
    found : Evidence
        Its sigma is the noise of data of weight 1.
    start : array
        One weight per leading index of the observation, each then with a risk of its own, or one
        number for all.
    scale : float or array
        What the data term is multiplied with against noise of that sigma.

    Returns
    -------
    array
        Of the shape of `start`.
    """
    start = np.asarray(start, float)
    fidelity = replace(fidelity, y=detached(fidelity.y))
    ndim = fidelity.A.ndim
    y = to_numpy(fidelity.y).astype(float)
    sigma = np.asarray(found.sigma, float)
    step = _column(np.maximum(PROBE * sigma, LEAST_PROBE * found.gradient), ndim)
    probe = np.random.default_rng(0).choice([-1.0, 1.0], y.shape)
    nudged = replace(fidelity, y=like(y + step * probe, fidelity.y))

    def predict(data: Fidelity, lam: np.ndarray) -> np.ndarray:
        x = solve(data, lam)
        seen: np.ndarray = to_numpy(detached(fidelity.A(x))).astype(float)
        return seen

    first = predict(fidelity, start)
    weights = fidelity.weights(like(first, fidelity.y))
    observed = np.ones_like(y) if weights is None else to_numpy(weights).astype(float)
    noise = np.asarray(scale * sigma**2)

    def risk(octave: float) -> np.ndarray:
        lam = start * 2**octave
        seen = first if octave == 0 else predict(fidelity, lam)
        spread = probe * (predict(nudged, lam) - seen) / step * (observed > 0)
        loss = observed * (seen - y) ** 2 + 2 * _column(noise, ndim) * spread
        return _total(loss, ndim, start)

    risks = np.stack([risk(float(octave)) for octave in OCTAVES])
    best: np.ndarray = start * 2 ** _lowest(risks)
    return best


def _column(values: np.ndarray, ndim: int) -> np.ndarray:
    """Values over leading axes, to broadcast to images."""
    return values.reshape(*values.shape, *[1] * ndim)


def _total(values: np.ndarray, ndim: int, start: np.ndarray) -> np.ndarray:
    """Sum over the axes that share one weight."""
    total = values.sum(axis=tuple(range(-ndim, 0)) if start.ndim else None)
    return np.asarray(total)


def _lowest(risks: np.ndarray) -> np.ndarray:
    """Where the parabola through the least risk and its neighbours is lowest, in octaves."""
    i = np.clip(risks.argmin(axis=0), 1, len(OCTAVES) - 2)
    before, here, after = (np.take_along_axis(risks, i[None] + k, 0)[0] for k in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.where(bend > 0, (before - after) / np.where(bend > 0, 2 * bend, 1), 0.0)
    edge = risks.argmin(axis=0) - i
    return np.asarray(OCTAVES[i] + np.where(edge == 0, shift, edge))
