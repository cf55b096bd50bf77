"""Array libraries to test with, pictures, psfs, and the blur written out by other means."""

from functools import cache
from importlib.util import find_spec

import numpy as np
import scipy.ndimage
import scipy.signal

# Every operator and solver is tested with each of these; "strict" is the array API to the letter.
LIBRARIES = ["numpy"]
LIBRARIES += ["torch"] if find_spec("torch") else []
LIBRARIES += ["strict"] if find_spec("array_api_strict") else []

BOUNDARIES = ("unknown", "periodic", "zero")


def put(x, library):
    """A NumPy array as an array of `library`; the NumPy one is made read-only."""
    if library == "torch":
        import torch

        return torch.tensor(x)
    if library == "strict":
        import array_api_strict

        return array_api_strict.asarray(x, copy=True)
    x = np.array(x)
    x.setflags(write=False)
    return x


def get(x):
    """An array of any library as a NumPy array."""
    return x.detach().numpy() if hasattr(x, "detach") else np.asarray(x)


def random_psf(rng, size, lead=(), dtype=np.float64):
    """A psf without any symmetry, so that flips and shifts show."""
    psf = rng.random((*lead, *size)) + 0.05
    return (psf / psf.sum(axis=tuple(range(-len(size), 0)), keepdims=True)).astype(dtype)


def scipy_blur(psf, x, shape, boundary):
    """The blur of the latent image `x`, of the same number of axes as `psf`, by scipy."""
    if boundary == "periodic":
        return scipy.ndimage.convolve(x, psf, mode="wrap")
    if boundary == "zero":
        return scipy.ndimage.convolve(x[tuple(slice(n) for n in shape)], psf, mode="constant")
    whole = tuple(slice(n + k - 1) for n, k in zip(shape, psf.shape, strict=True))
    return scipy.signal.convolve(x[whole], psf, mode="valid", method="direct")


@cache
def picture(name="camera", size=128):
    """A grey crop of a picture that ships with scikit-image, on [0, 1] in float64."""
    from skimage import color, data

    image = getattr(data, name)()
    if image.ndim == 3:
        image = color.rgb2gray(image) * 255
    y, x = ((n - size) // 2 for n in image.shape)
    crop = image[y : y + size, x : x + size] / 255
    crop.setflags(write=False)
    return crop


@cache
def colour_picture(size=96):
    """A colour crop, (Y, X, 3), on [0, 1] in float64."""
    from skimage import data

    crop = data.astronaut()[40 : 40 + size, 180 : 180 + size] / 255
    crop.setflags(write=False)
    return crop


def scene_and_blurred(psf, name="camera", size=128, sigma=0.0, rng=0):
    """A frame of a scene that goes on beyond it, and the frame as it looks blurred and noisy."""
    big = picture(name, size + 64)
    noise = np.random.default_rng(rng).normal(size=(size, size))
    y, x = (32 - (k - 1 - k // 2) for k in psf.shape)
    k, m = psf.shape
    blurred = scipy.signal.fftconvolve(
        big[y : y + size + k - 1, x : x + size + m - 1], psf, "valid"
    )
    return big[32 : 32 + size, 32 : 32 + size], blurred + sigma * noise


def psnr(true, x):
    """On a scale where white is 1."""
    return float(-10 * np.log10(np.mean((np.asarray(true) - np.asarray(x)) ** 2)))
