"""A contact sheet of real photographs restored blindly: before, after and the psf, in rows.

Nobody knows the truth here; the sheet is for looking. Photographs are restored in linear light and
in colour, as the command line restores them. Each row is a file of its own in a folder beside the
sheet, so that an interrupted run resumes, and pages are put together of the rows.
"""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.blind_rows import AUTO, Options, Row, Task, arguments, figure, number, show
from benchmarks.protocol import DATA
from deconv import blind, io
from deconv.batch import in_linear_light, working_image
from deconv.picture import DISPLAY_GAMMA

REAL = DATA / "real"
FOLDERS = ("lai2016", "classic", "text")
# Of every kind: buildings, cars, people, nature, night, text; small and large, grey and colour.
CHOSEN = (
    *(f"lai2016/{name}" for name in ("boat2", "building2", "car2", "coke", "dinner", "face2")),
    *(f"lai2016/{name}" for name in ("house1", "ian1", "lion", "mukta", "night4", "picasso")),
    *(f"lai2016/{name}" for name in ("redtree", "statue1", "text5", "wall")),
    *(f"classic/{name}" for name in ("26.blurred", "Butcher_Shop", "IMG_1240_blur")),
    *(f"classic/{name}" for name in ("IMG_4548_small", "blurred2", "chalk_drawing", "houses")),
    *(f"classic/{name}" for name in ("real_img2", "toy")),
    *(f"text/{name}" for name in ("0015_blur65", "2013622235456945_blur_79", "blurred_cho")),
    *(f"text/{name}" for name in ("color_patch_blur_99", "im06_ker01_blur", "my_test_car6")),
    "text/street_cars_blurry",
)
CLOCK = "clock"

# Pixels: the box of a picture, the column of the psf, a page's height, and around everything.
WIDTH, HEIGHT, ASIDE, PAGE, GAP = 760, 570, 250, 1850, 10
LETTERS, PAPER, INK = 17, 255, 0


class Photograph(NamedTuple):
    """A photograph before and after as display values on [0, 1], and what was found."""

    before: np.ndarray
    after: np.ndarray
    psf: np.ndarray
    prior: str
    blurred: bool
    message: str


def restored(file: Path, method: str = AUTO) -> Photograph:
    """The photograph in a file, restored blindly as the command line does it.

    Pictures are (Y, X) or (Y, X, 3).
    """
    picture = io.read(file)
    image = working_image(picture)
    colour = image.ndim == 3
    linear = in_linear_light(picture)
    found = blind.deblur(
        image,
        **arguments(method),
        gamma=DISPLAY_GAMMA if linear else 1.0,
        bounds=(0, None) if linear else None,
        channel_axis=0 if colour else None,
    )
    after = np.moveaxis(found.image, 0, -1) if colour else found.image
    if linear:
        after = io.from_linear(after)
    else:
        after = after / picture.white
    before = picture.pixels / np.float32(picture.white)
    said = str(found.prior), bool(found.blurred), str(found.message)
    return Photograph(np.squeeze(before).clip(0, 1), np.squeeze(after).clip(0, 1), found.psf, *said)


# --- rows ----------------------------------------------------------------------------------------


def sheet_tasks(options: Options) -> list[Task]:
    """The photographs chosen, those named, or all; the moving clock where there are none."""
    if options.sheet is None:
        return []
    files = [path for folder in FOLDERS for path in sorted((REAL / folder).glob("*.[jp][pn]g"))]
    there = [f"{path.parent.name}/{path.stem}" for path in files]
    wanted = options.photographs or CHOSEN
    names = there if "all" in wanted else [name for name in wanted if name in there]
    method = options.methods((AUTO,))[0]
    return [Task("sheet", method, name) for name in names or [CLOCK]]


def sheet_measure(task: Task, options: Options) -> Row:
    """Restore a photograph and draw its row."""
    start = time.process_time()
    file = _file(task.case)
    notes = []
    try:
        found = restored(file, task.method)
    except (ValueError, TypeError) as error:
        before = io.read(file)
        plain = before.pixels / np.float32(before.white)
        found = Photograph(plain, plain, np.ones((1, 1)), "none", False, str(error))
        notes.append("ERROR")
    cpu = time.process_time() - start
    size = "x".join(map(str, found.before.shape[1::-1]))
    box = "x".join(map(str, found.psf.shape[::-1]))
    notes += [f"{size} px", f"prior {found.prior}", f"psf {box}", f"{cpu:.0f} s of CPU"]
    notes += [] if found.blurred else ["NOT BLURRED"]
    path = _row_file(task, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    with io.atomic(path) as temporary:
        _drawn(task.case, found, [*notes, "", found.message]).save(temporary)
    said = {"prior": found.prior, "blurred": found.blurred, "note": found.message}
    return {"cpu": cpu, **said}


def sheet_show(rows: list[Row], options: Options) -> None:
    """The pages, and one line per photograph."""
    from PIL import Image

    lines = []
    strips = []
    for row in rows:
        path = _row_file(Task(row["table"], row["method"], row["case"]), options)
        if path.exists():
            with Image.open(path) as image:
                strips.append(image.convert("RGB"))
        line = [row["case"], row.get("prior") or "–", row.get("blurred") or "–"]
        lines.append([*line, figure(number(row, "cpu"), 1), row.get("note", "")])
    show("Real photographs", ["photograph", "picked", "blurred", "CPU, s", "message"], lines)
    for page in _pages(strips, options.sheet):
        print(f"- {page}")


def _file(case: str) -> Path:
    if case == CLOCK:
        import skimage.data

        return Path(skimage.data.__file__).with_name("clock_motion.png")
    folder, _, name = case.partition("/")
    return next(path for path in (REAL / folder).iterdir() if path.stem == name)


def _row_file(task: Task, options: Options) -> Path:
    assert options.sheet is not None
    name = f"{task.case} {task.method}".replace("/", "-").replace(" ", "-")
    return options.sheet.with_suffix("") / f"{name}.png"


# --- drawing -------------------------------------------------------------------------------------


def _drawn(name: str, found: Photograph, notes: list[str]) -> Any:
    """One row: name, before, after, psf and notes."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=LETTERS)
    before, after = (_fitted(x) for x in (found.before, found.after))
    top = LETTERS + 2 * GAP
    height = top + max(before.height, HEIGHT // 2) + GAP
    strip = Image.new("RGB", (2 * (WIDTH + GAP) + ASIDE + GAP, height), (PAPER,) * 3)
    draw = ImageDraw.Draw(strip)
    places = (GAP, WIDTH + 2 * GAP)
    for left, image, title in zip(places, (before, after), (name, "after"), strict=True):
        strip.paste(image, (left, top))
        draw.text((left, GAP // 2), title, fill=(INK,) * 3, font=font)
    left = 2 * (WIDTH + GAP) + GAP
    psf = _enlarged(found.psf)
    strip.paste(psf, (left, top))
    lines = [part for note in notes for part in (textwrap.wrap(note, 27) or [""])]
    draw.multiline_text(
        (left, top + psf.height + GAP), "\n".join(lines), fill=(INK,) * 3, font=font
    )
    return strip


def _fitted(picture: np.ndarray) -> Any:
    """A picture in the box, its own pixels where it fits."""
    from PIL import Image

    image = Image.fromarray(np.rint(255 * picture).astype(np.uint8)).convert("RGB")
    scale = min(1.0, WIDTH / image.width, HEIGHT / image.height)
    size = round(image.width * scale), round(image.height * scale)
    return image.resize(size, Image.Resampling.LANCZOS) if scale < 1 else image


def _enlarged(psf: np.ndarray) -> Any:
    """The psf in the column, each of its pixels a square, in a frame."""
    from PIL import Image, ImageOps

    side = min(ASIDE - 2 * GAP, HEIGHT // 2 - 6 * LETTERS)
    pixels = np.rint(255 * np.sqrt(psf / (psf.max() or 1))).astype(np.uint8)
    image = Image.fromarray(pixels)
    scale = side / max(image.size)
    size = [max(1, round(n * (int(scale) or scale))) for n in image.size]
    enlarged = image.resize(size, Image.Resampling.NEAREST).convert("RGB")
    return ImageOps.expand(enlarged, 1, (128,) * 3)


def _pages(strips: list[Any], path: Path | None) -> list[Path]:
    """Rows below each other, as many as a page holds."""
    from PIL import Image

    if path is None:
        return []
    pages: list[list[Any]] = [[]]
    for strip in strips:
        if pages[-1] and sum(x.height for x in pages[-1]) + strip.height > PAGE:
            pages.append([])
        pages[-1].append(strip)
    made = []
    for place, rows in enumerate((rows for rows in pages if rows), start=1):
        size = max(x.width for x in rows), sum(x.height for x in rows)
        page = Image.new("RGB", size, (PAPER,) * 3)
        top = 0
        for strip in rows:
            page.paste(strip, (0, top))
            top += strip.height
        target = path if place == 1 else path.with_stem(f"{path.stem}-{place}")
        with io.atomic(target) as temporary:
            page.save(temporary)
        made.append(target)
    return made
