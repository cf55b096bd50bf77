"""One picture through every method: restored, measured and scored; a failure is a row as well."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deconv import batch, io, methods
from deconv.batch import Job
from deconv.methods import Method
from deconv.picture import Picture, to_linear
from deconv.progress import History
from deconv.report.cases import Case
from deconv.report.commands import Recipe
from deconv.report.measure import Cost, Watch, measured
from deconv.report.scores import Score, Sight, evaluate, grey

__all__ = ["Comparison", "Row", "Settings", "compared"]

# Larger than any psf's reach that matters to a first call, and quick.
WARM_UP = 96


@dataclass(frozen=True)
class Settings:
    """What all pictures of a report share: methods, scores, light, blind as well or not, part."""

    methods: Sequence[Method]
    scores: Sequence[Score]
    linear: bool | None = None
    blind: bool = False
    crop: tuple[slice, slice] | None = None
    tell: Callable[[str], Any] = lambda text: None


@dataclass(eq=False)
class Row:
    """What one method made of one picture.

    Attributes
    ----------
    name : str
        Of the method, with how it got its psf where there are two ways.
    recipe : Recipe or None
        How to make it again; None for the picture as it is.
    pixels : ndarray or None
        What the command writes, with white at 1; None after a failure.
    cost : Cost or None
    history : History
    scores, failed : dict
        Values by name, and why scores are missing.
    residual : ndarray or None
        What the psf does not explain, in grey.
    notes : list of str
        Warnings, and why the solver stopped.
    error : str or None
        Why there is no picture.
    """

    name: str
    method: Method | None = None
    recipe: Recipe | None = None
    pixels: np.ndarray | None = None
    cost: Cost | None = None
    history: History = field(default_factory=History)
    scores: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    residual: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)
    error: str | None = None


@dataclass(eq=False)
class Comparison:
    """One picture and its rows; the first is the picture as it is.

    Attributes
    ----------
    case : Case
    truth : ndarray or None
        With white at 1.
    psf, psf_found : ndarray or None
        The one given or fitted, and the one found blind.
    notes : list of str
        What is to be said of the picture and its psfs.
    error : str or None
        Why there are no rows.
    """

    case: Case
    rows: list[Row] = field(default_factory=list)
    truth: np.ndarray | None = None
    psf: np.ndarray | None = None
    psf_found: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)
    error: str | None = None


def compared(case: Case, settings: Settings) -> Comparison:
    """Every method on one picture; what fails is told in the result and never raised."""
    result = Comparison(case)
    try:
        _Run(case, settings, result).all()
    # A report on a hundred pictures outlives whatever one of them does.
    except Exception as error:
        result.error = _sentence(error)
    return result


class _Run:
    """The work on one picture: what its methods share is read and found once."""

    def __init__(self, case: Case, settings: Settings, result: Comparison) -> None:
        self.case, self.settings, self.result = case, settings, result
        self.picture = io.read(case.source)
        linear = settings.linear
        self.linear = batch.in_linear_light(self.picture) if linear is None else linear
        self.y = batch.working_image(self.picture, self.linear)
        if settings.crop is not None and self.picture.pixels[settings.crop].size == 0:
            height, width = self.picture.pixels.shape[:2]
            raise ValueError(f"the crop lies outside this picture of {width} x {height} pixels")
        if case.truth is not None:
            truth = io.read(case.truth)
            if truth.pixels.shape != self.picture.pixels.shape:
                raise ValueError(
                    f"the truth {case.truth} has shape {truth.pixels.shape}; expected that of the "
                    f"picture, {self.picture.pixels.shape}"
                )
            result.truth = _levels(truth)
        self.estimate: Any = None

    def all(self) -> None:
        with_psf = any(method.needs_psf for method in self.settings.methods)
        if self.case.psf is not None:
            say = self.result.notes.append
            self.result.psf = batch.psf_from(self.case.psf, self.y, say)
        if with_psf and (self.case.psf is None or self.settings.blind):
            self.find()
        smooth = self.smooth()
        blurred = Row("as it is", pixels=_levels(self.picture))
        self.score(blurred, smooth)
        self.result.rows.append(blurred)
        for method in self.settings.methods:
            known = None
            for blind in self.ways(method):
                row = self.row(method, blind)
                self.score(row, smooth, known if blind else None)
                self.result.rows.append(row)
                known = row.pixels if not blind else None

    def ways(self, method: Method) -> tuple[bool, ...]:
        """Whether to run with the psf found blind: the one given, the one found, or both."""
        if not method.needs_psf:
            return (False,)
        given = (False,) if self.case.psf is not None else ()
        found = (True,) if self.estimate is not None or not given else ()
        return given + found

    def find(self) -> None:
        """The psf from the picture alone, once for all methods."""
        from deconv.blind_job import BlindJob

        self.settings.tell(f"{self.case.source.name}: the psf, blind")
        job = BlindJob(methods.get("tv"), linear=self.settings.linear)
        try:
            self.estimate, cost = measured(lambda _: job.find(self.picture), Watch())
        except Exception as error:
            self.result.notes.append(f"No psf was found blind: {_sentence(error)}")
            return
        found = self.estimate
        self.result.psf_found = found.psf
        how = f"by {found.prior} in {cost.seconds:.1f} s" if found.blurred else ""
        self.result.notes.append(f"The psf was found blind, once, {how}: {found.message}")

    def row(self, method: Method, blind: bool) -> Row:
        """One method's row."""
        name = f"{method.name}, psf found" if blind and self.case.psf is not None else method.name
        parameters = batch.for_estimated(method) if blind else {}
        spec = self.case.psf if method.needs_psf and not blind else None
        recipe = Recipe(
            self.case.source,
            method.name,
            self.target(name),
            self.case.truth,
            spec,
            blind,
            self.settings.linear,
            parameters,
        )
        row = Row(name, method, recipe)
        self.settings.tell(f"{self.case.source.name}: {name}")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                self.restore(row, method, blind, parameters)
            row.notes += dict.fromkeys(str(warning.message) for warning in caught)
        except Exception as error:
            row.error = _sentence(error)
        if row.history.stopped:
            row.notes.append(row.history.stopped)
        return row

    def restore(self, row: Row, method: Method, blind: bool, parameters: dict[str, Any]) -> None:
        """Fill in what the method makes, as a file holds it."""
        job: Job
        kernel = self.result.psf if method.needs_psf else None
        if blind:
            from deconv.blind_job import BlindJob

            if self.estimate is None:
                raise ValueError("no psf was found; expected --psf")
            job = BlindJob(method, linear=self.settings.linear, parameters=parameters)
            kernel = self.estimate.psf
        else:
            psf = self.case.psf if method.needs_psf else None
            job = Job(method, psf, linear=self.settings.linear)
        job.check()
        assert row.recipe is not None
        if blind and not self.estimate.blurred:
            # As `deconv blind` does.
            row.pixels, row.cost = _levels(self.picture), Cost(0.0, 0)
            return
        self.warm_up(job, kernel)
        watch = Watch()
        pixels, row.cost = measured(lambda w: job.restore(self.picture, w, kernel), watch)
        row.history = watch.history
        row.pixels = self.written(pixels, row.recipe.target)

    def warm_up(self, job: Job, kernel: np.ndarray | None) -> None:
        """A first call on a corner, which loads what the method needs."""
        side = max(WARM_UP, 0 if kernel is None else 2 * max(kernel.shape))
        if min(self.picture.pixels.shape[:2]) < side or job.method.name in _warm:
            return
        corner = Picture(self.picture.pixels[:side, :side], self.picture.axes)
        _warm.add(job.method.name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                job.restore(corner, None, kernel)
            # What is wrong shows in the call that counts.
            except Exception:
                return

    def written(self, pixels: np.ndarray, target: str) -> np.ndarray:
        """What a file of these pixels holds: rounded and clipped where its depth is whole."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(target).name
            io.write(path, pixels, like=self.picture)
            return _levels(io.read(path))

    def target(self, name: str) -> str:
        """A lossless file for the restored picture."""
        whole = self.picture.pixels.dtype in (np.uint8, np.uint16)
        return f"{self.case.source.stem}-{name.replace(', psf ', '-')}{'.png' if whole else '.tif'}"

    def smooth(self) -> np.ndarray | None:
        """The restoration that cannot ring, by which the ringing of the others is seen."""
        psf = self.result.psf if self.result.psf is not None else self.result.psf_found
        if psf is None or not any(score.needs == ("smooth",) for score in self.settings.scores):
            return None
        job = Job(methods.get("l0_gradient"), linear=self.settings.linear)
        try:
            smooth = job.restore(self.picture, None, psf) / self.picture.white
        except Exception as error:
            self.result.notes.append(f"No score of ringing: {_sentence(error)}")
            return None
        return np.clip(smooth.astype(np.float64), 0, 1)

    def score(self, row: Row, smooth: np.ndarray | None, known: np.ndarray | None = None) -> None:
        """Fill in the residual and the scores."""
        if row.pixels is None:
            return
        blind = row.recipe is not None and row.recipe.blind
        psf = self.result.psf_found if blind or self.result.psf is None else self.result.psf
        if psf is not None and psf.ndim == 2:
            row.residual = self.residual(row.pixels, psf)
        sight = Sight(
            row.pixels,
            self.result.truth,
            row.residual,
            smooth,
            known,
            self.result.psf_found if blind else None,
            self.result.psf,
        )
        row.scores, row.failed = evaluate(sight, self.settings.scores)

    def residual(self, pixels: np.ndarray, psf: np.ndarray) -> np.ndarray | None:
        """The picture less the restored one blurred again, in grey, where the psf fits inside."""
        from scipy.signal import fftconvolve

        x = grey(to_linear(pixels) if self.linear else pixels)
        y = grey(np.moveaxis(self.y, 0, -1) if self.y.ndim == 3 else self.y).astype(np.float64)
        if not self.linear:
            y = y / self.picture.white
        if any(n <= k + 10 for n, k in zip(x.shape, psf.shape, strict=True)):
            return None
        start = [k - 1 - k // 2 for k in psf.shape]
        inside = tuple(
            slice(s, s + n - k + 1) for s, n, k in zip(start, x.shape, psf.shape, strict=True)
        )
        again: np.ndarray = fftconvolve(x, psf, mode="valid")
        left: np.ndarray = y[inside] - again
        return left


# Names of the methods that have been called once.
_warm: set[str] = set()


def _levels(picture: Picture) -> np.ndarray:
    """Pixels with white at 1."""
    levels: np.ndarray = picture.pixels.astype(np.float64) / picture.white
    return levels


def _sentence(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())
