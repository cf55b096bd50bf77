"""The public calls: the psf of one photograph, and the photograph without its blur."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deconv import noise
from deconv.arrays import Array, channels_first, checked, choose, number, to_numpy
from deconv.blind.estimators import NAMES
from deconv.blind.kernel import normalised
from deconv.blind.pyramid import Level, odd
from deconv.blind.region import informative
from deconv.blind.search import Search, plan, search
from deconv.progress import Callback, State
from deconv.psf import geometry
from deconv.saturation import clip_level
from deconv.variational import hyper_laplacian, tv

__all__ = ["Blind", "deblur", "estimate_psf"]

AUTO = "auto"
METHODS: dict[str, Callable[..., Array]] = {"hyper_laplacian": hyper_laplacian, "tv": tv}
# Luminance of linear red, green and blue (ITU-R BT.709).
LUMINANCE = (0.2126, 0.7152, 0.0722)
# Larger photographs are looked at through a window of so many pixels.
REGION = 640
# A box given is this much larger than the psf, which is centred only on the way.
SLACK = 1.25
# The smallest picture in which a psf can be looked for.
LEAST = 24
# Ringing taken away after a blind estimate, whose psf is never exact.
DERINGING = 0.5


@dataclass(frozen=True, eq=False)
class Blind:
    """What was made of one photograph.

    Attributes
    ----------
    image : array
        The restored image, in the layout, dtype and scale of the input; equal to the input where no
        blur was found.
    psf : array (y, x)
        float32, odd, non-negative, sum 1, its centroid within half a pixel of the middle.
    prior : str
        The prior of the run that was picked.
    blurred : bool
        Whether a blur was found; if not, the psf is a single pixel.
    scores : dict
        Score of each run, smaller is better, by prior, box and exponent, in the order of the runs;
        and that of the single pixel, "no blur".
    message : str
        Why the search ended, and what it found, in a sentence or two.
    region : (slice, slice)
        The part of the image that the psf was estimated on.
    """

    image: Array
    psf: np.ndarray
    prior: str
    blurred: bool
    scores: dict[str, float]
    message: str
    region: tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class _Estimate:
    """The psf and how it was found."""

    psf: np.ndarray
    search: Search
    region: tuple[slice, slice]
    message: str


def estimate_psf(
    image: Any,
    psf_shape: int | Sequence[int] | None = None,
    *,
    prior: str = AUTO,
    sigma: float | None = None,
    weights: Any = None,
    saturation: float | str | None = AUTO,
    region: Sequence[slice] | None = None,
    channel_axis: int | None = None,
    callback: Callback | None = None,
) -> np.ndarray:
    """The psf of a photograph, from the photograph alone.

    One psf must hold for the whole picture: camera shake without much rotation, defocus of a flat
    scene. A few complete coarse-to-fine runs of different boxes and priors are made, until the one
    that a no-reference score prefers agrees with another.

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
    channel_axis : int, optional
        Axis that holds colours.
    callback : callable, optional
        Called with a `deconv.progress.State` after each iteration, whose image is the sharp picture
        as the estimator sees it at its scale; may raise StopIteration, which keeps the best psf so
        far.

    Returns
    -------
    array (y, x)
        float32, non-negative, sum 1, centred; a single pixel (1, 1) where no blur was found.

    Raises
    ------
    TypeError, ValueError
        For bad input, naming the argument, before any work is done: a picture that is constant,
        smaller than the psf, or has fewer than 24 pixels along an axis.

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
    >>> found = deconv.blind.estimate_psf(blurred, 11, prior="l0")
    >>> deconv.metrics.psf_similarity(found, shake) > 0.9
    True
    """
    seen = _look(image, psf_shape, prior, sigma, weights, saturation, region, channel_axis)
    return _estimate(seen, callback).psf


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
    deringing: float = DERINGING,
    bounds: tuple[float | None, float | None] | None = None,
    channel_axis: int | None = None,
    callback: Callback | None = None,
) -> Blind:
    """Take the blur out of a photograph, given nothing else.

    The psf is estimated as by `estimate_psf`; then the whole picture is restored with it. A
    picture in which no blur is found comes back as it is.

    Parameters
    ----------
    image, psf_shape, prior, sigma, weights, saturation, region, channel_axis, callback
        As in `estimate_psf`. The callback sees the restoration, too.
    method : {"tv", "hyper_laplacian"}
        The last step, with the psf found.
    deringing : float
        How much of the ringing beside edges to take away, 0 to 1; an estimated psf is never exact.
    bounds : tuple (low, high), optional
        What the restored image lies within, None for no limit.

    Returns
    -------
    Blind

    Raises
    ------
    TypeError, ValueError
        For bad input, naming the argument, before any work is done.

    Examples
    --------
    >>> from deconv import blind
    >>> from skimage import data
    >>> result = blind.deblur(data.camera()[::2, ::2])
    >>> result.blurred, result.psf.shape
    (False, (1, 1))
    """
    choose(method, METHODS, "method")
    number(deringing, "deringing", low=0, high=1)
    seen = _look(image, psf_shape, prior, sigma, weights, saturation, region, channel_axis)
    found = _estimate(seen, callback)
    best = found.search.best
    blurred = found.psf.size > 1
    restored = _unchanged(image)
    if blurred:
        restored = METHODS[method](
            image,
            found.psf,
            sigma=sigma,
            weights=weights,
            saturation=saturation,
            deringing=deringing,
            bounds=bounds,
            channel_axis=channel_axis,
            callback=callback,
        )
    scores = {_label(t): t.score for t in found.search.trials} | {"no blur": found.search.sharp}
    return Blind(
        restored, found.psf, best.candidate.prior, blurred, scores, found.message, found.region
    )


def _label(trial: Any) -> str:
    c = trial.candidate
    kind = ", careful" if c.careful else ", smoothed" if c.smooth else ""
    box = " x ".join(map(str, trial.psf.shape))
    return f"{c.prior}, {box} px, exponent {c.exponent:g}{kind}"


def _unchanged(image: Any) -> Array:
    """A copy in the dtype that a restoration would have."""
    values, _ = checked(image, "image")
    return values.clone() if hasattr(values, "clone") else values + 0


@dataclass(frozen=True, eq=False)
class _Look:
    """The validated input: the part of the picture that is looked at, on [0, 1], and the plan."""

    image: np.ndarray
    weights: np.ndarray | None
    sigma: float
    shape: tuple[int, int] | None
    prior: str
    region: tuple[slice, slice]
    scale: float


def _look(
    image: Any,
    psf_shape: Any,
    prior: str,
    sigma: float | None,
    weights: Any,
    saturation: Any,
    region: Any,
    channel_axis: int | None,
) -> _Look:
    """Validate everything, and choose the part that the psf is estimated on."""
    choose(prior, (AUTO, *NAMES), "prior")
    if sigma is not None:
        sigma = number(sigma, "sigma", low=0)
    values, holes = checked(image, "image")
    planes = to_numpy(channels_first(values, 2, channel_axis))
    grey, seen = _luminance(planes, holes, channel_axis is not None)
    box = None if psf_shape is None else _box(psf_shape)
    if min(grey.shape) < LEAST:
        raise ValueError(
            f"image has {grey.shape[0]} x {grey.shape[1]} pixels; expected at least {LEAST} along "
            f"each axis to look for a psf"
        )
    if box is not None and any(2 * b > n for b, n in zip(box, grey.shape, strict=True)):
        raise ValueError(
            f"psf_shape={psf_shape!r} for an image of {grey.shape[0]} x {grey.shape[1]} pixels; "
            f"expected a psf of at most {int(min(grey.shape) / 2 / SLACK)} pixels"
        )
    if weights is not None:
        given = to_numpy(checked(weights, "weights")[0])
        try:
            given = np.broadcast_to(given, values.shape)
        except ValueError:
            raise ValueError(
                f"weights has shape {given.shape}; expected one that broadcasts to "
                f"{tuple(values.shape)}"
            ) from None
        if given.min() < 0 or given.max() > 1:
            raise ValueError(f"weights from {given.min():g} to {given.max():g}; expected [0, 1]")
        given = channels_first(given, 2, channel_axis)
        seen &= (given > 0).all(axis=0) if channel_axis is not None else given > 0
    level = clip_level(np.nan_to_num(planes), saturation)
    if level is not None:
        clipped = planes >= level
        seen &= ~(clipped.any(axis=0) if channel_axis is not None else clipped)
    if not seen.any() or not np.ptp(grey[seen]) > 0:
        raise ValueError(
            "image is constant, or no pixel of it was observed; expected edges that a blur shows in"
        )
    # Saturated pixels lie above all others: on the scale of those, white is 1.
    top = float(np.abs(grey).max()) if level is None else max(float(level), float(grey[seen].max()))
    picture = (np.where(np.isfinite(grey), grey, 0) / top).astype(np.float32)
    mask = None if seen.all() else seen.astype(np.float32)
    if region is None:
        side = (min(REGION, grey.shape[0]), min(REGION, grey.shape[1]))
        if box is not None:
            side = (
                min(max(REGION, 4 * box[0]), grey.shape[0]),
                min(max(REGION, 4 * box[1]), grey.shape[1]),
            )
        place = informative(picture, mask, side)
    else:
        place = _region(region, grey.shape)
    picture = np.ascontiguousarray(picture[place])
    mask = None if mask is None else np.ascontiguousarray(mask[place])
    if mask is not None and not mask.all():
        picture = _filled(picture, mask)
    else:
        mask = None
    found = (
        sigma / top if sigma is not None else noise.mad(picture, None if mask is None else mask > 0)
    )
    return _Look(picture, mask, float(found), box, prior, place, top)


def _luminance(planes: np.ndarray, holes: bool, colour: bool) -> tuple[np.ndarray, np.ndarray]:
    """Grey picture and where all of its channels were observed."""
    seen = np.isfinite(planes) if holes else np.ones(planes.shape, bool)
    if not colour:
        return planes, seen
    if planes.shape[0] == 3:
        parts = np.asarray(LUMINANCE, planes.dtype)
    else:
        parts = np.full(planes.shape[0], 1 / planes.shape[0], planes.dtype)
    return np.tensordot(parts, planes, 1), np.asarray(seen.all(axis=0))


def _box(psf_shape: Any) -> tuple[int, int]:
    """The psf's shape with slack, odd."""
    sides = geometry.sizes(psf_shape, 2, "psf_shape")
    if max(sides) < 2:
        raise ValueError(f"psf_shape={psf_shape!r}; expected at least 2 pixels")
    return odd(sides[0] * SLACK), odd(sides[1] * SLACK)


def _region(region: Any, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The user's rows and columns, in full."""
    if not isinstance(region, Sequence) or len(region) != 2:
        raise TypeError(f"region={region!r}; expected a pair of slices, rows and columns")
    place = []
    for part, n, name in zip(region, shape, ("rows", "columns"), strict=True):
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise TypeError(f"region={region!r}; expected plain slices for {name}")
        start, stop, _ = part.indices(n)
        if stop - start < LEAST:
            raise ValueError(
                f"region holds {max(0, stop - start)} {name} of the image's {n}; expected at least "
                f"{LEAST}"
            )
        place.append(slice(start, stop))
    return place[0], place[1]


def _filled(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Unobserved pixels, where they hold nothing, continued from their neighbours."""
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(mask == 0, return_distances=False, return_indices=True)
    empty = (mask == 0) & (picture == 0)
    return np.where(empty, picture[tuple(nearest)], picture)


def _estimate(seen: _Look, callback: Callback | None) -> _Estimate:
    """Run the search."""
    runs = plan(
        seen.image.shape,
        seen.sigma,
        None if seen.prior == AUTO else (seen.prior,),
        None if seen.shape is None else max(seen.shape),
    )
    done = 0
    total = None

    def tell(run: int, count: int, level: Level, x: np.ndarray, psf: np.ndarray) -> bool:
        nonlocal done
        done += 1
        assert callback is not None
        try:
            callback(State(done, total, lambda: x * np.float32(seen.scale), lambda: None))
        except StopIteration:
            return True
        return False

    found = search(
        seen.image,
        runs,
        sigma=seen.sigma,
        shape=seen.shape,
        weights=seen.weights,
        tell=None if callback is None else tell,
    )
    if not found.blurred:
        pixel = np.ones((1, 1), np.float32)
        return _Estimate(
            pixel,
            found,
            seen.region,
            f"no blur found: the picture as it is explains itself as well as any psf does; "
            f"{found.message}",
        )
    psf = geometry.crop(found.best.psf).astype(np.float32)
    sides = [n + 1 - n % 2 for n in psf.shape]
    return _Estimate(normalised(geometry.pad(psf, sides)), found, seen.region, found.message)
