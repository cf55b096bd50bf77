"""What several end-to-end networks are made of, and how they take pictures of any size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconv.arrays import choose

__all__ = [
    "ResBlock",
    "check_picture",
    "configured",
    "conv",
    "cropped",
    "keep_flat",
    "keep_variance",
    "padded",
    "pyramid",
    "start_at_zero",
]

C = TypeVar("C")


def conv(inputs: int, outputs: int, size: int = 3, **options: Any) -> nn.Conv2d:
    """A convolution with bias that keeps the size of a picture, but for its stride."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


class ResBlock(nn.Module):
    """``x + conv(relu(conv(x)))``, without norms (Nah et al. 2017)."""

    def __init__(self, width: int, size: int = 3) -> None:
        super().__init__()
        self.first, self.second = conv(width, width, size), conv(width, width, size)

    @property
    def last(self) -> nn.Conv2d:
        """The layer whose result is added."""
        return self.second

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        # In place: both convolutions' outputs are ours alone.
        return self.second(self.first(x).relu_()).add_(x)


def keep_variance(model: nn.Module, last: Iterable[nn.Conv2d]) -> None:
    """Draw weights that neither fade nor swell features on their way (He et al. 2015).

    `last` are the last layers of residual blocks: each adds a little to what the others did.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        for layer in last:
            layer.weight.mul_(0.1)


def start_at_zero(*layers: nn.Conv2d) -> None:
    """Let layers begin as 0, so that what they add to is at first left as it is."""
    for layer in layers:
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def configured(presets: Mapping[str, C], name: str, changes: Mapping[str, Any]) -> C:
    """One of several configurations, changed.

    Raises
    ------
    ValueError
        If there is no such preset, or no such field.
    """
    config: Any = presets[choose(name, presets, "name")]
    known = [field.name for field in fields(config)]
    for field in changes:
        choose(field, known, f"option of {type(config).__name__}")
    changed: C = replace(config, **changes)
    return changed


def check_picture(x: Any, channels: int, *, least: int = 1) -> None:
    """Refuse what is not (N, channels, H, W) of floating point and `least` pixels each way."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x is of {kind}; expected a tensor of floating point")
    if x.ndim != 4 or x.shape[1] != channels or min(x.shape[-2:]) < least:
        raise ValueError(
            f"x has shape {tuple(x.shape)}; expected (N, {channels}, H, W) with H and W of at "
            f"least {least}"
        )


def padded(x: Tensor, stride: int, *, least: int = 1) -> Tensor:
    """`x` continued by its edge pixels, below and right, to multiples of `stride` from `least`."""
    below, right = (max(n + -n % stride, least) - n for n in x.shape[-2:])
    return F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x


def cropped(levels: Sequence[Tensor], shape: tuple[int, ...]) -> list[Tensor]:
    """The scales of a `padded` picture, coarse to fine, cut to what a picture of `shape` fills."""
    last = len(levels) - 1
    cut = []
    for k, level in enumerate(levels):
        height, width = (-(-n // 2 ** (last - k)) for n in shape[-2:])
        cut.append(level[..., :height, :width])
    return cut


def pyramid(x: Tensor, scales: int) -> list[Tensor]:
    """`x` at so many scales, coarse to fine, each half the next: smoothed, then every second pixel.

    The filter is (1, 3, 3, 1) / 8 each way. Height and width are multiples of the coarsest stride.
    """
    levels = [x]
    for _ in range(scales - 1):
        # Means and no convolution, since that would have fewer digits under autocast.
        smooth = F.pad(levels[0], (1, 1, 1, 1), mode="replicate")
        for stride in (1, 1, 2):
            smooth = F.avg_pool2d(smooth, 2, stride)
        levels.insert(0, smooth)
    return levels


def keep_flat(x: Tensor, clean: Tensor) -> Tensor:
    """`clean`, but for pictures of one colour: they have no blur, and stay what they are.

    They are far from all that networks are trained on, and some answer them with patterns.
    """
    flat = (x.amax((-2, -1), keepdim=True) == x.amin((-2, -1), keepdim=True)).all(1, keepdim=True)
    return torch.where(flat, x, clean)
