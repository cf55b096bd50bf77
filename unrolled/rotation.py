"""The blur of a camera that rolls about a centre while the shutter is open."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["farthest", "rolled"]

# Pixels that the picture moves at most from one warped picture to the next: more leaves ghosts.
STEP = 0.7


def farthest(centre: Sequence[float], side: int) -> float:
    """Distance in pixels from `centre` (row, column in the frame) to the farthest corner pixel."""
    return math.hypot(*(max(abs(c), abs(side - 1 - c)) for c in centre))


def rolled(light: Tensor, centre: Sequence[float], angle: float, side: int) -> Tensor:
    """The mean (C, side, side) of pictures turned from ``-angle / 2`` to ``angle / 2``.

    The picture in the middle of the exposure is `light` itself, and the others lie on both sides of
    it in pairs: nothing is shifted.

    Parameters
    ----------
    light : tensor (C, H, W)
        Scene with a margin, at least `side` pixels along both axes; the frame is its middle. Where
        the roll reaches beyond, the edge goes on.
    centre : (float, float)
        Row and column of the centre in the frame; it may lie outside.
    angle : float
        Radians, from the first to the last.
    side : int
        Of the frame in pixels.

    Notes
    -----
    Bilinear interpolation blurs by less than a pixel where the roll does by several, and not at all
    where nothing moves.
    """
    count = 2 * math.ceil((abs(angle) * farthest(centre, side) / STEP - 1) / 2) + 1
    angles = [((i + 0.5) / count - 0.5) * angle for i in range(count)]
    grid = _turned_grid(light, centre, angles, side)
    # One tall picture: a batch would need a copy of the scene for each.
    seen = F.grid_sample(
        light[None],
        grid.reshape(1, -1, side, 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return seen.reshape(len(light), len(angles), side, side).mean(1)


def _turned_grid(
    light: Tensor, centre: Sequence[float], angles: Sequence[float], side: int
) -> Tensor:
    """Where each pixel of each turned frame lies in `light`, (T, side, side, 2) for grid_sample."""
    height, width = light.shape[-2:]
    options = {"dtype": light.dtype, "device": light.device}
    axis = torch.arange(side, **options)
    y, x = (axis - centre[0])[:, None], axis - centre[1]
    cos, sin = (
        torch.tensor([f(a) for a in angles], **options)[:, None, None] for f in (math.cos, math.sin)
    )
    top, left = (height - side) // 2, (width - side) // 2
    rows = cos * y + sin * x + (centre[0] + top + 0.5)
    columns = cos * x - sin * y + (centre[1] + left + 0.5)
    return torch.stack([columns * (2 / width) - 1, rows * (2 / height) - 1], dim=-1)
