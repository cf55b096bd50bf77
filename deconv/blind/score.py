r"""How credible a psf is, with no truth at hand.

.. math:: s = \frac{\tfrac12 (\overline{|\partial_x x|} + \overline{|\partial_y x|})}
    {\sqrt{\tfrac12 \overline{|\nabla x|^2}}} - 0.0148 \ln f + 0.1\,(1 - \cos(k_1, k_2))

The first term is small where the picture restored with the psf has few strong gradients rather than
many weak ones: ringing, noise and blur all raise it. f is the part of the gradients' power that
lies in areas where the blurred picture is flat; the last term compares psfs estimated from the two
halves of the picture. It ranks finished runs; it is no objective to descend on.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter, sobel

from deconv.blind.kernel import Gradients, KernelStep, gradients, selected, threshold
from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level
from deconv.metrics import psf_similarity

__all__ = ["RANKING_LAM", "Judge"]

# The restoration that is looked at, for pictures on [0, 1], without a border of so many pixels.
# The weight tells a blurred picture from a sharp one; a larger one, which forgives a psf its small
# errors, ranks psfs.
LAM, RANKING_LAM, P, BORDER = 1e-3, 3e-3, 0.8, 24
FLAT_WEIGHT, AGREE_WEIGHT = 0.0148, 0.1
# Flat areas: this part of the pixels, with the least edges nearby.
FLAT, SMOOTH, NEAR = 0.3, 2.0, 9
# The halves' psfs: weight of the L0 image step, slack around the psf.
HALF_MU, SLACK = 2e-3, 8


class Judge:
    """Scores psfs of one blurred picture; smaller is better."""

    def __init__(self, image: np.ndarray, lam: float = LAM) -> None:
        """Look at `image`, (Y, X) float32 on [0, 1], restored with the weight `lam`."""
        self.image, self.lam = image, lam
        self.border = min(BORDER, min(image.shape) // 4)
        smooth = gaussian_filter(image, SMOOTH)
        edges = np.hypot(sobel(smooth, 0), sobel(smooth, 1))
        busy = self._inside(maximum_filter(edges, NEAR))
        self.flat = busy <= np.quantile(busy, FLAT)

    def _inside(self, x: np.ndarray) -> np.ndarray:
        return x[self.border : -self.border, self.border : -self.border]

    def __call__(self, psf: np.ndarray) -> float:
        """The score of `psf`."""
        return self.score(psf, self.agreement(psf))

    def score(self, psf: np.ndarray, agreement: float) -> float:
        """The score, where the last term's cosine is known."""
        return self.sparsity(psf) + AGREE_WEIGHT * (1 - agreement)

    def sparsity(self, psf: np.ndarray) -> float:
        """The first two terms."""
        latent = Latent(Level(0, 1, self.image, (psf.shape[0], psf.shape[1])))
        x = self._inside(latent.frame.crop(latent.sparse(psf, self.lam, P)))
        dy, dx = gradients(x)
        power = dy * dy + dx * dx
        total = float(power.mean())
        if not total > 0:
            return 1.0
        mean = 0.5 * float(np.abs(dy).mean() + np.abs(dx).mean())
        flat = float(power[self.flat[:-1, :-1]].mean()) / total
        return mean / float(np.sqrt(total / 2)) - FLAT_WEIGHT * float(np.log(max(flat, 1e-6)))

    def agreement(self, psf: np.ndarray) -> float:
        """Cosine between the psfs that the picture's two halves give, with its edges by `psf`."""
        lit = np.argwhere(psf > 0)
        reach = int(np.abs(lit - np.array(psf.shape) // 2).max()) + SLACK // 2
        level = Level(0, 1, self.image, (2 * reach + 1, 2 * reach + 1))
        latent = Latent(level)
        x = latent.frame.crop(latent.flat(latent.data(psf), HALF_MU))
        middle = self.image.shape[1] // 2
        found = []
        for half in (slice(0, middle), slice(middle, None)):
            here = self.image[:, half]
            sharp, _ = selected(x[:, half], threshold(here, level.shape))
            found.append(KernelStep()(sharp, Gradients(gradients(here), level.shape)))
        return psf_similarity(*found)
