"""Sharp and blurred pictures for a `BlurClassifier`, each from the seed and its own index alone.

Both kinds go through the same camera: crop, blur (by a single pixel for sharp ones), clipping,
noise, rounding, compression, and then the sampling of a pyramid. Some of both are smoothed to flat
regions or sharpened, as a solver's estimates are, so that what tells them apart is blur and not
texture.
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
from unrolled import blur_scenes
from unrolled.blur_camera import compressed, flattened, observed, sampled, soft
from unrolled.crops import LUMA, turned
from unrolled.synthesis import psf_bank

__all__ = ["KINDS", "BlurRecipe", "BlurSamples", "width"]

KINDS = ("natural", "text", "face", "dark")
# A sharp crop shows edges: this share of its pixels changes by so much from one to the next.
BUSY, EDGE = 0.015, 0.1
# How often another crop is drawn where one will not do.
TRIES = 8
SIZES = 7
# Share of photographs of which every second pixel is kept, after a mean, where they are large.
FINE = 0.4
# Samples that are repeated before others come; even, so that every other one stays blurred.
BLOCK = 1024


@dataclass(frozen=True)
class BlurRecipe:
    """How a sharp scene becomes a sample.

    Parameters
    ----------
    side : int
        Of a sample in pixels.
    shares : tuple of float
        How often each of `KINDS` is drawn.
    sizes : (int, int)
        Sides of the psfs' boxes, log-uniform, at full size.
    scales : (float, float)
        Factors that observed pictures are sampled with, uniform.
    full : float
        Share of samples at the largest of the scales.
    least : float
        Width, as `width` gives it, that every blur has left at the sample's scale; 0.87 is a line
        of 3 pixels.
    sigma : (float, float)
        Range of the noise's standard deviation, log-uniform, on [0, 1]; twice that in the
        dark.
    compressed, flat, sharpened : float
        Shares of samples compressed as JPEG, smoothed to flat regions, and sharpened.
    repeats : int
        How often a sample is shown, each time turned another way: to make one takes four times as
        long as to learn from it.
    scenes, psfs : int
        How many pages of text and faces are drawn, and psfs of each of seven sizes; flips and turns
        make them eight times as many.
    """

    side: int = 80
    shares: tuple[float, ...] = (0.35, 0.3, 0.15, 0.2)
    sizes: tuple[int, int] = (7, 51)
    scales: tuple[float, float] = (0.25, 1.0)
    full: float = 0.2
    least: float = 0.87
    sigma: tuple[float, float] = (0.001, 0.01)
    compressed: float = 0.2
    flat: float = 0.2
    sharpened: float = 0.1
    repeats: int = 4
    scenes: int = 80
    psfs: int = 50

    def __post_init__(self) -> None:
        """Refuse what would fail in the middle of a run."""
        for name in ("repeats", "scenes", "psfs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; expected at least 1")
        if self.side < 16:
            raise ValueError(f"side={self.side}; expected at least 16")
        if len(self.shares) != len(KINDS) or min(self.shares) < 0 or not sum(self.shares):
            raise ValueError(f"shares={self.shares}; expected one for each of {KINDS}")
        if not 3 <= self.sizes[0] <= self.sizes[1]:
            raise ValueError(f"sizes={self.sizes}; expected (low, high) with 3 <= low <= high")
        if self.sizes[1] > self.side:
            raise ValueError(f"sizes={self.sizes}; expected at most the side={self.side}")
        if not 0 < self.scales[0] <= self.scales[1] <= 1:
            raise ValueError(f"scales={self.scales}; expected (low, high), 0 < low <= high <= 1")
        if not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"sigma={self.sigma}; expected (low, high) with 0 < low <= high")


class BlurSamples:
    """Batches by the indices of their samples: the odd ones are blurred.

    Parameters
    ----------
    pictures : sequence of tensor
        Sharp pictures, uint8 (3, H, W); see `unrolled.crops.load_pictures`.
    recipe : BlurRecipe
        What becomes of them.
    seed : int
        Of everything random.
    device : str or torch.device
        Of the batches; samples are made on the CPU.
    """

    def __init__(
        self,
        pictures: Sequence[Tensor],
        recipe: BlurRecipe | None = None,
        *,
        seed: int = 0,
        device: Any = "cpu",
    ) -> None:
        if not pictures:
            raise ValueError("pictures: there are none; expected at least one")
        recipe = recipe or BlurRecipe()
        self.recipe, self.seed, self.device = recipe, seed, torch.device(device)
        luma = torch.tensor(LUMA)
        photographs = [
            torch.einsum("c,chw->hw", luma, p.to(torch.float32).cpu()).numpy() / 255
            for p in pictures
        ]
        rng = np.random.default_rng([seed, 1])
        pages = [_page(photographs, rng) for _ in range(recipe.scenes)]
        faces = [blur_scenes.face(int(rng.integers(192, 480)), rng) for _ in range(recipe.scenes)]
        self.bank = [
            psf for size in _sizes(recipe) for psf in psf_bank(size, recipe.psfs, seed).numpy()
        ]
        self.widths = np.array([width(psf) for psf in self.bank])
        if recipe.scales[0] * self.widths.max() < recipe.least:
            raise ValueError(
                f"recipe.sizes={recipe.sizes}: no blur has a width of {recipe.least} left at the "
                f"least of recipe.scales={recipe.scales}; expected larger ones"
            )
        # A cache, and nothing else: what is in it depends on the indices alone.
        self.made: dict[int, tuple[Tensor, float]] = {}
        # In bytes: the scenes are many, and rounding is what cameras do.
        self.scenes = {
            kind: [np.round(255 * s).astype(np.uint8) for s in made]
            for kind, made in zip(KINDS, (photographs, pages, faces, photographs), strict=True)
        }

    def batch(self, step: int, indices: Iterable[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (N, 1, side, side), whether each is blurred, (N,) of 0 and 1, and by how much.

        The last, (N,), is the `width` of the psf at the sample's scale, 0 for sharp ones.
        """
        x, widths = zip(*(self._shown(index) for index in indices), strict=True)
        wide = torch.tensor(widths, dtype=torch.float32, device=self.device)
        return torch.stack(x)[:, None].to(self.device), (wide > 0).to(torch.float32), wide

    def _shown(self, index: int) -> tuple[Tensor, float]:
        """A sample of the block that `index` is in, turned; each comes `repeats` times."""
        block, place = divmod(index, BLOCK * self.recipe.repeats)
        base = block * BLOCK + place % BLOCK
        if base not in self.made:
            if len(self.made) >= BLOCK:
                self.made.clear()
            self.made[base] = self.sample(base)
        picture, wide = self.made[base]
        return turned(picture, (place // BLOCK + base) % 8), wide

    def sample(
        self,
        index: int,
        *,
        kind: str | None = None,
        scale: float | None = None,
        blurred: bool | None = None,
    ) -> tuple[Tensor, float]:
        """Sample `index` (side, side), of a kind, scale and class of choice, and its width."""
        recipe = self.recipe
        rng = np.random.default_rng([self.seed, 2, index])
        drawn, factor = str(rng.choice(KINDS, p=_parts(recipe.shares))), self._scale(rng)
        kind, scale = kind or drawn, scale or factor
        if not recipe.scales[0] <= scale <= 1:
            raise ValueError(f"scale={scale}; expected {recipe.scales[0]} to 1, as of the recipe")
        blurred = bool(index % 2) if blurred is None else blurred
        psf = self._psf(scale, rng)
        wide = scale * width(psf) if blurred else 0.0
        source = recipe.side if scale == 1 else math.ceil((recipe.side + 4) / scale)
        scene = self._crop(kind, source + max(psf.shape), int(1 / scale), rng)
        if kind == "dark":
            scene = blur_scenes.lit(scene, rng)
        x = observed(scene, psf if blurred else np.ones((1, 1)), source)
        low, high = (math.log(s) for s in recipe.sigma)
        sigma = math.exp(rng.uniform(low, high)) * (2 if kind == "dark" else 1)
        x = np.clip(x, 0, 1) + np.float32(sigma) * rng.standard_normal(x.shape, np.float32)
        if rng.uniform() < 0.7:
            x = np.round(255 * np.clip(x, 0, 1)).astype(np.float32) / 255
        if rng.uniform() < recipe.compressed:
            x = compressed(x, int(rng.integers(50, 96)))
        x = sampled(x, scale, recipe.side, rng)
        if rng.uniform() < recipe.flat:
            x = flattened(x, math.exp(rng.uniform(math.log(5e-4), math.log(8e-3))))
        if rng.uniform() < recipe.sharpened:
            x = x + rng.uniform(0.2, 0.8) * (x - soft(x))
        return torch.from_numpy(np.ascontiguousarray(_turned(x, rng), np.float32)), wide

    def _scale(self, rng: np.random.Generator) -> float:
        low, high = self.recipe.scales
        drawn = rng.uniform(low, high)
        return high if rng.uniform() < self.recipe.full else float(drawn)

    def _psf(self, scale: float, rng: np.random.Generator) -> np.ndarray:
        """A psf that leaves some blur at `scale`."""
        enough = np.flatnonzero(scale * self.widths >= self.recipe.least)
        return _turned(self.bank[rng.choice(enough)], rng)

    def _crop(self, kind: str, side: int, step: int, rng: np.random.Generator) -> np.ndarray:
        """A crop (side, side) on [0, 1] that has edges when every `step`-th pixel is kept."""
        best, most = None, -1.0
        for _ in range(TRIES):
            scenes = self.scenes[kind]
            crop = _mirrored(scenes[rng.integers(len(scenes))], side, rng)
            share = float((_steps(_coarser(crop, step)) > EDGE).mean())
            if share > most:
                best, most = crop, share
            if most > BUSY:
                break
        assert best is not None
        return best


def width(psf: np.ndarray) -> float:
    """Root mean square distance of a psf's mass from its centroid, in pixels."""
    at = np.indices(psf.shape) - np.array(psfs.centroid(psf))[:, None, None]
    return float(np.sqrt((psf * (at**2).sum(0)).sum()))


def _sizes(recipe: BlurRecipe) -> list[int]:
    """Sides of the psfs' boxes, each the same factor above the one before."""
    return sorted({round(n) | 1 for n in np.geomspace(*recipe.sizes, SIZES)})


def _parts(shares: Sequence[float]) -> list[float]:
    return [share / sum(shares) for share in shares]


def _page(photographs: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """A page of text, on a photograph now and then."""
    side = int(rng.integers(256, 512))
    if rng.uniform() > 0.3:
        return blur_scenes.text(side, rng)
    picture = photographs[rng.integers(len(photographs))]
    return blur_scenes.text(side, rng, _mirrored(picture, side, rng))


def _mirrored(picture: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """A crop at random, float32 on [0, 1]; a small picture goes on as in mirrors.

    Some crops are of half the picture's resolution, which makes them sharper.
    """
    half = rng.uniform() < FINE and 2 * side <= min(picture.shape)
    if half:
        return _coarser(_mirrored_at(picture, 2 * side, rng), 2)
    return _mirrored_at(picture, side, rng)


def _mirrored_at(picture: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    rows, columns = (_reflected(rng.integers(max(1, n - side + 1)), side, n) for n in picture.shape)
    crop = picture[rows[:, None], columns].astype(np.float32)
    return crop / 255 if picture.dtype == np.uint8 else crop


def _reflected(first: int, count: int, length: int) -> np.ndarray:
    """`count` indices from `first` on, turned back at either end of an axis."""
    at = (first + np.arange(count)) % (2 * length)
    return np.minimum(at, 2 * length - 1 - at)


def _coarser(x: np.ndarray, step: int) -> np.ndarray:
    """Means over squares of `step` pixels."""
    n = len(x) // step
    return x[: n * step, : n * step].reshape(n, step, n, step).mean((1, 3)) if step > 1 else x


def _steps(x: np.ndarray) -> np.ndarray:
    """Size of the gradient."""
    return np.hypot(x[1:, :-1] - x[:-1, :-1], x[:-1, 1:] - x[:-1, :-1])


def _turned(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the eight flips and turns."""
    x = np.rot90(x, rng.integers(4))
    return x.T if rng.uniform() < 0.5 else x
