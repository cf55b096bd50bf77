"""Psfs with a formula: Gaussian, defocus disk, Airy pattern.

Each is integrated over the pixels, not sampled at their centres, so that a narrow psf turns
smoothly into the single pixel that it is, and its optical transfer function (otf) is the formula's
times that of the pixel. Each is symmetric about its centre, hence centred to rounding; an even
size therefore has an empty first row. Where `size` is given, up to 5 % of the light may lie
outside it, is cut off and the rest normalised; if it is more, `size` is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from deconv.arrays import number, whole
from deconv.psf.geometry import framed, sizes

__all__ = ["airy", "defocus", "fitted", "gaussian", "radii_of"]

Size: TypeAlias = int | Sequence[int] | None

_MOST_CUT = 0.05  # share of the light that a given size may cut off
_MOST_PIXELS = 2**26  # beyond it the lengths are surely in another unit


def radii_of(own: Sequence[int], size: Size) -> tuple[int, ...]:
    """Pixels on either side of the centre: those asked for, else the psf's own."""
    if size is None:
        radii = tuple(own)
    else:
        radii = tuple((n - 1) // 2 for n in sizes(size, len(own)))
    if math.prod(2 * r + 1 for r in radii) > _MOST_PIXELS:
        shape = tuple(2 * r + 1 for r in radii)
        raise ValueError(
            f"the psf would have shape {shape}; check the units of its parameters, or pass a "
            f"smaller size"
        )
    return radii


def fitted(psf: np.ndarray, own: Sequence[int], size: Size) -> np.ndarray:
    """`psf`, whose whole light is 1 and whose own radii are `own`, in the shape asked for."""
    if size is None:
        psf /= psf.sum()
        return psf
    shape = sizes(size, psf.ndim)
    symmetric = framed(psf, [n - 1 + n % 2 for n in shape])
    kept = symmetric.sum()
    if kept < 1 - _MOST_CUT:
        whole_shape = tuple(2 * r + 1 for r in own)
        raise ValueError(
            f"size={size!r} holds only {100 * kept:.3g} % of this psf's light; expected at least "
            f"{100 * (1 - _MOST_CUT):g} %. Left out, size would be {whole_shape}"
        )
    return framed(symmetric / kept, shape)


def gaussian(
    sigma: float | Sequence[float],
    *,
    angle: float = 0.0,
    ndim: int | None = None,
    size: Size = None,
    truncate: float = 4.0,
) -> np.ndarray:
    """Gaussian psf in 1, 2 or 3 dimensions, round or not.

    Parameters
    ----------
    sigma : float or sequence of float
        Standard deviation in pixels, at least 0; one per axis in the order of the axes: (y, x) or
        (z, y, x). The pixels' own width adds 1/12 to each variance.
    angle : float
        Degrees by which the ellipse is turned, counter-clockwise as seen on screen; 2-D only.
    ndim : int, optional
        Number of axes, 1 to 3. Default: the length of `sigma`, or 2.
    size : int or sequence of int, optional
        Shape. Default: odd, just enough for `truncate` standard deviations on either side.
    truncate : float
        See `size`; above 0.

    Returns
    -------
    array
        float64, sums to 1. Its otf along each axis is exp(-2 pi^2 sigma^2 f^2) sinc(f), to
        aliasing.

    Raises
    ------
    TypeError, ValueError
        For arguments that are not numbers or out of range, and a `size` that is too small.

    Examples
    --------
    >>> from deconv import psf
    >>> psf.gaussian(0.5, ndim=1).round(3)
    array([0.001, 0.157, 0.683, 0.157, 0.001])
    """
    sigmas = _sigmas(sigma, ndim)
    angle = number(angle, "angle")
    truncate = number(truncate, "truncate", low=0.0, strict=True)
    if angle and len(sigmas) != 2:
        raise ValueError(f"angle={angle:g} with {len(sigmas)} axes; only a 2-D psf can be turned")
    quarters = round(angle / 90)
    angle -= 90.0 * quarters
    if quarters % 2:
        sigmas = sigmas[::-1]
    if angle == 0 or len(set(sigmas)) == 1:
        own = [_reach(truncate * s) for s in sigmas]
        radii = radii_of(own, size)
        psf = np.ones(())
        for s, r in zip(sigmas, radii, strict=True):
            psf = psf[..., None] * _gaussian_line(s, r)
        return fitted(psf, own, size)
    covariance = _turned(sigmas, math.radians(angle))
    own = [_reach(truncate * s) for s in np.sqrt(np.diag(covariance))]
    return fitted(_gaussian_turned(covariance, radii_of(own, size)), own, size)


def _sigmas(sigma: Any, ndim: int | None) -> tuple[float, ...]:
    if isinstance(sigma, (Sequence, np.ndarray)) and not isinstance(sigma, str):
        found = tuple(number(s, f"sigma[{i}]", low=0.0) for i, s in enumerate(sigma))
        if ndim is not None and ndim != len(found):
            raise ValueError(f"sigma has {len(found)} numbers; expected one or ndim={ndim}")
    else:
        axes = 2 if ndim is None else whole(ndim, "ndim", low=1)
        found = (number(sigma, "sigma", low=0.0),) * axes
    if not 1 <= len(found) <= 3:
        raise ValueError(f"a psf with {len(found)} axes was asked for; expected 1 to 3")
    return found


def _reach(length: float) -> int:
    """Pixels on either side of the centre pixel that hold everything within `length` of it."""
    return max(0, math.ceil(length - 0.5))


def _gaussian_line(sigma: float, radius: int) -> np.ndarray:
    from scipy.special import erfc

    # erfc on one side and mirrored: the far tail keeps its digits, and the symmetry is exact.
    edges = (np.arange(radius + 2) - 0.5) / (math.sqrt(2) * max(sigma, 1e-12))
    half = -0.5 * np.diff(erfc(edges))
    return np.concatenate([half[:0:-1], half])


def _turned(sigmas: Sequence[float], angle: float) -> np.ndarray:
    """Covariance, axes (y, x) with y pointing down, of an ellipse turned counter-clockwise."""
    # Below a fiftieth of a pixel nothing changes but the number of nodes that integration takes.
    y, x = (max(s, 0.02) ** 2 for s in sigmas)
    c, s = math.cos(angle), math.sin(angle)
    across = (y - x) * s * c
    return np.array([[y * c * c + x * s * s, across], [across, y * s * s + x * c * c]])


def _gaussian_turned(covariance: np.ndarray, radii: Sequence[int]) -> np.ndarray:
    """Pixel integrals of a Gaussian with correlated axes: exact along x, by Gauss nodes along y."""
    from scipy.special import erf

    (yy, xy), (_, xx) = covariance
    slope = xy / yy  # mean of x given y is slope * y
    spread = math.sqrt(xx - xy * slope)  # its standard deviation
    finest = min(math.sqrt(yy), spread / max(abs(slope), 1e-9))
    panels = max(1, math.ceil(0.5 / finest))
    nodes, weights = np.polynomial.legendre.leggauss(8)
    inside = ((np.arange(panels)[:, None] + 0.5 + 0.5 * nodes) / panels - 0.5).ravel()
    weights = np.tile(0.5 * weights / panels, panels)
    edges = np.arange(2 * radii[1] + 2) - radii[1] - 0.5
    psf = np.empty([2 * r + 1 for r in radii])
    for row in range(radii[0] + 1):
        y = row - radii[0] + inside
        density = weights * np.exp(-0.5 * y * y / yy) / math.sqrt(2 * math.pi * yy)
        below = erf((edges - slope * y[:, None]) / (math.sqrt(2) * spread))
        psf[row] = 0.5 * density @ np.diff(below, axis=1)
        psf[-1 - row] = psf[row, ::-1]
    middle = psf[radii[0]]
    psf[radii[0]] = 0.5 * (middle + middle[::-1])
    return np.maximum(psf, 0.0)


def defocus(radius: float, *, size: Size = None) -> np.ndarray:
    """Disk of even brightness: a lens out of focus.

    Parameters
    ----------
    radius : float
        Pixels, at least 0, whole or not; up to 0.5 the disk lies inside one pixel.
    size : int or (int, int), optional
        Shape. Default: the smallest odd square that holds the disk.

    Returns
    -------
    array
        (y, x), float64, sums to 1: the area of each pixel that the disk covers, exactly. Its otf is
        2 J1(2 pi r f) / (2 pi r f) times the pixel's, to aliasing.

    Raises
    ------
    TypeError, ValueError
        If `radius` is not a number of at least 0, or `size` is too small.

    Examples
    --------
    >>> from deconv import psf
    >>> psf.defocus(1).round(3)
    array([[0.025, 0.145, 0.025],
           [0.145, 0.318, 0.145],
           [0.025, 0.145, 0.025]])
    """
    radius = number(radius, "radius", low=0.0)
    own = [_reach(radius)] * 2
    radii_of(own, None)
    if radius <= 0.5:
        return fitted(np.ones((1, 1)), own, size)
    # One quadrant; its first cells are half a pixel wide, the mirror image supplies the rest.
    edges = np.concatenate([[0.0], np.arange(own[0] + 1) + 0.5])
    quadrant = _quarter_disk(radius, edges) / (math.pi * radius**2)
    psf = np.pad(quadrant, ((own[0], 0), (own[0], 0)))
    for axis in (0, 1):
        psf = psf + np.flip(psf, axis)
    return fitted(psf, own, size)


def _quarter_disk(radius: float, edges: np.ndarray) -> np.ndarray:
    """Area that the disk covers of every cell of the grid ``edges x edges`` in one quadrant."""
    low_x, high_x = edges[:-1, None], edges[1:, None]
    low_y, high_y = edges[:-1], edges[1:]

    def chord(y: np.ndarray) -> np.ndarray:
        """Where the circle crosses height y; 0 above it."""
        height: np.ndarray = np.sqrt(np.maximum(radius**2 - y**2, 0.0))
        return height

    def under(x: np.ndarray) -> np.ndarray:
        """Area below the circle from 0 to x."""
        x = np.minimum(x, radius)
        area: np.ndarray = 0.5 * (x * chord(x) + radius**2 * np.arcsin(x / radius))
        return area

    full = np.clip(chord(high_y), low_x, high_x)  # the circle is above the cell up to here
    part = np.clip(chord(low_y), low_x, high_x)  # and inside it from there to here
    area: np.ndarray = (
        (full - low_x) * (high_y - low_y) + under(part) - under(full) - (part - full) * low_y
    )
    np.maximum(area, 0.0, out=area)
    return area


def airy(*, wavelength: float, na: float, pixel_size: float, size: Size = None) -> np.ndarray:
    """Airy pattern: an in-focus lens limited by diffraction alone (Born and Wolf, section 8.5).

    Parameters
    ----------
    wavelength, pixel_size : float
        In one common unit, above 0. `pixel_size` is measured in the object (camera pixel divided by
        magnification), as `na` is.
    na : float
        Numerical aperture, above 0; on a camera 1 / (2 N) for the f-number N.
    size : int or (int, int), optional
        Shape. Default: the odd square around the circle that holds 98 % of the light, of radius
        5.07 wavelength / na (the rings fall off so slowly that 99 % would take twice that).

    Returns
    -------
    array
        (y, x), float64, sums to 1. Its otf ends at 2 na pixel_size / wavelength cycles per pixel.

    Raises
    ------
    TypeError, ValueError
        For arguments that are not positive numbers, or whose units cannot agree, and a `size` that
        is too small.

    Examples
    --------
    >>> from deconv import psf
    >>> psf.airy(wavelength=0.52, na=1.4, pixel_size=0.065).shape
    (59, 59)
    """
    from scipy.special import j1

    wavelength = number(wavelength, "wavelength", low=0.0, strict=True)
    na = number(na, "na", low=0.0, strict=True)
    pixel_size = number(pixel_size, "pixel_size", low=0.0, strict=True)
    per_pixel = 2 * math.pi * na * pixel_size / wavelength
    if not 1e-4 < per_pixel < 500:
        raise ValueError(
            f"pixel_size={pixel_size:g} is {per_pixel / 3.83:.3g} times the Airy radius 0.61 "
            f"wavelength / na; expected wavelength and pixel_size in one unit"
        )
    # Outside the radius v lies the share J0(v)^2 + J1(v)^2 of the light, close to 2 / (pi v).
    own = [_reach(2 / (math.pi * 0.02) / per_pixel)] * 2
    radii = radii_of(own, size)
    # The intensity is smooth on the scale of v = 1, so few Gauss nodes per pixel are exact.
    count = 4 + math.ceil(per_pixel)
    nodes, weights = np.polynomial.legendre.leggauss(count)
    y, x = (((np.arange(r + 1)[:, None] + 0.5 * nodes) * per_pixel).ravel() for r in radii)
    quadrant = np.empty([r + 1 for r in radii])
    for row, heights in enumerate(y.reshape(-1, count)):
        v = np.hypot(heights[:, None], x)
        # An odd number of nodes puts one at v = 0, where 2 J1(v) / v is 1.
        amplitude = np.divide(2 * j1(v), v, out=np.ones_like(v), where=v > 0)
        cells = (amplitude**2).reshape(count, -1, count)
        quadrant[row] = np.einsum("i,ijk,k->j", weights, cells, weights)
    quadrant *= per_pixel**2 / (16 * math.pi)  # the integral over the plane is 4 pi
    mirrored = np.concatenate([quadrant[:0:-1], quadrant])
    return fitted(np.concatenate([mirrored[:, :0:-1], mirrored], axis=1), own, size)
