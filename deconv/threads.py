"""One thread count and one small pool for everything on the CPU that is not an FFT itself.

Two pools on the same cores fight (measured: up to twelve times slower), so the FFT libraries and
the NumPy passes share this count, and NumPy passes run on the single pool kept here.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["get_threads", "map_blocks", "set_threads", "share_out"]

# A block and its temporaries stay in a core's second-level cache; smaller ones lose more time to
# the interpreter lock than they save (measured: two threads gain nothing below 256 KiB).
BLOCK_BYTES = 1 << 19
# Below this the hand-over to a second thread costs more than it saves.
PARALLEL_BYTES = 1 << 22


def _default_threads() -> int:
    given = os.environ.get("DECONV_THREADS", "")
    if given:
        if not given.isdigit() or int(given) < 1:
            raise ValueError(f"DECONV_THREADS={given!r}; expected a whole number of at least 1")
        return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_threads = _default_threads()
_pool: ThreadPoolExecutor | None = None


def get_threads() -> int:
    """Number of CPU threads used by FFTs and array passes.

    Returns
    -------
    int

    Examples
    --------
    >>> from deconv import fft
    >>> fft.get_threads() >= 1
    True
    """
    return _threads


def set_threads(n: int) -> None:
    """Use `n` CPU threads from now on, in every solver of this process.

    The environment variable ``DECONV_THREADS`` sets the value at import; the default is the number
    of cores this process may run on.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    ValueError
        If `n` is not a whole number of at least 1.

    Examples
    --------
    >>> from deconv import fft
    >>> before = fft.get_threads()
    >>> fft.set_threads(1)
    >>> fft.get_threads()
    1
    >>> fft.set_threads(before)
    """
    global _threads
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n={n!r}; expected a whole number of threads, at least 1")
    _threads = n
    _forget_pool()


def _forget_pool() -> None:
    global _pool
    _pool = None


# A forked child (a data loader's worker) inherits the pool object but not its threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _workers() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max(_threads - 1, 1), thread_name_prefix="deconv")
    return _pool


@lru_cache(maxsize=256)
def _blocks(shape: tuple[int, ...], itemsize: int) -> list[tuple[Any, ...]]:
    """Index tuples that cut `shape` into runs of about BLOCK_BYTES, in memory order."""
    inner = itemsize
    axis = len(shape)
    while axis > 0 and inner * shape[axis - 1] <= BLOCK_BYTES:
        axis -= 1
        inner *= shape[axis]
    if axis == 0:
        return [()]
    cut, length = axis - 1, shape[axis - 1]
    step = max(1, BLOCK_BYTES // inner)
    return [
        (*lead, slice(start, min(start + step, length)))
        for lead in np.ndindex(*shape[:cut])
        for start in range(0, length, step)
    ]


def map_blocks(
    fn: Callable[..., Any],
    arrays: Sequence[np.ndarray],
    out: np.ndarray,
    *,
    into: bool | None = None,
) -> np.ndarray:
    """Set ``out[b] = fn(*(a[b] for a in arrays))`` for cache-sized blocks b of an elementwise `fn`.

    `arrays` broadcast against `out`, which may be one of them. Temporaries of `fn` are as small as
    a block, so a chain of NumPy operations reads and writes main memory once. With `into` (default:
    for ufuncs) `fn` takes ``out`` itself and has no temporary at all.
    """
    into = isinstance(fn, np.ufunc) if into is None else into
    blocks = _blocks(out.shape, out.itemsize)
    if len(blocks) == 1:
        if into:
            fn(*arrays, out=out)
        else:
            out[...] = fn(*arrays)
        return out
    views = [a if a.shape == out.shape else np.broadcast_to(a, out.shape) for a in arrays]

    def run(share: Sequence[tuple[Any, ...]]) -> None:
        for block in share:
            if into:
                fn(*[view[block] for view in views], out=out[block])
            else:
                out[block] = fn(*[view[block] for view in views])

    if out.nbytes < PARALLEL_BYTES:
        run(blocks)
    else:
        share_out(run, blocks)
    return out


def share_out(work: Callable[[Sequence[Any]], None], items: Sequence[Any]) -> None:
    """Call `work` with one share of `items` on each thread."""
    if _threads == 1 or len(items) == 1:
        work(items)
        return
    cuts = [len(items) * i // _threads for i in range(_threads + 1)]
    pool = _workers()
    others = [pool.submit(work, items[a:b]) for a, b in itertools.pairwise(cuts[1:])]
    work(items[: cuts[1]])
    for other in others:
        other.result()
