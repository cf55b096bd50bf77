"""Scores: settings, conventions for zeros and ranges, and what is refused."""

import math

import numpy as np
import pytest
import skimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.signal import correlate

from deconv import metrics, psf

rng = np.random.default_rng(0)
SCENE = skimage.data.camera()[200:264, 200:280].astype(np.float64)
NOISY = SCENE + rng.normal(0, 5, SCENE.shape)


def test_psnr_is_the_formula():
    error = np.mean((SCENE - NOISY) ** 2)
    assert metrics.psnr(SCENE, NOISY, data_range=255) == pytest.approx(
        10 * math.log10(255**2 / error)
    )
    own = np.ptp(SCENE)
    assert metrics.psnr(SCENE, NOISY) == pytest.approx(10 * math.log10(own**2 / error))
    assert metrics.psnr(SCENE, SCENE) == math.inf
    # The default range goes with the scale, so the score does not depend on it.
    assert metrics.psnr(SCENE / 255, NOISY / 255) == pytest.approx(metrics.psnr(SCENE, NOISY))


def test_psnr_of_bytes_does_not_wrap():
    x = np.array([[0, 255]], np.uint8)
    assert metrics.psnr(x, x[:, ::-1], data_range=255) == pytest.approx(0)


def test_ssim_has_the_settings_of_its_paper():
    expected = skimage.metrics.structural_similarity(
        SCENE,
        NOISY,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert metrics.ssim(SCENE, NOISY, data_range=255) == pytest.approx(expected)
    assert metrics.ssim(SCENE, SCENE) == pytest.approx(1)


def test_ssim_of_colours_is_the_mean():
    colours = np.stack([SCENE, SCENE[::-1], SCENE.T[:64, :64].repeat(2, 1)[:, :80]])
    noisy = colours + rng.normal(0, 5, colours.shape)
    mean = np.mean(
        [metrics.ssim(a, b, data_range=255) for a, b in zip(colours, noisy, strict=True)]
    )
    for axis in (0, -1, 1):
        moved = [np.moveaxis(c, 0, axis) for c in (colours, noisy)]
        assert metrics.ssim(*moved, data_range=255, channel_axis=axis) == pytest.approx(mean)


def test_scores_take_tensors_and_single_precision():
    pair = (SCENE / 255, NOISY / 255)
    tensors = [torch.tensor(x, dtype=torch.float32, requires_grad=True) for x in pair]
    assert metrics.psnr(*tensors) == pytest.approx(metrics.psnr(*pair), abs=1e-4)
    assert metrics.ssim(*tensors) == pytest.approx(metrics.ssim(*pair), abs=1e-5)
    assert metrics.psf_similarity(tensors[0], pair[0]) == pytest.approx(1, abs=1e-6)


def test_i_divergence_conventions():
    y, p = np.array([0.0, 1.0, 3.0]), np.array([2.0, 1.0, 4.0])
    assert metrics.i_divergence(y, p) == pytest.approx(2 + 3 * math.log(3 / 4) + 1)
    assert metrics.i_divergence(y, y) == 0
    assert metrics.i_divergence([0.0, 1.0], [1.0, 0.0]) == math.inf
    assert metrics.i_divergence([0, 2], [1, 2]) == 1
    unseen = np.array([np.nan, 1.0, 3.0])
    assert metrics.i_divergence(unseen, p) == pytest.approx(metrics.i_divergence(y, p) - 2)
    # An impossible prediction under weight 0 costs nothing.
    assert metrics.i_divergence([1.0, 1.0], [0.0, 1.0], weights=[0, 1]) == 0
    image = np.stack([y, y])
    assert metrics.i_divergence(image, np.stack([p, p]), weights=[1, 0, 0.5]) == pytest.approx(
        4 + 3 * math.log(3 / 4) + 1
    )


@given(
    hnp.arrays(float, 6, elements=st.floats(0, 100)), hnp.arrays(float, 6, elements=st.floats(1, 9))
)
@settings(deadline=None)
def test_i_divergence_is_not_negative_and_scales(y, p):
    found = metrics.i_divergence(y, p)
    assert found >= 0
    assert metrics.i_divergence(3 * y, 3 * p) == pytest.approx(3 * found, abs=1e-9)


def test_psf_similarity_against_direct_correlation():
    a, b = rng.random((7, 4)), rng.random((5, 9))
    direct = correlate(a, b, method="direct").max() / np.linalg.norm(a) / np.linalg.norm(b)
    assert metrics.psf_similarity(a, b) == pytest.approx(direct)
    assert metrics.psf_similarity(b, a) == pytest.approx(direct)


def test_psf_similarity_ignores_shift_and_factor():
    kernel = psf.trajectory(21, rng=3)
    moved = 7 * psf.shift(kernel, (5, -4))
    assert metrics.psf_similarity(kernel, moved) == pytest.approx(1)
    assert metrics.psf_similarity(kernel, kernel[::-1, ::-1]) < 0.95
    near, far = psf.motion(15, 3), psf.motion(15, 60)
    assert metrics.psf_similarity(psf.motion(15, 0), near) > 0.8
    assert metrics.psf_similarity(psf.motion(15, 0), far) < 0.4
    cube = psf.gaussian(1.0, ndim=3)
    assert metrics.psf_similarity(cube, psf.gaussian(1.0, ndim=3, size=12)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: metrics.psnr(SCENE, SCENE[1:]), ValueError, "x_true has shape"),
        (lambda: metrics.psnr(np.ones(4), np.zeros(4)), ValueError, "pass data_range"),
        (lambda: metrics.psnr(SCENE, NOISY, data_range=0), ValueError, "data_range"),
        (lambda: metrics.psnr(SCENE, NOISY, data_range="255"), TypeError, "data_range"),
        (lambda: metrics.psnr(SCENE, NOISY * np.nan), ValueError, "x has 5120 NaN"),
        (lambda: metrics.psnr(SCENE * 1j, NOISY), TypeError, "x_true"),
        (lambda: metrics.ssim(SCENE[:9], NOISY[:9]), ValueError, "11 wide"),
        (lambda: metrics.ssim(SCENE, NOISY, channel_axis=2), ValueError, "channel_axis=2"),
        (lambda: metrics.i_divergence([1, 2], [1, 2, 3]), ValueError, "prediction"),
        (lambda: metrics.i_divergence([-1, 2], [1, 2]), ValueError, "y has negative"),
        (lambda: metrics.i_divergence([1, 2], [-1, 2]), ValueError, "prediction has negative"),
        (lambda: metrics.i_divergence([1, 2], [np.nan, 2]), ValueError, "prediction has 1 NaN"),
        (lambda: metrics.i_divergence([1, 2], [1, 2], weights=[-1, 1]), ValueError, "weights"),
        (lambda: metrics.i_divergence([1, 2], [1, 2], weights=[1] * 3), ValueError, "broadcasts"),
        (lambda: metrics.psf_similarity(SCENE, SCENE[0]), ValueError, "as many axes"),
        (lambda: metrics.psf_similarity(SCENE, 0 * SCENE), ValueError, "b is zero"),
        (lambda: metrics.psf_similarity(SCENE * np.nan, SCENE), ValueError, "a has 5120 NaN"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_psfs_parts_of_a_pixel_apart_are_alike():
    y, x = np.indices((21, 22))
    here = np.exp(-((y - 10) ** 2) / 3 - (x - 9) ** 2 / 8)
    apart = np.exp(-((y - 12.5) ** 2) / 3 - (x - 8.75) ** 2 / 8)
    assert metrics.psf_similarity(here, apart) < 0.97
    assert metrics.psf_similarity(here, apart, parts=4) == pytest.approx(1, abs=2e-3)
    assert metrics.psf_similarity(here, here, parts=3) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("shapes", [((5, 6), (7, 4)), ((4, 4), (6, 8)), ((9,), (4,))])
def test_similarity_at_finer_shifts_is_no_smaller_and_no_more_than_one(shapes):
    rng = np.random.default_rng(0)
    a, b = (rng.random(shape) for shape in shapes)
    rough, fine = metrics.psf_similarity(a, b), metrics.psf_similarity(a, b, parts=4)
    assert rough <= fine <= 1


def test_similarity_refuses_parts_below_one():
    with pytest.raises(ValueError, match="parts"):
        metrics.psf_similarity([1.0], [1.0], parts=0)
