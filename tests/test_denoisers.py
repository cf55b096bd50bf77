"""Every denoiser by the same properties, then what is special about ours."""

import numpy as np
import pytest
from helpers import colour_picture, picture, psnr

from deconv import denoisers
from deconv.denoisers import DENOISERS, denoiser

every = pytest.mark.parametrize("name", DENOISERS)
SHAPES = {1: (90,), 2: (30, 41), 3: (12, 17, 20)}


def smooth_thing(shape):
    """A picture of broad waves and a step, no two axes alike, on [0, 1]."""
    axes = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    wave = sum(np.sin((4 + 3 * i) * a) for i, a in enumerate(axes))
    thing = wave + 2 * (axes[-1] > 0.6)
    return (thing - thing.min()) / np.ptp(thing)


@every
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 2)])
def test_noise_goes_and_the_picture_stays_in_place(name, ndim, lead):
    x = np.broadcast_to(smooth_thing(SHAPES[ndim]), (*lead, *SHAPES[ndim]))
    noisy = x + np.random.default_rng(0).normal(0, 0.1, x.shape)
    noisy.setflags(write=False)
    found = denoiser(name, ndim=ndim)(noisy, 0.1)
    assert found.shape == x.shape and found.dtype == x.dtype
    assert np.mean((found - x) ** 2) < 0.5 * np.mean((noisy - x) ** 2)


@every
@pytest.mark.parametrize("scale, offset", [(255.0, 0.0), (1e-3, 0.0), (4.0, -7.0)])
def test_scale_and_offset(name, scale, offset):
    noisy = picture(size=40) + np.random.default_rng(0).normal(0, 0.05, (40, 40))
    denoise = denoiser(name)
    expected = scale * denoise(noisy, 0.05) + offset
    found = denoise(scale * noisy + offset, scale * 0.05)
    np.testing.assert_allclose(found, expected, atol=1e-6 * scale)


@every
def test_no_noise_no_change(name):
    x = picture(size=20)
    found = denoiser(name)(x, 0)
    np.testing.assert_array_equal(found, x)
    assert not np.shares_memory(found, x)
    np.testing.assert_allclose(denoiser(name)(x, 1e-4), x, atol=1e-3)
    flat = np.full((20, 21), 3.0)
    np.testing.assert_allclose(denoiser(name)(flat, 1.0), flat)


@every
def test_float32_stays(name):
    noisy = picture(size=40) + np.random.default_rng(0).normal(0, 0.05, (40, 40))
    found = denoiser(name)(noisy.astype(np.float32), 0.05)
    assert found.dtype == np.float32
    assert psnr(found, denoiser(name)(noisy, 0.05)) > 50


@every
def test_frames_smaller_than_a_block(name):
    found = denoiser(name)(np.random.default_rng(0).normal(0, 1, (3, 5)), 1.0)
    assert np.isfinite(found).all() and np.abs(found).max() < 3


def test_dct_without_a_threshold_is_the_identity(monkeypatch):
    monkeypatch.setattr(denoisers, "DCT_THRESHOLD", -1.0)
    for ndim, shape in SHAPES.items():
        x = np.random.default_rng(0).random((2, *shape))
        np.testing.assert_allclose(denoiser("dct", ndim=ndim)(x, 0.1), x, atol=1e-12)


def test_dct_sees_no_grid():
    """Every block counts, so a shift of the picture is a shift of the result."""
    noisy = picture(size=60) + np.random.default_rng(0).normal(0, 0.1, (60, 60))
    found, moved = (denoiser("dct")(x, 0.1) for x in (noisy, noisy[3:, 5:]))
    np.testing.assert_allclose(moved[8:, 8:], found[11:, 13:], atol=1e-12)


def test_dct_uses_what_colours_share():
    x = np.moveaxis(colour_picture(64), -1, 0)
    noisy = x + np.random.default_rng(0).normal(0, 0.1, x.shape)
    together = denoiser("dct")(noisy, 0.1)
    apart = np.stack([denoiser("dct")(channel, 0.1) for channel in noisy])
    assert psnr(x, together) > psnr(x, apart) + 0.5


@pytest.mark.parametrize("sigma", [0.02, 0.06, 0.1])
def test_the_default_is_the_best(sigma):
    x = picture(size=96)
    noisy = x + np.random.default_rng(0).normal(0, sigma, x.shape)
    scores = {name: psnr(x, denoiser(name)(noisy, sigma)) for name in DENOISERS}
    assert max(scores, key=scores.get) == "dct"
    np.testing.assert_array_equal(denoiser()(noisy, sigma), denoiser("dct")(noisy, sigma))


def test_bad_requests_are_named():
    with pytest.raises(ValueError, match="did you mean 'nl_means'"):
        denoiser("nlmeans")
    with pytest.raises(ValueError, match="ndim=4"):
        denoiser("dct", ndim=4)
    with pytest.raises(ValueError, match="v has shape"):
        denoiser("dct")(np.ones(5), 1.0)
    with pytest.raises(ValueError, match="sigma"):
        denoiser("dct")(np.ones((5, 5)), -1.0)
