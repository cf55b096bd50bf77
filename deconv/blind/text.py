"""Dark strokes on an even ground: few gradients, few pixels that are not black (Pan 2014)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level

__all__ = ["Text"]

LAM, LEAST_LAM = 4e-3, 1e-4


@dataclass(frozen=True)
class Text:
    """The number of pixels that are not black, beside that of the gradients."""

    def latent(
        self, latent: Latent, psf: np.ndarray, mu: float, fade: float, level: Level
    ) -> np.ndarray:
        """The picture on the domain."""
        lam = max(LAM * fade, LEAST_LAM)

        def target(x: np.ndarray, least: float) -> np.ndarray:
            return np.where(x * x < least, np.float32(0), x)

        return latent.pulled(latent.data(psf), mu, lam, 2 * lam, target)
