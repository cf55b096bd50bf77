"""The pseudo-inverse of a blur as a few pairs of 1-D filters: restoration as plain convolution.

One inverse kernel serves any number of frames, and its filter pairs are the first layers of the
convolutional networks of Xu et al. (2014).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np

from deconv.arrays import (
    Array,
    channels_first,
    checked,
    choose,
    device,
    dtype_name,
    elementwise,
    floating,
    like,
    namespace,
    number,
    to_numpy,
    whole,
)
from deconv.evidence import power_law
from deconv.fft import centred_rfftn, fast_shape, irfftn, parseval_weights, rfftn
from deconv.operators import BOUNDARIES
from deconv.operators.checks import checked_psf
from deconv.operators.frame import Frame

__all__ = [
    "SIZE",
    "SPECTRA",
    "FilterBank",
    "checked_window",
    "power_law_variance",
    "pseudo_inverse",
]

SPECTRA = ("power-law", "constant")
# Noise of a tenth of the picture's contrast: safe where nothing is known.
SNR = 100.0
# Share of the kernel's energy that an automatic rank leaves out; 1e-3 costs up to 0.2 dB.
LEFT_OUT = 1e-4
SIZE = 121
FRAME = 512


@dataclass(frozen=True, eq=False)
class FilterBank:
    """An inverse kernel as a sum of separable ones, ``sum_j weights[j] columns[j] rows[j]^T``.

    Attributes
    ----------
    columns, rows : array (rank, size)
        Unit vectors along Y and along X; within each set they are orthogonal.
    weights : array (rank,)
        Singular values, largest first.
    window_error, rank_error : float
        Share of the whole inverse's energy that the window leaves out, and of the windowed one's
        that the rank does.

    Examples
    --------
    >>> from skimage import data
    >>> import deconv
    >>> bank = deconv.pseudo_inverse(deconv.psf.gaussian(1.5), rank=4, size=41)
    >>> bank.rank, bank.size, bank(data.camera() / 255).shape
    (4, 41, (512, 512))
    """

    columns: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    window_error: float
    rank_error: float
    _spectra: dict[Any, Array] = field(default_factory=dict, init=False, repr=False)

    @property
    def size(self) -> int:
        """Side of the window."""
        return int(self.rows.shape[1])

    @property
    def rank(self) -> int:
        """Number of filter pairs."""
        return int(self.rows.shape[0])

    @property
    def error(self) -> float:
        """Share of the whole inverse's energy that the two leave out, about."""
        return self.window_error + (1 - self.window_error) * self.rank_error

    @cached_property
    def kernel(self) -> np.ndarray:
        """The inverse kernel (size, size) of this rank, centre at ``size // 2``."""
        kernel: np.ndarray = np.einsum("jy,j,jx->yx", self.columns, self.weights, self.rows)
        kernel.setflags(write=False)
        return kernel

    def __call__(
        self, image: Any, *, channel_axis: int | None = None, boundary: str = "unknown"
    ) -> Array:
        """Frames convolved with the kernel, by FFT; its spectrum is kept for the next call.

        On a CPU that beats the ``2 rank size`` products a pixel of the filter pairs. Beyond an
        unknown boundary the frame goes on smoothly. Its mean is kept, except with "zero".

        Parameters
        ----------
        image : array (Y, X); with `channel_axis` a stack of colours or frames
            In any unit, without NaN: `deconv.filter_bank` takes those.
        channel_axis : int, optional
            Axis that holds colours or frames.
        boundary : {"unknown", "periodic", "zero"}
            What lies beyond the frame; see `deconv.Blur`.
        """
        image, holes = checked(image, "image")
        choose(boundary, BOUNDARIES, "boundary")
        if holes:
            raise ValueError("image has NaN pixels; expected none (deconv.filter_bank takes them)")
        y = channels_first(image, 2, channel_axis)
        xp, shape = namespace(y), tuple(y.shape[-2:])
        frame = Frame.place(shape, (self.size, self.size), boundary)
        if min(frame.domain) < self.size:
            raise ValueError(
                f"image has spatial shape {shape}; a periodic one must hold the window of "
                f"{self.size} pixels: make the bank with a smaller size"
            )
        # The formula would damp the mean with the noise.
        mean = 0.0 if boundary == "zero" else xp.mean(y, axis=(-2, -1), keepdims=True)
        y = y - mean
        y = frame.pad(y) if boundary == "zero" else frame.extend(y)
        key = (frame.domain, dtype_name(y), xp.__name__, str(device(y)))
        otf = self._spectra.get(key)
        if otf is None:
            otf = centred_rfftn(like(self.kernel, y), frame.domain)
            self._spectra.clear()
            self._spectra[key] = otf
        spectrum = elementwise(lambda k, s: k * s, otf, rfftn(y, 2))
        x = frame.crop(irfftn(spectrum, frame.domain, overwrite=True)) + mean
        return x if channel_axis is None else xp.moveaxis(x, 0, channel_axis)


def pseudo_inverse(
    psf: Any,
    *,
    snr: float | None = None,
    spectrum: str = "power-law",
    rank: int | None = None,
    size: int | None = None,
    taper: bool = True,
) -> FilterBank:
    r"""The truncated Wiener inverse of a psf, as pairs of 1-D filters.

    .. math:: k^\dagger = \mathcal F^{-1}\!\left[\frac{\bar K}{|K|^2 + R}\right], \qquad
              R = \frac{\text{noise power}}{\text{signal power}}

    cropped to a window and cut to its best approximation of `rank` terms (singular values).

    Parameters
    ----------
    psf : array (Y, X)
        Non-negative, sums to 1, centre at ``size // 2``.
    snr : float, optional
        Variance of the sharp picture over that of the noise, above 0; 100 when None.
    spectrum : {"power-law", "constant"}
        How the signal's power falls off with frequency: as ``1 / (f0^2 + |f|^2)``, as in
        photographs, or not at all, ``R = 1 / snr``, the formula of Xu et al. On photographs with
        noise of 1 %, the power law restores 3 dB better.
    rank : int, optional
        Number of pairs; as many as leave out 1e-4 of the energy when None.
    size : int, optional
        Side of the window, odd; 121 when None. An inverse reaches far beyond its psf.
    taper : bool
        Fade the window out to its edges; a plain cut, as in the paper, bends the gain of low
        frequencies and costs 0.1, 0.4, 2.7 dB at noise of 3, 1, 0.2 %.

    Returns
    -------
    FilterBank
        Callable on frames; filters in float64, or float32 for a psf of that type.

    Raises
    ------
    TypeError, ValueError
        For a psf that is none or has not two axes, an `snr` that is not above 0, an unknown
        `spectrum`, a `rank` below 1, or a `size` that is even.

    References
    ----------
    Xu, Ren, Liu and Jia (2014), "Deep convolutional neural network for image deconvolution", NIPS
    (section 3).

    Examples
    --------
    >>> import deconv
    >>> from deconv import pseudo_inverse
    >>> bank = pseudo_inverse(deconv.psf.gaussian(1.5), rank=4, size=41)
    >>> bank.rows.shape, bank.error < 1e-3
    ((4, 41), True)
    """
    psf = to_numpy(floating(psf, "psf"))
    if psf.ndim != 2:
        raise ValueError(
            f"psf has shape {psf.shape}; expected two axes: filter pairs are for these"
        )
    size, rank = checked_window(size, rank)
    snr = SNR if snr is None else number(snr, "snr", low=0, strict=True)
    choose(spectrum, SPECTRA, "spectrum")
    grid = _grid(size, psf.shape)
    psf = checked_psf(psf, grid)
    law, variance = _law(spectrum, grid)
    return _bank(psf, law * (variance / snr), grid, rank, size, taper)


def _bank(
    psf: np.ndarray,
    ratio: np.ndarray,
    grid: tuple[int, int],
    rank: int | None,
    size: int,
    taper: bool,
) -> FilterBank:
    """Window and singular vectors of the inverse with this noise-to-signal ratio on `grid`."""
    otf = centred_rfftn(psf.astype(float), grid)
    inverse = np.fft.fftshift(irfftn(otf.conj() / (np.abs(otf) ** 2 + ratio), grid))
    y, x = (n // 2 - size // 2 for n in grid)
    inside = inverse[y : y + size, x : x + size]
    total = np.square(inverse).sum()
    lost = total - np.square(inside).sum()
    if taper:
        sine = np.sin(np.pi * np.arange(1, size + 1) / (size + 1))
        lost += np.square(inside - inside * sine[:, None] * sine).sum()
        inside = inside * sine[:, None] * sine
    columns, values, rows = np.linalg.svd(inside)
    energy = np.square(values)
    beyond = np.append(np.cumsum(energy[::-1])[-2::-1], 0.0) / energy.sum()
    rank = rank or int(np.argmax(beyond <= LEFT_OUT)) + 1
    return FilterBank(
        np.ascontiguousarray(columns[:, :rank].T, psf.dtype),
        np.ascontiguousarray(rows[:rank], psf.dtype),
        values[:rank].astype(psf.dtype),
        max(0.0, float(lost / total)),
        float(beyond[rank - 1]),
    )


def _law(spectrum: str, grid: tuple[int, ...]) -> tuple[np.ndarray, float]:
    """Form of the noise-to-signal ratio on the half spectrum, and the variance of its inverse.

    The variance is that of a frame of FRAME pixels a side, whatever the grid.
    """
    if spectrum == "constant":
        return np.ones((1, 1)), 1.0
    return power_law(grid, 0.5 / FRAME), power_law_variance()


@cache
def power_law_variance() -> float:
    """Variance of a frame of FRAME pixels a side with the spectrum ``1 / (f0^2 + |f|^2)``."""
    power = 1 / power_law((FRAME, FRAME), 0.5 / FRAME)
    share = parseval_weights(FRAME, power)
    return float(np.mean(power @ share) / share.sum())


def _grid(size: int, psf_shape: tuple[int, ...]) -> tuple[int, int]:
    """A period in which the inverse has died away long before it meets itself."""
    side = max(4 * size, 8 * max(psf_shape))
    return fast_shape((side, side))  # type: ignore[return-value]


def checked_window(
    size: int | None, rank: int | None, default: int = SIZE
) -> tuple[int, int | None]:
    """Size (or the default) and rank, if they go together."""
    size = default if size is None else whole(size, "size", low=1)
    if size % 2 == 0:
        raise ValueError(f"size={size}; expected an odd number of pixels, with a centre")
    if rank is not None and whole(rank, "rank", low=1) > size:
        raise ValueError(f"rank={rank}; expected at most the window's size, {size}")
    return size, rank
