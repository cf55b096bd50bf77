"""Scores that weigh errors as the eye does, which no kept library has: WSNR, NQM and IFC.

Each is written from its paper. Figures of the authors' own programs differ, since viewing distance
and filters do; within one report they compare.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import fft
from scipy.ndimage import uniform_filter

from deconv.arrays import Array, number
from deconv.comparison import pair

__all__ = ["contrast_sensitivity", "ifc", "nqm", "wsnr"]

# A screen at arm's length: pixels that one degree of the field of view holds.
PIXELS_PER_DEGREE = 60.0
# Centres of NQM's bands in cycles per pixel, one octave apart.
BANDS = tuple(2.0**-k for k in range(6, 1, -1))
# Sensitivity at the peak of the curve, in which thresholds of contrast are given.
PEAK_SENSITIVITY = 200.0
SCALES = 4
# Side in coefficients of the areas that the gain and the noise of IFC are estimated on.
AROUND = 5


def contrast_sensitivity(f: np.ndarray | float) -> np.ndarray:
    """How well the eye sees a grating of `f` cycles per degree, 1 at most (Mannos, Sakrison 1974).

    >>> contrast_sensitivity(np.array([1.0, 8.0, 30.0])).round(2).tolist()
    [0.32, 0.98, 0.19]
    """
    scaled = 0.114 * np.asarray(f, float)
    sensitivity: np.ndarray = 2.6 * (0.0192 + scaled) * np.exp(-(scaled**1.1))
    return sensitivity


def wsnr(x_true: Array, x: Array, *, pixels_per_degree: float = PIXELS_PER_DEGREE) -> float:
    """Signal-to-noise ratio in dB, of spectra weighted by the eye's contrast sensitivity.

    Parameters
    ----------
    x_true, x : array (Y, X)
        Truth and estimate, on one scale.
    pixels_per_degree : float
        Of the field of view, above 0.

    Returns
    -------
    float
        Infinite for equal pictures.

    Raises
    ------
    TypeError, ValueError
        For different shapes, NaN or infinite values, or other than two axes.

    References
    ----------
    Mitsa and Varkur (1993), "Evaluation of contrast sensitivity functions for the formulation of
    quality measures incorporated in halftoning algorithms", ICASSP; the curve is flat below its
    peak. Damera-Venkata et al. (2000), IEEE Trans. Image Processing 9(4), section II.

    Examples
    --------
    >>> scene = np.add.outer(np.arange(32.0), np.arange(32.0))
    >>> checks = np.indices((32, 32)).sum(axis=0) % 2
    >>> wsnr(scene, scene + 1) < wsnr(scene, scene + 2 * checks - 1)
    True
    """
    true, estimate = _planes(x_true, x)
    density = number(pixels_per_degree, "pixels_per_degree", low=0, strict=True)
    fy, fx = np.meshgrid(*(fft.fftfreq(n) * density for n in true.shape), indexing="ij")
    # Slanting gratings are seen less well.
    slant = 0.15 * np.cos(4 * np.arctan2(fy, fx)) + 0.85
    f = np.hypot(fy, fx) / slant
    curve = contrast_sensitivity(f)
    grid = np.linspace(0, 20, 2001)
    seen = contrast_sensitivity(grid)
    curve = np.where(f < grid[seen.argmax()], seen.max(), curve)
    return _ratio(curve * fft.fft2(true), curve * fft.fft2(true - estimate))


def nqm(x_true: Array, x: Array, *, pixels_per_degree: float = PIXELS_PER_DEGREE) -> float:
    """Noise quality measure in dB: signal over what of the error is seen, band by band.

    Local contrast in bands of an octave is compared; what lies below the eye's threshold, or is
    masked by the contrast of the truth, does not count.

    Parameters
    ----------
    x_true, x : array (Y, X)
        Truth and estimate, on one scale, not negative.
    pixels_per_degree : float
        Of the field of view, above 0.

    Returns
    -------
    float
        Infinite where no error is seen.

    Raises
    ------
    TypeError, ValueError
        As `wsnr`.

    References
    ----------
    Damera-Venkata, Kite, Geisler, Evans and Bovik (2000), "Image quality assessment based on a
    degradation model", IEEE Trans. Image Processing 9(4), section IV; contrast by Peli (1990),
    masking by Bradley and Ohzawa (1986). Here bands reach up to a quarter of a cycle per pixel.

    Examples
    --------
    >>> scene = 100 + 50 * np.sin(np.add.outer(np.arange(64), np.arange(64)) / 4)
    >>> nqm(scene, scene + 1e-3 * np.sin(np.arange(64)))
    inf
    """
    true, estimate = _planes(x_true, x)
    density = number(pixels_per_degree, "pixels_per_degree", low=0, strict=True)
    r = np.hypot(*np.meshgrid(*(fft.fftfreq(n) for n in true.shape), indexing="ij"))
    base_true, base = (_low(v, r) for v in (true, estimate))
    seen_true, seen = np.zeros_like(true), np.zeros_like(true)
    for centre in BANDS:
        band_true, band = (_filtered(v, _cosine_log(r, centre)) for v in (true, estimate))
        contrast_true, contrast = _over(band_true, base_true), _over(band, base)
        least = 1 / (PEAK_SENSITIVITY * float(contrast_sensitivity(centre * density)))
        masked = least * (0.86 * (np.abs(contrast_true) / least - 1) + 0.3)
        hidden = np.abs(contrast - contrast_true) < np.maximum(masked, least)
        seen_true += np.where(np.abs(contrast_true) >= least, band_true, 0)
        kept = np.where(hidden, band_true, band)
        visible = np.where(hidden, np.abs(contrast_true), np.abs(contrast)) >= least
        seen += np.where(visible, kept, 0)
        base_true, base = base_true + band_true, base + band
    return _ratio(seen_true, seen_true - seen)


def ifc(x_true: Array, x: Array) -> float:
    """Information fidelity criterion: bits per pixel that the estimate shares with the truth.

    Subbands of the truth are Gaussian scale mixtures, those of the estimate a local gain of them
    with noise; the mutual information is summed over scales, horizontal and vertical.

    Parameters
    ----------
    x_true, x : array (Y, X)
        Truth and estimate, at least 48 pixels along each axis.

    Returns
    -------
    float
        At least 0, and not bounded: the better, the larger.

    Raises
    ------
    TypeError, ValueError
        As `wsnr`, and for smaller pictures.

    References
    ----------
    Sheikh, Bovik and de Veciana (2005), "An information fidelity criterion for image quality
    assessment using natural scene statistics", IEEE Trans. Image Processing 14(12), equations 5 to
    17. The steerable pyramid is made in the frequency domain (Portilla and Simoncelli 2000).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scene = np.cumsum(rng.normal(size=(64, 64)), axis=0)
    >>> ifc(scene, scene + 2 * rng.normal(size=(64, 64))) < ifc(scene, scene + 0.1)
    True
    """
    true, estimate = _planes(x_true, x)
    if min(true.shape) < 12 * SCALES:
        raise ValueError(f"x_true has shape {true.shape}; expected at least {12 * SCALES} pixels")
    fy, fx = np.meshgrid(*(fft.fftfreq(n) for n in true.shape), indexing="ij")
    r, angle = np.hypot(fy, fx), np.arctan2(fy, fx)
    spectra = [fft.fft2(v) for v in (true, estimate)]
    bits = 0.0
    for scale in range(SCALES):
        for turn in (0.0, np.pi / 2):
            # An odd filter of fifth order, as of the pyramid with six directions.
            pick = 1j * np.cos(angle - turn) ** 5 * np.sqrt(_cosine_log(r, 2.0 ** -(scale + 2)))
            step = 2**scale
            bands = [fft.ifft2(pick * s).real[::step, ::step] for s in spectra]
            bits += _shared_bits(*bands)
    return bits / true.size


def _planes(x_true: Array, x: Array) -> tuple[np.ndarray, np.ndarray]:
    true, estimate = pair(x_true, x, "x_true", "x")
    if true.ndim != 2:
        raise ValueError(f"x_true has shape {true.shape}; expected (Y, X)")
    return true.astype(float), estimate.astype(float)


def _ratio(signal: np.ndarray, error: np.ndarray) -> float:
    lost = float(np.sum(np.abs(error) ** 2))
    held = float(np.sum(np.abs(signal) ** 2))
    if lost == 0:
        return math.inf
    return 10 * math.log10(held / lost) if held else -math.inf


def _cosine_log(r: np.ndarray, centre: float) -> np.ndarray:
    """A band of two octaves about `centre`; those an octave apart add up to 1."""
    octaves = np.log2(np.maximum(r, 1e-12) / centre)
    return np.where(np.abs(octaves) < 1, 0.5 * (1 + np.cos(np.pi * octaves)), 0.0)


def _low(x: np.ndarray, r: np.ndarray) -> np.ndarray:
    """What is left below the lowest band."""
    return _filtered(x, np.where(r < BANDS[0], 1 - _cosine_log(r, BANDS[0]), 0.0))


def _filtered(x: np.ndarray, response: np.ndarray) -> np.ndarray:
    part: np.ndarray = fft.ifft2(response * fft.fft2(x)).real
    return part


def _over(band: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Peli's local contrast, at most 1 in size; dark ground counts as one grey level."""
    contrast: np.ndarray = np.clip(band / np.maximum(base, 1.0), -1, 1)
    return contrast


def _shared_bits(c: np.ndarray, d: np.ndarray) -> float:
    """Mutual information of a subband of the truth and of the estimate, in blocks of 3 x 3."""
    h, w = (n // 3 * 3 for n in c.shape)
    c, d = c[:h, :w], d[:h, :w]
    around = np.lib.stride_tricks.sliding_window_view(c, (3, 3)).reshape(-1, 9)
    covariance = around.T @ around / len(around)
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-10 * values[-1]
    if not kept.any():
        return 0.0
    blocks = c.reshape(h // 3, 3, w // 3, 3).swapaxes(1, 2).reshape(h // 3, w // 3, 9)
    spread = ((blocks @ vectors[:, kept]) ** 2 / values[kept]).mean(axis=-1)
    mean_c, mean_d = uniform_filter(c, AROUND), uniform_filter(d, AROUND)
    variance = uniform_filter(c * c, AROUND) - mean_c**2
    covariant = uniform_filter(c * d, AROUND) - mean_c * mean_d
    gain = np.where(variance > 1e-10 * values[-1], covariant / np.maximum(variance, 1e-300), 0)
    gain = np.maximum(gain, 0)
    noise = uniform_filter(d * d, AROUND) - mean_d**2 - gain * covariant
    gain, noise = gain[1::3, 1::3], noise[1::3, 1::3]
    # The noise of an exact copy is rounding; a floor keeps its bits finite.
    noise = np.maximum(noise, 1e-8 * values[-1])
    signal = (gain**2 * spread / noise)[..., None] * values[kept]
    return float(0.5 * np.log2(1 + signal).sum())
