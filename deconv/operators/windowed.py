"""Sums of filters under windows, with the windows before the filters or after them.

On a circular domain each of the two sums is the transpose of the other with conjugate filters, so
they are all that a spatially varying blur and its adjoint are made of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from deconv.arrays import Array, elementwise, is_numpy, namespace
from deconv.fft import empty, irfftn, rfftn
from deconv.operators.frame import Frame

__all__ = ["WindowedFilters"]


@dataclass(frozen=True)
class WindowedFilters:
    """K filters, half spectra `otfs` (K, ..., *half), and `windows` (K, ..., *domain).

    `conj` takes the conjugate filters. The other options of both sums are those of `Blur.blur`:
    memory for NumPy arrays to reuse, and what is zero or not needed beyond the frame.
    """

    windows: Array
    otfs: Array
    frame: Frame

    def scatter(
        self,
        x: Array,
        *,
        conj: bool = False,
        out: Array | None = None,
        spectrum: Array | None = None,
        framed: bool = False,
        to_frame: bool = False,
    ) -> Array:
        """``sum_i k_i * (w_i x)``: K transforms, and one back of the sum of the spectra."""
        product = self._product(conj)
        total: Any = None
        lit: Any = None
        part: Any = None
        for i in range(self.otfs.shape[0]):
            lit = elementwise(lambda w, v: w * v, self.windows[i, ...], x, out=lit)
            part = rfftn(lit, self.frame.ndim, out=part, within=self._rows(framed))
            otf = self.otfs[i, ...]
            memory = _memory(spectrum, otf, part) if total is None else total
            total = _sum(product, total, otf, part, out=memory)
        shape = (*total.shape[: -self.frame.ndim], *self.frame.domain)
        out = out if out is not None and out.shape == shape else None
        within = self._rows(to_frame)
        return irfftn(total, self.frame.domain, out=out, overwrite=True, within=within)

    def gather(
        self,
        x: Array,
        *,
        conj: bool = False,
        out: Array | None = None,
        spectrum: Array | None = None,
        framed: bool = False,
        to_frame: bool = False,
    ) -> Array:
        """``sum_i w_i (k_i * x)``: one transform, and K back."""
        product, domain = self._product(conj), self.frame.domain
        seen = rfftn(x, self.frame.ndim, out=spectrum, within=self._rows(framed))
        # Beyond the frame the parts are undefined then, and no sum may look at them.
        view = self.frame.crop if to_frame and is_numpy(seen) else _all
        whole: Any = None
        total: Any = None
        filtered: Any = None
        part: Any = None
        for i in range(self.otfs.shape[0]):
            filtered = elementwise(product, self.otfs[i, ...], seen, out=filtered)
            within = self._rows(to_frame)
            part = irfftn(filtered, domain, out=part, overwrite=True, within=within)
            window = self.windows[i, ...]
            whole = _memory(out, window, part) if total is None else whole
            total = _sum(lambda w, v: w * v, total, view(window), view(part), out=view(whole))
        return total if whole is None else whole

    def _product(self, conj: bool) -> Callable[[Array, Array], Array]:
        xp = namespace(self.otfs)
        return (lambda k, s: xp.conj(k) * s) if conj else (lambda k, s: k * s)

    def _rows(self, framed: bool) -> tuple[slice, ...] | None:
        return self.frame.window if framed else None


def _memory(given: Array | None, *arrays: Array) -> Array | None:
    """Memory for an elementwise result: what was `given`, if it fits; None but for NumPy."""
    if not all(is_numpy(a) for a in arrays):
        return None
    shape, dtype = np.broadcast_shapes(*(a.shape for a in arrays)), np.result_type(*arrays)
    fits = given is not None and given.shape == shape and given.dtype == dtype
    return given if fits else empty(shape, dtype)


def _sum(
    product: Callable[[Array, Array], Array],
    total: Array | None,
    a: Array,
    b: Array,
    out: Array | None,
) -> Array:
    """``total + product(a, b)``, into `out` for NumPy arrays."""
    if total is None:
        return elementwise(product, a, b, out=out)
    return elementwise(lambda t, u, v: t + product(u, v), total, a, b, out=out)


def _all(x: Array) -> Array:
    return x
