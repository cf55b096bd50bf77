"""The table of a network beside the solvers: its cases, scores and command line."""

import csv

import numpy as np
import pytest
from scipy.signal import fftconvolve
from skimage import data, io

import deconv

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from unrolled import HQSNet, evaluate, weights  # noqa: E402


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "few").mkdir()
    io.imsave(tmp_path / "few" / "a.png", data.astronaut()[:64, 100:172], check_contrast=False)
    io.imsave(tmp_path / "few" / "b.png", data.camera()[100:170, 200:260], check_contrast=False)
    return tmp_path / "few"


@pytest.fixture
def network(tmp_path):
    net = HQSNet.preset("tiny", widths=(4, 8), blocks=1, iterations=2, steps=2, hidden=8)
    return str(weights.save(net, tmp_path / "net.safetensors"))


@pytest.fixture
def psfs(tmp_path):
    kernels = np.stack([deconv.psf.gaussian(1.0, size=7), deconv.psf.motion(4, 30, size=7)])
    np.save(tmp_path / "psfs.npy", kernels)
    return tmp_path / "psfs.npy", kernels


def test_the_blur_is_valid_and_psfs_take_turns(folder, psfs):
    path, kernels = psfs
    config = evaluate.EvaluateConfig(pictures=(folder,), psfs=(path,), noise=(1e-9, 0.1))
    found = list(evaluate.cases(config))
    assert [case.noise for case in found] == [1e-9, 0.1] * 2
    for case, kernel in zip(found[::2], kernels, strict=True):
        np.testing.assert_allclose(case.psf, kernel, rtol=1e-6)
    grey = data.camera()[100:170, 200:260] / 255
    expected = fftconvolve(grey, kernels[1], mode="valid")
    np.testing.assert_allclose(found[2].image, expected, atol=1e-6)
    np.testing.assert_allclose(found[2].truth, grey[3:-3, 3:-3], atol=1e-6)
    assert abs((found[3].image - found[2].image).std() - 0.1) < 0.01


def test_colour_keeps_its_channels(folder):
    config = evaluate.EvaluateConfig(pictures=(folder,), colour=True, noise=(0.01,), every=2)
    (case,) = evaluate.cases(config)
    assert case.image.shape[2] == 3
    np.testing.assert_allclose(
        case.truth, (data.astronaut()[:64, 100:172] / 255)[6:-6, 6:-6], atol=1e-6
    )


def test_the_command_prints_and_writes_every_score(folder, psfs, network, tmp_path, capsys):
    path = tmp_path / "scores.csv"
    given = {"pictures": folder, "psfs": psfs[0], "networks": network, "methods": "wiener"}
    given |= {"noise": 0.02, "csv": path}
    evaluate.main([word for name, value in given.items() for word in (f"--{name}", str(value))])
    printed = capsys.readouterr().out
    lines = printed.strip().splitlines()
    assert "few 2 %" in lines[0]
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == [
        "blurred",
        "wiener",
        network,
    ]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    wiener = [float(row["psnr"]) for row in rows if row["method"] == "wiener"]
    blurred = [float(row["psnr"]) for row in rows if row["method"] == "blurred"]
    assert np.mean(wiener) > np.mean(blurred)
    assert f"{np.mean(wiener):.2f}" in printed


def test_a_folder_without_pictures_is_named(tmp_path):
    config = evaluate.EvaluateConfig(pictures=(tmp_path,))
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        list(evaluate.cases(config))
