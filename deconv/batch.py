"""One job for many files: which outputs to make, what psf a text stands for, and the restoring."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deconv import io, psf
from deconv.arrays import choose
from deconv.methods import Method
from deconv.operators import BOUNDARIES
from deconv.picture import DISPLAY_GAMMA, Picture, from_linear, to_linear

__all__ = [
    "Job",
    "Outcome",
    "for_estimated",
    "in_linear_light",
    "linear_sigma",
    "plan",
    "psf_from",
    "run",
    "working_image",
]

FAMILIES: dict[str, Callable[..., np.ndarray]] = {
    "airy": psf.airy,
    "defocus": psf.defocus,
    "gaussian": psf.gaussian,
    "motion": psf.motion,
    "trajectory": psf.trajectory,
}
FITTED = ("defocus", "gaussian", "motion")


def psf_from(
    spec: str, image: np.ndarray | None = None, say: Callable[[str], Any] | None = None
) -> np.ndarray:
    """The psf that a text describes; ``fit:FAMILY`` is found from `image`, (Y, X) or (C, Y, X).

    Parameters
    ----------
    spec : str
        A family with its arguments (``gaussian:2``, ``gaussian:2,3,angle=30``, ``motion:15,30``,
        ``defocus:4``, ``airy:wavelength=0.5,na=1.2,pixel_size=0.1``), or a file, whose options
        follow in the same way (``kernels.mat:index=3``).
    say : callable, optional
        Is told in one line what was found from `image`.

    Raises
    ------
    ValueError
        For an unknown family (with the nearest one), arguments it does not take, a file that is
        not there or holds no psf.

    >>> psf_from("motion:9,0").shape, psf_from("gaussian:1,2,2").ndim
    ((1, 11), 3)
    """
    head, _, rest = spec.partition(":")
    if head == "fit":
        choose(rest, FITTED, "family of fit")
        if image is None:
            raise ValueError(f"psf={spec!r} is found from a picture; none was given")
        from deconv.identify import fit_psf

        fit = fit_psf(image, rest, channel_axis=None if image.ndim == 2 else 0)
        if say is not None:
            found_at = ", ".join(f"{name} {value:.1f}" for name, value in fit.parameters.items())
            say(f"found a {rest} psf: {found_at}")
        found: np.ndarray = fit.psf
        return found
    if Path(spec).is_file():
        return psf.from_file(spec)
    values, options = _arguments(spec, rest)
    if Path(head).is_file():
        if values:
            raise ValueError(f"psf={spec!r}; expected options such as index=0 behind the file")
        return psf.from_file(head, **options)
    if Path(head).suffix or "/" in head:
        raise ValueError(f"psf={spec!r}: there is no such file")
    make = FAMILIES[choose(head, [*FAMILIES, "fit"], "psf")]
    if head == "gaussian" and len(values) > 1:
        values = [tuple(values)]
    try:
        return make(*values, **options)
    except TypeError as error:
        raise ValueError(f"psf={spec!r}: {error}") from None


def _arguments(spec: str, text: str) -> tuple[list[Any], dict[str, Any]]:
    """Values and named values of ``1,2.5,name=3``."""
    values: list[Any] = []
    options: dict[str, Any] = {}
    for part in text.split(",") if text else []:
        name, equals, value = part.rpartition("=")
        try:
            found = int(value) if value.strip().lstrip("+-").isdigit() else float(value)
        except ValueError:
            if not equals:
                raise ValueError(f"psf={spec!r}: {value!r} is not a number") from None
            options[name.strip()] = value
            continue
        if equals:
            options[name.strip()] = found
        else:
            values.append(found)
    return values, options


@dataclass(frozen=True)
class Job:
    """What is done with each picture.

    Attributes
    ----------
    sigma : float or None
        Standard deviation of the noise, in the files' own units.
    linear : bool or None
        Whether to restore in linear light; None does so for pictures that `in_linear_light` names.
    depth : int or None
        The depth to write; None keeps that of the input.
    say : callable or None
        Is told what was found from a picture.
    estimated : bool
        Whether the psf is one that was estimated from the picture, whose error counts as noise.
    refine : bool
        Whether the psf is first corrected by the picture; see `deconv.blind.refine_psf`.
    """

    method: Method
    psf: str | None = None
    sigma: float | None = None
    boundary: str = "unknown"
    linear: bool | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    depth: int | None = None
    say: Callable[[str], Any] | None = None
    estimated: bool = False
    refine: bool = False

    def check(self) -> None:
        """Refuse what no picture could make right, before any file is opened."""
        choose(self.boundary, BOUNDARIES, "boundary")
        self.method.options(self.parameters, self.sigma)
        if self.method.needs_psf and self.psf is None:
            raise ValueError(
                f"{self.method.name} needs --psf: gaussian:2, motion:15,30, defocus:4, fit:motion "
                f"or a file"
            )
        if self.refine and self.psf is None:
            raise ValueError("--refine without a psf; expected --psf or --psf-from")
        if self.psf is not None and not self.psf.startswith("fit:"):
            psf_from(self.psf)

    def restore(
        self,
        picture: Picture,
        callback: Callable[[Any], Any] | None = None,
        kernel: np.ndarray | None = None,
    ) -> np.ndarray:
        """The restored pixels, in floating point on the scale of `picture` and not clipped.

        `kernel`, where given, stands in for the job's psf.
        """
        linear = self.linear
        if linear is None:
            linear = in_linear_light(picture) and not self.method.display
        image = _floats(picture, linear)
        sigma = self.sigma
        if linear and sigma is not None:
            sigma = linear_sigma(image, sigma / picture.white)
        axes = picture.axes.replace("S", "")
        colour = picture.axes.endswith("S")
        planes = np.moveaxis(image, -1, 0) if colour else image
        if self.psf is not None and len(axes) > 2:
            if self.psf.startswith("fit:"):
                raise ValueError(f"psf={self.psf!r} needs one picture; this is a stack ({axes})")
            if self.refine:
                raise ValueError(f"--refine needs one picture; this is a stack ({axes})")
        if kernel is None and self.psf is not None:
            kernel = psf_from(self.psf, planes, self.say)
        if len(axes) == 2 and (self.refine or self.estimated):
            from deconv import blind

            light: dict[str, Any] = {
                "sigma": sigma,
                "gamma": DISPLAY_GAMMA if linear else 1.0,
                "channel_axis": 0 if colour else None,
            }
            if self.refine:
                kernel = blind.refine_psf(planes, kernel, **light)
            if self.method.noise is not None:
                sigma = blind.noise_level(planes, **light)
        ndim = 2 if kernel is None else kernel.ndim
        if not axes.endswith("ZYX"[-ndim:]):
            raise ValueError(
                f"the psf has {ndim} axes, but those of the picture are {axes}; expected ZYX"
            )
        # Colours go just before the psf's axes; every axis before them counts separate pictures.
        place = len(axes) - ndim
        if colour:
            image = np.moveaxis(image, -1, place)
        options = dict(self.parameters)
        # There is no negative light, and the curve back to display values would blow it up.
        if linear and "bounds" in inspect.signature(self.method.function).parameters:
            options["bounds"] = (0, None)
        result = np.empty_like(image)
        for index in np.ndindex(image.shape[:place]):
            result[index] = self.method.restore(
                image[index],
                kernel,
                sigma=sigma,
                boundary=self.boundary,
                channel_axis=0 if colour else None,
                callback=callback,
                **options,
            )
        if colour:
            result = np.moveaxis(result, place, -1)
        return from_linear(result) * np.float32(picture.white) if linear else result

    def process(
        self, source: Path, target: Path, callback: Callable[[Any], Any] | None = None
    ) -> None:
        """Restore one file."""
        picture = io.read(source)
        io.write(target, self.restore(picture, callback), like=picture, depth=self.depth)


def for_estimated(method: Method) -> dict[str, str]:
    """What a method is told by default where the psf was estimated."""
    from deconv.blind import DERINGING

    takes = {parameter.name for parameter in method.parameters}
    return {"deringing": str(DERINGING)} if "deringing" in takes else {}


def in_linear_light(picture: Picture) -> bool:
    """Whether `picture` looks like a photograph: 8-bit, or integer colour, and not a stack."""
    dtype = picture.pixels.dtype
    return len(picture.axes.replace("S", "")) == 2 and (
        dtype == np.uint8 or (dtype == np.uint16 and picture.colour)
    )


def working_image(picture: Picture, linear: bool | None = None) -> np.ndarray:
    """What `Job.restore` would work on: (Y, X) or (C, Y, X), by default in its own light."""
    if len(picture.axes.replace("S", "")) > 2:
        raise ValueError(f"expected one picture; this is a stack ({picture.axes})")
    image = _floats(picture, in_linear_light(picture) if linear is None else linear)
    return np.moveaxis(image, -1, 0) if picture.axes.endswith("S") else image


def _floats(picture: Picture, linear: bool) -> np.ndarray:
    """Floating pixels on the file's scale, or as linear light with white at 1."""
    wide = picture.pixels.dtype.itemsize > (4 if picture.pixels.dtype.kind == "f" else 2)
    image: np.ndarray = picture.pixels.astype(np.float64 if wide else np.float32)
    return to_linear(image / np.float32(picture.white)) if linear else image


def linear_sigma(light: np.ndarray, sigma: float) -> float:
    """What noise of `sigma` in sRGB amounts to in linear light, on the average over the picture."""
    step = 1e-3
    encoded = from_linear(light.reshape(-1)[:: max(1, light.size // 2**20)].astype(np.float64))
    slope = (to_linear(encoded + step) - to_linear(encoded - step)) / (2 * step)
    return sigma * float(np.sqrt(np.mean(slope**2)))


@dataclass(frozen=True)
class Outcome:
    """What became of one input; `error` is None where `target` was written or was there already."""

    source: Path
    target: Path
    skipped: bool = False
    error: Exception | None = None


def plan(inputs: Sequence[Path], out: Path, overwrite: bool) -> list[tuple[Path, Path]]:
    """Each input file with the output to make of it; folders give all pictures in them.

    `out` is a file if it has the suffix of one and there is one input file, else a folder.

    Raises
    ------
    FileNotFoundError
        For inputs and folders that do not exist.
    ValueError
        If two inputs would give one output, or an output is an input and `overwrite` is false.
    """
    sources: list[Path] = []
    for path in inputs:
        if path.is_dir():
            found = (p for p in sorted(path.iterdir()) if not p.name.startswith("."))
            sources += [p for p in found if p.suffix.lower() in io.SUFFIXES]
        elif path.exists():
            sources.append(path)
        else:
            raise FileNotFoundError(f"{path} does not exist")
    if not sources:
        raise ValueError(f"there is no picture ({' '.join(io.SUFFIXES)}) in the input")
    one_file = len(inputs) == 1 and not inputs[0].is_dir() and not out.is_dir() and out.suffix
    folder = out.parent if one_file else out
    if not folder.is_dir():
        raise FileNotFoundError(f"the output folder {folder} does not exist")
    if one_file and out.suffix.lower() not in io.SUFFIXES:
        raise ValueError(
            f"{out} has suffix {out.suffix!r}; expected one of {' '.join(io.SUFFIXES)}"
        )
    tasks = [(source, out if one_file else out / source.name) for source in sources]
    origin = {source.resolve(): source for source in sources}
    made: dict[Path, Path] = {}
    for source, target in tasks:
        place = target.resolve()
        if place in made:
            raise ValueError(f"{made[place]} and {source} would both be written to {target}")
        made[place] = source
        if place in origin and not overwrite:
            raise ValueError(f"{target} is an input; pass --overwrite to replace it, or another -o")
        if place in origin and origin[place] != source:
            raise ValueError(f"{target} is an input and the output of {source}; pass another -o")
    return tasks


def run(
    tasks: Sequence[tuple[Path, Path]],
    job: Job,
    *,
    overwrite: bool = False,
    callback: Callable[[Any], Any] | None = None,
) -> Iterator[Outcome]:
    """Do the tasks in order; one that fails is an outcome with its error, and the rest go on.

    Outputs that are there already are skipped unless `overwrite`: an interrupted run resumes.
    """
    for source, target in tasks:
        if target.exists() and not overwrite:
            yield Outcome(source, target, skipped=True)
            continue
        try:
            job.process(source, target, callback)
        # A batch of a thousand files outlives whatever one of them does.
        except Exception as error:
            yield Outcome(source, target, error=error)
        else:
            yield Outcome(source, target)
