"""The last alternations of a run: a psf that is nearly right, looked at through weaker edges.

A run ends with few, strong edges, which is what finds a psf and what loses its faint parts: a tail
that hangs on nothing is taken for noise at a coarse scale, and no later step brings it back. Once
the psf is nearly right, weaker edges are right as well, and there are many more of them, so faint
parts can be trusted. They are sought in the psf's own box with some slack, on the values as they
are.
"""

from __future__ import annotations

import numpy as np

from deconv.blind.alternation import Alternation, Tell
from deconv.blind.kernel import KernelStep, centred, normalised, threshold
from deconv.blind.l0 import L0
from deconv.blind.pyramid import Level

__all__ = ["polished", "reach"]

# Weight of the gradients, a tenth of a run's, its part of a run's first threshold, iterations.
MU, TAU, N_ITER = 4e-4, 0.3, 5
# Pixels around the psf in which faint parts are sought, and what is kept of them; noise hides more.
SLACK = 8
STEP = KernelStep(cut=0.04, island=0.02)
NOISY_STEP = KernelStep(cut=0.06, island=0.05, gamma=6.0)


def polished(
    image: np.ndarray,
    psf: np.ndarray,
    *,
    noisy: bool = False,
    weights: np.ndarray | None = None,
    shape: tuple[int, int] | None = None,
    tell: Tell | None = None,
) -> np.ndarray:
    """`psf` after a few more alternations at the full size.

    Parameters
    ----------
    image : array (Y, X)
        Blurred picture on [0, 1], float32.
    psf : array (y, x)
        Odd, centred, sum 1.
    noisy : bool
        Whether faint parts are rather noise.
    weights : array (Y, X), optional
        0 where a pixel was not observed.
    shape : (int, int), optional
        Largest shape of the result; a third of the picture's when None.
    tell : callable, optional
        As in `Alternation`.

    Returns
    -------
    array
        Odd, centred, non-negative, sum 1.
    """
    most = [n // 3 for n in image.shape] if shape is None else shape
    box = [min(2 * (r + SLACK) + 1, m - 1 + m % 2) for r, m in zip(reach(psf), most, strict=True)]
    level = Level(0, 1, image, (box[0], box[1]), weights)
    loop = Alternation(
        L0(),
        NOISY_STEP if noisy else STEP,
        mu=MU,
        n_iter=N_ITER,
        tau=TAU * threshold(image, level.shape),
        tell=tell,
    )
    return centred(loop(level, _framed(psf, level.shape)))


def reach(psf: np.ndarray) -> tuple[int, int]:
    """How far the psf reaches from its middle along each axis, in pixels."""
    lit = np.argwhere(psf > 0)
    far = np.abs(lit - np.array(psf.shape) // 2).max(axis=0)
    return int(far[0]), int(far[1])


def _framed(psf: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """`psf` cut or padded to an odd shape about its middle."""
    out = np.zeros(shape, np.float32)
    here, there = [], []
    for n, m in zip(psf.shape, shape, strict=True):
        r = min(n, m) // 2
        here.append(slice(n // 2 - r, n // 2 + r + 1))
        there.append(slice(m // 2 - r, m // 2 + r + 1))
    out[tuple(there)] = psf[tuple(here)]
    return normalised(out)
