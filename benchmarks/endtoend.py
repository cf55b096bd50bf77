r"""Networks without a psf beside one-kernel blind deblurring, where one kernel cannot describe it.

Pictures that no network was trained on: the middles of Kodak 1 to 8 and of every sixth of CBSD68,
blurred here by a field of psfs, in two layers that move apart, and by a rolling camera; frames of
videos averaged in linear light; and patches of GoPro. All are rounded to 8 bits. Sharp pictures
with noise of 1 % say what a restorer does where there is nothing to do. PSNR and SSIM are means
over the frame, in colour; multiply-accumulates are for one megapixel, seconds for one picture on
one thread.

    export OMP_NUM_THREADS=1
    python -m benchmarks.endtoend --networks runs/paired runs/mimo
    python -m benchmarks.endtoend --networks runs/paired --sheet sheet.png
    python -m benchmarks.endtoend --networks runs/paired --rows rows.json  # scores kept, by name
    python -m benchmarks.endtoend --networks runs/paired --photographs FOLDER --sheet sheet.png
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import deconv
from benchmarks.protocol import DATA, machine
from deconv.metrics import psnr, ssim
from unrolled.crops import load_pictures
from unrolled.nonuniform import NonUniform, NonUniformRecipe
from unrolled.pretrained import restorer

SIDE, SIZE = 224, 33
RECIPE = NonUniformRecipe(
    side=SIDE, size=SIZE, reach=(5.0, 25.0), sigma=(0.002, 0.01), rounded=1.0, shrunk=0.0
)
KINDS = ("field", "layers", "rotation")
# Frames that are averaged of each clip, and how far apart pairs begin.
FRAMES, EVERY, PAIRS = 7, 24, 3
# Width of a photograph and its restoration side by side.
SHOWN = 1400

Restore = Callable[[np.ndarray], np.ndarray]


class Case(NamedTuple):
    """Pictures (Y, X, 3) on [0, 1]."""

    kind: str
    blurred: np.ndarray
    sharp: np.ndarray


class Row(NamedTuple):
    """Mean scores of a restorer by kind, and its seconds a picture."""

    psnr: dict[str, float]
    ssim: dict[str, float]
    seconds: float


def cases(seed: int = 11) -> Iterator[Case]:
    """All test cases, the same in every run."""
    least = max(RECIPE.domain)
    for name, every in (("kodak8", 1), ("cbsd68", 6)):
        pictures = _pictures(name, least)[::every]
        for i, picture in enumerate(pictures):
            samples = NonUniform([picture], RECIPE, seed=seed + i)
            quiet = NonUniform([picture], replace(RECIPE, sigma=(0.01, 0.01)), seed=seed + i)
            for kind in (*KINDS, "sharp"):
                source = quiet if kind == "sharp" else samples
                blurred, sharp, _ = source.sample(i, kind)
                yield Case(kind, _last(blurred), _last(sharp))
    yield from videos()
    yield from gopro()


def _pictures(name: str, least: int) -> list[torch.Tensor]:
    """A test set, or scikit-image's photographs where it is not at hand."""
    if (DATA / "test" / name).is_dir():
        return load_pictures(DATA / "test" / name, least=least)
    from skimage import data

    names = ("astronaut", "coffee", "chelsea", "rocket")
    return [torch.from_numpy(getattr(data, n)().transpose(2, 0, 1).copy()) for n in names]


def videos() -> Iterator[Case]:
    """The middles of averaged frames of the clips at hand, 360 pixels a side."""
    from unrolled.video import frame_pairs

    # Frames with a codec's blocks are no truth: their average has fewer of them.
    paths = (
        path for path in sorted((DATA / "video").glob("*.mp4")) if "distorted" not in path.stem
    )
    for path in paths:
        found = frame_pairs(path, FRAMES, 2.2, EVERY)
        for _, (blurred, sharp) in zip(range(PAIRS), found, strict=False):
            rows, columns = (slice(max(0, (n - 360) // 2), (n + 360) // 2) for n in sharp.shape[1:])
            pair = (x[:, rows, columns].transpose(1, 2, 0) for x in (blurred, sharp))
            yield Case("video", *pair)


def gopro() -> Iterator[Case]:
    """Patches of 128 pixels of a scene of GoPro's, as they were made by its authors."""
    folder = DATA / "pairs" / "gopro_patches"
    for path in sorted(folder.glob("input_*")):
        pair = (path, path.with_name(path.name.replace("input_", "label_")))
        yield Case("gopro", *(deconv.io.read(file).pixels / np.float32(255) for file in pair))


def _last(x: torch.Tensor) -> np.ndarray:
    """(C, H, W) as (H, W, C)."""
    picture: np.ndarray = x.permute(1, 2, 0).contiguous().numpy()
    return picture


def blind(image: np.ndarray) -> np.ndarray:
    """One kernel for the whole picture, found and taken out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = deconv.blind.deblur(image, channel_axis=-1)
    return np.asarray(found.image)


def scored(restore: Restore, data: list[Case]) -> Row:
    """Mean scores by kind."""
    found: dict[str, list[tuple[float, float]]] = {}
    seconds = []
    for case in data:
        start = time.process_time()
        restored = np.clip(restore(case.blurred), 0, 1)
        seconds.append(time.process_time() - start)
        pair = (
            psnr(case.sharp, restored, data_range=1),
            ssim(case.sharp, restored, data_range=1, channel_axis=-1),
        )
        found.setdefault(case.kind, []).append(pair)
    means = {kind: np.mean(pairs, axis=0) for kind, pairs in found.items()}
    return Row(
        {kind: float(m[0]) for kind, m in means.items()},
        {kind: float(m[1]) for kind, m in means.items()},
        float(np.mean(seconds)),
    )


def kept(file: Path | None, name: str, measure: Callable[[], Row]) -> Row:
    """The row of that name in a file, or a new one, which is then written there."""
    rows = json.loads(file.read_text()) if file and file.exists() else {}
    if name not in rows:
        rows[name] = measure()._asdict()
        if file:
            file.write_text(json.dumps(rows, indent=1))
    return Row(**rows[name])


def measures(net: torch.nn.Module, side: int = 256) -> tuple[str, str]:
    """Millions of parameters, and billions of multiply-accumulates for one megapixel."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.rand(1, 3, side, side))
    count = sum(parameter.numel() for parameter in net.parameters())
    return f"{count / 1e6:.2f}", f"{counter.get_total_flops() / 2 / side**2 / 1e3:.0f}"


def table(rows: dict[str, Row], sizes: dict[str, tuple[str, str]]) -> None:
    """Scores of all restorers; PSNR / SSIM by kind."""
    kinds = list(next(iter(rows.values())).psnr)
    blurring = [kind for kind in kinds if kind != "sharp"]
    print("\n| | " + " | ".join(kinds) + " | mean gain | M | GMAC | s |")
    print("|---" * (len(kinds) + 5) + "|")
    first = next(iter(rows.values()))
    for name, row in rows.items():
        cells = [f"{row.psnr[kind]:.2f} / {row.ssim[kind]:.3f}" for kind in kinds]
        gain = np.mean([row.psnr[kind] - first.psnr[kind] for kind in blurring])
        cells += [f"{gain:+.2f}", *sizes.get(name, ("", "")), f"{row.seconds:.1f}"]
        print(f"| {name} | " + " | ".join(cells) + " |")


def sheet(restorers: dict[str, Restore], data: list[Case], path: Path) -> None:
    """One case of each kind: blurred, restored by each, sharp."""
    from skimage import io

    found: dict[str, list[Case]] = {}
    for case in data:
        if min(case.sharp.shape[:2]) >= SIDE:
            found.setdefault(case.kind, []).append(case)
    strips = []
    for i, same in enumerate(found.values()):
        case = same[i % len(same)]  # another picture for each kind
        shown = [case.blurred, *(r(case.blurred) for r in restorers.values()), case.sharp]
        strips.append(np.concatenate([x[:SIDE, :SIDE] for x in shown], axis=1))
    picture = np.clip(np.concatenate(strips), 0, 1)
    io.imsave(path, (picture * 255).round().astype(np.uint8), check_contrast=False)


def photographs(restore: Restore, folder: Path, path: Path) -> None:
    """Real photographs before and after, for looking: nobody knows the truth."""
    from skimage import io
    from skimage.transform import rescale

    rows = []
    for file in sorted(file for file in folder.rglob("*.*") if file.suffix != ".txt"):
        picture = deconv.io.read(file)
        image = np.squeeze(picture.pixels / np.float32(picture.white))
        image = np.stack([image] * 3, -1) if image.ndim == 2 else image[..., :3]
        pair = np.concatenate([image, restore(image)], axis=1)
        pair = rescale(pair, min(1.0, SHOWN / pair.shape[1]), channel_axis=-1, anti_aliasing=True)
        rows.append(np.pad(pair, ((0, 8), (0, SHOWN - pair.shape[1]), (0, 0)), constant_values=1))
    picture = np.clip(np.concatenate(rows), 0, 1)
    io.imsave(path, (picture * 255).round().astype(np.uint8), check_contrast=False)


def main() -> None:
    """Print the table, and draw the sheet if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=[], help="names or paths of weights")
    parser.add_argument("--sheet", type=Path, help="file for pictures of one case of each kind")
    parser.add_argument("--photographs", type=Path, help="folder: draw the sheet of these alone")
    parser.add_argument("--rows", type=Path, help="file of scores: what is there is not repeated")
    parser.add_argument("--fast", action="store_true", help="without blind deblurring")
    options = parser.parse_args()
    deconv.fft.set_threads(1)
    torch.set_num_threads(1)
    print(machine())
    networks = {path: restorer(path) for path in options.networks}
    restorers: dict[str, Restore] = {
        path: partial(net.restore, channel_axis=-1) for path, net in networks.items()
    }
    if options.photographs:
        photographs(restorers[options.networks[0]], options.photographs, options.sheet)
        return
    rivals: dict[str, Restore] = {"blurred": lambda image: image}
    if not options.fast:
        rivals["blind.deblur, one psf"] = blind
    sizes = {path: measures(net) for path, net in networks.items()}
    data = list(cases())
    kinds = [case.kind for case in data]
    print(", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)))
    rows = {
        name: kept(options.rows, name, partial(scored, restore, data))
        for name, restore in (rivals | restorers).items()
    }
    table(rows, sizes)
    if options.sheet:
        sheet(restorers, data, options.sheet)


if __name__ == "__main__":
    main()
