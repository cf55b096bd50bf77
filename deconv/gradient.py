r"""The gradient that the priors look at, and the one pass over it that a splitting step needs.

Forward differences on the domain. Their square is diagonal in the spectrum, so the solvers' closed
form holds; a scene that goes on beyond the frame is no circle, though, so there the differences
across the domain's seam are left out of the prior (`closed` false).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from deconv.arrays import Array, device, is_numpy, namespace
from deconv.fft import frequencies
from deconv.memory import empty
from deconv.threads import BLOCK_BYTES, PARALLEL_BYTES, get_threads, share_out

__all__ = ["Gradient", "curvature"]

Factor = Callable[[Array], Array]


@dataclass(frozen=True)
class Gradient:
    """Forward differences over the last `ndim` axes, stacked in front: (ndim, ..., *domain).

    Attributes
    ----------
    ndim : int
        Number of spatial axes.
    closed : bool
        Whether the last pixel's neighbour is the first one; else its difference is 0.
    """

    ndim: int
    closed: bool = True

    def __call__(self, x: Array) -> Array:
        """Differences of `x`, shape (..., *domain)."""
        xp = namespace(x)
        return xp.stack([self._inner(d, axis) for axis, d in self._differences(x)])

    def adjoint(self, z: Array) -> Array:
        """Exact transpose: (ndim, ..., *domain) to (..., *domain)."""
        total: Any = 0
        for i, axis in enumerate(range(-self.ndim, 0)):
            part = self._inner(z[i, ...], axis)
            total = total + namespace(z).roll(part, 1, axis=axis) - part
        return total

    def power(self, shape: tuple[int, ...], like: Array) -> list[Array]:
        """Spectrum of the closed gradient's square: terms that broadcast to the half spectrum."""
        xp = namespace(like)
        return [2 - 2 * xp.cos(2 * np.pi * f) for f in frequencies(shape, like)]

    def split(
        self,
        x: Array,
        factor: Factor,
        u: Array | None = None,
        *,
        scale: float = 1.0,
        out: Array | None = None,
    ) -> tuple[Array, Array | None]:
        """One half of a splitting step: what the next picture's gradient should be.

        With ``v = ∇x + u`` and the prox ``z = v factor(v)``, the dual becomes ``u' = v − z`` and
        the target ``t = z − u'`` (without u, as in half-quadratic splitting: ``t = z``).

        Parameters
        ----------
        x : array (..., *domain)
        factor : callable
            Of v; elementwise over the spatial axes.
        u : array (ndim, ..., *domain), optional
            The dual; a NumPy array is written to.
        scale : float or array
            Factor of the result.
        out : array, optional
            Memory for the result (NumPy only).

        Returns
        -------
        tuple
            ``scale ∇ᵀt`` over the closed gradient, and u'.
        """
        if is_numpy(x):
            out = empty(x.shape, x.dtype) if out is None else out
            _Pass(self, x, factor, u, out, scale).run()
            return out, u
        xp = namespace(x)
        parts = self._differences(x)
        v = xp.stack([self._inner(d, axis) for axis, d in parts])
        v = v if u is None else v + u
        f = factor(v)
        t = v * f
        if u is not None:
            t, u = v * (2 * f - 1), v * (1 - f)
        if not self.closed:
            t = t + xp.stack([d - self._inner(d, axis) for axis, d in parts])
        return scale * Gradient(self.ndim).adjoint(t), u

    def _differences(self, x: Array) -> list[tuple[int, Array]]:
        """Each axis with the circular differences along it."""
        xp = namespace(x)
        return [(axis, xp.roll(x, -1, axis=axis) - x) for axis in range(-self.ndim, 0)]

    def _inner(self, d: Array, axis: int) -> Array:
        """Differences along `axis` without the one across the seam."""
        if self.closed:
            return d
        n = d.shape[axis]
        shape = [1] * self.ndim
        shape[axis] = n
        inside = [1.0] * (n - 1) + [0.0]
        if is_numpy(d):
            return d * np.asarray(inside, d.dtype).reshape(shape)
        xp = namespace(d)
        return d * xp.reshape(xp.asarray(inside, dtype=d.dtype, device=device(d)), tuple(shape))


def curvature(x: Array, ndim: int, lam: float) -> Array:
    """div(∇x / |∇x|) with forward differences on the circular domain.

    Steps below ``4 ndim lam x`` are smoothed: there the explicit update of Dey et al. overshoots
    by more than the step itself, and turns flat regions into a checkerboard.
    """
    xp = namespace(x)
    axes = range(-ndim, 0)
    steps = [xp.roll(x, -1, axis=axis) - x for axis in axes]
    length = xp.sqrt(sum(step * step for step in steps) + (4 * ndim * lam * x) ** 2 + 1e-30)
    parts = [step / length for step in steps]
    return sum(part - xp.roll(part, 1, axis=axis) for part, axis in zip(parts, axes, strict=True))


@dataclass
class _Pass:
    """`Gradient.split` for NumPy, in blocks of rows that stay in a core's cache.

    Rows run along the first spatial axis. The transpose needs the target of the row before, which
    is carried from block to block.
    """

    gradient: Gradient
    x: np.ndarray
    factor: Factor
    u: np.ndarray | None
    out: np.ndarray
    scale: Any

    def run(self) -> None:
        rows = self.x.shape[-self.gradient.ndim]
        row_bytes = self.x.nbytes // rows
        height = max(1, BLOCK_BYTES // row_bytes)
        threads = get_threads() if self.x.nbytes >= PARALLEL_BYTES else 1
        cuts = [rows * i // threads for i in range(threads + 1)]
        shares = [(a, b) for a, b in pairwise(cuts) if a < b]
        # Before any thread changes the dual, the row that each share starts from.
        carried = [self._target(a - 1, a, keep=True)[0][..., -1:, *self._rest()] for a, _ in shares]

        def work(mine: Any) -> None:
            for (start, stop), row in mine:
                for a in range(start, stop, height):
                    row = self._block(a, min(a + height, stop), row)

        share_out(work, list(zip(shares, carried, strict=True)))

    def _rest(self) -> tuple[slice, ...]:
        return (slice(None),) * (self.gradient.ndim - 1)

    def _rows(self, a: int, b: int) -> tuple[Any, ...]:
        return (..., slice(a, b), *self._rest())

    def _block(self, a: int, b: int, before: np.ndarray) -> np.ndarray:
        """Rows a to b of the result; returns the last row of the target along the rows."""
        t = self._target(a, b)
        last: np.ndarray = t[0][..., -1:, *self._rest()].copy()
        out = self.out[self._rows(a, b)]
        first = t[0]
        np.subtract(before, first[..., :1, *self._rest()], out=out[..., :1, *self._rest()])
        np.subtract(
            first[..., :-1, *self._rest()],
            first[..., 1:, *self._rest()],
            out=out[..., 1:, *self._rest()],
        )
        for axis, part in zip(range(1 - self.gradient.ndim, 0), t[1:], strict=True):
            tail = (slice(None),) * (-axis - 1)
            out -= part
            out[(..., slice(1, None), *tail)] += part[(..., slice(None, -1), *tail)]
            out[(..., slice(0, 1), *tail)] += part[(..., slice(-1, None), *tail)]
        if self.scale is not None:
            out *= self.scale
        return last

    def _target(self, a: int, b: int, keep: bool = False) -> np.ndarray:
        """Target on rows a to b, the dual updated unless it is to `keep`."""
        x, ndim, closed = self.x, self.gradient.ndim, self.gradient.closed
        rows = x.shape[-ndim]
        a, b = (a % rows, (b - 1) % rows + 1) if a < 0 else (a, b)
        here = x[self._rows(a, b)]
        v = np.empty((ndim, *here.shape), x.dtype)
        inside = min(b, rows - 1)
        np.subtract(
            x[self._rows(a + 1, inside + 1)],
            x[self._rows(a, inside)],
            out=v[0][self._rows(0, inside - a)],
        )
        seams = []
        if b == rows:
            seam = v[0][..., -1:, *self._rest()]
            np.subtract(x[self._rows(0, 1)], x[self._rows(rows - 1, rows)], out=seam)
            seams.append(seam)
        for i, axis in enumerate(range(1 - ndim, 0), start=1):
            tail = (slice(None),) * (-axis - 1)
            inner, seam = v[i][(..., slice(None, -1), *tail)], v[i][(..., slice(-1, None), *tail)]
            np.subtract(
                here[(..., slice(1, None), *tail)], here[(..., slice(None, -1), *tail)], out=inner
            )
            np.subtract(
                here[(..., slice(0, 1), *tail)], here[(..., slice(-1, None), *tail)], out=seam
            )
            seams.append(seam)
        across = [] if closed else [seam.copy() for seam in seams]
        if not closed:
            for seam in seams:
                seam[...] = 0
        if self.u is None:
            v *= self.factor(v)
        else:
            u = self.u[self._rows(a, b)]
            v += u
            f = self.factor(v)
            if not keep:
                np.multiply(v, 1 - f, out=u)
            f *= 2
            f -= 1
            v *= f
        for seam, jump in zip(seams, across, strict=False):
            seam[...] = jump
        return v
