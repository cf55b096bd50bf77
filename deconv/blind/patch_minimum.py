"""The darkest pixel of each patch is darker in a sharp picture (Wen et al. 2021).

Only that one pixel of every patch is touched, which costs next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level

__all__ = ["PatchMinimum"]

# Side of a patch over that of the picture (5 pixels of 255), weight, its least, and the bound of
# the hard threshold of the finer scales.
SIDE, LAM, LEAST_LAM, HARD = 0.02, 0.1, 0.01, 0.1


@dataclass(frozen=True)
class PatchMinimum:
    """Shrinks the patches' minima between the shared steps."""

    factor: float = 2.0
    sweeps: int = 1

    def latent(
        self, latent: Latent, psf: np.ndarray, mu: float, fade: float, level: Level
    ) -> np.ndarray:
        """The picture on the domain with few gradients and dark patch minima."""
        lam = max(LAM * fade, LEAST_LAM)
        side = max(1, int(SIDE * sum(level.image.shape) / 2))
        hard = level.index + 1 < level.count / 2

        def darken(x: np.ndarray) -> None:
            _shrink_minima(x[latent.frame.index], side, lam, hard)

        return latent.flat(
            latent.data(psf),
            mu,
            touch=darken,
            sweeps=self.sweeps,
            factor=self.factor,
        )


def _shrink_minima(image: np.ndarray, side: int, lam: float, hard: bool) -> None:
    """Threshold the least pixel of each patch, in place."""
    size = [-(-n // side) * side for n in image.shape]
    whole = image
    if tuple(size) != image.shape:
        whole = np.pad(
            image,
            [(0, m - n) for n, m in zip(image.shape, size, strict=True)],
            constant_values=np.inf,
        )
    rows, columns = (n // side for n in size)
    patches = whole.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows, columns, -1)
    where = patches.argmin(axis=-1)
    least = np.take_along_axis(patches, where[..., None], axis=-1)[..., 0]
    size_ = np.abs(least)
    if hard:
        bound = min(max(float(size_.mean()), lam), HARD)
        least = np.where(size_ < bound, 0, least)
    else:
        least = np.sign(least) * np.maximum(size_ - np.float32(lam), 0)
    y = np.arange(rows)[:, None] * side + where // side
    x = np.arange(columns)[None, :] * side + where % side
    image[y, x] = least
