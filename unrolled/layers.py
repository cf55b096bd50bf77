"""Two layers that move apart: a foreground under a soft mask before a background.

Where objects move each has a psf of its own, and what lies behind one shows through its blurred
edge. No one psf, nor a field of them, describes that.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from deconv.operators import Blur

__all__ = ["composite", "random_mask"]


def random_mask(side: int, rng: np.random.Generator, like: Tensor) -> Tensor:
    """The outline (side, side) of a random object, on [0, 1], with dtype and device of `like`.

    One to four blobs and polygons that overlap; the edge fades over 1 to 3 pixels.
    """
    axis = torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2
    middle = side * rng.uniform(-0.2, 0.2, 2)
    size = side * rng.uniform(0.1, 0.26)
    depth = torch.full((side, side), -math.inf, dtype=like.dtype, device=like.device)
    for part in range(int(rng.integers(1, 5))):
        away = rng.normal(0, 0.8 * size, 2) if part else np.zeros(2)
        y, x = axis[:, None] - float(middle[0] + away[0]), axis - float(middle[1] + away[1])
        radius = size * rng.uniform(0.5, 1.0) if part else size
        shape = _blob if rng.uniform() < 0.6 else _polygon
        depth = torch.maximum(depth, shape(y, x, radius, rng))
    return (depth / rng.uniform(1, 3) + 0.5).clamp(0, 1)


def _blob(y: Tensor, x: Tensor, radius: float, rng: np.random.Generator) -> Tensor:
    """About how many pixels each place lies within an ellipse with a wavy outline."""
    turn, flat = rng.uniform(0, math.pi), rng.uniform(1, 2)
    c, s = math.cos(turn), math.sin(turn)
    u, v = (c * x + s * y) / flat, c * y - s * x
    angle = torch.atan2(v, u)
    outline = torch.ones_like(angle)
    for wave in range(2, 6):
        size, phase = rng.normal(0, 0.25 / wave), rng.uniform(0, 2 * math.pi)
        outline += size * torch.cos(wave * angle + phase)
    return radius * outline - torch.hypot(u, v)


def _polygon(y: Tensor, x: Tensor, radius: float, rng: np.random.Generator) -> Tensor:
    """How many pixels each place lies within a convex polygon around the origin."""
    count = int(rng.integers(3, 7))
    turns = 2 * math.pi * (np.arange(count) + rng.uniform(-0.3, 0.3, count)) / count
    turns += rng.uniform(0, 2 * math.pi)
    far = radius * rng.uniform(0.6, 1.2, count)
    edges = (
        d - math.sin(t) * y - math.cos(t) * x
        for t, d in zip(turns.tolist(), far.tolist(), strict=True)
    )
    depth = next(edges)
    for edge in edges:
        depth = torch.minimum(depth, edge)
    return depth


def composite(
    background: Tensor, foreground: Tensor, mask: Tensor, behind: Blur, before: Blur
) -> tuple[Tensor, Tensor]:
    """Two layers as they look blurred and sharp: light (C, side, side) twice.

    ::

        blurred = (1 - k_f * m) (k_b * b) + k_f * (m f)
        sharp   = (1 - m) b + m f

    Parameters
    ----------
    background, foreground : tensor (C, *domain)
        The layers b and f; light on [0, 1], which adds up.
    mask : tensor (*domain)
        Where the foreground is, m on [0, 1].
    behind, before : Blur
        The blurs k_b and k_f of either layer, of one domain and frame.

    Notes
    -----
    This is the usual model of an object that occludes what it moves over: what the background
    would show in the time that it is not covered, were its light and the cover independent.
    Where the mask is flat over the size of a psf, or the background is flat, it is exact.
    """
    lit = mask * foreground
    seen = before(torch.cat([lit, mask[None]]))
    blurred = (1 - seen[-1]) * behind(background) + seen[:-1]
    return blurred, behind.crop((1 - mask) * background + lit)
