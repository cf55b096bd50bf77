"""The figures: what they show, that they are saved, and that pyplot stays out of it."""

import sys

import numpy as np
import pytest
from PIL import Image

from deconv import figures, io, psf
from deconv.progress import History, State

GREY = np.tile(np.linspace(0, 255, 40, dtype=np.uint8), (30, 1))
COLOUR = np.stack([GREY] * 3, axis=-1)


def test_before_after_shows_pictures_psf_and_notes(tmp_path):
    path = tmp_path / "figure.png"
    pictures = {"before": GREY, "after": GREY / 255.0, "colour": COLOUR, "more": COLOUR}
    figure = figures.before_after(pictures, psf.motion(9, 0), notes=["a note"], path=path)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == list(pictures)
    first, second = (axes.images[0].get_array() for axes in figure.axes[:2])
    np.testing.assert_allclose(first, second)
    aside = figure.axes[-1]
    assert [text.get_text() for text in aside.texts] == ["a note"]
    (frame,) = aside.child_axes
    assert "1 × 9" in frame.get_title(loc="left") or "px" in frame.get_title(loc="left")
    shown = frame.images[0].get_array()
    assert shown.shape[0] == shown.shape[1]
    assert shown.max() == 1
    with Image.open(path) as image:
        assert image.width > 500
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]


def test_values_are_shown_against_white():
    figure = figures.before_after({"a": np.full((5, 5), 50.0)}, white=100)
    assert figure.axes[0].images[0].get_array().max() == 0.5
    figure = figures.before_after({"a": np.full((5, 5), 7.0)}, psf.gaussian(1, ndim=3), columns=1)
    assert figure.axes[0].images[0].get_array().max() == 1


def test_bad_pictures_are_named(tmp_path):
    with pytest.raises(ValueError, match="empty"):
        figures.before_after({})
    with pytest.raises(ValueError, match="'odd' has shape"):
        figures.before_after({"odd": np.zeros((2, 3, 4))})
    with pytest.raises(FileNotFoundError, match="output folder"):
        figures.before_after({"a": GREY}, path=tmp_path / "none" / "a.png")


def test_pyplot_is_not_imported():
    before = "matplotlib.pyplot" in sys.modules
    figures.before_after({"a": GREY})
    assert ("matplotlib.pyplot" in sys.modules) == before


@pytest.fixture
def history():
    """What a callback sees of four iterations that converge by halves."""
    record = History()
    for k in range(1, 5):
        image = np.arange(12.0).reshape(3, 4) + 0.5**k
        stopped = "it is over" if k == 4 else None
        record(State(k, 4, lambda image=image: image, lambda k=k: 10 / k, stopped))
    return record


def test_a_history_keeps_what_the_callback_saw(history):
    assert history.iterations == [1, 2, 3, 4]
    assert history.objectives == [10, 5, 10 / 3, 2.5]
    assert history.stopped == "it is over"
    assert np.isnan(history.changes[0])
    assert history.changes[1:] == pytest.approx(
        np.array([0.25, 0.125, 0.0625]) / np.arange(12).std()
    )
    assert history.seconds == sorted(history.seconds)


def test_convergence_draws_objective_and_change(tmp_path, history):
    silent = History()
    for k in (1, 2):
        silent(State(k, None, lambda: np.arange(5.0), lambda: None))
    figure = figures.convergence({"loud": history, "silent": silent}, path=tmp_path / "a.png")
    fall, change = figure.axes
    assert [line.get_label() for line in fall.lines] == ["loud"]
    np.testing.assert_allclose(fall.lines[0].get_ydata(), [4, 2, 4 / 3, 1])
    assert [line.get_label().partition(":")[0] for line in change.lines] == ["loud", "silent"]
    assert io.read(tmp_path / "a.png").pixels.shape[0] > 100
    for histories in ({}, {"nothing": History()}):
        with pytest.raises(ValueError, match="histories without an iteration"):
            figures.convergence(histories)
