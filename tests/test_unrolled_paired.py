"""End-to-end networks: the loss, training against a critic, and the whole path to weights."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from skimage import data, io

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
pytest.importorskip("tyro")

from torch import nn  # noqa: E402

from unrolled import weights  # noqa: E402
from unrolled.adversarial import Adversary  # noqa: E402
from unrolled.learned_blur import LearnedBlur  # noqa: E402
from unrolled.loop import Rival, TrainConfig, train  # noqa: E402
from unrolled.losses import charbonnier, l1, spectral_l1  # noqa: E402
from unrolled.models.dbgan import BGAN  # noqa: E402
from unrolled.models.deblurgan import PatchCritic  # noqa: E402
from unrolled.models.mimo_unet import MIMOUNet  # noqa: E402
from unrolled.models.nafnet import NAFNet  # noqa: E402
from unrolled.networks import CRITICS, NETWORKS, critic, network  # noqa: E402
from unrolled.nonuniform import NonUniform, NonUniformRecipe  # noqa: E402
from unrolled.paired import Against, PairedRun, PairLoss, Terms, train_paired  # noqa: E402
from unrolled.pairs import Pair  # noqa: E402
from unrolled.train import main  # noqa: E402
from unrolled.unpaired import UnpairedRun, radial_spectrum, train_unpaired  # noqa: E402
from unrolled.validation import PairValidation  # noqa: E402

RECIPE = NonUniformRecipe(side=32, size=13, reach=(2.0, 7.0))
SMALL = {"width": 4, "encoder": (1,), "middle": 1, "decoder": (1,)}


def pictures(size=64):
    """Three colour pictures as uint8 (3, size, size)."""
    return [
        torch.from_numpy(picture[100 : 100 + size, 160 : 160 + size].transpose(2, 0, 1).copy())
        for picture in (data.astronaut(), data.chelsea(), data.coffee())
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six small pictures in files."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("astronaut", "chelsea", "coffee"):
        for i in range(2):
            crop = getattr(data, name)()[64 * i + 50 :][:64, 150:214]
            io.imsave(folder / f"{name}{i}.png", crop, check_contrast=False)
    return folder


def pair(seed=0, side=32, count=2):
    torch.manual_seed(seed)
    sharp = torch.rand(count, 3, side, side)
    return Pair(sharp + 0.1 * torch.randn_like(sharp), sharp)


def config(run, **changes):
    plain = {"steps": 6, "batch": 2, "warmup": 2, "save": 100, "validate": 100}
    return TrainConfig(run=run, **plain | {"mixed": False, "accelerator": "cpu"} | changes)


def column(run, name):
    with open(run / "loss.csv", newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def tiny():
    torch.manual_seed(0)
    return NAFNet.preset("small", **SMALL)


def adversary(loss="wgan-gp"):
    torch.manual_seed(1)
    return Adversary(PatchCritic.preset("small", width=4, layers=1), loss)


def test_the_loss_is_the_sum_of_its_terms():
    given, net = pair(), tiny()
    restored = net(given.blurred)
    both = PairLoss(Terms("l1", spectral=0.3))(net, given)
    expected = l1(restored, given.sharp) + 0.3 * spectral_l1(restored, given.sharp, weight=1)
    torch.testing.assert_close(both, expected)
    rival = adversary()
    against = PairLoss(Terms(), rival, 0.2)(net, given)
    wanted = charbonnier(restored, given.sharp)
    wanted = wanted + 0.2 * rival.generator_loss(given.sharp, restored)
    torch.testing.assert_close(against, wanted)


def test_every_scale_counts():
    given, net = pair(), MIMOUNet.preset("small", width=8, blocks=1)
    outputs, targets = net.scales(given.blurred), net.targets(given.sharp)
    expected = sum(l1(a, b) for a, b in zip(outputs, targets, strict=True)) / 3
    torch.testing.assert_close(PairLoss(Terms("l1"))(net, given), expected)


def test_reblur_asks_for_agreement_with_what_was_seen():
    recipe = replace(RECIPE, linear=0.0, sigma=(1e-4, 1e-4), rounded=0.0)
    samples = NonUniform(pictures(), recipe)
    blurred, sharp, known = samples.sample(3, "uniform")
    given = Pair(blurred[None], sharp[None], (known,))
    base, loss = PairLoss(Terms("l1")), PairLoss(Terms("l1", reblur=1.0))

    class Answer(nn.Module):
        def __init__(self, answer):
            super().__init__()
            self.answer = answer[None]

        def forward(self, x):
            return self.answer

    true, lazy = Answer(sharp), Answer(blurred)
    assert loss(true, given) - base(true, given) < 1e-3
    assert loss(lazy, given) - base(lazy, given) > 3e-3


def test_perception_has_a_gradient_for_the_network():
    given, net = pair(side=64), tiny()
    with torch.no_grad():
        net.tail.weight.normal_(0, 0.1)
    loss = PairLoss(Terms("l1", perceptual=1.0))
    loss(net, given).backward()
    assert float(net.head.weight.grad.abs().sum()) > 0
    with torch.no_grad():
        assert loss(net, given) > PairLoss(Terms("l1"))(net, given)


@pytest.mark.parametrize("loss", ["wgan-gp", "relativistic-blur"])
def test_a_killed_run_against_a_critic_goes_on_to_the_same_curve(tmp_path, loss):
    class Killed(BaseException):
        pass

    class Samples:
        def __init__(self, last=None):
            self.last, self.source = last, NonUniform(pictures(), RECIPE)

        def batch(self, step, indices):
            if step == self.last:
                raise Killed
            return self.source.batch(step, indices)

    def run(name, last=None):
        rule = PairLoss(Terms(), adversary(loss), 0.01)
        plan = config(tmp_path / name, steps=9, save=4, betas=(0.5, 0.99))
        return train(tiny(), Samples(last), rule, plan, rival=rule.rival(2, 1e-3))

    whole = run("a")
    with pytest.raises(Killed):
        run("b", 6)
    resumed = run("b")
    for name in ("loss", "rival", "norm"):
        assert column(tmp_path / "a", name) == column(tmp_path / "b", name)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_critic_takes_its_turns_on_what_the_network_makes(tmp_path):
    class Score(nn.Module):
        """A critic of one number."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

    seen = []
    net, judge, given = tiny(), Score(), pair()

    def judged(critic, batch, fake):
        seen.append(fake.requires_grad)
        assert fake.shape == batch.sharp.shape
        return (critic.weight - 1) ** 2

    class Same:
        def batch(self, step, indices):
            return given

    rival = Rival(judge, judged, lambda model, batch: model(batch.blurred), turns=3, lr=0.1)
    plan = config(tmp_path, steps=2, warmup=0)
    train(net, Same(), PairLoss(Terms()), plan, rival=rival)
    assert seen == [False] * 6
    assert 0 < float(judge.weight.detach()) < 1


def test_a_critic_that_breaks_down_stops_the_run(tmp_path):
    class Same:
        def batch(self, step, indices):
            return pair()

    rival = Rival(
        nn.Linear(1, 1), lambda c, b, f: c.weight.sum() * float("nan"), lambda m, b: b.sharp
    )
    with pytest.raises(FloatingPointError, match="at step 1 the loss is nan"):
        train(tiny(), Same(), PairLoss(Terms()), config(tmp_path), rival=rival)


def test_validation_counts_gains_by_kind(tmp_path):
    validation = PairValidation.synthetic(pictures(), RECIPE, tmp_path, count=2)
    scores = validation(tiny(), 5)
    # Begun as the identity, the network gains nothing.
    assert scores["gain"] == pytest.approx(0, abs=1e-5)
    assert {"psnr field", "ssim layers", "psnr rotation", "psnr sharp"} <= set(scores)
    assert (tmp_path / "pictures" / "000005.png").exists()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_by_its_name(name):
    with torch.device("meta"):
        net = network(name)
    assert isinstance(net, NETWORKS[name])
    with pytest.raises(ValueError, match="nafnett"):
        network("nafnett")


def test_every_critic_by_its_name():
    assert {type(critic(name)) for name in CRITICS} == set(CRITICS.values())
    with pytest.raises(ValueError, match="critic"):
        critic("pach")


def test_no_critic():
    assert Against().adversary(3) is None
    assert PairLoss(Terms()).rival(1, 1e-4) is None


def test_wgan_has_no_batch_norms():
    judge = Against("wgan-gp", critic="vgg").adversary(3).critic
    assert not any(isinstance(m, nn.BatchNorm2d) for m in judge.modules())


def test_from_pictures_to_weights(folder, tmp_path, monkeypatch):
    from unrolled.models import nafnet

    monkeypatch.setitem(nafnet.PRESETS, "small", replace(nafnet.PRESETS["small"], **SMALL))
    main(
        [
            *("paired", "--data", str(folder), "--run", str(tmp_path), "--steps", "4"),
            *("--recipe.side", "32", "--recipe.size", "13", "--recipe.reach", "2", "7"),
            *("--batch", "2", "--accelerator", "cpu", "--terms.pixel", "psnr"),
            *("--against.loss", "least-squares", "--threads", "1"),
        ]
    )
    net = NAFNet.from_pretrained(tmp_path / "paired.safetensors")
    assert net.config.width == 4
    assert len(column(tmp_path, "rival")) == 4
    assert (tmp_path / "scores.csv").read_text().startswith("step,gain,psnr uniform")


def test_a_run_begins_from_weights(folder, tmp_path):
    torch.manual_seed(3)
    weights.save(NAFNet.preset("small", **SMALL), tmp_path / "begun.safetensors")
    plan = PairedRun(
        run=tmp_path / "run", steps=1, batch=2, data=folder, start=str(tmp_path / "begun"),
        recipe=RECIPE, accelerator="cpu",
    )  # fmt: skip
    assert train_paired(plan).config.width == 4


def test_a_run_on_files_of_pairs(folder, tmp_path):
    for kind in ("blur", "sharp"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for path in folder.iterdir():
            (tmp_path / "set" / kind / path.name).write_bytes(path.read_bytes())
    plan = PairedRun(
        run=tmp_path / "run", steps=1, batch=2, pairs=tmp_path / "set", recipe=RECIPE,
        accelerator="cpu",
    )  # fmt: skip
    torch.manual_seed(3)
    weights.save(NAFNet.preset("small", **SMALL), tmp_path / "begun.safetensors")
    train_paired(replace(plan, start=str(tmp_path / "begun")))
    # Both folders hold the same pictures: there is nothing to gain, and nothing learnt in a step.
    with open(tmp_path / "run" / "scores.csv", newline="") as file:
        (scores,) = csv.DictReader(file)
    assert float(scores["psnr pairs"]) > 50


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "nothing given; expected one of data, pairs, video"),
        ({"data": "a", "pairs": "b"}, "data and pairs given"),
        ({"pairs": "b", "blurred_by": "c"}, "blurred_by=c without data"),
    ],
)
def test_one_source_of_pairs(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train_paired(PairedRun(run=tmp_path, accelerator="cpu", **changes))


def blurrer():
    torch.manual_seed(4)
    net = BGAN.preset("small", width=8, growth=4, blocks=1)
    with torch.no_grad():
        net.trunk.tail[-1].weight.normal_(0, 0.05)
    return net


def test_learned_blur_depends_on_the_index_alone():
    samples = LearnedBlur(NonUniform(pictures(), RECIPE), blurrer())
    whole, part = samples.batch(0, [0, 1, 2]), samples.batch(7, [2])
    assert torch.equal(whole.sharp[2], part.sharp[0])
    torch.testing.assert_close(whole.blurred[2], part.blurred[0], rtol=0, atol=1e-5)
    assert (whole.blurred - whole.sharp).abs().max() > 0.01
    assert not whole.blurred.requires_grad


def test_from_photographs_to_a_blur(folder, tmp_path, monkeypatch):
    from unrolled.models import dbgan

    changes = {"width": 8, "growth": 4, "blocks": 1}
    less = replace(dbgan.BGAN_PRESETS["small"], **changes)
    monkeypatch.setitem(dbgan.BGAN_PRESETS, "small", less)
    plan = UnpairedRun(
        run=tmp_path, steps=2, batch=2, data=folder, blurred=folder, side=64, accelerator="cpu"
    )
    train_unpaired(plan)
    net = BGAN.from_pretrained(tmp_path / "unpaired.safetensors")
    assert net.config.blocks == 1
    with open(tmp_path / "scores.csv", newline="") as file:
        (scores,) = csv.DictReader(file)
    # Sharp and "blurred" are the same pictures here, cropped elsewhere.
    assert float(scores["sharp"]) < 6
    with pytest.raises(ValueError, match="expected a critic"):
        UnpairedRun(against=Against())


def test_radial_spectrum_of_known_pictures():
    torch.manual_seed(0)
    white = radial_spectrum(torch.rand(64, 3, 64, 64))
    assert np.ptp(white[2:]) < 0.6
    soft = nn.functional.avg_pool2d(torch.rand(64, 3, 66, 66), 3, 1)
    fallen = radial_spectrum(soft)
    assert fallen[-1] < fallen[8] - 3 < fallen[2] - 3
