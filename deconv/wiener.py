"""Wiener deconvolution: the linear estimate with the least mean squared error, weight found."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from deconv import evidence
from deconv.arrays import (
    Array,
    choose,
    detached,
    device,
    elementwise,
    floating,
    is_numpy,
    namespace,
    number,
    to_numpy,
    whole,
)
from deconv.fft import frequencies
from deconv.operators import Blur, observe
from deconv.operators.masked import masked_solve
from deconv.progress import Callback, report
from deconv.spectrum import signal_power

__all__ = ["wiener"]

SPECTRA = ("fitted", "power-law", "constant", "laplacian")
RULES = ("likelihood", "gcv", "sure")

# The masked problem's steps stop here: 6 to 10 on photographs, within 0.05 dB of the limit.
TOLERANCE = 1.5e-4
MOST_STEPS = 100


def wiener(
    image: Any,
    psf: Any,
    *,
    noise: Any = None,
    spectrum: str | Array | Callable[..., Array] = "fitted",
    weight: float | str | None = None,
    boundary: str = "unknown",
    weights: Any = None,
    channel_axis: int | None = None,
    n_iter: int | None = None,
    callback: Callback | None = None,
) -> Array:
    r"""Restore an image blurred by a known psf, by one regularised division of spectra.

    .. math:: \hat x = \mathcal F^{-1}\!\left[\frac{\bar K\, Y}{|K|^2 + R}\right], \qquad
              R = \frac{\text{noise power}}{\text{signal power}}

    With nothing but the image and the psf, noise and signal power are found from the image by its
    marginal likelihood (`deconv.evidence`). Beyond the frame, and where pixels are missing, the
    same quadratic problem is solved by a few conjugate-gradient steps that start from the formula.

    Parameters
    ----------
    image : array (..., Y, X), or of 1 to 3 spatial axes
        Blurred image in any unit. NaN pixels are unobserved.
    psf : array or operator
        Sums to 1, centre at ``size // 2``. With a `channel_axis` it may have one psf per channel.
    noise : float or array (C,), optional
        Standard deviation of the noise in image units; estimated when None.
    spectrum : {"power-law", "constant", "laplacian"} or callable or array
        Shape of R over frequency: ``f0^2 + |f|^2`` (natural images), 1, or the squared Laplacian
        (Hunt 1973). A callable maps the frequencies along each axis, in cycles per pixel and
        broadcastable, to the signal's power in squared image units times pixels; an array gives
        that power on the half spectrum of the operator's domain. R is then noise^2 / power.
    weight : float or {"likelihood", "gcv", "sure"}, optional
        Multiplier of the spectrum's shape, above 0, or the rule that finds it. The default is
        the likelihood for "power-law", and "gcv" for the other two. A callable or array
        `spectrum` has its weight already: ``noise^2``.
    boundary : {"unknown", "periodic", "zero"}
        What lies beyond the frame; see `deconv.Blur`.
    weights : array, optional
        Weight in [0, 1] of each pixel; 0 for unobserved ones.
    channel_axis : int, optional
        Axis that holds colours or separate images. Noise and weight are found for each.
    n_iter : int, optional
        Conjugate-gradient steps for unknown boundaries and weights; found when None.
    callback : callable, optional
        Called with a `deconv.progress.State` after each of these steps; may raise StopIteration.

    Returns
    -------
    array
        Restored image with the shape, floating dtype and scale of `image`.

    Raises
    ------
    TypeError, ValueError
        For bad input, naming the argument, before any work is done.

    References
    ----------
    Wiener (1949); Hunt (1973), IEEE Trans. Computers 22; Reeves (2005), IEEE Trans. Image Process.
    14 (unknown boundaries).

    Examples
    --------
    >>> import numpy as np, deconv
    >>> rng = np.random.default_rng(0)
    >>> scene = np.kron(rng.random((8, 8)), np.ones((8, 8)))
    >>> A = deconv.Blur(deconv.psf.gaussian(1.5), scene.shape, boundary="periodic")
    >>> restored = deconv.wiener(A(scene), A.psf, boundary="periodic")
    >>> bool(np.abs(restored - scene).mean() < np.abs(A(scene) - scene).mean() / 2)
    True
    """
    if isinstance(spectrum, str):
        choose(spectrum, SPECTRA, "spectrum")
    if isinstance(weight, str):
        choose(weight, RULES, "weight")
    elif weight is not None:
        weight = number(weight, "weight", low=0, strict=True)
    if n_iter is not None:
        whole(n_iter, "n_iter")
    seen = observe(image, psf, boundary=boundary, weights=weights, channel_axis=channel_axis)
    A, y = seen.A, seen.y
    if noise is not None:
        noise = _checked_noise(noise, tuple(y.shape[: -A.ndim]))
    ratio = noise_to_signal(A, y, spectrum, weight, noise)
    if A.exact:
        return seen.finish(A.image(_divide(A, y, ratio), overwrite=True))
    solution = masked_solve(
        A,
        y,
        sum(ratio[1:], ratio[0]),
        tol=TOLERANCE if n_iter is None else 0.0,
        n_iter=MOST_STEPS if n_iter is None else n_iter,
        callback=report(callback, n_iter, lambda X: seen.finish(A.image(X))),
    )
    return seen.finish(A.image(solution.spectrum, overwrite=True))


def _divide(A: Blur, y: Array, ratio: list[Array]) -> Array:
    """The formula itself, in one pass; `ratio` is a sum of terms that broadcast."""
    xp = namespace(A.otf)

    def formula(k: Array, s: Array, *terms: Array) -> Array:
        adjoint = xp.conj(k)
        inverse = 1 / (xp.real(adjoint * k) + sum(terms[1:], terms[0]))
        return adjoint * s * inverse

    spectrum = A.transform(y)
    own = is_numpy(spectrum) and spectrum.ndim >= A.otf.ndim
    return elementwise(formula, A.otf, spectrum, *ratio, out=spectrum if own else None)


def noise_to_signal(
    A: Blur,
    y: Array,
    spectrum: str | Array | Callable[..., Array] = "fitted",
    weight: float | str | None = None,
    noise: Any = None,
) -> list[Array]:
    """R on the half spectrum of the domain, as a sum of terms that broadcast to it.

    Arguments as in `wiener`; the terms share namespace and dtype with the operator's psf.
    """
    if isinstance(spectrum, str) and spectrum == "fitted":
        return [_fitted(A, y, weight, noise)]
    axes = frequencies(A.domain, A.psf)
    f0 = 0.5 / math.prod(A.shape) ** (1 / A.ndim)
    if not isinstance(spectrum, str):
        return [_column(_given(A, y, noise) ** 2, A) / _signal_power(A, spectrum, axes)]
    if spectrum == "power-law":
        shape = [f * f for f in axes]
        shape[-1] = shape[-1] + f0**2
    elif spectrum == "laplacian":
        xp = namespace(A.psf)
        laplacian = sum(2 - 2 * xp.cos(2 * np.pi * f) for f in axes)
        shape = [laplacian**2]
    else:
        shape = [axes[0] * 0 + 1]
    if isinstance(weight, float):
        scale = np.asarray(weight)
    else:
        scale = _found(A, y, spectrum, shape, weight, noise)
    column = _column(scale, A)
    return [column * term for term in shape]


def _fitted(A: Blur, y: Array, weight: float | str | None, noise: Any) -> Array:
    """sigma^2 / S with the spectrum that fits the image best, times the weight."""
    looks = _looks(A)
    y, psf = detached(y), detached(A.psf)
    seen = evidence.estimate(y, psf, sigma=noise, shape=True, **looks)
    theta = np.array(seen.shape)
    theta[..., 0] -= 2 * np.log(seen.sigma)
    if isinstance(weight, float):
        theta[..., 0] -= math.log(weight)
    f0 = float(np.ravel(seen.f0)[0])
    ratio = signal_power(theta, f0, A.domain, A.psf, exponent=-1.0)
    if weight == "gcv":
        ratio = ratio * _column(evidence.gcv(y, psf, base=ratio, **looks), A)
    elif weight == "sure":
        ratio = ratio * _column(evidence.sure(y, psf, sigma=seen.sigma, base=ratio, **looks), A)
    return ratio


def _found(
    A: Blur, y: Array, spectrum: str, shape: list[Array], rule: str | None, noise: Any
) -> np.ndarray:
    """The weight by the named rule, one per leading index."""
    looks = _looks(A)
    rule = rule or ("likelihood" if spectrum == "power-law" else "gcv")
    if rule == "likelihood":
        if spectrum != "power-law":
            raise ValueError(
                f"weight='likelihood' needs spectrum='power-law', not {spectrum!r}; pass 'gcv', "
                f"'sure' or a number"
            )
        seen = evidence.estimate(y, A.psf, sigma=noise, **looks)
        return np.asarray(seen.sigma**2 / np.maximum(seen.power, np.finfo(float).tiny))
    base = sum(shape[1:], shape[0]) + 0 * sum(frequencies(A.domain, A.psf))
    if rule == "gcv":
        return evidence.gcv(y, A.psf, base=base, **looks)
    return evidence.sure(y, A.psf, sigma=_given(A, y, noise), base=base, **looks)


def _looks(A: Blur) -> Any:
    """How `deconv.evidence` should look at images of this operator."""
    return {"weights": A.weights, "ndim": A.ndim, "periodic": A.boundary == "periodic"}


def _checked_noise(noise: Any, lead: tuple[int, ...]) -> np.ndarray:
    """The given standard deviation, one number or one per leading index."""
    values: np.ndarray = to_numpy(floating(noise, "noise")).astype(float)
    if not (values >= 0).all():
        raise ValueError(f"noise={noise!r}; expected a standard deviation of at least 0")
    if values.shape not in ((), lead):
        raise ValueError(f"noise has shape {values.shape}; expected a number or shape {lead}")
    return values


def _given(A: Blur, y: Array, noise: Any) -> np.ndarray:
    """The given noise, or the estimate."""
    if noise is not None:
        return np.asarray(noise, float)
    return evidence.estimate(y, A.psf, **_looks(A)).sigma


def _signal_power(A: Blur, spectrum: Any, axes: tuple[Array, ...]) -> Array:
    power = spectrum(*axes) if callable(spectrum) else spectrum
    half = (*A.domain[:-1], A.domain[-1] // 2 + 1)
    got = tuple(getattr(power, "shape", ()))
    if len(got) < A.ndim or any(n not in (1, m) for n, m in zip(got[-A.ndim :], half, strict=True)):
        raise ValueError(
            f"spectrum has shape {got}; expected the half spectrum {half} of the domain, or a "
            f"callable of the frequencies"
        )
    xp = namespace(A.psf)
    if not bool(xp.all(power > 0)):
        raise ValueError("spectrum is not positive everywhere; expected the signal's power")
    return power


def _column(values: np.ndarray, A: Blur) -> Array:
    """Values over the leading axes, shaped to broadcast to half spectra."""
    column = values.reshape(*values.shape, *[1] * A.ndim)
    if is_numpy(A.psf):
        return column.astype(A.psf.dtype)
    xp = namespace(A.psf)
    return xp.asarray(column.tolist(), dtype=A.psf.dtype, device=device(A.psf))
