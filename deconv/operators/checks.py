"""What a psf and weights must be before an operator takes them."""

from __future__ import annotations

import math
from typing import Any

from deconv.arrays import Array, detached, dtype_name, floating, is_numpy, namespace

__all__ = ["checked_psf", "checked_weights"]

# A psf written with few digits still sums to 1; one that is off by more is another psf.
SUM_TOLERANCE = 1e-3


def checked_psf(psf: Any, shape: tuple[int, ...]) -> Array:
    """`psf` as a floating array that can blur images of spatial `shape`, or an error."""
    psf = floating(psf, "psf")
    ndim = len(shape)
    if not 1 <= ndim <= 3 or psf.ndim < ndim:
        raise ValueError(
            f"psf has shape {tuple(psf.shape)}; expected {ndim} spatial axes for an image of "
            f"spatial shape {shape} (1 to 3 axes)"
        )
    size = tuple(psf.shape[-ndim:])
    if any(k > n for k, n in zip(size, shape, strict=True)):
        raise ValueError(
            f"psf of shape {size} is larger than the image of shape {shape}: crop the psf "
            f"(deconv.psf.crop)"
        )
    xp, values = namespace(psf), detached(psf)
    total = xp.sum(values, axis=tuple(range(-ndim, 0)))
    low, high, least = float(xp.min(total)), float(xp.max(total)), float(xp.min(values))
    if math.isnan(low) or math.isnan(high):
        raise ValueError("psf holds NaN; expected finite values")
    if least < 0:
        raise ValueError(f"psf has negative values (minimum {least:g}); expected none below 0")
    if max(abs(low - 1), abs(high - 1)) > SUM_TOLERANCE:
        far = low if abs(low - 1) > abs(high - 1) else high
        raise ValueError(
            f"psf sums to {far:g}; expected 1: pass deconv.psf.normalise(psf)"
            if far
            else "psf is zero everywhere; expected it to sum to 1"
        )
    return psf.copy() if is_numpy(psf) else psf


def checked_weights(weights: Any, shape: tuple[int, ...], other: Array) -> Array:
    """`weights` as an array of the dtype of `other`, each in [0, 1], on the frame `shape`."""
    weights = floating(weights, "weights")
    if tuple(weights.shape[-len(shape) :]) != shape:
        raise ValueError(
            f"weights have shape {tuple(weights.shape)}; expected the image's spatial shape {shape}"
        )
    xp, values = namespace(weights), detached(weights)
    low, high = float(xp.min(values)), float(xp.max(values))
    if not (low >= 0 and high <= 1):
        raise ValueError(f"weights lie in [{low:g}, {high:g}]; expected values in [0, 1]")
    if dtype_name(weights) != dtype_name(other):
        return xp.astype(weights, other.dtype)
    return weights.copy() if is_numpy(weights) else weights
