"""The scores of a report: each one line of meaning, a direction that is right, and no crash."""

import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import colour_picture, picture
from scipy.ndimage import gaussian_filter

from deconv import psf
from deconv.report import borrowed
from deconv.report.scores import SCORES, Score, Sight, available, evaluate, grey, whiteness

RNG = np.random.default_rng(0)
BY_NAME = {score.name: score for score in SCORES}
WITH_TRUTH = [
    score
    for score in SCORES
    if score.needs == ("truth",) and all(find_spec(name) for name in score.libraries)
]


def test_each_score_has_a_name_of_its_own_and_says_what_it_is():
    assert len(BY_NAME) == len(SCORES)
    for score in SCORES:
        assert score.meaning.endswith((".", ")", "better."))
        assert score.better in (1, -1)
        assert all(hasattr(Sight, n) or n in Sight.__annotations__ for n in score.needs)


@pytest.mark.parametrize("score", WITH_TRUTH, ids=lambda score: score.name)
def test_a_nearer_picture_scores_better(score):
    if score.name == "LPIPS" and not borrowed.lpips_at_hand():
        pytest.skip("AlexNet's weights are not at hand")
    truth = picture(size=192)
    near, far = (Sight(gaussian_filter(truth, s), truth) for s in (0.6, 2))
    assert score.better * (score.function(near) - score.function(far)) > 0


def test_scores_without_truth_point_the_right_way():
    x = picture(size=96)
    noisy = Sight(x + 0.05 * RNG.normal(size=x.shape), smooth=x)
    clean = Sight(x, smooth=x)
    assert BY_NAME["noise"].function(clean) < BY_NAME["noise"].function(noisy)
    assert BY_NAME["noise"].function(noisy) == pytest.approx(5, rel=0.2)
    waves = x + 0.1 * np.sin(np.arange(96) / 2)
    assert BY_NAME["ringing"].function(clean) < BY_NAME["ringing"].function(Sight(waves, smooth=x))


def test_blind_scores_compare_with_the_known_psf():
    truth = picture(size=96)
    known, found = truth + 0.01, truth + 0.02
    sight = Sight(found, truth, known=known, psf=psf.motion(9, 30), psf_true=psf.motion(9, 30))
    values, failed = evaluate(sight, [BY_NAME["error ratio"], BY_NAME["psf similarity"]])
    assert values["error ratio"] == pytest.approx(4)
    assert values["psf similarity"] == pytest.approx(1)
    assert not failed


def test_whiteness_knows_noise_from_what_is_left_of_edges():
    white = RNG.normal(size=(128, 128))
    assert whiteness(white) < 0.03 < 1 < whiteness(gaussian_filter(white, 1))
    assert whiteness(np.zeros((32, 32))) == 0
    assert whiteness(3 * white + 5) == pytest.approx(whiteness(white))
    with pytest.raises(ValueError, match="residual has shape"):
        whiteness(np.zeros((5, 32)))


def test_a_score_that_fails_or_lacks_something_leaves_the_others():
    def fail(sight):
        raise ValueError("too small")

    scores = [Score("bad", "Fails.", fail), BY_NAME["PSNR"], BY_NAME["whiteness"]]
    values, failed = evaluate(Sight(np.zeros((8, 8)), np.full((8, 8), 0.1)), scores)
    assert values == {"PSNR": pytest.approx(20)}
    assert failed == {"bad": "too small"}


def test_colours_are_scored_as_colours_or_in_grey():
    x = colour_picture()
    values, failed = evaluate(Sight(gaussian_filter(x, (1, 1, 0)), x), available()[0])
    assert {"PSNR", "SSIM", "WSNR", "NQM", "IFC", "noise"} <= set(values)
    assert set(failed) <= {"MS-SSIM"}
    assert grey(np.ones((4, 4, 3))) == pytest.approx(1)
    assert grey(np.ones((4, 4, 2))) == pytest.approx(1)


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("deconv.report.scores.find_spec", lambda name: None)
    found, missing = available()
    assert all(not score.libraries for score in found)
    assert missing["LPIPS"] == "needs torch, torchvision, torchmetrics"
    assert "sewar" in missing["VIF"]


def test_weights_of_lpips_are_looked_for_and_never_fetched(monkeypatch, tmp_path):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert not borrowed.lpips_at_hand()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth").touch()
    assert borrowed.lpips_at_hand()


def test_brisque_gets_bytes_in_colour_and_lpips_a_batch(monkeypatch):
    seen = {}

    class Judge:
        def __init__(self, url):
            assert not url

        def scale_features(self, features):
            return [float(value) for value in features]

        def score(self, image):
            seen["image"] = image
            return self.scale_features([np.array([12.5])])[0]

    borrowed._brisque.cache_clear()
    monkeypatch.setitem(sys.modules, "brisque", SimpleNamespace(BRISQUE=Judge))
    assert borrowed.brisque(np.full((8, 9), 1.2)) == 12.5
    borrowed._brisque.cache_clear()
    assert seen["image"].shape == (8, 9, 3)
    assert seen["image"].dtype == np.uint8
    assert (seen["image"] == 255).all()


def test_lpips_gets_colours_on_the_unit_interval(monkeypatch):
    torch = pytest.importorskip("torch")
    seen = []

    def network(a, b):
        seen.extend([a, b])
        return torch.tensor(0.25)

    borrowed._lpips.cache_clear()
    made = SimpleNamespace(LearnedPerceptualImagePatchSimilarity=lambda **keywords: network)
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", made)
    assert borrowed.lpips(np.full((8, 9), 2.0), np.zeros((8, 9, 3))) == 0.25
    borrowed._lpips.cache_clear()
    assert [tuple(v.shape) for v in seen] == [(1, 3, 8, 9)] * 2
    assert float(seen[0].max()) == 1


def test_scores_of_scales_refuse_small_pictures():
    small = np.zeros((40, 200))
    for score in (borrowed.ms_ssim, borrowed.vif):
        with pytest.raises(ValueError, match="need"):
            score(small, small)
