"""What a call costs: seconds without those of its callback, and the peak of the memory."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from deconv.memory import release_memory
from deconv.progress import History, State

__all__ = ["Cost", "Watch", "measured"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes of a call.

    Attributes
    ----------
    seconds : float
        Wall time, less what the callback took.
    memory : int or None
        How far the process grew beyond its size before, in bytes; None where the system does not
        tell (it does on Linux).
    """

    seconds: float
    memory: int | None


class Watch:
    """A callback that keeps a `History`, and count of the time it takes itself."""

    def __init__(self) -> None:
        self.history = History()
        self.spent = 0.0

    def __call__(self, state: State) -> None:
        """Record one iteration."""
        begin = time.perf_counter()
        self.history(state)
        self.spent += time.perf_counter() - begin


def measured(call: Callable[[Any], Result], watch: Watch) -> tuple[Result, Cost]:
    """The result of ``call(watch)`` and its cost."""
    release_memory()
    gc.collect()
    _trim()
    before = _reset_peak()
    begin = time.perf_counter()
    result = call(watch)
    seconds = time.perf_counter() - begin - watch.spent
    peak = None if before is None else _status("VmHWM")
    memory = None if peak is None or before is None else max(0, peak - before)
    return result, Cost(max(seconds, 0.0), memory)


def _trim() -> None:
    """Give freed memory back to the system, which else hides what the next call needs."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _reset_peak() -> int | None:
    """The present size of the process, from where its peak counts anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _status(name: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return 1024 * int(found[0]) if found else None
