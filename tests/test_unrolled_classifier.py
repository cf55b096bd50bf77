"""The blur classifier: what it takes and gives, its samples, its training, and its weights."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import fftconvolve
from skimage import data

import deconv

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from unrolled import blur_scenes, weights  # noqa: E402
from unrolled.blur_camera import flattened  # noqa: E402
from unrolled.blur_samples import BLOCK, KINDS, BlurRecipe, BlurSamples, width  # noqa: E402
from unrolled.models.blur_classifier import BlurClassifier, BlurClassifierConfig  # noqa: E402

NAMES = ("camera", "astronaut", "coins", "page", "text")
RECIPE = BlurRecipe(side=32, sizes=(7, 21), scales=(0.5, 1.0), scenes=3, psfs=4)


def pictures():
    """Three colour pictures as uint8 (3, 180, 180)."""
    return [
        torch.from_numpy(picture[60:240, 160:340].transpose(2, 0, 1).copy())
        for picture in (data.astronaut(), data.chelsea(), data.coffee())
    ]


def sharp(name):
    """A picture that comes with scikit-image, in grey on [0, 1]."""
    picture = getattr(data, name)()
    if picture.ndim == 3:
        picture = picture @ np.array([0.299, 0.587, 0.114])
    return picture / 255


def blurred(picture, length):
    """The middle of a picture, shaken over a box of `length` pixels; the noise is always the same.

    Frames do not depend on the length.
    """
    psf = deconv.psf.trajectory(length, rng=1) if length > 1 else np.ones((1, 1))
    cut = 25 - length // 2
    part = picture[cut : picture.shape[0] - cut, cut : picture.shape[1] - cut]
    frame = fftconvolve(part, psf, mode="valid")
    return frame + np.random.default_rng(0).normal(0, 0.004, frame.shape)


def tensor(picture, dtype=torch.float32):
    return torch.tensor(np.ascontiguousarray(picture), dtype=dtype)[None, None]


def network(**changes):
    torch.manual_seed(0)
    return BlurClassifier(BlurClassifierConfig(**changes))


@pytest.fixture(scope="module")
def samples():
    return BlurSamples(pictures(), RECIPE)


@pytest.fixture(scope="module")
def net():
    return BlurClassifier.from_pretrained("blur-classifier").requires_grad_(False)


# What it takes and gives.


@pytest.mark.parametrize("shape", [(16, 16), (17, 31), (80, 64), (101, 16)])
def test_any_size(shape):
    model = network()
    x = torch.rand(3, 1, *shape)
    logits, at = model(x), model.map(x)
    assert logits.shape == (3,)
    assert at.shape == (3, 1, shape[0] // 8, shape[1] // 8)
    torch.testing.assert_close(logits, at.mean((1, 2, 3)))
    torch.testing.assert_close(logits[1:2], model(x[1:2]))


def test_the_gradient_is_that_of_finite_differences():
    model = network(widths=(3, 4), convolutions=(1, 2)).double()
    x = torch.rand(1, 1, 17, 18, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, x)


def test_the_gradient_of_an_even_picture_is_finite():
    x = torch.full((1, 1, 20, 20), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(network()(x).sum(), x)
    assert gradient.isfinite().all()


def test_brightness_and_contrast_do_not_matter():
    model, x = network().double(), tensor(sharp("camera")[:64, 200:264], torch.float64)
    torch.testing.assert_close(model(0.3 * x + 0.5), model(x), atol=1e-3, rtol=1e-3)
    # Of contrast near the noise of rounding, less and less is made.
    torch.testing.assert_close(model(1e-6 * x), model(0 * x), atol=1e-3, rtol=1e-3)


def test_nothing_is_won_by_fading():
    model, x = network().double(), tensor(sharp("camera")[:64, 200:264], torch.float64)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).sum(), x)
    centred = (x - x.mean()).detach()
    size = gradient.norm()
    assert abs(gradient.sum()) < 1e-6 * size * x.numel() ** 0.5
    assert abs((gradient * centred).sum()) < 1e-3 * size * centred.norm()


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.zeros((1, 1, 32, 32)), TypeError, "x is of ndarray; expected a tensor"),
        (torch.zeros(1, 1, 32, 32, dtype=torch.uint8), TypeError, "x is of torch.uint8; expected"),
        (torch.zeros(32, 32), ValueError, r"x has shape \(32, 32\); expected \(N, 1, H, W\)"),
        (torch.zeros(1, 3, 32, 32), ValueError, r"x has shape \(1, 3, 32, 32\)"),
        (torch.zeros(1, 1, 32, 15), ValueError, "H and W of at least 16"),
    ],
)
def test_forward_refuses(x, error, words):
    for call in (network(), network().map):
        with pytest.raises(error, match=words):
            call(x)


@pytest.mark.parametrize(
    ("image", "options", "error", "words"),
    [
        (np.zeros((32, 32, 3)), {}, ValueError, r"image has shape \(32, 32, 3\).*channel_axis"),
        (np.zeros((32, 32)), {"channel_axis": 0}, ValueError, r"image has shape \(32, 32\)"),
        (np.zeros((32, 15)), {}, ValueError, r"image has shape \(32, 15\); expected 16 pixels"),
        (np.full((32, 32), np.nan), {}, ValueError, "image has 1024 NaN pixels; expected none"),
        (np.full((32, 32), np.inf), {}, ValueError, "image has 1024 infinite values"),
        (np.zeros((32, 32), complex), {}, TypeError, "image has dtype complex128"),
    ],
)
def test_blurriness_refuses(image, options, error, words):
    with pytest.raises(error, match=words):
        network().blurriness(image, **options)


def test_blurriness_of_any_unit_and_library():
    model, picture = network(), sharp("camera")[100:180, 200:264]
    expected = model.blurriness(picture)
    assert 0 < expected < 1
    for image in (
        picture.astype(np.float32), 40 - 1e4 * -picture, torch.tensor(picture),
        (65535 * picture).astype(np.uint16), np.asfortranarray(picture),
    ):  # fmt: skip
        assert model.blurriness(image) == pytest.approx(expected, abs=1e-3)
    stacked = np.stack([picture] * 3)
    assert model.blurriness(stacked, channel_axis=0) == pytest.approx(expected, abs=1e-6)
    assert model.blurriness(stacked.transpose(1, 2, 0), channel_axis=-1) == pytest.approx(expected)
    hot = picture.copy()
    hot[3, 3] = 1e3
    assert model.blurriness(hot) == pytest.approx(expected, abs=0.02)
    assert model.blurriness(np.full((20, 20), 7)) == 0.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"widths": ()}, r"widths=\(\); expected"),
        ({"widths": (4, 0)}, r"widths=\(4, 0\); expected one or more positive"),
        ({"convolutions": (1,)}, r"convolutions=\(1,\); expected .* each of the 4 widths"),
    ],
)
def test_configurations_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        BlurClassifierConfig(**changes)


# Samples.


def test_samples_come_from_their_index_alone(samples):
    x, y, wide = samples.batch(0, range(8))
    assert x.shape == (8, 1, 32, 32) and x.dtype == torch.float32
    assert x.isfinite().all() and -0.5 < x.min() and x.max() < 1.5
    alone = samples.batch(7, [5])
    assert all(torch.equal(a, b[5:6]) for a, b in zip(alone, (x, y, wide), strict=True))
    assert torch.equal(y, (wide >= RECIPE.least).float())
    again = BlurSamples(pictures(), RECIPE).batch(1, range(8))[0]
    assert torch.equal(again, x)
    other = BlurSamples(pictures(), RECIPE, seed=1).batch(0, range(8))
    assert not torch.equal(other[0], x)


def test_every_other_sample_is_blurred(samples):
    assert samples.batch(3, range(10, 16))[1].tolist() == [0, 1, 0, 1, 0, 1]


def test_samples_are_repeated_and_turned(samples):
    first, again, other = (samples.batch(0, [i])[0][0, 0] for i in (3, 3 + BLOCK, 5))
    assert not torch.equal(first, again)
    assert torch.equal(first.flatten().sort().values, again.flatten().sort().values)
    assert not torch.equal(first.flatten().sort().values, other.flatten().sort().values)
    later = samples.batch(0, [3 + BLOCK * RECIPE.repeats])[0][0, 0]
    assert not torch.equal(first.flatten().sort().values, later.flatten().sort().values)


def test_scales_that_no_blur_is_seen_at_are_refused(samples):
    with pytest.raises(ValueError, match=r"scale=0.2; expected 0.5 to 1"):
        samples.sample(0, scale=0.2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_classes_differ_by_blur_alone(kind, scale):
    plain = replace(RECIPE, sigma=(1e-4, 2e-4), flat=0.0, sharpened=0.0, compressed=0.0)
    samples = BlurSamples(pictures(), plain)
    for index in range(6):
        a, b = (
            samples.sample(index, kind=kind, scale=scale, blurred=blurred)[0]
            for blurred in (False, True)
        )
        steps = [
            float(x.diff(dim=0).square().mean() + x.diff(dim=1).square().mean()) for x in (a, b)
        ]
        # Lamps that clip grow with the blur, and their rims with them.
        assert kind == "dark" or steps[1] < 0.97 * steps[0]
        # The same scene at the same place: low frequencies agree.
        low = [torch.nn.functional.avg_pool2d(x[None], 16).flatten() for x in (a, b)]
        assert torch.corrcoef(torch.stack(low))[0, 1] > 0.6 or low[0].std() < 0.02


def test_every_blur_is_seen_at_its_scale():
    recipe = replace(RECIPE, scales=(0.25, 1.0), least=1.0)
    samples = BlurSamples(pictures(), recipe)
    rng = np.random.default_rng(0)
    for scale in (0.25, 0.4, 1.0):
        assert min(width(samples._psf(scale, rng)) for _ in range(40)) * scale >= 1.0


def test_width():
    assert width(np.ones((1, 1))) == 0
    assert width(deconv.psf.gaussian(2.0)) == pytest.approx((2 * (4 + 1 / 12)) ** 0.5, rel=1e-3)
    line = np.full((1, 9), 1 / 9)
    assert width(line) == pytest.approx((80 / 12) ** 0.5)


@pytest.mark.parametrize("draw", [blur_scenes.text, blur_scenes.face])
def test_scenes_are_sharp_and_reproducible(draw):
    one, same, other = (draw(96, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one.shape == (96, 96) and one.dtype == np.float32
    assert 0 <= one.min() and one.max() <= 1
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert np.abs(np.diff(one, axis=1)).max() > 0.15


def test_text_on_a_photograph():
    behind = sharp("camera")[200:296, 200:296].astype(np.float32)
    page = blur_scenes.text(96, np.random.default_rng(0), behind)
    plain = blur_scenes.text(96, np.random.default_rng(0))
    assert (
        np.corrcoef(page.ravel(), behind.ravel())[0, 1]
        > np.corrcoef(plain.ravel(), behind.ravel())[0, 1]
    )


def test_lamps_are_brighter_than_white():
    scene = sharp("camera")[:96, :96].astype(np.float32)
    before = scene.copy()
    lit = [blur_scenes.lit(scene, np.random.default_rng(seed)) for seed in range(6)]
    assert np.array_equal(scene, before)
    assert sum(x.max() > 1 for x in lit) >= 3
    assert all(np.median(x) < 0.9 * np.median(scene) for x in lit)


def test_flattened_keeps_edges_and_drops_texture():
    edge = np.tile(np.repeat([0.2, 0.8], 16), (24, 1)).astype(np.float32)
    noisy = edge + np.random.default_rng(0).normal(0, 0.02, edge.shape).astype(np.float32)
    flat = flattened(noisy, 5e-3)
    assert np.abs(flat - edge).mean() < 0.6 * np.abs(noisy - edge).mean()
    assert (flat[:, 16] - flat[:, 15]).min() > 0.4
    assert np.diff(flat[:, 2:14], axis=1).std() < 0.2 * np.diff(noisy[:, 2:14], axis=1).std()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"side": 8}, "side=8; expected at least 16"),
        ({"shares": (1.0,)}, r"shares=\(1.0,\); expected one for each of"),
        ({"repeats": 0}, "repeats=0; expected at least 1"),
        ({"sizes": (7, 35)}, "sizes=.*; expected at most the side=32"),
        ({"sizes": (9, 7)}, "sizes=.*; expected .* 3 <= low <= high"),
        ({"scales": (0.5, 2.0)}, "scales=.*; expected"),
        ({"sigma": (0.0, 1.0)}, "sigma=.*; expected"),
        ({"sizes": (3, 5), "scales": (0.25, 1.0)}, r"recipe.sizes=\(3, 5\): no blur has a width"),
    ],
)
def test_recipes_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        BlurSamples(pictures(), replace(RECIPE, **changes))


def test_no_pictures():
    with pytest.raises(ValueError, match="pictures: there are none"):
        BlurSamples([])


# Training.


def test_a_batch_is_learned_and_scored(samples):
    pytest.importorskip("lightning_fabric")
    from unrolled.blur_training import BlurValidation, blur_loss

    torch.manual_seed(0)
    model = BlurClassifier(BlurClassifierConfig(widths=(6, 12, 16), convolutions=(1, 1, 1)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    batch, losses = samples.batch(0, range(16)), []
    for _ in range(80):
        optimizer.zero_grad()
        loss = blur_loss(model, batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    scores = BlurValidation(pictures(), RECIPE, count=4)(model, 30)
    assert set(scores) == {"accuracy", *KINDS, "scale 1", "scale 0.5"}
    assert all(0 <= score <= 1 for score in scores.values())


def test_wider_blurs_are_to_have_larger_logits():
    pytest.importorskip("lightning_fabric")
    from unrolled.blur_training import goal

    wide = torch.tensor([0.0, 0.87, 2.0, 10.0])
    assert goal(wide)[0] == goal(wide)[1] > 1
    assert (goal(wide)[1:].diff() > 0.5).all()


def test_from_pictures_to_weights(tmp_path):
    pytest.importorskip("tyro")
    from skimage import io

    from unrolled.train import main

    (tmp_path / "data").mkdir()
    for i, picture in enumerate(pictures()):
        values = picture.numpy().transpose(1, 2, 0)
        io.imsave(tmp_path / "data" / f"{i}.png", values, check_contrast=False)
    main(
        [
            *("blur", "--data", str(tmp_path / "data"), "--run", str(tmp_path / "run")),
            *("--steps", "2", "--batch", "2", "--threads", "1", "--accelerator", "cpu"),
            *("--net.widths", "2", "3", "--net.convolutions", "1", "1", "--recipe.side", "32"),
            *("--recipe.sizes", "7", "15", "--recipe.scenes", "1", "--recipe.psfs", "2"),
            *("--recipe.scales", "0.5", "1"),
        ]
    )
    loaded = BlurClassifier.from_pretrained(tmp_path / "run")
    assert loaded.config.widths == (2, 3)
    assert (tmp_path / "run" / "scores.csv").exists()


# The weights that come with the package.


def test_shipped_weights_are_small():
    assert (weights.SHIPPED / "blur-classifier.safetensors").stat().st_size < 4e5
    assert (weights.SHIPPED / "blur-classifier.md").read_text().startswith("# blur-classifier")


@pytest.mark.parametrize("name", NAMES)
def test_the_longer_the_blur_the_higher_the_logit(net, name):
    picture = sharp(name)
    logits = [float(net(tensor(blurred(picture, n)))) for n in (1, 9, 15, 25)]
    assert logits[0] < 0 < logits[1]
    assert logits == sorted(logits)


@pytest.mark.parametrize("name", NAMES)
def test_dim_pictures_are_judged_as_bright_ones(net, name):
    for length, is_blurred in ((1, False), (21, True)):
        image = blurred(sharp(name), length)
        assert (net.blurriness(0.1 * image + 0.02) > 0.5) == is_blurred


def test_descent_on_the_logit_sharpens(net):
    image = blurred(sharp("camera"), 11)[100:228, 180:308]
    x = tensor(image).requires_grad_()
    start = float(net(x.detach()))
    for _ in range(10):
        (gradient,) = torch.autograd.grad(net(x).sum(), x)
        x = (x - 0.2 * gradient / gradient.norm()).detach().requires_grad_()
    assert float(net(x.detach())) < start - 0.5
    steps = [float(t.detach().diff(dim=-1).square().mean()) for t in (tensor(image), x)]
    assert steps[1] > steps[0]


def test_half_precision_decides_alike(net):
    x = torch.cat([tensor(blurred(sharp("camera"), n)[:128, :128]) for n in (1, 15, 41)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = net(x)
    assert torch.equal(rounded > 0, net(x) > 0)
