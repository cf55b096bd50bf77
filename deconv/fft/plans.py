"""Which FFT library serves which array: measured once per shape, machine and thread count."""

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

from deconv.fft.libraries import Ducc, Fftw, Scipy, unplanned
from deconv.memory import empty
from deconv.threads import get_threads

__all__ = ["library", "prepare", "tune"]

# FFTW's measuring costs 0.2 to 4 s a shape; more FFT time than this ahead repays it.
REPAYS_SECONDS = 30.0
# What ducc0 saves in a solver: it leaves out the rows beyond the frame and scales as it goes, where
# FFTW needs another pass.
DUCC_SAVES = 0.3


@lru_cache(maxsize=64)
def _planned(shape: tuple[int, ...], dtype: str, ndim: int, threads: int) -> Any:
    name = _measured().get(_key(shape, dtype, ndim, threads))
    if name == "fftw" and importlib.util.find_spec("pyfftw"):
        return Fftw(shape, dtype, ndim)
    if name == "scipy":
        return Scipy(shape, dtype, ndim)
    return unplanned()(shape, dtype, ndim)


def library(shape: tuple[int, ...], dtype: str, ndim: int) -> Any:
    """The library that serves arrays of this shape and dtype with `ndim` transformed axes."""
    return _planned(tuple(shape), dtype, ndim, get_threads())


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

    Takes 0.2 to 4 s; the result and FFTW's wisdom are kept in the user's cache folder
    (``DECONV_CACHE``, else ``XDG_CACHE_HOME``), so that no shape is ever measured twice.

    Parameters
    ----------
    shape : tuple of int
        Of the whole arrays.
    dtype : {"float32", "float64"}
        Of the real arrays.
    ndim : int, optional
        Number of transformed axes, the last ones; all if not given.

    Returns
    -------
    {"scipy", "ducc0", "fftw"}

    Examples
    --------
    >>> from deconv import fft
    >>> fft.tune((37, 41)) in ("scipy", "ducc0", "fftw")
    True
    """
    shape = tuple(shape)
    ndim = len(shape) if ndim is None else ndim
    key = _key(shape, dtype, ndim, get_threads())
    with _tuning:
        if key in _measured():
            return _measured()[key]
        makers: dict[str, Callable[..., Any]] = {"scipy": Scipy}
        if importlib.util.find_spec("ducc0"):
            makers["ducc0"] = Ducc
        if importlib.util.find_spec("pyfftw"):
            makers["fftw"] = Fftw
        seconds = {
            name: _seconds(make(shape, dtype, ndim), shape, dtype) for name, make in makers.items()
        }
        if "ducc0" in seconds:
            seconds["ducc0"] *= 1 - DUCC_SAVES
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
    for _ in range(7):
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
    """Say that `n_transforms` FFTs of this kind follow: measures plans if that repays its cost.

    Parameters
    ----------
    shape : tuple of int
        Of the whole arrays.
    dtype : {"float32", "float64"}
        Of the real arrays.
    ndim : int
        Number of transformed axes, the last ones.
    n_transforms : float
        How many follow.

    Examples
    --------
    A few small transforms repay nothing, and nothing is measured:

    >>> from deconv import fft
    >>> fft.prepare((64, 64), "float32", 2, 10)
    """
    n = math.prod(shape)
    ahead = n_transforms * 2.5 * n * math.log2(max(n, 2)) / (4e9 * get_threads())
    if ahead > REPAYS_SECONDS:
        tune(shape, dtype, ndim)
