"""What networks that are given an operator, and their priors, are trained to make small."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unrolled.losses import levelled

if TYPE_CHECKING:
    from unrolled.synthesis import Batch

__all__ = ["LATENT", "denoised_l1", "latent_l1", "latent_psnr"]


def denoised_l1(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Mean absolute error of a denoiser, for a batch of `unrolled.synthesis.Noisy`.

    Parameters
    ----------
    model : Module
        ``model(noisy, sigma)``, such as a `ResUNet`.
    batch : tuple of tensor
        Sharp and noisy pictures and the noise's standard deviations.

    Returns
    -------
    tensor
        A scalar.

    Examples
    --------
    >>> import torch
    >>> from unrolled.latent_losses import denoised_l1
    >>> sharp, sigma = torch.zeros(2, 1, 4, 4), torch.ones(2)
    >>> denoised_l1(lambda x, sigma: x / 2, (sharp, sharp + 0.5, sigma))
    tensor(0.2500)
    """
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
    return levelled(_latent_error(model, batch, torch.square))


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
