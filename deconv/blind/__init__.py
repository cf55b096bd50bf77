"""Blind deconvolution: the psf and the picture from one photograph."""
