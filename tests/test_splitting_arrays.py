"""The splitting loops on any array library, dtype, batch and dimension, and torch's gradients."""

import numpy as np
import pytest
from helpers import BOUNDARIES, LIBRARIES, get, put, random_psf

import deconv.gradient
from deconv import Blur
from deconv.fidelity import Fidelity
from deconv.priors import Box, Denoiser, HyperLaplacian, L0Gradient, TotalVariation
from deconv.splitting import Term, admm, hqs
from deconv.threads import get_threads, set_threads

# Leading axes, spatial shape, psf size, and whether the psf has the leading axes too.
CASES = {
    "line": ((), (31,), (4,), False),
    "grey": ((), (16, 13), (3, 4), False),
    "colour": ((3,), (16, 13), (3, 4), False),
    "psf per colour": ((3,), (16, 13), (4, 3), True),
    "volume": ((), (6, 7, 8), (2, 3, 2), False),
    "batch": ((2, 3), (9, 11), (3, 2), False),
}


def posed(name, boundary="unknown", library="numpy", dtype="float64", weighted=False, **options):
    lead, shape, size, own = CASES[name]
    rng = np.random.default_rng(0)
    weights = rng.random(shape) * (rng.random(shape) > 0.2) if weighted else None
    A = Blur(
        put(random_psf(rng, size, lead if own else (), dtype), library),
        shape,
        boundary=boundary,
        weights=None if weights is None else put(weights.astype(dtype), library),
    )
    y = rng.random((*lead, *shape)).astype(dtype)
    if "clipped" in options:
        options["clipped"] = put(y > 0.8, library)
    return Fidelity(A, put(y, library), **options)


def solutions(F, coupled=False):
    """What each loop makes of each kind of prior."""
    gradients = [TotalVariation(coupled), HyperLaplacian(0.6), L0Gradient(coupled)]
    box = Term(Box(0.2, 0.9), None, 0.1)
    halving = Denoiser(lambda v, sigma: v / (1 + sigma))
    for prior in gradients[:2]:
        yield admm(F, [Term(prior, 0.03, 0.2)], n_iter=12, tol=0).image
    yield admm(F, [Term(gradients[0], 0.03, 0.2), box], n_iter=12, tol=0).image
    for prior in gradients:
        yield hqs(F, [Term(prior, 0.03, [0.1, 0.4, 1.6])]).image
    stages = [Term(gradients[0], 0.03, [0.1, 0.4]), box._replace(rho=[0.1, 0.1])]
    yield hqs(F, stages).image
    yield hqs(F, [Term(halving, 0.03, [0.1, 0.4])]).image


# --- libraries and dtypes -------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES[1:])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("name", "weighted"), [*((name, False) for name in CASES), ("line", True), ("colour", True)]
)
def test_libraries_agree(name, boundary, weighted, library):
    F = posed(name, boundary, weighted=weighted)
    G = posed(name, boundary, library, weighted=weighted)
    coupled = name in ("colour", "batch")
    for found, expected in zip(solutions(G, coupled), solutions(F, coupled), strict=True):
        assert type(found) is type(G.y) and found.dtype == G.y.dtype
        np.testing.assert_allclose(get(found), expected, atol=1e-5)


@pytest.mark.parametrize("library", LIBRARIES[1:])
@pytest.mark.parametrize("boundary", ["unknown", "periodic"])
@pytest.mark.parametrize("options", [{"clipped": True}, {"noise": 0.1}], ids=["clipped", "noise"])
def test_libraries_agree_on_weights_that_adapt(options, boundary, library):
    F = posed("colour", boundary, weighted=True, **options)
    G = posed("colour", boundary, library, weighted=True, **options)
    for found, expected in zip(solutions(G), solutions(F), strict=True):
        np.testing.assert_allclose(get(found), expected, atol=1e-5)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_float32_stays_and_agrees(boundary, library):
    F = posed("colour", boundary, weighted=boundary == "unknown")
    G = posed("colour", boundary, library, "float32", weighted=boundary == "unknown")
    for i, (found, expected) in enumerate(zip(solutions(G), solutions(F), strict=True)):
        assert found.dtype == G.y.dtype
        # Hard thresholds may fall on either side: only the convex priors must agree.
        if i in (0, 2, 6, 7):
            np.testing.assert_allclose(get(found), expected, atol=2e-3)


@pytest.mark.parametrize("library", LIBRARIES)
def test_weights_and_penalties_may_differ_along_the_batch(library):
    F = posed("colour", library=library)
    lam, rho = np.array([0.01, 0.03, 0.1]), np.array([0.1, 0.2, 0.3])
    term = Term(
        TotalVariation(),
        put(lam.reshape(3, 1, 1), library),
        put(rho.reshape(3, 1, 1), library),
    )
    values = []
    together = admm(
        F,
        [term],
        n_iter=20,
        tol=0,
        tell=lambda k, x, objective, stopped: values.append(objective()),
    ).image
    assert np.isfinite(values).all()
    for i in range(3):
        one = Fidelity(F.A, F.y[i, ...])
        alone = admm(
            one, [Term(TotalVariation(), float(lam[i]), float(rho[i]))], n_iter=20, tol=0
        ).image
        np.testing.assert_allclose(get(together)[i], get(alone), atol=1e-9)


# --- batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", ["colour", "psf per colour", "batch"])
def test_a_batch_is_solved_as_each_of_its_members(name, boundary):
    F = posed(name, boundary, weighted=True)
    together = [
        admm(F, [Term(TotalVariation(), 0.03, 0.2)], n_iter=12, tol=0).image,
        hqs(F, [Term(HyperLaplacian(0.6), 0.03, [0.1, 0.4])], steps=60).image,
    ]
    for i in np.ndindex(*F.y.shape[: -F.A.ndim]):
        psf = F.A.psf[i] if name == "psf per colour" else F.A.psf
        A = Blur(psf, F.A.shape, boundary=boundary, weights=F.A.weights)
        one = Fidelity(A, F.y[i])
        alone = [
            admm(one, [Term(TotalVariation(), 0.03, 0.2)], n_iter=12, tol=0).image,
            hqs(one, [Term(HyperLaplacian(0.6), 0.03, [0.1, 0.4])], steps=60).image,
        ]
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[i], b, atol=1e-6)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_psfs_or_weights_of_a_batch_make_a_batch_of_one_picture(boundary):
    F = posed("psf per colour", boundary)
    shared = Fidelity(F.A, F.y[0])
    each = Fidelity(F.A, np.stack([F.y[0]] * 3))
    weights = np.random.default_rng(1).random((3, *F.A.shape))
    B = Blur(F.A.psf[0], F.A.shape, boundary=boundary, weights=weights)
    for one, other in ((shared, each), (Fidelity(B, F.y[0]), Fidelity(B, each.y))):
        for found, expected in zip(solutions(one), solutions(other), strict=True):
            assert found.shape == (3, *F.A.domain)
            np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["grey", "colour"])
def test_blocks_and_threads_do_not_show(monkeypatch, name):
    F = posed(name, weighted=True)
    expected = list(solutions(F))
    for module in (deconv.gradient, deconv.threads):
        monkeypatch.setattr(module, "PARALLEL_BYTES", 0)
        monkeypatch.setattr(module, "BLOCK_BYTES", 256)
    deconv.threads._blocks.cache_clear()
    before = get_threads()
    set_threads(2)
    try:
        found = list(solutions(F))
        again = list(solutions(F))
    finally:
        set_threads(before)
        deconv.threads._blocks.cache_clear()
    for a, b, c in zip(found, expected, again, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
        np.testing.assert_array_equal(a, c)


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_nothing_that_is_given_is_written_to(boundary, library):
    F = posed("colour", boundary, library, weighted=True)
    start = put(np.random.default_rng(1).random((3, *F.A.domain)), library)
    before = [get(v).copy() for v in (F.y, F.A.psf, F.A.weights, F.A.otf, start)]
    terms = [Term(TotalVariation(), 0.03, 0.2)]
    first = admm(F, terms, n_iter=5, tol=0, start=start).image
    staged = hqs(F, [Term(TotalVariation(), 0.03, [0.1, 0.4])], start=start).image
    list(solutions(F))
    for now, then in zip((F.y, F.A.psf, F.A.weights, F.A.otf, start), before, strict=True):
        np.testing.assert_array_equal(get(now), then)
    # And solutions are not each other's memory.
    kept = get(first).copy(), get(staged).copy()
    again = admm(F, terms, n_iter=5, tol=0, start=start).image
    np.testing.assert_array_equal(get(again), kept[0])
    np.testing.assert_array_equal(get(first), kept[0])
    np.testing.assert_array_equal(get(staged), kept[1])


# --- denoisers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_denoiser_has_the_last_word_and_is_told_the_noise(boundary, library):
    told = []

    def denoise(v, sigma):
        told.append((sigma, type(v), tuple(v.shape)))
        return 0.5 * v

    F = posed("colour", boundary, library)
    seen = []
    found = hqs(
        F,
        [Term(Denoiser(denoise), 0.02, [0.1, 0.2, 0.4])],
        tell=lambda k, x, objective, stopped: seen.append(get(x).copy()),
    )
    shape = (3, *F.A.domain)
    assert [t[0] for t in told] == pytest.approx([np.sqrt(0.02 / r) for r in (0.1, 0.2, 0.4)])
    assert {t[1:] for t in told} == {(type(F.y), shape)}
    np.testing.assert_array_equal(get(found.image), seen[-1])
    # In the midst of ADMM too.
    assert np.isfinite(get(admm(F, [Term(Denoiser(denoise), 0.02, 0.2)], n_iter=3).image)).all()


@pytest.mark.parametrize("fault", ["shape", "NaN"])
def test_a_denoiser_that_fails_is_named_with_the_iteration(fault):
    calls = []

    def faulty(v, sigma):
        calls.append(sigma)
        if len(calls) < 3:
            return v
        return v[..., 1:] if fault == "shape" else v * np.nan

    F = posed("grey")
    for solve in (
        lambda: hqs(F, [Term(Denoiser(faulty), 0.02, [0.1] * 5)]),
        lambda: admm(F, [Term(Denoiser(faulty), 0.02, 0.2)], n_iter=5, tol=0),
    ):
        calls.clear()
        with pytest.raises(ValueError, match=rf"denoise=faulty.*{fault}.*iteration 3"):
            solve()


# --- torch's gradients ----------------------------------------------------------------------------

torch_only = pytest.mark.skipif("torch" not in LIBRARIES, reason="no torch")
LOOPS = {
    "admm": lambda F, prior: admm(F, [Term(prior, 0.03, 0.2)], n_iter=8, tol=0).image,
    "hqs": lambda F, prior: hqs(F, [Term(prior, 0.03, [0.1, 0.4, 1.6])], steps=4).image,
}


@torch_only
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("boundary", "weighted"), [*((b, False) for b in BOUNDARIES), ("unknown", True)]
)
@pytest.mark.parametrize(
    "prior",
    [TotalVariation(), TotalVariation(True), HyperLaplacian(0.6), HyperLaplacian(1)],
    ids=repr,
)
def test_gradients_flow_to_data_and_psf(prior, boundary, weighted, loop):
    import torch

    F = posed("colour", boundary, "torch", weighted=weighted)
    y = F.y.clone().requires_grad_()
    free = F.A.psf.clone().requires_grad_()
    A = Blur(free / free.sum(), F.A.shape, boundary=boundary, weights=F.A.weights)
    LOOPS[loop](Fidelity(A, y), prior).square().sum().backward()
    for gradient in (y.grad, free.grad):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 1e-6


@torch_only
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gradients_are_those_of_finite_differences(loop, boundary):
    import torch

    F = posed("grey", boundary, "torch", weighted=True)
    towards = torch.tensor(np.random.default_rng(1).normal(size=F.y.shape))
    probe = torch.tensor(np.random.default_rng(2).normal(size=F.A.domain))

    def answer(step):
        found = LOOPS[loop](Fidelity(F.A, F.y + step * towards), TotalVariation())
        return (probe * found).sum()

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    answer(step).backward()
    slope = float(answer(torch.tensor(1e-6)) - answer(torch.tensor(-1e-6))) / 2e-6
    assert float(step.grad) == pytest.approx(slope, rel=1e-3)


@torch_only
@pytest.mark.parametrize("options", [{"clipped": True}, {"noise": 0.1}], ids=["clipped", "noise"])
def test_gradients_flow_through_weights_that_adapt(options):
    import torch

    F = posed("grey", library="torch", **options)
    y = F.y.clone().requires_grad_()
    for loop in LOOPS.values():
        y.grad = None
        loop(
            Fidelity(F.A, y, **{**options, "clipped": F.clipped}), TotalVariation()
        ).sum().backward()
        assert torch.isfinite(y.grad).all() and y.grad.abs().max() > 1e-6
