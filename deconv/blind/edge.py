r"""The edges that a sharp picture would have, foretold by filters instead of a prior.

A quick quadratic restoration is smoothed beside its edges, the edges are sharpened to jumps, and
the strongest of them say what the psf is (Cho and Lee 2009). Two things of Xu and Jia 2010 can be
added. An edge that is narrower than the psf spoils it, since blur changes its height too; such
edges are left out by the usefulness

.. math:: r = \frac{|\sum_W \nabla y|}{\sum_W |\nabla y| + 0.5},

which is near 1 where all gradients in the window W, of the psf's shape, point one way and near 0
where they cancel. And in the end the psf's support is found, and only what lies off it is drawn
to 0, so that its faint tails stay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import uniform_filter

from deconv.blind.alternation import Alternation, ImagePrior
from deconv.blind.kernel import (
    Gradients,
    KernelStep,
    conjugate_gradients,
    enough,
    gradients,
    least_kept,
    normal_equations,
    normalised,
    strong,
)
from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level
from deconv.fft import irfftn
from deconv.filters import bilateral, shock

__all__ = ["Edge", "SupportStep", "UsefulEdges", "quadratic", "support", "usefulness"]

# Weight of the squared gradients of the restoration.
SMOOTH = 1e-2
# The bilateral filter's widths in pixels and, at first, in values on [0, 1]; the shock filter's
# steps. The range and the step fall with the other weights: late pictures need less help.
SIGMA_SPACE, SIGMA_RANGE = 2.0, 1.0
SHOCKS = 3
# Keeps flat regions from being useful: on [0, 1], summed over the window.
FLAT = 0.5
# Of the geometric mean of the picture's and the psf's pixels, useful in each orientation at first.
USEFUL = 0.2
# Of the psf's maximum, over its side: a jump among its sorted values that is no noise.
JUMP = 0.5
# Weight of the absolute values off the support, the least value that reweighting tells from 0, the
# rounds of reweighting and their steps.
OFF, LEAST, ROUNDS, STEPS = 20.0, 1e-4, 3, 20
# Iterations with them.
N_LAST = 2


@dataclass(frozen=True)
class Edge:
    """The image step: restore, smooth, sharpen.

    Attributes
    ----------
    smooth : float
        Weight of the squared gradients of the restoration.
    sigma_space, sigma_range : float
        Of the bilateral filter: in pixels, and at first in values on [0, 1].
    n_shock : int
        Steps of the shock filter.
    """

    smooth: float = SMOOTH
    sigma_space: float = SIGMA_SPACE
    sigma_range: float = SIGMA_RANGE
    n_shock: int = SHOCKS

    def latent(
        self, latent: Latent, psf: np.ndarray, mu: float, fade: float, level: Level
    ) -> np.ndarray:
        """The picture on the domain, its edges sharpened in the frame."""
        x = quadratic(latent, psf, self.smooth)
        inside = latent.frame.crop(x)
        inside[...] = self.predicted(inside, fade)
        return x

    def predicted(self, image: np.ndarray, fade: float) -> np.ndarray:
        """`image` (Y, X) with sharp edges and little else."""
        image = bilateral(
            image, sigma_space=self.sigma_space, sigma_range=max(self.sigma_range * fade, 1e-3)
        )
        return np.asarray(shock(image, n_iter=self.n_shock, step=fade))


def quadratic(latent: Latent, psf: np.ndarray, smooth: float = SMOOTH) -> np.ndarray:
    """The picture on the domain for ``|k * x - y|^2 + smooth |grad x|^2``: quick, it rings."""
    cross, power = latent.data(psf)
    spectrum = cross / (power + np.float32(smooth) * latent.power)
    return np.array(irfftn(spectrum, latent.domain))


def usefulness(parts: tuple[np.ndarray, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """In [0, 1): how far the gradients of a blurred picture on [0, 1] agree in a window of `shape`.

    Parameters
    ----------
    parts : tuple of array (Y, X)
        What `deconv.blind.kernel.gradients` gives.
    shape : (int, int)
        Of the psf, odd.

    Returns
    -------
    array (Y, X)
        1 for a long step, 0 for a spike that rises and falls within the window.
    """
    area = shape[0] * shape[1]

    def total(x: np.ndarray) -> np.ndarray:
        return np.asarray(uniform_filter(x, shape, mode="constant")) * np.float32(area)

    dy, dx = parts
    flat = np.float32(FLAT)
    return np.asarray(np.hypot(total(dy), total(dx)) / (total(np.hypot(dy, dx)) + flat))


def support(psf: np.ndarray, jump: float) -> np.ndarray:
    """Where `psf` is above the first jump of at least `jump` among its sorted values.

    Everything, where no two neighbours are so far apart.
    """
    values = np.sort(psf, axis=None)
    jumps = np.flatnonzero(np.diff(values) > jump)
    return np.asarray(psf > (values[jumps[0]] if jumps.size else -np.inf))


@dataclass(frozen=True)
class SupportStep(KernelStep):
    r"""The shared step, then least squares with absolute values off the support found from it.

    .. math:: \min_k \sum_d \|\partial_d x * k - \partial_d y\|^2 + \gamma \sum_{j \notin S} |k_j|

    By reweighting: ``|k| = k^2 / |k|`` with the last k. The support grows, as what counts as a jump
    falls with every round.

    Attributes
    ----------
    off : float
        The weight off the support, in squared units of pictures on [0, 1].
    """

    off: float = OFF

    def __call__(
        self,
        sharp: tuple[np.ndarray, np.ndarray],
        blurred: Gradients,
        weights: np.ndarray | None = None,
        start: np.ndarray | None = None,
    ) -> np.ndarray:
        """The psf, of ``blurred.shape``; parameters as those of `KernelStep`."""
        psf = super().__call__(sharp, blurred, weights, start)
        normal, rhs = normal_equations(sharp, blurred, weights)
        for i in range(1, ROUNDS + 1):
            inside = support(psf, JUMP * float(psf.max()) / (max(psf.shape) * i))
            weight = np.where(inside, 0, self.off / np.maximum(psf, LEAST)).astype(np.float32)

            def penalised(k: np.ndarray, weight: np.ndarray = weight) -> np.ndarray:
                return np.asarray(normal(k) + weight * k)

            psf = normalised(conjugate_gradients(penalised, rhs, STEPS, psf))
        return psf


@dataclass
class UsefulEdges(Alternation):
    """The shared loop on useful edges, with the support found at the full size.

    Attributes
    ----------
    useful : float
        At first, so many pixels of each orientation are useful, over the geometric mean of the
        numbers of the picture's and the psf's pixels.
    last : SupportStep
        The psf step of the full size, once the shared one has had its iterations.
    n_last : int
        Its iterations.
    """

    prior: ImagePrior = field(default_factory=Edge)
    useful: float = USEFUL
    last: SupportStep = field(default_factory=SupportStep)
    n_last: int = N_LAST
    _least: float | None = None
    _map: np.ndarray | None = None

    def __call__(self, level: Level, psf: np.ndarray) -> np.ndarray:
        """The psf of one level."""
        parts = gradients(level.image)
        self._map = usefulness(parts, level.shape)
        if self._least is None:
            count = self.useful * math.sqrt(parts[0].size * math.prod(level.shape))
            self._least = enough(self._map, parts, int(count))
            power = (parts[0] ** 2 + parts[1] ** 2) * (self._map >= self._least)
            self.tau = enough(power, parts, least_kept(level.shape)) or None
        psf = super().__call__(level, psf)
        if level.index == 0 and self.n_last:
            # That step cuts nothing but what it finds off the support.
            usual = self.step, self.n_iter, self.last_cut
            self.step, self.n_iter, self.last_cut = self.last, self.n_last, 0.0
            psf = super().__call__(level, psf)
            self.step, self.n_iter, self.last_cut = usual
        return psf

    def edges(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradients of the sharp picture `x` (Y, X), weak and useless ones set to 0."""
        assert self._map is not None and self._least is not None and self.tau is not None
        keep = self._map >= self._least * self._fade
        dy, dx = gradients(x)
        sharp, self.tau = strong((dy * keep, dx * keep), max(self.tau, self.least_tau))
        return sharp
