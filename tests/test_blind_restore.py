"""The last step of a blind restoration: its noise level, and large pictures tile by tile."""

import numpy as np
import pytest
from helpers import LIBRARIES, get, psnr, put, scene_and_blurred
from scipy.ndimage import convolve

from deconv import hyper_laplacian, psf, tv
from deconv.blind import noise_level, restore
from deconv.blind.restore import restored, with_psf_error

SHAKE = psf.motion(7, 30)
SCENE, BLURRED = (x.astype(np.float32) for x in scene_and_blurred(SHAKE, size=256, sigma=0.002))
# All colours go through one psf; they are not alike.
COLOURS = np.stack([0.7 * BLURRED, 0.2 + 0.5 * BLURRED, 0.9 - 0.6 * BLURRED])
METHODS = {"tv": tv, "hyper_laplacian": hyper_laplacian}
both = pytest.mark.parametrize("method", METHODS)


@pytest.fixture
def small_tiles(monkeypatch):
    """What is done in tiles, and how large they are."""

    def begin():
        monkeypatch.setattr(restore, "WHOLE", 1000)
        monkeypatch.setattr(restore, "TILE", 140)

    return begin


def rms(x):
    return float(np.sqrt(np.mean(np.square(x))))


def clipped(scene):
    """`scene` as the camera sees it, clipped at 1."""
    return np.minimum(convolve(scene, SHAKE), 1).astype(np.float32)


def compared(begin, image, method, **options):
    """The picture restored whole and by tiles, which must be nearly the same."""
    options = {"method": method, "sigma": with_psf_error(0.002, BLURRED)} | options
    whole = restored(image, SHAKE, **options)
    begin()
    tiles = restored(image, SHAKE, **options)
    assert tiles.shape == whole.shape
    assert tiles.dtype == whole.dtype
    assert np.isfinite(tiles).all()
    assert (tiles != whole).any()
    return whole, tiles


@pytest.mark.parametrize("scale", [1, 255, 1 / 1024])
def test_the_noise_level_is_in_the_picture_s_own_unit(scale):
    level = with_psf_error(0.01, BLURRED)
    assert level == pytest.approx(np.hypot(0.01, 0.035 * BLURRED.std()), rel=1e-5)
    assert with_psf_error(0.01 * scale, BLURRED * scale) == pytest.approx(level * scale, rel=1e-5)
    # An offset adds nothing to it.
    assert with_psf_error(0.01, BLURRED + 3) == pytest.approx(level, rel=1e-3)
    given = noise_level(BLURRED * scale, sigma=0.01 * scale)
    assert given == pytest.approx(level * scale, rel=1e-4)


def test_the_public_noise_level_looks_at_what_was_observed():
    found = noise_level(BLURRED)
    assert found == pytest.approx(with_psf_error(0.002, BLURRED), rel=0.1)
    holes = BLURRED.copy()
    holes[:20] = np.nan
    assert noise_level(holes) == pytest.approx(found, rel=0.1)
    luminance = noise_level(COLOURS, channel_axis=0)
    assert luminance == pytest.approx(noise_level(np.moveaxis(COLOURS, 0, -1), channel_axis=-1))
    assert luminance < found
    with pytest.raises(ValueError, match="sigma"):
        noise_level(BLURRED, sigma=-1.0)


@both
def test_a_picture_of_moderate_size_is_restored_as_by_the_method(method):
    options = {"deringing": 0.5, "bounds": (0.1, 0.9), "saturation": "auto"}
    weights = np.ones_like(BLURRED)
    weights[40:50, 60:70] = 0
    found = restored(BLURRED, SHAKE, method=method, sigma=0.02, weights=weights, **options)
    expected = METHODS[method](BLURRED, SHAKE, sigma=0.02, weights=weights, **options)
    np.testing.assert_array_equal(found, expected)


@both
def test_tiles_give_the_picture_that_there_is_as_a_whole(small_tiles, method):
    whole, tiles = compared(small_tiles, BLURRED, method)
    change = rms(whole - BLURRED)
    assert rms(tiles - whole) < 0.1 * change
    # No seam: no line of pixels differs by much more than others do.
    for axis in (0, 1):
        lines = np.sqrt(np.mean((tiles - whole) ** 2, axis=axis))
        assert lines.max() < 0.4 * change
    assert psnr(SCENE, tiles) > psnr(SCENE, BLURRED) + 3


@both
@pytest.mark.parametrize("axis", [0, -1])
def test_colours_stay_together_on_any_axis(small_tiles, method, axis):
    image = np.moveaxis(COLOURS, 0, axis)
    whole, tiles = compared(small_tiles, image, method, channel_axis=axis)
    assert rms(tiles - whole) < 0.2 * rms(whole - image)


@pytest.mark.parametrize("method", ["tv", "hyper_laplacian"])
def test_a_flat_colour_does_not_flatten_the_others(small_tiles, method):
    image = np.stack([BLURRED, 0.8 * BLURRED, 0.5 + 0.02 * BLURRED])
    whole, tiles = compared(small_tiles, image, method, channel_axis=0)
    assert rms((tiles - whole)[:2]) < 0.15 * rms((whole - image)[:2])


@both
def test_the_layout_makes_no_difference_to_tiles(small_tiles, method):
    small_tiles()
    options = {"method": method, "sigma": 0.02}
    first = restored(COLOURS, SHAKE, channel_axis=0, **options)
    last = restored(np.moveaxis(COLOURS, 0, -1), SHAKE, channel_axis=2, **options)
    np.testing.assert_allclose(np.moveaxis(last, -1, 0), first, atol=1e-5)


@both
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_holes_in_tiles(small_tiles, method, colour):
    image = (COLOURS if colour else BLURRED).copy()
    image[..., 50:58, 60:75] = np.nan
    image[..., 100, :40] = np.nan
    axis = {"channel_axis": 0} if colour else {}
    whole, tiles = compared(small_tiles, image, method, **axis)
    seen = np.isfinite(image)
    assert rms((tiles - whole)[seen]) < 0.2 * rms((whole - image)[seen])
    # Holes and pixels of weight 0 are one and the same.
    weighted = restored(
        np.where(seen, image, np.nanmean(image)),
        SHAKE,
        method=method,
        sigma=with_psf_error(0.002, BLURRED),
        weights=seen.astype(np.float32),
        **axis,
    )
    np.testing.assert_allclose(weighted, tiles, atol=1e-4)


@both
def test_a_tile_without_any_pixel_is_no_reason_to_fail(small_tiles, method):
    image = BLURRED.copy()
    image[:150, :150] = np.nan
    whole, tiles = compared(small_tiles, image, method)
    # Far from the hole nothing is changed by it.
    part = (slice(170, None), slice(170, None))
    assert rms((tiles - whole)[part]) < 0.1 * rms((whole - image)[part])


@both
@pytest.mark.parametrize("junk", [0.9, 50.0])
def test_weights_go_with_their_tiles(small_tiles, method, junk):
    weights = np.ones_like(BLURRED)
    weights[30:60, 100:150] = 0
    image = np.where(weights > 0, BLURRED, np.float32(junk))
    whole, tiles = compared(small_tiles, image, method, weights=weights)
    seen = weights > 0
    assert rms((tiles - whole)[seen]) < 0.15 * rms((whole - image)[seen])
    # Of the whole picture, or one for all colours.
    small = restored(
        np.stack([image, image]),
        SHAKE,
        method=method,
        sigma=with_psf_error(0.002, BLURRED),
        weights=weights,
        channel_axis=0,
    )
    assert rms(small[0][seen] - tiles[seen]) < 0.02


@both
@pytest.mark.parametrize("saturation", [1.0, "auto"])
def test_clipped_pixels_are_in_few_tiles(small_tiles, method, saturation):
    bright = SCENE.copy()
    for y, x in ((20, 30), (40, 36), (60, 20)):
        bright[y : y + 4, x : x + 4] = 2
    image = clipped(bright)
    assert (image == 1).sum() > 20
    assert image[:, 130:].max() < 1
    whole, tiles = compared(small_tiles, image, method, saturation=saturation)
    assert rms(tiles - whole) < 0.2 * rms(whole - image)
    # Taken at their word, they would leave another picture.
    believed = restored(image, SHAKE, method=method, sigma=with_psf_error(0.002, BLURRED))
    assert rms(believed - tiles) > 1.5 * rms(tiles - whole)


@both
def test_options_reach_every_tile(small_tiles, method):
    small_tiles()
    options = {"method": method, "sigma": 0.02}
    plain = restored(BLURRED, SHAKE, **options)
    bounded = restored(BLURRED, SHAKE, bounds=(0.2, 0.6), **options)
    assert plain.min() < 0.2
    assert plain.max() > 0.6
    assert bounded.min() >= 0.2 - 1e-6
    assert bounded.max() <= 0.6 + 1e-6
    calm = restored(BLURRED, SHAKE, deringing=0.8, **options)
    assert all((calm != plain)[part].any() for part in (np.s_[:100, 156:], np.s_[156:, :100]))


@pytest.mark.parametrize("library", LIBRARIES)
def test_tiles_of_any_library(small_tiles, library):
    small_tiles()
    image = BLURRED.copy()
    image[50:58, 60:75] = np.nan
    given = put(image, library)
    found = restored(given, SHAKE, method="tv", sigma=0.02)
    assert type(found) is type(given)
    assert found.dtype == given.dtype
    expected = restored(image, SHAKE, method="tv", sigma=0.02)
    np.testing.assert_allclose(get(found), expected, atol=1e-4)


@both
def test_the_callback_sees_the_whole_picture_and_may_stop(small_tiles, method):
    small_tiles()
    seen = []

    def callback(state):
        seen.append((state.iteration, state.n_iter))
        assert state.image.shape == BLURRED.shape
        if len(seen) == 5:
            raise StopIteration

    stopped = restored(BLURRED, SHAKE, method=method, sigma=0.02, callback=callback)
    assert len(seen) == 5
    assert [i for i, _ in seen] == sorted(i for i, _ in seen)
    assert np.isfinite(stopped).all()
    # The first tile was at work; the last one is as it came.
    assert (stopped[:60, :60] != BLURRED[:60, :60]).all()
    np.testing.assert_array_equal(stopped[200:, 200:], BLURRED[200:, 200:])
    count = []
    told = restored(BLURRED, SHAKE, method=method, sigma=0.02, callback=count.append)
    silent = restored(BLURRED, SHAKE, method=method, sigma=0.02)
    np.testing.assert_array_equal(told, silent)
    assert len(count) > 9
