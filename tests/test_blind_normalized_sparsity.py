"""Normalised sparsity: the shrinkage against its objective and its limits, and planted blur."""

from itertools import pairwise

import numpy as np
import pytest
from test_blind_edge import estimated, hook, planted

from deconv.blind.estimators import estimator
from deconv.blind.kernel import Gradients, gradients
from deconv.blind.normalized_sparsity import NormalizedSparsity, Shrinkage
from deconv.blind.pyramid import coarse_to_fine
from deconv.metrics import psf_similarity

NAME = "normalized_sparsity"


def observed(weights=None):
    """Gradients of a part of the planted picture, a first x, and the step."""
    blurred = Gradients(gradients(planted()[:60, :71]), (9, 9))
    x = [np.zeros(blurred.domain, np.float32) for _ in range(2)]
    for part, y in zip(x, blurred.parts, strict=True):
        part[:59, :70] = y
    return x, Shrinkage(blurred, hook(), weights)


@pytest.mark.parametrize("lam", [16.0, 200.0])
def test_shrinkage_lessens_its_objective(lam):
    x, shrinkage = observed()
    values = [shrinkage.objective(x, lam, 6.0)]
    for n in (1, 4, 16, 64):
        values.append(shrinkage.objective(shrinkage.steps(x, lam, 6.0, n), lam, 6.0))
    assert all(b < a for a, b in pairwise(values))


def test_the_first_step_is_the_gradient_then_the_threshold():
    x, shrinkage = observed()
    lam, norm, h = 50.0, 6.0, 1e-2
    rng = np.random.default_rng(0)
    direction = [rng.normal(size=part.shape).astype(np.float32) for part in x]
    # Without a threshold, the step is the descent of the data over lam.
    moved = [b - a for a, b in zip(x, shrinkage.steps(x, lam, 1e9, 1), strict=True)]
    ends = [
        shrinkage.objective([a + s * h * d for a, d in zip(x, direction, strict=True)], 1.0, 1e9)
        for s in (1, -1)
    ]
    slope = sum(float((m * d).sum()) for m, d in zip(moved, direction, strict=True))
    assert slope == pytest.approx((ends[1] - ends[0]) / (2 * h), rel=2e-2)
    shrunk = shrinkage.steps(x, lam, norm, 1)
    for a, m, s in zip(x, moved, shrunk, strict=True):
        v = a + m
        expected = np.sign(v) * np.maximum(np.abs(v) - 1 / (lam * norm), 0)
        np.testing.assert_allclose(s, expected, atol=1e-6)


def test_strong_shrinkage_leaves_nothing():
    x, shrinkage = observed()
    assert not any(part.any() for part in shrinkage.steps(x, 1e-2, 6.0, 1))


def test_unobserved_gradients_do_not_matter():
    weights = np.ones((59, 70), np.float32)
    weights[20:30, 30:50] = 0
    x, shrinkage = observed(weights)
    one = shrinkage.steps(x, 100.0, 6.0, 5)
    parts = tuple(np.where(weights > 0, y, 7).astype(np.float32) for y in shrinkage.blurred.parts)
    other = Shrinkage(Gradients(parts, (9, 9)), hook(), weights).steps(x, 100.0, 6.0, 5)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_finds_the_planted_blur_the_same_each_time():
    image = planted()
    before = image.copy()
    psf = estimated(NAME, image)
    assert psf_similarity(psf, hook()) > 0.8
    assert psf.dtype == np.float32 and psf.min() >= 0 and psf.sum() == pytest.approx(1, abs=1e-5)
    assert (estimated(NAME, image) == psf).all()
    assert (image == before).all()


def test_the_contrast_does_not_matter():
    image = planted()
    fainter = (0.25 + 0.5 * image).astype(np.float32)
    assert psf_similarity(estimated(NAME, image), estimated(NAME, fainter)) > 0.99


def test_what_was_not_observed_has_little_say():
    spoiled = planted().copy()
    weights = np.ones(spoiled.shape, np.float32)
    spoiled[60:90, 80:110] = np.random.default_rng(0).random((30, 30))
    weights[60:90, 80:110] = 0
    found = psf_similarity(estimated(NAME, spoiled, weights=weights), hook())
    assert found > 0.75
    assert found > psf_similarity(estimated(NAME, spoiled), hook())


def test_tells_of_every_iteration_and_can_be_ended():
    told = []

    def tell(level, x, psf):
        assert x.shape == level.image.shape and psf.shape == level.shape
        told.append(level.index)

    coarse_to_fine(planted()[:80, :90], (9, 9), NormalizedSparsity(n_iter=2, tell=tell))
    assert told == [1, 1, 0, 0]

    def end(level, x, psf):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        coarse_to_fine(planted(), (9, 9), estimator(NAME, tell=end))


def test_nothing_to_see_is_some_psf():
    psf = estimated(NAME, np.full((40, 44), 0.5, np.float32))
    assert np.isfinite(psf).all() and psf.sum() == pytest.approx(1)
