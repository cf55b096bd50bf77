"""Periodograms of a picture: Hann-windowed, of the frame or of tiles spread over a large one.

They are normalised so that white noise of standard deviation sigma has ``P = sigma^2`` on average,
whatever the window and however many pixels are missing. The cost does not grow with the picture.

A Hann window keeps the scene out of the dark frequencies, where the noise is read, but sees little
more than the middle of the frame. What is asked of the frame as a whole, as how steep its edges
are, is read under a window that is flat but for its rim.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from deconv import fft
from deconv.noise import mad

__all__ = ["Layout", "Look", "fill", "layout", "look", "overlapping", "radius", "response"]

TILE = {1: 4096, 2: 256, 3: 32}  # least side of a tile, by number of axes
PSFS = 4  # a tile is at least this many psfs wide: its window must resolve the otf's zeros
SWEEPS = 4  # relaxations of a hole at each box width
RIM = 0.25  # share of a flat window's side that its two slopes take
ROUNDING = 1e-7  # a picture that varies by less than this times its level is constant


@dataclass(frozen=True)
class Layout:
    """Where the tiles lie and on which grid their spectra live."""

    tile: tuple[int, ...]
    grid: tuple[int, ...]  # `tile` padded to a fast shape
    corners: tuple[tuple[int, ...], ...]
    tapered: bool = True  # by a Hann window; not where the picture is one period of itself


@dataclass(frozen=True)
class Look:
    """One channel's periodograms, in units of `scale` squared so that no dtype overflows."""

    scale: float  # standard deviation of the picture; 0 where it is constant
    level: float  # largest magnitude in the picture
    periodograms: np.ndarray  # (tiles, *half spectrum), float32
    mad: float  # wavelet estimate of sigma, in units of `scale`; may be NaN
    flat: np.ndarray | None = None  # mean of the tiles' periodograms under a flat window


@lru_cache(maxsize=64)
def layout(
    frame: tuple[int, ...], support: tuple[int, ...], max_pixels: int, periodic: bool = False
) -> Layout:
    """Take the whole frame if it has at most `max_pixels`, else tiles spread evenly over it.

    The axis with most to spare is halved until four tiles fit into `max_pixels`. A whole `periodic`
    frame needs no window: its discrete spectrum is exact, the seam included.
    """
    ndim = len(frame)
    if periodic and math.prod(frame) <= max_pixels:
        return Layout(frame, frame, ((0,) * ndim,), tapered=False)
    tile = list(frame)
    least = [min(n, max(TILE.get(ndim, 8), PSFS * k)) for n, k in zip(frame, support, strict=True)]
    while math.prod(frame) > max_pixels and 4 * math.prod(tile) > max_pixels:
        spare = [t / low for t, low in zip(tile, least, strict=True)]
        axis = spare.index(max(spare))
        if tile[axis] == least[axis]:
            break
        tile[axis] = max(least[axis], tile[axis] // 2)
    counts = [1] * ndim
    while True:  # one more tile along the axis that is covered the least
        bare = [n / (t * c) for n, t, c in zip(frame, tile, counts, strict=True)]
        more = [c + (i == bare.index(max(bare))) for i, c in enumerate(counts)]
        if max(bare) <= 1 or math.prod(more) * math.prod(tile) > max_pixels:
            break
        counts = more
    starts = [
        [int((i + 0.5) * n / c - t / 2) if c * t < n else i * (n - t) // max(c - 1, 1)
         for i in range(c)]
        for n, t, c in zip(frame, tile, counts, strict=True)
    ]  # fmt: skip
    return Layout(tuple(tile), fft.fast_shape(tuple(tile)), tuple(itertools.product(*starts)))


def overlapping(frame: tuple[int, ...], side: int, most: int) -> Layout:
    """Half-overlapping tiles of about `side`, at most `most` of them, spread evenly.

    Their sides are even and fast, so that tile and grid agree.
    """
    tile = tuple(_fast_below(min(n, side)) for n in frame)
    counts = [1 + math.ceil(2 * (n - t) / t) for n, t in zip(frame, tile, strict=True)]
    while math.prod(counts) > most:
        counts[counts.index(max(counts))] -= 1
    starts = [
        [(n - t) // 2] if c == 1 else [i * (n - t) // (c - 1) for i in range(c)]
        for n, t, c in zip(frame, tile, counts, strict=True)
    ]
    return Layout(tile, tile, tuple(itertools.product(*starts)))


def _fast_below(n: int) -> int:
    return next(m for m in range(n - n % 2, 0, -2) if fft.fast_shape((m,)) == (m,))


def look(
    image: np.ndarray, observed: np.ndarray | None, plan: Layout, *, flat: bool = False
) -> Look:
    """Periodograms of one channel, and their mean under a flat window if asked for.

    Unobserved pixels are first replaced by a smooth continuation: a hole of zeros would scatter
    the picture's power over all frequencies. They carry no noise, so the periodogram is divided by
    the sum of the squared window over the observed pixels only.
    """
    boxes = [
        tuple(slice(a, a + t) for a, t in zip(corner, plan.tile, strict=True))
        for corner in plan.corners
    ]
    tiles = [image[box] for box in boxes]
    masks = [None if observed is None else observed[box] for box in boxes]
    tiles = [t if m is None else fill(t, m) for t, m in zip(tiles, masks, strict=True)]
    level = max(max(-float(t.min()), float(t.max())) for t in tiles)
    mean = sum(float(t.mean(dtype=float)) for t in tiles) / len(tiles)
    tiles = [t - t.dtype.type(mean) for t in tiles]
    scale = math.sqrt(sum(_energy(t / (level or 1.0)) for t in tiles) / sum(t.size for t in tiles))
    if scale <= ROUNDING:
        half = (*plan.grid[:-1], plan.grid[-1] // 2 + 1)
        nothing = np.zeros((len(tiles), *half), np.float32)
        return Look(0.0, level, nothing, float("nan"), nothing[0])
    scale *= level
    units = [np.multiply(t, 1 / scale, dtype=t.dtype).astype(np.float32) for t in tiles]
    noises = [mad(unit, mask) for unit, mask in zip(units, masks, strict=True)]
    known = [n for n in noises if not math.isnan(n)]
    periodograms = _periodograms(units, masks, plan, 1.0)
    mean_flat = None
    if flat:
        flats = _periodograms(units, masks, plan, RIM) if plan.tapered else periodograms
        mean_flat = flats.mean(0)
    spread = float(np.median(known)) if known else float("nan")
    return Look(scale, level, periodograms, spread, mean_flat)


def _periodograms(
    units: list[np.ndarray], masks: list[np.ndarray | None], plan: Layout, rim: float
) -> np.ndarray:
    """Periodograms of tiles under a window whose slopes take `rim` of its side."""
    window = _window(plan.tile, rim) if plan.tapered else np.ones(plan.tile, np.float32)
    half = (*plan.grid[:-1], plan.grid[-1] // 2 + 1)
    periodograms = np.zeros((len(units), *half), np.float32)
    padded = np.zeros(plan.grid, np.float32)
    inside = padded[tuple(slice(t) for t in plan.tile)]
    for unit, mask, periodogram in zip(units, masks, periodograms, strict=True):
        energy = _energy(window if mask is None else window * mask)
        if energy == 0:
            continue  # nothing observed here
        mean = np.float32(np.vdot(window, unit) / window.sum(dtype=float))
        np.multiply(unit - mean, window, out=inside)
        spectrum = fft.rfftn(padded, padded.ndim)
        np.square(spectrum.real, out=periodogram)
        periodogram += np.square(spectrum.imag)
        periodogram *= np.float32(1 / energy)
    return periodograms


def _energy(x: np.ndarray) -> float:
    return float(np.vdot(x, x))


@lru_cache(maxsize=16)
def _window(shape: tuple[int, ...], rim: float) -> np.ndarray:
    """Separable Tukey window without its zeros, float32: Hann's where the `rim` is 1."""
    window = np.ones((), np.float32)
    for n in shape:
        depth = (np.arange(n) + 0.5) / n
        slope = np.minimum(np.minimum(depth, 1 - depth) / rim, 0.5)
        taper = np.sin(np.pi * slope) ** 2
        window = np.multiply.outer(window, taper.astype(np.float32))
    window.flags.writeable = False
    return window


@lru_cache(maxsize=16)
def radius(tile: tuple[int, ...], grid: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """``|f|^2`` in cycles per pixel squared, and its square in cycles per frame, on the grid."""
    axes = fft.frequencies(grid, np.zeros((), np.float32))
    pixel = sum((f * f for f in axes[1:]), axes[0] * axes[0])
    frame = sum(
        ((n * f) ** 2 for n, f in zip(tile[1:], axes[1:], strict=True)), (tile[0] * axes[0]) ** 2
    )
    pixel.flags.writeable = frame.flags.writeable = False
    return pixel, frame


def response(psf: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """``|K|^2`` on the half spectrum of `grid`, float32; needs no centring."""
    padded = np.zeros(grid, np.float32)
    padded[tuple(slice(k) for k in psf.shape)] = psf
    otf = fft.rfftn(padded, len(grid))
    power: np.ndarray = np.square(otf.real)
    power += np.square(otf.imag)
    return power


def fill(image: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """`image` with a smooth continuation where the boolean mask `observed` is False.

    Each missing pixel takes the mean of the smallest box, of 3, 7, 15 ... pixels, that holds
    observed ones; box filters of falling width then even out the steps that this leaves.
    """
    from scipy.ndimage import uniform_filter

    if not observed.any():
        return np.zeros_like(image)
    result = np.where(observed, image, 0)
    result[~observed] = result.sum(dtype=float) / np.count_nonzero(observed)
    mass = observed.astype(image.dtype)
    values = result * mass
    missing = ~observed
    widths: list[int] = []
    while missing.any() and 3 << len(widths) < 2 * max(image.shape):
        width = (4 << len(widths)) - 1
        widths.append(width)
        share = uniform_filter(mass, width, mode="constant")
        # Half a pixel's worth: well above the rounding of the running sums.
        enough = missing & (share * float(width) ** image.ndim > 0.5)
        result[enough] = uniform_filter(values, width, mode="constant")[enough] / share[enough]
        missing &= ~enough
    hole = ~observed
    for width in (w for w in reversed(widths) for _ in range(SWEEPS)):
        result[hole] = uniform_filter(result, width, mode="nearest")[hole]
    return result
