"""What every test may rely on: where the data are, one torch thread, one hypothesis profile."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("deconv", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("deconv")

if find_spec("torch"):
    import torch

    # The test workers share the cores.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data():
    """Root of the data that are not part of the project; a test without them is skipped."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("DECONV_DATA", beside))
    if not root.is_dir():
        pytest.skip(f"no data at {root}: set DECONV_DATA to their folder")
    return root
