r"""The weight of a prior without tuning: closed rules in what `deconv.evidence` finds.

A rule ``lam = c sigma^q (sigma/g)^a df^b`` is a regression of the weight that gives the best mean
squared error on natural pictures, on the noise sigma, the sharp picture's rms gradient g and the
fraction df of degrees of freedom that the data determine. q makes the weight scale with the image:
1 for total variation, 2 − p for a power p of the gradient. ``python -m benchmarks.weights`` fits
the constants and prints what is lost against the best weight.
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
        """lam for each leading index of the evidence."""
        ratio = found.sigma / np.maximum(found.gradient, np.finfo(float).tiny)
        lam: np.ndarray = self.c * found.sigma**self.q * ratio**self.a * found.dof**self.b
        return lam


def tv_rule(ndim: int, channels: int = 1) -> Rule:
    """For isotropic total variation over `ndim` axes, one length over `channels`."""
    return Rule(0.92 * channels**-0.35, 1.0, 0.82, 0.375)


def hyper_laplacian_rule(p: float, ndim: int) -> Rule:
    """For the p-th powers of all derivatives."""
    return Rule(1 / 1.03, 2 - p, 0.54, 0.315)


def l0_gradient_rule(ndim: int, channels: int = 1) -> Rule:
    """For the number of gradients that are not 0."""
    return Rule(1.0, 2.0, 0.5, 0.3)
