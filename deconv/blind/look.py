"""What a blind estimator looks at: the input checked, made grey, and its most informative part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deconv import noise
from deconv.arrays import channels_first, checked, choose, number, to_numpy
from deconv.blind.estimators import NAMES, ready
from deconv.blind.pyramid import odd
from deconv.blind.region import informative
from deconv.psf import geometry
from deconv.saturation import clip_level

__all__ = ["AUTO", "Look", "look", "paper"]

AUTO = "auto"
# Luminance of linear red, green and blue (ITU-R BT.709).
LUMINANCE = (0.2126, 0.7152, 0.0722)
# Larger photographs are looked at through a window of so many pixels.
REGION = 640
# A box given is this much larger than the psf, which is centred only on the way.
SLACK = 1.25
# Clipped pixels that cover this part of the picture are paper or sky, which hide nothing bright;
# without them too little is left to look at.
PAPER = 0.15
# Paper has this part of its pixels about one tone.
EVEN = 0.35
# The smallest picture in which a psf can be looked for.
LEAST = 24


@dataclass(frozen=True, eq=False)
class Look:
    """The validated input: the part of the picture that is looked at, on [0, 1], and the plan.

    Attributes
    ----------
    image : array (Y, X)
        float32 display values, white at 1.
    weights : array (Y, X) or None
        0 where a pixel was not observed.
    sigma, noise : float
        Standard deviation of the noise in `image`, and in the user's picture and its unit.
    grey : array
        Its observed pixels in grey.
    shape : (int, int) or None
        Box of the psf.
    prior : str
    region : (slice, slice)
    scale, gamma : float
        The user's unit is ``scale * image ** gamma``.
    """

    image: np.ndarray
    weights: np.ndarray | None
    sigma: float
    noise: float
    grey: np.ndarray
    shape: tuple[int, int] | None
    prior: str
    region: tuple[slice, slice]
    scale: float
    gamma: float


def look(
    image: Any,
    psf_shape: Any,
    prior: str,
    sigma: float | None,
    weights: Any,
    saturation: Any,
    region: Any,
    gamma: float,
    channel_axis: int | None,
) -> Look:
    """Validate what `deconv.blind.deblur` is given, and choose the part that is looked at.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what came and what was expected.
    ImportError
        If the prior needs what is not installed.
    """
    choose(prior, (AUTO, *NAMES), "prior")
    ready(prior)
    gamma = number(gamma, "gamma", low=1, high=3)
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
    if box is not None:
        _check_fits(box, psf_shape, grey.shape, "an image")
    if weights is not None:
        given = _checked_weights(weights, tuple(values.shape))
        # What is there may be anything; it must set neither the scale nor the level.
        planes = np.where(channels_first(given, 2, channel_axis) > 0, planes, np.nan)
        grey, seen = _luminance(planes, True, channel_axis is not None)
    known = None if seen.all() else np.isfinite(planes)
    level = clip_level(np.nan_to_num(planes), saturation, known)
    if level is not None:
        clipped = planes >= level
        if channel_axis is not None:
            clipped = np.asarray(clipped.any(axis=0))
        if clipped.mean() < PAPER:
            seen &= ~clipped
    if not seen.any() or not np.ptp(grey[seen]) > 0:
        raise ValueError(
            "image is constant, or no pixel of it was observed; expected edges that a blur shows in"
        )
    # Saturated pixels lie above all others: on the scale of those, white is 1.
    highest = float(np.nanmax(np.abs(grey)))
    top = highest if level is None else max(float(level), float(grey[seen].max()))
    picture = (np.where(np.isfinite(grey), grey, 0) / top).astype(np.float32)
    if gamma != 1:
        picture = np.maximum(picture, 0) ** np.float32(1 / gamma)
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
        if box is not None:
            _check_fits(box, psf_shape, grey[place].shape, "a region")
    picture = np.ascontiguousarray(picture[place])
    mask = None if mask is None else np.ascontiguousarray(mask[place])
    if mask is not None and not mask.all():
        picture = _filled(picture, mask)
    else:
        mask = None
    grey, known = grey[place], None if mask is None else mask > 0
    if sigma is None:
        # Too few pixels in a row say nothing of noise.
        found = float(np.nan_to_num(noise.mad(picture, known)))
        sigma = found * top if gamma == 1 else float(np.nan_to_num(noise.mad(grey, known)))
    else:
        # On the display values' scale: the mean slope of the curve, away from its pole at black.
        slope = np.maximum(picture, 0.05) ** (1 - gamma) / gamma
        found = sigma / top * float(np.sqrt(np.mean(slope**2)))
    grey = grey if known is None else grey[known]
    return Look(picture, mask, found, sigma, grey, box, prior, place, top, gamma)


def paper(image: np.ndarray) -> bool:
    """Whether `image`, on [0, 1], may be of text: much of it one bright tone, little near black."""
    counts, edges = np.histogram(image, 64)
    tone = int(counts.argmax())
    even = counts[max(0, tone - 3) : tone + 4].sum() / image.size
    return bool(even > EVEN and edges[tone] > np.median(edges))


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


def _checked_weights(weights: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The weights, one for each value of an image of `shape`."""
    given = to_numpy(checked(weights, "weights")[0])
    try:
        given = np.broadcast_to(given, shape)
    except ValueError:
        raise ValueError(
            f"weights has shape {given.shape}; expected one that broadcasts to {shape}"
        ) from None
    if given.min() < 0 or given.max() > 1:
        raise ValueError(f"weights from {given.min():g} to {given.max():g}; expected [0, 1]")
    return given


def _box(psf_shape: Any) -> tuple[int, int]:
    """The psf's shape with slack, odd."""
    sides = geometry.sizes(psf_shape, 2, "psf_shape")
    if max(sides) < 2:
        raise ValueError(f"psf_shape={psf_shape!r}; expected at least 2 pixels")
    return odd(sides[0] * SLACK), odd(sides[1] * SLACK)


def _check_fits(box: tuple[int, int], psf_shape: Any, shape: tuple[int, ...], where: str) -> None:
    """Refuse a box of more than half of what is looked at."""
    if any(2 * b > n for b, n in zip(box, shape, strict=True)):
        raise ValueError(
            f"psf_shape={psf_shape!r} for {where} of {shape[0]} x {shape[1]} pixels; "
            f"expected a psf of at most {int(min(shape) / 2 / SLACK)} pixels"
        )


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
        if part.stop is not None and part.stop > n:
            raise ValueError(f"region ends at {part.stop}; the image has {n} {name}")
        place.append(slice(start, stop))
    return place[0], place[1]


def _filled(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Unobserved pixels, where they hold nothing, continued from their neighbours."""
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(mask == 0, return_distances=False, return_indices=True)
    empty = (mask == 0) & (picture == 0)
    return np.where(empty, picture[tuple(nearest)], picture)
