"""What StridedBlur inverts: against dense matrices, conjugate gradients, float64 and autograd."""

import numpy as np
import pytest
from helpers import LIBRARIES, get, put, random_psf
from scipy.sparse.linalg import LinearOperator, cg
from test_strided_blur import BOUNDARIES, DENSE, STRIDES, case, coarse_grid, dense

from deconv.operators import StridedBlur, filled_solve, nesterov


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize(("shape", "size"), DENSE)
def test_solve_is_the_dense_inverse(shape, size, stride, boundary):
    A, rng = case(shape, size, stride, boundary)
    _, M = dense(A)
    rhs, z = rng.normal(size=(2, *A.domain))
    v = rng.normal(size=coarse_grid(A)[0])
    for rho in (1.0, 1e-3):
        matrix = M.T @ M + rho * np.eye(z.size)
        expected = np.linalg.solve(matrix, rhs.ravel())
        tolerance = 1e-13 / rho
        np.testing.assert_allclose(A.solve(rhs, rho).ravel(), expected, atol=tolerance)
        if stride > 1:
            expected = np.linalg.solve(matrix, M.T @ v.ravel() + rho * z.ravel())
            found = A.image(A.fit(A.transform(z), v, rho)).ravel()
            np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize(("shape", "size"), DENSE)
def test_prox_and_filled_steps_reach_the_dense_minimiser(shape, size, stride, boundary, weighted):
    A, rng = case(shape, size, stride, boundary, weighted=weighted)
    F, _ = dense(A)
    y, z, start = rng.random(shape), *rng.random((2, *A.domain))
    w = np.ones(y.size) if A.weights is None else A.weights.ravel()
    matrix = F.T @ (w[:, None] * F) + 0.1 * np.eye(z.size)
    x = np.linalg.solve(matrix, F.T @ (w * y.ravel()) + 0.1 * z.ravel()).reshape(A.domain)
    for first in (None, start, x):
        found = A.prox(z, y, 0.1, start=first, tol=1e-13, n_iter=400)
        np.testing.assert_allclose(found, x, atol=1e-9)
        found = filled_solve(A, y, 0.1, z, momentum=(0.7,) * 200, start=first)
        np.testing.assert_allclose(found, x, atol=1e-9)


@pytest.mark.parametrize(("shape", "stride"), [((40, 33), 2), ((21, 24), 3), ((8, 9, 7), 2)])
def test_solve_and_prox_agree_with_scipys_conjugate_gradients(shape, stride):
    A, rng = case(shape, (7, 6, 5)[: len(shape)], stride, weighted=True)
    y, z, rhs, rho = rng.random(shape), *rng.random((2, *A.domain)), 0.05
    n = z.size

    def iterated(normal, b):
        def product(v):
            return normal(v.reshape(A.domain)).ravel() + rho * v

        matrix = LinearOperator((n, n), product, dtype=float)
        x, failed = cg(matrix, b.ravel(), rtol=1e-12, maxiter=2000)
        assert not failed
        return x.reshape(A.domain)

    expected = iterated(lambda v: A.correlate(A.blur(v)), rhs)
    np.testing.assert_allclose(A.solve(rhs, rho), expected, atol=1e-9)
    expected = iterated(lambda v: A.adjoint(A.weights * A(v)), A.adjoint(A.weights * y) + rho * z)
    np.testing.assert_allclose(A.prox(z, y, rho, tol=1e-12, n_iter=300), expected, atol=1e-8)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("stride", [2, 3])
def test_float32_at_a_small_penalty(stride, boundary, library):
    rho, shape = 1e-6, (32, 30)
    A, rng = case(shape, (5, 4), stride, boundary)
    B = StridedBlur(put(A.psf.astype("f"), library), shape, stride, boundary=boundary)
    z = A.embed(rng.random(shape))
    v = A.blur(z) + 0.01 * rng.normal(size=A.coarse.domain)
    Z, V = put(z.astype("f"), library), put(v.astype("f"), library)

    def rms(found, x):
        assert str(found.dtype).endswith("float32")
        return np.sqrt(np.mean((get(found) - x) ** 2))

    x = A.image(A.fit(A.transform(z), v, rho))
    assert rms(B.image(B.fit(B.transform(Z), V, rho)), x) < 1e-5 * np.ptp(x)
    # What the blur does not see of a right-hand side has few digits left after rounding; in its
    # spectrum, as in `filled_solve`, more than in the image. What the blur sees is right.
    rhs = A.correlate(v) + rho * z
    found = B.solve(put(rhs.astype("f"), library), rho)
    assert rms(found, x) < 0.05
    assert rms(B.blur(found), A.blur(x)) < 3e-5
    if A.exact:
        assert rms(B.prox(Z, V, rho), x) < 1e-5 * np.ptp(x)
        assert rms(filled_solve(B, V, rho, Z), x) < 5e-3


@pytest.mark.parametrize("library", LIBRARIES)
def test_prox_in_float32_with_unobserved_pixels(library):
    A, rng = case((32, 30), (5, 4), 2, weighted=True)
    weights = put(A.weights.astype("f"), library)
    B = StridedBlur(put(A.psf.astype("f"), library), (32, 30), 2, weights=weights)
    z = A.embed(rng.random((32, 30)))
    y = A(z) + 0.01 * rng.normal(size=(32, 30))
    Z, Y = put(z.astype("f"), library), put(y.astype("f"), library)
    for rho, tolerance in ((1e-2, 3e-5), (1e-4, 2e-3)):
        x = A.prox(z, y, rho, tol=1e-12, n_iter=1000)
        found = B.prox(Z, Y, rho, tol=1e-6, n_iter=400)
        np.testing.assert_allclose(get(found), x, rtol=0, atol=tolerance)


def test_what_was_not_seen_of_the_centre_stays():
    A, rng = case((12, 11), (1, 1), 2)
    z, y = rng.random(A.domain), rng.random(A.shape)
    x = A.prox(z, y, 1e-9)
    np.testing.assert_allclose(A(x), y, atol=1e-8)
    between = np.ones(A.frame.shape, bool)
    between[::2, ::2] = False
    np.testing.assert_allclose(A.crop(x)[between], A.crop(z)[between], atol=1e-12)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("stride", STRIDES)
def test_one_kernel_and_one_penalty_each(stride, library):
    A, rng = case((9, 8), (4, 3), stride, lead=(2, 1), weighted=True)
    B = StridedBlur(put(A.psf, library), (9, 8), stride, weights=put(A.weights, library))
    y, z = rng.random((2, 3, 9, 8)), rng.random((2, 3, *A.domain))
    rho = np.array([0.05, 2.0])
    Y, Z, R = put(y, library), put(z, library), put(rho, library)
    together = {
        "A": B(Z),
        "adjoint": B.adjoint(Y),
        "solve": B.solve(Z, R),
        "prox": B.prox(Z, Y, R, tol=1e-11),
        "filled": filled_solve(B, Y, R, Z, momentum=nesterov(4)),
        "coverage": B.coverage,
    }
    for i, r in enumerate(rho):
        C = StridedBlur(A.psf[i, 0], (9, 8), stride, weights=A.weights)
        one = {
            "A": C(z[i]),
            "adjoint": C.adjoint(y[i]),
            "solve": C.solve(z[i], float(r)),
            "prox": C.prox(z[i], y[i], float(r), tol=1e-11),
            "filled": filled_solve(C, y[i], float(r), z[i], momentum=nesterov(4)),
            "coverage": C.coverage[None],
        }
        for name, expected in one.items():
            found = get(together[name])[i]
            np.testing.assert_allclose(found, expected, atol=1e-8, err_msg=name)


@pytest.mark.skipif("torch" not in LIBRARIES, reason="no torch")
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("stride", STRIDES)
def test_gradients(stride, boundary):
    import torch
    from torch.autograd import gradcheck

    rng = np.random.default_rng(0)
    psf = torch.tensor(random_psf(rng, (3, 2), (2, 1)), requires_grad=True)
    weights = torch.tensor(rng.random((3, 4)))

    def blur(kernel, weights=weights):
        return StridedBlur(kernel, (3, 4), stride, boundary=boundary, weights=weights)

    x = torch.tensor(rng.random((2, 1, *blur(psf).domain)), requires_grad=True)
    y = torch.tensor(rng.random((2, 1, 3, 4)), requires_grad=True)
    rho = torch.tensor([0.5, 0.8], dtype=torch.float64, requires_grad=True)
    # The fast mode compares one random projection of the Jacobian, not each of its entries.
    for weighted in (weights, None):

        def filled(k, v, r, u, weighted=weighted):
            return filled_solve(blur(k, weighted), u, r, v, momentum=(0.3, 0.5))

        assert gradcheck(filled, (psf, x, rho, y), fast_mode=True)
    assert gradcheck(lambda k, v: blur(k)(v), (psf, x), fast_mode=True)
    assert gradcheck(lambda k, v, r: blur(k).solve(v, r), (psf, x, rho), fast_mode=True)
    assert gradcheck(lambda u: blur(psf.detach()).embed(u), (y,), fast_mode=True)
    assert gradcheck(
        lambda k, v, r, u: blur(k).prox(v, u, r, tol=1e-11, n_iter=60),
        (psf, x, rho, y),
        fast_mode=True,
    )
    assert gradcheck(lambda v: blur(psf.detach()).solve(v, rho.detach()), (x,))
