r"""What each registered method needs, costs and does best: the table of docs/methods.md.

Six kinds of picture, three cases of each: five kinds of scikit-image's own photographs, so that
anyone can repeat it, and threads and points that are drawn here, bright on dark. The blur is valid,
so the border really is unknown; each method gets the picture, the psf where it takes one, and
nothing else. Gain is the PSNR over that of the blurred picture, in dB over the whole frame. Time is
processor time of one thread on a grey picture, so that what else a shared machine does counts
little.

::

    export OMP_NUM_THREADS=1
    python -m benchmarks.methods
    python -m benchmarks.methods --out docs/measured.json    # and the file that the docs read
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from time import process_time

import numpy as np

import deconv
from benchmarks import record
from benchmarks.protocol import grey, observed, psnr
from deconv import methods, noise
from deconv.methods import Method

SIZE = 224
TIMED = 512

Case = tuple[np.ndarray, np.ndarray, np.ndarray]


def scene(name: str, top: int = 0, left: int = 0, size: int = SIZE) -> np.ndarray:
    """A square part of one of scikit-image's pictures, in grey on [0, 1]."""
    from skimage import data

    picture = np.asarray(getattr(data, name)())
    # The phantom is on [0, 1] and the horse of booleans; the others have 8 bits.
    white = 255 if picture.dtype == np.uint8 else 1
    whole = grey(picture.astype(float) * (255 / white))
    return whole[top : top + size, left : left + size]


def cases(kind: str) -> Iterator[Case]:
    """Blurred picture, psf and truth of the three cases of a kind."""
    for i, (name, top, left) in enumerate(PLACES[kind]):
        truth = drawn(i) if name == "drawn" else scene(name, top, left)
        psf = psf_of(kind, i)
        if kind not in COUNTS:
            image, inner = observed(truth, psf, NOISE[kind], rng=i)
        else:
            clean, inner = observed(truth, psf, 0, rng=i)
            image = noise.simulate(np.maximum(clean, 0), gain=1 / PHOTONS, rng=i)
        yield image, psf, inner


def drawn(i: int) -> np.ndarray:
    """Threads and points in a faint haze, as fluorescence and stars are."""
    from scipy.ndimage import gaussian_filter
    from skimage.draw import line

    rng = np.random.default_rng(i)
    picture = np.zeros((SIZE, SIZE), np.float32)
    for ends in rng.integers(5, SIZE - 5, (12, 4)):
        picture[line(*ends)] = 0.5
    for y, x in rng.integers(5, SIZE - 5, (80, 2)):
        picture[y, x] = rng.uniform(0.5, 4)
    return gaussian_filter(picture, 0.7) + np.float32(0.01)


def psf_of(kind: str, i: int) -> np.ndarray:
    """The psf of the i-th case: shake, spot, defocus or slight softness."""
    if kind in COUNTS:
        return deconv.psf.gaussian(1.5 + 0.5 * i)
    if kind == "drawing":
        return deconv.psf.defocus(3.0 + i)
    if kind == "soft":
        return deconv.psf.gaussian(0.9 + 0.3 * i)
    return deconv.psf.trajectory(17 + 4 * i, rng=i)


PHOTOGRAPHS = (("camera", 60, 140), ("astronaut", 20, 120), ("coffee", 90, 200))
PLACES = {
    "photo, 0.5 %": PHOTOGRAPHS,
    "photo, 4 %": PHOTOGRAPHS,
    "photons": (("hubble_deep_field", 300, 400), ("cell", 200, 150), ("moon", 200, 200)),
    "points": (("drawn", 0, 0),) * 3,
    "drawing": (("shepp_logan_phantom", 90, 90), ("horse", 60, 90), ("page", 0, 80)),
    "soft": (("camera", 60, 140), ("chelsea", 30, 120), ("coins", 40, 80)),
}
COUNTS = ("photons", "points")
PHOTONS = 100  # at white
NOISE = {
    "photo, 0.5 %": 0.005,
    "photo, 4 %": 0.04,
    "drawing": 0.02,
    "soft": 0.005,
}


def gains(method: Method) -> list[float]:
    """Mean gain in dB of each kind."""
    return [
        float(np.mean([psnr(t, restored(method, y, k)) - psnr(t, y) for y, k, t in cases(kind)]))
        for kind in PLACES
    ]


def restored(method: Method, image: np.ndarray, psf: np.ndarray) -> np.ndarray:
    """What the method makes of it with everything left to itself."""
    return method.restore(image, psf if method.needs_psf else None)


def seconds(method: Method) -> float:
    """Processor seconds for a grey megapixel, the lesser of two runs after one to warm up."""
    psf = deconv.psf.trajectory(21, rng=0)
    image, _ = observed(scene("camera", size=TIMED), psf, 0.01, rng=0)
    restored(method, image, psf)
    spent = []
    for _ in range(2):
        start = process_time()
        restored(method, image, psf)
        spent.append(process_time() - start)
    return min(spent) * 1e6 / image.size


def takes_stacks(method: Method) -> bool:
    """Whether it restores a picture of three spatial axes."""
    image = np.random.default_rng(0).random((16, 24, 24)).astype(np.float32)
    try:
        restored(method, image, deconv.psf.gaussian((0.5, 1.0, 1.0)))
    except (ValueError, TypeError):
        return False
    return True


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file that docs/conf.py reads")
    asked = parser.parse_args()
    if asked.out is not None and not asked.out.parent.is_dir():
        parser.error(f"--out {asked.out}: the folder does not exist")
    with record.printed() as kept:
        columns = ["method", "psf", "stacks", "s per megapixel", *PLACES]
        print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
        for method in methods.all():
            needs = "needed" if method.needs_psf else "found"
            stacks = "yes" if takes_stacks(method) else "no"
            dB = " | ".join(f"{gain:+.2f}" for gain in gains(method))
            print(
                f"| {method.name} | {needs} | {stacks} | {seconds(method):.2g} | {dB} |", flush=True
            )
    if asked.out is not None:
        command = ["python", "-m", "benchmarks.methods", *sys.argv[1:]]
        found = record.describe(command, {"methods": record.tables(kept.kept.getvalue())})
        asked.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
