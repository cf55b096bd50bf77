"""Filters, denoisers, filter banks and ring suppression: the tables of docs/filters.md.

On Kodak 1 to 8, valid blur (so the border really is unknown), PSNR over the whole frame. Ringing is
judged with the psfs that Levin et al. (2011) and Cho and Lee (2009) published as their estimates of
Levin's eight, one picture each.

    python -m benchmarks.filters                              # about three minutes
    python -m benchmarks.filters --only ringing --companion 3 6 12
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

import deconv
from benchmarks.protocol import DATA, kodak, levin_kernels, machine, observed, photographs, psnr
from benchmarks.speed import in_turn, one_fft, row
from deconv import flat
from deconv.denoisers import DENOISERS, denoiser
from deconv.filters import bilateral, shock
from deconv.operators.frame import Frame

LEVELS = (5, 15, 25, 49)  # of noise, in 255ths
NOISES = (0.01, 0.03)
ESTIMATES = {
    "Levin et al. 2011": "BD_levin_cvpr_2011",
    "Cho and Lee 2009": "BD_cho_and_lee_tog_2009",
}
DERINGED = {
    "wiener": deconv.wiener,
    "tv": deconv.tv,
    "hyper_laplacian": deconv.hyper_laplacian,
    "plug_and_play": deconv.plug_and_play,
}
FRAMES = ((512, 512), (1080, 1920))
MEGAPIXEL = (1000, 1000)


def heading(*cells: str) -> None:
    """The first two lines of a table."""
    print(f"\n| {' | '.join(cells)} |\n{'|---' * len(cells)}|", flush=True)


def line(*cells: Any) -> None:
    """A line of a table."""
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def cropped(picture: np.ndarray, size: int = 384) -> np.ndarray:
    """The middle of a picture, at most `size` pixels a side."""
    y, x = (max(n - size, 0) // 2 for n in picture.shape[:2])
    return picture[y : y + size, x : x + size]


def mean(values: Any) -> str:
    """Of PSNRs."""
    return f"{np.mean(list(values)):.2f}"


def local_filters() -> None:
    """Seconds of the two filters on a grey megapixel, and of scikit-image's bilateral filter."""
    from skimage.restoration import denoise_bilateral

    image = np.random.default_rng(0).random(MEGAPIXEL, np.float32)
    options = {"win_size": 19, "sigma_color": 0.2, "sigma_spatial": 3}
    heading("what, on a grey megapixel", "ours, ms", "the other, ms", "other / ours", "")
    pair = in_turn(
        lambda: bilateral(image, sigma_space=3, sigma_range=0.2),
        lambda: denoise_bilateral(image, **options),
        2,
    )
    row("bilateral, sigma 3", pair, "denoise_bilateral")
    start = time.perf_counter()
    shock(image)
    line("shock, 10 iterations", f"{1e3 * (time.perf_counter() - start):.1f}", "", "", "")


def denoisers() -> None:
    """Mean PSNR of every denoiser on every second picture."""
    heading("name", "", *map(str, LEVELS), "s")
    sets = {
        "grey": [cropped(p, 512) for p in kodak()[::2]],
        "colour": [
            np.moveaxis(cropped(p, 512), -1, 0) for p in photographs("kodak8", every=2, colour=True)
        ],
    }
    for name, (kind, scenes) in product(DENOISERS, sets.items()):
        denoise, found, seconds = denoiser(name), [], []
        for level in LEVELS:
            values = []
            for i, scene in enumerate(scenes):
                noise = np.random.default_rng(i).normal(0, level / 255, scene.shape)
                noisy = (scene + noise).astype(np.float32)
                start = time.perf_counter()
                clean = denoise(noisy, level / 255)
                seconds.append(time.perf_counter() - start)
                values.append(psnr(scene, clean))
            found.append(mean(values))
        line(f'"{name}"', kind, *found, f"{np.median(seconds):.2f}")


def plugged_in() -> None:
    """Plug and play with every denoiser, beside what needs none; every second psf and picture."""
    methods: dict[str, Callable[..., np.ndarray]] = {
        "wiener": deconv.wiener,
        "tv": deconv.tv,
        **{
            f'plug_and_play, "{name}"': lambda y, k, name=name: deconv.plug_and_play(y, k, name)
            for name in DENOISERS
        },
    }
    heading("", *(f"{noise:.0%}" for noise in NOISES), "s")
    scenes, psfs = kodak(), levin_kernels()
    cases = {
        noise: [(observed(cropped(scenes[i]), psfs[i], noise, i), psfs[i]) for i in range(0, 8, 2)]
        for noise in NOISES
    }
    for name, restore in methods.items():
        start = time.perf_counter()
        found = [
            mean(psnr(truth, restore(image, psf)) for (image, truth), psf in cases[noise])
            for noise in NOISES
        ]
        each = (time.perf_counter() - start) / sum(map(len, cases.values()))
        line(name, *found, f"{each:.2f}")


def banks() -> None:
    """Quality of the filter bank against wiener's, and the time of one frame."""
    heading("noise", "blurred", "filter_bank", "constant spectrum", "wiener")
    scenes, psfs = kodak(), levin_kernels()
    for noise in (0.001, *NOISES):
        found: list[tuple[float, ...]] = []
        for i, psf in enumerate(psfs):
            image, truth = observed(cropped(scenes[i]), psf, noise, i)
            results = (
                image,
                deconv.filter_bank(image, psf),
                deconv.filter_bank(image, psf, spectrum="constant"),
                deconv.wiener(image, psf),
            )
            found.append(tuple(psnr(truth, result) for result in results))
        line(f"{100 * noise:g} %", *(mean(column) for column in zip(*found, strict=True)))
    heading("milliseconds", "ours", "the other", "other / ours", "")
    psf = psfs[0].astype(np.float32)
    bank = deconv.pseudo_inverse(psf)
    for shape in FRAMES:
        wide = [(0, n + k - 1) for n, k in zip(shape, psf.shape, strict=True)]
        scene = np.pad(scenes[0], wide, mode="symmetric")[tuple(slice(n) for _, n in wide)]
        frame, _ = observed(scene, psf, 0.01, 0)
        domain = Frame.place(shape, bank.kernel.shape, "unknown").domain

        def ours(frame: Any = frame) -> Any:
            return bank(frame)

        def given(frame: Any = frame) -> Any:
            options = {"spectrum": "power-law", "weight": 0.01, "boundary": "periodic"}
            return deconv.wiener(frame, psf, **options)

        def found_all(frame: Any = frame) -> Any:
            return deconv.wiener(frame, psf)

        size = "x".join(map(str, shape))
        row(f"a bank on {size}, against two FFTs", in_turn(ours, one_fft(domain), 9))
        row("... wiener, periodic, weight given", in_turn(ours, given, 9))
        row("... wiener, all found", in_turn(ours, found_all, 5))
        if shape == FRAMES[0]:
            pair = in_turn(ours, lambda frame=frame: pairwise(bank, frame), 1)
            row(f"... its {bank.rank} filter pairs one by one", pair)


def pairwise(bank: Any, frame: np.ndarray) -> np.ndarray:
    """A bank as what it is called: separable filters, summed."""
    from scipy.ndimage import convolve1d

    total = np.zeros_like(frame)
    for column, weight, across in zip(bank.columns, bank.weights, bank.rows, strict=True):
        total += weight * convolve1d(convolve1d(frame, column, axis=0), across, axis=1)
    return total


def estimated(index: int, folder: str) -> np.ndarray:
    """A published estimate of one of Levin's psfs, moved onto it, or a softened one without it."""
    true = levin_kernels()[index]
    place = DATA / "kernels" / "levin_published_estimates" / folder
    files = sorted(place.glob(f"k_{index + 1}_im_1_*.png"))
    if not files:
        from scipy.ndimage import gaussian_filter

        return gaussian_filter(np.pad(true, 3), 1.0)
    psf = deconv.psf.from_file(files[0])
    side = 2 * max(*psf.shape, *true.shape) + 1
    psf, true = (deconv.psf.pad(k, side) for k in (psf, true))
    overlap = np.fft.ifft2(np.fft.fft2(true) * np.conj(np.fft.fft2(psf))).real
    moved = np.roll(psf, np.unravel_index(overlap.argmax(), overlap.shape), (0, 1))
    return deconv.psf.crop(moved)


def ringing(companions: list[float]) -> None:
    """What `deringing` does to the PSNR at 1 % noise: mean (worst) of eight pictures."""
    scenes, psfs = kodak(), levin_kernels()
    cases = [observed(cropped(scenes[i]), psfs[i], 0.01, i) for i in range(8)]
    kinds = {"exact": psfs} | {
        f"estimated ({name})": [estimated(i, folder) for i in range(8)]
        for name, folder in ESTIMATES.items()
    }
    standard = flat.COMPANION
    for factor in companions or [standard]:
        flat.COMPANION = factor
        print(f"\nWeight of the companion: {factor:g} times the rule of l0_gradient")
        heading("psf", "restored by", "without", "deringing=0.5", "deringing=1")
        for (kind, used), (name, restore) in product(kinds.items(), DERINGED.items()):
            if name == "plug_and_play" and companions:
                continue
            plain: list[float] = []
            gains: dict[float, list[float]] = {0.5: [], 1.0: []}
            for (image, truth), psf in zip(cases, used, strict=True):
                plain.append(psnr(truth, restore(image, psf)))
                for strength, found in gains.items():
                    calm = restore(image, psf, deringing=strength)
                    found.append(psnr(truth, calm) - plain[-1])
            shown = [f"{np.mean(v):+.2f} ({np.min(v):+.2f})" for v in gains.values()]
            line(kind, f"`{name}`", mean(plain), *shown)
    flat.COMPANION = standard


def main() -> None:
    """Print the tables."""
    tables = {
        "local": local_filters,
        "denoisers": denoisers,
        "plugged": plugged_in,
        "banks": banks,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=(*tables, "ringing"), help="one table")
    parser.add_argument(
        "--companion", type=float, nargs="*", default=[], help="weights to try for ringing"
    )
    options = parser.parse_args()
    print(machine())
    for name, table in tables.items():
        if options.only in (None, name):
            table()
    if options.only in (None, "ringing"):
        ringing(options.companion)


if __name__ == "__main__":
    main()
