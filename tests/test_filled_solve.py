"""Fill and solve, with momentum: the same solution as `prox`, in steps that a gradient passes."""

from itertools import pairwise

import numpy as np
import pytest
from helpers import LIBRARIES, get, picture, put, random_psf

from deconv.operators import Blur, StridedBlur, filled_solve, nesterov

SHAPE = (9, 8)
# Stride and boundary, and what the pixels weigh.
KINDS = {
    "periodic": (1, "periodic", None),
    "unknown": (1, "unknown", None),
    "holes": (1, "unknown", "holes"),
    "periodic with holes": (1, "periodic", "holes"),
    "soft weights": (1, "unknown", "soft"),
    "strided": (2, "unknown", None),
    "strided with holes": (2, "unknown", "holes"),
    "strided and periodic": (3, "periodic", None),
}
EXACT = ["periodic", "strided and periodic"]
RHO = 0.05


def operator(kind, shape=SHAPE, library="numpy", dtype="float64"):
    rng = np.random.default_rng(0)
    stride, boundary, weighting = KINDS[kind]
    psf = put(random_psf(rng, (4, 3), dtype=dtype), library)
    weights = None
    if weighting is not None:
        weights = (rng.random(shape) > 0.2) * (1.0 if weighting == "holes" else rng.random(shape))
        weights = put(weights.astype(dtype), library)
    return StridedBlur(psf, shape, stride, boundary=boundary, weights=weights)


def case(kind, shape=SHAPE):
    """An operator, an observation and what the penalty pulls to."""
    A, rng = operator(kind, shape), np.random.default_rng(1)
    return A, rng.random(shape), rng.random(A.domain)


def rms(x):
    return np.sqrt(np.mean(x**2))


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
@pytest.mark.parametrize("library", LIBRARIES[1:])
@pytest.mark.parametrize("kind", KINDS)
def test_every_library_gives_the_numbers_of_numpy(kind, library, dtype, tolerance, clipped):
    A, y, z = case(kind)
    expected = filled_solve(
        A, y, RHO, z, momentum=nesterov(6), clipped=y > 0.8 if clipped else None
    )
    B = operator(kind, library=library, dtype=dtype)
    Y, Z = put(y.astype(dtype), library), put(z.astype(dtype), library)
    limit = put(y > 0.8, library) if clipped else None
    found = filled_solve(B, Y, RHO, Z, momentum=nesterov(6), clipped=limit)
    assert str(found.dtype).endswith(dtype)
    np.testing.assert_allclose(get(found), expected, rtol=0, atol=tolerance * np.ptp(expected))


@pytest.mark.parametrize("momentum", [(), (0.5, 0.9)])
@pytest.mark.parametrize("kind", EXACT)
def test_one_step_is_exact_where_everything_is_observed(kind, momentum):
    A, y, z = case(kind)
    found = filled_solve(A, y, RHO, z, momentum=momentum, start=0 * z)
    np.testing.assert_allclose(found, A.prox(z, y, RHO), atol=1e-13)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in EXACT])
def test_many_steps_reach_prox_from_anywhere(kind):
    A, y, z = case(kind, (24, 21))
    x = A.prox(z, y, RHO, tol=1e-10, n_iter=1000)
    for start in (None, 5 - z, x):
        found = filled_solve(A, y, RHO, z, momentum=(0.7,) * 150, start=start)
        np.testing.assert_allclose(found, x, atol=1e-7)
    # The solution stays where it is, and no momentum carries it away.
    found = filled_solve(A, y, RHO, z, momentum=nesterov(3), start=x)
    np.testing.assert_allclose(found, x, atol=1e-7)


@pytest.mark.parametrize("kind", ["unknown", "holes", "soft weights", "strided"])
def test_momentum_saves_steps(kind):
    A, y, z = case(kind, (24, 21))
    rho = 0.01
    x = A.prox(z, y, rho, tol=1e-10, n_iter=1000)

    def error(momentum):
        return rms(filled_solve(A, y, rho, z, momentum=momentum) - x)

    # The count of steps is one more than that of momenta.
    plain = [error((0.0,) * k) for k in range(20)]
    assert all(later < earlier for earlier, later in pairwise(plain))
    for steps, plain_steps in ((4, 5), (6, 10), (10, 18)):
        assert error(nesterov(steps)) < plain[plain_steps - 1]


def test_nesterovs_momentum():
    assert nesterov(1) == ()
    assert nesterov(4) == (1 / 4, 2 / 5, 3 / 6)


def test_the_steps_written_out():
    A, y, z = case("holes")
    W, rho, first, second = A.weights, 0.3, 0.4, 0.7

    def step(x):
        filled = A.blur(x)
        seen = A.crop(filled)
        filled[A.frame.index] = W * y + (1 - W) * seen
        return A.solve(A.correlate(filled) + rho * z, rho)

    start = 2 * z
    one = step(start)
    two = step(one + first * (one - start))
    three = step(two + second * (two - one))
    found = filled_solve(A, y, rho, z, momentum=(first, second), start=start)
    np.testing.assert_allclose(found, three, atol=1e-13)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_batch_with_one_psf_and_one_penalty_each(library):
    rng = np.random.default_rng(0)
    psf, weights = random_psf(rng, (4, 3), (2, 1)), rng.random((2, 1, *SHAPE))
    rho, momentum = np.array([0.05, 0.8]), np.array([0.2, 0.5])
    A = Blur(put(psf, library), SHAPE, weights=put(weights, library))
    y, z = rng.random((2, 3, *SHAPE)), rng.random((2, 3, *A.domain))
    given = put(rho, library), put(z, library)
    found = get(filled_solve(A, put(y, library), *given, momentum=put(momentum, library)))
    for i, r in enumerate(rho):
        B = Blur(psf[i, 0], SHAPE, weights=weights[i, 0])
        expected = filled_solve(B, y[i], float(r), z[i], momentum=tuple(momentum))
        np.testing.assert_allclose(found[i], expected, atol=1e-12)
    # The observation may be one for all.
    found = get(filled_solve(A, put(y[0], library), *given, momentum=(0.2, 0.5)))
    expected = filled_solve(B, y[0], 0.8, z[1], momentum=tuple(momentum))
    np.testing.assert_allclose(found[1], expected, atol=1e-12)


# --- saturated pixels -----------------------------------------------------------------------------


def clipped_case():
    """A bright patch on a scene, as a sensor shows it that clips at 1."""
    shape, rng = (24, 24), np.random.default_rng(0)
    psf, scene = random_psf(rng, (4, 3)), rng.random(shape)
    scene[8:15, 9:17] = 3.0
    light = Blur(psf, shape, boundary="periodic")(scene)
    y = np.minimum(light, 1.0)
    return psf, scene, y, y >= 1.0


def test_a_clipped_pixel_says_at_least():
    psf, scene, y, clipped = clipped_case()
    A = Blur(psf, y.shape, boundary="periodic")
    many = (0.7,) * 400
    # The one-sided misfit is at its least: its gradient vanishes.
    for z in (0 * scene, scene, 0.5 * scene):
        x = filled_solve(A, y, RHO, z, momentum=many, clipped=clipped)
        misfit = A(x) - y
        misfit[clipped & (misfit > 0)] = 0
        np.testing.assert_allclose(A.adjoint(misfit) + RHO * (x - z), 0, atol=1e-8)
    masked = A.reweighted((~clipped).astype(float))
    # Pulled to the bright scene, the prediction is above the level, and nothing is known beyond.
    x = filled_solve(A, y, RHO, scene, momentum=many, clipped=clipped)
    assert A(x)[clipped].min() >= 1
    np.testing.assert_allclose(x, filled_solve(masked, y, RHO, scene, momentum=many), atol=1e-10)
    # Pulled to black it is at the level, where a masked patch would be dark.
    x = filled_solve(A, y, 1e-3, 0 * scene, momentum=many, clipped=clipped)
    dark = filled_solve(masked, y, 1e-3, 0 * scene, momentum=many)
    assert A(x)[clipped].min() > 0.95
    assert A(dark)[clipped].min() < 0.5


# --- a black surrounding --------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
def test_black_beyond_a_zero_boundary(library):
    rng = np.random.default_rng(0)
    scene = picture(size=64)
    A = Blur(put(random_psf(rng, (7, 6)), library), scene.shape, boundary="zero")
    B = Blur(get(A.psf), scene.shape, boundary="zero")
    light = B(B.frame.pad(scene)) + 0.01 * rng.normal(size=scene.shape)
    y, z = put(light, library), put(B.embed(light), library)
    x = get(A.prox(z, y, 0.01, tol=1e-10, n_iter=1000))
    found = get(filled_solve(A, y, 0.01, z, momentum=nesterov(6)))
    assert rms(found - x) < 0.02 * rms(get(z) - x)
    # A prior that lets light out of the frame does not matter.
    spilt = put(get(z) + 0.1 * (1 - B.frame.pad(np.ones_like(light))), library)
    found = get(filled_solve(A, y, 0.01, spilt, momentum=nesterov(6)))
    assert rms(found - x) < 0.02 * rms(get(z) - x)
    beyond = found.copy()
    beyond[B.frame.index] = 0
    np.testing.assert_allclose(beyond, 0, atol=1e-12)
    # Clipped light is found behind the level.
    limit = light > 0.7
    shown, limit = put(np.minimum(light, 0.7), library), put(limit, library)
    found = get(filled_solve(A, shown, 0.01, z, momentum=nesterov(6), clipped=limit))
    worse = get(filled_solve(A, shown, 0.01, z, momentum=nesterov(6)))
    assert rms(found - x) < 0.5 * rms(worse - x)


# --- memory and gradients -------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", [*KINDS, "zero"])
def test_inputs_are_left_alone(kind, library):
    if kind == "zero":
        A = Blur(put(random_psf(np.random.default_rng(0), (4, 3)), library), SHAPE, boundary="zero")
    else:
        A = operator(kind, library=library)
    rng = np.random.default_rng(1)
    y, z, start = rng.random(SHAPE), rng.random(A.domain), rng.random(A.domain)
    given = [put(v, library) for v in (y, z, start, y > 0.8)]
    for options in ({}, {"start": given[2]}, {"clipped": given[3]}):
        for momentum in ((), (0.3,)):
            filled_solve(A, given[0], RHO, given[1], momentum=momentum, **options)
    for v, kept in zip(given, (y, z, start, y > 0.8), strict=True):
        np.testing.assert_array_equal(get(v), kept)


@pytest.mark.skipif("torch" not in LIBRARIES, reason="no torch")
@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients(stride, clipped):
    import torch

    rng = np.random.default_rng(0)
    shape = (3, 2)
    psf, weights = torch.tensor(random_psf(rng, (2, 2))), torch.tensor(rng.random(shape))
    A = StridedBlur(psf, shape, stride, weights=weights)

    def leaf(values):
        return torch.tensor(values, dtype=torch.float64, requires_grad=True)

    y, z = leaf(rng.random((2, *shape))), leaf(rng.random((2, *A.domain)))
    rho, momentum = leaf([0.5, 0.8]), leaf([0.3, 0.6])
    limit = y.detach() > 0.7 if clipped else None

    def solve(y, z, rho, momentum):
        return filled_solve(A, y, rho, z, momentum=momentum, clipped=limit)

    assert torch.autograd.gradcheck(solve, (y, z, rho, momentum))
