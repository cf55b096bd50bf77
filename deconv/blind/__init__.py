"""Blind deconvolution: the psf and the picture from one photograph."""

from deconv.blind.estimate import Blind, deblur, estimate_psf
from deconv.blind.estimators import NAMES as PRIORS

__all__ = ["PRIORS", "Blind", "deblur", "estimate_psf"]
