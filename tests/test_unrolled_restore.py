"""From a user's picture through a network and back, whatever its unit, type, layout and holes."""

import numpy as np
import pytest
from helpers import colour_picture, get, psnr, put, scene_and_blurred

from deconv import psf
from deconv.saturation import clip_level

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from deconv.operators import Blur, StridedBlur  # noqa: E402
from unrolled.hqs import HQSNet  # noqa: E402
from unrolled.unet import ResUNet  # noqa: E402

KERNEL = psf.gaussian(1.2)
SHARP, BLURRED = scene_and_blurred(KERNEL, size=40, sigma=0.01)
COLOUR = np.stack([BLURRED, 1 - BLURRED, BLURRED**2], axis=-1)


class Smooth(ResUNet):
    """A prior that moves each pixel towards its neighbours, by what the noise may have done."""

    def __init__(self, channels=1):
        super().__init__(channels, (1,), blocks=0)

    def forward(self, x, sigma):
        around = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        limit = self._map(x, sigma)
        return x + torch.maximum(torch.minimum(around - x, limit), -limit)


class Same(Smooth):
    """A prior for which every picture is as good."""

    def forward(self, x, sigma):
        return x


def network(prior=Smooth, channels=1, **changes):
    torch.manual_seed(0)
    options = {"widths": (4, 8), "blocks": 1, "hidden": 4, "iterations": 3} | changes
    net = HQSNet.preset("tiny", channels=channels, **options)
    with torch.no_grad():
        for parameter in net.prior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        net.unseen.fill_(0.05)
    net.prior = net.prior if prior is None else prior(channels)
    return net


NET = network()


def close(found, expected, tolerance=1e-5):
    """To `tolerance` of the range."""
    scale = np.ptp(get(expected))
    np.testing.assert_allclose(get(found), get(expected), rtol=0, atol=tolerance * scale)


# --- units, types and layouts ---------------------------------------------------------------------


@pytest.mark.parametrize("image", [BLURRED, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("boundary", ["unknown", "periodic", "zero"])
def test_in_any_unit(boundary, image):
    options = {"boundary": boundary, "channel_axis": -1 if image.ndim == 3 else None}
    restored = NET.restore(image, KERNEL, **options)
    assert np.abs(restored - image).max() > 0.05
    for scale, offset in ((1e-4, 0.0), (255.0, -1000.0)):
        offset = 0.0 if boundary == "zero" else offset  # black is no pedestal there
        found = NET.restore(scale * image + offset, KERNEL, **options)
        close(found, scale * restored + offset, 1e-4)
        found = NET.restore(scale * image + offset, KERNEL, sigma=scale * 0.02, **options)
        close(found, scale * NET.restore(image, KERNEL, sigma=0.02, **options) + offset, 1e-4)


def test_it_restores():
    restored = NET.restore(BLURRED, KERNEL)
    assert psnr(SHARP, restored) > psnr(SHARP, BLURRED) + 1.5


@pytest.mark.parametrize("colours", ["opponent", "separate"])
def test_black_beyond_the_frame_in_colour(colours):
    sharp = np.moveaxis(colour_picture(48), -1, 0)
    A = Blur(KERNEL, (48, 48), boundary="zero")
    image = A(A.frame.pad(sharp)) + 0.002 * np.random.default_rng(0).normal(size=sharp.shape)
    options = {"boundary": "zero", "channel_axis": 0, "sigma": 0.002}
    restored = NET.restore(image, KERNEL, colours=colours, **options)
    edge = np.ones((48, 48), bool)
    edge[4:-4, 4:-4] = False
    # Nearly as good beside the black as elsewhere: no colour is another one's black.
    error = np.abs(restored - sharp).mean(0)
    assert error[edge].mean() < 2 * error[~edge].mean()
    assert error[edge].mean() < 0.6 * np.abs(image - sharp).mean(0)[edge].mean()


class Light(Smooth):
    """A prior that knows nothing below black, as one that was trained on photographs."""

    def forward(self, x, sigma):
        return x.clamp(min=0)


@pytest.mark.parametrize("boundary", ["unknown", "periodic"])
def test_what_is_darker_than_all_that_was_observed(boundary):
    # Thin ink on bright paper: blurred, it is as dark nowhere.
    sharp = np.full((48, 48), 0.9)
    sharp[:, 8:44:9] = 0.45
    A = Blur(psf.gaussian(0.8), (48, 48), boundary="periodic")
    image = A(sharp) + 0.001 * np.random.default_rng(0).normal(size=sharp.shape)
    options = {"sigma": 0.001, "boundary": boundary}
    restored = network(Light, iterations=5).restore(image, A.psf, **options)
    assert image.min() > sharp.min() + 0.05
    assert restored[8:-8, 8:-8].min() < image.min() - 0.1 * np.ptp(image)


def test_below_black():
    options = {"boundary": "zero", "sigma": 0.01}
    close(NET.restore(-BLURRED, KERNEL, **options), -NET.restore(BLURRED, KERNEL, **options))


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("uint8", "float32"), ("float16", "float16"), ("float32", "float32"), ("float64", "float64")],
)
@pytest.mark.parametrize("stride", [1, 2])
def test_types(dtype, expected, library, stride):
    image = (200 * BLURRED).astype(dtype)
    restored = NET.restore(put(image, library), KERNEL, stride=stride)
    assert type(restored) is type(put(image, library))
    assert str(restored.dtype).endswith(expected)
    assert tuple(restored.shape) == (40 * stride, 40 * stride)
    close(restored, NET.restore(image.astype("float64"), KERNEL, stride=stride), 2e-3)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_layouts_and_channels(count, stride):
    planes = np.stack([BLURRED, 1 - BLURRED, BLURRED**2, 2 * BLURRED])[:count]
    alone = [NET.restore(plane, KERNEL, stride=stride) for plane in planes]
    separate = NET.restore(planes, KERNEL, stride=stride, channel_axis=0, colours="separate")
    close(separate, np.stack(alone))
    default = NET.restore(planes, KERNEL, stride=stride, channel_axis=0)
    for axis in (0, 1, -1):
        image, kernel = np.moveaxis(planes, 0, axis), np.stack([KERNEL] * count, axis)
        found = NET.restore(
            image, KERNEL if axis == 0 else kernel, stride=stride, channel_axis=axis
        )
        close(np.moveaxis(found, axis, 0), default)
    assert (count == 3) != np.allclose(default, separate, atol=1e-4)


def test_colours_as_mean_and_differences():
    # The mean of three colours has a third of the noise's variance.
    seen = []
    net = network(Same)
    net.prior.register_forward_hook(lambda _, inputs, output: seen.append(inputs[1].min()))
    net.restore(COLOUR, KERNEL, sigma=0.03, channel_axis=-1, saturation=None)
    last = [float(noise) for noise in seen[2::3]]
    span = np.ptp(COLOUR) - 0.12
    expected = [0.03 / span * weight for weight in (3**-0.5, 2**-0.5, 0.375**0.5)]
    np.testing.assert_allclose(last, expected, rtol=1e-4)
    # A grey picture is one in colour too; its differences are nothing.
    grey = NET.restore(np.stack([BLURRED] * 3), KERNEL, sigma=0.02, channel_axis=0)
    close(grey, np.stack([grey[0]] * 3))
    close(grey[0], NET.restore(BLURRED, KERNEL, sigma=0.02 / 3**0.5), 0.02)


@pytest.mark.parametrize("stride", [1, 2])
def test_one_psf_for_each_channel(stride):
    kernels = np.stack([psf.gaussian(s, size=7) for s in (0.6, 1.0, 1.4)], axis=-1)
    options = {"stride": stride, "sigma": 0.01}
    found = NET.restore(COLOUR, kernels, channel_axis=-1, **options)
    for i in range(3):
        close(found[..., i], NET.restore(COLOUR[..., i], kernels[..., i], **options))
    together = network(Same, channels=3)
    found = together.restore(COLOUR, kernels, channel_axis=-1, **options)
    same = together.restore(COLOUR, kernels[..., :1], channel_axis=-1, **options)
    close(same, together.restore(COLOUR, kernels[..., 0], channel_axis=-1, **options))
    close(found[..., 0], same[..., 0])
    assert np.abs(found[..., 2] - same[..., 2]).max() > 0.01


def test_a_psf_may_be_an_operator():
    for boundary in ("unknown", "periodic", "zero"):
        A = Blur(KERNEL, BLURRED.shape, boundary=boundary)
        close(NET.restore(BLURRED, A), NET.restore(BLURRED, KERNEL, boundary=boundary))
    A = StridedBlur(KERNEL, BLURRED.shape, 2)
    for operator, stride in ((A, 1), (A, 2), (Blur(KERNEL, (96, 96)), 2)):
        with pytest.raises(TypeError, match=r"psf is a .*Blur, and stride"):
            NET.restore(BLURRED, operator, stride=stride)


# --- what was not observed ------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2])
def test_nan_is_weight_zero(stride):
    image, weights = BLURRED.copy(), np.ones((40, 40))
    weights[20:24, 30:35] = 0
    image[weights == 0] = np.nan
    found = NET.restore(image, KERNEL, stride=stride)
    assert np.isfinite(found).all()
    # The value of an unobserved pixel does not count, for the noise or the range either.
    given = np.where(weights == 0, -3.0, BLURRED)
    close(NET.restore(given, KERNEL, weights=weights, stride=stride), found)
    assert psnr(SHARP, NET.restore(image, KERNEL)) > psnr(SHARP, BLURRED) + 1
    colour, options = np.stack([image] * 3, -1), {"channel_axis": -1, "stride": stride}
    found = NET.restore(np.nan_to_num(colour), KERNEL, weights=weights, **options)
    close(found, NET.restore(colour, KERNEL, **options))


def test_channels_seen_at_different_pixels():
    mosaic = np.full_like(COLOUR, np.nan)
    for i in range(3):
        mosaic[i::3, :, i] = COLOUR[i::3, :, i]
    found = NET.restore(mosaic, KERNEL, sigma=0.01, channel_axis=-1)
    expected = NET.restore(mosaic, KERNEL, sigma=0.01, channel_axis=-1, colours="separate")
    close(found, expected)
    dead = np.where([False, True, False], np.nan, COLOUR)
    for stride in (1, 2):
        found = NET.restore(dead, KERNEL, stride=stride, channel_axis=-1)
        assert not found[..., 1].any()
        close(found[..., 0], NET.restore(BLURRED, KERNEL, stride=stride))
    assert not NET.restore(BLURRED, KERNEL, weights=0 * BLURRED, sigma=0.1).any()


def test_saturation():
    bright = 2.2 * SHARP
    A = Blur(KERNEL, SHARP.shape, boundary="periodic")
    image = np.minimum(A(bright) + 0.002 * np.random.default_rng(0).normal(size=A.shape), 1)
    options = {"boundary": "periodic", "sigma": 0.002}
    plain = NET.restore(image, KERNEL, **options)
    found = NET.restore(image, KERNEL, saturation=1.0, **options)
    auto = NET.restore(image, KERNEL, saturation="auto", **options)
    close(auto, NET.restore(image, KERNEL, saturation=clip_level(image, "auto"), **options))
    beside = (A(bright) > 0.8) & (image < 1)
    assert np.abs(found - bright)[beside].mean() < 0.7 * np.abs(plain - bright)[beside].mean()
    assert found.max() > 1.2
    colour = np.stack([image, 0.9 * image, np.sqrt(image)], -1)
    found = NET.restore(colour, KERNEL, saturation=1.0, channel_axis=-1, **options)
    assert np.isfinite(found).all() and found[..., 0].max() > 1.2
    with pytest.raises(ValueError, match=r"saturation=1\.0 with stride=2"):
        NET.restore(image, KERNEL, saturation=1.0, stride=2)
    with pytest.raises(ValueError, match="saturation=5"):
        NET.restore(image, KERNEL, saturation=5)


def test_nothing_to_restore():
    rough, kernel = network(None), np.full((3, 3), 1 / 9)
    for level in (7.0, 0.0, -3.0):
        for options in ({}, {"sigma": 2.0}, {"stride": 2}, {"boundary": "periodic"}):
            found = rough.restore(np.full((12, 11), level), kernel, **options)
            np.testing.assert_array_equal(found, level)
    point = np.ones((1, 1))
    close(network(Same).restore(BLURRED, point, sigma=0), BLURRED)
    close(NET.restore(BLURRED, point, sigma=0), BLURRED, 0.01)
    assert NET.restore(BLURRED[:1, :1], point, sigma=0.1).shape == (1, 1)


# --- tiles, callbacks, mistakes -------------------------------------------------------------------


def test_tiles_leave_no_seams():
    net, image = network(None, iterations=2), np.tile(BLURRED, (4, 3))[:140, :110]
    for options in ({}, {"boundary": "periodic"}, {"stride": 2}):
        picture = image[: 140 // options.get("stride", 1)]
        whole = net.restore(picture, KERNEL, tile=None, **options)
        close(net.restore(picture, KERNEL, tile=40, **options), whole, 1e-4)


def test_inputs_are_left_alone():
    weights = np.ones((40, 40))
    weights[3, 4] = 0
    given = [put(v, "numpy") for v in (COLOUR, KERNEL, weights)]  # read-only
    for colours in ("opponent", "separate"):
        NET.restore(*given[:2], weights=given[2], channel_axis=-1, colours=colours, saturation=0.9)
    tensors = [put(v, "torch").requires_grad_() for v in (COLOUR, KERNEL, weights)]
    restored = NET.restore(
        *tensors[:2], weights=tensors[2], channel_axis=-1, callback=lambda state: state.image
    )
    assert not restored.requires_grad and not restored.is_inference()
    for tensor, v in zip(tensors, given, strict=True):
        np.testing.assert_array_equal(get(tensor), v)


@pytest.mark.parametrize(
    ("net", "axis", "colours", "rows"),
    [
        (NET, None, "opponent", 1),
        (NET, -1, "opponent", 3),
        (NET, -1, "separate", 3),
        (network(channels=3), -1, "opponent", 1),
    ],
)
@pytest.mark.parametrize("stride", [1, 2])
def test_callback(net, axis, colours, rows, stride):
    image = torch.tensor(255 * (BLURRED if axis is None else COLOUR), dtype=torch.float32)
    options = {"stride": stride, "channel_axis": axis, "colours": colours}
    states = []
    restored = net.restore(
        image, KERNEL, callback=lambda state: states.append((state, state.image)), **options
    )
    assert [state.iteration for state, _ in states] == list(range(1, 3 * rows + 1))
    assert {state.n_iter for state, _ in states} == {3 * rows}
    for _, shown in states:
        assert shown.shape == restored.shape and shown.dtype == restored.dtype
        assert shown.mean() == pytest.approx(float(image.mean()), rel=0.05)
    close(states[-1][1], restored)
    done = f"all {3 * rows} iterations are done"
    assert [state.stopped for state, _ in states] == [None] * (3 * rows - 1) + [done]

    lazy = []
    net.restore(image, KERNEL, callback=lazy.append, **options)
    with pytest.raises(RuntimeError, match="after its callback returned"):
        _ = lazy[0].image
    for last in {1, 2 * rows, 3 * rows}:
        count = []

        def stop(state, count=count, last=last):
            count.append(state.iteration)
            if state.iteration == last:
                raise StopIteration

        close(net.restore(image, KERNEL, callback=stop, **options), states[last - 1][1])
        assert count == list(range(1, last + 1))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"image": np.ones((9, 9, 9)), "psf": np.ones((3, 3, 3)) / 27}, ValueError, "psf has 3 sp"),
        ({"image": np.ones(9), "psf": np.ones(3) / 3}, ValueError, "psf has 1 spatial"),
        ({"image": COLOUR}, ValueError, "pass channel_axis"),
        ({"image": np.nan * BLURRED}, ValueError, "image holds nothing but NaN"),
        ({"psf": np.ones((50, 50)) / 2500}, ValueError, "psf of shape .* is larger than the image"),
        ({"psf": None}, TypeError, "psf"),
        ({"psf": 2 * KERNEL, "stride": 2}, ValueError, "psf sums to 2"),
        ({"psf": np.ones((3, 2, 2)) / 4, "stride": 2}, ValueError, r"psf has shape \(3, 2, 2\)"),
        ({"weights": np.ones((3, 3))}, ValueError, "weights"),
        ({"sigma": -1}, ValueError, "sigma=-1"),
        ({"sigma": -1, "stride": 2}, ValueError, "sigma=-1"),
        ({"sigma": [1, 2]}, ValueError, r"sigma has shape \(2,\)"),
        ({"colours": "oponent"}, ValueError, "did you mean 'opponent'"),
        ({"boundary": "wrap"}, ValueError, "boundary='wrap'"),
        ({"boundary": "zero", "stride": 2}, ValueError, "boundary='zero'"),
        ({"tile": 0}, ValueError, "tile=0"),
        ({"tile": 99.5}, TypeError, "tile=99.5"),
        ({"stride": 0}, ValueError, "stride=0"),
        ({"stride": 1.5}, TypeError, "stride=1.5"),
        ({"channel_axis": 2}, ValueError, "channel_axis=2 is out of range"),
    ],
)
def test_mistakes_are_named(change, error, message):
    with pytest.raises(error, match=message):
        NET.restore(**{"image": BLURRED, "psf": KERNEL} | change)


def test_the_wrong_number_of_channels():
    net = network(channels=3)
    with pytest.raises(ValueError, match=r"image has 1 channel.*restores 3 together: pass channel"):
        net.restore(BLURRED, KERNEL)
    with pytest.raises(ValueError, match=r"image has 2 channel.*take a network for one"):
        net.restore(COLOUR[..., :2], KERNEL, channel_axis=-1)
    with pytest.raises(TypeError, match="'psf'"):
        net.restore(BLURRED)
