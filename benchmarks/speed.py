"""Time ratios against scikit-image and against the bare FFTs, side by side in one run.

Every row times two things in turn, A B A B ..., and prints the median of each and their ratio, so
that a machine whose speed drifts slows both.

    python -m benchmarks.speed              # about two minutes
    python -m benchmarks.speed --tune       # let FFTW measure plans for these shapes first
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy as np

import deconv
from benchmarks.protocol import grey, kodak, levin_kernels, machine, psnr
from deconv import fft

BALANCE = 0.01
CASES = [((512, 512), 31), ((2048, 2048), 31), ((64, 256, 256), 15)]


def in_turn(a: Callable[[], Any], b: Callable[[], Any], runs: int) -> tuple[float, float]:
    """Median seconds of `a` and of `b`, run alternately after one warm-up each."""
    times: tuple[list[float], list[float]] = ([], [])
    for k in range(runs + 1):
        for task, seconds in zip((a, b), times, strict=True):
            start = time.perf_counter()
            task()
            if k:
                seconds.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def one_fft(shape: tuple[int, ...]) -> Callable[[], Any]:
    """A planned forward and inverse real FFT of `shape`, in memory of their own."""
    x = fft.empty(shape, np.float32)
    x[...] = 1
    spectrum = fft.rfftn(x, x.ndim)

    def pair() -> None:
        fft.rfftn(x, x.ndim, out=spectrum)
        fft.irfftn(spectrum, shape, out=x, overwrite=True)

    return pair


def row(name: str, ours: float, theirs: float, note: str = "") -> None:
    """One line of the table, in milliseconds."""
    print(
        f"| {name} | {1e3 * ours:.1f} | {1e3 * theirs:.1f} | {theirs / ours:.2f} | {note} |",
        flush=True,
    )


def spot(shape: tuple[int, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
    """A random image and a Gaussian psf of `size` along each axis, float32."""
    image = np.random.default_rng(0).random(shape, np.float32) + 0.1
    psf = deconv.psf.gaussian(size / 8, ndim=len(shape), size=size)
    return image, psf.astype(np.float32)


def richardson_lucy(tuned: bool) -> None:
    """Plain iterations, zero boundary: the same result as scikit-image, and four FFTs each."""
    from skimage import restoration

    for shape, size in CASES:
        image, psf = spot(shape, size)
        A = deconv.Blur(psf, shape, boundary="zero")
        if tuned:
            fft.tune(A.domain)

        def ours(image: Any = image, psf: Any = psf) -> np.ndarray:
            return deconv.richardson_lucy(image, psf, n_iter=30, accelerate=False, boundary="zero")

        def theirs(image: Any = image, psf: Any = psf) -> np.ndarray:
            return restoration.richardson_lucy(image, psf, 30, clip=False)

        a, b = ours(), theirs()
        difference = float(np.abs(a - b).max() / np.abs(b).max())
        label = f"Richardson-Lucy x 30, {'x'.join(map(str, shape))}, psf {size}"
        fast, slow = in_turn(ours, theirs, 3)
        row(label, fast, slow, f"largest relative difference {difference:.0e}")
        iterations, pair = in_turn(ours, one_fft(A.domain), 7)
        four = 2 * pair
        row("... one iteration against 4 FFTs", iterations / 30, four, f"domain {A.domain}")
        tracemalloc.start()
        ours()
        peak = tracemalloc.get_traced_memory()[1] / (4 * np.prod(A.domain))
        tracemalloc.stop()
        print(f"| ... peak memory beside the input | {peak:.1f} domain arrays | | | |")


def divergences(counts: np.ndarray, A: deconv.Blur, n_iter: int, **options: Any) -> list[float]:
    """I-divergence of the counts from the prediction after each iteration."""
    found: list[float] = []

    def look(state: Any) -> None:
        found.append(deconv.metrics.i_divergence(counts, A(state.image)))

    deconv.richardson_lucy(counts, A, n_iter=n_iter, callback=look, **options)
    return found


def acceleration() -> None:
    """Accelerated iterations that fit the data as well as 100 and 300 plain ones."""
    needed: dict[int, list[int]] = {100: [], 300: []}
    for peak, (i, scene) in product((50, 1000), enumerate(kodak())):
        psf = levin_kernels()[i].astype(float)
        A = deconv.Blur(psf, (256, 256), boundary="periodic")
        light = peak * A(scene[:256, :256].astype(float))
        counts = np.random.default_rng(i).poisson(np.clip(light, 0, None)).astype(float)
        plain = divergences(counts, A, 300, accelerate=False)
        ahead = divergences(counts, A, 60)
        for goal, found in needed.items():
            found.append(1 + int(np.argmax(np.array(ahead) <= plain[goal - 1])))
    image, psf = spot((2048, 2048), 31)
    fast, slow = in_turn(
        lambda: deconv.richardson_lucy(image, psf, n_iter=15, accelerate=False),
        lambda: deconv.richardson_lucy(image, psf, n_iter=15),
        5,
    )
    row("Richardson-Lucy, plain against accelerated iteration", fast / 15, slow / 15)
    for goal, found in needed.items():
        print(
            f"| ... accelerated iterations that fit as {goal} plain ones | "
            f"median {np.median(found):.0f}, most {max(found)} | in time {slow / fast * np.median(found):.0f}, "
            f"{slow / fast * max(found):.0f} | | {len(found)} pictures, peak 50 and 1000 |"
        )


def wiener(tuned: bool) -> None:
    """Given weight against scikit-image's wiener; automatic weight against unsupervised_wiener."""
    from skimage import restoration

    for n in (512, 2048):
        image, psf = spot((n, n), 31)
        if tuned:
            fft.tune((n, n))

        def ours(image: Any = image, psf: Any = psf) -> np.ndarray:
            return deconv.wiener(
                image, psf, spectrum="laplacian", weight=BALANCE, boundary="periodic"
            )

        def theirs(image: Any = image, psf: Any = psf) -> np.ndarray:
            return restoration.wiener(image, psf, BALANCE, clip=False)

        def flat(image: Any = image, psf: Any = psf) -> np.ndarray:
            return deconv.wiener(
                image, psf, weight=BALANCE, spectrum="power-law", boundary="periodic"
            )

        given, slow = in_turn(flat, theirs, 9)
        row(f"Wiener, weight given, {n}x{n} periodic", given, slow)
        same, slow = in_turn(ours, theirs, 9)
        row("... with scikit-image's own Laplacian", same, slow)
        fast, pair = in_turn(flat, one_fft((n, n)), 9)
        row("... against 2 FFTs", fast, pair)
        for boundary in ("periodic", "unknown"):

            def automatic(image: Any = image, psf: Any = psf, boundary: str = boundary) -> Any:
                return deconv.wiener(image, psf, boundary=boundary)

            def fixed(image: Any = image, psf: Any = psf, boundary: str = boundary) -> Any:
                return deconv.wiener(
                    image, psf, boundary=boundary, spectrum="power-law", weight=BALANCE
                )

            found, given = in_turn(automatic, fixed, 5)
            row(f"Wiener, automatic against given, {n}x{n} {boundary}", found, given)
            if n == 2048:
                found, theirs_auto = in_turn(
                    automatic,
                    lambda image=image, psf=psf: restoration.unsupervised_wiener(
                        image, psf, clip=False, rng=0
                    ),
                    2,
                )
                row(f"... against unsupervised_wiener, {boundary}", found, theirs_auto)


def unsupervised_quality() -> None:
    """PSNR of both automatic Wiener filters on every bundled and Kodak picture, periodic blur."""
    from skimage import data, restoration

    names = (
        "camera",
        "astronaut",
        "coffee",
        "chelsea",
        "rocket",
        "coins",
        "brick",
        "gravel",
        "moon",
        "page",
        "text",
        "cell",
        "hubble_deep_field",
        "immunohistochemistry",
    )
    scenes = {name: grey(getattr(data, name)()) for name in names}
    scenes |= {f"kodak {i + 1}": scene for i, scene in enumerate(kodak())}
    gains = {}
    for k, (name, scene) in enumerate(scenes.items()):
        psf = levin_kernels()[k % 8].astype(np.float32)
        A = deconv.Blur(psf, scene.shape, boundary="periodic")
        noise = np.random.default_rng(k).normal(0, 0.02, scene.shape)
        image = (A(scene) + noise).astype(np.float32)
        theirs = restoration.unsupervised_wiener(image, psf, clip=False, rng=0)[0]
        gains[name] = psnr(scene, deconv.wiener(image, psf, boundary="periodic")) - psnr(
            scene, theirs
        )
    worst = min(gains, key=gains.__getitem__)
    print(
        f"| PSNR gain on unsupervised_wiener, {len(gains)} pictures, noise 2 % | mean "
        f"{np.mean(list(gains.values())):+.2f} dB | worst {gains[worst]:+.2f} dB ({worst}) | | |"
    )


def libraries() -> None:
    """The bare FFT pair by each library, as `deconv.fft` would choose between them."""
    for shape, size in CASES:
        domain = deconv.Blur(spot(shape, size)[1], shape, boundary="zero").domain
        x = np.ones(domain, np.float32)
        spectrum = fft.rfftn(x, x.ndim)

        def scipy_pair(x: Any = x, spectrum: Any = spectrum, domain: Any = domain) -> None:
            import scipy.fft

            scipy.fft.rfftn(x, workers=fft.get_threads())
            scipy.fft.irfftn(spectrum, domain, workers=fft.get_threads())

        ours, theirs = in_turn(one_fft(domain), scipy_pair, 9)
        row(f"FFT pair {domain}: deconv.fft against scipy.fft", ours, theirs)
    if find_spec("RedLionfish") is None:
        print("| RedLionfish is not installed: not compared | | | | |")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tune", action="store_true", help="let FFTW measure plans first")
    tuned = parser.parse_args().tune
    print(machine())
    print("| what | ours, ms | the other, ms | other / ours | |\n|---|---|---|---|---|")
    libraries()
    richardson_lucy(tuned)
    acceleration()
    wiener(tuned)
    unsupervised_quality()


if __name__ == "__main__":
    main()
