"""``deconv blind``: what it writes and keeps, and the psf files that ``deconv deblur`` reads."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from deconv import batch, blind, cli, io, metrics, psf
from deconv.io import Picture, read, write

KERNEL = psf.defocus(3.0)
BLOCKS = 0.1 + 0.8 * np.kron(np.random.default_rng(0).random((21, 21)), np.ones((8, 8)))
LIGHT = fftconvolve(BLOCKS[:166, :166] ** 2.2, KERNEL, mode="valid")
BLURRED = np.rint(io.from_linear(LIGHT) * 255).astype(np.uint8)
SHARP = np.rint(BLOCKS[:96, :112] * 255).astype(np.uint8)
QUICK = ["--prior", "l0", "--psf-size", 7]


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    write(path, BLURRED)
    return path


def edges(image):
    """Sum of squared differences: how much edge a picture has."""
    image = image.astype(float)
    return sum(np.square(np.diff(image, axis=axis)).sum() for axis in (0, 1))


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".png"])
def test_the_psf_in_a_file_gives_the_same_picture_again(tmp_path, photo, capsys, suffix):
    kernel, out, again = (tmp_path / name for name in (f"k{suffix}", "out.tif", "again.tif"))
    before = photo.read_bytes()
    assert run("blind", photo, "-o", out, "--save-psf", kernel, "--depth", 32, *QUICK) == 0
    said = capsys.readouterr().err
    assert "photo.png: l0 found a psf of" in said
    assert said.count("\n") == 1
    assert photo.read_bytes() == before
    found = psf.from_file(kernel)
    assert metrics.psf_similarity(found, KERNEL) > 0.8
    restored = read(out).pixels
    assert restored.dtype == np.float32
    assert edges(restored) > 1.5 * edges(BLURRED / 255)
    # The same restoration, with the psf in hand.
    options = ["--psf-from", kernel, "--depth", 32]
    assert run("deblur", photo, "-o", again, *options) == 0
    rounding = 2e-3 if suffix == ".png" else 1e-5
    assert np.abs(read(again).pixels - restored).max() < rounding
    # A psf that is known exactly calls for less: no ringing to take away, no error of its own.
    assert run("deblur", photo, "-o", again, "--psf", kernel, "--depth", 32, "--overwrite") == 0
    assert np.abs(read(again).pixels - restored).max() > 0.05
    # It is the psf of the file that is used: another one gives another picture.
    psf.to_file(psf.gaussian(1.0), tmp_path / "other.npy")
    options[1] = tmp_path / "other.npy"
    assert run("deblur", photo, "-o", again, *options, "--overwrite") == 0
    assert np.abs(read(again).pixels - restored).max() > 0.05


def test_the_file_is_what_the_library_makes_of_it(tmp_path, photo):
    out, kernel = tmp_path / "out.png", tmp_path / "k.npy"
    assert run("blind", photo, "-o", out, "--save-psf", kernel, *QUICK) == 0
    image = batch.working_image(read(photo))
    result = blind.deblur(image, 7, prior="l0", gamma=2.2, bounds=(0, None))
    np.testing.assert_allclose(np.load(kernel), result.psf, atol=1e-7)
    expected = np.clip(np.rint(io.from_linear(result.image) * 255), 0, 255)
    assert np.abs(read(out).pixels.astype(int) - expected).max() <= 1


def test_linear_light_and_colour(tmp_path):
    colour = np.stack([BLURRED, BLURRED // 2 + 40, BLURRED.T], axis=-1)
    deep = Picture(colour.astype(np.uint16) * 257, "YXS", icc=b"\0" * 128)
    write(tmp_path / "a.tif", deep)
    arguments = ["blind", tmp_path / "a.tif", *QUICK]
    assert run(*arguments, "-o", tmp_path / "b.tif") == 0
    assert run(*arguments, "-o", tmp_path / "c.tif", "--no-linear") == 0
    light, plain = (read(tmp_path / name) for name in ("b.tif", "c.tif"))
    for found in (light, plain):
        assert found.pixels.dtype == np.uint16
        assert found.pixels.shape == deep.pixels.shape
        assert found.icc == deep.icc
        assert (found.pixels != deep.pixels).any()
    assert (light.pixels != plain.pixels).any()


@pytest.mark.parametrize("text", ["40,0,110,140", " 40, 0, 110, 140 "])
def test_crop_is_where_the_psf_is_found(tmp_path, photo, text):
    out, kernel = tmp_path / "out.png", tmp_path / "k.npy"
    arguments = ["blind", photo, "-o", out, "--save-psf", kernel, *QUICK]
    assert run(*arguments, "--crop", text) == 0
    # x, y, width, height: columns first.
    region = (slice(0, 140), slice(40, 150))
    image = batch.working_image(read(photo))
    expected = blind.estimate(image, 7, prior="l0", gamma=2.2, region=region)
    assert expected.blurred
    np.testing.assert_allclose(np.load(kernel), expected.psf, atol=1e-7)
    assert read(out).pixels.shape == BLURRED.shape


def test_psf_size_bounds_the_psf(tmp_path, photo):
    kernel = tmp_path / "k.npy"
    arguments = ["blind", photo, "-o", tmp_path / "out.png", "--save-psf", kernel, "--overwrite"]
    for size in (7, 13):
        assert run(*arguments, "--prior", "l0", "--psf-size", size) == 0
        assert max(np.load(kernel).shape) <= 1.25 * size + 2


@pytest.mark.parametrize("depth", [None, 16])
def test_a_picture_without_blur_is_copied_bit_by_bit(tmp_path, capsys, depth):
    colour = np.stack([SHARP, SHARP[::-1], SHARP[:, ::-1]], axis=-1)
    original = Picture(colour, "YXS", alpha=SHARP, icc=b"\0" * 128)
    write(tmp_path / "a.png", original)
    arguments = ["blind", tmp_path / "a.png", "-o", tmp_path / "b.png", "--prior", "l0"]
    arguments += ["--save-psf", tmp_path / "k.png"] + (["--depth", depth] if depth else [])
    assert run(*arguments) == 0
    assert "no blur found" in capsys.readouterr().err
    copy = read(tmp_path / "b.png")
    factor = 257 if depth else 1
    assert copy.pixels.dtype == (np.uint16 if depth else np.uint8)
    np.testing.assert_array_equal(copy.pixels, colour.astype(int) * factor)
    np.testing.assert_array_equal(copy.alpha, SHARP.astype(int) * factor)
    assert copy.icc == original.icc
    # The psf of no blur is a pixel.
    np.testing.assert_array_equal(psf.from_file(tmp_path / "k.png"), [[1.0]])


def test_a_float_picture_without_blur_keeps_every_digit(tmp_path):
    pixels = (SHARP / 255 + np.random.default_rng(0).normal(0, 1e-3, SHARP.shape)).astype("f4")
    write(tmp_path / "a.tif", pixels)
    assert run("blind", tmp_path / "a.tif", "-o", tmp_path / "b.tif", *QUICK) == 0
    np.testing.assert_array_equal(read(tmp_path / "b.tif").pixels, pixels)


def test_a_folder_with_its_psfs_resumes(tmp_path, capsys):
    source, out, kernels = (tmp_path / name for name in ("in", "out", "psfs"))
    for folder in (source, out, kernels):
        folder.mkdir()
    write(source / "a.png", BLURRED)
    write(source / "b.tif", SHARP)
    (source / "broken.png").write_bytes((source / "a.png").read_bytes()[:60])
    arguments = ["blind", source, "-o", out, "--save-psf", kernels, *QUICK]
    assert run(*arguments) == 1
    said = capsys.readouterr().err
    assert "broken.png" in said
    assert "2 restored, 0 skipped, 1 failed" in said
    assert sorted(p.name for p in out.iterdir()) == ["a.png", "b.tif"]
    assert sorted(p.name for p in kernels.iterdir()) == ["a.png", "b.png"]
    assert metrics.psf_similarity(psf.from_file(kernels / "a.png"), KERNEL) > 0.8
    assert psf.from_file(kernels / "b.png").shape == (1, 1)
    np.testing.assert_array_equal(read(out / "b.tif").pixels, SHARP)
    # A psf edited by hand is not lost when its picture is made again.
    (kernels / "b.png").write_bytes(b"mine")
    (out / "b.tif").unlink()
    (source / "broken.png").unlink()
    assert run(*arguments) == 1
    said = capsys.readouterr().err
    assert "pass --overwrite" in said
    assert "0 restored, 1 skipped, 1 failed" in said
    assert (kernels / "b.png").read_bytes() == b"mine"
    assert not (out / "b.tif").exists()


def test_an_existing_psf_is_only_replaced_when_asked(tmp_path, photo, capsys):
    kernel = tmp_path / "k.npy"
    kernel.write_bytes(b"mine")
    arguments = ["blind", photo, "-o", tmp_path / "out.png", "--save-psf", kernel, *QUICK]
    assert run(*arguments) == 2
    assert "k.npy exists; pass --overwrite" in capsys.readouterr().err
    assert kernel.read_bytes() == b"mine"
    assert not (tmp_path / "out.png").exists()
    assert run(*arguments, "--overwrite") == 0
    assert np.load(kernel).sum() == pytest.approx(1, abs=1e-5)


def test_a_psf_never_takes_the_place_of_a_picture(tmp_path, photo, capsys):
    out = tmp_path / "out"
    out.mkdir()
    before = photo.read_bytes()
    for target, kernel in (
        (out / "x.png", photo),
        (out / "x.png", out / "x.png"),
        (out / "x.png", tmp_path),
        (out / "x.png", out),
        (out, out),
    ):
        arguments = ["blind", photo, "-o", target, "--save-psf", kernel, "--overwrite", *QUICK]
        assert run(*arguments) == 2
        assert "pass another" in capsys.readouterr().err
        assert photo.read_bytes() == before
        assert list(out.iterdir()) == []


BAD = {
    "prior": (["--prior", "dark_chanel"], "did you mean 'dark_channel'"),
    "crop short": (["--crop", "1,2,3"], "x,y,width,height"),
    "crop words": (["--crop", "a,b,c,d"], "x,y,width,height"),
    "crop part": (["--crop", "0,0,50.5,50"], "x,y,width,height"),
    "crop outside": (["--crop", "-4,0,50,50"], "corner inside"),
    "crop empty": (["--crop", "0,0,0,50"], "size above 0"),
    "crop beyond": (["--crop", "500,0,50,50"], "columns"),
    "size": (["--psf-size", "1"], "psf-size"),
    "size text": (["--psf-size", "big"], "psf-size"),
    "size large": (["--psf-size", "150"], "psf_shape"),
    "method": (["-m", "tvv"], "did you mean 'tv'"),
    "method without psf": (["-m", "polyblur"], "finds its own psf"),
    "param": (["-p", "n_itr=3"], "'n_iter'"),
    "no deringing": (["-m", "l0_gradient", "-p", "deringing=0.3"], "deringing"),
    "depth": (["--depth", "12", *QUICK], "depth=12"),
    "psf suffix": (["--save-psf", "{folder}/k.mat"], "expected .npy, .tif or .png"),
    "psf folder": (["--save-psf", "{folder}/none/k.npy"], "does not exist"),
    "psf no folder": (["--save-psf", "{folder}/none"], "does not exist"),
    "stack": (["{folder}/stack.tif", "--save-psf", "{folder}/psfs.npy"], "expected a folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_code_2_and_no_file(tmp_path, photo, capsys, case):
    write(tmp_path / "stack.tif", np.zeros((3, 40, 40), np.float32))
    (tmp_path / "made").mkdir()
    before = sorted(tmp_path.rglob("*"))
    arguments, message = BAD[case]
    out = tmp_path / "made" if case == "stack" else tmp_path / "out.png"
    arguments = [str(text).format(folder=tmp_path) for text in arguments]
    assert run("blind", photo, "-o", out, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert message in lines[-1]
    assert "Traceback" not in captured.err
    assert len(lines) <= (2 if case == "depth" else 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_stack_is_refused(tmp_path, capsys):
    write(tmp_path / "stack.tif", np.zeros((3, 40, 40), np.float32))
    assert run("blind", tmp_path / "stack.tif", "-o", tmp_path / "out.tif") == 2
    assert "this is a stack" in capsys.readouterr().err
    assert not (tmp_path / "out.tif").exists()


def test_psf_from_is_one_file_and_not_beside_psf(tmp_path, photo, capsys):
    psf.to_file(psf.gaussian(1.0), tmp_path / "k.npy")
    arguments = ["deblur", photo, "-o", tmp_path / "out.png"]
    for options, message in (
        (["--psf-from", tmp_path / "none.npy"], "does not exist"),
        (["--psf-from", tmp_path], "does not exist"),
        (["--psf-from", tmp_path / "k.npy", "--psf", "gaussian:1"], "both given"),
        (["--psf-from", photo.with_suffix(".txt")], "does not exist"),
    ):
        assert run(*arguments, *options) == 2
        assert message in capsys.readouterr().err
    assert run(*arguments, "--psf-from", tmp_path / "k.npy") == 0


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".png"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 3), (3, 5, 3), (5,), (2, 3, 3, 3)])
def test_a_psf_file_reads_back_or_is_refused(tmp_path, suffix, shape):
    kernel = np.random.default_rng(0).random(shape).astype(np.float32)
    path = tmp_path / f"k{suffix}"
    if suffix == ".npy" or len(shape) == 2 or (suffix == ".tif" and len(shape) == 3):
        psf.to_file(kernel, path)
        # Without an index, an array with more than three axes is several psfs.
        found = np.load(path) if len(shape) > 3 else psf.from_file(path)
        step = kernel.max() / kernel.sum() / 65535
        np.testing.assert_allclose(found, kernel / kernel.sum(), atol=2 * step, rtol=1e-5)
    else:
        with pytest.raises(ValueError, match=f"{len(shape)} axes"):
            psf.to_file(kernel, path)
    assert [p.name for p in tmp_path.iterdir()] == ([path.name] if path.exists() else [])
