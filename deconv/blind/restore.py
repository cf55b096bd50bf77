"""The last step of a blind restoration: the whole picture, once its psf is known about."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from deconv import evidence
from deconv.arrays import Array, channels_first, checked, namespace, to_numpy
from deconv.prior_weight import hyper_laplacian_rule, tv_rule
from deconv.progress import Callback
from deconv.saturation import clip_level
from deconv.tiles import Region, tiled
from deconv.variational import hyper_laplacian, tv

__all__ = ["METHODS", "restored", "with_psf_error"]

METHODS: dict[str, Callable[..., Array]] = {"hyper_laplacian": hyper_laplacian, "tv": tv}
# What an estimated psf leaves unexplained, over the picture's standard deviation. It acts like
# noise: restored for the sensor's noise alone, a clean picture loses 3 to 4 dB (Levin et al. 2009;
# from 0.03 to 0.05 the mean stays within 0.3 dB).
PSF_ERROR = 0.035
# Larger pictures are restored in tiles of about this side.
WHOLE, TILE = 3e6, 1024
# The weight of their prior is found from parts of this many pixels together.
PIXELS = 1 << 20


def with_psf_error(sigma: float, picture: np.ndarray) -> float:
    """The noise to restore a `picture` for with an estimated psf, in its own unit."""
    return float(np.hypot(sigma, PSF_ERROR * picture.std(dtype=np.float64)))


def restored(
    image: Any,
    psf: np.ndarray,
    *,
    method: str,
    sigma: float,
    weights: Any = None,
    saturation: float | str | None = None,
    channel_axis: int | None = None,
    callback: Callback | None = None,
    **options: Any,
) -> Array:
    """`image` by a method of `METHODS`; a large one tile by tile, with one weight for all.

    Parameters
    ----------
    image, psf, weights, saturation, channel_axis, callback
        As in `deconv.tv`.
    method : str
        One of `METHODS`.
    sigma : float
        Noise in image units, see `with_psf_error`.
    **options
        Further keywords of the method.
    """
    solve = METHODS[method]
    values, holes = checked(image, "image")
    shape = tuple(values.shape)
    channels = 1 if channel_axis is None else shape[channel_axis]
    common = {"sigma": sigma, "channel_axis": channel_axis, **options}
    if math.prod(shape) <= WHOLE * channels:
        return solve(
            image, psf, weights=weights, saturation=saturation, callback=callback, **common
        )
    # What tiles must agree on is found once, and no tile is without a number.
    given = None if weights is None else np.broadcast_to(to_numpy(weights), shape)
    if holes:
        numbers = to_numpy(values)
        seen = np.isfinite(numbers)
        given = seen.astype(np.float32) if given is None else given * seen
        xp = namespace(values)
        even = xp.full_like(values, float(numbers[seen].mean()))
        values = xp.where(xp.isnan(values), even, values)
    level = clip_level(values, saturation, given)
    lam = _weight(method, values, psf, sigma, given, level, channel_axis)

    def tile(pixels: Array, region: Region, tell: Callback | None) -> Array:
        place: list[Any] = list(region)
        if channel_axis is not None:
            place.insert(channel_axis % len(shape), slice(None))
        here = None if given is None else given[tuple(place)]
        numbers = to_numpy(pixels)
        bright = numbers if here is None else numbers[here > 0]
        clips = level is not None and bright.size > 0 and bright.min() < level <= bright.max()
        return solve(
            pixels,
            psf,
            lam=lam,
            weights=here,
            saturation=level if clips else None,
            callback=tell,
            **common,
        )

    return tiled(
        tile,
        values,
        tile=TILE,
        psf_shape=psf.shape,
        channel_axis=channel_axis,
        callback=callback,
    )


def _weight(
    method: str,
    values: Array,
    psf: np.ndarray,
    sigma: float,
    weights: np.ndarray | None,
    level: float | None,
    channel_axis: int | None,
) -> float:
    """The prior's weight for the whole picture, from parts spread over it."""

    def planes(x: Array) -> np.ndarray:
        found = to_numpy(channels_first(x, 2, channel_axis))
        return found if channel_axis is not None else found[None]

    image = planes(values)
    seen = None if weights is None else planes(weights)
    if level is not None:
        seen = (image < level) * np.float32(1) if seen is None else seen * (image < level)
    found = evidence.estimate(
        image,
        psf,
        sigma=np.full(len(image), sigma),
        weights=seen,
        ndim=2,
        max_pixels=PIXELS,
    )
    rule = tv_rule(2, len(image)) if method == "tv" else hyper_laplacian_rule(2 / 3, 2)
    # A channel without edges, which has a large weight of its own, must not flatten the others.
    typical = np.sqrt(np.mean(found.slope**2))
    found = replace(found, sigma=np.mean(found.sigma), typical=typical, dof=np.mean(found.dof))
    return float(rule.weight(found))
