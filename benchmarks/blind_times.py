"""What a blind estimation costs: processor and wall seconds, and the peak of memory.

Each is measured in a fresh process, on a 255x255 picture with a psf of 25 pixels (the second of two
runs) and on a synthetic photograph of 12 megapixels, in colour, blurred by a camera shake of 45
pixels (the first run). The peak is the whole process's, the picture itself included.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.blind_planted import bundled, channels
from benchmarks.blind_rows import (
    AUTO,
    Options,
    Row,
    Task,
    estimated,
    figure,
    number,
    registered,
    show,
)
from benchmarks.protocol import observed
from deconv.metrics import psf_similarity
from deconv.psf import trajectory

SMALL, LARGE = "255 x 255", "4000 x 3000"
# The psf_shape that single priors are given on the small picture.
GIVEN = 25
NOISE = 0.003


class Cost(NamedTuple):
    """Seconds, megabytes before and at the peak, and the psf."""

    cpu: float
    wall: float
    before: float
    peak: float
    psf: np.ndarray


def times_tasks(options: Options) -> list[Task]:
    """Every prior on the small picture, the automatic choice on the large one."""
    box = GIVEN if options.box is None else options.box
    small = options._replace(box=box).methods(registered())
    large = options._replace(box=None).methods((AUTO,))
    return [
        *(Task("times", method, SMALL) for method in small),
        *(Task("times", method, LARGE) for method in large),
    ]


def times_measure(task: Task, options: Options) -> Row:
    """The cost of one estimation."""
    small = task.case == SMALL
    image, psf = _small() if small else _large()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.npy"
        np.save(file, image)
        del image
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            cost = pool.submit(_cost, file, task.method, 2 if small else 1).result()
    return {
        "cpu": cost.cpu,
        "wall": cost.wall,
        "memory": cost.peak,
        "similarity": psf_similarity(cost.psf, psf),
        "note": f"{cost.before:.0f} MB before; box {'x'.join(map(str, cost.psf.shape))}",
    }


def times_show(rows: list[Row], options: Options) -> None:
    """One line per prior."""
    lines = [
        [
            row["case"],
            row["method"],
            figure(number(row, "cpu")),
            figure(number(row, "wall")),
            figure(number(row, "memory"), 0),
            figure(number(row, "similarity"), 3),
            row.get("note", ""),
        ]
        for row in rows
    ]
    columns = ["picture", "method", "CPU, s", "wall, s", "peak, MB", "psf similarity", "note"]
    show("Times and memory of the estimation", columns, lines)


def _small() -> tuple[np.ndarray, np.ndarray]:
    psf = trajectory(25, rng=4)
    scene = bundled("camera")[60 : 60 + 279, 120 : 120 + 279]
    return observed(scene, psf, NOISE, 0)[0], psf


def _large() -> tuple[np.ndarray, np.ndarray]:
    """A zoomed photograph with a mosaic of others, at their own size, as its detail."""
    from scipy.ndimage import zoom

    psf = trajectory(45, rng=34)
    height, width = (n + k - 1 for n, k in zip((3000, 4000), psf.shape, strict=True))
    wide = bundled("coffee")
    tiles = [bundled(name)[:300, :300] for name in ("astronaut", "chelsea", "rocket")]
    strip = np.concatenate([*tiles, *(tile[::-1, ::-1] for tile in tiles)], axis=1)
    mosaic = np.concatenate([strip, np.roll(strip[:, ::-1], 450, axis=1)])
    image = np.empty((3000, 4000, 3), np.float32)
    for channel in range(3):
        scale = [n / m for n, m in zip((height, width), wide.shape[:2], strict=True)]
        scene = zoom(wide[..., channel], scale, order=1)
        repeats = [-(-n // m) for n, m in zip((height, width), mosaic.shape[:2], strict=True)]
        detail = np.tile(mosaic[..., channel], repeats)[:height, :width]
        scene = (0.4 * scene + 0.6 * detail).astype(np.float32)
        image[..., channel] = observed(scene, psf.astype(np.float32), NOISE, channel)[0]
    return image, psf


def _cost(file: Path, method: str, runs: int) -> Cost:
    image = np.load(file)
    before = _peak()
    for _ in range(runs):
        wall = time.perf_counter()
        found = estimated(image, method, channels(image))
        wall = time.perf_counter() - wall
    return Cost(found.cpu, wall, before, _peak(), found.psf)


def _peak() -> float:
    """Most memory that this process has held, in megabytes."""
    status = Path("/proc/self/status")
    # getrusage counts what the parent held when it started this process.
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return float(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
