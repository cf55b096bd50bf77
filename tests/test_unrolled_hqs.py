"""The unrolled network: its schedule and its data steps, against numbers found by other means."""

import numpy as np
import pytest
from helpers import random_psf

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from deconv.operators import Blur, StridedBlur, filled_solve  # noqa: E402
from unrolled.hqs import IN_NOISE, PRESETS, HQSNet, HyperParameterNet  # noqa: E402
from unrolled.unet import ResUNet  # noqa: E402

# Stride and boundary, and what is not as observed.
SETTINGS = {
    "unknown": (1, "unknown", {}),
    "weights": (1, "unknown", {"weighted"}),
    "clipped": (1, "unknown", {"weighted", "clipped"}),
    "periodic and clipped": (1, "periodic", {"clipped"}),
    "zero": (1, "zero", {}),
    "strided": (2, "unknown", {"weighted", "clipped"}),
}
# With a zero boundary the data step ends at a tolerance, for all samples at once.
LOOSE = {"zero": 0.02}


class Known(ResUNet):
    """A prior that is simple to write down: it shrinks to grey by the noise."""

    def __init__(self):
        super().__init__(1, (1,), blocks=0)

    def forward(self, x, sigma):
        return x - sigma * (x - 0.5)


def shaken(module):
    """With no parameter at 0."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def small(prior=None, **changes):
    torch.manual_seed(0)
    options = {"widths": (4, 8), "blocks": 1, "hidden": 4, "iterations": 3} | changes
    model = shaken(HQSNet.preset("tiny", **options))
    model.prior = prior or model.prior
    return model


def observation(setting="unknown", batch=2, channels=1, shape=(13, 10), dtype=torch.float64):
    """Arguments of a forward pass, with one psf, level and mask for each sample."""
    stride, boundary, what = SETTINGS[setting]
    rng = np.random.default_rng(0)
    kernel = torch.tensor(random_psf(rng, (4, 3), (batch, 1)), dtype=dtype)
    weights = rng.random((batch, 1, *shape)) * (rng.random((batch, 1, *shape)) > 0.2)
    weights = torch.tensor(weights, dtype=dtype) if "weighted" in what else None
    A = StridedBlur(kernel, shape, stride, boundary=boundary, weights=weights)
    y = torch.tensor(rng.random((batch, channels, *shape)), dtype=dtype)
    sigma = torch.tensor([0.02, 0.1], dtype=dtype)[:batch]
    return y, A, sigma, y > 0.8 if "clipped" in what else None


# --- the data step --------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_iterations_by_numpys_operators(setting, dtype):
    stride, boundary, _ = SETTINGS[setting]
    y, A, sigma, clipped = observation(setting, dtype=dtype)
    net = small(Known()).to(dtype)
    found = net(y, A, sigma, clipped).numpy()
    alpha, beta = (v.double().numpy() for v in net.hyper(sigma, stride))
    momentum, unseen = net.momentum.double().numpy(), net.unseen.numpy()
    for i, observed in enumerate(y.double().numpy()[:, 0]):
        kernel = A.psf[i, 0].double().numpy()
        weights = None if A.weights is None else A.weights[i, 0].double().numpy()
        limit = None if clipped is None else clipped[i, 0].numpy()
        B = StridedBlur(kernel, A.shape, stride, boundary=boundary, weights=weights)
        seen = np.ones(A.shape) if weights is None else weights
        hidden = 1 - B.reweighted(seen if limit is None else seen * ~limit).coverage
        x = B.embed(observed)
        for k in range(3):
            z = filled_solve(
                B, observed, float(alpha[i, k]), x, momentum=tuple(momentum[k]), clipped=limit
            )
            below = max(0.0, -z.min() - IN_NOISE * beta[i, k])
            lifted = z + below
            x = lifted - (beta[i, k] + unseen[k] * hidden) * (lifted - 0.5) - below
        tolerance = LOOSE.get(setting, 1e-10 if dtype == torch.float64 else 1e-5)
        np.testing.assert_allclose(found[i, 0], x, rtol=0, atol=tolerance * np.ptp(x))


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_usrnets_closed_form_by_numpys_fft(stride):
    rng = np.random.default_rng(0)
    shape, kernel = (8, 6), random_psf(rng, (5, 4))
    y = rng.random(shape)
    options = {"schedule": False, "coverage": False, "steps": 1, "residual": False, "lifted": False}
    net = small(Known(), **options).double()
    assert net.momentum is None and net.unseen is None
    A = StridedBlur(torch.tensor(kernel[None, None]), shape, stride, boundary="periodic")
    sigma = torch.tensor([0.05], dtype=torch.float64)
    found = net(torch.tensor(y[None, None]), A, sigma)[0, 0].numpy()

    # p2o: the centre, at index size // 2, goes to the origin.
    fine = tuple(stride * n for n in shape)
    padded = np.zeros(fine)
    padded[:5, :4] = kernel
    K = np.fft.fft2(np.roll(padded, (-2, -2), (0, 1)))
    zeros_between = np.zeros(fine)
    zeros_between[::stride, ::stride] = y

    def tiles(spectrum):
        return spectrum.reshape(stride, shape[0], stride, shape[1]).mean((0, 2))

    alpha, beta = (v[0].numpy() for v in net.hyper(sigma, stride))
    x = A.embed(torch.tensor(y)).numpy()
    for a, b in zip(alpha, beta, strict=True):
        R = np.conj(K) * np.fft.fft2(zeros_between) + a * np.fft.fft2(x)
        seen = tiles(K * R) / (tiles(np.abs(K) ** 2) + a)
        z = np.fft.ifft2((R - np.conj(K) * np.tile(seen, (stride, stride))) / a).real
        x = z - b * (z - 0.5)
    np.testing.assert_allclose(found, x, atol=1e-10)


# --- the whole network ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["y", "momentum", "unseen", "hyper.layers.2.weight"])
def test_gradients_of_the_whole(name):
    y, A, sigma, clipped = observation("clipped", batch=1, shape=(6, 5))
    net = small(widths=(2, 3), iterations=2, steps=3).double()
    parameters = dict(net.named_parameters())

    def run(value):
        if name == "y":
            return net(value, A, sigma, clipped)
        changed = parameters | {name: value}
        return torch.func.functional_call(net, changed, (y, A, sigma, clipped))

    value = (y if name == "y" else parameters[name]).detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(run, (value,))


@pytest.mark.parametrize("setting", ["clipped", "strided"])
@pytest.mark.parametrize("changes", [{}, {"attention": True}, {"schedule": False}])
def test_every_parameter_learns(setting, changes):
    y, A, _, clipped = observation(setting, dtype=torch.float32)
    net = small(**changes)
    A.crop(net(y, A, torch.tensor([0.0, 0.1]), clipped)).abs().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


@torch.no_grad()
def test_autocast_leaves_the_data_step_alone():
    y, A, sigma, _ = observation(dtype=torch.float32)
    net, kinds = small(), []
    net.prior.head.register_forward_hook(lambda _, inputs, output: kinds.append(output.dtype))
    net.prior.register_forward_hook(lambda _, inputs, output: kinds.append(inputs[0].dtype))
    expected = net(y, A, sigma)
    assert set(kinds) == {torch.float32}
    kinds.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(y, A, sigma)
    assert kinds == [torch.bfloat16, torch.float32] * 3
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.05 * (expected.max() - expected.min())


@torch.no_grad()
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_batch_is_its_samples_one_by_one(setting):
    y, A, sigma, clipped = observation(setting, channels=3)
    net = small(channels=3, attention=True).double()
    together = net(y, A, sigma, clipped)
    assert A.crop(together).shape == (2, 3, 13 * A.stride, 10 * A.stride)
    for i in range(2):
        one = slice(i, i + 1)
        weights = None if A.weights is None else A.weights[one]
        B = StridedBlur(A.psf[one], A.shape, A.stride, boundary=A.boundary, weights=weights)
        alone = net(y[one], B, sigma[one], None if clipped is None else clipped[one])
        tolerance = LOOSE.get(setting, 1e-10) * float(alone.max() - alone.min())
        torch.testing.assert_close(together[one], alone, rtol=0, atol=tolerance)


@torch.no_grad()
def test_a_psf_without_leading_axes_is_that_of_every_plane():
    y, A, sigma, clipped = observation("clipped", channels=2)
    net = small(channels=2).double()
    kernel, weights = A.psf[0, 0], A.weights[0, 0]
    for limit in (None, clipped):
        expected = net(y, Blur(kernel[None, None], A.shape, weights=weights), sigma, limit)
        for lead in ((), (1,)):
            B = Blur(kernel.reshape(*lead, *kernel.shape), A.shape, weights=weights)
            torch.testing.assert_close(net(y, B, sigma, limit), expected)


@torch.no_grad()
def test_a_callback_ends_the_iterations():
    y, A, sigma, _ = observation()
    net, told = small(), []
    net.double()(y, A, sigma, tell=lambda k, x: told.append((k, x)))
    assert [k for k, _ in told] == [1, 2, 3]
    found = net(y, A, sigma, tell=lambda k, x: k == 2)
    torch.testing.assert_close(found, told[1][1], rtol=0, atol=0)


@torch.no_grad()
def test_the_prior_is_told_what_was_not_seen():
    y, A, sigma, clipped = observation("clipped")
    net, maps = small(Known()).double(), []
    net.prior.register_forward_hook(lambda _, inputs, output: maps.append(inputs[1]))
    net.unseen.fill_(0)
    blind = net(y, A, sigma, clipped)
    beta = net.hyper(sigma)[1]
    for k, noise in enumerate(maps):
        assert (noise == beta[:, k, None, None, None]).all()
    net.unseen.copy_(torch.tensor([0.1, 0.2, 0.3]))
    maps.clear()
    net(y, A, sigma, clipped)
    seen = A.weights * ~clipped
    for k, noise in enumerate(maps):
        hidden = 1 - A.reweighted(seen).coverage
        torch.testing.assert_close(noise, beta[:, k, None, None, None] + net.unseen[k] * hidden)
    assert hidden.max() > 0.99 and hidden.min() < 0.7
    net.unseen = None
    torch.testing.assert_close(net(y, A, sigma, clipped), blind)


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"tile": 8}, {"ensemble": True}])
def test_the_prior_sees_nothing_below_black(options):
    A = Blur(torch.tensor(random_psf(np.random.default_rng(0), (5, 4)))[None, None], (20, 18))
    ink = torch.full((2, 1, *A.domain), 0.6, dtype=A.psf.dtype)
    ink[0, ..., ::6], ink[1, ..., ::6] = -0.3, 0.3  # the first is darker than black
    sigma = torch.tensor([0.01, 0.01], dtype=A.psf.dtype)
    darkest = {}
    for lifted in (False, True):
        net, seen = small(Known(), lifted=lifted).to(A.psf.dtype), []
        net.unseen.zero_()
        net.prior.register_forward_hook(
            lambda _, inputs, output, seen=seen: seen.append(inputs[0] + IN_NOISE * inputs[1])
        )
        x = net(A(ink), A, sigma, **options)
        darkest[lifted] = min(float(z.min()) for z in seen)
        # What is added is taken off again: the prior moves all values towards 0.5 a little.
        assert (A.crop(x) - A.crop(ink)).abs().mean() < 0.15
    assert darkest[False] < -0.1 and darkest[True] > -1e-6


@torch.no_grad()
def test_pictures_above_black_are_not_lifted():
    y, A, sigma, _ = observation("unknown")
    net, other = small(Known()).double(), small(Known(), lifted=False).double()
    torch.testing.assert_close(net(5 + y, A, sigma), other(5 + y, A, sigma), rtol=0, atol=0)


# --- alpha, beta and sizes ------------------------------------------------------------------------


@pytest.mark.parametrize("iterations", [1, 5, 8])
def test_the_schedule_begins_as_that_of_dpir(iterations):
    levels = np.array([0.255, 2.55, 12.75, 49, 80]) / 255
    net = HyperParameterNet(iterations, 8).double()
    alpha, beta = (v.detach().numpy() for v in net(torch.tensor(levels), stride=2))
    for a, b, noise in zip(alpha, beta, levels, strict=True):
        expected = np.geomspace(49 / 255, min(noise, 49 / 255), iterations)
        np.testing.assert_allclose(b, expected, rtol=1e-5)
        np.testing.assert_allclose(a, 0.23 * noise**2 / expected**2, rtol=1e-5)
    # What is below 0.255 of a grey level is taken as that.
    for least in net(torch.tensor([0.0, 0.1 / 255], dtype=torch.float64)):
        expected = net(torch.tensor([0.255 / 255], dtype=torch.float64))
        assert any(torch.allclose(least, values.expand(2, -1)) for values in expected)


def test_plain_hyper_parameters_are_those_of_usrnet():
    net = shaken(HyperParameterNet(3, 8, schedule=False))
    sigma = torch.tensor([0.0, 0.1])
    first, second, third = (net.layers[i] for i in (0, 2, 4))
    v = torch.stack([sigma, torch.tensor([4.0, 4.0])], dim=1)
    for layer in (first, second):
        v = F.relu(v @ layer.weight[..., 0, 0].T + layer.bias)
    v = F.softplus(v @ third.weight[..., 0, 0].T + third.bias) + 1e-6
    for found, expected in zip(net(sigma, 4), (v[:, :3], v[:, 3:]), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("name", "channels", "prior", "whole"),
    [
        ("tiny", 1, 588_208, 589_720),
        ("tiny", 3, 588_784, 590_296),
        ("small", 1, 2_351_968, 2_357_000),
        ("base", 3, 17_010_624, 17_016_016),
    ],
)
def test_sizes(name, channels, prior, whole):
    with torch.device("meta"):
        net = HQSNet.preset(name, channels=channels)
    assert sum(p.numel() for p in net.prior.parameters()) == prior
    assert sum(p.numel() for p in net.parameters()) == whole


def test_presets():
    assert HQSNet.preset("small", blocks=1, widths=(4, 8)).config.hidden == 64
    assert HQSNet(None).config == PRESETS["tiny"]
    with pytest.raises(ValueError, match=r"preset 'huge'; expected one of \('tiny'"):
        HQSNet.preset("huge")
    with pytest.raises(TypeError, match="width"):
        HQSNet.preset("tiny", width=3)
