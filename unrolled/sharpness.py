"""How blurred a picture is, where, and which of several is the sharpest: by the blur classifier."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from os import PathLike, fspath
from typing import Any

import numpy as np
from torch import nn

from deconv import io
from deconv.arrays import channels_first, checked, is_numpy, number, to_numpy, whole
from deconv.picture import Picture
from unrolled.models.blur_classifier import BlurClassifier
from unrolled.tiles import LEAST, octaves

__all__ = ["Sharpness", "classifier", "of_picture", "rank", "sharpest_first", "sharpness"]

WEIGHTS = "blur-classifier"
# At a quarter of the size, one cell of the classifier's edges is left of it.
LEAST_TILE = 16


@dataclass(frozen=True, eq=False)
class Sharpness:
    """How blurred a picture is.

    Attributes
    ----------
    name : str
        What the picture is called.
    score : float
        The lower, the sharper: the mean of `map`, weighted by the strength of edges. NaN if no tile
        could be judged.
    probability : float
        In [0, 1], that the picture is blurred at all, as the classifier sees it at its full scale;
        NaN where `score` is.
    map : ndarray (h, w), float32
        The mean of each tile's logits at full, half and quarter size: negative is sharp. NaN where
        it has too few edges to tell.
    side : float
        Side of a tile, in pixels of the picture as it was given. The last tiles of a row or column
        may reach beyond the picture.

    Examples
    --------
    >>> from skimage import data
    >>> from unrolled.sharpness import sharpness
    >>> found = sharpness(data.camera()[100:228, 100:228], name="camera")
    >>> found.name, found.map.shape, found.side
    ('camera', (4, 4), 32.0)
    """

    name: str
    score: float
    probability: float
    map: np.ndarray
    side: float

    @property
    def judged(self) -> float:
        """Share of the tiles that could be judged."""
        return float(np.isfinite(self.map).mean())


@cache
def classifier(name_or_path: str | PathLike[str] = WEIGHTS) -> nn.Module:
    """The trained classifier, loaded once."""
    return BlurClassifier.from_pretrained(name_or_path).eval()


def sharpness(
    image: Any,
    *,
    channel_axis: int | None = None,
    tile: int = 32,
    scale: float = 1.0,
    network: nn.Module | None = None,
    name: str = "",
) -> Sharpness:
    """How blurred a picture is, in all and tile by tile.

    The classifier looks at the picture in full, at half and at a quarter of its size. What is
    blurred at one of these scales is blurred at all finer ones, so logits are at least those of the
    coarser scales, and their mean grows with the blur beyond what the classifier can tell at one.
    Tiles count by the strength of their edges: a sharp face before a soft background counts as
    sharp, and the sky counts for nothing. Windows bound the memory.

    Parameters
    ----------
    image : array (Y, X), or with a channel axis
        NumPy or torch, of display values in any unit: only differences relative to the picture's
        range count. NaN is unobserved.
    channel_axis : int, optional
        Axis of colours. Three are red, green and blue and become their luma, others their mean.
    tile : int
        Side of a tile in pixels of the scaled picture, at least 16.
    scale : float
        In (0, 1]. The picture is shrunk by this factor first, and that is its full size. At 1, a
        blur of some pixels counts, of however many megapixels they are; at 0.25, one that shows on
        a screen.
    network : module, optional
        With a method ``map`` from pictures (N, 1, H, W) to logits (N, 1, h, w), positive where
        blurred. The classifier that comes with the package, if not given.
    name : str
        Passed on to the result.

    Returns
    -------
    Sharpness

    Raises
    ------
    TypeError, ValueError
        For bad input, naming the argument, before any work is done. At least 32 pixels along both
        axes must be left of the scaled picture.

    References
    ----------
    Li, Pan, Lai, Gao, Sang and Yang, "Learning a discriminative prior for blind image deblurring",
    CVPR 2018: a classifier of blurred and sharp pictures.

    Examples
    --------
    >>> from scipy.ndimage import gaussian_filter
    >>> from skimage import data
    >>> from unrolled.sharpness import sharpness
    >>> sharp = data.camera()[100:228, 150:278] / 255
    >>> sharpness(sharp).score < sharpness(gaussian_filter(sharp, 3)).score
    True
    """
    tile = whole(tile, "tile", low=LEAST_TILE)
    scale = number(scale, "scale", low=0, high=1, strict=True)
    planes = _planes(image, channel_axis)
    shape = [round(n * scale) for n in planes.shape[-2:]]
    if min(shape) < LEAST:
        raise ValueError(
            f"image is {shape[0]} x {shape[1]} pixels at scale={scale:g}; expected at least "
            f"{LEAST} along both axes"
        )
    net = classifier() if network is None else network
    logits, strength = octaves(net, planes, (shape[0], shape[1]), tile)
    return Sharpness(name, *_summed(logits, strength), tile / scale)


def _summed(logits: np.ndarray, strength: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Score, probability and map, from the logits of tiles at each scale, the finest first."""
    known = np.isfinite(logits)
    decided = known.any(axis=0)
    least = np.maximum.accumulate(np.where(known, logits, -np.inf)[::-1])[::-1]
    # Where only finer scales know, there is no more to say of the coarser ones.
    count = np.isfinite(least).sum(axis=0)
    total = np.where(np.isfinite(least), least, 0).sum(axis=0)
    tiles = np.where(decided, total / np.maximum(count, 1), np.nan)
    if not decided.any():
        return math.nan, math.nan, tiles.astype(np.float32)
    weight = strength[decided] / strength[decided].sum()
    score = float(weight @ tiles[decided])
    probability = 0.5 + 0.5 * math.tanh(0.5 * float(weight @ least[0][decided]))
    return score, probability, tiles.astype(np.float32)


def of_picture(picture: Picture, **options: Any) -> Sharpness:
    """`sharpness` of a picture that was read from a file.

    Parameters
    ----------
    picture : Picture
        Grey or in colour.
    **options
        As of `sharpness`, but for `channel_axis`.

    Returns
    -------
    Sharpness

    Raises
    ------
    ValueError
        For a stack, beside what `sharpness` raises.

    Examples
    --------
    >>> from skimage import data
    >>> from deconv.io import Picture
    >>> from unrolled.sharpness import of_picture
    >>> of_picture(Picture(data.astronaut()[:96, 160:288], "YXS")).map.shape
    (3, 4)
    """
    if len(picture.axes.replace("S", "")) > 2:
        raise ValueError(f"expected one picture; this is a stack ({picture.axes})")
    axis = -1 if picture.axes.endswith("S") else None
    return sharpness(picture.pixels, channel_axis=axis, **options)


def rank(
    pictures: Mapping[str, Any] | Iterable[str | PathLike[str]], **options: Any
) -> list[Sharpness]:
    """Several pictures, the sharpest first.

    Parameters
    ----------
    pictures : mapping of name to array, or iterable of paths
        Files are read one after the other.
    **options
        As of `sharpness`, the same for all: `channel_axis` for arrays, `tile`, `scale`, `network`.

    Returns
    -------
    list of Sharpness
        In order of `score`; what could not be judged comes last.

    Raises
    ------
    TypeError, ValueError
        As of `sharpness`; of a picture, with its name. As of `deconv.io.read` for paths.

    Examples
    --------
    >>> from scipy.ndimage import gaussian_filter
    >>> from skimage import data
    >>> from unrolled.sharpness import rank
    >>> sharp = data.camera()[100:228, 150:278] / 255
    >>> [found.name for found in rank({"soft": gaussian_filter(sharp, 3), "sharp": sharp})]
    ['sharp', 'soft']
    """
    if isinstance(pictures, Mapping):
        found = [_named(name, sharpness, image, options) for name, image in pictures.items()]
    else:
        paths = [fspath(path) for path in pictures]
        found = [_named(path, of_picture, io.read(path), options) for path in paths]
    return sharpest_first(found)


def _named(name: str, function: Any, image: Any, options: dict[str, Any]) -> Sharpness:
    try:
        result: Sharpness = function(image, name=name, **options)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error
    return result


def sharpest_first(found: Iterable[Sharpness]) -> list[Sharpness]:
    """In order of `score`; what could not be judged comes last.

    Parameters
    ----------
    found : iterable of Sharpness
        Of any pictures.

    Returns
    -------
    list of Sharpness

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled.sharpness import Sharpness, sharpest_first
    >>> def found(name, score):
    ...     return Sharpness(name, score, 0.5, np.zeros((1, 1)), 32)
    >>> each = [found("a", 0.5), found("b", float("nan")), found("c", -2.0)]
    >>> [one.name for one in sharpest_first(each)]
    ['c', 'a', 'b']
    """
    return sorted(found, key=lambda each: (math.isnan(each.score), each.score))


def _planes(image: Any, channel_axis: int | None) -> np.ndarray:
    """The validated picture as (Y, X) or (C, Y, X), its integers uncopied."""
    integers = is_numpy(image) and image.dtype.kind in "iub" and image.size > 0
    values = image if integers else to_numpy(checked(image, "image")[0])
    if channel_axis is None and values.ndim != 2:
        raise ValueError(
            f"image has shape {values.shape}; expected (Y, X), or channel_axis for colours"
        )
    return np.asarray(channels_first(values, 2, channel_axis))
