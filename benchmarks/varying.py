"""Time and memory of a spatially varying blur against its number of kernels, beside one `Blur`.

    python -m benchmarks.varying            # half a minute

Every row times the two in turn, in processor seconds of one thread, so that a machine whose speed
drifts slows both and what else it does does not count; what counts are the ratios. A blur with K
kernels takes K + 1 FFTs where `Blur` takes two, so the bound is (K + 1) / 2; memory is that of an
otf and a window for each kernel. float32.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

import deconv
from benchmarks.protocol import machine

GRIDS = ((1, 1), (2, 2), (3, 3), (4, 4))
SHAPE, SIZE = (256, 256), 31
STEPS, RUNS = 5, 5


def gaussians(grid: tuple[int, int]) -> np.ndarray:
    """Psfs that widen from cell to cell, shape (*grid, SIZE, SIZE)."""
    sigmas = np.linspace(1, 4, grid[0] * grid[1])
    psfs = [deconv.psf.gaussian(s, size=SIZE) for s in sigmas]
    return np.reshape(psfs, (*grid, SIZE, SIZE)).astype(np.float32)


def held(build: Callable[[], Any]) -> tuple[Any, float]:
    """What `build` returns, and the bytes that it keeps."""
    deconv.fft.release_memory()
    tracemalloc.start()
    built = build()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return built, kept


def peak(work: Callable[[], Any]) -> float:
    """Most bytes that `work` holds at a time beside what is there before."""
    deconv.fft.release_memory()
    tracemalloc.start()
    work()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def processor_seconds(work: Callable[[], Any]) -> float:
    """What one run of `work` takes of this process's time."""
    start = time.process_time()
    work()
    return time.process_time() - start


def row(one: deconv.Blur, psfs: np.ndarray, order: str) -> None:
    """One line: the times of the varying blur over those of `one`, and the memory of both."""
    options: Any = {"boundary": one.boundary, "order": order}
    A, kept = held(lambda: deconv.SpatiallyVaryingBlur.from_grid(psfs, SHAPE, **options))
    x = np.random.default_rng(0).random(A.domain, np.float32)
    y = A(x)

    def ratio(of: Callable[[Any], Any]) -> float:
        of(A), of(one)
        times = [[processor_seconds(lambda B=B: of(B)) for B in (A, one)] for _ in range(RUNS)]
        return statistics.median(a / b for a, b in times)

    count = psfs.shape[0] * psfs.shape[1]
    steps = {"tol": 0.0, "n_iter": STEPS}
    cells = [
        f"{count} | {order} | {ratio(lambda B: B(x)):.2f} | {ratio(lambda B: B.adjoint(y)):.2f}",
        f"{(count + 1) / 2:.1f} | {ratio(lambda B: B.prox(x, y, 0.1, **steps)):.1f}",
        f"{kept / (4 * np.prod(A.domain)):.1f}",
        f"{peak(lambda: A(x)) / (4 * np.prod(A.domain)):.1f}",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print the table."""
    deconv.fft.set_threads(1)
    print(machine())
    print(
        f"{SHAPE[0]}x{SHAPE[1]}, psfs {SIZE}x{SIZE}, unknown border; times over those of one Blur"
    )
    psf = gaussians((1, 1))[0, 0]
    one, kept = held(lambda: deconv.Blur(psf, SHAPE))
    x = np.ones(one.domain, np.float32)
    arrays = 4 * np.prod(one.domain)
    print(f"One Blur keeps {kept / arrays:.1f} domain arrays; a blur peaks at ", end="")
    print(f"{peak(lambda: one(x)) / arrays:.1f} more")
    print(
        f"| kernels | order | A(x) | adjoint | bound | prox, {STEPS} steps | arrays kept "
        f"| at most, in A(x) |\n" + "|---" * 8 + "|"
    )
    for grid in GRIDS:
        for order in ("scatter", "gather"):
            row(one, gaussians(grid), order)


if __name__ == "__main__":
    main()
