"""What the heavy ball of Richardson-Lucy costs the picture: ``python -m benchmarks.momentum``.

Eight pictures with Poisson noise; for each, the best PSNR that the iterates pass through and the
iteration where they do, with plain iterations, with the momentum used for a given number of
iterations, and with that used where the number is found from the data.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import deconv
from benchmarks.protocol import kodak, levin_kernels, machine, observed, psnr

LIMITS = {50: 30, 1000: 150, 10000: 250}
module = sys.modules["deconv.richardson_lucy"]
PATHS: dict[str, tuple[float, int] | None] = {
    "plain": None,
    "n_iter given": module.EAGER,
    "n_iter found": module.WARY,
}


def best(counts: np.ndarray, A: deconv.Blur, truth: np.ndarray, n_iter: int, path: Any) -> Any:
    """Highest PSNR on the way, and its iteration."""
    scores: list[float] = []
    given, module.EAGER = module.EAGER, path
    try:
        deconv.richardson_lucy(
            counts,
            A,
            n_iter=n_iter,
            accelerate=path is not None,
            callback=lambda state: scores.append(psnr(truth, state.image)),
        )
    finally:
        module.EAGER = given
    return max(scores), 1 + int(np.argmax(scores))


def main() -> None:
    """Print the table."""
    psfs = [deconv.psf.gaussian(1.5), deconv.psf.gaussian(2.5), *levin_kernels()[:4:3]]
    print(machine())
    print("| photons at white | " + " | ".join(PATHS) + " |\n" + "|---" * (len(PATHS) + 1) + "|")
    for peak, limit in LIMITS.items():
        rows: dict[str, list[tuple[float, int]]] = {name: [] for name in PATHS}
        for i, scene in enumerate(kodak()):
            psf = psfs[i % len(psfs)]
            light, truth = observed(scene[:256, :256].astype(float), psf, 0.0, 0)
            random = np.random.default_rng(i)
            counts = random.poisson(np.clip(light, 0, None) * peak) / peak
            A = deconv.Blur(psf, counts.shape)
            for name, path in PATHS.items():
                rows[name].append(best(counts, A, truth, limit, path))
        plain = np.mean([score for score, _ in rows["plain"]])
        cells = []
        for found in rows.values():
            score, steps = np.mean(found, axis=0)
            cells.append(f"{score - plain:+.2f} dB, {steps:.1f}")
        print(f"| {peak} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
