"""How often `fit_psf` finds the blur: ``python -m benchmarks.identify [cases]``.

A hundred valid blurs of eight photographs per family, with white noise of 0.5 % of white. Found
means: motion length within 1.5 pixels and angle within 5 degrees, defocus radius within 0.5 pixels,
Gaussian sigma within 10 %. Then the clock, a real photograph that nobody knows the psf of.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from benchmarks.protocol import kodak, machine, observed
from deconv import identify, psf

SIGMA = 0.005
RANGES = {
    "motion": {"length": (7, 25), "angle": (0, 180)},
    "defocus": {"radius": (2, 10)},
    "gaussian": {"sigma": (1, 4)},
}


def found(true: dict[str, float], fit: identify.Fit) -> bool:
    """Whether the fitted parameters are those of the blur."""
    got = fit.parameters
    if fit.family == "motion":
        turn = (got["angle"] - true["angle"] + 90) % 180 - 90
        return abs(got["length"] - true["length"]) <= 1.5 and abs(turn) <= 5
    if fit.family == "defocus":
        return abs(got["radius"] - true["radius"]) <= 0.5
    return abs(got["sigma"] / true["sigma"] - 1) <= 0.1


def main() -> None:
    """Print the share of hits and every miss of each family, and what the clock shows."""
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print(machine())
    print("\n| family | found | of | s each | missed |\n|---|---|---|---|---|")
    scenes = kodak()
    for family, ranges in RANGES.items():
        rng = np.random.default_rng(1)
        missed, seconds = [], []
        for i in range(cases):
            true = {name: rng.uniform(*bounds) for name, bounds in ranges.items()}
            blur = getattr(psf, family)(**true)
            image, _ = observed(scenes[i % len(scenes)], blur, SIGMA, rng=i)
            start = time.perf_counter()
            fit = identify.fit_psf(image, family)
            seconds.append(time.perf_counter() - start)
            if not found(true, fit):
                missed.append(f"case {i}: {_show(true)}, found {_show(fit.parameters)}")
        cells = f"{cases - len(missed)} | {cases} | {np.median(seconds):.2f} | {'; '.join(missed)}"
        print(f"| {family} | {cells} |", flush=True)
    from skimage import data

    fit = identify.fit_psf(data.clock(), "motion")
    print(f"\nclock: motion of {_show(fit.parameters)}, score {fit.score:.2f}")


def _show(parameters: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in parameters.items())


if __name__ == "__main__":
    main()
