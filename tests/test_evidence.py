"""What a picture tells of its noise and spectrum: recovery, scale, gaps, and what is refused."""

import numpy as np
import pytest
from helpers import LIBRARIES, get, picture, put
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from deconv import evidence, fft, periodogram, psf, whittle
from deconv.evidence import ABOVE, BELOW
from deconv.spectrum import signal_power

BLUR = psf.gaussian(1.5)


def power_law_field(shape, rng, c=1.0):
    """A Gaussian random picture whose spectrum is c / (f0^2 + |f|^2)."""
    law = evidence.power_law(shape, 0.5 / shape[-1])
    white = np.fft.rfftn(rng.normal(size=shape))
    return np.fft.irfftn(white * np.sqrt(c / law), shape, axes=range(len(shape)))


def observed(shape, kernel, sigma, seed=0, c=1.0):
    rng = np.random.default_rng(seed)
    whole = tuple(n + k - 1 for n, k in zip(shape, kernel.shape, strict=True))
    scene = power_law_field(whole, rng, c)
    y = fftconvolve(scene, kernel, "valid")
    return y + rng.normal(0, sigma, y.shape)


@pytest.mark.parametrize("shape", [(16000,), (128, 128), (90, 201), (32, 40, 36)])
def test_recovers_noise_and_power_of_the_model_itself(shape):
    kernel = psf.gaussian(1.5, ndim=len(shape))
    y = observed(shape, kernel, sigma=0.3, c=4.0)
    found = evidence.estimate(y, kernel)
    assert found.sigma == pytest.approx(0.3, rel=0.06)
    assert found.power == pytest.approx(4.0, rel=0.35)
    assert found.f0 == pytest.approx(0.5 / np.prod(shape) ** (1 / len(shape)))
    assert 0 < found.dof < 1
    assert found.reliable


def test_dof_and_gradient_are_those_of_their_definition():
    # One period of a scene needs no window: power and shape are the frame's.
    rng = np.random.default_rng(0)
    scene = power_law_field((64, 64), rng)
    K = np.fft.rfft2(BLUR, (64, 64))
    y = np.fft.irfft2(np.fft.rfft2(scene) * K, (64, 64)) + rng.normal(0, 0.2, (64, 64))
    found = evidence.estimate(y, BLUR, sigma=0.2, periodic=True, shape=True)
    S = found.power / evidence.power_law((64, 64), found.f0)
    K2 = np.abs(K) ** 2
    w = fft.parseval_weights(64, S) * np.ones_like(S)
    assert found.dof == pytest.approx(np.average(K2 * S / (K2 * S + 0.04), weights=w), rel=1e-4)
    fy, fx = fft.frequencies((64, 64), S)
    slope = 4 - 2 * np.cos(2 * np.pi * fy) - 2 * np.cos(2 * np.pi * fx)
    law = np.average(S * slope, weights=w)
    own = np.average(signal_power(found.shape, float(found.f0), (64, 64), S) * slope, weights=w)
    bounded = np.clip(own, law / BELOW**2, law * ABOVE**2)
    assert found.gradient**2 == pytest.approx(bounded, rel=1e-4)


def test_a_wrong_psf_does_not_let_the_gradient_run_up():
    # The psf taken for the true one passes least where the picture's power is.
    scene = power_law_field((200, 200), np.random.default_rng(1))
    y = fftconvolve(scene, BLUR, "same") + np.random.default_rng(2).normal(0, 0.02, scene.shape)
    wide = np.ones((9, 9)) / 81
    right, wrong = evidence.estimate(y, BLUR), evidence.estimate(y, wide)
    axes = fft.frequencies((200, 200), y)
    S = wrong.power / evidence.power_law((200, 200), wrong.f0)
    slope = sum(2 - 2 * np.cos(2 * np.pi * f) for f in axes)
    w = fft.parseval_weights(200, S) * np.ones_like(S)
    assert wrong.gradient <= 1.01 * ABOVE * np.sqrt(np.average(S * slope, weights=w))
    assert wrong.gradient > right.gradient


def test_the_gradient_of_a_signal_is_that_of_the_power_law():
    scene = power_law_field((512,), np.random.default_rng(0))
    found = evidence.estimate(scene, np.ones(1), sigma=0.1, periodic=True)
    S = found.power / evidence.power_law((512,), found.f0)
    w = fft.parseval_weights(512, S) * np.ones_like(S)
    slope = 2 - 2 * np.cos(2 * np.pi * np.fft.rfftfreq(512))
    assert found.gradient**2 == pytest.approx(np.average(S * slope, weights=w), rel=1e-4)


def test_the_gradient_is_the_whole_frame_s():
    """Detail in the middle only, which a Hann window takes for the frame's."""
    detail = power_law_field((200, 200), np.random.default_rng(1))
    y, x = np.ogrid[-1:1:200j, -1:1:200j]
    middle = np.exp(-3 * (x**2 + y**2))
    scene = detail * middle
    true = np.sqrt(sum(np.mean(np.diff(scene, axis=a) ** 2) for a in (0, 1)))
    for sigma in (0.02, 1e-7):  # and where no noise hides what a flat window leaks
        noise = np.random.default_rng(2).normal(0, sigma, scene.shape)
        found = evidence.estimate(fftconvolve(scene, BLUR, "same") + noise, BLUR)
        assert found.gradient == pytest.approx(true, rel=0.3)


def test_bias_on_photographs(shared_data):
    from benchmarks import protocol

    errors = []
    for i, scene in enumerate(protocol.kodak()[::3]):
        for j in (0, 3, 6):
            kernel = protocol.levin_kernels()[j]
            y, _ = protocol.observed(scene[:300, :400], kernel, 2.55 / 255, rng=10 * i + j)
            errors.append(evidence.estimate(y, kernel).sigma * 255 / 2.55 - 1)
    assert abs(np.mean(errors)) < 0.03
    assert np.std(errors) < 0.03


@given(st.sampled_from([1e-12, 1e-6, 255.0, 65535.0, 1e6]), st.booleans(), st.integers(0, 3))
def test_scales_with_the_picture(c, double, seed):
    y = observed((48, 40), BLUR, 0.3, seed)
    dtype, tol = (np.float64, 1e-9) if double else (np.float32, 2e-4)
    one, many = (evidence.estimate((s * y).astype(dtype), BLUR) for s in (1, c))
    assert many.sigma == pytest.approx(c * one.sigma, rel=tol)
    assert many.power == pytest.approx(c**2 * one.power, rel=tol)
    assert many.gradient == pytest.approx(c * one.gradient, rel=tol)
    assert many.dof == pytest.approx(one.dof, rel=tol)
    assert evidence.gcv(c * y, BLUR) == pytest.approx(evidence.gcv(y, BLUR), rel=1e-2)


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=3),
    st.sampled_from(["noise", "zero", "constant", "impulse", "steps"]),
    st.sampled_from([np.float32, np.float64]),
)
def test_any_small_picture_gives_finite_positive_numbers(shape, kind, dtype):
    rng = np.random.default_rng(0)
    image = np.zeros(shape)
    if kind == "noise":
        image = rng.normal(size=shape)
    elif kind == "constant":
        image[...] = 3e4
    elif kind == "impulse":
        image[(0,) * len(shape)] = 1
    elif kind == "steps":
        image = (np.indices(shape).sum(0) // 3 % 2).astype(float)
    kernel = np.ones([min(n, 3) for n in shape])
    kernel /= kernel.sum()
    found = evidence.estimate(image.astype(dtype), kernel)
    for value in (found.sigma, found.power, found.gradient, found.dof):
        assert np.isfinite(value) and value > 0
    assert evidence.gcv(image, kernel) > 0 and evidence.sure(image, kernel) > 0


def test_a_sigma_plainly_too_small_does_not_make_noise_pass_for_scene():
    y = observed((128, 128), BLUR, 0.3)
    true, small = (evidence.estimate(y, BLUR, sigma=s) for s in (0.3, 0.075))
    assert small.sigma == pytest.approx(0.3, rel=0.12)
    assert small.power == pytest.approx(true.power, rel=0.1)
    assert small.gradient == pytest.approx(true.gradient, rel=0.1)
    assert small.reliable
    # One that is as good as what shows counts, and so does any that the picture cannot refute.
    assert evidence.estimate(y, BLUR, sigma=0.295).sigma == pytest.approx(0.295, rel=1e-9)
    delta = np.ones((1, 1))
    texture = observed((128, 128), delta, 0.01)
    assert not evidence.estimate(texture, delta).reliable
    assert evidence.estimate(texture, delta, sigma=0.01).sigma == pytest.approx(0.01, rel=1e-9)


def night(n_lamps, level=8.0):
    """A dark picture with a few lamps, and which pixels they are."""
    scene = 0.05 * picture("camera", 160)
    lamps = np.zeros(scene.shape, bool)
    for row, column in np.random.default_rng(3).integers(20, 140, (n_lamps, 2)):
        lamps[row : row + 3, column : column + 3] = True
    return np.where(lamps, level, scene), lamps


def test_a_few_lamps_are_not_the_typical_gradient():
    scene, lamps = night(6)
    noise = np.random.default_rng(0).normal(0, 0.005, scene.shape)
    y = fftconvolve(scene, BLUR, "same") + noise
    found = evidence.estimate(y, BLUR)
    assert found.typical < 0.5 * found.gradient
    # It is as large as noise at least, and the unit does not matter.
    assert found.typical >= 2 * found.sigma
    many = evidence.estimate(1e6 * y, BLUR)
    assert many.typical == pytest.approx(1e6 * found.typical, rel=1e-4)
    # Where the lamps are not observed, what is left is a photograph.
    weights = 1.0 - (fftconvolve(lamps * 1.0, np.ones((15, 15)), "same") > 0.5)
    for lie in (y, np.where(weights == 0, np.nan, y)):
        dark = evidence.estimate(lie, BLUR, weights=weights)
        assert dark.typical == dark.gradient < 0.1 * found.gradient


@pytest.mark.parametrize("name", ["camera", "coins", "brick", "text", "page", "moon"])
@pytest.mark.parametrize("sigma", [0.003, 0.03])
def test_the_typical_gradient_of_a_photograph_is_its_gradient(name, sigma):
    scene = picture(name, 160)
    y = fftconvolve(scene, BLUR, "valid")
    found = evidence.estimate(y + np.random.default_rng(0).normal(0, sigma, y.shape), BLUR)
    assert found.typical == found.gradient


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("cycles", [1, 2])
def test_waves_too_slow_to_be_fitted_have_a_gradient(cycles, periodic):
    x = np.arange(160)
    wave = np.tile(0.5 + 0.3 * np.sin(2 * np.pi * cycles * x / 160 + 0.3), (160, 1))
    y = wave + np.random.default_rng(0).normal(0, 0.01, wave.shape)
    found = evidence.estimate(y, BLUR, periodic=periodic)
    true = np.sqrt(np.mean(np.diff(wave, axis=1) ** 2))
    assert 0.7 * true < found.gradient < 2.5 * true
    # Noise is no wave.
    assert evidence.estimate(y - wave, BLUR, periodic=periodic).gradient < 0.05 * 0.01


def test_without_noise_sigma_is_tiny():
    y = observed((128, 128), psf.gaussian(2.0), 0.0)
    found = evidence.estimate(y, psf.gaussian(2.0))
    assert 0 < found.sigma < 2e-3 * y.std()
    delta = np.ones((1, 1))
    assert evidence.estimate(y, delta, sigma=0.0).sigma == pytest.approx(1e-6 * y.std(), rel=1e-3)


def test_all_noise_leaves_hardly_any_signal():
    y = np.random.default_rng(0).normal(0, 2, (96, 96))
    found = evidence.estimate(y, BLUR)
    assert found.sigma == pytest.approx(2, rel=0.05)
    assert found.dof < 0.02


def test_unreliable_where_texture_passes_for_noise():
    y = observed((128, 128), np.ones((1, 1)), 0.01)
    assert not evidence.estimate(y, np.ones((1, 1))).reliable
    assert evidence.estimate(y, np.ones((1, 1)), sigma=0.01).reliable
    assert evidence.estimate(observed((128, 128), BLUR, 0.1), BLUR).reliable


def test_leading_axes_are_separate_pictures():
    y = np.stack([observed((64, 64), BLUR, s, seed=i) for i, s in enumerate((0.1, 0.4))])
    kernels = np.stack([BLUR, BLUR])
    for arguments in ((y, BLUR, {}), (y, kernels, {"ndim": 2})):
        found = evidence.estimate(*arguments[:2], **arguments[2])
        for i in range(2):
            alone = evidence.estimate(y[i], BLUR)
            assert found.sigma[i] == alone.sigma and found.power[i] == alone.power
    given_ = evidence.estimate(y, BLUR, sigma=[0.2, 0.5])
    assert np.array_equal(given_.sigma, [0.2, 0.5])
    assert evidence.gcv(y, BLUR).shape == (2,)
    assert evidence.estimate(y[:, None], kernels[:, None], ndim=2).sigma.shape == (2, 1)


@pytest.mark.parametrize("missing", ["sprinkled", "hole", "margin"])
def test_missing_pixels_hardly_matter(missing):
    y = observed((160, 160), BLUR, 0.3)
    weights = np.ones(y.shape)
    if missing == "sprinkled":
        weights[np.random.default_rng(1).random(y.shape) < 0.1] = 0
    elif missing == "hole":
        weights[40:90, 60:100] = 0
    else:
        weights[:, 110:] = 0
    whole = evidence.estimate(y, BLUR)
    damaged = np.where(weights == 0, 1e3, y)
    found = evidence.estimate(damaged, BLUR, weights=weights)
    assert found.sigma == pytest.approx(whole.sigma, rel=0.12)
    assert found.power == pytest.approx(whole.power, rel=0.5)
    with_nan = evidence.estimate(np.where(weights == 0, np.nan, y), BLUR)
    assert with_nan.sigma == found.sigma
    both = evidence.estimate(np.where(weights == 0, np.nan, y), BLUR, weights=0.5 + 0 * y)
    assert both.sigma == found.sigma


def test_a_periodic_picture_needs_no_window():
    """Seams that meet: low frequencies are read without leakage, and sigma is the same."""
    rng = np.random.default_rng(4)
    shape = (96, 120)
    K = np.fft.rfft2(BLUR, shape)
    scene = power_law_field(shape, rng, c=2.0)
    y = np.fft.irfft2(K * np.fft.rfft2(scene), shape) + rng.normal(0, 0.3, shape)
    found = evidence.estimate(y, BLUR, periodic=True)
    assert found.sigma == pytest.approx(0.3, rel=0.05)
    assert found.power == pytest.approx(2.0, rel=0.25)


def test_the_spectrum_s_own_shape_is_that_of_the_law_where_the_law_is_true():
    from deconv.spectrum import signal_power

    y = observed((128, 128), BLUR, 0.1, c=3.0)
    found = evidence.estimate(np.stack([y, 10 * y]), BLUR, shape=True)
    fitted = signal_power(found.shape, float(found.f0[0]), (128, 128), np.zeros(()))
    assert np.allclose(fitted[1], 100 * fitted[0], rtol=1e-3)
    law = 3.0 / evidence.power_law((128, 128), found.f0[0])
    coarse = (slice(3, 20), slice(3, 20))  # fine frequencies are blurred away
    assert np.abs(np.log(fitted[0] / law)[coarse]).mean() < 0.3


def test_nothing_observed_is_no_crash():
    found = evidence.estimate(np.ones((16, 16)), BLUR, weights=np.zeros((16, 16)))
    assert found.sigma > 0 and np.isfinite(found.power)


def test_a_tile_without_observed_pixels_is_skipped():
    y = observed((128, 600), BLUR, 0.3)
    weights = np.ones(y.shape)
    weights[:, :400] = 0
    found = evidence.estimate(y, BLUR, weights=weights, max_pixels=2**15)
    assert np.isfinite(found.sigma) and found.sigma > 0


def test_large_pictures_are_estimated_on_tiles():
    y = observed((600, 700), BLUR, 0.3)
    whole = evidence.estimate(y, BLUR)
    part = evidence.estimate(y, BLUR, max_pixels=2**18)
    assert part.sigma == pytest.approx(whole.sigma, rel=0.03)
    assert part.power == pytest.approx(whole.power, rel=0.2)
    assert part.f0 == whole.f0


@given(
    st.lists(st.integers(1, 5000), min_size=2, max_size=3),
    st.integers(1, 40),
    st.sampled_from([2**10, 2**16, 2**20]),
)
def test_layout_stays_in_the_frame_and_within_budget(frame, k, most):
    frame = tuple(frame)
    support = tuple(min(n, k) for n in frame)
    plan = periodogram.layout(frame, support, most)
    for corner in plan.corners:
        assert all(0 <= a <= n - t for a, n, t in zip(corner, frame, plan.tile, strict=True))
    assert len(set(plan.corners)) == len(plan.corners)
    assert all(g >= t for g, t in zip(plan.grid, plan.tile, strict=True))
    least = np.prod([max(4 * s, periodogram.TILE[len(frame)]) for s in support])
    assert len(plan.corners) == 1 or len(plan.corners) * np.prod(plan.tile) <= max(most, least)


@given(st.lists(st.integers(32, 3000), min_size=2, max_size=2), st.integers(1, 30))
def test_overlapping_tiles_cover_the_frame(frame, most):
    plan = periodogram.overlapping(tuple(frame), 256, most)
    assert 1 <= len(plan.corners) <= most and plan.tile == plan.grid
    for corner in plan.corners:
        assert all(0 <= a <= n - t for a, n, t in zip(corner, frame, plan.tile, strict=True))


def test_fill_continues_smoothly():
    image = np.add.outer(np.arange(60.0), np.arange(60.0))
    known = np.ones(image.shape, bool)
    known[20:40, 25:35] = False
    filled = periodogram.fill(np.where(known, image, -999), known)
    assert np.array_equal(filled[known], image[known])
    assert np.abs(filled - image).max() < 6


def test_white_noise_has_the_periodogram_sigma_squared():
    y = np.random.default_rng(0).normal(5, 3, (90, 111))
    plan = periodogram.layout(y.shape, (3, 3), 2**20)
    for known in (None, np.random.default_rng(1).random(y.shape) > 0.02):
        seen = periodogram.look(y, known, plan)
        assert seen.periodograms.mean() * seen.scale**2 == pytest.approx(9, rel=0.05)


def oracle(y, scene, kernel, ratio):
    """Multiplier of `ratio` with the least error against the scene, on a periodic domain."""
    centred = np.zeros(y.shape)
    centred[: kernel.shape[0], : kernel.shape[1]] = kernel
    K = np.fft.rfft2(np.roll(centred, [-(k // 2) for k in kernel.shape], (0, 1)))
    Y = np.fft.rfft2(y)
    trials = np.geomspace(1e-3, 1e3, 121)
    errors = [
        np.mean((np.fft.irfft2(K.conj() * Y / (abs(K) ** 2 + m * ratio), y.shape) - scene) ** 2)
        for m in trials
    ]
    return trials[int(np.argmin(errors))]


@pytest.mark.parametrize("choose", [evidence.gcv, evidence.sure])
def test_multipliers_come_near_the_best_one(choose):
    rng = np.random.default_rng(2)
    shape, sigma = (128, 128), 0.3
    scene = power_law_field(shape, rng)
    from scipy.ndimage import convolve

    y = convolve(scene, BLUR, mode="wrap") + rng.normal(0, sigma, shape)
    law = evidence.power_law(shape, 0.5 / 128)
    best = oracle(y, scene, BLUR, law)
    assert choose(y, BLUR) == pytest.approx(best, rel=0.6)
    # A given spectrum, in other units and on a finer grid, gives the same filter.
    finer = 7 * evidence.power_law((192, 180), 0.5 / 128)
    assert 7 * choose(y, BLUR, base=finer) == pytest.approx(choose(y, BLUR), rel=0.05)
    assert choose(y, BLUR, base=np.ones((3, 3))) > 0


def test_power_law_agrees_over_libraries():
    shape = (6, 9)
    fy, fx = np.fft.fftfreq(6)[:, None], np.fft.rfftfreq(9)
    assert np.allclose(evidence.power_law(shape, 0.1), 0.01 + fy**2 + fx**2)
    for library in LIBRARIES:
        like = put(np.zeros((), np.float32), library)
        for f0 in (0.1, np.array([0.1, 0.3])):
            law = evidence.power_law(shape, f0, like)
            assert law.dtype == like.dtype
            assert np.allclose(get(law), evidence.power_law(shape, f0))


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_gives_the_same(library):
    y = observed((40, 40), BLUR, 0.3)
    found = evidence.estimate(
        put(y, library), put(BLUR, library), weights=put(np.ones(y.shape), library)
    )
    assert found.sigma == evidence.estimate(y, BLUR).sigma


def test_inputs_are_unchanged():
    y, kernel = observed((40, 40), BLUR, 0.3), BLUR.copy()
    y[3, 3] = np.nan
    before = y.copy()
    evidence.estimate(y, kernel, weights=np.ones(y.shape))
    assert np.array_equal(y, before, equal_nan=True) and np.array_equal(kernel, BLUR)


def test_fits_find_the_minimum():
    """Against scipy's optimiser, for the likelihood and the log periodogram alike."""
    from scipy.optimize import minimize

    y = observed((96, 96), BLUR, 0.3, c=2.0)
    plan = periodogram.layout(y.shape, BLUR.shape, 2**20)
    seen = periodogram.look(y, None, plan)
    at = whittle.grid_of(plan, 0.5 / 96).rows
    K2 = periodogram.response(BLUR, plan.grid)
    for logarithmic in (False, True):
        power = np.log(seen.periodograms[0]) if logarithmic else seen.periodograms[0]
        data = whittle.table(power, K2, at)
        law = whittle.fit(data, logarithmic=logarithmic)

        def cost(theta, data=data, logarithmic=logarithmic):
            V = np.exp(theta[0]) + np.exp(theta[1] + data.response - theta[2] / 2 * data.law)
            w = data.mass / data.mass.sum()
            if logarithmic:
                return w @ (np.log(V) - data.power) ** 2 + data.rest
            return w @ (np.log(V) + data.power / V)

        theta = [np.log(law.noise), np.log(law.power), law.slope]
        assert law.cost == pytest.approx(cost(theta))
        better = minimize(cost, theta, method="Nelder-Mead", options={"xatol": 1e-7})
        assert better.fun > law.cost - 1e-7
        again = whittle.fit(data, logarithmic=logarithmic, start=law, slope=2.0)
        assert again.slope == 2.0 and again.cost >= law.cost


IMAGE = np.random.default_rng(0).random((20, 20))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((IMAGE, np.ones((21, 3))), {}, r"psf of shape \(21, 3\) is larger"),
        ((IMAGE[0], BLUR), {}, "expected 2 or more axes"),
        ((IMAGE, BLUR), {"ndim": 3}, "expected 3 or more axes"),
        ((IMAGE, BLUR), {"ndim": 0}, "ndim=0"),
        ((IMAGE, BLUR), {"max_pixels": 0}, "max_pixels=0"),
        ((IMAGE, BLUR * np.nan), {}, "psf has NaN"),
        ((IMAGE, BLUR * 0), {}, "zero everywhere"),
        ((IMAGE, BLUR), {"sigma": -1.0}, "sigma=-1"),
        ((IMAGE, BLUR), {"sigma": [1.0, 2.0]}, r"sigma has shape \(2,\)"),
        ((IMAGE, BLUR), {"weights": np.full((20, 20), 2.0)}, r"weights lie in \[2, 2\]"),
        ((IMAGE, BLUR), {"weights": np.ones((19, 20))}, "do not broadcast"),
        ((IMAGE + 1j, BLUR), {}, "image has dtype complex128"),
        ((np.stack([IMAGE] * 3), np.stack([BLUR] * 2)), {"ndim": 2}, "do not broadcast"),
        ((np.full((4, 4), np.inf), np.ones((1, 1))), {}, "infinite"),
    ],
)
def test_bad_input(arguments, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        evidence.estimate(*arguments, **options)


@pytest.mark.parametrize("base", [np.ones(3), -np.ones((4, 3)), np.zeros((4, 3))])
def test_bad_base(base):
    with pytest.raises(ValueError, match="base of shape"):
        evidence.gcv(IMAGE, BLUR[:3, :3], base=base)
