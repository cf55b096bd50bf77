"""Coarse to fine: the scales, what smaller pictures and larger psfs keep, the order of the runs."""

import math

import numpy as np
import pytest
from helpers import picture, random_psf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from deconv import psf
from deconv.blind.estimators import estimator
from deconv.blind.pyramid import coarse_to_fine, levels, odd, resized, segment, smaller

SHAPES = [(3, 3), (5, 5), (15, 15), (31, 31), (75, 75), (9, 25), (25, 9), (1, 21), (21, 1)]
SCENE = picture("camera", 128).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_levels_go_from_about_five_pixels_to_the_full_size(shape):
    made = levels(SCENE, shape)
    # floor(log(5 / K) / log(sqrt(1/2))) + 1
    expected = max(0, math.floor(2 * math.log2(max(shape) / 5) + 1e-9)) + 1
    assert [level.index for level in made] == list(range(expected))[::-1]
    assert {level.count for level in made} == {expected}
    assert made[-1].shape == shape
    assert made[-1].image is SCENE
    sides = [max(level.shape) for level in made]
    assert sides == sorted(sides)
    assert sides[0] <= 9
    for level in made:
        assert all(n % 2 == 1 for n in level.shape)
        assert all((n == 1) == (m == 1) for n, m in zip(level.shape, shape, strict=True))
        for n, m in zip(level.shape, shape, strict=True):
            assert 0 <= n - m * 0.5 ** (level.index / 2) < 2 or n == 3
        for n, m in zip(level.image.shape, SCENE.shape, strict=True):
            scaled = m * 0.5 ** (level.index / 2)
            # The low-pass needs its neighbours: some pixels at the border have none.
            assert scaled - 4 < n <= scaled + 1
        assert level.image.dtype == np.float32
        assert level.weights is None


@given(st.floats(1e-3, 200))
def test_odd_is_the_next_odd_number(size):
    n = odd(size)
    assert n % 2 == 1
    assert n >= min(size, 1)
    assert size - 1e-6 <= n < size + 2
    assert odd(n) == n


def test_weights_of_a_level_are_one_only_where_all_was_seen():
    weights = np.ones(SCENE.shape, np.float32)
    weights[60:70, 30:34] = 0
    made = levels(SCENE, (15, 15), weights)
    np.testing.assert_array_equal(made[-1].weights, weights)
    for level in made:
        assert level.weights.shape == level.image.shape
        assert set(np.unique(level.weights)) == {0, 1}
        hole = 1 - level.weights
        scale = 0.5 ** (level.index / 2)
        # The hole, and a rim as wide as the low-pass: a coarse pixel that any of it went into.
        assert 40 * scale**2 <= hole.sum() <= (10 * scale + 4) * (4 * scale + 4)
    spoiled = np.where(weights == 0, np.float32(1e3), SCENE)
    for level, clean in zip(
        levels(spoiled, (15, 15), weights), levels(SCENE, (15, 15)), strict=True
    ):
        seen = level.weights == 1
        # Of the hole's thousand nothing but what the filter's tail of one in a hundred lets in.
        assert np.abs(level.image[seen] - clean.image[seen]).max() < 12


@given(
    st.tuples(st.integers(24, 70), st.integers(24, 70)),
    st.floats(0.25, 1),
    st.floats(-2, 2),
    st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
)
@settings(max_examples=50)
def test_smaller_keeps_a_constant_and_a_ramp(size, scale, level, slopes):
    y, x = np.mgrid[: size[0], : size[1]]
    ramp = (level + slopes[0] * y / size[0] + slopes[1] * x / size[1]).astype(np.float32)
    before = ramp.copy()
    found = smaller(ramp, scale)
    np.testing.assert_array_equal(ramp, before)
    assert found.dtype == np.float32
    for axis in (0, 1):
        step = np.diff(found, axis=axis)
        # One pixel here is 1 / scale there.
        np.testing.assert_allclose(step, slopes[axis] / size[axis] / scale, atol=2e-6)
    if slopes == (0, 0):
        np.testing.assert_allclose(found, level, atol=1e-6)
    # No pixel lies beyond the picture.
    assert found.min() >= ramp.min() - 1e-5
    assert found.max() <= ramp.max() + 1e-5


def test_smaller_at_full_size_is_the_picture_itself():
    assert smaller(SCENE, 1.0) is SCENE


@pytest.mark.parametrize("scale", [0.25, 0.5, math.sqrt(0.5)])
def test_smaller_takes_away_what_it_cannot_show(scale):
    n = np.arange(200)

    def left(frequency):
        wave = np.cos(2 * np.pi * frequency * n).astype(np.float32)
        found = smaller(np.tile(wave, (90, 1)), scale)
        return float(found[10:-10, 10:-10].std() / wave.std())

    # A frequency that would come back as a low one or a constant, and one that is well resolved.
    assert left(min(scale, 0.5)) < 0.12
    assert left(scale / 10) > 0.9
    assert left(0.75 * scale) < left(0.25 * scale)


@pytest.mark.parametrize("shape", [(9, 9), (15, 9), (1, 13), (13, 1)])
def test_resized_keeps_the_sum_and_scales_the_centroid(shape):
    rng = np.random.default_rng(0)
    small = tuple(odd(n / math.sqrt(2)) for n in shape)
    kernel = np.zeros(small, np.float32)
    inner = tuple(slice(n // 4, n - n // 4) for n in small)
    kernel[inner] = random_psf(rng, kernel[inner].shape)
    kernel /= kernel.sum()
    larger = resized(kernel, shape, math.sqrt(2))
    assert larger.shape == shape
    assert larger.dtype == np.float32
    assert larger.min() >= 0
    assert larger.sum() == pytest.approx(1, abs=1e-5)
    for n, m, a, b in zip(small, shape, psf.centroid(kernel), psf.centroid(larger), strict=True):
        assert b - m // 2 == pytest.approx(math.sqrt(2) * (a - n // 2), abs=0.2)


def test_resized_at_the_same_size_is_the_psf():
    kernel = random_psf(np.random.default_rng(1), (7, 5)).astype(np.float32)
    np.testing.assert_allclose(resized(kernel, (7, 5), 1.0), kernel, atol=1e-6)
    # The middle stays at the middle in a larger box.
    framed = resized(kernel, (11, 11), 1.0)
    np.testing.assert_allclose(framed[2:-2, 3:-3], kernel, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (5, 5), (3, 7)])
def test_the_first_psf_is_two_pixels_side_by_side(shape):
    found = segment(shape)
    assert found.shape == shape
    assert found.sum() == 1
    assert np.count_nonzero(found) == min(2, math.prod(shape))
    assert found[shape[0] // 2, shape[1] // 2] == found.max()
    lit = np.argwhere(found)
    assert np.abs(np.diff(lit, axis=0)).sum() == len(lit) - 1


@pytest.mark.parametrize("shape", SHAPES)
def test_refine_is_called_from_coarse_to_fine_with_what_it_made_before(shape):
    rng = np.random.default_rng(0)
    weights = np.ones(SCENE.shape, np.float32)
    calls, given_back = [], []

    def refine(level, kernel):
        calls.append((level.index, level.shape))
        assert kernel.shape == level.shape
        assert kernel.dtype == np.float32
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert level.weights is not None
        if given_back:
            # About the psf of the level before, enlarged.
            before = np.ptp(np.argwhere(given_back[-1]), axis=0)
            assert (np.ptp(np.argwhere(kernel > 0.1 * kernel.max()), axis=0) >= before - 1).all()
        else:
            np.testing.assert_array_equal(kernel, segment(level.shape))
        made = random_psf(rng, level.shape).astype(np.float32)
        given_back.append(made)
        return made

    found = coarse_to_fine(SCENE, shape, refine, weights=weights)
    assert calls == [(level.index, level.shape) for level in levels(SCENE, shape)]
    assert found.shape == shape
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1, abs=1e-5)
    for n, c in zip(shape, psf.centroid(found), strict=True):
        assert abs(c - n // 2) <= 0.5 + 1e-5


def test_a_start_is_the_first_levels_psf():
    start = np.zeros((7, 7), np.float32)
    start[2:5, 3] = 1 / 3
    seen = []

    def refine(level, kernel):
        seen.append(kernel)
        return kernel

    coarse_to_fine(SCENE, (15, 15), refine, start=start)
    assert levels(SCENE, (15, 15))[0].shape == start.shape
    np.testing.assert_array_equal(seen[0], start)
    np.testing.assert_allclose(seen[1], resized(start, (9, 9), math.sqrt(2)), atol=1e-6)


def test_the_same_picture_gives_the_same_psf_to_the_bit():
    image = gaussian_filter(SCENE, 1.5)
    image.setflags(write=False)
    weights = np.ones(image.shape, np.float32)
    weights[20:25, 20:25] = 0
    weights.setflags(write=False)
    for seen in (None, weights):
        first, again = (
            coarse_to_fine(image, (11, 9), estimator("l0"), weights=seen) for _ in range(2)
        )
        assert first.shape == (11, 9)
        np.testing.assert_array_equal(first, again)
