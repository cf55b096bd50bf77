"""Conjugate gradients for a blur seen through weights, all vectors kept as half spectra.

Solves ``(Kᴴ W K + rho) x = Kᴴ W y + rho z``. The circular solve ``(KᴴK + rho)⁻¹`` is the
preconditioner and diagonal in the spectrum, inner products follow from Parseval's theorem, so a
step costs one blur there and one back: two FFTs. Where the textbook keeps images, this keeps
spectra; the numbers are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from deconv.arrays import Array, detached, dtype_name, elementwise, is_numpy, namespace
from deconv.fft import parseval_weights

__all__ = ["MaskedSolution", "filled", "masked_data", "masked_solve", "observed_mean"]


# Elements of an inner product at a time: from 10000 on OpenBLAS wakes a pool that fights with ours.
PIECE = 8192


class MaskedSolution(NamedTuple):
    """Half spectrum of the solution, steps taken, and the last relative residual."""

    spectrum: Array
    n_iter: int
    residual: float


def masked_solve(
    A: Any,
    y: Array,
    rho: Any,
    *,
    z: Array | None = None,
    pull: Array | None = None,
    data: Array | None = None,
    start: Array | None = None,
    tol: float = 1e-5,
    n_iter: int = 100,
    callback: Callable[[int, Array], bool] | None = None,
) -> MaskedSolution:
    """Minimise ``½‖W^½ (A x − y)‖² + ½ ⟨x, rho x⟩ − ⟨pull, x⟩`` over domain images x.

    Parameters
    ----------
    A : operator
        A `Blur`, or what has its members; its weights are W.
    y : array, shape (..., *A.shape)
        Observed image.
    rho : float or array
        Penalty: a number, one per leading index, or a half spectrum.
    z : array, shape (..., *A.domain), optional
        Centre of the penalty: an image that stands for the pull ``rho z``.
    pull : array, optional
        Half spectrum of the pull, for penalties that are not about an image.
    data : array, optional
        ``masked_data(A, y)``, where it is at hand.
    start : array, optional
        First guess, a domain image or its half spectrum (default: the circular solution for the
        smoothly continued image).
    tol : float
        Stop when the preconditioned residual norm falls to `tol` times that of x = 0 for the
        data less their mean.
    n_iter : int
        At most this many steps.
    callback : callable, optional
        Called with the step's number and the current half spectrum; true ends the solve.
    """
    rho = A.as_penalty(rho, tuple(y.shape[: -A.ndim]))
    inverse = elementwise(lambda p, q: 1 / (p + q), A.power, rho)
    dot = _inner_product(A)

    def project(spectrum: Array) -> Array:
        """What a zero boundary leaves free: images that are black beyond the frame."""
        if A.boundary != "zero":
            return spectrum
        return A.transform(A.frame.clear_outside(A.image(spectrum, framed=True)), framed=True)

    def normal(p: Array) -> Array:
        blurred = A.image(elementwise(lambda k, s: k * s, A.otf, p), overwrite=True, framed=True)
        if A.weights is not None:
            blurred = A.frame.replace(blurred, A.weights * A.crop(blurred))
        seen = A.transform(A.frame.clear_outside(blurred), framed=True)
        return project(
            elementwise(lambda k, s, r, v: k * s + r * v, A.adjoint_otf, seen, rho, p, out=seen)
        )

    rhs = masked_data(A, y) if data is None else data
    if z is not None:
        pull = elementwise(lambda r, t: r * t, rho, A.transform(z))
    if pull is not None:
        rhs = elementwise(lambda b, t: b + t, rhs, pull)
    rhs = project(rhs)
    if start is not None:
        x = project(start if "complex" in dtype_name(start) else A.transform(start))
        x = elementwise(lambda v, b: v + 0 * b, x, rhs)
    else:
        seen = A.transform(A.embed(filled(A, y)))
        x = elementwise(lambda k, s, i: k * s * i, A.adjoint_otf, seen, inverse)
        if pull is not None:
            x = elementwise(lambda v, t, i: v + t * i, x, pull, inverse)
        x = project(x)
    residual = elementwise(lambda b, q: b - q, rhs, normal(x))
    preconditioned = project(elementwise(lambda r, i: r * i, residual, inverse))
    direction = elementwise(lambda p: 1 * p, preconditioned)
    if tol > 0 and A.boundary != "zero":
        # The blur keeps a constant: a pedestal must not pass for what there is to solve.
        rhs = masked_data(A, y - observed_mean(A, y))
        rhs = rhs if pull is None else elementwise(lambda b, t: b + t, rhs, pull)
    scale = dot(rhs, project(elementwise(lambda b, i: b * i, rhs, inverse)))
    gamma = dot(residual, preconditioned)
    taken = 0
    while taken < n_iter and _relative(gamma, scale) > tol:
        image_of = normal(direction)
        step = gamma / _above_zero(dot(direction, image_of))
        x = elementwise(lambda v, d, s: v + s * d, x, direction, step, out=x)
        residual = elementwise(lambda v, d, s: v - s * d, residual, image_of, step, out=residual)
        preconditioned = project(elementwise(lambda r, i: r * i, residual, inverse, out=image_of))
        previous, gamma = gamma, dot(residual, preconditioned)
        direction = elementwise(
            lambda p, d, b: p + b * d,
            preconditioned,
            direction,
            gamma / _above_zero(previous),
            out=direction,
        )
        taken += 1
        if callback is not None and callback(taken, x):
            break
    return MaskedSolution(x, taken, _relative(gamma, scale))


def masked_data(A: Any, y: Array) -> Array:
    """``Kᴴ W y``, the data's side of the equation, as a half spectrum."""
    if A.weights is not None:
        y = A.weights * y
    seen = A.transform(A.frame.pad(y), framed=True)
    return elementwise(lambda k, s: k * s, A.adjoint_otf, seen)


def _vdot(a: np.ndarray, b: np.ndarray) -> complex:
    """``np.vdot`` in pieces that BLAS does not hand to threads of its own, summed in double."""
    a, b = a.reshape(-1), b.reshape(-1)
    pieces = (slice(i, i + PIECE) for i in range(0, len(a), PIECE))
    return sum((complex(np.vdot(a[piece], b[piece])) for piece in pieces), 0j)


def observed_mean(A: Any, y: Array) -> Array:
    """Mean of `y` under the operator's weights, of shape (..., 1, 1)."""
    xp = namespace(y)
    axes = tuple(range(-A.ndim, 0))
    if A.weights is None:
        return xp.mean(y, axis=axes, keepdims=True)
    total = xp.sum(A.weights + 0 * y, axis=axes, keepdims=True)
    return xp.sum(A.weights * y, axis=axes, keepdims=True) / _above_zero(total)


def filled(A: Any, y: Array) -> Array:
    """`y` with unobserved pixels at the mean of the observed ones, to start from."""
    if A.weights is None:
        return y
    # Pixels of a small weight still say more than the mean does.
    return namespace(y).where(A.weights > 0, y, observed_mean(A, y))


def _relative(gamma: Array, scale: Array) -> float:
    """Largest ratio of residual norms over the batch; 0 where there is nothing to solve."""
    xp = namespace(gamma)
    gamma, scale = detached(gamma), detached(scale)
    ratio = xp.where(scale > 0, gamma / _above_zero(scale), 0 * gamma)
    return math.sqrt(max(float(xp.max(ratio)), 0.0))


def _above_zero(value: Array) -> Array:
    xp = namespace(value)
    return xp.where(value > 0, value, xp.ones_like(value))


def _inner_product(A: Any) -> Callable[[Array, Array], Array]:
    """Real inner product of domain images, from half spectra; one value per leading index."""
    n, pixels = A.domain[-1], math.prod(A.domain)
    if is_numpy(A.otf):
        tail = -1 if n % 2 == 0 and n > 1 else None

        def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            lead = a.shape[: -A.ndim]
            total = np.empty(lead, A.psf.dtype)
            for i in np.ndindex(*lead):
                u, v = a[i], b[i]
                once = np.vdot(u[..., 0], v[..., 0])
                if tail is not None:
                    once = once + np.vdot(u[..., tail], v[..., tail])
                total[i] = (2 * _vdot(u, v) - once).real / pixels
            return total.reshape(*lead, *[1] * A.ndim)

        return dot
    xp = namespace(A.otf)
    counts = parseval_weights(n, A.psf)
    axes = tuple(range(-A.ndim, 0))
    return lambda a, b: (
        xp.sum(
            counts * (xp.real(a) * xp.real(b) + xp.imag(a) * xp.imag(b)), axis=axes, keepdims=True
        )
        / pixels
    )
