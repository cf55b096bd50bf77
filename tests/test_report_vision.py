"""WSNR, NQM and IFC: the properties that their papers state."""

import numpy as np
import pytest
from helpers import picture
from scipy.ndimage import gaussian_filter

from deconv.report.vision import contrast_sensitivity, ifc, nqm, wsnr

RNG = np.random.default_rng(0)


def scene():
    return 255 * picture(size=96)


def grating(cycles_per_pixel, size=96):
    return np.tile(np.sin(2 * np.pi * cycles_per_pixel * np.arange(size)), (size, 1))


def test_the_eye_sees_best_at_eight_cycles_per_degree():
    f = np.linspace(0.1, 40, 4000)
    assert f[contrast_sensitivity(f).argmax()] == pytest.approx(7.9, abs=0.1)


@pytest.mark.parametrize("score", [wsnr, nqm, ifc])
def test_more_noise_and_more_blur_are_worse(score):
    x, noise = scene(), RNG.normal(size=(96, 96))
    noisy = [score(x, x + s * noise) for s in (2, 6, 20)]
    blurred = [score(x, gaussian_filter(x, s)) for s in (0.7, 1.5, 3)]
    assert noisy == sorted(noisy, reverse=True)
    assert blurred == sorted(blurred, reverse=True)


def test_wsnr_of_an_error_in_proportion_is_the_plain_ratio():
    assert wsnr(scene(), 1.1 * scene()) == pytest.approx(20)
    assert wsnr(scene(), scene()) == np.inf


def test_wsnr_counts_what_is_seen_best():
    x = scene()
    # 60 pixels per degree: 0.125 cycles per pixel are 7.5 per degree, 0.45 are 27.
    assert wsnr(x, x + grating(0.125)) < wsnr(x, x + grating(0.45)) - 5
    assert wsnr(x, x + grating(0.45), pixels_per_degree=20) < wsnr(x, x + grating(0.45))


def test_nqm_forgives_brightness_and_what_is_not_seen():
    x = scene()
    assert nqm(x, 1.2 * x) == np.inf
    assert nqm(np.full((64, 64), 100.0), 100 + 1e-3 * grating(0.125, 64)) == np.inf
    # Where the truth has contrast of its own, it masks.
    busy = 100 + 60 * grating(0.125, 64)
    flat = np.full((64, 64), 100.0)
    assert nqm(busy, busy + 3 * grating(0.125, 64).T) > nqm(flat, flat + 3 * grating(0.125, 64))


def test_ifc_is_information():
    x, noise = scene(), RNG.normal(size=(96, 96))
    assert 0 <= ifc(x, 40 * noise + 100) < 0.2 * ifc(x, x + 2 * noise)
    # Neither gain nor brightness carries any.
    assert ifc(x, 2 * (x + 5 * noise) + 7) == pytest.approx(ifc(x, x + 5 * noise), rel=1e-6)
    assert np.isfinite(ifc(x, x))
    assert ifc(np.ones((64, 64)), np.ones((64, 64))) == 0


def test_bad_pictures_are_refused():
    for score in (wsnr, nqm, ifc):
        with pytest.raises(ValueError, match="shape"):
            score(np.zeros((64, 64)), np.zeros((64, 63)))
        with pytest.raises(ValueError, match=r"expected \(Y, X\)"):
            score(np.zeros((64, 64, 3)), np.zeros((64, 64, 3)))
    with pytest.raises(ValueError, match="at least 48"):
        ifc(np.zeros((40, 64)), np.zeros((40, 64)))
    with pytest.raises(ValueError, match="pixels_per_degree"):
        wsnr(np.zeros((64, 64)), np.zeros((64, 64)), pixels_per_degree=0)
