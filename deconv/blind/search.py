"""The automatic procedure: a few complete runs that differ, one score, a stop when they agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from deconv.blind.estimators import estimator
from deconv.blind.kernel import KernelStep, centred, normalised
from deconv.blind.plan import NOISY, Candidate
from deconv.blind.polish import joined, polished
from deconv.blind.pyramid import Level, coarse_to_fine, odd, resized
from deconv.blind.score import RANKING_LAM, Judge
from deconv.metrics import psf_similarity

__all__ = ["Search", "Trial", "search", "width"]

# Stop after so many runs when the best psf is this similar to another one's.
RUNS, AGREEMENT = 5, 0.95
# Those that score no worse than the best by more than this, and are this similar, are joined.
NEAR, ALIKE = 0.015, 0.9
# A psf that scores this much worse after the polish stays as it was: soft pictures take chaff for
# its faint parts.
SPOILT = 0.005
# The joint psf may score so much worse: it is the better one on the average.
WORSE = 0.005
# A psf that others are as similar to gains so much in score by each, up to so many: a wrong one
# that happens to score well is alone.
BACKING, BACKERS = 0.01, 2
# The text priors are tried on pages only; where all are right, they have the edge.
PAGE = 0.012
# What the best psf must score better than a single pixel by: CLEAR, with some support by another
# run or by both halves, and this width (rms, in pixels); or FAINT, if it is wider still, no pixel
# holds more than this of its light, and it is well confirmed. From 80 blurred pictures, 23 sharp.
CLEAR, VAGUE, NARROW = 0.12, 0.6, 1.25
FAINT, WIDE, BROAD, PEAK, HALVES = 0.072, 1.5, 3.0, 0.13, 0.8
# Iterations at the full size before the polish, which does the rest there.
FULL_ITER = 3
# A psf that reaches over LARGE of the largest box is sought again in one larger by this factor.
GROWTH, LARGE = 1.35, 0.9


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
    gain : float
        How much worse a single pixel scores than the best psf: what there is to say for a blur.
    message : str
    agreed : bool
        Whether the best psf is much like another.
    stopped : bool
        Whether the callback ended the search.
    """

    trials: tuple[Trial, ...]
    best: Trial
    psf: np.ndarray
    gain: float
    message: str
    agreed: bool
    stopped: bool = False

    @property
    def blurred(self) -> bool:
        """Whether the best psf explains the picture clearly better than no blur.

        Sharp pictures, too, score a little better with a psf of about a pixel, and those without
        structure much better with any. So a small gain counts only for a psf that is wide and that
        other runs and both halves of the picture confirm, and a large one if another run is similar
        at all, or the halves are, and the psf wider than stars are.
        """
        best, wide = self.best, width(self.best.psf)
        if self.gain > CLEAR:
            return wide > NARROW and (self.support > VAGUE or best.agreement > HALVES)
        # Runs on a sharp picture may well agree on a pixel or two, but not on a broad psf.
        sure = self.support > (ALIKE if wide > BROAD else AGREEMENT) and best.agreement > HALVES
        return self.gain > FAINT and sure and wide > WIDE and bool(best.psf.max() < PEAK)

    @property
    def support(self) -> float:
        """Similarity of the best psf to the nearest of another run; 1 if there was no other."""
        others = [psf_similarity(t.psf, self.best.psf) for t in self.trials if t is not self.best]
        return max(others, default=1.0)


class _Stopped(Exception):
    """The user's callback asked to stop."""


def search(
    image: np.ndarray,
    runs: Sequence[Candidate],
    *,
    sigma: float,
    shape: tuple[int, int] | None = None,
    weights: np.ndarray | None = None,
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
        Shape of the psf's box in every run; else a square of each candidate's own side, and a psf
        that fills the largest one is sought again in a larger one.
    weights : array (Y, X), optional
        0 where a pixel was not observed.
    tell : callable, optional
        ``tell(run, count, level, picture, psf)`` is true to stop.
    """
    judge = Judge(image, RANKING_LAM)
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
        options: dict[str, Any] = {"weights": weights, "tell": seen}
        found = []
        try:
            found.append(run(image, candidate, box, sigma=sigma, **options))
            found.append(polished(image, found[0], noisy=sigma > NOISY, **options))
        except _Stopped:
            message, stopped = "stopped by the callback", True
            if trials:
                break
            if not found:
                psf, level = latest
                found = [centred(resized(psf, box, 2 ** (level.index / 2)))]
        seconds = time.process_time() - start
        raw, *better = (_tried(judge, candidate, psf, seconds) for psf in found)
        trials.append(better[0] if better and better[0].score <= raw.score + SPOILT else raw)
        if stopped:
            break
        best = _best(trials)
        if len(trials) >= RUNS and _agreed(best, trials):
            message = f"{len(trials)} runs, of which two agree"
            break
        if not waiting and shape is None:
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
            for t in sorted(trials, key=_score)
            if abs(t.score - best.score) <= NEAR and psf_similarity(t.psf, best.psf) > ALIKE
        ]
        joint = joined(image, alike, noisy=sigma > NOISY, weights=weights)
        if judge(joint) <= best.score + WORSE:
            psf = joint
    plain = Judge(image)
    gain = plain(pixel) - plain.score(best.psf, best.agreement)
    agreed = _agreed(best, trials)
    return Search(tuple(trials), best, psf, gain, message, agreed, stopped)


def run(
    image: np.ndarray,
    candidate: Candidate,
    box: tuple[int, int],
    *,
    sigma: float = 0.0,
    weights: np.ndarray | None = None,
    tell: Any = None,
) -> np.ndarray:
    """The psf of one run, which is to be polished yet."""
    seen = image
    if candidate.exponent != 1:
        seen = np.maximum(seen, 0) ** np.float32(candidate.exponent)
    if candidate.smooth:
        seen = gaussian_filter(seen, candidate.smooth)
    step, least_tau = KernelStep(island=candidate.island), 0.0
    if candidate.careful:
        step, least_tau = replace(step, gamma=8.0, cut=0.08), (2 * sigma) ** 2
    refine = estimator(candidate.prior, step=step, least_tau=least_tau, n_full=FULL_ITER, tell=tell)
    return normalised(coarse_to_fine(seen, box, refine, weights=weights))


def _tried(judge: Judge, candidate: Candidate, psf: np.ndarray, seconds: float) -> Trial:
    agreement = judge.agreement(psf)
    return Trial(candidate, psf, judge.score(psf, agreement), agreement, seconds)


def _score(trial: Trial) -> float:
    return trial.score


def _best(trials: Sequence[Trial]) -> Trial:
    """The trial of the least score, less what the others lend it."""

    def backed(trial: Trial) -> float:
        others = (t for t in trials if t is not trial)
        alike = sum(psf_similarity(t.psf, trial.psf) > ALIKE for t in others)
        text = trial.candidate.prior.startswith("text")
        return trial.score - BACKING * min(alike, BACKERS) - PAGE * text

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
