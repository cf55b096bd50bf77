r"""Quality of restoration with a known psf: every method with its default arguments.

Set12, every fourth picture of CBSD68 and Kodak 1 to 8 (luma) x Levin's eight kernels x noise 1, 3
and 5 %, valid blur (so the border really is unknown), PSNR over the whole frame. The methods get
the picture and the psf and nothing else, but for Richardson-Lucy's TV weight of 0.002 and
scikit-image's `wiener`, whose balance maximises each single PSNR. scikit-image's methods get the
picture edge-tapered ("taper"), or padded by the edge pixels and then edge-tapered.

``--tapered`` is for comparison with tables of papers that restore with circular boundaries: Set12,
blurred as above (so no wrapped scene enters), padded by the psf's size with the edge pixels,
edge-tapered, restored with ``boundary="periodic"`` and the noise estimated before all that, cropped
to the observed frame and scored there. The printed values are from VEM-NBD (Nan, Quan and Ji 2020),
whose margins are not known.

``--oracle`` prints what the automatic weight loses against the best weight of each picture, on
every fourth case (every eighth in colour). ``--saturated`` restores scenes brightened 1.6 times,
blurred, with 1 % of noise, and clipped at 1; both scene and result are clipped before they are
compared.

    export OMP_NUM_THREADS=1                                       # a process has one thread
    python -m benchmarks.restoration --csv results.csv --jobs 2    # killed, it resumes
    python -m benchmarks.restoration --quick                       # every eighth case
    python -m benchmarks.restoration --saturated --figure saturated.png
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, lru_cache
from itertools import chain, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import deconv
from benchmarks.protocol import (
    DATA,
    grey,
    kodak,
    levin_kernels,
    machine,
    observed,
    photographs,
)
from benchmarks.scores import (
    BEST,
    MAIN,
    OURS,
    PAD_TAPER,
    SATURATED,
    SCORES,
    SLOW,
    TAPER,
    TAPERED,
    VECTORIAL,
)
from deconv.figures import before_after
from deconv.variational import tv

NOISES = (0.01, 0.03, 0.05)
GREY = ("set12", "cbsd68", "kodak8")
COLOUR = ("cbsd68 in colour", "kodak8 in colour")
EXPOSURE, SATURATED_NOISE = 1.6, 0.01
# PSNR on Set12 at noise 2.55, 7.65 and 12.75 of 255, Levin's kernels, edge taper.
PRINTED = {
    "EPLL": (27.61, 25.24, 23.87),
    "CSF": (29.37, 26.41, 25.10),
    "IDD-BM3D": (31.43, 27.56, 25.95),
    "FCNN": (30.68, 27.40, 25.84),
    "IRCNN": (30.53, 27.09, np.nan),
    "FDN": (31.43, 27.89, 26.28),
    "DMSP": (31.06, 27.87, 26.39),
    "VEM": (31.93, 28.47, 26.77),
}


class Job(NamedTuple):
    """One method on one picture."""

    set: str
    picture: int
    kernel: int
    noise: float
    method: str


# --- cases ---------------------------------------------------------------------------------------


@cache
def scenes(name: str) -> list[np.ndarray]:
    """The sharp pictures of a set, one process's copy."""
    if name == "saturated":
        from skimage import io

        files = sorted((DATA / "pairs" / "lai2016" / "sharp").glob("*"))
        pictures = kodak() + [grey(io.imread(file)) for file in files]
        return [EXPOSURE * _middle(picture) for picture in pictures]
    every = 4 if name.startswith("cbsd68") else 1
    return photographs(name.partition(" ")[0], every=every, colour=name.endswith("in colour"))


@cache
def kernels() -> list[np.ndarray]:
    """Levin's psfs, one process's copy."""
    return levin_kernels()


def _middle(picture: np.ndarray, size: int = 512) -> np.ndarray:
    y, x = (max(n - size, 0) // 2 for n in picture.shape)
    return picture[y : y + size, x : x + size]


@lru_cache(maxsize=4)
def case(
    name: str, picture: int, kernel: int, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blurred picture, psf and truth."""
    scene, psf = scenes(name)[picture], kernels()[kernel]
    wide = psf[..., None] if scene.ndim > 2 else psf
    image, truth = observed(scene, wide, noise, rng=8 * picture + kernel)
    if name == "saturated":
        image, truth = np.minimum(image, 1), np.clip(truth, 0, 1)
    return image, psf.astype(image.dtype), truth


def cases(name: str, every: int, noises: Iterable[float] = NOISES) -> Iterator[tuple[Any, ...]]:
    """Set, picture, kernel and noise of every so-manieth pair of picture and kernel."""
    for noise, i, j in product(noises, range(len(scenes(name))), range(8)):
        if (i + j) % every == 0:
            yield name, i, j, noise


def run(job: Job) -> tuple[Job, float, float, str]:
    """PSNR, seconds and, if it failed, the error of one job."""
    image, psf, truth = case(*job[:4])
    score = (SATURATED if job.set == "saturated" else SCORES)[job.method]
    start = time.perf_counter()
    try:
        return job, score(image, psf, truth), time.perf_counter() - start, ""
    except Exception as error:  # one failure must not cost hours of other results
        return job, np.nan, 0.0, f"{type(error).__name__}: {error}"


def results(jobs: list[Job], path: Path | None, processes: int) -> dict[Job, float]:
    """PSNR of all jobs; those in the file at `path` are not run again."""
    from tqdm import tqdm

    found: dict[Job, float] = {}
    if path and path.exists():
        with path.open(newline="") as file:
            for name, i, j, noise, method, value, *_ in csv.reader(file):
                found[Job(name, int(i), int(j), float(noise), method)] = float(value)
    missing = [job for job in jobs if job not in found]
    with ProcessPoolExecutor(processes, initializer=deconv.fft.set_threads, initargs=(1,)) as pool:
        rows = pool.map(run, missing)
        for job, value, seconds, error in tqdm(rows, total=len(missing), leave=False):
            if error:
                print(f"failed: {tuple(job)}: {error}", file=sys.stderr)
                continue
            found[job] = value
            if path:
                with path.open("a", newline="") as file:
                    csv.writer(file).writerow([*job, f"{value:.4f}", f"{seconds:.3f}"])
    return {job: found[job] for job in jobs if job in found}


# --- tables --------------------------------------------------------------------------------------


def mean(found: dict[Job, float], name: str, noise: float, method: str) -> float:
    """Mean PSNR of one cell of a table."""
    values = [
        v for job, v in found.items() if (job.set, job.noise, job.method) == (name, noise, method)
    ]
    return float(np.mean(values)) if values else np.nan


def row(title: str, values: Iterable[float], form: str = ".2f") -> str:
    """A line of a table."""
    cells = ("" if np.isnan(v) else f"{v:{form}}" for v in values)
    return f"| {title} | {' | '.join(cells)} |"


def main_table(found: dict[Job, float], title: str) -> None:
    """Mean PSNRs, and the gain of the better of our two priors above scikit-image's Wiener."""
    cells = [(name, noise) for name in GREY for noise in NOISES]
    count = len({job[:4] for job in found})
    print(f"\n{title}: {count} cases, mean PSNR in dB\n")
    print("| | " + " | ".join(f"{name} {noise:.0%}" for name, noise in cells) + " |")
    print("|---" * (len(cells) + 1) + "|")
    means = {m: [mean(found, *cell, m) for cell in cells] for m in MAIN}
    for method, values in means.items():
        if not np.isnan(values).all():
            print(row(method, values))
    better = np.fmax(means["tv"], means["hyper_laplacian"])
    for theirs in (TAPER, PAD_TAPER):
        print(
            row(f"better of tv and hyper_laplacian above {theirs}", better - means[theirs], "+.2f")
        )


def tapered_table(found: dict[Job, float]) -> None:
    """Edge-tapered and unknown boundaries beside printed values."""
    print("\nSet12, edge-tapered as in papers, and our own boundary; mean PSNR in dB\n")
    print("| | 2.55 | 7.65 | 12.75 |\n|---|---|---|---|")
    for name, values in PRINTED.items():
        print(row(f"{name} (printed)", values))
    for method in [*TAPERED, *OURS]:
        print(row(method, [mean(found, "set12", noise, method) for noise in NOISES]))


def oracle_table(found: dict[Job, float]) -> None:
    """Loss of the automatic weight, mean (worst)."""
    print("\ndB lost by the automatic weight against the best of each picture, mean (worst)\n")
    print("| | cases | 1 % | 3 % | 5 % | all |\n|---|---|---|---|---|---|")
    for sets, method in ((GREY, "tv"), (GREY, "hyper_laplacian"), (COLOUR, "tv in colour")):
        lost: dict[float, list[float]] = {noise: [] for noise in NOISES}
        for job, best in found.items():
            automatic = found.get(job._replace(method=method))
            if job.set in sets and job.method == f"{method}, best lam" and automatic is not None:
                lost[job.noise].append(best - automatic)
        everything = [*lost.values(), list(chain(*lost.values()))]
        shown = [f"{np.mean(v):.3f} ({np.max(v):.2f})" if v else "" for v in everything]
        print(f"| {method} | {len(everything[-1])} | {' | '.join(shown)} |")


def saturated_table(found: dict[Job, float], figure: Path | None) -> None:
    """Clipped scenes with and without saturation handling."""
    print(f"\nScenes times {EXPOSURE}, clipped: mean PSNR in dB (worst gain above blurred)\n")
    print("| | PSNR | worst |\n|---|---|---|")
    for method in SATURATED:
        mine = {job: v for job, v in found.items() if job.method == method}
        gains = [v - found[job._replace(method="blurred")] for job, v in mine.items()]
        print(f"| {method} | {np.mean(list(mine.values())):.2f} | {np.min(gains):+.2f} |")
    if figure:
        image, psf, truth = case("saturated", 12, 3, SATURATED_NOISE)
        pictures = {"observed": image, "scene": truth}
        for title, options in (("tv", {}), ('tv, saturation="auto"', {"saturation": "auto"})):
            pictures[title] = np.clip(tv(image, psf, **options), 0, 1)
        before_after(pictures, psf, columns=2, path=figure)


def main() -> None:
    """Run what is asked for and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="every eighth case only")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--csv", type=Path, help="results, read and added to")
    parser.add_argument("--slow-every", type=int, default=1, help="slow methods on fewer cases")
    parser.add_argument("--tapered", action="store_true")
    parser.add_argument("--oracle", action="store_true")
    parser.add_argument("--saturated", action="store_true")
    parser.add_argument("--figure", type=Path, help="with --saturated: picture of one case")
    options = parser.parse_args()
    every = 8 if options.quick else 1

    def solved(pairs: Iterable[tuple[tuple[Any, ...], Iterable[str]]]) -> dict[Job, float]:
        jobs = [Job(*place, method) for place, methods in pairs for method in methods]
        return results(jobs, options.csv, options.jobs)

    deconv.fft.set_threads(1)
    print(machine())
    if options.tapered:
        pairs = ((place, [*OURS, *TAPERED]) for place in cases("set12", every))
        tapered_table(solved(pairs))
    if options.oracle:
        bare = [name.removesuffix(", best lam") for name in BEST]
        pairs = [(p, [*bare, *BEST]) for name in GREY for p in cases(name, max(every, 4))]
        pairs += [(p, list(VECTORIAL)) for name in COLOUR for p in cases(name, 8)]
        oracle_table(solved(pairs))
    if options.saturated:
        pairs = ((p, SATURATED) for p in cases("saturated", max(every, 4), [SATURATED_NOISE]))
        saturated_table(solved(pairs), options.figure)
    if not (options.tapered or options.oracle or options.saturated):
        places = [place for name in GREY for place in cases(name, every)]
        few = {place for name in GREY for place in cases(name, max(every, options.slow_every))}
        fast = [m for m in MAIN if m not in SLOW]
        found = solved((place, MAIN if place in few else fast) for place in places)
        if len(few) < len(places):
            main_table({job: v for job, v in found.items() if job.method not in SLOW}, "All cases")
            found = {job: v for job, v in found.items() if job[:4] in few}
        main_table(found, "Every method")


if __name__ == "__main__":
    main()
