r"""The two loops of MAP restoration: ADMM and half-quadratic splitting.

Both minimise ``fidelity(A x) + sum lam prior(L x)``, where L is the gradient or the identity. The
priors only see z, a copy of L x that they may change pixel by pixel; x only sees quadratic terms,
which the operator inverts in closed form. ADMM ties the two by a dual and converges for convex
priors; half-quadratic splitting (HQS) by a penalty that grows, which suits the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from deconv.arrays import Array, device, elementwise, is_numpy, like, namespace, to_numpy
from deconv.fidelity import Fidelity
from deconv.gradient import Gradient
from deconv.operators.masked import masked_data, masked_solve
from deconv.priors import Prior

__all__ = ["Solution", "Term", "admm", "hqs"]

# The change of the picture is measured on about this many pixels, spread evenly over it.
SAMPLE = 1 << 16
# Steps of a stage end here if they have not before: a picture's last digit.
CG_TOLERANCE = 1e-4
CANCELLED = "stopped by the callback"

Tell = Callable[..., bool]


class Term(NamedTuple):
    """A prior, its weight in the objective, and its penalty rho: a number, for HQS one per stage.

    Weight and penalty may be arrays over the leading axes, shaped to broadcast to images.
    """

    prior: Prior
    lam: Any
    rho: Any


class Solution(NamedTuple):
    """Domain image, iterations taken, its last relative change, and why the loop ended."""

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
    start : array, shape (..., *A.domain), optional
        First picture; the smoothly continued data if not given.
    tell : callable, optional
        ``tell(iteration, x, objective, stopped)`` of `deconv.progress.report`; true ends the loop.
    """
    loop = _Loop(fidelity, terms, start)
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
    """
    loop = _Loop(fidelity, terms, start)
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
            pull, _ = loop.pull(x, rhos, None, rhos)
        pull = A.transform(pull)
        penalty = loop.penalty(rhos)
        if whole:
            spectrum = elementwise(
                lambda b, d, p, *r: (b + d) / (p + sum(r)), pull, data, A.power, *penalty, out=pull
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
                tol=CG_TOLERANCE,
                n_iter=steps,
            ).spectrum
        x = A.image(elementwise(lambda s: 1 * s, spectrum), overwrite=True)
        if prior_last:
            for term, rho in zip(loop.terms, rhos, strict=True):
                x = loop.prox(term, x, rho, k)
        change, stopped = loop.judge(x, k, len(stages), tol)
        if loop.told(tell, k, x, stopped):
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
    q = elementwise(lambda p, v: p + v, seen, u, out=seen)
    weights = fidelity.weights(q)
    if weights is None:
        share = 1 / (1 + data_rho)
        u = elementwise(lambda a, b: share * (a - b), q, y, out=u)
    else:
        u = elementwise(lambda a, b, w: w / (w + data_rho) * (a - b), q, y, weights, out=u)
    target = elementwise(lambda a, v: a - 2 * v, q, u, out=seen)
    return A.frame.replace(prediction, target) if target is not seen else prediction, u


class _Loop:
    """What both loops share: the gradient, the terms, the first picture, when to stop."""

    def __init__(self, fidelity: Fidelity, terms: Sequence[Term], start: Array | None) -> None:
        A, y = fidelity.A, fidelity.y
        lead = np.broadcast_shapes(
            tuple(y.shape[: -A.ndim]),
            tuple(A.otf.shape[: -A.ndim]),
            () if A.weights is None else tuple(A.weights.shape[: -A.ndim]),
        )
        if lead != tuple(y.shape[: -A.ndim]):
            y = namespace(y).broadcast_to(y, (*lead, *A.shape)) + 0
        self.A, self.y, self.fidelity = A, y, fidelity
        self.whole = A.exact and not fidelity.adaptive
        self.gradient = Gradient(A.ndim, closed=A.boundary != "unknown")
        self.terms = list(terms)
        x = A.embed(y) if start is None else start
        # The loops write into x, which may be the caller's.
        self.x = 1 * x
        self._last = self._sample(self.x)

    def columns(self, rhos: Sequence[Any]) -> list[Array]:
        """Numbers and arrays over leading axes, as arrays that broadcast to images and spectra."""
        psf = self.A.psf
        return [like(np.asarray(r, float), psf) if not hasattr(r, "dtype") else r for r in rhos]

    def penalty(self, rhos: Sequence[Any]) -> list[Array]:
        """Terms of ``sum rho LᵀL`` that broadcast to the half spectrum."""
        power = self.gradient.power(self.A.domain, self.A.psf)
        result = []
        for term, rho in zip(self.terms, self.columns(rhos), strict=True):
            on_image = term.prior.acts_on == "image"
            result += [rho + 0 * power[0]] if on_image else [rho * axis for axis in power]
        return result

    def pull(
        self,
        x: Array,
        rhos: Sequence[Any],
        duals: list[Array | None] | None,
        scales: Sequence[Any],
        *,
        out: Array | None = None,
    ) -> tuple[Array, list[Array | None]]:
        """``sum scale Lᵀ(z − u)`` with the new z and u; without duals ``sum scale Lᵀz``."""
        total, new = None, []
        for i, (term, rho, scale) in enumerate(zip(self.terms, rhos, scales, strict=True)):
            u = duals[i] if duals is not None else None
            if term.prior.acts_on == "image":
                v = x if u is None else elementwise(lambda a, b: a + b, x, u)
                z = self.prox(term, v, rho)
                part = z
                if duals is not None:
                    u = elementwise(lambda a, b: a - b, v, z)
                    part = elementwise(lambda a, b: a - b, z, u)
                part = elementwise(lambda a, s: s * a, part, *self.columns([scale]))
            else:
                if duals is not None and u is None:
                    xp = namespace(x)
                    shape = (self.A.ndim, *x.shape)
                    u = xp.zeros(shape, dtype=x.dtype, device=device(x))
                prior, step = term.prior, term.lam / rho
                part, u = self.gradient.split(
                    x, lambda v: prior.factor(v, step), u, scale=scale, out=out
                )
                out = None
            total = part if total is None else elementwise(lambda a, b: a + b, total, part)
            new.append(u)
        return total, new

    def prox(self, term: Term, v: Array, rho: Any, k: int | None = None) -> Array:
        """The term's prox; what goes wrong in it says in which iteration."""
        try:
            return term.prior.prox(v, term.lam / rho)
        except ValueError as error:
            where = "" if k is None else f" (iteration {k})"
            raise ValueError(f"{error}{where}") from None

    def judge(self, x: Array, k: int, n_iter: int, tol: float) -> tuple[float, str]:
        """The picture's relative change, and why the loop ends here, if it does."""
        sample = self._sample(x)
        spread = float(np.std(sample))
        change = float(np.sqrt(np.mean((sample - self._last) ** 2)))
        change = change / spread if spread > 0 else 0.0
        self._last = sample
        if change <= tol:
            return change, f"relative change {change:.1e} after {k} iterations, tol={tol:g}"
        if k == n_iter:
            return change, f"n_iter={n_iter} reached at a relative change of {change:.1e}"
        return change, ""

    def told(self, tell: Tell | None, k: int, x: Array, stopped: str) -> bool:
        return tell is not None and tell(k, x, lambda: self.objective(x), stopped or None)

    def objective(self, x: Array) -> float | None:
        """Data term and priors; None if one of them has no value."""
        total = self.fidelity.value(self.A(x))
        for term in self.terms:
            v = x if term.prior.acts_on == "image" else self.gradient(x)
            value = term.prior.value(v)
            if value is None:
                return None
            total += float(np.mean(to_numpy(term.lam))) * value if term.lam is not None else value
        return total

    def _sample(self, x: Array) -> np.ndarray:
        step = max(1, math.floor((math.prod(x.shape) / SAMPLE) ** (1 / self.A.ndim)))
        return to_numpy(x[(..., *[slice(None, None, step)] * self.A.ndim)]).astype(float)
