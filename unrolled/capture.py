"""What lens and file do to a picture in training, apart from its motion: softness, and JPEG."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unrolled.blur_camera import compressed

__all__ = ["jpeg", "softened"]

# Standard deviations from the middle to where a Gaussian is cut.
TRUNCATE = 3.0


def softened(x: Tensor, sigma: float) -> Tensor:
    """`x` (C, H, W) under a Gaussian of `sigma` pixels; beyond the edge lies its mirror image."""
    radius = min(int(TRUNCATE * sigma + 0.5), min(x.shape[-2:]) - 1)
    at = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    weights = torch.exp(-0.5 * (at / sigma) ** 2)
    weights = weights / weights.sum()
    x = F.pad(x[:, None], (radius,) * 4, mode="reflect")
    x = F.conv2d(x, weights.view(1, 1, -1, 1))
    return F.conv2d(x, weights.view(1, 1, 1, -1))[:, 0]


def jpeg(x: Tensor, quality: int) -> Tensor:
    """`x` (1 or 3, H, W) on [0, 1] as a JPEG file gives it back, clipped and of 8 bits."""
    picture = x.permute(1, 2, 0).cpu().numpy()
    stored = compressed(picture if picture.shape[-1] == 3 else picture[..., 0], quality)
    planes = np.moveaxis(np.atleast_3d(stored), -1, 0)
    return torch.from_numpy(np.ascontiguousarray(planes)).to(x)
