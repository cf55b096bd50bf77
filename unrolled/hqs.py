"""HQSNet: half-quadratic splitting, unfolded into a network (Zhang et al. 2020, USRNet).

Each iteration fits the data near the last picture, in closed form by the operator, and lets a
network take out what does not look like a picture::

    z = argmin ||A z - y||^2 + alpha_k ||z - x||^2        the operator's data step
    x = prior(z, beta_k)                                   a ResUNet, the same in all iterations

with alpha and beta from the noise level by a small network. The published network assumes that
pictures are periodic. Here the operator says what was observed: pixels beyond the frame, saturated
and dead ones are filled by what the current estimate predicts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconv.arrays import whole
from deconv.operators import filled_solve, nesterov
from deconv.plug_and_play import FIRST_NOISE, LEAST_NOISE, WEIGHT
from deconv.progress import Callback
from unrolled import weights
from unrolled.restore import restore
from unrolled.unet import ResUNet

__all__ = ["PRESETS", "HQSConfig", "HQSNet", "HyperParameterNet"]


@dataclass(frozen=True)
class HQSConfig:
    """What an `HQSNet` is made of; the JSON beside its weights.

    Parameters
    ----------
    channels : int
        Of a picture: 1 or 3.
    widths, blocks, residual, attention
        Of the prior, a `ResUNet`.
    iterations : int
        Data steps, each followed by the prior.
    steps : int
        Fill-and-solve steps of a data step, where pixels are unobserved.
    hidden : int
        Width of the hyper-parameter network.
    schedule : bool
        Whether alpha and beta are factors on the schedule of DPIR, which they start as, instead of
        the plain outputs of USRNet.
    coverage : bool
        Whether the prior is told, by its noise map, where the picture was not observed.
    lifted : bool
        Whether pictures that reach below black, by more than noise, are lifted for the prior. It
        has no biases and bears any brightness, but what it was trained on ended at black; offset
        and range are those of the observation, and blur has taken contrast from that.

    References
    ----------
    Zhang, Van Gool and Timofte (2020), "Deep unfolding network for image super-resolution", CVPR.

    Examples
    --------
    >>> from unrolled import HQSConfig, HQSNet
    >>> net = HQSNet(HQSConfig(channels=3, widths=(8, 16), iterations=2))
    >>> net.config.iterations, len(net.prior.down)
    (2, 1)
    """

    channels: int = 1
    widths: tuple[int, ...] = (16, 32, 64, 64)
    blocks: int = 2
    residual: bool = True
    attention: bool = False
    iterations: int = 5
    steps: int = 6
    hidden: int = 32
    schedule: bool = True
    coverage: bool = True
    lifted: bool = True


# Standard deviations of the noise that a denoiser expects below black, where a picture is black.
IN_NOISE = 2

PRESETS = {
    "tiny": HQSConfig(),
    "small": HQSConfig(widths=(32, 64, 128, 128), hidden=64),
    "base": HQSConfig(
        widths=(64, 128, 256, 512),
        residual=False,
        iterations=8,
        steps=1,
        hidden=64,
        schedule=False,
        coverage=False,
        lifted=False,
    ),
}


class HyperParameterNet(nn.Module):
    """Noise level and stride to alpha and beta of every iteration: three 1 x 1 convolutions.

    With `schedule` the outputs are factors that start at 1 on the schedule of DPIR (Zhang et al.
    2021): beta falls geometrically from 49/255 to the noise's level and alpha is
    ``0.23 sigma^2 / beta^2``.

    Parameters
    ----------
    iterations : int
        Of the network that it serves.
    hidden : int
        Width of its layers.
    schedule : bool
        Whether the outputs are factors on the schedule of DPIR.

    Examples
    --------
    Untrained, beta falls to the level of the noise:

    >>> import torch
    >>> from unrolled import HyperParameterNet
    >>> alpha, beta = HyperParameterNet(3)(torch.tensor([0.02]))
    >>> [round(level, 3) for level in beta[0].tolist()]
    [0.192, 0.062, 0.02]
    """

    def __init__(self, iterations: int, hidden: int = 64, *, schedule: bool = True) -> None:
        super().__init__()
        self.iterations, self.schedule = iterations, schedule
        self.layers = nn.Sequential(
            nn.Conv2d(2, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, 2 * iterations, 1),
        )
        if schedule:
            nn.init.zeros_(self.layers[-1].weight)
            nn.init.constant_(self.layers[-1].bias, math.log(math.e - 1))  # softplus gives 1

    def forward(self, sigma: Tensor, stride: int = 1) -> tuple[Tensor, Tensor]:
        """Noise levels (N,) of pictures on [0, 1] to alpha and beta, each (N, iterations)."""
        inputs = torch.stack([sigma, torch.full_like(sigma, stride)], dim=1)[..., None, None]
        values = F.softplus(self.layers(inputs))[..., 0, 0] + 1e-6
        alpha, beta = values.chunk(2, dim=1)
        if self.schedule:
            noise = sigma.clamp(min=LEAST_NOISE)[:, None]
            fade = torch.linspace(0, 1, self.iterations, dtype=sigma.dtype, device=sigma.device)
            level = FIRST_NOISE * (noise / FIRST_NOISE).clamp(max=1.0) ** fade
            alpha, beta = alpha * WEIGHT * (noise / level) ** 2, beta * level
        return alpha, beta


class HQSNet(nn.Module):
    """Half-quadratic splitting with a learned prior, for any psf, noise level and frame.

    Parameters
    ----------
    config : HQSConfig, optional
        Its size; the preset "tiny" if not given.

    References
    ----------
    Zhang, Van Gool and Timofte (2020), "Deep unfolding network for image super-resolution", CVPR.

    Examples
    --------
    >>> import torch
    >>> from deconv.operators import Blur
    >>> from unrolled import HQSNet
    >>> net = HQSNet.preset("tiny")
    >>> A = Blur(torch.ones(1, 1, 5, 5) / 25, (32, 40))
    >>> y = torch.rand(2, 1, 32, 40)
    >>> A.crop(net(y, A, torch.tensor([0.01, 0.03]))).shape
    torch.Size([2, 1, 32, 40])
    """

    def __init__(self, config: HQSConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PRESETS["tiny"]
        self.hyper = HyperParameterNet(config.iterations, config.hidden, schedule=config.schedule)
        self.prior = ResUNet(
            config.channels,
            config.widths,
            blocks=config.blocks,
            residual=config.residual,
            attention=config.attention,
        )
        momentum = torch.tensor([nesterov(config.steps)] * config.iterations)
        self.momentum = nn.Parameter(momentum) if config.steps > 1 else None
        self.unseen = nn.Parameter(torch.zeros(config.iterations)) if config.coverage else None

    @classmethod
    def preset(cls, name: str = "tiny", **changes: Any) -> HQSNet:
        """An untrained network of one of `PRESETS`, with `changes` to its configuration."""
        if name not in PRESETS:
            raise ValueError(f"preset {name!r}; expected one of {tuple(PRESETS)}")
        return cls(replace(PRESETS[name], **changes))

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str] = "hqs-gray") -> HQSNet:
        """A trained network: "hqs-gray" or "hqs-color" of the package, a file, or its folder.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or its contents are not those of an `HQSNet`; see
            `unrolled.weights.load`.
        """
        name_or_path = weights.describe(name_or_path).get("alias", name_or_path)
        return weights.load(name_or_path, cls)

    def forward(
        self,
        y: Tensor,
        A: Any,
        sigma: Tensor,
        clipped: Tensor | None = None,
        *,
        tell: Callable[[int, Tensor], bool] | None = None,
        tile: int | None = None,
        ensemble: bool = False,
    ) -> Tensor:
        """Restore observed pictures.

        Parameters
        ----------
        y : tensor, shape (N, C, *A.shape)
            Observed pictures, on [0, 1].
        A : Blur or StridedBlur
            The operator; its psf and weights broadcast to (N, C, ...).
        sigma : tensor, shape (N,)
            Standard deviation of the noise.
        clipped : tensor of bool, shape (N, C or 1, *A.shape), optional
            Where y is at the sensor's limit, and the light may have been more.
        tell : callable, optional
            ``tell(iteration, x)`` with the latent pictures after each iteration; true ends them.
        tile : int, optional
            The prior works in tiles of about so many pixels: see `ResUNet.tiled`.
        ensemble : bool
            The prior is the mean over eight flips and turns: see `ResUNet.ensembled`.

        Returns
        -------
        tensor, shape (N, C, *A.domain)
            Latent pictures; ``A.crop`` cuts the observed frame.
        """
        kind = y.device.type
        mixed = {
            "enabled": torch.is_autocast_enabled(kind),
            "dtype": torch.get_autocast_dtype(kind),
        }
        # Spectra and their quotients need float32 whatever the prior runs in.
        with torch.autocast(kind, enabled=False):
            alpha, beta = self.hyper(sigma.to(y.dtype), A.stride)
            x = A.embed(y)
            hidden = None if self.unseen is None else 1 - _coverage(A, clipped)
            for k in range(self.config.iterations):
                momentum = () if self.momentum is None else self.momentum[k]
                z = filled_solve(A, y, alpha[:, k], x, momentum=momentum, clipped=clipped)
                noise = beta[:, k, None, None, None]
                if hidden is not None:
                    noise = noise + self.unseen[k] * hidden
                below = _below_black(z, beta[:, k]) if self.config.lifted else None
                z = z if below is None else z + below
                with torch.autocast(kind, **mixed):
                    if ensemble:
                        x = self.prior.ensembled(z, noise, tile)
                    elif tile is None:
                        x = self.prior(z, noise)
                    else:
                        x = self.prior.tiled(z, noise, tile)
                x = x if below is None else x - below
                if tell is not None and tell(k + 1, x):
                    break
        return x

    def restore(
        self,
        image: Any,
        psf: Any,
        *,
        sigma: Any = None,
        weights: Any = None,
        stride: int = 1,
        boundary: str = "unknown",
        saturation: float | str | None = None,
        channel_axis: int | None = None,
        colours: str = "opponent",
        tile: int | None = 1024,
        ensemble: bool = False,
        callback: Callback | None = None,
    ) -> Any:
        """Restore a picture of any unit and size.

        Parameters
        ----------
        image : array (Y, X), or with a channel axis
            Observed picture, NumPy or torch, in any unit. NaN is unobserved.
        psf : array or operator
            The point spread function, with or without the channel axis; or a `Blur`.
        sigma : float or array (C,), optional
            Standard deviation of the noise in the image's unit; estimated if not given.
        weights : array, optional
            In [0, 1], of the image's shape with or without the channel axis; 0 is unobserved.
        stride : int
            The picture was blurred and then every so-manieth pixel kept, the first of each block:
            the result is so many times as large, and the psf belongs to its finer grid.
        boundary : {"unknown", "periodic", "zero"}
            What lies beyond the frame; see `deconv.operators.Blur`.
        saturation : float, "auto" or None
            Level at which the sensor clips; see `deconv.tv`.
        channel_axis : int, optional
            Axis of colours, or of separate images.
        colours : {"opponent", "separate"}
            How a network of one channel restores three: as their mean and two differences, which
            is better for colours, or one by one, which is right for separate images.
        tile : int, optional
            The prior sees larger pictures in overlapping tiles of about so many pixels, which
            bounds the memory of its features; None for none. Data steps see the whole picture, so
            tiles leave no seams.
        ensemble : bool
            Whether the prior sees eight flips and turns of the picture and gives their mean:
            0.02 to 0.14 dB better, and several times as slow.
        callback : callable, optional
            Called with a `deconv.progress.State` after each iteration; StopIteration ends the work
            and returns what is restored.

        Returns
        -------
        array
            Of the image's shape (`stride` times as large), namespace, floating dtype and scale;
            computed in the float32 of the network. No gradient flows through it; `forward` has one.

        Raises
        ------
        TypeError, ValueError
            For bad input, naming the argument, before any work is done.
        """
        if tile is not None:
            tile = whole(tile, "tile", low=1)
        return restore(
            partial(self, tile=tile, ensemble=ensemble),
            image,
            psf,
            together=self.config.channels,
            n_iter=self.config.iterations,
            device=next(self.parameters()).device,
            sigma=sigma,
            weights=weights,
            stride=stride,
            boundary=boundary,
            saturation=saturation,
            channel_axis=channel_axis,
            colours=colours,
            callback=callback,
        )


def _coverage(A: Any, clipped: Tensor | None) -> Tensor:
    """`A.coverage` with clipped pixels unobserved; broadcasts to (N, 1, *A.domain)."""
    if clipped is not None:
        seen = (~clipped.any(dim=1, keepdim=True)).to(A.psf.dtype)
        A = A.reweighted(seen if A.weights is None else seen * A.weights)
    coverage: Tensor = A.coverage
    return coverage.amin(dim=-3, keepdim=True) if coverage.ndim > 2 else coverage


def _below_black(z: Tensor, noise: Tensor) -> Tensor:
    """How far each picture reaches below 0, beyond what its noise (N,) explains; (N, 1, 1, 1)."""
    darkest = z.amin((-3, -2, -1), keepdim=True)
    return (-darkest - IN_NOISE * noise[:, None, None, None]).clamp(min=0)
