"""The demonstration: a real photograph whose blur nobody knows, and a synthetic one with truth.

Both pictures ship inside scikit-image. Run it by ``deconv demo`` or ``make demo``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from deconv import blind, figures, methods, metrics, psf
from deconv.picture import DISPLAY_GAMMA, from_linear, to_linear
from deconv.plug_and_play import plug_and_play
from deconv.richardson_lucy import richardson_lucy
from deconv.variational import tv
from deconv.wiener import wiener

__all__ = ["Row", "clock", "run", "synthetic"]

# scikit-image's best settings here, found with the truth among balances of 0.002 to 0.1 and
# 10, 20, 30 iterations. Its Richardson-Lucy divides by black pixels unless told not to.
BALANCE, ITERATIONS, EPSILON = 0.02, 30, 1e-3
NOISE = 0.01
# The trained network, a row where PyTorch is installed.
LEARNED = "unrolled hqs"


@dataclass(frozen=True)
class Row:
    """One line of the table: a restoration, its quality and its time."""

    name: str
    psnr: float
    ssim: float
    seconds: float


def run(folder: Path) -> None:
    """Make both figures in `folder`, and print what was found and the table."""
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    print(clock(folder / "clock.png"))
    print()
    rows = synthetic(folder / "astronaut.png")
    print(f"{'astronaut, shaken, 1 % noise':<36}{'PSNR':>8}{'SSIM':>8}{'seconds':>9}")
    for row in rows:
        print(f"{row.name:<36}{row.psnr:8.2f}{row.ssim:8.3f}{row.seconds:9.2f}")
    print(f"\n{folder}/clock.png and astronaut.png, {time.perf_counter() - start:.0f} s in all")


def clock(path: Path) -> str:
    """Restore scikit-image's photograph of a moving clock, and say what was found.

    Nothing but the photograph is given, not even the kind of blur. As on the command line, a
    photograph is restored in linear light. The clock glints as it moves, which no blur explains:
    such pixels are doubted.
    """
    from skimage import data

    photograph = data.clock()
    light = to_linear(photograph.astype(np.float32) / 255)
    start = time.perf_counter()
    found = blind.estimate(light, gamma=DISPLAY_GAMMA)
    then = time.perf_counter()
    restored = from_linear(tv(light, found.psf, outliers=True))
    done = time.perf_counter()
    extent = " x ".join(map(str, reversed(found.psf.shape)))
    figures.before_after(
        {
            "before: a real photograph": photograph,
            "after": restored,
            "after, enlarged": restored[88:223, 123:303],
        },
        found.psf,
        notes=[
            "found from the picture",
            "alone, without a hint:",
            f"{found.prior}, {extent} px",
        ],
        path=path,
    )
    return (
        f"clock, nothing given: {found.message} (blind.estimate {then - start:.1f} s), restored by "
        f"tv ({done - then:.1f} s)"
    )


def synthetic(path: Path) -> list[Row]:
    """Shake scikit-image's astronaut, add noise, and restore it by us and by scikit-image.

    The blur is valid: what lies beyond the frame is unknown to every method. scikit-image, which
    takes the frame for periodic (Wiener) or black outside (Richardson-Lucy), gets the picture
    reflected around its borders, as its users do, and the settings that are best for it.
    """
    from skimage import data, restoration
    from skimage.util import img_as_float32

    truth = img_as_float32(data.astronaut())
    kernel = psf.trajectory(21, rng=3).astype(np.float32)
    blurred, truth = _observe(truth, kernel)
    y, x = kernel.shape

    def framed(method: Callable[[Any], Any]) -> Any:
        """`method` on each channel of the picture reflected around its borders."""
        channels = np.moveaxis(np.pad(blurred, ((y, y), (x, x), (0, 0)), mode="reflect"), -1, 0)
        return np.stack([method(channel)[y:-y, x:-x] for channel in channels], axis=-1)

    restorers: dict[str, Callable[[], Any]] = {
        "scikit-image wiener": lambda: framed(
            lambda c: restoration.wiener(c, kernel, BALANCE, clip=False)
        ),
        "deconv wiener": lambda: wiener(blurred, kernel, channel_axis=-1),
        "scikit-image richardson_lucy": lambda: framed(
            lambda c: restoration.richardson_lucy(
                c, kernel, ITERATIONS, clip=False, filter_epsilon=EPSILON
            )
        ),
        "deconv richardson_lucy": lambda: richardson_lucy(blurred, kernel, channel_axis=-1),
        "deconv tv": lambda: tv(blurred, kernel, channel_axis=-1),
        "deconv plug_and_play": lambda: plug_and_play(blurred, kernel, channel_axis=-1),
        LEARNED: lambda: methods.get("hqs").function(blurred, kernel, channel_axis=-1),
    }
    if not (find_spec("torch") and find_spec("safetensors")):
        del restorers[LEARNED]
    rows = [_score("blurred", truth, blurred, 0.0)]
    pictures = {f"blurred, {rows[0].psnr:.1f} dB": blurred}
    for name, method in restorers.items():
        start = time.perf_counter()
        restored = method()
        rows.append(_score(name, truth, restored, time.perf_counter() - start))
        pictures[f"{name}, {rows[-1].psnr:.1f} dB"] = restored
    # The order of the grid puts each method of ours under its counterpart.
    titles = list(pictures)
    order = [titles[i] for i in (0, 1, 3, 5)] + ["truth"] + [titles[i] for i in (2, 4, -1)]
    cut = (slice(0, 300), slice(80, 380))
    figures.before_after(
        {title: (truth if title == "truth" else pictures[title])[cut] for title in order},
        kernel,
        notes=[
            f"noise {NOISE:.0%} of white",
            "borders unknown",
            "",
            "scikit-image:",
            "best settings,",
            "found with the truth",
            "",
            "deconv:",
            "defaults",
        ],
        columns=4,
        path=path,
    )
    return rows


def _observe(truth: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The valid part of the blurred picture with noise, and the truth under it."""
    from scipy.signal import fftconvolve

    blurred = fftconvolve(truth, kernel[..., None], mode="valid", axes=(0, 1))
    noise = np.random.default_rng(0).normal(scale=NOISE, size=blurred.shape)
    top, left = (n // 2 for n in kernel.shape)
    height, width = blurred.shape[:2]
    under = truth[top : top + height, left : left + width]
    # As a camera would: nothing below black or above white.
    return np.clip(blurred + noise, 0, 1).astype(np.float32), under


def _score(name: str, truth: np.ndarray, restored: np.ndarray, seconds: float) -> Row:
    shown = np.clip(restored, 0, 1)
    ssim = float(np.mean(metrics.ssim(truth, shown, data_range=1, channel_axis=-1)))
    return Row(name, metrics.psnr(truth, shown, data_range=1), ssim, seconds)
