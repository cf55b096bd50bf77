"""Clipped pixels: the level at which a sensor saturates, and what a clipped pixel still says.

A pixel at the level recorded "at least this much light". Taking it at its word bends the fit around
every light; leaving it out forgets that it was bright. So its datum is completed: it counts where
the prediction contradicts it, and agrees with whatever is predicted above it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from deconv.arrays import Array, choose, elementwise, namespace, number, to_numpy

__all__ = ["clip_level", "completed", "recorded"]

# The histogram below the largest value is looked at in bins of this part of the data's range (one
# code of a picture of 8 bits), or of the quantisation step where that is coarser; about so many
# pixels show the step.
BIN, SAMPLE = 1 / 256, 4096
# Natural histograms fade out towards their end. Clipping heaps pixels on the largest value: more
# than twice what the three bins below hold on average, and beyond chance.
PILE, CHANCE = 2.0, 4.0
# A lossy file spreads the clipped pixels over the next few codes, by so many bins at most; a bin is
# theirs while it stands out from the average of the sixteen below the last of them.
SPREAD, BASE = 8, 16


def clip_level(y: Array, saturation: Any, weights: Array | None = None) -> float | None:
    """The level from which on pixels are clipped, in image units; None where none are.

    Parameters
    ----------
    y : array
        Observed image of any shape. All its channels share one level: files of developed pictures
        clip all colours at white. Where they do not (a raw image after white balance), restore
        the channels one by one.
    saturation : None, "auto" or float
        None: nothing is clipped. A number: that level. "auto": looked for, as a heap of pixels
        that share exactly the largest value, with the shoulder that lossy files give it.
    weights : array, optional
        Pixels of weight 0 are not looked at; broadcasts against `y`.

    Raises
    ------
    TypeError, ValueError
        If `saturation` is something else, or a number above the data's largest value or not above
        the smallest.

    Notes
    -----
    Nothing tells paper that is exactly white from paper that is clipped, and "auto" takes a plateau
    at the largest value for clipped whatever it is, binary phantoms without noise included. The
    cost is small: such a pixel still says "at least white". Noise that was not clipped itself
    dissolves the heap, so noisy pictures are not mistaken. Equivariant to scale and offset.

    Examples
    --------
    >>> import numpy as np
    >>> light = 1.4 * np.random.default_rng(0).random((64, 64))
    >>> clip_level(light, "auto"), clip_level(np.minimum(light, 1), "auto")
    (None, 1.0)
    """
    if saturation is None:
        return None
    if isinstance(saturation, str):
        choose(saturation, ["auto"], "saturation")
    else:
        number(saturation, "saturation")
    seen = to_numpy(y)
    if weights is not None:
        seen = seen[np.broadcast_to(to_numpy(weights) > 0, seen.shape)]
    if seen.size == 0:
        return None
    low, high = float(seen.min()), float(seen.max())
    if isinstance(saturation, str):
        return _heap(seen, low, high)
    # As precise as the data, lest a level be above what it is.
    level = float(seen.dtype.type(saturation))
    if not low < level <= high:
        raise ValueError(
            f"saturation={level:g}; expected a level above the image's smallest value {low:g} and "
            f"at most its largest {high:g}, or None where nothing is clipped"
        )
    return level


def completed(y: Array, prediction: Array, clipped: Array, out: Array | None = None) -> Array:
    """The data with each clipped pixel raised to its `prediction`, if that is above it.

    In a misfit, completed pixels have weight 0 where the prediction reaches them and weight 1 where
    it does not. Of all data that the sensor would have clipped to `y` they fit best, so a step of
    any solver on them lowers the misfit of what was recorded (majorisation-minimisation).

    Parameters
    ----------
    y, prediction : array
        Data, and what the current estimate predicts of them.
    clipped : array of bool
        Where y is at the level or above. All three broadcast against each other.
    out : array, optional
        Memory to write to; NumPy only.
    """
    xp = namespace(prediction)
    return elementwise(lambda v, q, c: xp.where(c & (q > v), q, v), y, prediction, clipped, out=out)


def recorded(y: Array, prediction: Array, clipped: Array) -> Array:
    """The prediction as the sensor would have shown it: no more than `y` where that is clipped.

    For scores of predictions, as `completed` is for fits.
    """
    xp = namespace(prediction)
    return elementwise(lambda v, q, c: xp.where(c & (q > v), v, q), y, prediction, clipped)


def _heap(seen: np.ndarray, low: float, high: float) -> float | None:
    """The lower end of a heap of pixels at the largest value; None where there is none."""
    if low == high:
        return None
    below = seen[seen < high]
    step = max((high - low) * BIN, _gap(seen[seen >= (low + high) / 2]) or _gap(seen))
    near = below[below > high - (SPREAD + BASE + 0.5) * step]
    bins = np.floor((high - near) / step + 0.5).astype(np.int64)
    counts = np.bincount(bins, minlength=SPREAD + BASE + 1).astype(float)
    if not _stands_out(seen.size - below.size, counts[1:4].mean()):
        return None
    base = counts[SPREAD + 1 : SPREAD + BASE + 1].mean()
    widest = min(SPREAD, int(SPREAD * BIN * (high - low) / step))
    last = 0
    # Two at a time: codes that were put through a curve leave empty bins between them.
    while last < widest and _stands_out(counts[last + 1 : last + 3].mean(), base):
        last += 1
    return high if last == 0 else float(near[bins <= last].min(initial=high))


def _gap(values: np.ndarray) -> float:
    """The smallest step between a sample of the values; 0 where they are all the same."""
    values = values.reshape(-1)
    gaps = np.diff(np.unique(values[:: max(1, values.size // SAMPLE)]))
    return float(gaps.min()) if gaps.size else 0.0


def _stands_out(count: float, base: float) -> bool:
    """Whether a bin holds clearly more than others do."""
    return bool(count > PILE * base + CHANCE * np.sqrt(base + CHANCE))
