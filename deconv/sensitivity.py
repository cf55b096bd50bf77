"""How much the frame sees of each latent pixel, and the flat picture that iterations start from."""

from __future__ import annotations

import numpy as np

from deconv.arrays import Array, device, elementwise, namespace
from deconv.operators import Blur

__all__ = ["SEEN_ENOUGH", "flat", "inverse", "sensitivity"]

# A latent pixel that the frame sees less of than this keeps its value (Bertero and Boccacci 2005).
SEEN_ENOUGH = 1e-2


def sensitivity(A: Blur, weights: Array | None, y: Array) -> Array | None:
    """``Aᵀ M`` on the domain for `weights` M of the data y; None where it is 1 everywhere.

    Beyond a zero boundary nothing was counted, and that is an observation too.
    """
    outside = 1.0 if A.boundary == "zero" else 0.0
    if weights is None and (A.frame.is_domain or outside):
        return None
    weights = _ones(A, y) if weights is None else weights
    seen = A.correlate(A.frame.pad(weights - outside), framed=True)
    return elementwise(lambda part: part + outside, seen, out=seen) if outside else seen


def inverse(seen: Array | None) -> Array | None:
    """1 / `sensitivity`, 0 where the frame sees too little of a pixel."""
    if seen is None:
        return None
    xp = namespace(seen)

    def invert(part: Array) -> Array:
        enough = part > SEEN_ENOUGH
        return xp.where(enough, 1 / xp.where(enough, part, xp.ones_like(part)), 0 * part)

    return elementwise(invert, seen)


def flat(A: Blur, y: Array) -> Array:
    """The mean of the observed light, everywhere on the domain (in the frame, if zero)."""
    xp = namespace(y)
    axes = tuple(range(-A.ndim, 0))
    weights = _ones(A, y) if A.weights is None else A.weights
    total = xp.sum(weights, axis=axes, keepdims=True)
    mean = xp.sum(weights * y, axis=axes, keepdims=True) / xp.where(
        total > 0, total, xp.ones_like(total)
    )
    lead = np.broadcast_shapes(tuple(mean.shape[: -A.ndim]), tuple(A.otf.shape[: -A.ndim]))
    zeros = xp.zeros((*lead, *A.domain), dtype=y.dtype, device=device(y))
    return A.frame.clear_outside(zeros + mean) if A.boundary == "zero" else zeros + mean


def _ones(A: Blur, y: Array) -> Array:
    return namespace(y).ones(A.shape, dtype=y.dtype, device=device(y))
