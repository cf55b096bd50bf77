"""Ringing goes, edges and the rest stay."""

import numpy as np
import pytest
from helpers import LIBRARIES, colour_picture, get, picture, put

from deconv.filters import bilateral
from deconv.ringing import suppress

RNG = np.random.default_rng(0)


def steps(size=64):
    """Flat areas with edges, on [0, 1]."""
    scene = np.full((size, size), 0.2)
    scene[size // 4 : -size // 4, size // 4 : -size // 4] = 0.8
    return scene


def waves(size, period, height):
    """Ripples along one axis that die away from the edge of `steps`."""
    far = np.abs(np.arange(size) - size // 4)
    return height * np.cos(2 * np.pi * far / period) * np.exp(-far / 20) * np.ones((size, 1))


@pytest.mark.parametrize("period, height", [(40, 0.04), (8, 0.5)])
def test_broad_and_strong_waves_go(period, height):
    scene, ringing = steps(), waves(64, period, height)
    found = suppress(scene + ringing, scene, sigma_range=0.1)
    assert np.std(found - scene) < 0.4 * np.std(ringing)


def test_fine_texture_and_edges_stay():
    scene = steps()
    detailed = scene + RNG.normal(0, 0.02, scene.shape)
    found = suppress(detailed, scene)
    assert np.std(found - detailed) < 0.2 * np.std(detailed - scene)


def test_strength_is_a_factor():
    x, z = picture(size=40), steps(40)
    full = suppress(x, z)
    np.testing.assert_array_equal(suppress(x, z, strength=0), x)
    np.testing.assert_allclose(suppress(x, z, strength=0.3), 0.7 * x + 0.3 * full)
    np.testing.assert_array_equal(suppress(x, x), x)


def test_it_is_the_formula():
    x, z = picture(size=40), steps(40)
    expected = x - bilateral(x - z, sigma_space=2.0, sigma_range=0.2)
    np.testing.assert_array_equal(suppress(x, z, sigma_space=2.0, sigma_range=0.2), expected)
    found = bilateral(x - z, sigma_range=z.std() / 2)
    np.testing.assert_allclose(suppress(x, z), x - found)


@pytest.mark.parametrize("scale, offset", [(255.0, 0.0), (1e-4, 0.0), (1.0, 5.0)])
def test_it_follows_scale_and_offset(scale, offset):
    x, z = steps() + waves(64, 10, 0.1), steps()
    found = suppress(scale * x + offset, scale * z + offset)
    np.testing.assert_allclose(found, scale * suppress(x, z) + offset, atol=1e-9 * scale)


def test_a_flat_companion_is_allowed():
    x = picture(size=32)
    assert np.isfinite(suppress(x, np.zeros_like(x))).all()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_come_back_as_they_came(library, dtype):
    x = colour_picture(32).astype(dtype)
    z = np.round(4 * x) / 4
    expected = suppress(x, z, channel_axis=2)
    given = [put(np.moveaxis(a, -1, 0), library) for a in (x, z)]
    found = suppress(*given, channel_axis=0)
    assert type(found) is type(given[0]) and found.dtype == given[0].dtype
    np.testing.assert_allclose(get(found), np.moveaxis(expected, -1, 0), atol=1e-5)


def test_bad_input_is_named():
    x = np.ones((8, 8))
    with pytest.raises(ValueError, match="smooth has shape"):
        suppress(x, np.ones((8, 9)))
    with pytest.raises(ValueError, match="strength"):
        suppress(x, x, strength=-1)
    with pytest.raises(ValueError, match="sigma_range"):
        suppress(x, x, sigma_range=0)
