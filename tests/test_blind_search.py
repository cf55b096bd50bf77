"""The search over runs: when it stops, which psf it picks, and whether that is a blur."""

import numpy as np
import pytest
from helpers import scene_and_blurred

from deconv import metrics, psf
from deconv.blind import search as module
from deconv.blind.plan import CLEAN, NOISE, Candidate
from deconv.blind.pyramid import Level
from deconv.blind.search import Search, Trial, _best, search, width

IMAGE = np.zeros((128, 128), np.float32)
RUNS = [Candidate(11 + 2 * i, 1.0, "l0") for i in range(8)]


def bar(angle, length=11, box=17):
    return psf.pad(psf.motion(length, angle), box).astype(np.float32)


def pixel(box=3):
    return np.pad(np.ones((1, 1), np.float32), box // 2)


ALIKE = bar(0)
# Of each other, and of the one above, all these are less similar than 0.8.
UNLIKE = [bar(angle) for angle in range(20, 160, 20)]


class Bench:
    """Runs that end in the psfs given, and a judge that gives the scores given."""

    def __init__(self, monkeypatch, psfs, scores, *, rough=None):
        self.psfs, self.scores, self.rough = psfs, scores, rough
        self.boxes, self.joint, self.sigmas = [], [], []
        for name in ("run", "polished", "joined"):
            monkeypatch.setattr(module, name, getattr(self, name))
        monkeypatch.setattr(module, "Judge", lambda image, lam=None: self)

    def run(self, image, candidate, box, *, sigma, weights, tell):
        found = self.psfs[len(self.boxes) % len(self.psfs)]
        self.boxes.append(box)
        self.sigmas.append(sigma)
        tell(Level(2, 3, image[::2, ::2], (7, 7)), image[::2, ::2], bar(0, 5, 7))
        return found if self.rough is None else self.rough

    def polished(self, image, kernel, *, noisy, weights, tell):
        found = self.psfs[(len(self.boxes) - 1) % len(self.psfs)]
        tell(Level(0, 1, image, found.shape), image, found)
        return found

    def joined(self, image, psfs, *, noisy, weights):
        self.joint.append((list(psfs), noisy))
        return np.mean(psfs, axis=0)

    def agreement(self, kernel):
        return 0.95

    def score(self, kernel, agreement):
        assert agreement == 0.95
        for known, score in zip(self.psfs, self.scores, strict=True):
            if known is kernel:
                return score
        return 0.7

    def __call__(self, kernel):
        return self.score(kernel, self.agreement(kernel))


def test_it_stops_as_soon_as_enough_runs_are_made_and_two_agree(monkeypatch):
    psfs = [ALIKE.copy(), *UNLIKE[:3], ALIKE.copy(), *UNLIKE[3:6]]
    bench = Bench(monkeypatch, psfs, [0.4, 0.5, 0.5, 0.5, 0.45, 0.5, 0.5, 0.5])
    found = search(IMAGE, RUNS, sigma=0.0)
    assert len(found.trials) == 5
    assert [t.candidate for t in found.trials] == RUNS[:5]
    assert bench.boxes == [(c.box, c.box) for c in RUNS[:5]]
    assert "5 runs" in found.message
    assert found.agreed
    assert not found.stopped
    assert found.best.psf is psfs[0]
    assert found.support == pytest.approx(1)
    # The single pixel scores 0.7.
    assert found.gain == pytest.approx(0.3)


def test_a_later_agreement_stops_it_later(monkeypatch):
    psfs = [ALIKE.copy(), *UNLIKE[:4], ALIKE.copy(), *UNLIKE[4:6]]
    Bench(monkeypatch, psfs, [0.4, *[0.5] * 4, 0.42, 0.5, 0.5])
    found = search(IMAGE, RUNS, sigma=0.0)
    assert len(found.trials) == 6
    assert found.agreed


def test_agreement_is_asked_of_the_best_one(monkeypatch):
    psfs = [ALIKE.copy(), ALIKE.copy(), *UNLIKE[:6]]
    # Two agree, but another one explains the picture much better.
    Bench(monkeypatch, psfs, [0.5, 0.5, 0.2, *[0.5] * 5])
    found = search(IMAGE, RUNS, sigma=0.0)
    assert len(found.trials) == len(RUNS)
    assert not found.agreed
    assert "no two of them agree" in found.message
    assert found.best.psf is psfs[2]


def test_those_that_are_alike_and_score_well_are_joined(monkeypatch):
    psfs = [ALIKE.copy() for _ in range(3)] + [UNLIKE[0], ALIKE.copy()]
    bench = Bench(monkeypatch, psfs, [0.42, 0.41, 0.6, 0.415, 0.41 + 1e-6])
    monkeypatch.setattr(module, "WORSE", 1.0)
    found = search(IMAGE, RUNS, sigma=0.01)
    ((joint, noisy),) = bench.joint
    # The best first; not the one that scores badly, nor the one that is unlike.
    assert [id(k) for k in joint] == [id(psfs[i]) for i in (1, 4, 0)]
    assert noisy
    np.testing.assert_allclose(found.psf, ALIKE)
    # What was joined must not be worse; else the best one stays.
    monkeypatch.setattr(module, "WORSE", 0.0)
    bench.boxes.clear()
    again = search(IMAGE, RUNS, sigma=0.0)
    assert again.psf is again.best.psf
    assert not bench.joint[-1][1]


def test_a_run_is_kept_unpolished_where_that_scores_better(monkeypatch):
    psfs = [ALIKE.copy()]
    bench = Bench(monkeypatch, psfs, [0.5], rough=UNLIKE[0])
    bench.score = lambda kernel, agreement: 0.4 if kernel is UNLIKE[0] else 0.5
    assert search(IMAGE, RUNS[:1], sigma=0.0).psf is UNLIKE[0]
    bench.score = lambda kernel, agreement: 0.6 if kernel is UNLIKE[0] else 0.5
    assert search(IMAGE, RUNS[:1], sigma=0.0).psf is psfs[0]


def filling(box):
    return np.full((box, box), 1 / box**2, np.float32)


@pytest.mark.parametrize(
    ("options", "boxes"),
    [
        ({}, [11, 15, 21, 29]),
        ({"shape": (11, 11)}, [11]),
    ],
)
def test_a_psf_that_fills_its_box_is_sought_in_a_larger_one(monkeypatch, options, boxes):
    bench = Bench(monkeypatch, [filling(n) for n in (11, 15, 21, 29)], [0.6, 0.55, 0.5, 0.45])
    image = IMAGE[:64, :100]
    found = search(image, [Candidate(11, 1.0, "l0")], sigma=0.0, **options)
    # Each a third larger, and less than half of the picture.
    assert bench.boxes == [(n, n) for n in boxes]
    assert [t.candidate.box for t in found.trials] == boxes


def test_a_psf_with_room_around_it_is_not_sought_again(monkeypatch):
    bench = Bench(monkeypatch, [bar(0, 7, 17)], [0.5])
    search(IMAGE, [Candidate(17, 1.0, "l0")], sigma=0.0)
    assert len(bench.boxes) == 1
    # Nor one of a small box where larger ones were tried, too.
    bench = Bench(monkeypatch, [filling(11), bar(0)], [0.4, 0.6])
    search(IMAGE, [Candidate(11, 1.0, "l0"), Candidate(17, 1.0, "l0")], sigma=0.0)
    assert len(bench.boxes) == 2


def test_stopped_in_the_first_run_it_gives_what_there_is(monkeypatch):
    Bench(monkeypatch, [ALIKE], [0.5])
    found = search(IMAGE, RUNS, sigma=0.0, shape=(15, 11), tell=lambda *state: True)
    assert found.stopped
    assert "stop" in found.message
    assert len(found.trials) == 1
    # A bar of 5 pixels at half the scale, enlarged to the box and centred.
    assert found.psf.shape == (15, 11)
    assert found.psf.sum() == pytest.approx(1, abs=1e-5)
    assert width(found.psf) == pytest.approx(2 * width(bar(0, 5, 7)), rel=0.25)
    np.testing.assert_allclose(psf.centroid(found.psf), (7, 5), atol=0.5)


def test_stopped_in_the_first_polish_the_run_stays(monkeypatch):
    rough = bar(0, 9)
    Bench(monkeypatch, [ALIKE], [0.5], rough=rough)
    told = []

    def tell(run, count, level, x, kernel):
        told.append((run, count, level.index))
        return level.index == 0

    found = search(IMAGE, RUNS, sigma=0.0, tell=tell)
    assert found.psf is rough
    assert told == [(0, 8, 2), (0, 8, 0)]


def test_stopped_later_the_best_so_far_is_kept_as_it_is(monkeypatch):
    psfs = [UNLIKE[0], ALIKE.copy(), ALIKE.copy()]
    bench = Bench(monkeypatch, psfs, [0.5, 0.4, 0.3])
    found = search(IMAGE, RUNS, sigma=0.0, tell=lambda run, *others: run == 2)
    assert found.stopped
    assert len(found.trials) == 2
    assert found.psf is psfs[1]
    assert bench.joint == []


def trial(kernel, score, agreement=0.95, box=17):
    return Trial(Candidate(box, 1.0, "l0"), kernel, score, agreement, 0.0)


WIDE, NARROW, OTHER = psf.defocus(4.0), psf.gaussian(0.8), psf.defocus(3.0)
PEAKED = 0.8 * psf.defocus(6.0) + 0.2 * psf.pad(np.ones((1, 1)), psf.defocus(6.0).shape)


@pytest.mark.parametrize(
    ("gain", "best", "agreement", "others", "blurred"),
    [
        # A large gain needs some support, and more than a star's width.
        (0.2, WIDE, 0.95, [WIDE], True),
        (0.2, WIDE, 0.1, [OTHER, PEAKED], True),
        (0.2, WIDE, 0.95, [pixel()], True),
        (0.2, WIDE, 0.5, [pixel()], False),
        (0.2, NARROW, 0.95, [NARROW], False),
        (0.2, WIDE, 0.95, [], True),
        # A small one much, from runs and halves, for a psf that is one.
        (0.08, WIDE, 0.95, [WIDE], True),
        (0.08, WIDE, 0.95, [OTHER], False),
        (0.08, WIDE, 0.5, [WIDE], False),
        (0.08, NARROW, 0.95, [NARROW], False),
        (0.08, PEAKED, 0.95, [PEAKED], False),
        # And hardly any says nothing.
        (0.02, WIDE, 0.99, [WIDE, WIDE], False),
        (-0.1, WIDE, 0.99, [WIDE, WIDE], False),
    ],
)
def test_what_counts_as_a_blur(gain, best, agreement, others, blurred):
    assert 0.6 < metrics.psf_similarity(WIDE, OTHER) < 0.9
    first = trial(best, 0.5, agreement)
    trials = (trial(pixel(), 0.9), first, *(trial(other.copy(), 0.6) for other in others))
    trials = trials if others else (first,)
    found = Search(trials, first, best, gain, "", agreed=False)
    assert found.blurred is blurred


def test_the_width_is_that_of_the_longest_direction():
    for angle in (0, 30, 90, 135):
        kernel = psf.gaussian((1.0, 3.0), angle=angle)
        assert width(kernel) == pytest.approx(3, rel=0.05)
    assert width(pixel()) == 0


def test_a_lonely_best_psf_gives_way_to_two_that_agree():
    lonely, first, second = trial(UNLIKE[0], 0.495), trial(ALIKE, 0.5), trial(ALIKE.copy(), 0.51)
    assert _best([lonely, first, second]) is first
    assert _best([lonely, first]) is lonely
    assert _best([lonely, first, trial(UNLIKE[3], 0.51)]) is lonely
    # By little; and any number of them is worth no more than two.
    clear = trial(UNLIKE[0], 0.475)
    crowd = [trial(ALIKE.copy(), 0.5) for _ in range(8)]
    assert _best([clear, *crowd]) is clear
    assert _best([trial(UNLIKE[0], 0.485), *crowd[:3]]) is crowd[0]


@pytest.mark.parametrize(
    ("candidate", "sigma"),
    [(CLEAN[0], 0.0), (CLEAN[1], 0.0), (CLEAN[4], 0.0), (NOISE[2], 0.008), (NOISE[4], 0.008)],
    ids=["curve", "minimum", "faint", "careful", "smooth"],
)
def test_each_kind_of_run_finds_a_planted_shake(candidate, sigma):
    shake = psf.motion(9, 30)
    image = scene_and_blurred(shake, size=160, sigma=sigma)[1].astype(np.float32)
    found = module.run(image, candidate, (15, 15), sigma=sigma)
    assert found.shape == (15, 15)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert metrics.psf_similarity(found, shake) > 0.65


def test_the_real_search_repeats_to_the_bit_and_finds_the_blur():
    image = scene_and_blurred(psf.defocus(3.0), size=128)[1].astype(np.float32)
    image.setflags(write=False)
    runs = [Candidate(13, 0.8, "l0"), Candidate(15, 1.0, "patch_minimum")]
    one, two = (search(image, runs, sigma=0.0) for _ in range(2))
    np.testing.assert_array_equal(one.psf, two.psf)
    assert [t.score for t in one.trials] == [t.score for t in two.trials]
    assert one.message == two.message
    assert one.blurred
    assert metrics.psf_similarity(one.psf, psf.defocus(3.0)) > 0.9
    assert all(t.seconds > 0 for t in one.trials)
    # Each trial's score is its psf's own; the gain on no blur is the plainer judge's.
    judge, plain = module.Judge(image, module.RANKING_LAM), module.Judge(image)
    assert [t.score for t in one.trials] == [judge(t.psf) for t in one.trials]
    assert one.gain == pytest.approx(plain(pixel()) - plain(one.best.psf), abs=1e-6)
