"""VGGCritic: whether a whole picture looks real (Ledig et al. 2017, SRGAN).

The critic that Wang et al. (2018, ESRGAN) and Zhang et al. (2020, DBGAN) train against.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

from torch import Tensor, nn

from deconv.arrays import whole
from unrolled import weights
from unrolled.models.blocks import check_picture, configured

__all__ = ["PRESETS", "VGGCritic", "VGGCriticConfig"]

SLOPE = 0.2
# Pixels each way that are left of a picture before the dense layers.
LEFT = 4


@dataclass(frozen=True)
class VGGCriticConfig:
    """What a `VGGCritic` is made of; the JSON beside its weights.

    Parameters
    ----------
    channels : int
        Of a picture.
    width : int
        Features at full resolution; twice as many at each coarser one, up to eight times.
    norm : bool
        Whether there are batch norms.

    Raises
    ------
    TypeError, ValueError
        For a value out of its range, with its name.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.vgg_critic import VGGCritic, VGGCriticConfig
    >>> VGGCritic(VGGCriticConfig(width=4, norm=False))(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 1])
    """

    channels: int = 3
    width: int = 64
    norm: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        for name in ("channels", "width"):
            whole(getattr(self, name), name, low=1)


PRESETS = {"paper": VGGCriticConfig(), "small": VGGCriticConfig(width=16)}


class VGGCritic(nn.Module):
    """Whether a picture looks real: ten convolutions, five of stride 2, and two dense layers.

    The published one takes pictures of 128 pixels; others are brought to its 4 x 4 features.

    Parameters
    ----------
    config : VGGCriticConfig, optional
        Its size; the preset "small" if not given.

    References
    ----------
    Ledig et al. (2017), "Photo-realistic single image super-resolution using a generative
    adversarial network", CVPR.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.vgg_critic import VGGCritic
    >>> VGGCritic.preset("small")(torch.rand(2, 3, 64, 80)).shape
    torch.Size([2, 1])
    """

    def __init__(self, config: VGGCriticConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PRESETS["small"]
        dense = nn.Linear(8 * config.width * LEFT**2, 100)
        self.layers = nn.Sequential(*_critic(config), nn.AdaptiveAvgPool2d(LEFT), nn.Flatten())
        self.dense = nn.Sequential(dense, nn.LeakyReLU(SLOPE, inplace=True), nn.Linear(100, 1))

    @classmethod
    def preset(cls, name: str = "small", **changes: Any) -> VGGCritic:
        """An untrained critic of one of `PRESETS`; see `DeblurGAN.preset`."""
        return cls(configured(PRESETS, name, changes))

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str]) -> VGGCritic:
        """A trained critic, from a file or its folder; errors as `unrolled.weights.load`."""
        return weights.load(name_or_path, cls)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 1), positive for real, of pictures (N, channels, H, W) on [0, 1].

        Raises
        ------
        TypeError, ValueError
            If `x` is of another shape, of less than 64 pixels each way, or not of floating point.
        """
        check_picture(x, self.config.channels, least=64)
        return self.dense(self.layers(x))


def _critic(config: VGGCriticConfig) -> Iterator[nn.Module]:
    before = config.channels
    for level in range(5):
        width = config.width * min(2**level, 8)
        for size, stride in ((3, 1), (4, 2)):
            yield nn.Conv2d(before, width, size, stride=stride, padding=1)
            if config.norm and before != config.channels:
                yield nn.BatchNorm2d(width)
            yield nn.LeakyReLU(SLOPE, inplace=True)
            before = width
