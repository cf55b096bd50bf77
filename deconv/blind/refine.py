"""A psf that is nearly right, made better by the picture that it blurred.

A measured or published psf is a little wrong. Its picture knows better: restored with it, strong
edges are where they were, and what they were blurred into says what the psf is. Whether that psf is
the better one is decided by the score that ranks the runs of blind estimation, so that an exact psf
stays what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deconv.arrays import to_numpy
from deconv.blind.alternation import Alternation
from deconv.blind.kernel import KernelStep, pruned, threshold
from deconv.blind.l0 import L0
from deconv.blind.look import AUTO, Look, look
from deconv.blind.polish import PENALTY, framed, reach
from deconv.blind.pyramid import Level
from deconv.blind.score import RANKING_LAM, Judge
from deconv.psf import normalise

__all__ = ["refine_psf"]

# Alternations; the part of a run's first threshold that edges begin with.
N_ITER, TAU = 10, 1.0
# Weights of gradients in the picture, and of the psf given, at 1 % of white: more noise asks for
# flatter pictures, which say less of the psf.
MU, NOISE_MU, GAMMA, LOW = 1e-3, 10.0, 300.0, 0.01
# Faint parts and islands that are left out; the box is so much larger than the psf given.
CUT, ISLAND, SLACK = 0.02, 0.02, 2
# With more noise, in parts of white, the psf given is not touched.
NOISIEST = 0.06
# A psf must be better by so much, and may then be refined again.
MARGIN, ROUNDS = 0.001, 2


def refine_psf(
    image: Any,
    psf: Any,
    *,
    sigma: float | None = None,
    weights: Any = None,
    saturation: float | str | None = AUTO,
    region: Sequence[slice] | None = None,
    gamma: float = 1.0,
    channel_axis: int | None = None,
) -> np.ndarray:
    """A psf corrected by the picture, or as it was where that finds none that is more credible.

    Parameters
    ----------
    image : array (Y, X), or with `channel_axis` one more axis
        Blurred image in any unit.
    psf : array (y, x)
        Nearly right: the psf of another exposure, of a measurement with noise, of a fit, or what
        was estimated elsewhere. It is divided by its sum.
    sigma, weights, saturation, region, gamma, channel_axis
        As in `deconv.blind.estimate`.

    Returns
    -------
    array (y, x)
        float32, odd, non-negative, sum 1, at most nine pixels larger than `psf`. It lies where
        `psf` lay to a pixel, so that the restored picture does not move.

    Raises
    ------
    TypeError, ValueError
        For bad input, naming the argument, before any work is done.

    Notes
    -----
    Alternations of a picture with few gradients (Xu, Zheng and Jia 2013) and a psf by its strong
    ones (Cho and Lee 2009), begun at the psf given and drawn to it: without that, psfs run away on
    pictures with few edges. With noise above 6 % of white the psf given is returned. A refined psf
    is no exact one: restore with it as with one that was estimated.

    Examples
    --------
    >>> import deconv
    >>> from scipy.signal import fftconvolve
    >>> from skimage import data
    >>> true = deconv.psf.motion(13, 30)
    >>> blurred = fftconvolve(data.camera()[100:356, 100:356] / 255, true, mode="valid")
    >>> told = deconv.psf.motion(11, 36)
    >>> better = deconv.blind.refine_psf(blurred, told)
    >>> before, after = (deconv.metrics.psf_similarity(k, true) for k in (told, better))
    >>> bool(after > before)
    True
    """
    given = np.asarray(to_numpy(normalise(psf)), np.float32)
    if given.ndim != 2:
        raise ValueError(f"psf has shape {given.shape}; expected 2 axes (y, x)")
    seen = look(image, given.shape, AUTO, sigma, weights, saturation, region, gamma, channel_axis)
    # The middle of an even psf is the pixel after: one more behind keeps it where it was.
    best = np.pad(given, [(0, 1 - n % 2) for n in given.shape])
    if seen.sigma > NOISIEST:
        return best
    judge = Judge(seen.image, RANKING_LAM)
    least = judge(best)
    for _ in range(ROUNDS):
        found = _placed(_alternated(seen, best), best)
        score = judge(found)
        if score > least - MARGIN:
            break
        least, best = score, found
    return best


def _alternated(seen: Look, psf: np.ndarray) -> np.ndarray:
    """The psf after alternations that are drawn to where they begin."""
    box = [
        min(2 * (r + SLACK) + 1, (n // 2 - 1) | 1)
        for r, n in zip(reach(psf), seen.image.shape, strict=True)
    ]
    level = Level(0, 1, seen.image, (box[0], box[1]), seen.weights)
    start = framed(psf, level.shape)
    gamma = GAMMA * max(1.0, seen.sigma / LOW)
    loop = Alternation(
        L0(PENALTY),
        KernelStep(gamma, CUT, ISLAND, anchor=start),
        mu=max(MU, NOISE_MU * seen.sigma**2),
        n_iter=N_ITER,
        last_cut=CUT,
        tau=TAU * threshold(seen.image, level.shape),
    )
    return loop(level, start)


def _placed(psf: np.ndarray, like: np.ndarray) -> np.ndarray:
    """`psf` moved by whole pixels to where `like` is, in a box that holds both."""
    shape = tuple(max(n, m) + 2 * SLACK for n, m in zip(psf.shape, like.shape, strict=True))
    one, other = framed(psf, shape), framed(like, shape)
    spectrum = np.fft.rfft2(other) * np.conj(np.fft.rfft2(one))
    match = np.fft.irfft2(spectrum, shape)
    steps = np.unravel_index(int(match.argmax()), shape)
    return pruned(np.roll(one, steps, (0, 1)), 0.0, 0.0)
