"""Video clips in memory: their frames, where they cut, how far everything moves between frames.

An average of frames looks like a long exposure only where neighbouring frames are of one shot and
what moves between them moves by little: else it shows every object several times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deconv.arrays import whole
from deconv.fft import irfftn, rfftn
from unrolled.crops import LUMA

__all__ = ["Clip", "cuts", "displacements", "read_clip"]

# Side of a block whose displacement is measured, on frames that are made about this high.
BLOCK, HEIGHT = 64, 360
# A block that changes by less on average shows no ghosts: 8-bit noise, with white at 1.
STILL = 0.003
# A cut changes the picture by more than this much plus so many times what its neighbours do.
JUMP, TIMES, NEIGHBOURS = 0.05, 2.0, 5
# Side of the small frames that cuts are looked for in.
COARSE = 32
# Width of the band that phases are compared in, in cycles per pixel: above it codecs leave little.
BAND = 0.2


class Clip:
    """The first frames of a video, and what is known of them.

    Parameters
    ----------
    path : path
        Any video that PyAV decodes, or a GIF.
    memory : int
        Bytes that its frames may take; a longer clip is read up to there.
    shrink : int
        Frames are made smaller by this factor, by means over squares.

    Attributes
    ----------
    frames : ndarray
        (T, H, W, 3), uint8.
    cuts : ndarray
        (T - 1,), whether there is a cut between a frame and the next.
    steps : ndarray
        (T - 1, rows, columns): by how many pixels each block moves to the next frame.
    tops, lefts, block
        Where the blocks begin, and their side.
    """

    def __init__(self, path: str | Path, *, memory: int = 1 << 30, shrink: int = 1) -> None:
        self.path = Path(path)
        self.frames = read_clip(path, memory=memory, shrink=shrink)
        self.cuts = cuts(self.frames)
        self.steps, self.tops, self.lefts, self.block = displacements(self.frames)

    def clear(self, length: int, side: int, motion: float, least: float) -> np.ndarray:
        """Where crops of `length` frames may begin: (K, 3) of frame, row and column.

        Within one there is no cut, nothing moves by more than `motion` pixels between neighbouring
        frames, and some block that is in it by more than its edge by `least` or more in all. A crop
        may be moved on by less than `spacing` pixels, where the frame goes on.
        """
        if length > len(self.frames):
            return np.empty((0, 3), np.int64)
        rows, columns = (np.arange(0, n - side + 1, self.spacing) for n in self.frames.shape[1:3])
        fast = self._largest(rows, columns, side, self._touched) > motion
        bad = fast | self.cuts[:, None, None]
        moved = self._largest(rows, columns, side, self._central)
        # Sums from the first frame on, so that a window's is a difference.
        hits, path = (
            np.concatenate([np.zeros_like(part[:1]), part])
            for part in (bad.cumsum(0), moved.astype(np.float64).cumsum(0))
        )
        last = length - 1
        hits, path = (part[last:] - part[: len(part) - last] for part in (hits, path))
        begin, i, j = np.nonzero((hits == 0) & (path >= least - 1e-9))
        return np.stack([begin, rows[i], columns[j]], axis=1)

    @property
    def spacing(self) -> int:
        """Pixels between the places that `clear` looks at."""
        return self.block // 2

    def _largest(
        self,
        rows: np.ndarray,
        columns: np.ndarray,
        side: int,
        chosen: Callable[[np.ndarray, int, int], np.ndarray],
    ) -> np.ndarray:
        """The largest step (T - 1, n, m) of the blocks `chosen` for crops at n rows, m columns."""
        most = self.steps
        for axis, begins, places in ((1, self.tops, rows), (2, self.lefts, columns)):
            blocks = [chosen(begins, place, place + side) for place in places.tolist()]
            most = np.stack([np.take(most, which, axis).max(axis) for which in blocks], axis)
        return most

    def _touched(self, begins: np.ndarray, first: int, end: int) -> np.ndarray:
        """The blocks of which anything may be seen between two places, or a little further on."""
        far = end + self.spacing - 1
        return np.flatnonzero((begins < far) & (begins + self.block > first))

    def _central(self, begins: np.ndarray, first: int, end: int) -> np.ndarray:
        """The blocks that have their middle between two places, or the nearest one."""
        middle = begins + self.block / 2
        inside = np.flatnonzero((middle >= first) & (middle < end))
        nearest = np.abs(middle - (first + end) / 2).argmin()
        return inside if len(inside) else np.array([nearest])


def read_clip(path: str | Path, *, memory: int = 1 << 30, shrink: int = 1) -> np.ndarray:
    """The frames of a video (T, H, W, 3), uint8, as many as `memory` bytes hold.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If PyAV is not installed, which anything but a GIF needs.
    ValueError
        If the file is no video or is damaged, or not one frame fits.
    """
    memory, shrink = whole(memory, "memory", low=1), whole(shrink, "shrink", low=1)
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {what}; expected a video")
    kept, count = np.empty((0, 0, 0, 3), np.uint8), 0
    with closing(_decoded(path)) as decoded:
        for frame in decoded:
            frame = _smaller(frame, shrink)
            if not count:
                if frame.nbytes > memory:
                    raise ValueError(
                        f"memory={memory} bytes for {path}; expected at least {frame.nbytes}, one "
                        f"frame"
                    )
                # The system gives memory out as it is written to.
                kept = np.empty((memory // frame.nbytes, *frame.shape), np.uint8)
            elif frame.shape != kept.shape[1:]:
                raise ValueError(
                    f"{path}: frame {count} is {_size(frame)}; expected {_size(kept[0])} as the "
                    f"first"
                )
            kept[count] = frame
            count += 1
            if count == len(kept):
                break
    if not count:
        raise ValueError(f"{path} holds no frame; expected a video")
    return kept[:count]


def _decoded(path: Path) -> Generator[np.ndarray, None, None]:
    """The frames of a file one by one, (H, W, 3) in uint8."""
    with path.open("rb") as file:
        decode = _gif_frames if file.read(3) == b"GIF" else _video_frames
    count = 0
    try:
        for frame in decode(path):
            yield frame
            count += 1
    except (ImportError, MemoryError):
        raise
    # The decoders raise a class of their own for every cause.
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a video after {count} frames: {error}"
        ) from error


def _gif_frames(path: Path) -> Iterator[np.ndarray]:
    from PIL import Image, ImageSequence

    with Image.open(path) as image:
        for frame in ImageSequence.Iterator(image):
            yield np.asarray(frame.convert("RGB"))


def _video_frames(path: Path) -> Iterator[np.ndarray]:
    try:
        import av
    except ImportError as error:
        raise ImportError(
            f"{path} is read by PyAV: pip install 'deconv[video]' ({error})"
        ) from error
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("it has no pictures")
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def _smaller(frame: np.ndarray, shrink: int) -> np.ndarray:
    """A frame (H, W, 3) by means over squares; what is left over at two sides is cut off."""
    if shrink == 1:
        return frame
    h, w = (n // shrink for n in frame.shape[:2])
    if not h * w:
        raise ValueError(f"shrink={shrink} for frames of {_size(frame)} pixels; expected less")
    squares = frame[: h * shrink, : w * shrink].reshape(h, shrink, w, shrink, 3)
    means: np.ndarray = np.rint(squares.mean((1, 3), dtype=np.float32)).astype(np.uint8)
    return means


def _size(frame: np.ndarray) -> str:
    return f"{frame.shape[1]} x {frame.shape[0]}"


def _greys(frames: np.ndarray, shrink: int) -> Iterator[Tensor]:
    """Luma of each frame (H, W) on [0, 1], smaller by a factor."""
    mix = torch.tensor(LUMA) / 255
    for frame in frames:
        grey = torch.tensor(frame).float() @ mix
        h, w = (n // shrink for n in grey.shape)
        yield grey[: h * shrink, : w * shrink].reshape(h, shrink, w, shrink).mean((1, 3))


def cuts(frames: np.ndarray) -> np.ndarray:
    """Whether there is a cut between each frame and the next: (T - 1,) for (T, H, W, 3) in uint8.

    A cut changes a coarse picture at once, and by much more than the five changes before and
    after it: shake and panning change it all the time.
    """
    coarse = torch.stack(list(_greys(frames, max(1, min(frames.shape[1:3]) // COARSE))))
    change = coarse.diff(dim=0).abs().mean((1, 2)).numpy()
    found = np.zeros(len(change), bool)
    for t, value in enumerate(change):
        around = np.r_[change[max(0, t - NEIGHBOURS) : t], change[t + 1 : t + 1 + NEIGHBOURS]]
        usual = float(np.median(around)) if len(around) else 0.0
        found[t] = value > JUMP + TIMES * usual
    return found


def displacements(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """By how many pixels blocks of each frame move to the next, by phase correlation.

    Parameters
    ----------
    frames : ndarray
        (T, H, W, 3), uint8.

    Returns
    -------
    steps : ndarray
        (T - 1, rows, columns), float32: 0 for a block that hardly changes. What moves by more than
        a third of a block, or comes and goes, gets a number that means nothing but is seldom small.
    tops, lefts : ndarray
        First row or column of each block.
    block : int
        Side of a block in pixels; the last ones may reach over the edge by less than `shrink`.

    References
    ----------
    C. D. Kuglin and D. C. Hines, "The phase correlation image alignment method", IEEE Conference on
    Cybernetics and Society, 1975.
    """
    shrink = max(1, round(min(frames.shape[1:3]) / HEIGHT))
    size = tuple(n // shrink for n in frames.shape[1:3])
    side = min(BLOCK, *size)
    tops, lefts = (
        np.linspace(0, n - side, math.ceil(n / side)).round().astype(np.int64) for n in size
    )
    window, band = _window(side), _band(side)
    steps, before = [], None
    for grey in _greys(frames, shrink):
        blocks = torch.stack(
            [torch.stack([grey[i : i + side, j : j + side] for j in lefts]) for i in tops]
        )
        spectra = rfftn((blocks - blocks.mean((-2, -1), keepdim=True)) * window, 2)
        if before is not None:
            moved = _shift(spectra * before[1].conj(), band)
            change = (blocks - before[0]).abs().mean((-2, -1))
            steps.append(torch.where(change < STILL, 0.0, moved * shrink))
        before = blocks, spectra
    shape = (0, len(tops), len(lefts))
    found = torch.stack(steps).numpy() if steps else np.empty(shape, np.float32)
    return found, tops * shrink, lefts * shrink, side * shrink


def _window(side: int) -> Tensor:
    """A Hann window (side, side) that is nowhere 0."""
    line = torch.hann_window(side + 2, periodic=False)[1:-1]
    return line[:, None] * line


def _band(side: int) -> Tensor:
    """A Gaussian low-pass on the half spectrum of blocks."""
    y, x = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
    return torch.exp(-(y**2 + x**2) / BAND**2)


def _shift(cross: Tensor, band: Tensor) -> Tensor:
    """Length (...,) of the shift behind cross spectra (..., n, n // 2 + 1), to a fraction."""
    n = cross.shape[-2]
    size = cross.abs()
    # Frequencies that a block hardly has get no say.
    floor = 1e-3 * size.amax((-2, -1), keepdim=True) + 1e-12
    surface = irfftn(cross / (size + floor) * band, (n, n))
    peak = surface.flatten(-2).argmax(-1)
    squared = torch.zeros_like(surface[..., 0, 0])
    for axis, at, other in ((-2, peak // n, peak % n), (-1, peak % n, peak // n)):
        line = surface.movedim(axis, -1)
        line = line.gather(-2, other[..., None, None].expand(*other.shape, 1, n))[..., 0, :]
        below, top, above = (
            line.gather(-1, ((at + step) % n)[..., None])[..., 0] for step in (-1, 0, 1)
        )
        bend = (2 * top - below - above).clamp_min(1e-12)
        part = (0.5 * (above - below) / bend).clamp(-0.5, 0.5)
        squared = squared + (((at + n // 2) % n) - n // 2 + part) ** 2
    return squared.sqrt()
