"""Scores of a network in training, on pictures that it does not see otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deconv.fft import fast_shape
from deconv.metrics import psnr, ssim
from unrolled.synthesis import Batch, Noisy, Recipe, Synthesis

__all__ = ["DenoiserValidation", "Validation"]

LEVELS = (0.01, 0.03, 0.05)


class Validation:
    """PSNR and SSIM at noise of 1, 3 and 5 % on a fixed set, and a strip of pictures.

    Parameters
    ----------
    pictures : sequence of tensor
        Held-out sharp pictures, uint8 (3, H, W).
    recipe : Recipe
        That of the training, for the channels.
    run : path
        Where ``pictures/STEP.png`` go: observed, restored, sharp.
    count : int
        Samples at each level.
    device : str or torch.device
        Where they are made and kept.

    Notes
    -----
    Crops have up to 160 pixels, and psfs up to 25, as far as the smallest picture allows.
    """

    def __init__(
        self,
        pictures: Sequence[Tensor],
        recipe: Recipe,
        run: Path,
        *,
        count: int = 8,
        device: Any = "cpu",
    ) -> None:
        self.run = run
        side = min(160, *(min(p.shape[-2:]) for p in pictures))
        domain = next(n for n in range(side, 0, -1) if fast_shape((n, n)) == (n, n))
        plain = replace(
            recipe, domain=domain, sizes=(min(25, (domain // 2 - 1) | 1),), shares=(1.0,),
            doubt=0.0, poisson=0.0, rounded=0.0, clipped=0.0, strided=0.0,
            chroma=0.0, shrunk=0.0,
        )  # fmt: skip
        self.batches: dict[float, Batch] = {}
        for level in LEVELS:
            samples = Synthesis(
                pictures, replace(plain, sigma=(level, level)), seed=1, psfs_per_size=count,
                device=device,
            )  # fmt: skip
            self.batches[level] = samples.batch(0, range(count))

    @torch.no_grad()
    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """Mean scores of ``model(observed, A, sigma)``, by their names."""
        scores, strips = {}, []
        for level, batch in self.batches.items():
            restored = batch.A.crop(model(batch.observed, batch.A, batch.sigma))
            sharp = batch.A.crop(batch.sharp)
            pairs = [
                (a.cpu().numpy(), b.cpu().numpy()) for a, b in zip(sharp, restored, strict=True)
            ]
            percent = f"{100 * level:g}%"
            scores[f"psnr {percent}"] = float(np.mean([psnr(a, b, data_range=1) for a, b in pairs]))
            scores[f"ssim {percent}"] = float(
                np.mean([ssim(a, b, data_range=1, channel_axis=0) for a, b in pairs])
            )
            strips.append(torch.cat([batch.observed[0], restored[0], sharp[0]], dim=-1))
        self._draw(torch.cat(strips, dim=-2), self.run / "pictures" / f"{step:06d}.png")
        return scores

    def _draw(self, picture: Tensor, path: Path) -> None:
        from skimage import io

        path.parent.mkdir(parents=True, exist_ok=True)
        values = (picture.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        io.imsave(
            path, values[0] if len(values) == 1 else values.transpose(1, 2, 0), check_contrast=False
        )


class DenoiserValidation:
    """PSNR of a denoiser at noise of 5, 15, 25 and 50 grey levels of 255 on a fixed set.

    Parameters
    ----------
    pictures, recipe, count, device
        As of `Validation`; of the recipe, all of the crops but the share of `chroma`.
    """

    def __init__(
        self,
        pictures: Sequence[Tensor],
        recipe: Recipe,
        *,
        count: int = 8,
        device: Any = "cpu",
    ) -> None:
        self.batches = {
            level: Noisy(
                pictures,
                replace(recipe, sigma=(level / 255,) * 2, chroma=0.0),
                seed=1,
                device=device,
            ).batch(0, range(count))
            for level in (5, 15, 25, 50)
        }

    @torch.no_grad()
    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """Mean PSNR at each level, by name."""
        scores = {}
        for level, (sharp, noisy, sigma) in self.batches.items():
            error = (model(noisy, sigma) - sharp).square().mean((-3, -2, -1))
            scores[f"psnr {level}"] = float((-10 * torch.log10(error)).mean())
        return scores
