"""Flat areas and sharp steps: the L0-gradient solve of a posed problem, and what it is good for.

The solver `deconv.l0_gradient` is this with a front; ring suppression needs it as a companion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from deconv.arrays import Array
from deconv.fidelity import Fidelity
from deconv.prior_weight import l0_gradient_rule
from deconv.priors import L0Gradient
from deconv.problem import LEAST_RHO, Problem, Solve
from deconv.ringing import suppress
from deconv.splitting import Solution, hqs

__all__ = ["dering", "flat_solver"]

# Penalties over the weight in pictures like those on [0, 1]. A wider range, or more stages, ends in
# a worse picture: the problem is not convex.
FIRST_BETA, LAST_BETA = 20.0, 1000.0
STAGES, STEPS = 6, 5
# The companion of a detailed restoration must be flatter than the best L0 picture, which rings as
# much as the detailed one does: with 6 times its weight, half of the ringing removed gains 1 dB
# on tv with estimated psfs (benchmarks/filters.py).
COMPANION = 6.0


def flat_solver(problem: Problem, channels: int, n_iter: int, steps: int) -> Solve:
    """``solve(fidelity, lam, start, tell)`` by `hqs`, gradients counted over all `channels`."""

    def solve(fidelity: Fidelity, lam: np.ndarray, start: Any, tell: Any) -> Solution:
        betas = np.geomspace(FIRST_BETA, LAST_BETA, n_iter)
        rhos = [np.maximum(beta * lam / problem.unit**2, LEAST_RHO) for beta in betas]
        terms = problem.stages(L0Gradient(channels > 1), lam, rhos)
        return hqs(fidelity, terms, steps=steps, start=start, tell=tell)

    return solve


def dering(restored: Array, strength: float, pose: Callable[[], Problem]) -> Array:
    """`restored`, in the user's layout, without `strength` of the ringing beside its edges.

    The companion that knows no ringing is the L0-gradient restoration of the same problem; see
    `deconv.ringing.suppress`.
    """
    if strength == 0:
        return restored
    problem, channels = pose().coupled()
    solve = flat_solver(problem, channels, STAGES, STEPS)
    rule = l0_gradient_rule(problem.ndim, channels)
    smooth = problem.restore(solve, rule._replace(c=COMPANION * rule.c), None, STAGES, None)
    result = suppress(restored, smooth, strength=strength, channel_axis=problem.seen.channel_axis)
    return result if problem.bounds is None else problem.bounds.prox(result)
