"""Several weights at once: each branch is what half-quadratic splitting makes of its weight."""

import numpy as np
import pytest
from helpers import LIBRARIES, get, picture, psnr, put, random_psf

from deconv import psf as psfs
from deconv.fan import fan
from deconv.fidelity import Fidelity
from deconv.operators import Blur
from deconv.priors import HyperLaplacian
from deconv.splitting import Term, hqs

# Boundary, and what is not as observed.
KINDS = {
    "periodic": ("periodic", {}),
    "unknown": ("unknown", {}),
    "zero": ("zero", {}),
    "weights": ("unknown", {"weighted"}),
    "clipped": ("unknown", {"clipped"}),
    "periodic with both": ("periodic", {"weighted", "clipped"}),
}
SHAPES = [(13, 10), (16, 12), (9, 17), (23,), (7, 6, 8)]
FACTORS = (0.04, 0.2, 1.0, 5.0)
# Six stages from Krishnan and Fergus's first penalty to their last.
BETAS = [256 ** (k / 5) for k in range(6)]


def case(kind="unknown", shape=(13, 10), lead=(2,), library="numpy", dtype="float64"):
    """A data term with one psf, mask and weight of the prior for each leading index."""
    boundary, what = KINDS[kind]
    rng = np.random.default_rng(0)
    psf = random_psf(rng, (4, 3, 2)[: len(shape)], lead)
    y = rng.random((*lead, *shape))
    weights = rng.random(y.shape) * (rng.random(y.shape) > 0.2)
    lam = np.geomspace(2e-3, 2e-2, int(np.prod(lead))).reshape(*lead, *[1] * len(shape))
    psf, y_, weights, lam = (put(v.astype(dtype), library) for v in (psf, y, weights, lam))
    A = Blur(psf, shape, boundary=boundary, weights=weights if "weighted" in what else None)
    return Fidelity(A, y_, put(y > 0.8, library) if "clipped" in what else None), lam


def part(fidelity, i):
    """The data term of leading index i."""
    A, clipped = fidelity.A, fidelity.clipped
    weights = None if A.weights is None else A.weights[i]
    B = Blur(A.psf[i], A.shape, boundary=A.boundary, weights=weights)
    return Fidelity(B, fidelity.y[i], None if clipped is None else clipped[i])


def close(found, expected, tolerance):
    """To `tolerance` of the range."""
    scale = np.ptp(get(expected))
    np.testing.assert_allclose(get(found), get(expected), rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_one_branch_is_half_quadratic_splitting(kind, shape):
    fidelity, lam = case(kind, shape)
    found = fan(fidelity, lam, (1,), steps=(4, 4))
    term = Term(HyperLaplacian(2 / 3), lam, [beta * lam for beta in BETAS])
    expected = hqs(fidelity, [term], steps=4).image
    assert found.shape == (1, 2, *fidelity.A.domain)
    # Conjugate gradients carry rounding from one kind of start to the other.
    close(found[0], expected, 1e-8)


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_stages_written_out(library):
    # Everything is observed: each stage is one division of spectra.
    fidelity, lam = case("periodic", (12, 9), (), library)
    A, p, factors, middle = fidelity.A, 0.8, (0.3, 4.0), get(lam).item()
    K = np.fft.fft2(np.roll(np.pad(get(A.psf), ((0, 8), (0, 6))), (-2, -1), (0, 1)))
    steps = [
        np.exp(2j * np.pi * np.fft.fftfreq(12))[:, None] - 1,
        np.exp(2j * np.pi * np.fft.fftfreq(9))[None] - 1,
    ]
    y = np.fft.fft2(get(fidelity.y))

    def stage(x, weight, beta):
        above, below = K.conj() * y, abs(K) ** 2
        for axis, D in enumerate(steps):
            z = HyperLaplacian(p).prox(np.roll(x, -1, axis) - x, 1 / beta)
            above = above + beta * weight * D.conj() * np.fft.fft2(z)
            below = below + beta * weight * abs(D) ** 2
        return np.fft.ifft2(above / below).real

    betas = [256 ** (k / 4) for k in range(5)]
    trunk = get(fidelity.y)
    for beta in betas[:2]:
        trunk = stage(trunk, middle, beta)
    found = fan(fidelity, lam, factors, p=p, shared=2, own=3)
    assert tuple(found.shape) == (2, 12, 9)
    for branch, factor in zip(get(found), factors, strict=True):
        x = trunk
        for beta in betas[2:]:
            x = stage(x, factor * middle, beta)
        close(branch, x, 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_many_at_once_are_each_alone(kind):
    fidelity, lam = case(kind, lead=(2, 3))
    together = fan(fidelity, lam, FACTORS)
    assert together.shape == (4, 2, 3, *fidelity.A.domain)
    for k, factor in enumerate(FACTORS):
        close(together[k], fan(fidelity, lam, [factor])[0], 1e-9)
    for i in ((0, 1), (1, 2)):
        alone = fan(part(fidelity, i), lam[i], FACTORS)
        close(together[:, *i], alone, 1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-4), ("float64", 1e-9)])
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_library_and_type(kind, library, dtype, tolerance):
    expected = fan(*case(kind), FACTORS)
    fidelity, lam = case(kind, library=library, dtype=dtype)
    found = fan(fidelity, lam, FACTORS)
    assert type(found) is type(fidelity.y)
    assert str(found.dtype).endswith(dtype)
    close(found, expected, tolerance)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", KINDS)
def test_inputs_are_left_alone(kind, library):
    fidelity, lam = case(kind, library=library)
    given = [fidelity.y, fidelity.A.psf, lam, fidelity.A.weights, fidelity.clipped]
    given = [v for v in given if v is not None]
    kept = [get(v).copy() for v in given]
    fan(fidelity, lam, FACTORS)
    for v, before in zip(given, kept, strict=True):
        np.testing.assert_array_equal(get(v), before)


@pytest.mark.parametrize("boundary", ["periodic", "unknown"])
def test_a_mild_blur_without_noise_is_undone(boundary):
    scene, kernel = picture(size=64), psfs.gaussian(0.7)
    wide = Blur(kernel, scene.shape, boundary="periodic")
    cut = slice(None) if boundary == "periodic" else slice(8, -8)
    sharp, y = scene[cut, cut], wide(scene)[cut, cut]
    A = Blur(kernel, y.shape, boundary=boundary)
    found = fan(Fidelity(A, y), np.array(1e-6), (0.1, 1.0))
    inside = slice(4, -4)
    for x in A.crop(found):
        gain = psnr(sharp[inside, inside], x[inside, inside])
        assert gain > psnr(sharp[inside, inside], y[inside, inside]) + 15


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_factor_is_smoother_and_fits_less(kind):
    boundary, what = KINDS[kind]
    rng = np.random.default_rng(0)
    scene, kernel = picture(size=48), psfs.motion(7, 30)
    y = Blur(kernel, scene.shape, boundary="periodic")(scene) + 0.01 * rng.normal(size=scene.shape)
    weights = (rng.random(y.shape) > 0.1).astype(float) if "weighted" in what else None
    A = Blur(kernel, y.shape, boundary=boundary, weights=weights)
    seen = np.minimum(y, 0.8) if "clipped" in what else y
    fidelity = Fidelity(A, seen, y > 0.8 if "clipped" in what else None)
    factors = (0.01, 0.04, 0.2, 1.0, 5.0, 25.0)
    found = fan(fidelity, np.array(6e-4), factors)
    frames = A.crop(found)
    variation = sum(np.abs(np.diff(frames, axis=axis)).sum((-2, -1)) for axis in (-2, -1))
    assert (np.diff(variation) < 0).all()
    assert variation[0] > 2 * variation[-1]
    misfit = [fidelity.value(A(x)) for x in found]
    assert (np.diff(misfit) > 0).all()
