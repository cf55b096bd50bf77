"""PNG, JPEG and TIFF, one reader and one writer each, for `deconv.io`."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deconv import exif as exif_block
from deconv.picture import Picture

__all__ = ["MAGIC", "READERS", "WRITERS", "check"]

Pixels = np.ndarray

_PNG_START = b"\x89PNG\r\n\x1a\n"
MAGIC: dict[str, tuple[bytes, ...]] = {
    "PNG": (_PNG_START,),
    "JPEG": (b"\xff\xd8\xff",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
_TIFF_UNITS = {1: "none", 2: "inch", 3: "centimeter"}
_METRES = {"inch": 0.0254, "centimeter": 0.01, "none": 1.0}
# 95 with full colour resolution: about 1/255 of rounding.
_JPEG_QUALITY = 95
# TIFF's ExtraSamples values for transparency: premultiplied, and not.
_PREMULTIPLIED, _STRAIGHT = 1, 2


def _upright(picture: Picture, orientation: int) -> Picture:
    """`picture` turned as its file asks, with nothing left that asks again."""
    picture = replace(picture, exif=exif_block.upright(picture.exif))
    if orientation == 1:
        return picture
    alpha, resolution = picture.alpha, picture.resolution
    if alpha is not None:
        alpha = exif_block.turn(alpha, picture.axes.replace("S", ""), orientation)
    if resolution is not None and orientation >= 5:
        resolution = (resolution[1], resolution[0], resolution[2])
    pixels = exif_block.turn(picture.pixels, picture.axes, orientation)
    return replace(picture, pixels=pixels, alpha=alpha, resolution=resolution)


def _split_alpha(samples: Pixels) -> tuple[Pixels, str, Pixels | None]:
    """Pixels, axes and alpha from the samples of a decoder: grey, grey + alpha, RGB or RGBA."""
    if samples.ndim == 2:
        return samples, "YX", None
    count = samples.shape[-1]
    alpha = np.ascontiguousarray(samples[..., -1]) if count in (2, 4) else None
    if count == 2:
        return np.ascontiguousarray(samples[..., 0]), "YX", alpha
    return np.ascontiguousarray(samples[..., :3]), "YXS", alpha


def _join_alpha(picture: Picture) -> Pixels:
    """The samples as one array whose last axis holds grey or colour and then alpha."""
    pixels = picture.pixels if picture.axes.endswith("S") else picture.pixels[..., None]
    if picture.alpha is not None:
        pixels = np.concatenate([pixels, picture.alpha[..., None]], axis=-1)
    return pixels


def read_png(path: Path) -> Picture:
    """A PNG of any depth and colour type; a palette becomes the colours it stands for."""
    from PIL import Image

    with path.open("rb") as file:
        depth, colour_type = file.read(26)[24:26]
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise ValueError("it is animated; expected one picture")
        keyed = "transparency" in image.info
        if depth == 16 and colour_type:
            if keyed:
                raise ValueError("a transparent colour at 16 bit is not supported")
            samples = _deep_samples(path, colour_type)
            image.load()
        elif image.mode == "P" or (keyed and image.mode != "I;16"):
            target = {"1": "LA", "L": "LA"}.get(image.mode, "RGBA" if keyed else "RGB")
            samples = np.asarray(image.convert(target))
        elif keyed:
            raise ValueError("a transparent grey at 16 bit is not supported")
        else:
            samples = np.asarray(image.convert("L") if image.mode == "1" else image)
        info = image.info
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
        exif=exif.removeprefix(exif_block.PREFIX) if exif else None,
        resolution=resolution,
        kind="PNG",
    )
    return _upright(picture, exif_block.orientation(picture.exif))


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
    samples = _join_alpha(picture)
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
        exif=exif.removeprefix(exif_block.PREFIX) if exif else None,
        resolution=resolution,
        kind="JPEG",
    )
    return _upright(picture, exif_block.orientation(picture.exif))


def write_jpeg(path: Path, picture: Picture) -> None:
    """A JPEG at high quality; the format itself is lossy."""
    from PIL import Image

    extra: dict[str, Any] = {}
    if picture.resolution and picture.resolution[2] != "none":
        x, y, unit = picture.resolution
        extra["dpi"] = tuple(round(value / _METRES[unit] * 0.0254) for value in (x, y))
    if picture.exif:
        extra["exif"] = exif_block.PREFIX + picture.exif
    with path.open("xb") as file:
        Image.fromarray(np.ascontiguousarray(picture.pixels)).save(
            file,
            "JPEG",
            quality=_JPEG_QUALITY,
            subsampling=0,
            icc_profile=picture.icc,
            **extra,
        )


def _tifffile() -> Any:
    """The library, which would log to stderr what it also raises."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    return tifffile


def read_tiff(path: Path) -> Picture:
    """One TIFF picture or stack of any depth."""
    tifffile = _tifffile()
    with tifffile.TiffFile(path) as file:
        if len(file.series) != 1:
            raise ValueError(
                f"it holds {len(file.series)} pictures of different kinds; expected one picture "
                f"or one stack"
            )
        series, page = file.series[0], file.pages[0]
        photometric = page.photometric.name
        if photometric not in ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE"):
            raise ValueError(f"its colours are {photometric}; expected grey, RGB or a palette")
        samples, axes = series.asarray(), series.axes
        extra = tuple(int(kind) for kind in page.extrasamples)
        tags = {
            tag: page.tags[tag].value for tag in (274, 282, 283, 296, 34675) if tag in page.tags
        }
        description = page.description or None
        palette = page.colormap
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.dtype.kind not in "biuf":
        raise ValueError(f"its pixels are {samples.dtype}; expected real numbers")
    if samples.dtype == np.bool_:
        samples = samples.astype(np.uint8) * np.uint8(255)
    if photometric == "MINISWHITE" and samples.dtype.kind == "u":
        samples = np.iinfo(samples.dtype).max - samples
    if photometric == "PALETTE" and palette is not None:
        samples, axes = np.moveaxis(palette[:, samples], 0, -1), axes + "S"
    if "S" in axes:
        samples = np.moveaxis(samples, axes.index("S"), -1)
        axes = axes.replace("S", "") + "S"
    if axes[: axes.index("Y")] and "Z" not in axes:
        # Pages without a stated meaning ("I", "Q") are a stack.
        axes = axes.replace("I", "Z", 1) if "I" in axes else axes.replace("Q", "Z", 1)
    alpha = None
    if axes.endswith("S") and extra and extra[-1] in (_PREMULTIPLIED, _STRAIGHT):
        alpha = np.ascontiguousarray(samples[..., -1])
        samples = np.ascontiguousarray(samples[..., :-1])
        if samples.shape[-1] == 1:
            samples, axes = samples[..., 0], axes[:-1]
    resolution = None
    if 282 in tags and 283 in tags:
        x, y = (tags[tag][0] / (tags[tag][1] or 1) for tag in (282, 283))
        resolution = (x, y, _TIFF_UNITS.get(int(tags.get(296, 2)), "inch"))
    picture = Picture(
        np.ascontiguousarray(samples),
        axes,
        alpha=alpha,
        premultiplied=alpha is not None and extra[-1] == _PREMULTIPLIED,
        icc=tags.get(34675),
        exif=exif_block.from_tiff(path),
        resolution=resolution,
        description=description,
        kind="TIFF",
    )
    return _upright(picture, int(tags.get(274, 1)))


def write_tiff(path: Path, picture: Picture) -> None:
    """An uncompressed TIFF, one page per leading index."""
    several = picture.axes.endswith("S") or picture.alpha is not None
    samples = _join_alpha(picture) if several else picture.pixels
    axes = picture.axes.replace("S", "") + ("S" if several else "")
    options: dict[str, Any] = {"photometric": "rgb" if picture.colour else "minisblack"}
    if several:
        options["planarconfig"] = "contig"
        spare = samples.shape[-1] - (3 if picture.colour else 1)
        extra = [0] * spare
        if picture.alpha is not None:
            extra[-1] = _PREMULTIPLIED if picture.premultiplied else _STRAIGHT
        options["extrasamples"] = extra or None
    if picture.resolution:
        x, y, unit = picture.resolution
        options |= {"resolution": (x, y), "resolutionunit": unit.upper()}
    if picture.description is not None:
        options |= {"description": picture.description.encode(), "metadata": None}
    else:
        options["metadata"] = {"axes": axes} if axes not in ("YX", "YXS") else None
    _tifffile().imwrite(
        path,
        samples,
        byteorder="<",
        iccprofile=picture.icc,
        extratags=exif_block.text_tags(picture.exif),
        software=False,
        **options,
    )
    exif_block.add_to_tiff(path, picture.exif)


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
