"""Blind deconvolution: the psf and the picture from one photograph."""

from deconv.blind.estimate import Blind, Estimate, deblur, estimate, estimate_psf
from deconv.blind.estimators import NAMES as PRIORS

__all__ = ["PRIORS", "Blind", "Estimate", "deblur", "estimate", "estimate_psf"]
