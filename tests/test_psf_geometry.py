"""Moving and cutting psfs: the centre stays at size // 2, and no light is lost."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deconv import metrics, psf

kernels = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=9),
    elements=st.floats(0, 1).map(lambda v: v if v > 1e-3 else 0.0),
).filter(lambda k: k.any())


def from_centre(kernel):
    return np.subtract(psf.centroid(kernel), np.array(kernel.shape) // 2)


@given(kernels)
@settings(max_examples=80, deadline=None)
def test_centre_is_exact_and_keeps_parity(kernel):
    before = kernel.copy()
    centred = psf.centre(kernel)
    assert np.array_equal(kernel, before)
    assert np.abs(from_centre(centred)).max() < 1e-9
    assert centred.min() >= 0
    assert abs(centred.sum() - 1) < 1e-12
    assert all((m - n) % 2 == 0 for m, n in zip(centred.shape, kernel.shape, strict=True))
    again = psf.centre(centred)
    assert again.shape == centred.shape
    np.testing.assert_allclose(again, centred, rtol=0, atol=1e-12)


@given(kernels, st.floats(-6, 6))
@settings(max_examples=80, deadline=None)
def test_shift_moves_the_centroid_by_the_offset(kernel, offset):
    moved = psf.shift(kernel, offset)
    np.testing.assert_allclose(from_centre(moved), from_centre(kernel) + offset, atol=1e-8)
    assert abs(moved.sum() - 1) < 1e-12
    assert moved.min() >= 0


def test_shift_by_whole_pixels_only_moves():
    kernel = np.zeros((5, 6))
    kernel[2, 3] = 1
    moved = psf.shift(kernel, (1, -2))
    assert moved.shape == (5, 6)
    assert moved[3, 1] == 1
    grown = psf.shift(kernel, (-4, 0))
    assert grown.shape == (9, 6)
    assert grown[4 - 4, 3] == 1
    half = psf.shift(kernel, (0, 0.25))
    np.testing.assert_allclose(half[2, 3:5], [0.75, 0.25])


@pytest.mark.parametrize("before", [(3, 4), (4, 3), (1, 1), (6, 5)])
@pytest.mark.parametrize("extra", [(0, 0), (1, 0), (0, 1), (1, 1), (4, 7)])
def test_pad_and_crop_keep_the_centre(before, extra):
    kernel = np.zeros(before)
    kernel[before[0] // 2, before[1] // 2] = 2
    shape = tuple(n + m for n, m in zip(before, extra, strict=True))
    padded = psf.pad(kernel, shape)
    assert padded.shape == shape
    assert padded[shape[0] // 2, shape[1] // 2] == 1
    cut = psf.crop(padded, before)
    assert cut.shape == before
    assert cut[before[0] // 2, before[1] // 2] == 1


@given(kernels)
@settings(max_examples=60, deadline=None)
def test_crop_undoes_pad_and_trims_to_the_light(kernel):
    shape = [n + 3 for n in kernel.shape]
    padded = psf.pad(kernel, shape)
    np.testing.assert_allclose(psf.crop(padded, kernel.shape), psf.normalise(kernel), atol=1e-15)
    trimmed = psf.crop(padded)
    assert np.count_nonzero(trimmed) == np.count_nonzero(kernel)
    np.testing.assert_allclose(from_centre(trimmed), from_centre(kernel), atol=1e-9)
    assert all(m <= n for m, n in zip(trimmed.shape, kernel.shape, strict=True))


def test_crop_at_a_threshold():
    kernel = psf.gaussian(2.0)
    small = psf.crop(kernel, threshold=0.1)
    assert small.shape == (9, 9)
    assert small.min() > 0
    assert abs(small.sum() - 1) < 1e-12
    assert psf.crop(kernel, threshold=1.0).shape == (1, 1)
    # Light before the centre only: an even size is the smallest that keeps the centre.
    assert psf.crop([0, 1, 2, 1, 1, 0, 0, 0]).shape == (6,)


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.3, 2.0, 3.7])
@pytest.mark.parametrize("size", [25, 26])
def test_resize_of_a_gaussian_is_a_gaussian(scale, size):
    resized = psf.resize(psf.gaussian(2.5, size=size), scale)
    assert abs(resized.sum() - 1) < 1e-12
    assert np.abs(from_centre(resized)).max() < 1e-9
    assert scale * size - 2 < resized.shape[0] < scale * (size + 1) + 2
    if size % 2:
        assert resized.shape[0] % 2
    expected = psf.gaussian(2.5 * scale)
    assert metrics.psf_similarity(resized, expected) > 0.995


@given(kernels, st.floats(0.2, 4))
@settings(max_examples=60, deadline=None)
def test_resize_scales_the_centroid_about_the_centre(kernel, scale):
    resized = psf.resize(kernel, scale)
    assert abs(resized.sum() - 1) < 1e-12
    assert resized.min() >= 0
    np.testing.assert_allclose(from_centre(resized), scale * from_centre(kernel), atol=1e-8)


@given(kernels)
@settings(max_examples=30, deadline=None)
def test_resize_by_one_changes_nothing(kernel):
    same = psf.resize(kernel, 1)
    np.testing.assert_allclose(same, psf.normalise(kernel), rtol=0, atol=1e-12)


def test_resize_per_axis():
    kernel = psf.resize(psf.gaussian(1.0, size=(9, 11)), (1, 3))
    assert kernel.shape == (9, 33)


def test_results_keep_single_precision_and_take_any_array():
    values = np.array([[0, 1, 0], [1, 4, 2]])
    assert psf.normalise(values).dtype == np.float64
    assert psf.normalise(values.astype(np.float32)).dtype == np.float32
    assert psf.normalise(torch.tensor(values, dtype=torch.float32)).dtype == np.float32
    np.testing.assert_allclose(psf.normalise(torch.tensor(values)), values / 8, rtol=1e-6)
    assert np.array_equal(psf.normalise(values.tolist()), values / 8)
    assert np.array_equal(psf.normalise(values > 0), (values > 0) / 4)
    large = np.array([2**53 - 1, 0], np.int64)
    assert np.array_equal(psf.normalise(large), [1, 0])


def test_rounding_below_zero_is_forgiven():
    assert psf.normalise([1.0, -1e-12]).min() == 0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: psf.normalise([1, np.nan]), ValueError, "1 NaN"),
        (lambda: psf.normalise([1, np.inf]), ValueError, "infinite"),
        (lambda: psf.normalise([1, -0.1]), ValueError, "negative values, down to -0.1"),
        (lambda: psf.normalise(np.zeros(3)), ValueError, "zero everywhere"),
        (lambda: psf.normalise([-1.0, -2.0]), ValueError, "negative"),
        (lambda: psf.normalise([]), ValueError, "empty"),
        (lambda: psf.normalise(3.0), ValueError, "single number"),
        (lambda: psf.normalise([1j]), TypeError, "complex"),
        (lambda: psf.normalise(["a"]), TypeError, "psf"),
        (lambda: psf.pad(np.ones((3, 3)), 2), ValueError, "crop"),
        (lambda: psf.pad(np.ones((3, 3)), (4, 4, 4)), ValueError, "shape"),
        (lambda: psf.crop(np.ones((3, 3)), 4), ValueError, "pad"),
        (lambda: psf.crop(np.ones((3, 3)), 0), ValueError, "shape"),
        (lambda: psf.crop(np.ones((3, 3)), 3, threshold=0.1), ValueError, "both"),
        (lambda: psf.crop(np.ones((3, 3)), threshold=2), ValueError, "threshold"),
        (lambda: psf.crop([1, 0, 0, 0, 0], 3), ValueError, "no light"),
        (lambda: psf.shift(np.ones((3, 3)), (1, 2, 3)), ValueError, "offset"),
        (lambda: psf.shift(np.ones((3, 3)), "1"), TypeError, "offset"),
        (lambda: psf.shift(np.ones((3, 3)), np.nan), ValueError, "offset"),
        (lambda: psf.resize(np.ones((3, 3)), 0), ValueError, "scale"),
        (lambda: psf.resize(np.ones((3, 3)), (1, -1)), ValueError, r"scale\[1\]"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
