"""The FFT libraries for NumPy arrays, each as a forward and an inverse for one kind of array."""

from __future__ import annotations

import importlib
import importlib.util
import math
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from deconv.memory import empty
from deconv.threads import get_threads, map_blocks, share_out

__all__ = ["Ducc", "Fftw", "Scipy", "Window", "unplanned"]

Window: TypeAlias = tuple[slice, ...]

PAGE, ROWS = 4096, 32


class Ducc:
    """ducc0, the only library here that skips rows nobody needs."""

    def __init__(self, shape: tuple[int, ...], dtype: str, ndim: int) -> None:
        self.fft = importlib.import_module("ducc0.fft")
        self.axes = tuple(range(len(shape) - ndim, len(shape)))
        self.last = shape[-1]

    def forward(self, x: np.ndarray, out: np.ndarray, within: Window | None = None) -> None:
        """``out = rfftn(x)``."""
        if within is None:
            self.fft.r2c(x, axes=self.axes, out=out, nthreads=get_threads())
            return
        # From the last axis to the first: the rows in the window, then ever fuller slabs.
        rows: Any = (..., *within, slice(None))
        self.fft.r2c(x[rows], axes=self.axes[-1:], out=out[rows], nthreads=get_threads())
        for k in range(len(within) - 1, -1, -1):
            slab = out[(..., *within[:k], *_all(len(within) - k + 1))]
            slab[(..., slice(0, within[k].start), *_all(len(within) - k))] = 0
            slab[(..., slice(within[k].stop, None), *_all(len(within) - k))] = 0
            self.fft.c2c(slab, axes=self.axes[k : k + 1], out=slab, nthreads=get_threads())

    def inverse(
        self,
        spectrum: np.ndarray,
        out: np.ndarray,
        overwrite: bool,
        within: Window | None = None,
    ) -> None:
        """``out = irfftn(spectrum)``, with leave to destroy the spectrum."""
        overwrite = overwrite and spectrum.flags.writeable
        options: dict[str, Any] = {"forward": False, "inorm": 2, "nthreads": get_threads()}
        if within is not None:
            spectrum = spectrum if overwrite else spectrum.copy()
            for k in range(len(within)):
                slab = spectrum[(..., *within[:k], *_all(len(within) - k + 1))]
                self.fft.c2c(slab, axes=self.axes[k : k + 1], out=slab, **options)
            rows: Any = (..., *within, slice(None))
            spectrum, out = spectrum[rows], out[rows]
        elif out.ndim > 1 and out.strides[-2] % PAGE == 0 and len(self.axes) == 2:
            spectrum = spectrum if overwrite else spectrum.copy()
            self.fft.c2c(spectrum, axes=self.axes[:1], out=spectrum, **options)
            self._rows_apart(spectrum, out)
            return
        self.fft.c2r(
            spectrum,
            axes=self.axes if within is None else self.axes[-1:],
            lastsize=self.last,
            out=out,
            allow_overwriting_input=overwrite or within is not None,
            **options,
        )

    def _rows_apart(self, spectrum: np.ndarray, out: np.ndarray) -> None:
        """Inverse of the last axis where rows begin a multiple of a page apart.

        The library works on several rows at a time, and such rows share their cache sets: by way
        of rows that begin elsewhere it takes less than half the time (measured, 2048 x 2048).
        """
        size = out.shape[-1]

        def work(blocks: Any) -> None:
            apart = empty((ROWS, size + 16), out.dtype)[:, :size]
            for block in blocks:
                target = out[block]
                rows = apart[: len(target)]
                self.fft.c2r(
                    spectrum[block], axes=(1,), lastsize=size, forward=False, inorm=2, out=rows
                )
                target[...] = rows

        starts = range(0, out.shape[-2], ROWS)
        lead = list(np.ndindex(out.shape[:-2]))
        share_out(work, [(*i, slice(a, a + ROWS)) for i in lead for a in starts])


def _all(n: int) -> tuple[Any, ...]:
    """`n` full ranges of an index."""
    return (slice(None),) * n


class Scipy:
    """scipy.fft, which is always there."""

    def __init__(self, shape: tuple[int, ...], dtype: str, ndim: int) -> None:
        self.fft = importlib.import_module("scipy.fft")
        self.axes = tuple(range(-ndim, 0))
        self.shape = shape[-ndim:]
        # Below about a megapixel a second worker costs scipy more than it saves (measured).
        self.parallel = math.prod(shape) > 1 << 20

    def _workers(self) -> int:
        return get_threads() if self.parallel else 1

    def forward(self, x: np.ndarray, out: np.ndarray, within: Window | None = None) -> None:
        """``out = rfftn(x)``."""
        out[...] = self.fft.rfftn(x, axes=self.axes, workers=self._workers())

    def inverse(
        self,
        spectrum: np.ndarray,
        out: np.ndarray,
        overwrite: bool,
        within: Window | None = None,
    ) -> None:
        """``out = irfftn(spectrum)``, with leave to destroy the spectrum."""
        out[...] = self.fft.irfftn(
            spectrum, self.shape, self.axes, workers=self._workers(), overwrite_x=overwrite
        )


class Fftw:
    """A measured plan. Its buffers are shared, so a second thread takes the fallback meanwhile."""

    def __init__(self, shape: tuple[int, ...], dtype: str, ndim: int) -> None:
        pyfftw = importlib.import_module("pyfftw")
        self.real = empty(shape, dtype)
        half = (*shape[:-1], shape[-1] // 2 + 1)
        self.half = empty(half, np.complex64 if dtype == "float32" else np.complex128)
        axes = tuple(range(-ndim, 0))
        plan: dict[str, Any] = {"axes": axes, "threads": get_threads()}
        self.r2c = pyfftw.FFTW(self.real, self.half, flags=("FFTW_MEASURE",), **plan)
        self.c2r = pyfftw.FFTW(
            self.half,
            self.real,
            direction="FFTW_BACKWARD",
            flags=("FFTW_MEASURE", "FFTW_DESTROY_INPUT"),
            **plan,
        )
        self.scale = np.asarray(1 / math.prod(shape[-ndim:]), dtype)
        self.fallback = unplanned()(shape, dtype, ndim)
        self.lock = threading.Lock()

    def forward(self, x: np.ndarray, out: np.ndarray, within: Window | None = None) -> None:
        """``out = rfftn(x)``."""
        if not self.lock.acquire(blocking=False):
            self.fallback.forward(x, out)
            return
        try:
            source = x if _fits(x) else self.real
            target = out if _fits(out) else self.half
            if source is not x:
                map_blocks(np.positive, [x], source)
            self.r2c.update_arrays(source, target)
            self.r2c.execute()
            if target is not out:
                out[...] = target
        finally:
            self.lock.release()

    def inverse(
        self,
        spectrum: np.ndarray,
        out: np.ndarray,
        overwrite: bool,
        within: Window | None = None,
    ) -> None:
        """``out = irfftn(spectrum)``, with leave to destroy the spectrum."""
        if not self.lock.acquire(blocking=False):
            self.fallback.inverse(spectrum, out, overwrite)
            return
        try:
            keep = overwrite and spectrum.flags.writeable and _fits(spectrum)
            source = spectrum if keep else self.half
            target = out if _fits(out) else self.real
            if source is not spectrum:
                source[...] = spectrum
            self.c2r.update_arrays(source, target)
            self.c2r.execute()
            map_blocks(np.multiply, [target, self.scale], out)
        finally:
            self.lock.release()


def _fits(x: np.ndarray) -> bool:
    return x.flags.c_contiguous and x.ctypes.data % 64 == 0


@cache
def unplanned() -> Callable[..., Any]:
    """The library for shapes nobody has measured."""
    return Ducc if importlib.util.find_spec("ducc0") else Scipy
