"""Priors: every prox against the minimum found by search, its laws, its kinks, what it refuses."""

import math

import numpy as np
import pytest
from helpers import LIBRARIES, get, put
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deconv.priors import Box, Denoiser, HyperLaplacian, L0Gradient, TotalVariation

POWERS = (0.01, 0.3, 0.5, 2 / 3, 0.8, 0.95, 1)
# The penalties of a pixel's coefficients z, shape (n, ...), written out.
PENALTIES = {
    "tv": (TotalVariation(), lambda z: np.sqrt((z**2).sum(0))),
    "l0": (L0Gradient(), lambda z: (z != 0).any(0).astype(float)),
} | {f"power {p:.2g}": (HyperLaplacian(p), lambda z, p=p: (np.abs(z) ** p).sum(0)) for p in POWERS}
DEGREES = {"tv": 1, "l0": 0} | {f"power {p:.2g}": p for p in POWERS}


def searched(penalty, v, step):
    """Least value of ``step penalty(z) + |z - v|^2 / 2`` over z in R^n, by zooming in."""
    v = np.asarray(v, float)

    def cost(z):
        return step * penalty(z) + 0.5 * ((z - v[:, None]) ** 2).sum(0)

    # 0 and v themselves, where the discontinuous penalties have their minima.
    candidates = np.stack([0 * v, v], axis=1)
    best = candidates[:, cost(candidates).argmin()]
    count = {1: 401, 2: 31, 3: 15}[len(v)]
    middle, reach = v / 2, np.full(len(v), np.abs(v).max() / 2 + 1e-300)
    for _ in range(60):
        axes = [m + r * np.linspace(-1, 1, count) for m, r in zip(middle, reach, strict=True)]
        points = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")])
        middle = points[:, cost(points).argmin()]
        if cost(middle[:, None])[0] < cost(best[:, None])[0]:
            best = middle
        reach = reach * 0.5
    return cost(best[:, None])[0]


def cost_at(penalty, z, v, step):
    z, v = np.asarray(z, float), np.asarray(v, float)
    return step * penalty(z[:, None])[0] + 0.5 * ((z - v) ** 2).sum()


# --- the minimum ----------------------------------------------------------------------------------

values = st.floats(-10, 10).map(lambda x: x if abs(x) > 1e-3 else 0.0)
steps = st.floats(-3, 1.5).map(lambda x: 10**x)


@pytest.mark.parametrize("name", PENALTIES)
@given(v=st.lists(values, min_size=1, max_size=3), step=steps)
@example(v=[0.0, 0.0], step=1.0)
@settings(max_examples=40)
def test_the_prox_is_the_minimum_found_by_search(name, v, step):
    prior, penalty = PENALTIES[name]
    apart = name.startswith("power")
    v = np.array(v[:1] if apart else v)
    least = searched(penalty, v, step)
    for dtype, tolerance in (("float64", 1e-9), ("float32", 1e-5)):
        exact = v.astype(dtype)
        for library in LIBRARIES:
            z = get(prior.prox(put(exact.reshape(-1, 1, 1), library), step)).reshape(-1)
            assert z.dtype == dtype
            reached = cost_at(penalty, z, exact, step)
            assert reached <= least + tolerance * (0.5 * (v**2).sum() + 1e-12)


@given(v=st.floats(-10, 10), step=steps, p=st.floats(1e-6, 1))
@example(v=1.5, step=1.0, p=1e-300)
@example(v=1.5, step=1.0, p=1 - 1e-16)
@settings(max_examples=60)
def test_any_power_has_its_minimum(v, step, p):
    least = searched(lambda z: (np.abs(z) ** p).sum(0), np.array([v]), step)
    z = HyperLaplacian(p).prox(np.array([[v]]), step)
    assert cost_at(lambda z: (np.abs(z) ** p).sum(0), z[0], [v], step) <= least + 1e-9 * (
        v * v + step
    )


@pytest.mark.parametrize("p", POWERS)
def test_a_power_is_shrunk_as_its_equation_says(p):
    v = np.linspace(-8, 8, 4001)[None]
    z = HyperLaplacian(p).prox(v, 0.7)
    kept = z != 0
    slope = z[kept] - v[kept] + 0.7 * p * np.abs(z[kept]) ** (p - 1) * np.sign(z[kept])
    assert kept.any() and not kept.all()
    assert np.abs(slope).max() < 1e-10
    # Below one threshold nothing is left, above it everything is.
    assert np.abs(v[kept]).min() > np.abs(v[~kept]).max()


@pytest.mark.parametrize("p", POWERS)
def test_the_table_of_float32_is_the_polished_value(p):
    v = np.linspace(-20, 20, 20001, dtype="f4")[None]
    rough = HyperLaplacian(p).prox(v, 1.3)
    exact = HyperLaplacian(p).prox(v.astype(float), 1.3)
    assert rough.dtype == np.float32
    # Where the two see different sides of the threshold, they jump.
    same = (rough != 0) == (exact != 0)
    assert same.sum() >= same.size - 2
    np.testing.assert_allclose(rough[same], exact[same], rtol=0, atol=5e-6)


def test_power_one_is_the_soft_threshold_in_both_precisions():
    v = np.linspace(-5, 5, 1001)[None]
    expected = np.sign(v) * np.maximum(np.abs(v) - 1.7, 0)
    np.testing.assert_allclose(HyperLaplacian(1).prox(v, 1.7), expected, atol=1e-13)
    np.testing.assert_allclose(HyperLaplacian(1.0).prox(v.astype("f4"), 1.7), expected, atol=2e-6)


# --- channels, steps, libraries -------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("prior", [TotalVariation, L0Gradient])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 3, 9), (3, 2, 4, 5, 6), (2, 4, 3, 5, 6)])
def test_vectorial_is_one_length_over_the_channels_too(prior, shape, library):
    ndim = shape[0]
    v = np.random.default_rng(0).normal(size=shape)
    found = get(prior(vectorial=True).prox(put(v, library), 0.9))
    # All components of a pixel in front: then the length over the first axis is the same.
    joined = np.moveaxis(v, -ndim - 1, 1).reshape(-1, *np.delete(shape[1:], -ndim - 1))
    expected = prior().prox(joined, 0.9).reshape(np.moveaxis(v, -ndim - 1, 1).shape)
    np.testing.assert_allclose(found, np.moveaxis(expected, 1, -ndim - 1), atol=1e-14)
    assert prior(vectorial=True).value(put(v, library)) == pytest.approx(prior().value(joined))
    assert not np.allclose(found, prior().prox(v, 0.9))


@pytest.mark.parametrize("prior", [TotalVariation, L0Gradient])
def test_without_channels_vectorial_changes_nothing(prior):
    for shape in ((2, 5, 4), (1, 9), (3, 4, 5, 6)):
        v = np.random.default_rng(0).normal(size=shape)
        np.testing.assert_array_equal(prior(True).prox(v, 0.5), prior(False).prox(v, 0.5))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_for_each_channel_or_pixel(name, library, dtype):
    prior = PENALTIES[name][0]
    rng = np.random.default_rng(1)
    v = rng.normal(size=(2, 3, 5, 4)).astype(dtype)
    for step in (rng.random((3, 1, 1)) + 0.1, rng.random((3, 5, 4)) + 0.1):
        step = step.astype(dtype)
        found = prior.prox(put(v, library), put(step, library))
        assert found.dtype == put(v, library).dtype
        each = np.broadcast_to(step, v.shape[1:])
        for i in np.ndindex(*v.shape[1:]):
            alone = prior.prox(v[(slice(None), *i)].reshape(2, 1, 1), float(each[i])).reshape(2)
            np.testing.assert_allclose(get(found)[(slice(None), *i)], alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_libraries_agree_and_the_value_is_the_penalty(name, library, dtype, tolerance):
    prior, penalty = PENALTIES[name]
    v = np.random.default_rng(2).normal(size=(2, 7, 6)).astype(dtype)
    v[:, :2] = 0
    x = put(v, library)
    found = prior.prox(x, 0.3)
    assert type(found) is type(x) and found.dtype == x.dtype
    np.testing.assert_allclose(get(found), prior.prox(v, 0.3), atol=tolerance)
    assert prior.value(x) == pytest.approx(penalty(v.astype(float)).sum(), rel=1e-5)
    assert type(prior.value(x)) is float
    np.testing.assert_array_equal(get(x), v)
    # The order in memory does not matter.
    np.testing.assert_array_equal(prior.prox(np.asfortranarray(v), 0.3), prior.prox(v, 0.3))


@pytest.mark.parametrize("name", PENALTIES)
@given(factor=st.floats(-4, 4).map(lambda x: 10**x), step=steps)
@settings(max_examples=10)
def test_the_prox_scales_with_its_degree(name, factor, step):
    prior, degree = PENALTIES[name][0], DEGREES[name]
    v = np.random.default_rng(3).normal(size=(2, 6, 5))
    found = prior.prox(factor * v, factor ** (2 - degree) * step)
    np.testing.assert_allclose(found / factor, prior.prox(v, step), rtol=1e-9, atol=1e-12)
    single = prior.prox((factor * v).astype("f4"), factor ** (2 - degree) * step)
    np.testing.assert_allclose(single / factor, prior.prox(v, step), rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_step_keeps_all_a_huge_one_nothing_and_nothing_stays_nothing(name, library, dtype):
    prior = PENALTIES[name][0]
    v = np.random.default_rng(4).normal(size=(2, 6, 5)).astype(dtype)
    v[:, 0] = 0
    np.testing.assert_allclose(get(prior.prox(put(v, library), 0.0)), v, rtol=1e-6)
    assert not get(prior.prox(put(v, library), 1e6)).any()
    assert not get(prior.prox(put(0 * v, library), 0.5)).any()


@pytest.mark.parametrize("name", ["tv", "power 1"])
def test_convex_priors_never_spread_points_apart(name):
    prior = PENALTIES[name][0]
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 2, 50, 40))
    apart = np.sqrt(((a - b) ** 2).sum(0))
    shrunk = np.sqrt(((prior.prox(a, 0.6) - prior.prox(b, 0.6)) ** 2).sum(0))
    assert (shrunk <= apart + 1e-12).all()


# --- torch's gradients ----------------------------------------------------------------------------

torch_only = pytest.mark.skipif("torch" not in LIBRARIES, reason="no torch")
SMOOTH = [
    TotalVariation(),
    TotalVariation(vectorial=True),
    *(HyperLaplacian(p) for p in (0.1, 0.5, 2 / 3, 0.8, 1)),
]


@torch_only
@pytest.mark.parametrize("prior", SMOOTH, ids=repr)
def test_gradients_of_the_prox_are_exact_away_from_its_kinks(prior):
    import torch

    # Far above and far below every threshold at these steps.
    rng = np.random.default_rng(6)
    size = np.where(rng.random((1, 2, 4, 3)) < 0.5, rng.uniform(2, 4, (1, 2, 4, 3)), 0.01)
    if getattr(prior, "vectorial", False):
        size = size[:, :1] + 0 * size
    v = torch.tensor(size * rng.choice([-1, 1], (2, 2, 4, 3)), requires_grad=True)
    step = torch.tensor(rng.uniform(0.3, 0.6, (2, 1, 1)), requires_grad=True)
    assert torch.autograd.gradcheck(prior.prox, (v, step), atol=1e-5)


@torch_only
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("prior", [*SMOOTH, L0Gradient()], ids=repr)
def test_flat_parts_do_not_spoil_the_gradients(prior, dtype):
    import torch

    for scale in (1.0, 1e4):
        v = np.zeros((2, 3, 4, 4), dtype)
        v[:, :, 1] = 3 * scale
        v = torch.tensor(v, requires_grad=True)
        prior.prox(v, 0.2 * scale).sum().backward()
        assert torch.isfinite(v.grad).all()
        assert v.grad.abs().max() > 0.5


@torch_only
def test_gradients_of_the_box():
    import torch

    v = torch.tensor([-2.0, -0.3, 0.4, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Box(-1, 1).prox, (v,))
    Box(-1, 1).prox(v).sum().backward()
    np.testing.assert_array_equal(v.grad, [0, 1, 1, 0])


# --- box and denoiser -----------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, math.inf), (-math.inf, 0.5), (-1e3, 1e3)])
def test_the_box_gives_the_nearest_value_inside(low, high, dtype, library):
    box = Box(low, high)
    v = put(np.linspace(-3, 3, 101).reshape(1, 101).astype(dtype), library)
    found = box.prox(v, 0.1)
    assert found.dtype == v.dtype
    np.testing.assert_array_equal(get(found), np.clip(get(v), low, high).astype(dtype))
    np.testing.assert_array_equal(get(box.prox(v)), get(found))
    assert box.value(found) == 0
    assert box.value(v) == (0 if low < -3 and high > 3 else math.inf)
    assert box.acts_on == "image"


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_denoiser_is_told_the_deviation_and_keeps_the_kind_of_array(library):
    told = []

    def denoise(v, sigma):
        told.append(sigma)
        return 0.5 * v

    v = put(np.arange(12.0, dtype="f4").reshape(3, 4), library)
    found = Denoiser(denoise).prox(v, 0.09)
    assert told == [pytest.approx(0.3)]
    assert type(found) is type(v) and found.dtype == v.dtype
    np.testing.assert_array_equal(get(found), 0.5 * get(v))
    assert Denoiser(denoise).value(v) is None
    found = Denoiser(lambda v, s: np.ones(tuple(v.shape))).prox(v, 0.09)
    assert type(found) is type(v) and found.dtype == v.dtype


def test_a_denoiser_that_works_in_place_does_no_harm():
    def denoise(v, sigma):
        v *= 0
        return v

    v = np.ones((3, 4))
    assert not Denoiser(denoise).prox(v, 1.0).any()
    assert (v == 1).all()


def crops(v, sigma):
    return v[..., 1:]


def fails(v, sigma):
    return np.full(v.shape, np.nan)


class Explodes:
    def __call__(self, v, sigma):
        return np.full(v.shape, np.inf)


@pytest.mark.parametrize(
    ("denoise", "says"),
    [
        (crops, r"denoise=crops returned shape \(3, 3\) for an image of shape \(3, 4\)"),
        (fails, "denoise=fails returned NaN"),
        (Explodes(), "denoise=Explodes returned NaN or infinite"),
        (lambda v, sigma: None, r"denoise=<lambda> returned shape \(\)"),
    ],
)
def test_a_denoiser_that_fails_is_named(denoise, says):
    with pytest.raises(ValueError, match=says):
        Denoiser(denoise).prox(np.ones((3, 4)), 1.0)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "error"),
    [(p, ValueError) for p in (0, -0.5, 1.01, math.nan, math.inf)]
    + [(p, TypeError) for p in ("half", None, True)],
)
def test_a_power_is_above_0_and_at_most_1(p, error):
    with pytest.raises(error, match="p="):
        HyperLaplacian(p)


@pytest.mark.parametrize("bounds", [(1, 0), (0.5, 0.5), (math.nan, 1)])
def test_a_box_is_not_empty(bounds):
    with pytest.raises(ValueError, match=r"bounds=.*low below high"):
        Box(*bounds)
