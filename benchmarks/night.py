r"""Richardson-Lucy around clipped lights: the table of docs/real.md.

Scenes are blurred by Levin's kernels, get noise of 1 % of white and are clipped at white. Scene and
result are clipped too before they are compared: nobody sees what is brighter than white. Three ways
with the clipped pixels: taken at their word, left out (weight 0), and ``saturation="auto"``. All
with the number of iterations found. Mean PSNR in dB; of the last way also that of the best of its
first 60 iterations, and how much it is above the first way for the picture where that is least.

    export OMP_NUM_THREADS=1
    python -m benchmarks.night
"""

from __future__ import annotations

from typing import Any

import numpy as np

import deconv
from benchmarks.protocol import DATA, grey, levin_kernels, machine, observed, psnr
from deconv.progress import State

SIZE, NOISE, LONGEST = 320, 0.01, 60
# Exposure of the brightened scenes; that of the night scenes, and how bright their lights are.
EXPOSURE, DUSK, LAMP = 1.6, 0.4, 10.0


def scenes() -> dict[str, list[np.ndarray]]:
    """Scenes of up to some times white, by the name of their set."""
    from skimage import data, io

    sets = {}
    for name, folder in (("Kodak", "test/kodak8"), ("Lai, sharp", "pairs/lai2016/sharp")):
        files = sorted((DATA / folder).glob("*.*"))
        if files:
            pictures = [grey(io.imread(file)) for file in files]
            sets[f"{name} × {EXPOSURE}"] = [EXPOSURE * _middle(p) for p in pictures]
    names = ("astronaut", "chelsea", "coffee", "rocket", "camera", "coins")
    pictures = [_middle(grey(getattr(data, name)())) for name in names]
    if not sets:
        sets[f"scikit-image × {EXPOSURE}"] = [EXPOSURE * p for p in pictures]
    sets["scikit-image at night"] = [_night(p, rng=i) for i, p in enumerate(pictures)]
    return sets


def _middle(picture: np.ndarray) -> np.ndarray:
    first = [max(0, (n - SIZE) // 2) for n in picture.shape]
    return picture[first[0] : first[0] + SIZE, first[1] : first[1] + SIZE]


def _night(picture: np.ndarray, *, rng: int) -> np.ndarray:
    """A dim scene with lamps of 2 to 4 pixels that are many times brighter than white."""
    random = np.random.default_rng(rng)
    scene = DUSK * picture
    for y, x in random.integers(0, np.array(scene.shape) - 4, (20, 2)):
        size = random.integers(2, 5)
        scene[y : y + size, x : x + size] = LAMP * random.uniform(0.3, 1)
    return scene


def score(truth: np.ndarray, image: np.ndarray) -> float:
    """PSNR of what a screen shows."""
    return psnr(truth.clip(0, 1), image.clip(0, 1))


def best(y: np.ndarray, psf: np.ndarray, truth: np.ndarray) -> float:
    """The best score on the way of ``saturation="auto"``."""
    path: list[float] = []

    def look(state: State) -> None:
        path.append(score(truth, state.image))

    deconv.richardson_lucy(y, psf, n_iter=LONGEST, saturation="auto", callback=look)
    return max(path)


def main() -> None:
    """Print the table: one row per set of scenes."""
    print(machine())
    print(
        "| scenes | clipped | blurred | at their word | weight 0 | saturation | best | least gain |"
    )
    print("|---" * 8 + "|")
    kernels = levin_kernels()
    for name, pictures in scenes().items():
        rows = []
        for i, scene in enumerate(pictures):
            psf = kernels[i % len(kernels)]
            y, truth = observed(scene, psf, NOISE, i)
            y = y.clip(0, 1)
            ways: list[dict[str, Any]] = [
                {},
                {"weights": (y < 1).astype(y.dtype)},
                {"saturation": "auto"},
            ]
            found = [score(truth, deconv.richardson_lucy(y, psf, **way)) for way in ways]
            clipped = 100 * float((y >= 1).mean())
            rows.append([clipped, score(truth, y), *found, best(y, psf, truth)])
        clipped, *means = np.mean(rows, axis=0)
        least = min(row[4] - row[2] for row in rows)
        cells = " | ".join(f"{mean:.2f}" for mean in means)
        print(f"| {name} | {clipped:.1f} % | {cells} | {least:+.2f} |", flush=True)


if __name__ == "__main__":
    main()
