"""A psf of a known family, where the runs of a blind search do not agree on a free one."""

import importlib

import numpy as np
import pytest
from helpers import scene_and_blurred

from deconv import blind, metrics, psf
from deconv.blind.family import family
from deconv.blind.plan import Candidate
from deconv.blind.search import Search, Trial

# The module, whose name in the package is that of its function.
module = importlib.import_module("deconv.blind.estimate")
SHAKE = psf.motion(15, 30)
BLURRED = scene_and_blurred(SHAKE, "coffee", size=200, sigma=0.001)[1].astype(np.float32)


def test_a_straight_motion_is_seen_in_the_spectrum():
    found = family(BLURRED, None)
    assert found.family == "motion"
    assert found.parameters["length"] == pytest.approx(15, abs=1)
    assert found.parameters["angle"] == pytest.approx(30, abs=4)
    assert metrics.psf_similarity(found.psf, SHAKE) > 0.95


@pytest.mark.parametrize("kernel", [np.ones((1, 1)), psf.gaussian(2.0)], ids=["sharp", "soft"])
def test_what_leaves_no_zeros_is_of_no_family(kernel):
    assert family(scene_and_blurred(kernel, "coffee", size=128)[1], None) is None


def test_a_small_picture_says_too_little():
    assert family(BLURRED[:31], None) is None
    assert family(BLURRED[:, :31], None) is None


class Asked:
    """Stands in for `family` and the search: notes the questions and answers as it was told."""

    def __init__(self, monkeypatch, answer, **found):
        self.answer, self.seen = answer, []
        kernel = psf.pad(psf.defocus(3.0), 9).astype(np.float32)
        trial = Trial(Candidate(11, 1.0, "l0"), kernel, 0.4, 0.95, 0.0)
        options = {"message": "made up", "agreed": False, "stopped": False} | found
        made = Search((trial,), trial, kernel, 0.7, **options)
        monkeypatch.setattr(module, "search", lambda *args, **options: made)
        monkeypatch.setattr(module, "family", self)

    def __call__(self, image, weights):
        self.seen.append((image, weights))
        return self.answer


@pytest.fixture(scope="module")
def fit():
    return family(BLURRED, None)


def test_it_stands_in_where_no_two_runs_agree(monkeypatch, fit):
    asked = Asked(monkeypatch, fit)
    found = blind.estimate(BLURRED)
    assert len(asked.seen) == 1
    assert found.blurred
    assert found.prior == "motion"
    assert found.psf.dtype == np.float32
    assert all(n % 2 == 1 for n in found.psf.shape)
    assert found.psf.sum() == pytest.approx(1, abs=1e-5)
    assert metrics.psf_similarity(found.psf, SHAKE) > 0.95
    assert "motion" in found.message
    assert f"{fit.parameters['length']:.1f}" in found.message
    assert "made up" in found.message


def test_it_looks_at_light_and_at_what_was_observed(monkeypatch):
    asked = Asked(monkeypatch, None)
    light = np.maximum(BLURRED, 0) ** 2.2
    light[50:60, 70:80] = np.nan
    found = blind.estimate(light, gamma=2.2)
    # There is none: the search's own psf it is.
    assert found.prior == "l0"
    assert metrics.psf_similarity(found.psf, psf.defocus(3.0)) > 0.99
    ((image, weights),) = asked.seen
    seen = np.isfinite(light)
    np.testing.assert_array_equal(weights > 0, seen)
    np.testing.assert_allclose((image * np.nanmax(light))[seen], light[seen], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "made"),
    [
        ({}, {"agreed": True}),
        ({}, {"stopped": True}),
        ({"prior": "l0"}, {}),
        ({"psf_shape": 9}, {}),
    ],
    ids=["agreed", "stopped", "prior", "box"],
)
def test_it_is_not_asked_where_that_is_settled(monkeypatch, fit, options, made):
    asked = Asked(monkeypatch, fit, **made)
    assert blind.estimate(BLURRED, **options).prior == "l0"
    assert asked.seen == []
