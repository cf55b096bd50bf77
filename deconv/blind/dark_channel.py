r"""The darkest values around each pixel: sharp pictures have more that are black (Pan et al. 2016).

.. math:: \Phi(x) = \|D(x)\|_0, \quad D(x)_i = \min_{j \in \mathcal{N}(i)} x_j

A pixel is the minimum of some patch exactly where the picture equals its morphological opening, the
largest of the patch minima around it. So the step needs no search for minima, whatever the size of
the patch: a minimum filter, a maximum filter, a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level

__all__ = ["DarkChannel", "dark_channel"]

PATCH, LAM, LEAST_LAM = 35, 4e-3, 1e-4


def dark_channel(image: np.ndarray, size: int = PATCH) -> np.ndarray:
    """The least value in the square of `size` pixels around each pixel of `image` (Y, X)."""
    return np.asarray(minimum_filter(image, size, mode="nearest"))


@dataclass(frozen=True)
class DarkChannel:
    """Few gradients, and few patches whose darkest pixel is not black.

    Attributes
    ----------
    dark, bright : bool
        Which extremes count; both are the extreme channels of Yan et al. 2017.
    size : int
        Side of the patches, at every scale.
    """

    dark: bool = True
    bright: bool = False
    size: int = PATCH

    def latent(
        self, latent: Latent, psf: np.ndarray, mu: float, fade: float, level: Level
    ) -> np.ndarray:
        """The picture on the domain."""
        from skimage.filters import threshold_otsu

        lam = max(LAM * fade, LEAST_LAM)
        power = level.image * level.image
        first = lam / max(float(threshold_otsu(power)), 1e-3)

        def target(x: np.ndarray, least: float) -> np.ndarray:
            out = x
            if self.dark:
                out = np.where(self._extreme(x, x, least), np.float32(0), out)
            if self.bright:
                out = np.where(self._extreme(1 - x, 1 - x, least), np.float32(1), out)
            return out

        return latent.pulled(latent.data(psf), mu, lam, first, target)

    def _extreme(self, x: np.ndarray, value: np.ndarray, least: float) -> np.ndarray:
        """Where `x` is the least of some patch, and not above the threshold."""
        # The patches that hold a pixel: those of even size reach one further back than forward.
        opening = maximum_filter(
            dark_channel(x, self.size), self.size, mode="nearest", origin=self.size % 2 - 1
        )
        return np.asarray((opening >= x) & (value * value < least))
