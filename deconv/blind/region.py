"""Where in a large photograph the psf is looked for: edges of all directions, nothing clipped."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

from deconv.blind.kernel import gradients
from deconv.blind.pyramid import smaller

__all__ = ["informative"]

# The picture is looked at in about this many pixels on the shorter side.
LOOK = 300


def informative(
    image: np.ndarray, weights: np.ndarray | None, side: tuple[int, int]
) -> tuple[slice, slice]:
    """The window of `side` pixels that says most about the psf.

    Parameters
    ----------
    image : array (Y, X)
        Grey, float32, without NaN.
    weights : array (Y, X) or None
        0 where a pixel was not observed.
    side : (int, int)
        At most the picture's own shape.

    Returns
    -------
    (slice, slice)
        The window whose poorest orientation of four has the most gradient. Single strong edges
        count no more than moderate ones; unobserved pixels count nothing.
    """
    if image.shape == side:
        return slice(0, side[0]), slice(0, side[1])
    scale = min(1.0, LOOK / min(image.shape))
    small = smaller(image, scale)
    dy, dx = gradients(small)
    power = dy * dy + dx * dx
    strength = np.sqrt(np.minimum(power, np.quantile(power, 0.95)))
    if weights is not None:
        seen = smaller(weights, scale)[:-1, :-1]
        # A clipped pixel spoils what lies around it, too.
        strength *= uniform_filter((seen < 0.99).astype(np.float32), 9) == 0
    bins = np.floor(np.arctan2(dy, dx) / (np.pi / 4)).astype(int) % 4
    window = [max(1, min(round(n * scale), m)) for n, m in zip(side, power.shape, strict=True)]
    poorest = np.min([_sums(np.where(bins == i, strength, 0), window) for i in range(4)], axis=0)
    at = np.unravel_index(int(poorest.argmax()), poorest.shape)
    place = []
    for a, n, whole in zip(at, side, image.shape, strict=True):
        begin = min(max(round(int(a) / scale), 0), whole - n)
        place.append(slice(begin, begin + n))
    return place[0], place[1]


def _sums(x: np.ndarray, window: list[int]) -> np.ndarray:
    """Sums of `x` over every window that lies inside."""
    total = np.pad(x.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    a, b = window
    result: np.ndarray = total[a:, b:] - total[:-a, b:] - total[a:, :-b] + total[:-a, :-b]
    return result
