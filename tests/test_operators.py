"""Blur against scipy, dense matrices and its own adjoint: over shapes, dtypes, array libraries."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from helpers import BOUNDARIES, LIBRARIES, get, picture, put, random_psf, scipy_blur
from hypothesis import given
from hypothesis import strategies as st

from deconv import Blur
from deconv.operators import observe

DTYPES = {"float32": 1e-6, "float64": 1e-12}
# Every parity of image and psf along every axis; 7, 11 and 13 are prime.
IMAGES = {1: [12, 13], 2: [8, 11], 3: [6, 7]}
PSFS = {1: [1, 3, 4, 12], 2: [3, 4], 3: [2, 3]}


def sizes(ndim):
    images = list(itertools.product(IMAGES[ndim], repeat=ndim))
    psfs = list(itertools.product(PSFS[ndim], repeat=ndim))
    extremes = [((5,) * ndim, (1,) * ndim), ((5,) * ndim, (5,) * ndim), ((6,) * ndim, (6,) * ndim)]
    return [*itertools.product(images, psfs), *extremes]


def dot(a, b):
    return float(np.vdot(get(a).astype(float), get(b).astype(float)))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_adjoint(ndim, dtype, library, boundary):
    rng = np.random.default_rng(0)
    for shape, size in sizes(ndim):
        A = Blur(put(random_psf(rng, size, dtype=dtype), library), shape, boundary=boundary)
        x = put(rng.random(A.domain).astype(dtype), library)
        y = put(rng.random(shape).astype(dtype), library)
        blurred, back = A(x), A.adjoint(y)
        assert blurred.shape == shape and back.shape == A.domain
        assert blurred.dtype == x.dtype == back.dtype
        left, right = dot(blurred, y), dot(x, back)
        assert abs(left - right) < DTYPES[dtype] * abs(left), (shape, size)
        circular = dot(A.blur(x), x) - dot(x, A.correlate(x))
        assert abs(circular) < DTYPES[dtype] * dot(x, x), (shape, size)


# Leading axes of the image and of the psf: batches, channels, one psf each or for all.
LEADING = [((), ()), ((3,), ()), ((3,), (1,)), ((3,), (3,)), ((1,), (3,)), ((), (3,))]
LEADING += [((2, 3), psf) for psf in [(3,), (2, 1), (1, 3), (2, 3)]]


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("image", "psf"), LEADING)
def test_batches_and_channels(image, psf, dtype, library, boundary):
    rng = np.random.default_rng(1)
    shape, size = (9, 8), (4, 3)
    kernels = random_psf(rng, size, psf, dtype)
    A = Blur(put(kernels, library), shape, boundary=boundary)
    lead = np.broadcast_shapes(image, psf)
    x = rng.random((*image, *A.domain)).astype(dtype)
    y = rng.random((*lead, *shape)).astype(dtype)
    blurred = get(A(put(x, library)))
    assert blurred.shape == y.shape
    left, right = (
        dot(blurred, y),
        dot(put(np.broadcast_to(x, (*lead, *A.domain)), "numpy"), A.adjoint(put(y, library))),
    )
    assert abs(left - right) < DTYPES[dtype] * left
    each = np.broadcast_to(kernels, (*lead, *size))
    every = np.broadcast_to(x, (*lead, *A.domain))
    for index in np.ndindex(*lead):
        expected = scipy_blur(each[index], every[index], shape, boundary)
        np.testing.assert_allclose(blurred[index], expected, rtol=10 * DTYPES[dtype])


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_agreement_with_scipy(ndim, library, boundary):
    rng = np.random.default_rng(2)
    for shape, size in sizes(ndim):
        psf = random_psf(rng, size)
        A = Blur(put(psf, library), shape, boundary=boundary)
        x = rng.normal(size=A.domain)
        expected = scipy_blur(psf, x, shape, boundary)
        np.testing.assert_allclose(
            get(A(put(x, library))), expected, rtol=0, atol=1e-13, err_msg=f"{shape} {size}"
        )


def test_agreement_with_scipy_in_their_own_words():
    rng = np.random.default_rng(3)
    psf = random_psf(rng, (4, 5))
    scene = rng.random((23, 24))
    valid = scipy.signal.convolve(scene, psf, mode="valid")
    A = Blur(psf, valid.shape)
    x = np.zeros(A.domain)
    x[:23, :24] = scene
    np.testing.assert_allclose(A(x), valid, atol=1e-14)
    wrapped = scipy.ndimage.convolve(scene, psf, mode="wrap")
    A = Blur(psf, scene.shape, boundary="periodic")
    np.testing.assert_allclose(A(scene), wrapped, atol=1e-14)
    # What is dark beyond the frame may still hold anything on the domain.
    black = scipy.ndimage.convolve(scene, psf, mode="constant", cval=0)
    A = Blur(psf, scene.shape, boundary="zero")
    x = rng.random(A.domain)
    x[:23, :24] = scene
    np.testing.assert_allclose(A(x), black, atol=1e-14)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_nothing_shifts_by_a_pixel(ndim, boundary):
    for shape, size in sizes(ndim):
        delta = np.zeros(size)
        delta[tuple(k // 2 for k in size)] = 1
        A = Blur(delta, shape, boundary=boundary)
        x = np.random.default_rng(0).random(A.domain)
        y = np.random.default_rng(1).random(shape)
        np.testing.assert_allclose(A(x), A.crop(x), atol=1e-14, err_msg=f"{shape} {size}")
        np.testing.assert_allclose(A.crop(A.adjoint(y)), y, atol=1e-14)
        np.testing.assert_allclose(A.crop(A.embed(y)), y, atol=1e-14)
        np.testing.assert_allclose(2 * A.solve(A.correlate(x), 1.0), x, atol=1e-13)
        # A point in the frame lands where the psf's brightest pixel puts it, on every axis.
        if all(k > 2 and n > 2 * k for k, n in zip(size, shape, strict=True)):
            for axis in range(ndim):
                at = [k // 2 for k in size]
                at[axis] += 1 if size[axis] % 2 else -1
                shifting = np.zeros(size)
                shifting[tuple(at)] = 1
                B = Blur(shifting, shape, boundary=boundary)
                point = np.zeros(shape)
                middle = [n // 2 for n in shape]
                point[tuple(middle)] = 1
                landed = np.argwhere(B(B.frame.pad(point)) > 0.5)
                middle[axis] += at[axis] - size[axis] // 2
                assert landed.tolist() == [middle]


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_operator_is_convolution_not_correlation(boundary):
    psf = np.zeros((3, 3))
    psf[1, 2] = 1
    A = Blur(psf, (6, 6), boundary=boundary)
    x = np.zeros((6, 6))
    x[3, 3] = 1
    y = A(A.frame.pad(x))
    assert np.argwhere(y > 0.5).tolist() == [[3, 4]]


# --- dense matrices -------------------------------------------------------------------------------

DENSE = [((9,), (4,)), ((10,), (3,)), ((5, 6), (3, 2)), ((6, 5), (2, 4)), ((3, 4, 2), (2, 3, 1))]


def dense(A):
    """Matrices of the physical blur and of the circular one, column by column."""
    n = int(np.prod(A.domain))
    eye = np.eye(n).reshape(n, *A.domain)
    return A(eye).reshape(n, -1).T, A.blur(eye).reshape(n, n).T


def dense_penalty(A, rho):
    """The penalty, a number or a half spectrum, as a matrix."""
    n = int(np.prod(A.domain))
    if np.ndim(rho) == 0:
        return rho * np.eye(n)
    axes = tuple(range(-A.ndim, 0))
    spectra = np.fft.rfftn(np.eye(n).reshape(n, *A.domain), axes=axes)
    return np.fft.irfftn(rho * spectra, A.domain, axes).reshape(n, n).T


def penalties(A, rng):
    """A number, and a positive half spectrum that belongs to a real, even kernel."""
    axes = np.meshgrid(
        *[np.fft.fftfreq(n) for n in A.domain[:-1]], np.fft.rfftfreq(A.domain[-1]), indexing="ij"
    )
    return {"number": 0.3, "half spectrum": 0.05 + sum(1 - np.cos(2 * np.pi * f) for f in axes)}


def dense_prox(A, weights, z, y, rho):
    """The minimiser by linear algebra; a zero boundary leaves only the frame's pixels free."""
    blur, _ = dense(A)
    penalty = dense_penalty(A, rho)
    w = np.ones(y.size) if weights is None else weights.ravel()
    free = A.frame.pad(np.ones(A.shape)).ravel() > 0 if A.boundary == "zero" else slice(None)
    blur, penalty = blur[:, free], penalty[free][:, free]
    x = np.zeros(z.size)
    rhs = blur.T @ (w * y.ravel()) + penalty @ z.ravel()[free]
    x[free] = np.linalg.solve(blur.T @ (w[:, None] * blur) + penalty, rhs)
    return x.reshape(A.domain)


def lit(A, z):
    """`z`, black beyond the frame where the boundary is."""
    return A.frame.pad(A.crop(z)) if A.boundary == "zero" else z


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "size"), DENSE)
def test_adjoint_is_the_transposed_matrix(shape, size, boundary):
    A = Blur(random_psf(np.random.default_rng(0), size), shape, boundary=boundary)
    blur, circular = dense(A)
    n = blur.shape[0]
    adjoint = A.adjoint(np.eye(n).reshape(n, *shape)).reshape(n, -1).T
    np.testing.assert_allclose(adjoint, blur.T, atol=1e-15)
    m = circular.shape[0]
    correlate = A.correlate(np.eye(m).reshape(m, *A.domain)).reshape(m, m).T
    np.testing.assert_allclose(correlate, circular.T, atol=1e-15)


@pytest.mark.parametrize("penalty", ["number", "half spectrum"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "size"), DENSE)
def test_solve_is_the_dense_inverse(shape, size, boundary, penalty):
    rng = np.random.default_rng(0)
    A = Blur(random_psf(rng, size), shape, boundary=boundary)
    rho = penalties(A, rng)[penalty]
    _, circular = dense(A)
    rhs = rng.normal(size=A.domain)
    expected = np.linalg.solve(circular.T @ circular + dense_penalty(A, rho), rhs.ravel())
    np.testing.assert_allclose(A.solve(rhs, rho).ravel(), expected, atol=1e-12)
    spectrum = A.solve_spectrum(A.transform(rhs), rho)
    np.testing.assert_allclose(A.image(spectrum).ravel(), expected, atol=1e-12)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("penalty", ["number", "half spectrum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "size"), DENSE)
def test_prox_is_the_dense_minimiser(shape, size, boundary, weighted, penalty, library):
    rng = np.random.default_rng(4)
    weights = None
    if weighted:
        weights = rng.random(shape)
        weights[rng.random(shape) < 0.2] = 0
    psf = random_psf(rng, size)
    A = Blur(psf, shape, boundary=boundary, weights=weights)
    z, y = lit(A, rng.normal(size=A.domain)), rng.normal(size=shape)
    rho = penalties(A, rng)[penalty]
    expected = dense_prox(A, weights, z, y, rho)
    B = Blur(
        put(psf, library),
        shape,
        boundary=boundary,
        weights=None if weights is None else put(weights, library),
    )
    given = rho if penalty == "number" else put(rho, library)
    for start in (None, put(rng.normal(size=A.domain), library)):
        found = B.prox(put(z, library), put(y, library), given, start=start, tol=1e-13, n_iter=400)
        np.testing.assert_allclose(get(found), expected, atol=1e-9)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_prox_ignores_what_a_zero_boundary_declares_black(boundary):
    rng = np.random.default_rng(0)
    A = Blur(random_psf(rng, (3, 4)), (7, 8), boundary=boundary)
    z, y = rng.normal(size=A.domain), rng.normal(size=A.shape)
    x = A.prox(z, y, 0.2, tol=1e-12)
    if boundary == "zero":
        np.testing.assert_allclose(x, A.frame.pad(A.crop(x)), atol=1e-13)
        np.testing.assert_allclose(x, dense_prox(A, None, lit(A, z), y, 0.2), atol=1e-9)
    else:
        np.testing.assert_allclose(x, dense_prox(A, None, z, y, 0.2), atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("shape", "size"), [((64, 51), (9, 8)), ((300,), (31,)), ((12, 15, 14), (5, 4, 3))]
)
def test_prox_agrees_with_scipys_conjugate_gradients(shape, size, boundary, weighted):
    from scipy.sparse.linalg import LinearOperator, cg

    rng = np.random.default_rng(5)
    psf = random_psf(rng, size)
    weights = (rng.random(shape) > 0.1) * rng.random(shape) if weighted else np.ones(shape)
    A = Blur(psf, shape, boundary=boundary, weights=weights if weighted else None)
    z, y = lit(A, rng.random(A.domain)), rng.random(shape)
    rho, domain, n = 0.02, A.domain, int(np.prod(A.domain))
    frame = tuple(slice(m) for m in shape)
    flipped = np.flip(psf)

    def blur(x):
        if boundary == "periodic":
            return scipy.ndimage.convolve(x, psf, mode="wrap")
        if boundary == "zero":
            return scipy.ndimage.convolve(x[frame], psf, mode="constant")
        whole = tuple(slice(m + k - 1) for m, k in zip(shape, size, strict=True))
        return scipy.signal.fftconvolve(x[whole], psf, mode="valid")

    def transpose(r):
        if boundary == "periodic":
            return scipy.ndimage.correlate(r, psf, mode="wrap")
        full = scipy.signal.fftconvolve(r, flipped, mode="full")
        if boundary == "zero":
            # scipy's "full" begins where the flipped psf first touches the frame.
            origin = [k - 1 - k // 2 for k in size]
            full = full[tuple(slice(o, o + m) for o, m in zip(origin, shape, strict=True))]
        out = np.zeros(domain)
        out[tuple(slice(m) for m in full.shape)] = full
        return out

    def free(x):
        out = np.zeros(domain)
        out[frame] = x[frame]
        return out if boundary == "zero" else x

    def normal(v):
        x = v.reshape(domain)
        return free(transpose(weights * blur(x)) + rho * x).ravel()

    rhs = free(transpose(weights * y) + rho * z).ravel()
    expected, failed = cg(LinearOperator((n, n), matvec=normal), rhs, rtol=1e-11, maxiter=3000)
    assert not failed
    found = A.prox(z, y, rho, tol=1e-10, n_iter=1000)
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-8)
    # The default tolerance is a good one.
    coarse = A.prox(z, y, rho)
    assert np.abs(coarse.ravel() - expected).max() < 1e-3 * np.abs(expected).max()


# --- rho, fill, embed, crop -----------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_form_of_rho(library, dtype):
    rng = np.random.default_rng(0)
    A = Blur(put(random_psf(rng, (3, 3), dtype=dtype), library), (8, 10), boundary="periodic")
    x = rng.random((2, 3, 8, 10)).astype(dtype)
    rhs, z, y = (put(x, library) for _ in range(3))
    rhos = np.array([0.1, 2.0], dtype)
    each = [get(A.solve(put(x[i], library), float(rhos[i]))) for i in range(2)]
    half = np.ones((8, 6), dtype)
    forms = [put(rhos, library), put(rhos[:, None, None, None], library)]
    forms.append(put(rhos[:, None, None, None] * half, library))
    forms.append(put(np.repeat(rhos, 3).reshape(2, 3, 1, 1), library))
    forms.append(put(np.repeat(rhos, 3).reshape(2, 3), library))
    for rho in forms:
        found = A.solve(rhs, rho)
        assert found.dtype == rhs.dtype
        np.testing.assert_allclose(get(found), each, rtol=50 * DTYPES[dtype])
        near = A.prox(z, y, rho)
        assert near.dtype == rhs.dtype and near.shape == rhs.shape
    for rho in (2, 2.0, put(np.array(2.0, dtype), library)):
        found = A.solve(rhs, rho)
        assert found.dtype == rhs.dtype
        np.testing.assert_allclose(get(found)[1], each[1], rtol=50 * DTYPES[dtype])


@pytest.mark.parametrize("library", LIBRARIES)
def test_rho_never_raises_the_precision(library):
    rng = np.random.default_rng(0)
    A = Blur(put(random_psf(rng, (3, 3), dtype="float32"), library), (8, 10))
    rhs = put(rng.random((2, *A.domain)).astype("float32"), library)
    expected = get(A.solve(rhs, 0.5))
    for rho in (np.float64(0.5), np.float32(0.5), put(np.array([0.5, 0.5]), library)):
        found = A.solve(rhs, rho)
        assert found.dtype == rhs.dtype
        np.testing.assert_allclose(get(found), expected, rtol=1e-5)


@pytest.mark.parametrize("rho", [-1, -1e-3, float("nan")])
def test_a_negative_penalty_is_refused(rho):
    A = Blur(np.ones((1, 1)), (4, 4), boundary="periodic")
    with pytest.raises(ValueError, match="rho="):
        A.solve(np.ones((4, 4)), rho)


def test_a_penalty_of_another_shape_is_refused():
    A = Blur(np.ones((1, 1)), (4, 4), boundary="periodic")
    with pytest.raises(ValueError, match=r"rho has shape \(3,\).*\(2,\).*half spectrum \(4, 3\)"):
        A.solve(np.ones((2, 4, 4)), np.ones(3))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("lead", [(), (2,)])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("kind", [None, "hard", "soft"])
def test_fill_is_data_where_seen_and_prediction_where_not(kind, boundary, lead, library):
    rng = np.random.default_rng(0)
    shape = (9, 8)
    weights = {None: None, "hard": (rng.random(shape) > 0.3) * 1.0, "soft": rng.random(shape)}[kind]
    psf = random_psf(rng, (4, 3))
    A = Blur(
        put(psf, library),
        shape,
        boundary=boundary,
        weights=None if weights is None else put(weights, library),
    )
    y, x = rng.random((*lead, *shape)), rng.random((*lead, *A.domain))
    found = get(A.fill(put(y, library), put(x, library)))
    expected = get(A.blur(put(lit(A, x), library))).copy()
    w = np.ones(shape) if weights is None else weights
    seen = (..., *(slice(o, o + n) for o, n in zip(A.frame.origin, shape, strict=True)))
    expected[seen] = w * y + (1 - w) * expected[seen]
    np.testing.assert_allclose(found, expected, atol=1e-14)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_mix_fills_with_a_prediction_at_hand(boundary):
    rng = np.random.default_rng(0)
    A = Blur(random_psf(rng, (4, 3)), (9, 8), boundary=boundary, weights=rng.random((9, 8)))
    y, x = rng.random((9, 8)), lit(A, rng.random(A.domain))
    np.testing.assert_array_equal(A.mix(y, A.blur(x)), A.fill(y, x))


@pytest.mark.parametrize("weighted", [False, True])
def test_filling_and_solving_again_and_again_is_the_prox(weighted):
    rng = np.random.default_rng(0)
    weights = rng.random((12, 11)) if weighted else None
    A = Blur(random_psf(rng, (3, 4)), (12, 11), weights=weights)
    y, z = rng.random(A.shape), rng.random(A.domain)
    x = A.embed(y)
    for _ in range(2000):
        x = A.solve(A.correlate(A.fill(y, x)) + 0.1 * z, 0.1)
    np.testing.assert_allclose(x, A.prox(z, y, 0.1, tol=1e-12), atol=1e-8)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_embed_keeps_the_frame_and_crop_undoes_it(ndim, boundary, library):
    rng = np.random.default_rng(0)
    for shape, size in sizes(ndim)[::3]:
        A = Blur(put(random_psf(rng, size), library), shape, boundary=boundary)
        y = rng.random((2, *shape))
        found = A.embed(put(y, library))
        assert found.shape == (2, *A.domain)
        np.testing.assert_array_equal(get(A.crop(found)), y)
        if boundary == "zero":
            assert np.isclose(get(found).sum(), y.sum())
        else:
            assert get(found).min() >= y.min() - 1e-12 and get(found).max() <= y.max() + 1e-12


@pytest.mark.parametrize("size", [(15, 15), (16, 31), (64, 5)])
@pytest.mark.parametrize("name", ["camera", "coins", "ramp"])
def test_embedded_pictures_meet_themselves(name, size):
    y = np.add.outer(np.arange(64.0), 2 * np.arange(64)) if name == "ramp" else picture(name, 64)
    A = Blur(np.full(size, 1 / np.prod(size)), y.shape)
    x = A.embed(y)
    for axis in (0, 1):
        inside = np.abs(np.diff(y, axis=axis)).max()
        around = np.abs(np.roll(x, 1, axis) - x).max()
        # A ramp must climb down again within the margin.
        slope = np.ptp(y) / (x.shape[axis] - y.shape[axis]) * np.pi / 2
        assert around < 1.05 * max(inside, slope) + inside


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_flat_picture_stays_flat(ndim, boundary):
    rng = np.random.default_rng(0)
    for shape, size in sizes(ndim)[::5]:
        A = Blur(random_psf(rng, size), shape, boundary=boundary)
        if boundary != "zero":
            np.testing.assert_allclose(A(A.embed(np.full(shape, 3.0))), 3, atol=1e-13)
        # Periodic blur keeps the flux; an image black beyond the frame can only lose some.
        x = rng.random(A.domain)
        kept = A(x).sum() / A.crop(x).sum()
        if boundary == "periodic":
            assert np.isclose(kept, 1, atol=1e-13)
        elif boundary == "zero":
            assert kept <= 1 + 1e-13


# --- the operator as a value ----------------------------------------------------------------------


def test_reweighted_shares_the_spectra():
    rng = np.random.default_rng(0)
    A = Blur(random_psf(rng, (3, 3)), (8, 9))
    power = A.power
    weights = rng.random((8, 9))
    B = A.reweighted(weights)
    assert A.weights is None
    np.testing.assert_array_equal(B.weights, weights)
    assert B.otf is A.otf and B.power is power
    assert B.reweighted(None).weights is None
    assert (B.shape, B.domain, B.boundary) == (A.shape, A.domain, A.boundary)
    y, z = rng.random((8, 9)), rng.random(A.domain)
    C = Blur(A.psf, (8, 9), weights=weights)
    np.testing.assert_array_equal(B.prox(z, y, 0.1), C.prox(z, y, 0.1))
    with pytest.raises(ValueError, match="weights"):
        A.reweighted(-weights)


def test_the_operator_cannot_change():
    psf, weights = np.full((3, 3), 1 / 9), np.ones((8, 8))
    A = Blur(psf, (8, 8), weights=weights)
    x = np.random.default_rng(0).random(A.domain)
    y = np.random.default_rng(1).random(A.shape)
    before = A(x), A.fill(y, x)
    psf[0, 0], weights[...] = 7, 0
    assert A.psf[0, 0] == 1 / 9
    assert A.weights.min() == 1
    np.testing.assert_array_equal(A(x), before[0])
    np.testing.assert_array_equal(A.fill(y, x), before[1])
    for name in ("psf", "shape", "boundary", "weights", "otf", "domain"):
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
            setattr(A, name, None)


def test_repr_says_what_it_is():
    text = repr(Blur(np.full((3, 5), 1 / 15), (64, 60)))
    assert text == (
        "Blur(psf (3, 5), shape=(64, 60), boundary='unknown', domain=(66, 64), weights=None)"
    )
    A = Blur(np.full((3, 5), 1 / 15), (64, 60), boundary="periodic", weights=np.ones((64, 60)))
    assert "boundary='periodic'" in repr(A) and "weights=given" in repr(A)
    assert (A.ndim, A.domain, A.exact) == (2, (64, 60), False)
    assert A.reweighted(None).exact


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("weighted", [False, True])
def test_inputs_are_never_written_to(boundary, weighted):
    rng = np.random.default_rng(0)
    weights = put(rng.random((8, 9)), "numpy") if weighted else None
    # `put` makes its arrays read-only: writing to them raises.
    A = Blur(put(random_psf(rng, (3, 4)), "numpy"), (8, 9), boundary=boundary, weights=weights)
    x, z = (put(rng.random((2, *A.domain)), "numpy") for _ in range(2))
    y = put(rng.random((2, 8, 9)), "numpy")
    rho = put(rng.random((2,)), "numpy")
    spectrum = put(np.fft.rfftn(x, axes=(-2, -1)), "numpy")
    A(x), A.adjoint(y), A.blur(x), A.correlate(x), A.crop(x), A.embed(y), A.fill(y, x)
    A.solve(x, rho), A.prox(z, y, rho), A.prox(z, y, rho, start=x)
    A.solve_spectrum(spectrum, rho), A.image(spectrum), A.transform(x)


def test_out_and_spectrum_are_memory_to_reuse():
    rng = np.random.default_rng(0)
    A = Blur(random_psf(rng, (3, 4)), (8, 9))
    x = rng.random((2, *A.domain))
    out, spectrum = A.workspace((2,))
    expected = A.blur(x), A.correlate(x)
    assert A.blur(x, out=out, spectrum=spectrum) is out
    np.testing.assert_array_equal(out, expected[0])
    assert A.correlate(x, out=out, spectrum=spectrum) is out
    np.testing.assert_array_equal(out, expected[1])
    if "torch" in LIBRARIES:
        B = Blur(put(A.psf, "torch"), (8, 9))
        assert B.workspace(()) == (None, None)


@pytest.mark.parametrize("library", [name for name in LIBRARIES if name != "numpy"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_libraries_agree_with_numpy(library, dtype, tolerance, boundary):
    rng = np.random.default_rng(0)
    psf, weights = random_psf(rng, (5, 4), (2, 1), dtype), rng.random((21, 18)).astype(dtype)
    A = Blur(psf, (21, 18), boundary=boundary, weights=weights)
    B = Blur(put(psf, library), (21, 18), boundary=boundary, weights=put(weights, library))
    x, z = (rng.random((2, 3, *A.domain)).astype(dtype) for _ in range(2))
    y = rng.random((2, 3, 21, 18)).astype(dtype)
    X, Z, Y = (put(v, library) for v in (x, z, y))
    pairs = {
        "A(x)": (A(x), B(X)),
        "adjoint": (A.adjoint(y), B.adjoint(Y)),
        "blur": (A.blur(x), B.blur(X)),
        "correlate": (A.correlate(x), B.correlate(X)),
        "solve": (A.solve(x, 0.1), B.solve(X, 0.1)),
        "fill": (A.fill(y, x), B.fill(Y, X)),
        "embed": (A.embed(y), B.embed(Y)),
        "prox": (A.prox(z, y, 0.1, tol=0, n_iter=8), B.prox(Z, Y, 0.1, tol=0, n_iter=8)),
        "power": (A.power, B.power),
    }
    for name, (one, other) in pairs.items():
        assert str(other.dtype).endswith(dtype) or name == "power"
        scale = np.abs(one).max()
        np.testing.assert_allclose(get(other), one, rtol=0, atol=tolerance * scale, err_msg=name)


# --- gradients ------------------------------------------------------------------------------------


def torch_case(boundary, weighted=False, shape=(5, 4), size=(3, 2)):
    import torch

    rng = np.random.default_rng(0)
    psf = torch.tensor(random_psf(rng, size, (2, 1)), requires_grad=True)
    weights = torch.tensor(rng.random(shape)) if weighted else None
    domain = Blur(psf, shape, boundary=boundary).domain
    x = torch.tensor(rng.random((2, 1, *domain)), requires_grad=True)
    y = torch.tensor(rng.random((2, 1, *shape)), requires_grad=True)
    rho = torch.tensor([0.5, 0.8], dtype=torch.float64, requires_grad=True)

    def blur(kernel):
        return Blur(kernel, shape, boundary=boundary, weights=weights)

    return torch.autograd.gradcheck, blur, psf, x, y, rho


@pytest.mark.skipif("torch" not in LIBRARIES, reason="no torch")
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gradients_of_the_blur(boundary):
    gradcheck, blur, psf, x, y, rho = torch_case(boundary, weighted=True)
    assert gradcheck(lambda k, v: blur(k)(v), (psf, x))
    assert gradcheck(lambda k, v: blur(k).adjoint(v), (psf, y))
    assert gradcheck(lambda k, v, r: blur(k).solve(v, r), (psf, x, rho))
    assert gradcheck(lambda k, v, u: blur(k).fill(u, v), (psf, x, y))
    assert gradcheck(lambda v: blur(psf.detach()).embed(v), (y,))
    half = (0.5 + 0 * blur(psf).power).detach().requires_grad_()
    assert gradcheck(lambda v, r: blur(psf.detach()).solve(v, r), (x, half))


@pytest.mark.skipif("torch" not in LIBRARIES, reason="no torch")
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_of_the_prox(boundary, weighted):
    gradcheck, blur, psf, z, y, rho = torch_case(boundary, weighted, (4, 3), (2, 2))

    def prox(kernel, z, y, rho):
        return blur(kernel).prox(z, y, rho, tol=1e-11, n_iter=60)

    # The fast mode compares one random projection of the Jacobian, not each of its entries.
    assert gradcheck(prox, (psf, z, y, rho), fast_mode=True)


@pytest.mark.skipif("torch" not in LIBRARIES, reason="no torch")
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_gradient_of_the_blur_is_its_adjoint(boundary):
    import torch

    _, blur, psf, x, y, _ = torch_case(boundary)
    A = blur(psf.detach())
    (gradient,) = torch.autograd.grad((A(x) * y.detach()).sum(), x)
    np.testing.assert_allclose(get(gradient), get(A.adjoint(y)), atol=1e-15)


# --- properties, and what is refused --------------------------------------------------------------


@st.composite
def operators(draw):
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, (40, 14, 8)[ndim - 1])) for _ in range(ndim))
    size = tuple(draw(st.integers(1, n)) for n in shape)
    boundary = draw(st.sampled_from(BOUNDARIES))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return Blur(random_psf(rng, size), shape, boundary=boundary), rng


@given(operators())
def test_the_contract_holds_for_any_shape(case):
    A, rng = case
    x, z = rng.normal(size=(2, *A.domain))
    y = rng.normal(size=A.shape)
    assert np.isclose(np.vdot(A(x), y), np.vdot(x, A.adjoint(y)), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(A(x), scipy_blur(A.psf, x, A.shape, A.boundary), atol=1e-12)
    np.testing.assert_allclose(A(2 * x - 3 * z), 2 * A(x) - 3 * A(z), atol=1e-12)
    rhs = A.correlate(A.blur(x)) + 0.5 * x
    np.testing.assert_allclose(A.solve(rhs, 0.5), x, atol=1e-11)
    np.testing.assert_array_equal(A.crop(A.embed(y)), y)
    assert all(d >= n for d, n in zip(A.domain, A.shape, strict=True))
    # The minimiser's gradient vanishes.
    z = lit(A, z)
    x = A.prox(z, y, 0.5, tol=1e-12, n_iter=300)
    gradient = A.adjoint(A(x) - y) + 0.5 * (x - z)
    assert np.abs(gradient).max() < 1e-9


@given(operators(), st.integers(-5, 5))
def test_periodic_blur_commutes_with_shifts(case, shift):
    A, rng = case
    A = Blur(A.psf, A.shape, boundary="periodic")
    x = rng.normal(size=A.domain)
    for axis in range(-A.ndim, 0):
        moved = np.roll(x, shift, axis)
        np.testing.assert_allclose(A(moved), np.roll(A(x), shift, axis), atol=1e-13)


GOOD = np.full((3, 3), 1 / 9)
BAD_PSFS = {
    "larger than the image": (np.full((9, 3), 1 / 27), ValueError, r"\(9, 3\).*\(8, 8\).*crop"),
    "negative": (GOOD - 0.2 * np.eye(3), ValueError, "negative values"),
    "nan": (np.where(np.eye(3) > 0, np.nan, GOOD), ValueError, "NaN"),
    "infinite": (np.where(np.eye(3) > 0, np.inf, GOOD), ValueError, "infinite"),
    "zero": (0 * GOOD, ValueError, "zero everywhere"),
    "sums to 7": (7 * GOOD, ValueError, "sums to 7; expected 1: .*normalise"),
    "one of a batch sums to 2": (np.stack([GOOD, 2 * GOOD]), ValueError, "sums to 2"),
    "complex": (GOOD + 0j, TypeError, "complex"),
    "object": (GOOD.astype(object), TypeError, "object"),
    "empty": (np.ones((0, 3)), ValueError, "empty"),
    "of one axis": (np.full(3, 1 / 3), ValueError, r"\(3,\); expected 2 spatial axes"),
}


@pytest.mark.parametrize("case", BAD_PSFS)
def test_bad_psfs_are_refused(case):
    psf, error, says = BAD_PSFS[case]
    with pytest.raises(error, match=f"psf.*{says}"):
        Blur(psf, (8, 8))


@pytest.mark.parametrize(
    ("weights", "error", "says"),
    [
        (np.ones((8, 9)), ValueError, r"\(8, 9\).*\(8, 8\)"),
        (np.ones((8, 8, 3)), ValueError, r"\(8, 8, 3\)"),
        (np.ones(8), ValueError, r"\(8,\)"),
        (np.full((8, 8), 1.5), ValueError, r"\[1.5, 1.5\].*\[0, 1\]"),
        (np.full((8, 8), -0.5), ValueError, r"\[-0.5"),
        (np.full((8, 8), np.nan), ValueError, "nan"),
        (np.full((8, 8), np.inf), ValueError, "infinite"),
        (np.ones((8, 8), complex), TypeError, "complex"),
    ],
)
def test_bad_weights_are_refused(weights, error, says):
    with pytest.raises(error, match=f"weights.*{says}"):
        Blur(GOOD, (8, 8), weights=weights)


def test_bad_boundaries_and_shapes_are_refused():
    with pytest.raises(ValueError, match=r"boundary='periodc'.*did you mean 'periodic'"):
        Blur(GOOD, (8, 8), boundary="periodc")
    with pytest.raises(ValueError, match="1 to 3 axes"):
        Blur(np.ones((1, 1, 1, 1)), (4, 4, 4, 4))
    with pytest.raises(ValueError, match="psf"):
        Blur(np.ones(()), ())


def test_weights_take_the_psfs_dtype():
    A = Blur(GOOD.astype("float32"), (8, 8), weights=np.eye(8) == 0)
    assert A.weights.dtype == np.float32
    np.testing.assert_array_equal(A.weights, 1 - np.eye(8))
    A = Blur(GOOD.astype("float32"), (8, 8), weights=np.full((8, 8), 0.5))
    assert A.weights.dtype == np.float32
    assert A.fill(np.ones((8, 8), "float32"), np.ones(A.domain, "float32")).dtype == np.float32


def test_an_operator_may_stand_for_the_psf():
    A = Blur(GOOD, (8, 9), boundary="periodic")
    assert observe(np.ones((8, 9)), A).A is A
