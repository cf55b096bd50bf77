"""Regularised solves for operators that no spectrum makes diagonal: conjugate gradients on images.

The preconditioner is a circular solve with ``A.power``, the largest power of any kernel at each
frequency. Where kernels are alike that is the solution. Their mean power, or that of their mean,
promises at some places what holds at others only, and takes up to three times as many steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from deconv.arrays import Array, detached, elementwise, like, namespace
from deconv.operators.masked import filled, observed_mean

__all__ = ["circular_solve", "conjugate_gradients", "observed_solve"]

Map = Callable[[Array], Array]


def circular_solve(
    A: Any, rhs: Array, rho: Any, *, start: Array | None = None, tol: float, n_iter: int
) -> Array:
    """``(HᴴH + rho)⁻¹ rhs`` on the domain, where H is ``A.blur``; from `start`, if given.

    `rho` is as in `Blur.solve`, `tol` and `n_iter` as in `conjugate_gradients`.
    """
    rho = A.as_penalty(rho, tuple(rhs.shape[: -A.ndim]))
    inverse = _circular_inverse(A, rho)

    def normal(p: Array) -> Array:
        return _plus(A, A.correlate(A.blur(p)), rho, p)

    start = inverse(rhs) if start is None else start
    rhs = elementwise(lambda b, v: b + 0 * v, rhs, start)
    return conjugate_gradients(A.ndim, normal, inverse, rhs, start, rhs, tol=tol, n_iter=n_iter)


def observed_solve(
    A: Any, z: Array, y: Array, rho: Any, *, start: Array | None = None, tol: float, n_iter: int
) -> Array:
    """``argmin_x ½‖W^½ (A x − y)‖² + ½ ⟨x − z, rho (x − z)⟩`` on the domain.

    From `start` (default: the circular solution for the filled image); the residual counts
    relative to that for the data less their mean, as in `masked_solve`. With a zero boundary x is
    black beyond the frame.
    """
    rho = A.as_penalty(rho, tuple(max(y, z, key=lambda v: v.ndim).shape[: -A.ndim]))
    circular = _circular_inverse(A, rho)

    def lit(x: Array) -> Array:
        return A.frame.pad(A.crop(x)) if A.boundary == "zero" else x

    def inverse(p: Array) -> Array:
        return lit(circular(p))

    def pulled(seen: Array, v: Array) -> Array:
        return lit(_plus(A, seen, rho, v))

    def data(y: Array) -> Array:
        return A.adjoint(y if A.weights is None else A.weights * y)

    def normal(p: Array) -> Array:
        return pulled(data(A(p)), p)

    rhs = scale = pulled(data(y), z)
    if tol > 0 and A.boundary != "zero":
        # The blur all but keeps a constant: a pedestal must not pass for what there is to solve.
        scale = pulled(data(y - observed_mean(A, y)), z)
    if start is None:
        start = inverse(pulled(A.correlate(A.embed(filled(A, y))), z))
    start = elementwise(lambda v, b: v + 0 * b, lit(start), rhs)
    return conjugate_gradients(A.ndim, normal, inverse, rhs, start, scale, tol=tol, n_iter=n_iter)


def conjugate_gradients(
    ndim: int,
    normal: Map,
    inverse: Map,
    rhs: Array,
    start: Array,
    scale: Array,
    *,
    tol: float,
    n_iter: int,
) -> Array:
    """Solve ``normal(x) = rhs`` with the preconditioner `inverse` (Hestenes and Stiefel 1952).

    Parameters
    ----------
    ndim : int
        Number of spatial axes; each index of the axes before them is a problem of its own.
    normal, inverse : callable
        Symmetric positive definite maps of images; `inverse` is close to the inverse of `normal`.
    rhs, start, scale : array, shape (..., *domain)
        The right-hand side, the first guess, and a right-hand side whose residual counts as 1.
    tol : float
        Stop when the preconditioned residual norm falls to `tol` times that of `scale`.
    n_iter : int
        At most this many steps.

    Returns
    -------
    array, shape (..., *domain)
    """
    xp, axes = namespace(rhs), tuple(range(-ndim, 0))

    def dot(a: Array, b: Array) -> Array:
        return xp.sum(a * b, axis=axes, keepdims=True)

    x = start
    residual = elementwise(lambda b, v: b - v, rhs, normal(x))
    direction = nearer = inverse(residual)
    gamma, goal = dot(residual, nearer), dot(scale, inverse(scale))
    taken = 0
    while taken < n_iter and _relative(gamma, goal) > tol:
        image = normal(direction)
        step = gamma / _above_zero(dot(direction, image))
        x = elementwise(lambda v, d, s: v + s * d, x, direction, step)
        residual = elementwise(lambda r, v, s: r - s * v, residual, image, step, out=residual)
        nearer = inverse(residual)
        previous, gamma = gamma, dot(residual, nearer)
        ahead = gamma / _above_zero(previous)
        direction = elementwise(lambda p, d, b: p + b * d, nearer, direction, ahead)
        taken += 1
    return x


def _circular_inverse(A: Any, rho: Array) -> Map:
    """``(F⁻¹ A.power F + rho)⁻¹``, on images."""
    gain = elementwise(lambda p, q: 1 / (p + q), A.power, rho)
    return lambda x: A.image(elementwise(lambda s, g: s * g, A.transform(x), gain), overwrite=True)


def _plus(A: Any, seen: Array, rho: Array, x: Array) -> Array:
    """``seen + rho x``."""
    if any(n != 1 for n in rho.shape[-A.ndim :]):
        pull = elementwise(lambda s, r: s * r, A.transform(x), rho)
        rho, x = like(np.ones((1,) * A.ndim), x), A.image(pull, overwrite=True)
    return elementwise(lambda b, r, v: b + r * v, seen, rho, x)


def _relative(gamma: Array, goal: Array) -> float:
    """Largest ratio of residual norms over the batch; 0 where there is nothing to solve."""
    xp = namespace(gamma)
    gamma, goal = detached(gamma), detached(goal)
    ratio = xp.where(goal > 0, gamma / _above_zero(goal), 0 * gamma)
    return math.sqrt(max(float(xp.max(ratio)), 0.0))


def _above_zero(value: Array) -> Array:
    xp = namespace(value)
    return xp.where(value > 0, value, xp.ones_like(value))
