r"""The closed rules of `deconv.prior_weight`: fitted, and what they lose against the best weight.

Training photographs (never test ones), random psfs of four families, noise of 0.4 to 8 %, valid
blur. Each case is restored with nine weights around its rule; a spline through the nine PSNRs gives
the best weight and the loss of any other. The constants then minimise the mean of ``loss + loss^2``
on two thirds of the cases: no regression on log lam, because too small a weight costs more than too
large a one. Losses are printed for the third that was held out, with the rule as it stands in the
library and as refitted.

    python -m benchmarks.weights                      # all settings
    python -m benchmarks.weights tv "tv, colour"      # some
    python -m benchmarks.weights --csv weights.csv    # kept: a second run only fits
    python -m benchmarks.weights tv --sure            # and what lam="sure" loses
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import deconv
from benchmarks.protocol import DATA, grey, machine, observed, psnr, training_picture
from deconv import evidence, psf
from deconv.evidence import Evidence
from deconv.prior_weight import Rule, hyper_laplacian_rule, l0_gradient_rule, tv_rule
from deconv.variational import hyper_laplacian, l0_gradient, tv

NOISE = (0.004, 0.08)
OCTAVES = np.linspace(-3, 3, 9)
SIZE = 240
VOLUMES = ("flowdec/bars-25pct_actual.tif", "deconwolf/dapi_001.tif")


class Setting(NamedTuple):
    """A prior on a kind of image; `pooled`: one weight for all channels."""

    kind: str
    rule: Rule
    restore: Callable[..., np.ndarray]
    pooled: bool = False
    cases: int = 96


def _settings() -> dict[str, Setting]:
    def power(p: float, kind: str, ndim: int) -> Setting:
        return Setting(
            kind,
            hyper_laplacian_rule(p, ndim),
            lambda y, k, **options: hyper_laplacian(y, k, p=p, **options),
        )

    last = {"channel_axis": -1}
    powers = {f"hyper-Laplacian {p:.2g}": power(p, "grey", 2) for p in (0.3, 0.5, 2 / 3, 0.8, 1)}
    return {
        "tv": Setting("grey", tv_rule(2), tv),
        "tv, colour": Setting(
            "colour", tv_rule(2, 3), lambda y, k, **options: tv(y, k, **last, **options), True, 72
        ),
        "tv, one channel": Setting("channel", tv_rule(2), tv, cases=48),
        "tv, 1-D": Setting("signal", tv_rule(1), tv, cases=192),
        "tv, 3-D": Setting("volume", tv_rule(3), tv, cases=36),
        **powers,
        "hyper-Laplacian, one channel": power(2 / 3, "channel", 2)._replace(cases=48),
        "hyper-Laplacian, 3-D": power(2 / 3, "volume", 3)._replace(cases=36),
        "l0": Setting("grey", l0_gradient_rule(2), l0_gradient),
        "l0, colour": Setting(
            "colour",
            l0_gradient_rule(2, 3),
            lambda y, k, **options: l0_gradient(y, k, **last, **options),
            True,
            72,
        ),
    }


SETTINGS = _settings()

# --- cases ---------------------------------------------------------------------------------------


def random_psf(rng: np.random.Generator) -> np.ndarray:
    """A camera shake (every second time), a straight motion, a Gaussian or a defocus."""
    family = rng.integers(6)
    if family == 0:
        return psf.motion(rng.uniform(5, 25), rng.uniform(0, 180))
    if family == 1:
        return psf.gaussian(rng.uniform(0.8, 3))
    if family == 2:
        return psf.defocus(rng.uniform(1.5, 6))
    return psf.trajectory(int(rng.integers(9, 36)), rng=rng)


def volume(case: int, rng: np.random.Generator) -> np.ndarray:
    """Every fourth time bars, every fourth a nucleus from a microscope, else synthetic cells."""
    from skimage import io

    measured = [DATA / "science" / name for name in VOLUMES]
    if case % 4 < 2 and measured[case % 4].exists():
        scene = io.imread(measured[case % 4]).astype(np.float32)
        if case % 4:  # binned: the microscope's own noise is no structure
            scene = scene[:, 40:200, :100].reshape(40, 80, 2, 50, 2).mean((2, 4))
        low, high = np.quantile(scene, (0.01, 0.999))
        return (scene - low) / (high - low)
    return cells(rng)


def cells(rng: np.random.Generator) -> np.ndarray:
    """Smooth blobs of even brightness with texture, on a dim background, within about [0, 1]."""
    from scipy.ndimage import gaussian_filter

    shape = (40, 72, 72)
    scene = np.full(shape, rng.uniform(0, 0.2))
    for _ in range(rng.integers(2, 6)):
        field = gaussian_filter(rng.normal(size=shape), rng.uniform(2, 7))
        inside = field > np.quantile(field, rng.uniform(0.7, 0.97))
        texture = gaussian_filter(rng.normal(size=shape), rng.uniform(1, 3))
        texture *= rng.uniform(0, 0.25) / texture.std()
        scene = np.where(inside, rng.uniform(0.2, 0.9) * (1 + texture), scene)
    return np.clip(gaussian_filter(scene, rng.uniform(0, 1)), 0, None).astype(np.float32)


def problem(kind: str, case: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blurred image, truth and psf number `case` of a kind of image."""
    rng = np.random.default_rng(case)
    sigma = float(np.exp(rng.uniform(*np.log(NOISE))))
    if kind == "volume":
        widths = (rng.uniform(1, 2), *[rng.uniform(0.7, 1.5)] * 2)
        blur = psf.gaussian(widths, truncate=2.5)
        return (*observed(volume(case, rng), blur, sigma, case), blur)
    blur = random_psf(rng)
    scene = training_picture(case)
    room = [max(n - SIZE - k, 0) for n, k in zip(scene.shape[:2], blur.shape, strict=True)]
    y, x = (int(rng.integers(r + 1)) for r in room)
    scene = scene[y : y + SIZE + blur.shape[0], x : x + SIZE + blur.shape[1]]
    if kind == "signal":
        blur = blur[blur.shape[0] // 2] if rng.integers(2) else psf.gaussian(3.0, ndim=1)
        blur = blur / blur.sum()
        scene = scene[rng.integers(len(scene))].mean(-1)
    elif kind == "grey":
        scene = grey(255 * scene)
    elif kind == "channel":
        scene = np.ascontiguousarray(scene[..., case % 3])
    wide = blur[..., None] if scene.ndim > blur.ndim else blur
    return (*observed(scene, wide, sigma, case), blur)


def evidence_of(image: np.ndarray, blur: np.ndarray, pooled: bool) -> Evidence:
    """What the solver finds: over all channels if `pooled`."""
    found = evidence.estimate(np.moveaxis(image, -1, 0) if pooled else image, blur)
    if not pooled:
        return found
    names = ("sigma", "gradient", "typical")
    rms = {name: np.sqrt(np.mean(getattr(found, name) ** 2)) for name in names}
    return replace(found, **rms, dof=np.mean(found.dof))


def curve_of(
    setting: Setting, image: np.ndarray, truth: np.ndarray, blur: np.ndarray
) -> list[float]:
    """The evidence, the rule's weight, and the PSNR with the weights around it."""
    found = evidence_of(image, blur, setting.pooled)
    lam = float(setting.rule.weight(found))
    scores = [psnr(truth, setting.restore(image, blur, lam=lam * 2.0**k)) for k in OCTAVES]
    return [float(found.sigma), float(found.slope), float(found.dof), lam, *scores]


def curve(name: str, case: int) -> list[Any]:
    """One row of the table."""
    image, truth, blur = problem(SETTINGS[name].kind, case)
    return [name, case, *curve_of(SETTINGS[name], image, truth, blur.astype(image.dtype))]


# --- fit -----------------------------------------------------------------------------------------


class Curve:
    """PSNR over log lam of one case, by a spline; beyond its ends it falls on as steeply."""

    def __init__(self, values: list[Any]) -> None:
        from scipy.interpolate import CubicSpline

        self.sigma, self.gradient, self.dof, self.lam, *scores = (float(v) for v in values)
        self.places = np.log(self.lam) + OCTAVES * np.log(2)
        self.spline = CubicSpline(self.places, scores)
        fine = np.linspace(self.places[0], self.places[-1], 400)
        values = self.spline(fine)
        self.best, self.where = float(values.max()), float(fine[values.argmax()])

    def loss(self, log_lam: float) -> float:
        """What is lost, in dB, with this weight against the best one."""
        inside = float(np.clip(log_lam, self.places[0], self.places[-1]))
        beyond = abs(log_lam - inside) * 2.0
        return self.best - float(self.spline(inside)) + beyond


def losses(rule: Rule, curves: list[Curve]) -> np.ndarray:
    """What a rule loses in each case, in dB."""
    c, q, a, b = rule
    result = []
    for one in curves:
        ratio = np.log(one.sigma / one.gradient)
        log_lam = np.log(c) + q * np.log(one.sigma) + a * ratio + b * np.log(one.dof)
        result.append(one.loss(float(log_lam)))
    return np.array(result)


def refitted(rule: Rule, curves: list[Curve]) -> Rule:
    """The rule with the constants that lose least on these cases."""
    from scipy.optimize import minimize

    def cost(theta: np.ndarray) -> float:
        lost = losses(Rule(float(np.exp(theta[0])), rule.q, *theta[1:]), curves)
        return float(np.mean(lost + lost**2))

    start = np.array([np.log(rule.c), rule.a, rule.b])
    theta = minimize(cost, start, method="Nelder-Mead", options={"maxiter": 600}).x
    return Rule(float(np.exp(theta[0])), rule.q, float(theta[1]), float(theta[2]))


# --- tables --------------------------------------------------------------------------------------


def tabulated(names: list[str], path: Path | None, jobs: int) -> list[list[Any]]:
    """The curves of all cases of some settings; those at `path` are not computed again."""
    from tqdm import tqdm

    rows: list[list[Any]] = []
    if path and path.exists():
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
    done = {(row[0], int(row[1])) for row in rows}
    wanted = [(name, case) for name in names for case in range(SETTINGS[name].cases)]
    missing = [pair for pair in wanted if pair not in done]
    with ProcessPoolExecutor(jobs) as pool:
        found = pool.map(curve, [n for n, _ in missing], [case for _, case in missing])
        for row in tqdm(found, total=len(missing), leave=False):
            rows.append(row)
            if path:
                with path.open("a", newline="") as file:
                    csv.writer(file).writerow(row)
    return [row for row in rows if (row[0], int(row[1])) in set(wanted)]


def loss_of_sure(row: list[Any]) -> float:
    """What ``lam="sure"`` loses in the case of a row, in dB."""
    setting = SETTINGS[row[0]]
    image, truth, blur = problem(setting.kind, int(row[1]))
    found = setting.restore(image, blur.astype(image.dtype), lam="sure")
    return Curve(row[2:]).best - psnr(truth, found)


def shown(lost: np.ndarray) -> str:
    """Mean and worst."""
    return f"{np.mean(lost):.3f} ({np.max(lost):.2f})"


def main() -> None:
    """Print rules and losses."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", help="; ".join(SETTINGS))
    parser.add_argument("--csv", type=Path, help="table of curves, read and added to")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--sure", action="store_true", help='also the loss of lam="sure"')
    options = parser.parse_args()
    deconv.fft.set_threads(1)
    names = options.settings or list(SETTINGS)
    rows = tabulated(names, options.csv, options.jobs)
    print(machine())
    print("dB lost on held-out cases, mean (worst)")
    columns = ["setting", "rule", "refitted", "c", "a", "b"] + ["sure"] * options.sure
    print(f"| {' | '.join(columns)} |\n" + "|---" * len(columns) + "|")
    for name in names:
        training = [Curve(row[2:]) for row in rows if row[0] == name and int(row[1]) % 3]
        held_out = [row for row in rows if row[0] == name and int(row[1]) % 3 == 0]
        curves = [Curve(row[2:]) for row in held_out]
        rule = SETTINGS[name].rule
        new = refitted(rule, training)
        found = [shown(losses(rule, curves)), shown(losses(new, curves))]
        found += [f"{new.c:.3g}", f"{new.a:.3f}", f"{new.b:.3f}"]
        if options.sure:
            with ProcessPoolExecutor(options.jobs) as pool:
                found.append(shown(np.array(list(pool.map(loss_of_sure, held_out)))))
        print(f"| {name} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main()
