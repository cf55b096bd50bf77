"""DBGAN and BGAN: to deblur by learning to blur (Zhang et al. 2020).

K. Zhang, W. Luo, Y. Zhong, L. Ma, B. Stenger, W. Liu and H. Li, "Deblurring by realistic blurring",
CVPR 2020. BGAN blurs sharp pictures so that a critic cannot tell them from really blurred ones;
DBGAN restores what it blurred. Both are residual-in-residual dense blocks (Wang et al. 2018,
ESRGAN) at the picture's own resolution, without norms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconv.arrays import number, whole
from unrolled import weights
from unrolled.adversarial import Adversary
from unrolled.direct import Restorer
from unrolled.losses import perceptual
from unrolled.models.blocks import check_picture, configured

__all__ = [
    "BGAN",
    "BGAN_PRESETS",
    "DBGAN",
    "PRESETS",
    "BGANConfig",
    "DBGANConfig",
    "bgan_loss",
    "dbgan_loss",
]

SLOPE = 0.2
# Weights of the paper: of the pixels, and of the critic.
CONTENT, ADVERSARIAL = 0.005, 0.01


@dataclass(frozen=True)
class DBGANConfig:
    """What a `DBGAN` is made of; the JSON beside its weights.

    Parameters
    ----------
    channels : int
        Of a picture.
    width : int
        Features.
    growth : int
        Features that each convolution of a dense block adds.
    blocks : int
        Residual-in-residual dense blocks, of fifteen convolutions each.
    scale : float
        Of what a block adds to its input, in (0, 1].

    Raises
    ------
    TypeError, ValueError
        For a value out of its range, with its name.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.dbgan import DBGAN, DBGANConfig
    >>> net = DBGAN(DBGANConfig(width=8, growth=4, blocks=1))
    >>> net(torch.rand(1, 3, 16, 16)).shape
    torch.Size([1, 3, 16, 16])
    """

    channels: int = 3
    width: int = 64
    growth: int = 32
    blocks: int = 16
    scale: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        for name in ("channels", "width", "growth", "blocks"):
            whole(getattr(self, name), name, low=1)
        number(self.scale, "scale", low=0, high=1, strict=True)


@dataclass(frozen=True)
class BGANConfig(DBGANConfig):
    """What a `BGAN` is made of; the JSON beside its weights.

    Parameters
    ----------
    channels, width, growth, blocks, scale
        As of `DBGANConfig`.
    noise : int
        Numbers that say which blur a picture gets.

    Raises
    ------
    TypeError, ValueError
        For a value out of its range, with its name.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.dbgan import BGAN, BGANConfig
    >>> net = BGAN(BGANConfig(width=8, growth=4, blocks=1, noise=2))
    >>> net(torch.rand(1, 3, 16, 16), torch.zeros(1, 2)).shape
    torch.Size([1, 3, 16, 16])
    """

    blocks: int = 9
    noise: int = 4

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        super().__post_init__()
        whole(self.noise, "noise", low=1)


PRESETS = {"paper": DBGANConfig(), "small": DBGANConfig(width=32, growth=16, blocks=4)}
BGAN_PRESETS = {"paper": BGANConfig(), "small": BGANConfig(width=32, growth=16, blocks=3)}


class DBGAN(Restorer, nn.Module):
    """The generator that restores: ``clamp(x + f(x), 0, 1)``; it begins as the identity.

    Parameters
    ----------
    config : DBGANConfig, optional
        Its size; the preset "small" if not given.

    References
    ----------
    K. Zhang et al., "Deblurring by realistic blurring", CVPR 2020.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.dbgan import DBGAN
    >>> net = DBGAN.preset("small", blocks=1)
    >>> net(torch.rand(2, 3, 21, 30)).shape
    torch.Size([2, 3, 21, 30])
    """

    def __init__(self, config: DBGANConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PRESETS["small"]
        self.trunk = _Trunk(config, config.channels)

    @classmethod
    def preset(cls, name: str = "small", **changes: Any) -> DBGAN:
        """An untrained network of one of `PRESETS`, with `changes` to its configuration.

        "paper" is the published one. An unknown name or a bad change is a TypeError or ValueError.
        """
        return cls(configured(PRESETS, name, changes))

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str]) -> DBGAN:
        """A trained network, from a file or its folder; errors as `unrolled.weights.load`."""
        return weights.load(name_or_path, cls)

    def forward(self, x: Tensor) -> Tensor:
        """Restore blurred pictures.

        Parameters
        ----------
        x : tensor, shape (N, channels, H, W)
            On [0, 1], of any size.

        Returns
        -------
        tensor, shape (N, channels, H, W)
            On [0, 1].

        Raises
        ------
        TypeError, ValueError
            If `x` is of another shape, or not of floating point.
        """
        check_picture(x, self.config.channels)
        return (x + self.trunk(x).to(x.dtype)).clamp(0, 1)


class BGAN(nn.Module):
    """The generator that blurs: ``clamp(x + f(x, noise), 0, 1)``; it begins as the identity.

    The noise is one vector for a picture, the same at all its pixels.

    Parameters
    ----------
    config : BGANConfig, optional
        Its size; `BGAN_PRESETS` "small" if not given.

    References
    ----------
    K. Zhang et al., "Deblurring by realistic blurring", CVPR 2020.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.dbgan import BGAN
    >>> net = BGAN.preset("small", blocks=1)
    >>> net(torch.rand(2, 3, 21, 30)).shape
    torch.Size([2, 3, 21, 30])
    """

    def __init__(self, config: BGANConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or BGAN_PRESETS["small"]
        self.trunk = _Trunk(config, config.channels + config.noise)

    @classmethod
    def preset(cls, name: str = "small", **changes: Any) -> BGAN:
        """An untrained network of one of `BGAN_PRESETS`; see `DBGAN.preset`."""
        return cls(configured(BGAN_PRESETS, name, changes))

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str]) -> BGAN:
        """A trained network, from a file or its folder; errors as `unrolled.weights.load`."""
        return weights.load(name_or_path, cls)

    def forward(
        self,
        x: Tensor,
        noise: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Blur sharp pictures.

        Parameters
        ----------
        x : tensor, shape (N, channels, H, W)
            On [0, 1], of any size.
        noise : tensor, shape (N, config.noise), optional
            Standard normal; drawn if not given.
        generator : torch.Generator, optional
            What it is drawn with.

        Returns
        -------
        tensor, shape (N, channels, H, W)
            On [0, 1].

        Raises
        ------
        TypeError, ValueError
            If `x` or `noise` is of another shape, or `x` not of floating point.
        """
        check_picture(x, self.config.channels)
        shape = (x.shape[0], self.config.noise)
        if noise is None:
            noise = torch.randn(shape, generator=generator, dtype=x.dtype, device=x.device)
        elif tuple(noise.shape) != shape:
            raise ValueError(f"noise has shape {tuple(noise.shape)}; expected {shape}")
        plane = noise.to(x)[..., None, None].expand(-1, -1, *x.shape[-2:])
        return (x + self.trunk(torch.cat([x, plane], dim=1)).to(x.dtype)).clamp(0, 1)


class _Trunk(nn.Module):
    """Pictures to what is added to them: a convolution, dense blocks under a skip, three more."""

    def __init__(self, config: DBGANConfig, inputs: int) -> None:
        super().__init__()
        width = config.width
        self.head = _conv(inputs, width)
        self.body = nn.Sequential(
            *(_Residual(config) for _ in range(config.blocks)), _conv(width, width)
        )
        self.tail = nn.Sequential(
            _conv(width, width), nn.LeakyReLU(SLOPE, inplace=True), _conv(width, config.channels)
        )
        nn.init.zeros_(self.tail[-1].weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, channels, H, W)."""
        x = self.head(x)
        return self.tail(x + self.body(x))


class _Dense(nn.Module):
    """Five convolutions, each of all before it; what comes of the last is added to the input."""

    def __init__(self, config: DBGANConfig) -> None:
        super().__init__()
        self.scale = config.scale
        sizes = [config.width + k * config.growth for k in range(5)]
        outputs = [config.growth] * 4 + [config.width]
        # A tenth of what keeps the variance: deep ones begin near the identity (Wang et al. 2018).
        self.layers = nn.ModuleList(
            _conv(*pair, gain=0.1) for pair in zip(sizes, outputs, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        known = x
        for layer in self.layers[:-1]:
            known = torch.cat([known, F.leaky_relu(layer(known), SLOPE)], dim=1)
        return x + self.scale * self.layers[-1](known)


class _Residual(nn.Module):
    """Three dense blocks, whose result is added to the input."""

    def __init__(self, config: DBGANConfig) -> None:
        super().__init__()
        self.scale = config.scale
        self.layers = nn.Sequential(*(_Dense(config) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        return x + self.scale * self.layers(x)


def _conv(inputs: int, outputs: int, gain: float = 1.0) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, SLOPE)
    layer.weight.data.mul_(gain)
    nn.init.zeros_(layer.bias)
    return layer


Features = Callable[[Tensor], Tensor]


def bgan_loss(
    adversary: Adversary,
    features: Features,
    blurred: Tensor,
    reference: Tensor,
    real: Tensor,
    *,
    adversarial: float = ADVERSARIAL,
) -> Tensor:
    """What BGAN makes small: `perceptual`, plus `adversarial` times the adversary's loss.

    Parameters
    ----------
    adversary : Adversary
        The paper's is of the loss "relativistic-blur".
    features : callable
        As of `unrolled.losses.perceptual`.
    blurred, reference : tensor, shape (N, C, H, W)
        What was generated, and a picture of the same scene.
    real : tensor, shape (M, C, H, W)
        Really blurred pictures, of other scenes.
    adversarial : float
        Weight of the adversary's loss.

    Returns
    -------
    tensor
        A scalar.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from unrolled.adversarial import Adversary
    >>> from unrolled.models.dbgan import bgan_loss
    >>> adversary = Adversary(nn.AvgPool2d(8), "relativistic-blur")
    >>> blurred, reference, real = torch.rand(3, 2, 3, 16, 16)
    >>> bgan_loss(adversary, nn.Identity(), blurred, reference, real).shape
    torch.Size([])
    """
    loss = adversary.generator_loss(real, blurred)
    return perceptual(features, blurred, reference) + adversarial * loss


def dbgan_loss(
    adversary: Adversary,
    features: Features,
    restored: Tensor,
    sharp: Tensor,
    *,
    content: float = CONTENT,
    adversarial: float = ADVERSARIAL,
) -> Tensor:
    """What DBGAN makes small: `perceptual`, pixels' squared error, and the adversary's loss.

    Parameters
    ----------
    adversary, features
        As of `bgan_loss`.
    restored, sharp : tensor, shape (N, C, H, W)
        On [0, 1].
    content, adversarial : float
        Weights of the squared error and of the adversary's loss.

    Returns
    -------
    tensor
        A scalar.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from unrolled.adversarial import Adversary
    >>> from unrolled.models.dbgan import dbgan_loss
    >>> adversary = Adversary(nn.AvgPool2d(8), "relativistic-average")
    >>> restored, sharp = torch.rand(2, 2, 3, 16, 16)
    >>> dbgan_loss(adversary, nn.Identity(), restored, sharp).shape
    torch.Size([])
    """
    loss = adversary.generator_loss(sharp, restored)
    seen = perceptual(features, restored, sharp)
    return seen + content * F.mse_loss(restored, sharp) + adversarial * loss
