"""The pictures of docs/choose.md, made of scikit-image's own.

``python docs/make_choose.py [NAME]``. Each takes a picture, blurs it as the page says, restores it
by the call that the page prints, and is written to docs/images/choose-NAME.jpg with the PSNR over
the whole frame in its titles. All random numbers are fixed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.signal import fftconvolve
from skimage import data

import deconv
from deconv.figures import before_after

IMAGES = Path(__file__).parent / "images"
# Titles must stay legible where a phone shows the figure 350 pixels wide.
TITLE, QUALITY = 17, 86


def blurred(
    scene: np.ndarray, psf: np.ndarray, sigma: float, rng: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Valid blur of a grey or colour scene (Y, X[, 3]) with white noise, and the truth."""
    k = psf if scene.ndim == psf.ndim else psf[..., None]
    clean = fftconvolve(scene, k, mode="valid")
    noise = np.random.default_rng(rng).normal(0, sigma, clean.shape)
    first = [n - 1 - n // 2 for n in k.shape]
    window = tuple(slice(a, a + n) for a, n in zip(first, clean.shape, strict=True))
    return (clean + noise).astype(np.float32), scene[window]


def psnr(truth: np.ndarray, image: np.ndarray) -> float:
    """On [0, 1], after clipping, since that is what a screen shows."""
    return deconv.metrics.psnr(np.clip(truth, 0, 1), np.clip(image, 0, 1), data_range=1.0)


def titled(truth: np.ndarray, pictures: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The pictures under titles with their PSNR."""
    return {f"{name}, {psnr(truth, p):.1f} dB": p for name, p in pictures.items()}


def shake() -> Figure:
    """A camera shake that nobody knows."""
    psf = deconv.psf.trajectory(25, rng=3)
    image, _ = blurred(data.astronaut()[:300, 60:380] / 255, psf, 0.004)
    found = deconv.blind.deblur(image, channel_axis=-1)
    return before_after({"shaken": image, "deconv.blind.deblur": found.image}, found.psf)


def line() -> Figure:
    """A straight motion of unknown length and angle."""
    image, truth = blurred(data.coffee()[60:360, 150:470] / 255, deconv.psf.motion(17, 25), 0.005)
    fit = deconv.fit_psf(image, "motion", channel_axis=-1)
    restored = deconv.tv(image, fit.psf, channel_axis=-1)
    notes = [f"{name} {value:.1f}" for name, value in fit.parameters.items()]
    return before_after(
        titled(truth, {"moved": image, "fit_psf, tv": restored}), fit.psf, notes=notes
    )


def known() -> Figure:
    """A measured psf and a little noise."""
    psf = deconv.psf.trajectory(21, rng=1)
    image, truth = blurred(data.camera()[40:320, 120:400] / 255, psf, 0.01)
    shown = {"blurred": image, "wiener": deconv.wiener(image, psf)}
    shown |= {"tv": deconv.tv(image, psf), "plug_and_play": deconv.plug_and_play(image, psf)}
    return before_after(titled(truth, shown), psf, columns=2)


def stack() -> Figure:
    """A stack of fluorescent threads and beads with photon noise, as its maximum along z."""
    threads = filaments()
    psf = deconv.psf.gaussian((2.0, 1.5, 1.5))
    A = deconv.Blur(psf, threads.shape, boundary="zero")
    image = deconv.noise.simulate(np.maximum(A(A.embed(threads)), 0), gain=1, rng=0)
    restored = deconv.richardson_lucy(image, psf, boundary="zero", background=4)
    white = {"observed": image, "richardson_lucy": restored}
    return before_after({k: v.max(0) / np.quantile(v.max(0), 0.998) for k, v in white.items()}, psf)


def filaments() -> np.ndarray:
    """Photons (Z, Y, X) of threads and beads in faint haze."""
    from skimage.draw import line_nd

    rng = np.random.default_rng(0)
    volume = np.zeros((24, 128, 128), np.float32)
    for _ in range(16):
        ends = rng.uniform((2, 4, 4), (22, 124, 124), (2, 3))
        volume[line_nd(*ends)] = 1
    for _ in range(60):
        volume[tuple(rng.integers((2, 4, 4), (22, 124, 124)))] += 2
    return 400 * volume + 4


def stars() -> Figure:
    """A star field with photon noise, as a square root, on a sky of 30 photons."""
    rng = np.random.default_rng(0)
    sky = np.zeros((90, 90), np.float32)
    for y, x in rng.integers(4, 86, (40, 2)):
        sky[y, x] += 2500 * rng.pareto(1.5)
    psf = deconv.psf.gaussian(2.0)
    A = deconv.Blur(psf, sky.shape, boundary="zero")
    image = deconv.noise.simulate(np.maximum(A(A.embed(sky)), 0) + 30, gain=1, rng=1)
    restored = deconv.richardson_lucy(image, psf, background=30, gain=1)
    shown = {"observed": (image - 30) / 300, "richardson_lucy": restored / 3000}
    return before_after({k: np.clip(v, 0, 1) ** 0.5 for k, v in shown.items()}, psf)


def page() -> Figure:
    """Print out of focus."""
    image, truth = blurred(data.page()[:, 60:340] / 255, deconv.psf.defocus(3.5), 0.01)
    psf = deconv.psf.defocus(3.5)
    shown = {"out of focus": image, "hyper_laplacian": deconv.hyper_laplacian(image, psf)}
    return before_after(titled(truth, shown), psf)


def lamps() -> Figure:
    """Clipped lights."""
    rng = np.random.default_rng(1)
    scene = 0.5 * data.rocket()[60:380, 160:480] / 255
    for y, x in rng.integers(20, 300, (14, 2)):
        scene[y : y + 4, x : x + 4] = rng.uniform(4, 8) * np.array([1.0, 0.9, 0.7])
    psf = deconv.psf.trajectory(19, rng=5)
    image, truth = blurred(scene, psf, 0.005)
    image = np.minimum(image, 1)
    shown = {"clipped": image, "tv": deconv.tv(image, psf, channel_axis=-1)}
    shown["saturation='auto'"] = deconv.tv(
        image, psf, saturation="auto", bounds=(0, None), channel_axis=-1
    )
    return before_after(titled(truth, shown), psf)


def soft() -> Figure:
    """A photograph that is a little soft."""
    image, truth = blurred(data.chelsea()[10:270, 90:350] / 255, deconv.psf.gaussian(1.3), 0.005)
    sharp = deconv.blind.polyblur(image, channel_axis=-1)
    return before_after(titled(truth, {"soft": image, "blind.polyblur": sharp}))


def conveyor() -> Figure:
    """Coins that pass a camera at a known speed."""
    psf = deconv.psf.motion(13, 0)
    image, truth = blurred(data.coins()[:280, 60:360] / 255, psf, 0.01)
    bank = deconv.pseudo_inverse(psf, snr=400)
    shown = {"moving": image, "pseudo_inverse": bank(image), "tv": deconv.tv(image, psf)}
    return before_after(titled(truth, shown), psf)


def doubtful() -> Figure:
    """A psf that was measured a little wrong."""
    true, told = deconv.psf.trajectory(19, rng=2), deconv.psf.trajectory(19, rng=2)
    told = deconv.psf.normalise(fftconvolve(told, deconv.psf.gaussian(1.0), mode="same"))
    image, truth = blurred(data.astronaut()[:300, 60:360].mean(axis=-1) / 255, true, 0.01)
    better = deconv.blind.refine_psf(image, told)
    shown = {"blurred": image, "tv, psf as told": deconv.tv(image, told)}
    shown["tv, refine_psf"] = deconv.tv(image, better, deringing=0.5)
    return before_after(titled(truth, shown), told)


def hopeless() -> Figure:
    """A blur that has erased what it covers."""
    psf = deconv.psf.gaussian(6)
    image, truth = blurred(data.camera()[20:340, 100:420] / 255, psf, 0.03)
    return before_after(titled(truth, {"blurred, noisy": image, "tv": deconv.tv(image, psf)}), psf)


FIGURES: dict[str, Callable[[], Figure]] = {
    f.__name__: f
    for f in (shake, line, known, stack, stars, page, lamps, soft, conveyor, doubtful, hopeless)
}


def main() -> None:
    """Make the figures named, or all."""
    for name in sys.argv[1:] or FIGURES:
        figure = FIGURES[name]()
        for axes in figure.axes:
            axes.title.set_fontsize(TITLE)
        path = IMAGES / f"choose-{name}.jpg"
        figure.savefig(path, pil_kwargs={"quality": QUALITY, "optimize": True})
        print(f"{path.name}: {path.stat().st_size // 1024} kB", flush=True)


if __name__ == "__main__":
    main()
