"""Blurred and sharp pictures from videos: averages of consecutive frames in linear light."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deconv.arrays import number, whole
from unrolled.clips import Clip
from unrolled.crops import TURNS, turned
from unrolled.pairs import Pair

__all__ = ["FrameAverage", "averaged", "frame_pairs"]

# Of the random numbers here, beside those of other samples with the same seed.
STREAM = 11


def averaged(frames: np.ndarray, gamma: float = 2.2) -> np.ndarray:
    """The long exposure of which `frames` are the parts, float32 on [0, 1].

    Each frame's light, ``frame ** gamma``, is averaged, and the mean stored as the frames are.

    Parameters
    ----------
    frames : ndarray
        (M, ..., 3), uint8.
    gamma : float
        Exponent from stored values to light; 1 averages what is stored.

    Returns
    -------
    ndarray
        (..., 3), float32 on [0, 1].

    References
    ----------
    S. Nah, T. H. Kim and K. M. Lee, "Deep multi-scale convolutional neural network for dynamic
    scene deblurring", CVPR 2017.

    Examples
    --------
    Light, not values, is averaged: half white and half black is brighter than 0.5.

    >>> import numpy as np
    >>> from unrolled.video import averaged
    >>> frames = np.stack([np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)])
    >>> averaged(frames, gamma=2.2).round(3)
    array([[[0.73, 0.73, 0.73]]], dtype=float32)
    """
    light = (np.arange(256, dtype=np.float64) / 255) ** gamma
    # One frame at a time: whole ones in floats are large.
    total = np.zeros(frames.shape[1:])
    for frame in frames:
        total += light[frame]
    mean: np.ndarray = ((total / len(frames)) ** (1 / gamma)).astype(np.float32)
    return mean


class FrameAverage:
    """Pairs from videos: an average of consecutive frames, and the middle one of them.

    Number of frames, start, place and turn of a sample come from the seed and its own index alone.
    Windows over a cut are not used, nor are those where something in the crop moves by more than
    `motion` pixels between neighbouring frames, which an average would show as separate ghosts.
    Both are measured once, when the clips are read.

    Parameters
    ----------
    paths : sequence of paths
        Videos that PyAV decodes, or GIFs.
    side : int
        Of a crop, in pixels.
    frames : (int, int)
        Least and most frames of an average; only odd numbers are drawn.
    gamma : float
        Exponent from stored values to light.
    motion : float
        Largest step between neighbouring frames in pixels.
    least : float
        Shortest path of what moves most in a crop over the window, in pixels; above 0 it leaves out
        crops of which the average is as sharp as the frame.
    shrink : int
        Frames are made smaller by this factor: it takes away what codecs and sensors left in them,
        and makes steps smaller.
    flips : bool
        Whether crops are flipped and turned, the same way for both.
    memory : int
        Bytes that all clips may take together. Each has an equal share, and is read from its
        beginning up to that.
    seed : int
        Of everything random.
    device : str or torch.device
        Where batches go.

    Raises
    ------
    FileNotFoundError
        If there is no path, or no such file.
    ImportError
        If PyAV is not installed: ``pip install 'deconv[video]'``.
    TypeError, ValueError
        For an argument out of range, a file that is no video, one with frames smaller than the
        crop, and where no window of any clip can be used.

    Notes
    -----
    An average has less noise than a frame, and less than a camera's long exposure.

    References
    ----------
    S. Nah, T. H. Kim and K. M. Lee, "Deep multi-scale convolutional neural network for dynamic
    scene deblurring", CVPR 2017.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> from skimage import data
    >>> from unrolled.video import FrameAverage
    >>> frames = [Image.fromarray(data.astronaut()[:96, k : k + 96]) for k in range(7)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     frames[0].save(f"{folder}/pan.gif", save_all=True, append_images=frames[1:])
    ...     pair = FrameAverage([f"{folder}/pan.gif"], 64, frames=(5, 5)).batch(0, range(2))
    >>> pair.blurred.shape
    torch.Size([2, 3, 64, 64])
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        side: int,
        *,
        frames: tuple[int, int] = (5, 13),
        gamma: float = 2.2,
        motion: float = 2.0,
        least: float = 0.0,
        shrink: int = 1,
        flips: bool = True,
        memory: int = 1 << 30,
        seed: int = 0,
        device: Any = "cpu",
    ) -> None:
        self.side, self.flips = whole(side, "side", low=1), flips
        self.lengths = _odd(frames)
        self.gamma = number(gamma, "gamma", low=0, strict=True)
        self.motion = number(motion, "motion", low=0, strict=True)
        self.least = number(least, "least", low=0)
        self.seed, self.device = whole(seed, "seed"), torch.device(device)
        paths = _listed(paths)
        share = whole(memory, "memory", low=1) // len(paths)
        self.clips = [Clip(path, memory=share, shrink=shrink) for path in paths]
        for clip in self.clips:
            _large_enough(clip, self.side)
        self.windows = {n: windows for n in self.lengths if len(windows := self._windows(n))}
        if not self.windows:
            raise ValueError(
                f"paths: none of the {len(paths)} clips has {self.lengths[0]} frames in a row "
                f"without a cut that move by at most motion={motion:g} pixels a frame, and by "
                f"least={least:g} in all, within {side} x {side}; expected one or more"
            )

    def _windows(self, length: int) -> np.ndarray:
        """Windows of so many frames that can be used: (K, 4) of clip, frame, row and column."""
        found = [
            np.insert(clip.clear(length, self.side, self.motion, self.least), 0, i, axis=1)
            for i, clip in enumerate(self.clips)
        ]
        return np.concatenate(found)

    def batch(self, step: int, indices: Iterable[int]) -> Pair:
        """The samples `indices`: (N, 3, side, side) each, on [0, 1]."""
        blurred, sharp = zip(*(self.sample(index) for index in indices), strict=True)
        return Pair(torch.stack(blurred).to(self.device), torch.stack(sharp).to(self.device))

    def sample(self, index: int) -> tuple[Tensor, Tensor]:
        """Sample `index`, blurred and sharp, (3, side, side)."""
        rng = np.random.default_rng([self.seed, STREAM, index])
        length = int(rng.choice(list(self.windows)))
        which, begin, *place = rng.choice(self.windows[length])
        clip = self.clips[which]
        # From the grid of places to any pixel.
        top, left = (
            at + rng.integers(min(clip.spacing, n - self.side + 1 - at))
            for at, n in zip(place, clip.frames.shape[1:3], strict=True)
        )
        window = clip.frames[begin : begin + length, top : top + self.side, left : left + self.side]
        way = int(rng.integers(TURNS)) if self.flips else 0
        blurred, sharp = averaged(window, self.gamma), _unit(window[length // 2])
        return turned(_planes(blurred), way), turned(_planes(sharp), way)


def frame_pairs(
    path: str | Path,
    frames: int = 7,
    gamma: float = 2.2,
    every: int | None = None,
    *,
    motion: float | None = None,
    shrink: int = 1,
    memory: int = 1 << 30,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Whole pictures of a video for evaluation: averages of frames, with the middle ones.

    Parameters
    ----------
    path : path
        A video, or a GIF.
    frames : int
        Frames of an average, odd.
    gamma : float
        Exponent from stored values to light.
    every : int, optional
        Frames from the beginning of one average to that of the next; `frames` if not given.
    motion : float, optional
        Leave out averages in which any block moves by more pixels between neighbouring frames.
    shrink : int
        Frames are made smaller by this factor.
    memory : int
        Bytes that the frames may take; a longer clip is read up to there.

    Returns
    -------
    pairs : iterator of (ndarray, ndarray)
        Blurred and sharp, (3, H, W), float32 on [0, 1]; none across a cut.

    Raises
    ------
    FileNotFoundError, ImportError, TypeError, ValueError
        As `FrameAverage`; at once, before the first pair is asked for.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> from skimage import data
    >>> from unrolled.video import frame_pairs
    >>> frames = [Image.fromarray(data.astronaut()[:96, k : k + 96]) for k in range(7)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     frames[0].save(f"{folder}/pan.gif", save_all=True, append_images=frames[1:])
    ...     pairs = list(frame_pairs(f"{folder}/pan.gif", frames=3))
    >>> len(pairs), pairs[0][0].shape
    (2, (3, 96, 96))
    """
    (length,) = _odd((frames, frames))
    gamma = number(gamma, "gamma", low=0, strict=True)
    stride = length if every is None else whole(every, "every", low=1)
    fastest = np.inf if motion is None else number(motion, "motion", low=0)
    clip = Clip(path, memory=memory, shrink=shrink)
    if len(clip.frames) < length:
        raise ValueError(
            f"{path}: {len(clip.frames)} frames were read; expected frames={length} or more"
        )
    bad = clip.cuts | (clip.steps.max((1, 2)) > fastest)
    begins = range(0, len(clip.frames) - length + 1, stride)
    windows = (
        clip.frames[at : at + length] for at in begins if not bad[at : at + length - 1].any()
    )
    return (
        (_planes(averaged(w, gamma)).numpy(), _planes(_unit(w[length // 2])).numpy())
        for w in windows
    )


def _odd(frames: Any) -> list[int]:
    """The odd numbers of a range (least, most)."""
    if not isinstance(frames, (tuple, list)) or len(frames) != 2:
        raise ValueError(f"frames={frames!r}; expected two numbers, the least and the most")
    low, high = (whole(n, "frames", low=1) for n in frames)
    found = list(range(low | 1, high + 1, 2))
    if not found:
        raise ValueError(f"frames={tuple(frames)}; expected an odd number, or a range with one")
    return found


def _listed(paths: Any) -> list[Path]:
    if isinstance(paths, (str, Path)):
        raise TypeError(f"paths={str(paths)!r}; expected a sequence of paths")
    found = [Path(path) for path in paths]
    if not found:
        raise FileNotFoundError("paths: there are none; expected one video or more")
    return found


def _large_enough(clip: Clip, side: int) -> None:
    height, width = clip.frames.shape[1:3]
    if side > min(height, width):
        raise ValueError(
            f"{clip.path}: its frames are {width} x {height}; expected at least side={side}"
        )


def _unit(frame: np.ndarray) -> np.ndarray:
    return frame.astype(np.float32) / 255


def _planes(picture: np.ndarray) -> Tensor:
    """(Y, X, 3) to (3, Y, X)."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
