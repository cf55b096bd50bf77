"""The common ground of the benchmarks: pictures, kernels, the blur, the machine's description."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import deconv

DATA = Path(os.environ.get("DECONV_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
LIBRARIES = ("numpy", "scipy", "scikit-image", "ducc0", "pyfftw", "RedLionfish")


def machine() -> str:
    """One line: processor, threads, libraries."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(x for x in lines if x.startswith("model name")).partition(":")[2].strip()
    except (OSError, StopIteration):
        pass
    found = []
    for library in LIBRARIES:
        try:
            found.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            found.append(f"no {library}")
    threads = f"{deconv.fft.get_threads()} threads"
    return f"{name}, {threads}, Python {platform.python_version()}, {', '.join(found)}"


def grey(picture: np.ndarray) -> np.ndarray:
    """Luma on [0, 1] as float32."""
    if picture.ndim == 3:
        picture = picture[..., :3] @ np.array([0.299, 0.587, 0.114])
    return (picture / 255).astype(np.float32)


def kodak() -> list[np.ndarray]:
    """Kodak 1 to 8 in grey, or scikit-image's own photographs where Kodak is not at hand."""
    from skimage import data, io

    files = sorted((DATA / "test" / "kodak8").glob("*"))
    if files:
        return [grey(io.imread(file)) for file in files]
    names = ("camera", "astronaut", "coffee", "chelsea", "rocket", "coins", "brick", "gravel")
    return [grey(getattr(data, name)()) for name in names]


def photographs(name: str, *, every: int = 1, colour: bool = False) -> list[np.ndarray]:
    """Every so-manieth picture of a test set on [0, 1], or scikit-image's where it is not at hand.

    The sets are "set12" (grey only), "cbsd68" and "kodak8".
    """
    from skimage import io

    files = sorted((DATA / "test" / name).glob("*"))[::every]
    if not files:
        return [
            training_picture(i) if colour else grey(255 * training_picture(i)) for i in range(4)
        ]
    pictures = [io.imread(file) for file in files]
    return [(p / 255).astype(np.float32) if colour else grey(p) for p in pictures]


def levin_kernels() -> list[np.ndarray]:
    """Levin's eight camera-shake kernels, or eight synthetic ones where they are not at hand."""
    file = DATA / "kernels" / "dpir" / "Levin09.mat"
    if file.exists() and find_spec("h5py"):
        return [deconv.psf.from_file(file, index=i) for i in range(8)]
    sizes = (19, 17, 15, 27, 13, 21, 23, 23)
    return [deconv.psf.trajectory(size, rng=i) for i, size in enumerate(sizes)]


def observed(
    scene: np.ndarray, psf: np.ndarray, sigma: float, rng: int
) -> tuple[np.ndarray, np.ndarray]:
    """Valid blur of `scene` with white noise, and the truth on the frame: the border is unknown."""
    from scipy.signal import fftconvolve

    blurred = fftconvolve(scene, psf, mode="valid")
    noise = np.random.default_rng(rng).normal(0, sigma, blurred.shape)
    first = [k - 1 - k // 2 for k in psf.shape]
    window = tuple(slice(a, a + n) for a, n in zip(first, blurred.shape, strict=True))
    return (blurred + noise).astype(scene.dtype), scene[window]


def psnr(truth: np.ndarray, image: np.ndarray) -> float:
    """Over the whole frame, for a white of 1."""
    return float(-10 * np.log10(np.mean((truth.astype(float) - image) ** 2)))


@cache
def _training_files() -> list[Path]:
    folders = (DATA / "train" / "imagenet_half", DATA / "train" / "bsds400")
    return sorted(file for folder in folders for file in folder.rglob("*.jpg"))


def training_picture(index: int) -> np.ndarray:
    """A photograph for fitting constants, in colour on [0, 1] as float32; no test picture."""
    from skimage import data, io

    files = _training_files()
    if not files:
        names = ("astronaut", "coffee", "chelsea", "rocket")
        picture = getattr(data, names[index % len(names)])()
    else:
        # A step that shares no factor with the number of files visits them all in mixed order.
        picture = io.imread(files[index * 149 % len(files)])
    if picture.ndim == 2:
        picture = np.stack([picture] * 3, axis=-1)
    return (picture[..., :3] / 255).astype(np.float32)
