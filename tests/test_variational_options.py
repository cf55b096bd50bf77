"""Options of the MAP solvers: photons, clipped pixels, outliers, bounds, deringing, weights."""

import numpy as np
import pytest
from helpers import BOUNDARIES, LIBRARIES, colour_picture, get, psnr, put, scene_and_blurred
from test_variational import BLURRED, GRADIENT, KERNEL, SHARP, SOLVERS, close, observed

import deconv
from deconv.prior_weight import Rule

CLEAN = scene_and_blurred(KERNEL, "camera", 96, 0.0)[1]
PHOTONS = np.random.default_rng(0).poisson(200 * CLEAN.clip(0)) / 200
LEVEL = 0.6
CLIPPED = np.minimum(CLEAN + 0.005 * np.random.default_rng(0).normal(size=CLEAN.shape), LEVEL)
HIT = np.random.default_rng(1).random(BLURRED.shape) < 0.03
SPOILT = np.where(HIT, np.random.default_rng(2).choice([0.0, 1.0], HIT.shape), BLURRED)

all_solvers = pytest.mark.parametrize("name", SOLVERS)
all_boundaries = pytest.mark.parametrize("boundary", BOUNDARIES)

# Each option with data that ask for it, and the gain in dB to expect.
OPTIONS = {
    "gain": (PHOTONS, {"gain": 1 / 200}, 0.4),
    "gain found": (PHOTONS, {"gain": "auto"}, 0.4),
    "gain and sigma": (PHOTONS, {"gain": 1 / 200, "sigma": 0.0}, 0.4),
    "saturation": (CLIPPED, {"saturation": LEVEL}, 2.0),
    "saturation found": (CLIPPED, {"saturation": "auto"}, 2.0),
    "outliers": (SPOILT, {"outliers": True}, 2.5),
    "bounds": (BLURRED, {"bounds": (0, 1)}, -0.05),
    "positive": (BLURRED, {"bounds": (0, None)}, -0.05),
    "deringing": (BLURRED, {"deringing": 0.5}, -0.15),
    "all": (
        np.minimum(np.where(HIT, 0, CLIPPED), LEVEL),
        {"gain": 1e-4, "saturation": LEVEL, "outliers": True, "bounds": (0, None)},
        1.5,
    ),
}

# What knows no ringing needs no cure.
PAIRS = [(s, o) for s in SOLVERS for o in OPTIONS if (s, o) != ("l0_gradient", "deringing")]


@pytest.mark.parametrize(("name", "option"), PAIRS)
def test_an_option_helps_where_it_is_asked_for(name, option):
    image, options, gain = OPTIONS[option]
    without = psnr(SHARP, SOLVERS[name](image, KERNEL))
    assert psnr(SHARP, SOLVERS[name](image, KERNEL, **options)) > without + gain


@pytest.mark.parametrize("option", ["gain", "saturation found", "outliers", "all"])
@all_solvers
def test_an_option_costs_little_where_it_is_not_needed(name, option):
    options = {**OPTIONS[option][1]}
    if "gain" in options:
        # Next to no light, so that sigma says it all.
        options |= {"gain": 1e-7, "sigma": 0.01}
    options.pop("saturation", None)
    found = psnr(SHARP, SOLVERS[name](BLURRED, KERNEL, **options))
    assert found > psnr(SHARP, SOLVERS[name](BLURRED, KERNEL)) - 0.5


def rescaled(options, factor):
    """Options in image units, for an image in another unit."""
    moved = dict(options)
    for key in ("gain", "saturation", "sigma"):
        if isinstance(moved.get(key), float):
            moved[key] *= factor
    if "bounds" in moved:
        moved["bounds"] = tuple(None if b is None else factor * b for b in moved["bounds"])
    return moved


@pytest.mark.parametrize(("name", "option"), PAIRS)
def test_the_unit_does_not_matter(name, option):
    factor = 255.0
    image, options, _ = OPTIONS[option]
    image = image[24:, 24:]
    found = SOLVERS[name](image, KERNEL, **options)
    scaled = SOLVERS[name](factor * image, KERNEL, **rescaled(options, factor))
    assert psnr(found, scaled / factor) > 60


@pytest.mark.parametrize(("name", "option"), PAIRS)
def test_colours_missing_pixels_and_float32_go_with_every_option(name, option):
    options = OPTIONS[option][1]
    image = colour_picture(96 if options.get("gain") == "auto" else 40).astype("f4")
    image = np.minimum(image, LEVEL) if "saturation" in options else image
    image[5, 6] = np.nan
    found = SOLVERS[name](image, KERNEL, channel_axis=-1, **options)
    assert found.shape == image.shape and found.dtype == np.float32
    assert np.isfinite(found).all()
    assert np.isnan(image[5, 6]).all()


@pytest.mark.parametrize("library", LIBRARIES[1:])
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["tv", "plug_and_play"])
def test_every_option_serves_every_library(name, option, library):
    image, options, _ = OPTIONS[option]
    image = image[24:, 24:]
    found = SOLVERS[name](put(image, library), KERNEL, **options)
    assert type(found) is type(put(image, library)) and found.dtype == put(image, library).dtype
    assert psnr(SOLVERS[name](image, KERNEL, **options), get(found)) > 60


# --- bounds ---------------------------------------------------------------------------------------


@all_boundaries
@all_solvers
def test_bounds_hold_for_every_pixel(name, boundary):
    _, blurred = observed(boundary, 48)
    for low, high in ((0.1, 0.6), (None, 0.5), (0.0, None)):
        seen = []
        found = SOLVERS[name](
            blurred,
            KERNEL,
            boundary=boundary,
            bounds=(low, high),
            callback=lambda state, seen=seen: seen.append(state.image),
        )
        for image in (found, *seen):
            assert low is None or image.min() >= low
            assert high is None or image.max() <= high
    wide = SOLVERS[name](blurred, KERNEL, boundary=boundary, bounds=(-1e3, 1e3))
    free = SOLVERS[name](blurred, KERNEL, boundary=boundary)
    assert np.sqrt(np.mean((wide - free) ** 2)) < 0.02


def test_bounds_are_more_than_a_clip():
    # A dark scene of few lights: what may not be negative cannot ring.
    sharp = np.zeros((64, 64))
    sharp[10::16, 12::16] = 1
    sharp[40:44, 20:50] = 0.5
    A = deconv.Blur(KERNEL, sharp.shape, boundary="periodic")
    blurred = A(sharp) + 0.003 * np.random.default_rng(0).normal(size=sharp.shape)
    clipped = deconv.tv(blurred, A).clip(0, None)
    assert psnr(sharp, deconv.tv(blurred, A, bounds=(0, None))) > psnr(sharp, clipped) + 0.3


# --- the weight by unbiased risk ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tv", "hyper_laplacian"])
def test_the_weight_by_unbiased_risk_recovers_from_a_wrong_rule(name, monkeypatch):
    # A rule that smooths three times too much, as on a kind of picture it was not fitted to.
    monkeypatch.setattr(
        Rule, "weight", lambda rule, found, right=Rule.weight: 3 * right(rule, found)
    )
    wrong = psnr(SHARP, GRADIENT[name](BLURRED, KERNEL))
    found = GRADIENT[name](BLURRED, KERNEL, lam="sure")
    assert psnr(SHARP, found) > wrong + 0.1
    np.testing.assert_array_equal(GRADIENT[name](BLURRED, KERNEL, lam="sure"), found)


@pytest.mark.parametrize("name", ["tv", "hyper_laplacian"])
def test_a_weight_for_each_channel_is_found(name):
    image = colour_picture(48) * np.array([1.0, 0.5, 0.25])
    image = image + np.array([0.002, 0.01, 0.03]) * np.random.default_rng(0).normal(
        size=image.shape
    )
    options = {} if name == "hyper_laplacian" else {"vectorial": False}
    # The random probe of "sure" differs from channel to channel; the rule has none.
    for lam, alike in ((None, 38), ("sure", 30)):
        found = GRADIENT[name](image, KERNEL, channel_axis=-1, lam=lam, **options)
        for c in range(3):
            alone = GRADIENT[name](image[..., c], KERNEL, lam=lam)
            assert psnr(found[..., c], alone) > alike


# --- denoisers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("denoise", ["dct", "nl_means", "tv"])
def test_a_denoiser_by_its_name(denoise):
    found = deconv.plug_and_play(BLURRED, KERNEL, denoise)
    assert psnr(SHARP, found) > psnr(SHARP, BLURRED) + 2.5


def test_the_denoiser_sees_noise_from_strong_to_its_own_level():
    told = []

    def denoise(v, sigma):
        told.append(sigma)
        return v

    deconv.plug_and_play(255 * BLURRED, KERNEL, denoise, sigma=2.55, n_iter=8)
    assert len(told) == 8
    assert told == sorted(told, reverse=True)
    assert told[-1] == pytest.approx(2.55)
    assert told[0] > 5 * told[-1]


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_denoiser_gets_the_images_own_kind_of_array(library):
    kinds = []

    def denoise(v, sigma):
        kinds.append((type(v), v.dtype, v.ndim, v.shape[0]))
        return v

    image = put(colour_picture(40).astype("f4"), library)
    found = deconv.plug_and_play(image, KERNEL, denoise, channel_axis=-1, n_iter=2)
    assert set(kinds) == {(type(image), image.dtype, 3, 3)}
    assert type(found) is type(image) and found.dtype == image.dtype


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda v: v[..., 1:], r"returned shape .* for an image of shape"),
        (lambda v: v * np.nan, "returned NaN or infinite values"),
        (lambda v: None, r"returned shape \(\)"),
    ],
)
def test_a_denoiser_that_fails_is_named_with_the_iteration(fault, says):
    calls = []

    def faulty(v, sigma):
        calls.append(sigma)
        return fault(v) if len(calls) == 3 else v

    with pytest.raises(ValueError, match=rf"denoise=faulty {says}.*iteration 3"):
        deconv.plug_and_play(BLURRED, KERNEL, faulty)


def test_a_denoiser_that_works_in_place_does_no_harm():
    def denoise(v, sigma):
        v *= 0.9
        return v

    expected = deconv.plug_and_play(BLURRED, KERNEL, lambda v, sigma: 0.9 * v)
    close(deconv.plug_and_play(BLURRED, KERNEL, denoise), expected, 1e-12)


# --- the option that is off -----------------------------------------------------------------------


@all_solvers
def test_options_that_are_off_change_nothing(name):
    found = SOLVERS[name](BLURRED, KERNEL)
    off = {"gain": None, "saturation": None, "outliers": False, "bounds": None}
    np.testing.assert_array_equal(SOLVERS[name](BLURRED, KERNEL, **off), found)
    np.testing.assert_array_equal(SOLVERS[name](BLURRED, KERNEL, bounds=(None, None)), found)
