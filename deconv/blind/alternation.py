"""The loop that the sparse priors share: a sharp picture from the psf, the psf from its edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from scipy.ndimage import minimum_filter

from deconv.blind.kernel import Gradients, KernelStep, gradients, pruned, selected, threshold
from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level

__all__ = ["Alternation", "ImagePrior", "Tell", "trusted"]

# Is told the level, the sharp picture at its scale and the psf after each iteration; what it raises
# ends the run.
Tell: TypeAlias = Callable[[Level, np.ndarray, np.ndarray], None]

# Weights and the threshold fall by this factor in every iteration, through all scales.
DECAY = 1.1
LEAST_MU = 1e-4
# Unless asked otherwise, what is below this part of the maximum goes at the full size.
LAST_CUT = 0.05
# With less than this part of the picture left, only the unobserved pixels themselves are left out.
LEAST_SEEN = 0.3


class ImagePrior(Protocol):
    """What a prior is to the shared loop: the image step."""

    def latent(
        self, latent: Latent, psf: np.ndarray, mu: float, fade: float, level: Level
    ) -> np.ndarray:
        """The sharp picture on the domain of `latent`.

        `mu` weighs its gradients; `fade`, which falls from 1 through all scales, goes with the
        prior's own weight.
        """
        ...


@dataclass
class Alternation:
    """One run of the shared loop through all scales: `refine` for `coarse_to_fine`.

    Attributes
    ----------
    prior : ImagePrior
    step : KernelStep
    mu : float
        First weight of the gradients, for pictures on [0, 1].
    n_iter : int
        Iterations per scale.
    n_full : int or None
        Iterations at the full size, if not as many.
    least_tau : float
        The threshold of squared gradients never falls below it: the noise's own.
    last_cut : float
        At the full size, what is below this part of the psf's maximum goes.
    tau : float or None
        The threshold of squared gradients, which falls in every iteration; found from the coarsest
        picture when None.
    tell : callable, optional
        See `Tell`.
    """

    prior: ImagePrior
    step: KernelStep = field(default_factory=KernelStep)
    mu: float = 4e-3
    n_iter: int = 5
    n_full: int | None = None
    least_tau: float = 0.0
    last_cut: float = LAST_CUT
    tau: float | None = None
    tell: Tell | None = None
    _fade: float = field(default=1.0, init=False)

    def __call__(self, level: Level, psf: np.ndarray) -> np.ndarray:
        """The psf of one level."""
        latent = Latent(level)
        blurred = Gradients(gradients(level.image), level.shape)
        seen = None if level.weights is None else trusted(level)
        if self.tau is None:
            self.tau = threshold(level.image, level.shape)
        n_full = self.n_iter if self.n_full is None else self.n_full
        for _ in range(self.n_iter if level.index else n_full):
            mu = max(self.mu * self._fade, LEAST_MU)
            x = latent.frame.crop(self.prior.latent(latent, psf, mu, self._fade, level))
            sharp = self.edges(x)
            if seen is not None:
                sharp = (sharp[0] * seen, sharp[1] * seen)
            psf = self.step(sharp, blurred, seen, psf)
            self.tau /= DECAY
            self._fade /= DECAY
            if self.tell is not None:
                self.tell(level, x, psf)
        return pruned(psf, self.last_cut, 0.0) if level.index == 0 else psf

    def edges(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradients of the sharp picture `x` (Y, X), weak ones set to 0."""
        assert self.tau is not None
        sharp, self.tau = selected(x, max(self.tau, self.least_tau))
        return sharp


def trusted(level: Level) -> np.ndarray:
    """1 for gradients that no unobserved pixel has touched, through the psf's middle half."""
    assert level.weights is not None
    reach = [n // 4 * 2 + 1 for n in level.shape]
    seen = minimum_filter(level.weights, reach, mode="nearest")
    if seen.mean() < LEAST_SEEN:
        seen = level.weights
    return np.asarray(seen[:-1, :-1] * seen[1:, :-1] * seen[:-1, 1:])
