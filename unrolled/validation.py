"""Scores of a network in training, on pictures that it does not see otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from deconv.fft import fast_shape
from deconv.metrics import psnr, ssim
from unrolled.nonuniform import KINDS, NonUniform, NonUniformRecipe
from unrolled.pairs import Pair
from unrolled.synthesis import Batch, Noisy, Recipe, Synthesis

__all__ = ["DenoiserValidation", "PairValidation", "Validation", "parted"]

LEVELS = (0.01, 0.03, 0.05)
# Of so many pictures, one is kept for validation.
HELD = 40

T = TypeVar("T")


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
            percent = f"{100 * level:g}%"
            scores[f"psnr {percent}"] = _mean_score(psnr, sharp, restored)
            scores[f"ssim {percent}"] = _mean_score(ssim, sharp, restored)
            strips.append(torch.cat([batch.observed[0], restored[0], sharp[0]], dim=-1))
        draw_strip(torch.cat(strips, dim=-2), self.run / "pictures" / f"{step:06d}.png")
        return scores


def draw_strip(picture: Tensor, path: Path) -> None:
    """Write (C, H, W) on [0, 1] to a file."""
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


class PairValidation:
    """PSNR and SSIM of restored pictures on fixed pairs, by kind of blur, and strips of them.

    Parameters
    ----------
    sets : mapping of str to Pair
        Pairs by kind.
    run : path
        Where ``pictures/STEP.png`` go: blurred, restored, sharp.
    """

    def __init__(self, sets: Mapping[str, Pair], run: Path) -> None:
        self.sets, self.run = dict(sets), run

    @classmethod
    def synthetic(
        cls,
        pictures: Sequence[Tensor],
        recipe: NonUniformRecipe,
        run: Path,
        *,
        count: int = 8,
        device: Any = "cpu",
    ) -> PairValidation:
        """`count` pairs of each kind that the recipe has, of held-out sharp pictures."""
        sets = {}
        for kind, share in zip(KINDS, recipe.shares, strict=True):
            if share:
                only = replace(recipe.only(kind), shrunk=0.0)
                samples = NonUniform(pictures, only, seed=1, device=device)
                sets[kind] = samples.batch(0, range(count))
        return cls(sets, run)

    @classmethod
    def of(cls, samples: Any, run: Path, *, count: int = 16) -> PairValidation:
        """The first `count` samples of others."""
        return cls({"pairs": samples.batch(0, range(count))}, run)

    @torch.no_grad()
    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """Mean scores by kind, and the mean gain over the blurred pictures in dB."""
        model.eval()
        scores: dict[str, float] = {}
        strips, gains = [], []
        for kind, pair in self.sets.items():
            restored = model(pair.blurred)
            for name, metric in (("psnr", psnr), ("ssim", ssim)):
                scores[f"{name} {kind}"] = _mean_score(metric, pair.sharp, restored)
            gains.append(scores[f"psnr {kind}"] - _mean_score(psnr, pair.sharp, pair.blurred))
            strips.append(torch.cat([pair.blurred[0], restored[0], pair.sharp[0]], dim=-1))
        draw_strip(torch.cat(strips, dim=-2), self.run / "pictures" / f"{step:06d}.png")
        model.train()
        return {"gain": float(np.mean(gains)), **scores}


def _mean_score(metric: Callable[..., Any], sharp: Tensor, restored: Tensor) -> float:
    """Mean of a metric of `deconv.metrics` over pictures (N, C, H, W)."""
    pairs = zip(sharp.cpu().numpy(), restored.float().cpu().numpy(), strict=True)
    options = {"data_range": 1, "channel_axis": 0} if metric is ssim else {"data_range": 1}
    return float(np.mean([metric(a, b, **options) for a, b in pairs]))


def parted(items: Sequence[T], of: int = HELD) -> tuple[list[T], list[T]]:
    """What to train on and what to validate with, one of so many; a single one is both."""
    held = list(items[::of])
    return [item for i, item in enumerate(items) if i % of] or held, held
