"""DeblurGAN: a residual generator and a critic of patches (Kupyn et al. 2018).

O. Kupyn, V. Budzan, M. Mykhailych, D. Mishkin and J. Matas, "DeblurGAN: blind motion deblurring
using conditional adversarial networks", CVPR 2018. The critic is that of pix2pix (Isola et al.
2017), and sees pictures only: any network may take the generator's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from deconv.arrays import choose, number, whole
from unrolled import weights
from unrolled.adversarial import Adversary
from unrolled.direct import Restorer
from unrolled.losses import perceptual
from unrolled.models.blocks import check_picture, configured, padded

__all__ = [
    "CRITICS",
    "PRESETS",
    "DeblurGAN",
    "DeblurGANConfig",
    "PatchCritic",
    "PatchCriticConfig",
    "deblurgan_loss",
]

UPSAMPLING = ("transposed", "resize")
OUTPUTS = ("patch", "binary")
# Weight of the content loss in the paper.
CONTENT = 100.0


@dataclass(frozen=True)
class DeblurGANConfig:
    """What a `DeblurGAN` is made of; the JSON beside its weights.

    Parameters
    ----------
    channels : int
        Of a picture.
    width : int
        Features at full resolution; twice and four times as many at half and a quarter of it.
    blocks : int
        Residual blocks, at a quarter of the resolution.
    dropout : float
        Share of features dropped in each block in training, in [0, 1).
    norm : bool
        Whether features are normalised over the whole picture (InstanceNorm). What a tile of it
        becomes then depends on the tile.
    upsample : {"transposed", "resize"}
        By a transposed convolution, as published, which can leave a checkerboard, or by repeating
        pixels before a convolution (Odena et al. 2016), which cannot.

    Raises
    ------
    TypeError, ValueError
        For a value out of its range, with its name.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.deblurgan import DeblurGAN, DeblurGANConfig
    >>> net = DeblurGAN(DeblurGANConfig(width=8, blocks=1, upsample="resize"))
    >>> net(torch.rand(1, 3, 16, 16)).shape
    torch.Size([1, 3, 16, 16])
    """

    channels: int = 3
    width: int = 64
    blocks: int = 9
    dropout: float = 0.5
    norm: bool = True
    upsample: str = "transposed"

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        for name in ("channels", "width", "blocks"):
            whole(getattr(self, name), name, low=1)
        number(self.dropout, "dropout", low=0, high=0.99)
        choose(self.upsample, UPSAMPLING, "upsample")


PRESETS = {
    "paper": DeblurGANConfig(),
    "small": DeblurGANConfig(width=24, blocks=5, dropout=0.0, norm=False, upsample="resize"),
}


class DeblurGAN(Restorer, nn.Module):
    """The generator: ``clamp(x + G(x), 0, 1)``, with an encoder, residual blocks and a decoder.

    It begins as the identity; the published one begins as noise.

    Parameters
    ----------
    config : DeblurGANConfig, optional
        Its size; the preset "small" if not given.

    References
    ----------
    Kupyn, Budzan, Mykhailych, Mishkin and Matas (2018), "DeblurGAN: blind motion deblurring using
    conditional adversarial networks", CVPR.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.deblurgan import DeblurGAN
    >>> net = DeblurGAN.preset("small")
    >>> net(torch.rand(2, 3, 21, 30)).shape
    torch.Size([2, 3, 21, 30])
    """

    def __init__(self, config: DeblurGANConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PRESETS["small"]
        self.layers = nn.Sequential(*_generator(config))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                if config.norm:
                    nn.init.normal_(module.weight, std=0.02)
                else:
                    nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.layers[-1].weight)

    @classmethod
    def preset(cls, name: str = "small", **changes: Any) -> DeblurGAN:
        """An untrained network of one of `PRESETS`, with `changes` to its configuration.

        "paper" is the published one. An unknown name or a bad change is a TypeError or ValueError.
        """
        return cls(configured(PRESETS, name, changes))

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str]) -> DeblurGAN:
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
        height, width = x.shape[-2:]
        # Two pixels are left at the coarsest scale, which norm and reflection need.
        grown = 2 * padded(x, 4, least=8) - 1
        found = torch.tanh(self.layers(grown))[..., :height, :width]
        return (x + found.to(x.dtype) / 2).clamp(0, 1)


class _Block(nn.Module):
    """``x + norm(conv(dropout(relu(norm(conv(x))))))``, reflected at the edges."""

    def __init__(self, width: int, config: DeblurGANConfig) -> None:
        super().__init__()
        conv = [(*_reflected(width, width, 3), *_normed(width, config.norm)) for _ in range(2)]
        between = (nn.ReLU(inplace=True), nn.Dropout(config.dropout))
        self.layers = nn.Sequential(*conv[0], *between, *conv[1])
        # The variance would else double in every block.
        self.scale = 1.0 if config.norm else config.blocks**-0.5

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        return x + self.scale * self.layers(x)


def _generator(config: DeblurGANConfig) -> Iterator[nn.Module]:
    w, norm = config.width, config.norm

    def active(width: int) -> tuple[nn.Module, ...]:
        return (*_normed(width, norm), nn.ReLU(inplace=True))

    yield from (*_reflected(config.channels, w, 7), *active(w))
    for fine, coarse in ((w, 2 * w), (2 * w, 4 * w)):
        yield from (nn.Conv2d(fine, coarse, 3, stride=2, padding=1), *active(coarse))
    for _ in range(config.blocks):
        yield _Block(4 * w, config)
    for coarse, fine in ((4 * w, 2 * w), (2 * w, w)):
        if config.upsample == "resize":
            yield from (nn.Upsample(scale_factor=2), nn.Conv2d(coarse, fine, 3, padding=1))
        else:
            yield nn.ConvTranspose2d(coarse, fine, 3, stride=2, padding=1, output_padding=1)
        yield from active(fine)
    yield from _reflected(w, config.channels, 7)


def _reflected(inputs: int, outputs: int, size: int) -> tuple[nn.Module, ...]:
    return nn.ReflectionPad2d(size // 2), nn.Conv2d(inputs, outputs, size)


def _normed(width: int, norm: bool) -> tuple[nn.Module, ...]:
    return (nn.InstanceNorm2d(width),) if norm else ()


@dataclass(frozen=True)
class PatchCriticConfig:
    """What a `PatchCritic` is made of; the JSON beside its weights.

    Parameters
    ----------
    channels : int
        Of a picture.
    width : int
        Features of the first layer; they double with each further one, up to eight times as many.
    layers : int
        Convolutions of stride 2.
    norm : bool
        Whether features are normalised within each picture.
    output : {"patch", "binary"}
        A logit for each patch, or their mean: one for each picture.

    Raises
    ------
    TypeError, ValueError
        For a value out of its range, with its name.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.deblurgan import PatchCritic, PatchCriticConfig
    >>> critic = PatchCritic(PatchCriticConfig(width=8, layers=2, output="binary"))
    >>> critic(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 1])
    """

    channels: int = 3
    width: int = 64
    layers: int = 3
    norm: bool = True
    output: str = "patch"

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        for name in ("channels", "width", "layers"):
            whole(getattr(self, name), name, low=1)
        choose(self.output, OUTPUTS, "output")


CRITICS = {"paper": PatchCriticConfig(), "small": PatchCriticConfig(width=24)}


class PatchCritic(nn.Module):
    """Whether patches of a picture look real: 70 x 70 pixels, 8 apart, with three layers.

    Parameters
    ----------
    config : PatchCriticConfig, optional
        Its size; `CRITICS` "small" if not given.

    References
    ----------
    Isola, Zhu, Zhou and Efros (2017), "Image-to-image translation with conditional adversarial
    networks", CVPR.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.deblurgan import PatchCritic
    >>> PatchCritic.preset("small")(torch.rand(2, 3, 64, 80)).shape
    torch.Size([2, 1, 6, 8])
    """

    def __init__(self, config: PatchCriticConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CRITICS["small"]
        self.layers = nn.Sequential(*_critic(config))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    @classmethod
    def preset(cls, name: str = "small", **changes: Any) -> PatchCritic:
        """An untrained critic of one of `CRITICS`; see `DeblurGAN.preset`."""
        return cls(configured(CRITICS, name, changes))

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str]) -> PatchCritic:
        """A trained critic, from a file or its folder; errors as `unrolled.weights.load`."""
        return weights.load(name_or_path, cls)

    def forward(self, x: Tensor) -> Tensor:
        """Judge pictures.

        Parameters
        ----------
        x : tensor, shape (N, channels, H, W)
            On [0, 1], of ``3 * 2**layers`` pixels or more each way.

        Returns
        -------
        tensor, shape (N, 1, h, w) or (N, 1)
            Logits: positive for real. With "patch", h is ``H // 2**layers - 2``, and w alike.

        Raises
        ------
        TypeError, ValueError
            If `x` is of another shape or too small, or not of floating point.
        """
        check_picture(x, self.config.channels, least=3 * 2**self.config.layers)
        logits = self.layers(2 * x - 1)
        return logits if self.config.output == "patch" else logits.mean(dim=(-2, -1))


def _critic(config: PatchCriticConfig) -> Iterator[nn.Module]:
    before = config.channels
    for k in range(config.layers + 1):
        width = config.width * min(2**k, 8)
        yield nn.Conv2d(before, width, 4, stride=2 if k < config.layers else 1, padding=1)
        yield from _normed(width, config.norm and k > 0)
        yield nn.LeakyReLU(0.2, inplace=True)
        before = width
    yield nn.Conv2d(before, 1, 4, padding=1)


def deblurgan_loss(
    adversary: Adversary,
    features: Callable[[Tensor], Tensor],
    restored: Tensor,
    sharp: Tensor,
    *,
    content: float = CONTENT,
) -> Tensor:
    """What the generator makes small: the adversary's loss plus `content` times `perceptual`.

    The paper's adversary is ``Adversary(critic, "wgan-gp")``, with five steps of the critic to one
    of the generator. Pictures are (N, C, H, W) on [0, 1]; the result is a scalar.

    Parameters
    ----------
    adversary : Adversary
        The critic with its loss.
    features : callable
        As of `unrolled.losses.perceptual`.
    restored, sharp : tensor, shape (N, C, H, W)
        On [0, 1].
    content : float
        Weight of the features' error; 100 in the paper.

    Returns
    -------
    tensor
        A scalar.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from unrolled.adversarial import Adversary
    >>> from unrolled.models.deblurgan import deblurgan_loss
    >>> adversary = Adversary(nn.AvgPool2d(8))
    >>> sharp = torch.rand(2, 3, 16, 16)
    >>> restored = sharp.clone().requires_grad_()
    >>> deblurgan_loss(adversary, nn.Identity(), restored, sharp).backward()
    >>> restored.grad.shape
    torch.Size([2, 3, 16, 16])
    """
    loss = adversary.generator_loss(sharp, restored)
    return loss + content * perceptual(features, restored, sharp)
