"""Time ratios against scikit-image and against the bare FFTs, side by side in one run.

Every row times two things in turn, A B A B ..., and prints the median of each and their ratio, so
that a machine whose speed drifts slows both.

    python -m benchmarks.speed              # about three minutes
    python -m benchmarks.speed --untuned    # without measuring FFT plans for these shapes first

Plans are measured once per shape and kept in the user's cache folder, so a user's second run has
them; without, `deconv.fft` takes ducc0 where it is installed, else scipy.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable
from importlib.util import find_spec
from itertools import product
from typing import Any, NamedTuple

import numpy as np

import deconv
from benchmarks.protocol import grey, kodak, levin_kernels, machine, psnr
from deconv import fft

BALANCE = 0.01
CASES = [((512, 512), 31), ((2048, 2048), 31), ((64, 256, 256), 15)]


class Pair(NamedTuple):
    """Median seconds of two tasks, and the median of their ratio run by run."""

    ours: float
    theirs: float
    ratio: float


def in_turn(a: Callable[[], Any], b: Callable[[], Any], runs: int) -> Pair:
    """Time `a` and `b` alternately, at least `runs` times and a second, after one warm-up each."""
    pairs: list[tuple[float, float]] = []
    a(), b()
    begin = time.perf_counter()
    while len(pairs) < runs or (time.perf_counter() - begin < 1 and len(pairs) < 100):
        times = []
        for task in (a, b):
            start = time.perf_counter()
            task()
            times.append(time.perf_counter() - start)
        pairs.append((times[0], times[1]))
    return Pair(
        statistics.median(x for x, _ in pairs),
        statistics.median(y for _, y in pairs),
        statistics.median(y / x for x, y in pairs),
    )


def one_fft(shape: tuple[int, ...]) -> Callable[[], Any]:
    """A planned forward and inverse real FFT of `shape`, in memory of their own."""
    x = fft.empty(shape, np.float32)
    x[...] = 1
    spectrum = fft.rfftn(x, x.ndim)

    def pair() -> None:
        fft.rfftn(x, x.ndim, out=spectrum)
        fft.irfftn(spectrum, shape, out=x, overwrite=True)

    return pair


def row(name: str, pair: Pair, note: str = "", of: int = 1, per: int = 1) -> None:
    """One line of the table, in milliseconds: a part `of` ours against `per` of the other."""
    ours, theirs = 1e3 * pair.ours / of, 1e3 * pair.theirs * per
    ratio = pair.ratio * of * per
    print(f"| {name} | {ours:.1f} | {theirs:.1f} | {ratio:.2f} | {note} |", flush=True)


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
        library = fft.tune(A.domain) if tuned else "not measured"

        def ours(image: Any = image, psf: Any = psf) -> np.ndarray:
            return deconv.richardson_lucy(image, psf, n_iter=30, accelerate=False, boundary="zero")

        def theirs(image: Any = image, psf: Any = psf) -> np.ndarray:
            return restoration.richardson_lucy(image, psf, 30, clip=False)

        a, b = ours(), theirs()
        difference = float(np.abs(a - b).max() / np.abs(b).max())
        label = f"Richardson-Lucy x 30, {'x'.join(map(str, shape))}, psf {size}"
        row(label, in_turn(ours, theirs, 3), f"largest relative difference {difference:.0e}")
        note = f"domain {A.domain}, FFT by {library}"
        pair = in_turn(ours, one_fft(A.domain), 5)
        row("... an iteration against four FFTs", pair, note, of=30, per=2)
        fft.release_memory()
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
    pair = in_turn(
        lambda: deconv.richardson_lucy(image, psf, n_iter=15),
        lambda: deconv.richardson_lucy(image, psf, n_iter=15, accelerate=False),
        5,
    )
    row("Richardson-Lucy x 15, 2048x2048, accelerated against plain", pair)
    for goal, found in needed.items():
        typical, most = float(np.median(found)), max(found)
        print(
            f"| ... accelerated iterations that fit as {goal} plain ones | {typical:.0f}, at most "
            f"{most} | cost {typical / pair.ratio:.0f}, at most {most / pair.ratio:.0f} plain ones "
            f"| | {len(found)} pictures, peak 50 and 1000 |"
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

        row(f"Wiener, weight given, {n}x{n} periodic", in_turn(flat, theirs, 9))
        row("... with scikit-image's own Laplacian", in_turn(ours, theirs, 9))
        row("... against two FFTs", in_turn(flat, one_fft((n, n)), 9))
        for boundary in ("periodic", "unknown"):

            def automatic(image: Any = image, psf: Any = psf, boundary: str = boundary) -> Any:
                return deconv.wiener(image, psf, boundary=boundary)

            def unsupervised(image: Any = image, psf: Any = psf) -> Any:
                return restoration.unsupervised_wiener(image, psf, clip=False, rng=0)

            if boundary == "periodic":
                row(f"Wiener, weight found against given, {n}x{n}", in_turn(automatic, flat, 5))
            else:
                row(f"Wiener, weight found, {n}x{n}, border unknown", in_turn(automatic, theirs, 5))
            if n == 2048:
                row("... against unsupervised_wiener", in_turn(automatic, unsupervised, 2))


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

        row(f"FFT pair {domain}, against scipy.fft", in_turn(one_fft(domain), scipy_pair, 9))


def red_lionfish() -> None:
    """Ten iterations in 3-D on the CPU; it works on the periodic frame."""
    if find_spec("RedLionfishDeconv") is None:
        print("| RedLionfish is not installed: not compared | | | | |")
        return
    from RedLionfishDeconv import doRLDeconvolutionFromNpArrays

    shape, size = CASES[-1]
    image, psf = spot(shape, size)
    pair = in_turn(
        lambda: deconv.richardson_lucy(
            image, psf, n_iter=10, accelerate=False, boundary="periodic"
        ),
        lambda: doRLDeconvolutionFromNpArrays(image, psf, niter=10, method="cpu"),
        3,
    )
    row("Richardson-Lucy x 10, 64x256x256, psf 15, against RedLionfish", pair)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--untuned", action="store_true", help="do not measure FFT plans first")
    tuned = not parser.parse_args().untuned
    print(machine() + (", FFT plans measured" if tuned else ", no FFT plans"))
    print("| what | ours, ms | the other, ms | other / ours | |\n|---|---|---|---|---|")
    richardson_lucy(tuned)
    acceleration()
    wiener(tuned)
    libraries()
    red_lionfish()
    unsupervised_quality()


if __name__ == "__main__":
    main()
