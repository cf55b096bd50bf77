"""Sharp crops of pictures, each from the seed and its own index alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TURNS", "Crops", "load_pictures", "turned", "turned_back"]

LUMA = (0.299, 0.587, 0.114)
# Differences of colours, about 0.5: what a grey network sees of a colour picture beside its mean.
CHROMA = ((0.5, -0.5, 0.0), (0.25, 0.25, -0.5))
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
# How many uniform numbers a sample may use; the crop takes the first eight.
DRAWN = 24
# Flips and turns of a picture, itself included.
TURNS = 8


def load_pictures(folder: str | Path, *, least: int = 96) -> list[Tensor]:
    """Every picture under `folder`, in the order of its name, as uint8 (3, H, W).

    Grey pictures get three equal channels; transparency is dropped. What has a side below `least`
    pixels, or is not of 8 bits, is left out.

    Parameters
    ----------
    folder : path
        Searched with all below.
    least : int
        Shortest side in pixels.

    Returns
    -------
    list of tensor
        At least one.

    Raises
    ------
    FileNotFoundError
        If there is none.

    Examples
    --------
    >>> import tempfile
    >>> from skimage import data
    >>> from deconv import io
    >>> from unrolled.crops import load_pictures
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     io.write(f"{folder}/coins.png", data.coins())
    ...     [tuple(picture.shape) for picture in load_pictures(folder)]
    [(3, 303, 384)]
    """
    from skimage import io

    paths = (p for p in sorted(Path(folder).rglob("*")) if p.suffix.lower() in SUFFIXES)
    pictures = (_rgb(np.asarray(io.imread(path))) for path in paths if path.is_file())
    found = [p for p in pictures if p is not None and min(p.shape[-2:]) >= least]
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no 8-bit picture of at least {least} x {least} pixels"
        )
    return found


def _rgb(picture: np.ndarray) -> Tensor | None:
    """An 8-bit picture (H, W) or (H, W, 1 to 4) as uint8 (3, H, W); None for any other array."""
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] > 4:
        return None
    grey = picture.shape[-1] < 3
    picture = picture[..., :1].repeat(3, axis=-1) if grey else picture[..., :3]
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())


class Crops:
    """Random crops on a device.

    Parameters
    ----------
    pictures : sequence of tensor
        Sharp pictures, uint8 (3, H, W); see `load_pictures`.
    side : int
        Of a crop, in pixels.
    channels : int
        1 (luma, or a difference of colours) or 3.
    chroma, shrunk : float
        Shares of differences of colours, and of crops that were larger and made smaller.
    seed : int
        Of everything random.
    device : str or torch.device
        Where the pictures are kept.
    """

    def __init__(
        self,
        pictures: Sequence[Tensor],
        side: int,
        *,
        channels: int = 1,
        chroma: float = 0.0,
        shrunk: float = 0.0,
        seed: int = 0,
        device: Any = "cpu",
    ) -> None:
        if not pictures:
            raise ValueError("pictures: there are none; expected at least one")
        least = min(min(p.shape[-2:]) for p in pictures)
        if least < side:
            raise ValueError(
                f"pictures: one has a side of {least} pixels; expected at least the crops' {side}"
            )
        self.side, self.channels, self.chroma, self.shrunk = side, channels, chroma, shrunk
        self.seed, self.device = seed, torch.device(device)
        self.pictures = [p.to(self.device) for p in pictures]

    def draw(self, index: int) -> tuple[Tensor, list[float], torch.Generator, torch.Generator]:
        """The crop of sample `index`, and what else of the sample may be drawn from.

        That is its uniform numbers (the crop used the first eight), a generator on the CPU for more
        of them and one on the device for noise.
        """
        numbers = self.generator(1, index, "cpu")
        u = torch.rand(DRAWN, generator=numbers, dtype=torch.float64).tolist()
        return self.crop(u), u, numbers, self.generator(2, index, self.device)

    def generator(self, stream: int, index: int, device: Any) -> torch.Generator:
        """One of several independent generators of an index."""
        seed = np.random.SeedSequence([self.seed, stream, index]).generate_state(1, np.uint64)[0]
        return torch.Generator(device=device).manual_seed(int(seed) >> 1)

    def crop(self, u: Sequence[float]) -> Tensor:
        """A crop (C, side, side) of a picture on [0, 1], from uniform numbers."""
        side = self.side
        picture = self.pictures[int(u[0] * len(self.pictures))]
        height, width = picture.shape[-2:]
        source = side
        if u[1] < self.shrunk:
            source = int(side * (1 + u[2] * min(1.0, min(height, width) / side - 1)))
        top, left = int(u[3] * (height - source + 1)), int(u[4] * (width - source + 1))
        crop = picture[:, top : top + source, left : left + source].to(torch.float32) / 255
        if source != side:
            crop = F.interpolate(crop[None], size=(side, side), mode="area")[0]
        if self.channels == 1:
            mix, offset = LUMA, 0.0
            if u[5] < self.chroma:
                mix, offset = CHROMA[int(u[6] * 2)], 0.5
            crop = torch.einsum("c,chw->hw", crop.new_tensor(mix), crop)[None] + offset
        return turned(crop, int(u[7] * 8))


def turned(x: Tensor, way: int) -> Tensor:
    """One of the eight flips and turns of the last two axes."""
    if way & 1:
        x = x.mT
    if way & 2:
        x = x.flip(-1)
    if way & 4:
        x = x.flip(-2)
    return x.contiguous()


def turned_back(x: Tensor, way: int) -> Tensor:
    """What `turned` made `x` of."""
    if way & 4:
        x = x.flip(-2)
    if way & 2:
        x = x.flip(-1)
    if way & 1:
        x = x.mT
    return x.contiguous()
