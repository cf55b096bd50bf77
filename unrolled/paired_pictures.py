"""Random crops of blurred and sharp picture files, each from the seed and its own index alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deconv import io
from deconv.arrays import whole
from unrolled.crops import LUMA, TURNS, turned
from unrolled.paired_folders import pictures_in
from unrolled.pairs import Pair

__all__ = ["PairedPictures", "UnpairedPictures"]

# Of the random numbers here: places and turns, and the orders of pictures.
PLACES, ORDER, OTHER_ORDER = 21, 22, 23
# How many files an error names.
NAMED = 3


class _Files:
    """Picture files, decoded when they are asked for; the last ones are kept.

    Pixels stay on the scale and in the depth of the file, (Y, X) or (Y, X, 3).
    """

    def __init__(self, memory: int) -> None:
        self.memory, self.held = memory, 0
        self.kept: OrderedDict[Path, np.ndarray] = OrderedDict()

    def __getitem__(self, path: Path) -> np.ndarray:
        if path in self.kept:
            self.kept.move_to_end(path)
            return self.kept[path]
        picture = io.read(path)
        if picture.axes != "YX" and not (picture.axes == "YXS" and picture.colour):
            raise ValueError(
                f"{path} has axes {picture.axes} of shape {picture.pixels.shape}; expected one "
                f"grey or RGB picture"
            )
        self.kept[path] = picture.pixels
        self.held += picture.pixels.nbytes
        while self.held > self.memory:
            self.held -= self.kept.popitem(last=False)[1].nbytes
        return picture.pixels


class _Pictures:
    """What paired and unpaired pictures share: arguments, files, places, batches."""

    def __init__(
        self,
        side: int,
        *,
        channels: int = 3,
        crops: int = 1,
        flips: bool = True,
        memory: int = 1 << 30,
        seed: int = 0,
        device: Any = "cpu",
    ) -> None:
        if channels not in (1, 3):
            raise ValueError(f"channels={channels!r}; expected 1 or 3")
        self.side, self.channels, self.flips = whole(side, "side", low=1), channels, flips
        self.crops, self.seed = whole(crops, "crops", low=1), whole(seed, "seed")
        self.files = _Files(whole(memory, "memory"))
        self.device = torch.device(device)

    def batch(self, step: int, indices: Iterable[int]) -> Pair:
        """The samples `indices`: (N, channels, side, side) each, on [0, 1]."""
        blurred, sharp = zip(*(self.sample(index) for index in indices), strict=True)
        return Pair(torch.stack(blurred).to(self.device), torch.stack(sharp).to(self.device))

    def sample(self, index: int) -> tuple[Tensor, Tensor]:
        """Sample `index`, blurred and sharp, (channels, side, side)."""
        raise NotImplementedError

    def _drawn(self, index: int, count: int, stream: int) -> int:
        """Which of `count` pictures a sample is of: each once, in random order, and again."""
        again, place = divmod(index // self.crops, count)
        return int(_order(self.seed, stream, again, count)[place])

    def _place(self, picture: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
        top, left = (int(rng.integers(n - self.side + 1)) for n in picture.shape[:2])
        return top, left

    def _way(self, rng: np.random.Generator) -> int:
        return int(rng.integers(TURNS)) if self.flips else 0

    def _crop(self, picture: np.ndarray, place: tuple[int, int], way: int) -> Tensor:
        """A crop on [0, 1], (channels, side, side)."""
        top, left = place
        pixels = picture[top : top + self.side, left : left + self.side]
        white = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1.0
        x = pixels.astype(np.float32) / np.float32(white)
        if x.ndim == 2:
            x = np.repeat(x[..., None], self.channels, axis=-1)
        elif self.channels == 1:
            x = x @ np.array(LUMA, np.float32)[:, None]
        return turned(torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1))), way)

    def _large_enough(self, path: Path, picture: np.ndarray) -> None:
        if min(picture.shape[:2]) < self.side:
            raise ValueError(f"{path} is {_size(picture)}; expected at least side={self.side}")


class PairedPictures(_Pictures):
    """Aligned crops of pairs of files, see `unrolled.paired_folders.find_pairs`.

    All pictures come in random order, and then again in another one; picture, place and turn of a
    sample come from the seed and its index alone. Files are read when a sample needs them, and what
    is wrong with one is raised then: call `check` to read them all at once.

    Parameters
    ----------
    pairs : sequence of (path, path)
        Blurred and sharp pictures: PNG, JPEG or TIFF, of 8 or 16 bits or floats on [0, 1].
    side : int
        Of a crop, in pixels.
    **options
        The other parameters.

    Other Parameters
    ----------------
    channels : int
        3, where grey pictures get three equal channels, or 1, the luma of those in colour.
    crops : int
        How many samples, of indices in a row, are of one picture. More save reading.
    flips : bool
        Whether crops are flipped and turned, the same way for both.
    memory : int
        Bytes of decoded pictures that are kept for the next sample.
    seed : int
        Of everything random.
    device : str or torch.device
        Where batches go.

    Raises
    ------
    FileNotFoundError
        If there is no pair, or a file does not exist.
    TypeError, ValueError
        If an argument is out of range. By `batch` and `check`: if a file is damaged or no picture,
        two of a pair differ in size, one is grey and the other in colour, or one is smaller than
        the crop; the message names the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skimage import data
    >>> from deconv import io
    >>> from unrolled.paired_pictures import PairedPictures
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "astronaut.png")
    ...     io.write(path, data.astronaut()[:64, :64])
    ...     batch = PairedPictures([(path, path)], 32, channels=1).batch(0, range(4))
    >>> batch.sharp.shape
    torch.Size([4, 1, 32, 32])
    """

    def __init__(self, pairs: Sequence[tuple[Any, Any]], side: int, **options: Any) -> None:
        super().__init__(side, **options)
        self.pairs = [(Path(blurred), Path(sharp)) for blurred, sharp in pairs]
        _present([path for pair in self.pairs for path in pair], "pairs")

    def sample(self, index: int) -> tuple[Tensor, Tensor]:
        """Sample `index`, blurred and sharp, (channels, side, side)."""
        blurred, sharp = self._read(self._drawn(index, len(self.pairs), ORDER))
        rng = np.random.default_rng([self.seed, PLACES, index])
        place, way = self._place(blurred, rng), self._way(rng)
        return self._crop(blurred, place, way), self._crop(sharp, place, way)

    def check(self) -> None:
        """Read every pair, and raise what is wrong with the first that cannot be used."""
        for which in range(len(self.pairs)):
            self._read(which)

    def _read(self, which: int) -> tuple[np.ndarray, np.ndarray]:
        paths = self.pairs[which]
        blurred, sharp = (self.files[path] for path in paths)
        if blurred.shape[:2] != sharp.shape[:2]:
            raise ValueError(
                f"{paths[0]} is {_size(blurred)}, but {paths[1]} is {_size(sharp)}; expected the "
                f"same size"
            )
        if blurred.ndim != sharp.ndim:
            grey, colour = paths if blurred.ndim == 2 else paths[::-1]
            raise ValueError(f"{grey} is grey, but {colour} in colour; expected the same of a pair")
        self._large_enough(paths[0], blurred)
        return blurred, sharp


class UnpairedPictures(_Pictures):
    """Crops of blurred pictures with crops of sharp ones that are of other scenes.

    They are drawn independently of each other: what learns on them learns how blur looks, and
    cannot compare (K. Zhang et al., "Deblurring by realistic blurring", CVPR 2020).

    Parameters
    ----------
    blurred, sharp : path, or sequence of paths
        Folders, searched with all below, or files: PNG, JPEG or TIFF.
    side : int
        Of a crop, in pixels.
    **options
        `channels`, `crops`, `flips`, `memory`, `seed`, `device` as for `PairedPictures`; flips and
        turns are drawn for each alone.

    Raises
    ------
    FileNotFoundError
        If a folder does not exist or holds no picture, there is no file, or one does not exist.
    TypeError, ValueError
        If an argument is out of range. By `batch` and `check`: if a file is damaged, no picture, or
        smaller than the crop; the message names the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skimage import data
    >>> from deconv import io
    >>> from unrolled.paired_pictures import UnpairedPictures
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("coffee", "astronaut"):
    ...         io.write(Path(folder, f"{name}.png"), getattr(data, name)()[:64, :64])
    ...     files = [Path(folder, "coffee.png")], [Path(folder, "astronaut.png")]
    ...     batch = UnpairedPictures(*files, 32).batch(0, range(4))
    >>> batch.blurred.shape
    torch.Size([4, 3, 32, 32])
    """

    def __init__(self, blurred: Any, sharp: Any, side: int, **options: Any) -> None:
        super().__init__(side, **options)
        self.blurred, self.sharp = _listed(blurred, "blurred"), _listed(sharp, "sharp")

    def sample(self, index: int) -> tuple[Tensor, Tensor]:
        """Sample `index`, blurred and sharp, (channels, side, side)."""
        rng = np.random.default_rng([self.seed, PLACES, index])
        found = []
        for paths, stream in ((self.blurred, ORDER), (self.sharp, OTHER_ORDER)):
            picture = self._read(paths[self._drawn(index, len(paths), stream)])
            found.append(self._crop(picture, self._place(picture, rng), self._way(rng)))
        return found[0], found[1]

    def check(self) -> None:
        """Read every picture, and raise what is wrong with the first that cannot be used."""
        for path in (*self.blurred, *self.sharp):
            self._read(path)

    def _read(self, path: Path) -> np.ndarray:
        picture = self.files[path]
        self._large_enough(path, picture)
        return picture


@lru_cache(maxsize=8)
def _order(seed: int, stream: int, again: int, count: int) -> np.ndarray:
    """A random order of `count` pictures."""
    order = np.random.default_rng([seed, stream, again]).permutation(count)
    order.setflags(write=False)
    return order


def _listed(paths: Any, name: str) -> list[Path]:
    """The files of a folder, or those given."""
    if isinstance(paths, (str, Path)):
        return pictures_in(Path(paths))
    found = [Path(path) for path in paths]
    _present(found, name)
    return found


def _present(paths: list[Path], name: str) -> None:
    if not paths:
        raise FileNotFoundError(f"{name}: there are none; expected one or more")
    absent = [str(path) for path in paths if not path.is_file()]
    if absent:
        dots = ", ..." if len(absent) > NAMED else ""
        raise FileNotFoundError(
            f"{name}: {len(absent)} of {len(paths)} files do not exist: "
            f"{', '.join(absent[:NAMED])}{dots}"
        )


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
