"""Blind deconvolution: the psf and the picture from one photograph."""

from deconv.blind.estimate import (
    DERINGING,
    Blind,
    Estimate,
    deblur,
    estimate,
    estimate_psf,
    noise_level,
)
from deconv.blind.estimators import NAMES as PRIORS
from deconv.blind.polyblur import polyblur, polyblur_psf
from deconv.blind.refine import refine_psf

__all__ = [
    "DERINGING",
    "PRIORS",
    "Blind",
    "Estimate",
    "deblur",
    "estimate",
    "estimate_psf",
    "noise_level",
    "polyblur",
    "polyblur_psf",
    "refine_psf",
]
