"""The command line: what it writes, what it says, and what it leaves behind when it cannot."""

import types

import numpy as np
import pytest

from deconv import batch, cli, io, methods, psf, tv, wiener
from deconv.io import Picture, read, to_linear, write

RNG = np.random.default_rng(0)
SCENE = np.kron(RNG.random((8, 10)), np.ones((6, 6)))
KERNEL = psf.gaussian(1.0)


def grey(dtype=np.uint8):
    return np.rint(SCENE * np.iinfo(dtype).max).astype(dtype)


def colour(dtype=np.uint8):
    return np.stack([grey(dtype), grey(dtype)[::-1], grey(dtype)[:, ::-1]], axis=-1)


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    write(path, colour())
    return path


def test_deblur_keeps_depth_profile_resolution_and_alpha(tmp_path):
    deep = Picture(
        colour(np.uint16),
        "YXS",
        alpha=grey(np.uint16),
        icc=b"\0" * 128,
        resolution=(300.0, 300.0, "inch"),
    )
    for suffix in (".tif", ".png"):
        source, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
        write(source, deep)
        before = source.read_bytes()
        assert run("deblur", source, "-o", target, "--psf", "gaussian:1") == 0
        found = read(target)
        assert found.pixels.dtype == np.uint16
        assert found.pixels.shape == deep.pixels.shape
        assert (found.pixels != deep.pixels).any()
        np.testing.assert_array_equal(found.alpha, deep.alpha)
        assert found.icc == deep.icc
        assert found.resolution[:2] == pytest.approx(deep.resolution[:2], rel=1e-4)
        assert source.read_bytes() == before


def test_deblur_is_the_method_in_linear_light_or_not(tmp_path, photo):
    image = colour().astype(np.float32)
    plain = tv(image, KERNEL, channel_axis=-1)
    light = tv(to_linear(image / 255), KERNEL, bounds=(0, None), channel_axis=-1)
    light = io.from_linear(light) * 255
    for switch, expected in (
        ("--no-linear", plain),
        ("--linear", light),
        (None, light),
    ):
        target = tmp_path / "out.png"
        switches = [switch] if switch else []
        assert (
            run("deblur", photo, "-o", target, "--psf", "gaussian:1", "--overwrite", *switches) == 0
        )
        difference = read(target).pixels.astype(float) - np.clip(np.rint(expected), 0, 255)
        assert np.abs(difference).max() <= 1


def test_plot_shows_how_the_iterations_converged(tmp_path, photo, capsys):
    figure = tmp_path / "plot.png"
    arguments = ["deblur", photo, "-o", tmp_path / "out.png", "--psf", "gaussian:1", "--overwrite"]
    assert run(*arguments, "--plot", figure) == 0
    assert read(figure).pixels.shape[0] > 100
    assert "relative change" in capsys.readouterr().err
    assert run(*arguments, "--plot", tmp_path / "missing" / "plot.png") == 2
    assert "--plot" in capsys.readouterr().err


def test_what_counts_as_a_photograph():
    for pixels, axes, expected in (
        (grey(), "YX", True),
        (colour(), "YXS", True),
        (colour(np.uint16), "YXS", True),
        (grey(np.uint16), "YX", False),
        (SCENE, "YX", False),
        (np.zeros((3, 9, 9), np.uint8), "ZYX", False),
    ):
        assert batch.in_linear_light(Picture(pixels, axes)) == expected


def test_sigma_is_in_the_files_units(tmp_path, photo):
    def restored(*arguments):
        target = tmp_path / "out.png"
        code = run("deblur", photo, "-o", target, "--psf", "gaussian:1", "--overwrite", *arguments)
        assert code == 0
        return read(target).pixels

    image = colour().astype(np.float32)
    expected = tv(image, KERNEL, sigma=5.0, channel_axis=-1)
    found = restored("--sigma", 5, "--no-linear")
    assert np.abs(found - np.clip(np.rint(expected), 0, 255)).max() <= 1
    assert (restored("--sigma", 5) != restored("--sigma", 20)).any()
    # In linear light the noise is that of the curve's slope.
    step = batch.linear_sigma(to_linear(np.full((8, 8), 0.5)), 0.01)
    assert step == pytest.approx(to_linear(np.array(0.505)) - to_linear(np.array(0.495)), rel=1e-3)


@pytest.mark.parametrize("axes", ["ZYX", "ZYXS", "TZYX"])
def test_stacks_with_a_3d_psf_and_with_a_2d_one(tmp_path, axes):
    shape = {"Z": 9, "Y": 24, "X": 30, "S": 3, "T": 2}
    stack = RNG.random([shape[letter] for letter in axes]).astype(np.float32)
    write(tmp_path / "a.tif", Picture(stack, axes))
    solid = psf.gaussian((1.0, 1.0, 1.0))
    np.save(tmp_path / "psf.npy", solid)
    arguments = ["deblur", tmp_path / "a.tif", "--sigma", 0.1, "-m", "wiener"]
    assert run(*arguments, "-o", tmp_path / "b.tif", "--psf", tmp_path / "psf.npy") == 0
    assert run(*arguments, "-o", tmp_path / "c.tif", "--psf", "gaussian:1") == 0
    options = {"noise": 0.1}
    if axes == "ZYXS":
        whole = wiener(stack, solid, channel_axis=-1, **options)
        pages = [wiener(page, KERNEL, channel_axis=-1, **options) for page in stack]
    elif axes == "TZYX":
        whole = [wiener(volume, solid, **options) for volume in stack]
        pages = [[wiener(page, KERNEL, **options) for page in volume] for volume in stack]
    else:
        whole = wiener(stack, solid, **options)
        pages = [wiener(page, KERNEL, **options) for page in stack]
    for name, expected in (("b.tif", whole), ("c.tif", pages)):
        found = read(tmp_path / name)
        assert found.axes == axes
        np.testing.assert_allclose(found.pixels, np.asarray(expected), atol=1e-5)


def test_depth_and_parameters(tmp_path, photo):
    target = tmp_path / "out.tif"
    options = ["-m", "richardson_lucy", "-p", "n_iter=3", "--param", "accelerate=no"]
    assert run("deblur", photo, "-o", target, "--psf", "gaussian:1", "--depth", 32, *options) == 0
    assert read(target).pixels.dtype == np.float32
    assert read(target).pixels.max() > 0.5


def test_a_folder_resumes_and_survives_a_failure(tmp_path, capsys):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for name in ("a.png", "b.png", "c.tif"):
        write(source / name, grey())
    (source / "broken.png").write_bytes((source / "a.png").read_bytes()[:60])
    (source / "notes.txt").write_text("not a picture")
    arguments = ["deblur", source, "-o", out, "--psf", "gaussian:1"]
    assert run(*arguments) == 1
    message = capsys.readouterr().err
    assert "broken.png" in message
    assert "3 restored, 0 skipped, 1 failed" in message
    assert sorted(p.name for p in out.iterdir()) == ["a.png", "b.png", "c.tif"]
    (out / "b.png").unlink()
    before = (out / "a.png").stat().st_mtime_ns
    assert run(*arguments) == 1
    assert "1 restored, 2 skipped, 1 failed" in capsys.readouterr().err
    assert (out / "a.png").stat().st_mtime_ns == before
    (source / "broken.png").unlink()
    assert run(*arguments, "--overwrite") == 0
    assert "3 restored, 0 skipped, 0 failed" in capsys.readouterr().err
    assert (out / "a.png").stat().st_mtime_ns != before


def test_one_output_that_exists_is_skipped_aloud(tmp_path, photo, capsys):
    arguments = ["deblur", photo, "-o", tmp_path / "out.png", "--psf", "gaussian:1"]
    assert run(*arguments) == 0
    before = (tmp_path / "out.png").read_bytes()
    (tmp_path / "out.png").write_bytes(b"mine")
    assert run(*arguments) == 0
    assert "exists; skipped" in capsys.readouterr().err
    assert (tmp_path / "out.png").read_bytes() == b"mine"
    assert run(*arguments, "--overwrite") == 0
    assert (tmp_path / "out.png").read_bytes() == before


def test_an_input_is_only_overwritten_when_asked(tmp_path, photo, capsys):
    before = photo.read_bytes()
    for out in (photo, tmp_path):
        assert run("deblur", photo, "-o", out, "--psf", "gaussian:1") == 2
        assert "is an input; pass --overwrite" in capsys.readouterr().err
        assert photo.read_bytes() == before
    assert run("deblur", photo, "-o", tmp_path, "--psf", "gaussian:1", "--overwrite") == 0
    assert photo.read_bytes() != before
    # One input's output may not be another input, however much is asked for.
    other = tmp_path / "other"
    other.mkdir()
    write(other / "photo.png", grey())
    arguments = [photo, other / "photo.png", "-o", tmp_path, "--psf", "gaussian:1", "--overwrite"]
    assert run("deblur", *arguments) == 2
    assert "would both be written" in capsys.readouterr().err
    arguments = [photo, other / "b.png", "-o", other, "--psf", "gaussian:1", "--overwrite"]
    write(other / "b.png", grey())
    assert run("deblur", other / "photo.png", *arguments) == 2


BAD = {
    "no psf": (["{photo}"], "needs --psf"),
    "method": (["{photo}", "--psf", "gaussian:1", "-m", "wienr"], "did you mean 'wiener'"),
    "family": (["{photo}", "--psf", "gausian:1"], "did you mean 'gaussian'"),
    "psf number": (["{photo}", "--psf", "gaussian:two"], "'two' is not a number"),
    "psf negative": (["{photo}", "--psf", "gaussian:-2"], "sigma"),
    "psf argument": (["{photo}", "--psf", "defocus:radus=3"], "radus"),
    "psf file": (["{photo}", "--psf", "none.npy"], "there is no such file"),
    "psf option": (["{photo}", "--psf", "{photo}:3"], "index=0"),
    "psf colour": (["{photo}", "--psf", "{photo}"], "colour"),
    "psf too large": (["{photo}", "--psf", "gaussian:30"], "psf"),
    "psf 3d": (["{photo}", "--psf", "gaussian:1,ndim=3"], "axes"),
    "psf fit": (["{photo}", "--psf", "fit:motoin"], "did you mean 'motion'"),
    "sigma": (["{photo}", "--psf", "gaussian:1", "--sigma", "-1"], "sigma"),
    "sigma text": (["{photo}", "--psf", "gaussian:1", "--sigma", "x"], "sigma"),
    "boundary": (["{photo}", "--psf", "gaussian:1", "--boundary", "zeros"], "'zero'"),
    "param": (["{photo}", "--psf", "gaussian:1", "-p", "n_iter"], "name=value"),
    "param name": (["{photo}", "--psf", "gaussian:1", "-p", "n_itr=3"], "'n_iter'"),
    "param value": (["{photo}", "--psf", "gaussian:1", "-p", "n_iter=x"], "whole number"),
    "depth": (["{photo}", "--psf", "gaussian:1", "--depth", "12"], "depth=12"),
    "missing": (["{folder}/none.png", "--psf", "gaussian:1"], "none.png does not exist"),
    "not a picture": (["{folder}/text.png", "--psf", "gaussian:1"], "text.png cannot be read"),
    "truncated": (["{folder}/cut.png", "--psf", "gaussian:1"], "cut.png cannot be read"),
    "empty folder": (["{folder}/empty", "--psf", "gaussian:1"], "no picture"),
    "option": (["{photo}", "--psf", "gaussian:1", "--wrong"], "--wrong"),
    "out suffix": (["{photo}", "--psf", "gaussian:1", "-o", "{folder}/x.bmp"], ".png"),
    "out folder": (["{photo}", "--psf", "gaussian:1", "-o", "{folder}/x/y.png"], "output folder"),
    "stack fit": (["{folder}/stack.tif", "--psf", "fit:motion", "-o", "{folder}/s.tif"], "stack"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_code_2_and_no_file(tmp_path, photo, capsys, case):
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:200])
    (tmp_path / "empty").mkdir()
    write(tmp_path / "stack.tif", np.zeros((3, 16, 16), np.float32))
    before = sorted(tmp_path.rglob("*"))
    arguments, message = BAD[case]
    arguments = [text.format(photo=photo, folder=tmp_path) for text in arguments]
    if "-o" not in arguments:
        arguments += ["-o", str(tmp_path / "out.png")]
    assert run("deblur", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path, capsys):
    write(tmp_path / "a.tif", SCENE.astype(np.float32))
    assert run("deblur", tmp_path / "a.tif", "-o", tmp_path / "a.jpg", "--psf", "gaussian:1") == 2
    assert "pass depth=8" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_a_bug_keeps_its_traceback(tmp_path, photo, monkeypatch):
    def fail(*arguments, **keywords):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(batch.Job, "restore", fail)
    with pytest.raises(ZeroDivisionError):
        run("deblur", photo, "-o", tmp_path / "out.png", "--psf", "gaussian:1")


def test_ctrl_c_leaves_no_half_file(tmp_path, photo, monkeypatch, capsys):
    def interrupt(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(batch.Job, "restore", interrupt)
    assert run("deblur", photo, "-o", tmp_path / "out.png", "--psf", "gaussian:1") == 130
    assert "stopped" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["photo.png"]


def test_progress_shows_iterations_with_an_eta(tmp_path, photo, capsys):
    arguments = ["deblur", photo, "-o", tmp_path / "out.png", "--psf", "gaussian:1", "--progress"]
    assert run(*arguments, "-m", "richardson_lucy", "-p", "n_iter=4") == 0
    assert "iterations" in capsys.readouterr().err
    with cli._bars(1, True) as (advance, callback):
        for iteration, n_iter in ((1, None), (2, None), (3, 9), (1, 9)):
            callback(types.SimpleNamespace(iteration=iteration, n_iter=n_iter))
        advance()
    assert "/9" in capsys.readouterr().err


def test_psf_command_makes_reads_and_fits(tmp_path, capsys):
    assert run("psf", "motion:9,30") == 0
    assert "sum 1" in capsys.readouterr().out
    for suffix in (".npy", ".tif", ".png"):
        path = tmp_path / f"k{suffix}"
        assert run("psf", "gaussian:1.5", "-o", path) == 0
        np.testing.assert_allclose(batch.psf_from(str(path)), psf.gaussian(1.5), atol=1e-4)
        capsys.readouterr()
        assert run("psf", "defocus:3", "-o", path) == 2
        assert "pass --overwrite" in capsys.readouterr().err
    assert run("psf", "gaussian:1,2,3", "-o", tmp_path / "solid.tif") == 0
    assert batch.psf_from(str(tmp_path / "solid.tif")).ndim == 3
    assert "z      centroid" in capsys.readouterr().out
    for arguments, message in (
        (["defocus:3", "-o", tmp_path / "k.mat"], ".npy"),
        (["defocus:3", "-o", tmp_path / "none" / "k.npy"], "output folder"),
        (["fit:motion"], "none was given"),
    ):
        assert run("psf", *arguments) == 2
        assert message in capsys.readouterr().err


def test_fit_from_the_picture(tmp_path, capsys):
    from scipy.ndimage import convolve
    from skimage import data

    scene = to_linear(data.camera()[:256, :256].astype(np.float64) / 255)
    blurred = convolve(scene, psf.defocus(4.0), mode="reflect")
    write(tmp_path / "a.png", io.from_linear(blurred), depth=8)
    assert run("psf", "fit:defocus", "--image", tmp_path / "a.png", "-o", tmp_path / "k.npy") == 0
    assert "found a defocus psf: radius" in capsys.readouterr().out
    found = np.load(tmp_path / "k.npy")
    width = np.sqrt(
        (found.sum(axis=0) * (np.arange(found.shape[1]) - found.shape[1] // 2) ** 2).sum()
    )
    assert width == pytest.approx(2.0, abs=0.4)
    assert run("deblur", tmp_path / "a.png", "-o", tmp_path / "b.png", "--psf", "fit:defocus") == 0


def test_psf_texts():
    np.testing.assert_array_equal(
        batch.psf_from("gaussian:1,2,angle=30"), psf.gaussian((1, 2), angle=30)
    )
    np.testing.assert_array_equal(batch.psf_from("motion:9,30"), psf.motion(9, 30))
    np.testing.assert_array_equal(
        batch.psf_from("airy:wavelength=0.5,na=1.2,pixel_size=0.1"),
        psf.airy(wavelength=0.5, na=1.2, pixel_size=0.1),
    )
    np.testing.assert_array_equal(batch.psf_from("trajectory:15,rng=3"), psf.trajectory(15, rng=3))


def test_psf_file_options(tmp_path):
    path = tmp_path / "two.npy"
    np.save(path, np.stack([np.eye(3)] * 4)[None])
    kernel = np.stack([psf.defocus(2), psf.defocus(2).T])
    write(tmp_path / "k.tif", Picture(kernel.astype(np.float32), "CYX"))
    np.testing.assert_allclose(
        batch.psf_from(f"{tmp_path / 'k.tif'}:index=1"), psf.defocus(2).T, atol=1e-6
    )


def test_methods_version_and_help(capsys):
    assert run("methods") == 0
    listed = capsys.readouterr().out
    for method in methods.all():
        assert f"{method.name}: {method.summary}" in listed
        for parameter in method.parameters:
            assert f"{parameter.name}=" in listed
    assert run("--version") == 0
    assert capsys.readouterr().out.count(".") == 2
    assert run("deblur", "--help") == 0
    assert "--linear" in capsys.readouterr().out
    assert run("dblur") == 2


def test_demo_command_makes_its_folder(tmp_path, monkeypatch):
    from deconv import demo

    monkeypatch.setattr(demo, "clock", lambda path: "clock")
    monkeypatch.setattr(demo, "synthetic", lambda path: [demo.Row("x", 30.0, 0.9, 1.0)])
    assert run("demo", "-o", tmp_path / "demo") == 0
    assert (tmp_path / "demo").is_dir()
