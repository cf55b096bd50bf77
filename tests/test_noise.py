"""Noise: what the estimates find, and that simulated exposures have the stated moments."""

import numpy as np
import pytest
from helpers import LIBRARIES, get, picture, put
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

import deconv
from deconv import noise


@pytest.mark.parametrize("shape", [(4000,), (128, 128), (65, 200), (24, 30, 41)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigma_of_white_noise_on_a_slope(shape, dtype):
    rng = np.random.default_rng(0)
    slope = sum(0.3 * i for i in np.indices(shape))
    image = (slope + rng.normal(0, 2, shape)).astype(dtype)
    assert noise.estimate_sigma(image) == pytest.approx(2, rel=0.06)


def test_sigma_per_channel_and_with_nan():
    rng = np.random.default_rng(1)
    image = rng.normal(0, 1, (96, 96, 3)) * [1, 2, 4]
    image[rng.random(image.shape) < 0.02] = np.nan
    found = noise.estimate_sigma(image, channel_axis=-1)
    assert found == pytest.approx([1, 2, 4], rel=0.08)
    assert noise.estimate_sigma(image[..., 1]) == found[1]


def test_a_slope_alone_has_no_noise():
    image = sum(np.indices((40, 40))).astype(float)
    assert noise.estimate_sigma(image) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("image", [np.ones((3, 3)), np.full((16, 16), np.nan)])
def test_sigma_of_nothing_is_nan(image):
    assert np.isnan(noise.estimate_sigma(image))


def test_short_axes_are_left_out():
    image = np.random.default_rng(2).normal(0, 3, (1, 4000))
    assert noise.estimate_sigma(image) == pytest.approx(3, rel=0.06)


def test_unknown_pixels_are_left_out():
    image = np.random.default_rng(3).normal(0, 1, (128, 128))
    known = np.ones(image.shape, bool)
    known[:, 40:80] = False
    image[:, 40:80] *= 100
    assert noise.mad(image, known) == pytest.approx(1, rel=0.08)
    assert np.isnan(noise.mad(image, np.zeros(image.shape, bool)))


@given(st.sampled_from([1e-6, 0.1, 3.0, 65535.0, 1e6]), st.integers(0, 5))
def test_sigma_scales_with_the_picture(c, seed):
    image = np.random.default_rng(seed).random((24, 31))
    assert noise.estimate_sigma(c * image) == pytest.approx(c * noise.estimate_sigma(image))


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library(library):
    image = np.random.default_rng(0).random((32, 32))
    assert noise.estimate_sigma(put(image, library)) == noise.estimate_sigma(image)
    shot = noise.simulate(put(image, library), sigma=1.0, gain=0.1, rng=0)
    assert type(shot) is type(put(image, library))
    assert np.array_equal(get(shot), noise.simulate(image, sigma=1.0, gain=0.1, rng=0))


def test_simulated_noise_has_the_stated_mean_and_variance():
    image = np.full((256, 256), 50.0)
    shot = noise.simulate(image, sigma=3.0, gain=2.0, offset=10.0, rng=0)
    assert shot.mean() == pytest.approx(60, abs=0.2)
    assert shot.var() == pytest.approx(2 * 50 + 9, rel=0.03)
    # Photons come in whole numbers.
    photons = noise.simulate(image, gain=2.0, rng=0) / 2
    assert np.array_equal(photons, np.rint(photons))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_an_fft_leaves_below_0_is_dark(dtype):
    sky = np.zeros((64, 60), dtype)
    sky[20, 30] = 5000
    kernel = deconv.psf.gaussian(2.0).astype(dtype)
    blurred = deconv.Blur(kernel, sky.shape, boundary="zero")(sky)
    assert blurred.min() < 0
    shot = noise.simulate(blurred, gain=1.0, rng=0)
    assert shot.dtype == dtype and (shot[blurred < 1e-3] == 0).all()
    with pytest.raises(ValueError, match=r"image goes down to -0\.1"):
        noise.simulate(np.where(blurred < 0, -0.1, blurred), gain=1.0)


def test_simulate_keeps_dtype_and_input_and_nan():
    image = np.full((20, 20), 5.0, np.float32)
    image[3, 4] = np.nan
    before = image.copy()
    shot = noise.simulate(image, sigma=1.0, gain=1.0, rng=np.random.default_rng(3))
    assert shot.dtype == np.float32 and np.isnan(shot[3, 4]) and np.isnan(shot).sum() == 1
    assert np.array_equal(image, before, equal_nan=True)
    assert np.array_equal(noise.simulate(before, rng=0), before, equal_nan=True)


@pytest.mark.parametrize(
    ("gain", "sigma", "peak", "offset"),
    [(1.0, 0.0, 200, 0), (2.0, 6.0, 4000, 100), (0.5, 20.0, 60000, 0), (1.0, 2.0, 40, 50)],
)
def test_gain_and_read_noise_of_a_smooth_picture(gain, sigma, peak, offset):
    y, x = np.mgrid[:256, :256] / 256
    image = peak * (0.02 + 0.49 * (1 + np.sin(3 * x) * np.cos(4 * y)))
    shot = noise.simulate(image, gain=gain, sigma=sigma, offset=offset, rng=0)
    found = noise.estimate_gain(shot, offset=offset)
    assert found.gain == pytest.approx(gain, rel=0.12)
    assert found.sigma**2 == pytest.approx(sigma**2, abs=0.05 * gain * peak + 0.1)


def test_gain_ignores_clipped_white_and_nan():
    y, x = np.mgrid[:256, :256] / 256
    shot = noise.simulate(3000 * (x + y), gain=2.0, sigma=5.0, rng=1)
    shot = np.minimum(shot, 4095)
    shot[:4] = np.nan
    assert noise.estimate_gain(shot).gain == pytest.approx(2, rel=0.1)


def test_gain_of_a_noise_free_ramp_is_zero():
    found = noise.estimate_gain(np.add.outer(np.arange(128.0), np.arange(128.0)))
    assert found.gain == pytest.approx(0, abs=1e-12)
    assert found.sigma == pytest.approx(0, abs=1e-6)
    exact = noise._line(np.arange(1.0, 9.0), np.zeros(8), np.ones(8))
    assert exact == (0.0, 0.0)


def sparse(shape, spread, peak):
    """Threads and beads on black, as a microscope shows them; the brightest pixel at `peak`."""
    rng = np.random.default_rng(0)
    size = np.array(shape)
    sample = np.zeros(shape)
    for _ in range(12):
        line = rng.uniform(0.1, 0.9, (2, len(shape))) * size
        sample[tuple(np.linspace(*line, 400).astype(int).T)] = 1
        sample[tuple((rng.uniform(0.1, 0.9, len(shape)) * size).astype(int))] = 5
    sample = ndimage.gaussian_filter(sample, spread, mode="constant")
    return peak / sample.max() * sample


PLANE, STACK = sparse((256, 256), 1.4, 100.0), sparse((24, 64, 64), (2.0, 1.3, 1.3), 40.0)


@pytest.mark.parametrize("gain", [0.5, 1.0, 4.0])
@pytest.mark.parametrize(
    ("photons", "background", "read", "rel"),
    [
        (PLANE, 0.0, 0.0, 0.1),
        (PLANE, 0.5, 0.0, 0.1),
        (PLANE, 4.0, 1.5, 0.2),
        (STACK, 0.0, 0.0, 0.1),
        (STACK, 0.5, 0.0, 0.1),
        (STACK, 4.0, 1.5, 0.3),
    ],
)
def test_gain_of_few_photons_on_a_dark_background(photons, background, read, rel, gain):
    light = gain * (photons + background)
    found = [
        noise.estimate_gain(
            noise.simulate(light, gain=gain, sigma=read * gain, offset=7, rng=rng), offset=7
        )
        for rng in range(3)
    ]
    assert np.mean([camera.gain for camera in found]) == pytest.approx(gain, rel=rel)
    # What the gain lacks, the read noise would have too much of.
    dark = np.mean([camera.sigma**2 for camera in found]) / gain**2
    assert dark == pytest.approx(read**2, abs=0.05 + 0.25 * background)


def test_gain_of_dim_photographs():
    for name in ("camera", "moon", "coins"):
        photograph = picture(name, 256)
        for photons in (1, 10):
            shot = noise.simulate(photograph, gain=1 / photons, rng=0)
            assert noise.estimate_gain(shot).gain * photons == pytest.approx(1, rel=0.1)


def test_noise_alone_does_not_order_the_groups():
    # Two tones that differ by little more than the noise: sorted by their own light, noisy pixels
    # would spread over as much brightness again, and the line would be half as steep.
    tones = np.kron([[60.0, 100.0]], np.ones((256, 128)))
    found = [noise.estimate_gain(noise.simulate(tones, gain=1.0, rng=r)).gain for r in range(4)]
    assert np.mean(found) == pytest.approx(1, rel=0.12)


def test_unknown_pixels_hide_no_more_than_their_windows():
    rng = np.random.default_rng(0)
    dead = noise.simulate(PLANE + 2, gain=2.0, rng=1)
    dead[rng.random(dead.shape) < 0.03] = np.nan
    assert noise.estimate_gain(dead).gain == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise.estimate_sigma(np.ones((4, 4)) + 1j), "image has dtype complex128"),
        (lambda: noise.estimate_sigma(np.ones((2,) * 5)), "expected 1 to 4 spatial axes"),
        (lambda: noise.estimate_sigma(np.ones((9, 9)), channel_axis=2), "channel_axis=2"),
        (lambda: noise.estimate_sigma(np.zeros((0, 4))), "image is empty"),
        (lambda: noise.estimate_sigma([[np.inf, 1.0]]), "infinite"),
        (lambda: noise.estimate_gain(np.ones((7, 7))), r"shape \(7, 7\)"),
        (lambda: noise.estimate_gain(np.ones((64, 64))), "brightness"),
        (lambda: noise.estimate_gain(np.full((64, 64), np.nan)), "brightness"),
        (lambda: noise.estimate_gain(np.ones((64, 64)), offset="1"), "offset"),
        (lambda: noise.simulate(np.ones(3), sigma=-1), "sigma=-1"),
        (lambda: noise.simulate(np.ones(3), gain=0), "gain=0"),
        (lambda: noise.simulate(-np.ones(3), gain=1.0), "image goes down to -1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
