"""Local filters that know edges: the bilateral one smooths beside them, the shock one sharpens.

They work on NumPy arrays; images of other array libraries are converted and given back as their
own kind. Every filter commutes with a change of the image's scale.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deconv.arrays import (
    Array,
    channels_first,
    checked,
    device,
    is_numpy,
    namespace,
    number,
    to_numpy,
    whole,
)
from deconv.memory import empty
from deconv.threads import share_out

__all__ = ["bilateral", "shock"]

# Value, in units of sigma_range, of pixels that are not there: no neighbour is similar to them, and
# the square is still a float32.
NOWHERE = 1e18
# Rows worked at a time: a block of them and its temporaries stay in the second-level cache.
BAND_BYTES = 1 << 18


def bilateral(
    image: Any,
    *,
    sigma_space: float = 3.0,
    sigma_range: float | None = None,
    channel_axis: int | None = None,
) -> Array:
    r"""Smooth `image` with weights that fall off with distance and with difference in value.

    .. math:: \hat x_i = \frac{\sum_j w_{ij} x_j}{\sum_j w_{ij}}, \qquad
              w_{ij} = \exp\!\left(-\frac{|i - j|^2}{2 s^2} - \frac{|x_i - x_j|^2}{2 r^2}\right)

    over the pixels j within 3 s of i that lie in the frame: what is smooth gets smoother, steps of
    more than some r stay. Exact, at a cost that grows with the window: 0.3 s for a megapixel, one
    thread and the default s.

    Parameters
    ----------
    image : array (Y, X), or of 1 to 3 spatial axes
        In any unit, of either sign. NaN pixels, and colours with a NaN, come back as they are and
        have no influence.
    sigma_space : float
        The width s in pixels, above 0.
    sigma_range : float, optional
        The width r in image units, above 0; half the image's standard deviation when None.
    channel_axis : int, optional
        Axis that holds colours, which share their weights: ``|x_i - x_j|`` is a colour difference.

    Returns
    -------
    array
        With the shape, floating dtype and scale of `image`; a constant image comes back as it is.

    References
    ----------
    Tomasi and Manduchi (1998), ICCV.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.filters import bilateral
    >>> step = np.repeat([[0.0, 1.0]], 8, axis=1) * np.ones((16, 1))
    >>> bool(np.abs(bilateral(step, sigma_range=0.1) - step).max() < 1e-12)
    True
    """
    x, restore = _laid_out(image, channel_axis)
    sigma_space = number(sigma_space, "sigma_space", low=0, strict=True)
    if sigma_range is not None:
        sigma_range = number(sigma_range, "sigma_range", low=0, strict=True)
    hidden = np.isnan(x).any(axis=0)
    if sigma_range is None:
        seen = x[:, ~hidden]
        sigma_range = 0.5 * float(seen.std(axis=1).max()) if seen.size else 0.0
        if sigma_range <= np.finfo(x.dtype).eps * float(np.abs(seen).max(initial=0)):
            return restore(np.array(x))
    reach = math.ceil(3 * sigma_space)
    margin = [(0, 0)] + [(min(reach, n - 1),) * 2 for n in x.shape[1:]]
    scaled = np.pad(
        np.where(hidden, x.dtype.type(NOWHERE), x / x.dtype.type(sigma_range)),
        margin,
        constant_values=NOWHERE,
    )
    change = _bilateral_change(scaled, [m for m, _ in margin[1:]], sigma_space)
    change *= x.dtype.type(sigma_range)
    change += x
    return restore(change)


def _bilateral_change(x: np.ndarray, reach: list[int], sigma_space: float) -> np.ndarray:
    """What the filter adds to the inside of `x` (C, *spatial), for a sigma_range of 1."""
    offsets = [
        (offset, -0.5 * sum(o * o for o in offset) / sigma_space**2)
        for offset in itertools.product(*(range(-r, r + 1) for r in reach))
        if 0 < sum(o * o for o in offset) <= 9 * sigma_space**2
    ]
    shape = (x.shape[0], *(n - 2 * r for n, r in zip(x.shape[1:], reach, strict=True)))
    change = empty(shape, x.dtype)
    rows = max(1, BAND_BYTES // (x.itemsize * math.prod(shape[2:])))

    def window(first: int, last: int, offset: Sequence[int]) -> np.ndarray:
        """Rows first to last of the inside, moved by `offset`."""
        row, *rest = (r + o for r, o in zip(reach, offset, strict=True))
        inside = [slice(o, o + n) for o, n in zip(rest, shape[2:], strict=True)]
        return x[(slice(None), slice(first + row, last + row), *inside)]

    def work(starts: Sequence[int]) -> None:
        for first in starts:
            last = min(first + rows, shape[1])
            here = window(first, last, [0] * len(reach))
            total = change[:, first:last]
            total[...] = 0
            norm = np.ones(here.shape[1:], x.dtype)
            difference, weight = np.empty_like(here), np.empty_like(norm)
            square = np.empty_like(norm)
            for offset, distance in offsets:
                np.subtract(window(first, last, offset), here, out=difference)
                np.multiply(difference[0], difference[0], out=weight)
                for channel in difference[1:]:
                    weight += np.multiply(channel, channel, out=square)
                weight *= x.dtype.type(-0.5)
                weight += x.dtype.type(distance)
                norm += np.exp(weight, out=weight)
                difference *= weight
                total += difference
            total /= norm

    share_out(work, range(0, shape[1], rows))
    return change


def shock(
    image: Any,
    *,
    n_iter: int = 10,
    step: float = 0.5,
    sigma_space: float = 1.0,
    channel_axis: int | None = None,
) -> Array:
    r"""Sharpen edges to jumps: values flow uphill where the Laplacian is negative, else downhill.

    .. math:: x \leftarrow x - \mathrm{step} \cdot \mathrm{sign}(G * \Delta x)\, |\nabla x|

    with the Laplacian smoothed by a Gaussian (Alvarez and Mazorra 1994) and the gradient by the
    minmod of the two one-sided differences along each axis. For steps up to
    ``1 / sqrt(spatial axes)`` no value leaves the range of its neighbours: there is no overshoot,
    and each edge settles at the zero crossing of the Laplacian. Noise is sharpened too; smooth it
    first, for example with `bilateral` (Cho and Lee 2009).

    Parameters
    ----------
    image : array (Y, X), or of 1 to 3 spatial axes
        In any unit. NaN pixels stay NaN; their neighbours see a constant continuation.
    n_iter : int
        Steps; an edge moves by at most ``step`` pixels in each.
    step : float
        Time step, above 0 and at most 1.
    sigma_space : float
        Width of the Gaussian in pixels, at least 0: noise must not decide where edges are.
    channel_axis : int, optional
        Axis that holds colours or separate images, each filtered on its own.

    Returns
    -------
    array
        With the shape, floating dtype and scale of `image`.

    References
    ----------
    Osher and Rudin (1990), SIAM J. Numer. Anal. 27; Alvarez and Mazorra (1994), SIAM J. Numer.
    Anal. 31; Cho and Lee (2009), ACM Trans. Graph. 28.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.filters import shock
    >>> ramp = np.array([0, 0, 0.1, 0.3, 0.7, 0.9, 1, 1])
    >>> shock(ramp, n_iter=50).round(2)
    array([0., 0., 0., 0., 1., 1., 1., 1.])
    """
    from scipy.ndimage import gaussian_filter

    x, restore = _laid_out(image, channel_axis)
    whole(n_iter, "n_iter")
    step = number(step, "step", low=0, high=1, strict=True)
    widths = [0.0, *[number(sigma_space, "sigma_space", low=0)] * (x.ndim - 1)]
    x = np.array(x)
    for _ in range(n_iter):
        laplacian, slope = np.zeros_like(x), np.zeros_like(x)
        for axis in range(1, x.ndim):
            forward = np.diff(x, axis=axis, append=x.take([-1], axis))
            backward = np.diff(x, axis=axis, prepend=x.take([0], axis))
            np.nan_to_num(forward, copy=False)
            np.nan_to_num(backward, copy=False)
            laplacian += forward - backward
            least = np.minimum(np.abs(forward), np.abs(backward))
            least[(forward > 0) != (backward > 0)] = 0
            slope += least * least
        laplacian = gaussian_filter(laplacian, widths)
        x -= x.dtype.type(step) * np.sign(laplacian) * np.sqrt(slope)
    return restore(x)


# --- layout --------------------------------------------------------------------------------------


def _laid_out(
    image: Any, channel_axis: int | None
) -> tuple[np.ndarray, Callable[[np.ndarray], Array]]:
    """`image` as NumPy with a leading channel axis, and the way back to the user's layout."""
    half = image.dtype if str(getattr(image, "dtype", "")).endswith("float16") else None
    image, _ = checked(image, "image")
    ndim = image.ndim - (channel_axis is not None)
    if not 1 <= ndim <= 3:
        raise ValueError(f"image has shape {tuple(image.shape)}; expected 1 to 3 spatial axes")
    first = channels_first(image, ndim, channel_axis)
    x = to_numpy(first if channel_axis is not None else first[None, ...])

    def restore(result: np.ndarray) -> Array:
        result = result[0] if channel_axis is None else np.moveaxis(result, 0, channel_axis)
        result = np.ascontiguousarray(result)
        xp = namespace(image)
        if not is_numpy(image):
            result = xp.asarray(result, dtype=image.dtype, device=device(image))
        return result if half is None else xp.astype(result, half)

    return x, restore
