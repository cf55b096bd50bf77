"""Blind deconvolution: the psf and the picture from one photograph."""

from deconv.blind.estimate import Blind, Estimate, deblur, estimate, estimate_psf
from deconv.blind.estimators import NAMES as PRIORS
from deconv.blind.polyblur import polyblur, polyblur_psf

__all__ = [
    "PRIORS",
    "Blind",
    "Estimate",
    "deblur",
    "estimate",
    "estimate_psf",
    "polyblur",
    "polyblur_psf",
]
