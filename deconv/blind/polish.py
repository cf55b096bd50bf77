"""The last alternations of a run: a psf that is nearly right, looked at through weaker edges.

A run ends with few, strong edges, which is what finds a psf and what loses its faint parts: a tail
that hangs on nothing is taken for noise at a coarse scale, and no later step brings it back. Once
the psf is nearly right, weaker edges are right as well, and there are many more of them, so faint
parts can be trusted. They are sought in the psf's own box with some slack, on the values as they
are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deconv.blind.alternation import Alternation, Tell
from deconv.blind.kernel import KernelStep, centred, normalised, threshold
from deconv.blind.l0 import L0
from deconv.blind.pyramid import Level
from deconv.fft import irfftn, rfftn

__all__ = ["framed", "joined", "polished", "reach"]

# Weights of the gradients, a quarter and a tenth of a run's; iterations of a round; the part of a
# run's first threshold.
MU, LAST_MU, N_ITER, TAU = 1e-3, 4e-4, 4, 0.3
# The penalty of the image step grows faster than in a run: no worse, and a third quicker.
PENALTY = 3.0
# The first round is made again, up to so many times, while the psf reaches further by more pixels.
ROUNDS, GROWTH = 4, 2
# Faint parts are sought so far around the psf, at least, or in this part of the run's box; noise
# hides more of them.
SLACK, PART = 8, 0.25
STEP = KernelStep(cut=0.04, island=0.02)
NOISY_STEP = KernelStep(cut=0.06, island=0.05, gamma=6.0)
# What several runs agree on is averaged, and goes through one more round.
JOINT_MU, JOINT_ITER, JOINT_SLACK, FAINTEST = 1e-3, 4, 6, 0.02


def polished(
    image: np.ndarray,
    psf: np.ndarray,
    *,
    noisy: bool = False,
    weights: np.ndarray | None = None,
    tell: Tell | None = None,
) -> np.ndarray:
    """`psf` after a few more alternations at the full size.

    Parameters
    ----------
    image : array (Y, X)
        Blurred picture on [0, 1], float32.
    psf : array (y, x)
        Odd, centred, sum 1, in the box that it was sought in.
    noisy : bool
        Whether faint parts are rather noise.
    weights : array (Y, X), optional
        0 where a pixel was not observed.
    tell : callable, optional
        As in `Alternation`.

    Returns
    -------
    array
        Odd, centred, non-negative, sum 1; at most half as large as the picture.
    """
    slack = max(SLACK, round(PART * max(psf.shape)))
    for _ in range(ROUNDS):
        before = reach(psf)
        psf = _round(image, psf, MU, N_ITER, slack, noisy, weights, tell)
        if max(a - b for a, b in zip(reach(psf), before, strict=True)) <= GROWTH:
            break
    return _round(image, psf, LAST_MU, N_ITER, slack, noisy, weights, tell)


def joined(
    image: np.ndarray,
    psfs: Sequence[np.ndarray],
    *,
    noisy: bool = False,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """One psf of several that agree: their mean, each moved onto the first one, polished.

    The errors of runs that differ are different ones. Parameters as in `polished`.
    """
    most = [2 * max(reach(psf)[axis] for psf in psfs) + 1 for axis in (0, 1)]
    shape = (2 * most[0] + 1, 2 * most[1] + 1)
    first = framed(psfs[0], shape)
    spectrum = rfftn(first, 2)
    total = first.copy()
    for psf in psfs[1:]:
        other = framed(psf, shape)
        match = irfftn(spectrum * np.conj(rfftn(other, 2)), shape)
        total += np.roll(other, np.unravel_index(int(match.argmax()), shape), (0, 1))
    mean = centred(np.where(total >= FAINTEST * total.max(), total, 0))
    return _round(image, mean, JOINT_MU, JOINT_ITER, JOINT_SLACK, noisy, weights, None)


def _round(
    image: np.ndarray,
    psf: np.ndarray,
    mu: float,
    n_iter: int,
    slack: int,
    noisy: bool,
    weights: np.ndarray | None,
    tell: Tell | None,
) -> np.ndarray:
    """Alternations in a box with so much slack around the psf."""
    box = [
        min(2 * (r + slack) + 1, (n // 2 - 1) | 1)
        for r, n in zip(reach(psf), image.shape, strict=True)
    ]
    level = Level(0, 1, image, (box[0], box[1]), weights)
    loop = Alternation(
        L0(PENALTY),
        NOISY_STEP if noisy else STEP,
        mu=mu,
        n_iter=n_iter,
        tau=TAU * threshold(image, level.shape),
        tell=tell,
    )
    return centred(loop(level, framed(psf, level.shape)))


def reach(psf: np.ndarray) -> tuple[int, int]:
    """How far the psf reaches from its middle along each axis, in pixels."""
    lit = np.argwhere(psf > 0)
    far = np.abs(lit - np.array(psf.shape) // 2).max(axis=0)
    return int(far[0]), int(far[1])


def framed(psf: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """`psf` cut or padded to an odd shape about its middle."""
    out = np.zeros(shape, np.float32)
    here, there = [], []
    for n, m in zip(psf.shape, shape, strict=True):
        r = min(n, m) // 2
        here.append(slice(n // 2 - r, n // 2 + r + 1))
        there.append(slice(m // 2 - r, m // 2 + r + 1))
    out[tuple(there)] = psf[tuple(here)]
    return normalised(out)
