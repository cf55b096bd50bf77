"""The recurrences against their loop, with their gradients; and the network on top of them."""

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from unrolled.models.svrnn import DIRECTIONS, SVRNN, SVRNNConfig, linear_scan  # noqa: E402

TINY = {"features": (3, 4), "gates": (3, 4, 5, 6), "stages": 2}
LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 31]
SIZES = [(1, 1), (1, 17), (5, 1), (13, 10), (16, 8)]


def loop(x, g, dim, reverse):
    """The definition, step by step."""
    steps = range(x.shape[dim])
    h, found = torch.zeros_like(x.select(dim, 0)), {}
    for t in reversed(steps) if reverse else steps:
        gate = g.select(dim, t)
        found[t] = h = (1 - gate) * x.select(dim, t) + gate * h
    return torch.stack([found[t] for t in steps], dim)


def drawn(*shape, low=-1.0, high=1.0, dtype=torch.float64, seed=0):
    """Input, and gates in (low, high)."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    g = low + (high - low) * torch.rand(shape, generator=rng, dtype=torch.float64)
    return x.to(dtype), g.to(dtype)


def network(**changes):
    """A small network, no weight of which is zero."""
    torch.manual_seed(0)
    net = SVRNN.preset("small", **{**TINY, **changes})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.double()


# The scan.


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_scan_is_the_loop(length, axis, reverse):
    shape = [2, 3, 4]
    shape[axis] = length
    x, g = (t.requires_grad_() for t in drawn(*shape))
    found, expected = linear_scan(x, g, axis, reverse), loop(x, g, axis, reverse)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(linear_scan(x, g, axis - 3, reverse), expected)
    weight = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad(found, (x, g), weight),
        torch.autograd.grad(expected, (x, g), weight),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "slice", "expanded", "swapped"])
@pytest.mark.parametrize(("axis", "reverse"), DIRECTIONS)
def test_any_layout_in_memory(layout, axis, reverse):
    x, g = drawn(2, 6, 5, 7)
    if layout == "channels_last":
        x, g = (t.contiguous(memory_format=torch.channels_last) for t in (x, g))
    elif layout == "slice":
        x, g = x[:, ::2, 1:], g[:, 1::2, :-1]
    elif layout == "expanded":
        x = x[:, :1].expand_as(g)
    elif layout == "swapped":
        g = g.mT.contiguous().mT
    before = x.clone(), g.clone()
    x.requires_grad_(), g.requires_grad_()
    found, expected = linear_scan(x, g, axis, reverse), loop(x, g, axis, reverse)
    torch.testing.assert_close(found, expected)
    weight = torch.randn(()).double().expand_as(found)
    for one, other in zip(
        torch.autograd.grad(found, (x, g), weight),
        torch.autograd.grad(expected, (x, g), weight),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    assert torch.equal(x, before[0]) and torch.equal(g, before[1])


@pytest.mark.parametrize(("axis", "reverse"), DIRECTIONS)
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 2)])
def test_the_gradient_is_that_of_finite_differences(axis, reverse, size):
    x, g = (t.requires_grad_() for t in drawn(1, 2, *size))
    assert torch.autograd.gradcheck(lambda x, g: linear_scan(x, g, axis, reverse), (x, g))


def test_only_one_gradient_is_needed():
    x, g = drawn(2, 9)
    torch.testing.assert_close(
        torch.autograd.grad(linear_scan(x, g.requires_grad_(), 1).sum(), g)[0],
        torch.autograd.grad(loop(x, g, 1, False).sum(), g)[0],
    )


def test_it_is_differentiable_once():
    x, g = (t.requires_grad_() for t in drawn(5))
    (slope,) = torch.autograd.grad(linear_scan(x, g, 0).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_backward_keeps_three_tensors():
    kept = []
    x, g = (t.requires_grad_() for t in drawn(2, 64))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape), lambda t: t):
        linear_scan(x, g, 1)
    assert kept == [x.shape] * 3


@pytest.mark.parametrize("gate", [-0.5, 0.0, 0.9])
def test_impulse_response(gate):
    x = torch.zeros(12, dtype=torch.float64)
    x[4] = 1
    found = linear_scan(x, torch.full_like(x, gate), 0)
    expected = torch.zeros_like(x)
    expected[4:] = (1 - gate) * torch.tensor([gate**t for t in range(8)], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def test_a_constant_comes_to_itself():
    g = torch.full((400,), 0.9, dtype=torch.float64)
    found = linear_scan(torch.full_like(g, 0.3), g, 0)
    torch.testing.assert_close(found[0], torch.tensor(0.03, dtype=torch.float64))
    torch.testing.assert_close(found[300:], torch.full_like(found[300:], 0.3))


def test_the_first_step():
    x, g = drawn(3, 1)
    assert torch.equal(linear_scan(x, g, 1), torch.addcmul(x, x, g, value=-1))


@pytest.mark.parametrize("axis", [-1, -2])
def test_reverse_is_that_of_the_flipped(axis):
    x, g = drawn(2, 11, 6)
    flipped = linear_scan(x.flip(axis), g.flip(axis), axis).flip(axis)
    torch.testing.assert_close(linear_scan(x, g, axis, reverse=True), flipped)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.99, 0.99), (0.999, 1.0), (-0.99, -0.9)])
def test_stable_for_gates_below_one(low, high):
    x, g = drawn(4, 3000, low=low, high=high, dtype=torch.float32)
    exact = loop(x.double(), g.double(), 1, False)
    found = linear_scan(x, g, 1)
    # |h_t| <= |1 - g| |x| + |g| |h_{t-1}|; a gate from 0 to 1 takes a mean.
    bound = 1.0 if low >= 0 else (1 - low) / (1 - max(abs(low), abs(high)))
    assert found.abs().max() <= bound * x.abs().max() * (1 + 1e-5)
    # As near as the loop is in the same precision, but for a few roundings.
    error = (found - exact).abs().max()
    assert error <= 4 * (loop(x, g, 1, False) - exact).abs().max() + 1e-6 * exact.abs().max()


def test_half_precision_is_summed_in_single():
    x, g = drawn(2, 500, low=0.9, high=0.99, dtype=torch.bfloat16)
    found = linear_scan(x, g, 1)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, linear_scan(x.float(), g.float(), 1).bfloat16())


@pytest.mark.parametrize(
    ("x", "g", "dim", "error", "words"),
    [
        ([1.0], torch.ones(1), 0, TypeError, "x is of list; expected a tensor"),
        (torch.ones(2, dtype=int), torch.ones(2), 0, TypeError, "x is of torch.int64"),
        (torch.ones(2), torch.ones(3), 0, ValueError, r"g is \(3,\) .*; expected \(2,\) .*, as x"),
        (torch.ones(2), torch.ones(2).double(), 0, ValueError, "g is .*float64; expected .*32"),
        (torch.ones(2), 0.5, 0, ValueError, "g is float; expected"),
        (torch.ones(2), torch.ones(2), 1, ValueError, "dim=1; expected an axis of x, which has 1"),
        (torch.ones(2), torch.ones(2), -2, ValueError, "dim=-2"),
    ],
)
def test_the_scan_refuses(x, g, dim, error, words):
    with pytest.raises(error, match=words):
        linear_scan(x, g, dim)


# The network.


def test_parameters():
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in SVRNN.preset(name).parameters()) for name in ("paper", "small")
        ]
    assert counts[0] == 9_227_027
    assert counts[1] < 1_000_000


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_any_size(size):
    net = network()
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    found = net(x)
    assert found.shape == x.shape
    rows, columns = (-n % 8 for n in size)
    padded = F.pad(x, (0, columns, 0, rows), mode="replicate")
    torch.testing.assert_close(found, net(padded)[..., : size[0], : size[1]])
    torch.testing.assert_close(found[1:], net(x[1:]))


def test_how_it_begins():
    x = torch.rand(1, 3, 16, 16)
    torch.manual_seed(0)
    assert torch.equal(SVRNN.preset("small", **TINY)(x), x)
    plain = SVRNN.preset("paper", features=(8, 8), gates=(8, 8, 16, 16), stages=2)
    found, gates = plain(x), plain.gates(x)
    assert 0.02 < found.std() < 2
    assert gates.shape == (1, 2 * 4 * 8, 8, 8) and 0 < gates.abs().max() < 0.7


def test_every_parameter_is_trained():
    net = network()
    net(torch.rand(1, 3, 16, 24, dtype=torch.float64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@torch.no_grad()
@pytest.mark.parametrize(("bias", "reaches"), [(0.0, False), (2.0, True)])
@pytest.mark.parametrize(("axis", "flip"), DIRECTIONS)
def test_light_goes_as_far_as_the_gates_let_it(bias, reaches, axis, flip):
    net = network(residual=False)
    last = net.gates.to_half[-1]
    last.weight.zero_(), last.bias.fill_(bias)
    shape = (8, 320) if axis == -1 else (320, 8)
    x = torch.rand(1, 3, *shape, dtype=torch.float64)
    other = x.clone()
    other.narrow(axis, 316 if flip else 0, 4).add_(0.5)
    change = (net(other) - net(x)).abs()
    # Beyond what the convolutions see.
    assert (change.narrow(axis, 0 if flip else 220, 100).max() > 1e-12) == reaches


@torch.no_grad()
def test_under_autocast():
    net = network().float()
    x = torch.rand(1, 3, 24, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = net(x)
    assert rounded.dtype == x.dtype
    assert (rounded - net(x)).abs().max() < 0.05 * (net(x) - x).abs().max()


def test_weights_come_back(tmp_path):
    weights = pytest.importorskip("unrolled.weights")
    pytest.importorskip("safetensors")
    net = network().float()
    loaded = SVRNN.from_pretrained(weights.save(net, tmp_path / "net.safetensors"))
    assert loaded.config == net.config and not loaded.training
    x = torch.rand(1, 3, 9, 9)
    with torch.no_grad():
        assert torch.equal(loaded(x), net(x))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"stages": 0}, ValueError, "stages=0; expected a whole number of at least 1"),
        ({"channels": 1.5}, TypeError, "channels=1.5; expected a whole number"),
        ({"features": (3,)}, ValueError, r"features=\(3,\); expected 2 positive numbers"),
        ({"gates": (4, 4, 4, 0)}, ValueError, r"gates=\(4, 4, 4, 0\); expected 4 positive"),
        ({"widths": (4, 4)}, ValueError, "option of SVRNNConfig='widths' is not known"),
    ],
)
def test_configurations_refused(changes, error, words):
    with pytest.raises(error, match=words):
        SVRNN.preset("small", **changes)


def test_presets_by_name():
    with pytest.raises(ValueError, match=r"name='big' is not known.*paper, small"):
        SVRNN.preset("big")
    assert SVRNN(SVRNNConfig(**TINY)).config.residual is False


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (torch.zeros(1, 1, 8, 8), ValueError, r"x has shape \(1, 1, 8, 8\); expected \(N, 3, H, W"),
        (torch.zeros(3, 8, 8), ValueError, r"x has shape \(3, 8, 8\)"),
        (torch.zeros(1, 3, 0, 8), ValueError, "H and W of at least 1"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), TypeError, "x is of torch.uint8; expected"),
        ([0.5], TypeError, "x is of list; expected a tensor"),
    ],
)
def test_pictures_refused(x, error, words):
    with pytest.raises(error, match=words):
        network()(x)
