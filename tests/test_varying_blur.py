"""SpatiallyVaryingBlur against matrices written out tap by tap, against Blur, and in use."""

import copy
import pickle

import numpy as np
import pytest
from helpers import BOUNDARIES, LIBRARIES, get, picture, psnr, put, random_psf

import deconv
from deconv import Blur, SpatiallyVaryingBlur
from deconv.operators import grid_windows

ORDERS = ("scatter", "gather")
DTYPES = {"float32": 1e-6, "float64": 1e-12}

# Every parity of image and psf; rectangles; 1 to 3 axes; psfs of one pixel and of the whole image.
CASES = [((9,), (4,)), ((6, 5), (3, 4)), ((5, 8), (4, 3)), ((7, 4), (1, 4)), ((3, 4, 2), (2, 3, 1))]
CASES += [((5, 5), (5, 5)), ((4, 6), (1, 1))]


def random_windows(rng, shape, count=3):
    windows = rng.random((count, *shape)) * (rng.random((count, *shape)) > 0.3)
    windows[0] += 0.01
    return windows / windows.sum(axis=0)


def case(shape, size, boundary, order, *, weighted=False, count=3, rng=0):
    rng = np.random.default_rng(rng)
    weights = rng.random(shape) * (rng.random(shape) > 0.2) if weighted else None
    psfs, windows = random_psf(rng, size, (count,)), random_windows(rng, shape, count)
    options = {"boundary": boundary, "weights": weights, "order": order}
    return SpatiallyVaryingBlur(psfs, windows, shape, **options), psfs, windows, rng


def in_library(A, library):
    """The same operator of arrays of another library."""
    weights = None if A.weights is None else put(A.weights, library)
    psfs, windows = put(A.psfs, library), put(A.windows, library)
    options = {"boundary": A.boundary, "weights": weights, "order": A.order}
    return SpatiallyVaryingBlur(psfs, windows, A.shape, **options)


def written_out(A, psfs, windows):
    """The matrix of A, from its definition: each tap of each kernel by itself."""
    matrix = np.zeros((*A.shape, *A.domain))
    for seen in np.ndindex(*A.shape):
        for tap in np.ndindex(*psfs.shape[1:]):
            shift = [t - k // 2 for t, k in zip(tap, psfs.shape[1:], strict=True)]
            source = [q - s for q, s in zip(seen, shift, strict=True)]
            inside = all(0 <= p < n for p, n in zip(source, A.shape, strict=True))
            if A.boundary == "zero" and not inside:
                continue
            if A.boundary == "periodic":
                source = [p % n for p, n in zip(source, A.shape, strict=True)]
            # Beyond the frame the windows are those at its edge.
            edge = tuple(np.clip(p, 0, n - 1) for p, n in zip(source, A.shape, strict=True))
            share = windows[(slice(None), *(seen if A.order == "gather" else edge))]
            at = tuple(p + o for p, o in zip(source, A.frame.origin, strict=True))
            assert min(at) >= 0
            matrix[(*seen, *at)] += share @ psfs[(slice(None), *tap)]
    return matrix.reshape(np.prod(A.shape), np.prod(A.domain))


# --- the two sums ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "size"), CASES)
def test_it_is_the_matrix_of_its_definition_and_so_is_its_adjoint(shape, size, boundary, order):
    A, psfs, windows, _ = case(shape, size, boundary, order)
    matrix = written_out(A, psfs, windows)
    n, m = matrix.shape
    forward = A(np.eye(m).reshape(m, *A.domain)).reshape(m, n).T
    np.testing.assert_allclose(forward, matrix, atol=1e-14)
    back = A.adjoint(np.eye(n).reshape(n, *shape)).reshape(n, m)
    np.testing.assert_allclose(back, matrix, atol=1e-14)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_adjoint(boundary, order, dtype, library):
    rng = np.random.default_rng(0)
    for shape, size in [((31, 26), (7, 6)), ((23,), (5,)), ((8, 9, 7), (3, 2, 3))]:
        psfs = put(random_psf(rng, size, (4,), dtype), library)
        windows = put(random_windows(rng, shape, 4).astype(dtype), library)
        A = SpatiallyVaryingBlur(psfs, windows, shape, boundary=boundary, order=order)
        x, y = rng.random(A.domain).astype(dtype), rng.random(shape).astype(dtype)
        v = rng.random(A.domain).astype(dtype)
        for forward, back, data in [(A, A.adjoint, y), (A.blur, A.correlate, v)]:
            blurred, spread = forward(put(x, library)), back(put(data, library))
            assert blurred.dtype == spread.dtype == psfs.dtype
            left = np.vdot(get(blurred).astype(float), data.astype(float))
            right = np.vdot(x.astype(float), get(spread).astype(float))
            assert abs(left - right) < DTYPES[dtype] * abs(left), (shape, size)


def test_each_order_is_the_others_transpose_with_flipped_psfs():
    A, psfs, windows, rng = case((9, 8), (3, 5), "periodic", "scatter")
    flipped = SpatiallyVaryingBlur(
        psfs[:, ::-1, ::-1], windows, (9, 8), boundary="periodic", order="gather"
    )
    x = rng.random((9, 8))
    np.testing.assert_allclose(A.adjoint(x), flipped(x), atol=1e-14)
    assert not np.allclose(A(x), A.adjoint(x), atol=1e-2)
    # And no more than that: the orders differ wherever the windows do over a psf.
    gather = SpatiallyVaryingBlur(psfs, windows, (9, 8), boundary="periodic", order="gather")
    assert np.abs(A(x) - gather(x)).max() > 0.01


def test_scatter_keeps_light_and_gather_keeps_flat_scenes():
    shape = (12, 10)
    for boundary in BOUNDARIES:
        A, _, _, rng = case(shape, (4, 3), boundary, "gather")
        if boundary != "zero":
            np.testing.assert_allclose(A(np.ones(A.domain)), 1, atol=1e-14)
        B, *_ = case(shape, (4, 3), boundary, "scatter")
        x = rng.random(B.domain)
        np.testing.assert_allclose(B.blur(x).sum(), x.sum())
        assert 0 <= B.coverage.min() and B.coverage.max() < 1 + 1e-12
        np.testing.assert_allclose(B.coverage, B.adjoint(np.ones(shape)).clip(0), atol=1e-15)
    assert not np.allclose(case(shape, (4, 3), "periodic", "scatter")[0](np.ones(shape)), 1)
    assert case(shape, (4, 3), "periodic", "gather")[0].coverage.max() > 1.01


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_with_one_kernel_everywhere_it_is_blur(boundary, order, weighted, library):
    shape = (13, 10)
    _, psfs, windows, rng = case(shape, (4, 5), boundary, order)
    psf = psfs[0]
    weights = put(rng.random(shape), library) if weighted else None
    same = put(np.stack([psf] * 3), library)
    options = {"boundary": boundary, "weights": weights}
    A = SpatiallyVaryingBlur(same, put(windows, library), shape, order=order, **options)
    B = Blur(put(psf, library), shape, **options)
    assert A.domain == B.domain and A.shape == B.shape and A.boundary == B.boundary
    x, z = (put(rng.random((2, *A.domain)), library) for _ in range(2))
    y = put(rng.random((2, *shape)), library)
    pairs = {
        "A(x)": (A(x), B(x)),
        "adjoint": (A.adjoint(y), B.adjoint(y)),
        "blur": (A.blur(x), B.blur(x)),
        "correlate": (A.correlate(x), B.correlate(x)),
        "fill": (A.fill(y, x), B.fill(y, x)),
        "embed": (A.embed(y), B.embed(y)),
        "crop": (A.crop(x), B.crop(x)),
        "coverage": (A.coverage, B.coverage),
        "power": (A.power, B.power),
        "psf": (A.psf, B.psf),
        "solve": (A.solve(x, 0.1), B.solve(x, 0.1)),
        "prox": (A.prox(z, y, 0.1, tol=1e-10), B.prox(z, y, 0.1, tol=1e-10)),
    }
    for name, (one, other) in pairs.items():
        np.testing.assert_allclose(get(one), get(other), atol=1e-8, err_msg=name)
        if name != "prox":
            np.testing.assert_allclose(get(one), get(other), atol=1e-13, err_msg=name)


# --- batches, channels, libraries, gradients ------------------------------------------------------

# Leading axes of the image, of the psfs and of the windows, after the axis of the kernels.
LEADING = [
    ((3,), (), ()),
    ((3,), (3,), ()),
    ((2, 3), (1, 3), (2, 1)),
    ((), (3,), ()),
    ((), (), (2,)),
]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("image", "psf", "window"), LEADING)
def test_batches_and_channels(image, psf, window, order, library):
    rng = np.random.default_rng(0)
    shape, size = (7, 6), (3, 4)
    psfs, windows = random_psf(rng, size, (2, *psf)), random_windows(rng, (*window, *shape), 2)
    A = SpatiallyVaryingBlur(put(psfs, library), put(windows, library), shape, order=order)
    lead = np.broadcast_shapes(image, psf, window)
    x, y = rng.random((*image, *A.domain)), rng.random((*lead, *shape))
    blurred, back = get(A(put(x, library))), get(A.adjoint(put(y, library)))
    assert blurred.shape == (*lead, *shape) and back.shape == (*lead, *A.domain)
    solved = get(A.prox(put(x, library), put(y, library), 0.5, tol=1e-9))
    every = [
        np.broadcast_to(v, (*v.shape[:1], *lead, *tail) if many else (*lead, *tail))
        for v, tail, many in [
            (psfs.reshape(2, *[1] * (len(lead) - len(psf)), *psf, *size), size, True),
            (windows.reshape(2, *[1] * (len(lead) - len(window)), *window, *shape), shape, True),
            (x, A.domain, False),
        ]
    ]
    for at in np.ndindex(*lead):
        k, w = every[0][(slice(None), *at)], every[1][(slice(None), *at)]
        one = SpatiallyVaryingBlur(k, w, shape, order=order)
        np.testing.assert_allclose(blurred[at], one(every[2][at]), atol=1e-14)
        np.testing.assert_allclose(back[at], one.adjoint(y[at]), atol=1e-14)
        alone = one.prox(every[2][at], y[at], 0.5, tol=1e-9)
        np.testing.assert_allclose(solved[at], alone, atol=1e-8)


@pytest.mark.parametrize("library", [name for name in LIBRARIES if name != "numpy"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("order", ORDERS)
def test_libraries_agree_with_numpy(order, dtype, tolerance, library):
    rng = np.random.default_rng(0)
    psfs = random_psf(rng, (4, 3), (2, 3), dtype).reshape(2, 3, 4, 3)
    A = SpatiallyVaryingBlur.from_grid(psfs, (13, 10), order=order, weights=rng.random((13, 10)))
    B = SpatiallyVaryingBlur.from_grid(
        put(psfs, library), (13, 10), order=order, weights=put(A.weights, library)
    )
    x, z = (rng.random((2, *A.domain)).astype(dtype) for _ in range(2))
    y = rng.random((2, 13, 10)).astype(dtype)
    X, Z, Y = (put(v, library) for v in (x, z, y))
    pairs = {
        "windows": (A.windows, B.windows),
        "A(x)": (A(x), B(X)),
        "adjoint": (A.adjoint(y), B.adjoint(Y)),
        "solve": (A.solve(x, 0.1, tol=0, n_iter=6), B.solve(X, 0.1, tol=0, n_iter=6)),
        "prox": (A.prox(z, y, 0.1, tol=0, n_iter=6), B.prox(Z, Y, 0.1, tol=0, n_iter=6)),
        "fill": (A.fill(y, x), B.fill(Y, X)),
        "coverage": (A.coverage, B.coverage),
    }
    for name, (one, other) in pairs.items():
        assert str(other.dtype).endswith(dtype) and one.dtype == dtype, name
        atol = tolerance * np.abs(one).max()
        np.testing.assert_allclose(get(other), one, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gradients_flow_to_image_psfs_and_windows(boundary, order):
    torch = pytest.importorskip("torch")
    A, psfs, windows, rng = case((5, 4), (3, 2), boundary, order, count=2)
    values = [psfs, windows, rng.random(A.domain), rng.random((5, 4))]
    psfs, windows, x, y = (torch.tensor(v, requires_grad=True) for v in values)

    def operator(psfs, windows):
        # Normalised here, or a probe of the gradient would leave what the operator accepts.
        psfs, windows = psfs / psfs.sum((-2, -1), keepdim=True), windows / windows.sum(0)
        return SpatiallyVaryingBlur(psfs, windows, (5, 4), boundary=boundary, order=order)

    def blur(psfs, windows, x):
        return operator(psfs, windows)(x)

    def prox(psfs, windows, x, y):
        return operator(psfs, windows).prox(x, y, 0.3, tol=0, n_iter=3)

    with torch.no_grad():
        windows += 0.05
    assert torch.autograd.gradcheck(blur, (psfs, windows, x))
    assert torch.autograd.gradcheck(prox, (psfs, windows, x, y), fast_mode=True)
    assert torch.autograd.gradcheck(operator(*values_of(psfs, windows)).adjoint, (y,))


def values_of(*tensors):
    return [t.detach() for t in tensors]


# --- inversion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("shape", "size"), CASES[:2] + CASES[3:5])
def test_prox_is_the_dense_solution(shape, size, weighted, boundary, order):
    A, psfs, windows, rng = case(shape, size, boundary, order, weighted=weighted)
    matrix = written_out(A, psfs, windows)
    n, m = matrix.shape
    z, y = rng.normal(size=(2, *A.domain)), rng.normal(size=(2, *shape))
    if boundary == "zero":
        z = A.frame.pad(A.crop(z))
    w = np.ones(n) if A.weights is None else A.weights.ravel()
    # A value for each leading index, and a penalty that depends on the frequency.
    for rho in (0.05, np.array([0.05, 0.4])):
        found = A.prox(z, y, rho, tol=1e-11, n_iter=400).reshape(2, m)
        for i, r in enumerate(np.broadcast_to(rho, 2)):
            dense = matrix.T @ (w[:, None] * matrix) + r * np.eye(m)
            rhs = matrix.T @ (w * y[i].ravel()) + r * z[i].ravel()
            np.testing.assert_allclose(found[i], np.linalg.solve(dense, rhs), atol=1e-8)
    start = rng.normal(size=(2, *A.domain))
    again = A.prox(z, y, rho, start=start, tol=1e-11, n_iter=400).reshape(2, m)
    np.testing.assert_allclose(again, found, atol=1e-8)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("shape", "size"), [((6, 5), (3, 4)), ((9,), (4,))])
def test_solve_and_spectral_penalties_are_dense_solutions(shape, size, order):
    A, _, _, rng = case(shape, size, "periodic", order)
    m = int(np.prod(shape))
    eye = np.eye(m).reshape(m, *shape)
    matrix = A.blur(eye).reshape(m, m).T
    half = rng.random((*shape[:-1], shape[-1] // 2 + 1))
    axes = tuple(range(-len(shape), 0))
    # The mirrored frequencies of a half spectrum have one value.
    half = np.fft.rfftn(np.fft.irfftn(half, shape, axes=axes), axes=axes).real
    half += 0.1 - half.min()
    penalty = np.fft.irfftn(half * np.fft.rfftn(eye, axes=axes), shape, axes=axes).reshape(m, m)
    rhs, z, y = (rng.normal(size=shape) for _ in range(3))
    normal = matrix.T @ matrix
    for rho, dense in [(0.2, 0.2 * np.eye(m)), (half, penalty)]:
        expected = np.linalg.solve(normal + dense, rhs.ravel())
        found = A.solve(rhs, rho, tol=1e-12, n_iter=400)
        np.testing.assert_allclose(found.ravel(), expected, atol=1e-9)
        pulled = matrix.T @ y.ravel() + dense @ z.ravel()
        expected = np.linalg.solve(normal + dense, pulled)
        found = A.prox(z, y, rho, tol=1e-12, n_iter=400)
        np.testing.assert_allclose(found.ravel(), expected, atol=1e-9)


def test_the_preconditioner_earns_its_keep():
    rng = np.random.default_rng(0)

    def errors(A, rho, steps):
        y = A(picture(size=128)[:48, :48]) + 0.01 * rng.normal(size=(48, 48))
        exact, found = A.prox(0 * y, y, rho, tol=1e-9, n_iter=1000), []
        for power in (A.power, A.mean.power, np.ones_like(A.power)):
            A.__dict__["power"] = power
            near = A.prox(0 * y, y, rho, start=0 * y, tol=0, n_iter=steps)
            found.append(np.sqrt(np.mean((near - exact) ** 2)))
        return found

    # Streaks whose mean is like none of them; then kernels that are almost one.
    own, mean, _ = errors(turned(3, 48, boundary="periodic"), 0.01, 15)
    assert own < 0.7 * mean
    alike = np.stack([deconv.psf.gaussian(sigma, size=13) for sigma in (1.5, 1.51)])
    A = SpatiallyVaryingBlur(alike, grid_windows((1, 2), (48, 48)), (48, 48), boundary="periodic")
    own, _, none = errors(A, 0.001, 4)
    assert own < 0.1 * none


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_fill_is_data_where_seen_and_prediction_where_not(boundary, order):
    A, _, _, rng = case((9, 8), (4, 3), boundary, order, weighted=True)
    y, x = rng.random((9, 8)), rng.random(A.domain)
    filled, predicted = A.fill(y, x), A(x)
    w = A.weights
    np.testing.assert_allclose(A.crop(filled), w * y + (1 - w) * predicted, atol=1e-14)
    outside = np.ones(A.domain, bool)
    outside[A.frame.index] = False
    lit = A.frame.pad(A.crop(x)) if boundary == "zero" else x
    np.testing.assert_allclose(filled[outside], A.blur(lit)[outside], atol=1e-14)


# --- windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["linear", "cosine"])
@pytest.mark.parametrize("overlap", [0, 0.3, 1.0])
@pytest.mark.parametrize(
    ("grid", "shape"), [((3,), (10,)), ((2, 3), (9, 14)), ((1, 2, 2), (3, 4, 5))]
)
def test_windows_are_a_partition_of_unity(grid, shape, overlap, profile):
    windows = grid_windows(grid, shape, overlap=overlap, profile=profile)
    assert windows.shape == (np.prod(grid), *shape) and windows.dtype == np.float64
    assert windows.min() >= 0 and windows.max() <= 1
    np.testing.assert_allclose(windows.sum(axis=0), 1, atol=1e-15)
    # Each has as much to say as its mirror image, and reaches no further than it should.
    mirrored = np.flip(windows.reshape(*grid, *shape))
    np.testing.assert_allclose(windows.reshape(*grid, *shape), mirrored, atol=1e-14)
    shares = windows.reshape(*grid, -1).mean(axis=-1)
    np.testing.assert_allclose(shares, 1 / np.prod(grid), rtol=0.25)
    assert ((windows > 1e-12).sum(axis=0) <= 2 ** len(shape)).all()


def test_windows_lie_where_their_cells_do():
    windows = grid_windows((2, 3), (8, 12), overlap=0).reshape(2, 3, 8, 12)
    for r, c in np.ndindex(2, 3):
        expected = np.zeros((8, 12))
        expected[4 * r : 4 * r + 4, 4 * c : 4 * c + 4] = 1
        np.testing.assert_array_equal(windows[r, c], expected)
    # From centre to centre the linear ones interpolate: a field that changes steadily is met.
    windows = grid_windows((1, 4), (3, 40))
    nodes = np.array([4.5, 14.5, 24.5, 34.5])
    met = np.tensordot(nodes, windows, axes=1)[0]
    np.testing.assert_allclose(met, np.clip(np.arange(40), 4.5, 34.5), atol=1e-12)
    smooth = np.tensordot(nodes, grid_windows((1, 4), (3, 40), profile="cosine"), axes=1)[0]
    assert 0.3 < np.abs(smooth - met).max() < 2


def test_windows_on_the_domain_are_taken_as_they_are():
    A, psfs, windows, rng = case((7, 6), (4, 3), "unknown", "scatter")
    np.testing.assert_array_equal(A.crop(A.windows), windows)
    np.testing.assert_allclose(A.windows.sum(axis=0), 1, atol=1e-14)
    wide = random_windows(rng, A.domain)
    B = SpatiallyVaryingBlur(psfs, wide, (7, 6))
    np.testing.assert_array_equal(B.windows, wide)
    x = rng.random(A.domain)
    expected = sum(Blur(k, (7, 6))(w * x) for k, w in zip(psfs, wide, strict=True))
    np.testing.assert_allclose(B(x), expected, atol=1e-14)


def test_a_grid_of_psfs_is_read_by_rows():
    rng = np.random.default_rng(0)
    psfs = random_psf(rng, (3, 4), (2, 3, 5))
    A = SpatiallyVaryingBlur.from_grid(psfs, (20, 30), overlap=0.5, profile="cosine")
    windows = grid_windows((2, 3), (20, 30), overlap=0.5, profile="cosine")
    B = SpatiallyVaryingBlur(psfs.reshape(6, 5, 3, 4), windows[:, None], (20, 30))
    x = rng.random((5, *A.domain))
    np.testing.assert_array_equal(A(x), B(x))
    # A light in the middle of the last cell of the first row spreads by the psf of that cell.
    C = SpatiallyVaryingBlur.from_grid(psfs, (20, 30), boundary="zero")
    light = np.zeros(C.domain)
    light[4:6, 24:26] = 0.25
    spread = SpatiallyVaryingBlur.from_grid(psfs[:1, 2:], (20, 30), boundary="zero")(light)
    np.testing.assert_allclose(C(light), spread, atol=0.05 * spread.max())
    wrong = SpatiallyVaryingBlur.from_grid(psfs[1:, :1], (20, 30), boundary="zero")(light)
    assert np.abs(C(light) - wrong).max() > 0.2 * spread.max()


# --- the operator as a value ----------------------------------------------------------------------


def test_reweighted_copied_and_pickled_operators_are_the_same():
    A, psfs, windows, rng = case((9, 8), (4, 3), "unknown", "gather")
    assert not A.exact and A.stride == 1 and A.ndim == 2 and A.coverage.max() > 1
    weights, y, z = rng.random((9, 8)), rng.random((9, 8)), rng.random(A.domain)
    B = A.reweighted(weights)
    C = SpatiallyVaryingBlur(psfs, windows, (9, 8), weights=weights, order="gather")
    assert B.otfs is A.otfs and A.weights is None and B.reweighted(None).weights is None
    np.testing.assert_array_equal(B.coverage, C.coverage)
    for D in (B, copy.copy(B), copy.deepcopy(B), pickle.loads(pickle.dumps(B))):
        np.testing.assert_array_equal(D.prox(z, y, 0.1), C.prox(z, y, 0.1))
    assert repr(C) == (
        "SpatiallyVaryingBlur(psfs (3, 4, 3), shape=(9, 8), boundary='unknown', order='gather', "
        "domain=(12, 10), weights=given)"
    )
    with pytest.raises(AttributeError):
        A.order = "scatter"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_inputs_are_never_written_to(boundary, order):
    rng = np.random.default_rng(0)
    # `put` makes its arrays read-only: writing to them raises.
    psfs, windows = put(random_psf(rng, (3, 4), (2,)), "numpy"), random_windows(rng, (8, 9), 2)
    weights, windows = put(rng.random((8, 9)), "numpy"), put(windows, "numpy")
    options = {"boundary": boundary, "weights": weights, "order": order}
    A = SpatiallyVaryingBlur(psfs, windows, (8, 9), **options)
    x, z, rhs = (put(rng.random((2, *A.domain)), "numpy") for _ in range(3))
    y, rho = put(rng.random((2, 8, 9)), "numpy"), put(rng.random(2), "numpy")
    A(x), A.adjoint(y), A.blur(x), A.correlate(x), A.crop(x), A.embed(y), A.fill(y, x), A.coverage
    A.solve(rhs, rho), A.solve(rhs, rho, start=x), A.prox(z, y, rho), A.prox(z, y, rho, start=x)
    assert not np.shares_memory(A.psfs, psfs) and not np.shares_memory(A.windows, windows)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_memory_is_reused_where_it_is_given(boundary, order):
    A, *_, rng = case((9, 8), (4, 3), boundary, order)
    x = A.frame.pad(rng.random((2, 9, 8)))
    out, spectrum = A.workspace((2,))
    for step in (A.blur, A.correlate):
        expected = step(x)
        assert step(x, out=out, spectrum=spectrum) is out
        np.testing.assert_allclose(out, expected, atol=1e-14)
        out[...] = np.nan
        found = step(x, out=out, spectrum=spectrum, framed=True, to_frame=True)
        np.testing.assert_allclose(A.crop(found), A.crop(expected), atol=1e-14)
        # A loop may blur a picture into its own memory.
        out[...] = x
        np.testing.assert_allclose(step(out, out=out, spectrum=spectrum), expected, atol=1e-14)
        # Memory of another shape or kind is left alone.
        small = np.empty((9, 8), np.float32)
        np.testing.assert_allclose(step(x, out=small), expected, atol=1e-14)


GOOD = np.full((2, 3, 3), 1 / 9)
HALF = np.full((2, 4, 5), 0.5)
HOLE, LESS, NAN = HALF.copy(), HALF.copy(), HALF.copy()
HOLE[:, 2, 3] = 0.4
LESS[:, 1, 4] = -0.5, 1.5
NAN[0, 0, 0] = np.nan
BAD = {
    "psf sum": (dict(psfs=np.stack([GOOD[0], 2 * GOOD[0]])), ValueError, r"psfs\[1\].*sums to 2"),
    "negative psf": (dict(psfs=GOOD * [[[1], [-1], [3]]]), ValueError, r"psfs\[0\].*negative"),
    "large psf": (dict(psfs=np.ones((2, 5, 1)) / 5), ValueError, r"psfs\[0\].*larger"),
    "one psf": (dict(psfs=GOOD[0]), ValueError, r"psfs have shape \(3, 3\).*\(K, ..., \*size\)"),
    "complex psfs": (dict(psfs=GOOD + 0j), TypeError, "psfs"),
    "hole": (dict(windows=HOLE), ValueError, r"windows sum to 0.8 at \(2, 3\); expected 1"),
    "negative": (dict(windows=LESS), ValueError, r"windows have -0.5 at \(0, 1, 4\)"),
    "NaN": (dict(windows=NAN), ValueError, "windows hold NaN"),
    "count": (dict(windows=np.ones((3, 4, 5)) / 3), ValueError, "windows are 3, psfs are 2"),
    "shape": (
        dict(windows=np.ones((2, 5, 4)) / 2),
        ValueError,
        r"windows.*\(2, 5, 4\).*\(2, ..., 4",
    ),
    "one window": (dict(windows=np.ones((4, 5))), ValueError, r"windows.*\(4, 5\)"),
    "weights": (dict(weights=np.ones((5, 4))), ValueError, r"weights.*\(5, 4\).*\(4, 5\)"),
    "weights of 2": (dict(weights=np.full((4, 5), 2)), ValueError, "weights"),
    "boundary": (dict(boundary="periodc"), ValueError, "boundary.*did you mean 'periodic'"),
    "order": (dict(order="scater"), ValueError, "order.*did you mean 'scatter'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    changes, error, says = BAD[name]
    good = {"psfs": GOOD, "windows": HALF, "shape": (4, 5)}
    SpatiallyVaryingBlur(**good)
    with pytest.raises(error, match=says):
        SpatiallyVaryingBlur(**{**good, **changes})


BAD_GRIDS = {
    "axes": (dict(grid=(2,)), ValueError, r"grid=\(2,\) does not fit shape=\(8, 9\)"),
    "cells": (dict(grid=(9, 1)), ValueError, r"grid=\(9, 1\) does not fit"),
    "no cell": (dict(grid=(0, 1)), ValueError, "grid=0"),
    "number": (dict(grid=2), TypeError, "grid=2"),
    "half": (dict(grid=(1.5, 1)), TypeError, "grid=1.5"),
    "shape": (dict(shape=(2, 2, 2, 2)), ValueError, "shape=.*4 axes"),
    "overlap": (dict(overlap=1.5), ValueError, "overlap=1.5"),
    "profile": (dict(profile="cosin"), ValueError, "profile.*did you mean 'cosine'"),
}


@pytest.mark.parametrize("name", BAD_GRIDS)
def test_bad_grids_are_refused(name):
    changes, error, says = BAD_GRIDS[name]
    with pytest.raises(error, match=says):
        grid_windows(**{"grid": (2, 3), "shape": (8, 9), **changes})


def test_bad_images_penalties_and_grids_of_psfs_are_refused():
    A = SpatiallyVaryingBlur(GOOD, HALF, (4, 5))
    x, y = np.ones(A.domain), np.ones((4, 5))
    for call, says in [
        (lambda: A(y), r"x has shape \(4, 5\); expected \(..., "),
        (lambda: A.adjoint(x), "y has shape"),
        (lambda: A.prox(y, y, 1), "z has shape"),
        (lambda: A.prox(x, x, 1), "y has shape"),
        (lambda: A.solve(y, 1), "rhs has shape"),
        (lambda: A.prox(x, y, -1), "rho"),
        (lambda: A.solve(x, np.ones(3)), "rho has shape"),
        (lambda: SpatiallyVaryingBlur.from_grid(GOOD, (4, 5)), r"psfs.*\(2, 3, 3\).*grid"),
        (lambda: A.reweighted(y + 1), "weights"),
    ]:
        with pytest.raises(ValueError, match=says):
            call()


# --- in use: a picture that turned while it was taken ---------------------------------------------


def streak(place, size=13):
    """The psf at an offset from the centre of rotation: a short streak across the radius."""
    y, x = np.indices((size, size)) - size // 2
    psf = sum(
        np.exp(-((y - 0.08 * t * place[1]) ** 2 + (x + 0.08 * t * place[0]) ** 2) / 0.98)
        for t in np.linspace(-1, 1, 11)
    )
    return psf / psf.sum()


def turned(cells, n=96, **options):
    centres = (np.arange(cells) + 0.5) * n / cells - n / 2
    psfs = np.array([[streak((y, x)) for x in centres] for y in centres])
    return SpatiallyVaryingBlur.from_grid(psfs, (n, n), **options)


@pytest.mark.parametrize("order", ORDERS)
def test_a_finer_grid_comes_closer_to_a_rotation(order):
    n, scene = 48, picture(size=128)[:48, :48]
    every = np.array([[streak((y, x)) for x in np.arange(n) - 23.5] for y in np.arange(n) - 23.5])
    if order == "gather":
        around = np.lib.stride_tricks.sliding_window_view(np.pad(scene, 6), (13, 13))
        true = np.einsum("rcyx,rcyx->rc", around, every[:, :, ::-1, ::-1])
    else:
        true = np.zeros((n + 12, n + 12))
        for r, c in np.ndindex(n, n):
            true[r : r + 13, c : c + 13] += scene[r, c] * every[r, c]
        true = true[6:-6, 6:-6]
    errors = []
    for cells in (1, 3, 6):
        A = turned(cells, n, boundary="zero", order=order)
        errors.append(np.sqrt(np.mean((A(A.frame.pad(scene)) - true) ** 2)))
    assert errors[1] < 0.6 * errors[0] and errors[2] < 0.5 * errors[1]


@pytest.mark.parametrize("order", ORDERS)
def test_what_turned_is_set_right_and_no_single_psf_can(order):
    A = turned(4, boundary="zero", order=order, weights=None)
    scene = np.array(picture(size=128)[16:112, 16:112])
    rng = np.random.default_rng(0)
    y = A(A.frame.pad(scene)) + 0.005 * rng.normal(size=scene.shape)
    start = A.frame.pad(y)
    restored = A.crop(A.prox(start, y, 0.01))
    single = A.crop(A.mean.prox(start, y, 0.01))
    assert psnr(scene, restored) > psnr(scene, y) + 3
    assert psnr(scene, restored) > psnr(scene, single) + 3
    # Dead pixels with nonsense in them do not matter.
    dead = rng.random(scene.shape) < 0.02
    B = A.reweighted((~dead).astype(float))
    again = B.crop(B.prox(start, np.where(dead, 1e3, y), 0.01))
    assert psnr(scene, again) > psnr(scene, y) + 2.5


@pytest.mark.parametrize("solver", [deconv.wiener, deconv.tv, deconv.richardson_lucy])
def test_solvers_of_one_psf_say_what_to_use_instead(solver):
    psfs = np.stack([deconv.psf.gaussian(s, size=7) for s in (0.5, 1.0)]).reshape(1, 2, 7, 7)
    A = deconv.SpatiallyVaryingBlur.from_grid(psfs, (32, 32))
    with pytest.raises(TypeError, match=r"psf is a SpatiallyVaryingBlur.* its own prox"):
        solver(np.ones((32, 32)), A)
