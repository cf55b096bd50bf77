"""MIMO-UNet: one U-Net that sees and gives the picture at three scales (Cho et al. 2021).

Two of its parts can be others, those of Wan et al. (2023): multi-scale residual modules in place of
residual blocks, and dynamic feature fusion in place of the fusion by convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from deconv.arrays import choose, number, whole
from unrolled import weights
from unrolled.direct import Restorer
from unrolled.models.blocks import (
    ResBlock,
    check_picture,
    configured,
    conv,
    cropped,
    keep_flat,
    keep_variance,
    padded,
    pyramid,
    start_at_zero,
)
from unrolled.models.scale_fusion import AsymmetricFusion, DynamicFusion, OwnScale, resampled

__all__ = [
    "PRESETS",
    "MIMOUNet",
    "MIMOUNetConfig",
    "MultiScaleResidual",
]

SCALES = 3


@dataclass(frozen=True)
class MIMOUNetConfig:
    """What a `MIMOUNet` is made of; the JSON beside its weights.

    Parameters
    ----------
    channels : int
        Of a picture.
    width : int
        Feature channels at the picture's own scale, a multiple of 4; each coarser one has twice as
        many.
    blocks : int
        Blocks at each scale, on the way down and on the way up.
    block : {"residual", "msrm"}
        What a block is: a residual one, or a `MultiScaleResidual`.
    fusion : {"aff", "skip", "dffm"}
        What a decoder is given of the encoders: all scales by an `AsymmetricFusion`, as published;
        its own scale as it is; or all scales by a `DynamicFusion`.
    dropout : float
        Part of that, in [0, 1), that is left out by whole channels in training.

    Raises
    ------
    TypeError, ValueError
        For a value out of its range, with its name.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.mimo_unet import MIMOUNet, MIMOUNetConfig
    >>> config = MIMOUNetConfig(width=8, blocks=1, fusion="dffm")
    >>> MIMOUNet(config)(torch.rand(1, 3, 16, 16)).shape
    torch.Size([1, 3, 16, 16])
    """

    channels: int = 3
    width: int = 32
    blocks: int = 8
    block: str = "residual"
    fusion: str = "aff"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        whole(self.channels, "channels", low=1)
        whole(self.width, "width", low=4)
        whole(self.blocks, "blocks")
        choose(self.block, BLOCKS, "block")
        choose(self.fusion, FUSIONS, "fusion")
        number(self.dropout, "dropout", low=0)
        if self.width % 4 or 2 * self.width <= self.channels:
            raise ValueError(
                f"width={self.width}; expected a multiple of 4, and more than half the "
                f"{self.channels} channels"
            )
        if self.dropout >= 1:
            raise ValueError(f"dropout={self.dropout}; expected less than 1")


class MultiScaleResidual(nn.Module):
    """Four groups of channels, each seeing further than the last (Wan et al. 2023).

    What activations and what reduction the attention has is our choice.

    Parameters
    ----------
    width : int
        Channels, a multiple of 4.

    Examples
    --------
    >>> MultiScaleResidual(8)(torch.rand(1, 8, 5, 6)).shape
    torch.Size([1, 8, 5, 6])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        part = width // 4
        self.separable = nn.Sequential(conv(width, width, groups=width), conv(width, width, 1))
        self.steps = nn.ModuleList(conv(part, part) for _ in range(4))
        self.merge = conv(width, width, 1)
        self.squeeze, self.excite = conv(width, part, 1), conv(part, width, 1)

    @property
    def last(self) -> nn.Conv2d:
        """The layer whose result is added, up to its attention."""
        return self.merge

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        seen: list[Tensor] = []
        for step, part in zip(self.steps, self.separable(x).chunk(4, dim=1), strict=True):
            seen.append(step(part + seen[-1] if seen else part).relu())
        y = self.merge(torch.cat(seen, dim=1))
        mean = y.mean((-2, -1), keepdim=True)
        return x + y * self.excite(self.squeeze(mean).relu()).sigmoid()


BLOCKS = {"residual": ResBlock, "msrm": MultiScaleResidual}
FUSIONS = {"aff": AsymmetricFusion, "skip": OwnScale, "dffm": DynamicFusion}
PRESETS = {
    "paper": MIMOUNetConfig(),
    "plus": MIMOUNetConfig(blocks=20, dropout=0.1),
    "msrm": MIMOUNetConfig(block="msrm", fusion="dffm"),
    "small": MIMOUNetConfig(width=16, blocks=3),
}


class ShallowFeatures(nn.Module):
    """Features of a small picture, beside the picture itself (SCM)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = (channels, width // 4, width // 2, width // 2, width - channels)
        self.main = nn.ModuleList(
            conv(sizes[k], sizes[k + 1], size) for k, size in enumerate((3, 1, 3, 1))
        )
        self.conv = conv(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, width, H, W)."""
        y = x
        for layer in self.main:
            y = layer(y).relu()
        return self.conv(torch.cat([x, y], dim=1))


class FeatureAttention(nn.Module):
    """Features stressed or dampened by those of the smaller picture (FAM)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.merge = conv(width, width)

    def forward(self, x: Tensor, shallow: Tensor) -> Tensor:
        """(N, width, H, W), twice, to the same."""
        return x + self.merge(x * shallow)


class MIMOUNet(Restorer, nn.Module):
    """Blurred pictures to sharp ones, without a psf.

    Parameters
    ----------
    config : MIMOUNetConfig, optional
        Its size.

    Notes
    -----
    Each scale predicts what to add to its blurred picture. Unlike the published network it starts
    from nothing. The smaller blurred pictures are, as published, every second pixel. In evaluation
    mode, pictures of one colour come back as they are.

    References
    ----------
    S.-J. Cho, S.-W. Ji, J.-P. Hong, S.-W. Jung and S.-J. Ko, "Rethinking coarse-to-fine approach in
    single image deblurring", ICCV 2021.

    Wan, Song, Chen and Zhu, on deblurring by multi-scale optimisation and dynamic feature fusion,
    2023: the preset "msrm".

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.mimo_unet import MIMOUNet
    >>> net = MIMOUNet.preset("small")
    >>> x = torch.rand(1, 3, 21, 18)
    >>> net(x).shape
    torch.Size([1, 3, 21, 18])
    >>> [tuple(y.shape[-2:]) for y in net.scales(x)]
    [(6, 5), (11, 9), (21, 18)]
    """

    def __init__(self, config: MIMOUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MIMOUNetConfig()
        channels, block, fusion = config.channels, BLOCKS[config.block], FUSIONS[config.fusion]
        widths = [config.width * 2**level for level in range(SCALES)]
        pairs = list(pairwise(widths))

        def stages() -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(*(block(width) for _ in range(config.blocks))) for width in widths
            )

        # Everything is listed finest scale first.
        self.heads = nn.ModuleList([conv(channels, widths[0])])
        self.heads.extend(conv(fine, coarse, stride=2) for fine, coarse in pairs)
        self.shallow = nn.ModuleList(ShallowFeatures(channels, width) for width in widths[1:])
        self.attention = nn.ModuleList(FeatureAttention(width) for width in widths[1:])
        self.encoders, self.decoders = stages(), stages()
        self.fusion = nn.ModuleList(fusion(widths, level) for level in range(SCALES - 1))
        self.drop = nn.Dropout2d(config.dropout)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 4, stride=2, padding=1) for fine, coarse in pairs
        )
        self.reduce = nn.ModuleList(conv(coarse, fine, 1) for fine, coarse in pairs)
        self.tails = nn.ModuleList(conv(width, channels) for width in widths)
        # With the weights of torch a twentieth of the picture's contrast is left at the end.
        keep_variance(self, (m.last for m in self.modules() if isinstance(m, block)))
        start_at_zero(*self.tails)

    @classmethod
    def preset(cls, name: str = "paper", **changes: Any) -> MIMOUNet:
        """An untrained network of one of `PRESETS`, with `changes` to its configuration.

        "paper" has 6.8 M parameters, "plus" (MIMO-UNet+) 16.1 M, "msrm" 2.3 M, "small" 0.7 M.

        Raises
        ------
        TypeError, ValueError
            For an unknown name, and for changes that make no network.
        """
        return cls(configured(PRESETS, name, changes))

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str]) -> MIMOUNet:
        """A trained network: a ``.safetensors`` file with its JSON beside it, or its folder.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or its contents are not those of a `MIMOUNet`; see
            `unrolled.weights.load`.
        """
        return weights.load(name_or_path, cls)

    @property
    def stride(self) -> int:
        """Of the coarsest scale, in pixels."""
        return int(2 ** (SCALES - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Blurred pictures (N, C, H, W) on [0, 1], of any size, to sharp ones of the same shape.

        Raises
        ------
        TypeError, ValueError
            If `x` is not of floating point, or of another shape.
        """
        clean = self.scales(x)[-1]
        return clean if self.training else keep_flat(x, clean)

    def scales(self, x: Tensor) -> list[Tensor]:
        """Sharp pictures at 1/4, 1/2 and 1 of the size, for `x` as of `forward`.

        A scale of 1 / s has ceil(H / s) by ceil(W / s) pixels. `targets` are what they should be.

        Raises
        ------
        TypeError, ValueError
            As `forward`.
        """
        check_picture(x, self.config.channels)
        whole_picture = padded(x, self.stride)
        pictures = [resampled(whole_picture, -level) for level in range(SCALES)]
        features = self._encoded(pictures)
        sharp: list[Tensor] = []
        deep = features[-1]
        for level in reversed(range(SCALES)):
            if level < SCALES - 1:
                skip = self.drop(self.fusion[level](features))
                deep = self.ups[level](deep).relu()
                deep = self.reduce[level](torch.cat([deep, skip], dim=1)).relu()
            deep = self.decoders[level](deep)
            sharp.append(pictures[level] + self.tails[level](deep))
        return cropped(sharp, tuple(x.shape))

    def _encoded(self, pictures: Sequence[Tensor]) -> list[Tensor]:
        """Features of every scale, finest first."""
        deep = pictures[0].contiguous(memory_format=torch.channels_last)
        features: list[Tensor] = []
        for level, (head, encoder) in enumerate(zip(self.heads, self.encoders, strict=True)):
            deep = head(deep).relu()
            if level:
                shallow = self.shallow[level - 1](pictures[level])
                deep = self.attention[level - 1](deep, shallow)
            deep = encoder(deep)
            features.append(deep)
        return features

    def targets(self, x: Tensor) -> list[Tensor]:
        """Sharp pictures `x` (N, C, H, W) at the scales of `scales`, for its loss.

        Raises
        ------
        TypeError, ValueError
            As `forward`.
        """
        check_picture(x, self.config.channels)
        return cropped(pyramid(padded(x, self.stride), SCALES), tuple(x.shape))
