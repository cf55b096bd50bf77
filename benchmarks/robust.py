r"""What a trained network bears: misjudged noise, borders, clipped lights, large psfs, decimation.

Each table prints its protocol. Pictures are Set12 and Kodak 1 to 8 (luma), kernels Levin's unless
said, the blur is valid and scores cover the whole frame. The last table times one megapixel: the
network against its own convolutions and FFTs, tiles against the whole, and peak memory.

    export OMP_NUM_THREADS=1
    python -m benchmarks.robust                       # all tables
    python -m benchmarks.robust --only noise stride   # some
    OMP_NUM_THREADS=2 python -m benchmarks.robust --only speed
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import deconv
from benchmarks.learned import network
from benchmarks.protocol import machine, observed, psnr
from benchmarks.restoration import NOISES, SATURATED_NOISE, case, cases, kernels, row, scenes
from deconv.variational import tv

LARGE = (31, 35, 41, 45)


def _cases(noise: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for name in ("set12", "kodak8"):
        for place in cases(name, 8, [noise]):
            yield case(*place)


def noise_table(net: Any) -> None:
    """PSNR with the noise known, misjudged by half, and found from the picture."""
    kinds: dict[str, Callable[[float], float | None]] = {
        "known": lambda s: s,
        "times 1.5": lambda s: 1.5 * s,
        "divided by 1.5": lambda s: s / 1.5,
        "not given": lambda s: None,
    }
    print("\nSigma as the network is told it: mean PSNR (loss against known)\n")
    print("| sigma | 1 % | 3 % | 5 % |\n|---|---|---|---|")
    means = {
        kind: [
            np.mean([psnr(t, net.restore(y, k, sigma=told(s))) for y, k, t in _cases(s)])
            for s in NOISES
        ]
        for kind, told in kinds.items()
    }
    for kind, values in means.items():
        cells = (
            f"{v:.2f} ({v - known:+.2f})" for v, known in zip(values, means["known"], strict=True)
        )
        print(f"| {kind} | {' | '.join(cells)} |")


def border_table(net: Any) -> None:
    """PSNR of the whole frame and of what is a psf's size away from its border."""
    print("\nWhole frame and interior (a psf's size away from the border), 1 %: mean PSNR\n")
    print("| | whole | interior | difference |\n|---|---|---|---|")
    for name, restore in (("hqs", net.restore), ("tv", tv)):
        whole, inner = [], []
        for y, k, truth in _cases(0.01):
            x = restore(y, k)
            cut = tuple(slice(n, -n) for n in k.shape)
            whole.append(psnr(truth, x))
            inner.append(psnr(truth[cut], x[cut]))
        print(row(name, [np.mean(whole), np.mean(inner), np.mean(whole) - np.mean(inner)]))


def saturated_table(net: Any) -> None:
    """Clipped scenes, restored with the clipped pixels told and untold; scored clipped."""
    print("\nScenes times 1.6, 1 % noise, clipped at 1: mean PSNR\n\n| | PSNR |\n|---|---|")
    found: dict[str, list[float]] = {}
    for place in cases("saturated", 8, [SATURATED_NOISE]):
        y, k, truth = case(*place)
        for name, restore in (("tv", tv), ("hqs", net.restore)):
            for saturation in (None, "auto"):
                x = np.clip(restore(y, k, saturation=saturation), 0, 1)
                title = name if saturation is None else f'{name}, saturation="auto"'
                found.setdefault(title, []).append(psnr(truth, x))
    for title, values in found.items():
        print(row(title, [np.mean(values)]))


def large_table(net: Any) -> None:
    """Random camera shakes of 31 to 45 pixels."""
    print("\nCamera shakes of 31, 35, 41, 45 px (synthetic), Kodak: mean PSNR\n")
    print("| | 1 % | 3 % | 5 % |\n|---|---|---|---|")
    scores: dict[str, list[float]] = {"blurred": [], "tv": [], "hqs": []}
    for noise in NOISES:
        here: dict[str, list[float]] = {name: [] for name in scores}
        for i, scene in enumerate(scenes("kodak8")):
            k = deconv.psf.trajectory(LARGE[i % 4], rng=100 + i).astype(np.float32)
            y, truth = observed(scene, k, noise, rng=i)
            for name, x in (("blurred", y), ("tv", tv(y, k)), ("hqs", net.restore(y, k))):
                here[name].append(psnr(truth, x))
        for name, values in here.items():
            scores[name].append(float(np.mean(values)))
    for name, values in scores.items():
        print(row(name, values))


def stride_table(net: Any) -> None:
    """Every second pixel kept: bicubic then Wiener with its best noise, and the network."""
    from scipy.ndimage import map_coordinates

    print("\nEvery second pixel kept, Kodak: mean PSNR\n\n| | 1 % | 3 % | 5 % |\n|---|---|---|---|")
    rows: dict[str, list[float]] = {}
    for noise in NOISES:
        here: dict[str, list[float]] = {}
        for i, scene in enumerate(scenes("kodak8")):
            k = kernels()[i].astype(np.float32)
            blurred, truth = observed(scene, k, 0.0, rng=i)
            even = tuple(slice(0, n // 2 * 2) for n in blurred.shape)
            y, truth = blurred[even][::2, ::2], truth[even]
            y = (y + np.random.default_rng(i).normal(0, noise, y.shape)).astype(np.float32)
            grid = np.mgrid[: truth.shape[0], : truth.shape[1]] / 2
            up = map_coordinates(y, grid, order=3, mode="nearest").astype(np.float32)
            # Interpolated noise is not white: Wiener is told what is best for each picture.
            told = noise * np.geomspace(0.5, 16, 11)
            wiener = max(psnr(truth, deconv.wiener(up, k, noise=float(s))) for s in told)
            here.setdefault("bicubic", []).append(psnr(truth, up))
            here.setdefault("bicubic, then wiener with the best noise", []).append(wiener)
            here.setdefault("hqs, stride=2", []).append(psnr(truth, net.restore(y, k, stride=2)))
        for name, values in here.items():
            rows.setdefault(name, []).append(float(np.mean(values)))
    for name, values in rows.items():
        print(row(name, values))


def speed_table(net: Any) -> None:
    """One megapixel: time against convolutions and FFTs, tiles, memory."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    torch.set_num_threads(deconv.fft.get_threads())
    scene = np.tile(scenes("kodak8")[0], (3, 2))[:1048, :1048]
    k = deconv.psf.trajectory(25, rng=1).astype(np.float32)
    y, _ = observed(scene, k, 0.01, rng=0)
    print(f"\nOne megapixel {y.shape}, grey, psf 25 x 25, {torch.get_num_threads()} threads\n")
    net.restore(y, k, sigma=0.01, tile=None)
    began = time.perf_counter()
    whole = net.restore(y, k, sigma=0.01, tile=None)
    seconds = time.perf_counter() - began
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        net.restore(y, k, sigma=0.01, tile=None)
    events = profiled.key_averages()
    parts = {
        name: sum(e.self_cpu_time_total for e in events if name in e.key) / 1e6
        for name in ("conv", "fft")
    }
    total = sum(e.self_cpu_time_total for e in events) / 1e6
    print(f"whole picture: {seconds:.2f} s; profiled {total:.2f} s, of which convolutions "
          f"{parts['conv']:.2f} s and FFTs {parts['fft']:.2f} s: ratio "
          f"{total / (parts['conv'] + parts['fft']):.2f}")  # fmt: skip
    with torch.autocast("cpu", dtype=torch.bfloat16):
        began = time.perf_counter()
        half = net.restore(y, k, sigma=0.01, tile=None)
        seconds = time.perf_counter() - began
    print(f"under torch.autocast to bfloat16: {seconds:.2f} s, largest difference "
          f"{np.abs(half - whole).max():.4f}")  # fmt: skip
    tiles = net.restore(y, k, sigma=0.01, tile=400)
    print(f"tiles of 400: largest difference {np.abs(tiles - whole).max():.1e} of white")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process so far: {peak:.0f} MiB")


TABLES = {
    "noise": noise_table,
    "border": border_table,
    "saturated": saturated_table,
    "large": large_table,
    "stride": stride_table,
    "speed": speed_table,
}


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="hqs-gray", help="name or path")
    parser.add_argument("--only", nargs="*", default=list(TABLES), choices=list(TABLES))
    options = parser.parse_args()
    print(machine())
    net = network(options.network)
    for name in options.only:
        TABLES[name](net)


if __name__ == "__main__":
    main()
