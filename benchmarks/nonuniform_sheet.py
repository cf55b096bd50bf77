"""A sheet of training pairs with non-uniform blur, to look at: blurred and sharp, kind by kind.

::

    python -m benchmarks.nonuniform_sheet --output sheet.png

The pictures are scikit-image's, which nothing is trained on.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from deconv import io
from unrolled.nonuniform import KINDS, NonUniform, NonUniformRecipe

# Pixels between pictures and of the titles' letters; magnification of the pictures.
GAP, LETTERS, ZOOM = 6, 14, 2
PAPER, INK = (255,) * 3, (0,) * 3


def pictures() -> list[Tensor]:
    """Photographs of a person, an animal and a thing, uint8 (3, H, W)."""
    from skimage import data

    made = (data.astronaut(), data.chelsea(), data.coffee())
    return [torch.from_numpy(picture.transpose(2, 0, 1).copy()) for picture in made]


def sheet(samples: NonUniform, columns: int, first: int) -> Image.Image:
    """A row of pairs for each kind."""
    side = ZOOM * samples.recipe.side
    width, height = columns * (2 * side + 2 * GAP) + GAP, len(KINDS) * (side + LETTERS + 2 * GAP)
    page = Image.new("RGB", (width, height + GAP), PAPER)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=LETTERS)
    for row, kind in enumerate(KINDS):
        top = row * (side + LETTERS + 2 * GAP) + GAP
        for column in range(columns):
            left = column * (2 * side + 2 * GAP) + GAP
            index = first + row * columns + column
            blurred, sharp, known = samples.sample(index, kind)
            draw.text((left, top), f"{kind} {index}: {_said(known)}", fill=INK, font=font)
            for place, picture in enumerate((blurred, sharp)):
                at = left + place * side, top + LETTERS + GAP // 2
                page.paste(_enlarged(picture), at)
    return page


def _said(known: object) -> str:
    operator = getattr(known, "operator", None)
    if operator is None:
        return "no one operator"
    light = f", gamma {known.gamma:g}" if known.gamma != 1 else ""  # type: ignore[attr-defined]
    nodes = len(operator.psfs) if hasattr(operator, "psfs") else 1
    return f"{nodes} psf{'s' if nodes > 1 else ''}{light}"


def _enlarged(picture: Tensor) -> Image.Image:
    pixels = (255 * picture.clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    pixels = np.repeat(np.repeat(pixels, ZOOM, axis=0), ZOOM, axis=1)
    return Image.fromarray(pixels)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    parser.add_argument("--columns", type=int, default=4, help="pairs of each kind")
    parser.add_argument("--first", type=int, default=0, help="index of the first sample")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    samples = NonUniform(pictures(), NonUniformRecipe(), seed=given.seed)
    page = sheet(samples, given.columns, given.first)
    with io.atomic(given.output) as temporary:
        page.save(temporary)
    print(given.output)


if __name__ == "__main__":
    main()
