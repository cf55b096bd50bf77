"""The automatic procedure: a few complete runs that differ, one score, a stop when they agree.

Any single run fails on about one picture in ten, another one each time the box, the exponent or the
prior changes. Diversity and a score beat tuning one run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from deconv.blind.estimators import estimator
from deconv.blind.kernel import KernelStep, centred, normalised
from deconv.blind.polish import joined, polished
from deconv.blind.pyramid import Level, coarse_to_fine, odd, resized
from deconv.blind.score import Judge
from deconv.metrics import psf_similarity

__all__ = ["Candidate", "Search", "Trial", "plan", "search"]

# Noise above this, on [0, 1], calls for the careful settings.
NOISY = 0.003
# Stop after so many runs when the best psf is this similar to another one's.
RUNS, AGREEMENT = 5, 0.95
# Those that score no worse than the best by more than this, and are this similar, are joined.
NEAR, ALIKE = 0.015, 0.9
# A psf that others are as similar to gains so much in score by each, up to so many: a wrong one
# that happens to score well is alone.
BACKING, BACKERS = 0.01, 2
# What the best psf must score better than a single pixel by: CLEAR, with some support by another
# run; or FAINT, if it is wider than this (rms, in pixels), no pixel holds more than this of its
# light, and it is well confirmed. From 80 blurred pictures and 23 sharp ones.
CLEAR, VAGUE = 0.12, 0.6
FAINT, WIDE, PEAK, SUPPORT, HALVES = 0.035, 1.5, 0.15, 0.9, 0.8
# Iterations at the full size before the polish, which does the rest there.
FULL_ITER = 3
# The boxes are for pictures of this size.
REFERENCE = 256
GROWTH, LARGE = 1.35, 0.9


@dataclass(frozen=True)
class Candidate:
    """One run.

    Attributes
    ----------
    box : int
        Side of the psf's box.
    exponent : float
        Of the display values that the psf is estimated on.
    prior : str
    island : float
        Least share of the light of a part of the psf by itself; see `KernelStep`.
    smooth : float
        Standard deviation of a Gaussian that the picture goes through against noise.
    careful : bool
        Whether the psf step is made for noise.
    """

    box: int
    exponent: float
    prior: str
    island: float = 0.1
    smooth: float = 0.0
    careful: bool = False


# The first three differ in box, exponent and prior, and agree on most pictures. The careful ones
# come early where there is noise.
CLEAN = (
    Candidate(27, 0.8, "l0"),
    Candidate(35, 0.8, "patch_minimum"),
    Candidate(45, 1.0, "l0"),
    Candidate(45, 1.0, "patch_minimum"),
    Candidate(35, 1.0, "l0", island=0.05),
    Candidate(29, 1.0, "l0", careful=True),
    Candidate(21, 1.0, "l0"),
    Candidate(35, 0.8, "dark_channel"),
)
NOISE = (
    Candidate(41, 1.0, "l0", careful=True),
    Candidate(35, 0.8, "patch_minimum"),
    Candidate(29, 1.0, "l0", careful=True),
    Candidate(35, 1.0, "l0", island=0.05),
    Candidate(45, 1.0, "patch_minimum", smooth=1.0),
    Candidate(27, 0.8, "l0"),
    Candidate(55, 1.0, "l0", careful=True),
    Candidate(29, 2.2, "l0", smooth=1.0),
)
# Photographs in linear light are looked at as display values, in which a blur is not quite one: a
# run in the light itself follows these many others.
LIGHT_AFTER = 2
# Where there is paper, these come after the first one.
TEXT = (Candidate(35, 1.0, "text_paper"), Candidate(35, 1.0, "text"))


@dataclass(frozen=True, eq=False)
class Trial:
    """A finished run.

    Attributes
    ----------
    candidate : Candidate
    psf : array (y, x)
    score : float
        Of `deconv.blind.score`; smaller is better.
    agreement : float
        Of the psfs of the picture's halves, its part of the score.
    seconds : float
    """

    candidate: Candidate
    psf: np.ndarray
    score: float
    agreement: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Search:
    """All runs, the best of them, and why there were no more.

    Attributes
    ----------
    trials : tuple of Trial
        In the order they were made.
    best : Trial
    psf : array (y, x)
        Of the best run, joined with those that agree with it.
    sharp : float
        Score of the single pixel: the picture as it is.
    message : str
    agreed : bool
        Whether the best psf is much like another.
    stopped : bool
        Whether the callback ended the search.
    """

    trials: tuple[Trial, ...]
    best: Trial
    psf: np.ndarray
    sharp: float
    message: str
    agreed: bool
    stopped: bool = False

    @property
    def blurred(self) -> bool:
        """Whether the best psf explains the picture clearly better than no blur.

        Sharp pictures, too, score a little better with a psf of about a pixel, and those without
        structure much better with any. So a small gain counts only for a psf that is wide and that
        other runs and both halves of the picture confirm, and a large one if another run is similar
        at all.
        """
        gain, best = self.sharp - self.best.score, self.best
        if gain > CLEAR:
            return self.support > VAGUE
        sure = self.support > SUPPORT and best.agreement > HALVES
        return gain > FAINT and sure and width(best.psf) > WIDE and best.psf.max() < PEAK

    @property
    def support(self) -> float:
        """Similarity of the best psf to the nearest of another run; 1 if there was no other."""
        others = [psf_similarity(t.psf, self.best.psf) for t in self.trials if t is not self.best]
        return max(others, default=1.0)


class _Stopped(Exception):
    """The user's callback asked to stop."""


def plan(
    shape: tuple[int, ...],
    sigma: float,
    *,
    prior: str | None = None,
    box: int | None = None,
    light: float = 1.0,
    paper: bool = False,
) -> list[Candidate]:
    """The runs to make, in order.

    Parameters
    ----------
    shape : (int, int)
        Of the picture.
    sigma : float
        Its noise.
    prior : str, optional
        The only prior to be used.
    box : int, optional
        The only box; with `prior`, there is one run.
    light : float
        Exponent from the picture's values to linear light.
    paper : bool
        Whether the picture may be of text.
    """
    runs = list(NOISE if sigma > NOISY else CLEAN)
    if prior is not None:
        runs = [replace(c, prior=prior) for c in runs]
    elif paper:
        runs = [runs[0], *TEXT, *runs[1:]]
    if light != 1:
        runs.insert(LIGHT_AFTER, replace(runs[0], exponent=light))
    if prior is not None and box is not None:
        runs = runs[:1]
    growth = (min(shape) / REFERENCE) ** 0.7 if min(shape) > REFERENCE else 1.0
    limit = min(shape) // 2
    sides = [odd(c.box * growth) if box is None else box for c in runs]
    runs = [replace(c, box=min(n, limit - 1 + limit % 2)) for c, n in zip(runs, sides, strict=True)]
    return list(dict.fromkeys(runs))


def search(
    image: np.ndarray,
    runs: Sequence[Candidate],
    *,
    sigma: float,
    shape: tuple[int, int] | None = None,
    weights: np.ndarray | None = None,
    grow: bool = True,
    tell: Callable[[int, int, Level, np.ndarray, np.ndarray], bool] | None = None,
) -> Search:
    """Make the runs until two agree, and pick the best.

    Parameters
    ----------
    image : array (Y, X)
        Grey, float32, on [0, 1].
    runs : sequence of Candidate
    sigma : float
        Standard deviation of the noise, on [0, 1].
    shape : (int, int), optional
        Shape of the psf's box in every run; else a square of each candidate's own side.
    weights : array (Y, X), optional
        0 where a pixel was not observed.
    grow : bool
        Whether a psf that fills its box is sought again in a larger one.
    tell : callable, optional
        ``tell(run, count, level, picture, psf)`` is true to stop.
    """
    judge = Judge(image)
    trials: list[Trial] = []
    waiting = list(runs)
    message = "all runs were made; no two of them agree"
    stopped = False
    while waiting:
        candidate = waiting.pop(0)
        box = (candidate.box, candidate.box) if shape is None else shape
        latest: list[Any] = []

        def seen(level: Level, x: np.ndarray, psf: np.ndarray, latest: Any = latest) -> None:
            latest[:] = [psf, level]
            if tell is not None and tell(len(trials), len(runs), level, x, psf):
                raise _Stopped

        start = time.process_time()
        try:
            psf = run(image, candidate, box, sigma=sigma, weights=weights, tell=seen)
        except _Stopped:
            message, stopped = "stopped by the callback", True
            if trials:
                break
            psf, level = latest
            psf = centred(resized(psf, box, 2 ** (level.index / 2)))
        seconds = time.process_time() - start
        agreement = judge.agreement(psf)
        score = judge.score(psf, agreement)
        trials.append(Trial(candidate, psf, score, agreement, seconds))
        if stopped:
            break
        best = _best(trials)
        if len(trials) >= RUNS and _agreed(best, trials):
            message = f"{len(trials)} runs, of which two agree"
            break
        if not waiting and grow and shape is None:
            larger = odd(best.candidate.box * GROWTH)
            fills = best.candidate.box >= max(t.candidate.box for t in trials) and _fills(best.psf)
            if fills and larger < min(image.shape) // 2:
                waiting.append(replace(best.candidate, box=larger))
    best = _best(trials)
    pixel = np.zeros((3, 3), np.float32)
    pixel[1, 1] = 1
    psf = best.psf
    if len(trials) > 1 and not stopped:
        alike = [
            t.psf
            for t in sorted(trials, key=lambda t: t.score)
            if abs(t.score - best.score) <= NEAR and psf_similarity(t.psf, best.psf) > ALIKE
        ]
        psf = joined(image, alike, noisy=sigma > NOISY, weights=weights)
    agreed = _agreed(best, trials)
    return Search(tuple(trials), best, psf, judge(pixel), message, agreed, stopped)


def run(
    image: np.ndarray,
    candidate: Candidate,
    box: tuple[int, int],
    *,
    sigma: float = 0.0,
    weights: np.ndarray | None = None,
    tell: Any = None,
) -> np.ndarray:
    """The psf of one run."""
    seen = image
    if candidate.exponent != 1:
        seen = np.maximum(seen, 0) ** np.float32(candidate.exponent)
    if candidate.smooth:
        seen = gaussian_filter(seen, candidate.smooth)
    step, least_tau = KernelStep(island=candidate.island), 0.0
    if candidate.careful:
        step, least_tau = replace(step, gamma=8.0, cut=0.08), (2 * sigma) ** 2
    refine = estimator(candidate.prior, step=step, least_tau=least_tau, n_full=FULL_ITER, tell=tell)
    psf = normalised(coarse_to_fine(seen, box, refine, weights=weights))
    return polished(image, psf, noisy=sigma > NOISY, weights=weights, tell=tell)


def _best(trials: Sequence[Trial]) -> Trial:
    """The trial of the least score, less what the others lend it."""

    def backed(trial: Trial) -> float:
        others = (t for t in trials if t is not trial)
        alike = sum(psf_similarity(t.psf, trial.psf) > ALIKE for t in others)
        return trial.score - BACKING * min(alike, BACKERS)

    return min(trials, key=backed)


def width(psf: np.ndarray) -> float:
    """Standard deviation of the psf along its longest direction, in pixels."""
    at = np.indices(psf.shape).reshape(2, -1)
    spread = np.linalg.eigvalsh(np.cov(at, aweights=psf.reshape(-1), bias=True))
    return float(np.sqrt(max(spread[-1], 0.0)))


def _agreed(best: Trial, trials: Sequence[Trial]) -> bool:
    return any(t is not best and psf_similarity(t.psf, best.psf) > AGREEMENT for t in trials)


def _fills(psf: np.ndarray) -> bool:
    """Whether the psf reaches so far that its box may have cut it."""
    lit = np.argwhere(psf > 0)
    extent = lit.max(axis=0) - lit.min(axis=0) + 1
    return bool((extent / np.array(psf.shape)).max() > LARGE)
