"""Training samples from sharp pictures: crops, random psfs, noise, through the operator itself.

A sample depends on the seed and its own index alone, never on the batch, worker or process it falls
into. The inner path is torch on the training device; psfs are drawn once, into a bank.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deconv import psf as psfs
from deconv.fft import fast_shape
from deconv.operators import Blur, StridedBlur
from unrolled.crops import Crops, turned
from unrolled.kernel_error import PsfError

__all__ = ["Batch", "Noisy", "Recipe", "Synthesis", "psf_bank", "random_psf"]


@dataclass(frozen=True)
class Recipe:
    """How a sharp crop becomes an observation.

    Parameters
    ----------
    channels : int
        1 (grey) or 3.
    domain : int
        Side of the latent crops in pixels; a psf of k pixels leaves an observed frame of
        ``domain - k + 1``: the blur is valid, nothing wraps around.
    sizes, shares : tuples
        Sides of the box that a batch's psfs are drawn for, and how often.
    sigma : (float, float)
        Range of the noise's standard deviation, log-uniform, for pictures on [0, 1].
    doubt : float
        Standard deviation of the logarithm of the factor by which the network's sigma is off.
    poisson, rounded : float
        Shares of samples with photon noise, and rounded to 8 bits.
    clipped : float
        Share of batches that are overexposed and clipped at white, with dead pixels.
    strided : float
        Share of batches of which every second pixel is kept (and nothing clipped).
    error : float
        Share of samples whose psf is told a little wrong; see `unrolled.kernel_error`.
    chroma, shrunk : float
        Shares of grey samples that are differences of colours, and of samples made smaller.

    Raises
    ------
    ValueError
        If the channels are not 1 or 3, sizes and shares do not fit, or `sigma` is no range above 0.

    Examples
    --------
    >>> from unrolled import Recipe
    >>> Recipe(channels=2)
    Traceback (most recent call last):
    ValueError: channels=2; expected 1 or 3
    """

    channels: int = 1
    domain: int = 96
    sizes: tuple[int, ...] = (11, 19, 25, 33, 45)
    shares: tuple[float, ...] = (0.1, 0.25, 0.4, 0.2, 0.05)
    sigma: tuple[float, float] = (0.5 / 255, 20 / 255)
    doubt: float = 0.1
    poisson: float = 0.15
    rounded: float = 0.1
    clipped: float = 0.15
    strided: float = 0.0
    error: float = 0.0
    chroma: float = 0.15
    shrunk: float = 0.4

    def __post_init__(self) -> None:
        """Refuse what would fail, or be ignored, in the middle of a run."""
        if self.channels not in (1, 3):
            raise ValueError(f"channels={self.channels}; expected 1 or 3")
        if len(self.shares) != len(self.sizes):
            raise ValueError(
                f"shares has {len(self.shares)} values; expected one for each of the "
                f"{len(self.sizes)} sizes"
            )
        if min(self.sizes, default=0) < 3:
            raise ValueError(f"sizes={self.sizes}; expected one or more of at least 3 pixels")
        if not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"sigma={self.sigma}; expected (low, high) with 0 < low <= high")

    def crops(self, pictures: Sequence[Tensor], seed: int, device: Any) -> Crops:
        """Where the sharp crops come from."""
        return Crops(
            pictures,
            self.domain,
            channels=self.channels,
            chroma=self.chroma,
            shrunk=self.shrunk,
            seed=seed,
            device=device,
        )

    def operator(
        self, psf: Tensor, size: int, stride: int = 1, weights: Tensor | None = None
    ) -> Any:
        """The blur of latent crops by psfs (..., size, size); the frame is as large as can be."""
        before, after = size - 1 - size // 2, size // 2
        side = self.domain // stride - -(-before // stride) - -(-after // stride)
        return StridedBlur(psf, (side, side), stride, weights=weights)

    def noise(self, u: float) -> float:
        """The noise's standard deviation for a uniform number."""
        low, high = (math.log(s) for s in self.sigma)
        return math.exp(low + (high - low) * u)


class Batch:
    """Latent pictures, the operator that the network is told, what it saw, and its noise level.

    Parameters
    ----------
    sharp : tensor, shape ``(N, C, *A.domain)``
        What the loss compares with.
    A : Blur
        The operator that the network is told, which may be off.
    observed : tensor, shape ``(N, C, *A.shape)``
        The blurred and noisy pictures.
    sigma : tensor, shape (N,)
        The noise's standard deviation that the network is told, which may be off.
    clipped : tensor of bool, shape ``(N, C, *A.shape)``, optional
        Where the sensor was saturated; None in batches without.

    Examples
    --------
    >>> import torch
    >>> from skimage import data
    >>> from unrolled import Recipe, Synthesis
    >>> picture = torch.tensor(data.astronaut()[:96, :96]).permute(2, 0, 1)
    >>> recipe = Recipe(domain=32, sizes=(5,), shares=(1.0,), sigma=(0.01, 0.01), doubt=0.0)
    >>> batch = Synthesis([picture], recipe, psfs_per_size=2).batch(0, range(3))
    >>> batch.sigma.shape, batch.A.domain
    (torch.Size([3]), (32, 32))
    """

    # No dataclass: Fabric would take it and the operator apart.
    def __init__(
        self,
        sharp: Tensor,
        A: Blur,
        observed: Tensor,
        sigma: Tensor,
        clipped: Tensor | None = None,
    ) -> None:
        self.sharp, self.A, self.observed = sharp, A, observed
        self.sigma, self.clipped = sigma, clipped


def random_psf(size: int, rng: np.random.Generator) -> np.ndarray:
    """A psf as cameras have them: shake (most), a line, defocus, a spot.

    Parameters
    ----------
    size : int
        Side in pixels, at least 3.
    rng : numpy.random.Generator
        It is drawn from.

    Returns
    -------
    ndarray (size, size)
        Non-negative, summing to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled.synthesis import random_psf
    >>> psf = random_psf(15, np.random.default_rng(0))
    >>> psf.shape, round(float(psf.sum()), 6)
    ((15, 15), 1.0)
    """
    kind = rng.choice(5, p=(0.72, 0.07, 0.07, 0.11, 0.03))
    reach = rng.uniform(0.5, 1.0) * size
    if kind == 0:
        side = max(5, int(reach) | 1)
        psf = psfs.trajectory(
            side, exposure=rng.uniform(0.5, 1), shakiness=rng.uniform(0.05, 0.7), rng=rng
        )
    elif kind == 1:
        psf = psfs.motion(max(1.0, reach - 2), rng.uniform(0, 180))
    elif kind == 2:
        psf = psfs.defocus(min(reach, 25) / 2 - 0.5)
    elif kind == 3:
        sigmas = rng.uniform(0.4, min(size, 25) / 7, size=2)
        psf = psfs.gaussian(tuple(sigmas), angle=rng.uniform(0, 180), size=size)
    else:
        psf = np.ones((1, 1))
    psf = psfs.pad(psf, size) if max(psf.shape) <= size else psfs.normalise(psfs.crop(psf, size))
    if kind < 3 and rng.uniform() < 0.5:
        # The optics' own blur: a camera's path is never one pixel sharp.
        from scipy.ndimage import gaussian_filter

        psf = psfs.normalise(gaussian_filter(psf, rng.uniform(0.2, 0.9), mode="constant"))
    return psf


def psf_bank(size: int, count: int, seed: int) -> Tensor:
    """`count` random psfs (count, size, size), float32.

    Parameters
    ----------
    size : int
        Side in pixels, at least 3.
    count : int
        How many.
    seed : int
        With the size it settles them.

    Returns
    -------
    tensor, shape (count, size, size)
        float32.

    Examples
    --------
    >>> from unrolled.synthesis import psf_bank
    >>> psf_bank(9, 4, seed=0).shape
    torch.Size([4, 9, 9])
    """
    rng = np.random.default_rng([seed, size])
    bank = np.stack([random_psf(size, rng) for _ in range(count)])
    return torch.from_numpy(bank.astype(np.float32))


class Synthesis:
    """Batches by the indices of their samples.

    Parameters
    ----------
    pictures : sequence of tensor
        Sharp pictures, uint8 (3, H, W); see `load_pictures`.
    recipe : Recipe
        The degradation.
    seed : int
        Of everything random.
    psfs_per_size : int
        How many psfs of each size there are; flips and turns make them eight times as many.
    device : str or torch.device
        Where crops, blur and noise are computed.

    Raises
    ------
    ValueError
        If the recipe's domain is no size that the FFT likes, or a psf is larger than half of it.

    Examples
    --------
    >>> import torch
    >>> from skimage import data
    >>> from unrolled import Recipe, Synthesis
    >>> picture = torch.tensor(data.astronaut()[:96, :96]).permute(2, 0, 1)
    >>> recipe = Recipe(domain=32, sizes=(5, 9), shares=(0.5, 0.5))
    >>> batch = Synthesis([picture], recipe, psfs_per_size=2).batch(0, range(4))
    >>> batch.sharp.shape, batch.observed.shape[2:] == batch.A.shape
    (torch.Size([4, 1, 32, 32]), True)
    """

    def __init__(
        self,
        pictures: Sequence[Tensor],
        recipe: Recipe,
        *,
        seed: int = 0,
        psfs_per_size: int = 400,
        device: Any = "cpu",
    ) -> None:
        for stride in (1, 2) if recipe.strided else (1,):
            side = -(-recipe.domain // stride)
            liked = stride * fast_shape((side, side))[1]
            if liked != recipe.domain:
                raise ValueError(
                    f"recipe.domain={recipe.domain}; expected a side that the FFT likes, such as "
                    f"{liked}"
                )
        if max(recipe.sizes) > recipe.domain // 2:
            raise ValueError(
                f"recipe.sizes go up to {max(recipe.sizes)}; expected at most half of "
                f"recipe.domain={recipe.domain}"
            )
        self.recipe = recipe
        self.crops = recipe.crops(pictures, seed, device)
        self.banks = {size: psf_bank(size, psfs_per_size, seed).to(device) for size in recipe.sizes}

    def batch(self, step: int, indices: Iterable[int]) -> Batch:
        """The samples `indices` of a step, which settles what a batch must share.

        That is the box of its psfs, and whether it is clipped.
        """
        rules = self.crops.generator(0, step, "cpu")
        size = self.recipe.sizes[
            int(torch.multinomial(torch.tensor(self.recipe.shares), 1, generator=rules))
        ]
        stride, clipped = self._kind(rules)
        samples = [self._sample(index, size, stride, clipped) for index in indices]
        sharp, kernels, observed, weights, sigma = (
            torch.stack(parts) for parts in zip(*samples, strict=True)
        )
        A = self.recipe.operator(kernels[:, None], size, stride, weights if clipped else None)
        return Batch(sharp, A, observed, sigma, observed >= 1 if clipped else None)

    def _kind(self, rules: torch.Generator) -> tuple[int, bool]:
        """Stride of a batch, and whether it is clipped."""
        clipped, strided = torch.rand(2, generator=rules).tolist()
        if strided < self.recipe.strided:
            return 2, False
        return 1, clipped < self.recipe.clipped

    def _sample(self, index: int, size: int, stride: int, clipped: bool) -> tuple[Tensor, ...]:
        """Latent crop, psf, observation, weights and sigma of one sample."""
        recipe = self.recipe
        sharp, u, draw, noise = self.crops.draw(index)
        bank = self.banks[size]
        psf = turned(bank[int(u[8] * len(bank))], int(u[9] * 8))
        if clipped:
            sharp = _lit(sharp * (1 + 1.5 * u[10]), draw)
        blurred = recipe.operator(psf[None], size, stride)(sharp)
        sigma = recipe.noise(u[11])
        spread = torch.full_like(blurred, sigma)
        if u[12] < recipe.poisson:
            # Photons carry the share u[13] of the variance; sigma stays the rms over the sample.
            light = blurred.clamp(min=0)
            spread = sigma * (1 - u[13] + u[13] * light / light.mean().clamp(min=1e-3)).sqrt()
        white = torch.randn(blurred.shape, generator=noise, device=sharp.device)
        observed = blurred + spread * white
        if u[14] < recipe.rounded:
            observed = (observed * 255).round() / 255
        weights = torch.ones_like(observed[:1])
        if clipped:
            observed = observed.clamp(max=1)
            dead = torch.rand(weights.shape, generator=noise, device=sharp.device) < 0.02 * u[15]
            weights = weights * ~dead
            observed = torch.where(dead, observed.mean(), observed)
        told = sigma * math.exp(recipe.doubt * float(torch.randn((), generator=draw)))
        if u[16] < recipe.error:
            psf = PsfError()(psf, draw)
        return sharp, psf, observed, weights, torch.tensor(told, device=sharp.device)


class Noisy:
    """Samples for a denoiser: sharp crops and the same with white noise.

    Parameters
    ----------
    pictures, recipe, seed, device
        As of `Synthesis`; of the recipe, the crops and the range of sigma.

    Examples
    --------
    >>> import torch
    >>> from skimage import data
    >>> from unrolled import Recipe
    >>> from unrolled.synthesis import Noisy
    >>> picture = torch.tensor(data.astronaut()[:96, :96]).permute(2, 0, 1)
    >>> sharp, noisy, sigma = Noisy([picture], Recipe(domain=32)).batch(0, range(4))
    >>> noisy.shape, sigma.shape
    (torch.Size([4, 1, 32, 32]), torch.Size([4]))
    """

    def __init__(
        self, pictures: Sequence[Tensor], recipe: Recipe, *, seed: int = 0, device: Any = "cpu"
    ) -> None:
        self.recipe, self.crops = recipe, recipe.crops(pictures, seed, device)

    def batch(self, step: int, indices: Iterable[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Sharp and noisy crops (N, C, domain, domain) and sigma (N,)."""
        sharp, noisy, sigma = [], [], []
        for index in indices:
            crop, u, _, noise = self.crops.draw(index)
            sharp.append(crop)
            sigma.append(self.recipe.noise(u[11]))
            white = torch.randn(crop.shape, generator=noise, device=crop.device)
            noisy.append(crop + sigma[-1] * white)
        return torch.stack(sharp), torch.stack(noisy), sharp[0].new_tensor(sigma)


def _lit(sharp: Tensor, draw: torch.Generator) -> Tensor:
    """`sharp` with a few small lamps, brighter than white."""
    side = sharp.shape[-1]
    axis = torch.arange(side, dtype=sharp.dtype, device=sharp.device)
    for _ in range(int(torch.randint(5, (), generator=draw))):
        y, x, radius, power = torch.rand(4, generator=draw, dtype=torch.float64).tolist()
        far = ((axis[:, None] - y * side) ** 2 + (axis - x * side) ** 2).sqrt()
        lamp = (1 + 4 * power) * (0.5 + 3 * radius - far).clamp(0, 1)
        sharp = torch.maximum(sharp, lamp)
    return sharp
