"""Psfs that are a little wrong, as blind methods estimate them.

The generator of Nan and Ji (2020), "Deep learning for handling kernel/model uncertainty in image
deconvolution", with relative amplitudes, so that it suits a psf of any size, and two errors more:
estimates are shifted by parts of a pixel and come out too long or too short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["PsfError"]

# Taps below this part of the maximum are not on the support; what is left below it is cut.
FAINT = 1e-3
# Share of taps anywhere that get a speck.
SPECKS = 0.03


@dataclass(frozen=True)
class PsfError:
    """What may be wrong with a psf; each sample draws how much of it is, up to these values.

    Parameters
    ----------
    noise : float
        Standard deviation of white noise on the support and one pixel around it, over the
        maximum.
    dropped : float
        Share of taps that are lost, in every other sample; never the largest.
    blur : float
        Standard deviation in pixels of a Gaussian that smooths the psf.
    specks : float
        Standard deviation of noise on a few taps anywhere, over the maximum.
    shift : float
        Shift along each axis, in pixels.
    stretch : float
        By how much the psf is too large or too small, relative.
    strength : (float, float)
        Range of the factor on all of these.

    Raises
    ------
    ValueError
        If an amount is outside [0, 1), or `strength` is no range in [0, 1].

    Examples
    --------
    >>> import torch
    >>> from unrolled import PsfError
    >>> psf = torch.zeros(9, 9)
    >>> psf[4, 2:7] = 0.2
    >>> wrong = PsfError()(psf, torch.Generator().manual_seed(0))
    >>> wrong.shape, round(float(wrong.sum()), 5)
    (torch.Size([9, 9]), 1.0)
    """

    noise: float = 0.2
    dropped: float = 0.5
    blur: float = 0.8
    specks: float = 0.04
    shift: float = 0.3
    stretch: float = 0.06
    strength: tuple[float, float] = (0.1, 1.0)

    def __post_init__(self) -> None:
        """Refuse what is no amount."""
        amounts = {name: value for name, value in vars(self).items() if name != "strength"}
        for name, value in amounts.items():
            if not 0 <= value < 1:
                raise ValueError(f"{name}={value}; expected at least 0 and less than 1")
        if not 0 <= self.strength[0] <= self.strength[1] <= 1:
            raise ValueError(f"strength={self.strength}; expected 0 <= low <= high <= 1")

    def __call__(self, psf: Tensor, generator: torch.Generator) -> Tensor:
        """A wrong psf of the shape (h, w) of `psf`, non-negative, with the sum 1.

        Its centroid is that of `psf` but for the shift and the specks. `generator` is on the CPU;
        the same one gives the same error on any device.
        """
        low, high = self.strength
        u = torch.rand(8, generator=generator, dtype=torch.float64).tolist()
        amount = low + (high - low) * u[0]

        def normal(scale: float) -> Tensor:
            return scale * torch.randn(psf.shape, generator=generator).to(psf)

        def chance(share: float) -> Tensor:
            return (torch.rand(psf.shape, generator=generator) < share).to(psf.device)

        top = psf.max()
        around = F.max_pool2d((psf > FAINT * top).to(psf)[None], 3, 1, 1)[0]
        wrong = psf + top * around * normal(amount * self.noise * u[1])
        lost = chance(amount * self.dropped * u[2] if u[3] < 0.5 else 0.0)
        wrong = torch.where(lost & (psf < top), torch.zeros_like(psf), wrong)
        wrong = _smoothed(wrong, amount * self.blur * u[4])
        wrong = wrong.clamp(min=0)
        zoom = 1 + amount * self.stretch * (2 * u[5] - 1)
        shift = [amount * self.shift * (2 * v - 1) for v in u[6:]]
        there = _centroid(psf) + psf.new_tensor(shift)
        wrong = _placed(wrong, _centroid(wrong), there, zoom)
        # Last: specks far out would move the centroid of a small psf by pixels.
        wrong = wrong + top * chance(SPECKS) * normal(amount * self.specks)
        wrong = torch.where(wrong < FAINT * wrong.max(), torch.zeros_like(psf), wrong)
        total = wrong.sum()
        # Large amounts may leave nothing of a psf of a pixel or two.
        return torch.where(total > 0, wrong / total, psf / psf.sum())


def _smoothed(psf: Tensor, sigma: float) -> Tensor:
    """`psf` blurred by a Gaussian; what leaves the box is lost."""
    if sigma < 0.05:
        return psf
    reach = math.ceil(3 * sigma)
    at = torch.arange(-reach, reach + 1, dtype=psf.dtype, device=psf.device)
    taps = torch.exp(-0.5 * (at / sigma) ** 2)
    taps = taps / taps.sum()
    kernel = (taps[:, None] * taps)[None, None]
    return F.conv2d(psf[None, None], kernel, padding=reach)[0, 0]


def _centroid(psf: Tensor) -> Tensor:
    """Row and column of the centre of mass, in pixels."""
    axes = [torch.arange(n, dtype=psf.dtype, device=psf.device) for n in psf.shape]
    total = psf.sum()
    return torch.stack([(psf.sum(1) * axes[0]).sum(), (psf.sum(0) * axes[1]).sum()]) / total


def _placed(psf: Tensor, middle: Tensor, there: Tensor, zoom: float) -> Tensor:
    """`psf` enlarged by `zoom` about `middle`, which comes to lie at `there`; linear."""
    rows, columns = (torch.arange(n, dtype=psf.dtype, device=psf.device) for n in psf.shape)
    y = (rows - there[0]) / zoom + middle[0]
    x = (columns - there[1]) / zoom + middle[1]
    # grid_sample counts from -1 to 1 between the centres of the outer pixels.
    sizes = [max(1, n - 1) for n in psf.shape]
    grid = torch.stack(
        torch.broadcast_tensors(2 * x[None, :] / sizes[1] - 1, 2 * y[:, None] / sizes[0] - 1), -1
    )
    return F.grid_sample(psf[None, None], grid[None], align_corners=True)[0, 0]
