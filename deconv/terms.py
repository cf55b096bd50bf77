"""What the splitting loops share: priors with weights and penalties, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from deconv.arrays import Array, device, elementwise, like, namespace, to_numpy
from deconv.fidelity import Fidelity
from deconv.gradient import Gradient
from deconv.operators.frame import Frame
from deconv.operators.masked import filled
from deconv.priors import Box, Prior

__all__ = ["Loop", "Tell", "Term"]

# The change of the picture is measured on about this many pixels, spread evenly over it.
SAMPLE = 1 << 16
# Penalty of the darkness beyond a zero boundary, against the data's.
DARK_RHO = 0.2

Tell = Callable[..., bool]


class Term(NamedTuple):
    """A prior, its weight in the objective, and its penalty rho: a number, for HQS one per stage.

    Weight and penalty may be arrays over the leading axes, shaped to broadcast to images. Without a
    weight the prior is a constraint.

    Attributes
    ----------
    prior : Prior
        A prior of `deconv.priors`, or anything with its members.
    lam : float, array or None
        Weight in the objective.
    rho : float, array or sequence of these
        Penalty; for `deconv.splitting.hqs` one per stage.

    Examples
    --------
    >>> from deconv.priors import Box, TotalVariation
    >>> from deconv.splitting import Term
    >>> smooth, positive = Term(TotalVariation(), 1e-3, 0.1), Term(Box(0), None, 0.2)
    >>> positive.lam is None
    True
    """

    prior: Prior
    lam: Any
    rho: Any


@dataclass(frozen=True)
class _Dark:
    """Nothing shines beyond the frame; within it, the bounds hold."""

    frame: Frame
    bounds: tuple[Any, ...]
    acts_on: ClassVar[str] = "image"

    def value(self, v: Array) -> float:
        return 0.0

    def prox(self, v: Array, step: Any = None) -> Array:
        """`v` with zeros beyond the frame."""
        for box in self.bounds:
            v = box.prox(v)
        return self.frame.clear_outside(1 * v)


class Loop:
    """What both loops share: the gradient, the terms, the first picture, when to stop."""

    def __init__(
        self,
        fidelity: Fidelity,
        terms: Sequence[Term],
        start: Array | None,
        *,
        dual: bool,
    ) -> None:
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
        # HQS would tie x to its last value by a penalty on a constraint; it projects instead.
        self.constraints = [] if dual else [term.prior for term in terms if term.lam is None]
        self.terms = [term for term in terms if dual or term.lam is not None]
        if A.boundary == "zero" and dual:
            boxes = [term for term in self.terms if isinstance(term.prior, Box)]
            self.terms = [term for term in self.terms if term not in boxes]
            dark = _Dark(A.frame, tuple(term.prior for term in boxes))
            self.terms.append(Term(dark, None, DARK_RHO))
        x = A.embed(filled(A, y)) if start is None else start
        # The loops write into x, which may be the caller's.
        self.x = 1 * x
        self._last = self._sample(self.x)
        self.k = 1

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
                prior: Any = term.prior
                factor = partial(prior.factor, step=term.lam / rho)
                part, u = self.gradient.split(x, factor, u, scale=scale, out=out)
                out = None
            total = part if total is None else elementwise(lambda a, b: a + b, total, part)
            new.append(u)
        return total, new

    def prox(self, term: Term, v: Array, rho: Any) -> Array:
        """The term's prox; what goes wrong in it says in which iteration."""
        try:
            return term.prior.prox(v, None if term.lam is None else term.lam / rho)
        except ValueError as error:
            raise ValueError(f"{error} (iteration {self.k})") from None

    def within(self, x: Array) -> Array:
        """`x` projected on the constraints that are no terms."""
        for constraint in self.constraints:
            x = constraint.prox(x, None)
        return x

    def judge(self, x: Array, k: int, n_iter: int, tol: float) -> tuple[float, str]:
        """The picture's relative change, and why the loop ends here, if it does."""
        sample = self._sample(x)
        spread = float(np.std(sample))
        change = float(np.sqrt(np.mean((sample - self._last) ** 2)))
        change = change / spread if spread > 0 else 0.0
        self._last = sample
        self.k = k + 1
        if change <= tol:
            return change, f"relative change {change:.1e} after {k} iterations, tol={tol:g}"
        if k == n_iter:
            return change, f"n_iter={n_iter} reached at a relative change of {change:.1e}"
        return change, ""

    def told(
        self, tell: Tell | None, k: int, x: Array, stopped: str, rhos: Sequence[Any] | None = None
    ) -> bool:
        """Whether the callback says stop."""
        return tell is not None and tell(k, x, lambda: self.objective(x, rhos), stopped or None)

    def objective(self, x: Array, rhos: Sequence[Any] | None = None) -> float | None:
        """Data term and priors; with penalties, of the copies z and their distance from x.

        HQS gives its last penalties, so that its stages are measured alike; a copy has gradients
        that are exactly 0, x has none. None if a prior has no value. Bounds count as kept.
        """
        total = self.fidelity.value(self.A(x))
        for i, term in enumerate(self.terms):
            if term.lam is None:
                continue
            v = x if term.prior.acts_on == "image" else self.gradient(x)
            z = v if rhos is None else term.prior.prox(v, term.lam / rhos[i])
            value = _weighted_value(term, z, self.A.ndim)
            if value is None:
                return None
            if rhos is not None:
                value += 0.5 * float(namespace(v).sum(rhos[i] * (v - z) ** 2))
            total += value
        return total

    def _sample(self, x: Array) -> np.ndarray:
        step = max(1, math.floor((math.prod(x.shape) / SAMPLE) ** (1 / self.A.ndim)))
        return to_numpy(x[(..., *[slice(None, None, step)] * self.A.ndim)]).astype(float)


def _weighted_value(term: Term, z: Array, ndim: int) -> float | None:
    """``lam value(z)``, summed over the leading axes if lam differs along them."""
    if not hasattr(term.lam, "shape"):
        value = term.prior.value(z)
        return None if value is None else term.lam * value
    weights = to_numpy(term.lam).reshape(term.lam.shape[:-ndim])
    values = [
        weights[i] * term.prior.value(z[(slice(None), *i, ...)]) for i in np.ndindex(*weights.shape)
    ]
    return float(sum(values))
