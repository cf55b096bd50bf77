"""The weights that come with the package do what their cards say, on scikit-image's pictures."""

import json

import numpy as np
import pytest
from scipy.signal import fftconvolve
from skimage import data

import deconv
from deconv import methods

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from unrolled import HQSNet, weights  # noqa: E402

NETWORKS = ("hqs-color", "hqs-gray")


@pytest.fixture(scope="module")
def net():
    return HQSNet.from_pretrained("hqs-gray")


def observation(noise, colour=False, size=17, rng=1):
    """A part of the astronaut, shaken; with its psf and the truth on the frame."""
    picture = data.astronaut()[40:200, 140:300].astype(np.float32) / 255
    if not colour:
        picture = picture @ np.array([0.299, 0.587, 0.114], np.float32)
    psf = deconv.psf.trajectory(size, rng=rng).astype(np.float32)
    wide = psf[..., None] if colour else psf
    blurred = fftconvolve(picture, wide, mode="valid", axes=(0, 1))
    image = blurred + np.random.default_rng(0).normal(0, noise, blurred.shape)
    half = size // 2
    return image.astype(np.float32), psf, picture[half:-half, half:-half]


def psnr(truth, x):
    return deconv.metrics.psnr(truth, x, data_range=1)


def test_every_shipped_file_has_a_card_and_is_small():
    assert set(NETWORKS) <= set(weights.names())
    for name in weights.names():
        path = weights.SHIPPED / f"{name}.safetensors"
        if "alias" in weights.describe(name):
            assert weights.describe(name)["alias"] in weights.names()
        else:
            assert path.stat().st_size < 5e6
            assert (weights.SHIPPED / f"{name}.md").read_text().startswith(f"# {name}")
        json.dumps(weights.describe(name))


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.05])
def test_better_than_total_variation(net, noise):
    image, psf, truth = observation(noise)
    ours = psnr(truth, net.restore(image, psf))
    assert ours > psnr(truth, deconv.tv(image, psf)) + 0.5


def test_better_in_colour(net):
    image, psf, truth = observation(0.02, colour=True)
    ours = psnr(truth, net.restore(image, psf, channel_axis=-1))
    separate = psnr(truth, net.restore(image, psf, channel_axis=-1, colours="separate"))
    assert ours > separate + 0.2
    assert ours > psnr(truth, deconv.tv(image, psf, channel_axis=-1)) + 0.5


def test_the_noise_may_be_misjudged_or_unknown(net):
    image, psf, truth = observation(0.03)
    known = psnr(truth, net.restore(image, psf, sigma=0.03))
    assert psnr(truth, net.restore(image, psf)) > known - 0.3
    assert psnr(truth, net.restore(image, psf, sigma=0.045)) > known - 0.8
    assert psnr(truth, net.restore(image, psf, sigma=0.02)) > known - 0.8


def test_the_border_is_restored_as_the_interior_is(net):
    image, psf, truth = observation(0.01)
    x = net.restore(image, psf)
    assert psnr(truth, x) > psnr(truth[17:-17, 17:-17], x[17:-17, 17:-17]) - 1.5


def test_clipped_lights_are_told(net):
    image, psf, truth = observation(0.01)
    image, truth = np.minimum(1.8 * image, 1), np.minimum(1.8 * truth, 1)
    told = np.minimum(net.restore(image, psf, saturation="auto"), 1)
    assert psnr(truth, told) > psnr(truth, np.minimum(net.restore(image, psf), 1)) + 1
    assert psnr(truth, told) > psnr(truth, np.minimum(deconv.tv(image, psf, saturation="auto"), 1))


def test_large_psfs(net):
    image, psf, truth = observation(0.01, size=45)
    assert psnr(truth, net.restore(image, psf)) > psnr(truth, deconv.tv(image, psf))


def test_every_second_pixel(net):
    image, psf, truth = observation(0.0, size=9)
    small = image[::2, ::2] + np.random.default_rng(1).normal(0, 0.01, image[::2, ::2].shape)
    x = net.restore(small.astype(np.float32), psf, stride=2)
    enlarged = np.repeat(np.repeat(small, 2, 0), 2, 1)
    assert x.shape == truth.shape
    assert psnr(truth, x) > psnr(truth, enlarged) + 3


def test_tiles_leave_no_seams(net):
    image, psf, _ = observation(0.02)
    whole = net.restore(image, psf, tile=None)
    assert np.abs(net.restore(image, psf, tile=48) - whole).max() < 1e-3


def test_bfloat16_costs_nothing_that_shows(net):
    image, psf, truth = observation(0.02)
    full = psnr(truth, net.restore(image, psf))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert psnr(truth, net.restore(image, psf)) > full - 0.05


def test_the_registry_restores_with_it():
    image, psf, truth = observation(0.02)
    restored = methods.get("hqs").restore(image, psf, sigma=0.02)
    assert psnr(truth, restored) > psnr(truth, image) + 4
    same = methods.get("hqs").restore(image, psf, sigma=0.02, network="hqs-color")
    np.testing.assert_array_equal(restored, same)


# -- without a psf ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moving():
    """(blurred, sharp) of scikit-image's pictures by kind of blur, (Y, X, 3) on [0, 1]."""
    from unrolled.nonuniform import NonUniform, NonUniformRecipe

    pictures = [
        torch.from_numpy(picture[top : top + 240, left : left + 240].transpose(2, 0, 1).copy())
        for picture, top, left in (
            (data.astronaut(), 0, 120),
            (data.chelsea(), 30, 110),
            (data.coffee(), 60, 240),
        )
    ]
    recipe = NonUniformRecipe(side=160, reach=(6.0, 16.0), sigma=(0.003, 0.006), shrunk=0.0)
    samples = NonUniform(pictures, recipe, seed=3)

    def cases(kind):
        found = (samples.sample(index, kind)[:2] for index in range(8))
        return [[x.permute(1, 2, 0).numpy() for x in pair] for pair in found]

    return cases


def gains(cases):
    return [
        psnr(sharp, methods.get("end_to_end").restore(blurred, channel_axis=-1))
        - psnr(sharp, blurred)
        for blurred, sharp in cases
    ]


@pytest.mark.parametrize("kind", ["field", "layers", "rotation"])
def test_motion_that_no_psf_describes_becomes_less(moving, kind):
    found = gains(moving(kind))
    assert np.mean(found) > 0.4 and min(found) > -0.3


@pytest.mark.xfail(strict=True, reason="the network sharpens what is soft in sharp pictures")
def test_sharp_pictures_are_left_sharp(moving):
    assert np.mean(gains(moving("sharp"))) > -0.3


def test_sharp_pictures_are_changed_less_than_shows(moving):
    for image, sharp in moving("sharp"):
        restored = methods.get("end_to_end").restore(image, channel_axis=-1)
        assert psnr(sharp, restored) > 37
