"""SVRNN: deblurring by recurrences whose weights vary from pixel to pixel (Zhang et al. 2018).

J. Zhang, J. Pan, J. Ren, Y. Song, L. Bao, R. W. H. Lau and M.-H. Yang, "Dynamic scene deblurring
using spatially variant recurrent neural networks", CVPR 2018. Deconvolution is an infinite impulse
response: a recurrence has one, a convolution of few pixels has not. A network that looks at the
picture says at every pixel how far the recurrences go on, in four directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from deconv.arrays import whole
from unrolled import weights
from unrolled.direct import Restorer
from unrolled.models.blocks import check_picture, configured, padded

__all__ = ["PRESETS", "SVRNN", "SVRNNConfig", "linear_scan"]

# Of the coarsest scale of the network that finds the gates, in pixels.
STRIDE = 8
# (axis, reverse): to the right, to the left, down, up.
DIRECTIONS = ((-1, False), (-1, True), (-2, False), (-2, True))
SLOPE = 0.1


def linear_scan(x: Tensor, g: Tensor, dim: int = -1, reverse: bool = False) -> Tensor:
    """The recurrence ``h_t = (1 - g_t) x_t + g_t h_{t-1}`` along an axis, from ``h_{-1} = 0``.

    Parameters
    ----------
    x, g : tensor, of one shape and floating dtype
        Input, and gate: for -1 < g < 1 the recurrence is stable, and where x is constant h comes
        to it.
    dim : int
        The axis.
    reverse : bool
        Whether it starts at the end of the axis.

    Returns
    -------
    tensor
        h, of the same shape. It can be differentiated once.

    Raises
    ------
    TypeError, ValueError
        If x and g differ in shape or dtype or are not of floating point, or have no such axis.

    Notes
    -----
    Two steps of a linear recurrence make one, so it is a prefix sum of an associative operation,
    done in place by the scheme of Brent and Kung (1982): 2 log2(T) operations on the whole tensor
    and twice the work of the loop. Backward is one more scan, against the direction (Martin and
    Cundy 2018, "Parallelizing linear recurrent neural nets over sequence length"); it keeps x, g
    and h and nothing between. It is slow along the innermost axis in memory, which for pictures in
    `torch.channels_last` is neither of space.

    References
    ----------
    Brent and Kung (1982), "A regular layout for parallel adders", IEEE Trans. Comput. C-31.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.svrnn import linear_scan
    >>> linear_scan(torch.tensor([1.0, 0.0, 0.0]), torch.full((3,), 0.5))
    tensor([0.5000, 0.2500, 0.1250])
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        given = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x is of {given}; expected a tensor of floating point")
    if not isinstance(g, Tensor) or g.shape != x.shape or g.dtype != x.dtype:
        given = f"{tuple(g.shape)} {g.dtype}" if isinstance(g, Tensor) else type(g).__name__
        raise ValueError(f"g is {given}; expected {tuple(x.shape)} {x.dtype}, as x")
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"dim={dim}; expected an axis of x, which has {x.ndim}")
    # In half precision the rounding of one step would be carried on by all that follow.
    kind = torch.promote_types(x.dtype, torch.float32)
    h: Tensor = _LinearScan.apply(x.to(kind), g.to(kind), dim % x.ndim, reverse)
    return h.to(x.dtype)


class _LinearScan(torch.autograd.Function):
    """`linear_scan` of one floating type, with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor, dim: int, reverse: bool) -> Tensor:
        h = torch.addcmul(x, x, g, value=-1)
        _scan(torch.empty_like(h).copy_(g), h, dim, reverse)
        ctx.save_for_backward(x, g, h)
        ctx.axis = dim, reverse
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (x, g, h), (dim, reverse) = ctx.saved_tensors, ctx.axis
        steps, ahead = (slice(None, -1), slice(1, None)), (slice(None),) * dim
        # Everywhere but at the first step of the recurrence, and what came before there.
        here, before = ((*ahead, part) for part in (steps if reverse else steps[::-1]))
        # What h_t costs: by itself, and by h_{t+1}.
        cost, carry = torch.empty_like(h).copy_(grad), torch.zeros_like(h)
        carry[before] = g[here]
        _scan(carry, cost, dim, not reverse)
        to_g = -cost * x
        to_g[here].addcmul_(cost[here], h[before])
        return torch.addcmul(cost, cost, g, value=-1), to_g, None, None


def _scan(a: Tensor, b: Tensor, dim: int, reverse: bool) -> None:
    """Solve ``h_t = a_t h_{t-1} + b_t`` in the place of b; a is used up."""
    length, ahead = b.shape[dim], (slice(None),) * dim
    gaps = [2**k for k in range(length.bit_length() - 1)]
    for gap in gaps:
        # Two blocks of so many steps become one, at the place of its last step.
        here, before = ((*ahead, part) for part in _pairs(length, 2 * gap - 1, gap, reverse))
        b[here].addcmul_(a[here], b[before])
        a[here].mul_(a[before])
    for gap in reversed(gaps):
        if 3 * gap <= length:
            # All before the block is known; its last step follows.
            here, before = ((*ahead, part) for part in _pairs(length, 3 * gap - 1, gap, reverse))
            b[here].addcmul_(a[here], b[before])


def _pairs(length: int, first: int, gap: int, reverse: bool) -> tuple[slice, slice]:
    """Steps `first`, ``first + 2 gap`` and so on, and those `gap` before each."""
    count = -(-(length - first) // (2 * gap))
    start = length - 1 - first - 2 * gap * (count - 1) if reverse else first
    before = start + gap if reverse else start - gap
    span = 2 * gap * (count - 1) + 1
    return slice(start, start + span, 2 * gap), slice(before, before + span, 2 * gap)


@dataclass(frozen=True)
class SVRNNConfig:
    """What an `SVRNN` is made of; the JSON beside its weights.

    Parameters
    ----------
    channels : int
        Of a picture.
    features : tuple of 2 int
        At full resolution, and at half of it, where the recurrences run.
    gates : tuple of 4 int
        Widths of the network that finds the gates, at full resolution, half, a quarter, an eighth.
    stages : int
        How often four recurrences follow on one another.
    residual : bool
        Whether the network predicts what to add to the picture, starting from nothing. The
        published one predicts the picture.

    Raises
    ------
    TypeError, ValueError
        For a value out of its range, with its name.

    Examples
    --------
    >>> from unrolled.models.svrnn import SVRNN, SVRNNConfig
    >>> len(SVRNN(SVRNNConfig(gates=(8, 8, 8, 8), stages=2)).mix)
    2
    """

    channels: int = 3
    features: tuple[int, ...] = (16, 32)
    gates: tuple[int, ...] = (64, 128, 256, 512)
    stages: int = 4
    residual: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        for name in ("channels", "stages"):
            whole(getattr(self, name), name, low=1)
        for name, count in (("features", 2), ("gates", 4)):
            values = getattr(self, name)
            if len(values) != count or min(values) < 1:
                raise ValueError(f"{name}={values}; expected {count} positive numbers")


PRESETS = {
    "paper": SVRNNConfig(),
    "small": SVRNNConfig(features=(12, 24), gates=(24, 48, 64, 96), residual=True),
}


class SVRNN(Restorer, nn.Module):
    """Recurrences in four directions, between an encoder and a decoder.

    Parameters
    ----------
    config : SVRNNConfig, optional
        Its size; the preset "small" if not given.

    Examples
    --------
    >>> import torch
    >>> from unrolled.models.svrnn import SVRNN
    >>> net = SVRNN.preset("small")
    >>> net(torch.rand(2, 3, 21, 30)).shape
    torch.Size([2, 3, 21, 30])
    """

    def __init__(self, config: SVRNNConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PRESETS["small"]
        channels, (fine, coarse), ways = config.channels, config.features, len(DIRECTIONS)
        self.gates = _Gates(channels, config.gates, ways * config.stages * coarse)
        self.encode = nn.ModuleList(
            [_conv(channels, fine, 11), _conv(fine, coarse, 7, stride=2, after="linear")]
        )
        self.mix = nn.ModuleList(_conv(ways * coarse, coarse) for _ in range(config.stages))
        self.decode = nn.ModuleList(
            [_conv(2 * coarse, fine, 9), _conv(2 * fine, channels, 5, after="linear")]
        )
        if config.residual:
            nn.init.zeros_(self.decode[-1].weight)

    @classmethod
    def preset(cls, name: str = "small", **changes: Any) -> SVRNN:
        """An untrained network of one of `PRESETS`, with `changes` to its configuration.

        "paper" is the published one. An unknown name or a bad change is a TypeError or ValueError.
        """
        return cls(configured(PRESETS, name, changes))

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str]) -> SVRNN:
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
            About on [0, 1]: not clipped.

        Raises
        ------
        TypeError, ValueError
            If `x` is of another shape, or not of floating point.
        """
        check_picture(x, self.config.channels)
        height, width = x.shape[-2:]
        grown = padded(x, STRIDE).contiguous(memory_format=torch.channels_last)
        fine = _leaky(self.encode[0](grown))
        coarse = self.encode[1](fine)
        h, gates = coarse, iter(self.gates(grown).split(coarse.shape[1], dim=1))
        for mix in self.mix:
            ways = [linear_scan(h, next(gates), axis, reverse) for axis, reverse in DIRECTIONS]
            h = _leaky(mix(torch.cat(ways, dim=1)))
        deep = _leaky(self.decode[0](torch.cat([coarse, h], dim=1)))
        clean = self.decode[1](torch.cat([fine, _doubled(deep)], dim=1))
        clean = clean[..., :height, :width].to(x.dtype)
        return x + clean if self.config.residual else clean


class _Gates(nn.Module):
    """A picture to the gates of all recurrences, in (-1, 1), at half its resolution.

    The first layers are like those of VGG16, so that they can begin as those.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        a, b, c, d = widths
        pool = nn.MaxPool2d(2)
        self.at_half = nn.Sequential(*_convs(channels, a, a), pool, *_convs(a, b, b))
        self.at_quarter = nn.Sequential(pool, *_convs(b, c, c))
        self.at_eighth = nn.Sequential(*_convs(c, c), pool, *_convs(c, d, d, c))
        self.to_quarter = nn.Sequential(*_convs(2 * c, b, b))
        self.to_half = nn.Sequential(*_convs(2 * b, c), _conv(c, outputs))
        # Near 0 a recurrence is the identity.
        nn.init.normal_(self.to_half[-1].weight, std=0.1 / (9 * c) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, outputs, H / 2, W / 2)."""
        half = self.at_half(x)
        quarter = self.at_quarter(half)
        deep = _doubled(self.at_eighth(quarter))
        deep = _doubled(self.to_quarter(torch.cat([quarter, deep], dim=1)))
        return torch.tanh(self.to_half(torch.cat([half, deep], dim=1)))


def _conv(
    inputs: int, outputs: int, size: int = 3, *, stride: int = 1, after: str = "relu"
) -> nn.Conv2d:
    """With weights that keep the variance; fourteen in a row with those of torch let none by."""
    layer = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity=after)
    nn.init.zeros_(layer.bias)
    return layer


def _convs(*widths: int) -> Iterator[nn.Module]:
    """Convolutions from each width to the next, with their ReLU."""
    for inputs, outputs in pairwise(widths):
        yield from (_conv(inputs, outputs), nn.ReLU(inplace=True))


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear")
