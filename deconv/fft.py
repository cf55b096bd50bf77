"""Real FFTs for every array type: the only file that knows an FFT library.

NumPy arrays go to the fastest of ducc0 (where installed), FFTW (where a plan is known or the work
repays measuring one) and scipy.fft; torch tensors to torch.fft; other arrays to their namespace.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import math
import os
import platform
import threading
import time
import zlib
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from deconv.arrays import Array, device, is_numpy, namespace
from deconv.threads import get_threads, set_threads

__all__ = [
    "centred_rfftn",
    "empty",
    "fast_shape",
    "frequencies",
    "get_threads",
    "irfftn",
    "parseval_weights",
    "prepare",
    "rfftn",
    "set_threads",
    "tune",
]

# FFTW's measuring costs 0.2 to 4 s a shape; more FFT time than this ahead repays it.
REPAYS_SECONDS = 30.0


def rfftn(x: Array, ndim: int, *, out: Array | None = None) -> Array:
    """Half spectrum over the last `ndim` axes of the real array `x`.

    `out` (complex, NumPy only) receives the result; use the value returned.
    """
    if not is_numpy(x):
        xp = namespace(x)
        return xp.fft.rfftn(x, axes=tuple(range(-ndim, 0)))
    shape = (*x.shape[:-1], x.shape[-1] // 2 + 1)
    if out is None:
        out = empty(shape, np.complex64 if x.dtype == np.float32 else np.complex128)
    _library(x.shape, x.dtype.name, ndim).forward(x, out)
    return out


def irfftn(
    spectrum: Array, shape: tuple[int, ...], *, out: Array | None = None, overwrite: bool = False
) -> Array:
    """Real array of spatial `shape` whose half spectrum over the last axes is `spectrum`.

    With `overwrite` the contents of `spectrum` may be destroyed, which saves a copy.
    """
    ndim = len(shape)
    if not is_numpy(spectrum):
        xp = namespace(spectrum)
        return xp.fft.irfftn(spectrum, s=shape, axes=tuple(range(-ndim, 0)))
    full = (*spectrum.shape[:-ndim], *shape)
    if out is None:
        out = empty(full, np.float32 if spectrum.dtype == np.complex64 else np.float64)
    _library(full, out.dtype.name, ndim).inverse(spectrum, out, overwrite)
    return out


def centred_rfftn(small: Array, shape: tuple[int, ...]) -> Array:
    """Half spectrum, on the domain `shape`, of a small array whose centre ``size // 2`` is origin.

    One axis at a time, padded just before its own transform: the zero rows of a psf in a large
    domain are never transformed, which halves the cost of a full FFT.
    """
    ndim = len(shape)
    spectrum = small
    for axis in range(-1, -ndim - 1, -1):
        spectrum = _wrapped(spectrum, axis, shape[axis])
        spectrum = _fft_axis(spectrum, axis, real=axis == -1)
    return spectrum


def _wrapped(x: Array, axis: int, n: int) -> Array:
    """`x` zero-padded to length `n` along `axis`, its centre rolled to index 0."""
    size = x.shape[axis]
    head = size - size // 2
    after, before = _along(axis, slice(size // 2, None)), _along(axis, slice(0, size // 2))
    shape = list(x.shape)
    if is_numpy(x):
        shape[axis] = n
        out = empty(tuple(shape), x.dtype)
        out[_along(axis, slice(0, head))] = x[after]
        out[_along(axis, slice(head, n - size // 2))] = 0
        out[_along(axis, slice(n - size // 2, None))] = x[before]
        return out
    shape[axis] = n - size
    xp = namespace(x)
    gap = xp.zeros(tuple(shape), dtype=x.dtype, device=device(x))
    return xp.concat([x[after], gap, x[before]], axis=axis)


def _along(axis: int, part: slice) -> tuple[Any, ...]:
    return (..., part, *[slice(None)] * (-axis - 1))


def _fft_axis(x: Array, axis: int, *, real: bool) -> Array:
    if not is_numpy(x):
        transform = namespace(x).fft.rfft if real else namespace(x).fft.fft
        return transform(x, axis=axis)
    if real:
        return rfftn(x, 1)
    if _unplanned() is _Ducc:
        ducc = importlib.import_module("ducc0.fft")
        return ducc.c2c(x, axes=(x.ndim + axis,), out=x, nthreads=get_threads())
    return importlib.import_module("scipy.fft").fft(
        x, axis=axis, overwrite_x=True, workers=get_threads()
    )


@lru_cache(maxsize=1024)
def _fast_length(n: int, last: bool) -> int:
    if n <= 6:
        return n + (n % 2 if last else 0)
    primes = (2, 3, 5, 7) if last else (2, 3, 5, 7, 11)
    while True:
        rest = n
        for p in primes:
            while rest % p == 0:
                rest //= p
        # A row stride of a multiple of 1024 makes whole columns share a cache set.
        if rest == 1 and not (last and (n % 2 or n % 1024 == 0)):
            return n
        n += 1


def fast_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The smallest FFT-friendly shape that holds `shape`.

    The last axis becomes even and 2-3-5-7-smooth, but no multiple of 1024; the others become
    2-3-5-7-11-smooth. A good size is worth a factor of 1.3 to 4.5, and a power of two is often
    slower than its neighbours.

    >>> fast_shape((527, 527))
    (528, 540)
    """
    return (*(_fast_length(n, False) for n in shape[:-1]), _fast_length(shape[-1], True))


def frequencies(shape: tuple[int, ...], like: Array) -> tuple[Array, ...]:
    """Frequency along each axis in cycles per pixel, shaped to broadcast to the half spectrum.

    The arrays share namespace, device and real dtype with `like`.
    """
    xp = namespace(like)
    result = []
    for axis, n in enumerate(shape):
        f = np.fft.rfftfreq(n) if axis == len(shape) - 1 else np.fft.fftfreq(n)
        f = f.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        if is_numpy(like):
            result.append(f.astype(like.dtype))
        else:
            result.append(xp.asarray(f.tolist(), dtype=like.dtype, device=device(like)))
    return tuple(result)


def parseval_weights(n: int, like: Array) -> Array:
    """How often each entry of a half spectrum's last axis counts in the full spectrum: 1 or 2."""
    xp = namespace(like)
    twice = [1.0] + [2.0] * ((n - 1) // 2) + [1.0] * (1 - n % 2 if n > 1 else 0)
    if is_numpy(like):
        return np.asarray(twice, like.dtype)
    return xp.asarray(twice, dtype=like.dtype, device=device(like))


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Uninitialised memory on a 64-byte boundary, as FFTW's vector code wants it."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    aligned: np.ndarray = raw[start : start + size].view(dtype).reshape(shape)
    return aligned


# --- the libraries, each as a pair (forward, inverse) for one shape, dtype and number of axes ----


class _Ducc:
    def __init__(self, shape: tuple[int, ...], dtype: str, ndim: int) -> None:
        self.fft = importlib.import_module("ducc0.fft")
        self.axes = tuple(range(len(shape) - ndim, len(shape)))
        self.last = shape[-1]

    def forward(self, x: np.ndarray, out: np.ndarray) -> None:
        self.fft.r2c(x, axes=self.axes, out=out, nthreads=get_threads())

    def inverse(self, spectrum: np.ndarray, out: np.ndarray, overwrite: bool) -> None:
        self.fft.c2r(
            spectrum,
            axes=self.axes,
            lastsize=self.last,
            forward=False,
            inorm=2,
            out=out,
            nthreads=get_threads(),
            allow_overwriting_input=overwrite and spectrum.flags.writeable,
        )


class _Scipy:
    def __init__(self, shape: tuple[int, ...], dtype: str, ndim: int) -> None:
        self.fft = importlib.import_module("scipy.fft")
        self.axes = tuple(range(-ndim, 0))
        self.shape = shape[-ndim:]
        # Below about a megapixel a second worker costs scipy more than it saves (measured).
        self.parallel = math.prod(shape) > 1 << 20

    def workers(self) -> int:
        return get_threads() if self.parallel else 1

    def forward(self, x: np.ndarray, out: np.ndarray) -> None:
        out[...] = self.fft.rfftn(x, axes=self.axes, workers=self.workers())

    def inverse(self, spectrum: np.ndarray, out: np.ndarray, overwrite: bool) -> None:
        out[...] = self.fft.irfftn(
            spectrum, self.shape, self.axes, workers=self.workers(), overwrite_x=overwrite
        )


class _Fftw:
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
        self.scale = np.dtype(dtype).type(1 / math.prod(shape[-ndim:]))
        self.fallback = _unplanned()(shape, dtype, ndim)
        self.lock = threading.Lock()

    def forward(self, x: np.ndarray, out: np.ndarray) -> None:
        if not self.lock.acquire(blocking=False):
            self.fallback.forward(x, out)
            return
        try:
            source = x if _fits(x) else self.real
            target = out if _fits(out) else self.half
            if source is not x:
                source[...] = x
            self.r2c.update_arrays(source, target)
            self.r2c.execute()
            if target is not out:
                out[...] = target
        finally:
            self.lock.release()

    def inverse(self, spectrum: np.ndarray, out: np.ndarray, overwrite: bool) -> None:
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
            np.multiply(target, self.scale, out=out)
        finally:
            self.lock.release()


def _fits(x: np.ndarray) -> bool:
    return x.flags.c_contiguous and x.ctypes.data % 64 == 0


@cache
def _unplanned() -> Callable[..., Any]:
    """The library for shapes nobody has measured."""
    return _Ducc if importlib.util.find_spec("ducc0") else _Scipy


@lru_cache(maxsize=64)
def _planned(shape: tuple[int, ...], dtype: str, ndim: int, threads: int) -> Any:
    name = _measured().get(_key(shape, dtype, ndim, threads))
    if name == "fftw" and importlib.util.find_spec("pyfftw"):
        return _Fftw(shape, dtype, ndim)
    if name == "scipy":
        return _Scipy(shape, dtype, ndim)
    return _unplanned()(shape, dtype, ndim)


def _library(shape: tuple[int, ...], dtype: str, ndim: int) -> Any:
    return _planned(tuple(shape), dtype, ndim, get_threads())


# --- measuring, once per shape, machine and thread count -----------------------------------------


def _cache_folder() -> Path:
    given = os.environ.get("DECONV_CACHE")
    if given:
        return Path(given)
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "deconv"


def _key(shape: tuple[int, ...], dtype: str, ndim: int, threads: int) -> str:
    size = "x".join(map(str, shape))
    return f"{_processor()}/{size}/{dtype}/{ndim}/{threads}"


@cache
def _processor() -> str:
    """A name for this kind of CPU: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next(line for line in lines if line.startswith("flags"))
        model = next(line for line in lines if line.startswith("model name"))
        return f"{model.partition(':')[2].strip()}-{zlib.crc32(flags.encode()):08x}"
    except (OSError, StopIteration):
        return f"{platform.machine()}-{platform.processor()}"


@cache
def _measured() -> dict[str, str]:
    """Which library won for which key, with FFTW's wisdom restored, from the user's cache."""
    try:
        known = json.loads((_cache_folder() / "fft.json").read_text())
        winners = dict(known["winners"])
        if "fftw" in winners.values():
            pyfftw = importlib.import_module("pyfftw")
            pyfftw.import_wisdom(tuple(w.encode() for w in known["wisdom"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError):
        return {}  # no cache, or somebody else's file: measure again
    return winners


_tuning = threading.Lock()


def tune(shape: tuple[int, ...], dtype: str = "float32", ndim: int | None = None) -> str:
    """Measure every installed library on `shape` and use the fastest from now on; name it.

    `shape` is a whole array's shape with `ndim` transformed axes at the end (default: all). Takes
    0.2 to 4 s; the result and FFTW's wisdom are kept in the user's cache folder (``DECONV_CACHE``,
    else ``XDG_CACHE_HOME``), so that no shape is ever measured twice.
    """
    shape = tuple(shape)
    ndim = len(shape) if ndim is None else ndim
    key = _key(shape, dtype, ndim, get_threads())
    with _tuning:
        if key in _measured():
            return _measured()[key]
        makers: dict[str, Callable[..., Any]] = {"scipy": _Scipy}
        if importlib.util.find_spec("ducc0"):
            makers["ducc0"] = _Ducc
        if importlib.util.find_spec("pyfftw"):
            makers["fftw"] = _Fftw
        seconds = {
            name: _seconds(make(shape, dtype, ndim), shape, dtype) for name, make in makers.items()
        }
        winner = min(seconds, key=lambda name: seconds[name])
        _measured()[key] = winner
        _planned.cache_clear()
        _remember()
    return winner


def _seconds(library: Any, shape: tuple[int, ...], dtype: str) -> float:
    x = empty(shape, dtype)
    x[...] = 1
    half = (*shape[:-1], shape[-1] // 2 + 1)
    spectrum = empty(half, np.complex64 if dtype == "float32" else np.complex128)
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        library.forward(x, spectrum)
        library.inverse(spectrum, x, True)
        best = min(best, time.perf_counter() - start)
    return best


def _remember() -> None:
    folder = _cache_folder()
    known: dict[str, Any] = {"winners": _measured(), "wisdom": []}
    if "fftw" in _measured().values():
        pyfftw = importlib.import_module("pyfftw")
        known["wisdom"] = [w.decode() for w in pyfftw.export_wisdom()]
    partial = folder / f"fft.json.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(known))
        os.replace(partial, folder / "fft.json")
    except OSError:
        # A read-only home only means that the next process measures again.
        with contextlib.suppress(OSError):
            partial.unlink()


def prepare(shape: tuple[int, ...], dtype: str, ndim: int, n_transforms: float) -> None:
    """Say that `n_transforms` FFTs of this kind follow: measures plans if that repays its cost."""
    n = math.prod(shape)
    ahead = n_transforms * 2.5 * n * math.log2(max(n, 2)) / (4e9 * get_threads())
    if ahead > REPAYS_SECONDS:
        tune(shape, dtype, ndim)
