"""Polyblur: its estimate on planted blur, its polynomial, and what any input must keep."""

import importlib
import inspect

import numpy as np
import pytest
from helpers import LIBRARIES, colour_picture, get, picture, put, scene_and_blurred
from skimage import color, data

from deconv import methods, metrics, psf
from deconv.blind import polyblur, polyblur_psf

module = importlib.import_module("deconv.blind.polyblur")


def planted(sigma, angle=0.0, name="camera", size=384):
    """A bundled picture blurred by a Gaussian, and the same frame of it sharp."""
    scene = getattr(data, name)()
    scene = color.rgb2gray(scene) if scene.ndim == 3 else scene / 255
    kernel = psf.gaussian(sigma, angle=angle)
    y, x = ((n - size) // 2 for n in scene.shape)
    spectrum = np.fft.rfft2(np.roll(_framed(kernel, scene.shape), (0, 0), (0, 1)))
    whole = np.fft.irfft2(np.fft.rfft2(scene) * spectrum, scene.shape)
    part = (slice(y, y + size), slice(x, x + size))
    return whole[part], scene[part]


def _framed(kernel, shape):
    out = np.zeros(shape)
    out[: kernel.shape[0], : kernel.shape[1]] = kernel
    return np.roll(out, [-(n // 2) for n in kernel.shape], (0, 1))


@pytest.mark.parametrize("name", ["camera", "astronaut", "coffee"])
@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
def test_the_width_is_found_to_a_third(name, sigma):
    blurred, scene = planted(sigma, name=name)
    widths, _ = module._widths(blurred[None])
    assert np.mean(widths) == pytest.approx(sigma, rel=1 / 3)
    assert metrics.psnr(scene, polyblur(blurred)) > metrics.psnr(scene, blurred) + 0.3


@pytest.mark.parametrize("angle", [0, 30, 90, 120])
def test_direction_is_found(angle):
    # The width along the direction is the larger one.
    blurred, _ = planted((0.8, 2.5), angle)
    (across, along), found = module._widths(blurred[None])
    assert along > 1.5 * across
    assert abs((found - angle + 90) % 180 - 90) <= 20
    kernel = polyblur_psf(blurred)
    assert metrics.psf_similarity(kernel, psf.gaussian((0.8, 2.5), angle=angle)) > 0.9


def test_sharp_pictures_change_little():
    for name in ("camera", "astronaut", "coffee"):
        _, scene = planted(1.0, name=name)
        assert np.mean(module._widths(scene[None])[0]) < 0.7
        assert metrics.psnr(scene, polyblur(scene)) > 32


def test_slopes_are_those_of_all_pixels():
    rng = np.random.default_rng(0)
    turns = np.arange(module.ANGLES) * np.pi / module.ANGLES
    for scale in (1.0, 0.01):
        # Long gradients in one direction only, so that short ones count across it.
        dy = rng.normal(size=500)
        dx = dy + scale * rng.normal(size=500)
        expected = [np.abs(np.cos(t) * dx - np.sin(t) * dy).max() for t in turns]
        np.testing.assert_allclose(module._slopes(dy, dx), expected)


def test_the_polynomial_nearly_inverts_and_leaves_fine_noise_alone():
    k = np.linspace(0, 1, 1001)
    p = module._polynomial(k)
    assert p[-1] == 1
    assert p[0] == 1
    assert p.max() < 1.83
    # The pass band: p(k) k stays near 1, with a derivative of 0 at its end.
    assert np.abs((p * k)[k >= 0.8] - 1).max() < 0.04
    slope = np.gradient(p * k, k, edge_order=2)
    assert abs(slope[-1]) < 1e-2
    assert np.abs((p * k)[k > 0.5] - 1).max() < np.abs(k[k > 0.5] - 1).max()


def test_a_single_pixel_is_the_identity():
    y = picture(size=64)[None].copy()
    found = module._sharpened(y, np.ones((1, 1)), "unknown")
    np.testing.assert_allclose(found, y, atol=1e-12)


def test_where_a_gradient_is_turned_round_the_picture_is_mixed_with_the_blurred_one():
    rng = np.random.default_rng(0)
    y = rng.random((1, 6, 40))
    agrees, opposed = 1.5 * y, 0.2 - 2 * y
    np.testing.assert_array_equal(module._without_halos(agrees.copy(), y), agrees)
    # The weight M / (|dy|^2 + M) with M = 2 |dy|^2.
    expected = opposed + (y - opposed) * 2 / 3
    np.testing.assert_allclose(module._without_halos(opposed.copy(), y), expected)


@pytest.mark.parametrize("scale, offset", [(255.0, 0.0), (1e-4, 0.0), (3.0, -7.0)])
def test_scale_and_offset_are_followed(scale, offset):
    blurred, _ = planted(1.5, size=128)
    expected = scale * polyblur(blurred) + offset
    np.testing.assert_allclose(polyblur(scale * blurred + offset), expected, atol=1e-9 * scale)


def test_strength_blends():
    blurred, _ = planted(1.5, size=128)
    full = polyblur(blurred)
    np.testing.assert_allclose(polyblur(blurred, strength=0.25), 0.75 * blurred + 0.25 * full)
    np.testing.assert_array_equal(polyblur(blurred, strength=0), blurred)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kind_and_dtype_are_kept_and_the_input_unchanged(library, dtype):
    y = scene_and_blurred(psf.gaussian(1.5), size=64)[1].astype(dtype)
    image = put(y, library)
    found = polyblur(image)
    assert type(found) is type(image)
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(get(image), y)
    np.testing.assert_array_equal(get(found), polyblur(y))
    assert not np.shares_memory(get(found), get(image))


def test_integers_become_float32_on_their_scale():
    y = np.round(255 * planted(1.5, size=128)[0]).astype(np.uint8)
    found = polyblur(y)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, polyblur(y.astype(np.float32)))
    flat = np.full((9, 9), 7, np.uint8)
    np.testing.assert_array_equal(polyblur(flat), flat.astype(np.float32))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_colours_share_the_psf(axis):
    from scipy.ndimage import gaussian_filter

    y = np.stack([gaussian_filter(colour_picture()[..., i], 1.5) for i in range(3)], axis=-1)
    expected = polyblur(y, channel_axis=-1)
    moved = np.moveaxis(y, -1, axis)
    found = polyblur(moved, channel_axis=axis)
    assert found.shape == moved.shape
    np.testing.assert_allclose(np.moveaxis(found, axis, -1), expected)
    grey = np.repeat(y[..., :1], 3, axis=-1)
    np.testing.assert_allclose(polyblur(grey, channel_axis=-1)[..., 1], polyblur(y[..., 0]))


def test_pixels_of_weight_0_have_no_influence():
    y = planted(1.5, size=96)[0]
    weights = np.ones_like(y)
    weights[30, 40] = 0
    spoilt = y.copy()
    spoilt[30, 40] = 1e3
    found = polyblur(spoilt, weights=weights)
    np.testing.assert_allclose(found, polyblur(y, weights=weights))
    assert np.abs(found).max() < 2


def test_callback_sees_each_round_and_may_stop():
    y = planted(2.0, size=128)[0]
    seen = []
    found = polyblur(y, n_iter=3, callback=lambda state: seen.append(state.image))
    assert len(seen) == 3
    np.testing.assert_array_equal(seen[-1], found)

    def stop(state):
        raise StopIteration

    np.testing.assert_array_equal(polyblur(y, n_iter=3, callback=stop), polyblur(y))


def test_callback_sees_the_psf_of_each_round():
    y = planted(2.0, size=128)[0]
    psfs = []
    polyblur(y, n_iter=2, callback=lambda state: psfs.append(state.psf))
    np.testing.assert_array_equal(psfs[0], polyblur_psf(y))
    np.testing.assert_array_equal(psfs[1], polyblur_psf(polyblur(y)))
    polyblur(np.kron(np.eye(4), np.ones((9, 9))), callback=lambda state: psfs.append(state.psf))
    np.testing.assert_array_equal(psfs[2], [[1.0]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (5, 4)])
def test_tiny_pictures(shape):
    y = np.random.default_rng(0).random(shape)
    found = polyblur(y)
    assert found.shape == shape
    assert np.isfinite(found).all()


def test_bad_input_names_the_argument():
    y = planted(1.0, size=64)[0]
    hole = y.copy()
    hole[3, 3] = np.nan
    for arguments, options, message in (
        ((hole,), {}, "image has 1 NaN"),
        ((np.stack([y, y, y]),), {}, "channel_axis"),
        ((y,), {"strength": 1.5}, "strength"),
        ((y,), {"n_iter": 0}, "n_iter"),
        ((y,), {"boundary": "mirror"}, "boundary"),
        ((y,), {"weights": np.ones(3)}, "weights"),
        ((y,), {"weights": np.zeros_like(y)}, "weights"),
        ((y.astype(complex),), {}, "image"),
        ((np.full_like(y, np.inf),), {}, "image"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            polyblur(*arguments, **options)


def test_the_registry_has_it_with_its_defaults():
    method = methods.get("polyblur")
    assert not method.needs_psf
    lazy = inspect.signature(method.function).parameters
    assert {n: p.default for n, p in lazy.items()} == {
        n: p.default for n, p in inspect.signature(polyblur).parameters.items()
    }
    y = planted(1.5, size=96)[0]
    np.testing.assert_array_equal(method.restore(y, strength="0.5"), polyblur(y, strength=0.5))
