"""Image deconvolution and deblurring: build the blur, invert it, judge the inverse.

An observed image is ``y = noise(A x)``. Everything here builds A, inverts it, or judges the
inverse; the public names are those below.
"""

from deconv import evidence, fft, metrics, noise, psf
from deconv.identify import fit_psf
from deconv.operators import Blur
from deconv.richardson_lucy import richardson_lucy
from deconv.wiener import wiener

__version__ = "0.1.0"

__all__ = [
    "Blur",
    "evidence",
    "fft",
    "fit_psf",
    "metrics",
    "noise",
    "psf",
    "richardson_lucy",
    "wiener",
]
