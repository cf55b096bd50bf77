"""EXIF blocks as bytes: orientation read and reset in place, and their way in and out of TIFF.

A block is kept verbatim where its container allows it, since re-encoding breaks the offsets inside
maker notes.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deconv.picture import Picture

__all__ = ["add_to_tiff", "applied", "from_tiff", "orientation", "text_tags", "turn", "upright"]

PREFIX = b"Exif\0\0"
_ORIENTATION = 0x0112
_FOLDERS = (0x8769, 0x8825)  # EXIF, GPS
_INTEROPERABILITY = 0xA005
# Image description is carried apart; the rest of the main folder's text describes the shot.
_TEXTS = (0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298)
# Which axes (y, x) are reversed for each orientation, after 5 to 8 have been transposed.
_REVERSED = {2: "x", 3: "yx", 4: "y", 6: "x", 7: "yx", 8: "y"}


def _entry(exif: bytes) -> tuple[int, str] | None:
    """Offset of the orientation's value in the main folder, and the byte order."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 10:
        return None
    (start,) = struct.unpack_from(order + "I", exif, 4)
    if start + 2 > len(exif):
        return None
    (count,) = struct.unpack_from(order + "H", exif, start)
    for offset in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        if struct.unpack_from(order + "H", exif, offset)[0] == _ORIENTATION:
            return offset + 8, order
    return None


def orientation(exif: bytes | None) -> int:
    """The orientation (1 to 8) that an EXIF block states; 1, upright, where it states none."""
    entry = _entry(exif) if exif else None
    if exif is None or entry is None:
        return 1
    value = int(struct.unpack_from(entry[1] + "H", exif, entry[0])[0])
    return value if 1 <= value <= 8 else 1


def upright(exif: bytes | None) -> bytes | None:
    """The same block with its orientation set to 1, every other byte as it was."""
    entry = _entry(exif) if exif else None
    if exif is None or entry is None:
        return exif
    changed = bytearray(exif)
    struct.pack_into(entry[1] + "H", changed, entry[0], 1)
    return bytes(changed)


def turn(pixels: np.ndarray, axes: str, value: int) -> np.ndarray:
    """`pixels` turned upright from orientation `value`; Y and X are found in `axes`."""
    y, x = axes.index("Y"), axes.index("X")
    if value >= 5:
        pixels = np.swapaxes(pixels, y, x)
    reverse = tuple({"y": y, "x": x}[letter] for letter in _REVERSED.get(value, ""))
    return np.ascontiguousarray(np.flip(pixels, reverse))


def applied(picture: Picture, value: int) -> Picture:
    """`picture` turned upright from orientation `value`, with nothing left that asks again."""
    picture = replace(picture, exif=upright(picture.exif))
    if value == 1:
        return picture
    alpha, resolution = picture.alpha, picture.resolution
    if alpha is not None:
        alpha = turn(alpha, picture.axes.replace("S", ""), value)
    if resolution is not None and value >= 5:
        resolution = (resolution[1], resolution[0], resolution[2])
    pixels = turn(picture.pixels, picture.axes, value)
    return replace(picture, pixels=pixels, alpha=alpha, resolution=resolution)


def from_tiff(path: Path) -> bytes | None:
    """The text, EXIF and GPS tags of a classic TIFF file as an EXIF block, None without any."""
    from PIL import Image

    with path.open("rb") as file:
        if file.read(4)[2:] not in (b"*\0", b"\0*"):
            return None
        file.seek(0)
        source, found = Image.Exif(), Image.Exif()
        source.load_from_fp(file)
        for tag in _TEXTS:
            if tag in source:
                found[tag] = source[tag]
        for tag in _FOLDERS:
            found.get_ifd(tag).update(_without_pointers(source.get_ifd(tag)))
        if not len(found) and not any(found.get_ifd(tag) for tag in _FOLDERS):
            return None
        return bytes(found.tobytes()).removeprefix(PREFIX)


def text_tags(exif: bytes | None) -> list[tuple[int, str, int, str, bool]]:
    """The block's texts as tags for `tifffile.imwrite`."""
    if exif is None:
        return []
    block = _parse(exif)
    texts = {tag: str(block[tag]) for tag in _TEXTS if tag in block}
    return [(tag, "s", 0, text, True) for tag, text in texts.items() if text.isascii()]


def add_to_tiff(path: Path, exif: bytes | None) -> None:
    """Append the block's EXIF and GPS folders to a classic TIFF file, which tifffile cannot.

    The first page's folder is copied behind them with two entries more; what its other entries
    point to stays where it is.
    """
    if exif is None:
        return
    from PIL import TiffImagePlugin

    block = _parse(exif)
    with path.open("r+b") as file:
        if file.read(4) != b"II*\0":
            return  # BigTIFF, beyond 4 GB
        (start,) = struct.unpack("<I", file.read(4))
        file.seek(start)
        (count,) = struct.unpack("<H", file.read(2))
        entries = [file.read(12) for _ in range(count)]
        following = file.read(4)
        for tag in _FOLDERS:
            values = _without_pointers(block.get_ifd(tag))
            if values:
                folder = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0", group=tag)
                for key, value in values.items():
                    folder[key] = value
                place = _end(file)
                file.write(folder.tobytes(place))
                entries.append(struct.pack("<HHII", tag, 4, 1, place))
        entries.sort(key=lambda entry: struct.unpack_from("<H", entry))
        place = _end(file)
        file.write(struct.pack("<H", len(entries)) + b"".join(entries) + following)
        file.seek(4)
        file.write(struct.pack("<I", place))


def _end(file: Any) -> int:
    """The end of the file, made even as TIFF demands."""
    end = int(file.seek(0, 2))
    return end + int(file.write(b"\0" * (end % 2)))


def _parse(exif: bytes) -> Any:
    from PIL import Image

    block = Image.Exif()
    block.load(PREFIX + exif)
    return block


def _without_pointers(folder: dict[int, Any]) -> dict[int, Any]:
    return {tag: value for tag, value in folder.items() if tag != _INTEROPERABILITY}
