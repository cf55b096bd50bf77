"""What happens to a picture on its way to a classifier: blur, files, pyramids, estimates.

Every function takes and returns arrays (Y, X) on about [0, 1].
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from scipy import fft

from deconv.blind.pyramid import smaller
from deconv.operators import Blur

__all__ = ["compressed", "flattened", "observed", "sampled", "soft"]

# Pixels around a picture that is flattened.
MARGIN = 6


def observed(scene: np.ndarray, psf: np.ndarray, side: int) -> np.ndarray:
    """The valid blur of the middle of a scene, (side, side)."""
    if psf.size == 1:
        first = (len(scene) - side) // 2
        return scene[first : first + side, first : first + side]
    A = Blur(torch.from_numpy(psf.astype(np.float32)), (side, side))
    latent = torch.zeros(A.domain)
    rows, columns = (min(len(scene), n) for n in A.domain)
    latent[:rows, :columns] = torch.from_numpy(scene[:rows, :columns])
    blurred: np.ndarray = A(latent).numpy()
    return blurred


def compressed(x: np.ndarray, quality: int) -> np.ndarray:
    """`x` on [0, 1] as JPEG gives it back."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(np.round(255 * np.clip(x, 0, 1)).astype(np.uint8)).save(
        file, "JPEG", quality=quality
    )
    return np.asarray(Image.open(file), np.float32) / 255


def sampled(x: np.ndarray, scale: float, side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side) of `x`, sampled as a pyramid does it or as picture editors do."""
    if scale == 1:
        return x
    if rng.uniform() < 0.5:
        return smaller(x, scale)[:side, :side]
    tensor = torch.from_numpy(np.ascontiguousarray(x))[None, None]
    small = F.interpolate(tensor, scale_factor=scale, mode="bilinear", antialias=True)
    return np.asarray(small[0, 0, :side, :side].numpy())


def soft(x: np.ndarray) -> np.ndarray:
    """A mean over 3 x 3."""
    for axis in (0, 1):
        x = (np.roll(x, 1, axis) + x + np.roll(x, -1, axis)) / 3
    return x


def flattened(x: np.ndarray, mu: float) -> np.ndarray:
    """`x` (Y, X) on [0, 1] with few gradients left (Xu, Lu, Xu and Jia 2011): flat regions.

    Parameters
    ----------
    mu : float
        Weight of a gradient; steps below about its square root go.
    """
    height, wide = x.shape
    # The seam where opposite sides meet is left out.
    padded = np.pad(x, MARGIN, mode="symmetric").astype(np.float32)
    spectrum = fft.rfft2(padded)
    rows = 2 - 2 * np.cos(2 * np.pi * np.fft.fftfreq(padded.shape[0]))
    columns = 2 - 2 * np.cos(2 * np.pi * np.fft.rfftfreq(padded.shape[1]))
    laplacian = (rows[:, None] + columns).astype(np.float32)
    u, beta = padded, 2 * mu
    while beta < 1e3:
        dy, dx = np.roll(u, -1, 0) - u, np.roll(u, -1, 1) - u
        keep = dy**2 + dx**2 > mu / beta
        dy, dx = dy * keep, dx * keep
        adjoint = np.roll(dy, 1, 0) - dy + np.roll(dx, 1, 1) - dx
        u = fft.irfft2(
            (spectrum + beta * fft.rfft2(adjoint)) / (1 + beta * laplacian), padded.shape
        )
        beta *= 4
    return np.asarray(u[MARGIN : MARGIN + height, MARGIN : MARGIN + wide])
