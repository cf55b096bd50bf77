"""What a MAP solver is handed: data term, noise, evidence, options; and the way back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deconv import evidence
from deconv.arrays import (
    Array,
    choose,
    detached,
    like,
    namespace,
    number,
    to_numpy,
)
from deconv.evidence import Evidence
from deconv.fidelity import Fidelity, impulses
from deconv.noise import estimate_gain
from deconv.operators import observe
from deconv.operators.observation import Observation
from deconv.prior_weight import Rule
from deconv.priors import Box, Prior
from deconv.progress import Callback, report
from deconv.ratio import checked_noise
from deconv.saturation import clip_level
from deconv.splitting import Solution, Term
from deconv.sure import best_weight

__all__ = [
    "LEAST_RHO",
    "RULES",
    "Problem",
    "Solve",
    "checked_bounds",
    "checked_lam",
    "pose",
    "posed",
]

RULES = ("sure",)
# The rms gradient of typical pictures on [0, 1]: schedules in picture units are for these.
TYPICAL_GRADIENT = 0.08
# Penalty of the bounds against the data's, and the least of any prior's: below it the quadratic
# step would divide by nothing where the psf passes nothing.
BOUNDS_RHO, LEAST_RHO = 0.05, 1e-4

Solve = Callable[..., Solution]


@dataclass(frozen=True)
class Problem:
    """The observation, its data term, what the picture tells of noise and itself, the options.

    Attributes
    ----------
    seen : Observation
    fidelity : Fidelity
    found : Evidence
        Its sigma is that of uniform noise worth as much as the data's.
    scale : array
        What the data term is multiplied with against noise of that sigma.
    bounds : Box or None
        What the restored picture must lie within.
    """

    seen: Observation
    fidelity: Fidelity
    found: Evidence
    scale: np.ndarray
    bounds: Box | None = None

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return self.seen.A.ndim

    def pooled(self) -> Problem:
        """With one noise level and gradient for all leading indices, the root mean squares."""

        def rms(v: np.ndarray) -> np.ndarray:
            return np.asarray(np.sqrt(np.mean(np.square(v))))

        found = replace(
            self.found,
            sigma=rms(self.found.sigma),
            gradient=rms(self.found.gradient),
            typical=rms(self.found.slope),
            dof=np.mean(self.found.dof),
        )
        return replace(self, found=found, scale=np.mean(self.scale))

    def coupled(self) -> tuple[Problem, int]:
        """The problem pooled over its channels, if it has any, and their number."""
        channels = math.prod(self.seen.y.shape[: -self.ndim])
        return (self.pooled(), channels) if channels > 1 else (self, 1)

    @property
    def gradient(self) -> np.ndarray:
        """Root-mean-square gradient that the spectrum implies, above 0."""
        result: np.ndarray = np.maximum(self.found.gradient, np.finfo(np.float32).tiny)
        return result

    @property
    def unit(self) -> np.ndarray:
        """What a picture on [0, 1] would have to be multiplied with to be like this one."""
        return self.gradient / TYPICAL_GRADIENT

    def column(self, values: Any) -> Any:
        """Values over the leading axes, to broadcast to images; a float where there is one."""
        values = np.asarray(values, float)
        if values.ndim == 0:
            return float(values)
        return like(values.reshape(*values.shape, *[1] * self.ndim), self.seen.y)

    def restore(
        self,
        solve: Solve,
        rule: Rule,
        lam: float | str | None,
        n_iter: int,
        callback: Callback | None,
    ) -> Array:
        """The image in the user's layout by ``solve(fidelity, lam, start, tell)``."""
        weight = rule.weight(self.found) * self.scale
        if isinstance(lam, float):
            weight = lam + 0 * weight
        start = self._careful_start(solve, weight) if self.fidelity.noise is not None else None
        if lam == "sure":
            weight = best_weight(
                lambda data, lam: solve(data, lam, start, None).image,
                self.fidelity,
                self.found,
                weight,
                scale=self.scale,
            )
        tell = report(callback, n_iter, lambda x: self.finish(x, copy=True))
        return self.finish(solve(self.fidelity, weight, start, tell).image)

    def _careful_start(self, solve: Solve, weight: np.ndarray) -> Array:
        """A first picture without the suspected impulses: edges must not pass for outliers."""
        A = self.seen.A
        trusted = impulses(self.seen.y, A.ndim)
        weights = trusted if A.weights is None else trusted * A.weights
        B = A.reweighted(weights)
        return solve(replace(self.fidelity, A=B, noise=None), weight, None, None).image

    def stages(self, prior: Prior, lam: np.ndarray, rhos: list[np.ndarray]) -> list[Term]:
        """Terms of `hqs`: the prior with one penalty per stage, and the bounds."""
        return [Term(prior, self.column(lam), [self.column(rho) for rho in rhos]), *self.box()]

    def box(self) -> list[Term]:
        """The bounds as a term, if there are any."""
        return [] if self.bounds is None else [Term(self.bounds, None, BOUNDS_RHO)]

    def finish(self, x: Array, *, copy: bool = False) -> Array:
        """A domain image in the user's layout, within the bounds."""
        if self.bounds is not None:
            x = self.bounds.prox(x)
        return self.seen.finish(x, copy=copy)


def pose(
    image: Any,
    psf: Any,
    *,
    sigma: Any = None,
    gain: float | str | None = None,
    boundary: str = "unknown",
    weights: Any = None,
    saturation: float | str | None = None,
    outliers: bool = False,
    bounds: tuple[float | None, float | None] | None = None,
    channel_axis: int | None = None,
) -> Problem:
    """Validate what a MAP solver is given, and find noise and evidence; see `deconv.tv`."""
    if isinstance(gain, str):
        choose(gain, ("auto",), "gain")
    elif gain is not None:
        gain = number(gain, "gain", low=0, strict=True)
    box = None if bounds is None else checked_bounds(bounds)
    seen = observe(image, psf, boundary=boundary, weights=weights, channel_axis=channel_axis)
    if sigma is not None:
        sigma = checked_noise(sigma, tuple(seen.y.shape[: -seen.A.ndim]), "sigma")
    problem = posed(seen, sigma=sigma, gain=gain, saturation=saturation, outliers=outliers)
    return replace(problem, bounds=box)


def posed(
    seen: Observation,
    *,
    sigma: np.ndarray | None = None,
    gain: float | str | None = None,
    saturation: float | str | None = None,
    outliers: bool = False,
) -> Problem:
    """The problem of an observation that was validated already."""
    A, y = seen.A, seen.y
    level = clip_level(y, saturation, A.weights)
    clipped = None if level is None else y >= level
    if clipped is not None and A.weights is not None:
        clipped = clipped & (A.weights > 0)
    trusted = A.weights
    if clipped is not None:
        trusted = _times(trusted, 1 - namespace(y).astype(clipped, y.dtype))
    if outliers:
        trusted = _times(trusted, impulses(y, A.ndim))
    look: dict[str, Any] = {
        "image": detached(y),
        "psf": detached(A.psf),
        "weights": trusted,
        "ndim": A.ndim,
        "periodic": A.boundary == "periodic",
    }
    if gain is None:
        found = evidence.estimate(**look, sigma=sigma)
        scale = np.ones_like(found.sigma)
    else:
        A, found, scale = _photons(seen, look, sigma, gain)
        seen = replace(seen, A=A)
    noise, spread = None, 1.0
    if outliers:
        noise = float(np.sqrt(np.mean(np.square(found.sigma))))
        values = to_numpy(y)
        if A.weights is not None:
            values = values[np.broadcast_to(to_numpy(A.weights) > 0, values.shape)]
        spread = float(np.ptp(values)) or 1.0
    return Problem(seen, Fidelity(A, y, clipped, noise, spread), found, scale)


def checked_lam(lam: Any) -> float | str | None:
    """`lam` as a number of at least 0, the name of a rule, or None."""
    if isinstance(lam, str):
        return choose(lam, RULES, "lam")
    return None if lam is None else number(lam, "lam", low=0)


def _times(weights: Array | None, other: Array) -> Array:
    return other if weights is None else weights * other


def checked_bounds(bounds: Any) -> Box | None:
    """The prior that keeps a picture within `bounds`, a pair (low, high); None for no limit."""
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise TypeError(f"bounds={bounds!r}; expected a pair (low, high), None for no limit")
    low, high = (None if b is None else number(b, "bounds") for b in bounds)
    if low is None and high is None:
        return None
    return Box(-np.inf if low is None else low, np.inf if high is None else high)


def _photons(
    seen: Observation, look: dict[str, Any], sigma: Any, gain: float | str
) -> tuple[Any, Evidence, np.ndarray]:
    """Operator weighted by the inverse variance of photons and sensor, evidence, data scale.

    The variance is ``sigma² + gain light``. The light is the image blurred once more by its psf:
    of the noisy pixel itself, dark ones would be believed for being dark.
    """
    A, y = seen.A, seen.y
    lead = tuple(y.shape[: -A.ndim])
    axes = tuple(range(-A.ndim, 0))
    light = to_numpy(detached(A.crop(A.blur(A.embed(y))))).astype(float)
    mean_light = np.maximum(light.mean(axis=axes), 0)
    if gain == "auto" or sigma is None:
        both = evidence.estimate(**look).sigma ** 2
    if gain == "auto":
        flat = to_numpy(y).reshape(-1, *A.shape)
        cameras = [estimate_gain(channel) for channel in flat]
        gains = np.array([camera.gain for camera in cameras]).reshape(lead)
        dark = np.array([camera.sigma for camera in cameras]).reshape(lead) ** 2
        # What a camera develops is smooth at the finest scale, where the gain is found: the shares
        # of light and sensor hold, and the evidence knows how much they are together.
        worth = both / np.maximum(dark + gains * mean_light, np.finfo(float).tiny)
        gains, dark = gains * worth, dark * worth
        sigma = np.sqrt(dark) if sigma is None else sigma
    else:
        gains = np.full(lead, gain)
    if sigma is None:
        sigma = np.sqrt(np.maximum(both - gains * mean_light, 0))
    column = (..., *(None,) * A.ndim)
    per_photon = gains[column]
    # One photon's variance is the least: an empty pixel is not known better than that.
    variance = np.broadcast_to(np.asarray(sigma, float), lead)[column] ** 2 + np.maximum(
        per_photon * np.maximum(light, 0), per_photon**2
    )
    least = variance.min(axis=axes)
    mean = variance.mean(axis=axes)
    uniform = 1 / (1 / variance).mean(axis=axes)
    weights = like((least[column] / variance), y)
    A = A.reweighted(weights if A.weights is None else weights * A.weights)
    found = evidence.estimate(**look, sigma=np.sqrt(mean))
    return A, replace(found, sigma=np.sqrt(uniform)), least / uniform
