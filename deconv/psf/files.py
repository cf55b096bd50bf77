"""Psfs from files: pictures, NumPy arrays and MATLAB variables."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deconv.arrays import whole
from deconv.psf.geometry import normalise

__all__ = ["check_file", "from_file", "to_file"]

WRITTEN = (".npy", ".png", ".tif", ".tiff")

_HDF5 = b"\x89HDF\r\n\x1a\n"


def from_file(
    path: str | os.PathLike[str], *, index: int | None = None, variable: str | None = None
) -> np.ndarray:
    """Read the psf in a file, normalised to sum 1.

    Pixel values count as amounts of light, whatever their depth. The psf stays where it lies in its
    array: `centre` moves its centroid to the middle.

    Parameters
    ----------
    path : path
        ``.png``, ``.tif`` or another picture, grey or with equal colours; ``.npy``; ``.mat`` as
        MATLAB writes it, version 7.3 (HDF5) included. A MATLAB volume (rows, columns, slices)
        becomes (slices, rows, columns).
    index : int, optional
        Which psf, counted from 0, of a file with several: the cells of a MATLAB cell array in its
        own order, the TIFF pages of a series, or the first axis of an array. Without it, an array
        with 3 axes is one 3-D psf.
    variable : str, optional
        Name of the MATLAB variable, needed where a file has several.

    Returns
    -------
    array
        Non-negative and summing to 1; float32 if the file holds float32, else float64.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read, holds no psf, or several and `index` or `variable` does not say
        which; if the psf has NaN or negative values or is zero everywhere.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from deconv import psf
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/kernel.npy", [[1, 2, 1]])
    ...     psf.from_file(f"{folder}/kernel.npy")
    array([[0.25, 0.5 , 0.25]])
    """
    path = Path(path)
    if index is not None:
        index = whole(index, "index")
    suffix = path.suffix.lower()
    if variable is not None and suffix != ".mat":
        raise ValueError(f"variable={variable!r} for {path}; only .mat files have named variables")
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {what}")
    reader: Callable[[Path], Any] = {".npy": _read_npy, ".mat": _read_mat}.get(
        suffix, _read_picture
    )
    found = reader(path)
    if suffix == ".mat":
        found = _named(found, variable, path)
    chosen = _chosen(found, index, path)
    try:
        return normalise(chosen)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no usable psf: {error}") from error


def to_file(psf: Any, path: str | os.PathLike[str]) -> None:
    """Write a psf so that `from_file` reads it again; the file appears whole or not at all.

    Parameters
    ----------
    psf : array
        Any number of axes; 2 for a picture file, or 3 in a ``.tif``.
    path : path
        ``.npy`` (exact), ``.tif`` (float32) or ``.png`` (16 bit, its maximum white: for an editor).

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        For another suffix, or a psf that is none.

    Examples
    --------
    >>> import tempfile
    >>> from deconv import psf
    >>> kernel = psf.motion(9, 30)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     psf.to_file(kernel, f"{folder}/kernel.npy")
    ...     bool((psf.from_file(f"{folder}/kernel.npy") == kernel).all())
    True
    """
    path = Path(path)
    check_file(path, overwrite=True)
    values = normalise(psf)
    most = {".npy": values.ndim, ".png": 2}.get(path.suffix.lower(), 3)
    if not min(2, most) <= values.ndim <= most:
        raise ValueError(f"the psf has {values.ndim} axes, too many or few for {path}; use .npy")
    from deconv import io

    if path.suffix.lower() == ".npy":
        with io.atomic(path) as temporary, temporary.open("xb") as file:
            np.save(file, values)
    elif path.suffix.lower() == ".png":
        io.write(path, values / values.max(), depth=16)
    else:
        io.write(path, io.Picture(values.astype(np.float32), "ZYX"[-values.ndim :]))


def check_file(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Refuse a path that `to_file` cannot write, before there is a psf to write.

    Parameters
    ----------
    path : path
        Where the psf is to go.
    overwrite : bool
        Whether a file there may be replaced.

    Raises
    ------
    FileNotFoundError
        If its folder does not exist.
    ValueError
        For an unknown suffix, or a file that exists, unless `overwrite`.

    Examples
    --------
    >>> from deconv import psf
    >>> psf.check_file("kernel.jpg")
    Traceback (most recent call last):
    ValueError: kernel.jpg has suffix '.jpg'; expected .npy, .tif or .png
    """
    path = Path(path)
    if path.suffix.lower() not in WRITTEN:
        raise ValueError(f"{path} has suffix {path.suffix!r}; expected .npy, .tif or .png")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists; pass --overwrite to replace it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the output folder {path.parent} does not exist")


def _chosen(found: np.ndarray | list[np.ndarray], index: int | None, path: Path) -> np.ndarray:
    """Return the one array that `index` names in a list or along the first axis of a stack."""
    if isinstance(found, np.ndarray):
        if index is None and found.ndim <= 3:
            return found
        found = list(found) if found.ndim > 2 else [found]
    if index is None and len(found) == 1:
        return found[0]
    if index is None:
        raise ValueError(
            f"{path} holds {len(found)} psfs; pass index, from 0 to {len(found) - 1}, to choose one"
        )
    if index >= len(found):
        raise ValueError(f"index={index}, but {path} holds {len(found)} psfs, counted from 0")
    return found[index]


def _unreadable(path: Path, kind: str, error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read as {kind}: {error}")


def _read_picture(path: Path) -> np.ndarray | list[np.ndarray]:
    from deconv import io

    picture = io.read(path)
    pixels = picture.pixels
    if picture.axes.endswith("S"):
        if (pixels != pixels[..., :1]).any():
            raise ValueError(f"{path} is in colour; a psf has one channel: save it as grey")
        pixels = pixels[..., 0]
    # Pages whose axis is not depth are pictures side by side, not one volume.
    return list(pixels) if pixels.ndim > 2 and picture.axes[0] != "Z" else pixels


def _read_npy(path: Path) -> np.ndarray:
    try:
        # Never pickle: loading it would run code from the file.
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, "npy", error) from error
    if not isinstance(loaded, np.ndarray):
        raise ValueError(f"{path} is an npz archive, not one array; save the psf by numpy.save")
    return loaded


def _read_mat(path: Path) -> dict[str, Any]:
    """Each variable that can hold a psf: an array with spatial axes last, or a list of them."""
    with path.open("rb") as file:
        start = file.read(520)
    try:
        # MATLAB puts its own header of 512 bytes before the HDF5 signature.
        if _HDF5 in (start[:8], start[512:]):
            found = _read_mat_hdf5(path)
        else:
            found = _read_mat_v5(path)
    except MemoryError:
        raise
    # On damaged files the parsers raise nearly anything (KeyError, struct.error, zlib.error ...).
    except Exception as error:
        raise _unreadable(path, "mat", error) from error
    return {name: value for name, value in found.items() if value is not None}


def _read_mat_v5(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    return {
        name: _psfs([*value.ravel(order="F")] if value.dtype == object else value)
        for name, value in loadmat(path).items()
        if isinstance(value, np.ndarray)
    }


def _read_mat_hdf5(path: Path) -> dict[str, Any]:
    import h5py

    found = {}
    with h5py.File(path, "r") as file:
        for name, entry in file.items():
            if not isinstance(entry, h5py.Dataset):
                continue
            if h5py.check_dtype(ref=entry.dtype) is h5py.Reference:
                # HDF5 lists a cell array's references in MATLAB's own order.
                cells = [file[reference] for reference in entry[()].ravel()]
                values: Any = [c[()].T for c in cells if isinstance(c, h5py.Dataset)]
            else:
                values = np.asarray(entry[()]).T
            found[name] = _psfs(values)
    return found


def _psfs(value: np.ndarray | list[Any]) -> np.ndarray | list[np.ndarray] | None:
    """`value` if it can be one psf or a list of them, slices first; else None."""
    if isinstance(value, list):
        cells = [_psfs(np.asarray(cell)) for cell in value]
        arrays = [cell for cell in cells if isinstance(cell, np.ndarray)]
        return arrays if arrays and len(arrays) == len(cells) else None
    if value.dtype.kind not in "fiub" or value.size < 2:
        return None
    # MATLAB's slices, its third axis and beyond, come first here.
    return value.transpose(*range(value.ndim - 1, 1, -1), 0, 1)


def _named(found: dict[str, Any], variable: str | None, path: Path) -> Any:
    names = ", ".join(found)
    if not found:
        raise ValueError(f"{path} holds no numeric array")
    if variable is not None:
        if variable not in found:
            raise ValueError(f"variable={variable!r} is not in {path}; it holds {names}")
        return found[variable]
    if len(found) > 1:
        raise ValueError(f"{path} holds several variables; pass variable, one of {names}")
    return next(iter(found.values()))
