r"""What is known of a sharp picture before it is seen: penalties, each a small value.

A prior is a function of coefficients v: of the picture's gradient, shape (ndim, ..., \*spatial), or
of the picture itself (`acts_on`). It has

- ``value(v)``, the penalty, and
- ``prox(v, step)``, ``argmin_z step value(z) + ½‖z − v‖²``.

The priors of gradients shrink v towards 0 without turning it, so their prox is ``v * factor(v,
step)``; the solvers' one pass over the gradient needs no more. `step` is a number or an array that
broadcasts to v without its first axis.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Protocol

import numpy as np

from deconv.arrays import Array, elementwise, is_numpy, like, namespace, number, to_numpy

__all__ = [
    "Box",
    "Denoiser",
    "GradientPrior",
    "HyperLaplacian",
    "L0Gradient",
    "Prior",
    "TotalVariation",
]


class Prior(Protocol):
    """What the splitting loops ask of a prior."""

    acts_on: ClassVar[str]

    def value(self, v: Array) -> float | None:
        """The penalty of the coefficients v; None where it has no formula."""

    def prox(self, v: Array, step: Any) -> Array:
        """``argmin_z step value(z) + ½‖z − v‖²``."""


class GradientPrior(ABC):
    """A penalty of the gradient v, shape ``(ndim, ..., *spatial)``, that shrinks it.

    References
    ----------
    Combettes and Wajs (2005), "Signal recovery by proximal forward-backward splitting",
    Multiscale Model. Simul. 4 (proximity operators).

    Examples
    --------
    A prior of one's own needs its `factor`, here the one of a squared gradient:

    >>> import numpy as np
    >>> from deconv.priors import GradientPrior
    >>> class Smooth(GradientPrior):
    ...     def factor(self, v, step):
    ...         return 1 / (1 + 2 * step)
    >>> Smooth().prox(np.array([3.0, 6.0]), 1.0)
    array([1., 2.])
    """

    acts_on: ClassVar[str] = "gradient"

    @abstractmethod
    def factor(self, v: Array, step: Any) -> Array:
        """What the prox multiplies v with; broadcasts to v."""

    def prox(self, v: Array, step: Any) -> Array:
        """``argmin_z step value(z) + ½‖z − v‖²``."""
        return v * self.factor(v, step)


@dataclass(frozen=True)
class TotalVariation(GradientPrior):
    """Isotropic total variation, ``sum |∇x|`` (Rudin, Osher and Fatemi 1992).

    With `vectorial`, one length over the axis before the spatial ones too, so that edges of all
    colours meet (Blomgren and Chan 1998).

    Parameters
    ----------
    vectorial : bool
        Whether the axis before the spatial ones holds colours that share their edges.

    References
    ----------
    Rudin, Osher and Fatemi (1992), Physica D 60; Blomgren and Chan (1998), IEEE TIP 7 (colour).

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.priors import TotalVariation
    >>> gradient = np.array([[3.0, 0.1], [4.0, 0.1]])
    >>> TotalVariation().prox(gradient, 1.0)
    array([[2.4, 0. ],
           [3.2, 0. ]])
    """

    vectorial: bool = False

    def value(self, v: Array) -> float:
        """Sum of the lengths of the gradient."""
        xp = namespace(v)
        return float(xp.sum(xp.sqrt(_square(v, self.vectorial))))

    def factor(self, v: Array, step: Any) -> Array:
        """``max(1 − step/|v|, 0)``: the length shrinks by `step`."""
        xp = namespace(v)
        least = step * step + float(xp.finfo(v.dtype).smallest_normal)
        # Lengths below the step are raised to it: no division by 0, nor in a derivative.
        return 1 - step / xp.sqrt(_at_least(_square(v, self.vectorial), least))


@dataclass(frozen=True)
class L0Gradient(GradientPrior):
    """Number of pixels whose gradient is not 0 (Xu, Lu, Xu and Jia 2011), over all colours.

    Parameters
    ----------
    vectorial : bool
        Whether the axis before the spatial ones holds colours that share their edges.

    References
    ----------
    Xu, Lu, Xu and Jia (2011), "Image smoothing via L0 gradient minimization", ACM TOG 30.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.priors import L0Gradient
    >>> L0Gradient().prox(np.array([[3.0, 1.0], [4.0, 0.5]]), 1.0)
    array([[3., 0.],
           [4., 0.]])
    """

    vectorial: bool = False

    def value(self, v: Array) -> float:
        """How many gradients are not 0."""
        xp = namespace(v)
        return float(xp.sum(xp.astype(_square(v, self.vectorial) > 0, v.dtype)))

    def factor(self, v: Array, step: Any) -> Array:
        """Keep where ``|v|² > 2 step``, else 0."""
        return namespace(v).astype(_square(v, self.vectorial) > 2 * step, v.dtype)


@dataclass(frozen=True)
class HyperLaplacian(GradientPrior):
    """``sum |∂x|^p`` over all derivatives, 0 < p <= 1 (Krishnan and Fergus 2009).

    Sharp pictures have p of 0.5 to 0.8; 1 is anisotropic total variation.

    Parameters
    ----------
    p : float
        The power, above 0 and at most 1.

    Raises
    ------
    TypeError, ValueError
        If `p` is outside.

    References
    ----------
    Krishnan and Fergus (2009), "Fast image deconvolution using hyper-Laplacian priors", NIPS 22.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.priors import HyperLaplacian
    >>> HyperLaplacian(0.5).prox(np.array([[0.5, 1.0, 9.0]]), 1.0).round(2)
    array([[0.  , 0.  , 8.83]])
    """

    p: float = 2 / 3

    def __post_init__(self) -> None:
        """Refuse p outside (0, 1]."""
        number(self.p, "p", low=0, high=1, strict=True)

    def value(self, v: Array) -> float:
        """Sum of the p-th powers."""
        xp = namespace(v)
        return float(xp.sum(xp.abs(v) ** self.p))

    def factor(self, v: Array, step: Any) -> Array:
        """The root of ``r − 1 + p (c/h)^(2−p) r^(p−1)`` over ``c = threshold/|v|``, 0 for c > 1.

        In units where step is 1 the penalty makes everything below a threshold h vanish; what is
        left of larger v is a smooth function of c alone, so it is read from a table.
        """
        xp = namespace(v)
        table, h = _table(self.p)
        threshold = h * step ** (1 / (2 - self.p))
        if is_numpy(v):
            polish = self._polish if v.dtype != np.float32 or self.p > 0.9 else None
            return _looked_up(v, threshold, table, polish)
        size = xp.abs(v)
        kept = size > threshold
        c = xp.where(kept, threshold / xp.where(kept, size, xp.ones_like(v)), xp.ones_like(v))
        place = xp.astype(c * (len(table) - 2), xp.int64)
        values = like(table, v)
        flat = xp.reshape(place, (-1,))
        low = xp.reshape(xp.take(values, flat, axis=0), place.shape)
        high = xp.reshape(xp.take(values, flat + 1, axis=0), place.shape)
        r = low + (c * (len(table) - 2) - xp.astype(place, v.dtype)) * (high - low)
        return xp.where(c < 1, self._polish(r, c), xp.zeros_like(c))

    def _polish(self, r: Array, c: Array) -> Array:
        """One Newton step from the table's value: exact to rounding, and differentiable."""
        p, h = self.p, _table(self.p)[1]
        weight = p * (c / h) ** (2 - p)
        r = namespace(r).clip(r, 1e-9, None)
        power = r ** (p - 1)
        return r - (r - 1 + weight * power) / (1 + (p - 1) * weight * power / r)


def _square(v: Array, vectorial: bool) -> Array:
    """``|v|²`` over the gradient's axis, and the axis before the spatial ones if `vectorial`."""
    ndim = v.shape[0]
    square = v[0, ...] * v[0, ...]
    for i in range(1, ndim):
        square = square + v[i, ...] * v[i, ...]
    if vectorial and square.ndim > ndim:
        square = namespace(v).sum(square, axis=-ndim - 1, keepdims=True)
    return square


def _at_least(x: Array, least: Any) -> Array:
    if is_numpy(x):
        # Clipping on both sides is vectorised; the maximum with a scalar is not.
        return np.clip(x, least, np.inf)
    xp = namespace(x)
    return xp.where(x > least, x, least + xp.zeros_like(x))


ENTRIES = 2048  # of the table: linear interpolation is exact to 1e-6 for p up to 0.9


@cache
def _table(p: float) -> tuple[np.ndarray, float]:
    """What remains of v at ``c = threshold/|v|`` in [0, 1], and the threshold h for step 1."""
    if 1 - p < 1e-6:
        return np.append(1 - np.linspace(0, 1, ENTRIES), 0.0), 1.0
    least = 2 * (1 - p) / (2 - p)  # what remains at the threshold
    h = (2 * (1 - p)) ** (1 / (2 - p)) / least
    c = np.linspace(0, 1, ENTRIES)
    weight = p * (c / h) ** (2 - p)
    r = np.ones_like(c)
    for _ in range(60):  # monotone from above: the function is convex there
        r -= (r - 1 + weight * r ** (p - 1)) / (1 + (p - 1) * weight * r ** (p - 2))
    return np.append(r, r[-1]), float(h)


def _looked_up(
    v: np.ndarray,
    threshold: Any,
    table: np.ndarray,
    polish: Callable[[np.ndarray, np.ndarray], np.ndarray] | None,
) -> np.ndarray:
    """`HyperLaplacian.factor` from the table, where anything is left at all: a minority."""
    size = np.abs(v)
    kept = np.flatnonzero(size > threshold)
    if np.ndim(threshold):
        threshold = np.broadcast_to(threshold, v.shape).reshape(-1)[kept]
    c = (threshold / size.reshape(-1)[kept]).astype(v.dtype, copy=False)
    position = c * (len(table) - 2)
    place = position.astype(np.intp)
    position -= place.astype(v.dtype)
    table = table.astype(v.dtype, copy=False)
    r = np.diff(table).take(place)
    r *= position
    r += table.take(place)
    if polish is not None:
        r = polish(r, c)
    factor = np.zeros(v.shape, v.dtype)
    factor.reshape(-1)[kept] = r
    return factor


@dataclass(frozen=True)
class Box:
    """Values within [low, high]; ``Box(0)`` is positivity.

    Parameters
    ----------
    low, high : float
        The ends, infinite where there is none.

    Raises
    ------
    ValueError
        If `low` is not below `high`.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.priors import Box
    >>> Box(0, 1).prox(np.array([-0.5, 0.5, 1.5]))
    array([0. , 0.5, 1. ])
    """

    low: float = -math.inf
    high: float = math.inf
    acts_on: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        """Refuse an empty box."""
        if not self.low < self.high:
            raise ValueError(f"bounds=({self.low!r}, {self.high!r}); expected low below high")

    def value(self, v: Array) -> float:
        """0 inside, infinite outside."""
        xp = namespace(v)
        return 0.0 if bool(xp.all((v >= self.low) & (v <= self.high))) else math.inf

    def prox(self, v: Array, step: Any = None) -> Array:
        """The nearest value inside."""
        xp = namespace(v)
        low = self.low if self.low > -math.inf else None
        high = self.high if self.high < math.inf else None
        return elementwise(lambda a: xp.clip(a, low, high), v)


@dataclass(frozen=True)
class Denoiser:
    """A denoiser ``denoise(v, sigma)`` in the place of a prox: plug and play.

    Where a denoiser is the best guess under white noise of deviation sigma, it is the prox of an
    unknown prior with ``step = sigma²`` (Venkatakrishnan et al. 2013).

    Parameters
    ----------
    denoise : callable
        ``denoise(v, sigma)``, with a result of the shape of `v`.

    References
    ----------
    Venkatakrishnan, Bouman and Wohlberg (2013), "Plug-and-play priors for model based
    reconstruction", GlobalSIP.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.priors import Denoiser
    >>> Denoiser(lambda v, sigma: v.clip(sigma)).prox(np.array([0.0, 1.0]), 0.25)
    array([0.5, 1. ])
    """

    denoise: Callable[[Array, float], Array]
    acts_on: ClassVar[str] = "image"

    def value(self, v: Array) -> None:
        """None: the prior has no formula."""

    def prox(self, v: Array, step: Any) -> Array:
        """`v` denoised as if it had noise of deviation ``sqrt(step)``.

        Raises
        ------
        ValueError
            If the denoiser changes the shape, or returns NaN or infinite values.
        """
        name = getattr(self.denoise, "__name__", type(self.denoise).__name__)
        # A denoiser that works in place must not reach the solver's own memory.
        result = self.denoise(v.copy() if is_numpy(v) else v, math.sqrt(float(to_numpy(step))))
        got = tuple(getattr(result, "shape", ()))
        if got != tuple(v.shape):
            raise ValueError(
                f"denoise={name} returned shape {got} for an image of shape {tuple(v.shape)}; "
                f"expected the same shape"
            )
        result = like(result, v)
        xp = namespace(result)
        if not bool(xp.all(xp.isfinite(result))):
            raise ValueError(
                f"denoise={name} returned NaN or infinite values; expected finite ones"
            )
        return result
