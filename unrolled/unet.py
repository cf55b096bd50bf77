"""The prior network of the unrolled solvers: a bias-free residual U-Net that knows the noise level.

Without biases and norms the network is positively homogeneous in picture and noise map together:
``P(c x, c sigma) = c P(x, sigma)`` for c > 0, so a level that it was never trained on is no new
problem (Mohan et al. 2020, "Robust and interpretable blind image denoising").
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconv.arrays import floating, is_numpy, like, number
from unrolled.crops import TURNS, turned, turned_back
from unrolled.planes import unit_range

__all__ = ["ResUNet"]


# What a tile sees around it. The weights reach further, but hardly: see `benchmarks.robust`.
MARGIN = 48


def _conv(inputs: int, outputs: int, size: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False, **options)


class ResBlock(nn.Module):
    """``x + conv(relu(conv(x)))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        # In place: both convolutions' outputs are ours alone, and memory is what elementwise work
        # waits for.
        return self.second(self.first(x).relu_()).add_(x)


class ChannelAttention(nn.Module):
    """Self-attention across channels, at a cost linear in pixels (Zamir et al. 2022, Restormer).

    Its output gain starts at 0, so the block starts as the identity. The attention map looks at
    the whole picture: tiles of it then see different maps.
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width={width}; expected a multiple of the {heads} heads")
        self.heads = heads
        self.qkv = nn.Sequential(
            _conv(width, 3 * width, 1), _conv(3 * width, 3 * width, groups=3 * width)
        )
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.project = _conv(width, width, 1)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        q, k, v = (
            part.flatten(2).unflatten(1, (self.heads, -1)) for part in self.qkv(x).chunk(3, dim=1)
        )
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        mixed = torch.softmax(q @ k.mT * self.temperature, dim=-1) @ v
        return x + self.gain * self.project(mixed.flatten(1, 2).unflatten(2, x.shape[-2:]))


class ResUNet(nn.Module):
    """U-Net of residual blocks on three scales below the picture's own (Zhang et al. 2020, USRNet).

    Parameters
    ----------
    channels : int
        Of the picture: 1 or 3; or of whatever pictures are stacked.
    widths : sequence of int
        Feature channels of each scale, finest first.
    blocks : int
        Residual blocks at each scale, on the way down, in the body and on the way up.
    residual : bool
        Whether the network predicts what to add to the picture, starting from nothing. USRNet
        predicts the picture.
    attention : bool
        Whether a self-attention block follows the body. It starts as the identity.
    outputs : int, optional
        Channels of the result, if not those of the picture; then it starts as 0, and `residual`
        must be false.

    Raises
    ------
    ValueError
        If `outputs` are given with ``residual=True``.

    Notes
    -----
    Any size is taken: the picture is continued by its edge pixels to a multiple of the coarsest
    scale's stride and the result cropped. ``forward(x, sigma)`` is also a denoiser: `sigma` is the
    noise's standard deviation in the unit of x, a number, one per sample, or a map (N, 1, H, W). A
    picture on [0, 1] is what it was trained for; `denoise` takes others.

    Examples
    --------
    >>> import torch
    >>> from unrolled import ResUNet
    >>> net = ResUNet(1, (8, 8), blocks=1)
    >>> net(torch.zeros(2, 1, 13, 10), 0.1).shape
    torch.Size([2, 1, 13, 10])
    """

    def __init__(
        self,
        channels: int = 1,
        widths: Sequence[int] = (16, 32, 64, 64),
        *,
        blocks: int = 2,
        residual: bool = True,
        attention: bool = False,
        outputs: int | None = None,
    ) -> None:
        super().__init__()
        if residual and outputs not in (None, channels):
            raise ValueError(f"outputs={outputs} with residual=True; expected None")
        self.channels, self.residual = channels, residual
        self.outputs = channels if outputs is None else outputs
        self.head = _conv(channels + 1, widths[0])
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for fine, coarse in pairwise(widths):
            shrink = nn.Conv2d(fine, coarse, 2, stride=2, bias=False)
            grow = nn.ConvTranspose2d(coarse, fine, 2, stride=2, bias=False)
            self.down.append(nn.Sequential(*(ResBlock(fine) for _ in range(blocks)), shrink))
            self.up.append(nn.Sequential(grow, *(ResBlock(fine) for _ in range(blocks))))
        body: list[nn.Module] = [ResBlock(widths[-1]) for _ in range(blocks)]
        if attention:
            body.append(ChannelAttention(widths[-1]))
        self.body = nn.Sequential(*body)
        self.tail = _conv(widths[0], self.outputs)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.orthogonal_(module.weight, gain=0.5)
        if residual or outputs is not None:
            nn.init.zeros_(self.tail.weight)

    @property
    def stride(self) -> int:
        """Of the coarsest scale, in pixels."""
        return int(2 ** len(self.down))

    def tiled(self, x: Tensor, sigma: float | Tensor, tile: int) -> Tensor:
        """`forward` in tiles of about `tile` pixels, which bounds its memory.

        Tiles lie on the coarsest scale's grid and see `MARGIN` pixels around them, so they are what
        the whole would be there, but for what a result owes to pixels beyond the margin.
        """
        step = max(self.stride, tile // self.stride * self.stride)
        margin = -(-MARGIN // self.stride) * self.stride
        height, width = x.shape[-2:]
        if max(height, width) <= step + margin:
            return self(x, sigma)
        sigma = self._map(x, sigma)
        clean = x.new_empty(x.shape[0], self.outputs, height, width)
        for top in range(0, height, step):
            for left in range(0, width, step):
                inner = (slice(top, top + step), slice(left, left + step))
                begin = (max(top - margin, 0), max(left - margin, 0))
                outer = tuple(slice(b, i.stop + margin) for b, i in zip(begin, inner, strict=True))
                here = self(x[..., outer[0], outer[1]], sigma[..., outer[0], outer[1]])
                cut = here[..., top - begin[0] :, left - begin[1] :][..., :step, :step]
                clean[..., inner[0], inner[1]] = cut
        return clean

    def ensembled(self, x: Tensor, sigma: float | Tensor, tile: int | None = None) -> Tensor:
        """Mean over the eight flips and turns of `x`, which costs eight times `forward`.

        Timofte, Rothe and Van Gool (2016), "Seven ways to improve example-based single image super
        resolution". With `tile`, each is `tiled`.
        """
        sigma = self._map(x, sigma)
        total: Tensor | float = 0.0
        for way in range(TURNS):
            one, noise = turned(x, way), turned(sigma, way)
            clean = self(one, noise) if tile is None else self.tiled(one, noise, tile)
            total = total + turned_back(clean, way)
        return total / TURNS

    @staticmethod
    def _map(x: Tensor, sigma: float | Tensor) -> Tensor:
        """The noise level as a map (N, 1, H, W)."""
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        if sigma.ndim < 4:
            sigma = sigma.reshape(-1, 1, 1, 1)
        return sigma.expand(x.shape[0], 1, *x.shape[-2:])

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Clean picture (N, channels, H, W) of `x` with white noise of `sigma`."""
        height, width = x.shape[-2:]
        stacked = torch.cat([x, self._map(x, sigma)], dim=1)
        gaps = (-width % self.stride, -height % self.stride)
        if any(gaps):
            stacked = F.pad(stacked, (0, gaps[0], 0, gaps[1]), mode="replicate")
        stacked = stacked.contiguous(memory_format=torch.channels_last)
        features = [self.head(stacked)]
        for stage in self.down:
            features.append(stage(features[-1]))
        deep = self.body(features[-1])
        for stage in reversed(self.up):
            deep = stage(deep.add_(features.pop()))
        clean = self.tail(deep.add_(features.pop()))[..., :height, :width].to(x.dtype)
        return x + clean if self.residual else clean

    @torch.no_grad()
    def denoise(self, v: Any, sigma: float) -> Any:
        """`forward` for pictures of any unit and library: what `deconv.plug_and_play` takes.

        Parameters
        ----------
        v : array, shape (..., H, W), or (..., channels, H, W) for more than one channel
            NumPy or torch. A network of one channel takes the pictures one by one.
        sigma : float
            Standard deviation of the noise, in the unit of v.

        Returns
        -------
        array
            Of the shape, floating dtype, library and device of v.

        Raises
        ------
        TypeError, ValueError
            If sigma is negative or no number, or v not of this shape.
        """
        sigma, given = number(sigma, "sigma", low=0), v
        v = floating(v, "v")
        lead = (self.channels,) * (self.channels > 1)
        if v.ndim < 2 + len(lead) or tuple(v.shape[-2 - len(lead) : -2]) != lead:
            expected = ", ".join(["...", *map(str, lead), "H", "W"])
            raise ValueError(f"v has shape {tuple(v.shape)}; expected ({expected})")
        offset, unit = unit_range(v, sigma)
        x = torch.as_tensor((v - offset) / (unit or 1.0)).to(self.tail.weight)
        clean = self(x.reshape(-1, self.channels, *v.shape[-2:]), sigma / (unit or 1.0))
        clean = clean.reshape(v.shape)
        clean = clean.cpu().numpy().astype(v.dtype) if is_numpy(v) else clean.to(v)
        return like(offset + unit * clean, given if "float" in str(given.dtype) else v)
