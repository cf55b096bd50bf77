"""What goes wrong elsewhere: one test for each public report of another library's failure."""

import tracemalloc

import numpy as np
import pytest
from helpers import BOUNDARIES, LIBRARIES, colour_picture, psnr, put, random_psf, scene_and_blurred
from scipy.ndimage import convolve

from deconv import Blur, psf, richardson_lucy, wiener
from deconv.metrics import i_divergence

KERNEL = psf.gaussian(1.5)
SHARP, BLURRED = scene_and_blurred(KERNEL, "camera", 64, 0.005)
SOLVERS = {
    "wiener": wiener,
    "richardson_lucy": lambda *args, **given: richardson_lucy(*args, n_iter=10, **given),
}
both = pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_zeros_give_no_nan(boundary, dtype):
    """scikit-image#2551: Richardson-Lucy divides by zero where the image is black."""
    image = np.zeros((40, 41), dtype)
    image[15:20, 10:30] = 200
    found = richardson_lucy(image, KERNEL, n_iter=200, boundary=boundary)
    assert np.isfinite(found).all() and found.min() >= 0
    assert np.isclose(found[15:20, 10:30].mean(), 200, rtol=0.1)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_zeros_in_psf_and_image_give_no_nan(boundary):
    """scikit-image#4378: NaN spread over the whole picture from where psf and image are zero."""
    lone = np.zeros((9, 9))
    lone[4, 4] = lone[0, 8] = 0.5
    image = np.zeros((32, 32), np.float32)
    image[16, 16] = 1e-3
    found = richardson_lucy(image, lone, n_iter=300, boundary=boundary)
    assert np.isfinite(found).all()
    assert found.sum() > 0


def border(x, width=6):
    inside = np.zeros(x.shape, bool)
    inside[width:-width, width:-width] = True
    return x[~inside]


@both
def test_edges_do_not_ring(solve):
    """scikit-image#3859 and RedLionfish#7: bright stripes and ringing along the frame's edges."""
    for kernel in (psf.gaussian(2.0), psf.motion(11, 30), psf.defocus(3)):
        sharp, blurred = scene_and_blurred(kernel, "camera", 64, 0.005)
        found = solve(blurred, kernel)
        assert psnr(border(sharp), border(found)) > psnr(border(sharp), border(blurred)) + 0.5
        flat = np.full((40, 40), 0.5)
        np.testing.assert_allclose(solve(flat, kernel), flat, atol=0.01)


def test_the_operator_knows_no_frame_but_the_true_one():
    """deepinv#898: circular artefacts at the borders of a blur that is not circular."""
    rng = np.random.default_rng(0)
    A = Blur(random_psf(rng, (7, 7)), (30, 30))
    x = rng.random(A.domain)
    # What lies further from the frame than the psf reaches is never seen in it.
    far = x.copy()
    far[36:] += 100
    far[:, 36:] += 100
    np.testing.assert_allclose(A(far), A(x), atol=1e-11)


@both
@pytest.mark.parametrize("scale", [255, 65535, 1e-4])
def test_values_beyond_one_are_not_clipped(solve, scale):
    """scikit-image#8012 and #7477: results are clipped to [-1, 1], which destroys unscaled data."""
    found = solve(scale * BLURRED, KERNEL)
    assert found.max() > 0.9 * scale
    assert psnr(SHARP, found / scale) > psnr(SHARP, BLURRED) + 1


@both
def test_integer_images_keep_their_scale(solve):
    """scikit-image#8012: an integer image is silently stretched to [0, 1]."""
    image = np.rint(65535 * BLURRED.clip(0, 1)).astype(np.uint16)
    found = solve(image, KERNEL)
    assert found.dtype == np.float32
    assert abs(found.mean() / image.mean() - 1) < 0.02


@both
def test_colour_needs_no_loop_and_is_never_black(solve):
    """scikit-image#6194 and #4637: a colour picture raises, or comes back black."""
    image = colour_picture(48)
    with pytest.raises(ValueError, match="channel_axis=-1"):
        solve(image, KERNEL)
    found = solve(image, KERNEL, channel_axis=-1)
    assert found.shape == image.shape
    for c in range(3):
        assert abs(found[..., c].mean() / image[..., c].mean() - 1) < 0.05
    bytes_of_it = np.rint(255 * image).astype(np.uint8)
    found = solve(bytes_of_it, KERNEL, channel_axis=-1)
    assert abs(found.mean() / bytes_of_it.mean() - 1) < 0.02


@both
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_odd_sizes_keep_their_shape(solve, boundary):
    """scikit-image#1172 and pycudadecon#66: the output of odd sizes has another shape."""
    for shape in [(31, 32), (32, 31), (31, 31), (37,), (7, 11, 13), (1, 32)]:
        kernel = np.full([min(n, 3) for n in shape], 1 / np.prod([min(n, 3) for n in shape]))
        image = np.random.default_rng(0).random(shape)
        assert solve(image, kernel, boundary=boundary).shape == shape


@both
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("n", [24, 25])
@pytest.mark.parametrize("k", [4, 5])
def test_nothing_shifts_by_one_voxel(solve, boundary, n, k):
    """RedLionfish: an even image and an odd psf give a result that is off by one voxel."""
    delta = np.zeros((k, k, k))
    delta[k // 2, k // 2, k // 2] = 1
    image = np.zeros((n, n, n), np.float32)
    image[9, 12, 14] = image[15, 10, 8] = 1
    kernel = convolve(delta, np.full((3, 3, 3), 1 / 27))
    A = Blur(kernel, image.shape, boundary="zero")
    found = solve(A(A.frame.pad(image)).astype(np.float32), kernel, boundary=boundary)
    brightest = np.argsort(found.ravel())[-2:]
    places = {tuple(map(int, np.unravel_index(i, image.shape))) for i in brightest}
    assert places == {(9, 12, 14), (15, 10, 8)}


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_even_images_with_odd_psfs_have_true_adjoints(boundary):
    """arrayfire#3008 and sdeconv: the correlation step is off by a pixel, so it is no adjoint."""
    rng = np.random.default_rng(0)
    for n, k in [(8, 3), (8, 4), (9, 3), (9, 4)]:
        A = Blur(random_psf(rng, (k, k)), (n, n), boundary=boundary)
        x, y = rng.random(A.domain), rng.random((n, n))
        assert np.isclose(np.vdot(A(x), y), np.vdot(x, A.adjoint(y)), rtol=1e-13)


@both
def test_the_documented_example_sharpens(solve):
    """scikit-image#6018: the documentation's own example blurs instead of sharpening."""
    rng = np.random.default_rng(0)
    kernel = np.ones((5, 5)) / 25
    sharp, blurred = scene_and_blurred(kernel, "camera", 96)
    noisy = blurred + 0.01 * rng.normal(size=blurred.shape)
    found = solve(noisy, kernel)

    def steepness(x):
        return np.abs(np.diff(x)).mean()

    assert psnr(sharp, found) > psnr(sharp, noisy) + 1.5
    assert steepness(found) > 1.1 * steepness(blurred)


def test_acceleration_exists():
    """scikit-image#4090: hundreds of plain iterations are the only way."""
    y = np.random.default_rng(1).poisson(200 * BLURRED.clip(0)).astype(float)
    A = Blur(KERNEL, y.shape, boundary="periodic")
    given = {"boundary": "periodic"}
    plain = richardson_lucy(y, KERNEL, n_iter=100, accelerate=False, **given)
    fast = richardson_lucy(y, KERNEL, n_iter=25, **given)
    assert i_divergence(y, A(fast)) <= i_divergence(y, A(plain))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_memory_stays_bounded(boundary):
    """flowdec#43, pycudadecon#13, RedLionfish#12: memory blows up on large volumes."""
    image = np.ones((64, 144, 144), np.float32)
    A = Blur(psf.gaussian(1.0, ndim=3).astype(np.float32), image.shape, boundary=boundary)
    domain = 4 * np.prod(A.domain)
    richardson_lucy(image, A, n_iter=1)
    peaks = []
    for n_iter in (3, 12):
        tracemalloc.start()
        richardson_lucy(image, A, n_iter=n_iter)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Six arrays of the domain's size beside the operator; iterations add nothing.
    assert max(peaks) <= 6 * domain
    assert peaks[1] < 1.1 * peaks[0]


@both
def test_failure_is_an_exception_not_a_picture(solve):
    """clij2-fft#22: where memory or input fails, a wrong image comes back without a word."""
    for image, kernel in [
        (np.full((8, 8), np.nan), KERNEL[4:9, 4:9] / KERNEL[4:9, 4:9].sum()),
        (BLURRED, np.zeros((3, 3))),
        (BLURRED, np.full((3, 3), np.nan)),
        (np.where(BLURRED > 0.5, np.inf, BLURRED), KERNEL),
    ]:
        with pytest.raises(ValueError, match=r"image|psf"):
            solve(image, kernel)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("size", [(2, 2), (4, 3), (3, 4), (6, 6)])
def test_even_kernels_do_not_shift(boundary, size):
    """deepinv pull request 954: kernels of even size shift the picture by a pixel."""
    delta = np.zeros(size)
    delta[tuple(k // 2 for k in size)] = 1
    A = Blur(delta, (12, 13), boundary=boundary)
    x = np.random.default_rng(0).random(A.domain)
    np.testing.assert_allclose(A(x), A.crop(x), atol=1e-14)
    found = richardson_lucy(A(x), delta, n_iter=3, boundary=boundary)
    np.testing.assert_allclose(found, A.crop(x), atol=1e-9)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("width", [8, 9])
def test_odd_widths_have_true_adjoints(library, width):
    """deepinv#89: the adjoint of images of odd width is wrong (the half spectrum forgets it)."""
    rng = np.random.default_rng(0)
    A = Blur(put(random_psf(rng, (3, 3)), library), (8, width), boundary="periodic")
    x, y = rng.random((8, width)), rng.random((8, width))
    left = np.vdot(np.asarray(A(put(x, library))), y)
    right = np.vdot(x, np.asarray(A.adjoint(put(y, library))))
    assert np.isclose(left, right, rtol=1e-13)


def test_an_operator_is_never_changed_by_use():
    """deepinv: calling the operator with another kernel replaces its own."""
    kernel = KERNEL.copy()
    A = Blur(kernel, SHARP.shape)
    x = A.embed(SHARP)
    before = A(x)
    with pytest.raises(TypeError):
        A(x, psf.defocus(3))
    wiener(BLURRED, A), richardson_lucy(BLURRED, A, n_iter=2)
    A.reweighted(np.zeros(SHARP.shape))
    kernel[...] = 0
    np.testing.assert_array_equal(A(x), before)
    assert A.weights is None


@both
def test_a_kernel_larger_than_the_image_is_refused(solve):
    """deepinv: a 31x31 kernel on a 16x16 image is silently cropped."""
    kernel = psf.gaussian(3.0, size=31)
    with pytest.raises(ValueError, match=r"psf of shape \(31, 31\) is larger .*\(16, 16\)"):
        solve(np.ones((16, 16)), kernel)


@both
def test_a_kernel_that_does_not_sum_to_one_is_refused(solve):
    """deepinv: a kernel that sums to 7 is accepted, and so is the picture it makes."""
    with pytest.raises(ValueError, match="psf sums to 7; expected 1"):
        solve(BLURRED, 7 * KERNEL)


def test_nothing_is_printed(capsys):
    """Progress goes to the callback; the solvers themselves are silent."""
    wiener(BLURRED, KERNEL), richardson_lucy(BLURRED, KERNEL)
    assert capsys.readouterr() == ("", "")
