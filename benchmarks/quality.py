"""Quality of automatic Wiener restoration against scikit-image's with an oracle's weight.

Kodak 1 to 8 x Levin's eight kernels x noise 1, 3 and 5 %, grey, valid blur (so the border really
is unknown), PSNR over the whole frame. `deconv.wiener` gets the picture and the psf and nothing
else; scikit-image's `wiener` gets the balance that maximises the PSNR of each single picture.

    python -m benchmarks.quality            # all 192 cases, some minutes
    python -m benchmarks.quality --quick    # every fourth
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product

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
        lambda b: -psnr(truth, restore(10**b)), bounds=(-6, 2), method="bounded",
        options={"xatol": 0.02},
    )
    return -float(found.fun)


def case(scene: np.ndarray, psf: np.ndarray, sigma: float, rng: int) -> dict[str, float]:
    """PSNR of every method on one picture."""
    from skimage import restoration

    image, truth = observed(scene, psf, sigma, rng)
    psf = psf.astype(image.dtype)
    margin = [(k, k) for k in psf.shape]
    inner = tuple(slice(k, k + n) for k, n in zip(psf.shape, image.shape, strict=True))
    reflected = np.pad(image, margin, mode="symmetric")
    tapered = edge_taper(image, psf)
    double = edge_taper(np.pad(image, margin, mode="edge"), psf)

    def theirs(picture: np.ndarray, balance: float) -> np.ndarray:
        return restoration.wiener(picture, psf, balance, clip=False)

    return {
        "blurred": psnr(truth, image),
        "reflect": oracle(lambda b: theirs(reflected, b)[inner], truth),
        "taper": oracle(lambda b: theirs(tapered, b), truth),
        "pad and taper": oracle(lambda b: theirs(double, b)[inner], truth),
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
    print("| noise | " + " | ".join(names) + " | gain on reflect | on taper | on pad and taper |")
    print("|---" * (len(names) + 4) + "|")
    for sigma, found in rows.items():
        mean = {name: np.mean([row[name] for row in found]) for name in names}
        cells = [f"{mean[name]:.2f}" for name in names]
        gains = [f"{mean['deconv'] - mean[name]:+.2f}" for name in ("reflect", "taper", "pad and taper")]
        print(f"| {sigma:.0%} | " + " | ".join(cells + gains) + " |")


if __name__ == "__main__":
    main()
