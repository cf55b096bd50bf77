r"""The weight of a prior without tuning: closed rules in what `deconv.evidence` finds.

A rule ``lam = c sigma^q (sigma/g)^a df^b`` is a regression of the weight that gives the best mean
squared error, on the noise sigma, the sharp picture's rms gradient g and the fraction df of degrees
of freedom that the data determine. q makes the weight scale with the image: 1 for total variation,
2 − p for a power p of the gradient. Where a few lamps hold nearly all of the gradient, g is that of
the rest. Photographs gave the constants of two axes, which serve one axis too; synthetic cells,
bars and a nucleus those of three, where l0_gradient was not tried. ``python -m benchmarks.weights``
fits them and prints what is lost against the best weight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from deconv.evidence import Evidence

__all__ = ["Rule", "hyper_laplacian_rule", "l0_gradient_rule", "tv_rule"]


class Rule(NamedTuple):
    """Constants of ``lam = c sigma^q (sigma/g)^a df^b``."""

    c: float
    q: float
    a: float
    b: float

    def weight(self, found: Evidence) -> np.ndarray:
        """The weight for each leading index of the evidence."""
        ratio = found.sigma / np.maximum(found.slope, np.finfo(float).tiny)
        lam: np.ndarray = self.c * found.sigma**self.q * ratio**self.a * found.dof**self.b
        return lam


# Vectorial priors see one gradient where the data of all channels speak: their weight grows as this
# power of the number of channels.
CHANNELS_TV, CHANNELS_L0 = 0.28, 0.36

# A weight that is too small costs twice what one too large by the same factor does, and the problem
# is not convex: the fit errs to the larger side.
SAFETY = 1.15
# Hyper-Laplacian: constants at five powers, interpolated.
POWERS = (0.3, 0.5, 2 / 3, 0.8, 1.0)
HYPER_C = (1.99, 1.85, 1.77, 1.60, 1.45)
HYPER_A = (0.36, 0.53, 0.68, 0.80, 0.95)
HYPER_B = (0.39, 0.50, 0.56, 0.56, 0.53)


def tv_rule(ndim: int, channels: int = 1) -> Rule:
    """For isotropic total variation over `ndim` axes, one length over `channels`."""
    more = channels**CHANNELS_TV
    if ndim == 3:
        return Rule(6.0 * more, 1.0, 0.81, 0.68)
    return Rule(1.36 * more, 1.0, 0.95, 0.58)


def hyper_laplacian_rule(p: float, ndim: int) -> Rule:
    """For the p-th powers of all derivatives over `ndim` axes."""
    c, a, b = (float(np.interp(p, POWERS, at)) for at in (HYPER_C, HYPER_A, HYPER_B))
    if ndim == 3:
        return Rule(1.38 * c, 2 - p, a - 0.34, b + 0.06)
    return Rule(SAFETY * c, 2 - p, a, b)


def l0_gradient_rule(ndim: int, channels: int = 1) -> Rule:
    """For the number of gradients that are not 0, counted once over `channels`."""
    return Rule(4.46 * channels**CHANNELS_L0, 2.0, 0.16, 0.66)
