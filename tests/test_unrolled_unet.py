"""The prior network: any size, any unit, and a denoiser for whoever needs one."""

import numpy as np
import pytest
from helpers import get, psnr, put, scene_and_blurred

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

import deconv  # noqa: E402
from unrolled.unet import ResUNet  # noqa: E402

# The least is one pixel; then lines, odd sizes, and a multiple of the coarsest scale's stride.
SIZES = [(1, 1), (1, 17), (5, 1), (2, 3), (13, 10), (16, 8)]


def shaken(module):
    """With no parameter at 0."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def unet(channels=1, widths=(4, 8, 8), **options):
    torch.manual_seed(0)
    return shaken(ResUNet(channels, widths, **{"blocks": 1} | options)).double()


def noisy(*shape):
    return torch.tensor(np.random.default_rng(0).random(shape))


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_any_size(size, channels):
    net = unet(channels)
    x = noisy(2, channels, *size)
    found = net(x, 0.1)
    assert found.shape == x.shape
    # As if the picture went on with the values of its edge.
    rows, columns = (-n % net.stride for n in size)
    padded = F.pad(x, (0, columns, 0, rows), mode="replicate")
    torch.testing.assert_close(found, net(padded, 0.1)[..., : size[0], : size[1]])


@pytest.mark.parametrize(("widths", "stride"), [((4,), 1), ((4, 8), 2), ((2, 4, 4, 4), 8)])
def test_stride(widths, stride):
    net = unet(1, widths)
    assert net.stride == stride
    # What lies a stride away is the same for a picture shifted by it, and by no less.
    x = noisy(1, 1, 64, 64)
    with torch.no_grad():
        found = net(x, 0.1)
        for shift in {1, stride // 2, stride} - {0}:
            moved = net(x.roll((shift, shift), (-2, -1)), 0.1)
            inside = (..., slice(28 + shift, 36), slice(28 + shift, 36))
            same = torch.allclose(moved[inside], found.roll((shift, shift), (-2, -1))[inside])
            assert same == (shift == stride)


@torch.no_grad()
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("scale", [1e-3, 255.0])
def test_homogeneous_in_picture_and_noise(scale, residual):
    # With attention as well: its queries and keys are normalised.
    net = unet(attention=True, residual=residual)
    x, sigma = noisy(2, 1, 13, 10), torch.tensor([0.1, 0.3], dtype=torch.float64)
    found = net(scale * x, scale * sigma)
    torch.testing.assert_close(found, scale * net(x, sigma), rtol=1e-9, atol=1e-12 * scale)


@torch.no_grad()
def test_a_residual_network_begins_as_the_identity():
    x = torch.rand(2, 3, 9, 7)
    assert torch.equal(ResUNet(3, (4, 8), attention=True)(x, 0.1), x)
    assert not torch.allclose(ResUNet(3, (4, 8), residual=False)(x, 0.1), x)
    assert not torch.allclose(unet(3)(x.double(), 0.1), x.double())


@torch.no_grad()
def test_attention_begins_as_the_identity():
    plain, x = unet(), noisy(2, 1, 12, 9)
    attentive = ResUNet(1, (4, 8, 8), blocks=1, attention=True).double()
    extra = attentive.load_state_dict(plain.state_dict(), strict=False)
    assert extra.missing_keys and not extra.unexpected_keys
    assert all("body.1" in key for key in extra.missing_keys)
    assert torch.equal(attentive(x, 0.1), plain(x, 0.1))
    attentive.body[1].gain.fill_(1)
    assert not torch.allclose(attentive(x, 0.1), plain(x, 0.1))
    with pytest.raises(ValueError, match="width=6; expected a multiple of the 4 heads"):
        ResUNet(1, (4, 6), attention=True)


@torch.no_grad()
def test_noise_as_a_number_for_each_and_as_a_map():
    net, x = unet(), noisy(3, 1, 10, 9)
    number = net(x, 0.2)
    levels = torch.tensor([0.2, 0.1, 0.0], dtype=torch.float64)
    for one in (levels[0], levels[:1], levels[:1, None, None, None].expand(1, 1, 10, 9)):
        torch.testing.assert_close(net(x, one), number)
    each = net(x, levels)
    for i, level in enumerate(levels):
        torch.testing.assert_close(each[i : i + 1], net(x[i : i + 1], float(level)))
    for many in (levels[:, None], levels[:, None, None, None].expand(3, 1, 10, 9)):
        torch.testing.assert_close(net(x, many), each)
    # Far from where a map changes, it is like a number.
    net = unet(1, (4, 8))
    halves = torch.full((3, 1, 10, 60), 0.2, dtype=torch.float64)
    halves[..., 30:] = 0
    wide = x.repeat(1, 1, 1, 7)[..., :60]
    found = net(wide, halves)
    assert torch.allclose(found[..., :8], net(wide, 0.2)[..., :8])
    assert torch.allclose(found[..., -8:], net(wide, 0.0)[..., -8:])
    assert not torch.allclose(found[..., -8:], net(wide, 0.2)[..., -8:])


@torch.no_grad()
def test_tiles_are_the_whole_where_the_network_sees_no_further():
    net, x = unet(3, (2, 4)), noisy(1, 3, 150, 85)
    sigma = torch.linspace(0.01, 0.2, 85).expand(1, 1, 150, 85)
    for tile in (17, 64, 200):
        torch.testing.assert_close(net.tiled(x, sigma, tile), net(x, sigma))
    torch.testing.assert_close(net.tiled(x.mT, 0.1, 33), net(x.mT, 0.1))


# --- other results than the picture ---------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize(("channels", "outputs"), [(1, 3), (5, 2), (2, 1), (3, 3)])
@pytest.mark.parametrize("size", SIZES)
def test_any_number_of_outputs(size, channels, outputs):
    x = noisy(2, channels, *size)
    blank = ResUNet(channels, (4, 8, 8), blocks=1, residual=False, outputs=outputs).double()
    assert blank.outputs == outputs and blank.channels == channels
    found = blank(x, 0.1)
    assert found.shape == (2, outputs, *size) and not found.any()
    net = unet(channels, residual=False, outputs=outputs)
    found = net(x, 0.1)
    assert found.shape == (2, outputs, *size) and found.any()
    # Each by a layer of its own, over features that are the same.
    one = unet(channels, residual=False, outputs=1)
    state = net.state_dict()
    state["tail.weight"] = state["tail.weight"][-1:]
    one.load_state_dict(state)
    torch.testing.assert_close(found[:, -1:], one(x, 0.1))


@torch.no_grad()
@pytest.mark.parametrize("outputs", [2, 7])
def test_tiles_of_other_outputs(outputs):
    net, x = unet(3, (2, 4), residual=False, outputs=outputs), noisy(2, 3, 150, 85)
    sigma = torch.linspace(0.01, 0.2, 85).expand(1, 1, 150, 85)
    whole = net(x, sigma)
    for tile in (33, 200):
        found = net.tiled(x, sigma, tile)
        assert found.shape == (2, outputs, 150, 85)
        torch.testing.assert_close(found, whole)


def test_what_is_added_has_the_channels_of_the_picture():
    for outputs in (2, 4):
        message = f"outputs={outputs} with residual=True; expected None"
        with pytest.raises(ValueError, match=message):
            ResUNet(3, (4, 8), outputs=outputs)
    assert ResUNet(3, (4, 8), outputs=3).outputs == 3
    assert ResUNet(3, (4, 8)).outputs == 3
    # Without the argument, a network that predicts the picture starts as it did.
    torch.manual_seed(0)
    assert ResUNet(3, (4, 8), residual=False).tail.weight.any()


# --- as a denoiser --------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("shape", [(13, 10), (3, 13, 10), (2, 3, 13, 10)])
@pytest.mark.parametrize("channels", [1, 3])
def test_denoise_takes_any_picture(channels, shape, library):
    net = unet(channels).float()
    v = np.random.default_rng(0).random(shape)
    if channels == 3 and len(shape) == 2:
        with pytest.raises(ValueError, match=r"v has shape \(13, 10\); expected \(..., 3, H, W\)"):
            net.denoise(v, 0.1)
        return
    clean = net.denoise(put(v, library), 0.1)
    assert type(clean) is type(put(v, library)) and str(clean.dtype).endswith("float64")
    # Four standard deviations of the range are noise, but no more than half of it.
    low, span = v.min() + 0.2, np.ptp(v) - 0.4
    x = torch.tensor((v - low) / span, dtype=torch.float32).reshape(-1, channels, 13, 10)
    with torch.no_grad():
        expected = net(x, 0.1 / span).numpy().reshape(shape) * span + low
    assert np.abs(get(clean) - v).max() > 0.05
    np.testing.assert_allclose(get(clean), expected, atol=1e-6)
    # In any unit, with any pedestal.
    moved = get(net.denoise(put(255 * v + 1000, library), 25.5))
    np.testing.assert_allclose(moved, 255 * get(clean) + 1000, atol=1e-3)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_denoise_keeps_types(library):
    net = unet().float()
    v = np.random.default_rng(0).random((9, 8))
    for dtype in ("float16", "float32", "float64"):
        assert str(net.denoise(put(v.astype(dtype), library), 0.1).dtype).endswith(dtype)
    grey = put((255 * v).astype("uint8"), library)
    assert str(net.denoise(grey, 10).dtype).endswith("float32")
    flat = net.denoise(put(np.full((9, 8), 7.0), library), 3.0)
    np.testing.assert_array_equal(get(flat), 7.0)


def test_denoise_carries_no_gradient_and_refuses_nonsense():
    net = unet()
    v = noisy(9, 8).requires_grad_()
    clean = net.denoise(v, 0.1)
    assert not clean.requires_grad and not clean.is_inference()
    for sigma, error in ((-1, ValueError), (np.nan, ValueError), ("much", TypeError)):
        with pytest.raises(error, match="sigma"):
            net.denoise(v, sigma)
    with pytest.raises(ValueError, match="v has shape"):
        net.denoise(v[0], 0.1)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_plug_and_play_with_the_network(library):
    kernel = deconv.psf.gaussian(1.5)
    sharp, blurred = scene_and_blurred(kernel, size=48, sigma=0.01)

    class Smooth(ResUNet):
        def forward(self, x, sigma):
            around = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
            return x + (around - x).clamp(-sigma, sigma)

    net = Smooth(1, (1,), blocks=0)
    image = put(255 * blurred, library)
    restored = deconv.plug_and_play(image, kernel, net.denoise, n_iter=4)
    assert type(restored) is type(image) and restored.dtype == image.dtype
    assert psnr(sharp, get(restored) / 255) > psnr(sharp, blurred) + 1
    colour = put(np.stack([blurred, blurred**2, 1 - blurred], -1), library)
    for channels in (1, 3):
        restored = deconv.plug_and_play(
            colour, kernel, unet(channels).float().denoise, channel_axis=-1, n_iter=1
        )
        assert restored.shape == colour.shape
