"""DeepDeblur: residual networks at three scales, each on top of the coarser one (Nah et al. 2017).

A scale sees the blurred picture of its size and the sharp one of the scale below, enlarged by a
convolution and a pixel shuffle. No scale shares weights with another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from deconv.arrays import whole
from unrolled import weights
from unrolled.direct import Restorer
from unrolled.models.blocks import (
    ResBlock,
    check_picture,
    configured,
    conv,
    cropped,
    keep_flat,
    padded,
    pyramid,
    start_at_zero,
)

__all__ = ["PRESETS", "DeepDeblur", "DeepDeblurConfig"]

# What networks take off a picture on [0, 1], so that its values lie around 0.
GREY = 0.5


@dataclass(frozen=True)
class DeepDeblurConfig:
    """What a `DeepDeblur` is made of; the JSON beside its weights.

    Parameters
    ----------
    channels : int
        Of a picture.
    width : int
        Feature channels, the same everywhere.
    blocks : int
        Residual blocks at each scale.
    size : int
        Of the convolutions, odd.
    scales : int
        The finest is the picture's own, and each other has half the size of the next.
    residual : bool
        Whether a scale predicts what to add to its blurred picture, starting from nothing. The
        published one predicts the picture.

    Raises
    ------
    TypeError, ValueError
        For a value out of its range, with its name.

    Examples
    --------
    >>> from unrolled.models.deepdeblur import DeepDeblur, DeepDeblurConfig
    >>> len(DeepDeblur(DeepDeblurConfig(width=8, blocks=1, scales=2)).bodies)
    2
    """

    channels: int = 3
    width: int = 64
    blocks: int = 19
    size: int = 5
    scales: int = 3
    residual: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        for name in ("channels", "width", "size", "scales"):
            whole(getattr(self, name), name, low=1)
        whole(self.blocks, "blocks")
        if self.size % 2 == 0:
            raise ValueError(f"size={self.size}; expected an odd number")


PRESETS = {
    "paper": DeepDeblurConfig(),
    "small": DeepDeblurConfig(width=24, blocks=6, residual=True),
}


class DeepDeblur(Restorer, nn.Module):
    """Blurred pictures to sharp ones, from coarse to fine, without a psf.

    Parameters
    ----------
    config : DeepDeblurConfig, optional
        Its size.

    Notes
    -----
    The blurred pictures of the scales are a pyramid of binomial filters. In evaluation mode,
    pictures of one colour come back as they are.

    References
    ----------
    S. Nah, T. H. Kim and K. M. Lee, "Deep multi-scale convolutional neural network for dynamic
    scene deblurring", CVPR 2017.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.deepdeblur import DeepDeblur
    >>> net = DeepDeblur.preset("small")
    >>> x = torch.rand(1, 3, 21, 18)
    >>> net(x).shape
    torch.Size([1, 3, 21, 18])
    >>> [tuple(y.shape[-2:]) for y in net.scales(x)]
    [(6, 5), (11, 9), (21, 18)]
    """

    def __init__(self, config: DeepDeblurConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DeepDeblurConfig()
        channels, size = config.channels, config.size
        seen = [channels] + [2 * channels] * (config.scales - 1)
        self.bodies = nn.ModuleList(nn.Sequential(*_layers(config, inputs)) for inputs in seen)
        self.up = nn.ModuleList(
            nn.Sequential(conv(channels, 4 * channels, size), nn.PixelShuffle(2))
            for _ in range(config.scales - 1)
        )
        if config.residual:
            start_at_zero(*(body[-1] for body in self.bodies))

    @classmethod
    def preset(cls, name: str = "paper", **changes: Any) -> DeepDeblur:
        """An untrained network of one of `PRESETS`, with `changes` to its configuration.

        "paper" has 11.72 M parameters, "small" 0.54 M.

        Raises
        ------
        TypeError, ValueError
            For an unknown name, and for changes that make no network.
        """
        return cls(configured(PRESETS, name, changes))

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str]) -> DeepDeblur:
        """A trained network: a ``.safetensors`` file with its JSON beside it, or its folder.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or its contents are not those of a `DeepDeblur`; see
            `unrolled.weights.load`.
        """
        return weights.load(name_or_path, cls)

    @property
    def stride(self) -> int:
        """Of the coarsest scale, in pixels."""
        return int(2 ** (self.config.scales - 1))

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
        """Sharp pictures of every scale, coarse to fine, for `x` as of `forward`.

        A scale of 1 / s has ceil(H / s) by ceil(W / s) pixels. `targets` are what they should be.

        Raises
        ------
        TypeError, ValueError
            As `forward`.
        """
        check_picture(x, self.config.channels)
        sharp: list[Tensor] = []
        for k, blurred in enumerate(self._levels(x)):
            seen = blurred = blurred - GREY
            if sharp:
                seen = torch.cat([blurred, self.up[k - 1](sharp[-1])], dim=1)
            # Two thirds of the time of the other order.
            clean = self.bodies[k](seen.contiguous(memory_format=torch.channels_last))
            sharp.append(blurred + clean if self.config.residual else clean)
        return cropped([level + GREY for level in sharp], tuple(x.shape))

    def targets(self, x: Tensor) -> list[Tensor]:
        """Sharp pictures `x` (N, C, H, W) at the scales of `scales`, for its loss.

        Raises
        ------
        TypeError, ValueError
            As `forward`.
        """
        check_picture(x, self.config.channels)
        return cropped(self._levels(x), tuple(x.shape))

    def _levels(self, x: Tensor) -> list[Tensor]:
        return pyramid(padded(x, self.stride), self.config.scales)


def _layers(config: DeepDeblurConfig, inputs: int) -> Iterable[nn.Module]:
    """The network of one scale."""
    yield conv(inputs, config.width, config.size)
    for _ in range(config.blocks):
        yield ResBlock(config.width, config.size)
    yield conv(config.width, config.channels, config.size)
