"""The package's names and its entry in the registry: light until a network is asked for."""

import subprocess
import sys
from importlib.metadata import entry_points

import numpy as np
import pytest

import unrolled
from deconv import methods
from unrolled.methods import HQS, hqs


def run(code):
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.fixture
def saved(tmp_path):
    """An untrained network, and the path of its weights."""
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from unrolled import weights

    network = unrolled.HQSNet.preset("tiny", widths=(4,), blocks=1, hidden=4, iterations=1)
    return network, str(weights.save(network, tmp_path / "net.safetensors"))


def test_torch_is_loaded_when_a_network_is_asked_for():
    pytest.importorskip("torch")
    run(
        "import sys, unrolled, unrolled.methods\n"
        "assert not {'torch', 'safetensors', 'lightning_fabric'} & set(sys.modules)\n"
        "unrolled.HQSNet\n"
        "assert 'torch' in sys.modules"
    )


def test_public_names():
    pytest.importorskip("torch")
    assert len(set(unrolled.__all__)) == len(unrolled.__all__)
    for name in unrolled.__all__:
        assert getattr(unrolled, name).__doc__
    assert set(unrolled.__all__) <= set(dir(unrolled))
    with pytest.raises(AttributeError, match="'unrolled' has no attribute 'hqsnet'"):
        _ = unrolled.hqsnet


@pytest.mark.parametrize("absent", ["torch", "safetensors"])
def test_what_to_install(absent, saved):
    run(
        "import sys, numpy as np\n"
        f"sys.modules[{absent!r}] = None\n"
        "from unrolled.methods import hqs\n"
        "try:\n"
        f"    hqs(np.ones((8, 8)), np.ones((1, 1)), network={saved[1]!r})\n"
        "except ImportError as error:\n"
        "    assert \"pip install 'deconv[unrolled]'\" in str(error), error\n"
        f"    assert {absent!r} in str(error), error\n"
        "else:\n"
        "    raise SystemExit('no error')"
    )


def test_the_function_restores_by_a_network(saved):
    network, path = saved
    image = np.random.default_rng(0).random((12, 3, 10))
    kernel = np.full((3, 3), 1 / 9)
    options = {"boundary": "periodic", "sigma": 0.02, "channel_axis": 1, "colours": "separate"}
    options |= {"saturation": 0.9, "weights": np.ones((12, 10))}
    states = []
    found = hqs(image, kernel, network=path, callback=states.append, **options)
    np.testing.assert_array_equal(found, network.restore(image, kernel, **options))
    assert len(states) == 3


def test_parameters_read_text():
    known = {parameter.name: parameter for parameter in HQS.parameters}
    assert set(known) == {"network", "colours", "saturation"}
    assert known["network"].read("runs/hqs") == "runs/hqs"
    assert "hqs-gray" in known["network"].range
    assert known["colours"].read("separate") == "separate"
    with pytest.raises(ValueError, match="did you mean 'opponent'"):
        known["colours"].read("oponent")
    # A word of the parameter's own is that word, not "found from the data".
    assert known["saturation"].read("auto") == "auto"
    assert known["saturation"].read("0.9") == 0.9
    assert known["saturation"].read("none") is None


def test_the_registry_finds_it():
    if "hqs" not in {entry.name for entry in entry_points(group=methods.GROUP)}:
        pytest.skip("installed before there was an entry point: pip install -e . again")
    method = methods.get("hqs")
    assert method.function is hqs and method.needs_psf and method.noise == "sigma"
    options = method.options({"saturation": "auto", "colours": "separate"}, 0.1)
    assert options == {"saturation": "auto", "colours": "separate", "sigma": 0.1}
    with pytest.raises(ValueError, match="psf=None; hqs needs the psf"):
        method.restore(np.ones((8, 8)))
