"""What a network is trained to make small."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unrolled.synthesis import Batch

__all__ = ["denoised_l1", "latent_l1"]


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
    A, sharp = batch.A, batch.sharp
    x = model(batch.observed, A, batch.sigma, batch.clipped)
    inside = A.frame.pad(torch.ones(A.frame.shape, dtype=x.dtype, device=x.device))
    weight = (inside + (1 - inside) * A.coverage).detach().expand_as(x)
    if batch.clipped is not None:
        x, sharp = x.clamp(max=1), sharp.clamp(max=1)
    axes = (-3, -2, -1)
    return ((weight * (x - sharp).abs()).sum(axes) / weight.sum(axes)).mean()
