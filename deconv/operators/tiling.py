"""Spectra under decimation: keeping one pixel in each block adds up the tiles of the spectrum.

All spectra are half spectra of real images. The leading spatial axes are cut into tiles by a
reshape; along the last axis the half that is not kept is the mirror image of the half that is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deconv.arrays import Array, elementwise, namespace

__all__ = ["Tiling"]


@dataclass(frozen=True)
class Tiling:
    """The tiles of a spectrum on `domain`, `stride` along every axis.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).random((6, 9))
    >>> mean = Tiling(x.shape, 3).mean(np.fft.rfft2(x))
    >>> bool(np.allclose(mean, np.fft.rfft2(x[::3, ::3])))
    True
    """

    domain: tuple[int, ...]
    stride: int

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.domain)

    def mean(self, spectrum: Array) -> Array:
        """Mean of the tiles: the half spectrum of every `stride`-th pixel of the image."""
        xp, s = namespace(spectrum), self.stride
        total = self._cut(spectrum)
        for axis in range(1 - 2 * self.ndim, -1, 2):
            total = xp.sum(total, axis=axis)
        total = self._both_halves(total, self.domain[-1])
        n = self.domain[-1] // s
        total = xp.reshape(total, (*total.shape[:-1], s, n))[..., : n // 2 + 1]
        return xp.sum(total, axis=-2) / s**self.ndim

    def repeat(self, fn: Callable[..., Array], small: Array, *arrays: Array) -> Array:
        """Elementwise ``fn(small, *arrays)`` with the half spectrum `small` in every tile.

        `small`, of the coarse grid, becomes the half spectrum of its image between zeros. The first
        of `arrays` is a half spectrum on the domain; axes of the others may have length 1.
        """
        n, s = self.domain[-1], self.stride
        both = self._both_halves(small, n // s)
        small = namespace(both).concat([both] * (s // 2 + 1), axis=-1)[..., : n // 2 + 1]
        result = elementwise(fn, *(self._cut(a) for a in (small, *arrays)))
        lead = tuple(result.shape[: 1 - 2 * self.ndim])
        return namespace(result).reshape(result, (*lead, *self.domain[:-1], n // 2 + 1))

    def _cut(self, spectrum: Array) -> Array:
        """`spectrum` with each spatial axis but the last cut in two: which tile, where in it.

        On the coarse grid there is one tile; an axis of length 1 becomes two.
        """
        coarse = (n // self.stride for n in self.domain[:-1])
        sides = zip(spectrum.shape[-self.ndim : -1], coarse, strict=True)
        cut = [m for n, d in sides for m in (max(n // d, 1), min(n, d))]
        shape = (*spectrum.shape[: -self.ndim], *cut, spectrum.shape[-1])
        return namespace(spectrum).reshape(spectrum, shape)

    def _both_halves(self, spectrum: Array, n: int) -> Array:
        """The whole last axis, of length `n`, of a real image's half spectrum."""
        xp = namespace(spectrum)
        mirror = xp.flip(spectrum[..., 1 : (n + 1) // 2], axis=tuple(range(-self.ndim, 0)))
        for axis in range(-self.ndim, -1):
            mirror = xp.roll(mirror, 1, axis=axis)
        return xp.concat([spectrum, xp.conj(mirror)], axis=-1)
