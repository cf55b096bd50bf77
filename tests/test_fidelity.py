"""The data term: its weights are its slopes, its value is what the loops claim to decrease."""

import numpy as np
import pytest
from helpers import LIBRARIES, get, put, random_psf
from hypothesis import given, settings
from hypothesis import strategies as st

from deconv import Blur
from deconv.fidelity import OUTLIERS, Fidelity, impulses

SHAPE = (12, 11)
RNG = np.random.default_rng(0)
KERNEL = random_psf(RNG, (3, 4))
Y = RNG.random(SHAPE)
CLIPPED = Y > 0.7
WEIGHTS = RNG.random(SHAPE) * (RNG.random(SHAPE) > 0.2)
KINDS = {
    "plain": {},
    "clipped": {"clipped": CLIPPED},
    "outliers": {"noise": 0.05, "spread": 1.3},
    "both": {"clipped": CLIPPED, "noise": 0.05, "spread": 1.3},
}


def term(kind="plain", weighted=False, library="numpy", dtype="float64", y=Y):
    weights = put(WEIGHTS.astype(dtype), library) if weighted else None
    A = Blur(put(KERNEL.astype(dtype), library), SHAPE, weights=weights)
    options = dict(KINDS[kind])
    if "clipped" in options:
        options["clipped"] = put(CLIPPED, library)
    return Fidelity(A, put(y.astype(dtype), library), **options)


def each(F, seen):
    """The term of every pixel: differences of the value, pixel by pixel."""
    result = np.zeros(SHAPE)
    whole = F.value(F.y)
    for i in np.ndindex(*SHAPE):
        moved = np.array(F.y)
        moved[i] = seen[i]
        result[i] = F.value(moved) - whole
    return result


def prediction(seed=1):
    return Y + 0.2 * np.random.default_rng(seed).normal(size=SHAPE)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("weighted", [False, True])
def test_without_options_it_is_the_weighted_square(weighted, library):
    F, seen = term("plain", weighted, library), prediction()
    found = F.weights(put(seen, library))
    assert not F.adaptive
    if weighted:
        np.testing.assert_array_equal(get(found), WEIGHTS)
    else:
        assert found is None
    w = WEIGHTS if weighted else 1
    assert F.value(put(seen, library)) == pytest.approx(0.5 * (w * (seen - Y) ** 2).sum())
    assert type(F.value(put(seen, library))) is float


@pytest.mark.parametrize("weighted", [False, True])
def test_a_clipped_pixel_is_contradicted_from_below_only(weighted):
    F, seen = term("clipped", weighted), prediction()
    w = np.where(CLIPPED & (seen >= Y), 0, WEIGHTS if weighted else 1)
    assert F.adaptive
    np.testing.assert_array_equal(F.weights(seen), w)
    assert F.value(seen) == pytest.approx(0.5 * (w * (seen - Y) ** 2).sum())
    assert 0 < (w == 0).sum() < w.size
    # At the clip level itself both agree.
    np.testing.assert_array_equal(each(F, Y), 0)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_weight_is_the_probability_to_be_no_outlier(weighted):
    F, seen = term("outliers", weighted), prediction()
    inlier = (1 - OUTLIERS) * np.exp(-((seen - Y) ** 2) / (2 * 0.05**2))
    inlier /= np.sqrt(2 * np.pi) * 0.05
    sure = inlier / (inlier + OUTLIERS / 1.3)
    assert F.adaptive
    np.testing.assert_allclose(F.weights(seen), sure * (WEIGHTS if weighted else 1), rtol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_slope_of_the_value_is_the_weighted_residual(kind, weighted):
    F, seen, h = term(kind, weighted), prediction(), 1e-6
    slope = (each(F, seen + h) - each(F, seen - h)) / (2 * h)
    weights = F.weights(seen)
    expected = (1 if weights is None else weights) * (seen - Y)
    np.testing.assert_allclose(slope, expected, atol=1e-6)


@given(
    at=st.floats(-1, 1), to=st.floats(-2, 2), noise=st.floats(0.01, 1), spread=st.floats(0.1, 10)
)
@settings(max_examples=200)
def test_with_outliers_the_weighted_square_bounds_the_term(at, to, noise, spread):
    A = Blur(np.ones((1, 1)), (1, 1))
    F = Fidelity(A, np.zeros((1, 1)), noise=noise, spread=spread)
    at, to = np.full((1, 1), at), np.full((1, 1), to)
    bound = F.value(at) + 0.5 * (F.weights(at) * (to**2 - at**2)).item()
    assert F.value(to) <= bound + 1e-9 * (1 + bound)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_term_is_0_at_the_data_and_never_below(kind, weighted):
    F = term(kind, weighted)
    assert F.value(Y) == pytest.approx(0, abs=1e-12)
    square = term("plain", weighted)
    for far in (0.01, 1.0, 100.0):
        for sign in (-1, 1):
            assert 0 <= F.value(Y + sign * far) <= square.value(Y + sign * far) + 1e-12
    if kind == "plain":
        return
    # Above a clipped pixel's level nothing is paid, for an outlier no more than a constant.
    high, higher = F.value(Y + 1e3), F.value(Y + 1e6)
    if kind == "outliers":
        assert higher == pytest.approx(high)
    elif kind == "clipped":
        inside = (WEIGHTS if weighted else np.ones(SHAPE))[~CLIPPED]
        assert high == pytest.approx(0.5 * 1e6 * inside.sum())


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-12)])
def test_libraries_agree_and_keep_the_dtype(kind, dtype, tolerance, library):
    seen = prediction().astype(dtype)
    F, G = term(kind, True, library, dtype), term(kind, True)
    found = F.weights(put(seen, library))
    assert found.dtype == F.y.dtype
    np.testing.assert_allclose(get(found), G.weights(seen.astype(float)), atol=tolerance)
    assert F.value(put(seen, library)) == pytest.approx(G.value(seen.astype(float)), rel=1e-4)
    # Residuals beyond any exponent.
    for far in (1e3, 1e10):
        weights = get(F.weights(put((seen + far).astype(dtype), library)))
        assert np.isfinite(weights).all() and weights.min() >= 0 and weights.max() <= 1
        assert np.isfinite(F.value(put((seen + far).astype(dtype), library)))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_batch_has_the_weights_of_its_members(library):
    seen = np.stack([prediction(1), prediction(2), prediction(3)])
    A = Blur(put(KERNEL, library), SHAPE, weights=put(WEIGHTS, library))
    Ys = np.stack([Y, 2 * Y, 3 * Y])
    F = Fidelity(A, put(Ys, library), clipped=put(Ys > 1, library), noise=0.1)
    found = get(F.weights(put(seen, library)))
    total = 0
    for i in range(3):
        G = Fidelity(A, put(Ys[i], library), clipped=put(Ys[i] > 1, library), noise=0.1)
        np.testing.assert_allclose(found[i], get(G.weights(put(seen[i], library))), atol=1e-14)
        total += G.value(put(seen[i], library))
    assert F.value(put(seen, library)) == pytest.approx(total)


@pytest.mark.parametrize("factor", [1e-3, 255.0, 1e4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_unit_does_not_matter(kind, factor):
    options = dict(KINDS[kind])
    for name in ("noise", "spread"):
        if name in options:
            options[name] *= factor
    seen, F = prediction(), term(kind, True)
    G = Fidelity(F.A, factor * Y, **options)
    np.testing.assert_allclose(G.weights(factor * seen), F.weights(seen), atol=1e-12)
    assert G.value(factor * seen) == pytest.approx(factor**2 * F.value(seen))


# --- the first guess at outliers ------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("factor", [1.0, 255.0])
def test_impulses_are_found_and_edges_are_not(library, factor):
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.sin(np.arange(40) / 5), np.cos(np.arange(36) / 4))
    smooth += 2.0 * (np.arange(36) > 17)
    noisy = smooth + 0.02 * rng.normal(size=smooth.shape)
    hit = np.zeros(noisy.shape, bool)
    hit[4:36:5, 3:33:6] = True
    y = factor * np.where(hit, rng.choice([-4.0, 6.0], hit.shape), noisy)
    weights = impulses(put(y, library), 2)
    assert type(weights) is type(put(y, library)) and weights.dtype == put(y, library).dtype
    weights = get(weights)
    assert not weights[hit].any()
    assert set(np.unique(weights)) == {0, 1}
    assert weights[~hit].mean() > 0.95
    clean = get(impulses(put(factor * smooth, library), 2))
    assert clean[:, 16:20].mean() > 0.9


@pytest.mark.parametrize("shape", [(60,), (9, 8, 7), (3, 20, 21)])
def test_impulses_of_any_dimension(shape):
    ndim = {(60,): 1, (9, 8, 7): 3}.get(shape, 2)
    y = np.random.default_rng(0).normal(size=shape) * 0.1
    place = tuple(n // 2 for n in shape)
    y[place] = 50
    weights = impulses(y, ndim)
    assert weights.shape == shape and weights[place] == 0
    assert weights.mean() > 0.9
