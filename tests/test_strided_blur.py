"""StridedBlur against scipy and its own adjoint; where its pixels lie; what it refuses."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from helpers import LIBRARIES, get, put, random_psf
from hypothesis import given
from hypothesis import strategies as st

from deconv.fft import fast_shape
from deconv.operators import Blur, StridedBlur, filled_solve
from deconv.operators.tiling import Tiling

STRIDES = (1, 2, 3)
BOUNDARIES = ("unknown", "periodic")
DTYPES = {"float32": 1e-6, "float64": 1e-12}

# Every parity of image and psf; 1 to 3 axes; sides and psfs of one pixel.
DENSE = [((9,), (4,)), ((8,), (5,)), ((4, 5), (3, 4)), ((5, 4), (4, 3)), ((3, 2, 2), (3, 2, 1))]
DENSE += [((5, 1), (1, 1)), ((1, 1), (1, 1))]


def coarse_grid(A):
    """Shape of the grid of the circular blur's observations, and where the frame lies in it."""
    return (A.coarse.domain, A.coarse.frame) if A.stride > 1 else (A.domain, A.frame)


def case(shape, size, stride, boundary="unknown", *, weighted=False, lead=(), dtype=np.float64):
    rng = np.random.default_rng(0)
    weights = rng.random(shape) * (rng.random(shape) > 0.2) if weighted else None
    psf = random_psf(rng, size, lead, dtype)
    A = StridedBlur(psf, shape, stride, boundary=boundary, weights=weights)
    return A, rng


def dense(A):
    """Matrices of the physical blur and of the circular one."""
    n = int(np.prod(A.domain))
    eye = np.eye(n).reshape(n, *A.domain)
    return A(eye).reshape(n, -1).T, A.blur(eye).reshape(n, -1).T


def scipy_decimated(A, x):
    """The strided blur of the domain image `x` by scipy."""
    every = (slice(None, None, A.stride),) * A.ndim
    if A.boundary == "periodic":
        return scipy.ndimage.convolve(x, A.psf, mode="wrap")[every]
    scene = tuple(
        slice(o - (k - 1 - k // 2), o + n + k // 2)
        for o, n, k in zip(A.frame.origin, A.frame.shape, A.psf.shape, strict=True)
    )
    return scipy.signal.convolve(x[scene], A.psf, mode="valid", method="direct")[every]


# --- the blur -------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize(("shape", "size"), DENSE)
def test_it_is_scipys_convolution_decimated(shape, size, stride, boundary):
    A, rng = case(shape, size, stride, boundary)
    x = rng.normal(size=A.domain)
    np.testing.assert_allclose(A(x), scipy_decimated(A, x), atol=1e-13)
    assert A.crop(x).shape == tuple(stride * n for n in shape)
    # What is kept is the upper left of each block of the picture that `crop` shows.
    delta = StridedBlur(np.ones((1,) * A.ndim), shape, stride, boundary=boundary)
    x = rng.normal(size=delta.domain)
    kept = delta.crop(x)[(slice(None, None, stride),) * A.ndim]
    np.testing.assert_allclose(delta(x), kept, atol=1e-14)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("stride", STRIDES)
def test_adjoint(stride, boundary, dtype, library):
    rng = np.random.default_rng(0)
    for shape, size in DENSE:
        psf = put(random_psf(rng, size, dtype=dtype), library)
        A = StridedBlur(psf, shape, stride, boundary=boundary)
        x, y = rng.random(A.domain).astype(dtype), rng.random(shape).astype(dtype)
        v = rng.random(coarse_grid(A)[0]).astype(dtype)
        pairs = [(A, A.adjoint, y), (A.blur, A.correlate, v)]
        for forward, back, data in pairs:
            blurred, spread = forward(put(x, library)), back(put(data, library))
            assert blurred.dtype == spread.dtype == psf.dtype
            left = np.vdot(get(blurred), data)
            assert abs(left - np.vdot(x, get(spread))) < DTYPES[dtype] * abs(left), (shape, size)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize(("shape", "size"), DENSE)
def test_adjoint_is_the_transposed_matrix(shape, size, stride, boundary):
    A, _ = case(shape, size, stride, boundary)
    for forward, back in zip(dense(A), (A.adjoint, A.correlate), strict=True):
        m = len(forward)
        data = np.eye(m).reshape(m, *(shape if back == A.adjoint else coarse_grid(A)[0]))
        np.testing.assert_allclose(back(data).reshape(m, -1), forward, atol=1e-15)


def test_the_grids_are_fast_and_hold_what_the_frame_depends_on():
    for shape, size, stride in itertools.product([(11, 17), (506, 509)], [(4, 5), (7, 6)], (2, 3)):
        A = StridedBlur(np.full(size, 1 / np.prod(size)), shape, stride)
        assert A.coarse.domain == fast_shape(A.coarse.domain)
        assert A.domain == fast_shape(A.domain) == tuple(stride * n for n in A.coarse.domain)
        for o, n, k, d in zip(A.frame.origin, A.frame.shape, size, A.domain, strict=True):
            assert o >= k - 1 - k // 2 and o + n + k // 2 <= d


@given(st.integers(1, 3), st.integers(1, 5), st.data())
def test_decimation_is_the_mean_of_tiles(ndim, stride, data):
    small = tuple(data.draw(st.integers(1, 6)) for _ in range(ndim))
    domain, axes = tuple(stride * n for n in small), tuple(range(-ndim, 0))
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(2, *domain)), rng.normal(size=small)
    tiling, every = Tiling(domain, stride), (..., *(slice(None, None, stride),) * ndim)
    mean = tiling.mean(np.fft.rfftn(x, axes=axes))
    np.testing.assert_allclose(mean, np.fft.rfftn(x[every], axes=axes), atol=1e-12)
    between, ones = np.zeros(domain), np.ones((*domain[:-1], domain[-1] // 2 + 1))
    between[every] = v
    repeated = tiling.repeat(lambda s, r: s * r, np.fft.rfftn(v), ones)
    np.testing.assert_allclose(repeated, np.fft.rfftn(between), atol=1e-12)


# --- between the grids ----------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("stride", STRIDES)
def test_embedding_shifts_nothing(stride, boundary, library):
    for shape, size in DENSE:
        A, rng = case(shape, size, stride, boundary)
        B = StridedBlur(put(A.psf, library), shape, stride, boundary=boundary)
        y = rng.random((2, *shape))
        x = get(B.embed(put(y, library)))
        kept = A.crop(x)[(..., *(slice(None, None, stride),) * A.ndim)]
        np.testing.assert_array_equal(kept, y)
        assert x.min() >= y.min() - 1e-12 and x.max() <= y.max() + 1e-12
    # A blob that was seen through the blocks' corners is where it was, to a hundredth of a pixel.
    A = StridedBlur(put(np.ones((1, 1)), library), (20, 24), stride, boundary=boundary)
    fine = np.indices(A.frame.shape)
    middle = np.array([9.3, 12.6]) * stride
    blob = np.exp(-((fine - middle[:, None, None]) ** 2).sum(0) / (2 * (2.5 * stride) ** 2))
    x = A.frame.crop(get(A.embed(put(np.ascontiguousarray(blob[::stride, ::stride]), library))))
    np.testing.assert_allclose((fine * x).sum((1, 2)) / x.sum(), middle, atol=0.02)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("stride", STRIDES)
def test_fill_is_data_where_seen_and_prediction_where_not(stride, boundary, weighted, library):
    A, rng = case((9, 8), (4, 3), stride, boundary, weighted=weighted)
    weights = None if A.weights is None else put(A.weights, library)
    B = StridedBlur(put(A.psf, library), (9, 8), stride, boundary=boundary, weights=weights)
    y, x = rng.random((2, 9, 8)), rng.random((2, *A.domain))
    expected, frame = A.blur(x), coarse_grid(A)[1]
    w = np.ones((9, 8)) if weights is None else A.weights
    expected[frame.index] = w * y + (1 - w) * expected[frame.index]
    np.testing.assert_allclose(get(B.fill(put(y, library), put(x, library))), expected, atol=1e-14)
    mixed = B.mix(put(y, library), B.predict(B.transform(put(x, library))))
    np.testing.assert_allclose(get(mixed), expected, atol=1e-14)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("stride", STRIDES)
def test_coverage_is_the_share_of_light_that_was_seen(stride, library):
    A, _ = case((12, 14), (5, 4), stride)
    cover = get(StridedBlur(put(A.psf, library), (12, 14), stride).coverage)
    assert cover.shape == A.domain and cover.min() >= 0 and cover.max() <= 1
    np.testing.assert_allclose(A.crop(cover)[5:-6, 5:-6], 1, atol=1e-12)
    assert 0 < cover[A.frame.origin[0] - 1, A.domain[1] // 2] < 1
    np.testing.assert_allclose(A.coverage, cover, atol=1e-12)
    weights = np.ones((12, 14))
    weights[6, 7] = 0
    assert A.crop(A.reweighted(weights).coverage)[6 * stride, 7 * stride] < 1
    periodic = StridedBlur(A.psf, (12, 14), stride, boundary="periodic")
    np.testing.assert_allclose(periodic.coverage, 1, atol=1e-12)
    # Between the pixels of a camera without blur nothing is seen.
    dots = StridedBlur(np.ones((1, 1)), (4, 4), stride, boundary="periodic").coverage
    assert dots.sum() == pytest.approx(16)


# --- the operator as a value ----------------------------------------------------------------------


@pytest.mark.parametrize("boundary", [*BOUNDARIES, "zero"])
def test_stride_1_is_blur(boundary):
    rng = np.random.default_rng(0)
    psf, weights = random_psf(rng, (4, 3)), rng.random((9, 8))
    A = StridedBlur(psf, (9, 8), 1, boundary=boundary, weights=weights)
    B = Blur(psf, (9, 8), boundary=boundary, weights=weights)
    assert type(A) is Blur and A.stride == 1 and repr(A) == repr(B)
    x, y = rng.random(A.domain), rng.random((9, 8))
    for name, given_to in {"__call__": x, "adjoint": y, "embed": y, "blur": x}.items():
        np.testing.assert_array_equal(getattr(A, name)(given_to), getattr(B, name)(given_to))
    np.testing.assert_array_equal(A.solve(x, 0.1), B.solve(x, 0.1))
    np.testing.assert_array_equal(A.prox(x, y, 0.1), B.prox(x, y, 0.1))


def test_reweighted_copied_and_pickled_operators_are_the_same():
    A, rng = case((9, 8), (4, 3), 2)
    assert not A.exact and StridedBlur(A.psf, (9, 8), 2, boundary="periodic").exact
    assert A.coverage.max() == 1
    weights, y, z = rng.random((9, 8)), rng.random((9, 8)), rng.random(A.domain)
    B, C = A.reweighted(weights), StridedBlur(A.psf, (9, 8), 2, weights=weights)
    assert B.otf is A.otf and A.weights is None and B.reweighted(None).weights is None
    np.testing.assert_array_equal(B.coverage, C.coverage)
    for D in (B, copy.copy(B), copy.deepcopy(B), pickle.loads(pickle.dumps(B))):
        np.testing.assert_array_equal(D.prox(z, y, 0.1), C.prox(z, y, 0.1))
    assert repr(C) == (
        "StridedBlur(psf (4, 3), shape=(9, 8), stride=2, boundary='unknown', domain=(22, 20), "
        "weights=given)"
    )
    with pytest.raises(AttributeError):
        A.stride = 3


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("weighted", [False, True])
def test_inputs_are_never_written_to(boundary, weighted):
    A, rng = case((8, 9), (3, 4), 2, boundary, weighted=weighted)
    # `put` makes its arrays read-only: writing to them raises.
    x, z = (put(rng.random((2, *A.domain)), "numpy") for _ in range(2))
    y, rho = put(rng.random((2, 8, 9)), "numpy"), put(rng.random(2), "numpy")
    spectrum = put(np.fft.rfftn(x, axes=(-2, -1)), "numpy")
    A(x), A.adjoint(y), A.blur(x), A.crop(x), A.embed(y), A.fill(y, x), A.predict(spectrum)
    A.solve(x, rho), A.prox(z, y, rho), A.prox(z, y, rho, start=x), A.solve_spectrum(spectrum, rho)
    A.image(spectrum), filled_solve(A, y, rho, z, momentum=(0.5,))


GOOD = np.full((3, 3), 1 / 9)
BAD = {
    "stride 0": (dict(stride=0), ValueError, "stride=0"),
    "stride 1.5": (dict(stride=1.5), TypeError, "stride=1.5"),
    "stride True": (dict(stride=True), TypeError, "stride=True"),
    "large psf": (dict(shape=(1, 4)), ValueError, r"psf of shape \(3, 3\).*\(2, 8\)"),
    "psf sum": (dict(psf=2 * GOOD), ValueError, "psf sums to 2"),
    "axes": (dict(shape=(4, 4, 4)), ValueError, "psf"),
    "fine weights": (dict(weights=np.ones((8, 8))), ValueError, r"weights.*\(8, 8\).*\(4, 4\)"),
    "weights of 2": (dict(weights=np.full((4, 4), 2)), ValueError, "weights"),
    "zero": (dict(boundary="zero"), ValueError, "boundary='zero'.*stride=1.*not 2"),
    "typo": (dict(boundary="periodc"), ValueError, "boundary.*did you mean 'periodic'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    changes, error, says = BAD[name]
    with pytest.raises(error, match=says):
        StridedBlur(**{"psf": GOOD, "shape": (4, 4), "stride": 2, **changes})


@pytest.mark.parametrize("rho", [0, -1, float("nan"), np.ones(3), np.ones((8, 5))])
def test_bad_penalties_are_refused(rho):
    A = StridedBlur(GOOD, (4, 4), 2, boundary="periodic")
    with pytest.raises(ValueError, match="rho"):
        A.solve(np.ones((2, 8, 8)), rho)


# --- libraries ----------------------------------------------------------------------------------


@pytest.mark.parametrize("library", [name for name in LIBRARIES if name != "numpy"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("stride", [2, 3])
def test_libraries_agree_with_numpy(stride, dtype, tolerance, library):
    A, rng = case((13, 10), (5, 4), stride, weighted=True, lead=(2, 1), dtype=dtype)
    weights = put(A.weights, library)
    B = StridedBlur(put(A.psf, library), (13, 10), stride, weights=weights)
    x, z = (rng.random((2, 3, *A.domain)).astype(dtype) for _ in range(2))
    y = rng.random((2, 3, 13, 10)).astype(dtype)
    X, Z, Y = (put(v, library) for v in (x, z, y))
    pairs = {
        "A(x)": (A(x), B(X)),
        "adjoint": (A.adjoint(y), B.adjoint(Y)),
        "solve": (A.solve(x, 0.1), B.solve(X, 0.1)),
        "fill": (A.fill(y, x), B.fill(Y, X)),
        "embed": (A.embed(y), B.embed(Y)),
        "prox": (A.prox(z, y, 0.1, tol=0, n_iter=8), B.prox(Z, Y, 0.1, tol=0, n_iter=8)),
        "filled": (filled_solve(A, y, 0.1, z), filled_solve(B, Y, 0.1, Z)),
        "coverage": (A.coverage, B.coverage),
    }
    for name, (one, other) in pairs.items():
        assert str(other.dtype).endswith(dtype) and one.dtype == dtype
        atol = tolerance * np.abs(one).max()
        np.testing.assert_allclose(get(other), one, rtol=0, atol=atol, err_msg=name)
