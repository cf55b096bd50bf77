"""Plug and play: any denoiser as the prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from deconv.arrays import Array, choose, device, is_numpy, namespace, number, to_numpy, whole
from deconv.denoisers import DENOISERS, denoiser
from deconv.fidelity import Fidelity
from deconv.flat import dering
from deconv.prior_weight import Rule
from deconv.priors import Denoiser
from deconv.problem import pose
from deconv.progress import Callback
from deconv.splitting import Solution, hqs

__all__ = ["plug_and_play"]

# Noise that the first stage removes, and the least of the last one, in pictures like those on
# [0, 1]; and the weight of the denoiser (Zhang et al. 2021).
FIRST_NOISE, LEAST_NOISE, WEIGHT = 49 / 255, 0.255 / 255, 0.23


def plug_and_play(
    image: Any,
    psf: Any,
    denoise: str | Callable[[Array, float], Array] = "dct",
    *,
    sigma: Any = None,
    gain: float | str | None = None,
    boundary: str = "unknown",
    weights: Any = None,
    saturation: float | str | None = None,
    outliers: bool = False,
    bounds: tuple[float | None, float | None] | None = None,
    deringing: float = 0.0,
    channel_axis: int | None = None,
    n_iter: int = 8,
    steps: int = 10,
    callback: Callback | None = None,
) -> Array:
    r"""Restore an image with any denoiser in the place of a prior, by HQS.

    Each stage fits the data near the last picture and denoises the result, from strong denoising to
    the noise's own level.

    Parameters
    ----------
    image, psf, sigma, gain, boundary, weights, saturation, outliers, bounds, deringing
        As in `deconv.tv`.
    channel_axis, callback
        As in `deconv.tv`.
    denoise : {"dct", "nl_means", "tv"} or callable
        ``denoise(v, sigma)`` returns v without the white noise of standard deviation sigma. v has
        the image's unit and namespace, its channels first if there are any, and the shape of the
        operator's domain. The names are those of `deconv.denoisers`; the method `denoise` of an
        `unrolled.ResUNet` is a callable.
    n_iter : int
        Stages.
    steps : int
        Conjugate-gradient steps of a stage where pixels are unobserved.

    Returns
    -------
    array
        Restored image with the shape, floating dtype and scale of `image`.

    Raises
    ------
    TypeError, ValueError
        For bad input, naming the argument, before any work is done; and in the iteration that is
        named, if the denoiser changes the shape or returns NaN.

    References
    ----------
    Venkatakrishnan, Bouman and Wohlberg (2013); Zhang et al. (2021), "Plug-and-play image
    restoration with deep denoiser prior", IEEE Trans. Pattern Anal. Mach. Intell. 44 (schedule).

    Examples
    --------
    Any function that removes noise serves as a prior:

    >>> import deconv
    >>> from scipy.ndimage import median_filter
    >>> from skimage import data
    >>> scene = data.camera()[100:164, 100:164] / 255
    >>> A = deconv.Blur(deconv.psf.gaussian(1.5), scene.shape, boundary="periodic")
    >>> blurred = deconv.noise.simulate(A(scene), sigma=0.01, rng=0)
    >>> restored = deconv.plug_and_play(blurred, A, lambda v, sigma: median_filter(v, 3))
    >>> deconv.metrics.psnr(scene, restored) > deconv.metrics.psnr(scene, blurred)
    True
    """
    deringing = number(deringing, "deringing", low=0, high=1)
    whole(n_iter, "n_iter", low=1)
    whole(steps, "steps", low=1)
    if isinstance(denoise, str):
        choose(denoise, DENOISERS, "denoise")
    elif not callable(denoise):
        raise TypeError(f"denoise={denoise!r}; expected a callable or one of {DENOISERS}")
    problem = pose(
        image,
        psf,
        sigma=sigma,
        gain=gain,
        boundary=boundary,
        weights=weights,
        saturation=saturation,
        outliers=outliers,
        bounds=bounds,
        channel_axis=channel_axis,
    ).pooled()
    noise = max(float(problem.found.sigma), LEAST_NOISE * float(problem.unit))
    levels = np.geomspace(max(FIRST_NOISE * float(problem.unit), noise), noise, n_iter)
    prior = Denoiser(_named(denoise, problem.ndim) if isinstance(denoise, str) else denoise)

    def solve(fidelity: Fidelity, lam: np.ndarray, start: Any, tell: Any) -> Solution:
        terms = problem.stages(prior, lam, [lam / level**2 for level in levels])
        return hqs(fidelity, terms, steps=steps, start=start, tell=tell)

    # The weight of the denoiser is a rule without the spectrum: 0.23 sigma^2.
    rule = Rule(WEIGHT * (noise / float(problem.found.sigma)) ** 2, 2.0, 0.0, 0.0)
    restored = problem.restore(solve, rule, None, n_iter, callback)
    return dering(restored, deringing, lambda: problem)


def _named(name: str, ndim: int) -> Callable[[Array, float], Array]:
    """One of our denoisers for the arrays of any library."""
    denoise = denoiser(name, ndim=ndim)

    def convert(v: Array, sigma: float) -> Array:
        if is_numpy(v):
            return denoise(v, sigma)
        return namespace(v).asarray(denoise(to_numpy(v), sigma), device=device(v))

    return convert
