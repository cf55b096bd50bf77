"""Tables of PSNR and SSIM: networks beside the solvers of `deconv`, on a folder of sharp pictures.

::

    python -m unrolled.evaluate --pictures test/set12 test/kodak --psfs kernels.mat
    python -m unrolled.evaluate --pictures test/set12 --networks runs/hqs hqs-gray --noise 0.01

Each picture is blurred by one of the psfs in turn, without wrapping around, and gets white noise.
Everything is restored with default arguments and scored over the whole frame, for a white of 1.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from deconv import methods, psf
from deconv.metrics import psnr, ssim
from unrolled.crops import SUFFIXES

__all__ = ["Case", "EvaluateConfig", "Score", "cases", "evaluate", "table"]


@dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate on what.

    Parameters
    ----------
    pictures : paths
        Folders of sharp pictures, a table column each.
    psfs : paths
        Files of psfs (see `deconv.psf.from_file`); without one, eight random camera shakes.
    networks : names or paths
        Weights that come with the package, files or folders; see `unrolled.pretrained`.
    methods : names
        Solvers of the registry.
    noise : floats
        Standard deviations of the noise.
    colour : bool
        Whether pictures stay in colour, or become their luma.
    every : int
        Every so-manieth picture of a folder.
    csv : path, optional
        Where every single score goes.

    Examples
    --------
    >>> from pathlib import Path
    >>> from unrolled.evaluate import EvaluateConfig
    >>> EvaluateConfig(pictures=(Path("kodak"),), noise=(0.01,)).networks
    ('hqs-gray',)
    """

    pictures: tuple[Path, ...]
    psfs: tuple[Path, ...] = ()
    networks: tuple[str, ...] = ("hqs-gray",)
    methods: tuple[str, ...] = ("wiener", "tv", "hyper_laplacian", "plug_and_play")
    noise: tuple[float, ...] = (0.01, 0.03, 0.05)
    colour: bool = False
    every: int = 1
    csv: Path | None = None


@dataclass(frozen=True)
class Case:
    """A folder's name and noise level, the observation, its psf, the truth on the frame.

    Attributes
    ----------
    name : str
        Of the folder.
    noise : float
        Standard deviation of the noise.
    image, truth : ndarray (Y, X), in colour (Y, X, 3)
        The observation and the truth on its frame, for values on [0, 1].
    psf : ndarray (y, x)

    Examples
    --------
    >>> flat = np.ones((8, 8), np.float32)
    >>> Case("flat", 0.0, flat, np.ones((1, 1), np.float32), flat).image.shape
    (8, 8)
    """

    name: str
    noise: float
    image: np.ndarray
    psf: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class Score:
    """What one method made of one case.

    Attributes
    ----------
    method, name : str
        Of the method and of the folder.
    noise : float
        Standard deviation of the noise.
    psnr, ssim : float
        In dB, and at most 1.
    seconds : float
        What the restoration took.

    Examples
    --------
    >>> from unrolled.evaluate import Score
    >>> Score("wiener", "kodak", 0.01, 28.5, 0.81, 0.02).psnr
    28.5
    """

    method: str
    name: str
    noise: float
    psnr: float
    ssim: float
    seconds: float


def cases(config: EvaluateConfig) -> Iterator[Case]:
    """The observations, one after the other; the same for the same configuration.

    Parameters
    ----------
    config : EvaluateConfig
        What is blurred.

    Yields
    ------
    Case

    Raises
    ------
    FileNotFoundError
        If a folder holds no picture.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deconv import io
    >>> from skimage import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     io.write(Path(folder, "camera.png"), data.camera()[:64, :64])
    ...     found = list(cases(EvaluateConfig(pictures=(Path(folder),), noise=(0.01, 0.03))))
    >>> [case.noise for case in found], found[0].psf.shape
    ([0.01, 0.03], (13, 13))
    """
    from scipy.signal import fftconvolve

    kernels = [kernel for path in config.psfs for kernel in _kernels(path)] or [
        psf.trajectory(size, rng=i) for i, size in enumerate(range(13, 29, 2))
    ]
    for folder in config.pictures:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not files:
            raise FileNotFoundError(f"pictures: {folder} holds no picture")
        for i, file in enumerate(files[:: config.every]):
            sharp = _picture(file, config.colour)
            kernel = kernels[i % len(kernels)]
            wide = kernel[..., None] if sharp.ndim > 2 else kernel
            axes = (0, 1)
            blurred = fftconvolve(sharp, wide, mode="valid", axes=axes)
            begin = [k - 1 - k // 2 for k in kernel.shape]
            truth = sharp[
                tuple(slice(b, b + n) for b, n in zip(begin, blurred.shape, strict=False))
            ]
            for noise in config.noise:
                white = np.random.default_rng(i).normal(0, noise, blurred.shape)
                image = (blurred + white).astype(np.float32)
                yield Case(folder.name, noise, image, kernel.astype(np.float32), truth)


def evaluate(config: EvaluateConfig) -> list[Score]:
    """Every method on every case.

    Parameters
    ----------
    config : EvaluateConfig
        What to evaluate on what.

    Returns
    -------
    list of Score

    Raises
    ------
    FileNotFoundError, ValueError
        If a folder holds no picture, or there is no such network or method.

    Examples
    --------
    What the blurred picture itself scores comes first:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from skimage import data
    >>> from deconv import io
    >>> from unrolled.evaluate import EvaluateConfig, evaluate
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     io.write(Path(folder, "camera.png"), data.camera()[:64, :64])
    ...     options = {"networks": (), "methods": ("wiener",), "noise": (0.01,)}
    ...     scores = evaluate(EvaluateConfig(pictures=(Path(folder),), **options))
    >>> [score.method for score in scores], scores[1].psnr > 15
    (['blurred', 'wiener'], True)
    """
    from tqdm import tqdm

    runs = _runs(config)
    scores = []
    for case in tqdm(list(cases(config)), leave=False):
        axis = -1 if case.image.ndim > 2 else None
        for method, run in runs.items():
            begin = time.perf_counter()
            restored = run(case.image, case.psf, channel_axis=axis)
            seconds = time.perf_counter() - begin
            decibel = psnr(case.truth, restored, data_range=1)
            similar = float(np.mean(ssim(case.truth, restored, data_range=1, channel_axis=axis)))
            scores.append(Score(method, case.name, case.noise, decibel, similar, seconds))
    if config.csv:
        with config.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Score.__dataclass_fields__)
            writer.writerows(vars(score).values() for score in scores)
    return scores


def table(scores: Sequence[Score]) -> str:
    """Mean PSNR / SSIM of each method (rows) on each folder and noise level, as Markdown.

    Parameters
    ----------
    scores : sequence of Score
        Of any methods, folders and levels.

    Returns
    -------
    str

    Examples
    --------
    >>> from unrolled.evaluate import Score, table
    >>> print(table([Score("wiener", "kodak", 0.01, 28.51, 0.812, 0.02)]))
    | | kodak 1 % | seconds |
    |---|---|---|
    | wiener | 28.51 / 0.812 | 0.02 |
    """
    columns = sorted({(s.name, s.noise) for s in scores})
    lines = [
        "| | "
        + " | ".join(f"{name} {100 * noise:g} %" for name, noise in columns)
        + " | seconds |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for method in dict.fromkeys(s.method for s in scores):
        mine = [s for s in scores if s.method == method]
        cells = []
        for column in columns:
            here = [s for s in mine if (s.name, s.noise) == column]
            mean = np.mean([(s.psnr, s.ssim) for s in here], axis=0)
            cells.append(f"{mean[0]:.2f} / {mean[1]:.3f}")
        cells.append(f"{np.mean([s.seconds for s in mine]):.2f}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _runs(config: EvaluateConfig) -> dict[str, Callable[..., Any]]:
    from unrolled.pretrained import restorer

    runs: dict[str, Callable[..., Any]] = {"blurred": lambda image, psf, **_: image}
    runs |= {name: methods.get(name).function for name in config.methods}
    return runs | {name: restorer(name, needs_psf=True).restore for name in config.networks}


def _kernels(path: Path) -> Iterator[np.ndarray]:
    """Every psf of a file."""
    yield psf.from_file(path, index=0)
    for index in count(1):
        try:
            yield psf.from_file(path, index=index)
        except ValueError:
            return


def _picture(path: Path, colour: bool) -> np.ndarray:
    """On [0, 1], (Y, X) or (Y, X, 3)."""
    from skimage import color, io, util

    picture = util.img_as_float32(io.imread(path))
    if picture.ndim == 2:
        picture = color.gray2rgb(picture)
    picture = picture[..., :3]
    return picture if colour else (picture @ np.array([0.299, 0.587, 0.114], np.float32))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    import tyro

    print(table(evaluate(tyro.cli(EvaluateConfig, args=arguments, description=__doc__))))


if __name__ == "__main__":
    main()
