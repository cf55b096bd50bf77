"""What a network is given of a picture: planes on [0, 1], and the way back.

Offset and range are taken off, and three colours become their mean and two differences for a
network that knows one channel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = ["COLOURS", "Planes", "Row", "rows_of", "unit_range"]

COLOURS = ("opponent", "separate")
# Mean and differences of three colours on [0, 1]: orthogonal rows keep white noise independent.
OPPONENT = np.array([[1 / 3, 1 / 3, 1 / 3], [0.5, 0.0, -0.5], [0.25, -0.5, 0.25]])
MIDDLE = np.array([0.0, 0.5, 0.5])


def unit_range(values: Any, sigma: float) -> tuple[float, float]:
    """Offset and unit that put an array on [0, 1]; the unit is 0 where all values are the same.

    Noise widens a picture's range, by about four times its standard deviation.
    """
    low, high = float(values.min()), float(values.max())
    spread = min(2 * sigma, 0.25 * (high - low))
    return low + spread, high - low - 2 * spread


@dataclass(frozen=True)
class Planes:
    """Observed planes (C, h, w) with what belongs to them, and their one noise level."""

    y: np.ndarray
    psf: np.ndarray
    sigma: float
    weights: np.ndarray | None = None
    clipped: np.ndarray | None = None

    def range(self) -> tuple[float, float]:
        """`unit_range` of what was observed; 0 and 0 where nothing was."""
        seen = self.y
        if self.weights is not None:
            seen = seen[np.broadcast_to(self.weights > 0, seen.shape)]
        return unit_range(seen, self.sigma) if seen.size else (0.0, 0.0)

    def scaled(self, offset: float, unit: float) -> Planes:
        """``(y - offset) / unit``, in float32."""
        unit = unit or 1.0
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
    if colours == "opponent" and _are_colours(planes):
        return _opponent(_joined(planes), pedestal)
    return [_whole(p, pedestal, i) for i, p in enumerate(planes)]


def _share_psf(planes: list[Planes]) -> bool:
    return all(np.array_equal(p.psf, planes[0].psf) for p in planes)


def _are_colours(planes: list[Planes]) -> bool:
    """Whether these are three colours, blurred alike and mostly seen at the same pixels."""
    if len(planes) != 3 or not _share_psf(planes):
        return False
    weights = [p.weights for p in planes if p.weights is not None]
    return not weights or np.min(weights, axis=0).sum() >= 0.5 * np.mean(weights, axis=0).sum()


def _joined(planes: list[Planes]) -> Planes:
    """Channels as one group, with the root mean square of their noise."""

    def join(parts: list[Any]) -> np.ndarray | None:
        return None if parts[0] is None else np.concatenate(parts)

    return Planes(
        np.concatenate([p.y for p in planes]),
        planes[0].psf if _share_psf(planes) else np.concatenate([p.psf for p in planes]),
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
    # Where black is beyond the frame, it has to be 0 in every plane.
    middle = MIDDLE if pedestal else np.zeros(3)
    weights = None if scaled.weights is None else scaled.weights.min(axis=0, keepdims=True)
    clipped = None if scaled.clipped is None else scaled.clipped.any(axis=0, keepdims=True)
    rows = []
    for i, mix in enumerate(OPPONENT):

        def put(image: np.ndarray, x: np.ndarray, i: int = i, mix: np.ndarray = mix) -> np.ndarray:
            before = np.tensordot(mix, (image - offset) / (unit or 1.0), axes=1) + middle[i]
            image += unit * back[:, i, None, None] * (x - before)
            return image

        seen, limit = weights, clipped
        if clipped is not None and i > 0:
            # A clipped colour leaves the mean a lower bound, and a difference nothing.
            seen = (~clipped).astype(np.float32) * (1 if weights is None else weights)
            limit = None
        y = (np.tensordot(mix, scaled.y, axes=1) + middle[i])[None].astype(np.float32)
        noise = scaled.sigma * float(np.linalg.norm(mix))
        rows.append(Row(Planes(y, scaled.psf[:1], noise, seen, limit), put))
    return rows


def _range(planes: Planes, pedestal: bool) -> tuple[float, float]:
    """Offset and unit; where black is beyond the frame, black is no pedestal to take off."""
    offset, unit = planes.range()
    return (offset, unit) if pedestal else (0.0, max(abs(offset), abs(offset + unit)))
