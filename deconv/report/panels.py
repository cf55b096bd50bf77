"""The pictures of a report, small enough to be carried inside the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from deconv.report.scores import grey

__all__ = ["Crop", "Encoder", "psf_panel", "radial", "residual_panel", "spectrum", "spectrum_panel"]

# Rows and columns of the part that is shown.
Crop = tuple[slice, slice]

PANEL = 160
QUALITIES = (92, 86, 78, 68, 56)
# Deviations of the noise, or of the residual, that a residual's panel reaches to black and white.
REACH = 4.0


@dataclass(frozen=True)
class Encoder:
    """Turns levels with white at 1 into data URIs of WebP.

    Attributes
    ----------
    side : int
        Longest side in pixels; larger pictures are shrunk.
    budget : int
        Bytes that a picture should stay below: quality is lowered first, then size.
    crop : Crop or None
        The part to show.
    """

    side: int = 900
    budget: int = 400_000
    crop: Crop | None = None

    def __call__(self, levels: np.ndarray) -> str:
        """A data URI."""
        from PIL import Image

        part = levels if self.crop is None else levels[self.crop]
        image = Image.fromarray(_bytes(part))
        factor = min(1.0, self.side / max(image.size))
        while True:
            size = [max(1, round(n * factor)) for n in image.size]
            small = image if factor == 1 else image.resize(size, Image.Resampling.LANCZOS)
            for quality in QUALITIES:
                data = _webp(small, quality)
                if len(data) <= self.budget:
                    return _uri(data, "webp")
            if max(size) <= PANEL:
                return _uri(data, "webp")
            factor *= 0.75


def psf_panel(psf: np.ndarray) -> str:
    """A psf with its brightest pixel white, as PNG without loss."""
    from PIL import Image

    flat = psf.sum(axis=0) if psf.ndim == 3 else np.atleast_2d(psf)
    stream = io.BytesIO()
    Image.fromarray(_bytes(flat / (flat.max() or 1))).save(stream, "PNG")
    return _uri(stream.getvalue(), "png")


def residual_panel(residual: np.ndarray, unit: float) -> str:
    """A residual about mid grey; `unit` is the deviation that all of a picture share."""
    shown = 0.5 + residual / (2 * REACH * (unit or 1.0))
    return Encoder(2 * PANEL, 16_000)(_centre(shown, 2 * PANEL))


def spectrum(x: np.ndarray) -> np.ndarray:
    """Logarithm to base 10 of the power spectrum, zero frequency in the middle, of the luma."""
    luma = grey(x)
    window = np.multiply.outer(*(np.hanning(n) for n in luma.shape))
    power = np.abs(np.fft.fft2((luma - luma.mean()) * window)) ** 2 / np.sum(window**2)
    return np.asarray(np.log10(np.fft.fftshift(power) + 1e-12))


def spectrum_panel(log_power: np.ndarray, low: float, high: float) -> str:
    """A spectrum between the limits that all of a picture share."""
    cells = [max(1, -(-n // PANEL)) for n in log_power.shape]
    h, w = (n // c * c for n, c in zip(log_power.shape, cells, strict=True))
    blocks = log_power[:h, :w].reshape(h // cells[0], cells[0], w // cells[1], cells[1])
    shown = (blocks.mean(axis=(1, 3)) - low) / ((high - low) or 1.0)
    return Encoder(PANEL, 12_000)(shown)


def radial(log_power: np.ndarray, bins: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in cycles per pixel, and the mean of the logarithm on rings about zero."""
    axes = (np.fft.fftshift(np.fft.fftfreq(n)) for n in log_power.shape)
    r = np.hypot(*np.meshgrid(*axes, indexing="ij"))
    place = np.minimum((r * 2 * bins).astype(int), bins)
    count = np.bincount(place.reshape(-1), minlength=bins + 1)[:bins]
    total = np.bincount(place.reshape(-1), log_power.reshape(-1), minlength=bins + 1)[:bins]
    kept = count > 0
    return ((np.arange(bins) + 0.5) / (2 * bins))[kept], total[kept] / count[kept]


def _centre(x: np.ndarray, side: int) -> np.ndarray:
    """The middle, in full resolution: shrinking would hide what noise looks like."""
    y0, x0 = (max(0, (n - side) // 2) for n in x.shape[:2])
    return x[y0 : y0 + side, x0 : x0 + side]


def _bytes(levels: np.ndarray) -> np.ndarray:
    """Eight bits, of one or three channels."""
    if levels.ndim == 3 and levels.shape[-1] not in (1, 3):
        levels = levels.mean(axis=-1)
    if levels.ndim == 3 and levels.shape[-1] == 1:
        levels = levels[..., 0]
    finite = np.nan_to_num(levels, nan=0.0, posinf=1.0, neginf=0.0)
    bytes_: np.ndarray = np.rint(np.clip(finite, 0, 1) * 255).astype(np.uint8)
    return bytes_


def _webp(image: Any, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality, method=4)
    return stream.getvalue()


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
