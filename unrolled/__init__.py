"""The learned half: networks unrolled from the solvers of `deconv`, on the same operators.

The public names are those below. Each is loaded when it is first asked for, so that a look at the
registry of methods does not load PyTorch.
"""

import importlib
from typing import Any

# Where each public name lives.
_HOMES = {
    "BlurClassifier": "models.blur_classifier",
    "HQSConfig": "hqs",
    "HQSNet": "hqs",
    "HyperParameterNet": "hqs",
    "MultiLambdaFusion": "fusion",
    "PsfError": "kernel_error",
    "Recipe": "synthesis",
    "ResUNet": "unet",
    "Synthesis": "synthesis",
    "export_prior": "export",
    "from_usrnet": "usrnet",
}

__all__ = [
    "BlurClassifier",
    "HQSConfig",
    "HQSNet",
    "HyperParameterNet",
    "MultiLambdaFusion",
    "PsfError",
    "Recipe",
    "ResUNet",
    "Synthesis",
    "export_prior",
    "from_usrnet",
]


def __getattr__(name: str) -> Any:
    """Load a public name."""
    if name not in _HOMES:
        raise AttributeError(f"module 'unrolled' has no attribute {name!r}")
    return getattr(importlib.import_module(f"unrolled.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """What is loaded, and what can be."""
    return sorted({*globals(), *__all__})
