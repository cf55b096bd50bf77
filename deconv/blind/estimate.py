"""The public calls: the psf of one photograph, and the photograph without its blur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from deconv.arrays import Array, checked, choose, number
from deconv.blind.family import family
from deconv.blind.kernel import normalised
from deconv.blind.look import AUTO, Look, look, paper
from deconv.blind.plan import Candidate, plan
from deconv.blind.pyramid import Level
from deconv.blind.restore import METHODS, restored, with_psf_error
from deconv.blind.search import Search, Trial, search
from deconv.problem import checked_bounds
from deconv.progress import Callback, State, report
from deconv.psf import geometry

__all__ = ["DERINGING", "Blind", "Estimate", "deblur", "estimate", "estimate_psf", "noise_level"]

# Ringing taken away after a blind estimate, whose psf is never exact.
DERINGING = 0.5


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimate:
    """The psf of one photograph, and how it was found.

    Attributes
    ----------
    psf : array (y, x)
        float32, odd, non-negative, sum 1, its centroid within half a pixel of the middle.
    blurred : bool
        Whether a blur was found; if not, the psf is a single pixel.
    prior : str
        The prior of the run that was picked, or the family of the psf ("motion", "defocus").
    scores : dict
        Score of each run, smaller is better, by prior, box and exponent, in the order of the runs.
    gain : float
        How much worse no blur scores: above 0.12 a blur is clear, below 0.07 there is none to see.
    message : str
        What was found and why the search ended, in a sentence or two.
    region : (slice, slice)
        The part of the image that the psf was estimated on.
    sigma : float
        Standard deviation, in image units, that the noise and the error of such a psf amount to
        together: what a restoration with it should be given as the noise.

    Examples
    --------
    >>> import deconv
    >>> from scipy.signal import fftconvolve
    >>> from skimage import data
    >>> shake = deconv.psf.motion(9, 30)
    >>> blurred = fftconvolve(data.camera()[100:300, 100:300] / 255, shake, mode="valid")
    >>> found = deconv.blind.estimate(blurred, 11, prior="l0")
    >>> found.blurred, found.prior, found.gain > 0.1
    (True, 'l0', True)
    """

    psf: np.ndarray
    blurred: bool
    prior: str
    scores: dict[str, float]
    gain: float
    message: str
    region: tuple[slice, slice]
    sigma: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Blind(Estimate):
    """What was made of one photograph.

    Attributes
    ----------
    image : array
        The restored image, in the layout, dtype and scale of the input; equal to the input where no
        blur was found.
    psf, blurred, prior, scores, gain, message, region, sigma
        As in `Estimate`.

    Examples
    --------
    >>> from deconv import blind
    >>> from skimage import data
    >>> photograph = data.camera()[:200, 200:400]
    >>> result = blind.deblur(photograph, 9, prior="l0")
    >>> result.blurred, bool((result.image == photograph).all())
    (False, True)
    """

    image: Array


def estimate(
    image: Any,
    psf_shape: int | Sequence[int] | None = None,
    *,
    prior: str = AUTO,
    sigma: float | None = None,
    weights: Any = None,
    saturation: float | str | None = AUTO,
    region: Sequence[slice] | None = None,
    gamma: float = 1.0,
    channel_axis: int | None = None,
    callback: Callback | None = None,
) -> Estimate:
    """The psf of a photograph, from the photograph alone.

    One psf must hold for the whole picture: camera shake without much rotation, defocus of a flat
    scene. A few complete coarse-to-fine runs of different boxes and priors are made, until the one
    that a no-reference score prefers agrees with another. Where none do, a straight motion or
    defocus that the spectrum shows plainly is taken (`deconv.fit_psf`).

    Parameters
    ----------
    image : array (Y, X), or with `channel_axis` one more axis
        Blurred image in any unit, best in linear light (`deconv.picture.to_linear`). Channels are
        joined to a luminance; NaN pixels are unobserved.
    psf_shape : int or (int, int), optional
        About the size of the psf in pixels; it is sought in a box a quarter larger.
        Found when None.
    prior : str
        "auto", or one of `deconv.blind.PRIORS`.
    sigma : float, optional
        Standard deviation of the noise in image units; estimated when None.
    weights : array, optional
        In [0, 1], broadcast against the image; pixels of weight 0 do not count.
    saturation : "auto", float or None
        Level at which the sensor clips; clipped pixels, and what the psf makes of them, are left
        out. None if nothing clips.
    region : (slice, slice), optional
        Rows and columns to estimate on; of a large picture, the most informative part when None.
    gamma : float
        Exponent from display values to those of `image`, 1 to 3: 2.2 if this is a photograph in
        linear light, in which a few bright pixels would drown the rest.
    channel_axis : int, optional
        Axis that holds colours.
    callback : callable, optional
        Called with a `deconv.progress.State` after each iteration, whose image is the sharp picture
        as the estimator sees it at its scale, and whose psf is that of the run at the same scale,
        in the run's box, not centred yet; may raise StopIteration, which keeps the best psf so far.

    Returns
    -------
    Estimate

    Raises
    ------
    TypeError, ValueError
        For bad input, naming the argument, before any work is done: a picture that is constant,
        smaller than the psf, or has fewer than 24 pixels along an axis.
    ImportError
        If `prior` is "discriminative", and PyTorch or `unrolled` is not installed.

    References
    ----------
    Cho and Lee (2009), ACM Trans. Graph. 28 (the scheme); Xu, Zheng and Jia (2013), CVPR; Pan et
    al. (2016), CVPR; Wen et al. (2021), IEEE Trans. Circuits Syst. Video Technol. 31 (the priors).
    The search and its score are ours.

    Examples
    --------
    >>> import deconv
    >>> from scipy.signal import fftconvolve
    >>> from skimage import data
    >>> shake = deconv.psf.motion(9, 30)
    >>> blurred = fftconvolve(data.camera()[100:300, 100:300] / 255, shake, mode="valid")
    >>> found = deconv.blind.estimate(blurred, 11, prior="l0")
    >>> deconv.metrics.psf_similarity(found.psf, shake) > 0.9
    True
    """
    seen = look(image, psf_shape, prior, sigma, weights, saturation, region, gamma, channel_axis)
    return _found(seen, _searched(seen, callback))


def estimate_psf(
    image: Any, psf_shape: int | Sequence[int] | None = None, **options: Any
) -> np.ndarray:
    """The psf of a photograph, from the photograph alone: `estimate` without the reasons.

    Parameters
    ----------
    image, psf_shape
        As in `estimate`.
    **options
        Its keywords.

    Returns
    -------
    array (y, x)
        float32, odd, non-negative, sum 1, centred; a single pixel (1, 1) where no blur was found.

    Examples
    --------
    >>> import deconv
    >>> from scipy.signal import fftconvolve
    >>> from skimage import data
    >>> shake = deconv.psf.motion(9, 30)
    >>> blurred = fftconvolve(data.camera()[100:300, 100:300] / 255, shake, mode="valid")
    >>> found = deconv.blind.estimate_psf(blurred, 11, prior="l0")
    >>> deconv.metrics.psf_similarity(found, shake) > 0.9
    True
    """
    return estimate(image, psf_shape, **options).psf


def deblur(
    image: Any,
    psf_shape: int | Sequence[int] | None = None,
    *,
    prior: str = AUTO,
    method: str = "tv",
    sigma: float | None = None,
    weights: Any = None,
    saturation: float | str | None = AUTO,
    region: Sequence[slice] | None = None,
    gamma: float = 1.0,
    deringing: float = DERINGING,
    bounds: tuple[float | None, float | None] | None = None,
    channel_axis: int | None = None,
    callback: Callback | None = None,
) -> Blind:
    """Take the blur out of a photograph, given nothing else.

    The psf is estimated as by `estimate`; then the whole picture is restored with it, a large one
    in tiles. A picture in which no blur is found comes back as it is.

    Parameters
    ----------
    image, psf_shape, prior, sigma, weights, saturation, region, gamma, channel_axis
        As in `estimate`.
    method : {"tv", "hyper_laplacian"}
        The last step, with the psf found.
    deringing : float
        How much of the ringing beside edges to take away, 0 to 1; an estimated psf is never exact.
    bounds : tuple (low, high), optional
        What the restored image lies within, None for no limit.
    callback : callable, optional
        As in `estimate`; the last step calls it too, with the psf found.

    Returns
    -------
    Blind

    Raises
    ------
    TypeError, ValueError
        For bad input, naming the argument, before any work is done.

    Examples
    --------
    >>> import deconv
    >>> from scipy.signal import fftconvolve
    >>> from skimage import data
    >>> scene = data.camera()[100:300, 100:300] / 255
    >>> blurred = fftconvolve(scene, deconv.psf.motion(9, 30), mode="valid")
    >>> result = deconv.blind.deblur(blurred, 11, prior="l0")
    >>> after = deconv.metrics.aligned_psnr(scene[3:-3, 4:-4], result.image)
    >>> after - deconv.metrics.aligned_psnr(scene[3:-3, 4:-4], blurred) > 5
    True
    """
    choose(method, METHODS, "method")
    number(deringing, "deringing", low=0, high=1)
    if bounds is not None:
        checked_bounds(bounds)
    found = estimate(
        image,
        psf_shape,
        prior=prior,
        sigma=sigma,
        weights=weights,
        saturation=saturation,
        region=region,
        gamma=gamma,
        channel_axis=channel_axis,
        callback=callback,
    )
    sharper = _unchanged(image)
    if found.blurred:
        sharper = restored(
            image,
            found.psf,
            method=method,
            sigma=found.sigma,
            weights=weights,
            saturation=saturation,
            deringing=deringing,
            bounds=bounds,
            channel_axis=channel_axis,
            callback=None if callback is None else _knowing(callback, found.psf),
        )
    return Blind(image=sharper, **{f.name: getattr(found, f.name) for f in fields(found)})


def noise_level(
    image: Any,
    *,
    sigma: float | None = None,
    gamma: float = 1.0,
    channel_axis: int | None = None,
) -> float:
    """What noise and the error of an estimated psf amount to together: `Estimate.sigma`.

    For a psf that was edited by hand, or estimated elsewhere.

    Parameters
    ----------
    image, sigma, gamma, channel_axis
        As in `estimate`.

    Returns
    -------
    float
        Standard deviation in image units.

    Raises
    ------
    TypeError, ValueError
        For bad input, as in `estimate`.

    Examples
    --------
    More than the noise alone, because an estimated psf is never exact:

    >>> from deconv import blind
    >>> from skimage import data
    >>> photograph = data.camera() / 255
    >>> 0.01 < blind.noise_level(photograph, sigma=0.01) < 0.1
    True
    """
    seen = look(image, None, AUTO, sigma, None, AUTO, None, gamma, channel_axis)
    return with_psf_error(seen.noise, seen.grey)


def _unchanged(image: Any) -> Array:
    """A copy in the dtype that a restoration would have."""
    values, _ = checked(image, "image")
    return values.clone() if hasattr(values, "clone") else values + 0


def _knowing(callback: Callback, psf: np.ndarray) -> Callback:
    """`callback`, told the psf that a solver restores with."""

    def tell(state: State) -> None:
        callback(replace(state, make_psf=psf.copy))

    return tell


def _searched(seen: Look, callback: Callback | None) -> Search:
    """Run the search."""
    runs = plan(
        seen.image.shape,
        seen.sigma,
        prior=None if seen.prior == AUTO else seen.prior,
        box=None if seen.shape is None else max(seen.shape),
        light=seen.gamma,
        paper=paper(seen.image),
    )
    done = 0

    def shown(x: np.ndarray) -> np.ndarray:
        """The sharp picture on the scale of the input."""
        light = x if seen.gamma == 1 else np.maximum(x, 0) ** np.float32(seen.gamma)
        return light * np.float32(seen.scale)

    told = report(callback, None, shown)

    def tell(run: int, count: int, level: Level, x: np.ndarray, psf: np.ndarray) -> bool:
        nonlocal done
        done += 1
        return told is not None and told(done, x, psf=psf.copy)

    return search(
        seen.image,
        runs,
        sigma=seen.sigma,
        shape=seen.shape,
        weights=seen.weights,
        tell=None if told is None else tell,
    )


def _found(seen: Look, made: Search) -> Estimate:
    """What the search found, or else a psf of a known family, for the user."""
    psf, prior, blurred = made.psf, made.best.candidate.prior, made.blurred
    message = made.message
    free = seen.prior == AUTO and seen.shape is None
    fit = None
    if free and not made.agreed and not made.stopped:
        fit = family(seen.image**seen.gamma, seen.weights)
    if fit is not None:
        psf, prior, blurred = fit.psf, fit.family, True
        facts = ", ".join(f"{name} {value:.1f}" for name, value in fit.parameters.items())
        message += f"; the spectrum shows {fit.family}: {facts}"
    if blurred:
        tight = geometry.crop(psf)
        psf = normalised(geometry.pad(tight, [n + 1 - n % 2 for n in tight.shape]))
    else:
        psf = np.ones((1, 1), np.float32)
        message = f"no blur found: no psf explains the picture clearly better than none; {message}"
    return Estimate(
        psf=psf,
        blurred=blurred,
        prior=prior,
        scores={_label(trial): trial.score for trial in made.trials},
        gain=made.gain,
        message=message,
        region=seen.region,
        sigma=with_psf_error(seen.noise, seen.grey),
    )


def _label(trial: Trial) -> str:
    """A name that no other run of the plan has."""
    c = trial.candidate
    kind = ", careful" if c.careful else ", smoothed" if c.smooth else ""
    kind += ", faint parts" if c.island < Candidate.island else ""
    return f"{c.prior}, {c.box} px, exponent {c.exponent:g}{kind}"
