"""The image step: against closed forms and a dense solve, and the objectives that it lowers."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.ndimage
from helpers import picture, random_psf

from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level

DELTA = np.zeros((5, 5), np.float32)
DELTA[2, 2] = 1


def level(size=(24, 30), shape=(5, 5), seed=0):
    """A level of a blurred picture with edges and a little noise, and the psf of the blur."""
    rng = np.random.default_rng(seed)
    kernel = random_psf(rng, shape).astype(np.float32)
    scene = np.kron(rng.random((8, 8)), np.ones((5, 5)))
    image = scipy.ndimage.convolve(scene, kernel)[: size[0], : size[1]]
    image = (image + 0.01 * rng.normal(size=size)).astype(np.float32)
    image.setflags(write=False)
    return Level(0, 1, image, shape), kernel


def prepared(*args, **options):
    made, kernel = level(*args, **options)
    latent = Latent(made)
    return latent, kernel, latent.data(kernel)


def differences(x):
    """Along y and x, the last one to the first pixel."""
    return np.roll(x, -1, 0) - x, np.roll(x, -1, 1) - x


def spectra(latent, kernel):
    """The blur and the power of the differences, by NumPy alone."""
    placed = np.zeros(latent.domain)
    placed[tuple(slice(n) for n in kernel.shape)] = kernel
    placed = np.roll(placed, [-(n // 2) for n in kernel.shape], (0, 1))
    unit = np.zeros(latent.domain)
    unit[0, 0] = 1
    power = sum(np.abs(np.fft.fft2(d)) ** 2 for d in differences(unit))
    return np.fft.fft2(placed), power


def misfit(latent, kernel, x):
    blurred = scipy.ndimage.convolve(x.astype(float), kernel.astype(float), mode="wrap")
    return float(np.square(blurred - latent.seen).sum())


def test_the_domain_holds_the_picture_and_the_psf():
    made, _ = level((24, 30), (7, 5))
    latent = Latent(made)
    assert all(d >= n + k - 1 for d, n, k in zip(latent.domain, (24, 30), (7, 5), strict=True))
    np.testing.assert_array_equal(latent.frame.crop(latent.seen), made.image)
    # It goes on smoothly, across the domain's own edges too: no step beyond those inside.
    inside = max(np.abs(np.diff(made.image, axis=a)).max() for a in (0, 1))
    assert max(np.abs(d).max() for d in differences(latent.seen)) <= 1.5 * inside


def test_one_step_with_every_gradient_kept_is_a_closed_form():
    latent, kernel, data = prepared()
    found = latent.flat(data, 0.0, first=0.5, last=0.6)
    otf, power = spectra(latent, kernel)
    y = np.fft.fft2(latent.seen)
    expected = np.fft.ifft2((otf.conj() * y + 0.5 * power * y) / (abs(otf) ** 2 + 0.5 * power))
    np.testing.assert_allclose(found, expected.real, atol=2e-6)
    assert found.dtype == np.float32


def test_with_no_gradient_kept_it_is_the_wiener_filter():
    latent, kernel, data = prepared(shape=(3, 5))
    found = latent.flat(data, 1e9, first=0.02, last=0.03)
    otf, power = spectra(latent, kernel)
    y = np.fft.fft2(latent.seen)
    expected = np.fft.ifft2(otf.conj() * y / (abs(otf) ** 2 + 0.02 * power))
    np.testing.assert_allclose(found, expected.real, atol=5e-6)


def test_a_step_is_the_dense_solution():
    latent, kernel, data = prepared(size=(6, 8), shape=(3, 3))
    shape, n = latent.domain, int(np.prod(latent.domain))
    units = np.eye(n).reshape(n, *shape)
    blur = np.stack(
        [scipy.ndimage.convolve(u, kernel.astype(float), mode="wrap").ravel() for u in units], 1
    )
    gradient = [np.stack([differences(u)[i].ravel() for u in units], 1) for i in (0, 1)]
    mu, beta, weight = 0.02, 0.7, 0.3
    rng = np.random.default_rng(1)
    start, aim = (rng.random(shape).astype(np.float32) for _ in range(2))
    edges = [d.ravel().astype(float) for d in differences(start)]
    kept = edges[0] ** 2 + edges[1] ** 2 >= mu / beta
    assert 0 < kept.sum() < n
    target = np.concatenate([e * kept for e in edges])
    stacked = np.concatenate([blur, *(np.sqrt(beta) * d for d in gradient)])
    values = np.concatenate([latent.seen.ravel(), np.sqrt(beta) * target])
    expected = np.linalg.lstsq(stacked, values, rcond=None)[0]
    found = latent.flat(data, mu, start=start, first=beta, last=1.01 * beta)
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-5)
    # With a quadratic pull besides.
    stacked = np.concatenate([stacked, np.sqrt(weight) * np.eye(n)])
    values = np.concatenate([values, np.sqrt(weight) * aim.ravel()])
    expected = np.linalg.lstsq(stacked, values, rcond=None)[0]
    pull = (weight, np.fft.rfft2(aim).astype(np.complex64))
    found = latent.flat(data, mu, start=start, pull=pull, first=beta, last=1.01 * beta)
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-5)


@pytest.mark.parametrize("mu", [1e-4, 4e-3, 0.1])
@pytest.mark.parametrize("beta", [0.01, 0.3, 10.0])
def test_every_step_lowers_the_split_objective(mu, beta):
    latent, kernel, data = prepared()

    def objective(x):
        """With the best gradients for it put in: a truncated quadratic of each."""
        dy, dx = (d.astype(float) for d in differences(x))
        power = dy**2 + dx**2
        return misfit(latent, kernel, x) + np.minimum(beta * power, mu).sum()

    values = [objective(latent.seen)]
    for sweeps in range(1, 6):
        values.append(objective(latent.flat(data, mu, first=beta, last=1.01 * beta, sweeps=sweeps)))
    assert all(b <= a + 1e-5 * values[0] for a, b in pairwise(values))
    assert values[1] < values[0]


def test_the_penalties_start_at_twice_the_weight_and_double():
    latent, _, data = prepared()
    x = latent.seen
    for beta in (0.02, 0.04, 0.08):
        x = latent.flat(data, 0.01, start=x, first=beta, last=1.01 * beta)
    np.testing.assert_array_equal(latent.flat(data, 0.01, last=0.1), x)


def test_the_whole_run_leaves_few_gradients():
    latent, kernel, data = prepared((40, 40))

    def strong(x):
        return int(sum(np.abs(d) > 0.02 for d in differences(latent.frame.crop(x))).sum())

    counts = [strong(latent.flat(data, mu)) for mu in (1e-4, 4e-3, 0.05)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] / 2
    # Flatter than the observation, and yet it explains it.
    x = latent.flat(data, 4e-3)
    assert strong(x) < strong(latent.seen)
    assert misfit(latent, kernel, x) < 0.5 * misfit(latent, kernel, latent.seen)


def test_a_picture_without_blur_and_weight_stays():
    latent = Latent(level()[0])
    data = latent.data(DELTA)
    np.testing.assert_allclose(latent.flat(data, 1e-12), latent.seen, atol=2e-6)
    np.testing.assert_allclose(latent.sparse(DELTA, 1e-9, 0.8), latent.seen, atol=1e-5)
    # Gradients below the threshold go, however small the penalty grows.
    assert np.abs(latent.flat(data, 0.1) - latent.seen).max() > 0.01


def test_inputs_stay_and_the_answer_repeats():
    latent, kernel, data = prepared()
    start = np.array(latent.seen)
    held = (start, kernel, latent.seen, latent.spectrum, latent.power, *data)
    for array in held:
        array.setflags(write=False)
    for make in (
        lambda: latent.flat(data, 4e-3),
        lambda: latent.flat(data, 4e-3, start=start),
        lambda: latent.pulled(data, 4e-3, 4e-3, 0.1, lambda x, least: np.maximum(x, 0.5)),
        lambda: latent.sparse(kernel, 1e-3, 0.8),
    ):
        first = make()
        assert first.dtype == np.float32
        assert first.shape == latent.domain
        assert np.isfinite(first).all()
        np.testing.assert_array_equal(make(), first)


def test_touch_is_called_before_every_step_and_may_write():
    latent, _, data = prepared()
    seen = []

    def touch(x):
        seen.append(x.copy())
        x[:] = 0.25

    found = latent.flat(data, 1e9, first=1.0, last=7.9, factor=2.0, sweeps=3, touch=touch)
    # Penalties 1, 2 and 4, three steps each.
    assert len(seen) == 9
    np.testing.assert_array_equal(seen[0], latent.seen)
    assert found.std() > 0


def test_the_pull_draws_towards_its_target_as_its_penalty_grows():
    latent, kernel, data = prepared()
    goal = np.full(latent.frame.shape, 0.3, np.float32)
    calls = []

    def target(x, least):
        assert x.shape == goal.shape
        calls.append(least)
        return goal

    found = latent.frame.crop(latent.pulled(data, 1e-4, 0.1, 0.5, target))
    # The threshold of the prior falls as the penalty doubles, from 0.5 to below 8.
    np.testing.assert_allclose(calls, [0.1 / b for b in (0.5, 1, 2, 4)])
    free = latent.frame.crop(latent.flat(data, 1e-4))
    middle = (slice(6, -6), slice(6, -6))
    assert np.abs(found - goal)[middle].mean() < 0.3 * np.abs(free - goal)[middle].mean()
    # A prior that wants nothing changed leaves the data alone to decide.
    kept = latent.pulled(data, 1e-6, 0.1, 0.5, lambda x, least: x)
    assert misfit(latent, kernel, kept) < misfit(latent, kernel, latent.seen)


@pytest.mark.parametrize("p", [2 / 3, 0.8, 1.0])
def test_sparse_lowers_its_objective(p):
    made, kernel = level((40, 40))
    latent = Latent(made)

    def objective(x, lam):
        rough = sum((np.abs(d.astype(float)) ** p).sum() for d in differences(x))
        return misfit(latent, kernel, x) + lam * rough

    for lam in (1e-3, 1e-2):
        x = latent.sparse(kernel, lam, p)
        assert objective(x, lam) < 0.95 * objective(latent.seen, lam)
    # More weight, fewer gradients.
    rough = [
        sum(np.abs(d).sum() for d in differences(latent.sparse(kernel, lam, p)))
        for lam in (1e-4, 1e-3, 1e-2)
    ]
    assert rough == sorted(rough, reverse=True)


def test_sparse_undoes_a_known_blur():
    scene = picture("camera", 96).astype(np.float32)
    kernel = random_psf(np.random.default_rng(0), (5, 5)).astype(np.float32)
    blurred = scipy.ndimage.convolve(scene, kernel)
    latent = Latent(Level(0, 1, blurred, (5, 5)))
    x = latent.frame.crop(latent.sparse(kernel, 1e-3, 0.8))
    inner = (slice(8, -8), slice(8, -8))
    error = [float(np.square(v - scene)[inner].mean()) for v in (x, blurred)]
    assert error[0] < 0.3 * error[1]
