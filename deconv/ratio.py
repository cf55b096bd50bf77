"""The Wiener filter's weight: the ratio of noise to signal power, given or found from the image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from deconv import evidence
from deconv.arrays import (
    Array,
    detached,
    device,
    elementwise,
    floating,
    is_numpy,
    namespace,
    to_numpy,
)
from deconv.fft import frequencies, parseval_weights
from deconv.operators import Blur
from deconv.spectrum import signal_power
from deconv.whittle import LOWEST

__all__ = ["RULES", "SPECTRA", "checked_noise", "noise_to_signal", "signal_to_noise", "with_noise"]

SPECTRA = ("fitted", "power-law", "constant", "laplacian")
RULES = ("likelihood", "gcv", "sure")
# A frequency is as good as suppressed at this ratio; below rounding it would divide by nothing.
MOST_RATIO = 1e6
# Frequencies below LOWEST cycles per frame are too few to be fitted, and hold little noise: they
# count as known at least this well, or a scene as smooth as the frame would be taken for none.
MOST_SLOW = 1e-3


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
    terms = [column * term for term in shape]
    # A given weight is the user's; the terms are joined only where it matters.
    found = spectrum == "power-law" and not isinstance(weight, float)
    if found and float(np.max(scale)) * (LOWEST / min(A.shape)) ** 2 > MOST_SLOW:
        return [_slow_kept(A, sum(terms[1:], terms[0]))]
    return terms


def signal_to_noise(A: Blur, ratio: Array) -> tuple[np.ndarray, np.ndarray]:
    """Power of the blurred scene over the noise's that R implies; and the same of gradients.

    One value for each leading index. The noise of the gradients is taken as much blurred as the
    scene, so that they tell how well the frequencies are known that the psf passes.
    """
    xp, axes = namespace(A.psf), tuple(range(-A.ndim, 0))
    counts = parseval_weights(A.domain[-1], A.psf)
    f = frequencies(A.domain, A.psf)

    def mean(weight: Callable[..., Array], *arrays: Array) -> np.ndarray:
        total = xp.sum(elementwise(weight, A.power, counts, *arrays), axis=axes)
        return np.asarray(to_numpy(detached(total)), float) / math.prod(A.domain)

    def known(p: Array, n: Array, r: Array, *f: Array) -> Array:
        varies = sum(abs(a) for a in f) > 0
        return xp.where(varies, n * p, 0 * r) / xp.where(varies, r, xp.ones_like(r))

    def steep(*f: Array) -> Array:
        return sum(a * a for a in f[1:]) + f[0] * f[0]

    seen = mean(known, ratio, *f)
    gradient = mean(lambda p, n, r, *f: known(p, n, r, *f) * steep(*f), ratio, *f)
    return seen, gradient / mean(lambda p, n, *f: n * p * steep(*f), *f)


def with_noise(A: Blur, ratio: Array, factor: np.ndarray) -> Array:
    """R with `factor` times the noise power, one per leading index, but for the mean."""
    if (factor == 1).all():
        return ratio
    xp = namespace(A.psf)

    def louder(r: Array, times: Array, *f: Array) -> Array:
        return xp.where(sum(abs(a) for a in f) > 0, times * r, r)

    return elementwise(louder, ratio, _column(factor, A), *frequencies(A.domain, A.psf))


def _fitted(A: Blur, y: Array, weight: float | str | None, noise: Any) -> Array:
    """sigma^2 / S with the spectrum that fits the image best, times the weight."""
    look = _look(A, y)
    seen = evidence.estimate(**look, sigma=noise, shape=True)
    theta = np.array(seen.shape)
    theta[..., 0] -= 2 * np.log(seen.sigma)
    if isinstance(weight, float):
        theta[..., 0] -= math.log(weight)
    f0 = float(np.ravel(seen.f0)[0])
    xp = namespace(A.psf)
    ratio = signal_power(theta, f0, A.domain, A.psf, exponent=-1.0)
    if not isinstance(weight, float):
        ratio = _slow_kept(A, ratio)
    ratio = _with_frame(A, y, ratio, seen.sigma)
    least = float(xp.finfo(ratio.dtype).eps) ** 2
    # The mean is no matter of spectra: it is kept, however little else there is.
    ratio = elementwise(
        lambda r, *f: xp.clip(xp.where(sum(abs(a) for a in f) > 0, r, 0 * r), least, MOST_RATIO),
        ratio,
        *frequencies(A.domain, A.psf),
        out=ratio,
    )
    if weight == "gcv":
        ratio = ratio * _column(evidence.gcv(**look, base=ratio), A)
    elif weight == "sure":
        ratio = ratio * _column(evidence.sure(**look, sigma=seen.sigma, base=ratio), A)
    return ratio


def _slow_kept(A: Blur, ratio: Array) -> Array:
    """`ratio`, at most `MOST_SLOW` for waves that are too slow for the spectrum to be fitted."""
    xp = namespace(A.psf)

    def kept(r: Array, *f: Array) -> Array:
        cycles = sum((n * a) ** 2 for n, a in zip(A.shape, f, strict=True))
        return xp.where(cycles < LOWEST**2, xp.clip(r, None, MOST_SLOW), r)

    return elementwise(kept, ratio, *frequencies(A.domain, A.psf), out=ratio)


def _found(
    A: Blur, y: Array, spectrum: str, shape: list[Array], rule: str | None, noise: Any
) -> np.ndarray:
    """The weight by the named rule, one per leading index."""
    look = _look(A, y)
    rule = rule or ("likelihood" if spectrum == "power-law" else "gcv")
    if rule == "likelihood":
        if spectrum != "power-law":
            raise ValueError(
                f"weight='likelihood' needs spectrum='power-law', not {spectrum!r}; pass 'gcv', "
                f"'sure' or a number"
            )
        seen = evidence.estimate(**look, sigma=noise)
        return np.asarray(seen.sigma**2 / np.maximum(seen.power, np.finfo(float).tiny))
    base = sum(shape[1:], shape[0]) + 0 * sum(frequencies(A.domain, A.psf))
    if rule == "gcv":
        return evidence.gcv(**look, base=base)
    return evidence.sure(**look, sigma=_given(A, y, noise), base=base)


def _look(A: Blur, y: Array) -> Any:
    """The image as `deconv.evidence` should see it: one period of a scene, or a window on one."""
    return {
        "image": detached(y),
        "psf": detached(A.psf),
        "weights": A.weights,
        "ndim": A.ndim,
        "periodic": A.boundary == "periodic",
    }


def _with_frame(A: Blur, y: Array, ratio: Array, sigma: np.ndarray) -> Array:
    """`ratio` of a scene that ends at the frame: its mean level has a spectrum too.

    A window on the image does not show that edge, and the light cut off at it is no noise-free
    period either; so the spectrum of a bright rectangle is added to the signal's.
    """
    if A.boundary != "zero":
        return ratio
    xp, axes = namespace(A.psf), tuple(range(-A.ndim, 0))
    level = to_numpy(detached(y if A.weights is None else A.weights * y)).mean(axis=axes)
    if A.weights is not None:
        level = level / np.maximum(to_numpy(A.weights).mean(axis=axes), 1e-12)
    # No picture ends at its frame as sharply as to be trusted beyond a thousandth of its level.
    power = _column(np.minimum(level / sigma, 1e3) ** 2 / math.prod(A.shape), A)
    sides = []
    for n, f in zip(A.shape, frequencies(A.domain, A.psf), strict=True):
        wave = xp.sin(np.pi * f)
        still = wave == 0
        side = xp.sin(np.pi * n * f) / xp.where(still, xp.ones_like(wave), wave)
        sides.append(xp.where(still, n + 0 * side, side) ** 2)
    return elementwise(
        lambda r, p, *s: 1 / (1 / r + p * math.prod(s)), ratio, power, *sides, out=ratio
    )


def checked_noise(noise: Any, lead: tuple[int, ...], name: str = "noise") -> np.ndarray:
    """The given standard deviation, one number or one per leading index."""
    values: np.ndarray = to_numpy(floating(noise, name)).astype(float)
    if not (values >= 0).all():
        raise ValueError(f"{name}={noise!r}; expected a standard deviation of at least 0")
    if values.shape not in ((), lead):
        raise ValueError(f"{name} has shape {values.shape}; expected a number or shape {lead}")
    return values


def _given(A: Blur, y: Array, noise: Any) -> np.ndarray:
    """The given noise, or the estimate."""
    if noise is not None:
        return np.asarray(noise, float)
    return evidence.estimate(**_look(A, y)).sigma


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
