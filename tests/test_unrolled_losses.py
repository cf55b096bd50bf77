"""Losses of end-to-end networks by hand, the features they compare, and pictures blurred again."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch.nn.functional as F  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from deconv.operators import Blur, SpatiallyVaryingBlur  # noqa: E402
from unrolled import losses, weights  # noqa: E402
from unrolled.features import (  # noqa: E402
    DEVIATION,
    MEAN,
    VGGFeatures,
    classifier_features,
    vgg19_features,
)
from unrolled.losses import PIXELS, multi_scale, perceptual, reblur, spectral_l1  # noqa: E402
from unrolled.models.blur_classifier import BlurClassifier  # noqa: E402
from unrolled.models.deepdeblur import DeepDeblur  # noqa: E402
from unrolled.pairs import Known  # noqa: E402

TWO = {**PIXELS, "spectral": spectral_l1}


def pictures(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# Two pictures.


def test_pixels_by_hand():
    sharp = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    x = sharp.clone()
    x[1, 0, 2, 3] = -0.8
    assert float(losses.l1(x, sharp)) == pytest.approx(0.8 / 32)
    assert float(losses.mse(x, sharp)) == pytest.approx(0.64 / 32)
    rounded = (31 * 1e-3 + math.hypot(0.8, 1e-3)) / 32
    assert float(losses.charbonnier(x, sharp)) == pytest.approx(rounded)
    assert float(losses.charbonnier(x, sharp, eps=0.6)) == pytest.approx((31 * 0.6 + 1) / 32)


def test_psnr_of_each_picture():
    sharp = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    x = sharp.clone()
    x[0], x[1] = 0.1, -0.01
    level = 0.025 * (math.log((0.01 + 4e-4) / 0.0025) + math.log((1e-4 + 4e-4) / 0.0025)) / 2
    assert float(losses.log_mse(x, sharp)) == pytest.approx(level)
    assert float(losses.psnr_loss(x, sharp)) == pytest.approx(-(20 + 40) / 2, abs=1e-3)
    same = sharp.clone().requires_grad_()
    losses.psnr_loss(same, sharp).backward()
    assert not same.grad.any()


@pytest.mark.parametrize("shape", [(2, 3, 6, 8), (1, 1, 5, 7), (2, 1, 4, 1)])
def test_the_half_spectrum_counts_as_the_full_one(shape):
    x, sharp = pictures(*shape, seed=1), pictures(*shape, seed=2)
    full = torch.view_as_real(torch.fft.fft2(x)) - torch.view_as_real(torch.fft.fft2(sharp))
    torch.testing.assert_close(spectral_l1(x, sharp), 0.1 * full.abs().mean())
    torch.testing.assert_close(spectral_l1(x, sharp, weight=2), 2 * full.abs().mean())


@pytest.mark.parametrize("name", TWO)
def test_precision_is_float32_or_better(name):
    x, sharp = pictures(1, 3, 8, 8, seed=1), pictures(1, 3, 8, 8, seed=2)
    assert TWO[name](x, sharp).dtype == torch.float64
    expected = TWO[name](x.bfloat16().float(), sharp.float())
    with torch.autocast("cpu", torch.bfloat16):
        for other in (sharp.float(), sharp.float().bfloat16()):
            found = TWO[name](x.bfloat16(), other)
            assert found.dtype == torch.float32
        torch.testing.assert_close(TWO[name](x.bfloat16(), sharp.float()), expected)


@pytest.mark.parametrize("name", TWO)
def test_shapes_must_agree(name):
    with pytest.raises(ValueError, match=r"restored has shape \(1, 3, 4, 4\) and sharp \(3, 4, 4"):
        TWO[name](torch.zeros(1, 3, 4, 4), torch.zeros(3, 4, 4))


def test_the_mean_over_scales():
    net = DeepDeblur.preset("small", width=4, blocks=1)
    blurred, sharp = (pictures(2, 3, 13, 10, seed=s, dtype=torch.float32) for s in (1, 2))
    outputs, targets = net.scales(blurred), net.targets(sharp)
    expected = sum(F.l1_loss(one, other) for one, other in zip(outputs, targets, strict=True)) / 3
    found = multi_scale(losses.l1, outputs, targets)
    torch.testing.assert_close(found, expected)
    found.backward()
    for few in (targets[1:], []):
        with pytest.raises(ValueError, match=f"outputs has 3 scales and targets {len(few)}"):
            multi_scale(losses.l1, outputs, few)
    with pytest.raises(ValueError, match="expected as many, one or more"):
        multi_scale(losses.l1, [], [])
    with pytest.raises(ValueError, match="expected the same"):
        multi_scale(losses.l1, outputs, targets[::-1])


# Features.


def classifier():
    torch.manual_seed(0)
    return BlurClassifier()


@pytest.fixture
def saved(tmp_path):
    net = classifier()
    return net.eval(), weights.save(net, tmp_path / "classifier")


def test_features_of_the_classifier_are_what_it_decides_by(saved):
    net, path = saved
    features = classifier_features(path)
    grey = pictures(2, 1, 40, 33, dtype=torch.float32)
    found = features(grey)
    assert found.shape == (2, 32, 5, 4)
    torch.testing.assert_close(net.layers[-1](found), net.map(grey))
    colour = pictures(2, 3, 40, 33, dtype=torch.float32)
    luma = (colour * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(features(colour), features(luma))


def test_the_shipped_classifier_has_features():
    if "blur-classifier" not in weights.names():
        pytest.skip("no weights of the classifier come with this")
    x = pictures(1, 3, 64, 64, dtype=torch.float32)
    soft = F.avg_pool2d(x, 3, stride=1, padding=1)
    features = classifier_features()
    assert perceptual(features, x, x) == 0
    assert perceptual(features, soft, x) > 100 * perceptual(features, 0.5 * x + 0.2, x) > 0


def test_gradients_go_through_features_to_the_picture_alone(saved):
    features = classifier_features(saved[1])
    x = pictures(1, 3, 24, 24, seed=1, dtype=torch.float32).requires_grad_()
    sharp = pictures(1, 3, 24, 24, seed=2, dtype=torch.float32).requires_grad_()
    perceptual(features, x, sharp).backward()
    assert x.grad.abs().sum() > 0 and sharp.grad is None
    assert not features.training
    assert all(p.grad is None and not p.requires_grad for p in features.parameters())
    with pytest.raises(ValueError, match="restored has shape"):
        perceptual(features, x[..., 1:], sharp)


def test_features_refuse_what_is_no_picture(saved):
    for features, least in ((classifier_features(saved[1]), 16), (VGGFeatures(), 4)):
        with pytest.raises(ValueError, match=r"expected \(N, 3, H, W\)"):
            features(torch.zeros(1, 2, 32, 32))
        with pytest.raises(ValueError, match=f"H and W of at least {least}"):
            features(torch.zeros(1, 1, least - 1, 32))
        with pytest.raises(TypeError, match="x is of list"):
            features([0.5])


def vgg_file(path, **changes):
    """Random weights under torchvision's names, and some that nobody asks for."""
    rng = torch.Generator().manual_seed(0)
    tensors = {
        key: 0.05 * torch.randn(value.shape, generator=rng)
        for key, value in VGGFeatures().state_dict().items()
    }
    tensors |= {"features.16.weight": torch.zeros(1), "classifier.0.bias": torch.zeros(3)}
    tensors |= changes
    save_file({k: v for k, v in tensors.items() if v is not None}, path)
    return tensors


def test_vgg_is_that_of_torchvision_up_to_conv3_3(tmp_path):
    tensors = vgg_file(tmp_path / "vgg.safetensors")
    state = torch.get_rng_state()
    features = vgg19_features(tmp_path / "vgg.safetensors")
    assert torch.equal(state, torch.get_rng_state())
    picture = pictures(1, 3, 13, 10, dtype=torch.float32)
    x = (picture - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
    for k in (0, 2, 5, 7, 10, 12, 14):
        if k in (5, 10):
            x = F.max_pool2d(x, 2)
        x = F.conv2d(x, tensors[f"features.{k}.weight"], tensors[f"features.{k}.bias"], padding=1)
        x = x if k == 14 else x.relu()
    torch.testing.assert_close(features(picture), x)
    grey = picture[:, :1]
    torch.testing.assert_close(features(grey), features(grey.expand(-1, 3, -1, -1)))
    assert not any(p.requires_grad for p in features.parameters())


def test_what_is_no_vgg(tmp_path):
    path = tmp_path / "vgg.safetensors"
    with pytest.raises(FileNotFoundError, match=r"vgg\.safetensors' does not exist"):
        vgg19_features(path)
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(ValueError, match=r"no safetensors file.*never loaded"):
        vgg19_features(path)
    for changes, words in (
        ({"features.7.bias": None}, r"features\.7\.bias is missing"),
        ({"features.0.weight": torch.zeros(64, 1, 3, 3)}, r"is \(64, 1, 3, 3\), expected \(64, 3"),
        ({"features.2.bias": torch.full((64,), math.nan)}, "NaN"),
    ):
        vgg_file(path, **changes)
        with pytest.raises(ValueError, match=words):
            vgg19_features(path)


# Blurred again.


def kernel(shape, seed=0):
    """A psf without symmetry that reaches all its edges."""
    psf = np.random.default_rng(seed).random(shape) + 0.05
    return torch.as_tensor(psf / psf.sum())


def operators(frame=(17, 14)):
    """One of each kind, all with a batch axis of their own but the first."""
    psfs = torch.stack([kernel((4, 5), seed)[None] for seed in range(4)])
    grid = psfs.reshape(2, 2, 1, 4, 5)
    return {
        "bare": Blur(kernel((4, 7)), frame),
        "blur": Blur(kernel((4, 7))[None], frame),
        "colours": Blur(torch.stack([kernel((3, 3), s) for s in range(3)]), frame),
        "gather": SpatiallyVaryingBlur.from_grid(grid, frame, order="gather"),
        "scatter": SpatiallyVaryingBlur.from_grid(grid, frame, order="scatter"),
    }


def blurred_by(A, gamma, seed=1):
    """A frame of a scene that goes on beyond it, (1, 3, H, W), and how it is seen."""
    scene = 0.1 + 0.9 * pictures(3, *A.domain, seed=seed)
    return A.crop(scene)[None], (A(scene**gamma) ** (1 / gamma))[None]


@pytest.mark.parametrize("gamma", [1.0, 2.2])
@pytest.mark.parametrize("name", operators())
def test_the_truth_costs_nothing_whatever_lies_beyond_the_frame(name, gamma):
    known = (Known(operators()[name], gamma),)
    sharp, blurred = blurred_by(known[0].operator, gamma)
    assert reblur(sharp, blurred, known) < 1e-3
    assert reblur(blurred, blurred, known) > 0.02
    # The light of the middle is seen where nothing from beyond mixes in.
    wrong = sharp.clone()
    wrong[0, 1, 8, 7] += 0.3
    assert reblur(wrong, blurred, known) > 1e-4 + reblur(sharp, blurred, known)


def test_which_pixels_count():
    """A true convolution with centre `size // 2` sees so far before and after."""
    A = Blur(kernel((4, 7)), (17, 14))
    x = torch.zeros(1, 1, 17, 14, dtype=torch.float64)
    inside = torch.zeros(17, 14, dtype=torch.bool)
    inside[4 - 1 - 2 : 17 - 2, 7 - 1 - 3 : 14 - 3] = True
    for at in ((1, 2), (1, 3), (0, 5), (14, 10), (15, 10), (14, 11), (8, 7)):
        y = x.clone()
        y[0, 0, *at] = 1
        expected = float(inside[at]) / float(inside.sum())
        assert float(reblur(x, y, (Known(A),))) == pytest.approx(expected, abs=1e-12)


def test_a_sample_counts_the_same_in_any_batch():
    A, B = (Known(operators()[name]) for name in ("blur", "gather"))
    x, y = pictures(3, 3, 17, 14, seed=1), pictures(3, 3, 17, 14, seed=2)
    alone = [reblur(x[i : i + 1], y[i : i + 1], (known,)) for i, known in ((0, A), (2, B))]
    torch.testing.assert_close(reblur(x, y, (A, None, B)), sum(alone) / 3)
    x.requires_grad_()
    reblur(x, y, (A, None, B)).backward()
    assert not x.grad[1].any() and x.grad[0].any() and x.grad[2].any()


def test_nothing_known_is_zero_with_a_graph():
    x = pictures(2, 3, 8, 8).requires_grad_()
    loss = reblur(x, x.detach(), (None, None))
    loss.backward()
    assert loss == 0 and not x.grad.any()


@pytest.mark.parametrize("value", [0.0, -0.2, 1.0])
def test_gradients_behind_a_gamma_curve_stay_small(value):
    x = torch.full((1, 1, 17, 14), value, requires_grad=True)
    A = Blur(kernel((4, 7)).float(), (17, 14))
    reblur(x, torch.full_like(x, 0.02), (Known(A, 2.2),)).backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() < 10


def test_reblurring_is_float32_under_autocast():
    A = Blur(kernel((4, 7)).float(), (17, 14))
    x, y = (pictures(1, 3, 17, 14, seed=s, dtype=torch.float32).bfloat16() for s in (1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        found = reblur(x, y, (Known(A, 2.2),))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, reblur(x.float(), y.float(), (Known(A, 2.2),)))


def test_what_was_not_observed_does_not_count():
    seen = torch.ones(1, 17, 14, dtype=torch.float64)
    seen[0, 8, 7] = 0
    A = Blur(kernel((4, 7))[None], (17, 14), weights=seen)
    x, y = pictures(1, 3, 17, 14, seed=1), pictures(1, 3, 17, 14, seed=2)
    before = reblur(x, y, (Known(A),))
    y[..., 8, 7] += 5
    assert reblur(x, y, (Known(A),)) == before


def test_operators_that_do_not_fit():
    A = Known(Blur(kernel((4, 7)), (17, 14)))
    x = pictures(2, 3, 17, 14)
    with pytest.raises(ValueError, match="known has 1 entries; expected 2, one a sample"):
        reblur(x, x, (A,))
    with pytest.raises(ValueError, match=r"operator for \(17, 14\); expected \(17, 13\)"):
        reblur(x[..., 1:], x[..., 1:], (A, None))
    with pytest.raises(ValueError, match=r"and blurred \(2, 3, 17, 13\); expected the same"):
        reblur(x, x[..., 1:], (A, None))
