"""The runs that a search makes: what they differ in, and their order.

Any single run fails on about one picture in ten, another one each time the box, the exponent or the
prior changes. Diversity and a score beat tuning one run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from deconv.blind.pyramid import odd

__all__ = ["NOISY", "Candidate", "plan"]

# Noise above this, on [0, 1], calls for the careful settings.
NOISY = 0.003
# The boxes are for pictures of this size.
REFERENCE = 256


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
