"""The gradient: its transpose and spectrum, and the one pass over it against the formula."""

import numpy as np
import pytest
from helpers import LIBRARIES, get, put

import deconv.gradient
from deconv.fft import irfftn, rfftn
from deconv.gradient import Gradient
from deconv.priors import HyperLaplacian, L0Gradient, TotalVariation
from deconv.threads import get_threads, set_threads

SHAPES = [(1,), (2,), (17,), (24, 21), (9, 1), (1, 9), (7, 2), (6, 7, 8), (3, 1, 5)]
LEADS = [(), (3,), (2, 3)]
PRIORS = {
    "tv": TotalVariation(),
    "tv of colours": TotalVariation(vectorial=True),
    "l0": L0Gradient(),
    "l0 of colours": L0Gradient(vectorial=True),
    "power 0.5": HyperLaplacian(0.5),
    "power 0.8": HyperLaplacian(0.8),
}


def random(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def differences(x, ndim, closed):
    """Forward differences by slices; the last of each axis is the step to the first pixel, or 0."""
    parts = []
    for axis in range(-ndim, 0):
        first = x.take([0 if closed else -1], axis)
        parts.append(np.diff(x, axis=axis, append=first))
    return np.stack(parts)


def divergence(z):
    """Transpose of the closed differences."""
    return sum(
        np.roll(part, 1, axis) - part for axis, part in zip(range(-len(z), 0), z, strict=True)
    )


def written_out(x, prior, u, ndim, closed, step=0.4, scale=0.7):
    """The half step on whole arrays: ``scale Dᵀ(2z - v)`` (without a dual of z) and ``v - z``.

    Across an open seam the target is the difference itself: nothing pulls at it.
    """
    inside, circular = differences(x, ndim, closed), differences(x, ndim, True)
    v = inside if u is None else inside + u
    z = prior.prox(v, step)
    target = z if u is None else 2 * z - v
    return scale * divergence(target + (circular - inside)), v - z


@pytest.fixture
def threads():
    """Sets the number of threads for a test."""
    before = get_threads()
    yield set_threads
    set_threads(before)


# --- differences ----------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_forward_differences(shape, lead, closed, library):
    x = random(*lead, *shape)
    found = Gradient(len(shape), closed)(put(x, library))
    assert found.shape == (len(shape), *lead, *shape)
    np.testing.assert_allclose(get(found), differences(x, len(shape), closed), atol=1e-15)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-14)])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_adjoint_is_exact(shape, dtype, tolerance, closed, library):
    D = Gradient(len(shape), closed)
    x, z = random(2, *shape, dtype=dtype), random(len(shape), 2, *shape, seed=1, dtype=dtype)
    forward, back = D(put(x, library)), D.adjoint(put(z, library))
    assert forward.dtype == back.dtype == put(x, library).dtype
    one, other = np.vdot(get(forward), z), np.vdot(x, get(back))
    size = np.linalg.norm(get(forward)) * np.linalg.norm(z) + np.linalg.norm(x)
    assert abs(one - other) <= tolerance * size


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_its_square_is_diagonal_in_the_spectrum(shape, library):
    D, x = Gradient(len(shape)), random(*shape)
    power = D.power(shape, put(x, library))
    assert len(power) == len(shape)
    total = sum((get(part) for part in power[1:]), get(power[0]))
    assert np.broadcast_shapes(total.shape, rfftn(x, x.ndim).shape) == rfftn(x, x.ndim).shape
    expected = get(D.adjoint(D(put(x, library))))
    np.testing.assert_allclose(irfftn(total * rfftn(x, x.ndim), shape), expected, atol=1e-13)


# --- the one pass ---------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("shape", [(24, 21), (17,), (6, 7, 8), (3, 24, 21), (2, 3, 12, 9)])
def test_split_is_the_formula(shape, name, dual, closed, library):
    ndim = {(17,): 1, (6, 7, 8): 3}.get(shape, 2)
    prior, D = PRIORS[name], Gradient(ndim, closed)
    x = random(*shape)
    # Across an open seam the dual of a solve is 0.
    u = 0.3 * differences(random(*shape, seed=1), ndim, closed) if dual else None
    expected, new = written_out(x, prior, u, ndim, closed)
    given = None if u is None else put(u, library)
    if library == "numpy" and dual:
        given = u.copy()
    found, after = D.split(put(x, library), lambda v: prior.factor(v, 0.4), given, scale=0.7)
    np.testing.assert_allclose(get(found), expected, atol=1e-13)
    if not dual:
        assert after is None
    else:
        np.testing.assert_allclose(get(after), new, atol=1e-13)
        assert library != "numpy" or after is given


@pytest.mark.parametrize("count", [1, 2, 3, 40])
@pytest.mark.parametrize("rows", [1, 3, 1000])
@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("shape", [(23, 14), (31,), (9, 4, 5), (3, 23, 14), (2, 1)])
def test_blocks_and_threads_do_not_show(monkeypatch, threads, shape, closed, rows, count):
    ndim = {(31,): 1, (9, 4, 5): 3}.get(shape, 2)
    x = random(*shape)
    row_bytes = x.nbytes // shape[-ndim]
    monkeypatch.setattr(deconv.gradient, "BLOCK_BYTES", rows * row_bytes)
    monkeypatch.setattr(deconv.gradient, "PARALLEL_BYTES", 0)
    threads(count)
    D = Gradient(ndim, closed)
    for name in ("tv of colours", "l0", "power 0.8"):
        prior = PRIORS[name]
        for u in (None, 0.3 * differences(random(*shape, seed=1), ndim, closed)):
            expected, new = written_out(x, prior, u, ndim, closed)
            after = None if u is None else u.copy()
            found, _ = D.split(x, lambda v, p=prior: p.factor(v, 0.4), after, scale=0.7)
            np.testing.assert_allclose(found, expected, atol=1e-13)
            if u is not None:
                np.testing.assert_allclose(after, new, atol=1e-13)


def test_large_arrays_are_cut_without_being_told_to(threads):
    threads(2)
    x = random(2, 1030, 515, dtype="float32")
    assert x.nbytes > deconv.gradient.PARALLEL_BYTES > deconv.gradient.BLOCK_BYTES
    u = np.zeros((2, *x.shape), "f4")
    expected, new = written_out(x, TotalVariation(True), u, 2, False, 0.4, 1.5)
    found, after = Gradient(2, closed=False).split(
        x, lambda v: TotalVariation(True).factor(v, 0.4), u, scale=1.5
    )
    assert found.dtype == after.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_allclose(after, new, atol=2e-5)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_and_scales_for_each_channel(name, dtype, library):
    prior, D = PRIORS[name], Gradient(2, closed=False)
    x = random(3, 12, 11, dtype=dtype)
    step = np.array([0.1, 0.4, 0.9], dtype).reshape(3, 1, 1)
    scale = np.array([1, 2, 3], dtype).reshape(3, 1, 1)
    found, _ = D.split(
        put(x, library),
        lambda v: prior.factor(v, put(step, library)),
        scale=put(scale, library),
    )
    assert found.dtype == put(x, library).dtype
    expected, _ = written_out(x, prior, None, 2, False, step, scale)
    np.testing.assert_allclose(get(found), expected, atol=1e-12 if dtype == "float64" else 1e-5)


def test_the_result_takes_the_memory_it_is_offered():
    x, out = put(random(24, 21), "numpy"), np.full((24, 21), np.nan)
    expected, _ = Gradient(2).split(x, lambda v: TotalVariation().factor(v, 0.4))
    found, _ = Gradient(2).split(x, lambda v: TotalVariation().factor(v, 0.4), out=out)
    assert found is out
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("library", LIBRARIES)
def test_across_an_open_seam_nothing_pulls(library):
    # With a target that equals the gradient, DᵀDx itself comes out, seam and all.
    x = random(12, 11)
    D, u = Gradient(2, closed=False), np.zeros((2, 12, 11))
    u = u if library == "numpy" else put(u, library)
    found, u = D.split(put(x, library), lambda v: 1 + 0 * v, u)
    closed = Gradient(2)
    np.testing.assert_allclose(get(found), closed.adjoint(closed(x)), atol=1e-14)
    assert not get(u).any()
    # And the dual never grows there.
    _, u = D.split(put(x, library), lambda v: 0 * v + 0.25, u)
    assert not get(u)[0, -1].any() and not get(u)[1, :, -1].any()
    assert get(u)[0, :-1].all() and get(u)[1, :, :-1].all()


@pytest.mark.parametrize("closed", [True, False])
def test_a_constant_has_no_pull(closed):
    for level in (0.0, 7.5, -4e4):
        found, u = Gradient(2, closed).split(
            np.full((9, 8), level), lambda v: TotalVariation().factor(v, 0.4), np.zeros((2, 9, 8))
        )
        assert not found.any() and not u.any()


@pytest.mark.skipif("torch" not in LIBRARIES, reason="no torch")
@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("dual", [False, True])
def test_gradients_flow_through_the_pass(closed, dual):
    import torch

    x = torch.tensor(3 * random(2, 5, 4), requires_grad=True)
    u = torch.tensor(random(2, 2, 5, 4, seed=1), requires_grad=True)

    def factor(v):
        return TotalVariation(vectorial=True).factor(v, 0.1)

    def half(x, u):
        found, after = Gradient(2, closed).split(x, factor, u if dual else None)
        return (found, after) if dual else found + 0 * u.sum()

    assert torch.autograd.gradcheck(half, (x, u), atol=1e-6)
