"""How estimated psfs are scored: one common restoration, then the least error over small shifts.

Printed tables of blind methods differ by their final step as much as by their psfs. Here every psf
goes through the same one: a hyper-Laplacian prior of power 0.8 and weight 1e-3 by half-quadratic
splitting (Krishnan and Fergus 2009), with replicated and tapered borders. The result is compared
with the truth by the least sum of squared differences over shifts in quarter pixels
(`deconv.alignment.align`). The error ratio is that sum over the one of the true psf; a success is a
ratio of at most 2. The psf's shape alone is compared by
`deconv.metrics.psf_similarity`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.io import loadmat

from deconv.alignment import align
from deconv.fft import centred_rfftn, fast_shape, irfftn, rfftn

LAM, POWER = 1e-3, 0.8
# The splitting's penalty doubles from the first to below the last; both times LAM.
FIRST, LAST = 10.0, 2.0**14
SHRINKS, LEAST = 4, 1e-4
TAPERS = 3
MARGIN = 8


class Pair(NamedTuple):
    """A blurred picture whose truth is known, and how results for it are compared.

    `crop` pixels along the border do not count, shifts of up to `reach` pixels are tried, and
    `display` results are clipped to [0, 1] first.
    """

    blurred: np.ndarray
    sharp: np.ndarray
    psf: np.ndarray
    crop: int
    reach: int
    display: bool = False


class Score(NamedTuple):
    """Least sum of squared differences and its PSNR in dB."""

    ssd: float
    psnr: float


def scored(pair: Pair, psf: np.ndarray, *, periodic: bool = False) -> Score:
    """What the common final step makes of `psf`."""
    found = restored(pair.blurred, psf, fast=pair.display, periodic=periodic)
    return compared(pair, found.clip(0, 1) if pair.display else found)


def compared(pair: Pair, image: np.ndarray) -> Score:
    """A picture of the pair's frame against its truth."""
    found = align(pair.sharp, image, reach=pair.reach, crop=pair.crop)
    return Score(found.ssd, float(10 * np.log10(found.x.size / found.ssd)))


def roomy(psf: np.ndarray) -> np.ndarray:
    """`psf` as the final step takes it: odd, sum 1, with a margin, its centroid at the middle."""
    psf = np.maximum(np.asarray(psf, np.float64), 0)
    psf = np.pad(psf / psf.sum(), [(0, 1 - n % 2) for n in psf.shape])
    lines = [psf.sum(1), psf.sum(0)]
    offset = [round((len(v) - 1) / 2 - float(v @ np.arange(len(v)))) for v in lines]
    room = max(MARGIN, *map(abs, offset))
    return np.roll(np.pad(psf, room), offset, (0, 1))


# --- final step ----------------------------------------------------------------------------------


def restored(
    y: np.ndarray, psf: np.ndarray, *, fast: bool = False, periodic: bool = False
) -> np.ndarray:
    """The common final step; `fast` pads to lengths with fast transforms, `periodic` not at all."""
    psf = roomy(psf)
    before = 0 if periodic else max(psf.shape)
    shape = tuple(n + 2 * before for n in y.shape)
    if fast and not periodic:
        shape = fast_shape(shape)
    after = [m - n - before for m, n in zip(shape, y.shape, strict=True)]
    x = np.pad(y.astype(np.float64), [(before, n) for n in after], mode="edge")
    otf = centred_rfftn(psf, shape)
    if not periodic:
        x = _tapered(x, psf, otf)
    data, power = np.conj(otf) * rfftn(x, 2), np.abs(otf) ** 2
    frequencies = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])
    laplacian = sum(2 - 2 * np.cos(2 * np.pi * f) for f in frequencies)
    beta = FIRST
    while beta < LAST:
        pull = np.zeros_like(x)
        for axis in (0, 1):
            step = _shrunk(np.roll(x, -1, axis) - x, 1 / (2 * beta))
            pull += np.roll(step, 1, axis) - step
        spectrum = (data + LAM * beta * rfftn(pull, 2)) / (power + LAM * beta * laplacian)
        x = irfftn(spectrum, shape)
        beta *= 2
    inside = tuple(slice(before, before + n) for n in y.shape)
    return x[inside]


def _tapered(x: np.ndarray, psf: np.ndarray, otf: np.ndarray) -> np.ndarray:
    """Borders faded into the blurred picture, as far as the psf's autocorrelation reaches."""
    inner = []
    for axis, n in enumerate(x.shape):
        line = np.fft.rfft(psf.sum(axis=1 - axis), n - 1)
        auto = np.fft.irfft(np.abs(line) ** 2, n - 1)
        inner.append(1 - np.append(auto, auto[0]) / auto.max())
    keep = np.outer(*inner)
    for _ in range(TAPERS):
        x = keep * x + (1 - keep) * irfftn(rfftn(x, 2) * otf, x.shape)
    return x


def _shrunk(v: np.ndarray, t: float) -> np.ndarray:
    """Fixed-point steps towards the minimum of |w|^p t + (w - v)^2 / 2."""
    size = np.abs(v)
    w = size
    for _ in range(SHRINKS):
        w = np.maximum(size - t * POWER * np.maximum(w, LEAST) ** (POWER - 1), 0)
    return np.copysign(w, v)


# --- pictures ------------------------------------------------------------------------------------


def levin_pair(file: Path) -> Pair:
    """A captured pair of Levin et al. 2009; their psfs are stored turned by 180 degrees."""
    stored = loadmat(file)
    psf = stored["f"].astype(float)[::-1, ::-1]
    return Pair(stored["y"].astype(float), stored["x"].astype(float), psf, 15, 5)


def lai_pair(folder: Path, name: str) -> Pair:
    """A synthetic pair of Lai et al. 2016, ``scene_kernel_number``, in grey."""
    scene, _, kernel = name.partition("_kernel_")
    psf = luma(folder / "kernels" / f"kernel_{kernel}.png")
    blurred, sharp = (
        luma(folder / "blurred" / f"{name}.png"),
        luma(folder / "sharp" / f"{scene}.png"),
    )
    return Pair(blurred, sharp, psf / psf.sum(), 40, 30, display=True)


def luma(file: Path) -> np.ndarray:
    """An 8-bit picture in grey on [0, 1], float64."""
    from skimage import io

    pixels = io.imread(file) / 255
    if pixels.ndim == 3:
        pixels = pixels[..., :3] @ np.array([0.299, 0.587, 0.114])
    return pixels
