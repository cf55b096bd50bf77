"""A psf that is nearly right, refined by its picture."""

import numpy as np
import pytest
from scipy.signal import fftconvolve
from skimage import data

import deconv
from deconv import cli, io
from deconv.metrics import psf_similarity, psnr

SCENE = data.camera()[60:340, 60:340] / 255
TRUE = deconv.psf.trajectory(15, rng=4)


def blurred(psf=TRUE, sigma=0.005, seed=0):
    clean = fftconvolve(SCENE, psf, mode="valid")
    noise = np.random.default_rng(seed).normal(0, sigma, clean.shape)
    return (clean + noise).astype(np.float32)


def wrong(psf=TRUE, seed=1):
    """`psf` with noise on and around its support, and some of it lost."""
    rng = np.random.default_rng(seed)
    wide = np.pad(psf, 2)
    near = np.ones((3, 3)) / 9
    support = fftconvolve(wide, near, mode="same") > 0.02 * wide.max()
    bad = wide + support * rng.normal(0, 0.15 * wide.max(), wide.shape)
    bad = np.where(rng.uniform(size=bad.shape) < 0.15, 0, np.maximum(bad, 0))
    return deconv.psf.normalise(bad)


def score(image, psf):
    """PSNR of the restoration, but for the border."""
    first = [k - 1 - k // 2 for k in TRUE.shape]
    truth = SCENE[first[0] :, first[1] :][: image.shape[0], : image.shape[1]]
    restored = deconv.tv(image, psf)
    return psnr(truth[20:-20, 20:-20], restored[20:-20, 20:-20].astype(float), data_range=1)


@pytest.fixture(scope="module")
def image():
    return blurred()


@pytest.fixture(scope="module")
def refined(image):
    return deconv.blind.refine_psf(image, wrong())


def test_a_wrong_psf_becomes_better(image, refined):
    told = wrong()
    assert psf_similarity(refined, TRUE) > psf_similarity(told, TRUE) + 0.03
    # It stays where it was: nothing is aligned here.
    assert score(image, refined) > score(image, told) + 1


def test_what_comes_back(refined):
    assert refined.dtype == np.float32
    assert all(n % 2 for n in refined.shape)
    assert refined.min() == 0
    assert refined.sum() == pytest.approx(1, abs=1e-5)


def test_an_exact_psf_loses_nothing(image):
    kept = deconv.blind.refine_psf(image, TRUE)
    assert psf_similarity(kept, TRUE) > 0.95
    assert score(image, kept) > score(image, TRUE) - 0.2


def test_too_much_noise_leaves_the_psf_as_it_is():
    told = wrong()
    kept = deconv.blind.refine_psf(blurred(sigma=0.1), told)
    np.testing.assert_allclose(kept, told, atol=1e-7)


def test_an_even_psf_keeps_its_middle():
    told = np.zeros((4, 6))
    told[2, 3], told[1, 3] = 3, 1
    kept = deconv.blind.refine_psf(blurred(sigma=0.1), told)
    assert kept.shape == (5, 7)
    assert kept[2, 3] == pytest.approx(0.75)
    assert kept[1, 3] == pytest.approx(0.25)


def test_units_and_colours_do_not_matter(image, refined):
    scaled = deconv.blind.refine_psf(4096 * image, 7 * wrong())
    np.testing.assert_allclose(scaled, refined, atol=2e-3)
    colours = np.repeat(image[..., None], 3, axis=-1)
    np.testing.assert_allclose(
        deconv.blind.refine_psf(colours, wrong(), channel_axis=-1), refined, atol=2e-3
    )


def test_nothing_is_changed_in_place(image):
    told = wrong()
    before = image.copy(), told.copy()
    deconv.blind.refine_psf(image, told)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(told, before[1])


@pytest.mark.parametrize(
    ("psf", "message"),
    [
        (np.ones((3, 3, 3)), r"psf has shape \(3, 3, 3\); expected 2 axes"),
        (np.zeros((3, 3)), "psf"),
        (np.full((3, 3), np.nan), "psf"),
        (-TRUE, "psf"),
        (np.ones((400, 400)), "larger|fit|expected"),
    ],
)
def test_a_bad_psf(image, psf, message):
    with pytest.raises(ValueError, match=message):
        deconv.blind.refine_psf(image, psf)


def test_a_bad_picture():
    with pytest.raises(ValueError, match="image is constant"):
        deconv.blind.refine_psf(np.ones((64, 64)), TRUE)
    with pytest.raises(ValueError, match="at least 24"):
        deconv.blind.refine_psf(np.random.default_rng(0).random((20, 20)), np.ones((3, 3)))


def test_on_the_command_line(tmp_path, image, refined):
    photo, told, out = (tmp_path / name for name in ("photo.tif", "told.npy", "out.tif"))
    io.write(photo, image)
    np.save(told, wrong())
    options = [str(photo), "-o", str(out), "--psf", str(told), "--depth", "32"]
    assert cli.main(["deblur", *options]) == 0
    before = io.read(out).pixels
    assert cli.main(["deblur", *options, "--refine", "--overwrite"]) == 0
    after = io.read(out).pixels
    first = [k - 1 - k // 2 for k in TRUE.shape]
    truth = SCENE[first[0] :, first[1] :][: image.shape[0], : image.shape[1]][20:-20, 20:-20]
    scores = [psnr(truth, x[20:-20, 20:-20].astype(float), data_range=1) for x in (before, after)]
    assert scores[1] > scores[0] + 1


def test_refine_needs_a_psf_and_one_picture(tmp_path, image, capsys):
    photo, stack = tmp_path / "photo.tif", tmp_path / "stack.tif"
    io.write(photo, image)
    io.write(stack, np.stack([image[:40, :40]] * 3))
    out = ["-o", str(tmp_path / "out.tif"), "--refine"]
    assert cli.main(["deblur", str(photo), *out, "--method", "polyblur"]) != 0
    assert "--refine without a psf" in capsys.readouterr().err
    assert cli.main(["deblur", str(stack), *out, "--psf", "gaussian:1,1,1"]) != 0
    assert "--refine needs one picture; this is a stack" in capsys.readouterr().err
