"""A picture restored tile by tile, so that memory stays bounded, without seams.

What a restoration knows near the edge of a tile is less than what it would know in the whole
picture, so tiles overlap: the outer part of the overlap is dropped, the rest cross-faded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from deconv.arrays import Array, checked, like, namespace, whole
from deconv.fft import fast_shape
from deconv.progress import Callback, State

__all__ = ["Grid", "Region", "tiled"]

# The influence of a frame ends after about the size of the psf (measured on photographs with TV and
# hyper-Laplacian priors): with an overlap of twice that, what tiles differ by in the seams is what
# they differ by elsewhere, the solver's own tolerance; with once it is three times as much.
SIZES, LEAST = 2, 32
# Part of an overlap that is dropped on either side; the tiles cross-fade over what is left.
DROPPED = 0.25

Region = tuple[slice, ...]
Restore = Callable[[Array, Region, Callback | None], Array]


@dataclass(frozen=True)
class Grid:
    """Overlapping tiles of one size over a frame, and windows that sum to 1.

    Attributes
    ----------
    shape, tile : tuple of int
        Of the frame and of every tile.
    starts : tuple of tuple of int
        Where tiles begin along each axis.
    overlap : int
        Least number of pixels that neighbours share.

    Examples
    --------
    >>> from deconv.tiles import Grid
    >>> grid = Grid.over((500, 300), tile=200, overlap=20)
    >>> grid.tile, len(grid)
    ((180, 160), 6)
    """

    shape: tuple[int, ...]
    tile: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]
    overlap: int

    @classmethod
    def over(
        cls, shape: tuple[int, ...], tile: int, overlap: int, psf: tuple[int, ...] | None = None
    ) -> Grid:
        """The fewest tiles of about `tile` pixels along each axis that cover `shape`.

        They are as small as that number of them allows, and then as much larger as makes the domain
        of a solver with a psf of this shape FFT-friendly.

        >>> Grid.over((500, 300), tile=200, overlap=20)
        Grid(shape=(500, 300), tile=(180, 160), starts=((0, 160, 320), (0, 140)), overlap=20)
        """
        extra = tuple(k - 1 for k in psf or (1,) * len(shape))
        counts = [max(1, -(-(n - overlap) // (tile - overlap))) if n > tile else 1 for n in shape]
        sizes = [-(-(n + (m - 1) * overlap) // m) for n, m in zip(shape, counts, strict=True)]
        fast = fast_shape(tuple(t + e for t, e in zip(sizes, extra, strict=True)))
        size = tuple(min(n, f - e) for n, f, e in zip(shape, fast, extra, strict=True))
        starts = []
        for n, t, m in zip(shape, size, counts, strict=True):
            steps = range(m) if t < n else (0,)
            starts.append(tuple(round(i * (n - t) / max(m - 1, 1)) for i in steps))
        return cls(shape, size, tuple(starts), overlap)

    def __len__(self) -> int:
        """Number of tiles."""
        return math.prod(len(starts) for starts in self.starts)

    def __iter__(self) -> Iterator[tuple[Region, tuple[np.ndarray, ...]]]:
        """Each tile's region of the frame and its window, one factor per axis; in reading order."""
        windows = [self._windows(axis) for axis in range(len(self.shape))]
        for at in itertools.product(*(range(len(starts)) for starts in self.starts)):
            begin = [starts[i] for starts, i in zip(self.starts, at, strict=True)]
            region = tuple(slice(b, b + t) for b, t in zip(begin, self.tile, strict=True))
            yield region, tuple(of_axis[i] for of_axis, i in zip(windows, at, strict=True))

    def _windows(self, axis: int) -> list[np.ndarray]:
        """The windows along one axis: raised cosines in the overlaps, which sum to 1."""
        starts, tile = self.starts[axis], self.tile[axis]
        half = (0.5 - DROPPED) * self.overlap
        at = np.arange(tile) + 0.5
        result = []
        for i, start in enumerate(starts):
            window = np.ones(tile)
            if i > 0:
                window *= _rise(at - (starts[i - 1] + tile - start) / 2, half)
            if i + 1 < len(starts):
                window *= 1 - _rise(at - (starts[i + 1] + tile - start) / 2, half)
            result.append(window)
        return result


def _rise(t: np.ndarray, half: float) -> np.ndarray:
    """From 0 at ``-half`` to 1 at `half`."""
    return np.asarray(0.5 + 0.5 * np.sin(np.pi / 2 * np.clip(t / max(half, 0.25), -1, 1)))


def tiled(
    restore: Restore,
    image: Any,
    *,
    tile: int = 1024,
    overlap: int | None = None,
    psf_shape: tuple[int, ...] | None = None,
    channel_axis: int | None = None,
    callback: Callback | None = None,
) -> Array:
    """Restore `image` in overlapping tiles of one size, one after the other, and blend them.

    Memory is that of the image, the result and the restoration of one tile. What `restore` finds
    from its pixels (the noise, a weight) it finds for each tile anew, and tiles that disagree show:
    give it numbers, found once for the whole picture.

    Parameters
    ----------
    restore : callable
        ``restore(pixels, region, callback)`` returns the restored `pixels`, a tile in the layout of
        `image`, of their shape. `region` is the tile's slices of the spatial axes; `callback` is
        None, or what a solver should call in each iteration.
    image : array (Y, X), or of 1 to 3 spatial axes; with `channel_axis` one more
    tile : int
        Side of a tile in pixels, at least twice the overlap: about the most that is used. An image
        that is no larger goes to `restore` whole.
    overlap : int, optional
        Least number of pixels that neighbours share, of which the outer quarter on either side is
        dropped. Default: twice the size of the psf and at least 32, which hides that tiles were
        restored apart; then `tile` counts as at least three times that.
    psf_shape : tuple of int, optional
        Shape of the psf that `restore` works with, if it does: tiles are made a little larger where
        that makes the FFTs faster.
    channel_axis : int, optional
        Axis of the colours, which stay together.
    callback : callable, optional
        Called with a `deconv.progress.State` whenever the solver in a tile calls its own, or else
        after each tile. Iterations count on from tile to tile as if each needed all of them;
        `state.image` is the whole picture, restored as far as it is. StopIteration ends the work
        and returns that.

    Returns
    -------
    array
        With the shape and floating dtype of `image`.

    Raises
    ------
    TypeError, ValueError
        For bad input, and if `restore` changes a tile's shape.

    Examples
    --------
    >>> import numpy as np
    >>> import deconv
    >>> from deconv.tiles import tiled
    >>> psf = deconv.psf.gaussian(1.5)
    >>> image = np.random.default_rng(0).random((200, 300))
    >>> sharper = tiled(
    ...     lambda pixels, region, callback: deconv.tv(pixels, psf, sigma=0.1, lam=0.01),
    ...     image, tile=128, psf_shape=psf.shape,
    ... )
    >>> sharper.shape
    (200, 300)
    """
    grid, axis, image, holes = _checked(image, tile, overlap, psf_shape, channel_axis)
    if len(grid) == 1:
        return restore(image, next(iter(grid))[0], callback)
    xp = namespace(image)
    # The picture so far: what begins it is taken out as restored tiles come in.
    begin = xp.where(xp.isnan(image), xp.zeros_like(image), image) if holes else image
    result = 1 * begin
    told = None if callback is None else _Told(callback, len(grid))
    for region, windows in grid:
        place = region if axis is None else (*region[:axis], slice(None), *region[axis:])

        def blended(x: Array, place: Any = place, windows: Any = windows) -> Array:
            """The tile's part of the picture, with x in it."""
            new = like(x, result) - begin[place]
            for i, window in enumerate(windows):
                along = i if axis is None or i < axis else i + 1
                column = window.reshape(-1, *[1] * (new.ndim - along - 1))
                new = new * like(column, result)
            return result[place] + new

        def picture(x: Array, place: Any = place, blended: Any = blended) -> Array:
            """The picture with a copy of x in it."""
            copy = 1 * result
            copy[place] = blended(x)
            return copy

        restored = restore(image[place], region, None if told is None else told.tile(picture))
        if tuple(restored.shape) != tuple(image[place].shape):
            raise ValueError(
                f"restore turned a tile of shape {tuple(image[place].shape)} into one of "
                f"{tuple(restored.shape)}; expected the same shape"
            )
        result[place] = blended(restored)
        if told is not None and told.end(lambda: 1 * result):
            break
    return result


class _Told:
    """The callback of the whole work, as the solver in each tile may call it."""

    def __init__(self, callback: Callback, count: int) -> None:
        self.callback, self.count = callback, count
        self.tiles = self.iteration = 0
        self.heard = self.cancelled = False

    def tile(self, picture: Callable[[Array], Array]) -> Callback:
        """What the solver in the next tile calls; `picture` puts its image into the whole."""
        before, self.heard = self.iteration, False

        def tell(state: State) -> None:
            self.heard = True
            n = state.n_iter
            first = before if n is None else self.tiles * n
            self.say(
                first + state.iteration,
                None if n is None else self.count * n,
                lambda: picture(state.image),
                state.stopped,
            )
            if self.cancelled:
                raise StopIteration

        return tell

    def end(self, picture: Callable[[], Array]) -> bool:
        """A tile is done; whether the callback says stop."""
        if not self.heard:
            self.say(self.tiles + 1, self.count, picture, "all tiles are restored")
        self.tiles += 1
        return self.cancelled

    def say(
        self, iteration: int, n_iter: int | None, picture: Callable[[], Array], stopped: str | None
    ) -> None:
        """One call of the callback; only the last tile's end is that of the work."""
        self.iteration = iteration
        last = self.tiles == self.count - 1
        try:
            self.callback(
                State(iteration, n_iter, picture, lambda: None, stopped if last else None)
            )
        except StopIteration:
            self.cancelled = True


def _checked(
    image: Any,
    tile: Any,
    overlap: Any,
    psf_shape: tuple[int, ...] | None,
    channel_axis: int | None,
) -> tuple[Grid, int | None, Array, bool]:
    """The grid, the channel axis counted from the front, the image, and whether it holds NaN."""
    image, holes = checked(image, "image")
    shape = tuple(image.shape)
    axis = None
    if channel_axis is not None:
        axis = whole(channel_axis, "channel_axis", low=-len(shape))
        if axis >= len(shape):
            raise ValueError(f"channel_axis={axis} is out of range for image of shape {shape}")
        axis %= len(shape)
    frame = tuple(n for i, n in enumerate(shape) if i != axis)
    if not 1 <= len(frame) <= 3:
        raise ValueError(f"image has shape {shape}; expected 1 to 3 spatial axes")
    if psf_shape is not None and len(psf_shape) != len(frame):
        raise ValueError(f"psf_shape={psf_shape}; expected {len(frame)} axes as of the image")
    tile = whole(tile, "tile", low=1)
    if overlap is None:
        overlap = max(LEAST, SIZES * max(psf_shape or (1,)))
        tile = max(tile, 3 * overlap)
    overlap = whole(overlap, "overlap")
    if tile < 2 * overlap:
        raise ValueError(
            f"tile={tile} and overlap={overlap}; expected a tile of at least twice the overlap"
        )
    return Grid.over(frame, tile, overlap, psf_shape), axis, image, holes
