"""The demonstration keeps its promises: the motion is found, and we are ahead where we say so."""

import re
from importlib.util import find_spec

import numpy as np
from PIL import Image

from deconv import demo


def test_the_clock_is_restored(tmp_path):
    text = demo.clock(tmp_path / "clock.png")
    # The clock moves along the horizontal; nobody knows how far.
    angle = float(re.search(r"motion: length [\d.]+, angle ([\d.]+)", text)[1])
    assert min(angle, 180 - angle) < 5
    with Image.open(tmp_path / "clock.png") as image:
        assert image.width > 900


def test_the_synthetic_case(tmp_path):
    rows = {row.name: row for row in demo.synthetic(tmp_path / "astronaut.png")}
    assert rows["deconv wiener"].psnr > rows["scikit-image wiener"].psnr + 0.5
    assert rows["deconv richardson_lucy"].psnr > rows["scikit-image richardson_lucy"].psnr
    assert rows["deconv wiener"].psnr > rows["blurred"].psnr + 5
    if find_spec("torch"):
        assert rows["unrolled hqs"].psnr > rows["deconv plug_and_play"].psnr + 0.1
    assert (tmp_path / "astronaut.png").stat().st_size > 10_000


def test_the_table_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "clock", lambda path: "clock: found")
    monkeypatch.setattr(demo, "synthetic", lambda path: [demo.Row("x", np.pi, 0.9, 1.0)])
    demo.run(tmp_path / "new")
    printed = capsys.readouterr().out
    assert "clock: found" in printed
    assert "3.14" in printed
