"""When to stop an iteration that fits ever more noise: when held data are predicted best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from deconv.arrays import Array, detached, device, is_numpy, namespace, to_numpy

__all__ = ["STOPS", "find_n_iter"]

STOPS = ("auto", "counts", "held-out")

# Share of the counts, or of the pixels, that find the number of iterations.
HELD_COUNTS, HELD_PIXELS = 0.1, 0.05
# The search ends after this many iterations, or when the held data have not improved for a while.
MOST_ITERATIONS = 500


def find_n_iter(
    fit: Any,
    stop: str,
    gain: float | None,
    rng: Any,
    tell: Callable[..., bool] | None,
) -> tuple[int, int, Array | None]:
    """The number of iterations that predicts held data best, those spent, and x if cancelled."""
    A, y, xp = fit.A, fit.y, namespace(fit.y)
    random = np.random.default_rng(rng)

    def like_y(values: np.ndarray) -> Array:
        if is_numpy(y):
            return values.astype(y.dtype)
        return xp.asarray(values, dtype=y.dtype, device=device(y))

    if gain is not None and stop != "held-out":
        counts = np.rint(to_numpy(y).astype(float) / gain).astype(np.int64)
        kept = random.binomial(counts, 1 - HELD_COUNTS)
        held, share = like_y((counts - kept) * gain), HELD_COUNTS / (1 - HELD_COUNTS)
        light, weights = 1 - HELD_COUNTS, A.weights
        trial = replace(fit, y=like_y(kept * gain), b=fit.b * (1 - HELD_COUNTS))
    else:
        out = like_y(random.random(A.shape) < HELD_PIXELS)
        held, share, light = y, 1.0, 1.0
        weights = out if A.weights is None else out * A.weights
        left = 1 - out if A.weights is None else A.weights * (1 - out)
        trial = replace(fit, A=A.reweighted(left))
    losses: list[float] = []

    def judge(k: int, seen: Array) -> bool:
        q = xp.clip(share * (seen + trial.b), trial.floor, None)
        loss = q - held * xp.log(q)
        losses[k - 1 :] = [
            float(xp.sum(detached(loss if weights is None else weights * loss), dtype=xp.float64))
        ]
        best = int(np.argmin(losses))
        return k - 1 - best > max(8, best // 3)

    cancelled, told = False, 0

    def watch(k: int, x: Array, divergence: float | None) -> bool:
        nonlocal cancelled, told
        told = k
        cancelled = tell is not None and tell(k, x / light, divergence)
        return cancelled

    x = trial.run(MOST_ITERATIONS, tell=watch, judge=judge)
    # The prediction judged in iteration k is that of the iterate before it.
    return max(int(np.argmin(losses)), 1), told, x / light if cancelled else None
