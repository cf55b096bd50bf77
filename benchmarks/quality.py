"""Quality of automatic Wiener restoration against scikit-image's with an oracle's weight.

Kodak 1 to 8 x Levin's eight kernels x noise 1, 3 and 5 %, grey, valid blur (so the border really
is unknown), PSNR over the whole frame. `deconv.wiener` gets the picture and the psf and nothing
else; scikit-image's `wiener` gets the balance that maximises the PSNR of each single picture, on
the picture reflected about its edges by half the psf's size or all of it, edge-tapered, or padded
by the edge pixels and then edge-tapered.

    python -m benchmarks.quality            # all 192 cases, some minutes
    python -m benchmarks.quality --quick    # every fourth
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import chain, product

import numpy as np

import deconv
from benchmarks.protocol import kodak, levin_kernels, machine, observed, psnr

NOISES = (0.01, 0.03, 0.05)


def edge_taper(image: np.ndarray, psf: np.ndarray) -> np.ndarray:
    """Blend the borders into the circularly blurred picture, by the psf's autocorrelation."""
    otf = deconv.fft.centred_rfftn(psf.astype(image.dtype), image.shape)
    blurred = deconv.fft.irfftn(otf * deconv.fft.rfftn(image, 2), image.shape)
    alpha = np.ones(image.shape, image.dtype)
    for axis, n in enumerate(image.shape):
        profile = psf.sum(axis=1 - axis)
        power = np.abs(np.fft.rfft(profile, n - 1)) ** 2
        correlation = np.fft.irfft(power, n - 1)
        correlation = np.append(correlation, correlation[0]) / correlation[0]
        alpha *= (1 - correlation).reshape((-1, 1) if axis == 0 else (1, -1)).astype(image.dtype)
    return alpha * image + (1 - alpha) * blurred


def oracle(restore: Callable[[float], np.ndarray], truth: np.ndarray) -> float:
    """Best PSNR over scikit-image's balance."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda b: -psnr(truth, restore(10**b)),
        bounds=(-6, 2),
        method="bounded",
        options={"xatol": 0.02},
    )
    return -float(found.fun)


def case(scene: np.ndarray, psf: np.ndarray, sigma: float, rng: int) -> dict[str, float]:
    """PSNR of every method on one picture."""
    from skimage import restoration

    image, truth = observed(scene, psf, sigma, rng)
    psf = psf.astype(image.dtype)

    def theirs(picture: np.ndarray, margin: int) -> float:
        inner = tuple(slice(margin, margin + n) for n in image.shape)
        return oracle(lambda b: restoration.wiener(picture, psf, b, clip=False)[inner], truth)

    half, full = max(psf.shape) // 2, max(psf.shape)
    return {
        "blurred": psnr(truth, image),
        "reflect half": theirs(np.pad(image, half, mode="reflect"), half),
        "reflect": theirs(np.pad(image, full, mode="reflect"), full),
        "taper": theirs(edge_taper(image, psf), 0),
        "pad, taper": theirs(edge_taper(np.pad(image, full, mode="edge"), psf), full),
        "deconv": psnr(truth, deconv.wiener(image, psf)),
    }


def main() -> None:
    """Print the table."""
    from tqdm import tqdm

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="every fourth case only")
    step = 4 if parser.parse_args().quick else 1
    scenes, psfs = kodak(), levin_kernels()
    print(machine())
    rows: dict[float, list[dict[str, float]]] = {sigma: [] for sigma in NOISES}
    pairs = list(product(range(len(scenes)), range(len(psfs))))
    cases = [(s, i, j) for s in NOISES for i, j in pairs if (i + j) % step == 0]
    for sigma, i, j in tqdm(cases, leave=False):
        rows[sigma].append(case(scenes[i], psfs[j], sigma, rng=8 * i + j))
    names = list(rows[NOISES[0]][0])
    print("| noise | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")
    for sigma, found in rows.items():
        means = [np.mean([row[name] for row in found]) for name in names]
        print(f"| {sigma:.0%} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")
    for sigma, found in [*rows.items(), (0.0, list(chain(*rows.values())))]:
        gains = [np.mean([row["deconv"] - row[name] for row in found]) for name in names[:-1]]
        label = f"gain at {sigma:.0%}" if sigma else "gain, mean"
        print(f"| {label} | " + " | ".join(f"{gain:+.2f}" for gain in gains) + " | |")


if __name__ == "__main__":
    main()
