"""What a network is trained to make small."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unrolled.synthesis import Batch

__all__ = ["LATENT", "denoised_l1", "latent_l1", "latent_psnr"]

# Root mean squared errors on [0, 1]: a typical one, and one that needs no more work (34 dB).
TYPICAL, GOOD = 0.05, 0.02


def denoised_l1(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Mean absolute error of a denoiser, for a batch of `unrolled.synthesis.Noisy`."""
    sharp, noisy, sigma = batch
    return (model(noisy, sigma) - sharp).abs().mean()


def latent_l1(model: nn.Module, batch: Batch) -> Tensor:
    """Mean absolute error of latent pictures, where anything was observed.

    ``model(observed, A, sigma, clipped)`` gives them, (N, C, *A.domain).

    Within the frame every pixel counts; beyond it as much as its light fell into the frame. What
    was clipped is not asked for more than white, nor punished for it.
    """
    return _latent_error(model, batch, torch.abs).mean()


def latent_psnr(model: nn.Module, batch: Batch) -> Tensor:
    """Logarithm of the mean squared error of each latent picture, weighted as in `latent_l1`.

    Every picture counts alike, whatever its noise, but for those that are good already; the scale
    is that of the absolute error, so that a run may go on from one to the other.
    """
    error = _latent_error(model, batch, torch.square)
    return TYPICAL / 2 * torch.log((error + GOOD**2) / TYPICAL**2).mean()


def _latent_error(model: nn.Module, batch: Batch, cost: Callable[[Tensor], Tensor]) -> Tensor:
    """Weighted mean of `cost` of the error of each sample, (N,)."""
    A, sharp = batch.A, batch.sharp
    x = model(batch.observed, A, batch.sigma, batch.clipped)
    inside = A.frame.pad(torch.ones(A.frame.shape, dtype=x.dtype, device=x.device))
    weight = (inside + (1 - inside) * A.coverage).detach().expand_as(x)
    if batch.clipped is not None:
        x, sharp = x.clamp(max=1), sharp.clamp(max=1)
    axes = (-3, -2, -1)
    error: Tensor = (weight * cost(x - sharp)).sum(axes) / weight.sum(axes)
    return error


LATENT = {"l1": latent_l1, "psnr": latent_psnr}
