"""TIFF: pictures and stacks of any depth, with their tags, by tifffile."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from deconv.exif import add_to_tiff, applied, from_tiff, text_tags
from deconv.picture import Picture

__all__ = ["read_tiff", "write_tiff"]

_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _UNIT, _PROFILE = 274, 282, 283, 296, 34675
_UNITS = {1: "none", 2: "inch", 3: "centimeter"}
# Values of ExtraSamples for transparency: colours multiplied by it, and not.
_PREMULTIPLIED, _STRAIGHT = 1, 2


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
        samples, axes = _meant(series.asarray(), series.axes, photometric, page.colormap)
        extra = [int(kind) for kind in page.extrasamples]
        wanted = (_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _UNIT, _PROFILE)
        tags = {tag: page.tags[tag].value for tag in wanted if tag in page.tags}
        description = page.description or None
    alpha = None
    if axes.endswith("S") and extra and extra[-1] in (_PREMULTIPLIED, _STRAIGHT):
        alpha = np.ascontiguousarray(samples[..., -1])
        samples = samples[..., :-1]
        if samples.shape[-1] == 1:
            samples, axes = samples[..., 0], axes[:-1]
    resolution = None
    if _X_RESOLUTION in tags and _Y_RESOLUTION in tags:
        ratios = (tags[_X_RESOLUTION], tags[_Y_RESOLUTION])
        x, y = (above / (below or 1) for above, below in ratios)
        resolution = (x, y, _UNITS.get(int(tags.get(_UNIT, 2)), "inch"))
    picture = Picture(
        np.ascontiguousarray(samples),
        axes,
        alpha=alpha,
        premultiplied=alpha is not None and extra[-1] == _PREMULTIPLIED,
        icc=tags.get(_PROFILE),
        exif=from_tiff(path),
        resolution=resolution,
        description=description,
        kind="TIFF",
    )
    return applied(picture, int(tags.get(_ORIENTATION, 1)))


def _meant(
    samples: np.ndarray, axes: str, photometric: str, palette: np.ndarray | None
) -> tuple[np.ndarray, str]:
    """The stored samples as brightness: white is high, palettes looked up, colours last."""
    if samples.dtype.kind not in "biuf":
        raise ValueError(f"its pixels are {samples.dtype}; expected real numbers")
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.dtype == np.bool_:
        samples = samples.astype(np.uint8) * np.uint8(255)
    if photometric == "MINISWHITE" and samples.dtype.kind == "u":
        samples = np.iinfo(samples.dtype).max - samples
    if photometric == "PALETTE" and palette is not None:
        samples, axes = np.moveaxis(palette[:, samples], 0, -1), axes + "S"
    if "S" in axes:
        samples = np.moveaxis(samples, axes.index("S"), -1)
        axes = axes.replace("S", "") + "S"
    if "Z" not in axes:
        # Pages without a stated meaning (I, Q) are a stack.
        axes = axes.replace("I", "Z", 1) if "I" in axes else axes.replace("Q", "Z", 1)
    return samples, axes


def write_tiff(path: Path, picture: Picture) -> None:
    """An uncompressed TIFF, one page per leading index."""
    several = picture.axes.endswith("S") or picture.alpha is not None
    samples = picture.samples if several else picture.pixels
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
        extratags=text_tags(picture.exif),
        software=False,
        **options,
    )
    add_to_tiff(path, picture.exif)
