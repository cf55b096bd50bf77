"""Few edges and nothing else: the L0 gradient prior (Xu, Zheng and Jia 2013; Pan et al. 2014)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level

__all__ = ["L0"]


@dataclass(frozen=True)
class L0:
    """The shared image step as it is."""

    factor: float = 2.0

    def latent(
        self, latent: Latent, psf: np.ndarray, mu: float, fade: float, level: Level
    ) -> np.ndarray:
        """The picture on the domain with few gradients."""
        return latent.flat(latent.data(psf), mu, factor=self.factor)
