"""Blind estimation on scikit-image's pictures: planted blur, sharp as they are, and hopeless.

Planted: random camera shakes of 15 to 45 pixels, each its own, valid blur, a little noise; at least
0.9 of psf similarity is a find. Sharp: the picture must come back unharmed. With noise of 0.3 % the
change is that of the PSNR against the picture without it; without noise the PSNR of an unchanged
picture is infinite, and the change is what one that is known to 40 dB would lose. Hopeless: pure
noise, a constant and pictures smaller than the psf must end in an error or in the statement that no
psf was found.
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numpy as np

from benchmarks.blind_rows import (
    AUTO,
    Options,
    Row,
    Task,
    arguments,
    figure,
    mean,
    number,
    show,
    values,
)
from benchmarks.protocol import observed, psnr
from deconv import blind
from deconv.metrics import aligned_psnr, psf_similarity
from deconv.psf import trajectory

CASES, SIZE = 40, 400
PSFS = tuple(range(15, 46, 2))
NOISE = (0.001, 0.005)
FOUND, WANTED = 0.9, 0.8
# Psfs are compared at shifts by a quarter pixel, as pictures are.
PARTS = 4
# A picture with an error of this rms, 40 dB, loses at most so many dB; so does a noisy one.
KNOWN, LOSS = 0.01, 0.3
NOISY, GRAIN = " + noise", 0.003

# Not among them: clock, whose photograph is blurred.
PHOTOGRAPHS = (
    "camera",
    "astronaut",
    "coffee",
    "chelsea",
    "rocket",
    "coins",
    "brick",
    "gravel",
    "text",
    "page",
    "immunohistochemistry",
    "stereo_motorcycle",
)
# Blur is planted in those with some ten psfs of room: the others have fewer than 200 rows.
SCENES = tuple(name for name in PHOTOGRAPHS if name not in ("text", "page"))
# Sharp too, but textures, drawings, or as soft as their instrument or subject.
OTHERS = (
    "grass",
    "hubble_deep_field",
    "moon",
    "cell",
    "microaneurysms",
    "retina",
    "horse",
    "logo",
    "colorwheel",
    "checkerboard",
    "shepp_logan_phantom",
)


def bundled(name: str) -> np.ndarray:
    """A picture of scikit-image's on [0, 1] as float32, grey or (Y, X, 3)."""
    from skimage import data

    picture = getattr(data, name)()
    if isinstance(picture, tuple):
        picture = picture[0]
    white = 255 if picture.dtype == np.uint8 else 1
    picture = np.asarray(picture, np.float32) / white
    return picture[..., :3] if picture.ndim == 3 else picture


def channels(picture: np.ndarray) -> int | None:
    """The axis of the colours."""
    return -1 if picture.ndim == 3 else None


# --- planted -------------------------------------------------------------------------------------


class Planted(NamedTuple):
    """A picture, its truth on the same frame, and the psf."""

    blurred: np.ndarray
    sharp: np.ndarray
    psf: np.ndarray
    sigma: float


def planted(number: int) -> Planted:
    """Case `number`: every one has its own psf, and a picture's second case another part of it."""
    rng = np.random.default_rng(number)
    psf = trajectory(PSFS[7 * number % len(PSFS)], rng=rng)
    scene = bundled(SCENES[number % len(SCENES)])
    first = [int(rng.integers(max(n - SIZE, 0) + 1)) for n in scene.shape[:2]]
    scene = scene[first[0] : first[0] + SIZE, first[1] : first[1] + SIZE]
    sigma = float(np.exp(rng.uniform(*np.log(NOISE))))
    wide = psf if scene.ndim == 2 else psf[..., None]
    blurred, sharp = observed(scene, wide, sigma, number)
    return Planted(blurred, sharp, psf, sigma)


def extent(psf: np.ndarray) -> str:
    """Width and height of what is lit: a random shake does not fill its array."""
    lit = np.nonzero(psf > 0.02 * psf.max())
    return "x".join(str(int(np.ptp(at)) + 1) for at in reversed(lit))


def planted_tasks(options: Options) -> list[Task]:
    """Forty cases."""
    names = [f"{i:02d} {SCENES[i % len(SCENES)]}" for i in range(CASES)]
    return [Task("planted", method, name) for method in options.methods((AUTO,)) for name in names]


def planted_measure(task: Task, options: Options) -> Row:
    """One case: the psf's similarity, and what the picture gained."""
    blurred, sharp, psf, sigma = planted(int(task.case[:2]))
    axis = channels(blurred)
    row = deblurred(blurred, task.method)
    found = row.pop("found")
    before, after = (
        aligned_psnr(sharp, x, data_range=1, reach=10, channel_axis=axis)
        for x in (blurred, found.image)
    )
    return row | {
        "psnr": after,
        "change": after - before,
        "similarity": psf_similarity(found.psf, psf, parts=PARTS),
        "note": f"psf {psf.shape[0]} ({extent(psf)}), noise {sigma:.2%}; found {extent(found.psf)}",
    }


def planted_show(rows: list[Row], options: Options) -> None:
    """One line per case and how many psfs were found."""
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        lines = [
            [
                row["case"],
                figure(number(row, "similarity"), 3),
                figure(number(row, "psnr")),
                figure(number(row, "change")),
                row.get("prior") or "–",
                figure(number(row, "cpu"), 1),
                row.get("note", ""),
            ]
            for row in own
        ]
        columns = ["case", "similarity", "PSNR, dB", "gain, dB", "picked", "CPU, s", "psf"]
        show(f"Planted blur: {method}", columns, lines)
        similarity = values(own, "similarity")
        found = int((similarity >= FOUND).sum())
        said_sharp = sum(row.get("blurred") == "False" for row in own)
        print(
            f"\n{method}: {found} of {len(own)} psfs found ({FOUND} of similarity; "
            f"{math.ceil(WANTED * len(own))} are asked), similarity {figure(mean(similarity), 3)} "
            f"on average, gain {figure(mean(values(own, 'change')))} dB, "
            f"{figure(mean(values(own, 'cpu')), 1)} s; {said_sharp} said to be sharp"
        )


def deblurred(image: np.ndarray, method: str) -> Row:
    """The result of `deconv.blind.deblur` under "found", and what it says of itself."""
    start = time.process_time()
    found = blind.deblur(image, **arguments(method), channel_axis=channels(image))
    cpu = time.process_time() - start
    said = {"prior": found.prior, "blurred": bool(found.blurred), "note": found.message}
    return {"found": found, "cpu": cpu, **said}


# --- sharp and hopeless --------------------------------------------------------------------------


def hopeless() -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """Pictures without any psf to be found, and further arguments."""
    rng = np.random.default_rng(0)
    camera = bundled("camera")
    return {
        "noise": (rng.normal(0.5, 0.1, (256, 256)).astype(np.float32), {}),
        "noise in colour": (rng.random((200, 240, 3), np.float32), {}),
        "constant": (np.full((256, 256), 0.4, np.float32), {}),
        "black": (np.zeros((256, 256), np.float32), {}),
        "constant, noise of 1 %": (rng.normal(0.5, 0.01, (256, 256)).astype(np.float32), {}),
        "20 px, psf_shape 25": (camera[200:220, 220:240].copy(), {"psf_shape": (25, 25)}),
        "7 px": (camera[200:207, 220:227].copy(), {}),
        "one row": (camera[200:201].copy(), {}),
    }


def sharp_tasks(options: Options) -> list[Task]:
    """All sharp pictures, then those without hope."""
    cases = [*PHOTOGRAPHS, *OTHERS, *(name + NOISY for name in PHOTOGRAPHS)]
    methods = options.methods((AUTO,))
    tasks = [Task("sharp", method, case) for method in methods for case in cases]
    return tasks + [Task("hopeless", method, case) for method in methods for case in hopeless()]


def sharp_measure(task: Task, options: Options) -> Row:
    """A sharp picture as it is: how far the result is from it."""
    clean = bundled(task.case.removesuffix(NOISY))
    image, known = clean, KNOWN**2
    if task.case.endswith(NOISY):
        noise = np.random.default_rng(0).normal(0, GRAIN, clean.shape)
        image, known = (clean + noise).astype(np.float32), float(np.mean(noise**2))
    row = deblurred(image, task.method)
    found = row.pop("found")
    result = np.asarray(found.image)
    lost = float(np.mean((result.astype(float) - clean) ** 2))
    change = 10 * math.log10(known / (lost if image is not clean else known + lost))
    score = math.inf if np.array_equal(result, image) else psnr(image, result)
    near = psf_similarity(found.psf, [[1.0]]) if np.asarray(found.psf).any() else math.nan
    return row | {"psnr": score, "change": change, "similarity": near}


def hopeless_measure(task: Task, options: Options) -> Row:
    """The error, or whether the picture was changed."""
    image, more = hopeless()[task.case]
    start = time.process_time()
    try:
        found = blind.deblur(image, **(arguments(task.method) | more), channel_axis=channels(image))
    except (ValueError, TypeError) as error:
        cpu = time.process_time() - start
        return {"cpu": cpu, "prior": type(error).__name__, "note": str(error)}
    cpu = time.process_time() - start
    result = np.asarray(found.image, float)
    mse = float(np.mean((result - image) ** 2))
    score = math.inf if mse == 0 else -10 * math.log10(mse)
    note = found.message if np.isfinite(result).all() else f"not finite; {found.message}"
    said = {"prior": found.prior, "blurred": bool(found.blurred), "note": note}
    return {"cpu": cpu, "psnr": score, **said}


def sharp_show(rows: list[Row], options: Options) -> None:
    """One line per picture: untouched or not."""
    lines = []
    for row in (row for row in rows if row["table"] == "sharp"):
        touched = row.get("blurred") != "False"
        loss = -number(row, "change")
        verdict = "too much" if not loss <= LOSS else "yes" if touched else "already sharp"
        line = [row["method"], row["case"], verdict, figure(number(row, "psnr"), 1)]
        line += [f"{number(row, 'change'):+.3f}", figure(number(row, "similarity"), 3)]
        lines.append([*line, figure(number(row, "cpu"), 1), row.get("note", "")])
    columns = ["method", "picture", "unharmed", "PSNR against itself, dB", "change, dB"]
    columns += ["psf against one pixel", "CPU, s", "message"]
    show("Sharp pictures, untouched", columns, lines)
    lines = []
    for row in (row for row in rows if row["table"] == "hopeless"):
        verdict = {"": "error", "False": "no psf", "True": "GARBAGE"}[row.get("blurred") or ""]
        line = [row["method"], row["case"], verdict, figure(number(row, "psnr"), 1)]
        lines.append([*line, figure(number(row, "cpu"), 1), row.get("note", "")])
    columns = ["method", "picture", "ends in", "PSNR against itself, dB", "CPU, s", "message"]
    show("Nothing to be found", columns, lines)
