"""Filter pairs against the formula that they cut short, and what restoring by them promises."""

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
from scipy.ndimage import convolve
from scipy.signal import convolve2d

from deconv import Blur, psf
from deconv.filter_bank import filter_bank
from deconv.pseudo_inverse import SPECTRA, pseudo_inverse

RNG = np.random.default_rng(0)
PSF = random_psf(RNG, (5, 6))
CAMERA_PSF = psf.motion(7, 30)


def wiener_spectrum(kernel, shape, snr):
    """``conj(K) / (|K|^2 + 1 / snr)`` on a periodic grid, by numpy alone."""
    padded = np.zeros(shape)
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    otf = np.fft.fft2(np.roll(padded, [-(n // 2) for n in kernel.shape], (0, 1)))
    return otf.conj() / (abs(otf) ** 2 + 1 / snr)


def test_the_whole_bank_is_the_wiener_filter():
    bank = pseudo_inverse(PSF, snr=30, spectrum="constant", size=121, rank=121, taper=False)
    frame = picture(size=160) - picture(size=160).mean()
    expected = np.fft.ifft2(np.fft.fft2(frame) * wiener_spectrum(PSF, frame.shape, 30)).real
    found = bank(frame, boundary="periodic")
    np.testing.assert_allclose(found, expected, atol=1e-4)
    inside = (slice(60, -60),) * 2
    np.testing.assert_allclose(bank(frame)[inside], expected[inside], atol=1e-4)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_bank_is_the_best_of_its_rank(rank):
    """Eckart and Young: what is left out are the other singular values, and no more."""
    whole = pseudo_inverse(PSF, size=41, rank=41)
    bank = pseudo_inverse(PSF, size=41, rank=rank)
    lost = np.linalg.norm(whole.kernel - bank.kernel)
    values = np.linalg.svd(whole.kernel, compute_uv=False)
    np.testing.assert_allclose(lost, np.linalg.norm(values[rank:]))
    np.testing.assert_allclose(bank.rank_error, lost**2 / np.linalg.norm(values) ** 2)
    np.testing.assert_allclose(bank.rows @ bank.rows.T, np.eye(rank), atol=1e-12)
    np.testing.assert_allclose(bank.columns @ bank.columns.T, np.eye(rank), atol=1e-12)


def test_pairs_are_the_convolution():
    """Columns along Y and rows along X, one after the other, as a network would."""
    bank = pseudo_inverse(PSF, size=15, rank=4)
    assert bank.columns.shape == bank.rows.shape == (4, 15)
    y = RNG.random((20, 33))
    expected = sum(
        weight * convolve2d(convolve2d(y, column[:, None], "same"), row[None], "same")
        for weight, column, row in zip(bank.weights, bank.columns, bank.rows, strict=True)
    )
    np.testing.assert_allclose(bank(y, boundary="zero"), expected, atol=1e-12)


def test_window_error_is_the_energy_outside():
    large = pseudo_inverse(CAMERA_PSF, size=181, rank=181, taper=False)
    assert large.window_error < 1e-4
    for taper in (False, True):
        for rank in (21, 2):
            bank = pseudo_inverse(CAMERA_PSF, size=21, rank=rank, taper=taper)
            missing = large.kernel - np.pad(bank.kernel, 80)
            expected = np.sum(missing**2) / np.sum(large.kernel**2)
            np.testing.assert_allclose(bank.error, expected, rtol=0.2)
            assert bank.error >= bank.window_error


def test_automatic_rank():
    bank = pseudo_inverse(CAMERA_PSF)
    assert bank.size == 121
    assert bank.rank_error <= 1e-4
    assert pseudo_inverse(CAMERA_PSF, rank=bank.rank - 1).rank_error > 1e-4


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_without_blur_nothing_changes(spectrum, boundary):
    frame = picture(size=64)
    bank = pseudo_inverse(np.ones((1, 1)), snr=1e8, spectrum=spectrum, size=31)
    assert bank.rank == 1
    np.testing.assert_allclose(bank(frame, boundary=boundary), frame, atol=1e-6)


@pytest.mark.parametrize("boundary", ["unknown", "periodic"])
def test_a_flat_frame_stays(boundary):
    flat = np.full((64, 65), 7.0)
    found = pseudo_inverse(CAMERA_PSF, snr=2, spectrum="constant", size=31)(flat, boundary=boundary)
    np.testing.assert_allclose(found, flat)


def test_it_inverts_a_blur():
    scene = picture(size=150)
    blurred = convolve(scene, CAMERA_PSF, mode="wrap")
    found = pseudo_inverse(CAMERA_PSF, snr=1e4)(blurred, boundary="periodic")
    assert psnr(scene, found) > psnr(scene, blurred) + 7
    cut = pseudo_inverse(CAMERA_PSF, snr=1e4, taper=False)(blurred, boundary="periodic")
    assert psnr(scene, cut) < psnr(scene, found) - 7


def test_the_ratio_means_the_same_in_any_window():
    for spectrum in SPECTRA:
        small, large = (
            pseudo_inverse(CAMERA_PSF, snr=20, spectrum=spectrum, size=size, rank=41, taper=False)
            for size in (41, 81)
        )
        np.testing.assert_allclose(small.kernel, large.kernel[20:-20, 20:-20], atol=1e-3)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_frames_of_any_library(library, dtype):
    bank = pseudo_inverse(PSF, size=31)
    frames = np.moveaxis(colour_picture(40), -1, 0).astype(dtype)
    expected = np.stack([bank(frame) for frame in frames])
    given = put(frames, library)
    for _ in range(2):  # the second call finds the spectrum kept
        found = bank(given, channel_axis=0)
        assert type(found) is type(given) and found.dtype == given.dtype
        np.testing.assert_allclose(get(found), expected, atol=1e-6)
    small = bank(put(frames[0][:33], library))
    np.testing.assert_allclose(get(small), bank(frames[0][:33]), atol=1e-6)


def test_filters_have_the_dtype_of_the_psf():
    bank = pseudo_inverse(PSF.astype(np.float32), size=31)
    assert bank.rows.dtype == bank.columns.dtype == bank.weights.dtype == np.float32
    assert bank.kernel.dtype == np.float32


# --- filter_bank ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.01, 0.03])
def test_it_restores_with_everything_found(sigma):
    sharp, blurred = scene_and_blurred(CAMERA_PSF, size=128, sigma=sigma)
    found = filter_bank(blurred, CAMERA_PSF)
    assert psnr(sharp, found) > psnr(sharp, blurred) + 1.5
    constant = filter_bank(blurred, CAMERA_PSF, spectrum="constant")
    assert psnr(sharp, found) > psnr(sharp, constant) + 1


@pytest.mark.parametrize("kernel", [psf.gaussian(2.0), psf.defocus(4)])
def test_without_noise_the_border_sets_the_limit(kernel):
    sharp, blurred = scene_and_blurred(kernel, size=160)
    assert psnr(sharp, filter_bank(blurred, kernel)) > psnr(sharp, blurred)


def test_given_ratio_gives_the_bank():
    _, blurred = scene_and_blurred(CAMERA_PSF, size=64)
    expected = pseudo_inverse(CAMERA_PSF, snr=50, rank=5, size=51)(blurred)
    found = filter_bank(blurred, CAMERA_PSF, snr=50, rank=5, size=51)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("scale", [255.0, 1e-4])
def test_it_follows_the_scale(boundary, scale):
    _, blurred = scene_and_blurred(CAMERA_PSF, size=64, sigma=0.01)
    expected = scale * filter_bank(blurred, CAMERA_PSF, boundary=boundary)
    found = filter_bank(scale * blurred, CAMERA_PSF, boundary=boundary)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8 * scale)


def test_missing_pixels_do_little_harm():
    sharp, blurred = scene_and_blurred(CAMERA_PSF, size=128, sigma=0.01)
    seen = RNG.random(blurred.shape) > 0.05
    seen[40:44, 60:65] = False
    holed = np.where(seen, blurred, np.nan)
    found = filter_bank(holed, CAMERA_PSF)
    assert np.isfinite(found).all()
    assert psnr(sharp, found) > psnr(sharp, blurred) + 1
    wild = np.where(seen, blurred, 1e3)
    weighted = filter_bank(wild, CAMERA_PSF, weights=seen.astype(float))
    np.testing.assert_allclose(weighted, found, atol=1e-9)


@pytest.mark.parametrize("library", LIBRARIES)
def test_channels_with_a_psf_each(library):
    image = np.moveaxis(colour_picture(48), -1, 0)
    psfs = np.stack([random_psf(RNG, (5, 5)) for _ in range(3)])
    expected = [filter_bank(y, k, rank=9) for y, k in zip(image, psfs, strict=True)]
    given = put(image, library), put(psfs, library)
    found = filter_bank(*given, rank=9, channel_axis=0)
    assert type(found) is type(given[0])
    np.testing.assert_allclose(get(found), expected, atol=1e-9)


def test_operators_and_callbacks_are_taken():
    frame = picture(size=40)
    A = Blur(PSF, frame.shape, boundary="periodic")
    states = []
    found = filter_bank(frame.astype(np.float32), A, callback=states.append)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, filter_bank(frame, PSF, boundary="periodic"), atol=1e-4)
    assert [state.iteration for state in states] == [1]

    def stop(state):
        np.testing.assert_array_equal(state.image, found)
        raise StopIteration

    again = filter_bank(frame.astype(np.float32), A, callback=stop)
    np.testing.assert_array_equal(again, found)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"psf": np.ones(3) / 3}, "two axes"),
        ({"psf": np.ones((3, 3))}, "sums to 9"),
        ({"size": 20}, "odd"),
        ({"size": 21, "rank": 22}, "at most the window"),
        ({"rank": 0}, "rank"),
        ({"snr": 0}, "snr"),
        ({"spectrum": "power"}, "did you mean 'power-law'"),
    ],
)
def test_bad_requests_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        pseudo_inverse(**{"psf": PSF, **options})


def test_bad_frames_are_named():
    bank = pseudo_inverse(PSF, size=21)
    with pytest.raises(ValueError, match="NaN"):
        bank(np.full((30, 30), np.nan))
    with pytest.raises(ValueError, match="channel_axis"):
        bank(np.ones((30, 30, 3)))
    with pytest.raises(ValueError, match="smaller size"):
        bank(np.ones((20, 30)), boundary="periodic")
    with pytest.raises(ValueError, match="boundary"):
        bank(np.ones((30, 30)), boundary="mirror")
    with pytest.raises(ValueError, match="2: filter pairs"):
        filter_bank(np.ones((9, 9, 9)), np.ones((1, 1, 1)))
