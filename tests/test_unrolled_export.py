"""Exported priors give the numbers of the module, at sizes that they were not traced with."""

import importlib.util
from functools import cache

import pytest

torch = pytest.importorskip("torch")

from unrolled import export  # noqa: E402
from unrolled.export import export_prior  # noqa: E402
from unrolled.hqs import HQSNet  # noqa: E402
from unrolled.unet import ResUNet  # noqa: E402

FORMATS = [".pt2", ".onnx"]


def network(**changes):
    torch.manual_seed(0)
    model = HQSNet.preset("tiny", **{"widths": (4, 8, 8), "blocks": 1, "hidden": 4} | changes)
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def run(path, picture, sigma):
    """What the program in a file makes of its inputs."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(picture, sigma)
    reference = pytest.importorskip("onnx.reference")
    feeds = {"picture": picture.numpy(), "sigma": sigma.numpy()}
    return torch.from_numpy(reference.ReferenceEvaluator(str(path)).run(["clean"], feeds)[0])


def needs(suffix):
    if suffix == ".onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def colour():
    """A network with every kind of layer."""
    return network(channels=3, attention=True)


@pytest.fixture(scope="module")
def exported(colour, tmp_path_factory):
    """The path of a file of `colour`, by suffix."""
    folder = tmp_path_factory.mktemp("exported")

    @cache
    def path(suffix):
        needs(suffix)
        return export_prior(colour, folder / f"prior{suffix}")

    return path


@torch.no_grad()
@pytest.mark.parametrize("suffix", FORMATS)
def test_numbers_at_other_sizes(colour, exported, suffix):
    path = exported(suffix)
    assert not [p.name for p in path.parent.iterdir() if p.stem != "prior"]
    for shape in [(1, 8, 8), (3, 36, 20)]:
        picture, sigma = torch.rand(shape[0], 3, *shape[1:]), torch.rand(shape[0], 1, *shape[1:])
        expected = colour.prior(picture, sigma)
        assert (expected - picture).abs().max() > 0.01
        assert (run(path, picture, sigma) - expected).abs().max() < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_fixed_size(tmp_path, suffix):
    needs(suffix)
    prior = network(residual=False).prior.double()
    path = export_prior(prior, str(tmp_path / f"prior{suffix}"), size=(16, 8))
    picture, sigma = torch.rand(5, 1, 16, 8), torch.rand(5, 1, 16, 8)
    assert prior.training and prior.tail.weight.dtype == torch.float64
    expected = prior.float()(picture, sigma)
    assert (run(path, picture, sigma) - expected).abs().max() < 1e-5
    other = torch.rand(5, 1, 16, 16)
    if suffix == ".pt2":
        with pytest.raises((AssertionError, RuntimeError), match=r"size\(\)\[3\] == 8"):
            run(path, other, other)


def test_a_program_says_what_it_takes(exported):
    path = exported(".pt2")
    program = torch.export.load(path)
    assert program.graph_signature.user_inputs == ("picture", "sigma")
    assert b"export.py" not in path.read_bytes()
    for shape in [(1, 3, 18, 16), (1, 2, 16, 16)]:
        with pytest.raises((AssertionError, RuntimeError)):
            program.module()(torch.zeros(shape), torch.zeros(1, 1, *shape[2:]))


def test_an_onnx_file_says_what_it_takes(exported):
    onnx = pytest.importorskip("onnx")
    path = exported(".onnx")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    axes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    sizes = ["4*rows", "4*columns"]
    assert axes == {
        "picture": ["pictures", 3, *sizes],
        "sigma": ["pictures", 1, *sizes],
        "clean": ["pictures", 3, *sizes],
    }
    assert b"export.py" not in path.read_bytes()


@pytest.mark.parametrize("size", [(16, 18), (4, 8), (8,), (0, 8)])
def test_refused_sizes(tmp_path, size):
    with pytest.raises(ValueError, match="expected multiples of the stride 4, from 8 on"):
        export_prior(network(), tmp_path / "prior.pt2", size=size)


def test_refused_targets(tmp_path):
    with pytest.raises(ValueError, match=r"suffix='.pt' is not known; did you mean '.pt2'"):
        export_prior(network(), tmp_path / "prior.pt")
    with pytest.raises(FileNotFoundError, match=r"folder .*absent does not exist"):
        export_prior(network(), tmp_path / "absent" / "prior.pt2")
    with pytest.raises(TypeError, match="model is a Linear; expected an HQSNet or a ResUNet"):
        export_prior(torch.nn.Linear(2, 2), tmp_path / "prior.pt2")


@pytest.mark.parametrize("absent", ["onnx", "onnxscript"])
def test_absent_packages(tmp_path, monkeypatch, absent):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        export.importlib.util, "find_spec", lambda name: None if name == absent else find(name)
    )
    with pytest.raises(ImportError, match=rf"package {absent}: pip install 'deconv\[export\]'"):
        export_prior(ResUNet(1, (4, 4), blocks=1), tmp_path / "prior.onnx")
    assert not list(tmp_path.iterdir())
