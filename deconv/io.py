"""Image files in and out without loss of depth, profile, orientation, resolution or alpha."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deconv.picture import Picture, from_linear, to_linear

__all__ = ["SUFFIXES", "Picture", "atomic", "from_linear", "read", "to_linear", "write"]

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
_DEPTHS = {8: np.uint8, 16: np.uint16, 32: np.float32}


def read(path: str | os.PathLike[str]) -> Picture:
    """The picture in a PNG, JPEG or TIFF file, whose content decides which of them it is.

    An EXIF or TIFF orientation is applied to the pixels and then set to upright, so that angles
    of a psf mean what is seen on the screen.

    Parameters
    ----------
    path : path
        8 or 16 bits, or floating point in TIFF.

    Returns
    -------
    Picture
        Pixels in the depth and on the scale of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a whole, supported picture; the message names the file and the reason.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from deconv import io
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     io.write(f"{folder}/deep.png", np.full((4, 6), 40000, np.uint16))
    ...     picture = io.read(f"{folder}/deep.png")
    >>> picture.axes, picture.pixels.max()
    ('YX', np.uint16(40000))
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {what}")
    from deconv import formats

    with path.open("rb") as file:
        start = file.read(8)
    for kind, magics in formats.MAGIC.items():
        if start.startswith(magics):
            try:
                return formats.READERS[kind](path)
            except MemoryError:
                raise
            # The decoders raise nearly anything on damaged data (KeyError, struct.error ...).
            except Exception as error:
                raise ValueError(f"{path} cannot be read as {kind}: {error}") from error
    what = "is empty" if not start else "is none of PNG, JPEG and TIFF"
    raise ValueError(f"{path} cannot be read: it {what}")


def write(
    path: str | os.PathLike[str],
    picture: Picture | np.ndarray,
    *,
    like: Picture | None = None,
    depth: int | None = None,
) -> None:
    """Write a picture whole or not at all; the suffix of `path` says in which format.

    Parameters
    ----------
    path : path
        Ends in .png, .jpg, .jpeg, .tif or .tiff; its folder exists. A file there is replaced.
    picture : Picture or ndarray
        Without `like`, an array is (Y, X), colour (Y, X, 3 or 4) or a stack (Z, Y, X).
    like : Picture, optional
        What `picture` was computed from: an array is then on its scale, and gets its depth, axes,
        alpha, profile, EXIF block and resolution.
    depth : {8, 16, 32}, optional
        Write this depth instead of the picture's own, white to white; 32 is floating point.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the format cannot hold the picture as it is; the message says what to do.

    Notes
    -----
    Only here are values rounded and clipped, where the depth is an integer one.

    Examples
    --------
    An array is written on the scale and with the data of the picture it was made from:

    >>> import tempfile, numpy as np
    >>> from deconv import io
    >>> original = io.Picture(np.full((4, 6), 100, np.uint8), "YX", description="dark")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     io.write(f"{folder}/twice.tif", 2.0 * original.pixels, like=original)
    ...     twice = io.read(f"{folder}/twice.tif")
    >>> int(twice.pixels.max()), twice.pixels.dtype.name, twice.description
    (200, 'uint8', 'dark')
    """
    path = Path(path)
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path} has suffix {path.suffix!r}; expected one of {' '.join(SUFFIXES)}")
    from deconv import formats

    picture = _picture(picture, like, depth)
    with atomic(path) as temporary:
        formats.WRITERS[kind](temporary, formats.check(picture, kind, path))


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` at the end, or vanishes on an error.

    Parameters
    ----------
    path : path
        Where the file is to go.

    Yields
    ------
    pathlib.Path
        The name to write to.

    Raises
    ------
    FileNotFoundError
        If the folder of `path` does not exist.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deconv.io import atomic
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic(f"{folder}/notes.txt") as path:
    ...         _ = path.write_text("done")
    ...     [found.name for found in Path(folder).iterdir()]
    ['notes.txt']
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the output folder {path.parent} does not exist")
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _picture(picture: Picture | np.ndarray, like: Picture | None, depth: int | None) -> Picture:
    """What `write` was given, as a picture of the depth to write."""
    if depth is not None and depth not in _DEPTHS:
        raise ValueError(f"depth={depth!r}; expected 8, 16 or 32")
    if isinstance(picture, Picture):
        pixels, like = picture.pixels, picture
    else:
        pixels = np.asarray(picture)
        if like is None:
            like = _plain(pixels)
            pixels = like.pixels
    if pixels.shape != like.pixels.shape:
        raise ValueError(
            f"picture has shape {pixels.shape}, but like has {like.pixels.shape}; expected the same"
        )
    dtype = like.pixels.dtype if depth is None else np.dtype(_DEPTHS[depth])
    if dtype == like.pixels.dtype:
        return replace(like, pixels=_cast(pixels, dtype))
    white = {8: 255.0, 16: 65535.0}.get(depth or 0, 1.0)

    def convert(values: np.ndarray) -> np.ndarray:
        return _cast(values.astype(np.float64) * (white / like.white), dtype)

    alpha = None if like.alpha is None else convert(like.alpha)
    # A description may state the depth, as that of OME does.
    return replace(like, pixels=convert(pixels), alpha=alpha, description=None)


def _plain(pixels: np.ndarray) -> Picture:
    if pixels.ndim == 3 and pixels.shape[-1] == 4:
        return Picture(pixels[..., :3], "YXS", alpha=pixels[..., 3])
    axes = {2: "YX", 3: "YXS" if pixels.shape[-1] == 3 else "ZYX"}.get(pixels.ndim)
    if axes is None:
        raise ValueError(
            f"picture has shape {pixels.shape}; expected (Y, X), (Y, X, 3 or 4) or (Z, Y, X), or a "
            f"Picture that names its axes"
        )
    return Picture(pixels, axes)


def _cast(pixels: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """`pixels` in `dtype`, rounded and clipped where that is an integer type."""
    if pixels.dtype == dtype or dtype.kind not in "iu":
        return pixels.astype(dtype, copy=False)
    if not np.isfinite(pixels).all():
        raise ValueError(f"picture holds values that are not finite, which {dtype} cannot")
    limits = np.iinfo(dtype)
    # float32 does not hold 2**32 - 1; float64 does.
    wide = pixels.astype(np.float64) if dtype.itemsize > 2 else pixels
    rounded: np.ndarray = np.clip(np.rint(wide), limits.min, limits.max).astype(dtype)
    return rounded
