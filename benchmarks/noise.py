"""Bias and spread of the noise estimates on blurred photographs: ``python -m benchmarks.noise``.

Valid blur of eight photographs with eight camera-shake kernels and white Gaussian noise; the true
sigma is unknown to the estimators. Bias and spread (standard deviation) are in per cent of it.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.protocol import kodak, levin_kernels, machine, observed
from deconv import evidence, noise, whittle
from deconv.periodogram import layout, look, response

LEVELS = (1.0, 2.55, 7.65)  # of 255


def likelihood_alone(image: np.ndarray, psf: np.ndarray) -> float:
    """Sigma by maximum likelihood over (sigma, c, p) and nothing else."""
    plan = layout(image.shape, psf.shape, 2**20)
    seen = look(image, None, plan)
    grid = whittle.grid_of(plan, 0.5 / image.size**0.5)
    data = whittle.table(seen.periodograms.mean(0), response(psf, plan.grid), grid.rows)
    return float(whittle.fit(data).noise ** 0.5) * seen.scale


ESTIMATORS = {
    "evidence.estimate": lambda image, psf: float(evidence.estimate(image, psf).sigma),
    "noise.estimate_sigma (MAD)": lambda image, psf: noise.estimate_sigma(image),
    "likelihood alone": likelihood_alone,
}


def main() -> None:
    """Print one row per estimator and noise level."""
    print(machine())
    print("\n| estimator, sigma of 255 | bias % | spread % | worst | ms |\n|---|---|---|---|---|")
    scenes, psfs = kodak(), levin_kernels()
    for level in LEVELS:
        cases = [
            observed(scene, psf, level / 255, rng=100 * i + j)[0]
            for i, scene in enumerate(scenes)
            for j, psf in enumerate(psfs)
        ]
        for name, estimator in ESTIMATORS.items():
            start = time.perf_counter()
            found = [estimator(y, psfs[i % len(psfs)]) for i, y in enumerate(cases)]
            took = 1e3 * (time.perf_counter() - start) / len(cases)
            error = 100 * (np.array(found) * 255 / level - 1)
            worst = f"{error.min():+.1f} {error.max():+.1f}"
            cells = f"{error.mean():+.1f} | {error.std():.1f} | {worst} | {took:.1f}"
            print(f"| {name}, {level:g} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
