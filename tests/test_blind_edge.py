"""Edges foretold by filters: the usefulness map's limits, the psf's support, planted blur."""

from functools import cache

import numpy as np
import pytest
from helpers import picture
from scipy.signal import fftconvolve

from deconv.blind.alternation import Alternation
from deconv.blind.edge import Edge, SupportStep, UsefulEdges, quadratic, support, usefulness
from deconv.blind.estimators import estimator
from deconv.blind.kernel import Gradients, KernelStep, gradients
from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level, coarse_to_fine
from deconv.metrics import psf_similarity

NAMES = ["edge", "useful_edges"]


def hook():
    """A psf with a bend and a fading tail, 9 x 9."""
    k = np.zeros((9, 9))
    k[1:8, 4] = 1
    k[7, 4:8] = [1, 0.8, 0.6, 0.4]
    return (k / k.sum()).astype(np.float32)


@cache
def planted(noise=0.002):
    """The camera man, blurred by the hook where all of the scene is known."""
    y = fftconvolve(picture("camera", 200), hook(), "valid")
    y += np.random.default_rng(0).normal(0, noise, y.shape)
    return y.astype(np.float32)


def estimated(name, image, **given):
    return coarse_to_fine(image, (13, 13), estimator(name), **given)


def test_a_long_step_is_useful_and_spikes_are_not():
    image = np.zeros((64, 96), np.float32)
    image[:, 48:] = 0.8
    image[20, 12] = image[40:44, 20] = 0.8
    r = usefulness(gradients(image), (11, 11))
    # 11 gradients of 0.8, all one way, over their sum and the constant for flat regions.
    assert r[30, 47] == pytest.approx(8.8 / 9.3, rel=1e-4)
    assert r[19, 11] < 1e-4 and r[42, 19] < 1e-4
    assert r[55, 70] == 0
    assert r.min() >= 0 and r.max() < 1


def test_a_bar_narrower_than_the_window_is_useless_and_a_wider_one_useful():
    image = np.zeros((60, 120), np.float32)
    image[:, 30:33] = 0.5
    image[:, 70:90] = 0.5
    r = usefulness(gradients(image), (9, 9))
    assert r[30, 30] < 1e-4
    assert r[30, 69] > 0.85


def test_support_starts_at_the_first_jump_of_the_sorted_values():
    values = np.array([0.30, 0.02, 0.01, 0.25, 0.0, 0.03, 0.24, 0.10, 0.05]).reshape(3, 3)
    assert (support(values, 0.04) == (values >= 0.10)).all()
    assert (support(values, 0.10) == (values >= 0.24)).all()
    assert (support(values, 0.015) == (values >= 0.05)).all()
    assert support(values, 1.0).all()


def test_the_quadratic_restoration_minimises_its_objective():
    latent = Latent(Level(0, 1, planted()[:50, :61], (9, 9)))
    x = quadratic(latent, hook(), 1e-2).astype(float)

    def objective(x):
        k = np.fft.fft2(np.roll(np.pad(hook(), [(0, n - 9) for n in x.shape]), (-4, -4), (0, 1)))
        left = np.fft.ifft2(np.fft.fft2(x) * k).real - latent.seen
        slopes = [np.roll(x, -1, axis) - x for axis in (0, 1)]
        return (left**2).sum() + 1e-2 * sum((s**2).sum() for s in slopes)

    least = objective(x)
    rng = np.random.default_rng(1)
    for _ in range(3):
        assert objective(x + 1e-2 * rng.normal(size=x.shape)) > least


def test_the_image_step_makes_jumps_of_blurred_edges():
    step = np.repeat([[0.2] * 40 + [0.8] * 40], 60, axis=0)
    blurred = fftconvolve(step, np.full((1, 9), 1 / 9), "valid").astype(np.float32)
    level = Level(0, 1, blurred, (9, 9))
    latent = Latent(level)
    psf = np.zeros((9, 9), np.float32)
    psf[4] = 1 / 9
    x = latent.frame.crop(Edge().latent(latent, psf, 4e-3, 1.0, level))
    assert x.shape == blurred.shape
    largest = np.abs(np.diff(x[30, 10:-10])).max()
    assert largest > 4 * np.abs(np.diff(blurred[30])).max()


def test_off_the_support_the_last_step_leaves_less():
    sharp = picture("camera", 120)
    rng = np.random.default_rng(0)
    y = fftconvolve(sharp, hook(), "valid") + rng.normal(0, 0.01, (112, 112))
    frame = [p.astype(np.float32) for p in gradients(sharp[4:-4, 4:-4])]
    blurred = Gradients(gradients(y.astype(np.float32)), (13, 13))
    raw = {"cut": 0.0, "island": 0.0}
    plain = KernelStep(**raw)(tuple(frame), blurred)
    last = SupportStep(**raw)(tuple(frame), blurred)
    off = np.pad(hook(), 2) == 0
    assert last[off].sum() < 0.5 * plain[off].sum()
    assert psf_similarity(last, hook()) > psf_similarity(plain, hook())
    assert last.sum() == pytest.approx(1, abs=1e-5) and last.min() >= 0


@pytest.mark.parametrize("name", NAMES)
def test_finds_the_planted_blur_the_same_each_time(name):
    image = planted()
    before = image.copy()
    psf = estimated(name, image)
    assert psf_similarity(psf, hook()) > 0.85
    assert psf.dtype == np.float32 and psf.min() >= 0 and psf.sum() == pytest.approx(1, abs=1e-5)
    assert (estimated(name, image) == psf).all()
    assert (image == before).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_was_not_observed_has_little_say(name):
    spoiled = planted().copy()
    weights = np.ones(spoiled.shape, np.float32)
    rng = np.random.default_rng(0)
    spoiled[60:90, 80:110] = rng.random((30, 30))
    weights[60:90, 80:110] = 0
    found = psf_similarity(estimated(name, spoiled, weights=weights), hook())
    assert found > 0.8
    assert found > psf_similarity(estimated(name, spoiled), hook())


def test_tells_of_every_iteration_and_can_be_ended():
    told = []

    def tell(level, x, psf):
        assert x.shape == level.image.shape and psf.shape == level.shape
        told.append(level.index)

    coarse_to_fine(planted(), (9, 9), UsefulEdges(tell=tell))
    # Five at each scale, and the two with the support.
    assert told == [1] * 5 + [0] * 7

    def end(level, x, psf):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        coarse_to_fine(planted(), (9, 9), estimator("useful_edges", tell=end))


def test_a_run_of_either_leaves_its_settings_as_they_were():
    loop = UsefulEdges()
    coarse_to_fine(planted(), (5, 5), loop)
    assert (loop.step, loop.n_iter) == (KernelStep(), Alternation(Edge()).n_iter)


def test_nothing_to_see_is_a_single_pixel_or_less():
    flat = np.full((40, 44), 0.5, np.float32)
    for name in NAMES:
        psf = estimated(name, flat)
        assert np.isfinite(psf).all() and psf.sum() == pytest.approx(1)
