"""Variational Bayes: the variance keeps the psf from one pixel; each step lessens its objective."""

import numpy as np
import pytest
from helpers import scene_and_blurred

from deconv import metrics, psf
from deconv.blind.estimators import estimator
from deconv.blind.kernel import gradients, normalised
from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level, coarse_to_fine, segment
from deconv.blind.variational_bayes import Posterior, VariationalBayes, _picture

SHAKE = psf.motion(9, 30)


def blurred(size=160, kernel=SHAKE):
    return scene_and_blurred(kernel, size=size)[1].astype(np.float32)


def found_by(image, refine, **options):
    return coarse_to_fine(image, (13, 13), refine, **options)


@pytest.mark.parametrize("kernel", [SHAKE, psf.gaussian((1.0, 2.0), angle=30)])
def test_a_planted_psf_is_found(kernel):
    found = found_by(blurred(kernel=kernel), estimator("variational_bayes"))
    assert found.shape == (13, 13)
    assert found.min() >= 0
    assert abs(float(found.sum()) - 1) < 1e-5
    assert metrics.psf_similarity(found, kernel) > 0.85


def test_the_variance_prevents_the_single_pixel():
    # From one pixel, with little noise: the blurred picture itself fits without error.
    image = blurred(128)
    norms = {}
    for spread in (0.0, 1.0):
        posterior = Posterior(Level(0, 1, image, (13, 13)), spread)
        k = normalised(np.zeros((13, 13), np.float32))
        for _ in range(20):
            posterior.update(k, 1e-5)
            k = posterior.psf_step(k)
        norms[spread] = float((k * k).sum())
    assert norms[0.0] > 0.5
    assert norms[1.0] < 0.5 * norms[0.0]


def test_the_psf_step_lessens_its_objective_at_fixed_noise():
    posterior = Posterior(Level(0, 1, blurred(96), (13, 13)))
    k = segment((13, 13))
    for _ in range(4):
        posterior.update(k, 1e-3)
        new = posterior.psf_step(k)
        # The sum is 1 again, which the quadratic does not know of.
        scale = _best_scale(posterior, new)
        assert posterior.objective(scale * new) <= posterior.objective(k) * (1 + 1e-5)
        k = new


def _best_scale(posterior, k):
    """The factor of a psf for which the quadratic is least."""
    zero, one, two = (posterior.objective(np.float32(s) * k) for s in (0, 1, 2))
    curvature = (two - 2 * one + zero) / 2
    return np.float32((curvature + zero - one) / (2 * curvature))


def test_the_mean_solves_its_equations():
    # Many steps at a small size against a dense matrix, made column by column.
    level = Level(0, 1, blurred(12), (3, 3))
    posterior = Posterior(level)
    k = normalised(np.array([[0, 1, 0], [2, 3, 1], [0, 0, 1]], np.float32))
    posterior.update(k, 1e-2)
    weight = posterior._weight.copy()
    for _ in range(8):
        posterior._solve(k, 1e-2)
    shape = posterior.domain
    columns = []
    for i in np.ndindex(shape):
        unit = np.zeros(shape)
        unit[i] = 1
        moved = sum(
            k[a, b] * np.roll(unit, (a - 1, b - 1), (0, 1)) for a in range(3) for b in range(3)
        )
        columns.append((posterior.seen * moved).ravel())
    A = np.array(columns).T
    normal = A.T @ A + 1e-2 * np.diag(weight.ravel().astype(float))
    for mean, y in zip(posterior.mean, posterior.blurred, strict=True):
        expected = np.linalg.solve(normal, A.T @ y.ravel())
        np.testing.assert_allclose(mean.ravel(), expected, atol=2e-4)
    np.testing.assert_allclose(
        posterior.variance[0], 0.5e-2 / (float((k * k).sum()) + 1e-2 * weight), rtol=1e-4
    )


def test_runs_are_repeatable():
    image = blurred(96)
    first = found_by(image, estimator("variational_bayes"))
    np.testing.assert_array_equal(found_by(image, estimator("variational_bayes")), first)


def test_unobserved_pixels_have_no_influence():
    image = blurred(128)
    weights = np.ones_like(image)
    weights[40:60, 70:90] = 0
    spoilt = image.copy()
    spoilt[40:60, 70:90] = np.random.default_rng(0).random((20, 20))
    # At the coarser scales the low-pass mixes unobserved pixels in, so one scale is compared.
    found = [
        VariationalBayes()(Level(0, 1, y, (13, 13), weights), segment((13, 13)))
        for y in (image, spoilt)
    ]
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    whole = found_by(spoilt, estimator("variational_bayes"), weights=weights)
    assert metrics.psf_similarity(whole, SHAKE) > 0.8


def test_it_tells_of_each_iteration_and_can_be_ended():
    image = blurred(96)
    seen = []

    def tell(level, sharp, k):
        assert sharp.shape == level.image.shape
        seen.append((level.index, float(np.abs(gradients(sharp)[1]).max()), k))
        if len(seen) == 14:
            raise StopIteration

    with pytest.raises(StopIteration):
        found_by(image, estimator("variational_bayes", tell=tell))
    assert [index for index, _, _ in seen[:13]] == [seen[0][0]] * 12 + [seen[0][0] - 1]


def test_a_flat_picture_does_no_harm():
    flat = np.full((64, 64), 0.5, np.float32)
    found = found_by(flat, estimator("variational_bayes"))
    assert np.isfinite(found).all()
    assert abs(float(found.sum()) - 1) < 1e-5


def test_the_picture_shown_is_sharper():
    truth, image = scene_and_blurred(SHAKE, size=128)
    level = Level(0, 1, image.astype(np.float32), (13, 13))
    k = _framed(SHAKE, 13)
    posterior = Posterior(level)
    for _ in range(3):
        posterior.update(k, 1e-3)
    x = _picture(Latent(level), k, posterior.observed_mean())
    inside = (slice(16, -16), slice(16, -16))
    assert metrics.psnr(truth[inside], x[inside]) > metrics.psnr(truth[inside], image[inside]) + 4


def _framed(kernel, size):
    out = np.zeros((size, size), np.float32)
    y, x = ((size - n) // 2 for n in kernel.shape)
    out[y : y + kernel.shape[0], x : x + kernel.shape[1]] = kernel
    return out
