"""The weights of priors: the closed rules, and Stein's unbiased risk."""

from functools import cache

import numpy as np
import pytest
import scipy.signal
from helpers import LIBRARIES, colour_picture, get, picture, psnr, put, scene_and_blurred

import deconv
from deconv import evidence, psf
from deconv.evidence import Evidence
from deconv.prior_weight import hyper_laplacian_rule, l0_gradient_rule, tv_rule
from deconv.problem import pose
from deconv.sure import OCTAVES, best_weight

RULES = {
    "tv": tv_rule(2),
    "tv in colour": tv_rule(2, 3),
    "tv in 3-D": tv_rule(3),
    "power 0.4": hyper_laplacian_rule(0.4, 2),
    "power 2/3": hyper_laplacian_rule(2 / 3, 2),
    "power 2/3 in 3-D": hyper_laplacian_rule(2 / 3, 3),
    "power 1": hyper_laplacian_rule(1.0, 2),
    "l0": l0_gradient_rule(2),
}
POWER = {"tv": 1, "l0": 2, "power 0.4": 1.6, "power 2/3": 4 / 3, "power 1": 1}
all_rules = pytest.mark.parametrize("name", RULES)


def weigh(solve, problem, start):
    return best_weight(solve, problem.fidelity, problem.found, start, scale=problem.scale)


def found(sigma=0.02, gradient=0.1, dof=0.2):
    """Evidence of one picture."""
    parts = (sigma, 1e-3, 0.01, dof, gradient)
    return Evidence(*map(np.asarray, parts), reliable=True)


# --- closed rules --------------------------------------------------------------------------------


@all_rules
def test_a_weight_scales_as_the_objective_asks(name):
    # With c times the image, the data term grows by c^2 and the prior by c^p: lam by c^(2 - p).
    c, power = 37.0, next(v for k, v in POWER.items() if name.startswith(k))
    weight = RULES[name].weight
    assert weight(found(0.02 * c, 0.1 * c)) == pytest.approx(c**power * weight(found()))


@all_rules
def test_more_noise_needs_a_larger_weight(name):
    weights = [RULES[name].weight(found(sigma)) for sigma in (0.005, 0.02, 0.08)]
    assert np.all(np.diff(weights) > 0)


def test_a_flat_picture_without_noise_has_a_finite_weight():
    for rule in RULES.values():
        assert np.isfinite(rule.weight(found(1e-18, 0.0, 1e-9)))


@pytest.mark.parametrize("ndim", [2, 3])
def test_powers_between_the_fitted_ones_lie_between(ndim):
    for low, high in ((0.3, 0.5), (0.5, 2 / 3), (2 / 3, 0.8), (0.8, 1.0)):
        rules = [hyper_laplacian_rule(p, ndim) for p in (low, (low + high) / 2, high)]
        for value in zip(*rules, strict=True):
            assert min(value[::2]) - 1e-12 <= value[1] <= max(value[::2]) + 1e-12


def test_channels_that_share_a_gradient_share_its_weight():
    for rule in (tv_rule, l0_gradient_rule):
        assert rule(2, 1).c < rule(2, 3).c < 3 * rule(2, 1).c


def volume():
    """Two boxes and a ball of different brightness."""
    z, y, x = np.ogrid[:36, :56, :56]
    scene = 0.1 + 0.5 * ((abs(y - 20) < 10) & (abs(x - 18) < 8) & (abs(z - 16) < 9))
    scene = scene + 0.3 * ((abs(y - 36) < 8) & (abs(x - 38) < 13) & (abs(z - 22) < 7))
    return scene + 0.4 * ((y - 40) ** 2 + (x - 14) ** 2 + (z - 20) ** 2 < 64)


@cache
def observed(kind):
    """Sharp and blurred image, and psf."""
    rng = np.random.default_rng(0)
    if kind == "volume":
        kernel = psf.gaussian((2.0, 1.0, 1.0), truncate=2.5)
        scene = volume()
        blurred = scipy.signal.fftconvolve(scene, kernel, mode="valid")
        return _framed(scene, kernel, blurred), blurred + rng.normal(0, 0.03, blurred.shape), kernel
    kernel = psf.motion(9, 30)
    if kind == "grey":
        return *scene_and_blurred(kernel, "camera", 128, 0.02), kernel
    scene = colour_picture(128)
    blurred = scipy.signal.fftconvolve(scene, kernel[..., None], mode="valid")
    return _framed(scene, kernel, blurred), blurred + rng.normal(0, 0.02, blurred.shape), kernel


def _framed(scene, kernel, blurred):
    """The scene where the valid blur of an odd psf lies."""
    pairs = zip(kernel.shape, blurred.shape[: kernel.ndim], strict=True)
    return scene[tuple(slice(k // 2, k // 2 + n) for k, n in pairs)]


SOLVERS = {
    "tv": (deconv.tv, {}),
    "hyper_laplacian": (deconv.hyper_laplacian, {}),
    "power 0.5": (deconv.hyper_laplacian, {"p": 0.5}),
    "power 1": (deconv.hyper_laplacian, {"p": 1.0}),
    "l0_gradient": (deconv.l0_gradient, {}),
}


@pytest.mark.parametrize("kind", ["grey", "colour", "volume"])
@pytest.mark.parametrize("name", SOLVERS)
def test_the_automatic_weight_is_near_the_best_one(name, kind):
    if (name, kind) == ("l0_gradient", "volume"):
        pytest.skip("the rule of l0_gradient was fitted on pictures only")
    sharp, blurred, kernel = observed(kind)
    solver, options = SOLVERS[name]
    options = dict(options, channel_axis=-1) if kind == "colour" else options
    image = np.moveaxis(blurred, -1, 0) if kind == "colour" else blurred
    seen = evidence.estimate(image, kernel)
    p = {"tv": 1, "l0_gradient": 0}.get(name, options.get("p", 2 / 3))
    # Weights over three decades; which of them is best, no rule has told.
    unit = float(np.mean(seen.sigma)) ** (2 - p)
    best = max(
        psnr(sharp, solver(blurred, kernel, lam=lam * unit, **options))
        for lam in np.geomspace(0.01, 10, 11)
    )
    automatic = psnr(sharp, solver(blurred, kernel, **options))
    assert automatic > best - (0.7 if kind == "volume" else 0.5)


STREAK = psf.motion(15, 30)


def night(clip):
    """A dark periodic scene with lamps, as a screen shows it, and the noisy blurred picture."""
    scene = 0.25 * picture("camera", 128)
    for row, column in np.random.default_rng(3).integers(10, 118, (8, 2)):
        scene[row : row + 3, column : column + 3] = 8
    A = deconv.Blur(STREAK, scene.shape, boundary="periodic")
    blurred = A(scene) + np.random.default_rng(2).normal(0, 0.005, scene.shape)
    return np.minimum(scene, 1), np.minimum(blurred, 1 if clip else np.inf)


def shown(sharp, restored):
    return psnr(sharp, np.minimum(restored, 1))


def test_lamps_in_the_dark_do_not_let_the_noise_through():
    sharp, blurred = night(clip=False)
    best = max(
        shown(sharp, deconv.tv(blurred, STREAK, boundary="periodic", lam=lam))
        for lam in np.geomspace(1e-5, 1e-2, 10)
    )
    for sigma in (None, 0.005):
        found = deconv.tv(blurred, STREAK, boundary="periodic", sigma=sigma)
        assert shown(sharp, found) > best - 3


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("solver", [deconv.tv, deconv.hyper_laplacian])
def test_the_true_sigma_is_hardly_worse_than_the_estimate(solver, clip):
    # Clipped lamps taken at their word do not fit the blur: that they are no noise helps nobody.
    sharp, blurred = night(clip)
    estimated, told = (
        shown(sharp, solver(blurred, STREAK, boundary="periodic", sigma=sigma))
        for sigma in (None, 0.005)
    )
    assert told > estimated - 1.5


@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_a_sigma_four_times_too_small_is_hardly_worse_than_none(kind):
    sharp, blurred, kernel = observed(kind)
    options = {"channel_axis": -1} if kind == "colour" else {}
    automatic = psnr(sharp, deconv.tv(blurred, kernel, **options))
    assert psnr(sharp, deconv.tv(blurred, kernel, sigma=0.005, **options)) > automatic - 0.3


def test_a_slow_wave_is_freed_of_its_noise():
    x = np.arange(128)
    wave = np.tile(0.5 + 0.3 * np.sin(2 * np.pi * x / 128), (128, 1))
    blurred = wave + np.random.default_rng(0).normal(0, 0.01, wave.shape)
    for solver in (deconv.tv, deconv.hyper_laplacian):
        found = solver(blurred, psf.gaussian(1.5), boundary="periodic")
        assert psnr(wave, found) > psnr(wave, blurred) + 1


# --- Stein's unbiased risk -----------------------------------------------------------------------

KERNEL = psf.gaussian(1.2)
SIGMA = 0.05


def posed(image, **options):
    options = {"sigma": SIGMA, "boundary": "periodic"} | options
    return pose(image, KERNEL, **options)


def linear(data, lam):
    """Tikhonov's restoration: its risk is known in closed form."""
    A = data.A
    column = np.reshape(lam, (*np.shape(lam), 1, 1))
    spectrum = A.transform(data.y) * np.conj(A.otf) / (A.power + column)
    return A.image(spectrum, overwrite=True)


def periodic_scene(shape=(64, 64)):
    sharp, _ = scene_and_blurred(KERNEL, "camera", 64)
    A = deconv.Blur(KERNEL, sharp.shape, boundary="periodic")
    noise = SIGMA * np.random.default_rng(3).normal(size=(*shape[:-2], *sharp.shape))
    return sharp, A(sharp) + noise


def exact_risk(problem, lam):
    """Of the linear restoration, with the trace of its matrix instead of a probe."""
    A, y = problem.fidelity.A, problem.fidelity.y
    power = np.abs(np.fft.fft2(KERNEL, y.shape)) ** 2
    residual = A(linear(problem.fidelity, np.asarray(lam))) - y
    return np.sum(residual**2) + 2 * SIGMA**2 * np.sum(power / (power + lam))


@pytest.mark.parametrize("off", [0.4, 1.0, 3.0])
def test_the_risk_of_a_linear_restoration_is_found_with_one_probe(off):
    _, blurred = periodic_scene()
    problem = posed(blurred)
    trials = np.geomspace(1e-4, 1, 400)
    expected = trials[np.argmin([exact_risk(problem, lam) for lam in trials])]
    chosen = weigh(linear, problem, np.asarray(off * expected))
    assert chosen.shape == ()
    assert abs(np.log2(chosen / expected)) < 0.6


def test_the_risk_is_that_of_the_prediction():
    # The weight it finds predicts the noiseless data nearly as well as any does.
    sharp, blurred = periodic_scene()
    problem = posed(blurred)
    A = problem.fidelity.A

    def error(lam):
        return np.mean((A(linear(problem.fidelity, np.asarray(lam))) - A(sharp)) ** 2)

    best = min(error(lam) for lam in np.geomspace(1e-4, 1, 100))
    assert error(weigh(linear, problem, np.asarray(0.05))) < 1.05 * best


def test_a_start_far_off_moves_by_two_octaves_and_no_more():
    _, blurred = periodic_scene()
    problem = posed(blurred)
    assert weigh(linear, problem, np.asarray(1e-6)) == pytest.approx(4e-6)
    assert weigh(linear, problem, np.asarray(1e3)) == pytest.approx(1e3 / 4)


def test_every_channel_has_its_own_weight():
    _, one = periodic_scene()
    noisier = one + 0.15 * np.random.default_rng(5).normal(size=one.shape)
    both = posed(np.stack([one, noisier]), channel_axis=0, sigma=np.array([0.05, 0.158]))
    start = np.array([0.05, 0.05])
    found = weigh(linear, both, start)
    assert found.shape == (2,)
    # The first channel has the probe that it has alone.
    alone = weigh(linear, posed(one), np.asarray(0.05))
    assert found[0] == pytest.approx(alone, rel=1e-9)
    assert found[1] > 2 * found[0]
    # One number is one weight for both, between the two.
    joint = weigh(linear, both.pooled(), np.asarray(0.05))
    assert joint.shape == ()
    assert found[0] < joint < found[1]


def test_each_weight_costs_two_solves():
    _, blurred = periodic_scene()
    calls = []

    def counted(data, lam):
        calls.append(float(lam))
        return linear(data, lam)

    weigh(counted, posed(blurred), np.asarray(0.02))
    assert sorted(calls) == sorted([*(0.02 * 2**OCTAVES)] * 2)


@pytest.mark.parametrize("missing", [None, "weights", "nan"])
def test_only_observed_pixels_count(missing):
    sharp, blurred = scene_and_blurred(KERNEL, "camera", 80, 0.03)
    hidden = np.zeros(blurred.shape, bool)
    hidden[20:40, 30:60] = missing is not None
    weights = np.where(hidden, 0.0, 1.0) if missing == "weights" else None
    results = []
    for lie in (0.0, 7.0):
        told = np.where(hidden, np.nan if missing == "nan" else lie, blurred)
        results.append(deconv.tv(told, KERNEL, lam="sure", weights=weights))
    np.testing.assert_allclose(results[0], results[1], atol=1e-9)
    rule = deconv.tv(np.where(hidden, np.nan, blurred), KERNEL)
    seen = ~hidden
    assert psnr(sharp[seen], results[0][seen]) > psnr(sharp[seen], rule[seen]) - 0.3


@pytest.mark.parametrize("name", ["tv", "hyper_laplacian", "l0_gradient"])
def test_sure_scales_with_the_image(name):
    _, blurred = scene_and_blurred(KERNEL, "camera", 64, 0.03)
    solver = getattr(deconv, name)
    expected = 1000 * solver(blurred, KERNEL, lam="sure")
    np.testing.assert_allclose(
        solver(1000 * blurred, KERNEL, lam="sure"), expected, atol=1e-3 * expected.max()
    )


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_array_library_finds_the_same_weight(library):
    _, blurred = scene_and_blurred(KERNEL, "camera", 48, 0.03)
    expected = deconv.tv(blurred, KERNEL, lam="sure", n_iter=10)
    found = deconv.tv(put(blurred, library), put(KERNEL, library), lam="sure", n_iter=10)
    np.testing.assert_allclose(get(found), expected, atol=1e-6)


def test_photons_leave_the_risk_unbiased():
    # Noise that grows with the light: pixels are weighted, and the risk must know.
    sharp, blurred = scene_and_blurred(KERNEL, "camera", 96)
    counts = np.random.default_rng(0).poisson(np.clip(blurred, 0, None) * 200) / 200
    best = max(
        psnr(sharp, deconv.tv(counts, KERNEL, gain=1 / 200, lam=lam))
        for lam in np.geomspace(1e-4, 0.1, 13)
    )
    found = deconv.tv(counts, KERNEL, gain=1 / 200, sigma=0.0, lam="sure")
    assert psnr(sharp, found) > best - 0.4
