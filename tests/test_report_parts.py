"""The parts of a report: pictures that fit their budget, charts, costs, and commands."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from deconv import psf
from deconv.report.charts import Line, chart
from deconv.report.commands import Recipe
from deconv.report.measure import Watch, measured
from deconv.report.panels import Encoder, psf_panel, radial, residual_panel, spectrum

KERNEL = psf.motion(7, 30)


def test_pictures_stay_within_their_budget():
    noise = np.random.default_rng(0).random((300, 400))
    small = Encoder(side=200, budget=9000)(noise)
    assert len(small) < 9000 * 4 / 3 + 40
    assert len(Encoder(side=200)(noise)) > len(small)
    assert psf_panel(KERNEL).startswith("data:image/png;base64,")
    assert psf_panel(np.ones((3, 5, 5))).startswith("data:image/png")
    assert residual_panel(noise - 0.5, 0.0).startswith("data:image/webp")
    # Two channels are shown by their mean, and what is not finite as black.
    assert Encoder()(np.full((8, 8, 2), np.nan)).startswith("data:image/webp")


def test_the_radial_spectrum_is_that_of_the_blur():
    soft = gaussian_filter(np.random.default_rng(0).normal(size=(256, 256)), 1.5, mode="wrap")
    f, power = radial(spectrum(soft))
    fall = np.interp(0.2, f, power) - np.interp(0.1, f, power)
    expected = -((2 * np.pi * 1.5) ** 2) * (0.2**2 - 0.1**2) / np.log(10)
    assert fall == pytest.approx(expected, abs=0.1)


def test_charts_leave_out_what_has_no_logarithm():
    svg = chart([Line("a<b", [1, 2, 30], [0.0, 1e-3, 1.0], 0)], "x", "y", True, True)
    assert svg.count("polyline") == 2
    assert "a&lt;b" in svg
    assert len(re.search(r'points="([^"]*)"', svg).group(1).split()) == 2
    assert "<circle" in chart([Line("a", [1], [1.0], 0)], "x", "y")
    assert chart([Line("a", [1, 2], [0.0, -1.0], 0)], "x", "y", log_y=True) == ""


def test_time_leaves_out_the_recording():
    watch = Watch()
    watch.spent = 1000.0
    result, cost = measured(lambda w: "done", watch)
    assert result == "done"
    assert cost.seconds == 0.0
    assert cost.memory is None or cost.memory < 2**28


def test_memory_is_seen_where_the_system_tells():
    _, cost = measured(lambda w: np.ones(2**23).sum(), Watch())
    if cost.memory is None:
        pytest.skip("this system does not tell how large a process has been")
    assert 2**25 < cost.memory < 2**28


def test_without_a_file_system_of_processes_there_is_no_memory(monkeypatch):
    monkeypatch.setattr("deconv.report.measure._reset_peak", lambda: None)
    assert measured(lambda w: 1, Watch())[1].memory is None

    def missing(path, *arguments, **keywords):
        raise FileNotFoundError

    monkeypatch.undo()
    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(Path, "write_text", missing)
    assert measured(lambda w: 1, Watch())[1].memory is None


def test_recipes_quote_names():
    recipe = Recipe(Path("my photo's.png"), "tv", "my photo's-tv.png", psf="a b.npy", linear=False)
    assert shlex.split(recipe.shell) == [
        *["deconv", "deblur", "my photo's.png", "-o", "my photo's-tv.png", "--method", "tv"],
        *["--psf", "a b.npy", "--no-linear"],
    ]
    compile(recipe.python, "recipe", "exec")
