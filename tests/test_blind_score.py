"""The score of a psf: what it prefers, and the agreement of a picture's halves."""

import numpy as np
import pytest
from helpers import picture, scene_and_blurred
from scipy.signal import fftconvolve

from deconv import metrics, psf
from deconv.blind.score import AGREE_WEIGHT, BORDER, FLAT, Judge

TRUE = psf.defocus(3.0)
PIXEL = np.pad(np.ones((1, 1)), 1)
WRONG = {
    "pixel": PIXEL,
    "motion": psf.motion(9, 30),
    "gaussian": psf.gaussian(3.0),
    "larger": psf.defocus(5.0),
    "smaller": psf.defocus(1.5),
}


def photograph(kernel, name="camera", size=160, **options):
    return scene_and_blurred(kernel, name, size=size, **options)[1].astype(np.float32)


@pytest.mark.parametrize("name", ["camera", "coffee", "astronaut"])
def test_the_true_psf_scores_better_than_any_other(name):
    image = photograph(TRUE, name)
    before = image.copy()
    judge = Judge(image)
    best = judge(TRUE.astype(np.float32))
    for label, kernel in WRONG.items():
        assert judge(kernel.astype(np.float32)) > best + 0.02, label
    np.testing.assert_array_equal(image, before)
    # Where it lies in its box makes no difference.
    framed = psf.pad(TRUE, 15).astype(np.float32)
    assert judge(framed) == pytest.approx(best, abs=0.01)


def test_of_a_sharp_picture_the_single_pixel_scores_best():
    judge = Judge(picture("camera", 160).astype(np.float32))
    sharp = judge(PIXEL.astype(np.float32))
    for kernel in (TRUE, psf.motion(9, 30), psf.gaussian(2.0)):
        assert judge(kernel.astype(np.float32)) > sharp


def test_the_score_is_its_parts():
    judge = Judge(photograph(TRUE))
    kernel = TRUE.astype(np.float32)
    agreement = judge.agreement(kernel)
    assert judge(kernel) == judge.score(kernel, agreement)
    assert judge.score(kernel, 1.0) == judge.sparsity(kernel)
    # Halves that contradict each other cost as much as the weight says.
    assert judge.score(kernel, 0.25) == pytest.approx(judge.sparsity(kernel) + 0.75 * AGREE_WEIGHT)


def test_the_halves_agree_where_one_psf_holds_for_both():
    kernel = psf.motion(15, 90).astype(np.float32)
    whole = photograph(kernel)
    agreement = Judge(whole).agreement(kernel)
    assert agreement > 0.97
    # The right half of the same scene, shaken along the other axis.
    other = photograph(psf.motion(15, 0))
    halves = np.concatenate([whole[:, :80], other[:, 80:]], axis=1)
    assert Judge(halves).agreement(kernel) < agreement - 0.2


def test_sparsity_is_that_of_the_restored_picture():
    judge = Judge(photograph(PIXEL, size=128))
    # Of a picture that is its own restoration, nearly: the terms by loops.
    judge.image = np.kron(np.random.default_rng(0).random((16, 16)), np.ones((8, 8))).astype("f4")
    inner = judge.image[BORDER:-BORDER, BORDER:-BORDER].astype(float)
    judge.flat = np.zeros(inner.shape, bool)
    judge.flat[10:40, 20:50] = True
    absolute, power, flat = [], [], []
    for i, j in np.ndindex(inner.shape[0] - 1, inner.shape[1] - 1):
        dy, dx = inner[i + 1, j] - inner[i, j], inner[i, j + 1] - inner[i, j]
        absolute.append((abs(dy) + abs(dx)) / 2)
        power.append(dy**2 + dx**2)
        flat += [power[-1]] if judge.flat[i, j] else []
    expected = np.mean(absolute) / np.sqrt(np.mean(power) / 2)
    expected -= 0.0148 * np.log(np.mean(flat) / np.mean(power))
    assert judge.sparsity(PIXEL.astype(np.float32)) == pytest.approx(expected, rel=0.05)


def test_flat_areas_are_a_part_of_the_blurred_picture_far_from_edges():
    image = np.zeros((120, 100), np.float32)
    image[:, 60:] = 1
    image += np.random.default_rng(0).normal(0, 1e-3, image.shape).astype(np.float32)
    judge = Judge(image)
    assert judge.flat.shape == (120 - 2 * BORDER, 100 - 2 * BORDER)
    assert judge.flat.mean() == pytest.approx(FLAT, abs=0.02)
    assert not judge.flat[:, 60 - BORDER - 4 : 60 - BORDER + 4].any()


@pytest.mark.parametrize("shape", [(24, 24), (24, 90), (41, 30)])
def test_small_pictures_have_a_score(shape):
    image = photograph(TRUE)[: shape[0], : shape[1]]
    judge = Judge(image)
    for kernel in (TRUE, PIXEL, np.full((11, 11), 1 / 121)):
        assert np.isfinite(judge(kernel.astype(np.float32)))
        assert -1 <= judge.agreement(kernel.astype(np.float32)) <= 1


def test_without_any_gradient_the_score_is_that_of_nothing():
    assert Judge(np.zeros((64, 64), np.float32)).sparsity(PIXEL.astype(np.float32)) == 1.0


def test_noise_leaves_the_order_as_it_is():
    scene = picture("coffee", 200)
    blurred = fftconvolve(scene, psf.motion(11, 40), mode="valid")
    noisy = blurred + np.random.default_rng(0).normal(0, 0.01, blurred.shape)
    judge = Judge(noisy.astype(np.float32))
    scores = [judge(k.astype(np.float32)) for k in (psf.motion(11, 40), PIXEL, TRUE)]
    assert scores[0] == min(scores)
    assert metrics.psf_similarity(psf.motion(11, 40), TRUE) < 0.8
