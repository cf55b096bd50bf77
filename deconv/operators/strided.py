"""The blur operator of super-resolution: blur, then keep one pixel of each block.

Decimation adds up the tiles of the spectrum, so ``M Mᴴ`` of a strided blur M is diagonal: the mean
of ``|otf|²`` over the tiles. What data can tell of a latent image is thus what they tell of a small
one that an ordinary `Blur` took, on the coarse grid and with the root of that mean as its otf.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deconv.arrays import Array, at_least, choose, device, elementwise, namespace, number, whole
from deconv.fft import centred_rfftn, irfftn, rfftn
from deconv.operators.blur import Blur
from deconv.operators.checks import checked_psf, checked_weights
from deconv.operators.frame import Frame
from deconv.operators.tiling import Tiling

__all__ = ["StridedBlur"]

BOUNDARIES = ("unknown", "periodic")

# Below this share of the light of an average pixel, a latent pixel is as good as never seen.
LEAST_LIGHT = 1e-3
# Where the squared otf is below, its root has no use, and a gradient through it would overflow.
LEAST_POWER = 1e-30


@dataclass(frozen=True, init=False, eq=False, repr=False)
class StridedBlur:
    """Convolution with `psf`, of which the upper-left pixel of each block is observed.

    The blocks have `stride` pixels along every spatial axis. With stride 1 this is a `Blur`, and
    the constructor returns one.

    Parameters
    ----------
    psf : array, shape ``(..., *size)``
        On the fine grid, else as for `Blur`; must fit into ``stride * shape``.
    shape : tuple of int
        Spatial shape of the observed image, 1 to 3 axes.
    stride : int
        Fine pixels per observed pixel, along every axis; at least 1.
    boundary : {"unknown", "periodic"}
        What lies beyond the frame, as for `Blur`. "zero" needs stride 1.
    weights : array, shape ``(..., *shape)``, optional
        Weight in [0, 1] of each observed pixel.

    Attributes
    ----------
    domain : tuple of int
        Shape on which the latent image lives, `stride` times that of the coarse grid. Both are fast
        FFT shapes unless the boundary is periodic.
    frame : Frame
        The part of the domain that `crop` cuts out, of ``stride * shape`` pixels.
    coarse : Blur
        The blur on the coarse grid whose `power` is the mean of ``|otf|²`` over the tiles. Its
        frame is where the observed image lies.
    otf : array
        Half spectrum of the centred psf on the domain.

    Raises
    ------
    TypeError, ValueError
        As `Blur`; if the stride is not a whole number of at least 1; if the boundary is "zero" and
        the stride is not 1.

    Notes
    -----
    The closed form is that of Zhao et al. (2016), "Fast single image super-resolution using a new
    analytical solution for l2-l2 problems", as Zhang et al. (2020, USRNet) use it::

        z = F⁻¹{ (1/rho) [R − conj(K) rep( mean(K R) / (mean |K|² + rho) )] }

    with the mean over the tiles of a spectrum and its repetition. Here half spectra do, and the
    division by rho spoils float32 less: `solve` mends what `blur` sees of it, `fit` and `prox` have
    none.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv import StridedBlur
    >>> A = StridedBlur(np.full((3, 3), 1 / 9), (32, 40), 2)
    >>> x = np.ones(A.domain)
    >>> A(x).shape, A.crop(x).shape, bool(np.allclose(A(x), 1))
    ((32, 40), (64, 80), True)
    """

    psf: Array
    shape: tuple[int, ...]
    stride: int
    boundary: str
    weights: Array | None
    frame: Frame
    tiling: Tiling
    otf: Array
    coarse: Blur

    def __new__(
        cls,
        psf: Array,
        shape: tuple[int, ...],
        stride: int,
        *,
        boundary: str = "unknown",
        weights: Array | None = None,
    ) -> Any:
        """The operator; a `Blur` for stride 1."""
        if whole(stride, "stride", low=1) == 1:
            return Blur(psf, shape, boundary=boundary, weights=weights)
        shape, stride = tuple(int(n) for n in shape), int(stride)
        if boundary == "zero":
            raise ValueError(
                f"boundary='zero' is served with stride=1 only, not {stride}; pass 'unknown'"
            )
        choose(boundary, BOUNDARIES, "boundary")
        psf = checked_psf(psf, tuple(stride * n for n in shape))
        if weights is not None:
            weights = checked_weights(weights, shape, psf)
        coarse = Frame.place(shape, tuple(psf.shape[-len(shape) :]), boundary, stride)
        parts = (coarse.shape, coarse.domain, coarse.origin)
        frame = Frame(*(tuple(stride * n for n in part) for part in parts))
        observed = {"psf": psf, "shape": shape, "boundary": boundary, "weights": weights}
        self = object.__new__(cls)
        self._set(**observed, stride=stride, frame=frame, tiling=Tiling(frame.domain, stride))
        self._set(otf=centred_rfftn(psf, frame.domain))
        self._set(coarse=Blur.assemble(frame=coarse, otf=self._folded_otf(), **observed))
        return self

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """How to copy and unpickle it: as it is."""
        return object.__new__, (StridedBlur,), self.__dict__

    def __repr__(self) -> str:
        """Shapes, stride and boundary."""
        return (
            f"StridedBlur(psf {tuple(self.psf.shape)}, shape={self.shape}, stride={self.stride}, "
            f"boundary={self.boundary!r}, domain={self.domain}, "
            f"weights={'given' if self.weights is not None else None})"
        )

    def reweighted(self, weights: Array | None) -> StridedBlur:
        """The same blur with other `weights`; the spectra are shared."""
        coarse = self.coarse.reweighted(weights)
        shared = {name: v for name, v in self.__dict__.items() if name != "coverage"}
        other = object.__new__(StridedBlur)
        other._set(**{**shared, "coarse": coarse, "weights": coarse.weights})
        return other

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.shape)

    @property
    def domain(self) -> tuple[int, ...]:
        """Spatial shape of the latent image."""
        return self.frame.domain

    @property
    def exact(self) -> bool:
        """Whether every pixel of the coarse grid is observed: then `prox` is one closed form."""
        return self.coarse.exact

    @cached_property
    def adjoint_otf(self) -> Array:
        """Conjugate of the otf."""
        return namespace(self.otf).conj(self.otf)

    # -- the physical blur, and between the grids --------------------------------------------------

    def __call__(self, x: Array) -> Array:
        """Blurred image as observed: domain (..., *domain) to frame (..., *shape)."""
        return self.coarse.crop(self.blur(x))

    def adjoint(self, y: Array) -> Array:
        """Exact transpose of `A(x)`: frame to domain."""
        return self.correlate(self.coarse.frame.pad(y))

    def crop(self, x: Array) -> Array:
        """The frame's part of a domain image: ``stride * shape`` pixels."""
        return self.frame.crop(x)

    def embed(self, y: Array) -> Array:
        """Frame to domain: `y` smoothly continued, with straight lines between its pixels.

        Each observed pixel keeps its value, at the upper left of its block.
        """
        x, s = self.coarse.embed(y), self.stride
        xp = namespace(x)
        for axis in range(-self.ndim, 0):
            slope = (xp.roll(x, -1, axis=axis) - x) / s
            block = xp.stack([x, *(x + t * slope for t in range(1, s))], axis=x.ndim + axis + 1)
            shape = list(x.shape)
            shape[axis] *= s
            x = xp.reshape(block, tuple(shape))
        return x

    def transform(self, x: Array) -> Array:
        """Half spectrum of a domain image."""
        return rfftn(x, self.ndim)

    def image(self, spectrum: Array, *, overwrite: bool = False) -> Array:
        """Domain image of a half spectrum, whose contents `overwrite` allows to destroy."""
        return irfftn(spectrum, self.domain, overwrite=overwrite)

    def blur(self, x: Array) -> Array:
        """Circular convolution on the domain, decimated: domain to coarse grid."""
        return self.predict(self.transform(x))

    def correlate(self, v: Array) -> Array:
        """Transpose of `blur`: coarse grid to domain."""
        return self.image(self.gather(v), overwrite=True)

    def predict(self, spectrum: Array) -> Array:
        """What a latent image of half spectrum `spectrum` looks like on the coarse grid."""
        return self.coarse.image(self._blurred(spectrum), overwrite=True)

    def gather(self, v: Array) -> Array:
        """Half spectrum of ``correlate(v)``, with `predict` the pair that loops work with."""
        seen = self.coarse.transform(v)
        return self.tiling.repeat(lambda s, k: k * s, seen, self.adjoint_otf)

    @cached_property
    def coverage(self) -> Array:
        """Share of the light that each latent pixel sends to the coarse grid that was observed.

        In [0, 1]; 0 for pixels that a small psf hides between the observed ones.
        """
        xp = namespace(self.psf)
        lead = (1,) * (self.psf.ndim - self.ndim)
        kind = {"dtype": self.psf.dtype, "device": device(self.psf)}
        seen = xp.ones((*lead, *self.shape), **kind) if self.weights is None else self.weights
        whole_light = self.correlate(xp.ones((*lead, *self.coarse.domain), **kind))
        least = LEAST_LIGHT / self.stride**self.ndim
        return xp.clip(self.adjoint(seen) / at_least(whole_light, least), 0.0, 1.0)

    # -- inversion ---------------------------------------------------------------------------------

    def solve(self, rhs: Array, rho: Any) -> Array:
        """``(MᴴM + rho I)⁻¹ rhs`` in closed form, where M is `blur`.

        `rho`, above 0, is a number or one value per leading index (from the first on). What M does
        not see of `rhs` is divided by rho, and so are the rounding errors there: see `fit`.
        """
        return self.image(self.solve_spectrum(self.transform(rhs), rho), overwrite=True)

    def solve_spectrum(self, rhs: Array, rho: Any) -> Array:
        """Spectral twin of `solve`: half spectrum in, half spectrum out."""
        rho = self.as_penalty(rho, tuple(rhs.shape[: -self.ndim]))
        seen = elementwise(lambda b, i: b * i, self._blurred(rhs), self._inverse(rho))
        x = self.tiling.repeat(
            lambda s, r, k, i: (r - k * s) * i, seen, rhs, self.adjoint_otf, 1 / rho
        )
        # This x is the solution, and `seen` what it looks like blurred, but for rounding errors of
        # a difference between almost equal numbers: 0.01 in float32 at rho = 1e-6.
        return self._fit(x, seen, rho)

    def fit(self, spectrum: Array, v: Array, rho: Any) -> Array:
        """Half spectrum of ``argmin_x ½‖blur(x) − v‖² + rho/2 ‖x − z‖²``, z that of `spectrum`.

        The solution for ``gather(v) + rho * spectrum``, to full precision for any rho: what `blur`
        does not see of z stays as it is.
        """
        rho = self.as_penalty(rho, tuple(spectrum.shape[: -self.ndim]))
        return self._fit(spectrum, self.coarse.transform(v), rho)

    def fill(self, y: Array, x: Array) -> Array:
        """`y` where it was observed, the prediction ``blur(x)`` where not, on the coarse grid."""
        return self.mix(y, self.blur(x))

    def mix(self, y: Array, prediction: Array, **options: Any) -> Array:
        """`fill` for a `prediction` already at hand; see `Blur.mix`."""
        return self.coarse.mix(y, prediction, **options)

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
        """``argmin_x ½‖W^½ (A x − y)‖² + rho/2 ‖x − z‖²`` on the domain.

        One closed form where every pixel is observed. Else `Blur.prox` of the coarse grid, with
        this `start`, `tol` and `n_iter`, finds the part of x that M sees, and with it what the
        unobserved pixels look like: two small FFTs a step.
        """
        lead = tuple(max(y, z, key=lambda v: v.ndim).shape[: -self.ndim])
        rho, spectrum = self.as_penalty(rho, lead), self.transform(z)
        if not self.exact:
            start = None if start is None else self._seen_part(self.transform(start))
            centre = self._seen_part(spectrum)
            part = self.coarse.prox(centre, y, rho, start=start, tol=tol, n_iter=n_iter)
            y = self.coarse.fill(y, part)
        return self.image(self.fit(spectrum, y, rho), overwrite=True)

    def as_penalty(self, rho: Any, lead: tuple[int, ...] = ()) -> Array:
        """`rho` as an array that broadcasts to spectra with the leading axes `lead`.

        Raises
        ------
        ValueError
            If it is a number of 0 or less, or neither a number nor one value per leading index.
        """
        if isinstance(rho, numbers.Real):
            number(rho, "rho", low=0, strict=True)
        rho = self.coarse.as_penalty(rho, lead)
        if any(n != 1 for n in rho.shape[-self.ndim :]):
            raise ValueError(
                f"rho has shape {tuple(rho.shape)}; expected a number or one value per leading "
                f"index: a spectrum needs stride=1"
            )
        return rho

    def _fit(self, spectrum: Array, seen: Array, rho: Array) -> Array:
        """`fit` to the half spectrum `seen`."""
        blurred, inverse = self._blurred(spectrum), self._inverse(rho)
        misfit = elementwise(lambda v, b, i: (v - b) * i, seen, blurred, inverse)
        return self.tiling.repeat(lambda m, z, k: z + k * m, misfit, spectrum, self.adjoint_otf)

    def _inverse(self, rho: Array) -> Array:
        """``(M Mᴴ + rho)⁻¹``: multiplying takes a tenth of the time of a complex division."""
        return elementwise(lambda p, q: 1 / (p + q), self.coarse.power, rho)

    def _blurred(self, spectrum: Array) -> Array:
        """Half spectrum, on the coarse grid, of ``blur`` of `spectrum`."""
        return self.tiling.mean(elementwise(lambda k, s: k * s, self.otf, spectrum))

    def _seen_part(self, spectrum: Array) -> Array:
        """The part of a latent image that `blur` sees, as an image that ``coarse`` blurs alike."""
        part = elementwise(lambda b, k: b / k, self._blurred(spectrum), self.coarse.otf)
        return self.coarse.image(part, overwrite=True)

    def _folded_otf(self) -> Array:
        """Root of the mean of ``|otf|²`` over the tiles, as a half spectrum on the coarse grid."""
        xp = namespace(self.otf)
        power = xp.real(self._blurred(self.adjoint_otf))
        return xp.astype(xp.sqrt(at_least(power, LEAST_POWER)), self.otf.dtype)
