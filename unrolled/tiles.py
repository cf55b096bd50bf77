"""A picture as the blur classifier sees it: grey, at several scales, in windows added up to tiles.

Areas without edges look the same sharp or blurred, so edges count by their strength, and tiles with
too few of them are left undecided. And the classifier sees only some pixels far: to it, a very wide
blur looks like no picture at all. Shrunk to half, it is half as wide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deconv.noise import estimate_sigma

__all__ = ["LEAST", "octaves"]

# The picture is judged as it is, at half and at a quarter of its size: scales of the classifier's
# training. Of a side of fewer pixels nothing can be said.
OCTAVES, LEAST = 3, 32
# The classifier sees windows of about this many pixels; the margin is as far as it looks around.
WINDOW, MARGIN = 448, 40
# Edges are second differences between means of so many pixels: noise is small there, and the slope
# of a sky is none.
CELL = 4
# Root mean square of these differences below which a tile is flat, in parts of the picture's range.
FLAT = 0.006
# And how many times the energy of noise it must be; with so many standard deviations more, as it
# is the mean of few cells.
NOISE, DEVIATIONS = 1.25, 5.0
# Windows begin at multiples of what the classifier averages over, as the whole picture does.
GRID = 8
LUMA = (0.299, 0.587, 0.114)
# Share of pixels at either end of the range that may lie far outside of it.
OUTLIERS = 1e-3
SAMPLE = 1 << 18


def octaves(
    net: nn.Module, planes: np.ndarray, shape: tuple[int, int], tile: int
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of tiles at each scale, the finest first, and the strength of the edges in each tile.

    Parameters
    ----------
    net : module
        With a method ``map``.
    planes : ndarray (Y, X) or (C, Y, X)
        In any unit; NaN is unobserved.
    shape, tile
        Size of the picture at the finest scale, and side of a tile there.

    Returns
    -------
    logits : ndarray (K, h, w)
        NaN where a tile has too few edges at this scale.
    strength : ndarray (h, w)
        At the finest scale at which there are some; 0 where there are none.
    """
    grid = (-(-shape[0] // tile), -(-shape[1] // tile))
    logits, strength = [], np.zeros(grid)
    for k in range(OCTAVES):
        size = (round(shape[0] / 2**k), round(shape[1] / 2**k))
        if k > 0 and min(size) < LEAST:
            break
        view, tiles = _View(planes, size), _Tiles(grid, tile / 2**k)
        for inner, outer in view.windows():
            tiles.add(inner, outer, *_judged(net, view.read(outer)))
        logits.append(tiles.logits(view.noise))
        # Cells count by their area.
        here = np.where(np.isfinite(logits[-1]), 4**k * tiles.weight.reshape(grid), 0.0)
        strength = np.where(strength > 0, strength, here)
    return np.stack(logits), strength


class _View:
    """A picture in grey at the size that it is judged at, handed out in windows."""

    def __init__(self, planes: np.ndarray, shape: tuple[int, int]) -> None:
        self.planes, self.shape = planes, shape
        step = max(1, math.isqrt(planes.shape[-2] * planes.shape[-1] // SAMPLE))
        sample = _grey(planes[..., ::step, ::step])
        self.low, self.unit = _unit(sample[np.isfinite(sample)])
        every = list(self.windows())
        some = every[:: max(1, len(every) // 9)]
        noise = [estimate_sigma(self.read(outer)) for _, outer in some]
        known = np.asarray(noise)[np.isfinite(noise)]
        self.noise = float(np.median(known)) if known.size else 0.0

    def windows(self) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """Windows that cover the picture in tiles, without and with their margins."""
        rows, columns = (list(_spans(n)) for n in self.shape)
        for inner_y, outer_y in rows:
            for inner_x, outer_x in columns:
                yield (inner_y, inner_x), (outer_y, outer_x)

    def read(self, window: tuple[slice, slice]) -> np.ndarray:
        """Grey float32 on [0, 1], NaN where unobserved."""
        full = self.planes.shape[-2:]
        region = tuple(
            slice(s.start * n // m, -(-s.stop * n // m))
            for s, n, m in zip(window, full, self.shape, strict=True)
        )
        grey = _blocks(self.planes[..., region[0], region[1]], min(full) // min(self.shape))
        grey = np.clip((grey - self.low) / self.unit, 0, 1).astype(np.float32)
        size = [s.stop - s.start for s in window]
        if list(grey.shape) == size:
            return grey
        # Averaged, as a screen of fewer pixels would: finer detail must not make false edges.
        x = torch.from_numpy(grey)[None, None]
        small = F.interpolate(x, size, mode="bilinear", antialias=True)
        result: np.ndarray = small[0, 0].numpy()
        return result


def _spans(n: int) -> Iterator[tuple[slice, slice]]:
    """Equal spans of about `WINDOW` that cover `n` pixels, without and with their margins."""
    count = -(-n // WINDOW)
    edges = [*(GRID * round(i * n / count / GRID) for i in range(count)), n]
    for start, stop in itertools.pairwise(edges):
        yield slice(start, stop), slice(max(start - MARGIN, 0), min(stop + MARGIN, n))


def _unit(values: np.ndarray) -> tuple[float, float]:
    """Offset and unit of values; a hot pixel is beyond them, and sparse lines are not."""
    if not values.size:
        return 0.0, 1.0
    low, high = np.quantile(values, (OUTLIERS, 1 - OUTLIERS))
    if high <= low:
        low, high = values.min(), values.max()
    return float(low), float(high - low) or 1.0


def _grey(planes: np.ndarray) -> np.ndarray:
    """Luma of three colours, the mean of others, in floating point that holds the values."""
    values = planes.astype(np.result_type(planes.dtype, np.float32))
    if values.ndim == 2:
        return values
    mix = LUMA if len(values) == 3 else [1 / len(values)] * len(values)
    return np.asarray(np.tensordot(np.asarray(mix, values.dtype), values, axes=1))


def _blocks(planes: np.ndarray, side: int) -> np.ndarray:
    """Means of blocks in grey: the memory of a window is not that of all the pixels in it."""
    height, width = (n // side * side for n in planes.shape[-2:])
    total: np.ndarray | float = 0.0
    for y, x in itertools.product(range(side), repeat=2):
        total = total + _grey(planes[..., y:height:side, x:width:side])
    return np.asarray(total / side**2)


@torch.inference_mode()
def _judged(net: nn.Module, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logit and edge energy of each cell; NaN next to unobserved pixels."""
    x = torch.from_numpy(grey)[None, None]
    cells = F.avg_pool2d(x, CELL)
    down = F.pad(cells.diff(n=2, dim=-2), (0, 0, 1, 1), mode="replicate")
    right = F.pad(cells.diff(n=2, dim=-1), (1, 1, 0, 0), mode="replicate")
    energy = (down.square() + right.square()) / 3
    known = x.isfinite()
    if not known.all():
        x = torch.where(known, x, x[known].median() if known.any() else 0.0)
        near = F.max_pool2d((~known).float(), CELL)
        near = F.max_pool2d(near, 5, stride=1, padding=2)
        energy = energy.masked_fill(near > 0, math.nan)
    if not (energy > FLAT**2).any():
        return np.zeros(energy.shape[-2:], np.float32), energy[0, 0].numpy()
    device = next((p.device for p in net.parameters()), x.device)
    logits: Tensor = net.map(x.to(device)).float().cpu()  # type: ignore[operator]
    spread = F.interpolate(logits, energy.shape[-2:], mode="bilinear", align_corners=False)
    return spread[0, 0].numpy(), energy[0, 0].numpy()


class _Tiles:
    """What the cells say, added up by tile; tiles may be of a fraction of a pixel."""

    def __init__(self, grid: tuple[int, int], side: float) -> None:
        self.grid, self.side = grid, side
        self.count, self.energy, self.weight, self.logit = np.zeros((4, grid[0] * grid[1]))

    def add(
        self,
        inner: tuple[slice, slice],
        outer: tuple[slice, slice],
        logits: np.ndarray,
        energy: np.ndarray,
    ) -> None:
        """The cells of one window whose centres lie in its inner part."""
        at, inside = [], []
        for i, o, n, m in zip(inner, outer, energy.shape, self.grid, strict=True):
            centre = o.start + CELL * np.arange(n) + CELL // 2
            at.append(np.minimum(centre // self.side, m - 1).astype(int))
            inside.append((centre >= i.start) & (centre < i.stop))
        use = inside[0][:, None] & inside[1] & np.isfinite(energy)
        place = (at[0][:, None] * self.grid[1] + at[1])[use]
        energy = energy[use].astype(float)
        weight = np.sqrt(energy)
        for total, values in (
            (self.count, np.ones_like(energy)),
            (self.energy, energy),
            (self.weight, weight),
            (self.logit, weight * logits[use]),
        ):
            total += np.bincount(place, values, minlength=total.size)

    def logits(self, noise: float) -> np.ndarray:
        """Of each tile, NaN where its edges do not stand out from noise of this deviation."""
        # White noise of variance s^2 leaves 2 * (1 + 4 + 1) / 3 / 16 of it in this energy.
        count = np.maximum(self.count, 1)
        doubt = (noise / 2) ** 2 * (NOISE + DEVIATIONS / np.sqrt(count))
        decided = self.energy > count * np.maximum(FLAT**2, doubt)
        result = np.full(self.count.size, np.nan)
        result[decided] = self.logit[decided] / self.weight[decided]
        return result.reshape(self.grid)
