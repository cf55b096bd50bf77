"""Image deconvolution and deblurring: build the blur, invert it, judge the inverse.

An observed image is ``y = noise(A x)``. Everything here builds A, inverts it, or judges the
inverse; the public names are those below.
"""

import importlib
from typing import TYPE_CHECKING, Any

from deconv import evidence, fft, metrics, noise, psf
from deconv.filter_bank import filter_bank
from deconv.identify import fit_psf
from deconv.operators import Blur, SpatiallyVaryingBlur, StridedBlur
from deconv.plug_and_play import plug_and_play
from deconv.pseudo_inverse import pseudo_inverse
from deconv.richardson_lucy import richardson_lucy
from deconv.variational import hyper_laplacian, l0_gradient, tv
from deconv.wiener import wiener

if TYPE_CHECKING:
    from deconv import blind

__version__ = "0.1.0"

__all__ = [
    "Blur",
    "SpatiallyVaryingBlur",
    "StridedBlur",
    "blind",
    "evidence",
    "fft",
    "filter_bank",
    "fit_psf",
    "hyper_laplacian",
    "l0_gradient",
    "metrics",
    "noise",
    "plug_and_play",
    "pseudo_inverse",
    "psf",
    "richardson_lucy",
    "tv",
    "wiener",
]


def __getattr__(name: str) -> Any:
    """Load `deconv.blind` when it is first asked for: its filters take long to load."""
    if name == "blind":
        return importlib.import_module("deconv.blind")
    raise AttributeError(f"module 'deconv' has no attribute {name!r}")
