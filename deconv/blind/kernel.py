"""One psf from a sharp picture and its blurred one: the step that all blind estimators share.

Gradients are compared, not values: they are what the blur changes most, and their noise is nearly
white. Only the strong ones of the sharp picture take part; weak ones are texture that the image
step has flattened or invented.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from scipy.ndimage import label

from deconv.fft import centred_rfftn, fast_shape, irfftn, rfftn

__all__ = [
    "Gradients",
    "KernelStep",
    "Operator",
    "centred",
    "conjugate_gradients",
    "enough",
    "gradients",
    "least_kept",
    "normal_equations",
    "normalised",
    "pruned",
    "selected",
    "strong",
    "threshold",
]

# What conjugate gradients ask of a normal matrix: its product with a psf.
Operator: TypeAlias = Callable[[np.ndarray], np.ndarray]

NEIGHBOURS = np.ones((3, 3), int)
# Each of four bins of orientation keeps at least so many pixels per pixel of the psf's side.
KEPT, LEAST_KEPT = 20, 10
CG_STEPS, CG_TOL = 20, 1e-5
# Residuals of their own weights need transforms of the picture's size: fewer steps, and this many
# rounds of reweighting.
MASKED_STEPS, ROBUST_ROUNDS = 12, 2


def gradients(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences along y and x where both neighbours are inside: each (Y - 1, X - 1)."""
    corner = image[:-1, :-1]
    return image[1:, :-1] - corner, image[:-1, 1:] - corner


def threshold(image: np.ndarray, shape: tuple[int, int]) -> float:
    """The squared gradient above which every orientation keeps enough pixels of `image`.

    Edges of one direction alone would leave the psf unknown along them, so the poorest of four bins
    of 45 degrees sets the threshold (Cho and Lee 2009).
    """
    dy, dx = gradients(image)
    return enough(dx * dx + dy * dy, (dy, dx), least_kept(shape))


def least_kept(shape: tuple[int, int]) -> int:
    """Gradients of each orientation that the step for a psf of `shape` asks for."""
    return max(KEPT * max(shape), LEAST_KEPT)


def enough(value: np.ndarray, parts: tuple[np.ndarray, np.ndarray], least: int) -> float:
    """The threshold of `value` that keeps `least` pixels or more of each gradient's orientation."""
    dy, dx = parts
    bins = np.floor(np.arctan2(dy, dx) / (np.pi / 4)).astype(int) % 4
    found = []
    for i in range(4):
        values = value[bins == i]
        found.append(np.partition(values, -least)[-least] if values.size >= least else 0.0)
    return float(min(found))


def selected(image: np.ndarray, tau: float) -> tuple[tuple[np.ndarray, np.ndarray], float]:
    """Gradients of `image` whose square is at least `tau`, and the tau that left some."""
    return strong(gradients(image), tau)


def strong(
    parts: tuple[np.ndarray, np.ndarray], tau: float
) -> tuple[tuple[np.ndarray, np.ndarray], float]:
    """Gradients with 0 where their square is below `tau`, and the tau that left some."""
    dy, dx = parts
    power = dx * dx + dy * dy
    strongest = float(power.max())
    while tau > strongest > 0:
        tau *= 0.81
    keep = power >= tau
    return (dy * keep, dx * keep), tau


def normalised(psf: np.ndarray) -> np.ndarray:
    """`psf` without its negative part, divided by its sum; one pixel where nothing is left."""
    psf = np.maximum(psf, 0)
    total = float(psf.sum())
    if not total > 0:
        pixel = np.zeros(psf.shape, np.float32)
        pixel[psf.shape[0] // 2, psf.shape[1] // 2] = 1
        return pixel
    return (psf / np.float32(total)).astype(np.float32, copy=False)


def pruned(psf: np.ndarray, cut: float, least: float) -> np.ndarray:
    """`psf` without what is below `cut` of its maximum, and without faint islands.

    Parameters
    ----------
    psf : array (y, x)
    cut : float
        Part of the maximum.
    least : float
        Pixels that hang together, corners included, stay if they hold this part of the light.
    """
    psf = normalised(np.where(psf >= cut * psf.max(), psf, 0))
    islands, count = label(psf > 0, NEIGHBOURS)
    if count > 1:
        mass = np.bincount(islands.reshape(-1), psf.reshape(-1), count + 1)
        keep = mass >= min(least, mass[1:].max())
        keep[0] = False
        psf = normalised(np.where(keep[islands], psf, 0))
    return psf


def centred(psf: np.ndarray) -> np.ndarray:
    """`psf` moved by whole pixels so that its centroid is at the middle; what leaves is lost."""
    lost = True
    while lost:
        out = np.zeros_like(psf)
        here, there = [], []
        for axis, n in enumerate(psf.shape):
            line = psf.sum(axis=1 - axis)
            step = round(n // 2 - float(line @ np.arange(n)) / float(line.sum()))
            here.append(slice(max(0, -step), n - max(0, step)))
            there.append(slice(max(0, step), n - max(0, -step)))
        out[tuple(there)] = psf[tuple(here)]
        # The centroid of what is left is another one.
        lost = bool(np.count_nonzero(out) < np.count_nonzero(psf))
        psf = normalised(out)
    return psf


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of the blurred picture, in a domain that holds them and the psf without wrapping.

    Attributes
    ----------
    parts : tuple of array (Y - 1, X - 1)
    shape : (int, int)
        Of the psf, odd.
    """

    parts: tuple[np.ndarray, np.ndarray]
    shape: tuple[int, int]

    @cached_property
    def domain(self) -> tuple[int, ...]:
        """Shape of the transforms."""
        return fast_shape(
            tuple(n + k - 1 for n, k in zip(self.parts[0].shape, self.shape, strict=True))
        )

    @cached_property
    def spectra(self) -> list[np.ndarray]:
        """Half spectra of the gradients."""
        return [self.spectrum(part) for part in self.parts]

    def spectrum(self, part: np.ndarray) -> np.ndarray:
        """Half spectrum of an array that starts at the domain's origin."""
        padded = np.zeros(self.domain, np.float32)
        padded[: part.shape[0], : part.shape[1]] = part
        spectrum: np.ndarray = rfftn(padded, 2, within=(slice(0, part.shape[0]),))
        return spectrum


@dataclass(frozen=True)
class KernelStep:
    r"""Least squares for the psf in the gradients' domain.

    .. math:: \min_k \sum_d \|\partial_d x * k - \partial_d y\|^2 + \gamma \|k - k_0\|^2

    Attributes
    ----------
    gamma : float
        The weight, in squared units of pictures on [0, 1].
    cut : float
        What is below this part of the psf's maximum is taken for noise.
    island : float
        Parts of the psf that hang on nothing go if they hold less than this part of its light.
    robust : float or None
        Gradients that the psf leaves unexplained by more than about this, on [0, 1], count little
        (Welsch's function; Lu et al. 2023); None counts all alike.
    anchor : array or None
        The psf k_0 that is nearly right, of the shape that is sought; 0 when None.
    """

    gamma: float = 2.0
    cut: float = 0.05
    island: float = 0.1
    robust: float | None = None
    anchor: np.ndarray | None = None

    def __call__(
        self,
        sharp: tuple[np.ndarray, np.ndarray],
        blurred: Gradients,
        weights: np.ndarray | None = None,
        start: np.ndarray | None = None,
    ) -> np.ndarray:
        """The psf, cleaned, of ``blurred.shape``.

        Parameters
        ----------
        sharp : tuple of array (Y - 1, X - 1)
            Gradients of the sharp picture, weak ones set to 0.
        blurred : Gradients
        weights : array (Y - 1, X - 1), optional
            In [0, 1], of the squared residuals; 0 where a gradient was not observed.
        start : array, optional
            The psf whose residuals say what is an outlier; an even psf when None.
        """
        if weights is None and self.robust is None:
            psf = self.solve(*normal_equations(sharp, blurred), CG_STEPS)
        else:
            psf = _Masked(sharp, blurred, weights).solve(self, start)
        return pruned(psf, self.cut, self.island)

    def solve(self, normal: Operator, rhs: np.ndarray, steps: int) -> np.ndarray:
        """Conjugate gradients for the normal equations with the penalty."""
        gamma = np.float32(self.gamma)
        if self.anchor is not None:
            rhs = rhs + gamma * self.anchor
        return conjugate_gradients(lambda k: normal(k) + gamma * k, rhs, steps, self.anchor)


def normal_equations(
    sharp: tuple[np.ndarray, np.ndarray],
    blurred: Gradients,
    weights: np.ndarray | None = None,
) -> tuple[Operator, np.ndarray]:
    """The normal operator of the squared residuals, without any penalty, and its right-hand side.

    Parameters are those of `KernelStep`. Where all pixels count, the operator is a convolution:
    what it needs of the picture is its autocorrelation up to the psf's own size, so its transforms
    have that size.
    """
    if weights is not None:
        return _Masked(sharp, blurred, weights).equations()
    domain, shape = blurred.domain, blurred.shape
    power: Any = 0.0
    cross: Any = 0.0
    for x, y in zip(sharp, blurred.spectra, strict=True):
        s = blurred.spectrum(x)
        power = power + (s.real**2 + s.imag**2)
        cross = cross + np.conj(s) * y
    lags = [2 * n - 1 for n in shape]
    small = fast_shape(tuple(n + m - 1 for n, m in zip(shape, lags, strict=True)))
    auto = _around(irfftn(power.astype(np.complex64), domain), lags)
    spectrum = centred_rfftn(auto, small)
    padded = np.zeros(small, np.float32)

    def normal(k: np.ndarray) -> np.ndarray:
        padded[: shape[0], : shape[1]] = k
        image = irfftn(rfftn(padded, 2) * spectrum, small)[: shape[0], : shape[1]]
        return np.asarray(image)

    return normal, _around(irfftn(cross, domain), shape)


def _around(x: np.ndarray, shape: tuple[int, ...] | list[int]) -> np.ndarray:
    """The values of a circular array around its origin, the origin at ``size // 2``."""
    rows = np.arange(shape[0]) - shape[0] // 2
    columns = np.arange(shape[1]) - shape[1] // 2
    return x[rows[:, None], columns[None, :]]


def conjugate_gradients(
    normal: Operator,
    rhs: np.ndarray,
    steps: int,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Conjugate gradients, from an even psf unless there is a better one."""
    k = np.full(rhs.shape, 1 / rhs.size, np.float32) if start is None else start
    residual = rhs - normal(k)
    direction = residual
    power = float((residual * residual).sum())
    end = CG_TOL**2 * power
    for _ in range(steps):
        if not power > end:
            break
        image = normal(direction)
        step = np.float32(power / float((direction * image).sum()))
        k = k + step * direction
        residual = residual - step * image
        last, power = power, float((residual * residual).sum())
        direction = residual + np.float32(power / last) * direction
    return k


class _Masked:
    """The same least squares with a weight for each residual: the transforms are the picture's."""

    def __init__(
        self,
        sharp: tuple[np.ndarray, np.ndarray],
        blurred: Gradients,
        weights: np.ndarray | None,
    ) -> None:
        self.blurred = blurred
        self.spectra = [blurred.spectrum(x) for x in sharp]
        size = blurred.parts[0].shape
        self.window = (slice(0, size[0]), slice(0, size[1]))
        self.weights = np.ones(size, np.float32) if weights is None else weights

    def solve(self, step: KernelStep, start: np.ndarray | None) -> np.ndarray:
        """The psf; a robust step is reweighted by the residuals of `start` and then its own."""
        psf = start
        for _ in range(1 if step.robust is None else ROBUST_ROUNDS):
            each = [self.weights] * 2
            if step.robust is not None and psf is not None:
                each = [
                    self.weights * np.exp(-0.5 * (r / np.float32(step.robust)) ** 2)
                    for r in self._residuals(psf)
                ]
            psf = step.solve(*self.equations(each), MASKED_STEPS)
        assert psf is not None
        return psf

    def equations(self, each: list[np.ndarray] | None = None) -> tuple[Operator, np.ndarray]:
        """The normal operator and the right-hand side, with weights of each part's own."""
        each = [self.weights] * 2 if each is None else each

        def normal(k: np.ndarray) -> np.ndarray:
            parts = [w * p for w, p in zip(each, self._predicted(k), strict=True)]
            return self._correlated(parts)

        data = [w * y for w, y in zip(each, self.blurred.parts, strict=True)]
        return normal, self._correlated(data)

    def _predicted(self, k: np.ndarray) -> list[np.ndarray]:
        otf = centred_rfftn(k.astype(np.float32, copy=False), self.blurred.domain)
        return [irfftn(s * otf, self.blurred.domain)[self.window] for s in self.spectra]

    def _residuals(self, k: np.ndarray) -> list[np.ndarray]:
        return [p - y for p, y in zip(self._predicted(k), self.blurred.parts, strict=True)]

    def _correlated(self, parts: list[np.ndarray]) -> np.ndarray:
        total = sum(
            np.conj(s) * self.blurred.spectrum(p) for s, p in zip(self.spectra, parts, strict=True)
        )
        return _around(irfftn(np.asarray(total), self.blurred.domain), self.blurred.shape)
