r"""What a trained network is worth beside the model-based solvers, with a known psf.

The protocol of `benchmarks.restoration`: valid blur by Levin's kernels, which no network was
trained on, with 1, 3 and 5 % of white noise, PSNR over the whole frame. Each picture of Set12,
every fourth of CBSD68 (luma) and each of Set5 (colour) meets one kernel, each of Kodak 1 to 8 two.
The solvers get the picture and the psf and nothing else; "best lam" is the best of nine weights for
each single picture, found with the truth.

    export OMP_NUM_THREADS=1
    python -m benchmarks.learned --csv learned.csv              # killed, it resumes
    python -m benchmarks.learned --network runs/hqs --csv learned.csv
    python -m benchmarks.learned --ensemble --csv learned.csv    # eight times the time
    python -m benchmarks.learned --tapered --csv learned.csv    # beside printed values
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import deconv
from benchmarks import restoration
from benchmarks.protocol import machine, psnr
from benchmarks.restoration import NOISES, PRINTED, Job, cases, mean, row
from benchmarks.scores import BEST, BLURRED, OURS, VECTORIAL, Score, _default, _padded
from deconv import evidence

GREY = {"set12": 8, "cbsd68": 8, "kodak8": 4}
COLOUR = {"set5 in colour": 8}
MODEL = {**BLURRED, **{name: _default(restore) for name, restore in OURS.items()}, **BEST}
IN_COLOUR = {
    **BLURRED,
    **{
        f"{name} in colour": _default(restore, channel_axis=-1)
        for name, restore in OURS.items()
        if name != "tv"
    },
    **VECTORIAL,
}
ORACLES = (*BEST, "tv in colour, best lam")


@cache
def network(path: str) -> Any:
    """A trained network, one process's copy."""
    import torch

    from unrolled import HQSNet

    torch.set_num_threads(1)
    return HQSNet.from_pretrained(path)


def _learned(path: str, image: np.ndarray, psf: np.ndarray, **options: Any) -> np.ndarray:
    axis = -1 if image.ndim > psf.ndim else None
    return np.asarray(network(path).restore(image, psf, channel_axis=axis, **options))


def learned(path: str, ensemble: bool = False) -> dict[str, Score]:
    """The network's rows: as users call it, noise not given."""
    rows = {f"hqs {path}": _default(partial(_learned, path))}
    if ensemble:
        rows[f"hqs {path}, ensemble"] = _default(partial(_learned, path, ensemble=True))
    return rows


def _tapered(path: str) -> Score:
    """The network on the padded and tapered picture, taken for periodic."""

    def score(image: np.ndarray, psf: np.ndarray, truth: np.ndarray) -> float:
        options = {"sigma": float(evidence.estimate(image, psf).sigma), "boundary": "periodic"}
        return psnr(truth, _padded(partial(_learned, path), **options)(image, psf))

    return score


def places(sets: dict[str, int], noises: Iterable[float] = NOISES) -> Iterator[tuple[Any, ...]]:
    """Set, picture, kernel and noise of every case."""
    for name, every in sets.items():
        yield from cases(name, every, noises)


def table(found: dict[Job, float], sets: Iterable[str], methods: Iterable[str]) -> None:
    """Mean PSNRs of all methods, and the network's gain above the best oracle."""
    cells = [(name, noise) for name in sets for noise in NOISES]
    print("\n| | " + " | ".join(f"{name} {noise:.0%}" for name, noise in cells) + " |")
    print("|---" * (len(cells) + 1) + "|")
    means = {m: [mean(found, *cell, m) for cell in cells] for m in methods}
    for method, values in means.items():
        if not np.isnan(values).all():
            print(row(method, values))
    oracle = np.max([means[m] for m in ORACLES if m in means], axis=0)
    for method, values in means.items():
        if method.startswith("hqs"):
            print(row(f"{method} above the best oracle", np.array(values) - oracle, "+.2f"))


def main() -> None:
    """Run what is asked for and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="*", default=["hqs-gray"], help="names or paths")
    parser.add_argument("--ensemble", action="store_true", help="the mean over flips and turns too")
    parser.add_argument("--sets", nargs="*", default=[*GREY, *COLOUR], choices=[*GREY, *COLOUR])
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--csv", type=Path, help="results, read and added to")
    parser.add_argument("--tapered", action="store_true", help="beside printed values")
    options = parser.parse_args()
    deconv.fft.set_threads(1)
    print(machine())
    nets: dict[str, Score] = {}
    for path in options.network:
        nets |= learned(path, options.ensemble)
    restoration.SCORES.update(MODEL | IN_COLOUR | nets)
    if options.tapered:
        tapered = {f"hqs {path}, tapered": _tapered(path) for path in options.network}
        restoration.SCORES.update(tapered)
        methods = [*nets, *tapered]
        jobs = [Job(*p, m) for p in cases("set12", 4) for m in methods]
        found = restoration.results(jobs, options.csv, options.jobs)
        print("\n| Set12, noise in 255ths | 2.55 | 7.65 | 12.75 |\n|---|---|---|---|")
        for name, values in PRINTED.items():
            print(row(f"{name} (printed)", values))
        for method in methods:
            print(row(method, [mean(found, "set12", noise, method) for noise in NOISES]))
        return
    for group, model in ((GREY, MODEL), (COLOUR, IN_COLOUR)):
        sets = {name: every for name, every in group.items() if name in options.sets}
        if not sets:
            continue
        methods = [*model, *nets]
        jobs = [Job(*p, m) for p in places(sets) for m in methods]
        table(restoration.results(jobs, options.csv, options.jobs), sets, methods)


if __name__ == "__main__":
    main()
