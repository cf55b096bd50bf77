"""The regularised solve of an unrolled network: fill, solve, fill, solve, with momentum.

Where pixels are unobserved, ``fill`` then ``solve`` is one step of majorisation-minimisation on
``½‖W^½ (A x − y)‖² + rho/2 ‖x − z‖²``. A few steps with momentum come as far as conjugate gradients
do, and their numbers do not depend on the picture as a whole: a tile of it is solved as the whole
is, nothing waits for an inner product, and a gradient flows through every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deconv.arrays import Array, elementwise
from deconv.saturation import completed

__all__ = ["filled_solve", "nesterov"]

# Of conjugate gradients: five iterations of a network take as many of their steps as of the others.
TOLERANCE = 1e-3


def nesterov(steps: int) -> tuple[float, ...]:
    """Momentum between `steps` steps (Nesterov 1983).

    Parameters
    ----------
    steps : int
        Number of steps, at least 1.

    Returns
    -------
    tuple of float
        One less than `steps` factors, ``k / (k + 3)`` for k = 1, 2, ...

    References
    ----------
    Nesterov (1983), "A method of solving a convex programming problem with convergence rate
    O(1/k^2)", Soviet Math. Dokl. 27.

    Examples
    --------
    >>> from deconv.operators import nesterov
    >>> nesterov(4)
    (0.25, 0.4, 0.5)
    """
    return tuple(k / (k + 3) for k in range(1, steps))


def filled_solve(
    A: Any,
    y: Array,
    rho: Any,
    z: Array,
    *,
    momentum: Sequence[Any] = (),
    start: Array | None = None,
    clipped: Array | None = None,
) -> Array:
    """Approximate ``A.prox(z, y, rho)`` by ``len(momentum) + 1`` steps of fill and solve.

    A step costs two FFTs. With `exact` operators the first step is the answer, and the only one.
    With a zero boundary it is `prox` to a tolerance of 0.001; with `clipped`, once for each step.

    Parameters
    ----------
    A : Blur or StridedBlur
        The operator.
    y : array, shape ``(..., *A.shape)``
        Observed image.
    rho : float or array
        As in `Blur.solve`.
    z : array, shape ``(..., *A.domain)``
        What the penalty pulls to.
    momentum : sequence of float or scalar array
        How far to go on in the direction of each step but the last, 0 to about 1.
    start : array, optional
        Where to start, on the domain (default: `z`).
    clipped : array of bool, shape ``(..., *A.shape)``, optional
        Where the sensor was saturated: see `Blur.mix`.

    Returns
    -------
    array, shape ``(..., *A.domain)``

    Examples
    --------
    Each step comes nearer to what `prox` gives:

    >>> import numpy as np, deconv
    >>> y = np.random.default_rng(0).random((16, 16))
    >>> A = deconv.Blur(deconv.psf.gaussian(1.0), y.shape)
    >>> z, exact = A.embed(y), A.prox(A.embed(y), y, 0.1)
    >>> step = [deconv.operators.filled_solve(A, y, 0.1, z, momentum=(0,) * n) for n in (0, 9)]
    >>> bool(np.abs(step[1] - exact).max() < np.abs(step[0] - exact).max() / 5)
    True
    """
    rho = A.as_penalty(rho, tuple(z.shape[: -A.ndim]))
    if A.boundary == "zero":
        return _held_black(A, y, rho, z, z if start is None else start, len(momentum) + 1, clipped)
    pull = A.transform(z)
    if A.exact and clipped is None:
        return A.image(A.fit(pull, y, rho), overwrite=True)
    # The first step has no past; what comes after it starts where the last two lead.
    past = ahead = pull if start is None else A.transform(start)
    for forward in (*momentum, None):
        found = A.fit(pull, A.mix(y, A.predict(ahead), clipped=clipped), rho)
        if forward is not None:
            ahead = elementwise(lambda f, p, m: f + m * (f - p), found, past, forward)
        past = found
    return A.image(past, overwrite=True)


def _held_black(
    A: Any, y: Array, rho: Array, z: Array, x: Array, rounds: int, clipped: Array | None
) -> Array:
    """`filled_solve` with a zero boundary: black is no missing datum that a prediction may fill."""
    if clipped is None:
        return A.prox(z, y, rho, start=x, tol=TOLERANCE)
    for _ in range(rounds):
        x = A.prox(z, completed(y, A(x), clipped), rho, start=x, tol=TOLERANCE)
    return x
