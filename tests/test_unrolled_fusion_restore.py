"""A user's picture through the fusion of restorations, and back with the trust in each."""

import numpy as np
import pytest
from helpers import get, psnr, put, scene_and_blurred

from deconv import psf

torch = pytest.importorskip("torch")

from deconv.operators import Blur, StridedBlur  # noqa: E402
from unrolled.fusion import FusionConfig, MultiLambdaFusion, trusted_weight  # noqa: E402

KERNEL = psf.gaussian(1.2)
SHARP, BLURRED = scene_and_blurred(KERNEL, size=40, sigma=0.01)
COLOUR = np.stack([BLURRED, 1 - BLURRED, BLURRED**2], axis=-1)
FACTORS = (0.04, 0.2, 1.0, 5.0)


def network(**changes):
    """One that trusts all restorations alike and adds nothing."""
    torch.manual_seed(0)
    return MultiLambdaFusion(FusionConfig(**{"widths": (4, 8), "blocks": 1} | changes))


def shaken(net):
    """With no parameter at 0, as if trained."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


NET = shaken(network())


def close(found, expected, tolerance=1e-5):
    """To `tolerance` of the range."""
    scale = np.ptp(get(expected))
    np.testing.assert_allclose(get(found), get(expected), rtol=0, atol=tolerance * scale)


def test_it_restores():
    restored = network().restore(BLURRED, KERNEL)
    assert psnr(SHARP, restored) > psnr(SHARP, BLURRED) + 1.5


@pytest.mark.parametrize("image", [BLURRED, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("boundary", ["unknown", "periodic", "zero"])
def test_in_any_unit(boundary, image):
    options = {"boundary": boundary, "channel_axis": -1 if image.ndim == 3 else None}
    restored, trust = NET.restore(image, KERNEL, trust=True, **options)
    assert np.abs(restored - image).max() > 0.05
    scale, offset = 200.0, 0.0 if boundary == "zero" else 50.0  # black is no pedestal there
    for sigma in (None, 0.02):
        expected, _ = NET.restore(image, KERNEL, sigma=sigma, trust=True, **options)
        level = None if sigma is None else scale * sigma
        found, there = NET.restore(
            scale * image + offset, KERNEL, sigma=level, trust=True, **options
        )
        close(found, scale * expected + offset, 5e-4)
        if sigma is None:
            np.testing.assert_allclose(there, trust, atol=5e-3)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("uint8", "float32"), ("float16", "float16"), ("float32", "float32"), ("float64", "float64")],
)
def test_types(dtype, expected, library):
    image = (200 * BLURRED).astype(dtype)
    restored, trust = NET.restore(put(image, library), KERNEL, trust=True)
    assert type(restored) is type(put(image, library))
    assert str(restored.dtype).endswith(expected)
    assert restored.shape == image.shape
    assert isinstance(trust, np.ndarray) and trust.dtype == np.float32
    close(restored, NET.restore(image.astype("float64"), KERNEL), 2e-3)


def test_colours_and_layouts():
    separate, first = NET.restore(COLOUR, KERNEL, channel_axis=-1, colours="separate", trust=True)
    for i in range(3):
        alone, trust = NET.restore(COLOUR[..., i], KERNEL, trust=True)
        assert trust.shape == (4, 40, 40)
        close(separate[..., i], alone)
        if i == 0:
            np.testing.assert_allclose(first, trust, atol=1e-4)
    together, trust = NET.restore(COLOUR, KERNEL, channel_axis=-1, trust=True)
    assert trust.shape == (4, 40, 40)
    assert np.abs(together - separate).max() > 1e-3
    for axis in (0, 1):
        planes = np.moveaxis(COLOUR, -1, axis)
        found = NET.restore(planes, KERNEL, channel_axis=axis)
        close(np.moveaxis(found, axis, -1), together)


def test_the_trust_of_colours_is_that_of_their_mean(monkeypatch):
    net, rows = shaken(network()), []

    def spy(y, A, *rest, **options):
        x, trust = MultiLambdaFusion.fused(net, y, A, *rest, **options)
        rows.append((y[0, 0].numpy(), A.crop(trust)[0].numpy()))
        return x, trust

    monkeypatch.setattr(net, "fused", spy)
    _, trust = net.restore(COLOUR, KERNEL, channel_axis=-1, trust=True)
    (first, expected), *differences = rows
    assert len(differences) == 2
    assert np.corrcoef(first.ravel(), COLOUR.mean(-1).ravel())[0, 1] > 0.999999
    np.testing.assert_array_equal(trust, expected)
    assert all(np.abs(trust - other).max() > 1e-3 for _, other in differences)


def test_the_trust_of_a_picture():
    _, trust = NET.restore(BLURRED[:, :33], KERNEL, trust=True)
    assert trust.shape == (4, 40, 33)
    assert trust.min() > 0
    np.testing.assert_allclose(trust.sum(0), 1, atol=1e-5)
    weight = trusted_weight(trust, FACTORS)
    assert weight.shape == (40, 33)
    assert 0.04 < weight.min() < weight.max() < 5


def test_the_trusted_weight_is_the_geometric_mean():
    one = np.zeros((4, 2, 3))
    one[3] = 1
    np.testing.assert_allclose(trusted_weight(one, FACTORS), 5.0)
    half = np.zeros((2, 4, 2, 3))
    half[0, :2] = half[1, 1:3] = 0.5
    weight = trusted_weight(half, FACTORS)
    assert weight.shape == (2, 2, 3)
    np.testing.assert_allclose(weight[0], np.sqrt(0.04 * 0.2))
    np.testing.assert_allclose(weight[1], np.sqrt(0.2))


def test_missing_pixels():
    image, weights = BLURRED.copy(), np.ones((40, 40))
    weights[20:24, 30:35] = 0
    image[weights == 0] = np.nan
    found, trust = NET.restore(image, KERNEL, trust=True)
    assert np.isfinite(found).all() and np.isfinite(trust).all()
    given = np.where(weights == 0, -3.0, BLURRED)
    close(NET.restore(given, KERNEL, weights=weights), found)
    assert psnr(SHARP, network().restore(image, KERNEL)) > psnr(SHARP, BLURRED) + 1
    colour = np.stack([image] * 3, -1)
    close(
        NET.restore(np.nan_to_num(colour), KERNEL, weights=weights, channel_axis=-1),
        NET.restore(colour, KERNEL, channel_axis=-1),
    )


def test_saturation():
    bright = 2.2 * SHARP
    A = Blur(KERNEL, SHARP.shape, boundary="periodic")
    image = np.minimum(A(bright) + 0.002 * np.random.default_rng(0).normal(size=A.shape), 1)
    options = {"boundary": "periodic", "sigma": 0.002}
    net = network()
    plain = net.restore(image, KERNEL, **options)
    found = net.restore(image, KERNEL, saturation="auto", **options)
    close(found, net.restore(image, KERNEL, saturation=1.0, **options))
    assert found.max() > 1.1
    beside = (A(bright) > 0.8) & (image < 1)
    assert np.abs(found - bright)[beside].mean() < 0.8 * np.abs(plain - bright)[beside].mean()


def test_a_psf_may_be_an_operator():
    for boundary in ("unknown", "periodic", "zero"):
        A = Blur(KERNEL, BLURRED.shape, boundary=boundary)
        close(NET.restore(BLURRED, A), NET.restore(BLURRED, KERNEL, boundary=boundary))
    with pytest.raises(TypeError, match="psf is a StridedBlur"):
        NET.restore(BLURRED, StridedBlur(KERNEL, BLURRED.shape, 2))


def test_tiles_leave_no_seams():
    image = np.tile(BLURRED, (4, 3))[:140, :110]
    whole, trust = NET.restore(image, KERNEL, tile=None, trust=True)
    found, there = NET.restore(image, KERNEL, tile=40, trust=True)
    close(found, whole, 1e-4)
    np.testing.assert_allclose(there, trust, atol=1e-3)


def test_nothing_to_restore():
    kernel = np.full((3, 3), 1 / 9)
    for level in (7.0, 0.0, -3.0):
        for options in ({}, {"sigma": 2.0}, {"boundary": "periodic"}):
            found, trust = NET.restore(np.full((12, 11), level), kernel, trust=True, **options)
            np.testing.assert_array_equal(found, level)
            np.testing.assert_allclose(trust.sum(0), 1, atol=1e-5)


def test_inputs_are_left_alone():
    weights = np.ones((40, 40))
    weights[3, 4] = 0
    given = [put(v, "numpy") for v in (COLOUR, KERNEL, weights)]  # read-only
    NET.restore(*given[:2], weights=given[2], channel_axis=-1, saturation=0.9)
    tensors = [put(v, "torch").requires_grad_() for v in (COLOUR, KERNEL, weights)]
    restored = NET.restore(*tensors[:2], weights=tensors[2], channel_axis=-1)
    assert not restored.requires_grad and not restored.is_inference()
    for tensor, v in zip(tensors, given, strict=True):
        np.testing.assert_array_equal(get(tensor), v)


@pytest.mark.parametrize(
    ("axis", "colours", "rows"), [(None, "opponent", 1), (-1, "opponent", 3), (-1, "separate", 3)]
)
def test_callback(axis, colours, rows):
    image, states = BLURRED if axis is None else COLOUR, []
    options = {"channel_axis": axis, "colours": colours}
    restored = NET.restore(
        image, KERNEL, callback=lambda state: states.append((state, state.image)), **options
    )
    assert [state.iteration for state, _ in states] == list(range(1, rows + 1))
    assert {state.n_iter for state, _ in states} == {rows}
    close(states[-1][1], restored)
    done = f"all {rows} iterations are done"
    assert [state.stopped for state, _ in states] == [None] * (rows - 1) + [done]

    def stop(state):
        raise StopIteration

    close(NET.restore(image, KERNEL, callback=stop, **options), states[0][1])
    stopped, trust = NET.restore(image, KERNEL, callback=stop, trust=True, **options)
    close(stopped, states[0][1])
    assert trust.shape[-3:] == (4, 40, 40)


# --- files and mistakes ---------------------------------------------------------------------------


def test_weights_come_back(tmp_path):
    pytest.importorskip("safetensors")
    from unrolled import HQSNet, weights

    net = shaken(network(factors=(0.3, 1, 4.0), weight=5, p=0.75))
    path = weights.save(net, tmp_path / "net.safetensors")
    for place in (path, tmp_path, str(path)):
        again = MultiLambdaFusion.from_pretrained(place)
        assert again.config == net.config and not again.training
        np.testing.assert_array_equal(again.restore(BLURRED, KERNEL), net.restore(BLURRED, KERNEL))
    with pytest.raises(ValueError, match="expected 'HQSNet'"):
        HQSNet.from_pretrained(path)
    with pytest.raises(FileNotFoundError, match="no weights at"):
        MultiLambdaFusion.from_pretrained(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"image": np.ones((9, 9, 9)), "psf": np.ones((3, 3, 3)) / 27}, ValueError, "psf has 3 sp"),
        ({"image": np.ones(9), "psf": np.ones(3) / 3}, ValueError, "psf has 1 spatial"),
        ({"image": COLOUR}, ValueError, "pass channel_axis"),
        ({"image": np.nan * BLURRED}, ValueError, "image holds nothing but NaN"),
        ({"psf": np.ones((50, 50)) / 2500}, ValueError, "psf of shape .* is larger than the image"),
        ({"weights": np.ones((3, 3))}, ValueError, "weights"),
        ({"sigma": -1}, ValueError, "sigma=-1"),
        ({"colours": "oponent"}, ValueError, "did you mean 'opponent'"),
        ({"boundary": "wrap"}, ValueError, "boundary='wrap'"),
        ({"saturation": 5}, ValueError, "saturation=5"),
        ({"tile": 0}, ValueError, "tile=0"),
        ({"tile": 99.5}, TypeError, "tile=99.5"),
        ({"stride": 2}, TypeError, "'stride'"),
    ],
)
def test_mistakes_are_named(change, error, message):
    with pytest.raises(error, match=message):
        NET.restore(**{"image": BLURRED, "psf": KERNEL} | change)
