"""End-to-end networks on users' pictures: layouts, units, tiles, holes, what they may not paint."""

import copy
import inspect
import warnings
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch.nn.functional as F  # noqa: E402
from helpers import LIBRARIES, get, picture, put  # noqa: E402
from torch import nn  # noqa: E402

from deconv import methods, psf  # noqa: E402
from deconv.operators import Blur  # noqa: E402
from unrolled import direct, weights  # noqa: E402
from unrolled import methods as learned  # noqa: E402
from unrolled.direct import ALIGN, restore  # noqa: E402
from unrolled.guard import AREA, MOST  # noqa: E402
from unrolled.hqs import HQSNet  # noqa: E402
from unrolled.models.dbgan import DBGAN  # noqa: E402
from unrolled.models.deblurgan import DeblurGAN  # noqa: E402
from unrolled.models.deepdeblur import DeepDeblur  # noqa: E402
from unrolled.models.mimo_unet import MIMOUNet  # noqa: E402
from unrolled.models.nafnet import NAFNet  # noqa: E402
from unrolled.models.svrnn import SVRNN  # noqa: E402
from unrolled.pretrained import DIRECT, RESTORERS, restorer  # noqa: E402

TINY = {
    "NAFNet": lambda: NAFNet.preset("small", width=4, encoder=(1, 1), middle=1, decoder=(1, 1)),
    "MIMOUNet": lambda: MIMOUNet.preset("small", width=4, blocks=1),
    "DeepDeblur": lambda: DeepDeblur.preset("small", width=4, blocks=1, size=3),
    "SVRNN": lambda: SVRNN.preset("small", features=(4, 4), gates=(4, 4, 4, 4), stages=1),
    "DeblurGAN": lambda: DeblurGAN.preset("small", width=4, blocks=1),
    "DBGAN": lambda: DBGAN.preset("small", width=4, growth=4, blocks=1),
}


@cache
def network(name, shake=0.03):
    """One that is not the identity."""
    torch.manual_seed(0)
    net = TINY[name]()
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            parameter.add_(shake * torch.randn_like(parameter) + 0.3 * ("gain" in key))
    return net.eval()


class Of(nn.Module):
    """A network that is a function of pictures."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def photograph(size=72):
    return np.random.default_rng(1).normal(0.5, 0.1, (3, size, size + 9)).astype(np.float32)


# Layout, type and unit.


@pytest.mark.parametrize("name", TINY)
def test_every_network_restores(name):
    net, image = network(name), photograph(21)
    expected = restore(net, image, channel_axis=0, guard=None)
    assert expected.shape == image.shape and np.abs(expected - image).max() > 1e-3
    np.testing.assert_array_equal(net.restore(image, channel_axis=0, guard=None), expected)
    last = net.restore(np.moveaxis(image, 0, -1), channel_axis=-1, guard=None)
    assert last.flags.c_contiguous
    np.testing.assert_array_equal(np.moveaxis(last, -1, 0), expected)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8"])
def test_what_comes_back_is_what_went_in(library, dtype):
    image = (200 * photograph(20)).astype(dtype)
    given = put(image, library)
    found = network("MIMOUNet").restore(given, channel_axis=0)
    assert type(found) is type(given)
    assert str(found.dtype).endswith("float64" if dtype == "float64" else "float32")
    np.testing.assert_array_equal(get(given), image)
    expected = network("MIMOUNet").restore(image.astype(np.float64), channel_axis=0)
    np.testing.assert_allclose(get(found), expected, rtol=1e-4)


def test_half_precision_of_picture_and_network():
    image = torch.as_tensor(photograph(20)).half()
    net = copy.deepcopy(network("DeepDeblur"))
    found = net.restore(image, channel_axis=0)
    assert found.dtype == torch.float16
    expected = net.restore(image.float(), channel_axis=0)
    torch.testing.assert_close(found.float(), expected, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(
        net.bfloat16().restore(image.float(), channel_axis=0), expected, rtol=0, atol=0.05
    )


@pytest.mark.parametrize(("unit", "offset"), [(255.0, 0.0), (1e-4, 0.0), (3.0, 1000.0)])
@pytest.mark.parametrize("name", ["DeepDeblur", "DeblurGAN"])
def test_any_unit_and_offset(name, unit, offset):
    image = photograph(24).astype(np.float64)
    expected = network(name).restore(image, channel_axis=0)
    found = network(name).restore(unit * image + offset, channel_axis=0)
    np.testing.assert_allclose((found - offset) / unit, expected, atol=1e-5)


def test_the_range_goes_on_unit_interval_and_nothing_is_clipped():
    seen = []
    net = Of(lambda x: seen.append(x) or 2 * x - 0.5)
    image = 7 * photograph(24) - 3
    found = restore(net, image, channel_axis=0, guard=None)
    assert (float(seen[0].min()), float(seen[0].max())) == (0, 1)
    middle = (image.min() + image.max()) / 2
    np.testing.assert_allclose(found, 2 * (image - middle) + middle, atol=1e-5)


@pytest.mark.parametrize("value", [0, 3.5])
def test_a_picture_of_one_value_stays_finite(value):
    image = np.full((20, 30), value)
    np.testing.assert_array_equal(network("DBGAN").restore(image), image)


def test_grey_goes_in_as_three_colours_and_comes_back_as_their_mean():
    net, grey = network("MIMOUNet"), photograph(24)[0]
    three = net.restore(np.stack([grey] * 3), channel_axis=0)
    np.testing.assert_allclose(net.restore(grey), three.mean(0), atol=1e-6)
    one = net.restore(grey[..., None], channel_axis=-1)
    np.testing.assert_array_equal(one[..., 0], net.restore(grey))


def test_a_grey_network_restores_colours_one_by_one():
    torch.manual_seed(0)
    net = NAFNet.preset("small", channels=1, width=4)
    nn.init.normal_(net.tail.weight, std=0.1)
    image = photograph(24)
    image[:, 0, :2] = -1, 2
    found = net.restore(image, channel_axis=0)
    for one, plane in zip(found, image, strict=True):
        np.testing.assert_allclose(one, net.restore(plane), atol=1e-6)


def test_holes_are_seen_as_their_neighbours_and_filled():
    image = photograph(24)
    image[:, 5:8, 9] = np.nan
    image[1, 20, 3] = np.nan
    seen = []
    found = restore(Of(lambda x: seen.append(x) or x), image, channel_axis=0)
    given = seen[0][0].numpy()
    low, high = np.nanmin(image), np.nanmax(image)
    scaled = (image - low) / (high - low)
    known = np.isfinite(image)
    np.testing.assert_allclose(given[known], scaled[known], atol=1e-6)
    assert given[0, 6, 9] in (given[0, 6, 8], given[0, 6, 10])
    assert given[1, 20, 3] in given[1, 19:22, 2:5]
    assert np.isfinite(found).all()
    marked = np.where(known, image, 1e9)
    options = {"weights": known.astype(float), "channel_axis": 0}
    np.testing.assert_array_equal(restore(Of(lambda x: x), marked, **options), found)


# The network is left as it was.


def test_modes_and_weights_are_left_alone():
    net = DeblurGAN.preset("paper", width=4, blocks=1).train()
    net.layers[0].eval()
    before = [module.training for module in net.modules()]
    state = copy.deepcopy(net.state_dict())
    image = photograph(24)
    one = net.restore(image, channel_axis=0)
    np.testing.assert_array_equal(net.restore(image, channel_axis=0), one)
    assert [module.training for module in net.modules()] == before
    with pytest.raises(ValueError, match="net turned"):
        restore(Of(lambda x: x[..., 1:]), image, channel_axis=0)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_a_copy_runs_elsewhere():
    net, image = network("SVRNN"), photograph(20)
    found = net.restore(image, channel_axis=0, device="cpu")
    np.testing.assert_array_equal(found, net.restore(image, channel_axis=0))
    with pytest.raises(NotImplementedError, match="meta tensor"):
        net.restore(image, channel_axis=0, device="meta")
    assert all(p.device.type == "cpu" for p in net.parameters())


# Tiles.


@pytest.mark.parametrize("name", ["DeepDeblur", "MIMOUNet", "DBGAN", "NAFNet"])
def test_tiles_leave_no_seams(name):
    net, image = network(name), photograph(230)
    options = {"channel_axis": 0, "guard": None}
    whole = net.restore(image, tile=None, **options)
    found = net.restore(image, tile=141, **options)
    change = np.abs(whole - image).max()
    assert change > 1e-3
    # The means of NAFNet are over windows cut off by the tile, and MIMOUNet sees far.
    far = {"NAFNet": 1e-3, "MIMOUNet": 1e-3}
    np.testing.assert_allclose(found, whole, atol=change * far.get(name, 1e-5))
    if name == "DeepDeblur":
        bare = net.restore(image, tile=141, overlap=0, **options)
        assert np.abs(bare - whole).max() > 0.01 * change


def test_coarse_scales_have_their_pixels_where_the_picture_has(monkeypatch):
    net, image = network("MIMOUNet"), photograph(230)
    options = {"channel_axis": 0, "guard": None}
    whole = net.restore(image, tile=None, **options)
    good = np.abs(net.restore(image, tile=141, **options) - whole).max()
    monkeypatch.setattr(direct, "ALIGN", 1)
    assert np.abs(net.restore(image, tile=141, **options) - whole).max() > 10 * good


def test_no_tile_is_larger_than_asked_for():
    seen = []
    net = Of(lambda x: seen.append(tuple(x.shape[-2:])) or x)
    image = photograph(300)
    np.testing.assert_allclose(restore(net, image, channel_axis=0, tile=128), image, atol=1e-6)
    assert len(seen) > 9 and max(max(shape) for shape in seen) < 128 + ALIGN + 16
    seen.clear()
    restore(net, image, channel_axis=0)
    assert seen == [(300, 309)]


def test_the_ensemble_is_the_mean_over_flips_and_turns():
    image = photograph(23)
    net = network("MIMOUNet")
    found = net.restore(image, channel_axis=0, ensemble=True)
    turns = [np.rot90(image, k, (1, 2)) for k in range(4)]
    parts = [np.rot90(net.restore(x, channel_axis=0), -k, (1, 2)) for k, x in enumerate(turns)]
    flips = [x[:, :, ::-1] for x in turns]
    parts += [
        np.rot90(net.restore(x, channel_axis=0)[:, :, ::-1], -k, (1, 2))
        for k, x in enumerate(flips)
    ]
    np.testing.assert_allclose(found, np.mean(parts, axis=0), atol=1e-5)
    turned = net.restore(turns[1], channel_axis=0, ensemble=True)
    np.testing.assert_allclose(np.rot90(turned, -1, (1, 2)), found, atol=1e-5)


def test_means_over_the_picture_are_taken_over_windows(monkeypatch):
    asked = []
    local = NAFNet.local
    monkeypatch.setattr(NAFNet, "local", lambda net, *a: asked.append(net) or local(net, *a))
    net = network("NAFNet")
    net.restore(photograph(20), channel_axis=0)
    assert asked == [net]
    net.local(64).restore(photograph(20), channel_axis=0)
    assert len(asked) == 2  # by this test itself


def test_the_callback_sees_each_tile_and_may_end_the_work():
    image = torch.as_tensor(photograph(200)).movedim(0, -1)
    net = Of(lambda x: 1 - x)
    options = {"channel_axis": -1, "tile": 128, "guard": None}
    states = []

    def look(state):
        states.append((state.iteration, state.n_iter, state.image.clone(), state.stopped))

    found = restore(net, image, callback=look, **options)
    count = len(states)
    assert [state[:2] for state in states] == [(i + 1, count) for i in range(count)] and count > 3
    assert torch.equal(states[-1][2], found)
    assert [state[3] for state in states] == [None] * (count - 1) + ["the picture is restored"]

    def stop(state):
        raise StopIteration

    part = restore(net, image, callback=stop, **options)
    assert torch.equal(part, states[0][2]) and not torch.equal(part, found)
    states.clear()
    restore(net, image, channel_axis=-1, guard=None, callback=look)
    assert [state[:2] for state in states] == [(1, 1)]


# What is no deblurring.


def scene(blur=None, size=200):
    sharp = picture("camera", size)
    return sharp if blur is None else Blur(blur, sharp.shape, boundary="periodic")(sharp)


def painter(value, rows=slice(60, 120), columns=slice(90, 150)):
    def paint(x):
        x = x.clone()
        x[..., rows, columns] = value
        return x

    return Of(paint)


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_a_painted_patch_is_caught(scale):
    image = scale * scene()
    dark = np.abs(image[60:120, 90:150] / scale - 1).mean()
    assert dark > 2 * MOST
    with pytest.warns(
        UserWarning, match=r"Of changed the mean of 49 x 49 .*; the input is kept"
    ) as w:
        found = restore(painter(1.0), image)
    (warning,) = w
    assert warning.filename == __file__
    np.testing.assert_allclose(found, image, atol=1e-5 * scale)
    words = str(warning.message).replace(",", "").split()
    row, column = (int(words[words.index(word) + 1]) for word in ("row", "column"))
    assert 60 <= row < 120 and 90 <= column < 150
    with pytest.warns(UserWarning, match="which is no deblurring$"):
        found = restore(painter(1.0), image, guard="warn")
    assert found[80, 120] == pytest.approx(image.max())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(restore(painter(1.0), image, guard=None), found)


def test_elsewhere_the_network_has_its_way():
    image = scene(size=400)
    paint = painter(1.0)
    net = Of(lambda x: paint(x + 0.1 * (x - F.avg_pool2d(x, 5, 1, 2))))
    with pytest.warns(UserWarning, match="Of changed"):
        kept = restore(net, image)
    free = restore(net, image, guard=None)
    np.testing.assert_array_equal(kept[:, 300:], free[:, 300:])
    np.testing.assert_allclose(kept[60:120, 90:150], image[60:120, 90:150], atol=1e-6)


def test_one_tile_of_many_is_caught_at_its_place():
    image = np.zeros((300, 300), np.float32)
    image[200:260, 220:280] = 1
    net = Of(lambda x: torch.zeros_like(x))
    with pytest.warns(UserWarning, match="Of changed") as w:
        found = restore(net, image, tile=128)
    words = str(w[0].message).replace(",", "").split()
    assert len(w) == 1
    row, column = (int(words[words.index(word) + 1]) for word in ("row", "column"))
    assert 200 <= row < 260 and 220 <= column < 280
    np.testing.assert_allclose(found, image, atol=1e-6)


def test_one_colour_is_enough():
    def paint(x):
        x = x.clone()
        x[:, 1] = 1 - x[:, 1]
        return x

    image = np.stack([scene(), 0.1 * scene(), scene()])
    with pytest.warns(UserWarning, match="Of changed"):
        restore(Of(paint), image, channel_axis=0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("guard", ["keep", "warn"])
def test_what_is_not_finite_is_replaced(guard, value):
    image = scene()
    with pytest.warns(
        UserWarning, match="Of gave 4 pixels that are not finite; those of the input"
    ):
        found = restore(painter(value, slice(0, 2), slice(0, 2)), image, guard=guard)
    np.testing.assert_allclose(found, image, atol=1e-6)
    found = restore(painter(value, slice(0, 2), slice(0, 2)), image, guard=None)
    assert np.isfinite(found).sum() == image.size - 4


def test_a_single_wild_pixel_is_caught_and_spoils_no_other_area():
    image = scene(size=400)
    with pytest.warns(UserWarning, match=r"row \d+, column \d+"):
        found = restore(painter(1e30, slice(10, 11), slice(20, 21)), image)
    np.testing.assert_allclose(found, image, atol=1e-5)


@pytest.mark.parametrize("name", ["camera", "coins", "page"])
@pytest.mark.parametrize(
    "blur", [psf.gaussian(3), psf.defocus(7), psf.motion(31, 20), psf.motion(31, 90)]
)
def test_the_truth_is_not_caught(blur, name):
    sharp = picture(name, 180)
    blurred = Blur(blur, sharp.shape, boundary="periodic")(sharp)
    low, high = blurred.min(), blurred.max()
    truth = torch.as_tensor((sharp - low) / (high - low)).float().expand(1, 3, -1, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = restore(Of(lambda x: truth), blurred)
    np.testing.assert_allclose(found, sharp, atol=1e-5)


def test_the_truth_of_moving_scenes_is_not_caught(shared_data):
    from skimage import io

    files = sorted((shared_data / "pairs" / "gopro_patches").glob("input_*.png"))
    assert files
    for file in files:
        blurred = io.imread(file)
        sharp = io.imread(file.with_name(file.name.replace("input", "label"))).astype(np.float32)
        low, high = float(blurred.min()), float(blurred.max())
        truth = torch.as_tensor((sharp - low) / (high - low)).movedim(-1, 0)[None]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            restore(Of(lambda x, truth=truth: truth), blurred, channel_axis=-1)


def test_an_honest_sharpening_is_not_caught():
    net = Of(lambda x: x + 3 * (x - F.avg_pool2d(x, 15, 1, 7, count_include_pad=False)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = restore(net, scene(psf.gaussian(4)))
    assert np.abs(found - scene(psf.gaussian(4))).max() > MOST
    assert AREA > 15


# Bad input.


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"guard": "kepe"}, ValueError, "guard='kepe'; expected 'keep', 'warn' or None"),
        ({"tile": 100}, ValueError, "tile=100 and overlap=64; expected a tile of at least twice"),
        ({"overlap": -1}, ValueError, "overlap=-1"),
        ({"tile": 128.0}, TypeError, "tile=128.0"),
        ({"channel_axis": None}, ValueError, "pass channel_axis"),
        ({"channel_axis": 1}, ValueError, "image has 20 channels along channel_axis=1; expected 3"),
        ({"weights": np.zeros((20, 29))}, ValueError, "no observed pixel in channel 0"),
        ({"weights": np.ones((3, 3))}, ValueError, r"weights have shape \(3, 3\)"),
    ],
)
def test_bad_options_are_named(options, error, words):
    def never(x):
        raise AssertionError("work was done")

    with pytest.raises(error, match=words):
        restore(Of(never), photograph(20), **({"channel_axis": 0} | options))


def test_bad_pictures_and_networks_are_named():
    with pytest.raises(TypeError, match="image has dtype complex128"):
        network("DBGAN").restore(np.zeros((9, 9), complex))
    with pytest.raises(ValueError, match="image has 1 infinite values"):
        network("DBGAN").restore(np.where(np.eye(9)[4] * np.eye(9)[4][:, None] > 0, np.inf, 0.0))
    with pytest.raises(TypeError, match="net is a function; expected a torch module"):
        restore(lambda x: x, np.zeros((9, 9)))


# By name.


@pytest.fixture
def saved(tmp_path):
    return str(weights.save(network("DeepDeblur"), tmp_path / "net.safetensors"))


def test_every_direct_network_is_a_restorer(tmp_path):
    assert set(DIRECT) == set(TINY) and set(DIRECT) < set(RESTORERS)
    for name in DIRECT:
        path = weights.save(network(name), tmp_path / name)
        found = restorer(path, needs_psf=False)
        assert type(found) is type(network(name)) and callable(found.restore)
        with pytest.raises(ValueError, match=rf"of a {name}; expected one of \('HQSNet', 'Multi"):
            restorer(path, needs_psf=True)
        assert type(restorer(path)) is type(found)
    blind = HQSNet.preset("tiny", widths=(4,), blocks=1, hidden=4, iterations=1)
    with pytest.raises(ValueError, match=r"of a HQSNet; expected one of \('NAFNet', "):
        restorer(weights.save(blind, tmp_path / "hqs"), needs_psf=False)


def test_the_method_restores_by_a_network(saved, monkeypatch):
    monkeypatch.setattr(methods, "_registry", dict(methods._registry))
    methods._registry.pop("end_to_end", None)
    method = methods.register(learned.DIRECT)
    assert not method.needs_psf and method.noise is None
    image = photograph(40)
    states = []
    options = {"channel_axis": 0, "callback": states.append, "weights": np.ones((40, 49))}
    found = method.restore(image, None, network=saved, guard="warn", tile="128", **options)
    np.testing.assert_array_equal(found, network("DeepDeblur").restore(image, channel_axis=0))
    assert len(states) == 1
    image[:, 2, 3] = np.nan
    assert np.isfinite(method.restore(image, network=saved, guard="none", channel_axis=0)).all()


def test_the_method_has_the_defaults_of_the_function():
    # Methods are listed without torch, so they have numbers of their own.
    own, function = (inspect.signature(f).parameters for f in (learned.end_to_end, restore))
    for name in ("guard", "ensemble", "tile"):
        assert own[name].default == function[name].default


def test_the_method_names_what_it_does_not_take(saved):
    image = photograph(20)[0]
    with pytest.raises(ValueError, match="boundary='zero'; expected 'unknown'"):
        learned.end_to_end(image, network=saved, boundary="zero")
    with pytest.raises(ValueError, match="guard='of' is not known"):
        learned.end_to_end(image, network=saved, guard="of")
