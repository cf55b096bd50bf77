"""What a solver is handed: the operator, the observed image on it, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deconv.arrays import (
    Array,
    channels_first,
    checked,
    dtype_name,
    floating,
    is_numpy,
    like,
    namespace,
)
from deconv.operators.blur import BOUNDARIES, Blur

__all__ = ["Observation", "observe"]


@dataclass(frozen=True)
class Observation:
    """An observed image `y`, shape ``(..., *A.shape)``, with its operator `A`.

    `y` has the channel axis first and 0 where the image was NaN; the operator's weights are 0
    there.

    Attributes
    ----------
    A : Blur
        The operator, with the weights of the pixels that were observed.
    y : array, ``(..., *A.shape)``
        The observed image.
    channel_axis : int or None
        Where the user's image has its channels.
    dtype : dtype
        Of the result: the image's own floating dtype.

    Examples
    --------
    >>> import numpy as np, deconv
    >>> seen = deconv.operators.observe(np.ones((9, 9, 3)), deconv.psf.gaussian(1), channel_axis=2)
    >>> seen.y.shape, seen.finish(seen.A.embed(seen.y)).shape
    ((3, 9, 9), (9, 9, 3))
    """

    A: Blur
    y: Array
    channel_axis: int | None
    dtype: Any

    def finish(self, x: Array, *, copy: bool = False) -> Array:
        """A domain image in the layout and dtype of the user's; with `copy`, memory of its own."""
        xp = namespace(x)
        result = self.A.crop(x)
        if self.channel_axis is not None:
            result = xp.moveaxis(result, 0, self.channel_axis)
        result = xp.astype(result, self.dtype, copy=False)
        if is_numpy(x) and (copy or not self.A.frame.is_domain or self.channel_axis is not None):
            # A view would keep the whole domain alive, or change with the next iteration.
            return np.array(result, order="C")
        return result


def observe(
    image: Any,
    psf: Any,
    *,
    boundary: str = "unknown",
    weights: Any = None,
    channel_axis: int | None = None,
) -> Observation:
    """Validate what every solver is given, once, and put it on an operator.

    Parameters
    ----------
    image : array
        Observed image of any scale: spatial axes, and `channel_axis` if given. NaN is unobserved.
    psf : array or operator
        The point spread function, with or without the image's channel axis; or an operator that
        satisfies the contract of `Blur`, whose boundary and weights then hold.
    boundary, weights
        See `Blur`. `weights` have the image's shape, with or without the channel axis.
    channel_axis : int, optional
        Axis that holds colours or separate images.

    Returns
    -------
    Observation
        The image, channels first and 0 where it was NaN; the operator's weights are 0 there.

    Raises
    ------
    TypeError, ValueError
        For anything that is not an image, a psf or weights, naming the argument.

    Examples
    --------
    >>> import numpy as np, deconv
    >>> image = np.array([1.0, np.nan, 3.0, 4.0])
    >>> seen = deconv.operators.observe(image, [0.25, 0.5, 0.25])
    >>> seen.y, seen.A.weights
    (array([1., 0., 3., 4.]), array([1., 0., 1., 1.]))
    """
    given = image
    image, holes = checked(image, "image")
    dtype = _result_dtype(given, image)
    if isinstance(psf, Blur):
        if weights is not None or boundary != BOUNDARIES[0]:
            raise ValueError("psf is an operator: its own boundary and weights hold; pass neither")
        A, y = psf, image
        if channel_axis is not None:
            y = channels_first(image, A.ndim, channel_axis)
        if tuple(y.shape[-A.ndim :]) != A.shape:
            raise ValueError(f"image has shape {tuple(image.shape)}; the operator sees {A.shape}")
        return _observation(A, y, holes, channel_axis, dtype)
    if not getattr(psf, "exact", True):
        raise TypeError(
            f"psf is a {type(psf).__name__}, which no division of spectra inverts; expected one "
            f"psf, or restore by its own prox(z, y, rho)"
        )
    psf = floating(psf, "psf")
    own_channels = channel_axis is not None and psf.ndim == image.ndim
    ndim = psf.ndim - own_channels
    y = channels_first(image, ndim, channel_axis)
    if own_channels:
        psf = channels_first(psf, ndim, channel_axis, "psf")
        if psf.shape[0] not in (1, y.shape[0]):
            raise ValueError(
                f"psf has {psf.shape[0]} channels along channel_axis={channel_axis}; the image has "
                f"{y.shape[0]}"
            )
    if weights is not None:
        weights = floating(weights, "weights")
        if weights.ndim == image.ndim and channel_axis is not None:
            weights = channels_first(weights, ndim, channel_axis, "weights")
        _same_shape(weights, y)
        weights = like(weights, y)
    A = Blur(like(psf, y), tuple(y.shape[-ndim:]), boundary=boundary, weights=weights)
    return _observation(A, y, holes, channel_axis, dtype)


def _result_dtype(given: Any, image: Array) -> Any:
    """The image's own floating dtype; float32 for integers."""
    dtype = getattr(given, "dtype", None)
    if dtype is not None and dtype_name(given) in ("float16", "bfloat16"):
        return dtype
    return image.dtype


def _same_shape(weights: Array, y: Array) -> None:
    expected, got = tuple(y.shape), tuple(weights.shape)
    if got != expected[-len(got) :] and got != (1, *expected[1:]):
        raise ValueError(f"weights have shape {got}; expected the image's {expected}")


def _observation(
    A: Blur, y: Array, holes: bool, channel_axis: int | None, dtype: Any
) -> Observation:
    """Pixels that are NaN become unobserved zeros."""
    if holes:
        xp = namespace(y)
        missing = xp.isnan(y)
        if bool(xp.all(missing)):
            raise ValueError("image holds nothing but NaN; expected some observed pixels")
        seen = xp.astype(~missing, y.dtype)
        A = A.reweighted(seen if A.weights is None else seen * A.weights)
        y = xp.where(missing, xp.zeros_like(y), y)
    return Observation(A, y, channel_axis, dtype)
