"""The scores of a report: what each measures in one line, what it needs, and how it is computed.

A new score is one line in `SCORES`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec

import numpy as np

from deconv import metrics, noise
from deconv.report import borrowed, vision

__all__ = ["SCORES", "Score", "Sight", "available", "evaluate", "whiteness"]

LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class Sight:
    """One restoration as the scores see it, with white at 1.

    Attributes
    ----------
    x : ndarray (Y, X) or (Y, X, C)
        The restored picture as the file holds it.
    truth : ndarray or None
        The sharp picture.
    residual : ndarray (y, x) or None
        What the psf does not explain of the observation.
    smooth : ndarray or None
        A restoration that cannot ring, of the shape of `x`.
    known : ndarray or None
        The restoration by the same method with the true psf, where `x` is one with an estimate.
    psf, psf_true : ndarray or None
        The psf that was found, and the true one.
    """

    x: np.ndarray
    truth: np.ndarray | None = None
    residual: np.ndarray | None = None
    smooth: np.ndarray | None = None
    known: np.ndarray | None = None
    psf: np.ndarray | None = None
    psf_true: np.ndarray | None = None

    @property
    def channel_axis(self) -> int | None:
        """Where the colours are."""
        return -1 if self.x.ndim == 3 else None

    @cached_property
    def luma(self) -> tuple[np.ndarray, np.ndarray]:
        """Truth and picture in grey, on [0, 255]."""
        assert self.truth is not None
        return grey(self.truth) * 255, grey(self.x) * 255


def grey(x: np.ndarray) -> np.ndarray:
    """The luma of stored colours (BT.601); grey as it is."""
    if x.ndim == 2:
        return x
    weights = np.array(LUMA) if x.shape[-1] == 3 else np.full(x.shape[-1], 1 / x.shape[-1])
    weighted: np.ndarray = x @ weights
    return weighted


@dataclass(frozen=True)
class Score:
    """One column of the table.

    Attributes
    ----------
    name, meaning : str
        The heading, and in one line what it measures.
    better : {1, -1}
        Whether more of it is better, or less.
    digits : int
        Decimals to show.
    needs : tuple of str
        Attributes of `Sight` without which there is no such score.
    libraries : tuple of str
        Packages without which there is none.
    """

    name: str
    meaning: str
    function: Callable[[Sight], float] = field(repr=False)
    better: int = 1
    digits: int = 2
    needs: tuple[str, ...] = ("truth",)
    libraries: tuple[str, ...] = ()


def whiteness(residual: np.ndarray, reach: int = 5) -> float:
    """How far a residual is from white noise: the sum of its squared correlations off the centre.

    Parameters
    ----------
    residual : array (Y, X)
        Larger than `reach` along each axis.
    reach : int
        Shifts up to so many pixels count.

    Returns
    -------
    float
        At least 0, near 0 for white noise.

    Raises
    ------
    ValueError
        For a residual that is smaller.

    References
    ----------
    Almeida and Figueiredo (2013), "Parameter estimation for blind and non-blind deblurring using
    residual whiteness measures", IEEE Trans. Image Processing 22(7), section III.

    Examples
    --------
    >>> white = np.random.default_rng(0).normal(size=(128, 128))
    >>> whiteness(white) < 0.1 < whiteness(white + np.roll(white, 1, axis=1))
    True
    """
    if residual.ndim != 2 or min(residual.shape) <= reach:
        raise ValueError(
            f"residual has shape {residual.shape}; expected (Y, X), above {reach} pixels each"
        )
    spread = float(residual.std())
    if spread == 0:
        return 0.0
    normal = (residual - residual.mean()) / spread
    shape = [n + reach for n in normal.shape]
    power = np.abs(np.fft.rfft2(normal, shape)) ** 2
    correlation = np.fft.irfft2(power, shape) / normal.size
    near = np.roll(correlation, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    return float(np.sum(near**2) - near[reach, reach] ** 2)


def _ringing(sight: Sight) -> float:
    from deconv import ringing

    smooth = sight.smooth
    assert smooth is not None
    calm = ringing.suppress(sight.x, smooth, channel_axis=sight.channel_axis)
    return 100 * float(np.sqrt(np.mean((sight.x - calm) ** 2)))


def _noise(sight: Sight) -> float:
    return 100 * float(np.mean(noise.estimate_sigma(grey(sight.x))))


def _blur(sight: Sight) -> float:
    judge = importlib.import_module("unrolled.sharpness")
    return float(judge.sharpness(grey(sight.x).astype(np.float32)).score)


def _psf_similarity(sight: Sight) -> float:
    return metrics.psf_similarity(sight.psf, sight.psf_true, parts=4)


def _error_ratio(sight: Sight) -> float:
    return metrics.error_ratio(sight.truth, sight.x, sight.known, channel_axis=sight.channel_axis)


def _aligned(sight: Sight) -> float:
    return metrics.aligned_psnr(
        sight.truth, sight.x, data_range=1.0, channel_axis=sight.channel_axis
    )


SCORES: tuple[Score, ...] = (
    Score(
        "PSNR",
        "Peak signal over mean squared error in dB, all channels, whole frame.",
        lambda s: metrics.psnr(s.truth, s.x, data_range=1.0),
    ),
    Score(
        "aligned PSNR",
        "PSNR at the best shift of up to 5 pixels, 15 pixels of border left out: fair to blind "
        "methods, whose pictures may lie beside the truth (Levin et al. 2009).",
        _aligned,
    ),
    Score(
        "SSIM",
        "Structural similarity: local means, contrasts and correlations (Wang et al. 2004).",
        lambda s: metrics.ssim(s.truth, s.x, data_range=1.0, channel_axis=s.channel_axis),
        digits=4,
    ),
    Score(
        "MS-SSIM",
        "SSIM of luma over five scales, nearer to what is seen from afar (Wang et al. 2003).",
        lambda s: borrowed.ms_ssim(*s.luma),
        digits=4,
        libraries=("sewar",),
    ),
    Score(
        "VIF",
        "Visual information fidelity, pixel domain: share of the truth's information that is left "
        "(Sheikh, Bovik 2006); above 1 means more contrast.",
        lambda s: borrowed.vif(*s.luma),
        digits=4,
        libraries=("sewar",),
    ),
    Score(
        "UQI",
        "Universal quality index: SSIM's ancestor, without its constants (Wang, Bovik 2002).",
        lambda s: borrowed.uqi(*s.luma),
        digits=4,
        libraries=("sewar",),
    ),
    Score(
        "WSNR",
        "Signal over error in dB, weighted by the eye's contrast sensitivity at 60 pixels per "
        "degree (Mitsa, Varkur 1993).",
        lambda s: vision.wsnr(*s.luma),
    ),
    Score(
        "NQM",
        "Signal over what of the error is above the eye's threshold and not masked, in dB "
        "(Damera-Venkata et al. 2000).",
        lambda s: vision.nqm(*s.luma),
    ),
    Score(
        "IFC",
        "Information shared with the truth, in bits per pixel (Sheikh et al. 2005).",
        lambda s: vision.ifc(*s.luma),
        digits=3,
    ),
    Score(
        "LPIPS",
        "Distance of AlexNet's features, weighted by human judgements (Zhang et al. 2018).",
        lambda s: borrowed.lpips(_given(s.truth), s.x),
        better=-1,
        digits=4,
        libraries=("torch", "torchvision", "torchmetrics"),
    ),
    Score(
        "error ratio",
        "Squared error over that with the true psf, both aligned: 1 is as good as knowing the psf, "
        "up to 2 a success (Levin et al. 2009).",
        _error_ratio,
        better=-1,
        needs=("truth", "known"),
    ),
    Score(
        "psf similarity",
        "Correlation of the psf found with the true one at the best shift, at most 1 (Hu, Yang "
        "2012).",
        _psf_similarity,
        digits=3,
        needs=("psf", "psf_true"),
    ),
    Score(
        "whiteness",
        "Correlation left in the residual: near 0 if the restoration, blurred again, explains the "
        "picture up to white noise (Almeida, Figueiredo 2013).",
        lambda s: whiteness(_given(s.residual)),
        better=-1,
        digits=3,
        needs=("residual",),
    ),
    Score(
        "ringing",
        "Waves that a restoration of flat areas does not have, rms in % of white. Texture adds to "
        "it: compare within one picture.",
        _ringing,
        better=-1,
        digits=3,
        needs=("smooth",),
    ),
    Score(
        "noise",
        "White noise left in the picture, standard deviation in % of white.",
        _noise,
        better=-1,
        digits=3,
        needs=(),
    ),
    Score(
        "blur",
        "How blurred it looks to a trained classifier: below 0 sharp, above 0 blurred.",
        _blur,
        better=-1,
        needs=(),
        libraries=("torch", "safetensors"),
    ),
    Score(
        "BRISQUE",
        "Naturalness of local contrasts, 0 to 100, trained on human ratings without reference "
        "(Mittal et al. 2012); less is better.",
        lambda s: borrowed.brisque(grey(s.x)),
        better=-1,
        needs=(),
        libraries=("brisque", "cv2", "libsvm"),
    ),
)


def _given(value: np.ndarray | None) -> np.ndarray:
    assert value is not None
    return value


def available() -> tuple[tuple[Score, ...], dict[str, str]]:
    """The scores that can be computed here, and why the others cannot."""
    found, missing = [], {}
    for score in SCORES:
        lacks = [name for name in score.libraries if find_spec(name) is None]
        if lacks:
            missing[score.name] = f"needs {', '.join(lacks)}"
        elif score.name == "LPIPS" and not borrowed.lpips_at_hand():
            missing[score.name] = "needs AlexNet's weights in torch.hub's folder of checkpoints"
        else:
            found.append(score)
    return tuple(found), missing


def evaluate(sight: Sight, scores: Iterable[Score]) -> tuple[dict[str, float], dict[str, str]]:
    """The scores of one restoration, and why those that fail on it do."""
    values, failed = {}, {}
    for score in scores:
        if any(getattr(sight, name) is None for name in score.needs):
            continue
        try:
            value = score.function(sight)
        # One score that a picture defeats must not take the others with it.
        except Exception as error:
            failed[score.name] = str(error) or type(error).__name__
            continue
        if not math.isnan(value):
            values[score.name] = value
    return values, failed
