"""Sharp scenes that photographs in a training folder lack: text, faces, lamps in the dark.

All are drawn from the numbers of one generator, so that no picture has to come with the package.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

__all__ = ["face", "lit", "text"]

LETTERS = "aaabcdeeeefghiiijklmnnooopqrrsstttuuvwxyzABCDEFGHIKLMNPRSTUVW0123456789.,:;-()&%"
# Of the fonts that come with matplotlib, those that have letters.
FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono")
FACES = ("", "-Bold", "-Oblique", "-Italic")


@cache
def _fonts() -> tuple[str, ...]:
    """Paths of DejaVu's fonts."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    paths = (folder / f"{name}{face}.ttf" for name in FONTS for face in FACES)
    return tuple(str(path) for path in paths if path.is_file())


def text(side: int, rng: np.random.Generator, behind: np.ndarray | None = None) -> np.ndarray:
    """A page (side, side) on [0, 1], float32: lines of letters, and a few rules and boxes.

    Parameters
    ----------
    behind : array (side, side), optional
        A photograph on [0, 1] to write upon.
    """
    from PIL import Image, ImageDraw, ImageFont

    mask = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(mask)
    y = int(rng.integers(-6, 10))
    size = int(np.exp(rng.uniform(np.log(9), np.log(42))))
    font = ImageFont.truetype(_fonts()[rng.integers(len(_fonts()))], size)
    while y < side:
        if rng.uniform() < 0.12:
            size = int(np.exp(rng.uniform(np.log(9), np.log(54))))
            font = ImageFont.truetype(_fonts()[rng.integers(len(_fonts()))], size)
        words = ("".join(rng.choice(list(LETTERS), rng.integers(1, 11))) for _ in range(16))
        pen.text((int(rng.integers(-8, 24)), y), " ".join(words), fill=255, font=font)
        y += int(size * rng.uniform(1.1, 1.7))
        if rng.uniform() < 0.08:
            pen.line((0, y, side, y), fill=255, width=int(rng.integers(1, 5)))
            y += 8
    ink, paper = _tones(rng)
    page = np.full((side, side), paper, np.float32)
    if behind is not None:
        page = page + rng.uniform(0.3, 1.0) * (behind - paper)
    elif rng.uniform() < 0.5:
        page = page + rng.uniform(0.02, 0.15) * _smooth(side, rng)
    cover = np.asarray(mask, np.float32) / 255
    return np.clip(page + cover * (ink - page), 0, 1).astype(np.float32)


def _tones(rng: np.random.Generator) -> tuple[float, float]:
    """Ink and paper; white on black now and then."""
    dark, bright = rng.uniform(0, 0.35), rng.uniform(0.55, 1)
    return (bright, dark) if rng.uniform() < 0.25 else (dark, bright)


def face(side: int, rng: np.random.Generator) -> np.ndarray:
    """A head (side, side) on [0, 1], float32: shaded skin, features, strands of hair, a background.

    It has what faces have and most photographs have not: large smooth shading, few strong edges,
    fine texture in some places only.
    """
    y, x = (np.mgrid[:side, :side].astype(np.float32) + 0.5) / side - 0.5
    tilt = rng.uniform(-0.4, 0.4)
    x, y = x - rng.uniform(-0.12, 0.12), y - rng.uniform(-0.08, 0.12)
    x, y = np.cos(tilt) * x + np.sin(tilt) * y, np.cos(tilt) * y - np.sin(tilt) * x
    wide, tall = rng.uniform(0.2, 0.34), rng.uniform(0.3, 0.44)
    picture = rng.uniform(0.05, 0.9) + rng.uniform(0.05, 0.3) * _smooth(side, rng)
    hair = rng.uniform(0.05, 0.6) + rng.uniform(0.1, 0.35) * _strands(x, y + 0.1, rng)
    picture = _over(picture, hair, _inside(x, y + 0.07, 1.25 * wide, 1.1 * tall, side))
    skin = _skin(x / wide, y / tall, side, rng)
    skin = _features(skin, x / wide, y / tall, side * wide, rng)
    # The hair line: a wavy edge across the forehead.
    wave = 0.1 * np.sin(9 * x / wide + rng.uniform(0, 6)) + 0.04 * np.sin(31 * x / wide)
    forehead = _step((y / tall + rng.uniform(0.45, 0.75) + wave) * tall * side)
    return np.clip(_over(picture, skin, _inside(x, y, wide, tall, side) * forehead), 0, 1).astype(
        np.float32
    )


def _skin(u: np.ndarray, v: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """An ellipsoid lit from one side, mottled, with pores; u and v are 1 at its outline."""
    depth = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
    light = rng.normal((0, -0.6, 1.2))
    light /= np.linalg.norm(light)
    shade = np.clip(u * light[0] + v * light[1] + depth * light[2], 0, 1)
    shade = shade + 0.25 * np.exp(-((u / 0.14) ** 2) - ((v - 0.1) / 0.25) ** 2)
    pores = gaussian_filter(rng.normal(size=u.shape).astype(np.float32), 0.5)
    skin = rng.uniform(0.1, 0.35) + rng.uniform(0.3, 0.6) * shade + 0.04 * _smooth(side, rng)
    return np.asarray(skin + rng.uniform(0, 0.03) * pores, np.float32)


def _features(
    skin: np.ndarray, u: np.ndarray, v: np.ndarray, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Eyes, brows, nostrils and mouth on the `skin`."""
    dark = rng.uniform(0, 0.2)
    for at in (-0.4, 0.4):
        e, f = u - at, v + 0.15
        brow = v + 0.36 + 0.4 * e**2
        skin = _over(skin, dark + 0.1 * _strands(e, brow + 1, rng), _inside(e, brow, 0.26, 0.045,
                     scale))  # fmt: skip
        skin = _over(skin, rng.uniform(0.6, 0.95), _inside(e, f, 0.2, 0.075, scale))
        skin = _over(skin, rng.uniform(0.1, 0.4), _inside(e, f, 0.085, 0.07, scale))
        skin = _over(skin, 0.03, _inside(e, f, 0.04, 0.033, scale))
        skin = _over(skin, 1.0, _inside(e - 0.03, f + 0.02, 0.014, 0.012, scale))
        skin = _over(skin, dark, _inside(e * 0.6, v - 0.22, 0.05, 0.02, scale))
    lips = _inside(u, v - 0.5, 0.32, 0.08, scale)
    skin = _over(skin, skin * rng.uniform(0.5, 0.9), lips)
    return _over(skin, dark, _inside(u, v - 0.5 - 0.1 * u**2, 0.3, 0.012, scale))


def lit(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`picture` (Y, X) as in the dark, with lamps brighter than white: not clipped yet."""
    night = np.asarray(rng.uniform(0.3, 0.8) * picture ** rng.uniform(1, 2), np.float32)
    for _ in range(rng.integers(0, 9)):
        radius = math.exp(rng.uniform(0, 1.8))
        long = radius * (1 if rng.uniform() < 0.7 else rng.uniform(2, 8))
        cy, cx = rng.uniform(0, 1, 2) * picture.shape
        reach = 4 * max(radius, long)
        top, left = (max(0, int(c - reach)) for c in (cy, cx))
        part = night[top : int(cy + reach) + 1, left : int(cx + reach) + 1]
        y, x = np.mgrid[: part.shape[0], : part.shape[1]].astype(np.float32)
        far = np.hypot((x + left - cx) / long, (y + top - cy) / radius)
        spot = rng.uniform(1, 6) * _step((1 - far) * radius)
        np.maximum(part, spot, out=part)
        part += rng.uniform(0, 0.3) * np.clip(1 - far / 4, 0, 1) ** 2
    return night


def _smooth(side: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth random shades of unit size."""
    grid = rng.normal(size=(5, 5)).astype(np.float32)
    at = np.linspace(0.5, 3.5, side, dtype=np.float32)
    return map_coordinates(grid, np.meshgrid(at, at, indexing="ij"), order=3, mode="nearest")


def _strands(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise that is fine across and long along lines away from the origin, of unit size."""
    grid = rng.normal(size=(900, 14)).astype(np.float32)
    angle = (np.arctan2(x, y) + np.pi) / (2 * np.pi) + 0.05 * np.sin(8 * np.hypot(x, y))
    at = (angle % 1 * 899, np.hypot(x, y) * 14 % 13)
    return map_coordinates(grid, at, order=1, mode="wrap")


def _inside(x: np.ndarray, y: np.ndarray, wide: float, tall: float, scale: float) -> np.ndarray:
    """1 within an ellipse, 0 outside, about one pixel of ``1 / scale`` between."""
    far = np.hypot(x / wide, y / tall)
    return _step((1 - far) * min(wide, tall) * scale)


def _step(pixels: np.ndarray) -> np.ndarray:
    """From 0 to 1 within a pixel about 0."""
    return np.clip(pixels + 0.5, 0, 1)


def _over(below: np.ndarray, above: np.ndarray | float, cover: np.ndarray) -> np.ndarray:
    """`above` where `cover` is 1, `below` where it is 0."""
    return np.asarray(below + cover * (above - below))
