"""MAP restoration: known limits, recovery with nothing given, symmetries, dimensions, options."""

import numpy as np
import pytest
from helpers import (
    BOUNDARIES,
    colour_picture,
    picture,
    psnr,
    random_psf,
    scene_and_blurred,
)

import deconv
from deconv import Blur, psf

KERNEL = psf.gaussian(1.5)
SHARP, BLURRED = scene_and_blurred(KERNEL, "camera", 96, 0.01)
DELTA = np.ones((1, 1))


def plug_and_play(image, psf, **options):
    return deconv.plug_and_play(image, psf, options.pop("denoise", "tv"), **options)


GRADIENT = {
    "tv": deconv.tv,
    "hyper_laplacian": deconv.hyper_laplacian,
    "l0_gradient": deconv.l0_gradient,
}
SOLVERS = GRADIENT | {"plug_and_play": plug_and_play}
all_solvers = pytest.mark.parametrize("name", SOLVERS)
gradient_solvers = pytest.mark.parametrize("name", GRADIENT)
all_boundaries = pytest.mark.parametrize("boundary", BOUNDARIES)


def observed(boundary, size=96, kernel=KERNEL, sigma=0.01):
    """Scene and noisy blurred picture that obey the boundary's own assumption."""
    if boundary == "unknown":
        return scene_and_blurred(kernel, "camera", size, sigma)
    sharp = picture("camera", size)
    if boundary == "zero":
        sharp = np.pad(sharp[8:-8, 8:-8], 8)
    A = Blur(kernel, sharp.shape, boundary=boundary)
    noise = sigma * np.random.default_rng(0).normal(size=sharp.shape)
    return sharp, A(A.frame.pad(sharp)) + noise


def close(a, b, tolerance):
    """Equal to `tolerance` times the largest value."""
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


# --- known limits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("channel_axis", [None, -1])
@pytest.mark.parametrize("lam", [0.02, 0.15])
def test_without_blur_tv_is_the_denoising_of_chambolle(lam, channel_axis):
    from skimage.restoration import denoise_tv_chambolle

    # A size that no FFT wants to be larger: then nothing lies beyond the frame.
    sharp = picture("camera", 48) if channel_axis is None else colour_picture(48)
    noisy = sharp + 0.1 * np.random.default_rng(0).normal(size=sharp.shape)
    assert Blur(DELTA, noisy.shape[:2]).domain == noisy.shape[:2]
    expected = denoise_tv_chambolle(
        noisy, weight=lam, eps=1e-12, max_num_iter=4000, channel_axis=channel_axis
    )
    found = deconv.tv(
        noisy, DELTA, lam=lam, vectorial=False, channel_axis=channel_axis, n_iter=1000, tol=0
    )
    close(found, expected, 1e-3)
    # Colours that share one gradient are something else.
    if channel_axis is not None:
        joint = deconv.tv(noisy, DELTA, lam=lam, channel_axis=-1, n_iter=300, tol=0)
        assert np.abs(joint - expected).max() > 1e-2


@all_boundaries
@all_solvers
def test_a_delta_and_vanishing_noise_change_nothing(name, boundary):
    tolerance = 1e-2 if name == "plug_and_play" else 1e-6
    for sigma in (0, 1e-6):
        close(SOLVERS[name](SHARP, DELTA, boundary=boundary, sigma=sigma), SHARP, tolerance)
    centred = np.zeros((4, 5))
    centred[2, 2] = 1
    found = SOLVERS[name](SHARP, centred, boundary=boundary, sigma=1e-6)
    close(found, SHARP, max(tolerance, 1e-3))


@all_solvers
def test_noise_free_mild_blur_is_undone(name):
    mild = psf.gaussian(0.8)
    A = Blur(mild, SHARP.shape, boundary="periodic")
    assert psnr(SHARP, SOLVERS[name](A(SHARP), A)) > psnr(SHARP, A(SHARP)) + 12
    sharp, blurred = scene_and_blurred(mild, "camera", 96, 0.0)
    assert psnr(sharp, SOLVERS[name](blurred, mild)) > psnr(sharp, blurred) + 2.5


@gradient_solvers
def test_without_weight_the_blur_is_undone_and_a_huge_one_leaves_the_mean(name):
    A = Blur(psf.gaussian(0.6), SHARP.shape, boundary="periodic")
    close(GRADIENT[name](A(SHARP), A, lam=0), SHARP, 0.05)
    flat = GRADIENT[name](BLURRED, KERNEL, lam=1e4, **({"n_iter": 300} if name == "tv" else {}))
    assert flat.std() < 0.1 * BLURRED.std()
    assert abs(flat.mean() - BLURRED.mean()) < 0.1 * BLURRED.mean()


@gradient_solvers
def test_a_larger_weight_smooths_more(name):
    lams = [0.3, 1, 3]
    unit = {"tv": 1e-3, "hyper_laplacian": 1e-3, "l0_gradient": 1e-3}[name]
    detail = [
        np.abs(np.diff(GRADIENT[name](BLURRED, KERNEL, lam=unit * lam))).sum() for lam in lams
    ]
    assert detail == sorted(detail, reverse=True)
    given = [
        np.abs(np.diff(GRADIENT[name](BLURRED, KERNEL, sigma=s))).sum() for s in (0.003, 0.01, 0.03)
    ]
    assert given == sorted(given, reverse=True)


@all_solvers
@pytest.mark.parametrize("boundary", ["unknown", "periodic"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_flat_picture_stays_flat(name, boundary, dtype):
    for level in (0, 1, 7.5, 4e4):
        flat = np.full((30, 31), level, dtype)
        np.testing.assert_allclose(SOLVERS[name](flat, KERNEL, boundary=boundary), flat, rtol=0.05)


@all_boundaries
@all_solvers
def test_where_all_is_noise_the_mean_remains(name, boundary):
    for sigma in (1e-3, 0.1):
        noisy = 0.5 + sigma * np.random.default_rng(0).normal(size=(40, 41))
        found = SOLVERS[name](noisy, KERNEL, boundary=boundary)
        inside = found[8:-8, 8:-8]
        assert abs(inside.mean() - 0.5) < 0.05
        assert inside.std() < sigma + 0.02


# --- recovery -------------------------------------------------------------------------------------

GAINS = {"tv": 1.5, "hyper_laplacian": 1.5, "l0_gradient": 0.5, "plug_and_play": 1.4}


@all_solvers
@pytest.mark.parametrize("sigma", [0.005, 0.03])
@pytest.mark.parametrize("scene", ["camera", "coins", "moon"])
def test_everything_automatic_beats_the_blurred_picture(name, scene, sigma):
    for kernel in (KERNEL, psf.motion(11, 30), psf.defocus(3)):
        sharp, blurred = scene_and_blurred(kernel, scene, 96, sigma)
        found = SOLVERS[name](blurred, kernel)
        assert psnr(sharp, found) > psnr(sharp, blurred) + GAINS[name] * (
            0.6 if sigma > 0.02 else 1
        )
        border = np.ones(sharp.shape, bool)
        border[8:-8, 8:-8] = False
        assert psnr(sharp[border], found[border]) > psnr(sharp[border], blurred[border])


@all_boundaries
@all_solvers
def test_every_boundary_is_served(name, boundary):
    sharp, blurred = observed(boundary)
    found = SOLVERS[name](blurred, KERNEL, boundary=boundary)
    assert psnr(sharp, found) > psnr(sharp, blurred) + 2.5
    assert psnr(sharp, found) > psnr(sharp, deconv.wiener(blurred, KERNEL, boundary=boundary))
    operator = Blur(KERNEL, blurred.shape, boundary=boundary)
    np.testing.assert_array_equal(SOLVERS[name](blurred, operator), found)


@gradient_solvers
def test_the_weight_found_is_nearly_the_best(name):
    solver = GRADIENT[name]
    best = max(
        psnr(SHARP, solver(BLURRED, KERNEL, lam=float(w))) for w in np.geomspace(1e-5, 0.1, 13)
    )
    assert psnr(SHARP, solver(BLURRED, KERNEL)) > best - 0.4
    assert psnr(SHARP, solver(BLURRED, KERNEL, lam="sure")) > best - 0.5
    assert psnr(SHARP, solver(BLURRED, KERNEL, sigma=0.01)) > best - 0.4


def test_the_default_number_of_iterations_is_enough():
    settled = deconv.tv(BLURRED, KERNEL, n_iter=500, tol=0)
    assert psnr(SHARP, deconv.tv(BLURRED, KERNEL)) > psnr(SHARP, settled) - 0.1


# --- symmetries -----------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e-3, 255.0, 1e4])
@all_boundaries
@all_solvers
def test_the_unit_does_not_matter(name, boundary, factor):
    _, blurred = observed(boundary, 48)
    found = SOLVERS[name](blurred, KERNEL, boundary=boundary)
    close(SOLVERS[name](factor * blurred, KERNEL, boundary=boundary) / factor, found, 1e-9)
    single = SOLVERS[name]((factor * blurred).astype("f4"), KERNEL, boundary=boundary)
    assert single.dtype == np.float32
    assert psnr(found, single / factor) > 40


@pytest.mark.parametrize("shift", [1.0, -20.0, 300.0])
@pytest.mark.parametrize("boundary", ["unknown", "periodic"])
@gradient_solvers
def test_a_pedestal_does_not_matter(name, boundary, shift):
    _, blurred = observed(boundary, 48)
    found = GRADIENT[name](blurred, KERNEL, boundary=boundary)
    moved = GRADIENT[name](blurred + shift, KERNEL, boundary=boundary)
    assert psnr(found, moved - shift) > 60


MOVES = {
    "up-down": (np.flipud, np.flipud),
    "left-right": (np.fliplr, np.fliplr),
    "transposed": (np.transpose, np.transpose),
    "shifted": (lambda y: np.roll(y, (5, 17), (0, 1)), lambda kernel: kernel),
}


@pytest.mark.parametrize("move", MOVES)
@gradient_solvers
def test_it_moves_with_the_picture(name, move):
    of_image, of_psf = MOVES[move]
    kernel = random_psf(np.random.default_rng(0), (5, 5))
    A = Blur(kernel, SHARP.shape, boundary="periodic")
    y = A(SHARP) + 0.01 * np.random.default_rng(1).normal(size=SHARP.shape)
    options = {"boundary": "periodic", "lam": 3e-3, "sigma": 0.01}
    found = GRADIENT[name](y, kernel, **options)
    moved = GRADIENT[name](of_image(y).copy(), of_psf(kernel).copy(), **options)
    # Forward differences are not those of the mirrored picture: nearly, not exactly.
    # The gradient that sets the penalties comes from a fit, which a transpose ends elsewhere.
    if move in ("transposed", "shifted"):
        close(moved, of_image(found), 1e-7 if move == "shifted" else 1e-3)
    else:
        assert psnr(moved, of_image(found)) > 35


# --- missing pixels, channels, dimensions ---------------------------------------------------------


@all_boundaries
@all_solvers
def test_missing_pixels_cost_little(name, boundary):
    sharp, blurred = observed(boundary)
    whole = SOLVERS[name](blurred, KERNEL, boundary=boundary)
    gone = np.random.default_rng(0).random(sharp.shape) < 0.02
    holed = np.where(gone, np.nan, blurred)
    found = SOLVERS[name](holed, KERNEL, boundary=boundary)
    assert np.isfinite(found).all()
    # Counting gradients is not convex: a hole may end in another picture.
    assert psnr(sharp, found) > psnr(sharp, whole) - (0.8 if name == "l0_gradient" else 0.5)
    # NaN is weight 0: whatever stands there, it is not looked at.
    for spoilt in (1e3, -7.0):
        there = np.where(gone, spoilt, blurred)
        close(SOLVERS[name](there, KERNEL, boundary=boundary, weights=~gone), found, 1e-9)
    assert np.isnan(holed).sum() == gone.sum()


@gradient_solvers
def test_channels_are_restored_one_by_one_if_asked_to(name):
    image = colour_picture(48) + 0.01 * np.random.default_rng(0).normal(size=(48, 48, 3))
    options = {} if name == "hyper_laplacian" else {"vectorial": False}
    options |= {"n_iter": 30, "tol": 0} if name == "tv" else {"steps": 60}
    together = GRADIENT[name](image, KERNEL, channel_axis=-1, **options)
    options.pop("vectorial", None)
    for c in range(3):
        alone = GRADIENT[name](image[..., c], KERNEL, **options)
        assert psnr(together[..., c], alone) > 60


@all_solvers
def test_colours_psfs_of_their_own_and_channels_first(name):
    sharp = colour_picture(48)
    kernels = np.stack([psf.gaussian(s, size=13) for s in (0.8, 1.2, 1.6)], axis=-1)
    A = Blur(np.moveaxis(kernels, -1, 0), (48, 48), boundary="periodic")
    blurred = np.moveaxis(A(np.moveaxis(sharp, -1, 0)), 0, -1)
    blurred = blurred + 0.01 * np.random.default_rng(0).normal(size=sharp.shape)
    found = SOLVERS[name](blurred, kernels, channel_axis=-1, boundary="periodic")
    assert found.shape == sharp.shape and found.flags.c_contiguous
    assert psnr(sharp, found) > psnr(sharp, blurred) + 1
    first = SOLVERS[name](
        np.moveaxis(blurred, -1, 0),
        np.moveaxis(kernels, -1, 0),
        channel_axis=0,
        boundary="periodic",
    )
    close(np.moveaxis(first, 0, -1), found, 1e-9)


@pytest.mark.parametrize("name", ["tv", "l0_gradient"])
def test_colours_that_share_their_edges_help_each_other(name):
    sharp = colour_picture(96)
    A = Blur(KERNEL, (96, 96), boundary="periodic")
    blurred = np.moveaxis(A(np.moveaxis(sharp, -1, 0)), 0, -1)
    blurred = blurred + 0.03 * np.random.default_rng(0).normal(size=sharp.shape)
    options = {"channel_axis": -1, "boundary": "periodic"}
    joint = psnr(sharp, GRADIENT[name](blurred, KERNEL, **options))
    assert joint > psnr(sharp, GRADIENT[name](blurred, KERNEL, vectorial=False, **options)) + 0.1


@pytest.mark.parametrize("shape", [(300,), (61, 40), (33, 64), (12, 20, 15)])
@all_boundaries
@all_solvers
def test_one_to_three_dimensions_odd_even_and_rectangular(name, boundary, shape):
    rng = np.random.default_rng(0)
    kernel = psf.gaussian(1.2, ndim=len(shape))
    A = Blur(kernel, shape, boundary=boundary)
    blocks = rng.random([-(-n // 4) for n in A.domain])
    scene = np.kron(blocks, np.ones((4,) * len(shape)))[tuple(slice(n) for n in A.domain)]
    sharp, blurred = A.crop(scene), A(scene) + 0.003 * rng.normal(size=shape)
    found = SOLVERS[name](blurred, kernel, boundary=boundary)
    assert found.shape == shape
    assert psnr(sharp, found) > psnr(sharp, blurred) + 1.5
