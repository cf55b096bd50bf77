"""Pairs with non-uniform blur: what each kind must leave alone, and what its operator says."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.registration import phase_cross_correlation

torch = pytest.importorskip("torch")

from deconv import psf as psfs  # noqa: E402
from unrolled.capture import softened  # noqa: E402
from unrolled.kernel_fields import Field  # noqa: E402
from unrolled.nonuniform import KINDS, NonUniform, NonUniformRecipe  # noqa: E402

FULL = NonUniformRecipe(side=48, size=17, reach=(3, 11))
# As good as no noise.
PLAIN = replace(FULL, sigma=(1e-7, 1e-7), rounded=0.0)
OPERATORS = {"uniform": "Blur", "field": "SpatiallyVaryingBlur", "sharp": "Blur"}


def pictures():
    """Three colour pictures as uint8 (3, 128 or 192, 128)."""
    made = ((data.astronaut(), 192), (data.chelsea(), 128), (data.coffee(), 128))
    return [
        torch.from_numpy(picture[60 : 60 + n, 160:288].transpose(2, 0, 1).copy())
        for picture, n in made
    ]


def nonuniform(recipe=FULL, seed=0):
    return NonUniform(pictures(), recipe, seed=seed)


def flat(recipe=PLAIN, value=102):
    return NonUniform([torch.full((3, 80, 80), value, dtype=torch.uint8)], recipe)


def share(kind, recipe=FULL):
    """`recipe` with one kind alone."""
    return replace(recipe, **{name: float(name == kind) for name in KINDS})


def spread(x):
    return float(x.square().mean().sqrt())


def noise(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# -- samples ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_is_settled_by_seed_and_index(channels):
    recipe = replace(FULL, channels=channels)
    batch = nonuniform(recipe).batch(0, range(16))
    again = nonuniform(recipe).batch(9, range(15, -1, -1))
    assert torch.equal(batch.blurred, again.blurred.flip(0))
    assert torch.equal(batch.sharp, again.sharp.flip(0))
    alone = nonuniform(recipe).batch(3, [5])
    assert torch.equal(alone.blurred, batch.blurred[5:6])
    assert [k is None for k in batch.known] == [k is None for k in again.known[::-1]]
    other = nonuniform(recipe, seed=1).batch(0, range(16))
    assert not torch.equal(batch.sharp, other.sharp)


def test_blur_and_picture_are_drawn_apart():
    recipe = share("uniform", replace(PLAIN, reach=(9, 9)))
    kernels = [
        nonuniform(recipe, seed).sample(index)[2].operator.psf
        for seed in (0, 1)
        for index in (0, 1)
    ]
    assert all(not torch.equal(a, b) for i, a in enumerate(kernels) for b in kernels[:i])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side, size", [(48, 17), (47, 15), (33, 33), (40, 9)])
def test_shapes_types_and_ranges(channels, side, size):
    recipe = NonUniformRecipe(side=side, size=size, channels=channels, reach=(2, size - 6))
    samples = nonuniform(recipe)
    for kind in KINDS:
        blurred, sharp, known = samples.sample(4, kind)
        assert blurred.shape == sharp.shape == (channels, side, side)
        assert blurred.dtype == sharp.dtype == torch.float32
        assert sharp.min() >= 0 and sharp.max() <= 1
        assert blurred.min() > -0.15 and blurred.max() < 1.15
        assert (known is not None) == (kind in OPERATORS)
        if known:
            assert type(known.operator).__name__ == OPERATORS[kind]
            assert known.operator.shape == (side, side)
            assert known.operator.boundary == "unknown"
            assert known.operator(torch.ones(channels, *known.operator.domain)).shape[0] == channels


def test_rounded_samples_are_of_8_bits():
    batch = nonuniform(replace(FULL, rounded=1.0)).batch(0, range(6))
    assert torch.equal((batch.blurred * 255).round() / 255, batch.blurred)
    assert batch.blurred.min() >= 0 and batch.blurred.max() <= 1


def test_kinds_come_in_their_shares():
    recipe = NonUniformRecipe()
    drawn = [recipe.kind((i + 0.5) / 1000) for i in range(1000)]
    for name, part in zip(KINDS, recipe.shares, strict=True):
        assert abs(drawn.count(name) / 1000 - part) < 0.002
    assert {share("layers").kind(u) for u in (0.0, 0.3, 1 - 1e-9)} == {"layers"}
    known = nonuniform(share("rotation")).batch(0, range(4)).known
    assert known == (None,) * 4


def test_light_is_linear_in_its_share():
    known = nonuniform(share("sharp")).batch(0, range(60)).known
    assert abs(np.mean([k.gamma == 2.2 for k in known]) - 0.5) < 0.2
    assert {k.gamma for k in known} == {1.0, 2.2}


# -- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_flat_picture_stays_flat(kind):
    samples = flat()
    for index in range(12):
        blurred, sharp, known = samples.sample(index, kind)
        assert torch.allclose(sharp, torch.tensor(0.4), atol=1e-6)
        # What is scattered thins out a little where the spread of the psf changes.
        scattered = getattr(known and known.operator, "order", "") == "scatter"
        assert abs(blurred - 0.4).max() < (0.05 if scattered else 2e-5)


def test_nothing_is_done_to_sharp_samples():
    blurred, sharp, known = nonuniform(PLAIN).sample(0, "sharp")
    assert torch.allclose(blurred, sharp, atol=1e-3)  # FFT rounding, enlarged by gamma near black
    assert known.operator.psf.max() == 1


@pytest.mark.parametrize("order, profile", [("gather", "linear"), ("scatter", "cosine")])
def test_a_field_of_single_pixels_is_no_blur(order, profile):
    samples = nonuniform()
    single = np.broadcast_to(samples.kernels.single(), (2, 3, 17, 17)).copy()
    A = samples._varying(Field(single, order, profile))
    x = noise((3, *A.domain))
    assert torch.allclose(A(x), A.crop(x), atol=1e-5)


def test_windows_kept_from_a_grid_change_nothing():
    samples = nonuniform()
    field = samples.kernels.rolling(9, 48, np.random.default_rng(0))
    first, second = samples._varying(field), samples._varying(field)
    x = noise((3, *first.domain))
    assert torch.equal(first(x), second(x))


def test_known_blurs_the_sharp_picture_again_to_the_noise():
    recipe = replace(FULL, sigma=(0.01, 0.01), rounded=0.0)
    samples, inside = nonuniform(recipe), slice(8, -8)
    for kind in OPERATORS:
        for index in range(6):
            blurred, sharp, (A, gamma) = samples.sample(index, kind)
            latent = torch.zeros(3, *A.domain)
            latent[:, 8 : 8 + 48, 8 : 8 + 48] = sharp
            again = A(latent**gamma).clamp(min=0) ** (1 / gamma)
            left = (blurred - again)[:, inside, inside]
            assert abs(spread(left) / 0.01 - 1) < 0.05


def test_rows_of_a_field_are_blurred_by_their_own_psf():
    samples = nonuniform()
    table = np.stack([psfs.defocus(r, size=17) for r in (0.5, 4.0)])[:, None]
    A = samples._varying(Field(table.astype(np.float32)))
    dots = torch.zeros(A.domain)
    dots[8 + 3, 30] = dots[8 + 44, 30] = 1
    seen = A(dots)
    assert seen[3, 22] > 0.9 and seen[44, 22] < 0.05


def test_the_foreground_differs_from_the_background():
    samples = nonuniform(PLAIN)
    for index in range(4):
        crop, _, draw, _ = samples.crops.draw(index)
        front = samples._foreground(crop, draw)
        assert front.shape == crop.shape and not torch.equal(front, crop)


# -- no shift --------------------------------------------------------------------------------------


def shift(blurred, sharp):
    """By how much `blurred` lies beside `sharp`, at a scale where a psf is its centroid."""
    window = np.outer(np.hanning(blurred.shape[-1]), np.hanning(blurred.shape[-1]))
    smooth = [gaussian_filter(x.mean(0).numpy(), 8) for x in (sharp, blurred)]
    level = [window * (x - (window * x).sum() / window.sum()) for x in smooth]
    return phase_cross_correlation(*level, upsample_factor=20, normalization=None)[0]


def test_blurred_lies_on_sharp():
    recipe = NonUniformRecipe(side=96, sigma=(1e-3, 1e-3))
    blurred = NonUniform(pictures(), recipe).batch(0, range(40))
    shifts = np.array([shift(b, s) for b, s in zip(blurred.blurred, blurred.sharp, strict=True)])
    assert np.hypot(*shifts.T).mean() < 0.3
    assert abs(shifts.mean(0)).max() < 0.15


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"size": 32}, r"size=32; expected an odd number"),
        ({"size": 7}, r"size=7; expected a whole number of at least 9"),
        ({"side": 31}, r"size=33; expected at most the side=31"),
        ({"side": 4}, r"side=4; expected a whole number"),
        ({"channels": 2}, r"channels=2; expected 1 or 3"),
        ({"field": -0.1}, r"field=-0.1; expected"),
        (dict.fromkeys(KINDS, 0.0), r"shares of uniform, .* are all 0"),
        ({"linear": 1.5}, r"linear=1.5; expected .*at most 1"),
        ({"rounded": float("nan")}, r"rounded=nan; expected"),
        ({"shrunk": -1}, r"shrunk=-1; expected"),
        ({"soft": 2}, r"soft=2; expected"),
        ({"compressed": -0.5}, r"compressed=-0.5; expected"),
        ({"gamma": 0.0}, r"gamma=0.0; expected .*above 0"),
        ({"sigma": (0.0, 0.1)}, r"sigma=\(0.0, 0.1\); expected \(low, high\)"),
        ({"sigma": (0.2, 0.1)}, r"sigma=\(0.2, 0.1\); expected \(low, high\)"),
        ({"reach": (3.0,)}, r"reach=\(3.0,\); expected \(low, high\)"),
        ({"reach": (3.0, 28.0)}, r"reach=\(3.0, 28.0\); expected at most 27 for size=33"),
    ],
)
def test_a_bad_recipe_names_what_is_wrong(wrong, message):
    with pytest.raises(ValueError, match=message):
        NonUniformRecipe(**wrong)


def test_whole_numbers_are_asked_for():
    with pytest.raises(TypeError, match=r"side=48.5; expected a whole number"):
        NonUniformRecipe(side=48.5)


def test_pictures_and_kinds_that_will_not_do():
    with pytest.raises(ValueError, match="pictures: there are none"):
        NonUniform([], FULL)
    with pytest.raises(ValueError, match=r"side of 60 pixels; expected at least the crops' 64"):
        NonUniform([torch.zeros(3, 60, 90, dtype=torch.uint8)], FULL)
    with pytest.raises(ValueError, match=r"kind='wavy'; expected one of uniform"):
        nonuniform().sample(0, "wavy")


def test_a_recipe_comes_from_the_command_line():
    tyro = pytest.importorskip("tyro")
    arguments = ["--reach", "4", "9", "--field", "1", "--channels", "1"]
    recipe = tyro.cli(NonUniformRecipe, args=arguments)
    assert (recipe.reach, recipe.field, recipe.channels) == ((4.0, 9.0), 1.0, 1)


# -- lens and file ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_soft_lens_is_in_the_sharp_picture_too(kind):
    clear = nonuniform(PLAIN).sample(1, kind)
    soft = nonuniform(replace(PLAIN, soft=1.0)).sample(1, kind)
    assert detail(soft[1]) < 0.9 * detail(clear[1])
    assert detail(soft[0]) < detail(clear[0])


def detail(x):
    return float((x[..., 1:] - x[..., :-1]).abs().mean())


def test_what_is_sharp_and_soft_is_not_blurred():
    blurred, sharp, _ = nonuniform(replace(PLAIN, soft=1.0)).sample(1, "sharp")
    torch.testing.assert_close(blurred, sharp, atol=1e-4, rtol=0)


def test_softness_is_a_gaussian():
    x = noise((3, 30, 41)).double()
    expected = gaussian_filter(x.numpy(), (0, 1.2, 1.2), mode="mirror", radius=(0, 4, 4))
    np.testing.assert_allclose(softened(x, 1.2).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_changes_what_is_observed_alone(channels):
    recipe = replace(PLAIN, channels=channels, rounded=1.0)
    plain = nonuniform(recipe).sample(2, "uniform")
    stored = nonuniform(replace(recipe, compressed=1.0)).sample(2, "uniform")
    assert torch.equal(stored[1], plain[1])
    assert 0.001 < spread(stored[0] - plain[0]) < 0.05
    levels = stored[0] * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
