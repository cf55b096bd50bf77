"""NAFNet: a U-Net without activation functions; gates multiply instead (Chen et al. 2022).

Its attention is the mean of each channel over the picture. Trained on crops, it meets other means
in whole pictures; `NAFNet.local` therefore takes them over windows little larger than the crops
(Chu et al. 2022), which gave the published network 0.6 dB on GoPro.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconv.arrays import whole
from unrolled import weights
from unrolled.direct import Restorer
from unrolled.models.blocks import (
    check_picture,
    configured,
    conv,
    keep_flat,
    padded,
    start_at_zero,
)

__all__ = ["PRESETS", "LayerNorm", "NAFBlock", "NAFNet", "NAFNetConfig", "local_mean"]


@dataclass(frozen=True)
class NAFNetConfig:
    """What a `NAFNet` is made of; the JSON beside its weights.

    Parameters
    ----------
    channels : int
        Of a picture.
    width : int
        Feature channels at the picture's own scale; each coarser one has twice as many.
    encoder : tuple of int
        Blocks at each scale on the way down, finest first.
    middle : int
        Blocks at the coarsest scale.
    decoder : tuple of int
        Blocks at each scale on the way up, coarsest first.
    window : int, optional
        Side, in pixels of the picture, of the windows that means are taken over; None is the whole
        picture. It changes no weights: see `NAFNet.local`.

    Raises
    ------
    TypeError, ValueError
        For a value out of its range, with its name.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.nafnet import NAFNet, NAFNetConfig
    >>> net = NAFNet(NAFNetConfig(width=8, encoder=(1, 1), decoder=(1, 1)))
    >>> net(torch.rand(1, 3, 16, 16)).shape
    torch.Size([1, 3, 16, 16])
    """

    channels: int = 3
    width: int = 32
    encoder: tuple[int, ...] = (1, 1, 1, 28)
    middle: int = 1
    decoder: tuple[int, ...] = (1, 1, 1, 1)
    window: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        for name in ("channels", "width"):
            whole(getattr(self, name), name, low=1)
        whole(self.middle, "middle")
        for name in ("encoder", "decoder"):
            for count in getattr(self, name):
                whole(count, name)
        if len(self.encoder) != len(self.decoder):
            raise ValueError(
                f"decoder={self.decoder}; expected {len(self.encoder)} numbers, as encoder has"
            )
        if self.window is not None:
            whole(self.window, "window", low=1)


PRESETS = {
    "paper": NAFNetConfig(),
    "large": NAFNetConfig(width=64),
    "small": NAFNetConfig(width=16, encoder=(1, 1, 2), middle=10, decoder=(1, 1, 1)),
}


class LayerNorm(nn.Module):
    """Mean 0 and variance 1 over the channels of each pixel, then a gain and an offset for each.

    Parameters
    ----------
    width : int
        Channels.
    least : float
        Added to the variance.

    References
    ----------
    Ba, Kiros and Hinton (2016), "Layer normalization", arXiv 1607.06450.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.nafnet import LayerNorm
    >>> y = LayerNorm(8)(torch.rand(1, 8, 2, 2))
    >>> bool(y.mean(1).abs().max() < 1e-5)
    True
    """

    def __init__(self, width: int, least: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.least = least

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        # The channels go last and back: with channels_last memory nothing moves, and ONNX has this
        # norm as one operation. Its sums are float32 or better whatever x is.
        moved = F.layer_norm(
            x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.least
        )
        return moved.permute(0, 3, 1, 2)


def local_mean(x: Tensor, window: int | None = None) -> Tensor:
    """The mean of each channel around each pixel; near the edges, of the nearest whole window.

    Parameters
    ----------
    x : tensor, shape (N, C, H, W)
        Of floating point.
    window : int, optional
        Side of the window, cut to the picture's. None is the whole picture.

    Returns
    -------
    tensor, shape (N, C, H, W), or (N, C, 1, 1) where the window covers the picture

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.nafnet import local_mean
    >>> x = torch.arange(4.0).reshape(1, 1, 1, 4)
    >>> local_mean(x).item(), local_mean(x.expand(1, 1, 4, 4), 2)[0, 0, 0].tolist()
    (1.5, [0.5, 1.5, 2.5, 2.5])
    """
    mean = x.mean((-2, -1), keepdim=True)
    if window is None or window >= max(x.shape[-2:]):
        return mean
    # Running sums of what is left without the mean are small, and keep their digits.
    return mean + _along(_along(x - mean, window, -1), window, -2)


def _along(x: Tensor, window: int, axis: int) -> Tensor:
    """The means of `window` neighbours on one axis, from a running sum."""
    size = x.shape[axis]
    window = min(window, size)
    pad = (1, 0) if axis == -1 else (0, 0, 1, 0)
    sums = F.pad(x.cumsum(axis), pad)
    count = size - window + 1
    means = (sums.narrow(axis, window, count) - sums.narrow(axis, 0, count)) / window
    before = (window - 1) // 2
    at = (torch.arange(size, device=x.device) - before).clamp(0, count - 1)
    return means.index_select(axis, at)


class NAFBlock(nn.Module):
    """Two residual steps, of neighbouring pixels and of channels; it starts as the identity.

    Parameters
    ----------
    width : int
        Channels.
    window : int, optional
        Side of the windows that means are taken over; None is the whole picture.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.nafnet import NAFBlock
    >>> x = torch.rand(1, 8, 4, 4)
    >>> torch.equal(NAFBlock(8)(x), x)
    True
    """

    def __init__(self, width: int, window: int | None = None) -> None:
        super().__init__()
        self.window = window
        self.space_norm, self.channel_norm = LayerNorm(width), LayerNorm(width)
        self.space_expand = conv(width, 2 * width, 1)
        self.depthwise = conv(2 * width, 2 * width, groups=2 * width)
        self.attention = conv(width, width, 1)
        self.space_project = conv(width, width, 1)
        self.channel_expand = conv(width, 2 * width, 1)
        self.channel_project = conv(width, width, 1)
        self.space_gain = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.channel_gain = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        y = _gate(self.depthwise(self.space_expand(self.space_norm(x))))
        y = y * self.attention(local_mean(y, self.window))
        x = x + self.space_gain * self.space_project(y)
        y = _gate(self.channel_expand(self.channel_norm(x)))
        return x + self.channel_gain * self.channel_project(y)


def _gate(x: Tensor) -> Tensor:
    """One half of the channels times the other."""
    left, right = x.chunk(2, dim=1)
    return left * right


class NAFNet(Restorer, nn.Module):
    """Blurred pictures to sharp ones, without a psf.

    Parameters
    ----------
    config : NAFNetConfig, optional
        Its size.

    Notes
    -----
    Unlike the published network it starts as the identity, and pictures whose size is no multiple
    of the stride are continued by their edge pixels instead of by black. In evaluation mode,
    pictures of one colour come back as they are.

    References
    ----------
    L. Chen, X. Chu, X. Zhang and J. Sun, "Simple baselines for image restoration", ECCV 2022.

    X. Chu, L. Chen, C. Chen and X. Lu, "Improving image restoration by revisiting global
    information aggregation", ECCV 2022.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.nafnet import NAFNet
    >>> net = NAFNet.preset("small")
    >>> net(torch.rand(1, 3, 21, 18)).shape
    torch.Size([1, 3, 21, 18])
    >>> net.local(crop=128).config.window
    192
    """

    def __init__(self, config: NAFNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NAFNetConfig()
        levels = len(config.encoder)
        widths = [config.width * 2**level for level in range(levels + 1)]

        def blocks(level: int, count: int) -> nn.Sequential:
            window = None if config.window is None else max(1, config.window >> level)
            return nn.Sequential(*(NAFBlock(widths[level], window) for _ in range(count)))

        def grow(level: int) -> nn.Sequential:
            enlarge = nn.Conv2d(widths[level + 1], 4 * widths[level], 1, bias=False)
            return nn.Sequential(enlarge, nn.PixelShuffle(2))

        upward = list(reversed(range(levels)))
        self.head = conv(config.channels, config.width)
        self.encoders = nn.ModuleList(blocks(k, n) for k, n in enumerate(config.encoder))
        self.downs = nn.ModuleList(
            nn.Conv2d(widths[k], widths[k + 1], 2, stride=2) for k in range(levels)
        )
        self.middle = blocks(levels, config.middle)
        self.ups = nn.ModuleList(grow(k) for k in upward)
        self.decoders = nn.ModuleList(
            blocks(k, n) for k, n in zip(upward, config.decoder, strict=True)
        )
        self.tail = conv(config.width, config.channels)
        start_at_zero(self.tail)

    @classmethod
    def preset(cls, name: str = "paper", **changes: Any) -> NAFNet:
        """An untrained network of one of `PRESETS`, with `changes` to its configuration.

        "paper" has 17.1 M parameters, "large" 67.9 M, "small" 1.4 M.

        Raises
        ------
        TypeError, ValueError
            For an unknown name, and for changes that make no network.
        """
        return cls(configured(PRESETS, name, changes))

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str]) -> NAFNet:
        """A trained network: a ``.safetensors`` file with its JSON beside it, or its folder.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or its contents are not those of a `NAFNet`; see
            `unrolled.weights.load`.
        """
        return weights.load(name_or_path, cls)

    @property
    def stride(self) -> int:
        """Of the coarsest scale, in pixels."""
        return int(2 ** len(self.downs))

    def local(self, crop: int = 256) -> NAFNet:
        """The same network for pictures larger than what it was trained on; the weights are shared.

        Parameters
        ----------
        crop : int
            Side of the pictures that it was trained on; windows are 1.5 times as large. A picture
            that they cover has the same result as before.

        Raises
        ------
        TypeError, ValueError
            If `crop` is no whole number of at least 1.
        """
        window = max(1, whole(crop, "crop", low=1) * 3 // 2)
        with torch.device("meta"):
            local = type(self)(replace(self.config, window=window))
        for own, shared in zip(local.parameters(), self.parameters(), strict=True):
            own.requires_grad_(shared.requires_grad)  # or those that are frozen would thaw
        local.load_state_dict(self.state_dict(keep_vars=True), assign=True)
        return local.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        """Blurred pictures (N, C, H, W) on [0, 1], of any size, to sharp ones of the same shape.

        Raises
        ------
        TypeError, ValueError
            If `x` is not of floating point, or of another shape.
        """
        check_picture(x, self.config.channels)
        height, width = x.shape[-2:]
        y = self.head(padded(x, self.stride).contiguous(memory_format=torch.channels_last))
        skips = []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            skips.append(blocks(y))
            y = down(skips[-1])
        y = self.middle(y)
        for up, blocks in zip(self.ups, self.decoders, strict=True):
            y = blocks(up(y) + skips.pop())
        clean = x + self.tail(y)[..., :height, :width]
        return clean if self.training else keep_flat(x, clean)
