"""Where the observed frame lies in the latent image's domain, and the ways between the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deconv.arrays import Array, device, is_numpy, namespace
from deconv.fft import fast_shape
from deconv.memory import empty

__all__ = ["Frame"]


@dataclass(frozen=True)
class Frame:
    """A window of `shape` at `origin` in a circular `domain`; spatial axes are the last ones."""

    shape: tuple[int, ...]
    domain: tuple[int, ...]
    origin: tuple[int, ...]

    @classmethod
    def place(
        cls, shape: tuple[int, ...], size: tuple[int, ...], boundary: str, stride: int = 1
    ) -> Frame:
        """The frame of an observed `shape` blurred by a psf of `size`.

        With a `stride`, shape and frame are those of the coarse grid, the psf is on the fine one,
        and the zero boundary is not served.
        """
        if boundary == "periodic":
            return cls(shape, shape, (0,) * len(shape))
        pairs = list(zip(shape, size, strict=True))
        if boundary == "zero":
            # What leaves the frame may wrap around anywhere but into the frame.
            reach = tuple(n + k // 2 for n, k in pairs)
            return cls(shape, fast_shape(reach), (0,) * len(shape))
        # The valid part of a convolution begins size - 1 - size // 2 pixels into the scene.
        origin = tuple(-(-(k - 1 - k // 2) // stride) for k in size)
        whole = tuple(
            o + n - (-(k // 2) // stride) for o, (n, k) in zip(origin, pairs, strict=True)
        )
        domain = fast_shape(whole)
        if stride * domain[-1] % 1024 == 0:
            # Fast on the coarse grid, but not on the fine one (see `fast_shape`).
            domain = fast_shape((*whole[:-1], domain[-1] + 1))
        return cls(shape, domain, origin)

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.shape)

    @property
    def is_domain(self) -> bool:
        """Whether the frame is the whole domain."""
        return self.shape == self.domain

    @property
    def index(self) -> tuple[Any, ...]:
        """Index of the frame's part in a domain array."""
        return (
            ...,
            *(slice(o, o + n) for o, n in zip(self.origin, self.shape, strict=True)),
        )

    @property
    def window(self) -> tuple[slice, ...] | None:
        """The frame's range along every axis but the last; None where it is all of the domain."""
        if self.shape[:-1] == self.domain[:-1]:
            return None
        return self.index[1:-1]

    def crop(self, x: Array) -> Array:
        """The frame's part of a domain array (a view, in NumPy)."""
        return x if self.is_domain else x[self.index]

    def pad(self, y: Array) -> Array:
        """`y` in a domain of zeros."""
        if self.is_domain:
            return y
        if is_numpy(y):
            out = empty((*y.shape[: -self.ndim], *self.domain), y.dtype)
            out[self.index] = y
            return self.clear_outside(out)
        xp = namespace(y)
        for axis, before, after in self._margins():
            parts = [y]
            for place, width in ((0, before), (2, after)):
                shape = list(y.shape)
                shape[axis] = width
                zeros = xp.zeros(tuple(shape), dtype=y.dtype, device=device(y))
                parts.insert(place, zeros)
            y = xp.concat(parts, axis=axis)
        return y

    def replace(self, x: Array, y: Array) -> Array:
        """`x` with its frame replaced by `y`; a NumPy `x` is written to."""
        if self.is_domain:
            return y
        if is_numpy(x) and is_numpy(y):
            x[self.index] = y
            return x
        xp = namespace(x)
        inside = self.pad(xp.ones(self.shape, dtype=xp.bool, device=device(x)))
        return xp.where(inside, self.pad(y), x)

    def clear_outside(self, x: Array) -> Array:
        """`x` with zeros beyond the frame; a NumPy `x` is written to."""
        if self.is_domain:
            return x
        if not is_numpy(x):
            return self.pad(self.crop(x))
        for axis, before, after in self._margins():
            rest = (slice(None),) * (-axis - 1)
            x[(..., slice(0, before), *rest)] = 0
            x[(..., slice(x.shape[axis] - after, None), *rest)] = 0
        return x

    def outside(self, x: Array) -> list[Array]:
        """The parts of a domain array beyond the frame: slabs that do not overlap."""
        slabs = []
        for axis, before, after in self._margins():
            n = x.shape[axis]
            slabs += [_range(x, axis, 0, before), _range(x, axis, n - after, n)]
            x = _range(x, axis, before, n - after)
        return slabs

    def extend(self, y: Array) -> Array:
        """`y` continued over the domain so smoothly that it meets itself periodically.

        Axis by axis, the margin cross-fades between the reflections about the two edges that it
        joins, so value and slope fit at both ends and textures go on.
        """
        xp = namespace(y)
        for axis, before, after in self._margins():
            n, gap = y.shape[axis], before + after
            if gap == 0:
                continue
            t = (np.arange(gap) + 1) / (gap + 1)
            fade = 0.5 - 0.5 * np.cos(np.pi * t)
            # Frames narrower than the margin reflect their far edge again and again.
            far = _reflected(n + np.arange(gap), n)
            near = _reflected(np.arange(gap) - gap, n)
            margin = _take(y, far, axis) * _column(1 - fade, axis, y) + _take(
                y, near, axis
            ) * _column(fade, axis, y)
            head = _range(margin, axis, after, gap)
            tail = _range(margin, axis, 0, after)
            y = xp.concat([head, y, tail], axis=axis)
        return y

    def _margins(self) -> list[tuple[int, int, int]]:
        """For each spatial axis (negative): its index and the margins before and after."""
        return [
            (i - self.ndim, o, d - o - n)
            for i, (n, d, o) in enumerate(zip(self.shape, self.domain, self.origin, strict=True))
        ]


def _reflected(index: np.ndarray, n: int) -> np.ndarray:
    """Indices beyond [0, n) folded back, edge pixels repeated."""
    index = index % (2 * n)
    folded: np.ndarray = np.minimum(index, 2 * n - 1 - index)
    return folded


def _take(y: Array, index: np.ndarray, axis: int) -> Array:
    if is_numpy(y):
        return np.take(y, index, axis=axis)
    xp = namespace(y)
    return xp.take(y, xp.asarray(index.tolist(), device=device(y)), axis=y.ndim + axis)


def _column(values: np.ndarray, axis: int, like: Array) -> Array:
    shape = (-1, *[1] * (-axis - 1))
    if is_numpy(like):
        return values.astype(like.dtype).reshape(shape)
    xp = namespace(like)
    return xp.reshape(xp.asarray(values.tolist(), dtype=like.dtype, device=device(like)), shape)


def _range(x: Array, axis: int, start: int, stop: int) -> Array:
    return x[(..., slice(start, stop), *[slice(None)] * (-axis - 1))]
