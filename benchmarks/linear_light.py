"""Whether photographs are better restored in linear light: the table behind the CLI default.

Scenes are blurred in linear light by five psfs, get noise and are stored as 8-bit sRGB; each method
restores them in sRGB and in linear light with its defaults. Mean PSNR in sRGB over the whole frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import deconv
from benchmarks.protocol import DATA, levin_kernels, machine
from deconv import io
from deconv.methods import Method, get

NOISES: dict[str, tuple[float, str]] = {
    "1 % of white, added in sRGB": (0.01, "srgb"),
    "3 % of white, added in sRGB": (0.03, "srgb"),
    "of a camera (Poisson and read noise in linear light)": (0.0, "camera"),
    "1 % of white, added in linear light": (0.01, "linear"),
}
# A camera's noise: variance = GAIN * light + READ^2, for a white of 1.
GAIN, READ = 5e-4, 2e-3


def photographs() -> list[np.ndarray]:
    """Kodak 1 to 8 as sRGB on [0, 1], colours first, or scikit-image's where there is none."""
    from skimage import data

    files = sorted((DATA / "test" / "kodak8").glob("*.png"))
    pictures = [io.read(file).pixels for file in files] or [data.astronaut(), data.chelsea()]
    return [np.moveaxis(picture / 255.0, -1, 0) for picture in pictures]


def stored(light: np.ndarray, sigma: float, kind: str, rng: np.random.Generator) -> np.ndarray:
    """8-bit sRGB values of `light` with noise."""
    noise = rng.normal(size=light.shape)
    if kind == "linear":
        light = light + sigma * noise
    elif kind == "camera":
        light = light + np.sqrt(GAIN * np.maximum(light, 0) + READ**2) * noise
    encoded = io.from_linear(light) + (sigma * noise if kind == "srgb" else 0)
    return np.clip(np.rint(encoded * 255), 0, 255).astype(np.float32) / 255


def restorers(method: Method) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """The method in sRGB and in linear light."""
    return {
        f"{method.name} sRGB": lambda y, psf: method.restore(y, psf, channel_axis=0),
        f"{method.name} linear": lambda y, psf: io.from_linear(
            method.restore(io.to_linear(y), psf, channel_axis=0)
        ),
    }


def main() -> None:
    """Print the table."""
    from scipy.signal import fftconvolve

    print(machine())
    columns = restorers(get("wiener")) | restorers(get("richardson_lucy"))
    levin = levin_kernels()
    kernels = [deconv.psf.motion(15, 30), deconv.psf.defocus(4), deconv.psf.gaussian(2)]
    kernels += [levin[0], levin[5]]
    print("| noise | " + " | ".join(columns) + " |\n|---" + "|---" * len(columns) + "|")
    for name, (sigma, kind) in NOISES.items():
        scores: dict[str, list[float]] = {column: [] for column in columns}
        for number, truth in enumerate(photographs()):
            for psf in kernels:
                light = fftconvolve(io.to_linear(truth), psf[None], mode="valid", axes=(1, 2))
                y = stored(light, sigma, kind, np.random.default_rng(number))
                top, left = ((n - 1) - n // 2 for n in psf.shape)
                x = truth[:, top : top + y.shape[1], left : left + y.shape[2]]
                for column, restore in columns.items():
                    error = np.clip(restore(y, psf), 0, 1) - x
                    scores[column].append(-10 * np.log10(np.mean(error**2)))
        print(f"| {name} | " + " | ".join(f"{np.mean(s):.2f}" for s in scores.values()) + " |")


if __name__ == "__main__":
    main()
