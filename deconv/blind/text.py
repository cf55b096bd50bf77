"""Strokes on an even ground: few gradients, few pixels that are neither ink nor paper (Pan 2014).

Pan et al. count the pixels that are not black. Print of any colour has its paper in common instead,
so that the pixels are counted that are not as bright as the paper, or as dark as the ink, or both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level

__all__ = ["Text"]

LAM, LEAST_LAM = 4e-3, 1e-4
# This part of a blurred page is not brighter than its paper.
PAPER = 0.95


@dataclass(frozen=True)
class Text:
    """The number of pixels that differ from the tones of a page, beside that of the gradients.

    Attributes
    ----------
    ink, paper : bool
        Which tones a page has: black, and that of its brightest part.
    """

    ink: bool = True
    paper: bool = True

    def latent(
        self, latent: Latent, psf: np.ndarray, mu: float, fade: float, level: Level
    ) -> np.ndarray:
        """The picture on the domain."""
        lam = max(LAM * fade, LEAST_LAM)
        ink, paper = np.float32(0), np.float32(np.quantile(level.image, PAPER))

        def target(x: np.ndarray, least: float) -> np.ndarray:
            out = x
            if self.paper:
                out = np.where((x - paper) ** 2 < least, paper, out)
            if self.ink:
                out = np.where(x * x < least, ink, out)
            return out

        return latent.pulled(latent.data(psf), mu, lam, 2 * lam, target)
