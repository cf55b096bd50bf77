"""The methods that `benchmarks.restoration` judges: each gives its PSNR, given the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import deconv
from benchmarks.protocol import psnr
from benchmarks.quality import edge_taper, oracle
from benchmarks.weights import SETTINGS, Curve, curve_of
from deconv import evidence
from deconv.plug_and_play import plug_and_play
from deconv.variational import hyper_laplacian, tv

Restore = Callable[..., np.ndarray]
Score = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def _default(restore: Restore, **options: Any) -> Score:
    return lambda image, psf, truth: psnr(truth, restore(image, psf, **options))


def _padded(restore: Restore, **options: Any) -> Restore:
    """`restore` on the picture padded by its edge pixels and edge-tapered."""

    def inner(image: np.ndarray, psf: np.ndarray, *more: Any) -> np.ndarray:
        margin = max(psf.shape)
        frame = tuple(slice(margin, margin + n) for n in image.shape)
        wide = edge_taper(np.pad(image, margin, mode="edge"), psf)
        return restore(wide, psf, *more, **options)[frame]

    return inner


def _tapered(name: str) -> Score:
    """One of our methods on the padded and tapered picture, with the noise of the bare one."""

    def score(image: np.ndarray, psf: np.ndarray, truth: np.ndarray) -> float:
        keyword = "noise" if name == "deconv.wiener" else "sigma"
        options = {keyword: float(evidence.estimate(image, psf).sigma), "boundary": "periodic"}
        return psnr(truth, _padded(OURS[name], **options)(image, psf))

    return score


def _theirs(image: np.ndarray, psf: np.ndarray, balance: float) -> np.ndarray:
    from skimage import restoration

    return restoration.wiener(image, psf, balance, clip=False)


def _unsupervised(image: np.ndarray, psf: np.ndarray) -> np.ndarray:
    from skimage import restoration

    return restoration.unsupervised_wiener(image, psf, clip=False, rng=0)[0]


def _best_weight(name: str) -> Score:
    """PSNR with the best weight of a prior."""

    def best(image: np.ndarray, psf: np.ndarray, truth: np.ndarray) -> float:
        return Curve(curve_of(SETTINGS[name], image, truth, psf)).best

    return best


def _clipped(restore: Restore, **options: Any) -> Score:
    def score(image: np.ndarray, psf: np.ndarray, truth: np.ndarray) -> float:
        return psnr(truth, np.clip(restore(image, psf, **options), 0, 1))

    return score


BLURRED = {"blurred": lambda image, psf, truth: psnr(truth, image)}
OURS = {
    "deconv.wiener": deconv.wiener,
    "tv": tv,
    "hyper_laplacian": hyper_laplacian,
    "plug_and_play": plug_and_play,
}
TAPER, PAD_TAPER = "scikit-image wiener, taper", "scikit-image wiener, pad, taper"
MAIN: dict[str, Score] = {
    **BLURRED,
    TAPER: lambda y, k, truth: oracle(lambda b: _theirs(edge_taper(y, k), k, b), truth),
    PAD_TAPER: lambda y, k, truth: oracle(lambda b: _padded(_theirs)(y, k, b), truth),
    "scikit-image unsupervised_wiener, pad, taper": _default(_padded(_unsupervised)),
    "richardson_lucy, lam=0.002": _default(deconv.richardson_lucy, lam=0.002),
    **{name: _default(restore) for name, restore in OURS.items()},
}
TAPERED: dict[str, Score] = {f"{name}, tapered": _tapered(name) for name in OURS}
BEST: dict[str, Score] = {
    "tv, best lam": _best_weight("tv"),
    "hyper_laplacian, best lam": _best_weight("hyper-Laplacian 0.67"),
}
VECTORIAL: dict[str, Score] = {
    "tv in colour": _default(tv, channel_axis=-1),
    "tv in colour, best lam": _best_weight("tv, colour"),
}
SATURATED: dict[str, Score] = {
    **BLURRED,
    "tv": _clipped(tv),
    'tv, saturation="auto"': _clipped(tv, saturation="auto"),
    "hyper_laplacian": _clipped(hyper_laplacian),
    'hyper_laplacian, saturation="auto"': _clipped(hyper_laplacian, saturation="auto"),
}
SCORES = {**MAIN, **TAPERED, **BEST, **VECTORIAL}
SLOW = ("plug_and_play", "scikit-image unsupervised_wiener, pad, taper")
