"""What two pictures must be before a score compares them."""

from __future__ import annotations

import numpy as np

from deconv.arrays import Array, floating, to_numpy

__all__ = ["finite", "numeric", "pair", "same_shape"]


def numeric(x: Array, name: str) -> np.ndarray:
    """`x` in float64, so that scores do not depend on the dtype they are computed from."""
    if hasattr(x, "detach"):
        x = x.detach()
    elif getattr(getattr(x, "dtype", None), "kind", "") in tuple("iub"):
        x = np.asarray(x, np.float64)
    return to_numpy(floating(x, name)).astype(np.float64)


def finite(x: Array, name: str) -> np.ndarray:
    """`x` as by `numeric`; a ValueError where it holds NaN."""
    values = numeric(x, name)
    if np.isnan(values).any():
        raise ValueError(f"{name} has {np.isnan(values).sum()} NaN values; expected none")
    return values


def pair(a: Array, b: Array, name_a: str, name_b: str) -> tuple[np.ndarray, np.ndarray]:
    """Two finite pictures of one shape."""
    first, second = finite(a, name_a), finite(b, name_b)
    same_shape(first, second, name_a, name_b)
    return first, second


def same_shape(a: np.ndarray, b: np.ndarray, name_a: str, name_b: str) -> None:
    """A ValueError where the shapes differ."""
    if a.shape != b.shape:
        raise ValueError(f"{name_a} has shape {a.shape} and {name_b} {b.shape}; expected the same")
