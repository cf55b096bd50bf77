"""Weights in files: what was saved comes back, and what is not weights is turned away by name."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from deconv.operators import Blur  # noqa: E402
from unrolled import weights  # noqa: E402
from unrolled.hqs import PRESETS, HQSNet  # noqa: E402
from unrolled.usrnet import from_usrnet  # noqa: E402

SMALL = replace(PRESETS["tiny"], widths=(4, 8), blocks=1, hidden=4, iterations=2)


def small(**changes):
    """A small network, no weight of which is zero."""
    torch.manual_seed(0)
    model = HQSNet(replace(SMALL, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def same(a, b):
    return a.state_dict().keys() == b.state_dict().keys() and all(
        torch.equal(x, y)
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.fixture
def saved(tmp_path):
    """The path of a small network's weights."""
    return weights.save(small(), tmp_path / "net.safetensors")


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder in the place of the package's own."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(weights, "SHIPPED", folder)
    weights.save(small(), folder / "hqs-gray")
    (folder / "hqs-rgb.json").write_text('{"alias": "hqs-gray", "colour": "opponent"}')
    return folder


def rewrite(path, **changes):
    """Change fields of the JSON beside `path`; None takes one out."""
    beside = path.with_suffix(".json")
    values = json.loads(beside.read_text()) | changes
    beside.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def replace_tensors(path, change):
    """Apply `change` to the dictionary of the tensors at `path`."""
    tensors = safetensors_torch.load_file(path)
    change(tensors)
    safetensors_torch.save_file({k: t.contiguous() for k, t in tensors.items()}, path)
    rewrite(path, sha256=None)


# What was saved comes back.


@pytest.mark.parametrize("changes", [{}, {"attention": True}, {"steps": 1, "coverage": False}])
def test_round_trip_is_exact(tmp_path, changes):
    model = small(**changes)
    loaded = weights.load(weights.save(model, tmp_path / "net"), HQSNet)
    assert same(model, loaded)
    assert loaded.config == model.config and isinstance(loaded.config.widths, tuple)
    assert not loaded.training and model.training


@pytest.mark.parametrize("dtype, error", [("float16", 2**-11), (torch.bfloat16, 2**-8)])
def test_half_storage_is_close_and_half_the_size(saved, tmp_path, dtype, error):
    model = weights.load(saved, HQSNet)
    path = weights.save(model, tmp_path / "half.safetensors", dtype=dtype)
    assert path.stat().st_size < 0.65 * saved.stat().st_size
    loaded = weights.load(path, HQSNet)
    assert not same(model, loaded)
    for key, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, model.state_dict()[key], rtol=error, atol=1e-7)


def test_weights_of_other_layout_and_type_come_back(tmp_path):
    model = small().to(memory_format=torch.channels_last).double()
    assert same(small(), weights.load(weights.save(model, tmp_path / "net"), HQSNet))


def test_forms_of_a_path(saved, tmp_path):
    folder = tmp_path / "one"
    other = weights.save(small(), (folder.mkdir() or folder) / "v1.5")
    assert other == folder / "v1.5.safetensors"
    (folder / ".v1.5-0123.safetensors").touch()  # as another process writes it
    for name in (saved, str(saved), saved.with_suffix(""), saved.with_suffix(".json"), folder):
        assert same(small(), weights.load(name, HQSNet))


def test_shipped_names(shipped, monkeypatch):
    monkeypatch.chdir(shipped.parent)
    assert weights.names() == ("hqs-gray", "hqs-rgb")
    assert same(small(), weights.load("hqs-gray", HQSNet))
    assert weights.describe("hqs-rgb") == {"alias": "hqs-gray", "colour": "opponent"}
    with pytest.raises(FileNotFoundError, match="no weights at hqs-gray"):
        weights.load(Path("hqs-gray"), HQSNet)


def test_names_need_no_torch():
    check = "import sys, unrolled.weights as w; w.names(); sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(weights.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", check], env=environment).returncode == 0


def test_description(tmp_path):
    path = weights.save(small(), tmp_path / "net", card={"licence": "BSD", "psnr": [30.5]})
    values = weights.describe(path)
    assert values["format"] == 1 and values["network"] == "HQSNet"
    assert values["config"]["widths"] == [4, 8] and values["dtype"] == "float32"
    assert values["card"] == {"licence": "BSD", "psnr": [30.5]}
    assert values["parameters"] == sum(p.numel() for p in small().parameters())


def test_loading_leaves_the_random_state(saved):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    weights.load(saved, HQSNet)
    assert torch.equal(before, torch.get_rng_state())


def test_a_missing_field_has_its_default(saved):
    values = weights.describe(saved)["config"]
    assert values.pop("coverage")
    rewrite(saved, config=values)
    assert weights.load(saved, HQSNet).config == SMALL


def test_any_network_with_a_dataclass_config(tmp_path):
    path = weights.save(Scale(ScaleConfig(gain=2)), tmp_path / "scale")
    loaded = weights.load(path, Scale)
    assert loaded.config == ScaleConfig(gain=2) and int(loaded.count) == 7
    assert loaded.count.dtype == torch.int64


@dataclass(frozen=True)
class ScaleConfig:
    gain: float = 1.0


class Scale(nn.Module):
    def __init__(self, config: ScaleConfig):
        super().__init__()
        self.config = config
        self.gain = nn.Parameter(torch.tensor(float(config.gain)))
        self.register_buffer("count", torch.tensor(7))


# What is not to be saved.


def test_save_refuses(tmp_path):
    model = small()
    with pytest.raises(TypeError, match=r"Linear.config is None; expected a dataclass"):
        weights.save(nn.Linear(2, 2), tmp_path / "net")
    with pytest.raises(ValueError, match="did you mean 'float16'"):
        weights.save(model, tmp_path / "net", dtype="float15")
    with pytest.raises(FileNotFoundError, match=r"folder .*absent does not exist"):
        weights.save(model, tmp_path / "absent" / "net")
    with pytest.raises(TypeError, match="not JSON serializable"):
        weights.save(model, tmp_path / "net", card={"file": tmp_path})
    with torch.no_grad():
        model.prior.head.weight[0, 0, 0, 0] = 1e5
    with pytest.raises(ValueError, match=r"HQSNet in float16 has NaN.* prior.head.weight"):
        weights.save(model, tmp_path / "net", dtype="float16")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_save_leaves_the_old_files(saved, monkeypatch):
    before = {path: path.read_bytes() for path in saved.parent.iterdir()}

    def fail(*args, **options):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        weights.save(small(hidden=8), saved)
    assert before == {path: path.read_bytes() for path in saved.parent.iterdir()}


# What is not to be loaded.


def test_unknown_name(shipped):
    with pytest.raises(
        ValueError, match=r"'hqs-grey' is not known; did you mean 'hqs-gray'\?.*path"
    ):
        weights.load("hqs-grey", HQSNet)


@pytest.mark.parametrize("name", ["net.safetensors", "folder/net", Path("net")])
def test_no_such_file(shipped, name):
    with pytest.raises(FileNotFoundError, match=r"no weights at .*shipped are: hqs-gray, hqs-rgb"):
        weights.load(name, HQSNet)


def test_folder_with_none_or_several(saved, tmp_path):
    weights.save(small(), tmp_path / "other")
    with pytest.raises(ValueError, match=r"holds 2 .*net.safetensors or other.safetensors"):
        weights.load(tmp_path, HQSNet)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds 0 .safetensors files; expected one"):
        weights.load(tmp_path / "empty", HQSNet)


def test_missing_halves(saved):
    beside = saved.with_suffix(".json")
    kept = beside.read_bytes()
    beside.unlink()
    with pytest.raises(FileNotFoundError, match=r"net.json does not exist; .*copy it too"):
        weights.load(saved, HQSNet)
    beside.write_bytes(kept)
    saved.unlink()
    with pytest.raises(FileNotFoundError, match=r"net.safetensors does not exist; there is only"):
        weights.load(saved, HQSNet)


@pytest.mark.parametrize("text, message", [("{", "net.json is no JSON"), ("[]", "holds a list")])
def test_damaged_json(saved, text, message):
    saved.with_suffix(".json").write_text(text)
    with pytest.raises(ValueError, match=message):
        weights.describe(saved)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"network": "NAFNet"}, "is of a 'NAFNet'; expected 'HQSNet'"),
        ({"network": None}, "is of a None; expected 'HQSNet'"),
        ({"format": 2}, "has format 2; expected 1: .*later version"),
        ({"alias": "hqs-gray"}, "another name of 'hqs-gray': load that"),
        ({"config": None}, "has config None; expected the fields of HQSConfig"),
        ({"config": {"width": [4]}}, "field 'width', unknown to HQSConfig; expected of: channels,"),
        ({"config": {"residual": "no"}}, "residual='no'; expected one like True"),
        ({"config": {"hidden": True}}, "hidden=True; expected one like 32"),
        ({"config": {"widths": 4}}, "widths=4; expected one like "),
        ({"config": {"widths": []}}, "no HQSNet has this config: "),
        ({"config": {"widths": [4, "a"]}}, "no HQSNet has this config: "),
        ({"config": {"hidden": -1}}, "no HQSNet has this config: "),
    ],
)
def test_json_of_something_else(saved, changes, message):
    rewrite(saved, **changes)
    with pytest.raises(ValueError, match=message):
        weights.load(saved, HQSNet)


@pytest.mark.parametrize("length", [0, 7, 100, -4])
def test_truncated_file(saved, length):
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(
        ValueError, match=r"net.safetensors is no safetensors .*damaged \(\d+ bytes"
    ):
        weights.load(saved, HQSNet)


def test_changed_file(saved):
    data = bytearray(saved.read_bytes())
    data[-3] ^= 1
    saved.write_bytes(data)
    with pytest.raises(ValueError, match="not the file that the JSON beside it was written with"):
        weights.load(saved, HQSNet)


def test_unknown_tensor_type(saved):
    header = b'{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}'
    saved.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(ValueError, match="no safetensors file"):
        weights.load(saved, HQSNet)


class Trap:
    """Whoever unpickles it removes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.rmdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors", "net.other"])
@pytest.mark.parametrize("form", ["zip", "old", "plain"])
def test_pickles_are_not_opened(saved, tmp_path, name, form):
    bait = tmp_path / "bait"
    bait.mkdir()
    path = tmp_path / name
    if form == "plain":
        path.write_bytes(pickle.dumps(Trap(bait), protocol=2))
    else:
        torch.save({"a": Trap(bait)}, path, _use_new_zipfile_serialization=form == "zip")
    message = r"is no \.?safetensors file but a pickle: .*never loaded; convert it.*save_file\("
    with pytest.raises(ValueError, match=message):
        weights.load(path, HQSNet)
    if name != "net.safetensors":
        with pytest.raises(ValueError, match=r"is no file of tensors only"):
            from_usrnet(path)
    assert bait.is_dir()


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "net.txt"
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"net.txt is no .safetensors file or damaged \(5 bytes\)"):
        weights.load(path, HQSNet)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("prior.head.weight"), "prior.head.weight is missing$"),
        (lambda t: t.update(extra=torch.ones(1)), "extra is unexpected$"),
        (
            lambda t: t.update({"unseen": torch.ones(3)}),
            r"unseen is \(3,\), expected \(2,\)$",
        ),
        (lambda t: [t.pop(k) for k in list(t)[:5]], r"missing; .*missing; .*missing; and 2 more$"),
        (lambda t: t["unseen"][:1].fill_(torch.nan), "has NaN or infinity in 1: unseen$"),
        (lambda t: t["momentum"].fill_(torch.inf), "has NaN or infinity in 1: momentum$"),
        (lambda t: t.update(unseen=torch.full((2,), 1e300, dtype=torch.float64)), "1: unseen$"),
    ],
)
def test_tensors_of_something_else(saved, change, message):
    replace_tensors(saved, change)
    with pytest.raises(ValueError, match=message):
        weights.load(saved, HQSNet)


def test_config_of_something_else(saved):
    rewrite(saved, config=weights.describe(saved)["config"] | {"widths": [4, 16]})
    with pytest.raises(ValueError, match=r"does not match HQSNet of its config: .* expected \(16"):
        weights.load(saved, HQSNet)


# USRNet, written from its paper and its published names.


class Res(nn.Module):
    def __init__(self, n):
        super().__init__()
        conv = (nn.Conv2d(n, n, 3, padding=1, bias=False) for _ in range(2))
        self.res = nn.Sequential(next(conv), nn.ReLU(), next(conv))

    def forward(self, x):
        return x + self.res(x)


class Prior(nn.Module):
    def __init__(self, n, blocks=2, channels=3):
        super().__init__()

        def down(a, b):
            return nn.Sequential(*map(Res, [a] * blocks), nn.Conv2d(a, b, 2, 2, bias=False))

        def up(a, b):
            grow = nn.ConvTranspose2d(a, b, 2, 2, bias=False)
            return nn.Sequential(grow, *map(Res, [b] * blocks))

        self.m_head = nn.Conv2d(channels + 1, n[0], 3, padding=1, bias=False)
        self.m_down1, self.m_down2, self.m_down3 = down(n[0], n[1]), down(n[1], n[2]), down(*n[2:])
        self.m_body = nn.Sequential(*map(Res, [n[3]] * blocks))
        self.m_up3, self.m_up2, self.m_up1 = up(n[3], n[2]), up(n[2], n[1]), up(n[1], n[0])
        self.m_tail = nn.Conv2d(n[0], channels, 3, padding=1, bias=False)

    def forward(self, x):
        h, w = x.shape[-2:]
        x1 = self.m_head(F.pad(x, (0, -w % 8, 0, -h % 8), mode="replicate"))
        x2 = self.m_down1(x1)
        x3 = self.m_down2(x2)
        x4 = self.m_down3(x3)
        x = self.m_up1(self.m_up2(self.m_up3(self.m_body(x4) + x4) + x3) + x2)
        return self.m_tail(x + x1)[..., :h, :w]


class Hyper(nn.Module):
    def __init__(self, iterations, hidden):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(2, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, 2 * iterations, 1),
            nn.Softplus(),
        )

    def forward(self, x):
        return self.mlp(x) + 1e-6


class USRNet(nn.Module):
    """At a stride of 1: x = F^-1[(conj(K) F(y) + alpha F(x)) / (|K|^2 + alpha)], then the prior."""

    def __init__(self, widths=(16, 32, 64, 64), hidden=32, iterations=6):
        super().__init__()
        self.p, self.h, self.n = Prior(widths), Hyper(iterations, hidden), iterations

    def forward(self, y, psf, sigma):
        size = y.shape[-2:]
        spread = F.pad(psf, (0, size[1] - psf.shape[-1], 0, size[0] - psf.shape[-2]))
        spread = spread.roll([-(n // 2) for n in psf.shape[-2:]], dims=(-2, -1))
        otf, observed, x = torch.fft.fft2(spread), torch.fft.fft2(y), y
        values = self.h(torch.stack([sigma, torch.ones_like(sigma)], 1)[..., None, None])
        for i in range(self.n):
            alpha, beta = values[:, i : i + 1], values[:, self.n + i : self.n + i + 1]
            right = otf.conj() * observed + alpha * torch.fft.fft2(x)
            x = torch.fft.ifft2(right / (otf.abs() ** 2 + alpha)).real
            x = self.p(torch.cat([x, beta.expand(-1, 1, *size)], 1))
        return x


@pytest.fixture(scope="module")
def usrnet():
    """A tiny USRNet with random weights; its prior keeps the size of what it is given."""
    torch.manual_seed(1)
    return USRNet().eval()


@torch.no_grad()
def test_usrnet_gives_the_same(usrnet):
    model = from_usrnet(usrnet.state_dict())
    assert not model.training
    assert model.config == replace(
        PRESETS["base"], channels=3, widths=(16, 32, 64, 64), hidden=32, iterations=6
    )
    picture, level = torch.rand(2, 3, 21, 30), torch.rand(2, 1, 21, 30)
    expected = usrnet.p(torch.cat([picture, level], 1))
    torch.testing.assert_close(model.prior(picture, level), expected, rtol=1e-5, atol=1e-6)

    sigma = torch.tensor([0.01, 0.05])
    expected = usrnet.h(torch.stack([sigma, torch.full_like(sigma, 2)], 1)[..., None, None])
    got = torch.cat(model.hyper(sigma, 2), 1)
    torch.testing.assert_close(got, expected[..., 0, 0], rtol=1e-5, atol=1e-7)

    psf = torch.rand(2, 1, 5, 4)
    psf /= psf.sum((-2, -1), keepdim=True)
    expected = usrnet(picture, psf, sigma)
    got = model(picture, Blur(psf, (21, 30), boundary="periodic"), sigma)
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("form", ["safetensors", "zip", "old"])
def test_usrnet_from_a_file(usrnet, tmp_path, form):
    path = tmp_path / ("net.safetensors" if form == "safetensors" else "net.pth")
    if form == "safetensors":
        safetensors_torch.save_file(usrnet.state_dict(), path)
    else:
        torch.save(usrnet.state_dict(), path, _use_new_zipfile_serialization=form == "zip")
    assert same(from_usrnet(usrnet.state_dict()), from_usrnet(str(path)))


def test_parameter_counts(usrnet):
    def count(model):
        return sum(parameter.numel() for parameter in model.parameters())

    with torch.device("meta"):
        base = HQSNet.preset("base", channels=3)
        assert count(base) == count(USRNet((64, 128, 256, 512), 64, 8))
    assert f"{count(base) / 1e6:.2f}" == "17.02"
    assert f"{count(usrnet.p) / 1e6:.3f}" == "0.589"


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.clear(), "state is not of a USRNet: it has no convolution 'p.m_head.weight'"),
        (lambda s: s.update({"p.m_head.weight": 3}), "has no convolution 'p.m_head.weight'"),
        (lambda s: s.pop("p.m_down2.2.weight"), "has no convolution 'p.m_down2.2.weight'"),
        (lambda s: s.pop("p.m_up3.1.res.0.weight"), "p.m_up3.1.res.0.weight is missing$"),
        (lambda s: s.update(m_new=torch.ones(1)), "m_new is unexpected$"),
        (
            lambda s: s.update({"h.mlp.2.bias": torch.ones(3)}),
            r"h.mlp.2.bias is \(3,\), expected \(32,\)$",
        ),
        (
            lambda s: s.update({"p.m_tail.weight": torch.full((3, 16, 3, 3), torch.nan)}),
            "NaN or infinity in 1: p.m_tail.weight",
        ),
    ],
)
def test_what_is_no_usrnet(usrnet, change, message):
    state = dict(usrnet.state_dict())
    change(state)
    with pytest.raises(ValueError, match=message):
        from_usrnet(state)


def test_files_that_are_no_usrnet(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"usrnet.pth is not a file"):
        from_usrnet(tmp_path / "usrnet.pth")
    path = tmp_path / "net.pth"
    torch.save([torch.ones(2)], path)
    with pytest.raises(ValueError, match="holds a list; expected tensors by name"):
        from_usrnet(path)
    for data in (b"", b"PK\x03\x04", path.read_bytes()[:200]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="is no file of tensors only"):
            from_usrnet(path)
