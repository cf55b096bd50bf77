r"""How well `unrolled.sharpness` ranks pictures, and finds where a picture is blurred.

Beside it the usual measure, the variance of the Laplacian. Three questions:

- burst: one scene under camera shakes of growing length, with noise; Spearman's correlation of
  length and score, mean over scenes.
- folder: sharp against blurred pictures of all scenes, with noise from 0.2 to 2 % and exposures
  from 0.3 to 1; area under the ROC curve.
- parts: the tiles of photographs with a soft background against masks drawn by hand; area under
  the ROC curve over all decided tiles, and the mean over pictures (CUHK's data, where present).

    export OMP_NUM_THREADS=1
    python -m benchmarks.sharpness
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.ndimage import laplace
from scipy.signal import fftconvolve
from scipy.stats import rankdata, spearmanr

import deconv
from benchmarks.protocol import DATA, grey, machine, photographs
from deconv import io
from unrolled.sharpness import sharpness

LENGTHS = (1, 5, 7, 9, 13, 19, 27, 37)
NOISE = 0.005
TILE = 32

Score = Callable[[np.ndarray], float]


def laplacian(image: np.ndarray) -> float:
    """Minus the logarithm of the variance of the Laplacian: higher is more blurred."""
    return -float(np.log(laplace(image).var() + 1e-12))


def shaken(
    image: np.ndarray, length: int, rng: int, noise: float = NOISE, exposure: float = 1.0
) -> np.ndarray:
    """8-bit `image` after a camera shake of this size, with noise and exposure."""
    if length > 1:
        psf = deconv.psf.trajectory(length, rng=rng).astype(np.float32)
        around = np.pad(image, [(k // 2, k - 1 - k // 2) for k in psf.shape], mode="reflect")
        image = fftconvolve(around, psf, mode="valid")
    image = exposure * image + np.random.default_rng(rng).normal(0, noise, image.shape)
    return np.clip(np.rint(255 * image), 0, 255).astype(np.uint8)


def area(low: np.ndarray, high: np.ndarray) -> float:
    """Under the ROC curve: how often a value of `high` is above one of `low`."""
    if not (low.size and high.size):
        return float("nan")
    ranks = rankdata(np.concatenate([high, low]))[: high.size]
    return float((ranks.sum() - high.size * (high.size + 1) / 2) / (high.size * low.size))


def burst(score: Score, scenes: list[np.ndarray]) -> float:
    """Spearman's correlation of length and score, mean over scenes."""
    rows = [[score(shaken(scene, n, i)) for n in LENGTHS] for i, scene in enumerate(scenes)]
    return float(np.mean([spearmanr(LENGTHS, row)[0] for row in rows]))


def folder(score: Score, scenes: list[np.ndarray]) -> float:
    """Area of sharp against blurred, each scene once as either, of any noise and exposure."""
    rng = np.random.default_rng(0)
    found: dict[bool, list[float]] = {False: [], True: []}
    for i, scene in enumerate(scenes):
        for blurred in found:
            length = int(rng.choice(LENGTHS[1:])) if blurred else 1
            noise, exposure = 10 ** rng.uniform(-2.7, -1.7), rng.uniform(0.3, 1)
            found[blurred].append(score(shaken(scene, length, i, noise, exposure)))
    return area(np.array(found[False]), np.array(found[True]))


def parts(score: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float, float] | None:
    """Area over all tiles, mean area over pictures, and share of tiles decided."""
    folder = DATA / "blur_masks" / "cuhk"
    if not folder.is_dir():
        return None
    clear, soft, each, decided = [], [], [], []
    for file in sorted((folder / "train_images").glob("*.jpg")):
        mask = io.read(folder / "train_gt" / f"{file.stem}.png").pixels
        mask = mask if mask.ndim == 2 else mask[..., 0]
        tiles = score(io.read(file).pixels)
        rows, columns = (n // TILE for n in mask.shape)
        blocks = mask[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE)
        share, tiles = blocks.mean(axis=(1, 3)) / 255, tiles[:rows, :columns]
        known = np.isfinite(tiles)
        decided.append(known.mean())
        clear.append(tiles[known & (share < 0.1)])
        soft.append(tiles[known & (share > 0.9)])
        each.append(area(clear[-1], soft[-1]))
    whole = area(np.concatenate(clear), np.concatenate(soft))
    return whole, float(np.nanmean(each)), float(np.mean(decided))


def by_tiles(image: np.ndarray) -> np.ndarray:
    """The measure of `laplacian` in each tile."""
    image = grey(image)
    rows, columns = (n // TILE for n in image.shape)
    edges = laplace(image)[: rows * TILE, : columns * TILE]
    variance = edges.reshape(rows, TILE, columns, TILE).var(axis=(1, 3))
    return np.asarray(-np.log(variance + 1e-12))


def of_network(image: np.ndarray, network: object = None) -> np.ndarray:
    """The map of the classifier."""
    axis = None if image.ndim == 2 else -1
    return sharpness(image, channel_axis=axis, tile=TILE, network=network).map


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", help="trained weights of yours, in place of the package's")
    given = parser.parse_args()
    network = None
    if given.network:
        from unrolled.models.blur_classifier import BlurClassifier

        network = BlurClassifier.from_pretrained(given.network)
    scenes = photographs("kodak8") + photographs("set12") + photographs("cbsd68", every=4)
    print(f"{machine()}\n{len(scenes)} scenes\n")
    print("| measure | burst: Spearman | folder: area | parts: area | per picture | decided |")
    print("|---|---|---|---|---|---|")

    def score(image: np.ndarray) -> float:
        return sharpness(image, network=network).score

    for name, whole, tiles in (
        ("variance of the Laplacian", lambda x: laplacian(x / 255.0), by_tiles),
        ("`unrolled.sharpness`", score, partial(of_network, network=network)),
    ):
        cells = [f"{ask(whole, scenes):.3f}" for ask in (burst, folder)]
        found = parts(tiles)
        cells += ["", "", ""] if found is None else [f"{v:.3f}" for v in found]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
