"""Ringing taken out of a restoration, by the help of one that has none."""

from __future__ import annotations

from typing import Any

import numpy as np

from deconv.arrays import Array, floating, like, number, to_numpy
from deconv.filters import bilateral

__all__ = ["suppress"]


def suppress(
    sharp: Any,
    smooth: Any,
    *,
    strength: float = 1.0,
    sigma_space: float = 3.0,
    sigma_range: float | None = None,
    channel_axis: int | None = None,
) -> Array:
    r"""Take from `sharp` the waves that it has and `smooth` has not, and leave the fine texture.

    .. math:: \hat x = x - w\, \mathrm{bilateral}(x - z)

    for two restorations of the same image: a detailed one x, and a piecewise constant one z, such
    as `deconv.l0_gradient`'s, that cannot ring. Of their difference the bilateral filter keeps
    what is broad or strong; this is the ringing of a wrong psf or of strong noise, and is taken
    away. What is fine and weak is texture, and stays. Strong detail that z lacks is lost, so z
    should show all edges, and with an exact psf there is little to gain.

    Parameters
    ----------
    sharp, smooth : array (Y, X), or of 1 to 3 spatial axes; with `channel_axis` one more
        Of the same shape and unit.
    strength : float
        The factor w, at least 0: 0 leaves `sharp` as it is, 1 is Pan's.
    sigma_space : float
        Width of the bilateral filter in pixels.
    sigma_range : float, optional
        Its width in image units, above 0: what is weaker counts as texture. Half the standard
        deviation of `smooth` when None, which is Pan's 0.1 in an average photograph on [0, 1].
    channel_axis : int, optional
        Axis that holds colours, which share the filter's weights.

    Returns
    -------
    array
        With the shape, namespace and floating dtype of `sharp`.

    Raises
    ------
    TypeError, ValueError
        For two pictures of different shapes, a negative `strength`, or a width that is not above 0.

    References
    ----------
    Pan, Hu, Su and Yang (2014), "Deblurring text images via L0-regularized intensity and gradient
    prior", CVPR (section 3.4).

    Examples
    --------
    >>> import numpy as np
    >>> from deconv import ringing
    >>> edge = np.kron([[0.0, 1.0]], np.ones((32, 16)))
    >>> waves = edge + 0.2 * np.cos(np.arange(32) / 3)
    >>> clean = ringing.suppress(waves, edge)
    >>> bool(np.abs(clean - edge).mean() < np.abs(waves - edge).mean() / 2)
    True
    """
    sharp, smooth = floating(sharp, "sharp"), floating(smooth, "smooth")
    if tuple(sharp.shape) != tuple(smooth.shape):
        raise ValueError(
            f"smooth has shape {tuple(smooth.shape)}; expected that of sharp, {tuple(sharp.shape)}"
        )
    strength = number(strength, "strength", low=0)
    smooth = like(smooth, sharp)
    if sigma_range is None:
        sigma_range = 0.5 * float(np.nanstd(to_numpy(smooth))) or None
    waves = bilateral(
        sharp - smooth, sigma_space=sigma_space, sigma_range=sigma_range, channel_axis=channel_axis
    )
    return sharp - strength * waves
