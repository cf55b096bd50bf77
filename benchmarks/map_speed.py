"""Time and memory of MAP restoration: against the bare FFTs and memory passes, and other libraries.

The bound of a splitting step is its FFTs and one read and write of each field that it keeps, on
arrays of the same number and size, so that the caches are as cold as in the loop. Where pixels are
unobserved, an HQS stage is several steps of conjugate gradients, each with that bound of its own.

    python -m benchmarks.map_speed          # about two minutes, three with pyproximal installed
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

import deconv
from benchmarks.protocol import grey, machine
from benchmarks.speed import in_turn, row, spot
from deconv import fft
from deconv.fidelity import Fidelity
from deconv.gradient import Gradient
from deconv.priors import HyperLaplacian, TotalVariation
from deconv.splitting import Term, admm, hqs
from deconv.threads import map_blocks

SHAPE, SIZE = (2048, 2048), 31
MEGAPIXEL = (1000, 1000)


def bound(shape: tuple[int, ...], images: int, spectra: int, pairs: int) -> Callable[[], Any]:
    """Read and write `images` and `spectra` once, and transform there and back `pairs` times."""
    fields = [fft.empty(shape, np.float32) for _ in range(images)]
    for field in fields:
        field[...] = 1
    halves = [fft.rfftn(fields[0], len(shape)) for _ in range(spectra)]

    def run() -> None:
        for array in [*fields, *halves]:
            map_blocks(np.positive, [array], array)
        for i in range(pairs):
            half = halves[i % spectra]
            fft.rfftn(fields[i % images], len(shape), out=half)
            fft.irfftn(half, shape, out=fields[(i + 1) % images], overwrite=True)

    return run


def steps() -> None:
    """One iteration of ADMM and one stage of HQS; fields and FFT pairs as counted in the code."""
    image, psf = spot(SHAPE, SIZE)
    for boundary in ("periodic", "unknown"):
        A = deconv.Blur(psf, SHAPE, boundary=boundary)
        fft.tune(A.domain)
        data = Fidelity(A, image)
        masked = boundary == "unknown"

        def iterate(data: Any = data, n: int = 20) -> Any:
            term = Term(TotalVariation(), 0.01, 0.1)
            return admm(data, [term], n_iter=n, tol=0)

        def stages(data: Any = data, n: int = 6) -> Any:
            return hqs(data, [Term(HyperLaplacian(), 0.01, [0.1] * n)], steps=5)

        # Picture, two duals, right-hand side; unknown pixels add the data and their dual. Spectra:
        # right-hand side, data or otf, the half-sized inverse counted with them.
        task = bound(A.domain, 6 if masked else 4, 3, 2 if masked else 1)
        row(f"ADMM step for TV, 2048x2048, {boundary}", in_turn(iterate, task, 5), of=20)
        # Five conjugate-gradient steps and the first residual, each of two FFTs on five spectra.
        task = bound(A.domain, 3, 5, 1)
        many = 6 if masked else 1
        pair = in_turn(stages, task, 5)
        row(f"HQS stage, 2048x2048, {boundary}", pair, f"{many} solver steps", of=6, per=many)
        fft.release_memory()
        tracemalloc.start()
        iterate()
        peak = tracemalloc.get_traced_memory()[1] / (4 * np.prod(A.domain))
        tracemalloc.stop()
        print(f"| ... ADMM's peak memory beside the input | {peak:.1f} domain arrays | | | |")


def megapixel() -> None:
    """A colour megapixel with everything found, against unsupervised_wiener channel by channel."""
    from skimage import data, restoration, transform

    photograph = transform.resize(data.astronaut(), MEGAPIXEL, anti_aliasing=True)
    _, psf = spot(MEGAPIXEL, 15)
    A = deconv.Blur(psf.astype(float), MEGAPIXEL, boundary="periodic")
    blurred = np.stack([A(photograph[..., i]) for i in range(3)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 0.01, blurred.shape)
    image = (blurred + noise).astype(np.float32)

    def theirs() -> Any:
        return [
            restoration.unsupervised_wiener(image[..., i], psf, clip=False, rng=0) for i in range(3)
        ]

    for name in ("tv", "hyper_laplacian", "plug_and_play"):
        method = getattr(deconv, name)
        for boundary in ("periodic", "unknown"):
            pair = in_turn(
                lambda method=method, boundary=boundary: method(
                    image, psf, boundary=boundary, channel_axis=-1
                ),
                theirs,
                2,
            )
            row(f"{name}, colour, 1 megapixel, {boundary}, all found", pair, "unsupervised_wiener")


def proximal() -> None:
    """Grey TV at a given weight against accelerated proximal gradients in pyproximal."""
    if find_spec("pyproximal") is None or find_spec("pylops") is None:
        print("| pyproximal is not installed: not compared | | | | |")
        return
    import pylops
    import pyproximal
    from skimage import data

    # Black towards its border: the libraries differ in what they make of light that is cut off.
    scene = np.pad(grey(data.camera())[32:-32, 32:-32], 32)
    _, psf = spot(scene.shape, 15)
    A = deconv.Blur(psf, scene.shape, boundary="zero")
    noise = np.random.default_rng(0).normal(0, 0.01, scene.shape)
    image = (A(A.frame.pad(scene)) + noise).astype(np.float32)
    lam, n_iter = 1e-3, 50
    blur = pylops.signalprocessing.Convolve2D(
        image.shape, psf, offset=tuple(k // 2 for k in psf.shape), dtype="float32"
    )

    def ours() -> np.ndarray:
        # To the objective that the other reaches.
        return deconv.tv(image, psf, lam=lam, boundary="zero", tol=3e-4, n_iter=200)

    def theirs() -> np.ndarray:
        found = pyproximal.optimization.primal.ProximalGradient(
            pyproximal.L2(Op=blur, b=image.ravel()),
            pyproximal.TV(sigma=lam, dims=image.shape, niter=10),
            x0=image.ravel(),
            tau=0.95,
            niter=n_iter,
            acceleration="fista",
        )
        result: np.ndarray = found.reshape(image.shape)
        return result

    def objective(x: np.ndarray) -> float:
        x = A.frame.pad(x)
        return float(
            0.5 * ((A(x) - image) ** 2).sum() + lam * TotalVariation().value(Gradient(2)(x))
        )

    note = f"objective {objective(ours()):.3f}, {n_iter} of their steps {objective(theirs()):.3f}"
    row("TV, grey, 512x512, weight given", in_turn(ours, theirs, 2), f"pyproximal: {note}")


def main() -> None:
    """Print the table."""
    print(machine() + ", FFT plans measured")
    print("| what | ours, ms | the other, ms | other / ours | |\n|---|---|---|---|---|")
    steps()
    megapixel()
    proximal()


if __name__ == "__main__":
    main()
