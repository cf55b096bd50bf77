"""What a network is given of a picture: planes on [0, 1], and the way back.

Offset and range are taken off, and three colours become their mean and two differences for a
network that knows one channel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = ["COLOURS", "Planes", "Row", "rows_of"]

COLOURS = ("opponent", "separate")
# Mean and differences of three colours on [0, 1]: orthogonal rows keep white noise independent.
OPPONENT = np.array([[1 / 3, 1 / 3, 1 / 3], [0.5, 0.0, -0.5], [0.25, -0.5, 0.25]])
MIDDLE = np.array([0.0, 0.5, 0.5])


@dataclass(frozen=True)
class Planes:
    """Observed planes (C, h, w) with what belongs to them, and their one noise level."""

    y: np.ndarray
    psf: np.ndarray
    sigma: float
    weights: np.ndarray | None = None
    clipped: np.ndarray | None = None

    def cut(self, region: tuple[slice, ...]) -> Planes:
        """The part of a tile."""
        place = (slice(None), *region)
        weights, clipped = (None if p is None else p[place] for p in (self.weights, self.clipped))
        return Planes(self.y[place], self.psf, self.sigma, weights, clipped)

    def range(self) -> tuple[float, float]:
        """Offset and unit that put the planes on [0, 1].

        Noise widens a picture's range, by about four times its standard deviation.
        """
        seen = self.y
        if self.weights is not None:
            seen = seen[np.broadcast_to(self.weights > 0, seen.shape)]
        low, high = float(seen.min()), float(seen.max())
        spread = min(2 * self.sigma, 0.25 * (high - low))
        return low + spread, (high - low - 2 * spread) or 1.0

    def scaled(self, offset: float, unit: float) -> Planes:
        """``(y - offset) / unit``, in float32."""
        y = ((self.y - offset) / unit).astype(np.float32)
        return Planes(y, self.psf, self.sigma / unit, self.weights, self.clipped)


class Row(NamedTuple):
    """One run of the network: its planes on [0, 1], and what puts its result into the image."""

    planes: Planes
    put: Callable[[np.ndarray, np.ndarray], np.ndarray]


def rows_of(planes: list[Planes], together: int, colours: str, pedestal: bool) -> list[Row]:
    """What goes through the network one after the other."""
    if together > 1:
        return [_whole(_joined(planes), pedestal)]
    same = all(np.array_equal(p.psf, planes[0].psf) for p in planes)
    if len(planes) == 3 and colours == "opponent" and same:
        return _opponent(_joined(planes), pedestal)
    return [_whole(p, pedestal, i) for i, p in enumerate(planes)]


def _joined(planes: list[Planes]) -> Planes:
    """Channels as one group, with the root mean square of their noise."""

    def join(parts: list[Any]) -> np.ndarray | None:
        return None if parts[0] is None else np.concatenate(parts)

    return Planes(
        np.concatenate([p.y for p in planes]),
        planes[0].psf
        if all(p.psf is planes[0].psf for p in planes)
        else np.concatenate([p.psf for p in planes]),
        float(np.sqrt(np.mean([p.sigma**2 for p in planes]))),
        join([p.weights for p in planes]),
        join([p.clipped for p in planes]),
    )


def _whole(planes: Planes, pedestal: bool, first: int = 0) -> Row:
    """Planes as they are, channels `first` and on of the image."""
    offset, unit = _range(planes, pedestal)
    place = slice(first, first + len(planes.y))

    def put(image: np.ndarray, x: np.ndarray) -> np.ndarray:
        image[place] = x * unit + offset
        return image

    return Row(planes.scaled(offset, unit), put)


def _opponent(colours: Planes, pedestal: bool) -> list[Row]:
    """The mean of three colours and two differences, each a plane for a grey network.

    The mean has a third of the noise's variance and nearly all of the detail, and the differences
    are smooth: better than colour by colour.
    """
    offset, unit = _range(colours, pedestal)
    scaled = colours.scaled(offset, unit)
    back = np.linalg.inv(OPPONENT)
    weights = None if scaled.weights is None else scaled.weights.min(axis=0, keepdims=True)
    clipped = None if scaled.clipped is None else scaled.clipped.any(axis=0, keepdims=True)
    rows = []
    for i, mix in enumerate(OPPONENT):

        def put(image: np.ndarray, x: np.ndarray, i: int = i, mix: np.ndarray = mix) -> np.ndarray:
            before = np.tensordot(mix, (image - offset) / unit, axes=1) + MIDDLE[i]
            image += unit * back[:, i, None, None] * (x - before)
            return image

        seen, limit = weights, clipped
        if clipped is not None and i > 0:
            # A clipped colour leaves the mean a lower bound, and a difference nothing.
            seen = (~clipped).astype(np.float32) * (1 if weights is None else weights)
            limit = None
        y = (np.tensordot(mix, scaled.y, axes=1) + MIDDLE[i])[None].astype(np.float32)
        noise = scaled.sigma * float(np.linalg.norm(mix))
        rows.append(Row(Planes(y, scaled.psf[:1], noise, seen, limit), put))
    return rows


def _range(planes: Planes, pedestal: bool) -> tuple[float, float]:
    """Offset and unit; where black is beyond the frame, black is no pedestal to take off."""
    offset, unit = planes.range()
    return (offset, unit) if pedestal else (0.0, (offset + unit) or 1.0)
