"""A blur that changes over the picture: a sum of blurs, each with a window that says where.

Kernels at the nodes of a grid and smooth windows between them follow what lenses, shaking hands
and telescopes do, at one FFT for each kernel. Whether the windows come before or after the blurs
decides what a kernel belongs to: a point of the scene, or a point of the image.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from deconv.arrays import Array, at_least, choose, floating, like, namespace
from deconv.fft import centred_rfftn
from deconv.operators.blur import BOUNDARIES, Blur
from deconv.operators.checks import checked_weights
from deconv.operators.conjugate import circular_solve, observed_solve
from deconv.operators.frame import Frame
from deconv.operators.windowed import WindowedFilters
from deconv.operators.windows import checked_psfs, checked_windows, grid_windows

__all__ = ["ORDERS", "SpatiallyVaryingBlur"]

ORDERS = ("scatter", "gather")


@dataclass(frozen=True, init=False, eq=False, repr=False)
class SpatiallyVaryingBlur:
    """Sum of K blurs of a scene under windows that sum to 1, seen through a frame.

    With "scatter" every point of the scene spreads by the psf of its own place, with "gather" every
    point of the image collects by its own::

        scatter:  A x = sum_i k_i * (w_i x)      as light does: it is spread, none is lost
        gather:   A x = sum_i w_i (k_i * x)      as masks on blurred images do: a flat scene is kept

    The transpose of the one is the other with flipped kernels. They agree where the windows are
    flat over the size of a psf.

    Parameters
    ----------
    psfs : array, shape ``(K, ..., *size)``
        Each as for `Blur`. Axes between the first and the spatial ones (batch, channel) broadcast
        against the image's.
    windows : array, shape ``(K, ..., *shape)`` or ``(K, ..., *domain)``
        How much of each kernel acts where: none below 0, sums to 1 over the first axis. Windows on
        the frame go on beyond it as they are at its edge. See `grid_windows`.
    shape : tuple of int
        Spatial shape of the observed image, 1 to 3 axes; the psfs must fit into it.
    boundary : {"unknown", "periodic", "zero"}
        What lies beyond the frame, as for `Blur`.
    weights : array, shape ``(..., *shape)``, optional
        Weight in [0, 1] of each observed pixel: 0 for unobserved (saturated, dead) ones.
    order : {"scatter", "gather"}
        What a kernel belongs to: a point of the scene, or of the image.

    Attributes
    ----------
    domain : tuple of int
        Shape on which the latent image lives, as for `Blur`.
    mean : Blur
        The blur by the psfs' mean over the frame, with the same boundary and weights.

    Raises
    ------
    TypeError, ValueError
        As `Blur`, with the number of the psf at fault; if windows are negative or do not sum to 1,
        with the place; if their number or shape does not fit; if the order is unknown.

    Notes
    -----
    With "scatter" a blur costs K forward FFTs, whose products are summed as spectra, and one
    inverse; with "gather" one forward and K inverse. `adjoint` costs what the other order does.

    Psfs interpolated between the nodes of a grid are due to Nagy and O'Leary (1998), "Restoring
    images degraded by spatially variant blur"; Denis et al. (2015), "Fast approximations of
    shift-variant blur", compare such models. Scatter is the efficient filter flow of Hirsch et al.
    (2010); gather, with a mask for each kernel, the model of Carbajal et al. (2021), "Non-uniform
    blur kernel estimation via adaptive basis decomposition".

    Examples
    --------
    >>> import numpy as np
    >>> from deconv import SpatiallyVaryingBlur, psf
    >>> psfs = np.stack([psf.gaussian(s, size=13) for s in (0.5, 1.0, 1.5, 2.0)])
    >>> A = SpatiallyVaryingBlur.from_grid(psfs.reshape(2, 2, 13, 13), (64, 64), order="gather")
    >>> x = np.ones(A.domain)
    >>> A(x).shape, bool(np.allclose(A(x), 1))
    ((64, 64), True)
    """

    stride: ClassVar[int] = 1
    # No division of spectra inverts it.
    exact: ClassVar[bool] = False

    psfs: Array
    shape: tuple[int, ...]
    boundary: str
    weights: Array | None
    order: str
    frame: Frame
    filters: WindowedFilters
    mean: Blur

    def __init__(
        self,
        psfs: Array,
        windows: Array,
        shape: tuple[int, ...],
        *,
        boundary: str = "unknown",
        weights: Array | None = None,
        order: str = "scatter",
    ) -> None:
        shape = tuple(int(n) for n in shape)
        choose(boundary, BOUNDARIES, "boundary")
        choose(order, ORDERS, "order")
        psfs = checked_psfs(psfs, shape)
        frame = Frame.place(shape, tuple(psfs.shape[-len(shape) :]), boundary)
        windows = checked_windows(windows, psfs, frame)
        if weights is not None:
            weights = checked_weights(weights, shape, psfs)
        observed = {"shape": shape, "boundary": boundary, "weights": weights, "frame": frame}
        filters = WindowedFilters(windows, centred_rfftn(psfs, frame.domain), frame)
        self._set(psfs=psfs, order=order, filters=filters, **observed)
        axes = tuple(range(-len(shape), 0))
        shares = namespace(windows).mean(frame.crop(windows), axis=axes, keepdims=True)
        psf = sum(shares[i, ...] * psfs[i, ...] for i in range(psfs.shape[0]))
        mean = Blur.assemble(psf=psf, otf=centred_rfftn(psf, frame.domain), **observed)
        self._set(mean=mean)

    @classmethod
    def from_grid(
        cls,
        psfs: Array,
        shape: tuple[int, ...],
        *,
        overlap: float = 1.0,
        profile: str = "linear",
        **options: Any,
    ) -> SpatiallyVaryingBlur:
        """The blur of a regular grid of psfs, each measured in the middle of its cell.

        Parameters
        ----------
        psfs : array, shape ``(*grid, ..., *size)``
            ``(R, C, ..., h, w)`` for images: R rows and C columns of psfs.
        shape : tuple of int
            Spatial shape of the observed image, which the cells of the grid share out evenly.
        overlap, profile
            How a psf gives way to the next; see `grid_windows`.
        **options
            `boundary`, `weights` and `order`.

        Raises
        ------
        TypeError, ValueError
            As the constructor and `grid_windows`.
        """
        psfs, ndim = floating(psfs, "psfs"), len(tuple(shape))
        if psfs.ndim < 2 * ndim:
            raise ValueError(
                f"psfs have shape {tuple(psfs.shape)}; expected {ndim} axes of the grid, then "
                f"{ndim} spatial ones"
            )
        grid = tuple(psfs.shape[:ndim])
        windows = grid_windows(grid, shape, overlap=overlap, profile=profile, like=psfs)
        lead = (1,) * (psfs.ndim - 2 * ndim)
        xp = namespace(psfs)
        windows = xp.reshape(windows, (windows.shape[0], *lead, *windows.shape[1:]))
        return cls(xp.reshape(psfs, (-1, *psfs.shape[ndim:])), windows, shape, **options)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Shapes, boundary and order."""
        return (
            f"SpatiallyVaryingBlur(psfs {tuple(self.psfs.shape)}, shape={self.shape}, "
            f"boundary={self.boundary!r}, order={self.order!r}, domain={self.domain}, "
            f"weights={'given' if self.weights is not None else None})"
        )

    def reweighted(self, weights: Array | None) -> SpatiallyVaryingBlur:
        """The same blur with other `weights`; the spectra are shared."""
        mean, other = self.mean.reweighted(weights), object.__new__(SpatiallyVaryingBlur)
        other._set(**{**self.__dict__, "mean": mean, "weights": mean.weights})
        other.__dict__.pop("coverage", None)
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
    def windows(self) -> Array:
        """The windows on the domain, ``(K, ..., *domain)``."""
        return self.filters.windows

    @property
    def otfs(self) -> Array:
        """Half spectra of the centred psfs on the domain, ``(K, ..., *half)``."""
        return self.filters.otfs

    @property
    def psf(self) -> Array:
        """Mean of the psfs over the frame."""
        return self.mean.psf

    @cached_property
    def power(self) -> Array:
        """Largest ``|otf|^2`` of any kernel, which `solve` and `prox` are preconditioned with."""
        xp = namespace(self.otfs)
        powers = (xp.abs(self.otfs[i, ...]) ** 2 for i in range(self.psfs.shape[0]))
        return functools.reduce(xp.maximum, powers)

    # -- the physical blur, domain to frame ------------------------------------------------------

    def __call__(self, x: Array) -> Array:
        """Blurred image as observed: domain (..., *domain) to frame (..., *shape)."""
        _expect(x, self.domain, "x")
        black = self.boundary == "zero"
        return self.crop(self.blur(self._lit(x), framed=black, to_frame=True))

    def adjoint(self, y: Array) -> Array:
        """Exact transpose of `A(x)`: frame to domain."""
        _expect(y, self.shape, "y")
        return self._lit(self.correlate(self.frame.pad(y), framed=True))

    def _lit(self, x: Array) -> Array:
        """`x` without what a zero boundary declares black."""
        return self.frame.pad(self.crop(x)) if self.boundary == "zero" else x

    def crop(self, x: Array) -> Array:
        """The frame's part of a domain image."""
        return self.frame.crop(x)

    def embed(self, y: Array) -> Array:
        """Frame to domain: `y` with a smooth continuation; see `Blur.embed`."""
        return self.mean.embed(y)

    @cached_property
    def coverage(self) -> Array:
        """Light of each latent pixel that fell on observed pixels.

        In [0, 1] with "scatter"; with "gather" a pixel may count for more than it sends.
        """
        seen = self.weights
        if seen is None:
            lead = (1,) * (self.psf.ndim - self.ndim)
            seen = like(np.ones((*lead, *self.shape)), self.psf)
        return at_least(self.adjoint(seen), 0.0)

    # -- the circular pair on the domain ---------------------------------------------------------

    def transform(self, x: Array, **memory: Any) -> Array:
        """Half spectrum of a domain image; see `Blur.transform`."""
        return self.mean.transform(x, **memory)

    def image(self, spectrum: Array, **memory: Any) -> Array:
        """Domain image of a half spectrum; see `Blur.image`."""
        return self.mean.image(spectrum, **memory)

    def workspace(self, lead: tuple[int, ...]) -> tuple[Array | None, Array | None]:
        """A domain image and a half spectrum to reuse as `out` and `spectrum`; NumPy only."""
        return self.mean.workspace(lead)

    def blur(self, x: Array, **memory: Any) -> Array:
        """The windowed sum of circular convolutions on the domain.

        `memory`, for loops that count, is that of `Blur.blur`.
        """
        scatter = self.order == "scatter"
        return self.filters.scatter(x, **memory) if scatter else self.filters.gather(x, **memory)

    def correlate(self, x: Array, **memory: Any) -> Array:
        """The transpose of `blur` on the domain."""
        memory["conj"] = True
        scatter = self.order == "scatter"
        return self.filters.gather(x, **memory) if scatter else self.filters.scatter(x, **memory)

    # -- prediction and inversion ----------------------------------------------------------------

    def fill(self, y: Array, x: Array) -> Array:
        """`y` where it was observed, the prediction ``blur(x)`` where not; see `Blur.fill`."""
        return self.mix(y, self.blur(self._lit(x)))

    def mix(self, y: Array, prediction: Array, **options: Any) -> Array:
        """`fill` for a `prediction` already at hand; see `Blur.mix`."""
        return self.mean.mix(y, prediction, **options)

    def solve(
        self,
        rhs: Array,
        rho: Any,
        *,
        start: Array | None = None,
        tol: float = 1e-5,
        n_iter: int = 100,
    ) -> Array:
        """``(HᴴH + rho I)⁻¹ rhs`` on the domain, where H is `blur`; no closed form, but as `prox`.

        `rho` is a number, one value per leading index (from the first on), or a half spectrum.
        """
        _expect(rhs, self.domain, "rhs")
        return circular_solve(self, rhs, rho, start=start, tol=tol, n_iter=n_iter)

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

        Conjugate gradients with a circular solve as preconditioner, from `start` (default: that
        solve for the filled image), until the preconditioned residual is `tol` times that of zero,
        or for `n_iter` steps. A step costs ``2 K + 4`` FFTs.
        """
        _expect(z, self.domain, "z")
        _expect(y, self.shape, "y")
        return observed_solve(self, z, y, rho, start=start, tol=tol, n_iter=n_iter)

    def as_penalty(self, rho: Any, lead: tuple[int, ...] = ()) -> Array:
        """`rho` as an array that broadcasts to half spectra; see `Blur.as_penalty`."""
        return self.mean.as_penalty(rho, lead)


def _expect(x: Array, size: tuple[int, ...], name: str) -> None:
    got = tuple(x.shape)
    if got[-len(size) :] != size:
        raise ValueError(f"{name} has shape {got}; expected (..., {', '.join(map(str, size))})")
