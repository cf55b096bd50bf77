r"""MAP restoration: the picture that explains the data and is likely a priori.

.. math:: \hat x = \arg\min_x \tfrac12 \|W^{1/2}(A x - y)\|^2 + \lambda\,\phi(x)

One flat function per prior. With nothing but the image and the psf, noise and weight are found from
the image by a closed rule (`deconv.prior_weight`), with no further solve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deconv import evidence
from deconv.arrays import Array, detached, like, number, whole
from deconv.evidence import Evidence
from deconv.fidelity import Fidelity
from deconv.operators import observe
from deconv.operators.observation import Observation
from deconv.prior_weight import hyper_laplacian_rule, l0_gradient_rule, tv_rule
from deconv.priors import Box, Denoiser, HyperLaplacian, L0Gradient, TotalVariation
from deconv.progress import Callback, report
from deconv.ratio import checked_noise
from deconv.splitting import Term, admm, hqs

__all__ = ["hyper_laplacian", "l0_gradient", "plug_and_play", "tv"]

# The rms gradient of typical pictures on [0, 1]: schedules in picture units are for these.
TYPICAL_GRADIENT = 0.08


def tv(
    image: Any,
    psf: Any,
    *,
    lam: float | None = None,
    sigma: float | None = None,
    vectorial: bool = True,
    boundary: str = "unknown",
    weights: Any = None,
    channel_axis: int | None = None,
    n_iter: int = 40,
    tol: float = 2e-3,
    callback: Callback | None = None,
) -> Array:
    problem = _posed(image, psf, lam, sigma, boundary, weights, channel_axis)
    coupled = vectorial and channel_axis is not None
    if coupled:
        problem = problem.pooled()
    channels = problem.seen.y.shape[0] if coupled else 1
    lam = problem.weight(tv_rule(problem.seen.A.ndim, channels), lam)
    rho = np.maximum(TV_RHO * lam / problem.found.gradient, 1e-4)
    term = Term(TotalVariation(coupled), problem.column(lam), problem.column(rho))
    return problem.finish(
        admm(
            problem.fidelity, [term], data_rho=TV_DATA, n_iter=n_iter, tol=tol, tell=problem.tell(callback, n_iter)
        )
    )

TV_RHO, TV_DATA = 4.0, 0.15

def hyper_laplacian(
    image: Any,
    psf: Any,
    *,
    p: float = 2 / 3,
    lam: float | None = None,
    sigma: float | None = None,
    boundary: str = "unknown",
    weights: Any = None,
    channel_axis: int | None = None,
    n_iter: int = 6,
    steps: int = 5,
    callback: Callback | None = None,
) -> Array:
    prior = HyperLaplacian(number(p, "p", low=0, high=1, strict=True))
    problem = _posed(image, psf, lam, sigma, boundary, weights, channel_axis)
    lam = problem.weight(hyper_laplacian_rule(p, problem.seen.A.ndim), lam)
    unit = problem.found.gradient / TYPICAL_GRADIENT
    rhos = [problem.column(beta * lam * unit ** (p - 2)) for beta in np.geomspace(1, 256, n_iter)]
    term = Term(prior, problem.column(lam), rhos)
    return problem.finish(hqs(problem.fidelity, [term], steps=steps, tell=problem.tell(callback, n_iter)))


def l0_gradient(
    image: Any,
    psf: Any,
    *,
    lam: float | None = None,
    sigma: float | None = None,
    vectorial: bool = True,
    boundary: str = "unknown",
    weights: Any = None,
    channel_axis: int | None = None,
    n_iter: int = 12,
    callback: Callback | None = None,
) -> Array:
    problem = _posed(image, psf, lam, sigma, boundary, weights, channel_axis)
    coupled = vectorial and channel_axis is not None
    if coupled:
        problem = problem.pooled()
    channels = problem.seen.y.shape[0] if coupled else 1
    lam = problem.weight(l0_gradient_rule(problem.seen.A.ndim, channels), lam)
    unit = problem.found.gradient / TYPICAL_GRADIENT
    rhos = [problem.column(beta * 2 * lam / unit**2) for beta in np.geomspace(1, 2e4, n_iter)]
    term = Term(L0Gradient(coupled), problem.column(lam), rhos)
    return problem.finish(hqs(problem.fidelity, [term], tell=problem.tell(callback, n_iter)))


def plug_and_play(
    image: Any,
    psf: Any,
    denoise: Callable[[Array, float], Array],
    *,
    sigma: float | None = None,
    boundary: str = "unknown",
    weights: Any = None,
    channel_axis: int | None = None,
    n_iter: int = 8,
    callback: Callback | None = None,
) -> Array:
    problem = _posed(image, psf, None, sigma, boundary, weights, channel_axis).pooled()
    noise = float(problem.found.sigma)
    unit = float(problem.found.gradient) / TYPICAL_GRADIENT
    least = max(noise, 0.255 / 255 * unit)
    lam = 0.23 * least**2
    levels = np.geomspace(max(49 / 255 * unit, least), least, n_iter)
    term = Term(Denoiser(denoise), lam, [lam / level**2 for level in levels])
    return problem.finish(hqs(problem.fidelity, [term], tell=problem.tell(callback, n_iter)))


@dataclass(frozen=True)
class _Problem:
    """The observation, its data term, and what the picture tells about noise and itself."""

    seen: Observation
    fidelity: Fidelity
    found: Evidence

    def pooled(self) -> _Problem:
        """With one noise level and gradient for all leading indices, the mean square."""

        def rms(v: np.ndarray) -> np.ndarray:
            return np.sqrt(np.mean(v**2))

        found = replace(
            self.found,
            sigma=rms(self.found.sigma),
            gradient=rms(self.found.gradient),
            dof=np.mean(self.found.dof),
        )
        return replace(self, found=found)

    def weight(self, rule: Any, lam: float | None) -> np.ndarray:
        return rule.weight(self.found) if lam is None else lam + 0 * self.found.sigma

    def column(self, values: Any) -> Any:
        """Values over the leading axes, to broadcast to images; a float where there is one."""
        values = np.asarray(values, float)
        if values.ndim == 0:
            return float(values)
        column = values.reshape(*values.shape, *[1] * self.seen.A.ndim)
        return like(column, self.seen.y)

    def tell(self, callback, n_iter):
        return report(callback, n_iter, lambda x: self.seen.finish(x, copy=True))

    def finish(self, solution):
        return self.seen.finish(solution.image)


def _posed(image, psf, lam, sigma, boundary, weights, channel_axis) -> _Problem:
    if lam is not None:
        number(lam, "lam", low=0)
    seen = observe(image, psf, boundary=boundary, weights=weights, channel_axis=channel_axis)
    A, y = seen.A, seen.y
    if sigma is not None:
        sigma = checked_noise(sigma, tuple(y.shape[: -A.ndim]))
    found = evidence.estimate(
        detached(y), detached(A.psf), sigma=sigma, weights=A.weights, ndim=A.ndim, periodic=A.boundary == "periodic"
    )
    return _Problem(seen, Fidelity(A, y), found)
