"""`import deconv` stays light: what is heavy is imported where it is used."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "matplotlib",
    "skimage",
    "pyfftw",
    "ducc0",
    "PIL",
    "tifffile",
    "h5py",
    "typer",
    "tqdm",
    "pandas",
    "scipy.signal",
    "scipy.ndimage",
    "scipy.optimize",
)


def loaded_by(statement):
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    run = [sys.executable, "-W", "error", "-c", code]
    return set(subprocess.run(run, check=True, capture_output=True, text=True).stdout.split())


def test_import_loads_nothing_heavy():
    # scipy.fft is a promised dependency; what it brings along is not ours to forbid.
    extra = loaded_by("import deconv") - loaded_by("import numpy, scipy.fft")
    assert "deconv" in extra
    assert not extra & set(HEAVY)
    assert not any(name.partition(".")[0] == "unrolled" for name in extra)


def test_public_names_are_one_visible_list():
    import deconv

    assert len(set(deconv.__all__)) == len(deconv.__all__)
    for name in deconv.__all__:
        assert getattr(deconv, name).__doc__
    assert {"Blur", "wiener", "richardson_lucy", "psf", "metrics"} <= set(deconv.__all__)


@pytest.mark.parametrize("name", ["arrays", "threads", "fft", "operators", "psf", "progress"])
def test_every_module_says_what_it_offers(name):
    import importlib

    module = importlib.import_module(f"deconv.{name}")
    assert module.__doc__
    for public in module.__all__:
        assert hasattr(module, public)
