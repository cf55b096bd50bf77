"""Wiener: its formula, its symmetries, what it finds by itself, and what it refuses."""

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
from test_operators import dense_prox

from deconv import Blur, psf, wiener
from deconv.ratio import signal_to_noise, with_noise

SPECTRA = ("fitted", "power-law", "constant", "laplacian")
KERNEL = psf.gaussian(1.5)
SHARP, BLURRED = scene_and_blurred(KERNEL, "camera", 96, 0.01)
RNG = np.random.default_rng(0)
SMALL = RNG.random((21, 18))
SKEW = random_psf(RNG, (4, 5))


def observed(boundary, size=96):
    """Scene and noisy blurred picture that obey the boundary's own assumption."""
    if boundary == "unknown":
        return scene_and_blurred(KERNEL, "camera", size, 0.01)
    sharp = picture("camera", size)
    if boundary == "zero":
        sharp = np.pad(sharp[8:-8, 8:-8], 8)
    A = Blur(KERNEL, sharp.shape, boundary=boundary)
    noise = 0.01 * np.random.default_rng(0).normal(size=sharp.shape)
    return sharp, A(A.frame.pad(sharp)) + noise


def close(a, b, tolerance):
    """Equal to `tolerance` times the largest value."""
    np.testing.assert_allclose(get(a), get(b), rtol=0, atol=tolerance * np.abs(get(b)).max())


# --- the formula ----------------------------------------------------------------------------------


def centred_otf(kernel, shape):
    padded = np.zeros(shape)
    padded[tuple(slice(k) for k in kernel.shape)] = kernel
    return np.fft.fftn(np.roll(padded, [-(k // 2) for k in kernel.shape], range(len(shape))))


def squares(shape):
    return sum(f**2 for f in np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij"))


def laplacian(shape):
    axes = np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")
    return sum(2 - 2 * np.cos(2 * np.pi * f) for f in axes)


RATIOS = {
    "constant": lambda shape: np.ones(shape),
    "power-law": lambda shape: (0.5 / np.prod(shape) ** (1 / len(shape))) ** 2 + squares(shape),
    "laplacian": lambda shape: laplacian(shape) ** 2,
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("spectrum", RATIOS)
@pytest.mark.parametrize(
    ("shape", "size"), [((21, 18), (4, 5)), ((40,), (7,)), ((6, 7, 8), (2, 3, 4))]
)
def test_periodic_is_the_formula(shape, size, spectrum, library):
    y, kernel = RNG.random(shape), random_psf(RNG, size)
    K, R = centred_otf(kernel, shape), 0.03 * RATIOS[spectrum](shape)
    expected = np.fft.ifftn(K.conj() * np.fft.fftn(y) / (abs(K) ** 2 + R)).real
    found = wiener(
        put(y, library), put(kernel, library), spectrum=spectrum, weight=0.03, boundary="periodic"
    )
    close(found, expected, 1e-12)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_spectrum_of_ones_own(library):
    def power(*f):
        return 0.02 / (0.01 + sum(a * a for a in f))

    K, S = centred_otf(SKEW, SMALL.shape), 0.02 / (0.01 + squares(SMALL.shape))
    expected = np.fft.ifftn(K.conj() * np.fft.fftn(SMALL) / (abs(K) ** 2 + 0.1**2 / S)).real
    y, kernel = put(SMALL, library), put(SKEW, library)
    close(wiener(y, kernel, spectrum=power, noise=0.1, boundary="periodic"), expected, 1e-12)
    half = put(S[:, : SMALL.shape[1] // 2 + 1].copy(), library)
    close(wiener(y, kernel, spectrum=half, noise=0.1, boundary="periodic"), expected, 1e-12)
    # Without a noise it is estimated.
    assert np.isfinite(get(wiener(y, kernel, spectrum=power))).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "size"), [((6, 5), (2, 3)), ((13,), (4,))])
def test_masked_problems_agree_with_the_dense_solution(shape, size, boundary, weighted):
    y, kernel = RNG.random(shape), random_psf(RNG, size)
    weights = RNG.random(shape) if weighted else None
    found = wiener(
        y, kernel, spectrum="constant", weight=0.05, boundary=boundary, weights=weights, n_iter=300
    )
    A = Blur(kernel, shape, boundary=boundary, weights=weights)
    expected = dense_prox(A, weights, np.zeros(A.domain), y, 0.05)
    close(found, A.crop(expected), 1e-10)


def test_the_default_number_of_steps_is_enough():
    settled = wiener(BLURRED, KERNEL, n_iter=200)
    found = wiener(BLURRED, KERNEL)
    assert abs(psnr(SHARP, found) - psnr(SHARP, settled)) < 0.05
    assert psnr(SHARP, wiener(BLURRED, KERNEL, n_iter=0)) < psnr(SHARP, found) + 0.05


# --- recovery -------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_delta_and_vanishing_noise_change_nothing(boundary):
    delta = np.ones((1, 1))
    for weight in ({"noise": 0.0}, {"noise": 1e-6}, {"spectrum": "constant", "weight": 1e-9}):
        close(wiener(SHARP, delta, boundary=boundary, **weight), SHARP, 1e-6)
    centred = np.zeros((4, 5))
    centred[2, 2] = 1
    found = wiener(SHARP, centred, boundary=boundary, noise=1e-6)
    close(found, SHARP, 1e-3)


def test_noise_free_blur_is_undone():
    A = Blur(KERNEL, SHARP.shape, boundary="periodic")
    blurred = A(SHARP)
    found = wiener(blurred, KERNEL, boundary="periodic")
    assert psnr(SHARP, found) > psnr(SHARP, blurred) + 10
    exact = wiener(blurred, KERNEL, boundary="periodic", noise=1e-12)
    assert psnr(SHARP, exact) > psnr(SHARP, blurred) + 20


GAINS = {0.005: 1.3, 0.01: 1.5, 0.03: 1.2}


@pytest.mark.parametrize("sigma", GAINS)
@pytest.mark.parametrize("name", ["camera", "coins", "astronaut", "brick", "moon", "coffee"])
@pytest.mark.parametrize("kernel", ["gaussian", "motion", "defocus"])
def test_everything_automatic_beats_the_blurred_picture(name, kernel, sigma):
    kernel = {
        "gaussian": psf.gaussian(1.5),
        "motion": psf.motion(11, 30),
        "defocus": psf.defocus(3),
    }[kernel]
    sharp, blurred = scene_and_blurred(kernel, name, 128, sigma)
    found = wiener(blurred, kernel)
    assert psnr(sharp, found) > psnr(sharp, blurred) + GAINS[sigma]
    # Nor do the borders suffer.
    border = np.ones(sharp.shape, bool)
    border[8:-8, 8:-8] = False
    assert psnr(sharp[border], found[border]) > psnr(sharp[border], blurred[border])


WEAK = {"gaussian": psf.gaussian(2.0), "motion": psf.motion(9, 20), "defocus": psf.defocus(4)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["camera", "coins", "astronaut"])
@pytest.mark.parametrize("kernel", WEAK)
def test_weak_noise_does_no_harm_beyond_an_unknown_border(kernel, name, dtype):
    found = {}
    for sigma in (0.003, 0.001, 1e-4, 0):
        sharp, blurred = scene_and_blurred(WEAK[kernel], name, 160, sigma)
        found[sigma] = psnr(sharp, wiener(blurred.astype(dtype), WEAK[kernel]))
    assert found[0.001] > found[0.003] > psnr(sharp, blurred) + 1.5
    assert found[1e-4] > found[0.001] - 1.5
    # The spectrum of a noise-free picture that a Gaussian has blurred is no power law.
    least = psnr(sharp, blurred) + 0.4 if kernel == "gaussian" else found[0.001] - 1.5
    assert found[0] > least


@pytest.mark.parametrize("kernel", WEAK)
def test_weak_noise_with_missing_pixels_or_light_cut_off_at_the_frame(kernel):
    sharp, kernel = picture("camera", 160), WEAK[kernel]
    gone = np.random.default_rng(0).random(sharp.shape) < 0.05
    for boundary in ("periodic", "zero"):
        A = Blur(kernel, sharp.shape, boundary=boundary)
        blurred = A(A.frame.pad(sharp)) + 1e-3 * np.random.default_rng(1).normal(size=sharp.shape)
        for image in (blurred, np.where(gone, np.nan, blurred)):
            assert psnr(sharp, wiener(image, kernel, boundary=boundary)) > psnr(sharp, blurred) + 4


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_noise_that_a_ratio_stands_for(library):
    A = Blur(put(SKEW, library), (12, 9), boundary="unknown")
    K = get(A.power)
    axes = np.meshgrid(np.fft.fftfreq(A.domain[0]), np.fft.rfftfreq(A.domain[1]), indexing="ij")
    signal = 1 / (0.01 + sum(f * f for f in axes))
    power = 2.0 * K
    power[:, 0] /= 2
    if A.domain[1] % 2 == 0:
        power[:, -1] /= 2
    power[0, 0] = 0  # the mean is no signal
    gradient = power * sum(f * f for f in axes)
    ratio = put(1 / signal, library)
    seen, steep = signal_to_noise(A, ratio)
    np.testing.assert_allclose(seen, (power * signal).sum() / np.prod(A.domain))
    np.testing.assert_allclose(steep, (gradient * signal).sum() / gradient.sum())
    louder = with_noise(A, ratio, np.asarray(4.0))
    np.testing.assert_allclose(signal_to_noise(A, louder)[0], seen / 4)
    assert float(louder[0, 0]) == float(ratio[0, 0])


def test_rules_find_nearly_the_same_weight():
    best = max(
        psnr(SHARP, wiener(BLURRED, KERNEL, spectrum="power-law", weight=float(w)))
        for w in np.geomspace(1e-4, 10, 21)
    )
    for weight in (None, "likelihood", "gcv", "sure"):
        found = wiener(BLURRED, KERNEL, spectrum="power-law", weight=weight)
        assert psnr(SHARP, found) > best - 0.5
        assert psnr(SHARP, wiener(BLURRED, KERNEL, weight=weight)) > best - 0.5
    for spectrum in ("constant", "laplacian"):
        for weight in (None, "gcv", "sure"):
            found = wiener(BLURRED, KERNEL, spectrum=spectrum, weight=weight)
            assert psnr(SHARP, found) > psnr(SHARP, BLURRED) + 1


@pytest.mark.parametrize("spectrum", ["fitted", "power-law"])
def test_a_given_noise_replaces_the_estimate(spectrum):
    found = wiener(BLURRED, KERNEL, spectrum=spectrum)
    given = wiener(BLURRED, KERNEL, spectrum=spectrum, noise=0.01)
    assert abs(psnr(SHARP, found) - psnr(SHARP, given)) < 0.3
    detail = [np.abs(np.diff(wiener(BLURRED, KERNEL, noise=s))).sum() for s in (0.001, 0.01, 0.1)]
    assert detail == sorted(detail, reverse=True)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("spectrum", ["fitted", "power-law"])
def test_a_noise_told_too_small_does_not_pass_for_scene(spectrum, boundary):
    sharp, blurred = observed(boundary)
    found = psnr(sharp, wiener(blurred, KERNEL, boundary=boundary, spectrum=spectrum))
    for told in (0.0025, 0.005):
        low = wiener(blurred, KERNEL, boundary=boundary, spectrum=spectrum, noise=told)
        assert psnr(sharp, low) > found - 0.5


@pytest.mark.parametrize("boundary", ["unknown", "periodic"])
@pytest.mark.parametrize("spectrum", ["fitted", "power-law"])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_scene_as_smooth_as_the_frame_is_no_noise(axis, spectrum, boundary):
    x = np.arange(96) / 96
    wave = np.tile(0.5 + 0.3 * np.sin(2 * np.pi * x + 0.3), (128, 1))
    wave = wave if axis else wave.T
    blurred = wave + 0.01 * np.random.default_rng(0).normal(size=wave.shape)
    for noise in (None, 0.01):
        found = wiener(blurred, KERNEL, boundary=boundary, spectrum=spectrum, noise=noise)
        assert psnr(wave, found) > 32


def test_a_larger_weight_smooths_more():
    for spectrum in SPECTRA:
        detail = [
            np.abs(np.diff(wiener(BLURRED, KERNEL, spectrum=spectrum, weight=w))).sum()
            for w in (0.1, 1.0, 10.0)
        ]
        assert detail == sorted(detail, reverse=True)


@pytest.mark.parametrize("boundary", ["unknown", "periodic"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_flat_picture_stays_flat(boundary, dtype):
    for level in (0, 1, 7.5, 4e4):
        flat = np.full((30, 31), level, dtype)
        for spectrum in SPECTRA:
            found = wiener(flat, KERNEL, boundary=boundary, spectrum=spectrum)
            np.testing.assert_allclose(found, flat, rtol=0.05, err_msg=f"{spectrum} {level}")


@pytest.mark.parametrize("boundary", ["unknown", "periodic"])
@pytest.mark.parametrize("sigma", [1e-6, 1e-3, 0.1, 1.0])
def test_where_all_is_noise_the_mean_remains(boundary, sigma):
    noisy = 7.5 + sigma * np.random.default_rng(0).normal(size=(40, 41))
    found = wiener(noisy, KERNEL, boundary=boundary)
    assert abs(found.mean() - noisy.mean()) < 0.05 * noisy.mean()
    assert found.std() < sigma + 0.05 * noisy.mean()


# --- symmetries -----------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e-3, 255.0, 1e4])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_unit_does_not_matter(spectrum, boundary, factor):
    _, blurred = observed(boundary)
    found = wiener(blurred, KERNEL, spectrum=spectrum, boundary=boundary)
    scaled = wiener(factor * blurred, KERNEL, spectrum=spectrum, boundary=boundary)
    close(scaled / factor, found, 1e-9)
    single = wiener((factor * blurred).astype("f4"), KERNEL, spectrum=spectrum, boundary=boundary)
    assert single.dtype == np.float32
    close(single / factor, found, 2e-3)


@pytest.mark.parametrize("weight", ["gcv", "sure"])
def test_the_unit_does_not_matter_to_the_rules(weight):
    found = wiener(BLURRED, KERNEL, weight=weight)
    close(wiener(255 * BLURRED, KERNEL, weight=weight) / 255, found, 1e-9)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_given_filter_is_linear(boundary):
    other = RNG.random(SMALL.shape)

    def restore(y):
        return wiener(y, SKEW, spectrum="power-law", weight=0.1, boundary=boundary, n_iter=300)

    close(restore(2 * SMALL - 3 * other), 2 * restore(SMALL) - 3 * restore(other), 1e-9)


MOVES = {
    "up-down": (np.flipud, np.flipud),
    "left-right": (np.fliplr, np.fliplr),
    "transposed": (np.transpose, np.transpose),
    "shifted": (lambda y: np.roll(y, (5, 17), (0, 1)), lambda kernel: kernel),
}


@pytest.mark.parametrize("move", MOVES)
def test_it_moves_with_the_picture(move):
    of_image, of_psf = MOVES[move]
    rng = np.random.default_rng(0)
    kernel = random_psf(rng, (5, 5))
    A = Blur(kernel, SHARP.shape, boundary="periodic")
    y = A(SHARP) + 0.01 * rng.normal(size=SHARP.shape)

    def restore(y, kernel, **weight):
        return wiener(y.copy(), kernel.copy(), boundary="periodic", **weight)

    given = {"spectrum": "power-law", "weight": 0.1}
    found = restore(y, kernel, **given)
    close(restore(of_image(y), of_psf(kernel), **given), of_image(found), 1e-12)
    # What is found from the picture moves along. The optimum of its search is flat, so rounding may
    # move it: by less than half the noise.
    change = restore(of_image(y), of_psf(kernel)) - of_image(restore(y, kernel))
    assert np.sqrt(np.mean(change**2)) < 0.005


# --- missing pixels, channels, dimensions ---------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_missing_pixels_cost_little(boundary):
    sharp, blurred = observed(boundary)
    whole = wiener(blurred, KERNEL, boundary=boundary)
    assert psnr(sharp, whole) > psnr(sharp, blurred) + 1
    gone = np.random.default_rng(0).random(sharp.shape) < 0.02
    holed = np.where(gone, np.nan, blurred)
    found = wiener(holed, KERNEL, boundary=boundary)
    assert np.isfinite(found).all()
    assert psnr(sharp, found) > psnr(sharp, whole) - 0.3
    # NaN is weight 0: whatever stands there, it is not looked at.
    spoilt = np.where(gone, 1e3, blurred)
    close(wiener(spoilt, KERNEL, boundary=boundary, weights=~gone), found, 1e-9)
    assert np.isnan(holed).sum() == gone.sum()


def test_masked_arrays_are_weights():
    mask = np.random.default_rng(0).random(SHARP.shape) < 0.02
    found = wiener(np.ma.array(BLURRED, mask=mask), KERNEL)
    assert type(found) is np.ndarray
    close(found, wiener(np.where(mask, np.nan, BLURRED), KERNEL), 1e-12)


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("boundary", ["unknown", "periodic"])
def test_channels_are_restored_one_by_one(spectrum, boundary):
    image = colour_picture(48) + 0.01 * RNG.normal(size=(48, 48, 3))
    together = wiener(image, KERNEL, channel_axis=-1, spectrum=spectrum, boundary=boundary)
    assert together.shape == image.shape
    steps = {} if boundary == "periodic" else {"n_iter": 200}
    together = wiener(image, KERNEL, channel_axis=-1, spectrum=spectrum, boundary=boundary, **steps)
    for c in range(3):
        alone = wiener(image[..., c], KERNEL, spectrum=spectrum, boundary=boundary, **steps)
        # The stages of the solution are those of the channel with the least noise.
        close(together[..., c], alone, 2e-3 if steps else 1e-12)


def test_each_channel_may_have_its_psf_and_noise():
    image = colour_picture(48)
    kernels = np.stack([psf.gaussian(s, size=13) for s in (0.8, 1.2, 1.6)], axis=-1)
    noise = [0.01, 0.02, 0.03]
    together = wiener(image, kernels, channel_axis=-1, noise=noise, n_iter=100)
    for c in range(3):
        alone = wiener(image[..., c], kernels[..., c], noise=noise[c], n_iter=100)
        close(together[..., c], alone, 1e-4)
    first = wiener(np.moveaxis(image, -1, 0), kernels[..., 0], channel_axis=0, noise=0.01)
    assert first.shape == (3, 48, 48)


@pytest.mark.parametrize("shape", [(300,), (20, 24, 22)])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_one_and_three_dimensions(shape, boundary):
    rng = np.random.default_rng(0)
    kernel = psf.gaussian(1.2, ndim=len(shape))
    blocks = rng.random([-(-n // 4) for n in shape])
    scene = np.kron(blocks, np.ones((4,) * len(shape)))[tuple(slice(n) for n in shape)]
    if boundary == "zero":
        scene = np.pad(scene[(slice(4, -4),) * len(shape)], 4)
    A = Blur(kernel, shape, boundary="zero" if boundary == "zero" else "periodic")
    blurred = A(A.frame.pad(scene)) + 0.003 * rng.normal(size=shape)
    found = wiener(blurred, kernel, boundary=boundary)
    assert found.shape == shape
    assert psnr(scene, found) > psnr(scene, blurred) + 1


@pytest.mark.parametrize("spectrum", ["fitted", "power-law"])
def test_the_true_noise_is_no_worse_than_a_guess(spectrum):
    for boundary in BOUNDARIES:
        sharp, blurred = observed(boundary)
        guessed = wiener(blurred, KERNEL, spectrum=spectrum, boundary=boundary)
        given = wiener(blurred, KERNEL, spectrum=spectrum, boundary=boundary, noise=0.01)
        assert psnr(sharp, given) > psnr(sharp, guessed) - 0.3


@pytest.mark.parametrize("spectrum", ["fitted", "power-law"])
@pytest.mark.parametrize("noise", [None, 0.01])
def test_a_scene_that_ends_at_the_frame(spectrum, noise):
    # Bright up to the frame's edge and black beyond: that edge is no part of the usual spectrum.
    sharp = picture("camera", 96)
    A = Blur(KERNEL, sharp.shape, boundary="zero")
    blurred = A(A.frame.pad(sharp)) + 0.01 * np.random.default_rng(0).normal(size=sharp.shape)
    found = wiener(blurred, KERNEL, boundary="zero", spectrum=spectrum, noise=noise)
    assert psnr(sharp, found) > psnr(sharp, blurred) + 1.5


def test_an_operator_may_stand_for_the_psf():
    A = Blur(KERNEL, SHARP.shape, boundary="zero")
    np.testing.assert_array_equal(wiener(BLURRED, A), wiener(BLURRED, KERNEL, boundary="zero"))


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
        (">f4", "float32"),
        ("float64", "float64"),
    ],
)
def test_the_scale_and_float_dtype_are_the_images_own(dtype, returned):
    image = np.rint(200 * BLURRED).clip(0, 255).astype(dtype)
    image.setflags(write=False)
    found = wiener(image, KERNEL)
    assert found.dtype == returned and found.dtype.isnative
    close(found.astype(float), wiener(image.astype(float), KERNEL), 5e-3)
    assert psnr(SHARP, found.astype(float) / 200) > psnr(SHARP, BLURRED) + 1


def test_lists_and_boolean_images():
    assert wiener(SMALL.tolist(), SKEW.tolist()).dtype == np.float64
    found = wiener(SMALL > 0.5, SKEW)
    assert found.dtype == np.float32


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-3), ("float64", 1e-6)])
def test_array_in_the_same_library_out(library, boundary, dtype, tolerance):
    y = observed(boundary, 40)[1].astype(dtype)
    image, kernel = put(y, library), put(KERNEL.astype(dtype), library)
    for spectrum in SPECTRA:
        found = wiener(image, kernel, boundary=boundary, spectrum=spectrum)
        assert type(found) is type(image) and found.dtype == image.dtype
        close(found, wiener(y, KERNEL, boundary=boundary, spectrum=spectrum), tolerance)
    for rule in ("gcv", "sure"):
        found = wiener(image, kernel, boundary=boundary, weight=rule)
        close(found, wiener(y, KERNEL, boundary=boundary, weight=rule), tolerance)
    # The psf may come from another library than the image.
    assert type(wiener(image, KERNEL, boundary=boundary)) is type(image)


@pytest.mark.skipif("torch" not in LIBRARIES, reason="no torch")
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_gradients_flow_through(boundary, spectrum):
    import torch

    image = torch.tensor(BLURRED[:24, :22], requires_grad=True)
    wiener(image, KERNEL, boundary=boundary, spectrum=spectrum).sum().backward()
    assert torch.isfinite(image.grad).all()
    assert image.grad.abs().max() > 0


@pytest.mark.skipif("torch" not in LIBRARIES, reason="no torch")
def test_gradients_of_a_given_filter():
    import torch

    image = torch.tensor(SMALL[:6, :5], requires_grad=True)
    kernel = torch.tensor(random_psf(RNG, (2, 3)), requires_grad=True)

    def restore(image, kernel):
        return wiener(image, kernel, spectrum="power-law", weight=0.5, boundary="periodic")

    assert torch.autograd.gradcheck(restore, (image, kernel))


def test_inputs_are_never_written_to():
    image, kernel = put(BLURRED, "numpy"), put(KERNEL, "numpy")
    weights = put(RNG.random(BLURRED.shape), "numpy")
    for boundary in BOUNDARIES:
        first = wiener(image, kernel, boundary=boundary)
        wiener(image, kernel, boundary=boundary, weights=weights)
        np.testing.assert_array_equal(wiener(image, kernel, boundary=boundary), first)
        assert not np.shares_memory(first, image)
        assert first.flags.writeable and first.flags.c_contiguous


# --- the callback ---------------------------------------------------------------------------------


@pytest.mark.parametrize("channel_axis", [None, -1])
def test_the_callback_sees_every_step(channel_axis):
    image = BLURRED if channel_axis is None else colour_picture(48)
    seen, images = [], []

    def watch(state):
        seen.append((state.iteration, state.n_iter))
        images.append(state.image)
        assert state.image is images[-1]

    found = wiener(image, KERNEL, n_iter=4, callback=watch, channel_axis=channel_axis)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(x.shape == image.shape for x in images)
    close(images[-1], found, 1e-12)
    for k in (1, 2, 3):
        alone = wiener(image, KERNEL, n_iter=k, channel_axis=channel_axis)
        close(images[k - 1], alone, 1e-12)
    seen.clear()
    wiener(image, KERNEL, callback=watch, channel_axis=channel_axis)
    assert seen[0] == (1, None)


def test_an_image_asked_for_too_late_is_right_or_refused():
    states = []
    found = wiener(BLURRED, KERNEL, n_iter=4, callback=states.append)
    try:
        late = states[-1].image
    except RuntimeError:
        return
    close(late, found, 1e-12)


def test_the_callback_may_end_the_solve():
    def stop(state):
        if state.iteration == 2:
            raise StopIteration

    found = wiener(BLURRED, KERNEL, n_iter=30, callback=stop)
    close(found, wiener(BLURRED, KERNEL, n_iter=2), 1e-12)


def test_other_errors_of_the_callback_are_not_swallowed():
    def fail(state):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        wiener(BLURRED, KERNEL, callback=fail)


# --- bad input ------------------------------------------------------------------------------------

half = np.ones((21, 10))
BAD = {
    "complex image": ({"image": SMALL + 0j}, TypeError, "image.*complex"),
    "empty image": ({"image": np.ones((0, 4))}, ValueError, "image is empty"),
    "infinite image": ({"image": np.where(SMALL > 0.5, np.inf, 0)}, ValueError, "image.*infinite"),
    "all NaN": ({"image": np.nan * SMALL}, ValueError, "image.*nothing but NaN"),
    "ambiguous colour": ({"image": np.ones((21, 18, 3))}, ValueError, "channel_axis=-1"),
    "psf too large": ({"psf": np.full((22, 1), 1 / 22)}, ValueError, "psf.*larger"),
    "psf sum": ({"psf": 7 * SKEW}, ValueError, "psf sums to 7"),
    "psf negative": ({"psf": SKEW - 0.06}, ValueError, "psf.*negative"),
    "psf NaN": ({"psf": SKEW * np.nan}, ValueError, "psf.*NaN"),
    "psf zero": ({"psf": 0 * SKEW}, ValueError, "psf is zero"),
    "boundary": ({"boundary": "zeros"}, ValueError, "boundary='zeros'.*did you mean 'zero'"),
    "spectrum name": ({"spectrum": "power_law"}, ValueError, "spectrum=.*'power-law'"),
    "spectrum shape": ({"spectrum": np.ones((3, 3))}, ValueError, r"spectrum has shape \(3, 3\)"),
    "spectrum zero": (
        {"spectrum": 0 * half, "boundary": "periodic"},
        ValueError,
        "spectrum is not positive",
    ),
    "spectrum NaN": (
        {"spectrum": np.nan * half, "boundary": "periodic"},
        ValueError,
        "spectrum is not positive",
    ),
    "spectrum number": ({"spectrum": lambda *f: 1.0}, ValueError, "spectrum has shape"),
    "weight name": ({"weight": "gvc"}, ValueError, "weight='gvc'.*'gcv'"),
    "weight negative": ({"weight": -1}, ValueError, "weight=-1"),
    "weight zero": ({"weight": 0}, ValueError, "weight=0; .*above 0"),
    "weight NaN": ({"weight": float("nan")}, ValueError, "weight=nan"),
    "weight list": ({"weight": [1, 2]}, TypeError, "weight="),
    "likelihood of another": (
        {"weight": "likelihood", "spectrum": "constant"},
        ValueError,
        "weight='likelihood' needs",
    ),
    "noise negative": ({"noise": -1}, ValueError, "noise=-1"),
    "noise NaN": ({"noise": float("nan")}, ValueError, "noise"),
    "noise text": ({"noise": "low"}, TypeError, "noise"),
    "noise per channel": ({"noise": [1, 2, 3]}, ValueError, r"noise has shape \(3,\)"),
    "noise for a callable": (
        {"noise": -1, "spectrum": lambda *f: 1 + 0 * sum(f)},
        ValueError,
        "noise",
    ),
    "weights shape": ({"weights": np.ones((3, 3))}, ValueError, "weights have shape"),
    "weights range": ({"weights": 3 * np.ones((21, 18))}, ValueError, "weights lie in"),
    "n_iter negative": ({"n_iter": -1}, ValueError, "n_iter=-1"),
    "n_iter float": ({"n_iter": 1.5}, TypeError, "n_iter=1.5"),
    "axis": ({"channel_axis": 7, "image": np.ones((21, 18, 3))}, ValueError, "channel_axis=7"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_argument(case):
    given, error, says = BAD[case]
    arguments = {"image": SMALL, "psf": SKEW, **given}
    with pytest.raises(error, match=says):
        wiener(arguments.pop("image"), arguments.pop("psf"), **arguments)


def test_arguments_after_the_data_are_named():
    with pytest.raises(TypeError):
        wiener(SMALL, SKEW, 0.1)


def test_one_picture_of_the_suite_is_what_it_seems():
    # `scene_and_blurred` must not shift by a pixel itself: the blur is centred.
    sharp, blurred = scene_and_blurred(np.eye(1), "camera", 64)
    np.testing.assert_allclose(sharp, blurred, atol=1e-12)
    assert picture("camera", 64).shape == (64, 64)
