"""Conjugate gradients on the masked problem: where they stop, what they decrease."""

from itertools import pairwise

import numpy as np
import pytest
from helpers import BOUNDARIES, LIBRARIES, get, put, random_psf

import deconv.operators.masked
from deconv import Blur
from deconv.operators.masked import masked_data, masked_solve
from deconv.threads import get_threads, set_threads

SHAPES = [((24, 21), (5, 4)), ((40,), (7,)), ((6, 7, 8), (3, 2, 3)), ((9, 1), (3, 1))]


def case(shape=(24, 21), size=(5, 4), boundary="unknown", weighted=True, lead=(), library="numpy"):
    rng = np.random.default_rng(0)
    weights = rng.random(shape) * (rng.random(shape) > 0.2) if weighted else None
    A = Blur(
        put(random_psf(rng, size), library),
        shape,
        boundary=boundary,
        weights=None if weights is None else put(weights, library),
    )
    z = rng.random((*lead, *A.domain))
    if boundary == "zero":
        z = A.frame.pad(z[(..., *(slice(n) for n in shape))]) if library == "numpy" else z
    return A, put(rng.random((*lead, *shape)), library), put(z, library)


def objective(A, x, y, z, rho):
    misfit = A(x) - y
    weighted = misfit**2 if A.weights is None else A.weights * misfit**2
    return 0.5 * weighted.sum() + 0.5 * rho * ((x - z) ** 2).sum()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_steps_decrease_the_objective_to_its_minimum(shape, size, boundary, weighted):
    A, y, z = case(shape, size, boundary, weighted)
    values = []
    found = masked_solve(
        A,
        y,
        0.01,
        z=z,
        tol=1e-10,
        n_iter=500,
        callback=lambda k, X: values.append(objective(A, A.image(X), y, z, 0.01)),
    )
    assert found.residual <= 1e-10
    assert found.n_iter == len(values) < 500
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(values))
    x = A.image(found.spectrum)
    w = 1 if A.weights is None else A.weights
    gradient = A.adjoint(w * (A(x) - y)) + 0.01 * (x - z)
    assert np.abs(gradient).max() < 1e-7


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_no_centre_is_a_centre_of_zeros(library, boundary):
    A, y, z = case(boundary=boundary, library=library)
    one = masked_solve(A, y, 0.1, tol=1e-10)
    other = masked_solve(A, y, 0.1, z=0 * z, tol=1e-10)
    np.testing.assert_allclose(get(A.image(one.spectrum)), get(A.image(other.spectrum)), atol=1e-8)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_solution_is_a_start_that_needs_no_step(boundary):
    A, y, z = case(boundary=boundary)
    x = A.prox(z, y, 0.1, tol=1e-12)
    again = masked_solve(A, y, 0.1, z=z, start=x, tol=1e-8)
    assert again.n_iter == 0
    np.testing.assert_allclose(A.image(again.spectrum), x, atol=1e-13)


def test_a_warm_start_saves_steps():
    A, y, z = case()
    x = A.prox(z, y, 0.01, tol=1e-12)
    cold = masked_solve(A, y, 0.01, z=z + 1e-3, tol=1e-6)
    warm = masked_solve(A, y, 0.01, z=z + 1e-3, start=x, tol=1e-6)
    assert warm.n_iter < cold.n_iter


def test_no_steps_return_the_start():
    A, y, z = case()
    x = np.random.default_rng(3).random(A.domain)
    found = masked_solve(A, y, 0.1, z=z, start=x, n_iter=0)
    assert found.n_iter == 0
    np.testing.assert_allclose(A.image(found.spectrum), x, atol=1e-13)
    assert found.residual > 0


@pytest.mark.parametrize("library", LIBRARIES)
def test_at_most_n_iter_steps_and_the_callback_may_end_them(library):
    A, y, z = case(library=library)
    assert masked_solve(A, y, 0.01, z=z, tol=0, n_iter=3).n_iter == 3
    steps = []

    def stop(k, X):
        steps.append(k)
        return k == 2

    found = masked_solve(A, y, 0.01, z=z, tol=0, n_iter=9, callback=stop)
    assert steps == [1, 2]
    assert found.n_iter == 2
    straight = masked_solve(A, y, 0.01, z=z, tol=0, n_iter=2)
    np.testing.assert_array_equal(get(found.spectrum), get(straight.spectrum))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_batch_is_solved_as_each_of_its_members(library, boundary):
    A, y, z = case(lead=(2, 3), boundary=boundary, library=library)
    rho = put(np.array([0.01, 1.0]), library)
    together = get(A.prox(z, y, rho, tol=1e-11, n_iter=300))
    for i, j in np.ndindex(2, 3):
        alone = A.prox(z[i, j, ...], y[i, j, ...], float(rho[i]), tol=1e-11, n_iter=300)
        np.testing.assert_allclose(together[i, j], get(alone), atol=1e-8)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_nothing_to_solve_is_solved_at_once(library, boundary):
    A, y, _ = case(boundary=boundary, library=library)
    found = masked_solve(A, 0 * y, 0.1)
    assert (found.n_iter, found.residual) == (0, 0)
    assert not np.abs(get(found.spectrum)).any()


@pytest.mark.parametrize("library", LIBRARIES)
def test_one_black_image_does_not_spoil_its_batch(library):
    A, y, _ = case(lead=(2,), library=library)
    scale = put(np.array([0.0, 1.0]).reshape(2, 1, 1), library)
    found = get(A.image(masked_solve(A, scale * y, 0.1, tol=1e-10).spectrum))
    assert np.isfinite(found).all()
    assert not found[0].any()
    np.testing.assert_allclose(
        found[1], get(A.prox(0 * put(found[1], library), y[1, ...], 0.1, tol=1e-10)), atol=1e-8
    )


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_where_nothing_was_seen_the_centre_remains(boundary):
    A, y, z = case(boundary=boundary)
    A = A.reweighted(np.zeros(A.shape))
    np.testing.assert_allclose(A.prox(z, y, 0.1, tol=1e-12), z, atol=1e-9)


def test_the_preconditioner_makes_steps_few():
    A, y, _ = case((96, 96), (9, 9), weighted=False)
    assert masked_solve(A, y, 1e-2, tol=1e-4).n_iter <= 25


@pytest.mark.parametrize("library", LIBRARIES)
def test_float32_stays_and_converges(library):
    rng = np.random.default_rng(0)
    A = Blur(put(random_psf(rng, (3, 4), dtype="f4"), library), (16, 15))
    y = put(rng.random((16, 15)).astype("f4"), library)
    found = masked_solve(A, y, 0.1, tol=1e-5)
    assert found.residual <= 1e-5
    assert A.image(found.spectrum).dtype == y.dtype


# --- data, pull and start as spectra --------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_masked_data_is_the_transpose_of_the_weighted_data(
    shape, size, boundary, weighted, library
):
    A, y, _ = case(shape, size, boundary, weighted, (2,), library)
    data = masked_data(A, y)
    assert tuple(data.shape) == (2, *A.domain[:-1], A.domain[-1] // 2 + 1)
    # The transpose of the blur without what a zero boundary leaves out.
    seen = y if A.weights is None else A.weights * y
    expected = A.correlate(A.frame.pad(seen))
    np.testing.assert_allclose(get(A.image(data)), get(expected), atol=1e-12)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_data_at_hand_change_nothing(boundary, weighted, library):
    A, y, z = case(boundary=boundary, weighted=weighted, library=library)
    expected = masked_solve(A, y, 0.1, z=z, tol=1e-6)
    data = masked_data(A, y)
    before = get(data).copy()
    found = masked_solve(A, y, 0.1, z=z, data=data, tol=1e-6)
    assert found.n_iter == expected.n_iter
    np.testing.assert_array_equal(get(found.spectrum), get(expected.spectrum))
    np.testing.assert_array_equal(get(data), before)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_centre_is_a_pull_of_rho_times_it(boundary, library):
    A, y, z = case(boundary=boundary, lead=(2,), library=library)
    expected = masked_solve(A, y, 0.1, z=z, tol=1e-11)
    pull = 0.1 * A.transform(z)
    before = get(pull).copy()
    found = masked_solve(A, y, 0.1, pull=pull, tol=1e-11)
    np.testing.assert_allclose(
        get(A.image(found.spectrum)), get(A.image(expected.spectrum)), atol=1e-9
    )
    np.testing.assert_array_equal(get(pull), before)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_a_pull_of_any_kind_leads_where_the_gradient_vanishes(shape, size, boundary, weighted):
    A, y, z = case(shape, size, boundary, weighted)
    # A penalty over frequencies, as of a gradient, and a pull that is no multiple of it.
    rho = 0.01 + A.power * 0.02
    found = masked_solve(A, y, rho, pull=A.transform(z), tol=1e-11, n_iter=500)
    x = A.image(found.spectrum)
    w = 1 if A.weights is None else A.weights
    slope = A.adjoint(w * (A(x) - y)) + A.image(rho * found.spectrum) - z
    # With a zero boundary only what lies in the frame is free.
    slope = A.crop(slope) if boundary == "zero" else slope
    assert np.abs(slope).max() < 1e-7


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_start_may_be_an_image_or_its_spectrum(boundary, library):
    A, y, z = case(boundary=boundary, library=library)
    first = z + 1
    spectrum = A.transform(first)
    before = get(first).copy(), get(spectrum).copy()
    one = masked_solve(A, y, 0.1, z=z, start=first, tol=0, n_iter=3)
    other = masked_solve(A, y, 0.1, z=z, start=spectrum, tol=0, n_iter=3)
    np.testing.assert_allclose(get(one.spectrum), get(other.spectrum), atol=1e-10)
    assert one.n_iter == other.n_iter == 3
    np.testing.assert_array_equal(get(first), before[0])
    np.testing.assert_array_equal(get(spectrum), before[1])


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_one_start_serves_a_whole_batch(boundary):
    A, y, z = case(lead=(3,), boundary=boundary)
    for start in (z[0], A.transform(z[0])):
        found = masked_solve(A, y, 0.1, start=start, tol=1e-10)
        np.testing.assert_allclose(
            A.image(found.spectrum), A.prox(0 * z, y, 0.1, tol=1e-11), atol=1e-7
        )


def test_the_solution_is_not_the_starts_memory():
    A, y, z = case()
    start = A.transform(z)
    found = masked_solve(A, y, 0.1, start=start, n_iter=0)
    assert not np.shares_memory(found.spectrum, start)


def test_threads_do_not_show_and_sums_keep_their_order(monkeypatch):
    A, y, z = case((64, 63), (5, 4))
    expected = masked_solve(A, y, 0.01, z=z, tol=0, n_iter=12)
    monkeypatch.setattr(deconv.operators.masked, "PIECE", 100)
    before = get_threads()
    set_threads(2)
    try:
        runs = [masked_solve(A, y, 0.01, z=z, tol=0, n_iter=12).spectrum for _ in range(20)]
    finally:
        set_threads(before)
    np.testing.assert_allclose(runs[0], expected.spectrum, atol=1e-9)
    for run in runs[1:]:
        np.testing.assert_array_equal(run, runs[0])
