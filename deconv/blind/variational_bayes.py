r"""The psf that is likeliest over all sharp pictures together, not with one of them.

.. math:: \min_k \sum_d \|k * x_d - y_d\|^2 + \|k\|^2 \sum_{d,i} c_{d,i}, \quad k \ge 0, \qquad
    c_i = \frac{s \eta}{\|k\|^2 + \eta w_i}, \quad w_i = \frac{1}{\overline{x_i^2 + c_i}}

y_d are the gradients of the blurred picture, x_d and c_d the mean and the variance of those of the
sharp one (Fergus et al. 2006; Levin et al. 2011, with a diagonal covariance, in the domain of
derivatives). The x-step is the reweighted least squares
:math:`\|k * x - y\|^2 + \eta \sum w_i x_i^2`. A psf of one pixel explains the blurred picture
without error, but it has the largest norm: what is unknown of the sharp picture speaks against it.

The weights are those of the scale-free prior 1 / |x| (Wipf and Zhang 2014), which has no constants
to fit, and both derivatives of a pixel share theirs: an edge is one in all directions. An iteration
takes 8 steps of conjugate gradients, of four FFTs each, for each of two derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deconv.blind.alternation import Tell
from deconv.blind.kernel import gradients, normalised, pruned
from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level
from deconv.fft import centred_rfftn, fast_shape, irfftn, rfftn
from deconv.operators.frame import Frame

__all__ = ["Posterior", "VariationalBayes"]

# A diagonal covariance overstates what is unknown: half of it gives the best psfs (Levin's
# pictures: mean error ratio 1.8; 2.3 with all of it, 2.1 with none, where only the fall of the
# noise holds back the single pixel).
SPREAD = 0.5
# Variance of the noise in the gradients of pictures on [0, 1]: it falls by DECAY per iteration,
# through all scales, so that the strong edges decide first.
FIRST_NOISE, LEAST_NOISE, DECAY = 3e-3, 1e-4, 1.15
N_ITER = 12
X_STEPS, PSF_STEPS = 8, 40
# Faint pixels of the psf are noise, and go in each iteration; islands stay, since an arm of the psf
# may begin as one.
CUT, LAST_CUT, ISLAND = 0.04, 0.05, 1e-4
# First weights of the sharp gradients, times the blurred ones' mean square.
START = 0.25
# No gradient is known better than this, squared.
LEAST_POWER = 1e-10
# Weight of the gradients in the picture that is shown.
SHOWN = 0.01


@dataclass
class VariationalBayes:
    """One run through all scales: `refine` for `coarse_to_fine`.

    Attributes
    ----------
    tell : callable or None
        As in `deconv.blind.alternation`; it is shown the picture that has the gradients' mean.
    n_iter : int
        Iterations per scale.
    spread : float
        The factor s of the variances; 0 for the single likeliest picture.
    """

    tell: Tell | None = None
    n_iter: int = N_ITER
    spread: float = SPREAD
    _noise: float = FIRST_NOISE

    def __call__(self, level: Level, psf: np.ndarray) -> np.ndarray:
        """The psf of one level."""
        posterior = Posterior(level, self.spread)
        latent = None if self.tell is None else Latent(level)
        for _ in range(self.n_iter):
            posterior.update(psf, self._noise)
            psf = pruned(posterior.psf_step(psf), CUT, ISLAND)
            self._noise = max(self._noise / DECAY, LEAST_NOISE)
            if self.tell is not None and latent is not None:
                self.tell(level, _picture(latent, psf, posterior.observed_mean()), psf)
        return pruned(psf, LAST_CUT, 0.0) if level.index == 0 else psf


class Posterior:
    """What is known of the sharp gradients of one level, as far as the psf reaches.

    Attributes
    ----------
    mean, variance : array (2, Y', X')
        Of the derivatives along y and x, on a periodic domain.
    """

    def __init__(self, level: Level, spread: float = SPREAD) -> None:
        y = np.stack(gradients(level.image))
        seen = np.ones(y.shape[1:], np.float32)
        if level.weights is not None:
            w = level.weights
            seen = w[:-1, :-1] * w[1:, :-1] * w[:-1, 1:]
        self.shape, self.spread = level.shape, np.float32(spread)
        self.frame = Frame.place(seen.shape, level.shape, "unknown")
        self.domain = self.frame.domain
        self.seen = np.array(self.frame.pad(seen), np.float32)
        self.blurred = np.array(self.frame.pad(y * seen), np.float32)
        self.mean = self.blurred.copy()
        self.variance = np.zeros_like(self.mean)
        # The blurred gradients say nothing yet of which sharp ones are strong: one even weight.
        power = float((self.blurred**2).sum()) / max(2 * float(seen.sum()), 1)
        weight = START / max(power, LEAST_POWER)
        self._weight = np.full(self.domain, weight, np.float32)
        self._fresh = True

    def update(self, psf: np.ndarray, noise: float) -> None:
        """Mean and variance given the psf and the noise's variance."""
        if self._fresh:
            self._solve(psf, noise)
            self._fresh = False
        power = self.mean * self.mean + self.variance
        self._weight = 1 / (0.5 * (power[0] + power[1]) + np.float32(LEAST_POWER))
        self._solve(psf, noise)

    def _solve(self, psf: np.ndarray, noise: float) -> None:
        """The x-step by preconditioned conjugate gradients; the preconditioner is the variance."""
        otf = centred_rfftn(psf.astype(np.float32, copy=False), self.domain)
        back = np.conj(otf)
        penalty = np.float32(noise) * self._weight
        inverse = 1 / (np.float32((psf * psf).sum()) + penalty)

        def normal(x: np.ndarray) -> np.ndarray:
            seen = irfftn(rfftn(x, 2) * otf, self.domain)
            seen *= self.seen
            return np.asarray(irfftn(rfftn(seen, 2) * back, self.domain) + penalty * x)

        x = self.mean
        residual = irfftn(rfftn(self.blurred, 2) * back, self.domain) - normal(x)
        direction = inverse * residual
        power = first = float((residual * direction).sum())
        for _ in range(X_STEPS):
            if not power > 1e-10 * first:
                break
            image = normal(direction)
            step = np.float32(power / float((direction * image).sum()))
            x = x + step * direction
            residual = residual - step * image
            scaled = inverse * residual
            power, last = float((residual * scaled).sum()), power
            direction = scaled + np.float32(power / last) * direction
        self.mean = x
        self.variance = np.broadcast_to(self.spread * np.float32(noise) * inverse, x.shape)

    def psf_step(self, psf: np.ndarray) -> np.ndarray:
        """The psf of the quadratic, non-negative, by accelerated projected gradients from `psf`.

        Unobserved gradients take the values that the last psf predicts, which lowers the quadratic
        as well and makes its normal operator a convolution; the transforms have twice the psf's
        size.
        """
        shape, domain = self.shape, self.domain
        spectrum = rfftn(self.mean, 2)
        predicted = irfftn(spectrum * centred_rfftn(psf, domain), domain)
        filled = self.blurred + (1 - self.seen) * predicted
        power = (spectrum.real**2 + spectrum.imag**2).sum(axis=0).astype(np.complex64)
        cross = (np.conj(spectrum) * rfftn(filled, 2)).sum(axis=0)
        lags = (2 * shape[0] - 1, 2 * shape[1] - 1)
        auto = _middle(irfftn(power, domain), lags)
        auto[shape[0] - 1, shape[1] - 1] += float((self.variance * self.seen).sum())
        rhs = _middle(irfftn(cross, domain), shape)
        small = fast_shape((shape[0] + lags[0] - 1, shape[1] + lags[1] - 1))
        normal = centred_rfftn(auto, small)
        rate = np.float32(1 / max(float(np.abs(normal).max()), LEAST_POWER))
        padded = np.zeros(small, np.float32)
        k = ahead = psf.astype(np.float32, copy=False)
        momentum = 1.0
        for _ in range(PSF_STEPS):
            padded[: shape[0], : shape[1]] = ahead
            slope = irfftn(rfftn(padded, 2) * normal, small)[: shape[0], : shape[1]] - rhs
            new = np.maximum(ahead - rate * slope, 0)
            # Momentum that points uphill starts anew (O'Donoghue and Candes 2015).
            if float(((ahead - new) * (new - k)).sum()) > 0:
                momentum = 1.0
            last, momentum = momentum, 0.5 + (0.25 + momentum * momentum) ** 0.5
            ahead = new + np.float32((last - 1) / momentum) * (new - k)
            k = new
        return normalised(k)

    def objective(self, psf: np.ndarray) -> float:
        """What `psf_step` makes smaller: misfit and variance, before the psf is normalised."""
        predicted = irfftn(rfftn(self.mean, 2) * centred_rfftn(psf, self.domain), self.domain)
        misfit = float((self.seen * (self.blurred - predicted) ** 2).sum())
        return misfit + float((psf * psf).sum()) * float((self.variance * self.seen).sum())

    def observed_mean(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean in the frame, along y and x."""
        dy, dx = self.frame.crop(self.mean)
        return dy, dx


def _middle(x: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The values of a circular array around its origin, the origin at ``size // 2``."""
    rolled = np.roll(x, (shape[0] // 2, shape[1] // 2), (0, 1))
    return rolled[: shape[0], : shape[1]].copy()


def _picture(latent: Latent, psf: np.ndarray, mean: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The picture that fits the observation and has these gradients, in one division."""
    edges = np.zeros((2, *latent.domain), np.float32)
    y, x = latent.frame.origin
    for out, part in zip(edges, mean, strict=True):
        out[y : y + part.shape[0], x : x + part.shape[1]] = part
    dy, dx = edges
    pull = np.roll(dy, 1, 0) - dy + np.roll(dx, 1, 1) - dx
    cross, power = latent.data(psf)
    spectrum = cross + np.float32(SHOWN) * rfftn(pull, 2)
    spectrum /= power + np.float32(SHOWN) * latent.power + np.float32(1e-6)
    found: np.ndarray = latent.frame.crop(irfftn(spectrum, latent.domain))
    return found
