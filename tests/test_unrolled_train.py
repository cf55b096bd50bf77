"""The training loop: it learns, and a killed run goes on as if nothing had happened."""

import csv
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from skimage import data, io

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402

from unrolled.hqs import HQSNet  # noqa: E402
from unrolled.latent_losses import denoised_l1, latent_l1  # noqa: E402
from unrolled.loop import TrainConfig, learning_rate, train  # noqa: E402
from unrolled.synthesis import Noisy, Recipe, Synthesis  # noqa: E402
from unrolled.validation import DenoiserValidation, Validation  # noqa: E402

RECIPE = Recipe(domain=32, sizes=(5, 9), shares=(0.5, 0.5))


def pictures(size=64):
    """Three colour pictures as uint8 (3, size, size)."""
    return [
        torch.from_numpy(picture[100 : 100 + size, 160 : 160 + size].transpose(2, 0, 1).copy())
        for picture in (data.astronaut(), data.chelsea(), data.coffee())
    ]


def network(**changes):
    torch.manual_seed(0)
    small = {"widths": (4, 8), "blocks": 1, "iterations": 2, "steps": 2, "hidden": 8}
    return HQSNet.preset("tiny", **small | changes)


def samples(recipe=RECIPE, seed=0):
    return Synthesis(pictures(), recipe, seed=seed, psfs_per_size=6)


def config(run, **changes):
    plain = {"steps": 6, "batch": 2, "warmup": 2, "save": 100, "validate": 100}
    return TrainConfig(run=run, **plain | {"mixed": False, "accelerator": "cpu"} | changes)


def table(path):
    """The columns of a CSV file as text, by name."""
    with open(path, newline="") as file:
        head, *rows = csv.reader(file)
    return dict(zip(head, zip(*rows, strict=True), strict=True))


def losses(run):
    return [float(loss) for loss in table(run / "loss.csv")["loss"]]


def same(one, other):
    return all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


class Watched:
    """Samples that call ``at(step)`` before each batch."""

    def __init__(self, samples, at):
        self.samples, self.at = samples, at

    def batch(self, step, indices):
        self.at(step)
        return self.samples.batch(step, indices)


class Killed(BaseException):
    """What no handler in the loop may take for an error."""


def killed_at(last):
    def at(step):
        if step == last:
            raise Killed

    return Watched(samples(), at)


class Scale(nn.Module):
    """A denoiser of one weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, x, sigma):
        return self.weight * x


def test_learning_rate(tmp_path):
    plan = config(tmp_path, steps=100, warmup=10)
    rates = [learning_rate(step, plan) for step in range(101)]
    assert rates[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert rates[10] == max(rates) == 1
    assert rates[55] == pytest.approx(0.505)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == learning_rate(10**6, plan) == pytest.approx(0.01)
    assert learning_rate(0, replace(plan, warmup=0)) == 1


def test_fifty_steps_lower_the_loss(tmp_path):
    recipe = replace(RECIPE, sizes=(5,), shares=(1.0,), sigma=(0.05, 0.05), clipped=0.0)
    plan = config(tmp_path, steps=50, batch=4, lr=3e-3)
    train(network(), samples(recipe), latent_l1, plan)
    found = losses(tmp_path)
    assert len(found) == 50
    assert np.mean(found[-10:]) < 0.6 * np.mean(found[:10])


@pytest.mark.parametrize(("optimizer", "widths"), [("adam", (4, 8)), ("muon", (16, 16))])
def test_a_killed_run_goes_on_to_the_same_curve(tmp_path, optimizer, widths):
    def loss(model, batch):
        # What a network may draw, as dropout does, is drawn again.
        return latent_l1(model, batch) * (1 + 0.1 * torch.rand(()))

    plans = [config(tmp_path / name, steps=14, save=4, optimizer=optimizer) for name in "ab"]
    whole = train(network(widths=widths), samples(), loss, plans[0])
    last = int(np.random.default_rng(0).choice([5, 6, 7, 9, 10, 11]))
    with pytest.raises(Killed):
        train(network(widths=widths), killed_at(last), loss, plans[1])
    assert len(losses(tmp_path / "b")) == last
    steps = []
    resumed = train(network(widths=widths), Watched(samples(), steps.append), loss, plans[1])
    assert steps[0] == last // 4 * 4
    a, b = (table(plan.run / "loss.csv") for plan in plans)
    assert a["step"] == b["step"] == tuple(str(step) for step in range(1, 15))
    assert a["loss"] == b["loss"]
    assert a["norm"] == b["norm"]
    assert same(whole, resumed)


def test_a_run_killed_before_its_first_state_begins_anew(tmp_path):
    plan = config(tmp_path, steps=4)
    with pytest.raises(Killed):
        train(network(), killed_at(2), latent_l1, plan)
    train(network(), samples(), latent_l1, plan)
    assert table(tmp_path / "loss.csv")["step"] == ("1", "2", "3", "4")


def test_a_finished_run_gives_its_result_again(tmp_path):
    first = train(network(), samples(), latent_l1, config(tmp_path, steps=3))
    again = train(network(), killed_at(0), latent_l1, config(tmp_path, steps=3))
    assert same(first, again)
    assert len(losses(tmp_path)) == 3


def test_a_run_goes_on_at_another_rate_and_length(tmp_path):
    train(network(), samples(), latent_l1, config(tmp_path, steps=3))
    plan = config(tmp_path, steps=6, lr=1e-4)
    train(network(), samples(), latent_l1, plan)
    rates = [float(rate) for rate in table(tmp_path / "loss.csv")["lr"]]
    expected = [1e-4 * learning_rate(step, plan) for step in range(3, 6)]
    assert rates[3:] == pytest.approx(expected, rel=1e-3)


def test_a_crash_while_saving_leaves_the_old_state(tmp_path, monkeypatch):
    plan = config(tmp_path, steps=4, save=2)
    written = []

    def half(state, path):
        written.append(path)
        if len(written) == 1:
            return save(state, path)
        save(state, path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        raise OSError("no space left on device")

    save = torch.save
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", half)
        with pytest.raises(OSError, match="no space left"):
            train(network(), samples(), latent_l1, plan)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 2
    resumed = train(network(), samples(), latent_l1, plan)
    assert same(resumed, train(network(), samples(), latent_l1, replace(plan, run=tmp_path / "b")))


def test_the_log_survives_what_a_kill_left(tmp_path):
    plan = config(tmp_path, steps=3)
    train(network(), samples(), latent_l1, plan)
    whole = (tmp_path / "loss.csv").read_bytes()
    (tmp_path / "loss.csv").write_bytes(whole + b"4,0.1,0.1,0.1,0.1\r\n1")
    train(network(), samples(), latent_l1, plan)
    assert (tmp_path / "loss.csv").read_bytes() == whole
    (tmp_path / "loss.csv").unlink()
    train(network(), samples(), latent_l1, replace(plan, steps=4))
    assert table(tmp_path / "loss.csv")["step"] == ("4",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"seed": 1}, "trained with seed=0; got 1"), ({"batch": 4}, "trained with batch=2; got 4")],
)
def test_a_state_of_other_samples_is_refused(tmp_path, changes, words):
    train(network(), samples(), latent_l1, config(tmp_path, steps=1))
    with pytest.raises(ValueError, match=words):
        train(network(), samples(), latent_l1, config(tmp_path, **changes))


def test_a_state_of_another_network_is_refused(tmp_path):
    train(network(), samples(), latent_l1, config(tmp_path, steps=1))
    with pytest.raises(ValueError, match=r"state\.pt is the state of another network: .*\n.*prior"):
        train(network(widths=(4, 4)), samples(), latent_l1, config(tmp_path))


def test_a_batch_must_be_shared_evenly(tmp_path):
    three = SimpleNamespace(world_size=3, global_rank=0)
    with pytest.raises(ValueError, match="batch=4; expected a multiple of the 3 processes"):
        train(network(), samples(), latent_l1, config(tmp_path, batch=4), fabric=three)


@pytest.mark.parametrize("fault", ["loss", "gradient"])
def test_what_is_not_finite_ends_the_run(tmp_path, fault):
    spoilt = [False]

    def loss(model, batch):
        value = denoised_l1(model, batch)
        if not spoilt[0]:
            return value
        # The root's slope at zero is infinite, its value is not.
        return value * math.nan if fault == "loss" else value + (value - value.detach()).sqrt()

    def at(step):
        spoilt[0] = step == 3

    model = Scale()
    noisy = Watched(Noisy(pictures(), RECIPE), at)
    with pytest.raises(FloatingPointError, match="at step 4 the loss is"):
        train(model, noisy, loss, config(tmp_path, save=2))
    assert model.weight.isfinite()
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 2


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_result_is_the_averaged_weights(tmp_path, decay):
    model, seen = Scale(), []
    noisy = Watched(Noisy(pictures(), RECIPE), lambda step: seen.append(model.weight.item()))
    average = train(model, noisy, denoised_l1, config(tmp_path, steps=12, lr=0.1, ema=decay))
    _, expected, *later = [*seen, model.weight.item()]
    for count, weight in enumerate(later, start=1):
        keep = min(decay, (1 + count) / (10 + count))
        expected = keep * expected + (1 - keep) * weight
    assert average.weight.item() == pytest.approx(expected, rel=1e-5)
    assert average.weight.item() != pytest.approx(model.weight.item(), rel=1e-3)


def test_gradients_are_clipped(tmp_path):
    model = Scale()
    train(model, Noisy(pictures(), RECIPE), denoised_l1, config(tmp_path, clip=0.01))
    assert float(table(tmp_path / "loss.csv")["norm"][-1]) > 0.1
    assert float(model.weight.grad) == pytest.approx(0.01, rel=1e-3)


def test_what_a_run_writes(tmp_path):
    pytest.importorskip("tensorboard")
    plan = config(tmp_path, steps=5, validate=2)
    # What a recipe does to training samples is not done to these.
    recipe = replace(RECIPE, strided=1.0, clipped=1.0)
    scores = Validation(pictures(), recipe, tmp_path, count=2)
    assert {batch.A.stride for batch in scores.batches.values()} == {1}
    assert all(batch.clipped is None for batch in scores.batches.values())
    train(network(), samples(), latent_l1, plan, validation=scores)
    assert list(table(tmp_path / "loss.csv")) == ["step", "loss", "lr", "norm", "seconds"]
    rates = [float(rate) for rate in table(tmp_path / "loss.csv")["lr"]]
    assert rates == pytest.approx([plan.lr * learning_rate(k, plan) for k in range(5)], rel=1e-3)
    written = table(tmp_path / "scores.csv")
    names = [f"{score} {level}%" for level in (1, 3, 5) for score in ("psnr", "ssim")]
    assert list(written) == ["step", *names]
    assert written["step"] == ("2", "4", "5")
    assert all(10 < float(value) < 50 for value in written["psnr 1%"])
    # Below each other the three levels, side by side what was observed, restored and is true.
    shown = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in shown] == ["000002.png", "000004.png", "000005.png"]
    side = 64 - 25 + 1
    assert io.imread(shown[0]).shape == (3 * side, 3 * side)
    assert list((tmp_path / "board").glob("events.out.tfevents.*"))


def test_a_run_without_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    plan, scores = config(tmp_path, steps=2, validate=1), DenoiserValidation(pictures(), RECIPE)
    train(Scale(), Noisy(pictures(), RECIPE), denoised_l1, plan, validation=scores)
    assert list(table(tmp_path / "scores.csv")) == ["step", *(f"psnr {k}" for k in (5, 15, 25, 50))]
    assert len(losses(tmp_path)) == 2
    assert not (tmp_path / "board").exists()


def test_validation_takes_colours_and_pictures_of_any_size(tmp_path):
    odd = [picture[:, :47, :] for picture in pictures()]
    scores = Validation(odd, replace(RECIPE, channels=3), tmp_path, count=2)
    found = scores(network(channels=3), 7)
    assert all(np.isfinite(value) for value in found.values())
    shown = io.imread(tmp_path / "pictures" / "000007.png")
    assert shown.shape[0] == shown.shape[1] >= 3 * 11
    assert shown.shape[2] == 3


def test_mixed_precision_is_for_convolutions_alone(tmp_path):
    seen = []

    def loss(model, batch):
        value = latent_l1(model, batch)
        inner = torch.ones(4, 4) @ torch.ones(4, 4)
        types = {batch.observed.dtype, batch.sigma.dtype, batch.A.psf.dtype, value.dtype}
        seen.append((inner.dtype, types, batch.A.otf.dtype))
        return value

    for mixed in (False, True):
        run = tmp_path / str(mixed)
        train(network(), samples(), loss, config(run, mixed=mixed))
    assert {types[0] for types in seen[:6]} == {torch.float32}
    assert {types[0] for types in seen[6:]} == {torch.bfloat16}
    assert all(types == {torch.float32} for _, types, _ in seen)
    assert {otf for _, _, otf in seen} == {torch.complex64}
    exact, mixed = losses(tmp_path / "False"), losses(tmp_path / "True")
    assert exact != mixed
    assert mixed == pytest.approx(exact, rel=0.02)
