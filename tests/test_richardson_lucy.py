"""Richardson-Lucy: against scikit-image, its sum rules, its speed-up, its stopping, bad input."""

import numpy as np
import pytest
from helpers import (
    BOUNDARIES,
    LIBRARIES,
    colour_picture,
    get,
    picture,
    psnr,
    put,
    random_psf,
    scene_and_blurred,
)

from deconv import Blur, psf, richardson_lucy

KERNEL = psf.gaussian(1.5)
SKEW = random_psf(np.random.default_rng(0), (5, 3))


def counts(kernel, name="camera", size=64, peak=200, rng=1):
    """Scene and photon counts, both in counts."""
    sharp, blurred = scene_and_blurred(kernel, name, size)
    return peak * sharp, np.random.default_rng(rng).poisson(peak * blurred.clip(0)).astype(float)


SHARP, COUNTS = counts(KERNEL)


def close(a, b, tolerance):
    """Equal to `tolerance` times the largest value."""
    np.testing.assert_allclose(get(a), get(b), rtol=0, atol=tolerance * np.abs(get(b)).max())


def divergence(A, x, y, background=0.0):
    """I-divergence of y from the prediction; beyond a zero boundary nothing was counted."""
    everywhere = A.blur(A.frame.pad(x) if x.shape[-A.ndim :] != A.domain else x)
    seen = A.crop(everywhere) + background
    lost = everywhere.sum() - A.crop(everywhere).sum() if A.boundary == "zero" else 0
    known = np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / np.maximum(seen, 1e-300)), 0)
    weights = 1 if A.weights is None else A.weights
    return float((weights * (known - y + seen)).sum() + lost)


def plain_path(A, y, n_iter):
    """The iteration written out, on the whole domain: the last iterate, each one's divergence."""
    w = np.ones(A.shape) if A.weights is None else A.weights
    zero = A.boundary == "zero"
    # Beyond a zero boundary nothing was counted; that is an observation too.
    sensitivity = 1 + A.correlate(A.frame.pad(w - 1)) if zero else A.adjoint(w)
    x = np.full(A.domain, (w * y).sum() / w.sum())
    x = A.frame.pad(A.crop(x)) if zero else x
    enough = sensitivity > 1e-2
    found = []
    for _ in range(n_iter):
        gathered = A.adjoint(w * y / np.maximum(A(x), 1e-12 * y.max()))
        x = np.where(enough, x * gathered / np.where(enough, sensitivity, 1), x)
        found.append(divergence(A, x, y))
    return x, np.array(found)


# --- against scikit-image -------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-8)])
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((64, 64), (9, 9)),
        ((63, 50), (7, 11)),
        ((31, 37), (5, 3)),
        ((48, 33), (31, 31)),
        ((18, 25, 20), (5, 7, 3)),
        ((9, 31, 16), (9, 5, 5)),
    ],
)
def test_plain_iterations_are_scikit_images(shape, size, dtype, tolerance):
    from skimage import restoration

    rng = np.random.default_rng(0)
    kernel = random_psf(rng, size, dtype=dtype)
    image = (rng.random(shape) + 0.1).astype(dtype)
    expected = restoration.richardson_lucy(image, kernel, num_iter=30, clip=False)
    found = richardson_lucy(image, kernel, n_iter=30, accelerate=False, boundary="zero")
    assert found.dtype == dtype
    close(found, expected, tolerance)


def test_plain_iterations_are_the_formula():
    from scipy.ndimage import convolve, correlate

    x = np.ones(COUNTS.shape)
    for _ in range(7):
        ratio = COUNTS / convolve(x, SKEW, mode="wrap")
        x = x * correlate(ratio, SKEW, mode="wrap")
    close(richardson_lucy(COUNTS, SKEW, n_iter=7, accelerate=False, boundary="periodic"), x, 1e-12)


# --- what every iterate obeys ---------------------------------------------------------------------


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("kernel", [KERNEL, SKEW, psf.motion(9, 20), np.ones((1, 1))])
def test_light_is_never_negative_and_never_lost(kernel, boundary, accelerate):
    seen = []
    richardson_lucy(
        COUNTS,
        kernel,
        n_iter=12,
        accelerate=accelerate,
        boundary=boundary,
        callback=lambda state: seen.append(state.image),
    )
    for x in seen:
        assert x.shape == COUNTS.shape
        assert np.isfinite(x).all() and x.min() >= 0
        if boundary != "unknown":
            assert np.isclose(x.sum(), COUNTS.sum(), rtol=1e-9)


@pytest.mark.parametrize("name", ["camera", "coins"])
@pytest.mark.parametrize("peak", [5, 1000])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_divergence_falls_with_each_plain_iteration(boundary, weighted, peak, name):
    kernel = psf.defocus(3)
    _, y = counts(kernel, name, peak=peak)
    weights = None
    if weighted:
        weights = np.random.default_rng(0).random(y.shape)
        weights[10:20, 30:33] = 0
    A = Blur(kernel, y.shape, boundary=boundary, weights=weights)
    x, values = plain_path(A, y, 60)
    close(richardson_lucy(y, A, n_iter=60, accelerate=False), A.crop(x), 1e-9)
    assert (np.diff(values) <= 1e-9 * values[0]).all()
    if boundary == "unknown":
        # Exact but for the few latent pixels that the frame barely sees.
        w = 1 if weights is None else weights
        assert np.isclose((w * A(x)).sum(), (w * y).sum(), rtol=1e-3)


@pytest.mark.parametrize("accelerate", [False, True])
def test_the_prediction_has_the_weighted_datas_sum(accelerate):
    weights = np.random.default_rng(0).random(COUNTS.shape)
    weights[10:20, 30:33] = 0
    A = Blur(KERNEL, COUNTS.shape, boundary="periodic", weights=weights)
    found = richardson_lucy(COUNTS, A, n_iter=9, accelerate=accelerate)
    assert np.isclose((weights * A(found)).sum(), (weights * COUNTS).sum(), rtol=1e-3)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("kernel", [KERNEL, psf.defocus(3)])
def test_the_reported_objective_never_rises(boundary, kernel):
    _, y = counts(kernel)
    seen = []
    richardson_lucy(
        y, kernel, n_iter=60, boundary=boundary, callback=lambda s: seen.append(s.objective)
    )
    # The guard looks at every second iteration.
    assert [value is None for value in seen] == [True, False] * 30
    seen = seen[1::2]
    assert (np.diff(seen) <= 1e-9 * seen[0]).all()
    seen.clear()
    richardson_lucy(
        y,
        kernel,
        n_iter=5,
        accelerate=False,
        boundary=boundary,
        callback=lambda s: seen.append(s.objective),
    )
    # It does not come for free there.
    assert seen == [None] * 5


@pytest.mark.parametrize("name", ["camera", "coins", "astronaut"])
@pytest.mark.parametrize("peak", [50, 1000])
@pytest.mark.parametrize("kernel", ["gaussian", "defocus"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_acceleration_keeps_its_promise(boundary, kernel, peak, name):
    kernel = {"gaussian": psf.gaussian(1.5), "defocus": psf.defocus(3)}[kernel]
    _, y = counts(kernel, name, peak=peak)
    A = Blur(kernel, y.shape, boundary=boundary)
    _, plain = plain_path(A, y, 300)
    # The objective is that of the point each iteration starts from, its last step ahead.
    fast = []
    richardson_lucy(y, A, n_iter=46, callback=lambda state: fast.append(state.objective))
    assert fast[25] <= plain[99]
    assert fast[45] <= plain[299]
    if boundary != "unknown":
        found = richardson_lucy(y, A, n_iter=25)
        assert divergence(A, found, y) <= plain[99]


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_delta_changes_nothing(boundary, accelerate):
    for size in ((1, 1), (4, 5)):
        delta = np.zeros(size)
        delta[size[0] // 2, size[1] // 2] = 1
        found = richardson_lucy(COUNTS, delta, n_iter=3, accelerate=accelerate, boundary=boundary)
        close(found, COUNTS, 1e-9)


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("size", [(4, 5), (5, 4), (4, 4), (5, 5)])
def test_a_star_stays_where_it_is(size, boundary, accelerate):
    # A psf centred to the eye about size // 2, though its array is not symmetric.
    y, x = np.ogrid[tuple(slice(n) for n in size)]
    kernel = np.exp(-((y - size[0] // 2) ** 2) - (x - size[1] // 2) ** 2)
    kernel /= kernel.sum()
    A = Blur(kernel, (32, 31), boundary=boundary)
    stars = np.zeros((32, 31))
    stars[10, 12] = stars[21, 20] = 100
    found = richardson_lucy(
        A(A.frame.pad(stars)), kernel, n_iter=30, accelerate=accelerate, boundary=boundary
    )
    assert sorted(map(tuple, np.argwhere(found > 20).tolist())) == [(10, 12), (21, 20)]


# --- units: gain, offset, background, read noise --------------------------------------------------


@pytest.mark.parametrize("factor", [1e-12, 1e-3, 255.0, 1e4, 1e12])
@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_unit_does_not_matter(boundary, accelerate, factor):
    given = {"n_iter": 20, "accelerate": accelerate, "boundary": boundary}
    found = richardson_lucy(COUNTS, KERNEL, **given)
    close(richardson_lucy(factor * COUNTS, KERNEL, **given) / factor, found, 1e-9)
    single = richardson_lucy((factor * COUNTS).astype("f4"), KERNEL, **given)
    assert single.dtype == np.float32
    close(single / factor, found, 1e-3)


@pytest.mark.parametrize("stop", ["counts", "held-out"])
def test_the_unit_does_not_matter_to_the_stopping(stop):
    found = richardson_lucy(COUNTS, KERNEL, gain=1.0, stop=stop)
    close(richardson_lucy(COUNTS / 4, KERNEL, gain=0.25, stop=stop) * 4, found, 1e-9)
    close(richardson_lucy(255 * COUNTS, KERNEL) / 255, richardson_lucy(COUNTS, KERNEL), 1e-9)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("read_noise", [0.0, 3.0])
@pytest.mark.parametrize("n_iter", [None, 15])
def test_a_camera_is_only_a_change_of_units(boundary, read_noise, n_iter):
    given = {"n_iter": n_iter, "boundary": boundary}
    found = richardson_lucy(COUNTS, KERNEL, gain=1.0, read_noise=read_noise, **given)
    camera = richardson_lucy(
        2 * COUNTS + 96, KERNEL, gain=2.0, offset=96, read_noise=2 * read_noise, **given
    )
    close(camera / 2, found, 1e-9)


@pytest.mark.parametrize("boundary", ["periodic", "zero"])
def test_a_background_is_not_part_of_the_scene(boundary):
    A = Blur(KERNEL, (48, 48), boundary=boundary)
    scene = np.zeros((48, 48))
    scene[12:20, 14:30] = 40
    y = A(A.frame.pad(scene)) + 10.0
    given = {"n_iter": 60, "boundary": boundary}
    found = richardson_lucy(y, KERNEL, background=10.0, **given)
    assert psnr(scene / 40, found / 40) > psnr(scene / 40, (y - 10) / 40) + 2
    assert np.isclose(found.sum(), scene.sum(), rtol=0.05)
    ignored = richardson_lucy(y, KERNEL, **given)
    assert psnr(scene / 40, found / 40) > psnr(scene / 40, ignored / 40) + 5


def test_read_noise_calms_the_dark():
    rng = np.random.default_rng(0)
    noisy = COUNTS / 20 + rng.normal(scale=4, size=COUNTS.shape)
    given = {"n_iter": 30, "gain": 1.0}
    with_it = richardson_lucy(noisy, KERNEL, read_noise=4.0, **given)
    without = richardson_lucy(noisy, KERNEL, **given)
    assert psnr(SHARP / 200, with_it / 10) > psnr(SHARP / 200, without / 10) + 1


def test_what_is_darker_than_the_dark_counts_as_no_light():
    image = COUNTS - 100
    found = richardson_lucy(image, KERNEL, n_iter=10)
    close(found, richardson_lucy(image.clip(0), KERNEL, n_iter=10), 1e-12)


# --- zeros, missing pixels, channels, dimensions --------------------------------------------------


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_zeros_give_zeros_and_no_nan(boundary, dtype, accelerate):
    given = {"accelerate": accelerate, "boundary": boundary}
    black = np.zeros((20, 21), dtype)
    for n_iter in (None, 30):
        assert not richardson_lucy(black, KERNEL, n_iter=n_iter, **given).any()
    framed = black.copy()
    framed[8:12, 8:12] = 1
    stars = black.copy()
    stars[10, 10] = 1e-6
    lone = np.zeros((9, 9))
    lone[4, 4] = lone[4, 0] = 0.5
    for image in (framed, stars):
        for kernel in (KERNEL, lone):
            found = richardson_lucy(image, kernel, n_iter=100, **given)
            assert np.isfinite(found).all() and found.min() >= 0
            if boundary != "unknown":
                assert np.isclose(found.sum(), image.sum(), rtol=1e-3)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_missing_pixels_cost_little(boundary):
    gone = np.random.default_rng(0).random(COUNTS.shape) < 0.02
    holed = np.where(gone, np.nan, COUNTS)
    given = {"n_iter": 8, "boundary": boundary}
    whole = richardson_lucy(COUNTS, KERNEL, **given)
    found = richardson_lucy(holed, KERNEL, **given)
    assert np.isfinite(found).all() and found.min() >= 0
    assert psnr(SHARP / 200, found / 200) > psnr(SHARP / 200, whole / 200) - 0.3
    assert np.isnan(holed).sum() == gone.sum()
    spoilt = np.where(gone, 1e5, COUNTS)
    close(richardson_lucy(spoilt, KERNEL, weights=~gone, **given), found, 1e-6)
    if boundary == "unknown":
        # The picture is in truth neither periodic nor black beyond its frame.
        for search in ({"gain": 1.0}, {"stop": "held-out"}):
            automatic = richardson_lucy(holed, KERNEL, **search)
            assert psnr(SHARP / 200, automatic / 200) > psnr(SHARP / 200, whole / 200) - 1


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_channels_are_restored_one_by_one(axis, accelerate):
    image = np.moveaxis(100 * colour_picture(40), -1, axis)
    given = {"n_iter": 10, "accelerate": accelerate}
    together = np.moveaxis(richardson_lucy(image, KERNEL, channel_axis=axis, **given), axis, -1)
    for c in range(3):
        alone = richardson_lucy(np.take(image, c, axis), KERNEL, **given)
        close(together[..., c], alone, 1e-9)
    if axis == -1:
        kernels = np.stack([psf.gaussian(s, size=13) for s in (0.8, 1.2, 1.6)], axis=-1)
        together = richardson_lucy(image, kernels, channel_axis=-1, **given)
        for c in range(3):
            alone = richardson_lucy(image[..., c], kernels[..., c], **given)
            close(together[..., c], alone, 1e-9)


@pytest.mark.parametrize("shape", [(200,), (14, 17, 16)])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_one_and_three_dimensions(shape, boundary):
    rng = np.random.default_rng(0)
    scene = np.zeros(shape)
    scene[tuple(rng.integers(4, n - 4, 6) for n in shape)] = 1000
    kernel = psf.gaussian(1.0, ndim=len(shape))
    A = Blur(kernel, shape, boundary=boundary)
    y = rng.poisson(A(A.frame.pad(scene)).clip(0)).astype("f4")
    for given in ({"n_iter": 20}, {"gain": 1.0}, {"n_iter": 5, "lam": 0.002}):
        found = richardson_lucy(y, kernel, boundary=boundary, **given)
        assert found.shape == shape and found.dtype == np.float32
        assert ((found - scene) ** 2).sum() < 0.9 * ((y - scene) ** 2).sum()


def test_an_operator_may_stand_for_the_psf():
    A = Blur(KERNEL, COUNTS.shape, boundary="periodic")
    np.testing.assert_array_equal(
        richardson_lucy(COUNTS, A, n_iter=4),
        richardson_lucy(COUNTS, KERNEL, n_iter=4, boundary="periodic"),
    )


# --- stopping -------------------------------------------------------------------------------------

# What the number of iterations found may lose against the best plain iterate, in dB.
LOSS = {
    ("counts", False): 0.3,
    ("counts", True): 0.3,
    ("held-out", False): 0.5,
    ("held-out", True): 0.5,
}


@pytest.mark.parametrize(("stop", "accelerate"), LOSS)
@pytest.mark.parametrize("name", ["camera", "coins", "astronaut"])
@pytest.mark.parametrize("peak", [50, 1000])
def test_stopping_comes_close_to_the_best(peak, name, stop, accelerate):
    sharp, y = counts(KERNEL, name, 96, peak)
    plain = []
    richardson_lucy(
        y,
        KERNEL,
        n_iter=60,
        accelerate=False,
        callback=lambda s: plain.append(psnr(sharp / peak, s.image / peak)),
    )
    best = max(plain)
    assert best > plain[0] + 0.1 and best > plain[-1] + 0.01
    found = richardson_lucy(y, KERNEL, stop=stop, gain=1.0, accelerate=accelerate)
    assert psnr(sharp / peak, found / peak) > best - LOSS[stop, accelerate]
    assert psnr(sharp / peak, found / peak) > psnr(sharp / peak, y / peak) + 1


def test_counts_are_the_default_where_the_gain_is_given():
    by_counts = richardson_lucy(COUNTS, KERNEL, gain=1.0, stop="counts")
    np.testing.assert_array_equal(richardson_lucy(COUNTS, KERNEL, gain=1.0), by_counts)
    held_out = richardson_lucy(COUNTS, KERNEL, stop="held-out")
    np.testing.assert_array_equal(richardson_lucy(COUNTS, KERNEL), held_out)


def test_the_result_depends_on_nothing_but_rng():
    first = richardson_lucy(COUNTS, KERNEL, gain=1.0, rng=3)
    np.testing.assert_array_equal(first, richardson_lucy(COUNTS, KERNEL, gain=1.0, rng=3))
    generator = np.random.default_rng(3)
    np.testing.assert_array_equal(first, richardson_lucy(COUNTS, KERNEL, gain=1.0, rng=generator))
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    richardson_lucy(COUNTS, KERNEL, rng=4)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_weights_join_the_held_out_pixels():
    weights = np.ones(COUNTS.shape)
    weights[:, :20] = 0
    found = richardson_lucy(COUNTS, KERNEL, weights=weights, stop="held-out")
    seen = weights > 0
    assert psnr(SHARP[seen] / 200, found[seen] / 200) > psnr(SHARP[seen] / 200, COUNTS[seen] / 200)


# --- total variation ------------------------------------------------------------------------------


def variation(x):
    return np.abs(np.diff(x, axis=0)).sum() + np.abs(np.diff(x, axis=1)).sum()


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_larger_lam_lowers_the_variation(boundary, accelerate):
    given = {"n_iter": 60, "boundary": boundary, "accelerate": accelerate}
    found = [richardson_lucy(COUNTS, KERNEL, lam=lam, **given) for lam in (0, 0.002, 0.01, 0.05)]
    values = [variation(x) for x in found]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.7 * values[0]
    assert all(np.isfinite(x).all() and x.min() >= 0 for x in found)
    # Noise is held back: late iterates are better with it.
    assert psnr(SHARP / 200, found[2] / 200) > psnr(SHARP / 200, found[0] / 200)


def test_a_flat_picture_has_no_variation_to_lower():
    flat = np.full((20, 22), 7.0)
    close(richardson_lucy(flat, KERNEL, n_iter=10, lam=0.05), flat, 1e-9)
    assert not richardson_lucy(0 * flat, KERNEL, n_iter=10, lam=0.05).any()


def test_lam_does_not_know_the_unit():
    given = {"n_iter": 20, "lam": 0.005}
    found = richardson_lucy(COUNTS, KERNEL, **given)
    for factor in (1e-3, 1e4):
        close(richardson_lucy(factor * COUNTS, KERNEL, **given) / factor, found, 1e-6)


# --- dtypes and array libraries -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "returned"),
    [
        ("uint8", "float32"),
        ("uint16", "float32"),
        (">u2", "float32"),
        ("int32", "float32"),
        ("float16", "float16"),
        ("float32", "float32"),
        (">f8", "float64"),
    ],
)
def test_the_scale_and_float_dtype_are_the_images_own(dtype, returned):
    image = COUNTS.clip(0, 255).astype(dtype)
    image.setflags(write=False)
    found = richardson_lucy(image, KERNEL, n_iter=8)
    assert found.dtype == returned and found.dtype.isnative
    close(found.astype(float), richardson_lucy(image.astype(float), KERNEL, n_iter=8), 2e-3)


def test_lists_and_masked_arrays():
    small = COUNTS[:12, :13]
    found = richardson_lucy(small.tolist(), SKEW.tolist(), n_iter=3)
    close(found, richardson_lucy(small, SKEW, n_iter=3), 1e-12)
    mask = np.zeros(small.shape, bool)
    mask[3, 4] = True
    found = richardson_lucy(np.ma.array(small, mask=mask), SKEW, n_iter=3)
    close(found, richardson_lucy(np.where(mask, np.nan, small), SKEW, n_iter=3), 1e-12)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("float64", 1e-9)])
def test_array_in_the_same_library_out(library, boundary, dtype, tolerance):
    y = COUNTS[:32, :30].astype(dtype)
    image, kernel = put(y, library), put(KERNEL.astype(dtype), library)
    holed = y.copy()
    holed[5, 6] = np.nan
    steps = [
        {"n_iter": 12},
        {"n_iter": 12, "accelerate": False},
        {"n_iter": 5, "lam": 0.005},
        {"n_iter": 5, "gain": 1.0, "read_noise": 2.0, "offset": 1.0, "background": 1.0},
    ]
    searches = [{"gain": 1.0}, {"stop": "held-out"}]
    for given in steps + searches:
        found = richardson_lucy(image, kernel, boundary=boundary, **given)
        assert type(found) is type(image) and found.dtype == image.dtype
        # The search's minimum is flat: rounding to float32 may move it by an iteration.
        if given in steps or dtype == "float64":
            close(found, richardson_lucy(y, KERNEL, boundary=boundary, **given), tolerance)
    found = richardson_lucy(put(holed, library), kernel, n_iter=5, boundary=boundary)
    close(found, richardson_lucy(holed, KERNEL, n_iter=5, boundary=boundary), tolerance)


@pytest.mark.skipif("torch" not in LIBRARIES, reason="no torch")
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gradients_flow_through(boundary):
    import torch

    image = torch.tensor(COUNTS[:20, :18] + 1, requires_grad=True)
    kernel = torch.tensor(SKEW, requires_grad=True)
    richardson_lucy(image, kernel, n_iter=3, boundary=boundary).square().sum().backward()
    for gradient in (image.grad, kernel.grad):
        assert torch.isfinite(gradient).all() and gradient.abs().max() > 0


def test_inputs_are_never_written_to():
    image, kernel = put(COUNTS, "numpy"), put(KERNEL, "numpy")
    weights = put(np.random.default_rng(0).random(COUNTS.shape), "numpy")
    for boundary in BOUNDARIES:
        for given in (
            {"n_iter": 4},
            {"n_iter": 4, "accelerate": False, "lam": 0.01},
            {"gain": 1.0},
        ):
            first = richardson_lucy(image, kernel, boundary=boundary, **given)
            richardson_lucy(image, kernel, boundary=boundary, weights=weights, **given)
            again = richardson_lucy(image, kernel, boundary=boundary, **given)
            np.testing.assert_array_equal(again, first)
            assert not np.shares_memory(first, image)
            assert first.flags.writeable and first.flags.c_contiguous and first.base is None


# --- the callback ---------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("channel_axis", [None, -1])
def test_the_callback_sees_every_iteration(channel_axis, accelerate, boundary):
    image = COUNTS if channel_axis is None else 100 * colour_picture(40)
    given = {"accelerate": accelerate, "boundary": boundary, "channel_axis": channel_axis}
    seen, images, copies = [], [], []

    def watch(state):
        seen.append((state.iteration, state.n_iter))
        images.append(state.image)
        copies.append(state.image.copy())

    found = richardson_lucy(image, KERNEL, n_iter=4, callback=watch, **given)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for k, (x, copy) in enumerate(zip(images, copies, strict=True), 1):
        # An image that was kept stays what it was.
        np.testing.assert_array_equal(x, copy)
        np.testing.assert_array_equal(x, richardson_lucy(image, KERNEL, n_iter=k, **given))
    np.testing.assert_array_equal(images[-1], found)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_callbacks_image_is_its_own(boundary):
    def spoil(state):
        state.image[...] = 0

    for accelerate in (False, True):
        given = {"n_iter": 5, "boundary": boundary, "accelerate": accelerate}
        found = richardson_lucy(COUNTS, KERNEL, callback=spoil, **given)
        np.testing.assert_array_equal(found, richardson_lucy(COUNTS, KERNEL, **given))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_an_image_asked_for_too_late_is_right_or_refused(boundary):
    states = []
    richardson_lucy(COUNTS, KERNEL, n_iter=5, callback=states.append, boundary=boundary)
    expected = richardson_lucy(COUNTS, KERNEL, n_iter=2, boundary=boundary)
    try:
        late = states[1].image
    except RuntimeError:
        return
    close(late, expected, 1e-12)


@pytest.mark.parametrize("accelerate", [False, True])
def test_the_callback_may_end_the_solve(accelerate):
    def stop(state):
        if state.iteration == 3:
            raise StopIteration

    given = {"accelerate": accelerate}
    found = richardson_lucy(COUNTS, KERNEL, n_iter=50, callback=stop, **given)
    np.testing.assert_array_equal(found, richardson_lucy(COUNTS, KERNEL, n_iter=3, **given))


@pytest.mark.parametrize("stop", ["counts", "held-out"])
def test_the_callback_sees_the_search_too_and_may_end_it(stop):
    seen = []
    given = {"gain": 1.0, "stop": stop, "boundary": "periodic"}
    richardson_lucy(
        COUNTS, KERNEL, callback=lambda s: seen.append((s.iteration, s.n_iter)), **given
    )
    assert [k for k, _ in seen] == list(range(1, len(seen) + 1))
    # While their number is sought it is None; then all iterations have a last one.
    searching = [n is None for _, n in seen]
    assert searching == sorted(searching, reverse=True)
    assert seen[-1][0] == seen[-1][1]
    for last in (1, 4, len(seen) - 1):

        def end(state, last=last):
            if state.iteration == last:
                raise StopIteration

        found = richardson_lucy(COUNTS, KERNEL, callback=end, **given)
        assert found.shape == COUNTS.shape and np.isfinite(found).all()
        # The picture so far has the data's light, not that of the part that was fitted.
        assert np.isclose(found.mean(), COUNTS.mean(), rtol=0.02)


def test_other_errors_of_the_callback_are_not_swallowed():
    def fail(state):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        richardson_lucy(COUNTS, KERNEL, n_iter=3, callback=fail)


# --- bad input ------------------------------------------------------------------------------------

SMALL = COUNTS[:21, :18]
BAD = {
    "complex image": ({"image": SMALL + 0j}, TypeError, "image.*complex"),
    "object image": ({"image": SMALL.astype(object)}, TypeError, "image.*object"),
    "empty image": ({"image": np.ones((0, 4))}, ValueError, "image is empty"),
    "infinite image": ({"image": np.where(SMALL > 9, np.inf, 0)}, ValueError, "image.*infinite"),
    "all NaN": ({"image": np.nan * SMALL}, ValueError, "image.*nothing but NaN"),
    "ambiguous colour": ({"image": np.ones((21, 18, 3))}, ValueError, "channel_axis=-1"),
    "psf too large": ({"psf": np.full((22, 1), 1 / 22)}, ValueError, "psf.*larger"),
    "psf sum": ({"psf": 7 * SKEW}, ValueError, "psf sums to 7"),
    "psf negative": ({"psf": SKEW - 0.1}, ValueError, "psf.*negative"),
    "psf NaN": ({"psf": SKEW * np.nan}, ValueError, "psf.*NaN"),
    "psf zero": ({"psf": 0 * SKEW}, ValueError, "psf is zero"),
    "boundary": ({"boundary": "reflect"}, ValueError, "boundary='reflect'.*Options: unknown"),
    "n_iter zero": ({"n_iter": 0}, ValueError, "n_iter=0; .*at least 1"),
    "n_iter float": ({"n_iter": 10.0}, TypeError, "n_iter=10.0"),
    "n_iter bool": ({"n_iter": True}, TypeError, "n_iter=True"),
    "weights shape": ({"weights": np.ones((3, 3))}, ValueError, "weights have shape"),
    "weights range": ({"weights": np.full((21, 18), -1)}, ValueError, "weights lie in"),
    "axis": ({"channel_axis": 7, "image": np.ones((21, 18, 3))}, ValueError, "channel_axis=7"),
    "background": ({"background": -1}, ValueError, "background=-1; .*at least 0"),
    "background text": ({"background": "dark"}, TypeError, "background='dark'"),
    "gain zero": ({"gain": 0}, ValueError, "gain=0; .*above 0"),
    "gain negative": ({"gain": -2.0}, ValueError, "gain=-2.0"),
    "offset NaN": ({"offset": float("nan")}, ValueError, "offset=nan"),
    "read noise": ({"read_noise": -1, "gain": 1}, ValueError, "read_noise=-1"),
    "read noise without gain": ({"read_noise": 1}, ValueError, "gain=None; read_noise needs"),
    "counts without gain": ({"stop": "counts", "n_iter": None}, ValueError, "gain=None; stop="),
    "lam negative": ({"lam": -0.1}, ValueError, "lam=-0.1"),
    "lam large": ({"lam": 1.0}, ValueError, "lam=1.0; .*at most 0.1"),
    "stop": ({"stop": "count"}, ValueError, "stop='count'.*did you mean 'counts'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_argument(case):
    given, error, says = BAD[case]
    arguments = {"image": SMALL, "psf": SKEW, "n_iter": 2, **given}
    with pytest.raises(error, match=says):
        richardson_lucy(arguments.pop("image"), arguments.pop("psf"), **arguments)


def test_arguments_after_the_data_are_named():
    with pytest.raises(TypeError):
        richardson_lucy(SMALL, SKEW, 10)


def test_pictures_are_not_what_the_solver_starts_from():
    # The first iterate of a flat start: the data, blurred back.
    A = Blur(KERNEL, (64, 64), boundary="periodic")
    y = picture("camera", 64)
    found = richardson_lucy(y, KERNEL, n_iter=1, boundary="periodic")
    close(found, A.correlate(y), 1e-12)
