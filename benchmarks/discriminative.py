"""The discriminative prior taken apart: what each of its choices does to the psf.

The classifier's logit against its probability, a weight per pixel against one per picture, the
weight, the steps of gradient descent and the penalties, beside the priors that it must beat. Every
method gets one run with the box given, and every psf the common final step of
`benchmarks.blind_protocol`.

Planted: camera shakes of 15 to 31 pixels in scikit-image's photographs, 255 pixels wide; the
prior's constants were chosen there, with a few other photographs. On Levin's and
Lai's pictures only the box was chosen; they are left out where they are not at hand.

    export OMP_NUM_THREADS=1 DECONV_THREADS=1
    python -m benchmarks.discriminative                     # planted, levin and text
    python -m benchmarks.discriminative --only levin --methods l0,default
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from benchmarks.blind_pairs import LAI, LEVIN
from benchmarks.blind_planted import bundled
from benchmarks.blind_protocol import Pair, lai_pair, levin_pair, scored
from benchmarks.blind_rows import estimated, figure, mean, show
from benchmarks.protocol import machine, observed
from deconv.blind import estimators
from deconv.blind.discriminative import Discriminative
from deconv.metrics import psf_similarity, success_rate
from deconv.psf import trajectory

NAME = "discriminative"
# Sharp in this part, and with edges of every direction.
SCENES = ("camera", "astronaut", "coffee", "coins", "gravel", "stereo_motorcycle", "chelsea")
SIZE, PSFS, SHAKES = 255, (15, 19, 23, 27, 31), 2
NOISE = 0.002
# The largest psf is 27 pixels wide; a box needs a quarter more, since psfs are centred in it.
LEVIN_BOX = 35

PIXELS = SIZE**2
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "no classifier": {"classifier": lambda x: (0.0, np.zeros_like(x))},
    "probability": {"form": "probability"},
    "per picture": {"scaled": False, "lam": PIXELS * Discriminative.lam},
    "per picture 4e-3": {"scaled": False, "lam": 4e-3},
    "probability per picture 4e-3": {"form": "probability", "scaled": False, "lam": 4e-3},
    "cold": {"warm": False},
    **{f"lam x {m:g}": {"lam": m * Discriminative.lam} for m in (0, 0.1, 0.3, 3, 10)},
    **{f"{n} steps": {"steps": n} for n in (1, 2, 4, 8)},
    "twice the penalties": {"growth": Discriminative.growth**0.5},
}
OTHERS = ("l0", "patch_minimum", "dark_channel")


class Case(NamedTuple):
    """A picture whose truth is known, and the psf_shape that every method is given."""

    name: str
    pair: Pair
    box: int


class Found(NamedTuple):
    """Error of a restoration with the psf found, its similarity, and processor seconds."""

    ssd: float
    similarity: float
    cpu: float


def planted() -> Iterable[Case]:
    """Two shakes in each of the photographs."""
    for i, name in enumerate(SCENES * SHAKES):
        rng = np.random.default_rng(1000 + i)
        psf = trajectory(PSFS[i % len(PSFS)], rng=rng)
        scene = bundled(name)
        scene = scene @ np.float32([0.299, 0.587, 0.114]) if scene.ndim == 3 else scene
        side = SIZE + psf.shape[0] - 1
        y, x = (int(rng.integers(max(n - side, 0) + 1)) for n in scene.shape)
        blurred, sharp = observed(scene[y : y + side, x : x + side], psf, NOISE, i)
        yield Case(f"{name} {i}", Pair(blurred, sharp.astype(float), psf, 15, 8), len(psf))


def levin() -> Iterable[Case]:
    """Captured shakes."""
    for file in sorted(LEVIN.glob("im0?_ker0?.mat")):
        yield Case(file.stem, levin_pair(file), LEVIN_BOX)


def text() -> Iterable[Case]:
    """Pages under the largest psfs of Lai et al. 2016."""
    for file in sorted((LAI / "blurred").glob("text_*.png")):
        pair = lai_pair(LAI, file.stem)
        yield Case(file.stem, pair, max(pair.psf.shape))


TABLES: dict[str, Callable[[], Iterable[Case]]] = {"planted": planted, "levin": levin, "text": text}


def measured(case: Case, method: str) -> Found:
    """One method on one picture, by the public call."""
    options = VARIANTS.get(method)
    name = method if options is None else NAME

    def made() -> Discriminative:
        return Discriminative(**(options or {}))

    with patch.dict(estimators.PRIORS, {NAME: made}):
        psf, cpu = estimated(case.pair.blurred.astype(np.float32), f"{name} @{case.box}")
    return Found(scored(case.pair, psf).ssd, psf_similarity(psf, case.pair.psf), cpu)


def table(name: str, methods: Iterable[str]) -> None:
    """One line per method, printed as soon as it is there."""
    cases = list(TABLES[name]())
    if not cases:
        print(f"\n### {name}: its pictures are not at hand")
        return
    known = np.array([scored(case.pair, case.pair.psf).ssd for case in cases])
    columns = ["method", "success at 2", "error ratio, mean", "geometric mean", "worst"]
    lines = (_line(method, cases, known) for method in methods)
    show(f"{name}, {len(cases)} pictures", [*columns, "psf similarity", "CPU, s"], lines)


def _line(method: str, cases: list[Case], known: np.ndarray) -> list[str]:
    ssd, similarity, cpu = np.array([measured(case, method) for case in cases]).T
    ratios = ssd / known
    line = [method, f"{success_rate(ratios):.0%}", figure(mean(ratios))]
    line += [figure(math.exp(mean(np.log(ratios)))), figure(float(ratios.max()))]
    return [*line, figure(mean(similarity), 3), figure(mean(cpu))]


def _names(given: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(",") if name.strip())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = (*OTHERS, *VARIANTS)
    parser.add_argument("--only", type=_names, default=tuple(TABLES), help=", ".join(TABLES))
    parser.add_argument("--methods", type=_names, default=known, help="; ".join(known))
    given = parser.parse_args()
    for option, names, allowed in (("only", given.only, TABLES), ("methods", given.methods, known)):
        for name in names:
            if name not in allowed:
                parser.error(f"--{option} {name}: expected some of {', '.join(allowed)}")
    print(machine())
    for name in given.only:
        table(name, given.methods)


if __name__ == "__main__":
    main()
