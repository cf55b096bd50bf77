r"""Gradients of a small sum over their norm: a penalty that blur does not lessen.

.. math:: \min_{x, k} \frac{\lambda}{2} \|k * x - y\|^2 + \frac{\|x\|_1}{\|x\|_2} + \psi \|k\|_1

with y the gradients of the blurred picture and x those of the sharp one (Krishnan, Tay and Fergus
2011). Blur lessens the sum of the absolute gradients, but their norm more. With the norm frozen,
the x-step is iterative shrinkage; the psf is reweighted least squares.

It differs from the paper in what keeps it from the single pixel as the psf: shrinkage has momentum,
since too few steps leave x as blurred as y; each scale starts from the gradients of a quadratic
restoration, not of the blurred picture; lambda goes with the square root of the number of pixels,
as the penalty itself does; and only strong gradients of x make the psf, as in the other estimators.

The frame is that of `Gradients`: x goes on beyond it by the psf's reach, unobserved, so nothing
wraps around; pixels of weight 0 are unobserved in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deconv.blind.alternation import Tell, trusted
from deconv.blind.edge import quadratic
from deconv.blind.kernel import (
    Gradients,
    conjugate_gradients,
    enough,
    gradients,
    least_kept,
    normal_equations,
    normalised,
    pruned,
    strong,
)
from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level
from deconv.fft import centred_rfftn, irfftn

__all__ = ["NormalizedSparsity", "Shrinkage"]

# At every scale the blurred gradients are scaled to this norm. x is sharper, so its norm is taken
# to be no less: without that bound, shrinkage and the norm that it lessens run away together.
NORM = 6.0
# Weight of the data for this many values, and its growth from scale to scale; of the psf's sum.
LAM, REFERENCE, GROWTH, PSI = 16.0, 2 * 254**2, 1.2, 1.0
# Iterations per scale; steps for one norm; norms for one psf, and for the first of a scale.
N_ITER, INNER, OUTER, FIRST = 6, 6, 2, 10
# The threshold of squared gradients falls by this from scale to scale.
DECAY = 1.6
# The least value that reweighting tells from 0, and the psf's steps.
LEAST, STEPS = 1e-4, 10
# After each scale: what is below this part of the maximum goes, and islands with less than this
# part of the light.
CUT, ISLAND = 0.05, 0.1


class Shrinkage:
    """The x-step for one psf, on the domain of `blurred`.

    Parameters
    ----------
    blurred : Gradients
        y.
    psf : array (y, x)
    weights : array, optional
        Of the shape of y's parts, in [0, 1]; 0 where a gradient was not observed.
    """

    def __init__(
        self, blurred: Gradients, psf: np.ndarray, weights: np.ndarray | None = None
    ) -> None:
        self.blurred, self.weights = blurred, weights
        self.otf = centred_rfftn(psf.astype(np.float32, copy=False), blurred.domain)
        self.window = tuple(slice(0, n) for n in blurred.parts[0].shape)

    def residual(self, x: list[np.ndarray]) -> list[np.ndarray]:
        """What the psf and `x` leave unexplained of each part of y, where it was observed."""
        left = []
        for part, y in zip(x, self.blurred.parts, strict=True):
            r = y - irfftn(self.blurred.spectrum(part) * self.otf, self.blurred.domain)[self.window]
            left.append(r if self.weights is None else r * self.weights)
        return left

    def objective(self, x: list[np.ndarray], lam: float, norm: float) -> float:
        """``lam |k * x - y|^2 / 2 + |x|_1 / norm``, which `steps` lessens."""
        data = sum(float((r * r).sum()) for r in self.residual(x))
        return 0.5 * lam * data + sum(float(np.abs(part).sum()) for part in x) / norm

    def steps(self, x: list[np.ndarray], lam: float, norm: float, n_iter: int) -> list[np.ndarray]:
        """`x` after iterative shrinkage with momentum (Beck and Teboulle 2009)."""
        # The data's Hessian is at most lam, as the psf's sum is 1.
        least = np.float32(1 / (lam * norm))
        ahead, t = x, 1.0
        for _ in range(n_iter):
            new = []
            for part, r in zip(ahead, self.residual(ahead), strict=True):
                v = part + irfftn(self.blurred.spectrum(r) * np.conj(self.otf), self.blurred.domain)
                new.append(v - np.clip(v, -least, least))
            last, t = t, (1 + math.sqrt(1 + 4 * t * t)) / 2
            momentum = np.float32((last - 1) / t)
            ahead = [a + momentum * (a - b) for a, b in zip(new, x, strict=True)]
            x = new
        return x


@dataclass
class NormalizedSparsity:
    """One run through all scales: `refine` for `coarse_to_fine`.

    Attributes
    ----------
    lam, psi : float
        Weights of the data and of the psf's sum.
    n_iter : int
        Iterations per scale.
    tell : callable, optional
        See `deconv.blind.alternation.Tell`; it is given a quick restoration, for x is no picture.
    """

    lam: float = LAM
    psi: float = PSI
    n_iter: int = N_ITER
    tell: Tell | None = None
    _tau: float | None = None

    def __call__(self, level: Level, psf: np.ndarray) -> np.ndarray:
        """The psf of one level."""
        seen = None if level.weights is None else trusted(level)
        latent = Latent(level)
        parts = gradients(level.image)
        scale = NORM / max(_norm(list(parts)), 1e-12)
        blurred = Gradients(_scaled(parts, scale), level.shape)
        inside = tuple(slice(0, n) for n in parts[0].shape)
        if self._tau is None:
            power = parts[0] ** 2 + parts[1] ** 2
            self._tau = enough(power, parts, least_kept(level.shape))
        lam = self.lam * math.sqrt(2 * parts[0].size / REFERENCE)
        lam *= GROWTH ** (level.count - 1 - level.index)

        start = _scaled(gradients(latent.frame.crop(quadratic(latent, psf))), scale)
        x = [np.zeros(blurred.domain, np.float32) for _ in start]
        for part, value in zip(x, start, strict=True):
            part[inside] = value if seen is None else value * seen
        for i in range(self.n_iter):
            shrinkage = Shrinkage(blurred, psf, seen)
            for _ in range(OUTER if i else FIRST):
                x = shrinkage.steps(x, lam, max(_norm(x), NORM), INNER)
            sharp, tau = strong((x[0][inside], x[1][inside]), self._tau * scale**2)
            self._tau = tau / scale**2 / DECAY ** (1 / self.n_iter)
            psf = self._psf(sharp, blurred, seen, psf)
            if self.tell is not None:
                self.tell(level, latent.frame.crop(quadratic(latent, psf)), psf)
        return pruned(psf, CUT, ISLAND)

    def _psf(
        self,
        sharp: tuple[np.ndarray, np.ndarray],
        blurred: Gradients,
        seen: np.ndarray | None,
        psf: np.ndarray,
    ) -> np.ndarray:
        """Least squares with the psf's sum, reweighted by the last psf."""
        if seen is not None:
            sharp = (sharp[0] * seen, sharp[1] * seen)
        normal, rhs = normal_equations(sharp, blurred, seen)
        weight = np.float32(self.psi / self.lam) / np.maximum(psf, np.float32(LEAST))

        def penalised(k: np.ndarray) -> np.ndarray:
            return np.asarray(normal(k) + weight * k)

        return normalised(conjugate_gradients(penalised, rhs, STEPS, psf))


def _norm(x: list[np.ndarray]) -> float:
    return math.sqrt(sum(float((part * part).sum()) for part in x))


def _scaled(parts: tuple[np.ndarray, np.ndarray], scale: float) -> tuple[np.ndarray, np.ndarray]:
    return parts[0] * np.float32(scale), parts[1] * np.float32(scale)
