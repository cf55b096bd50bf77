"""Memory for large arrays, kept for the next one when the last array on it is gone.

Fresh memory costs a page fault every few kilobytes, on virtual machines as much as the transforms
that fill it. Solvers allocate the same few shapes again and again, so a small store of what was
freed serves the next call.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["empty", "release_memory"]

LEAST = 1 << 18  # bytes; the system's own allocator serves less as well
MOST = 1 << 27  # bytes kept at any time: Wiener's arrays for 8 megapixels in float32
ALIGNMENT = 64  # FFTW's vector code wants it

# Freed memory by size. Plain list and dict operations only: a garbage collection may free a block
# in the middle of anything here, where a lock would wait for itself.
_store: dict[int, list[np.ndarray]] = {}


class _Block:
    """A piece of memory that goes back to the store when no array refers to it any more."""

    def __init__(self, raw: np.ndarray) -> None:
        self.raw = raw
        start = raw.ctypes.data + -raw.ctypes.data % ALIGNMENT
        self.__array_interface__ = {
            "shape": (raw.nbytes - ALIGNMENT,),
            "typestr": "|u1",
            "data": (start, False),
            "version": 3,
        }

    def __del__(self) -> None:
        if _store is None:  # the interpreter is ending
            return
        _store.setdefault(self.raw.nbytes, []).append(self.raw)
        if sum(size * len(kept) for size, kept in list(_store.items())) > MOST:
            _store.clear()


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Uninitialised array of this shape and dtype, on a 64-byte boundary.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    dtype : dtype
        NumPy's.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from deconv import fft
    >>> fft.empty((3, 5), "float32").ctypes.data % 64
    0
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST:
        raw = np.empty(size + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        memory = raw[start : start + size]
    else:
        try:
            raw = _store[size + ALIGNMENT].pop()
        except (KeyError, IndexError):
            raw = np.empty(size + ALIGNMENT, np.uint8)
        memory = np.asarray(_Block(raw))
    result: np.ndarray = memory.view(dtype).reshape(shape)
    return result


def release_memory() -> None:
    """Give the memory kept for further arrays, 128 MiB at most, back to the system.

    Examples
    --------
    >>> from deconv import fft
    >>> fft.release_memory()
    """
    _store.clear()
