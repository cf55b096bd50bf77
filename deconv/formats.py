"""What `deconv.io` can read and write: PNG and JPEG here, TIFF in `deconv.tiff`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deconv.exif import PREFIX, applied, orientation
from deconv.picture import Picture
from deconv.tiff import read_tiff, write_tiff

__all__ = ["MAGIC", "READERS", "WRITERS", "check"]

Pixels = np.ndarray

_PNG_START = b"\x89PNG\r\n\x1a\n"
MAGIC: dict[str, tuple[bytes, ...]] = {
    "PNG": (_PNG_START,),
    "JPEG": (b"\xff\xd8\xff",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
_METRES = {"inch": 0.0254, "centimeter": 0.01, "none": 1.0}
# 95 with full colour resolution: about 1/255 of rounding.
_JPEG_QUALITY = 95


def _split_alpha(samples: Pixels) -> tuple[Pixels, str, Pixels | None]:
    """Pixels, axes and alpha from the samples of a decoder: grey, grey + alpha, RGB or RGBA."""
    if samples.ndim == 2:
        return samples, "YX", None
    count = samples.shape[-1]
    alpha = np.ascontiguousarray(samples[..., -1]) if count in (2, 4) else None
    if count == 2:
        return np.ascontiguousarray(samples[..., 0]), "YX", alpha
    return np.ascontiguousarray(samples[..., :3]), "YXS", alpha


def read_png(path: Path) -> Picture:
    """A PNG of any depth and colour type; a palette becomes the colours it stands for."""
    from PIL import Image

    with path.open("rb") as file:
        depth, colour_type = file.read(26)[24:26]
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise ValueError("it is animated; expected one picture")
        keyed = "transparency" in image.info
        if keyed and depth == 16:
            raise ValueError("one transparent colour at 16 bit is not supported")
        image.load()
        info = image.info
        if depth == 16 and colour_type:
            samples = _deep_samples(path, colour_type)
        elif keyed:
            samples = np.asarray(image.convert("LA" if image.mode in ("1", "L") else "RGBA"))
        else:
            samples = np.asarray(image.convert({"1": "L", "P": "RGB"}.get(image.mode, image.mode)))
    if samples.dtype == np.int32:
        samples = samples.astype(np.uint16)
    pixels, axes, alpha = _split_alpha(samples)
    resolution = None
    if "dpi" in info:
        resolution = (float(info["dpi"][0]), float(info["dpi"][1]), "inch")
    exif = info.get("exif")
    picture = Picture(
        pixels,
        axes,
        alpha=alpha,
        icc=info.get("icc_profile"),
        exif=exif.removeprefix(PREFIX) if exif else None,
        resolution=resolution,
        kind="PNG",
    )
    return applied(picture, orientation(picture.exif))


def _deep_samples(path: Path, colour_type: int) -> Pixels:
    """Samples of a 16-bit colour PNG, which Pillow itself decodes to 8 bit.

    Its decoder undoes compression, filters and interlacing on bytes, and only then drops the low
    ones: asked for big-endian samples it keeps the high bytes, asked for little-endian ones the
    low bytes. Grey with alpha is four bytes a pixel, which passes whole as 8-bit RGBA.
    """
    if colour_type == 4:
        data = _decode(path, "RGBA")
        return _sixteen(data[..., ::2], data[..., 1::2])
    mode = "RGBA" if colour_type == 6 else "RGB"
    return _sixteen(_decode(path, f"{mode};16B"), _decode(path, f"{mode};16L"))


def _sixteen(high: Pixels, low: Pixels) -> Pixels:
    joined: Pixels = high.astype(np.uint16) << 8 | low
    return joined


def _decode(path: Path, raw_mode: str) -> Pixels:
    from PIL import Image

    with Image.open(path) as image:
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        return np.asarray(image)


def write_png(path: Path, picture: Picture) -> None:
    """A PNG of 8 or 16 bit; Pillow writes no 16-bit colour, and the format is this short."""
    samples = picture.samples
    height, width, count = samples.shape
    deep = samples.dtype == np.uint16
    rows = samples.astype(">u2" if deep else np.uint8).view(np.uint8).reshape(height, -1)
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    header = struct.pack(">IIBBBBB", width, height, 16 if deep else 8, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header)]
    if picture.icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc)))
    if picture.resolution:
        x, y, unit = picture.resolution
        per_metre = [round(value / _METRES[unit]) for value in (x, y)]
        chunks.append((b"pHYs", struct.pack(">IIB", *per_metre, unit != "none")))
    if picture.exif:
        chunks.append((b"eXIf", picture.exif))
    chunks.append((b"IDAT", zlib.compress(_paeth(rows, count * (2 if deep else 1)))))
    with path.open("xb") as file:
        file.write(_PNG_START)
        for name, data in [*chunks, (b"IEND", b"")]:
            checksum = zlib.crc32(name + data)
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum))


def _paeth(rows: Pixels, step: int) -> bytes:
    """The rows of bytes behind PNG's Paeth filter (type 4), `step` bytes to a pixel."""
    filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 4
    zeros = np.zeros((1, rows.shape[1] + step), np.int16)
    above = zeros
    for start in range(0, len(rows), 64):
        block = np.pad(rows[start : start + 64].astype(np.int16), ((0, 0), (step, 0)))
        padded = np.concatenate([above[-1:], block])
        a, b, c = padded[1:, :-step], padded[:-1, step:], padded[:-1, :-step]
        to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
        guess = np.where((to_a <= to_b) & (to_a <= to_c), a, np.where(to_b <= to_c, b, c))
        filtered[start : start + 64, 1:] = (block[:, step:] - guess).astype(np.uint8)
        above = block
    return filtered.tobytes()


def read_jpeg(path: Path) -> Picture:
    """A grey or colour JPEG."""
    from PIL import Image

    with Image.open(path) as image:
        if image.mode not in ("L", "RGB"):
            raise ValueError(f"its colours are {image.mode}; expected grey or RGB")
        samples, info = np.asarray(image), image.info
    pixels, axes, _ = _split_alpha(samples)
    resolution = None
    if unit := {1: "inch", 2: "centimeter"}.get(info.get("jfif_unit", 0)):
        x, y = info["jfif_density"]
        resolution = (float(x), float(y), unit)
    exif = info.get("exif")
    picture = Picture(
        pixels,
        axes,
        icc=info.get("icc_profile"),
        exif=exif.removeprefix(PREFIX) if exif else None,
        resolution=resolution,
        kind="JPEG",
    )
    return applied(picture, orientation(picture.exif))


def write_jpeg(path: Path, picture: Picture) -> None:
    """A JPEG at high quality; the format itself is lossy."""
    from PIL import Image

    extra: dict[str, Any] = {}
    if picture.resolution and picture.resolution[2] != "none":
        x, y, unit = picture.resolution
        extra["dpi"] = tuple(round(value / _METRES[unit] * 0.0254) for value in (x, y))
    if picture.exif:
        extra["exif"] = PREFIX + picture.exif
    with path.open("xb") as file:
        Image.fromarray(np.ascontiguousarray(picture.pixels)).save(
            file,
            "JPEG",
            quality=_JPEG_QUALITY,
            subsampling=0,
            icc_profile=picture.icc,
            **extra,
        )


def check(picture: Picture, kind: str, path: Path) -> Picture:
    """`picture` if a file of this kind holds it without loss, else a ValueError with the remedy."""
    dtype = picture.pixels.dtype
    problem = None
    if kind == "TIFF":
        if dtype.kind not in "iuf" or dtype.itemsize > 8:
            problem = f"{dtype} pixels; expected integers or floats"
    elif picture.axes not in ("YX", "YXS") or (picture.axes == "YXS" and not picture.colour):
        problem = f"axes {picture.axes} of shape {picture.pixels.shape}; write .tif"
    elif kind == "JPEG" and picture.alpha is not None:
        problem = "transparency; write .png or .tif"
    elif picture.premultiplied:
        problem = "colours multiplied by their transparency; write .tif"
    elif dtype not in ((np.uint8, np.uint16) if kind == "PNG" else (np.uint8,)):
        depths = "8 or 16" if kind == "PNG" else "8"
        problem = f"{dtype} pixels; write .tif, or pass depth={depths}"
    if problem:
        raise ValueError(f"{path}: {kind} cannot hold {problem}")
    return picture


READERS: dict[str, Callable[[Path], Picture]] = {
    "PNG": read_png,
    "JPEG": read_jpeg,
    "TIFF": read_tiff,
}
WRITERS: dict[str, Callable[[Path, Picture], None]] = {
    "PNG": write_png,
    "JPEG": write_jpeg,
    "TIFF": write_tiff,
}
