"""One picture from restorations at several weights: for psfs that are a little wrong.

Under a wrong psf no weight of the prior suits the whole picture: where it is weak, edges are sharp
and ring, where it is strong, they are clean and soft. Vasu, Maligireddy and Rajagopalan (2018),
"Non-blind deblurring: handling kernel uncertainty with CNNs", restore at several weights with a
classical solver and let a network take the best of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconv.arrays import whole
from deconv.fan import fan
from deconv.fidelity import Fidelity
from deconv.operators import Blur
from deconv.plug_and_play import LEAST_NOISE
from deconv.progress import Callback
from unrolled import weights as files
from unrolled.restore import restore
from unrolled.unet import ResUNet

__all__ = ["FusionConfig", "MultiLambdaFusion", "trusted_weight"]

# The network's features are small beside what a softmax tells apart, and beside them a misfit in
# standard deviations of the noise is large.
SHARPNESS, MISFIT, LEVEL = 20.0, 0.1, 0.3
# Logit of the restoration at the middle weight, before anything is learned.
PREFERENCE = 2.0
# Side of the squares over which the level of the misfit is found, in pixels.
AROUND = 15
# And side of the squares whose darkest mean is black.
DARK = 6


@dataclass(frozen=True)
class FusionConfig:
    """What a `MultiLambdaFusion` is made of; the JSON beside its weights.

    Parameters
    ----------
    factors : tuple of float
        Of the middle weight: one restoration for each.
    weight : float
        The middle weight over the noise's variance, for pictures on [0, 1]: about the best one
        for an exact psf and little noise, or a wrong psf and more.
    p : float
        Power of the gradients in the prior of the restorations.
    widths, blocks
        Of the network, a `ResUNet`.

    Examples
    --------
    >>> from unrolled import MultiLambdaFusion
    >>> from unrolled.fusion import FusionConfig
    >>> MultiLambdaFusion(FusionConfig(factors=(0.2, 1.0), widths=(8, 8))).unet.outputs
    3
    """

    factors: tuple[float, ...] = (0.04, 0.2, 1.0, 5.0)
    weight: float = 6.0
    p: float = 2 / 3
    widths: tuple[int, ...] = (16, 32, 64, 64)
    blocks: int = 2


class MultiLambdaFusion(nn.Module):
    """Hyper-Laplacian restorations at several weights, fused by a U-Net.

    The network sees them beside the observation, the noise level and the misfit: what the one at
    the least weight leaves of the observation, and how much that is around each pixel. Under the
    right psf it even follows the noise and leaves half of it; what a wrong psf cannot explain it
    leaves. The network says for each pixel how far each restoration is to be trusted, and what to
    add to their mean.

    Parameters
    ----------
    config : FusionConfig, optional
        Its size and its weights.

    Raises
    ------
    ValueError
        If `config` has no factors, or one of them or its weight is not above 0.

    Examples
    --------
    >>> import torch
    >>> from deconv.operators import Blur
    >>> from unrolled import MultiLambdaFusion
    >>> net = MultiLambdaFusion()
    >>> A = Blur(torch.ones(1, 1, 5, 5) / 25, (32, 40))
    >>> y = torch.rand(2, 1, 32, 40)
    >>> picture, trust = net.fused(y, A, torch.tensor([0.01, 0.03]))
    >>> A.crop(picture).shape, A.crop(trust).shape
    (torch.Size([2, 1, 32, 40]), torch.Size([2, 4, 32, 40]))
    """

    def __init__(self, config: FusionConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or FusionConfig()
        if not config.factors or not all(0 < factor < math.inf for factor in config.factors):
            raise ValueError(f"factors={config.factors}; expected one or more numbers above 0")
        if not 0 < config.weight < math.inf:
            raise ValueError(f"weight={config.weight}; expected a number above 0")
        count = len(config.factors)
        self.unet = ResUNet(
            count + 3,
            config.widths,
            blocks=config.blocks,
            residual=False,
            outputs=count + 1,
        )
        middle = np.argmin(np.abs(np.log(config.factors)))
        self.preference = nn.Parameter(
            torch.zeros(count).index_fill(0, torch.tensor([middle]), PREFERENCE)
        )

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str] = "fusion") -> MultiLambdaFusion:
        """A trained network: "fusion" of the package, a file, or its folder.

        Raises
        ------
        FileNotFoundError, ValueError
            As `unrolled.weights.load`.
        """
        return files.load(name_or_path, cls)

    def begin_from(self, prior: ResUNet) -> None:
        """Start as `prior`, a denoiser of one channel and our widths, on what is trusted.

        Raises
        ------
        RuntimeError
            If its layers are not those of this network.
        """
        state = prior.state_dict()
        picture, noise = state["head.weight"].tensor_split([1], dim=1)
        clean = state["tail.weight"]
        trust = torch.softmax(self.preference.detach(), dim=0)
        unknown = [0 * picture] * 3
        state["head.weight"] = torch.cat([*[t * picture for t in trust], *unknown, noise], dim=1)
        state["tail.weight"] = torch.cat([*[0 * clean] * len(trust), clean])
        self.unet.load_state_dict(state)

    @torch.no_grad()
    def restorations(
        self, y: Tensor, A: Blur, sigma: Tensor, clipped: Tensor | None = None
    ) -> Tensor:
        """The restorations ``(N, K, *A.domain)`` of y ``(N, 1, *A.shape)``; see `deconv.fan`."""
        if A.stride != 1:
            raise ValueError(f"A has a stride of {A.stride}; expected 1: the solver knows no other")
        config = self.config
        lam = config.weight * sigma.clamp(min=LEAST_NOISE) ** 2
        lam = lam.reshape(-1, 1, 1, 1)
        if y.device.type == "cpu":
            # The same operator on NumPy's own arrays, where the solver is twice as fast.
            A, y, lam = _on_numpy(A), y.numpy(), lam.numpy()
            clipped = None if clipped is None else clipped.numpy()
        found = fan(Fidelity(A, y, clipped), lam, config.factors, p=config.p)
        return torch.as_tensor(found)[:, :, 0].movedim(0, 1)

    def fused(
        self,
        y: Tensor,
        A: Blur,
        sigma: Tensor,
        clipped: Tensor | None = None,
        *,
        tile: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Latent pictures, and the trust in each restoration.

        They are (N, 1, *A.domain) and (N, K, *A.domain). The trust is positive and sums to 1 over
        the restorations. Arguments as of `forward`.
        """
        several = self.restorations(y, A, sigma, clipped)
        weakest = int(np.argmin(self.config.factors))
        misfit = _misfit(several[:, weakest, None], y, A, sigma, clipped)
        low = _black(y)
        stacked = torch.cat(
            [several - low, A.embed(y) - low, MISFIT * misfit, _level(misfit)], dim=1
        )
        found = self.unet(stacked, sigma) if tile is None else self.unet.tiled(stacked, sigma, tile)
        logits = SHARPNESS * found[:, :-1] + self.preference[:, None, None]
        trust = torch.softmax(logits, dim=1)
        return (trust * several).sum(dim=1, keepdim=True) + found[:, -1:], trust

    def forward(
        self,
        y: Tensor,
        A: Blur,
        sigma: Tensor,
        clipped: Tensor | None = None,
        *,
        tell: Callable[[int, Tensor], bool] | None = None,
        tile: int | None = None,
    ) -> Tensor:
        """Restore observed pictures; no gradient flows through the solver.

        Parameters
        ----------
        y : tensor, shape (N, 1, *A.shape)
            Observed pictures, on [0, 1].
        A : Blur
            The operator; its psf and weights broadcast to (N, 1, ...).
        sigma : tensor, shape (N,)
            Standard deviation of the noise.
        clipped : tensor of bool, shape (N, 1, *A.shape), optional
            Where y is at the sensor's limit, and the light may have been more.
        tell : callable, optional
            ``tell(1, x)`` with the latent pictures at the end.
        tile : int, optional
            The network works in tiles of about so many pixels: see `ResUNet.tiled`.

        Returns
        -------
        tensor, shape (N, 1, *A.domain)
        """
        x, _ = self.fused(y, A, sigma, clipped, tile=tile)
        if tell is not None:
            tell(1, x)
        return x

    def restore(
        self,
        image: Any,
        psf: Any,
        *,
        sigma: Any = None,
        weights: Any = None,
        boundary: str = "unknown",
        saturation: float | str | None = None,
        channel_axis: int | None = None,
        colours: str = "opponent",
        tile: int | None = 1024,
        trust: bool = False,
        callback: Callback | None = None,
    ) -> Any:
        """Restore a picture of any unit and size, whose psf may be a little wrong.

        Parameters
        ----------
        image, psf, sigma, weights, boundary, saturation, channel_axis, colours, tile, callback
            As of `HQSNet.restore`.
        trust : bool
            Whether the trust is returned as well.

        Returns
        -------
        array, or (array, array)
            The picture, of the image's shape, namespace, floating dtype and scale. With `trust`
            also how far each restoration was trusted, a NumPy array (K, Y, X) that sums to 1 over
            K: of the mean of three colours, or of the first channel where they are separate.

        Raises
        ------
        TypeError, ValueError
            For bad input, naming the argument, before any work is done.
        """
        if tile is not None:
            tile = whole(tile, "tile", low=1)
        maps: list[np.ndarray] = []

        def run(y: Tensor, A: Blur, sigma: Tensor, clipped: Any, *, tell: Any) -> Tensor:
            x, share = self.fused(y, A, sigma, clipped, tile=tile)
            maps.append(A.crop(share)[0].cpu().numpy())
            if tell is not None:
                tell(1, x)
            return x

        restored = restore(
            run,
            image,
            psf,
            together=1,
            n_iter=1,
            device=next(self.parameters()).device,
            sigma=sigma,
            weights=weights,
            boundary=boundary,
            saturation=saturation,
            channel_axis=channel_axis,
            colours=colours,
            callback=callback,
        )
        return (restored, maps[0]) if trust else restored


def trusted_weight(trust: np.ndarray, factors: tuple[float, ...]) -> np.ndarray:
    """The geometric mean of the factors under the trust (..., K, Y, X): one map to look at.

    Parameters
    ----------
    trust : ndarray (..., K, Y, X)
        How far each restoration is trusted, summing to 1 over K.
    factors : tuple of K float
        Their weights, above 0.

    Returns
    -------
    ndarray (..., Y, X)

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled.fusion import trusted_weight
    >>> trusted_weight(np.array([0.5, 0.5]).reshape(2, 1, 1), (1.0, 4.0)).round(6)
    array([[2.]])
    """
    logs = np.log(np.asarray(factors, float)).reshape(-1, 1, 1)
    result: np.ndarray = np.exp((trust * logs).sum(axis=-3))
    return result


def _on_numpy(A: Blur) -> Blur:
    weights = None if A.weights is None else A.weights.numpy()
    return Blur(A.psf.detach().numpy(), A.shape, boundary=A.boundary, weights=weights)


@torch.no_grad()
def _misfit(x: Tensor, y: Tensor, A: Blur, sigma: Tensor, clipped: Tensor | None) -> Tensor:
    """What `x` leaves of `y`, over the noise, on the domain; 0 where nothing was observed."""
    left = y - A(x)
    if A.weights is not None:
        left = A.weights * left
    if clipped is not None:
        left = torch.where(clipped & (left < 0), 0, left)
    return A.frame.pad(left / sigma.clamp(min=LEAST_NOISE).reshape(-1, 1, 1, 1))


@torch.no_grad()
def _level(misfit: Tensor) -> Tensor:
    """Root mean square of the misfit around each pixel."""
    mean = F.avg_pool2d(
        misfit.square(), AROUND, stride=1, padding=AROUND // 2, count_include_pad=False
    )
    return LEVEL * mean.sqrt()


@torch.no_grad()
def _black(y: Tensor) -> Tensor:
    """The darkest place of each picture (N, 1, 1, 1): what the network counts brightness from.

    Without it a haze over all of the picture would change what the network does.
    """
    return F.avg_pool2d(y, min(DARK, *y.shape[-2:])).amin((-2, -1), keepdim=True)
