"""Lights too bright for the sensor: keeping their errors out of the picture around them.

Hardly any unclipped pixel speaks of a lamp, so its brightness is a guess, and whatever the guess is
wrong by rings through every pixel that the blur mixes with it. Whyte, Sivic and Zisserman (2014)
therefore split each step: the lights are updated from all data, everything else only from data that
no light reaches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from deconv.arrays import Array, detached, device, elementwise, namespace
from deconv.operators import Blur
from deconv.saturation import recorded
from deconv.sensitivity import SEEN_ENOUGH, inverse, sensitivity

__all__ = ["LOOKS", "Night", "Split"]

# A light is a latent pixel that is brighter than the level by this factor, and of which less than
# this part of what the frame sees of it is unclipped.
BRIGHT, TOLD = 1.2, 0.35
# Lamps outshine the level nearly wherever they are hidden: in at least this part of the hidden
# pixels of a box of so many widths of the psf. Paper and sky do not: what they hide lies close
# above the level, and a few specks of noise or ringing on it are no reason to take the data from
# everything around them.
LIT, BOX = 0.3, 3
# Data lose weight in proportion to the lights' share in their prediction, all of it at this share.
SHARE = 0.1
# Lights are looked for in so many iterations, and then stay what they are: looking for ever gains
# nothing, and the step changes under the momentum.
LOOKS = 10


@dataclass(frozen=True)
class Split:
    """Where the lights are, and the weights of the data that the rest is updated from.

    Attributes
    ----------
    A : Blur
    lights : array of bool, domain
    beside : array, frame
        Weights of the data; 0 where lights reach.
    inverse : array, domain
        1 / sensitivity: of all data for the lights, of those beside them for the rest.
    """

    A: Blur
    lights: Array
    beside: Array
    inverse: Array

    def gather(self, ratio: Array, *, out: Array | None, **memory: Any) -> Array:
        """``Aᵀ ratio`` for the lights, ``Aᵀ (beside ratio)`` for the rest; see `Blur.correlate`."""
        A, xp = self.A, namespace(ratio)
        part = elementwise(xp.multiply, A.crop(ratio), self.beside)
        rest = A.correlate(A.frame.pad(part), framed=True, **memory)
        every = A.correlate(ratio, out=out, framed=True, **memory)
        return elementwise(xp.where, self.lights, every, rest, out=rest)


@dataclass(frozen=True)
class Night:
    """What of the scene the clipped pixels hide.

    Attributes
    ----------
    A : Blur
    y, clipped : array
        The data, and where they are clipped.
    hidden : array of bool, domain
        Latent pixels that the frame sees, but mostly in clipped pixels.
    level : float
        Brightness of the scene at which pixels clip.
    b : float
        Light beside the scene's.
    seen : array or None
        The sensitivity, see `deconv.sensitivity`.
    """

    A: Blur
    y: Array
    clipped: Array
    hidden: Array
    level: float
    b: float
    seen: Array | None

    @classmethod
    def of(cls, A: Blur, y: Array, clipped: Array, b: float) -> Night:
        """From data `y`, where they are `clipped`, and the light `b` beside the scene's."""
        xp = namespace(y)
        seen = sensitivity(A, A.weights, y)
        told = xp.astype(~clipped, y.dtype)
        told = sensitivity(A, told if A.weights is None else told * A.weights, y)
        whole = xp.ones_like(told) if seen is None else seen
        hidden = elementwise(
            lambda part, all_: (part < TOLD * all_) & (all_ > SEEN_ENOUGH),
            detached(told),
            detached(whole),
            dtype=np.dtype(bool),
        )
        # The mean of the clipped data, not the camera's level: held-out counts are thinned.
        cut = xp.astype(clipped, y.dtype)
        level = float(xp.sum(detached(cut * y))) / max(float(xp.sum(cut)), 1.0)
        return cls(A, y, clipped, hidden, level - b, b, seen)

    def shown(self, prediction: Array, split: Split | None) -> Array:
        """The `prediction` as the sensor would show it, for scores: the data where lights reach.

        What the split leaves unexplained there is no sign of too many iterations.
        """
        scene = self.y - self.b if self.b else self.y
        q = recorded(scene, prediction, self.clipped)
        if split is None:
            return q
        return elementwise(lambda v, w, p: v + w * (p - v), scene, split.beside, q)

    def split(self, x: Array) -> Split | None:
        """How to update the iterate `x`; None where it has no lights."""
        A, x, xp = self.A, detached(x), namespace(x)
        limit = BRIGHT * self.level
        lights = elementwise(lambda h, v: h & (v > limit), self.hidden, x, dtype=np.dtype(bool))
        if not bool(xp.any(lights)):
            return None
        enough = LIT * _nearby(A, self.hidden, x)
        lights = lights & (_nearby(A, lights, x) >= enough)
        if not bool(xp.any(lights)):
            return None
        bright = A(elementwise(lambda m, v: xp.where(m, v, 0 * v), lights, x, dtype=x.dtype))

        def weigh(light: Array, every: Array) -> Array:
            every = every + self.b
            # A prediction may round to zero or below where there is no light at all.
            dark = every <= 0
            share = light / xp.where(dark, xp.ones_like(every), every)
            return xp.where(dark, xp.ones_like(every), 1 - xp.clip(share / SHARE, 0, 1))

        beside = elementwise(weigh, bright, A(x))
        weights = beside if A.weights is None else beside * A.weights
        rest = inverse(sensitivity(A, weights, x))
        every = xp.ones_like(rest) if self.seen is None else inverse(self.seen)
        return Split(A, lights, beside, elementwise(xp.where, lights, every, rest, dtype=x.dtype))


def _nearby(A: Blur, mask: Array, like: Array) -> Array:
    """How many pixels of `mask` there are in the box about each pixel of the domain."""
    xp = namespace(like)
    size = [min(BOX * k, n) for k, n in zip(A.psf.shape[-A.ndim :], A.domain, strict=True)]
    box = xp.ones(size, dtype=like.dtype, device=device(like)) / math.prod(size)
    mean = Blur(box, A.domain, boundary="periodic")(xp.astype(mask, like.dtype))
    # Whole numbers again: ties must not depend on the rounding of the FFT.
    return xp.round(mean * math.prod(size))
