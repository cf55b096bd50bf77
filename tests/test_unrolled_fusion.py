"""Restorations at several weights, fused: what the network is given and what it says."""

import numpy as np
import pytest
from helpers import get, random_psf

from deconv.fan import fan
from deconv.fidelity import Fidelity

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from deconv.operators import Blur, StridedBlur  # noqa: E402
from unrolled.fusion import (  # noqa: E402
    LEVEL,
    MISFIT,
    PREFERENCE,
    SHARPNESS,
    FusionConfig,
    MultiLambdaFusion,
)
from unrolled.unet import ResUNet  # noqa: E402

FACTORS = (0.04, 0.2, 1.0, 5.0)
SETTINGS = ["unknown", "periodic", "zero", "weights", "clipped"]


def shaken(module, scale=0.1):
    """With no parameter at 0."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return module


def network(**changes):
    torch.manual_seed(0)
    return MultiLambdaFusion(FusionConfig(**{"widths": (4, 8), "blocks": 1} | changes))


NET = shaken(network())


def observation(setting="unknown", batch=2, shape=(13, 10), dtype=torch.float32):
    """Arguments of a forward pass, with one psf, level and mask for each sample."""
    rng = np.random.default_rng(0)
    kernel = torch.tensor(random_psf(rng, (4, 3), (batch, 1)), dtype=dtype)
    y = torch.tensor(rng.random((batch, 1, *shape)), dtype=dtype)
    weights = torch.tensor(rng.random(y.shape) > 0.1, dtype=dtype)
    boundary = setting if setting in ("periodic", "zero") else "unknown"
    A = Blur(kernel, shape, boundary=boundary, weights=weights if setting == "weights" else None)
    sigma = torch.tensor([0.02, 0.1], dtype=dtype)[:batch]
    return y, A, sigma, y > 0.8 if setting == "clipped" else None


def close(found, expected, tolerance=1e-5):
    """To `tolerance` of the range."""
    scale = np.ptp(get(expected))
    np.testing.assert_allclose(get(found), get(expected), rtol=0, atol=tolerance * scale)


# --- the network ----------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_restorations_are_those_of_the_solver(setting):
    y, A, sigma, clipped = observation(setting)
    net = network(factors=(0.5, 8.0), weight=3.0, p=0.8)
    found = net.restorations(y, A, sigma, clipped)
    assert found.shape == (2, 2, *A.domain) and found.dtype == torch.float32
    for i, noise in enumerate((0.02, 0.1)):
        weights = None if A.weights is None else A.weights[i, 0].double().numpy()
        B = Blur(A.psf[i, 0].double().numpy(), A.shape, boundary=A.boundary, weights=weights)
        limit = None if clipped is None else clipped[i, 0].numpy()
        fidelity = Fidelity(B, y[i, 0].double().numpy(), limit)
        close(found[i], fan(fidelity, np.array(3 * noise**2), (0.5, 8.0), p=0.8), 2e-4)


@torch.no_grad()
def test_without_noise_there_is_a_little_prior():
    y, A, sigma, _ = observation()
    least = torch.full_like(sigma, 1e-9)
    found = NET.restorations(y, A, 0 * sigma)
    assert found.isfinite().all()
    torch.testing.assert_close(found, NET.restorations(y, A, least))


@torch.no_grad()
@pytest.mark.parametrize("shape", [(13, 10), (17, 16), (5, 23), (8, 8)])
@pytest.mark.parametrize("setting", SETTINGS)
def test_shapes_and_trust(setting, shape):
    y, A, sigma, clipped = observation(setting, shape=shape)
    x, trust = NET.fused(y, A, sigma, clipped)
    assert x.shape == (2, 1, *A.domain) and trust.shape == (2, 4, *A.domain)
    assert x.dtype == trust.dtype == torch.float32
    assert trust.min() > 0
    torch.testing.assert_close(trust.sum(1), torch.ones(2, *A.domain))
    assert trust.std(1).max() > 0.01
    torch.testing.assert_close(NET(y, A, sigma, clipped), x, rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("factors", [FACTORS, (1.0,), (0.1, 1.0, 10.0)])
def test_an_untrained_network_prefers_the_middle(factors):
    y, A, sigma, _ = observation()
    net = network(factors=factors)
    x, trust = net.fused(y, A, sigma)
    several = net.restorations(y, A, sigma)
    middle = factors.index(1.0)
    odds = torch.ones(len(factors))
    odds[middle] = np.exp(PREFERENCE)
    share = (odds / odds.sum())[:, None, None]
    torch.testing.assert_close(trust, share.expand_as(trust))
    torch.testing.assert_close(x[:, 0], (share * several).sum(1), rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("setting", SETTINGS)
def test_what_the_network_is_given_and_what_it_says(setting):
    y, A, sigma, clipped = observation(setting)
    several, seen = NET.restorations(y, A, sigma, clipped), []
    hook = NET.unet.register_forward_hook(lambda _, inputs, output: seen.append((inputs, output)))
    x, trust = NET.fused(y, A, sigma, clipped)
    hook.remove()
    (((stacked, noise), said),) = seen
    low = F.avg_pool2d(y, 6).amin((-2, -1), keepdim=True)
    torch.testing.assert_close(stacked[:, :5], torch.cat([several, A.embed(y)], 1) - low)
    torch.testing.assert_close(noise, sigma)
    # The misfit of the restoration at the least weight, where something was observed.
    weakest = several[:, :1]
    misfit = MISFIT * (y - A(weakest)) / sigma[:, None, None, None]
    if setting == "weights":
        misfit[A.weights == 0] = 0
    if setting == "clipped":
        misfit[(A(weakest) > y) & clipped] = 0
        assert (misfit[clipped] >= 0).all()
    torch.testing.assert_close(A.crop(stacked[:, 5:6]), misfit, rtol=1e-4, atol=1e-4)
    beyond = stacked[:, 5:6].clone()
    beyond[A.frame.index] = 0
    assert not beyond.any()
    # And how much it is around a pixel: in the middle nothing is cut off.
    around = (stacked[:, 5, 1:16, 2:17] / MISFIT).square().mean((1, 2)).sqrt()
    torch.testing.assert_close(stacked[:, 6, 8, 9], LEVEL * around, rtol=1e-4, atol=1e-5)
    odds = (SHARPNESS * said[:, :4] + NET.preference[:, None, None]).double().exp()
    torch.testing.assert_close(trust.double(), odds / odds.sum(1, keepdim=True), rtol=1e-4, atol=0)
    torch.testing.assert_close(x[:, 0], (trust * several).sum(1) + said[:, 4])


@torch.no_grad()
@pytest.mark.parametrize(("factors", "weakest"), [((3.0, 0.1, 0.6), 1), ((5.0,), 0), ((1, 2), 0)])
def test_the_misfit_is_that_of_the_weakest_restoration(factors, weakest):
    y, A, sigma, _ = observation()
    net, seen = network(factors=factors), []
    net.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(y, A, sigma)
    found = A.crop(seen[0])
    left = y - A(net.restorations(y, A, sigma)[:, weakest : weakest + 1])
    # A small one, on the scale of pictures.
    ratio = found[:, -2:-1] / left
    torch.testing.assert_close(ratio[0], torch.full_like(ratio[0], MISFIT / 0.02))
    torch.testing.assert_close(ratio[1], torch.full_like(ratio[1], MISFIT / 0.1))


@torch.no_grad()
def test_it_begins_as_a_denoiser_of_what_it_trusts():
    prior = shaken(ResUNet(1, (4, 8), blocks=1))
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    y, A, sigma, _ = observation()
    net = shaken(network())
    net.begin_from(prior)
    x, trust = net.fused(y, A, sigma)
    low = F.avg_pool2d(y, 6).amin((-2, -1), keepdim=True)
    trusted = (trust * net.restorations(y, A, sigma)).sum(1, keepdim=True)
    torch.testing.assert_close(x, prior(trusted - low, sigma) + low)
    share = torch.softmax(net.preference, dim=0)[:, None, None]
    torch.testing.assert_close(trust, share.expand_as(trust))
    # It is a copy.
    net.unet.head.weight.add_(1)
    net.unet.body[0].first.weight.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in prior.state_dict().items())


@pytest.mark.parametrize(
    "prior",
    [
        ResUNet(1, (4, 6), blocks=1),
        ResUNet(1, (2, 8), blocks=1),
        ResUNet(1, (4, 8), blocks=2),
        ResUNet(1, (4, 8, 8), blocks=1),
        ResUNet(1, (4,), blocks=1),
        ResUNet(1, (4, 8), blocks=1, attention=True),
        ResUNet(3, (4, 8), blocks=1),
    ],
)
def test_a_denoiser_of_other_layers(prior):
    with pytest.raises(RuntimeError, match="ResUNet"):
        network().begin_from(prior)


@torch.no_grad()
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_batch_is_its_samples_one_by_one(setting):
    y, A, sigma, clipped = observation(setting)
    together, trusts = NET.fused(y, A, sigma, clipped)
    for i in range(2):
        one = slice(i, i + 1)
        weights = None if A.weights is None else A.weights[one]
        B = Blur(A.psf[one], A.shape, boundary=A.boundary, weights=weights)
        limit = None if clipped is None else clipped[one]
        alone, trust = NET.fused(y[one], B, sigma[one], limit)
        close(together[one], alone, 2e-4)
        torch.testing.assert_close(trusts[one], trust, rtol=0, atol=1e-3)


@torch.no_grad()
def test_a_psf_without_leading_axes_is_that_of_every_picture():
    y, A, sigma, _ = observation()
    kernel = A.psf[0, 0]
    expected = NET(y, Blur(kernel[None, None], A.shape), sigma)
    close(NET(y, Blur(kernel, A.shape), sigma), expected)


@torch.no_grad()
def test_tiles_are_the_whole():
    y, A, sigma, _ = observation(shape=(150, 84))
    x, trust = NET.fused(y, A, sigma)
    for tile in (32, 60):
        tiled, there = NET.fused(y, A, sigma, tile=tile)
        close(tiled, x)
        torch.testing.assert_close(there, trust, rtol=0, atol=1e-5)
        torch.testing.assert_close(NET(y, A, sigma, tile=tile), tiled)


def test_the_gradient_reaches_the_network_and_not_the_solver():
    y, A, sigma, clipped = observation("clipped")
    y.requires_grad_()
    net = shaken(network())
    assert not net.restorations(y, A, sigma, clipped).requires_grad
    A.crop(net(y, A, sigma, clipped)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name
    # What the network sees of y is y itself; neither restorations nor misfit depend on it.
    seen = []
    hook = net.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(y, A, sigma, clipped)
    hook.remove()
    misfit, several = seen[0][:, 5:].detach(), net.restorations(y, A, sigma, clipped)
    low = (several - seen[0][:, :4]).detach()[:, :1]
    found = net.unet(torch.cat([several - low, A.embed(y) - low, misfit], 1), sigma)
    trust = torch.softmax(SHARPNESS * found[:, :-1] + net.preference[:, None, None], 1)
    x = (trust * several).sum(1, keepdim=True) + found[:, -1:]
    (expected,) = torch.autograd.grad(A.crop(x).square().mean(), y)
    torch.testing.assert_close(y.grad, expected)
    # An untrained network learns from its first step on: its last layer is all that is 0.
    net = network()
    net(y, A, sigma, clipped).square().mean().backward()
    assert net.unet.tail.weight.grad.any()


@torch.no_grad()
def test_autocast_leaves_the_solver_alone():
    y, A, sigma, _ = observation()
    kinds = []
    hook = NET.unet.head.register_forward_hook(lambda _, given, found: kinds.append(found.dtype))
    expected, several = NET(y, A, sigma), NET.restorations(y, A, sigma)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = NET(y, A, sigma)
        assert torch.equal(NET.restorations(y, A, sigma), several)
    hook.remove()
    assert kinds == [torch.float32, torch.bfloat16]
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.05 * (expected.max() - expected.min())


@torch.no_grad()
def test_tell_is_told_once():
    y, A, sigma, _ = observation()
    told = []
    x = NET(y, A, sigma, tell=lambda k, x: told.append((k, x)))
    assert [k for k, _ in told] == [1]
    assert torch.equal(told[0][1], x)


# --- configurations -------------------------------------------------------------------------------


@pytest.mark.parametrize("factors", [(), (0.0, 1.0), (-1.0,), (1.0, np.nan), (np.inf,)])
def test_factors_are_above_zero(factors):
    with pytest.raises(ValueError, match=r"^factors=.*; expected one or more numbers above 0"):
        network(factors=factors)


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan])
def test_the_weight_is_above_zero(weight):
    with pytest.raises(ValueError, match=r"^weight=.*; expected a number above 0"):
        network(weight=weight)


def test_the_middle_of_a_network():
    assert MultiLambdaFusion(None).config == FusionConfig()
    assert (NET.unet.channels, NET.unet.outputs) == (7, 5)


def test_strides_are_refused():
    A = StridedBlur(torch.ones(1, 1, 3, 3) / 9, (16, 16), 2)
    with pytest.raises(ValueError, match="A has a stride of 2; expected 1"):
        MultiLambdaFusion()(torch.rand(1, 1, 16, 16), A, torch.tensor([0.01]))


@torch.no_grad()
def test_haze_over_all_of_a_picture_changes_nothing():
    y, A, sigma, _ = observation("periodic")
    x, trust = NET.fused(y, A, sigma)
    hazy, there = NET.fused(y + 0.7, A, sigma)
    close(hazy, x + 0.7, 1e-4)
    torch.testing.assert_close(there, trust, rtol=0, atol=1e-3)
