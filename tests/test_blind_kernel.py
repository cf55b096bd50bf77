"""The psf step: against a dense solve, what spoiled pixels do to it, and how a psf is cleaned."""

import numpy as np
import pytest
import scipy.signal
from helpers import picture, random_psf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import label

from deconv import metrics, psf
from deconv.blind.kernel import (
    Gradients,
    KernelStep,
    centred,
    gradients,
    normalised,
    pruned,
    selected,
    threshold,
)

SHAPES = [(3, 3), (1, 5), (5, 1), (3, 5), (5, 3)]
RAW = {"cut": 0.0, "island": 0.0}


def frames(shape, size=(14, 17), seed=0, noise=0.3):
    """Gradients of a sharp and a blurred picture, and noise that the psf cannot explain."""
    rng = np.random.default_rng(seed)
    kernel = random_psf(rng, shape)
    sharp = [rng.normal(size=size).astype(np.float32) for _ in range(2)]
    blurred = [
        (scipy.signal.convolve2d(s, kernel, mode="same") + noise * rng.normal(size=size)).astype(
            np.float32
        )
        for s in sharp
    ]
    return tuple(sharp), tuple(blurred), kernel


def dense(sharp, blurred, shape, gamma, *, weights=None):
    """The same least squares with every column written out, cleaned of what is negative.

    Without weights, the pictures are black beyond their frames and the blur runs out over them.
    """
    rows, values = [], []
    for s, y in zip(sharp, blurred, strict=True):
        units = np.eye(shape[0] * shape[1]).reshape(-1, *shape)
        mode = "full" if weights is None else "same"
        columns = [scipy.signal.convolve2d(s, unit, mode=mode).ravel() for unit in units]
        if weights is None:
            y = np.pad(y, [(n // 2, n // 2) for n in shape])
        root = np.sqrt(np.ones(y.size) if weights is None else weights.ravel().astype(float))
        rows.append(np.stack(columns, axis=1) * root[:, None])
        values.append(y.ravel() * root)
    matrix, data = np.concatenate(rows), np.concatenate(values)
    normal = matrix.T @ matrix + gamma * np.eye(matrix.shape[1])
    found = np.maximum(np.linalg.solve(normal, matrix.T @ data), 0).reshape(shape)
    return found / found.sum()


@pytest.mark.parametrize("gamma", [0.01, 50.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_closed_form_is_the_dense_solution(shape, gamma):
    sharp, blurred, _ = frames(shape)
    found = KernelStep(gamma=gamma, **RAW)(sharp, Gradients(blurred, shape))
    assert found.shape == shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, dense(sharp, blurred, shape, gamma), atol=2e-5)


@pytest.mark.parametrize("gamma", [0.01, 50.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_weighted_step_is_the_dense_solution(shape, gamma):
    sharp, blurred, _ = frames(shape)
    weights = np.random.default_rng(1).random(sharp[0].shape).astype(np.float32)
    found = KernelStep(gamma=gamma, **RAW)(sharp, Gradients(blurred, shape), weights)
    expected = dense(sharp, blurred, shape, gamma, weights=weights)
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_of_one_change_nothing_where_no_edge_is_near_the_frame(shape):
    sharp, _, kernel = frames(shape)
    sharp = tuple(np.pad(s, 4) for s in sharp)
    blurred = tuple(
        scipy.signal.convolve2d(s, kernel, mode="same").astype(np.float32) for s in sharp
    )
    step = KernelStep(gamma=0.5, **RAW)
    ones = np.ones(sharp[0].shape, np.float32)
    plain = step(sharp, Gradients(blurred, shape))
    np.testing.assert_allclose(step(sharp, Gradients(blurred, shape), ones), plain, atol=2e-4)


def test_inputs_are_left_as_they_are():
    sharp, blurred, _ = frames((3, 5))
    weights = np.ones(sharp[0].shape, np.float32)
    start = np.full((3, 5), 1 / 15, np.float32)
    for array in (*sharp, *blurred, weights, start):
        array.setflags(write=False)
    for step in (KernelStep(), KernelStep(robust=0.1)):
        for seen in (None, weights):
            first = step(sharp, Gradients(blurred, (3, 5)), seen, start)
            again = step(sharp, Gradients(blurred, (3, 5)), seen, start)
            np.testing.assert_array_equal(first, again)


def test_pixels_of_weight_zero_do_not_count():
    shape = (3, 5)
    sharp, blurred, kernel = frames(shape, (30, 34), noise=0.0)
    weights = np.ones(sharp[0].shape, np.float32)
    weights[8:16, 10:20] = 0
    spoiled = tuple(np.where(weights == 0, np.float32(1e3), y) for y in blurred)
    step = KernelStep(gamma=1e-3, **RAW)
    found = step(sharp, Gradients(spoiled, shape), weights)
    np.testing.assert_allclose(found, kernel, atol=1e-3)
    assert np.abs(step(sharp, Gradients(spoiled, shape)) - kernel).max() > 0.05


def test_gross_outliers_do_not_move_the_robust_step():
    shape = (3, 5)
    sharp, blurred, kernel = frames(shape, (40, 44), noise=0.01)
    rng = np.random.default_rng(2)
    at = rng.random(blurred[0].shape) < 0.1
    spoiled = tuple(np.where(at, y + np.float32(8), y) for y in blurred)
    start = np.full(shape, 1 / 15, np.float32)
    errors = {
        robust: np.abs(
            KernelStep(gamma=1e-3, robust=robust, **RAW)(
                sharp, Gradients(spoiled, shape), None, start
            )
            - kernel
        ).max()
        for robust in (None, 1.0)
    }
    assert errors[1.0] < 0.003
    assert errors[None] > 5 * errors[1.0]


@pytest.mark.parametrize("shape", [(9, 9), (5, 11), (1, 9), (11, 1)])
def test_a_planted_psf_comes_back_from_true_gradients(shape):
    scene = np.pad(picture("camera", 120) - 0.5, 12).astype(np.float32)
    rng = np.random.default_rng(3)
    kernel = random_psf(rng, shape) * (rng.random(shape) < 0.5)
    kernel[shape[0] // 2, shape[1] // 2] = kernel.max() * 2
    kernel /= kernel.sum()
    blurred = scipy.signal.convolve2d(scene, kernel, mode="same").astype(np.float32)
    data = Gradients(gradients(blurred), shape)
    found = KernelStep(gamma=1e-3, cut=0.02, island=0)(gradients(scene), data)
    assert metrics.psf_similarity(found, kernel) > 0.99
    # At its own place, not only up to a shift.
    assert np.abs(found - kernel).sum() < 0.2


def test_a_large_gamma_spreads_the_psf():
    sharp, blurred, kernel = frames((5, 5), (30, 30), noise=0.05)
    data = Gradients(blurred, (5, 5))
    spread = [np.square(KernelStep(gamma=g, **RAW)(sharp, data)).sum() for g in (0.1, 1e5)]
    assert spread[1] < spread[0]
    assert spread[0] == pytest.approx(np.square(kernel).sum(), rel=0.05)


def orientation(dy, dx):
    """Which quarter of the half circle each gradient points to."""
    return np.minimum(np.mod(np.degrees(np.arctan2(dy, dx)), 180) // 45, 3)


@given(
    st.tuples(st.integers(8, 60), st.integers(8, 60)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.floats(-20, 20),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_every_orientation_keeps_the_promised_number_of_gradients(size, shape, slope, seed):
    # Stretched along one axis, so that some orientations are rare.
    image = np.random.default_rng(seed).random(size) * 2.0 ** (slope * np.arange(size[1]) / 100)
    dy, dx = gradients(image)
    power = dy**2 + dx**2
    promised = max(20 * max(shape), 10)
    tau = threshold(image, shape)
    bins = orientation(dy, dx)
    counts = [int(((power >= tau) & (bins == i)).sum()) for i in range(4)]
    sizes = [int((bins == i).sum()) for i in range(4)]
    assert all(c >= min(promised, n) for c, n in zip(counts, sizes, strict=True))
    if min(sizes) >= promised:
        # And no more than that in the poorest one.
        assert min(counts) == promised
    else:
        assert tau == 0


def test_selected_keeps_the_strong_gradients_and_never_none():
    image = picture("camera", 64).astype(np.float32)
    dy, dx = gradients(image)
    power = dy * dy + dx * dx
    tau = float(np.quantile(power, 0.9))
    kept, same = selected(image, tau)
    assert same == tau
    for part, whole in zip(kept, (dy, dx), strict=True):
        np.testing.assert_array_equal(part, np.where(power >= np.float32(tau), whole, 0))
    kept, lower = selected(image, 1e6)
    assert power.max() * 0.8 < lower <= power.max()
    assert 1 <= np.count_nonzero(kept[0] ** 2 + kept[1] ** 2) < 20
    flat, same = selected(np.ones((9, 9), np.float32), 0.5)
    assert same == 0.5
    assert not np.any(flat)


def test_gradients_lie_where_both_neighbours_are_inside():
    y, x = np.mgrid[:5, :7]
    dy, dx = gradients(2.0 * y + 3.0 * x)
    np.testing.assert_array_equal(dy, np.full((4, 6), 2.0))
    np.testing.assert_array_equal(dx, np.full((4, 6), 3.0))


values = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.floats(-1, 1, width=32),
)


@given(values)
def test_normalised(raw):
    found = normalised(raw)
    assert found.shape == raw.shape
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1, abs=1e-5)
    if raw.max() > 1e-6:
        np.testing.assert_array_equal(found[raw <= 0], 0)
        light = raw > 1e-3 * raw.max()
        ratio = found[light] / raw[light]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_psf_without_light_becomes_a_pixel_at_the_middle(dtype):
    for raw in (np.zeros((5, 3)), np.full((5, 3), -2.0), np.full((5, 3), np.nan)):
        found = normalised(raw.astype(dtype))
        assert found.dtype == np.float32
        assert found[2, 1] == 1
        assert found.sum() == 1


@given(values, st.floats(0, 0.5), st.floats(0, 0.5))
def test_pruned_leaves_no_faint_pixel_and_no_faint_island(raw, cut, least):
    found = pruned(raw, cut, least)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert found.min() >= 0
    lit = found > 0
    if raw.max() > 1e-6:
        # Only what was cut for one of two reasons is gone.
        # (Below about 1e-38 a pixel divided by the sum is 0.)
        above = (raw > 1e-30) & (raw >= cut * raw.max())
        assert not (lit & ~above & (raw > 1e-30)).any()
        islands, count = label(above, np.ones((3, 3)))
        mass = np.array([raw[islands == i + 1].sum() for i in range(count)], np.float64)
        share = mass / mass.sum()
        for i in range(count):
            if abs(share[i] - least) > 1e-4 and share[i] < share.max() - 1e-4:
                assert lit[islands == i + 1].all() == (share[i] >= least)
        assert lit[islands == share.argmax() + 1].all() or np.sum(share > share.max() - 1e-4) > 1


def test_pruned_takes_corners_for_connected():
    raw = np.zeros((7, 7), np.float32)
    raw[[1, 2, 3], [1, 2, 3]] = [1, 0.04, 1]
    raw[6, 6] = 0.2
    found = pruned(raw, 0.01, 0.1)
    assert found[2, 2] > 0
    assert found[6, 6] == 0
    # Cut apart, both halves are heavy enough to stay.
    found = pruned(raw, 0.05, 0.1)
    assert found[2, 2] == 0
    assert found[1, 1] == found[3, 3] == 0.5


@given(
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
    st.integers(0, 2**32 - 1),
)
def test_centred_moves_the_centroid_to_the_middle_and_keeps_the_light(reach, corner, seed):
    kernel = random_psf(np.random.default_rng(seed), (4, 4)).astype(np.float32)
    # Room for all of it wherever it goes.
    box = np.zeros([4 + 2 * r + 9 - r % 2 for r in reach], np.float32)
    at = [min(c, n - 4) for c, n in zip(corner, box.shape, strict=True)]
    box[at[0] : at[0] + 4, at[1] : at[1] + 4] = kernel
    found = centred(box)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    for n, c in zip(found.shape, psf.centroid(found), strict=True):
        assert abs(c - n // 2) <= 0.5 + 1e-5
    # The same pixels, moved as a whole.
    np.testing.assert_allclose(np.sort(found[found > 0]), np.sort(kernel.ravel()), rtol=1e-5)
    np.testing.assert_allclose(centred(found), found, rtol=1e-5)


@given(values)
@example(np.float32([[0.7, 0, 0, 0, 0.3]]))
def test_centred_holds_for_what_is_left_when_light_is_lost(raw):
    kernel = normalised(raw)
    found = centred(kernel)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert np.count_nonzero(found) <= np.count_nonzero(kernel)
    for n, c in zip(found.shape, psf.centroid(found), strict=True):
        assert abs(c - n // 2) <= 0.5 + 1e-5


def test_centred_is_the_identity_for_a_pixel_and_for_lines():
    for shape in [(1, 1), (1, 7), (7, 1)]:
        kernel = np.zeros(shape, np.float32)
        kernel[0, 0] = 1
        expected = np.zeros(shape, np.float32)
        expected[shape[0] // 2, shape[1] // 2] = 1
        np.testing.assert_array_equal(centred(kernel), expected)
