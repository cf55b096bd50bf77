"""The discriminative prior: its steps by the formula, its gradient by differences, and its door."""

import subprocess
import sys
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from helpers import scene_and_blurred

from deconv import blind, metrics, psf, threads
from deconv.blind import discriminative, estimators
from deconv.blind.alternation import Alternation
from deconv.blind.discriminative import LEAST_FADE, Discriminative, differentiable
from deconv.blind.estimators import estimator
from deconv.blind.l0 import L0
from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level, coarse_to_fine
from deconv.cli import main

SHAKE = psf.motion(9, 30)
# Of `spread`, whose gradient is some fifty a pixel.
LAM = 1e-4
SENTENCE = r'needs PyTorch and safetensors .*: pip install "deconv\[unrolled\]"'


def spread(x, soft=1e-2):
    """A classifier without a network: the mean of the gradients over their rms, less for edges."""
    dy, dx = np.diff(x, axis=0)[:, :-1], np.diff(x, axis=1)[:-1]
    size = np.sqrt(dy**2 + dx**2 + soft**2)
    mean, rms = size.mean(), np.sqrt((size**2).mean())
    # Of mean / rms to size, then of size to the differences.
    slope = (1 / (size.size * rms) - mean * size / (size.size * rms**3)) / size
    out = np.zeros_like(x)
    out[1:, :-1] += slope * dy
    out[:-1, :-1] -= slope * dy
    out[:-1, 1:] += slope * dx
    out[:-1, :-1] -= slope * dx
    return 4 * float(mean / rms) - 2, 4 * out


def numerical(value, x, places, step=1e-5):
    """Central differences of `value` at some pixels."""
    found = []
    for at in places:
        moved = np.zeros_like(x)
        moved[at] = step
        found.append((value(x + moved) - value(x - moved)) / (2 * step))
    return np.array(found)


def places_in(shape, count=12):
    rng = np.random.default_rng(5)
    return [tuple(int(rng.integers(n)) for n in shape) for _ in range(count)]


@pytest.mark.parametrize("form", ["logit", "probability"])
@pytest.mark.parametrize("scaled", [True, False])
def test_the_gradient_is_that_of_the_value(form, scaled):
    x = np.random.default_rng(0).random((17, 23))
    prior = Discriminative(spread, form=form, scaled=scaled)
    places = places_in(x.shape)
    value, gradient = prior.value(x)
    expected = numerical(lambda v: prior.value(v)[0], x, places)
    np.testing.assert_allclose([gradient[at] for at in places], expected, rtol=1e-4, atol=1e-9)
    assert np.abs(gradient).max() > 1e-4
    logit = spread(x)[0]
    plain = logit if form == "logit" else 1 / (1 + np.exp(-logit))
    assert value == pytest.approx(plain * (x.size if scaled else 1))
    assert prior.value(x.astype(np.float32))[1].dtype == np.float32


def test_a_logit_of_any_size_has_a_probability():
    for logit, expected in ((900.0, 1.0), (-900.0, 0.0)):
        prior = Discriminative(lambda x, z=logit: (z, np.ones_like(x)), form="probability")
        value, gradient = prior.value(np.ones((4, 5)))
        assert value == expected * 20
        assert not gradient.any()


@pytest.mark.parametrize("steps", [1, 3])
def test_descent_goes_by_the_formula(steps):
    x = np.random.default_rng(1).random((20, 21)).astype(np.float32)
    x.setflags(write=False)
    prior = Discriminative(spread, steps=steps, rate=0.3)
    found = prior.descended(x, 0.02)
    u = x.astype(np.float64)
    for _ in range(steps):
        u = u - 0.3 * ((u - x) + 0.02 * x.size * spread(u)[1])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, u, atol=1e-5)
    assert np.abs(found - x).max() > 1e-3
    # Downhill, in the prior and in the whole that is minimised.
    before, after = spread(x)[0] * x.size, spread(found)[0] * x.size
    assert after < before
    assert ((found - x) ** 2).sum() / 2 + 0.02 * after < 0.02 * before


def test_the_splitting_gets_the_weight_and_the_penalties():
    asked = []

    class Asked:
        def data(self, kernel):
            return kernel, kernel

        def flat(self, data, mu, *, factor):
            return "few edges", mu, factor

        def pulled(self, data, mu, lam, first, target, **penalties):
            asked.append((mu, lam, first, penalties))
            return data[0]

    prior = Discriminative(spread, lam=0.02, first=0.1, last=3.0, growth=3.0, inner=5.0)
    cold = replace(prior, warm=False)
    level = Level(0, 1, np.zeros((40, 40), np.float32), (3, 3))
    for fade in (1.0, 0.5, 1e-9):
        prior.latent(Asked(), np.ones((3, 3), np.float32), 1e-3, fade, level)
    assert [lam for _, lam, _, _ in asked] == pytest.approx([0.02, 0.01, 0.02 * LEAST_FADE])
    for mu, _, first, penalties in asked:
        assert (mu, first) == (1e-3, 0.1)
        start = ("few edges", 1e-3, 5.0)
        assert penalties == {"start": start, "last": 3.0, "growth": 3.0, "inner": 5.0}
    cold.latent(Asked(), np.ones((3, 3), np.float32), 1e-3, 1.0, level)
    assert asked[-1][3]["start"] is None


def test_without_weight_it_is_the_l0_prior_to_the_bit():
    image = scene_and_blurred(SHAKE, size=120)[1].astype(np.float32)

    def never(x):
        raise AssertionError("asked")

    expected = coarse_to_fine(image, (13, 13), estimator("l0"))
    found = coarse_to_fine(image, (13, 13), Alternation(Discriminative(never, lam=0)))
    np.testing.assert_array_equal(found, expected)
    other = coarse_to_fine(image, (13, 13), Alternation(Discriminative(spread, lam=0.01)))
    assert np.abs(other - expected).max() > 1e-4


def test_the_public_call_without_weight_gives_what_l0_gives():
    image = scene_and_blurred(SHAKE, size=120)[1].astype(np.float32)
    expected = blind.estimate(image, 9, prior="l0")
    with patch.dict(estimators.PRIORS, discriminative=lambda: Discriminative(lam=0)):
        found = blind.estimate(image, 9, prior="discriminative")
    np.testing.assert_array_equal(found.psf, expected.psf)
    assert found.prior == "discriminative"


def test_pictures_too_small_to_judge_go_without():
    image = scene_and_blurred(psf.motion(3, 30), size=15)[1].astype(np.float32)
    level = Level(2, 3, image, (5, 5))
    kernel = psf.pad(psf.motion(3, 30), 5).astype(np.float32)
    found, expected = (
        prior.latent(Latent(level), kernel, 4e-3, 1.0, level)
        for prior in (Discriminative(spread), L0())
    )
    np.testing.assert_array_equal(found, expected)


def test_the_image_step_is_a_picture_on_the_domain_and_repeats():
    scene, blurred = scene_and_blurred(SHAKE, size=128)
    image = blurred.astype(np.float32)
    image.setflags(write=False)
    level = Level(0, 6, image, (11, 11))
    latent = Latent(level)
    kernel = psf.pad(SHAKE, 11).astype(np.float32)
    prior = Discriminative(spread, lam=LAM)
    first, again = (prior.latent(latent, kernel, 4e-3, 1.0, level) for _ in range(2))
    assert first.shape == latent.domain
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    inner = (slice(8, -8), slice(8, -8))
    dx = [np.diff(v[inner], axis=1).ravel() for v in (latent.frame.crop(first), image, scene)]
    assert np.corrcoef(dx[0], dx[2])[0, 1] > np.corrcoef(dx[1], dx[2])[0, 1]


def test_any_classifier_serves_to_find_a_planted_shake():
    image = scene_and_blurred(SHAKE, size=160)[1].astype(np.float32)
    found = coarse_to_fine(image, (15, 15), Alternation(Discriminative(spread, lam=LAM)))
    assert metrics.psf_similarity(found, SHAKE) > 0.8


BAD = {
    "lam": ({"lam": -1e-3}, "lam=-0.001; expected .* at least 0"),
    "lam of words": ({"lam": "much"}, "lam='much'"),
    "form": ({"form": "logits"}, "form='logits'.*did you mean 'logit'"),
    "no steps": ({"steps": 0}, "steps=0; expected .* at least 1"),
    "part of a step": ({"steps": 1.5}, "steps=1.5; expected a whole number"),
    "rate": ({"rate": 1.5}, "rate=1.5; expected .* at most 1"),
    "no rate": ({"rate": 0}, "rate=0; expected .* above 0"),
    "first": ({"first": 0.0}, "first=0.0; expected .* above 0"),
    "last": ({"first": 2.0, "last": 2.0}, "last=2.0; expected .* above 2"),
    "growth": ({"growth": 1.0}, "growth=1.0; expected .* above 1"),
    "inner": ({"inner": float("nan")}, "inner=nan; expected"),
    "classifier": ({"classifier": "net"}, "classifier='net'; expected a callable"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_are_refused_by_name(case):
    options, sentence = BAD[case]
    with pytest.raises((TypeError, ValueError), match=sentence):
        Discriminative(**({"classifier": spread} | options))


# --- with a network ------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def network(torch):
    """A network of random weights, in double precision."""
    torch.manual_seed(3)
    layers = [torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.SiLU(), torch.nn.AvgPool2d(2)]
    layers += [torch.nn.Conv2d(4, 1, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(0)]
    return torch.nn.Sequential(*layers).double()


def test_the_gradient_through_a_network_is_right(torch):
    net = network(torch)
    x = np.random.default_rng(2).random((18, 21))
    x.setflags(write=False)
    classifier = differentiable(net)
    places = places_in(x.shape)
    # As a solver may be run in such a block.
    with torch.no_grad():
        logit, gradient = classifier(x)
    assert logit == pytest.approx(float(net(torch.tensor(x)[None, None])))
    expected = numerical(lambda v: classifier(v)[0], x, places)
    assert gradient.shape == x.shape
    np.testing.assert_allclose([gradient[at] for at in places], expected, rtol=1e-5, atol=1e-10)
    assert not net.training
    assert all(not p.requires_grad and p.grad is None for p in net.parameters())


def test_the_shipped_network_has_the_right_gradient(torch):
    prior = Discriminative()
    x = scene_and_blurred(SHAKE, size=64)[1].astype(np.float32)
    value, gradient = prior.value(x)
    assert gradient.dtype == np.float32
    # In single precision one pixel moves the mean too little to be seen: along the gradient.
    along = gradient / np.linalg.norm(gradient)
    step = 0.05
    up, down = (prior.value((x + s * along).astype(np.float32))[0] for s in (step, -step))
    assert (up - down) / (2 * step) == pytest.approx(np.linalg.norm(gradient), rel=0.05)
    sharp = scene_and_blurred(SHAKE, size=64)[0].astype(np.float32)
    assert prior.value(sharp)[0] < value


def test_a_network_runs_on_the_threads_of_deconv(torch):
    before, seen = torch.get_num_threads(), []

    class Net(torch.nn.Module):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            return x.mean((1, 2, 3))

    with patch.object(threads, "_threads", 2):
        differentiable(Net())(np.ones((3, 3), np.float32))
    assert seen == [2]
    assert torch.get_num_threads() == before


def test_the_shipped_network_deblurs_a_planted_shake(torch):
    shake = psf.trajectory(15, rng=0)
    scene, blurred = scene_and_blurred(shake, size=220, sigma=0.002)
    found = blind.deblur(blurred.astype(np.float32), 15, prior="discriminative")
    assert found.blurred
    assert found.prior == "discriminative"
    assert metrics.psf_similarity(found.psf, shake) > 0.8
    gain = metrics.aligned_psnr(scene, found.image, data_range=1, reach=5)
    assert gain > metrics.aligned_psnr(scene, blurred, data_range=1, reach=5) + 2


# --- without what it needs -----------------------------------------------------------------------


@pytest.fixture(params=["torch", "unrolled.models.blur_classifier"])
def missing(request, monkeypatch):
    monkeypatch.setitem(sys.modules, request.param, None)
    discriminative._classifier.cache_clear()
    yield request.param
    discriminative._classifier.cache_clear()


def test_what_is_missing_is_said_in_one_sentence(missing):
    with pytest.raises(ImportError, match=SENTENCE) as caught:
        Discriminative()
    assert missing in str(caught.value)
    # Neither another classifier nor none needs it.
    Discriminative(spread)
    Discriminative(lam=0)


def test_what_is_missing_is_said_before_any_work(missing, monkeypatch):
    monkeypatch.setattr("deconv.blind.look.checked", None)
    for call in (blind.estimate, blind.deblur):
        with pytest.raises(ImportError, match=SENTENCE):
            call(np.ones((40, 40)), prior="discriminative")


def test_the_command_line_says_what_is_missing(missing, tmp_path, capsys):
    arguments = ["blind", tmp_path / "none.png", "-o", tmp_path / "out.png"]
    assert main([*map(str, arguments), "--prior", "discriminative"]) == 2
    assert 'pip install "deconv[unrolled]"' in capsys.readouterr().err


def test_neither_the_import_nor_another_prior_loads_torch():
    code = (
        "import sys, numpy as np\n"
        "from deconv import blind\n"
        "x = np.random.default_rng(0).random((40, 40)).cumsum(0)\n"
        "blind.estimate_psf(x, 5, prior='l0')\n"
        "print(*sys.modules)"
    )
    run = [sys.executable, "-W", "error", "-c", code]
    loaded = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
    assert "deconv.blind.discriminative" in loaded
    assert not {"torch", "unrolled"} & set(loaded)


def test_the_prior_is_one_of_the_public_names():
    assert "discriminative" in blind.PRIORS
    assert replace(Discriminative(lam=0), lam=1e-3, classifier=spread).lam == 1e-3
