"""How features of several scales become those of one: for the skips of a U-Net.

Features are listed finest first, each at half the size of the one before.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unrolled.models.blocks import conv

__all__ = ["AsymmetricFusion", "DynamicFusion", "OwnScale", "resampled"]


class AsymmetricFusion(nn.Module):
    """Features of all scales, resampled to one and mixed by two convolutions (Cho et al. 2021)."""

    def __init__(self, widths: Sequence[int], level: int) -> None:
        super().__init__()
        self.level = level
        self.first, self.second = conv(sum(widths), widths[level], 1), conv(*[widths[level]] * 2)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features of all scales, finest first, to those of one."""
        at = [resampled(x, k - self.level) for k, x in enumerate(features)]
        return self.second(self.first(torch.cat(at, dim=1)).relu())


class DynamicFusion(nn.Module):
    """Features of all scales, weighted channel by channel as the picture asks (Wan et al. 2023).

    The weights of a channel are a softmax over the scales.
    """

    def __init__(self, widths: Sequence[int], level: int) -> None:
        super().__init__()
        self.level = level
        width, count = widths[level], len(widths)
        self.bring = nn.ModuleList(conv(each, width, 1) for each in widths)
        self.squeeze, self.excite = conv(width, width // 2, 1), conv(width // 2, count * width, 1)
        self.merge = conv(count * width, width, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features of all scales, finest first, to those of one."""
        at = [
            resampled(x, k - self.level, bring)
            for k, (x, bring) in enumerate(zip(features, self.bring, strict=True))
        ]
        mean = torch.stack(at).sum(0).mean((-2, -1), keepdim=True)
        share = self.excite(self.squeeze(mean).relu()).unflatten(1, (len(at), -1)).softmax(1)
        return self.merge(torch.cat([x * share[:, k] for k, x in enumerate(at)], dim=1))


class OwnScale(nn.Module):
    """The features of one scale as they are: a plain skip."""

    def __init__(self, widths: Sequence[int], level: int) -> None:
        super().__init__()
        self.level = level

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features of all scales, finest first, to those of one."""
        return features[self.level]


def resampled(x: Tensor, coarser: int, layer: nn.Module | None = None) -> Tensor:
    """`x` from `coarser` scales below (above, if negative) by its nearest pixels, through `layer`.

    The layer looks at one pixel at a time, so it works where there are fewer.
    """
    if coarser < 0:
        step = 2**-coarser
        x = x[..., ::step, ::step]
    x = x if layer is None else layer(x)
    return F.interpolate(x, scale_factor=float(2**coarser)) if coarser > 0 else x
