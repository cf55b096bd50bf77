"""BlurClassifier: how blurred a picture looks (the discriminative prior of Li et al. 2018).

A fully convolutional network with global average pooling, so any size will do. The published one
has nine convolutions of 64 channels and takes a second for forward and backward; this one is for a
solver that asks it a thousand times. It differs so:

- few channels where there are many pixels, more where there are few;
- average pooling and SiLU in place of maximum pooling and ReLU: its gradient to the picture, which
  is what the solver uses, is smooth and has no holes;
- the mean and the contrast around each place are taken off first (Jarrett et al. 2009), so that
  dim pictures and dim places count as bright ones do, and nothing is won by fading the picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconv.arrays import channels_first, checked, to_numpy
from unrolled import weights
from unrolled.models.blocks import check_picture

__all__ = ["LEAST_SIDE", "BlurClassifier", "BlurClassifierConfig"]

LEAST_SIDE = 16
# Contrast, as a standard deviation on [0, 1], below which a place counts as even.
LEAST_CONTRAST = 1e-4
# Local contrast, as a part of the whole picture's, that is half made up for.
FAINT = 0.15
# Share of pixels at either end of the range that may lie far outside of it.
OUTLIERS = 1e-3
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class BlurClassifierConfig:
    """What a `BlurClassifier` is made of; the JSON beside its weights.

    Parameters
    ----------
    widths : tuple of int
        Channels at full resolution, at half of it, at a quarter, and so on.
    convolutions : tuple of int
        How many there are at each resolution.

    Raises
    ------
    ValueError
        If a number is not positive, or the two are not of one length.

    Examples
    --------
    >>> import torch
    >>> from unrolled import BlurClassifier
    >>> from unrolled.models.blur_classifier import BlurClassifierConfig
    >>> config = BlurClassifierConfig(widths=(4, 8), convolutions=(1, 1))
    >>> BlurClassifier(config)(torch.rand(1, 1, 32, 32)).shape
    torch.Size([1])
    """

    widths: tuple[int, ...] = (6, 16, 24, 32)
    convolutions: tuple[int, ...] = (1, 1, 2, 3)

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths={self.widths}; expected one or more positive numbers")
        if len(self.convolutions) != len(self.widths) or min(self.convolutions) < 1:
            raise ValueError(
                f"convolutions={self.convolutions}; expected a positive number for each of the "
                f"{len(self.widths)} widths"
            )


class BlurClassifier(nn.Module):
    """Grey pictures to the logit of their being blurred: positive for blurred, negative for sharp.

    Parameters
    ----------
    config : BlurClassifierConfig, optional
        Its size.

    References
    ----------
    L. Li, J. Pan, W.-S. Lai, C. Gao, N. Sang and M.-H. Yang, "Learning a discriminative prior for
    blind image deblurring", CVPR 2018; "Blind image deblurring via deep discriminative priors",
    IJCV 127, 2019.

    Examples
    --------
    >>> import torch
    >>> from unrolled import BlurClassifier
    >>> net = BlurClassifier()
    >>> x = torch.rand(2, 1, 50, 70)
    >>> net(x).shape, net.map(x).shape
    (torch.Size([2]), torch.Size([2, 1, 6, 8]))
    """

    def __init__(self, config: BlurClassifierConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or BlurClassifierConfig()
        self.layers = nn.Sequential(*_layers(config))
        # Half the time of the other order, at so few channels.
        self.to(memory_format=torch.channels_last)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | PathLike[str] = "blur-classifier"
    ) -> BlurClassifier:
        """A trained network: "blur-classifier" of the package, a file, or its folder.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or its contents are not those of a `BlurClassifier`; see
            `unrolled.weights.load`.
        """
        return weights.load(name_or_path, cls)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N,): the mean over `map`.

        Parameters
        ----------
        x : tensor, shape (N, 1, H, W)
            Grey pictures on [0, 1] or a little beyond, of 16 pixels or more each way.

        Returns
        -------
        tensor, shape (N,)
            The same for ``a * x + b`` with a positive a, but for pictures that are nearly even, of
            a standard deviation below a hundredth.

        Raises
        ------
        TypeError, ValueError
            If `x` is of another shape or too small, or not of floating point.
        """
        return self.map(x).mean((-3, -2, -1))

    def map(self, x: Tensor) -> Tensor:
        """Logits (N, 1, H // 8, W // 8) by place, for `x` as of `forward`.

        Eight is for four widths. A place sees about 90 pixels each way. Those where nothing is to
        be seen, such as sky, say little; `forward` counts them with the others.
        """
        logits: Tensor = self.layers[-1](self.features(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """What `map` decides by, (N, widths[-1], H // 8, W // 8), for `x` as of `forward`."""
        check_picture(x, 1, least=LEAST_SIDE)
        seen: Tensor = self.layers[:-1](_even(x))
        return seen

    @torch.no_grad()
    def blurriness(self, image: Any, *, channel_axis: int | None = None) -> float:
        """Probability, in [0, 1], that a picture is blurred.

        Parameters
        ----------
        image : array (Y, X), or with a channel axis
            NumPy or torch, in any unit: neither offset nor scale matters. Of 16 pixels or more each
            way.
        channel_axis : int, optional
            Axis of colours: of three the luma is looked at, of any other number the mean.

        Returns
        -------
        float
            0.5 for a picture of one value, of which nothing can be said.

        Raises
        ------
        TypeError, ValueError
            For what is no such picture, or has NaN; the message names the argument.
        """
        grey = _grey(image, channel_axis)
        if grey.min() == grey.max():
            return 0.5
        parameter = next(self.parameters())
        x = torch.as_tensor(grey, dtype=parameter.dtype, device=parameter.device)
        return float(torch.sigmoid(self(x[None, None]))[0])


def _layers(config: BlurClassifierConfig) -> Iterable[nn.Module]:
    """Convolutions and their activations, with a pooling between resolutions."""
    before = 1
    for level, (width, count) in enumerate(zip(config.widths, config.convolutions, strict=True)):
        if level:
            yield nn.AvgPool2d(2)
        for _ in range(count):
            # No edge where the picture ends, which the first layer would take for a sharp one.
            mode = "replicate" if before == 1 else "zeros"
            yield _scaled(nn.Conv2d(before, width, 3, padding=1, padding_mode=mode))
            yield nn.SiLU()
            before = width
    yield _scaled(nn.Conv2d(before, 1, 3, padding=1))


def _scaled(layer: nn.Conv2d) -> nn.Conv2d:
    """Weights that keep the variance; with those of torch nothing is learned for 100 steps."""
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _even(x: Tensor) -> Tensor:
    """`x` with mean 0 and standard deviation about 1 near every place, differentiable.

    What is fainter than a part of the picture's own contrast stays faint: it is mostly noise.
    """
    x = x - x.mean((-2, -1), keepdim=True)
    least = FAINT**2 * x.square().mean((-2, -1), keepdim=True) + LEAST_CONTRAST**2
    mean, power = _around(torch.cat([x, x.square()], dim=1)).chunk(2, dim=1)
    return (x - mean) * torch.rsqrt((power - mean.square()).clamp(min=0) + least)


def _around(x: Tensor) -> Tensor:
    """Weighted means over about 30 pixels each way, without a step from one place to the next."""
    means = F.avg_pool2d(x, 8, ceil_mode=True, count_include_pad=False)
    means = F.avg_pool2d(F.pad(means, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return F.interpolate(means, size=x.shape[-2:], mode="bilinear")


def _grey(image: Any, channel_axis: int | None) -> np.ndarray:
    """The luma of `image`, (Y, X), with its range put on [0, 1]."""
    values, holes = checked(image, "image")
    if holes:
        count = int(np.isnan(to_numpy(values)).sum())
        raise ValueError(f"image has {count} NaN pixels; expected none: fill them first")
    planes = to_numpy(channels_first(values, 2, channel_axis)).astype(np.float64)
    planes = planes if channel_axis is not None else planes[None]
    if min(planes.shape[-2:]) < LEAST_SIDE:
        raise ValueError(
            f"image has shape {tuple(values.shape)}; expected {LEAST_SIDE} pixels or more each way"
        )
    mix = LUMA if len(planes) == 3 else [1 / len(planes)] * len(planes)
    grey = np.tensordot(mix, planes, axes=1)
    # A hot pixel must not hide the rest; lines so thin that this would take them away are kept.
    low, high = np.quantile(grey, (OUTLIERS, 1 - OUTLIERS))
    if high <= low:
        low, high = grey.min(), grey.max()
    return np.clip((grey - low) / ((high - low) or 1.0), 0, 1)
