"""ADMM and half-quadratic splitting: the minimum by other routes, the way there, when they stop."""

from itertools import pairwise

import numpy as np
import pytest
from helpers import BOUNDARIES, random_psf

from deconv import Blur
from deconv.fidelity import Fidelity
from deconv.gradient import Gradient
from deconv.priors import Box, Denoiser, GradientPrior, HyperLaplacian, L0Gradient, TotalVariation
from deconv.splitting import Term, admm, hqs

LAM = 0.02


class Quadratic(GradientPrior):
    """``|v|^2 / 2``, whose minimiser is a linear equation."""

    def value(self, v):
        return 0.5 * float((v**2).sum())

    def factor(self, v, step):
        return 1 / (1 + step) + 0 * v[:1]


def posed(shape=(12, 10), size=(3, 4), boundary="unknown", weighted=False, seed=0):
    """A blurred scene of blocks with a little noise, and its data term."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.3, 1, shape) * (rng.random(shape) > 0.2) if weighted else None
    # Half of the light stays where it was: the minimum is then sharp, and references quick.
    kernel = 0.5 * random_psf(rng, size)
    kernel[tuple(n // 2 for n in size)] += 0.5
    A = Blur(kernel, shape, boundary=boundary, weights=weights)
    blocks = rng.random([-(-n // 4) for n in A.domain])
    scene = np.kron(blocks, np.ones((4,) * len(shape)))[tuple(slice(n) for n in A.domain)]
    return Fidelity(A, A(scene) + 0.01 * rng.normal(size=shape))


def dense(F):
    """Blur and gradient as matrices over the pixels that are free."""
    A = F.A
    n = int(np.prod(A.domain))
    basis = np.eye(n).reshape(n, *A.domain)
    if A.boundary == "zero":
        free = A.crop(np.arange(n).reshape(A.domain)).ravel()
        basis = basis[free]
    K = A(basis).reshape(len(basis), -1).T
    D = Gradient(A.ndim, closed=A.boundary != "unknown")(basis)
    return K, D.reshape(A.ndim, len(basis), -1).transpose(0, 2, 1), basis


def by_equations(F, lam, tv=True):
    """Minimum of data term and TV (or half the squared gradient) by dense reweighted equations."""
    K, D, basis = dense(F)
    w = 1.0 if F.A.weights is None else F.A.weights.ravel()
    data, rhs = K.T @ (np.reshape(w, (-1, 1)) * K), K.T @ (w * F.y.ravel())
    stiff = np.ones(D.shape[1])
    rounds = 1 if not tv else 500 if len(basis) > 100 else 1500
    decay = 1e-6 ** (2 / rounds)
    for k in range(rounds):
        x = np.linalg.solve(data + lam * sum(d.T @ (stiff[:, None] * d) for d in D), rhs)
        if tv:
            stiff = 1 / np.sqrt(sum((d @ x) ** 2 for d in D) + max(decay**k, 1e-6) ** 2)
    return np.tensordot(x, basis, 1)


def cost(F, x, prior, lam):
    D = Gradient(F.A.ndim, closed=F.A.boundary != "unknown")
    return F.value(F.A(x)) + lam * prior.value(D(x))


def apart(a, b):
    """Root-mean-square difference on the scale of the picture."""
    return np.sqrt(np.mean((a - b) ** 2)) / np.ptp(b)


# --- the minimum ----------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("shape", "size", "weighted"),
    [((40,), (7,), True), ((12, 10), (3, 4), False), ((12, 10), (3, 4), True)],
)
def test_admm_finds_the_minimum_of_total_variation(shape, size, boundary, weighted):
    F, tv = posed(shape, size, boundary, weighted), TotalVariation()
    expected = by_equations(F, LAM)
    found = admm(F, [Term(tv, LAM, 0.3)], n_iter=900, tol=0).image
    # The reference is smoothed a little, so the minimum is just below it.
    assert 0.9999 < cost(F, found, tv, LAM) / cost(F, expected, tv, LAM) < 1 + 1e-6
    assert apart(F.A.crop(found), F.A.crop(expected)) < 1e-3
    # Other penalties and another start lead there too.
    start = np.random.default_rng(1).normal(size=F.A.domain)
    again = admm(F, [Term(tv, LAM, 0.05)], data_rho=0.6, n_iter=900, tol=0, start=start).image
    assert apart(F.A.crop(again), F.A.crop(expected)) < 1e-3


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("shape", "size", "weighted"),
    [((40,), (7,), False), ((12, 10), (3, 4), True), ((5, 6, 4), (2, 3, 2), True)],
)
def test_both_solve_a_quadratic_prior_exactly(shape, size, boundary, weighted):
    F = posed(shape, size, boundary, weighted)
    expected = by_equations(F, LAM, tv=False)
    found = admm(F, [Term(Quadratic(), LAM, 0.05)], n_iter=400, tol=0).image
    assert apart(F.A.crop(found), F.A.crop(expected)) < 1e-4
    # At a fixed penalty rho the splitting weakens this prior by rho / (lam + rho), no more.
    weaker = by_equations(F, LAM * 0.2 / (LAM + 0.2), tv=False)
    near = hqs(F, [Term(Quadratic(), LAM, [0.2] * 40)], steps=15).image
    assert apart(F.A.crop(near), F.A.crop(weaker)) < 0.02
    stays = hqs(F, [Term(Quadratic(), LAM, [0.2] * 3)], steps=30, start=weaker).image
    assert apart(F.A.crop(stays), F.A.crop(weaker)) < 1e-7


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_growing_penalty_ends_near_the_minimum(boundary):
    F, tv = posed(boundary=boundary), TotalVariation()
    best = cost(F, by_equations(F, LAM), tv, LAM)
    found = hqs(F, [Term(tv, LAM, list(np.geomspace(0.01, 30, 50)))], steps=8).image
    assert best * (1 - 1e-6) <= cost(F, found, tv, LAM) <= 1.05 * best


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_bounds_are_kept_and_cost_the_least(boundary, weighted):
    F, tv = posed(boundary=boundary, weighted=weighted), TotalVariation()
    free = admm(F, [Term(tv, LAM, 0.3)], n_iter=200, tol=0).image
    high = np.quantile(F.A.crop(free), 0.8)
    # Darkness beyond the frame must not break the bounds.
    low = 0.0 if boundary == "zero" else np.quantile(F.A.crop(free), 0.2)
    terms = [Term(tv, LAM, 0.3), Term(Box(low, high), None, 0.2)]
    kept = admm(F, terms, n_iter=500, tol=0).image
    assert kept.min() > low - 1e-3 and kept.max() < high + 1e-3
    # No other picture within the bounds is better: neither the clipped one nor any nearby.
    best = cost(F, kept, tv, LAM)
    rng = np.random.default_rng(0)
    others = [free, *(kept + s * rng.normal(size=kept.shape) for s in (1e-3, 1e-2, 0.1))]
    for other in others:
        inside = other.clip(low, high)
        inside = F.A.frame.clear_outside(inside) if boundary == "zero" else inside
        assert cost(F, inside, tv, LAM) > best - 1e-3 * best


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_clipped_pixel_may_be_brighter(boundary):
    F = posed((20, 19), boundary=boundary)
    level = float(np.quantile(F.y, 0.7))
    told = Fidelity(F.A, np.minimum(F.y, level), clipped=F.y >= level)
    terms = [Term(TotalVariation(), 0.002, 0.05)]
    found = admm(told, terms, n_iter=250, tol=0).image
    again = admm(told, [Term(TotalVariation(), 0.002, 0.2)], data_rho=0.5, n_iter=250, tol=0).image
    ignorant = admm(Fidelity(F.A, told.y), terms, n_iter=250, tol=0).image
    assert apart(F.A.crop(again), F.A.crop(found)) < 5e-3
    assert F.A(found)[told.clipped].mean() > F.A(ignorant)[told.clipped].mean()
    # The exact step of the split needs no more than the data term and the prior: no worse.
    tv = TotalVariation()
    assert cost(told, found, tv, 0.002) < cost(told, ignorant, tv, 0.002)
    staged = hqs(told, [Term(tv, 0.002, list(np.geomspace(0.01, 5, 20)))], steps=8).image
    assert cost(told, staged, tv, 0.002) < cost(told, ignorant, tv, 0.002)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_outliers_are_seen_through(boundary):
    F = posed((24, 20), boundary=boundary)
    hit = np.random.default_rng(1).random(F.y.shape) < 0.05
    spoilt = np.where(hit, F.y + 1, F.y)
    terms = [Term(TotalVariation(), 0.002, 0.05)]
    clean = admm(F, terms, n_iter=200, tol=0).image
    found = admm(Fidelity(F.A, spoilt, noise=0.02), terms, n_iter=200, tol=0, start=clean).image
    naive = admm(Fidelity(F.A, spoilt), terms, n_iter=200, tol=0).image
    far = [np.sqrt(np.mean((F.A(x) - F.y)[hit] ** 2)) for x in (found, naive)]
    assert far[0] < 0.1 < far[1]


# --- the way there --------------------------------------------------------------------------------


def watched(solve, F, terms, **options):
    """The objective after each iteration."""
    values = []

    def tell(k, x, objective, stopped):
        assert k == len(values) + 1
        values.append(objective())
        return False

    solution = solve(F, terms, tell=tell, **options)
    return values, solution


@pytest.mark.parametrize(
    "prior", [TotalVariation(), HyperLaplacian(0.5), HyperLaplacian(0.8), L0Gradient()], ids=repr
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_at_a_fixed_penalty_half_quadratic_splitting_never_rises(boundary, weighted, prior):
    F = posed((20, 19), boundary=boundary, weighted=weighted)
    values, found = watched(hqs, F, [Term(prior, LAM, [0.3] * 20)], steps=30)
    assert found.n_iter == len(values) <= 20
    assert all(after <= before * (1 + 1e-7) for before, after in pairwise(values))
    assert values[-1] < values[0]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_admm_comes_closer_to_the_minimum(boundary, weighted):
    F = posed((24, 21), (4, 5), boundary, weighted)
    # What is free to be anything must not be counted: zero boundaries hold in the limit only.
    values, _ = watched(admm, F, [Term(TotalVariation(), LAM, 0.3)], n_iter=60, tol=0)
    limit, _ = watched(admm, F, [Term(TotalVariation(), LAM, 0.3)], n_iter=400, tol=0)
    least = limit[-1]
    assert min(values) > least * (1 - 2e-3)
    assert abs(values[-1] - least) < 0.02 * least
    assert abs(values[-1] - least) < 0.5 * abs(values[5] - least) + 1e-6 * least
    assert abs(limit[-1] - limit[-2]) < 1e-5 * least


def test_the_objective_is_the_one_that_is_minimised():
    F = posed(weighted=True)
    values, found = watched(admm, F, [Term(HyperLaplacian(1), LAM, 0.3)], n_iter=20, tol=0)
    assert values[-1] == pytest.approx(cost(F, found.image, HyperLaplacian(1), LAM))
    # Bounds count as kept; a denoiser has no objective.
    terms = [Term(TotalVariation(), LAM, 0.3), Term(Box(0, 1), None, 0.2)]
    values, found = watched(admm, F, terms, n_iter=5, tol=0)
    assert values[-1] == pytest.approx(cost(F, found.image, TotalVariation(), LAM))
    values, _ = watched(hqs, F, [Term(Denoiser(lambda v, s: v), LAM, [0.1, 0.2])])
    assert values == [None, None]


def test_a_weight_for_each_channel_counts_for_its_own():
    F = posed()
    y = np.stack([F.y, 2 * F.y + 1, F.y[::-1]])
    lam = np.array([0.01, 0.1, 0.03]).reshape(3, 1, 1)
    rho = np.array([0.1, 0.3, 0.2]).reshape(3, 1, 1)
    for solve, penalty, options in (
        (admm, lambda r: r, {"n_iter": 40, "tol": 0}),
        (hqs, lambda r: [r, 4 * r], {"steps": 60}),
    ):
        together, found = watched(
            solve, Fidelity(F.A, y), [Term(TotalVariation(), lam, penalty(rho))], **options
        )
        total = 0
        for i in range(3):
            one = Term(TotalVariation(), lam[i].item(), penalty(rho[i].item()))
            values, alone = watched(solve, Fidelity(F.A, y[i]), [one], **options)
            np.testing.assert_allclose(found.image[i], alone.image, atol=1e-7)
            total += values[-1]
        assert together[-1] == pytest.approx(total, rel=1e-6)


# --- stopping -------------------------------------------------------------------------------------


def test_the_tolerance_ends_it_and_says_so():
    F, terms = posed((20, 19)), [Term(TotalVariation(), LAM, 0.3)]
    for tol in (1e-1, 1e-2, 1e-3):
        found = admm(F, terms, n_iter=500, tol=tol)
        assert found.n_iter < 500 and found.change <= tol
        before = admm(F, terms, n_iter=found.n_iter - 1, tol=0)
        assert before.change > tol
        spread = np.std(found.image)
        change = np.sqrt(np.mean((found.image - before.image) ** 2)) / spread
        assert found.change == pytest.approx(change)
        assert f"after {found.n_iter} iterations, tol={tol:g}" in found.stopped
    staged = hqs(F, [Term(TotalVariation(), LAM, [0.3] * 400)], tol=1e-3)
    assert staged.n_iter < 400 and staged.change <= 1e-3 and "tol=0.001" in staged.stopped


def test_the_number_of_iterations_ends_it_and_says_so():
    F = posed()
    found = admm(F, [Term(TotalVariation(), LAM, 0.3)], n_iter=3, tol=0)
    assert found.n_iter == 3 and "n_iter=3 reached" in found.stopped
    found = hqs(F, [Term(TotalVariation(), LAM, [0.1, 0.3])])
    assert found.n_iter == 2 and "n_iter=2 reached" in found.stopped
    start = np.random.default_rng(0).random(F.A.domain)
    for nothing in (
        admm(F, [Term(TotalVariation(), LAM, 0.3)], n_iter=0, start=start),
        hqs(F, [Term(TotalVariation(), LAM, [])], start=start),
    ):
        assert nothing.n_iter == 0
        np.testing.assert_array_equal(nothing.image, start)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_whoever_listens_may_end_it(boundary):
    F = posed(boundary=boundary)
    for solve, rho in ((admm, 0.3), (hqs, [0.1, 0.2, 0.4, 0.8])):
        said = []

        def tell(k, x, objective, stopped, said=said):
            said.append(stopped)
            return k == 3

        term = Term(TotalVariation(), LAM, rho)
        found = solve(F, [term], tell=tell, tol=0)
        assert found.n_iter == 3 and found.stopped == "stopped by the callback"
        assert said == [None, None, None]
        alone = term._replace(rho=rho if solve is admm else rho[:3])
        options = {"n_iter": 3} if solve is admm else {}
        np.testing.assert_array_equal(found.image, solve(F, [alone], tol=0, **options).image)


def test_the_last_iteration_says_why_it_is_the_last():
    F = posed()
    for solve, rho, options in ((admm, 0.3, {"n_iter": 4, "tol": 0}), (hqs, [0.1] * 4, {})):
        said = []
        found = solve(
            F,
            [Term(TotalVariation(), LAM, rho)],
            tell=lambda k, x, objective, stopped, said=said: said.append(stopped),
            **options,
        )
        assert said == [None, None, None, found.stopped]


def test_a_constant_picture_stops_at_once_and_stays():
    A = Blur(np.full((3, 3), 1 / 9), (12, 10))
    for level in (0.0, 5.0):
        F = Fidelity(A, np.full((12, 10), level))
        for found in (
            admm(F, [Term(TotalVariation(), LAM, 0.3)]),
            hqs(F, [Term(HyperLaplacian(0.5), LAM, [0.1, 0.2])]),
        ):
            np.testing.assert_allclose(found.image, level, atol=1e-9)
            assert found.change < 1e-3 or level
