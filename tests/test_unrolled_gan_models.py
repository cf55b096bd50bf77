"""Adversarial losses by hand, generators that take any size, critics, and all of them together."""

import math
from functools import partial

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from unrolled import adversarial  # noqa: E402
from unrolled.adversarial import LOSSES, Adversary, frozen, gradient_penalty  # noqa: E402
from unrolled.losses import perceptual  # noqa: E402
from unrolled.models.dbgan import BGAN, DBGAN, bgan_loss, dbgan_loss  # noqa: E402
from unrolled.models.deblurgan import (  # noqa: E402
    DeblurGAN,
    PatchCritic,
    deblurgan_loss,
)
from unrolled.models.svrnn import SVRNN  # noqa: E402
from unrolled.models.vgg_critic import VGGCritic  # noqa: E402

TINY = {
    "paper-like": partial(DeblurGAN.preset, "paper", width=3, blocks=2),
    "DeblurGAN": partial(DeblurGAN.preset, "small", width=3, blocks=2),
    "DBGAN": partial(DBGAN.preset, "small", width=4, growth=3, blocks=1),
    "BGAN": partial(BGAN.preset, "small", width=4, growth=3, blocks=1),
}
CRITICS = {
    "patch": partial(PatchCritic.preset, "small", width=3, layers=2),
    "binary": partial(PatchCritic.preset, "small", width=3, layers=2, output="binary"),
    "VGG": partial(VGGCritic.preset, "small", width=2, norm=False),
}
SIZES = [(1, 1), (1, 17), (5, 1), (13, 10), (16, 8)]
REAL, FAKE = torch.tensor([1.5, -0.5]).double(), torch.tensor([0.25, 2.0, -3.0]).double()


def made(kind, *, shake=0.1):
    """A network in double precision, no weight of which is zero, and without dropout."""
    torch.manual_seed(0)
    net = kind().double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(shake * torch.randn_like(parameter))
    return net


def pictures(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean(values):
    return sum(values) / len(values)


def log_sigmoid(logit):
    return -math.log1p(math.exp(-logit))


# Losses of logits.


def test_vanilla_by_hand():
    found = adversarial.vanilla(REAL, FAKE)
    real, fake = REAL.tolist(), FAKE.tolist()
    critic = -mean([log_sigmoid(c) for c in real]) - mean([log_sigmoid(-c) for c in fake])
    assert float(found.critic) == pytest.approx(critic)
    assert float(found.generator) == pytest.approx(-mean([log_sigmoid(c) for c in fake]))
    assert float(adversarial.vanilla(0 * REAL, 0 * FAKE).critic) == pytest.approx(2 * math.log(2))


def test_least_squares_by_hand():
    found = adversarial.least_squares(REAL, FAKE)
    critic = mean([0.5**2, 1.5**2]) / 2 + mean([0.25**2, 2.0**2, 3.0**2]) / 2
    assert float(found.critic) == pytest.approx(critic)
    assert float(found.generator) == pytest.approx(mean([0.75**2, 1.0**2, 4.0**2]) / 2)
    ones, zeros = torch.ones(2), torch.zeros(3)
    assert adversarial.least_squares(ones, zeros).critic == 0
    assert adversarial.least_squares(zeros, ones).generator == 0


def test_wasserstein_by_hand():
    found = adversarial.wasserstein(REAL, FAKE)
    assert float(found.critic) == pytest.approx(-0.25 - 0.5)
    assert float(found.generator) == pytest.approx(0.25)


@pytest.mark.parametrize(("target", "wanted"), [(0.5, (0.5, 0.5)), ("swap", (0.0, 1.0))])
def test_relativistic_by_hand(target, wanted):
    found = adversarial.relativistic_blur(REAL, FAKE, target=target)
    real = [c - FAKE.mean().item() for c in REAL.tolist()]
    fake = [c - REAL.mean().item() for c in FAKE.tolist()]
    critic = -mean([log_sigmoid(c) for c in real]) - mean([log_sigmoid(-c) for c in fake])
    assert float(found.critic) == pytest.approx(critic)

    def cost(logits, t):
        return -mean([t * log_sigmoid(c) + (1 - t) * log_sigmoid(-c) for c in logits])

    expected = cost(real, wanted[0]) + cost(fake, wanted[1])
    assert float(found.generator) == pytest.approx(expected)


def test_relativistic_average_is_the_swap():
    for one, other in zip(
        adversarial.relativistic_average(REAL, FAKE),
        adversarial.relativistic_blur(REAL, FAKE, target="swap"),
        strict=True,
    ):
        assert one == other


def test_the_blur_loss_is_least_where_nothing_tells_them_apart():
    logits = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    least = adversarial.relativistic_blur(logits[:3], logits[3:]).generator
    (slope,) = torch.autograd.grad(least, logits)
    assert float(least.detach()) == pytest.approx(2 * math.log(2))
    assert slope.abs().max() < 1e-12
    rng = torch.Generator().manual_seed(0)
    for size in (1e-2, 1.0, 30.0):
        for _ in range(5):
            moved = size * torch.randn(7, generator=rng, dtype=torch.float64)
            assert adversarial.relativistic_blur(moved[:3], moved[3:]).generator > least
    # Swapped labels are fooled further and further instead.
    values = [
        float(adversarial.relativistic_average(REAL, REAL + gap).generator) for gap in (0, 3, 9, 30)
    ]
    assert values == sorted(values, reverse=True) and values[-1] < 1e-9


@pytest.mark.parametrize("name", LOSSES)
def test_logits_of_any_shape_and_size(name):
    loss = LOSSES[name]
    flat = loss(REAL, FAKE)
    for one, other in zip(loss(REAL[:, None], FAKE.reshape(1, 1, 3, 1)), flat, strict=True):
        torch.testing.assert_close(one, other)
    # To both sides: what is certain must not overflow.
    for value in loss(1e4 * REAL.float(), 1e4 * FAKE.float()):
        assert value.isfinite()
    for value in loss(REAL.bfloat16(), FAKE.bfloat16()):
        assert value.dtype == torch.float32


@pytest.mark.parametrize("name", LOSSES)
def test_which_way_the_losses_pull(name):
    real = torch.tensor([2.0, 1.0], dtype=torch.float64, requires_grad=True)
    fake = torch.tensor([-1.0, -2.0], dtype=torch.float64, requires_grad=True)
    found = LOSSES[name](real, fake)
    (up,) = torch.autograd.grad(found.generator, fake, retain_graph=True)
    assert (up < 0).all()
    critic, generator = LOSSES[name](REAL, REAL), LOSSES[name](REAL, REAL)
    assert LOSSES[name](REAL + 0.5, REAL - 0.5).critic < critic.critic
    assert LOSSES[name](REAL, REAL - 1.0).generator > generator.generator


@pytest.mark.parametrize(
    ("real", "fake", "error", "words"),
    [
        ([1.0], torch.ones(1), TypeError, "real is of list; expected a tensor of floating point"),
        (torch.ones(1), torch.ones(1, dtype=int), TypeError, "fake is of torch.int64"),
        (torch.ones(1), torch.ones(0), ValueError, r"fake has shape \(0,\); expected one logit"),
    ],
)
@pytest.mark.parametrize("name", LOSSES)
def test_logits_refused(name, real, fake, error, words):
    with pytest.raises(error, match=words):
        LOSSES[name](real, fake)


@pytest.mark.parametrize("target", [0.4, "0.5", None])
def test_targets_refused(target):
    with pytest.raises(ValueError, match=f"target={target!r}; expected 0.5 or 'swap'"):
        adversarial.relativistic_blur(REAL, FAKE, target=target)


# The gradient penalty.


def linear(direction):
    """A critic of which this is the slope everywhere."""
    return lambda x: (x * direction).flatten(1).sum(dim=1, keepdim=True)


def test_a_critic_of_unit_slope_pays_nothing():
    direction = pictures(3, 5, 4)
    real, fake = pictures(4, 3, 5, 4, seed=1), pictures(4, 3, 5, 4, seed=2)
    assert gradient_penalty(linear(direction / direction.norm()), real, fake) < 1e-24
    for slope in (0.0, 0.25, 3.0):
        critic = linear(slope * direction / direction.norm())
        assert float(gradient_penalty(critic, real, fake)) == pytest.approx((slope - 1) ** 2)


def test_the_norm_is_over_all_of_a_sample():
    real, fake = pictures(2, 3, 5, 4, seed=1), pictures(2, 3, 5, 4, seed=2)

    def over_channels(critic):
        """What comes of a norm that forgets to flatten."""
        x = real.clone().requires_grad_()
        (slope,) = torch.autograd.grad(critic(x).sum(), x)
        return float((slope.norm(dim=1) - 1).square().mean())

    direction = pictures(3, 5, 4)
    unit = linear(direction / direction.norm())
    assert gradient_penalty(unit, real, fake) < 1e-24 < 0.5 < over_channels(unit)
    steep = linear(direction / direction.norm(dim=0))
    assert over_channels(steep) < 1e-24
    assert float(gradient_penalty(steep, real, fake)) == pytest.approx((20**0.5 - 1) ** 2)


def test_the_penalty_trains_the_critic():
    direction = pictures(1, 3, 3)
    direction /= direction.norm()
    gain = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    real, fake = (pictures(2, 1, 3, 3, seed=k).requires_grad_() for k in (1, 2))
    gradient_penalty(lambda x: gain * linear(direction)(x), real, fake).backward()
    assert float(gain.grad) == pytest.approx(2 * (3.0 - 1))
    assert real.grad is None and fake.grad is None


def test_a_critic_without_slope_has_a_finite_gradient():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    nn.init.zeros_(critic[1].weight)
    penalty = gradient_penalty(critic, torch.rand(2, 1, 2, 2), torch.rand(2, 1, 2, 2))
    penalty.backward()
    assert penalty == 1 and critic[1].weight.grad.isfinite().all()


def test_the_places_are_on_the_lines():
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.square().flatten(1).sum(1)

    real, fake = pictures(5, 2, 3, 3, seed=1), pictures(5, 2, 3, 3, seed=2)
    values = [
        gradient_penalty(critic, real, fake, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert values[0] == values[1] != values[2]
    t = ((seen[0] - real) / (fake - real)).flatten(1)
    torch.testing.assert_close(t, t[:, :1].expand_as(t))
    assert 0 <= t.min() and t.max() <= 1 and t[:, 0].unique().numel() == 5


def test_the_score_of_a_sample_is_the_mean_of_its_patches():
    patch, binary = (made(CRITICS[name]) for name in ("patch", "binary"))
    real, fake = pictures(2, 3, 32, 24, seed=1), pictures(2, 3, 32, 24, seed=2)
    one, other = (
        gradient_penalty(critic, real, fake, generator=torch.Generator().manual_seed(0))
        for critic in (patch, binary)
    )
    torch.testing.assert_close(one, other)


def test_penalties_refused():
    x = torch.rand(2, 3, 4, 4)
    critic = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    with pytest.raises(ValueError, match="critic has a BatchNorm2d, '1', in training mode"):
        gradient_penalty(critic, x, x)
    assert gradient_penalty(critic.eval(), x, x).isfinite()
    with pytest.raises(ValueError, match=r"real has shape \(2, 3, 4, 4\) and fake \(1, 3, 4, 4\)"):
        gradient_penalty(critic, x, x[:1])
    with pytest.raises(ValueError, match=r"critic gives logits \(\); expected \(2, ...\)"):
        gradient_penalty(torch.sum, x, x)
    with pytest.raises(TypeError, match=r"real is of torch\.uint8"):
        gradient_penalty(critic, x.byte(), x)


# From pictures to losses.


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_trains_its_own(name):
    critic = made(CRITICS["patch"])
    adversary = Adversary(critic, name)
    real = pictures(2, 3, 16, 20, seed=1)
    fake = pictures(2, 3, 16, 20, seed=2).requires_grad_()
    adversary.critic_loss(real, fake).backward()
    assert fake.grad is None
    # The last bias shifts all logits, to which two of the losses are blind.
    weights = [p for key, p in critic.named_parameters() if key.endswith("weight")]
    assert all(p.grad.abs().sum() > 0 for p in weights)
    critic.zero_grad()
    adversary.generator_loss(real, fake).backward()
    assert fake.grad.abs().sum() > 0
    assert all(p.grad is None and p.requires_grad for p in critic.parameters())


def test_what_they_are_made_of():
    critic = made(CRITICS["binary"])
    real, fake = pictures(2, 3, 16, 16, seed=1), pictures(2, 3, 16, 16, seed=2)
    parts = adversarial.wasserstein(critic(real), critic(fake))

    def seeded():
        return torch.Generator().manual_seed(3)

    slope = gradient_penalty(critic, real, fake, generator=seeded())
    for penalty, weight in ((None, 10), (0, 0), (2.5, 2.5)):
        adversary = Adversary(critic, penalty=penalty)
        found = adversary.critic_loss(real, fake, generator=seeded())
        torch.testing.assert_close(found, parts.critic + weight * slope)
        torch.testing.assert_close(adversary.generator_loss(real, fake), parts.generator)
    plain = Adversary(critic, "vanilla").critic_loss(real, fake)
    torch.testing.assert_close(plain, adversarial.vanilla(critic(real), critic(fake)).critic)
    swap = partial(adversarial.relativistic_blur, target="swap")
    torch.testing.assert_close(
        Adversary(critic, swap).generator_loss(real, fake),
        Adversary(critic, "relativistic-average").generator_loss(real, fake),
    )


def test_frozen_ends_with_an_error_too():
    layer = nn.Linear(1, 1)
    layer.bias.requires_grad_(False)
    with pytest.raises(KeyError), frozen(layer):
        assert not layer.weight.requires_grad
        raise KeyError
    assert layer.weight.requires_grad and not layer.bias.requires_grad


def test_adversaries_refused():
    critic = made(CRITICS["patch"])
    with pytest.raises(ValueError, match="loss='wgan' is not known; did you mean 'wgan-gp'"):
        Adversary(critic, "wgan")
    with pytest.raises(ValueError, match="penalty=-1"):
        Adversary(critic, penalty=-1)


def test_content_by_hand():
    x, true = pictures(1, 3, 4, 4, seed=1).requires_grad_(), pictures(1, 3, 4, 4, seed=2)
    true.requires_grad_()

    def features(picture):
        return 3 * picture[:, :1, ::2]

    loss = perceptual(features, x, true)
    torch.testing.assert_close(loss, 9 * (x - true)[:, :1, ::2].square().mean())
    loss.backward()
    assert x.grad.abs().sum() > 0 and true.grad is None


def test_the_losses_of_the_generators():
    critic = made(CRITICS["patch"])
    a, b = pictures(2, 3, 16, 16, seed=1), pictures(2, 3, 16, 16, seed=2)
    adversary, content = Adversary(critic, "relativistic-blur"), perceptual(torch.sin, a, b)
    blind, pixels = adversary.generator_loss(b, a), (a - b).square().mean()
    torch.testing.assert_close(deblurgan_loss(adversary, torch.sin, a, b), blind + 100 * content)
    torch.testing.assert_close(
        dbgan_loss(adversary, torch.sin, a, b), content + 0.005 * pixels + 0.01 * blind
    )
    other = pictures(3, 3, 16, 24, seed=3)
    torch.testing.assert_close(
        bgan_loss(adversary, torch.sin, a, b, other),
        content + 0.01 * adversary.generator_loss(other, a),
    )


# Generators.


@pytest.mark.parametrize(
    ("kind", "count", "small"),
    [
        (DeblurGAN, 11_378_179, 1e6),
        (DBGAN, 11_588_163, 1e6),
        (BGAN, 6_554_499, 1e6),
        (PatchCritic, 2_764_737, 5e5),
        (VGGCritic, 14_502_281, 1.1e6),
    ],
)
def test_parameters(kind, count, small):
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in kind.preset(name).parameters()) for name in ("paper", "small")
        ]
    assert counts[0] == count and counts[1] < small


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", TINY)
def test_any_size(name, size):
    net, x = made(TINY[name]), pictures(2, 3, *size)
    options = {"noise": torch.randn(2, 4, dtype=torch.float64)} if name == "BGAN" else {}
    found = net(x, **options)
    assert found.shape == x.shape and not torch.equal(found, x)
    assert 0 <= found.min() and found.max() <= 1
    second = {key: value[1:] for key, value in options.items()}
    torch.testing.assert_close(found[1:], net(x[1:], **second))


@pytest.mark.parametrize("name", TINY)
def test_they_begin_as_the_identity(name):
    x = torch.rand(2, 3, 13, 10)
    net = TINY[name]()
    assert torch.equal(net(x), x)
    # And leave it: a gradient comes to the layer that is 0.
    (net(x) - 0.5).square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("name", TINY)
def test_every_weight_is_trained(name):
    net = made(TINY[name], shake=0.02).train()
    net(pictures(1, 3, 16, 12)).square().sum().backward()
    weights = [p for key, p in net.named_parameters() if key.endswith("weight")]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in weights)


def test_dropout_in_training_alone():
    net, x = made(TINY["paper-like"]), pictures(1, 3, 12, 12)
    assert torch.equal(net(x), net(x))
    net.train()
    assert not torch.equal(net(x), net(x))


@torch.no_grad()
@pytest.mark.parametrize(("name", "local"), [("DeblurGAN", True), ("paper-like", False)])
def test_without_norm_a_tile_is_what_the_whole_is_there(name, local):
    net, x = made(TINY[name]), pictures(1, 3, 8, 96)
    other = x.clone()
    other[..., :4] = 0
    assert torch.equal(net(x)[..., 80:], net(other)[..., 80:]) == local


@torch.no_grad()
def test_noise_chooses_the_blur():
    net, x = made(TINY["BGAN"]), pictures(1, 3, 9, 9)
    noise = torch.randn(1, 4, dtype=torch.float64)
    assert torch.equal(net(x, noise), net(x, noise.clone()))
    assert not torch.allclose(net(x, noise), net(x, -noise))
    drawn = [net(x, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    # One vector for the whole picture: a constant one stays so, away from the edges.
    flat = net(torch.full((1, 3, 64, 64), 0.5, dtype=torch.float64), noise)[..., 28:36, 28:36]
    torch.testing.assert_close(flat, flat[..., :1, :1].expand_as(flat))
    with pytest.raises(ValueError, match=r"noise has shape \(2, 4\); expected \(1, 4\)"):
        net(x, noise.expand(2, 4))


@torch.no_grad()
@pytest.mark.parametrize("name", TINY)
def test_under_autocast(name):
    net, x = made(TINY[name], shake=0.02).float(), torch.rand(1, 3, 12, 12)
    options = {"noise": torch.ones(1, 4)} if name == "BGAN" else {}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = net(x, **options)
    assert rounded.dtype == x.dtype
    torch.testing.assert_close(rounded, net(x, **options), atol=0.05, rtol=0)


# Critics.


@pytest.mark.parametrize(
    ("size", "layers", "found"),
    [((24, 24), 3, (1, 1)), ((256, 256), 3, (30, 30)), ((31, 70), 3, (1, 6)), ((6, 9), 1, (1, 2))],
)
def test_patches(size, layers, found):
    with torch.device("meta"):
        critic = PatchCritic.preset("small", layers=layers)
        assert critic(torch.rand(2, 3, *size)).shape == (2, 1, *found)


@torch.no_grad()
def test_binary_is_the_mean_of_the_patches():
    x = pictures(2, 3, 20, 31)
    patch, binary = made(CRITICS["patch"])(x), made(CRITICS["binary"])(x)
    assert binary.shape == (2, 1)
    torch.testing.assert_close(binary, patch.mean((2, 3)))


@torch.no_grad()
def test_the_whole_picture_of_any_size():
    critic = made(CRITICS["VGG"])
    for size in ((64, 64), (128, 128), (65, 140)):
        assert critic(pictures(2, 3, *size)).shape == (2, 1)
    # The published size is looked at as it is.
    assert torch.equal(critic.layers[-2](x := pictures(1, 2, 4, 4)), x)
    for size in ((63, 64), (64, 63)):
        with pytest.raises(ValueError, match="H and W of at least 64"):
            critic(pictures(1, 3, *size))


def test_batch_norms_where_published():
    norms = [m for m in VGGCritic.preset("small").modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 9
    assert not any(isinstance(m, nn.BatchNorm2d) for m in made(CRITICS["VGG"]).modules())


# All of them together.


@pytest.mark.parametrize("generator", [*TINY, "SVRNN"])
@pytest.mark.parametrize("loss", ["wgan-gp", "relativistic-blur"])
def test_any_generator_with_any_adversary(generator, loss):
    kinds = {**TINY, "SVRNN": partial(SVRNN.preset, features=(3, 4), gates=(3, 4, 5, 6), stages=1)}
    net, critic = made(kinds[generator], shake=0.02).train(), made(CRITICS["patch"])
    before = [p.detach().clone() for p in (*net.parameters(), *critic.parameters())]
    x, sharp = pictures(2, 3, 16, 16, seed=1), pictures(2, 3, 16, 16, seed=2)
    adversary = Adversary(critic, loss)
    for module, cost in (
        (critic, lambda: adversary.critic_loss(sharp, net(x))),
        (net, lambda: deblurgan_loss(adversary, torch.sin, net(x), sharp)),
    ):
        steps = torch.optim.SGD(module.parameters(), 1e-2)
        steps.zero_grad()
        cost().backward()
        steps.step()
    after = [*net.parameters(), *critic.parameters()]
    assert all(p.isfinite().all() for p in after)
    changed = [not torch.equal(p, q) for p, q in zip(after, before, strict=True)]
    assert mean(changed) > 0.6


def test_a_critic_learns_to_tell_sharp_from_blurred():
    torch.manual_seed(0)
    critic = PatchCritic.preset("small", width=4, layers=1, norm=False)
    adversary, rng = Adversary(critic), torch.Generator().manual_seed(0)
    steps, values = torch.optim.Adam(critic.parameters(), 1e-2, betas=(0.5, 0.9)), []
    for _ in range(25):
        sharp = torch.rand(8, 3, 12, 12, generator=rng)
        blurred = nn.functional.avg_pool2d(sharp, 3, stride=1, padding=1)
        loss = adversary.critic_loss(sharp, blurred, generator=rng)
        steps.zero_grad()
        loss.backward()
        steps.step()
        values.append(loss.item())
    assert values[0] == pytest.approx(10, abs=0.5)
    assert values[-1] < 0.7 * values[0]
    with torch.no_grad():
        assert critic(sharp).mean() > critic(blurred).mean()


@pytest.mark.parametrize("name", [*TINY, *CRITICS])
def test_weights_come_back(name, tmp_path):
    pytest.importorskip("safetensors")
    from unrolled import weights

    net = made({**TINY, **CRITICS}[name]).float()
    loaded = type(net).from_pretrained(weights.save(net, tmp_path / "net.safetensors"))
    assert loaded.config == net.config and not loaded.training
    x = torch.rand(1, 3, 64, 64)
    options = {"noise": torch.ones(1, 4)} if name == "BGAN" else {}
    with torch.no_grad():
        assert torch.equal(loaded(x, **options), net(x, **options))
    other = BGAN if name != "BGAN" else DBGAN
    with pytest.raises(ValueError, match=f"is of a '{type(net).__name__}'; expected"):
        other.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("kind", "changes", "error", "words"),
    [
        (DeblurGAN, {"width": 0}, ValueError, "width=0; expected a whole number of at least 1"),
        (DeblurGAN, {"dropout": 1.0}, ValueError, r"dropout=1.0; expected"),
        (DeblurGAN, {"upsample": "nearest"}, ValueError, "upsample='nearest' is not known"),
        (DeblurGAN, {"norms": True}, ValueError, "option of DeblurGANConfig='norms'.*'norm'"),
        (PatchCritic, {"output": "both"}, ValueError, "output='both'.*patch, binary"),
        (PatchCritic, {"layers": 1.5}, TypeError, "layers=1.5; expected a whole number"),
        (DBGAN, {"growth": 0}, ValueError, "growth=0"),
        (DBGAN, {"scale": 0}, ValueError, "scale=0"),
        (DBGAN, {"noise": 4}, ValueError, "option of DBGANConfig='noise' is not known"),
        (BGAN, {"noise": 0}, ValueError, "noise=0"),
        (BGAN, {"blocks": 0}, ValueError, "blocks=0"),
        (VGGCritic, {"width": "64"}, TypeError, "width='64'; expected a whole number"),
    ],
)
def test_configurations_refused(kind, changes, error, words):
    with pytest.raises(error, match=words):
        kind.preset("small", **changes)
    with pytest.raises(ValueError, match=r"name='big' is not known.*paper, small"):
        kind.preset("big")


@pytest.mark.parametrize("name", [*TINY, *CRITICS])
def test_pictures_refused(name):
    net = {**TINY, **CRITICS}[name]()
    with pytest.raises(ValueError, match=r"x has shape \(1, 1, 64, 64\); expected \(N, 3, H, W\)"):
        net(torch.zeros(1, 1, 64, 64))
    with pytest.raises(ValueError, match=r"x has shape \(3, 64, 64\)"):
        net(torch.zeros(3, 64, 64))
    with pytest.raises(ValueError, match="H and W of at least"):
        net(torch.zeros(1, 3, 0, 64))
    with pytest.raises(TypeError, match=r"x is of torch\.uint8; expected a tensor"):
        net(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
