"""Point spread functions: made from a formula, drawn at random, read from a file, edited.

A psf is a plain array: non-negative, sums to 1, with its centre at index ``size // 2`` on every
axis, odd or even. Lengths are in pixels and angles in degrees, counter-clockwise as seen on screen.
"""

from deconv.psf.families import airy, defocus, gaussian
from deconv.psf.files import check_file, from_file, to_file
from deconv.psf.geometry import centre, centroid, crop, normalise, pad, resize, shift
from deconv.psf.path import motion, trajectory

__all__ = [
    "airy",
    "centre",
    "centroid",
    "check_file",
    "crop",
    "defocus",
    "from_file",
    "gaussian",
    "motion",
    "normalise",
    "pad",
    "resize",
    "shift",
    "to_file",
    "trajectory",
]
