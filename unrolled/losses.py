"""What a network is trained to make small."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deconv.fft import parseval_weights

if TYPE_CHECKING:
    # The networks' own losses are made of those here, and need no synthesis.
    from unrolled.pairs import Known

__all__ = [
    "PIXELS",
    "charbonnier",
    "l1",
    "levelled",
    "log_mse",
    "mse",
    "multi_scale",
    "perceptual",
    "psnr_loss",
    "reblur",
    "spectral_l1",
]

# Root mean squared errors on [0, 1]: a typical one, and one that needs no more work (34 dB).
TYPICAL, GOOD = 0.05, 0.02
# Mean squared error at which pictures count as alike: 80 dB, as published.
ALIKE = 1e-8
# Weight of the spectra beside the pixels in the paper.
SPECTRAL = 0.1
# Share of a blurred pixel's light that may come from beyond the frame.
STRAY = 1e-3
# Light, of white, below which a gamma curve is too steep to be compared through.
DARK = 1e-3

Loss = Callable[[Tensor, Tensor], Tensor]


def l1(restored: Tensor, sharp: Tensor) -> Tensor:
    """Mean absolute error of pictures (N, C, H, W), a scalar.

    Parameters
    ----------
    restored, sharp : tensor, shape (N, C, H, W)
        On [0, 1].

    Returns
    -------
    tensor
        A scalar.

    Raises
    ------
    ValueError
        If the two differ in shape; so do all losses of two pictures.

    Examples
    --------
    >>> import torch
    >>> from unrolled.losses import l1
    >>> l1(torch.full((1, 1, 2, 2), 0.75), torch.ones(1, 1, 2, 2))
    tensor(0.2500)
    """
    return _difference(restored, sharp).abs().mean()


def mse(restored: Tensor, sharp: Tensor) -> Tensor:
    """Mean squared error; arguments and errors as of `l1`.

    Parameters
    ----------
    restored, sharp : tensor, shape (N, C, H, W)
        On [0, 1].

    Returns
    -------
    tensor
        A scalar.

    Examples
    --------
    >>> import torch
    >>> from unrolled.losses import mse
    >>> mse(torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2))
    tensor(0.2500)
    """
    return _difference(restored, sharp).square().mean()


def charbonnier(restored: Tensor, sharp: Tensor, *, eps: float = 1e-3) -> Tensor:
    """Mean of ``sqrt(error**2 + eps**2)``; arguments and errors as of `l1`.

    The absolute error, rounded off below `eps` (Charbonnier et al. 1994, "Two deterministic
    half-quadratic regularization algorithms for computed imaging"; Lai et al. 2017, LapSRN).

    Parameters
    ----------
    restored, sharp : tensor, shape (N, C, H, W)
        On [0, 1].
    eps : float
        Errors below it count as squares.

    Returns
    -------
    tensor
        A scalar.

    Examples
    --------
    >>> import torch
    >>> from unrolled.losses import charbonnier
    >>> charbonnier(torch.full((1, 1, 2, 2), 0.75), torch.ones(1, 1, 2, 2))
    tensor(0.2500)
    """
    return (_difference(restored, sharp).square() + eps**2).sqrt().mean()


def psnr_loss(restored: Tensor, sharp: Tensor) -> Tensor:
    """Minus the PSNR in dB, mean over the pictures; arguments and errors as of `l1`.

    Of at most 80 dB, so that a perfect picture has a gradient of 0 (Chen et al. 2022, NAFNet).

    Parameters
    ----------
    restored, sharp : tensor, shape (N, C, H, W)
        On [0, 1].

    Returns
    -------
    tensor
        A scalar.

    References
    ----------
    Chen, Chu, Zhang and Sun (2022), "Simple baselines for image restoration", ECCV.

    Examples
    --------
    >>> import torch
    >>> from unrolled.losses import psnr_loss
    >>> round(psnr_loss(torch.full((1, 1, 2, 2), 0.9), torch.ones(1, 1, 2, 2)).item(), 3)
    -20.0
    """
    error = _difference(restored, sharp).square().mean((-3, -2, -1))
    return 10 / math.log(10) * (error + ALIKE).log().mean()


def levelled(error: Tensor) -> Tensor:
    """Logarithm of mean squared errors, on the scale of an absolute error: see `log_mse`.

    Parameters
    ----------
    error : tensor, shape (N,)
        Mean squared error of each picture, on [0, 1].

    Returns
    -------
    tensor
        A scalar, mean over the pictures.

    Examples
    --------
    >>> import torch
    >>> from unrolled.losses import levelled
    >>> round(float(levelled(torch.tensor([0.0025]))), 5)
    0.00371
    """
    return TYPICAL / 2 * torch.log((error + GOOD**2) / TYPICAL**2).mean()


def log_mse(restored: Tensor, sharp: Tensor) -> Tensor:
    """Logarithm of the mean squared error of each picture, less so from 34 dB on.

    Every picture counts alike, whatever its blur, but for those that are good already; `psnr_loss`
    asks for perfection of pictures that were sharp from the beginning. The scale is that of `l1`,
    so that a run may go on from one to the other.

    Parameters
    ----------
    restored, sharp : tensor, shape (N, C, H, W)
        On [0, 1].

    Returns
    -------
    tensor
        A scalar, ``0.025 * log((mse + 0.02**2) / 0.05**2)``, mean over the pictures.

    Raises
    ------
    ValueError
        As `l1`.

    Examples
    --------
    >>> import torch
    >>> from unrolled.losses import log_mse
    >>> round(float(log_mse(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.05))), 5)
    0.00371
    """
    return levelled(_difference(restored, sharp).square().mean((-3, -2, -1)))


PIXELS = {
    "l1": l1,
    "mse": mse,
    "charbonnier": charbonnier,
    "log-mse": log_mse,
    "psnr": psnr_loss,
}


def spectral_l1(restored: Tensor, sharp: Tensor, *, weight: float = SPECTRAL) -> Tensor:
    """Mean absolute difference of the spectra, real and imaginary part each, times `weight`.

    Arguments and errors as of `l1`. In float32 or better, also under autocast.

    Parameters
    ----------
    restored, sharp : tensor, shape (N, C, H, W)
        On [0, 1].
    weight : float
        Factor on all.

    Returns
    -------
    tensor
        A scalar.

    Notes
    -----
    This is the loss of MIMO-UNet (Cho et al. 2021), which takes the full spectrum. Of the half
    that a real picture needs, columns that stand for two count twice, so that the value is the
    same. It is not normalised: an error without pattern counts in proportion to the root of the
    number of pixels, and the published weight, 0.1, belongs to crops of 256.

    References
    ----------
    Cho, Ji, Hong, Jung and Ko (2021), "Rethinking coarse-to-fine approach in single image
    deblurring", ICCV.

    Examples
    --------
    An error of one pixel is in every frequency:

    >>> import torch
    >>> from unrolled.losses import spectral_l1
    >>> error = torch.zeros(1, 1, 4, 4)
    >>> error[..., 0, 0] = 1.0
    >>> round(spectral_l1(error, torch.zeros(1, 1, 4, 4), weight=1.0).item(), 3)
    0.5
    """
    difference = _difference(restored, sharp)
    with torch.autocast(difference.device.type, enabled=False):
        spectrum = torch.fft.rfft2(difference)
        counts = parseval_weights(difference.shape[-1], difference)
        parts = counts * (spectrum.real.abs() + spectrum.imag.abs())
    return weight * parts.sum() / (2 * difference.numel())


def multi_scale(loss: Loss, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Mean of a loss over the scales of a network.

    Parameters
    ----------
    loss : callable
        Of two pictures, such as `l1`.
    outputs, targets : sequences of tensors (N, C, h, w)
        ``net.scales(blurred)`` and ``net.targets(sharp)``, in the same order.

    Returns
    -------
    tensor
        A scalar.

    Raises
    ------
    ValueError
        If they are not of the same number and shapes, or there are none.

    Notes
    -----
    DeepDeblur (Nah et al. 2017) has half of it, with `mse`; MIMO-UNet (Cho et al. 2021) the sum,
    three times it, with `l1` and `spectral_l1`. As a mean it is of the size of a loss of one scale.

    References
    ----------
    Nah, Kim and Lee (2017), "Deep multi-scale convolutional neural network for dynamic scene
    deblurring", CVPR.

    Examples
    --------
    >>> import torch
    >>> from unrolled.losses import l1, multi_scale
    >>> fine, coarse = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2)
    >>> multi_scale(l1, [coarse + 0.5, fine], [coarse, fine])
    tensor(0.2500)
    """
    if len(outputs) != len(targets) or not outputs:
        raise ValueError(
            f"outputs has {len(outputs)} scales and targets {len(targets)}; expected as many, one "
            f"or more"
        )
    total = sum(loss(one, other) for one, other in zip(outputs, targets, strict=True))
    return total / len(outputs)


def perceptual(features: Callable[[Tensor], Tensor], restored: Tensor, sharp: Tensor) -> Tensor:
    """Mean squared difference of two pictures' features (Johnson et al. 2016).

    Parameters
    ----------
    features : callable
        Pictures (N, C, H, W) on [0, 1] to features of any shape; it scales pictures as it needs.
        See `unrolled.features`. DeblurGAN and DBGAN have `unrolled.features.vgg19_features`.
    restored, sharp : tensor, shape (N, C, H, W)
        No gradient flows to `sharp`.

    Returns
    -------
    tensor
        A scalar.

    Raises
    ------
    ValueError
        If the two differ in shape.

    References
    ----------
    Johnson, Alahi and Fei-Fei (2016), "Perceptual losses for real-time style transfer and
    super-resolution", ECCV.

    Examples
    --------
    Features that see differences of neighbours only are blind to brightness:

    >>> import torch
    >>> from unrolled.losses import perceptual
    >>> sharp = torch.arange(16.0).reshape(1, 1, 4, 4) / 16
    >>> perceptual(lambda x: x.diff(), sharp + 0.1, sharp) < 1e-9
    tensor(True)
    """
    _difference(restored, sharp)
    with torch.no_grad():
        wanted = features(sharp)
    return mse(features(restored), wanted)


def reblur(restored: Tensor, blurred: Tensor, known: Sequence[Known | None]) -> Tensor:
    """Mean absolute difference between what was observed and the restored pictures, blurred again.

    What a network paints into a picture must agree with the light that was measured (Chen et al.
    2018, "Reblur2Deblur: deblurring videos via self-supervised learning").

    Parameters
    ----------
    restored, blurred : tensor, shape (N, C, H, W)
        Of one frame.
    known : sequence of N `unrolled.pairs.Known` or None
        The operators; see `unrolled.pairs.Pair`.

    Returns
    -------
    tensor
        A scalar: the sum over the samples that have an operator, divided by N, so that every sample
        counts the same whatever else is in its batch. It is 0, and has a gradient of 0, where none
        has one. In float32 or better, also under autocast.

    Raises
    ------
    ValueError
        If shapes or the number of operators do not fit.

    Notes
    -----
    Only pixels whose light came from within the frame count, but for a thousandth of it. Behind a
    gamma curve, light below a thousandth of white counts as black: its slope there would drown all
    else.

    Examples
    --------
    The true picture explains what was observed:

    >>> import torch
    >>> from deconv import Blur
    >>> from unrolled.losses import reblur
    >>> from unrolled.pairs import Known
    >>> A = Blur(torch.ones(1, 3, 3) / 9, (16, 16))
    >>> sharp = torch.rand(1, 1, 16, 16)
    >>> blurred = A(A.embed(sharp))
    >>> reblur(sharp, blurred, [Known(A)]) < reblur(blurred, blurred, [Known(A)])
    tensor(True)
    """
    _difference(restored, blurred, "blurred")
    if len(known) != len(restored):
        raise ValueError(f"known has {len(known)} entries; expected {len(restored)}, one a sample")
    total = 0 * _full(restored).sum()
    with torch.autocast(restored.device.type, enabled=False):
        for x, y, operator in zip(restored, blurred, known, strict=True):
            if operator is not None:
                total = total + _reblurred(_full(x), _full(y), operator)
    return total / len(restored)


def _reblurred(x: Tensor, y: Tensor, known: Known) -> Tensor:
    """`reblur` of one sample, (C, H, W)."""
    A, gamma = known
    if tuple(A.shape) != tuple(y.shape[-2:]):
        raise ValueError(f"known has an operator for {A.shape}; expected {tuple(y.shape[-2:])}")
    with torch.no_grad():
        beyond = 1 - A.frame.pad(torch.ones_like(y[:1]))
        inside = (A(beyond) <= STRAY).expand_as(y)
        if A.weights is not None:
            inside = inside & (A.weights > 0)
    light = x if gamma == 1 else x.clamp(min=0) ** gamma
    again = A(A.frame.pad(light))
    if gamma != 1:
        again = again.clamp(min=DARK) ** (1 / gamma)
        y = y.clamp(min=DARK ** (1 / gamma))
    return (again - y).abs().mul(inside).sum() / inside.sum().clamp(min=1)


def _difference(x: Tensor, y: Tensor, name: str = "sharp") -> Tensor:
    """Of two tensors of one shape, in float32 or better: half of it would be rounding error."""
    if x.shape != y.shape:
        raise ValueError(
            f"restored has shape {tuple(x.shape)} and {name} {tuple(y.shape)}; expected the same"
        )
    return _full(x) - _full(y)


def _full(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
