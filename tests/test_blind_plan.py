"""The runs that are planned: how many, of which boxes and priors, in which order."""

import itertools

import numpy as np
import pytest

from deconv.blind.estimate import _label
from deconv.blind.estimators import NAMES
from deconv.blind.plan import CLEAN, NOISE, NOISY, TEXT, Candidate, plan
from deconv.blind.search import Trial

SHAPES = [(24, 24), (27, 300), (61, 64), (200, 130), (256, 256), (640, 500), (640, 640)]
CASES = [
    {"prior": prior, "box": box, "light": light, "paper": paper}
    for prior, box, light, paper in itertools.product(
        (None, "l0", "text"), (None, 5, 11), (1.0, 2.2), (False, True)
    )
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.0, 2 * NOISY])
def test_boxes_are_odd_and_fit_and_no_run_is_made_twice(shape, sigma):
    for options in CASES:
        runs = plan(shape, sigma, **options)
        assert runs
        assert len(set(runs)) == len(runs)
        for candidate in runs:
            assert candidate.box % 2 == 1
            assert 3 <= candidate.box <= min(shape) // 2
            assert candidate.prior in NAMES
            if options["prior"] is not None:
                assert candidate.prior == options["prior"]
            if options["box"] is not None:
                assert candidate.box == options["box"]
        # By their names, the user can tell them apart.
        trials = [Trial(c, np.ones((1, 1)), 0.0, 0.0, 0.0) for c in runs]
        assert len({_label(t) for t in trials}) == len(runs)


def test_with_prior_and_box_given_there_is_one_run():
    for sigma, light, paper in itertools.product((0.0, 0.1), (1.0, 2.2), (False, True)):
        (only,) = plan((200, 300), sigma, prior="edge", box=9, light=light, paper=paper)
        assert (only.prior, only.box) == ("edge", 9)
    # One of them alone leaves several.
    assert len(plan((200, 300), 0.0, prior="edge")) > 3
    assert len(plan((200, 300), 0.0, box=9)) > 3


def test_noise_calls_for_careful_runs_early():
    clean, noisy = plan((256, 256), 0.0), plan((256, 256), 2 * NOISY)
    assert clean == list(CLEAN)
    assert noisy == list(NOISE)
    assert noisy[0].careful
    assert not clean[0].careful
    # The first few differ in more than one thing.
    assert len({c.prior for c in clean[:3]}) > 1
    assert len({c.box for c in clean[:3]}) == 3


def test_on_paper_text_comes_after_the_first_run():
    plain, page = (plan((256, 256), 0.0, paper=paper) for paper in (False, True))
    assert page == [plain[0], *TEXT, *plain[1:]]
    assert {c.prior for c in page[1:3]} == {"text", "text_paper"}
    # A prior that was asked for is the only one.
    asked = plan((256, 256), 0.0, prior="l0", paper=True)
    assert {c.prior for c in asked} == {"l0"}


@pytest.mark.parametrize("options", [{}, {"paper": True}, {"prior": "l0"}, {"box": 11}])
def test_in_linear_light_one_run_looks_at_the_light(options):
    plain, light = (plan((256, 256), 0.0, light=gamma, **options) for gamma in (1.0, 2.2))
    assert [c.exponent for c in light].count(2.2) == 1
    assert [c for c in light if c.exponent != 2.2] == plain
    assert light[2].exponent == 2.2
    assert light[2].prior == light[0].prior


def test_boxes_grow_with_the_picture_and_slower():
    small, large, larger = (plan((n, n + 50), 0.0)[0].box for n in (200, 512, 1024))
    assert small == plan((256, 256), 0.0)[0].box == CLEAN[0].box
    assert small < large < larger
    assert larger < 4 * small
    # In a small picture they are what half of it holds, and fewer.
    tiny = plan((40, 60), 0.0)
    assert {c.box for c in tiny} == {19}
    assert len(tiny) < len(CLEAN)


def test_a_candidate_says_what_its_run_is():
    assert Candidate(9, 1.0, "l0") == Candidate(9, 1.0, "l0", 0.1, 0.0, False)
    labels = [
        _label(Trial(c, np.ones((3, 3)), 0.0, 0.0, 0.0))
        for c in (
            Candidate(9, 1.0, "l0"),
            Candidate(35, 0.8, "patch_minimum", careful=True),
            Candidate(21, 1.0, "l0", smooth=1.0),
        )
    ]
    for label, parts in zip(
        labels, [("l0", "9"), ("patch_minimum", "35", "0.8"), ("l0", "21")], strict=True
    ):
        assert all(part in label for part in parts)
