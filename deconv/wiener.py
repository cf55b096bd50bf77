"""Wiener deconvolution: the linear estimate with the least mean squared error, weight found."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from deconv.arrays import Array, choose, elementwise, is_numpy, namespace, number, whole
from deconv.flat import dering
from deconv.operators import Blur, observe
from deconv.operators.masked import masked_data, masked_solve
from deconv.problem import posed
from deconv.progress import Callback, report
from deconv.ratio import (
    RULES,
    SPECTRA,
    checked_noise,
    noise_to_signal,
    signal_to_noise,
    with_noise,
)

__all__ = ["wiener"]


# The less noise, the more steps the masked problem takes, up to hundreds. So it is solved for more
# noise first, from a signal-to-noise ratio (of gradients) of FIRST on, in stages about STAGE apart:
# what is unobserved comes out nearly alike. Without noise that gains 12 dB in 30 steps.
FIRST, STAGE = 1.0, 10.0
STEPS, LAST_STEPS = 8, 12
# Beyond this ratio the steps would not converge: a larger one must be given.
MOST_FOUND, MOST_GIVEN = 1e5, 1e12
# A stage ends early where the residual is this small beside the noise.
TOLERANCE = 4e-3


def wiener(
    image: Any,
    psf: Any,
    *,
    noise: Any = None,
    spectrum: str | Array | Callable[..., Array] = "fitted",
    weight: float | str | None = None,
    boundary: str = "unknown",
    weights: Any = None,
    channel_axis: int | None = None,
    deringing: float = 0.0,
    n_iter: int | None = None,
    callback: Callback | None = None,
) -> Array:
    r"""Restore an image blurred by a known psf, by one regularised division of spectra.

    .. math:: \hat x = \mathcal F^{-1}\!\left[\frac{\bar K\, Y}{|K|^2 + R}\right], \qquad
              R = \frac{\text{noise power}}{\text{signal power}}

    With nothing but the image and the psf, noise and signal power are found from the image by its
    marginal likelihood (`deconv.evidence`). Beyond the frame, and where pixels are missing, the
    same quadratic problem is solved by a few conjugate-gradient steps that start from the formula.

    Parameters
    ----------
    image : array (..., Y, X), or of 1 to 3 spatial axes
        Blurred image in any unit. NaN pixels are unobserved.
    psf : array or operator
        Sums to 1, centre at ``size // 2``. With a `channel_axis` it may have one psf per channel.
    noise : float or array (C,), optional
        Standard deviation of the noise in image units; estimated when None. Where pixels are
        unobserved, estimates below about 1e-4 of the contrast count as that. One that is plainly
        less than the image shows does not count where the spectrum is found from the image: what
        is noise would be taken for scene. One that is too large leaves blur.
    spectrum : {"fitted", "power-law", "constant", "laplacian"} or callable or array
        Shape of R over frequency. "fitted" has the slope and the directions of the image's own
        spectrum (`deconv.spectrum`); the others are ``f0^2 + |f|^2``, 1, and the squared Laplacian
        (Hunt 1973). A callable maps the frequencies along each axis, in cycles per pixel and
        broadcastable, to the signal's power in squared image units; an array gives that power on
        the half spectrum of the operator's domain. R is then ``noise^2 / power``.
    weight : float or {"likelihood", "gcv", "sure"}, optional
        Multiplier of that shape, above 0 (1 is right for "fitted"), or the rule that finds it:
        marginal likelihood, generalised cross-validation or Stein's unbiased risk. The default is
        the likelihood where there is one ("fitted", "power-law"), else "gcv".
    boundary : {"unknown", "periodic", "zero"}
        What lies beyond the frame; see `deconv.Blur`.
    weights : array, optional
        Weight in [0, 1] of each pixel; 0 for unobserved ones.
    channel_axis : int, optional
        Axis that holds colours or separate images. Noise and weight are found for each.
    deringing : float
        How much of the ringing beside edges to take away, 0 to 1 (`deconv.ringing`).
    n_iter : int, optional
        Conjugate-gradient steps for unknown boundaries and weights; found when None. Where noise is
        weak, the first of them solve for stronger noise.
    callback : callable, optional
        Called with a `deconv.progress.State` after each of these steps; may raise StopIteration.

    Returns
    -------
    array
        Restored image with the shape, floating dtype and scale of `image`.

    Raises
    ------
    TypeError, ValueError
        For bad input, naming the argument, before any work is done.

    References
    ----------
    Wiener (1949); Hunt (1973), IEEE Trans. Computers 22; Reeves (2005), IEEE Trans. Image Process.
    14 (unknown boundaries).

    Examples
    --------
    >>> import numpy as np, deconv
    >>> rng = np.random.default_rng(0)
    >>> scene = np.kron(rng.random((8, 8)), np.ones((8, 8)))
    >>> A = deconv.Blur(deconv.psf.gaussian(1.5), scene.shape, boundary="periodic")
    >>> restored = deconv.wiener(A(scene), A.psf, boundary="periodic")
    >>> bool(np.abs(restored - scene).mean() < np.abs(A(scene) - scene).mean() / 2)
    True
    """
    if isinstance(spectrum, str):
        choose(spectrum, SPECTRA, "spectrum")
    if isinstance(weight, str):
        choose(weight, RULES, "weight")
    elif weight is not None:
        weight = number(weight, "weight", low=0, strict=True)
    deringing = number(deringing, "deringing", low=0, high=1)
    if n_iter is not None:
        whole(n_iter, "n_iter")
    seen = observe(image, psf, boundary=boundary, weights=weights, channel_axis=channel_axis)
    A, y = seen.A, seen.y
    if noise is not None:
        noise = checked_noise(noise, tuple(y.shape[: -A.ndim]))
    ratio = noise_to_signal(A, y, spectrum, weight, noise)
    if A.exact:
        restored = seen.finish(A.image(_divide(A, y, ratio), overwrite=True))
        return dering(restored, deringing, lambda: posed(seen, sigma=noise))
    tell = report(callback, n_iter, lambda X: seen.finish(A.image(X)))
    most = MOST_FOUND if noise is None and not isinstance(weight, float) else MOST_GIVEN
    spectrum = _solve(A, y, sum(ratio[1:], ratio[0]), most, n_iter, tell)
    restored = seen.finish(A.image(spectrum, overwrite=True))
    return dering(restored, deringing, lambda: posed(seen, sigma=noise))


def _solve(
    A: Blur,
    y: Array,
    ratio: Array,
    most: float,
    n_iter: int | None,
    tell: Callable[..., bool] | None,
) -> Array:
    """Half spectrum that solves the masked problem, the noise lowered to its own in stages."""
    data, spectrum, taken = masked_data(A, y), None, 0
    seen, gradient = signal_to_noise(A, ratio)
    end = float(np.clip(gradient.max(), FIRST, most))
    stages = round(math.log(end / FIRST, STAGE))
    cancelled = False

    def count(step: int, X: Array) -> bool:
        nonlocal cancelled
        cancelled = tell is not None and tell(taken + step, X)
        return cancelled

    for level in np.geomspace(FIRST, end, stages + 1) if stages else (end,):
        last = level == end
        more = np.maximum(gradient / level, 1.0)
        steps = LAST_STEPS if last else STEPS
        if n_iter is not None:
            steps = n_iter - taken if last else min(steps, n_iter - taken)
        solution = masked_solve(
            A,
            y,
            with_noise(A, ratio, more),
            data=data,
            start=spectrum,
            tol=TOLERANCE / math.sqrt(1 + float((seen / more).max())) if n_iter is None else 0.0,
            n_iter=steps,
            callback=count,
        )
        spectrum, taken = solution.spectrum, taken + solution.n_iter
        if cancelled or taken == n_iter:
            break
    return spectrum


def _divide(A: Blur, y: Array, ratio: list[Array]) -> Array:
    """The formula itself, in one pass; `ratio` is a sum of terms that broadcast."""
    xp = namespace(A.otf)

    def formula(k: Array, s: Array, *terms: Array) -> Array:
        adjoint = xp.conj(k)
        inverse = 1 / (xp.real(adjoint * k) + sum(terms[1:], terms[0]))
        return adjoint * s * inverse

    spectrum = A.transform(y)
    own = is_numpy(spectrum) and spectrum.ndim >= A.otf.ndim
    return elementwise(formula, A.otf, spectrum, *ratio, out=spectrum if own else None)
