"""Psfs that change over the frame as hands and lenses make them: shake with roll, tilted focus.

A camera that rolls or moves on while it shakes draws another path at every place of the frame, and
a plane that lies slanted to the lens is defocused more and more along it. Every psf has its
centroid at its centre, so a blur by any of them moves nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from deconv import psf as psfs

__all__ = ["MARGIN", "Field", "KernelFields", "shake", "splat"]

# Points of a path, and waves that bend it.
POINTS, WAVES = 192, 12
# Pixels of a psf's box on either side that paths leave to the optics' own blur.
MARGIN = 3
# Pixels that psfs of neighbouring nodes may differ by in length: two discs mix to a soft disc, two
# paths to a cross.
NEAR_PATHS, NEAR_DISCS = 3.0, 5.0
# Most nodes along an axis.
NODES = 4
# Lengths between the discs of a table, in pixels.
FINE = 0.5
# Of a Gaussian, so many standard deviations count as its length.
GAUSSIAN = 5.0

_t = (np.arange(POINTS) + 0.5) / POINTS
_waves = np.cos(np.pi * _t[:, None] * np.arange(1, WAVES + 1))


class Field(NamedTuple):
    """Psfs (R, C, size, size) at the nodes of a grid, float32.

    `order` and `profile` are those of `SpatiallyVaryingBlur.from_grid`.
    """

    psfs: np.ndarray
    order: str = "gather"
    profile: str = "linear"


def shake(rng: np.random.Generator) -> np.ndarray:
    """A random path (POINTS, 2) of rows and columns, in equal times; mean 0, extent 1.

    It is a drift at even speed, bent by waves that are weaker the faster they are; now and then the
    drift alone. The extent is the diagonal of the box around it: the length, if it is straight.
    """
    turn = rng.uniform(0, 2 * math.pi)
    path = (_t[:, None] - 0.5) * (math.sin(turn), math.cos(turn))
    if rng.uniform() > 0.15:
        fall = rng.uniform(1.2, 2.4)
        bends = rng.standard_normal((WAVES, 2)) / np.arange(1, WAVES + 1)[:, None] ** fall
        path = path + rng.uniform(0.1, 1.0) * (_waves @ bends)
    # The drift and every wave have mean 0 in these times, so that paths do, and their sums.
    unit: np.ndarray = path / _extent(path)
    return unit


def _extent(paths: np.ndarray) -> np.ndarray:
    """Diagonals of the boxes around paths (..., points, 2)."""
    return np.asarray(np.hypot(*np.moveaxis(np.ptp(paths, axis=-2), -1, 0)))


def splat(paths: np.ndarray, size: int) -> np.ndarray:
    """Psfs (K, size, size) of paths (K, points, 2) about the centre, each summing to 1.

    Bilinear weights keep the mean of the points, so a path of mean 0 gives a centred psf.

    Raises
    ------
    ValueError
        If a path leaves the box.
    """
    reach = float(np.abs(paths).max())
    if reach > (size - 1) // 2:
        raise ValueError(
            f"paths go {reach:.3g} pixels from the centre; expected at most {(size - 1) // 2} for "
            f"size={size}"
        )
    count, points = paths.shape[:2]
    at = paths + size // 2
    low = np.clip(np.floor(at).astype(np.int64), 0, size - 2)
    part = at - low
    first = (np.arange(count)[:, None] * size + low[..., 0]) * size + low[..., 1]
    index, shares = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            index.append(first + dy * size + dx)
            shares.append(np.abs(1 - dy - part[..., 0]) * np.abs(1 - dx - part[..., 1]))
    light = np.bincount(np.ravel(index), np.ravel(shares), minlength=count * size * size)
    return light.reshape(count, size, size) / points


class KernelFields:
    """Random psfs and fields of psfs, float32, each from the numbers of one generator.

    Parameters
    ----------
    size : int
        Side of the psfs' box, odd.
    longest : float
        Largest length of a blur in pixels, at most ``size - 2 * MARGIN``.
    """

    def __init__(self, size: int, longest: float) -> None:
        self.size = size
        lengths = FINE * np.arange(math.ceil(longest / FINE) + 1)
        most = (size - 1) / 2
        discs = [psfs.defocus(min(n / 2, most), size=size) for n in lengths]
        spots = [psfs.gaussian(n / GAUSSIAN, ndim=2, size=size) for n in lengths]
        self.tables = [np.stack(table) for table in (discs, spots)]

    def single(self) -> np.ndarray:
        """The psf (size, size) of no blur."""
        psf = np.zeros((self.size, self.size), np.float32)
        psf[self.size // 2, self.size // 2] = 1
        return psf

    def uniform(self, length: float, rng: np.random.Generator) -> np.ndarray:
        """A psf (size, size) of about `length` pixels: shake, a disc or a Gaussian."""
        if rng.uniform() < 0.6:
            return self._drawn(length * shake(rng)[None], rng)[0]
        table = self.tables[int(rng.integers(2))]
        return self._round(np.array(length), table).astype(np.float32)

    def field(self, length: float, side: int, rng: np.random.Generator) -> Field:
        """Psfs over a frame of `side` pixels, the longest of about `length`.

        Shake whose path changes with the camera's roll and zoom, a slanted plane out of focus, or
        paths that are neighbours of one another.
        """
        kind = rng.uniform()
        if kind < 0.5:
            return self.rolling(length, side, rng)
        return self.slanted(length, rng) if kind < 0.8 else self.nearby(length, rng)

    def rolling(self, length: float, side: int, rng: np.random.Generator) -> Field:
        """A shaking camera that also rolls and zooms, by small angles (Whyte et al. 2010).

        At q from the centre of the roll a path is ``b(t) + roll(t) J q + zoom(t) q``.
        """
        change = rng.uniform(0.2, 0.8) * min(length, NODES * NEAR_PATHS)
        base = max(length - change, length / 3) * shake(rng)
        centre = rng.uniform(-0.5, 0.5, 2)
        turning = change * shake(rng)
        turning[:, 1] *= rng.uniform(0, 0.6)
        corners = self._paths(base, turning, centre, np.array([-0.5, 0.5]))
        scale = length / float(_extent(corners).max())
        count = _nodes(scale * float(_extent(turning)), NEAR_PATHS)
        paths = scale * self._paths(base, turning, centre, (np.arange(count) + 0.5) / count - 0.5)
        drawn = self._drawn(paths, rng)
        return Field(drawn.reshape(count, count, self.size, self.size))

    @staticmethod
    def _paths(
        base: np.ndarray, turning: np.ndarray, centre: np.ndarray, along: np.ndarray
    ) -> np.ndarray:
        """Paths (n * n, points, 2) at the places `along` either axis, in sides of the frame.

        `turning` holds by how many pixels roll and zoom move what is one side away.
        """
        y, x = (v.ravel()[:, None] for v in np.meshgrid(along, along, indexing="ij"))
        y, x = y - centre[0], x - centre[1]
        roll, zoom = turning.T
        return base + np.stack([roll * x + zoom * y, zoom * x - roll * y], axis=-1)

    def slanted(self, length: float, rng: np.random.Generator) -> Field:
        """Discs or Gaussians that grow along a direction, perhaps from a line that is in focus."""
        turn = rng.uniform(0, 2 * math.pi)
        way = np.array([math.sin(turn), math.cos(turn)])
        way /= np.abs(way).sum()
        slope = min(length * rng.uniform(0.3, 1.6), NODES * NEAR_DISCS)
        counts = [_nodes(abs(slope * w), NEAR_DISCS) for w in way]
        y, x = ((np.arange(n) + 0.5) / n for n in counts)
        # The first corner along the way is out of focus by all of the length.
        y, x = (v if w > 0 else 1 - v for v, w in zip((y, x), way, strict=True))
        lengths = np.abs(length - slope * (abs(way[0]) * y[:, None] + abs(way[1]) * x))
        table = self.tables[int(rng.integers(2))]
        spread = rng.uniform() < 0.5
        drawn = self._round(lengths, table).astype(np.float32)
        # Light spreads from its own place; windows without kinks leave no creases in a flat scene.
        return Field(drawn, "scatter", "cosine") if spread else Field(drawn)

    def nearby(self, length: float, rng: np.random.Generator) -> Field:
        """Paths that each stray a little from one another."""
        counts = rng.integers(2, 4, size=2)
        stray = min(NEAR_PATHS / 2, length / 3)
        strays = np.stack([shake(rng) for _ in range(counts.prod())])
        paths = (length - stray) * shake(rng) + stray * strays
        return Field(self._drawn(paths, rng).reshape(*counts, self.size, self.size))

    def _drawn(self, paths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Psfs of paths, all shrunk alike if one does not fit, some with the optics' own blur."""
        room = self.size // 2 - MARGIN
        paths = paths * min(1.0, room * (1 - 1e-9) / max(float(np.abs(paths).max()), 1e-9))
        drawn = splat(paths, self.size)
        if rng.uniform() < 0.5:
            drawn = _softened(drawn, rng.uniform(0.3, 0.9))
        return drawn.astype(np.float32)

    def _round(self, lengths: np.ndarray, table: np.ndarray) -> np.ndarray:
        """Psfs of a table at `lengths` (...), mixed of the two next to each."""
        at = np.clip(lengths / FINE, 0, len(table) - 1)
        low = np.minimum(at.astype(np.int64), len(table) - 2)
        part = (at - low)[..., None, None]
        mixed: np.ndarray = (1 - part) * table[low] + part * table[low + 1]
        return mixed


def _nodes(change: float, near: float) -> int:
    """Nodes along an axis so that what changes by `change` over it does so in steps of `near`."""
    return min(NODES, max(2, 1 + math.ceil(change / near)))


def _softened(drawn: np.ndarray, sigma: float) -> np.ndarray:
    """Psfs (K, size, size) blurred by a Gaussian that is cut off at `MARGIN` pixels."""
    size = drawn.shape[-1]
    taps = np.exp(-0.5 * (np.arange(-MARGIN, MARGIN + 1) / sigma) ** 2)
    taps /= taps.sum()
    smear = sum(tap * np.eye(size, k=k - MARGIN) for k, tap in enumerate(taps))
    softened: np.ndarray = smear @ drawn @ smear
    return softened
