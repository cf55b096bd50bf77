"""The last alternations of a blind run: what they bring back, keep and average."""

import numpy as np
import pytest
from helpers import scene_and_blurred

from deconv import metrics, psf
from deconv.blind import polish
from deconv.blind.kernel import centred, normalised
from deconv.blind.polish import joined, polished, reach


def tailed(length=12):
    """A short bar, and a faint tail that leaves it sideways."""
    kernel, tail = np.zeros((2, 31, 31))
    kernel[11:20, 15] = 0.6 / 9
    tail[11, 16 : 16 + length] = 0.4 / length
    return kernel + tail


KERNEL = tailed()
# What is left of it without its tail, in a box as small as a run would have left it.
CUT = centred(normalised(np.where(np.arange(31) < 17, KERNEL, 0)))[9:22, 9:22].astype(np.float32)


def photograph(kernel, size=128, **options):
    image = scene_and_blurred(kernel, size=size, **options)[1].astype(np.float32)
    image.setflags(write=False)
    return image


def well_formed(kernel, shape):
    assert kernel.dtype == np.float32
    assert all(n % 2 == 1 and 2 * n <= whole for n, whole in zip(kernel.shape, shape, strict=True))
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    for n, c in zip(kernel.shape, psf.centroid(kernel), strict=True):
        assert abs(c - n // 2) <= 0.5 + 1e-4
    return True


def test_a_tail_that_was_cut_off_comes_back():
    image, start = photograph(KERNEL), CUT.copy()
    start.setflags(write=False)
    assert metrics.psf_similarity(start, KERNEL) < 0.9
    found = polished(image, start)
    assert well_formed(found, image.shape)
    assert metrics.psf_similarity(found, KERNEL) > 0.95
    # It was outside the box.
    assert reach(found)[1] > start.shape[1] // 2
    np.testing.assert_array_equal(polished(image, start), found)


def test_it_grows_round_by_round_while_the_psf_does(monkeypatch):
    seen = []

    def round_(image, kernel, mu, n_iter, slack, *others):
        """One that finds a psf twice as far as the last one, up to 17 pixels."""
        far = min(2 * reach(kernel)[0] + 1, 17)
        seen.append((far, mu, slack))
        return np.ones((2 * far + 1, 2 * far + 1), np.float32)

    monkeypatch.setattr(polish, "_round", round_)
    image = np.zeros((128, 128), np.float32)
    found = polished(image, np.ones((5, 5), np.float32))
    # 2 -> 5 -> 11 -> 17, then once more without growth, and the last round.
    assert [far for far, *_ in seen] == [5, 11, 17, 17, 17]
    assert found.shape == (35, 35)
    assert seen[-1][1] < seen[0][1]
    assert {slack for *_, slack in seen} == {8}
    # In a large box, the slack is a part of it.
    seen.clear()
    polished(image, np.pad(np.ones((1, 1), np.float32), 30))
    assert [far for far, *_ in seen] == [1, 3]
    assert {slack for *_, slack in seen} == {15}


def test_the_rounds_have_an_end(monkeypatch):
    count = []

    def round_(image, kernel, *others):
        count.append(kernel.shape)
        return np.pad(kernel, 5, mode="edge")

    monkeypatch.setattr(polish, "_round", round_)
    polished(np.zeros((64, 64), np.float32), np.ones((5, 5), np.float32))
    assert len(count) == 4 + 1


@pytest.mark.parametrize("kernel", [psf.motion(9, 30), psf.defocus(3.0)], ids=["motion", "defocus"])
def test_a_psf_that_is_right_stays_so(kernel):
    image = photograph(kernel, size=160)
    found = polished(image, psf.pad(kernel, 15).astype(np.float32))
    assert well_formed(found, image.shape)
    assert metrics.psf_similarity(found, kernel) > 0.94


def test_in_noise_faint_parts_are_not_believed():
    image = photograph(psf.motion(9, 30), sigma=0.02)
    start = psf.pad(psf.motion(9, 30), 15).astype(np.float32)
    bold, careful = (polished(image, start, noisy=noisy) for noisy in (False, True))
    assert well_formed(careful, image.shape)
    assert np.count_nonzero(careful) < np.count_nonzero(bold)
    similarity = [metrics.psf_similarity(k, psf.motion(9, 30)) for k in (bold, careful)]
    assert similarity[1] > similarity[0]


@pytest.mark.parametrize("shape", [(24, 24), (25, 80), (70, 30)])
def test_no_psf_is_larger_than_half_the_picture(shape):
    image = photograph(KERNEL)[: shape[0], : shape[1]]
    wide = np.full((25, 25), 1 / 625, np.float32)
    assert well_formed(polished(image, wide), shape)
    assert well_formed(joined(image, [wide, wide]), shape)


def test_pixels_that_were_not_observed_have_little_say():
    image = photograph(KERNEL).copy()
    seen = np.ones_like(image)
    seen[:30, :40] = 0
    image[:30, :40] = 0.5
    kept, believed = (
        metrics.psf_similarity(polished(image, CUT, weights=weights), KERNEL)
        for weights in (seen, None)
    )
    assert kept > 0.9
    assert kept > believed + 0.05


def test_it_tells_of_its_alternations():
    image, told = photograph(KERNEL, size=96), []

    def tell(level, x, kernel):
        told.append((level.index, x.shape, kernel.shape == level.shape))

    silent = polished(image, CUT)
    np.testing.assert_array_equal(polished(image, CUT, tell=tell), silent)
    assert len(told) >= 8
    assert set(told) == {(0, image.shape, True)}


def test_psfs_are_moved_onto_the_first_one_and_averaged(monkeypatch):
    monkeypatch.setattr(polish, "_round", lambda image, kernel, *others: kernel)
    rng = np.random.default_rng(0)
    truth = psf.pad(KERNEL, 41)
    first, *others = (
        normalised((truth * rng.uniform(0.5, 1.5, truth.shape)).astype(np.float32))
        for _ in range(4)
    )
    steps = [(2, -1), (0, 3), (-4, 2)]
    moved = [np.roll(k, step, (0, 1)) for k, step in zip(others, steps, strict=True)]
    image = np.zeros((160, 160), np.float32)
    found = joined(image, [first, *moved])
    assert well_formed(found, image.shape)
    mean = normalised(np.mean([first, *others], axis=0))
    assert metrics.psf_similarity(found, mean) > 0.9999
    # Each has errors of its own.
    similarity = [metrics.psf_similarity(k, truth) for k in (first, *others, found)]
    assert similarity[-1] > max(similarity[:-1])


def test_what_hardly_any_psf_has_is_left_out_of_the_mean(monkeypatch):
    monkeypatch.setattr(polish, "_round", lambda image, kernel, *others: kernel)
    bar = np.zeros((21, 21), np.float32)
    bar[10, 5:16] = 1 / 11
    speck = bar.copy()
    speck[2, 10] = 1e-3
    found = joined(np.zeros((96, 96), np.float32), [bar, speck])
    assert np.count_nonzero(found) == 11


def test_the_mean_is_polished():
    kernel = psf.motion(9, 30)
    image = photograph(kernel, size=160)
    rng = np.random.default_rng(0)
    rough = []
    for step in range(3):
        factor = np.maximum(1 + 0.6 * rng.normal(size=(15, 15)), 0)
        moved = np.roll(psf.pad(kernel, 15) * factor, (step, -step), (0, 1))
        rough.append(normalised(moved.astype(np.float32)))
    found = joined(image, rough)
    assert well_formed(found, image.shape)
    similarity = [metrics.psf_similarity(k, kernel) for k in (*rough, found)]
    assert similarity[-1] > max(0.95, *similarity[:-1])
