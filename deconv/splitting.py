r"""The two loops of MAP restoration: ADMM and half-quadratic splitting.

Both minimise ``fidelity(A x) + sum lam prior(L x)``, where L is the gradient or the identity. The
priors only see z, a copy of L x that they may change pixel by pixel; x only sees quadratic terms,
which the operator inverts in closed form. ADMM ties the two by a dual and converges for convex
priors; half-quadratic splitting (HQS) by a penalty that grows, which suits the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from deconv.arrays import Array, elementwise, is_numpy
from deconv.fidelity import Fidelity
from deconv.operators.masked import masked_data, masked_solve
from deconv.terms import Loop, Tell, Term

__all__ = ["Solution", "Term", "admm", "hqs"]

CANCELLED = "stopped by the callback"


class Solution(NamedTuple):
    """Domain image, iterations taken, its last relative change, and why the loop ended.

    Attributes
    ----------
    image : array, ``(..., *A.domain)``
        The last picture, on the domain of the operator.
    n_iter : int
        Iterations taken.
    change : float
        What the last one changed, rms, relative to the picture's standard deviation.
    stopped : str
        Why the loop ended, as a sentence.

    Examples
    --------
    >>> import numpy as np, deconv
    >>> from deconv.fidelity import Fidelity
    >>> from deconv.priors import TotalVariation
    >>> from deconv.splitting import Term, admm
    >>> A = deconv.Blur([0.25, 0.5, 0.25], (32,), boundary="periodic")
    >>> y = A(np.repeat([0.0, 1.0], 16))
    >>> solution = admm(Fidelity(A, y), [Term(TotalVariation(), 1e-3, 0.1)], n_iter=3, tol=0)
    >>> solution.image.shape, solution.n_iter
    ((32,), 3)
    """

    image: Array
    n_iter: int
    change: float
    stopped: str


def admm(
    fidelity: Fidelity,
    terms: Sequence[Term],
    *,
    data_rho: float = 0.2,
    n_iter: int = 50,
    tol: float = 1e-3,
    start: Array | None = None,
    tell: Tell | None = None,
) -> Solution:
    """Minimise by the alternating direction method of multipliers (Boyd et al. 2011).

    Where pixels are unobserved, the blurred picture is split off too (Almeida and Figueiredo 2013):
    it is the prediction where nothing was observed, and between prediction and data elsewhere. That
    is `fill` with a soft weight; filling alone needs ten times the iterations.
    An iteration costs two FFTs, four where pixels are unobserved.

    Parameters
    ----------
    fidelity : Fidelity
        Operator and data.
    terms : sequence of Term
        Priors with their weights and penalties.
    data_rho : float
        Penalty of the split between the blurred picture and the data, relative to the data term.
    n_iter : int
        At most this many iterations.
    tol : float
        Stop when an iteration changes the picture by less than this, rms, relative to its standard
        deviation.
    start : array, shape ``(..., *A.domain)``, optional
        First picture; the smoothly continued data if not given.
    tell : callable, optional
        ``tell(iteration, x, objective, stopped)`` of `deconv.progress.report`; true ends the loop.

    Returns
    -------
    Solution

    References
    ----------
    Boyd, Parikh, Chu, Peleato and Eckstein (2011), "Distributed optimization and statistical
    learning via the alternating direction method of multipliers", Found. Trends Mach. Learn. 3;
    Almeida and Figueiredo (2013), "Deconvolving images with unknown boundaries using the
    alternating direction method of multipliers", IEEE TIP 22.

    Examples
    --------
    >>> import numpy as np, deconv
    >>> from deconv.fidelity import Fidelity
    >>> from deconv.priors import Box, TotalVariation
    >>> from deconv.splitting import Term, admm
    >>> scene = np.repeat([0.0, 1.0, 0.0], 16)
    >>> A = deconv.Blur(deconv.psf.gaussian(2.0, ndim=1), scene.shape, boundary="periodic")
    >>> terms = [Term(TotalVariation(), 1e-3, 0.05), Term(Box(0, 1), None, 0.05)]
    >>> x = admm(Fidelity(A, A(scene)), terms, n_iter=100, tol=0).image
    >>> bool(np.abs(x - scene).mean() < np.abs(A(scene) - scene).mean() / 5)
    True
    """
    loop = Loop(fidelity, terms, start, dual=True)
    A, x, whole = loop.A, loop.x, loop.whole
    data_rho = 1.0 if whole else data_rho
    scales = [term.rho / data_rho for term in loop.terms]
    penalty = loop.penalty(scales)
    inverse = elementwise(lambda p, *r: 1 / (p + sum(r)), A.power, *penalty)
    data = masked_data(A, loop.y) if whole else None
    duals: list[Array | None] = [None] * len(loop.terms)
    u = 0 * loop.y
    spectrum = None if whole else A.transform(x)
    pull = other = None
    change, stopped = math.inf, "n_iter=0"
    for k in range(1, n_iter + 1):
        pull, duals = loop.pull(x, [term.rho for term in loop.terms], duals, scales, out=pull)
        other = A.transform(pull, out=other)
        if whole:
            spectrum = elementwise(lambda s, d, i: (s + d) * i, other, data, inverse, out=other)
        else:
            spectrum = elementwise(lambda s, o: s * o, spectrum, A.otf, out=spectrum)
            prediction = A.image(spectrum, out=pull, overwrite=True)
            pull, u = _between(fidelity, prediction, u, data_rho)
            spectrum = A.transform(pull, out=spectrum)
            spectrum = elementwise(
                lambda s, o, d, i: (s * o + d) * i,
                spectrum,
                A.adjoint_otf,
                other,
                inverse,
                out=spectrum,
            )
            # The inverse transform destroys its input, which the next prediction still needs.
            other = elementwise(lambda s: s, spectrum, out=other)
        x = A.image(other if is_numpy(x) else spectrum, out=x, overwrite=True)
        change, stopped = loop.judge(x, k, n_iter, tol)
        if loop.told(tell, k, x, stopped):
            return Solution(x, k, change, CANCELLED)
        if change <= tol:
            return Solution(x, k, change, stopped)
    return Solution(x, n_iter, change, stopped)


def hqs(
    fidelity: Fidelity,
    terms: Sequence[Term],
    *,
    steps: int = 5,
    tol: float = 0.0,
    start: Array | None = None,
    tell: Tell | None = None,
) -> Solution:
    """Minimise by half-quadratic splitting with a growing penalty (Geman and Yang 1995).

    A stage is one prox and one quadratic solve. Where pixels are unobserved the solve is a few
    conjugate-gradient steps from the last stage's picture, two FFTs each: one circular solve of the
    filled data would cost less and lose 0.3 dB at low noise. If all priors act on the picture
    itself, they have the last word: the solve comes first and the prox is the result.

    Parameters
    ----------
    fidelity, terms, start, tell
        As in `admm`; each term has one penalty per stage.
    steps : int
        Conjugate-gradient steps of a stage.
    tol : float
        Stop when a stage changes the picture by less than this, as in `admm`.

    Returns
    -------
    Solution

    References
    ----------
    Geman and Yang (1995), "Nonlinear image recovery with half-quadratic regularization", IEEE
    TIP 4.

    Examples
    --------
    >>> import numpy as np, deconv
    >>> from deconv.fidelity import Fidelity
    >>> from deconv.priors import L0Gradient
    >>> from deconv.splitting import Term, hqs
    >>> scene = np.repeat([0.0, 1.0, 0.0], 16)
    >>> A = deconv.Blur(deconv.psf.gaussian(1.0, ndim=1), scene.shape, boundary="periodic")
    >>> term = Term(L0Gradient(), 1e-3, [1e-3 * 2**k for k in range(14)])
    >>> x = hqs(Fidelity(A, A(scene)), [term]).image
    >>> bool(np.abs(x - scene).mean() < np.abs(A(scene) - scene).mean() / 5)
    True
    """
    loop = Loop(fidelity, terms, start, dual=False)
    A, x, whole = loop.A, loop.x, loop.whole
    stages = list(zip(*(term.rho for term in loop.terms), strict=True))
    prior_last = all(term.prior.acts_on == "image" for term in loop.terms)
    data = None if fidelity.adaptive else masked_data(A, loop.y)
    spectrum = None if whole else A.transform(x)
    change, stopped = math.inf, "no stages"
    for k, rhos in enumerate(stages, start=1):
        if prior_last:
            pull = elementwise(lambda v, *r: sum(r) * v, x, *loop.columns(rhos))
        else:
            pull, _ = loop.pull(loop.within(x), rhos, None, rhos)
        pull = A.transform(pull)
        penalty = loop.penalty(rhos)
        if whole:
            # The reciprocal first: a complex division takes ten times as long.
            spectrum = elementwise(
                lambda b, d, p, *r: (b + d) * (1 / (p + sum(r))),
                pull,
                data,
                A.power,
                *penalty,
                out=pull,
            )
        else:
            B = A
            if fidelity.adaptive:
                seen = A.image(elementwise(lambda s, o: s * o, spectrum, A.otf), overwrite=True)
                B = A.reweighted(fidelity.weights(A.crop(seen)))
            spectrum = masked_solve(
                B,
                loop.y,
                sum(penalty[1:], penalty[0]),
                pull=pull,
                data=data,
                start=spectrum,
                tol=0.0,
                n_iter=steps,
            ).spectrum
        # The inverse transform destroys its input, which the next stage starts from.
        copy = spectrum if whole else elementwise(lambda s: 1 * s, spectrum)
        x = A.image(copy, overwrite=True)
        if prior_last:
            for term, rho in zip(loop.terms, rhos, strict=True):
                x = loop.within(loop.prox(term, x, rho))
        change, stopped = loop.judge(x, k, len(stages), tol)
        if loop.told(tell, k, x, stopped, None if prior_last else stages[-1]):
            return Solution(x, k, change, CANCELLED)
        if change <= tol:
            return Solution(x, k, change, stopped)
    return Solution(x, len(stages), change, stopped)


def _between(
    fidelity: Fidelity, prediction: Array, u: Array, data_rho: float
) -> tuple[Array, Array]:
    """The blurred picture's copy s, minus its new dual, on the domain; and that dual.

    s minimises ``w/2 (s − y)² + data_rho/2 (s − q)²`` with ``q = prediction + u``, so the dual
    ``q − s`` is ``w/(w + data_rho) (q − y)``. NumPy arrays are written to.
    """
    A, y = fidelity.A, fidelity.y
    seen = A.crop(prediction)
    # What is no outlier is judged by the prediction itself: the dual is what the data pull it by.
    weights = fidelity.weights(seen) if fidelity.noise is not None else None
    q = elementwise(lambda p, v: p + v, seen, u, out=seen)
    if weights is None:
        weights = fidelity.weights(q)
    if weights is None:
        share = 1 / (1 + data_rho)
        u = elementwise(lambda a, b: share * (a - b), q, y, out=u)
    else:
        u = elementwise(lambda a, b, w: w / (w + data_rho) * (a - b), q, y, weights, out=u)
    target = elementwise(lambda a, v: a - 2 * v, q, u, out=seen)
    return A.frame.replace(prediction, target) if target is not seen else prediction, u
