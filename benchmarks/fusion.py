r"""What several weights are worth when the psf is a little wrong.

Three tables, at 1 and 3 % of noise: psfs that are exact, psfs that `unrolled.PsfError` made wrong
(Set12 and Kodak 1 to 8 under Levin's kernels), and the estimates that Cho and Lee, Fergus et al.,
Levin et al., Pan et al. and Sun et al. published of Levin's pictures 1 and 4 (the captured pictures
with noise added). No network was trained on any of these. "best lam" is the best of thirteen
weights for each single picture, found with the truth; everything else gets picture and psf alone.
An estimate knows no position, so pictures are shifted onto the truth before they are compared
(`deconv.alignment`): PSNR in dB, without a border of 15 pixels. "psf refined" is
`deconv.blind.refine_psf`, which gets the picture and the psf alone as well.

    export OMP_NUM_THREADS=1
    python -m benchmarks.fusion --csv fusion.csv --jobs 2
    python -m benchmarks.fusion --network fusion runs/fusion --csv fusion.csv
    python -m benchmarks.fusion --speed
    python -m benchmarks.fusion --figure fusion.png
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import deconv
from benchmarks.blind_pairs import LEVIN, PUBLISHED
from benchmarks.blind_protocol import levin_pair, luma, roomy
from benchmarks.blind_rows import Options, Row, Task, completed, number, show
from benchmarks.protocol import kodak, levin_kernels, machine, observed, photographs
from deconv import evidence
from deconv.alignment import align
from deconv.prior_weight import hyper_laplacian_rule, tv_rule

NOISES = (0.01, 0.03)
# The grid of weights, over the one that the closed rule gives.
GRID = np.geomspace(1 / 8, 64, 13)
SOLVERS = {
    "tv": (deconv.tv, tv_rule(2)),
    "hyper_laplacian": (deconv.hyper_laplacian, hyper_laplacian_rule(2 / 3, 2)),
}
BEST = ", best lam"
REFINED = "psf refined, "
TABLES = {
    "exact": "Exact psfs, Set12 and Kodak",
    "perturbed": "Perturbed psfs, Set12 and Kodak",
    "published": "Published estimates, Levin's pictures 1 and 4",
}


class Case(NamedTuple):
    """The observation, the psf that methods are told, and the truth on the frame."""

    image: np.ndarray
    psf: np.ndarray
    truth: np.ndarray


def names(table: str) -> list[str]:
    """The cases of a table: noise, then what identifies the rest."""
    if table == "published":
        files = sorted(PUBLISHED.glob("BD_*/k_*.png"))
        rest = [f"{file.parent.name}/{file.name}" for file in files]
    else:
        rest = [
            f"{name} {i}" for name, count in (("set12", 12), ("kodak", 8)) for i in range(count)
        ]
    return [f"{noise:g} {name}" for noise in NOISES for name in rest]


def case(table: str, name: str) -> Case:
    """One of `names`."""
    noise, _, rest = name.partition(" ")
    if table == "published":
        return _published(rest, float(noise))
    group, _, index = rest.partition(" ")
    i = int(index)
    scene = (photographs("set12") if group == "set12" else kodak())[i]
    psf = levin_kernels()[(i + 3 * (group == "kodak")) % 8]
    image, truth = observed(scene, psf, float(noise), rng=i)
    told = psf if table == "exact" else _perturbed(psf, i)
    return Case(image, told.astype(np.float32), truth)


def _perturbed(psf: np.ndarray, seed: int) -> np.ndarray:
    import torch

    from unrolled import PsfError

    wide = np.pad(psf, 2).astype(np.float32)
    generator = torch.Generator().manual_seed(1000 + seed)
    return PsfError(strength=(0.5, 1.0))(torch.from_numpy(wide), generator).numpy()


def _published(name: str, noise: float) -> Case:
    file = PUBLISHED / name
    _, kernel, _, image, *_ = file.stem.split("_")
    pair = levin_pair(LEVIN / f"im0{image}_ker0{kernel}.mat")
    white = np.random.default_rng([int(kernel), int(image)]).normal(0, noise, pair.blurred.shape)
    # The published files are turned by 180 degrees, as Levin's own psfs are.
    psf = roomy(luma(file)[::-1, ::-1])
    return Case((pair.blurred + white).astype(np.float32), psf.astype(np.float32), pair.sharp)


def measure(task: Task, options: Options) -> Row:
    """PSNR of one method on one case."""
    seen = case(task.table, task.case)
    start = time.process_time()
    if task.method.endswith(BEST):
        restore, rule = SOLVERS[task.method.removesuffix(BEST)]
        lam = float(rule.weight(evidence.estimate(seen.image, seen.psf)))
        found = [restore(seen.image, seen.psf, lam=lam * factor) for factor in GRID]
        value = max(_score(seen, image) for image in found)
    else:
        refined = task.method.startswith(REFINED)
        psf = _refined(task.table, task.case) if refined else seen.psf
        restore = _method(task.method.removeprefix(REFINED))
        value = _score(seen, restore(seen.image, psf))
    return {"psnr": value, "cpu": time.process_time() - start}


def _score(seen: Case, image: np.ndarray) -> float:
    found = align(seen.truth, image)
    return float(10 * np.log10(found.x.size / found.ssd))


def _method(name: str) -> Callable[..., np.ndarray]:
    if name == "blurred":
        return lambda image, psf: image
    if name in SOLVERS:
        return SOLVERS[name][0]
    return _network(name).restore


@cache
def _refined(table: str, name: str) -> np.ndarray:
    """The psf of a case, refined by its picture, once for all methods."""
    seen = case(table, name)
    return deconv.blind.refine_psf(seen.image, seen.psf)


@cache
def _network(path: str) -> Any:
    """A trained network of any kind."""
    import torch

    from unrolled.pretrained import restorer

    torch.set_num_threads(1)
    return restorer(path)


def table(name: str, rows: list[Row], methods: list[str]) -> None:
    """Mean PSNR of the methods at each noise, and the networks' gain above the best weight."""

    def means(method: str) -> np.ndarray:
        own = [row for row in rows if row["table"] == name and row["method"] == method]
        return np.array(
            [
                np.mean([number(r, "psnr") for r in own if r["case"].startswith(f"{noise:g} ")])
                for noise in NOISES
            ]
        )

    best = np.max([means(solver + BEST) for solver in SOLVERS], axis=0)
    lines = []
    for method in methods:
        gain = means(method) - best
        lines.append([method, *(f"{v:.2f}" for v in means(method)), *(f"{g:+.2f}" for g in gain)])
    columns = ["method", *(f"{n:.0%}" for n in NOISES), *(f"{n:.0%}, gain" for n in NOISES)]
    show(f"{TABLES[name]}: PSNR in dB, and above the best single weight", columns, lines)


def speed(size: int = 512, repeats: int = 7) -> None:
    """What K weights cost together, over one solve of the same solver."""
    from deconv.fan import OWN, SHARED, SHARED_STEPS, fan
    from deconv.fidelity import Fidelity
    from deconv.priors import HyperLaplacian
    from deconv.splitting import Term, hqs
    from deconv.variational import FIRST_BETA, LAST_BETA

    rng = np.random.default_rng(0)
    y = rng.random((size, size), dtype=np.float32)
    A = deconv.Blur(deconv.psf.trajectory(25, rng=0).astype(np.float32), y.shape)
    lam = np.full((1, 1), 6e-4, np.float32)
    betas = np.geomspace(FIRST_BETA, LAST_BETA, SHARED + OWN)
    one = [Term(HyperLaplacian(), lam, [np.float32(beta) * lam for beta in betas])]
    runs: dict[str, Callable[[], Any]] = {
        "one": lambda: hqs(Fidelity(A, y), one, steps=SHARED_STEPS),
        **{f"K = {k}": lambda k=k: fan(Fidelity(A, y), lam, [1.0] * k) for k in (1, 2, 4, 8)},
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    lines = [[n, f"{s:.3f}", f"{s / median['one']:.2f}"] for n, s in median.items()]
    show(f"Solves of {size} x {size} pixels", ["", "seconds", "over one"], lines)


def figure(path: Path, networks: list[str]) -> None:
    """One published estimate: observation, best single weight, networks, and what was trusted."""
    import matplotlib.pyplot as plt

    from unrolled.fusion import trusted_weight

    name = "0.01 BD_cho_and_lee_tog_2009/k_2_im_4_cho_and_lee.png"
    seen = case("published", name) if PUBLISHED.exists() else case("perturbed", "0.01 set12 0")
    restore, rule = SOLVERS["hyper_laplacian"]
    lam = float(rule.weight(evidence.estimate(seen.image, seen.psf)))
    tries = [restore(seen.image, seen.psf, lam=lam * factor) for factor in GRID]
    panels = {
        "observed": seen.image,
        "best single weight": max(tries, key=lambda x: _score(seen, x)),
    }
    trust = None
    for network in networks:
        net = _network(network)
        if hasattr(net, "restorations"):
            panels[network], trust = net.restore(seen.image, seen.psf, trust=True)
            factors = net.config.factors
        else:
            panels[network] = net.restore(seen.image, seen.psf)
    panels["truth"] = seen.truth
    count = len(panels) + (trust is not None)
    drawn, axes = plt.subplots(1, count, figsize=(3 * count, 3.3), layout="constrained")
    for axis, (title, image) in zip(axes, panels.items(), strict=False):
        title += "" if title in ("observed", "truth") else f", {_score(seen, image):.2f} dB"
        axis.imshow(image, cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=9)
    if trust is not None:
        shown = axes[-1].imshow(np.log10(trusted_weight(trust, factors)), cmap="viridis")
        drawn.colorbar(shown, ax=axes[-1], shrink=0.8, label="log10 of the factor")
        axes[-1].set_title("trusted weight", fontsize=9)
    for axis in axes:
        axis.axis("off")
    drawn.savefig(path, dpi=110)


def main() -> None:
    """Measure what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="*", default=["hqs-gray", "hqs-robust", "fusion"])
    parser.add_argument("--only", nargs="*", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--csv", type=Path, help="results, read and added to")
    parser.add_argument("--speed", action="store_true", help="what K weights cost")
    parser.add_argument("--figure", type=Path, help="a picture of one case")
    options = parser.parse_args()
    deconv.fft.set_threads(1)
    print(machine())
    if options.speed:
        speed()
        return
    if options.figure:
        figure(options.figure, options.network)
        return
    refined = [REFINED + name for name in ("hyper_laplacian", *options.network)]
    methods = ["blurred", *SOLVERS, *(name + BEST for name in SOLVERS), *options.network, *refined]
    for name in options.only:
        tasks = [Task(name, method, case) for method in methods for case in names(name)]
        if tasks:
            rows = completed(tasks, {name: measure}, Options(LEVIN), options.csv, options.jobs)
            table(name, rows, methods)
        else:
            print(f"\n{TABLES[name]}: the data are not at hand")


if __name__ == "__main__":
    main()
