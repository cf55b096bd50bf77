r"""What the blur classifier is worth: right answers, order over the blur's length, and its time.

Accuracy is counted on synthetic samples by kind and by the scale of a blind solver's pyramid, half
of them sharp, from pictures that no training saw: the part of the training folder that is held out,
and the test sets. Text, faces and lamps are rendered, with other numbers than in training; scenes
of those kinds are as many for every folder.

    export OMP_NUM_THREADS=1
    python -m benchmarks.classifier
    python -m benchmarks.classifier --network runs/blur --pictures photographs
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.signal import fftconvolve
from scipy.stats import spearmanr
from torch import Tensor

import deconv
from benchmarks.protocol import DATA, grey, machine
from unrolled.blur_samples import KINDS, BlurRecipe, BlurSamples
from unrolled.blur_training import HELD
from unrolled.crops import load_pictures
from unrolled.models.blur_classifier import BlurClassifier
from unrolled.validation import parted

SCALES = (1.0, 0.71, 0.5, 0.35, 0.25)
# As the solver meets them: no estimate, no compression beside the pictures' own.
PLAIN = replace(BlurRecipe(side=128, scenes=40, psfs=40), flat=0.0, sharpened=0.0, compressed=0.0)
LENGTHS = (1, 7, 9, 13, 17, 23, 31, 41, 51)
SIDE = 255


def sets(folders: list[Path]) -> Iterator[tuple[str, list[Tensor]]]:
    """Names and pictures: those of the folders, or held-out and test pictures of the data."""
    if folders:
        yield from ((str(folder), load_pictures(folder)) for folder in folders)
        return
    if (DATA / "train").is_dir():
        pictures = load_pictures(DATA / "train", least=80)
        yield "training folder, held out", parted(pictures, HELD)[1]
    for folder in sorted((DATA / "test").glob("*")):
        yield folder.name, load_pictures(folder)


@torch.no_grad()
def accuracy(net: BlurClassifier, samples: BlurSamples, kind: str, scale: float, n: int) -> float:
    """Share of right answers, of `n` samples."""
    made = [samples.sample(i, kind=kind, scale=scale) for i in range(n)]
    x = torch.stack([picture for picture, _ in made])[:, None]
    blurred = torch.tensor([width > 0 for _, width in made])
    return float(((net(x) > 0) == blurred).float().mean())


def table(net: BlurClassifier, pictures: list[Tensor], count: int, recipe: BlurRecipe) -> None:
    """Accuracy in per cent by kind and by scale."""
    samples = BlurSamples(pictures, recipe, seed=2)
    print("\n| kind | " + " | ".join(f"{scale:g}" for scale in SCALES) + " | all |")
    print("|---" * (len(SCALES) + 2) + "|")
    found = np.array([[accuracy(net, samples, k, s, count) for s in SCALES] for k in KINDS])
    for kind, values in [*zip(KINDS, found, strict=True), ("all", found.mean(0))]:
        cells = " | ".join(f"{100 * v:.1f}" for v in [*values, values.mean()])
        print(f"| {kind} | {cells} |")


@torch.no_grad()
def logits(net: BlurClassifier, picture: np.ndarray, path: int) -> list[float]:
    """The logit of a picture blurred more and more, along the same path."""
    side = min(SIDE, min(picture.shape) - max(LENGTHS) + 1)
    y, x = ((n - side) // 2 for n in picture.shape)
    found = []
    for length in LENGTHS:
        psf = deconv.psf.trajectory(length, rng=path) if length > 1 else np.ones((1, 1))
        half = len(psf) // 2
        part = picture[y - half : y + side + half, x - half : x + side + half]
        blurred = fftconvolve(part, psf, mode="valid")
        noisy = blurred + np.random.default_rng(path).normal(0, 0.005, blurred.shape)
        found.append(float(net(torch.tensor(noisy, dtype=torch.float32)[None, None])))
    return found


def order(net: BlurClassifier, pictures: list[Tensor], count: int) -> tuple[float, np.ndarray]:
    """Mean Spearman correlation of length and logit, and the mean logit for each length."""
    rows = []
    for i, picture in enumerate(pictures[:count]):
        if min(picture.shape[-2:]) > 2 * max(LENGTHS):
            rows.append(logits(net, grey(picture.numpy().transpose(1, 2, 0)), i))
    ranks = [spearmanr(LENGTHS, row).statistic for row in rows]
    return float(np.mean(ranks)), np.mean(rows, axis=0)


def spent(net: BlurClassifier, n: int = 60) -> tuple[float, float]:
    """Milliseconds of processor time for logit and gradient to the picture: least and median."""
    x = torch.rand(1, 1, SIDE, SIDE, requires_grad=True)
    times = []
    for _ in range(n):
        began = time.process_time()
        torch.autograd.grad(net(x).sum(), x)
        times.append(1e3 * (time.process_time() - began))
    return min(times), float(np.median(times))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="blur-classifier", help="name or path")
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="folders")
    parser.add_argument("--count", type=int, default=100, help="samples of a kind at a scale")
    parser.add_argument("--estimates", action="store_true", help="flattened ones among them")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    net = BlurClassifier.from_pretrained(options.network).requires_grad_(False)
    recipe = replace(PLAIN, flat=0.5, sharpened=0.3) if options.estimates else PLAIN
    print("\n| length | " + " | ".join(map(str, LENGTHS)) + " | Spearman |")
    print("|---" * (len(LENGTHS) + 2) + "|")
    found = list(sets(options.pictures))
    for name, pictures in found:
        rank, means = order(net, pictures, options.count)
        print(f"| {name} | " + " | ".join(f"{m:.1f}" for m in means) + f" | {rank:.3f} |")
    for name, pictures in found:
        print(f"\n{name}, {len(pictures)} pictures, per cent right:")
        table(net, pictures, options.count, recipe)
    least, middle = spent(net)
    print(
        f"\nlogit and gradient, {SIDE}x{SIDE}, one thread: {least:.1f} ms, median {middle:.1f} ms"
    )


if __name__ == "__main__":
    main()
