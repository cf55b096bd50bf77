"""The bilateral filter against its formula, the shock filter against what it promises."""

import itertools

import numpy as np
import pytest
from helpers import LIBRARIES, colour_picture, get, picture, put
from scipy.ndimage import gaussian_filter

from deconv import filters
from deconv.filters import bilateral, shock

RNG = np.random.default_rng(0)


def direct(x, s, r):
    """The bilateral filter of `x` (*spatial, C), pixel by pixel."""
    result = x.copy()
    places = [i for i in np.ndindex(x.shape[:-1]) if not np.isnan(x[i]).any()]
    for i in places:
        total, norm = 0.0, 0.0
        for j in places:
            apart = sum((a - b) ** 2 for a, b in zip(i, j, strict=True))
            if apart <= 9 * s**2:
                w = np.exp(-apart / (2 * s**2) - np.sum((x[i] - x[j]) ** 2) / (2 * r**2))
                total, norm = total + w * x[j], norm + w
        result[i] = total / norm
    return result


@pytest.mark.parametrize("shape", [(17,), (9, 14), (1, 9), (5, 6, 7)])
@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("holes", [False, True])
def test_bilateral_is_its_formula(shape, channels, holes):
    x = RNG.normal(size=(*shape, channels or 1))
    if holes:
        x[np.unravel_index([1, 5], shape)] = np.nan
        x[np.unravel_index(7, shape)][0] = np.nan
    expected = direct(x, 1.3, 0.7)
    if channels is None:
        x, expected = x[..., 0], expected[..., 0]
    axis = None if channels is None else -1
    found = bilateral(x, sigma_space=1.3, sigma_range=0.7, channel_axis=axis)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_bilateral_is_the_same_in_every_orientation():
    x = picture(size=40)[:31] - 0.5
    found = bilateral(x, sigma_space=2.0)
    for flipped in (lambda a: a[::-1], lambda a: a[:, ::-1], np.transpose):
        np.testing.assert_allclose(bilateral(flipped(x), sigma_space=2.0), flipped(found))


@pytest.mark.parametrize("scale, offset", [(255.0, 0.0), (1e-5, 0.0), (-1.0, 0.0), (1.0, -3.0)])
def test_bilateral_follows_scale_and_offset(scale, offset):
    x = picture(size=32)
    expected = scale * bilateral(x) + offset
    np.testing.assert_allclose(bilateral(scale * x + offset), expected, atol=1e-12 * abs(scale))


def test_bilateral_without_a_range_is_a_gaussian():
    x = np.zeros((41, 41))
    x[20, 20] = 1
    found = bilateral(x, sigma_space=3.0, sigma_range=1e6)
    np.testing.assert_allclose(found, gaussian_filter(x, 3.0, truncate=4), atol=3e-4)


def test_bilateral_keeps_steps_and_smooths_beside_them():
    step = np.repeat([[0.0, 1.0]], 16, axis=1) * np.ones((32, 1))
    found = bilateral(step + RNG.normal(0, 0.02, step.shape), sigma_range=0.1)
    assert np.abs(found - step).max() < 0.03
    assert np.abs(found - step).std() < 0.006


def test_bilateral_finds_its_range():
    x = picture(size=32)
    np.testing.assert_array_equal(bilateral(x), bilateral(x, sigma_range=x.std() / 2))
    holed = np.where(RNG.random(x.shape) < 0.1, np.nan, x)
    expected = bilateral(holed, sigma_range=np.nanstd(holed) / 2)
    np.testing.assert_allclose(bilateral(holed), expected)


@pytest.mark.parametrize("x", [np.full((8, 9), 7.0), np.full((8, 9), np.nan), np.ones((1, 1))])
def test_bilateral_of_nothing_is_nothing(x):
    np.testing.assert_array_equal(bilateral(x), x)


def test_bilateral_is_the_same_in_any_bands(monkeypatch):
    x = RNG.random((37, 20, 3)).astype(np.float32)
    found = bilateral(x, channel_axis=2)
    monkeypatch.setattr(filters, "BAND_BYTES", 1000)
    np.testing.assert_array_equal(bilateral(x, channel_axis=2), found)


# --- shock ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_shock_restores_a_blurred_step_where_it_was(ndim):
    shape = (24,) * ndim
    step = np.broadcast_to(np.arange(24) >= 11, shape).astype(float)
    soft = gaussian_filter(step, 1.5)
    np.testing.assert_allclose(shock(soft, n_iter=40), step, atol=1e-3)
    np.testing.assert_allclose(shock(soft, n_iter=40, sigma_space=0), step, atol=1e-3)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_shock_stays_among_the_neighbours(ndim):
    x = RNG.normal(size=(12,) * ndim)
    found = shock(x, n_iter=1, step=1 / ndim**0.5, sigma_space=0.7)
    around = [
        np.roll(np.pad(x, 1, mode="edge"), shift, range(ndim))[(slice(1, -1),) * ndim]
        for shift in itertools.product((-1, 0, 1), repeat=ndim)
        if sum(map(abs, shift)) <= 1
    ]
    assert (found <= np.max(around, axis=0) + 1e-12).all()
    assert (found >= np.min(around, axis=0) - 1e-12).all()


def test_shock_steepens_a_photograph():
    soft = gaussian_filter(picture(), 2.0)
    found = shock(soft)
    strong = np.hypot(*np.gradient(soft)) > 0.05
    assert np.hypot(*np.gradient(found))[strong].mean() > 1.5 * 0.05
    assert soft.min() <= found.min() and found.max() <= soft.max()


@pytest.mark.parametrize("scale", [255.0, 1e-5, -1.0])
def test_shock_follows_the_scale(scale):
    x = gaussian_filter(picture(size=32), 1.0)
    np.testing.assert_allclose(shock(scale * x), scale * shock(x), atol=1e-9 * abs(scale))


def test_shock_leaves_nan_where_it_is():
    x = gaussian_filter(picture(size=32), 1.0).copy()
    x[10:12, 5] = np.nan
    np.testing.assert_array_equal(np.isnan(shock(x)), np.isnan(x))


def test_shock_without_steps_is_a_copy():
    x = picture(size=16)
    found = shock(x, n_iter=0)
    np.testing.assert_array_equal(found, x)
    assert not np.shares_memory(found, x)


# --- both ----------------------------------------------------------------------------------------

both = pytest.mark.parametrize("filtered", [bilateral, shock])


@both
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_come_back_as_they_came(filtered, library, dtype):
    x = colour_picture(24).astype(dtype)
    expected = filtered(x, channel_axis=-1)
    given = put(np.moveaxis(x, -1, 0), library)
    found = filtered(given, channel_axis=0)
    assert type(found) is type(given) and found.dtype == given.dtype
    np.testing.assert_allclose(get(found), np.moveaxis(expected, -1, 0), rtol=1e-5)


@both
def test_number_types(filtered):
    x = np.round(255 * picture(size=24))
    expected = filtered(x.astype(np.float32))
    found = filtered(x.astype(np.uint8))
    assert found.dtype == np.float32 and found.max() > 2
    np.testing.assert_array_equal(found, expected)
    half = filtered(x.astype(np.float16))
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, expected, rtol=1e-3)


def test_channels_of_shock_are_separate():
    x = colour_picture(24)
    for c in range(3):
        np.testing.assert_array_equal(shock(x, channel_axis=2)[..., c], shock(x[..., c]))


@both
@pytest.mark.parametrize(
    "options, message",
    [
        ({"sigma_space": -1}, "sigma_space"),
        ({"channel_axis": 2}, "channel_axis"),
        ({"image": np.ones((2, 2, 2, 2))}, "1 to 3 spatial axes"),
        ({"image": np.array([[np.inf]])}, "infinite"),
    ],
)
def test_bad_input_is_named(filtered, options, message):
    options = {"image": np.ones((8, 8)), **options}
    with pytest.raises(ValueError, match=message):
        filtered(**options)


@pytest.mark.parametrize("options", [{"step": 0}, {"step": 1.5}, {"n_iter": -1}])
def test_bad_steps_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        shock(np.ones((8, 8)), **options)
    with pytest.raises(ValueError, match="sigma_range"):
        bilateral(np.ones((8, 8)), sigma_range=0)
