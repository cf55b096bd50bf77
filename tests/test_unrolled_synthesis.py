"""Training samples, each from the seed and its index alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st
from skimage import data, io

torch = pytest.importorskip("torch")

from deconv import psf as psfs  # noqa: E402
from deconv.operators import StridedBlur  # noqa: E402
from unrolled import synthesis as module  # noqa: E402
from unrolled.crops import Crops, load_pictures, turned  # noqa: E402
from unrolled.kernel_error import PsfError  # noqa: E402
from unrolled.synthesis import (  # noqa: E402
    Noisy,
    Recipe,
    Synthesis,
    psf_bank,
    random_psf,
)

# White noise of one strength, told as it is, on plain crops.
PLAIN = Recipe(
    domain=48, sizes=(5, 9), shares=(0.5, 0.5), sigma=(0.02, 0.02), doubt=0.0, poisson=0.0,
    rounded=0.0, clipped=0.0, chroma=0.0, shrunk=0.0,
)  # fmt: skip
# Everything at once, as in training.
FULL = Recipe(domain=48, sizes=(5, 9), shares=(0.5, 0.5), poisson=0.5, rounded=0.5)


def pictures():
    """Three colour pictures as uint8 (3, 96, 96 to 128)."""
    return [
        torch.from_numpy(picture[100 : 100 + height, 160:256].transpose(2, 0, 1).copy())
        for picture, height in ((data.astronaut(), 96), (data.chelsea(), 128), (data.coffee(), 96))
    ]


def synthesis(recipe=PLAIN, seed=0, psfs_per_size=6):
    return Synthesis(pictures(), recipe, seed=seed, psfs_per_size=psfs_per_size)


def parts(batch):
    """Every tensor of a batch; without a mask, one that is False everywhere."""
    none = torch.zeros_like(batch.observed, dtype=torch.bool)
    weights = torch.ones_like(batch.observed[:, :1]) if batch.A.weights is None else batch.A.weights
    clipped = none if batch.clipped is None else batch.clipped
    return batch.sharp, batch.A.psf, weights, batch.observed, batch.sigma, clipped


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def spread(batch):
    """Root mean square of what the noise added, by sample, in units of the sigma that is told."""
    noise = batch.observed - batch.A(batch.sharp)
    return noise.square().mean((-3, -2, -1)).sqrt() / batch.sigma


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("clipped", [0.0, 1.0])
def test_a_sample_is_settled_by_seed_and_index(channels, clipped):
    recipe = replace(FULL, channels=channels, clipped=clipped)
    batch = parts(synthesis(recipe).batch(7, range(8)))
    assert equal(batch, parts(synthesis(recipe).batch(7, range(8))))
    alone = parts(synthesis(recipe).batch(7, [3]))
    assert equal(alone, [part[3:4] for part in batch])
    other = parts(synthesis(recipe, seed=1).batch(7, range(8)))
    assert not torch.equal(batch[0], other[0])
    assert not torch.equal(batch[4], other[4])
    assert len({float(s) for s in batch[4]}) == 8


def test_shapes_and_types():
    for channels in (1, 3):
        batch = synthesis(replace(FULL, channels=channels, clipped=1.0)).batch(0, range(5))
        assert batch.sharp.shape == (5, channels, 48, 48)
        assert batch.A.domain == (48, 48)
        assert batch.observed.shape == batch.clipped.shape == (5, channels, *batch.A.shape)
        assert batch.sigma.shape == (5,)
        assert {part.dtype for part in parts(batch)[:-1]} == {torch.float32}


def test_a_step_settles_the_box_and_clipping():
    samples = synthesis(replace(PLAIN, shares=(0.25, 0.75), clipped=0.3))
    batches = [samples.batch(step, [0]) for step in range(200)]
    large = np.mean([batch.A.psf.shape[-1] == 9 for batch in batches])
    assert {batch.A.psf.shape[-1] for batch in batches} == {5, 9}
    assert abs(large - 0.75) < 0.1
    assert abs(np.mean([batch.clipped is not None for batch in batches]) - 0.3) < 0.1


def test_white_noise_has_the_promised_deviation():
    batch = synthesis().batch(0, range(40))
    assert torch.equal(batch.sigma, torch.full((40,), 0.02))
    assert abs(spread(batch) - 1).max() < 0.1  # 1 / sqrt(2 * 1600) is 0.018
    assert abs(float(spread(batch).mean()) - 1) < 0.01
    noise = batch.observed - batch.A(batch.sharp)
    assert abs(float((noise[..., 1:] * noise[..., :-1]).mean()) / 0.02**2) < 0.02


def test_photon_noise_has_the_same_rms_and_more_in_the_light():
    batch = synthesis(replace(PLAIN, poisson=1.0)).batch(0, range(40))
    assert abs(float(spread(batch).square().mean()) - 1) < 0.02
    light = batch.A(batch.sharp)
    noise = (batch.observed - light).square()
    bright = light > light.mean((-3, -2, -1), keepdim=True)
    assert noise[bright].mean() > 1.2 * noise[~bright].mean()


def test_rounding_adds_its_own_noise():
    batch = synthesis(replace(PLAIN, rounded=1.0, sigma=(1 / 255, 1 / 255))).batch(0, range(40))
    levels = batch.observed * 255
    assert (levels - levels.round()).abs().max() < 1e-4
    assert abs(float(spread(batch).square().mean()) - (1 + 1 / 12)) < 0.02


def test_sigma_is_log_uniform_and_told_with_doubt():
    low, high = 0.001, 0.1
    batch = synthesis(replace(PLAIN, sigma=(low, high))).batch(0, range(150))
    share = (batch.sigma / low).log() / math.log(high / low)
    assert share.min() > 0
    assert share.max() < 1
    assert abs(float(share.mean()) - 0.5) < 0.08
    told = synthesis(replace(PLAIN, doubt=0.2)).batch(0, range(150)).sigma
    error = (told / 0.02).log()
    assert abs(float(error.mean())) < 0.05
    assert abs(float(error.std()) - 0.2) < 0.04


@pytest.mark.parametrize("size", [5, 8, 9])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_blur_is_the_valid_convolution(size, channels):
    recipe = replace(PLAIN, sizes=(size,), shares=(1.0,), channels=channels, sigma=(1e-9, 1e-9))
    batch = synthesis(recipe).batch(0, range(6))
    for sharp, psf, observed in zip(batch.sharp, batch.A.psf, batch.observed, strict=True):
        for x, y in zip(sharp.double().numpy(), observed.numpy(), strict=True):
            blurred = scipy.signal.fftconvolve(x, psf[0].double().numpy(), mode="valid")
            np.testing.assert_allclose(y, blurred, atol=1e-5)


def test_strided_batches_keep_every_second_pixel():
    made = synthesis(replace(PLAIN, strided=1.0, sigma=(1e-6, 1e-6), clipped=1.0))
    for step in range(6):
        batch = made.batch(step, range(2))
        assert isinstance(batch.A, StridedBlur)
        assert batch.A.domain == (48, 48)
        assert batch.clipped is None and batch.A.weights is None
        size = batch.A.psf.shape[-1]
        assert batch.observed.shape[-1] == (48 - size + 1) // 2
        torch.testing.assert_close(batch.observed, batch.A(batch.sharp), atol=1e-5, rtol=0)
        full = scipy.signal.fftconvolve(batch.sharp[0, 0], batch.A.psf[0, 0], mode="valid")
        seen = full[::2, ::2][: batch.A.shape[0], : batch.A.shape[1]]
        np.testing.assert_allclose(batch.observed[0, 0], seen, atol=1e-4)


def test_strided_batches_leave_the_others_as_they_are():
    some = synthesis(replace(FULL, strided=0.5))
    kinds = set()
    for step in range(12):
        batch = some.batch(step, range(1))
        kinds.add(batch.A.stride)
        if batch.A.stride == 1:
            assert equal(parts(batch), parts(synthesis(FULL).batch(step, range(1))))
    assert kinds == {1, 2}


def test_clipped_batches():
    samples = synthesis(replace(FULL, clipped=1.0, channels=3))
    batch = samples.batch(0, range(40))
    assert batch.observed.max() == 1
    assert batch.sharp.max() > 1.5
    assert torch.equal(batch.clipped, batch.observed == 1)
    assert 0.01 < float(batch.clipped.float().mean()) < 0.5
    weights = batch.A.weights
    assert weights.shape == (40, 1, *batch.A.shape)
    assert set(weights.unique().tolist()) == {0.0, 1.0}
    assert (weights == 0).float().mean((-3, -2, -1)).max() < 0.03
    # A dead pixel, of all channels, shows the mean of the picture and nothing of its own.
    for y, dead in zip(batch.observed, weights[:, 0] == 0, strict=True):
        assert len(y[:, dead].unique()) <= 1
        assert torch.equal(y[0, dead], y[2, dead])


# What a batch is clipped or strided by, beside its psfs.
KINDS = [{}, {"clipped": 1.0}, {"strided": 1.0}, {"channels": 3}]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_wrong_psf_is_told_and_the_true_one_blurs(kind):
    for step in range(2):
        right = synthesis(replace(FULL, **kind)).batch(step, range(6))
        wrong = synthesis(replace(FULL, error=1.0, **kind)).batch(step, range(6))
        names = ("sharp", "psf", "weights", "observed", "sigma", "clipped")
        one, other = (dict(zip(names, parts(batch), strict=True)) for batch in (right, wrong))
        true, told = one.pop("psf"), other.pop("psf")
        assert equal(one.values(), other.values())
        assert told.shape == true.shape and told.dtype == true.dtype
        assert told.min() >= 0
        assert abs(told.sum((-2, -1)) - 1).max() < 1e-5
        off = (told - true).abs().sum((-2, -1))
        assert off.min() > 1e-3 and off.max() < 1.5
        assert wrong.A.domain == right.A.domain and wrong.A.shape == right.A.shape


def test_without_error_no_psf_is_touched(monkeypatch):
    before = synthesis(FULL).batch(3, range(6))
    assert equal(parts(before), parts(synthesis(replace(FULL, error=0.0)).batch(3, range(6))))
    # The draws that an error takes are nobody else's.
    monkeypatch.setattr(module, "PsfError", lambda: lambda psf, draw: (draw.manual_seed(0), psf)[1])
    assert equal(parts(before), parts(synthesis(replace(FULL, error=1.0)).batch(3, range(6))))

    def never():
        raise AssertionError("an error in a recipe without")

    monkeypatch.setattr(module, "PsfError", never)
    assert equal(parts(before), parts(synthesis(FULL).batch(3, range(6))))


def test_the_observation_is_of_the_true_psf():
    recipe = replace(PLAIN, sigma=(1e-6, 1e-6), error=1.0)
    wrong = synthesis(recipe).batch(0, range(8))
    right = synthesis(replace(recipe, error=0.0)).batch(0, range(8))
    torch.testing.assert_close(wrong.observed, right.A(wrong.sharp), atol=2e-5, rtol=0)
    misfit = (wrong.observed - wrong.A(wrong.sharp)).square().mean((-3, -2, -1)).sqrt()
    assert misfit.max() > 0.005


def test_errors_have_their_share():
    def told(share):
        return synthesis(replace(PLAIN, error=share)).batch(0, range(100)).A.psf

    right, some, all_wrong = told(0.0), told(0.3), told(1.0)
    wrong = (some != right).any(dim=(-3, -2, -1))
    assert abs(float(wrong.float().mean()) - 0.3) < 0.12
    # A sample that is wrong is so in the same way, whatever the share.
    assert torch.equal(some[wrong], all_wrong[wrong])


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_wrong_psf_is_settled_by_seed_and_index(kind):
    recipe = replace(FULL, error=1.0, **kind)
    batch = parts(synthesis(recipe).batch(7, range(6)))
    assert equal(batch, parts(synthesis(recipe).batch(7, range(6))))
    for indices in ([3], [5, 3, 0]):
        other = parts(synthesis(recipe).batch(7, indices))
        assert equal(other, [part[indices] for part in batch])
    assert not torch.equal(batch[1], parts(synthesis(recipe, seed=1).batch(7, range(6)))[1])


def test_a_wrong_psf_is_that_of_the_generator_module():
    made = synthesis(replace(PLAIN, error=1.0))
    _, _, draw, _ = made.crops.draw(4)
    torch.randn((), generator=draw)  # the doubt in sigma
    true = synthesis(PLAIN).batch(0, [4]).A.psf[0, 0]
    assert torch.equal(made.batch(0, [4]).A.psf[0, 0], PsfError()(true, draw))


@pytest.mark.parametrize("size", [5, 6, 9, 16, 25])
def test_psf_bank(size):
    bank = psf_bank(size, 30, seed=0)
    assert bank.shape == (30, size, size)
    assert bank.dtype == torch.float32
    assert torch.equal(bank, psf_bank(size, 30, seed=0))
    assert not torch.equal(bank, psf_bank(size, 30, seed=1))
    assert bank.min() >= 0
    assert abs(bank.sum((-2, -1)) - 1).max() < 1e-5
    for psf in bank:
        assert max(abs(at - size // 2) for at in psfs.centroid(psf.double().numpy())) < 1


@given(size=st.integers(3, 40), seed=st.integers(0, 10**6))
def test_random_psf(size, seed):
    psf = random_psf(size, np.random.default_rng(seed))
    assert psf.shape == (size, size)
    assert psf.min() >= 0
    assert abs(psf.sum() - 1) < 1e-9


def test_turned_gives_eight_ways():
    x = torch.arange(9.0).reshape(3, 3)
    ways = [turned(x, way) for way in range(8)]
    assert torch.equal(ways[0], x)
    assert len({tuple(way.flatten().tolist()) for way in ways}) == 8
    assert all(way.is_contiguous() for way in ways)


def test_grey_crops_are_luma():
    crops = Crops([torch.full((3, 60, 50), 51, dtype=torch.uint8)], 48)
    assert torch.allclose(crops.draw(0)[0], torch.full((1, 48, 48), 0.2))


def test_colour_crops_keep_their_channels():
    picture = torch.arange(3, dtype=torch.uint8)[:, None, None].expand(3, 60, 50) * 51
    crop = Crops([picture], 48, channels=3).draw(0)[0]
    assert torch.allclose(crop.mean((1, 2)), torch.tensor([0.0, 0.2, 0.4]))


def test_differences_of_colours_are_about_half():
    crops = [Crops(pictures(), 48, chroma=1.0).draw(index)[0] for index in range(20)]
    assert {crop.shape for crop in crops} == {(1, 48, 48)}
    assert abs(float(torch.stack(crops).mean()) - 0.5) < 0.15
    grey = Crops([pictures()[0][:1].expand(3, -1, -1)], 48, chroma=1.0)
    assert torch.allclose(grey.draw(0)[0], torch.full((1, 48, 48), 0.5), atol=1e-6)


def test_smaller_crops_show_more_of_the_picture():
    ramp = torch.arange(96, dtype=torch.uint8).expand(3, 96, 96)
    plain, shrunk = (
        [float(crop.max() - crop.min()) * 255 for crop in crops]
        for crops in (
            [Crops([ramp], 48, shrunk=share).draw(index)[0] for index in range(20)]
            for share in (0.0, 1.0)
        )
    )
    assert max(plain) == pytest.approx(47, abs=0.01)
    assert max(shrunk) > 80
    assert min(shrunk) > 45


def test_noisy_samples():
    recipe = replace(PLAIN, channels=3, sigma=(0.01, 0.2))
    sharp, noisy, sigma = Noisy(pictures(), recipe).batch(5, range(30))
    assert sharp.shape == noisy.shape == (30, 3, 48, 48)
    ratio = (noisy - sharp).std((-3, -2, -1)) / sigma
    assert abs(ratio - 1).max() < 0.05
    assert len(sigma.unique()) == 30
    alone = Noisy(pictures(), recipe).batch(9, [4])
    assert equal(alone, [part[4:5] for part in (sharp, noisy, sigma)])


def save(path, array):
    path.parent.mkdir(exist_ok=True)
    io.imsave(path, array, check_contrast=False)


def test_load_pictures(tmp_path):
    rng = np.random.default_rng(0)
    rgb, grey = rng.integers(0, 256, (20, 30, 3)), rng.integers(0, 256, (25, 20))
    rgb, grey = rgb.astype(np.uint8), grey.astype(np.uint8)
    alpha = np.full((25, 20, 1), 9, np.uint8)
    save(tmp_path / "a.png", rgb)
    save(tmp_path / "b.png", grey)
    save(tmp_path / "c.png", np.concatenate([rgb, rgb[..., :1]], axis=-1))
    save(tmp_path / "d.png", np.concatenate([grey[..., None], alpha], axis=-1))
    save(tmp_path / "deeper" / "e.PNG", rgb[::-1])
    save(tmp_path / "small.png", rgb[:19])
    save(tmp_path / "deep.png", grey.astype(np.uint16) * 256)
    save(tmp_path / "pages.tif", np.stack([rgb, rgb]))
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    found = load_pictures(tmp_path, least=20)
    colours = torch.from_numpy(rgb.transpose(2, 0, 1).copy())
    levels = torch.from_numpy(grey).expand(3, -1, -1)
    expected = [colours, levels, colours, levels, colours.flip(1)]
    assert len(found) == len(expected)
    assert equal(found, expected)
    assert {picture.dtype for picture in found} == {torch.uint8}


def test_load_pictures_finds_none(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match="no 8-bit picture of at least 96 x 96 pixels"):
            load_pictures(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"domain": 47}, "recipe.domain=47; expected a side that the FFT likes, such as 48"),
        ({"domain": 54, "strided": 0.5}, "recipe.domain=54; expected a side that the FFT likes"),
        ({"domain": 16}, "recipe.sizes go up to 9; expected at most half of recipe.domain=16"),
        ({"domain": 128}, "pictures: one has a side of 96 pixels; expected at least .* 128"),
        ({"channels": 2}, "channels=2; expected 1 or 3"),
        ({"shares": (1.0,)}, "shares has 1 values; expected one for each of the 2 sizes"),
        ({"sizes": (), "shares": ()}, r"sizes=\(\); expected one or more"),
        ({"sizes": (2, 5)}, r"sizes=\(2, 5\); expected one or more of at least 3 pixels"),
        ({"sigma": (0.0, 0.1)}, "sigma=.*; expected .* 0 < low <= high"),
        ({"sigma": (0.2, 0.1)}, "sigma=.*; expected .* 0 < low <= high"),
    ],
)
def test_errors_name_the_argument(changes, words):
    with pytest.raises(ValueError, match=words):
        synthesis(replace(PLAIN, **changes))


def test_no_pictures():
    with pytest.raises(ValueError, match="pictures: there are none"):
        Noisy([], PLAIN)
