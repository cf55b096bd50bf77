"""Tiles: what they cover, how they are blended, and what a callback sees and may end."""

import itertools

import numpy as np
import pytest
from helpers import LIBRARIES, get, put
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

import deconv
from deconv.progress import State, report
from deconv.tiles import Grid, tiled

rng = np.random.default_rng(0)
IMAGE = rng.random((90, 130))


def unchanged(pixels, region, callback):
    return 1 * pixels


@given(st.integers(1, 500), st.integers(0, 30), st.integers(0, 90), st.integers(1, 60))
def test_windows_sum_to_one(n, overlap, more, k):
    grid = Grid.over((n,), max(2 * overlap, 1) + more, overlap, (k,))
    total = np.zeros(n)
    for (region,), (window,) in grid:
        assert window.min() >= 0
        total[region] += window
    np.testing.assert_allclose(total, 1, atol=1e-12)


@given(st.integers(1, 5000), st.integers(0, 100), st.integers(0, 900), st.integers(1, 60))
def test_tiles_cover_and_overlap(n, overlap, more, k):
    tile = max(2 * overlap, 1) + more
    grid = Grid.over((n,), tile, overlap, (k,))
    (starts,), (side,) = grid.starts, grid.tile
    assert starts[0] == 0
    assert starts[-1] + side == n
    shared = [a + side - b for a, b in itertools.pairwise(starts)]
    assert not shared or min(shared) >= overlap
    if n <= tile:
        assert starts == (0,)
    else:
        assert len(starts) <= -(-(n - overlap) // (tile - overlap))


def test_tiles_are_fft_friendly():
    grid = Grid.over((1500, 2000), 512, 62, (31, 31))
    domain = tuple(t + 30 for t in grid.tile)
    assert domain == deconv.fft.fast_shape(domain)
    # As many as needed, and no larger than it takes.
    assert len(grid) == 20
    assert max(grid.tile) < 470


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("channel_axis", [None, 0, 1, -1])
def test_what_changes_nothing_gives_the_image(library, channel_axis):
    image = IMAGE if channel_axis is None else np.stack([IMAGE, IMAGE**2, -IMAGE], channel_axis)
    given_image = put(image.astype(np.float32), library)
    regions = []

    def restore(pixels, region, callback):
        assert callback is None
        regions.append(region)
        spatial = list(pixels.shape)
        if channel_axis is not None:
            assert spatial.pop(channel_axis) == 3
        assert spatial == [r.stop - r.start for r in region]
        return 1 * pixels

    result = tiled(restore, given_image, tile=40, overlap=10, channel_axis=channel_axis)
    assert len(regions) == 3 * 4
    assert result.dtype == given_image.dtype
    np.testing.assert_allclose(get(result), image, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(get(given_image), image.astype(np.float32))


@pytest.mark.parametrize("shape", [(300,), (61, 44), (20, 21, 30)])
def test_a_local_filter_is_the_same_in_tiles(shape):
    image = np.random.default_rng(1).random(shape)
    whole = gaussian_filter(image, 1, truncate=3)
    # What is within 3 pixels of a tile's edge must not count: that is the quarter dropped.
    seamless = tiled(
        lambda pixels, region, callback: gaussian_filter(pixels, 1, truncate=3),
        image,
        tile=24,
        overlap=12,
    )
    np.testing.assert_allclose(seamless, whole, atol=1e-12)
    seams = tiled(
        lambda pixels, region, callback: gaussian_filter(pixels, 1, truncate=3),
        image,
        tile=24,
        overlap=0,
    )
    assert np.abs(seams - whole).max() > 0.01


def test_tiles_that_disagree_are_cross_faded():
    levels = iter(range(100))
    result = tiled(lambda x, *_: 0 * x + next(levels), np.zeros(200), tile=56, overlap=20)
    # Five tiles of levels 0 to 4: no jump is more than the steepest slope of a fade over 10 pixels.
    assert result[0] == 0
    assert result[-1] == 4
    assert np.all(np.diff(result) >= 0)
    assert np.diff(result).max() < np.pi / 2 / 10


def test_an_image_no_larger_than_a_tile_goes_through_whole():
    for shape in ((90, 130), (90, 100)):
        image = IMAGE[: shape[0], : shape[1]]
        psf = deconv.psf.gaussian(1.2)
        calls = []

        def restore(pixels, region, callback, calls=calls, psf=psf):
            calls.append(region)
            return deconv.tv(pixels, psf)

        result = tiled(restore, image, tile=130, overlap=64)
        assert calls == [tuple(slice(0, n) for n in shape)]
        np.testing.assert_array_equal(result, deconv.tv(image, psf))


def test_missing_pixels_reach_restore_and_do_not_spread():
    image = IMAGE.copy()
    image[30:33, 40:50] = np.nan
    seen = []

    def restore(pixels, region, callback):
        seen.append(np.isnan(pixels).any())
        return np.nan_to_num(pixels, nan=0.5)

    result = tiled(restore, image, tile=40, overlap=10)
    assert any(seen)
    np.testing.assert_allclose(result, np.nan_to_num(image, nan=0.5), atol=1e-12)


def test_integers_keep_their_scale():
    image = (255 * IMAGE).astype(np.uint8)
    result = tiled(unchanged, image, tile=40, overlap=10)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, image, atol=1e-4)


def solver(pixels, region, callback):
    """Takes 1 away in each of four iterations, and ends after three in the first tile."""
    x = 1 * pixels
    tell = report(callback, 4, lambda v: 1 * v)
    last = 3 if region[0].start == 0 else 4
    for k in range(1, last + 1):
        x = x - 1
        if tell is not None and tell(k, x, 0.5, "done" if k == last else None):
            break
    return x


def test_the_callback_sees_the_whole_picture():
    image = rng.random(100)
    states = []

    def callback(state):
        states.append((state.iteration, state.n_iter, state.objective, state.stopped))
        assert state.image.shape == image.shape
        pictures.append(state.image)

    pictures = []
    result = tiled(solver, image, tile=50, overlap=20, callback=callback)
    # Three tiles of four iterations; the first ends early, and the count goes on as if not.
    assert [s[0] for s in states] == [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]
    assert {s[1] for s in states} == {12}
    assert {s[2] for s in states} == {None}
    assert [s[3] for s in states] == [None] * 10 + ["done"]
    np.testing.assert_array_equal(pictures[-1], result)
    # Not yet restored is as it came; the rest is as the tile left it.
    np.testing.assert_allclose(pictures[2][:25], image[:25] - 3)
    np.testing.assert_array_equal(pictures[2][60:], image[60:])
    np.testing.assert_allclose(result[60:], image[60:] - 4)


def test_stop_iteration_returns_the_picture_so_far():
    image = rng.random(100)
    seen = []

    def callback(state):
        seen.append(state.image)
        if state.iteration == 6:
            raise StopIteration

    result = tiled(solver, image, tile=50, overlap=20, callback=callback)
    assert len(seen) == 5
    np.testing.assert_array_equal(result, seen[-1])
    np.testing.assert_array_equal(result[90:], image[90:])
    np.testing.assert_allclose(result[:20], image[:20] - 3)


def test_without_a_callback_of_its_own_a_tile_is_an_iteration():
    seen = []
    tiled(unchanged, IMAGE[0], tile=50, overlap=10, callback=seen.append)
    assert all(isinstance(state, State) for state in seen)
    assert [(s.iteration, s.n_iter) for s in seen] == [(1, 3), (2, 3), (3, 3)]
    assert [bool(s.stopped) for s in seen] == [False, False, True]

    def stop(state):
        assert state.image is not None
        if state.iteration == 2:
            raise StopIteration

    result = tiled(lambda x, *_: x + 1, IMAGE[0], tile=50, overlap=10, callback=stop)
    np.testing.assert_allclose(result[:60], IMAGE[0][:60] + 1)
    np.testing.assert_array_equal(result[90:], IMAGE[0][90:])


def test_an_image_asked_for_too_late_is_an_error():
    late = []
    tiled(solver, IMAGE[0], tile=50, overlap=10, callback=late.append)
    with pytest.raises(RuntimeError, match="after its callback returned"):
        _ = late[0].image


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"image": IMAGE[None, None]}, ValueError, "1 to 3 spatial axes"),
        ({"image": np.zeros((0, 3))}, ValueError, "image is empty"),
        ({"image": 1j * IMAGE}, TypeError, "image has dtype"),
        ({"tile": 0}, ValueError, "tile=0"),
        ({"tile": 40.5}, TypeError, "tile=40.5"),
        ({"tile": 40, "overlap": 21}, ValueError, "at least twice the overlap"),
        ({"overlap": -1}, ValueError, "overlap=-1"),
        ({"psf_shape": (3,)}, ValueError, "psf_shape"),
        ({"channel_axis": 2}, ValueError, "channel_axis=2"),
        ({"channel_axis": -3}, ValueError, "channel_axis"),
        ({"restore": lambda x, *_: x[1:]}, ValueError, "restore turned a tile"),
    ],
)
def test_bad_arguments_are_named(arguments, error, words):
    defaults = {"restore": unchanged, "image": IMAGE, "tile": 40, "overlap": 10}
    with pytest.raises(error, match=words):
        tiled(**(defaults | arguments))
