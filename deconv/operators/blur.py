"""The blur operator: convolution with a psf, seen through a frame.

The latent image x lives on a `domain`, a fast FFT shape at least as large as the observed frame.
There the blur is circular, so it is one product with the `otf`, and everything that makes real
photographs hard (what lies beyond the frame, saturated, dead and NaN pixels) is a *weight*.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from deconv.arrays import (
    Array,
    choose,
    elementwise,
    is_numpy,
    like,
    namespace,
    number,
)
from deconv.fft import centred_rfftn, empty, irfftn, rfftn
from deconv.operators.checks import checked_psf, checked_weights
from deconv.operators.frame import Frame
from deconv.operators.masked import masked_solve
from deconv.saturation import completed

__all__ = ["BOUNDARIES", "Blur"]

BOUNDARIES = ("unknown", "periodic", "zero")


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Blur:
    """Convolution with `psf`, from the latent image's domain to the observed frame.

    Parameters
    ----------
    psf : array, shape ``(..., *size)``
        Non-negative, sums to 1 over its last ``len(shape)`` axes, centre at index ``size // 2``.
        Leading axes (batch, channel) broadcast against the image's.
    shape : tuple of int
        Spatial shape of the observed image, 1 to 3 axes; the psf must fit into it.
    boundary : {"unknown", "periodic", "zero"}
        What lies beyond the frame: a scene that is estimated with the image, the image again, or
        black.
    weights : array, shape ``(..., *shape)``, optional
        Weight in [0, 1] of each observed pixel: 0 for unobserved (saturated, dead) ones.

    Attributes
    ----------
    domain : tuple of int
        Shape on which the latent image lives: `shape` if periodic, else a fast FFT shape that holds
        the frame and all it depends on.
    stride : int
        1: every pixel of the blurred image is observed (see `StridedBlur`).
    otf : array
        Half spectrum (``rfftn``) of the centred psf on the domain.
    power : array
        ``|otf|^2``.

    Raises
    ------
    TypeError, ValueError
        If the psf is complex, empty, negative, not finite, does not sum to 1 or is larger than the
        image; if the boundary is unknown; if weights have the wrong shape or leave [0, 1].

    Notes
    -----
    Spatial axes are the last axes of every array. The operator is immutable and works for NumPy
    arrays, torch tensors (with autograd, on any device) and any other array-API library; it takes
    namespace, dtype and device from `psf`.

    Unknown boundaries are treated as in Almeida and Figueiredo (2013) and Reeves (2005): pixels
    beyond the frame are unobserved, so the closed forms stay exact.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv import Blur
    >>> A = Blur(np.full((3, 3), 1 / 9), (64, 64))
    >>> x = np.ones(A.domain)
    >>> A(x).shape, bool(np.allclose(A(x), 1))
    ((64, 64), True)
    """

    stride: ClassVar[int] = 1

    psf: Array
    shape: tuple[int, ...]
    boundary: str
    weights: Array | None
    frame: Frame
    otf: Array

    def __init__(
        self,
        psf: Array,
        shape: tuple[int, ...],
        *,
        boundary: str = "unknown",
        weights: Array | None = None,
    ) -> None:
        shape = tuple(int(n) for n in shape)
        choose(boundary, BOUNDARIES, "boundary")
        psf = checked_psf(psf, shape)
        size = tuple(psf.shape[-len(shape) :])
        self._set(
            psf=psf,
            shape=shape,
            boundary=boundary,
            weights=None if weights is None else checked_weights(weights, shape, psf),
            frame=Frame.place(shape, size, boundary),
        )
        self._set(otf=centred_rfftn(psf, self.domain))

    @classmethod
    def assemble(cls, **attributes: Any) -> Blur:
        """A blur of these attributes (psf, shape, boundary, weights, frame, otf), unchecked.

        For operators that need one whose otf is not that of its psf.
        """
        blur = object.__new__(cls)
        blur._set(**attributes)
        return blur

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Shapes and boundary."""
        return (
            f"Blur(psf {tuple(self.psf.shape)}, shape={self.shape}, boundary={self.boundary!r}, "
            f"domain={self.domain}, weights={'given' if self.weights is not None else None})"
        )

    def reweighted(self, weights: Array | None) -> Blur:
        """The same blur with other `weights`; the spectra are shared."""
        if weights is not None:
            weights = checked_weights(weights, self.shape, self.psf)
        shared = {name: v for name, v in self.__dict__.items() if name != "coverage"}
        return Blur.assemble(**{**shared, "weights": weights})

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.shape)

    @property
    def domain(self) -> tuple[int, ...]:
        """Spatial shape of the latent image."""
        return self.frame.domain

    @cached_property
    def power(self) -> Array:
        """``|otf|^2`` on the half spectrum."""
        xp = namespace(self.otf)
        return elementwise(
            lambda k: xp.real(k) ** 2 + xp.imag(k) ** 2, self.otf, dtype=self.psf.dtype
        )

    @cached_property
    def adjoint_otf(self) -> Array:
        """Conjugate of the otf."""
        return namespace(self.otf).conj(self.otf)

    @property
    def exact(self) -> bool:
        """Whether every pixel of the domain is observed: then `prox` is one closed-form solve."""
        return self.boundary == "periodic" and self.weights is None

    # -- the physical blur, domain to frame ------------------------------------------------------

    def __call__(self, x: Array) -> Array:
        """Blurred image as observed: domain (..., *domain) to frame (..., *shape)."""
        return self.crop(self.blur(self._lit(x), to_frame=True))

    def adjoint(self, y: Array) -> Array:
        """Exact transpose of `A(x)`: frame to domain."""
        return self._lit(self.correlate(self.frame.pad(y), framed=True))

    def _lit(self, x: Array) -> Array:
        """`x` without what a zero boundary declares black."""
        return self.frame.pad(self.crop(x)) if self.boundary == "zero" else x

    def crop(self, x: Array) -> Array:
        """The frame's part of a domain image."""
        return self.frame.crop(x)

    def embed(self, y: Array) -> Array:
        """Frame to domain: `y` with a smooth continuation that meets itself periodically.

        With a zero boundary the continuation is black.
        """
        return self.frame.pad(y) if self.boundary == "zero" else self.frame.extend(y)

    # -- the circular pair on the domain, and its spectra ----------------------------------------

    def transform(self, x: Array, *, out: Array | None = None, framed: bool = False) -> Array:
        """Half spectrum of a domain image.

        `out` is memory to reuse (NumPy only); `framed` promises that x is zero beyond the frame.
        """
        return rfftn(x, self.ndim, out=out, within=self.frame.window if framed else None)

    def image(
        self,
        spectrum: Array,
        *,
        out: Array | None = None,
        overwrite: bool = False,
        framed: bool = False,
    ) -> Array:
        """Domain image of a half spectrum, whose contents `overwrite` allows to destroy.

        `out` is memory to reuse (NumPy only); with `framed`, only the frame's part of the result
        is needed and the rest is undefined.
        """
        within = self.frame.window if framed else None
        return irfftn(spectrum, self.domain, out=out, overwrite=overwrite, within=within)

    def blur(self, x: Array, **memory: Any) -> Array:
        """Circular convolution with the psf on the domain.

        `memory`, for loops that count: `out` and `spectrum`, a domain image and a half spectrum to
        reuse (NumPy only); `framed` and `to_frame`, as in `transform` and `image`.
        """
        return self._filter(self.otf, x, **memory)

    def correlate(self, x: Array, **memory: Any) -> Array:
        """Circular correlation with the psf on the domain, the transpose of `blur`."""
        return self._filter(self.adjoint_otf, x, **memory)

    def _filter(
        self,
        otf: Array,
        x: Array,
        *,
        out: Array | None = None,
        spectrum: Array | None = None,
        framed: bool = False,
        to_frame: bool = False,
    ) -> Array:
        spectrum = self.transform(x, out=spectrum, framed=framed)
        # The product takes the spectrum's own memory, unless the psf brings more channels or bits.
        own = is_numpy(spectrum) and spectrum.dtype == otf.dtype
        fits = own and math.prod(otf.shape) <= math.prod(spectrum.shape)
        product = elementwise(
            namespace(otf).multiply, otf, spectrum, out=spectrum if fits else None
        )
        return self.image(product, out=out, overwrite=True, framed=to_frame)

    def predict(self, spectrum: Array) -> Array:
        """What a latent image of half spectrum `spectrum` looks like blurred, on the domain."""
        return self.image(elementwise(lambda k, s: k * s, self.otf, spectrum), overwrite=True)

    def gather(self, v: Array) -> Array:
        """Half spectrum of ``correlate(v)``, with `predict` the pair that loops work with."""
        return elementwise(lambda k, s: k * s, self.adjoint_otf, self.transform(v))

    @cached_property
    def coverage(self) -> Array:
        """Share of each latent pixel's light that fell on observed pixels, in [0, 1]."""
        xp = namespace(self.psf)
        seen = self.weights
        if seen is None:
            ones = np.ones((1,) * (self.psf.ndim - self.ndim) + self.shape)
            seen = like(ones, self.psf)
        return xp.clip(self.adjoint(seen), 0.0, 1.0)

    def workspace(self, lead: tuple[int, ...]) -> tuple[Array | None, Array | None]:
        """A domain image and a half spectrum to reuse as `out` and `spectrum`; NumPy only."""
        if not is_numpy(self.otf):
            return None, None
        half = (*self.domain[:-1], self.domain[-1] // 2 + 1)
        return empty((*lead, *self.domain), self.psf.dtype), empty((*lead, *half), self.otf.dtype)

    # -- inversion -------------------------------------------------------------------------------

    def solve(self, rhs: Array, rho: Any) -> Array:
        """``(KᴴK + rho I)⁻¹ rhs`` on the domain, in closed form.

        `rho` (above 0 where the otf vanishes) is a number, one value per leading index (from the
        first on), or a half spectrum such as a noise-to-signal ratio.
        """
        spectrum = self.solve_spectrum(self.transform(rhs), rho)
        return self.image(spectrum, overwrite=True)

    def solve_spectrum(self, rhs: Array, rho: Any) -> Array:
        """Spectral twin of `solve`: half spectrum in, half spectrum out."""
        rho = self.as_penalty(rho, tuple(rhs.shape[: -self.ndim]))
        return elementwise(lambda r, p, q: r / (p + q), rhs, self.power, rho)

    def fit(self, spectrum: Array, v: Array, rho: Any) -> Array:
        """Half spectrum of ``argmin_x ½‖blur(x) − v‖² + ½ ⟨x − z, rho (x − z)⟩``.

        `spectrum` is that of z, and `v` an image on the domain.
        """
        rho = self.as_penalty(rho, tuple(spectrum.shape[: -self.ndim]))
        # A real reciprocal: a complex division takes ten times as long.
        return elementwise(
            lambda k, s, z, p, q: (k * s + q * z) * (1 / (p + q)),
            self.adjoint_otf,
            self.transform(v),
            spectrum,
            self.power,
            rho,
        )

    def fill(self, y: Array, x: Array) -> Array:
        """`y` where it was observed, the prediction ``blur(x)`` where not, on the domain.

        Soft weights give the convex mix. Replacing the data by `fill` before each circular solve
        majorises the weighted problem, so the closed form stays exact (DESIGN: one extra blur).
        """
        return self.mix(y, self.blur(self._lit(x)))

    def mix(self, y: Array, prediction: Array, *, clipped: Array | None = None) -> Array:
        """`fill` for a `prediction` already at hand, a blurred image on the domain.

        Where `clipped` (boolean, on the frame), y says "at least so much" and gives way to a
        prediction above it. A NumPy `prediction` is written to.
        """
        seen = self.crop(prediction)
        if clipped is not None:
            y = completed(y, seen, clipped)
        if self.weights is not None:
            y = elementwise(lambda w, a, b: b + w * (a - b), self.weights, y, seen)
        return self.frame.replace(prediction, y)

    def prox(
        self,
        z: Array,
        y: Array,
        rho: Any,
        *,
        start: Array | None = None,
        tol: float = 1e-5,
        n_iter: int = 100,
    ) -> Array:
        """``argmin_x ½‖W^½ (A x − y)‖² + ½ ⟨x − z, rho (x − z)⟩`` on the domain.

        One closed-form solve where every pixel is observed, else conjugate gradients with that
        solve as preconditioner, from `start` (default: the solution for the filled image), until
        the preconditioned residual is `tol` times that of zero, or for `n_iter` steps. A step costs
        two FFTs (four with a zero boundary).
        """
        if self.exact:
            rho = self.as_penalty(rho, tuple(max(y, z, key=lambda v: v.ndim).shape[: -self.ndim]))
            return self.image(self.fit(self.transform(z), y, rho), overwrite=True)
        spectrum = masked_solve(self, y, rho, z=z, start=start, tol=tol, n_iter=n_iter).spectrum
        return self.image(spectrum, overwrite=True)

    def as_penalty(self, rho: Any, lead: tuple[int, ...] = ()) -> Array:
        """`rho` as an array that broadcasts to half spectra with the leading axes `lead`.

        Raises
        ------
        ValueError
            If it is a negative number, or neither a number, nor one value per leading index, nor
            a half spectrum. The values of arrays are trusted: a look at them would stall a GPU in
            every iteration.
        """
        if isinstance(rho, numbers.Real):
            rho = np.full((1,) * self.ndim, number(rho, "rho", low=0))
        rho = like(rho, self.psf)
        half = (*self.domain[:-1], self.domain[-1] // 2 + 1)
        shape, tail = tuple(rho.shape), tuple(rho.shape[-self.ndim :])
        spectral = len(shape) >= self.ndim and all(
            n in (1, m) for n, m in zip(tail, half, strict=True)
        )
        if not spectral:
            if shape != lead[: len(shape)]:
                raise ValueError(
                    f"rho has shape {shape}; expected a number, the leading shape {lead} or the "
                    f"half spectrum {half}"
                )
            rho = namespace(rho).reshape(rho, (*shape, *[1] * (len(lead) - len(shape) + self.ndim)))
        return rho
