"""`fit_psf`: known blurs are found again, on photographs that ship with scikit-image."""

import numpy as np
import pytest
from helpers import LIBRARIES, put
from scipy.signal import fftconvolve

from deconv import identify, psf
from deconv.identify import fit_psf


def blurred(name, kernel, sigma=0.005, seed=0):
    """A photograph that ships with scikit-image, on [0, 1], blurred and noisy; nothing beyond."""
    from skimage import data

    scene = getattr(data, name)() / 255
    scene = scene.mean(2) if scene.ndim == 3 else scene
    y = fftconvolve(scene, kernel, "valid")
    return y + np.random.default_rng(seed).normal(0, sigma, y.shape)


def turn(a, b):
    """Angle between two undirected lines, in degrees."""
    return abs((a - b + 90) % 180 - 90)


@pytest.mark.parametrize(
    ("name", "length", "angle"),
    [("camera", 9.3, 20), ("coins", 15, 90), ("astronaut", 24.5, 135), ("brick", 12, 178)],
)
def test_motion(name, length, angle):
    fit = fit_psf(blurred(name, psf.motion(length, angle)), "motion")
    assert fit.parameters["length"] == pytest.approx(length, abs=1)
    assert turn(fit.parameters["angle"], angle) < 3
    assert 0 <= fit.parameters["angle"] < 180
    assert np.array_equal(fit.psf, psf.motion(**fit.parameters))
    assert fit.sigma == pytest.approx(0.005, rel=0.2)
    assert fit.score > 0.1


@pytest.mark.parametrize(("name", "radius"), [("camera", 2.2), ("coffee", 9.6), ("coins", 4.5)])
def test_defocus(name, radius):
    fit = fit_psf(blurred(name, psf.defocus(radius)), "defocus")
    assert fit.family == "defocus"
    assert fit.parameters == {"radius": pytest.approx(radius, abs=0.3)}


@pytest.mark.parametrize(("name", "sigma"), [("camera", 1.4), ("astronaut", 3.5)])
def test_gaussian(name, sigma):
    fit = fit_psf(blurred(name, psf.gaussian(sigma)), "gaussian")
    # No zeros to go by: how steep the sharp picture is shows in the answer.
    assert fit.parameters == {"sigma": pytest.approx(sigma, rel=0.15)}


def test_angle_turns_counter_clockwise_as_seen_on_screen():
    """Written without `psf.motion`: a line from the lower left to the upper right is at +45."""
    kernel = np.fliplr(np.eye(11)) / 11
    fit = fit_psf(blurred("camera", kernel), "motion")
    assert turn(fit.parameters["angle"], 45) < 3
    assert fit.parameters["length"] == pytest.approx(11 * 2**0.5, abs=1.5)


def test_the_clock_moved_horizontally():
    from skimage import data

    fit = fit_psf(data.clock(), "motion")
    assert turn(fit.parameters["angle"], 0) < 5
    assert fit.parameters["length"] == pytest.approx(36, abs=3)
    assert fit.score > 0.4
    assert fit_psf(data.clock(), "defocus").score < 0.1


def test_eight_bits_do():
    y = blurred("camera", psf.defocus(5.0))
    fit = fit_psf(np.rint(255 * np.clip(y, 0, 1)).astype(np.uint8), "defocus")
    assert fit.parameters["radius"] == pytest.approx(5, abs=0.3)


@pytest.mark.parametrize("c", [1e-6, 65535.0])
def test_scale_does_not_matter(c):
    y = blurred("coins", psf.defocus(4.0)).astype(np.float32)
    one, many = fit_psf(y, "defocus"), fit_psf(c * y, "defocus")
    assert many.parameters["radius"] == pytest.approx(one.parameters["radius"], abs=0.02)
    assert many.sigma == pytest.approx(c * one.sigma, rel=0.02)
    assert many.score == pytest.approx(one.score, abs=0.01)


def test_colour_by_its_mean():
    y = blurred("camera", psf.defocus(4.0))
    colour = np.stack([0.5 * y, y, 1.5 * y], -1)
    fit = fit_psf(colour, "defocus", channel_axis=-1)
    assert fit.parameters["radius"] == pytest.approx(4, abs=0.3)
    assert fit.sigma == pytest.approx(0.005, rel=0.2)


def test_weights_select_a_region_and_nan_is_left_out():
    """Half of the picture is out of focus by 6 pixels, the other by 2.5."""
    near, far = (blurred("camera", psf.defocus(r, size=15), seed=int(r)) for r in (6, 2.5))
    both = np.concatenate([near[:, :300], far[:, 300:]], 1)
    weights = np.zeros(both.shape)
    weights[:, :300] = 1
    fit = fit_psf(both, "defocus", weights=weights)
    assert fit.parameters["radius"] == pytest.approx(6, abs=0.5)
    both[:, :300] = np.nan
    fit = fit_psf(both, "defocus")
    assert fit.parameters["radius"] == pytest.approx(2.5, abs=0.5)


def test_largest_bounds_the_search():
    y = blurred("camera", psf.defocus(6.0))
    found = fit_psf(y, "defocus", largest=3.0).parameters["radius"]
    assert found < 4
    assert fit_psf(y[:100, :40], "defocus", largest=500).parameters["radius"] <= 10


def test_a_sharp_picture_scores_nothing():
    fit = fit_psf(blurred("camera", np.ones((1, 1))), "defocus")
    assert fit.score < 0.05
    assert fit.parameters["radius"] < 1.5


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_and_inputs_unchanged(library):
    y = blurred("camera", psf.gaussian(2.0))[:128, :128]
    fit = fit_psf(put(y, library), "gaussian")
    assert fit.parameters == fit_psf(y, "gaussian").parameters
    assert isinstance(fit.psf, np.ndarray)


def test_window_smoothing_is_that_of_the_expected_periodogram():
    """White noise through a psf, circularly, then windowed: averaged, it is the smoothed |K|^2."""
    rng = np.random.default_rng(0)
    kernel, n = psf.motion(9, 30), 32
    K = np.fft.rfft2(kernel, (n, n))
    taper = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
    window = np.outer(taper, taper)
    total = 0.0
    for _ in range(3000):
        y = np.fft.irfft2(K * np.fft.rfft2(rng.normal(size=(n, n))), (n, n))
        total += np.abs(np.fft.rfft2(window * y)) ** 2 / np.sum(window**2) / 3000
    ratio = total / identify._smoothed(np.abs(K) ** 2)
    assert np.abs(ratio - 1).max() < 0.15


@pytest.mark.parametrize(
    ("image", "family", "options", "message"),
    [
        (np.ones((64, 64)), "motoin", {}, "did you mean 'motion'"),
        (np.ones((64, 64)), "motion", {}, "image is constant at 1"),
        (np.full((64, 64), np.nan), "motion", {}, "no observed pixel"),
        (np.ones((64, 64, 3)), "motion", {}, "channel_axis"),
        (np.ones((31, 64)), "defocus", {}, "at least 32"),
        (np.ones((64, 64)), "defocus", {"largest": 0}, "largest=0"),
        (np.ones((64, 64)), "defocus", {"weights": np.ones((64, 63))}, "weights has shape"),
        (np.ones((64, 64)), "defocus", {"weights": np.full((64, 64), 2)}, "weights lie in"),
        (np.ones((64, 64)) * 1j, "defocus", {}, "complex"),
    ],
)
def test_bad_input(image, family, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        fit_psf(image, family, **options)
