"""What a blind estimator looks at: the most informative part, what clips, what may be text."""

import numpy as np
import pytest
from helpers import colour_picture, picture, scene_and_blurred
from scipy.signal import fftconvolve

from deconv import psf
from deconv.blind.look import look, paper
from deconv.blind.region import _sums, informative


def seen(image, psf_shape=None, **options):
    """`look` with the defaults of the public calls."""
    given = {
        "prior": "auto",
        "sigma": None,
        "weights": None,
        "saturation": "auto",
        "region": None,
        "gamma": 1.0,
        "channel_axis": None,
    }
    return look(image, psf_shape, *(given | options).values())


def texture(shape, angle, seed=0):
    """Stripes across one direction: edges of a single orientation."""
    y, x = np.indices(shape)
    rng = np.random.default_rng(seed)
    levels = rng.random(sum(shape) + 1)
    place = (y * np.sin(angle) + x * np.cos(angle)) / 4
    return levels[np.abs(place).astype(int)]


def page(size=160, dark=0.1, paper_tone=0.9, lines=6):
    """Strokes on paper."""
    image = np.full((size, size), paper_tone)
    rng = np.random.default_rng(0)
    for row in range(lines):
        for start in range(10, size - 10, 8):
            if rng.random() < 0.7:
                image[10 + row * 20 : 16 + row * 20, start : start + 3] = dark
    return image


@pytest.mark.parametrize("tone", [0.9, 0.7])
def test_strokes_on_a_bright_even_ground_may_be_text(tone):
    sharp = page(paper_tone=tone)
    blurred = fftconvolve(sharp, psf.defocus(2.5), mode="valid")
    blurred += np.random.default_rng(0).normal(0, 0.005, blurred.shape)
    assert paper(sharp.astype(np.float32))
    assert paper(blurred.astype(np.float32))
    # White on black is not, nor is a photograph.
    assert not paper((1 - sharp).astype(np.float32))


@pytest.mark.parametrize("name", ["camera", "coffee", "astronaut"])
def test_a_photograph_is_no_page(name):
    assert not paper(picture(name, 200).astype(np.float32))


def test_the_window_sums_are_right():
    rng = np.random.default_rng(0)
    x = rng.random((9, 12))
    found = _sums(x, [4, 5])
    assert found.shape == (6, 8)
    for i, j in np.ndindex(found.shape):
        assert found[i, j] == pytest.approx(x[i : i + 4, j : j + 5].sum())


def test_edges_of_all_directions_are_worth_more_than_strong_ones_of_one():
    image = np.full((400, 900), 0.5)
    # Strong edges along one axis at the left, weak ones of all at the right.
    image[:, :300] = texture((400, 300), 0)
    rng = np.random.default_rng(0)
    blobs = scene_and_blurred(psf.gaussian(2.0), size=200)[1]
    image[100:300, 650:850] = 0.5 + 0.2 * (blobs - blobs.mean())
    image = (image + rng.normal(0, 1e-4, image.shape)).astype(np.float32)
    rows, columns = informative(image, None, (200, 200))
    assert rows.stop - rows.start == columns.stop - columns.start == 200
    assert min(rows.stop, 300) - max(rows.start, 100) > 140
    assert min(columns.stop, 850) - max(columns.start, 650) > 140
    # Unless it was not observed: then anywhere else.
    weights = np.ones_like(image)
    weights[100:300, 650:850] = 0
    _, columns = informative(image, weights, (200, 200))
    assert columns.start < 450


@pytest.mark.parametrize("side", [(40, 40), (40, 90), (120, 40), (119, 160)])
def test_the_window_lies_inside(side):
    image = picture("coffee", 160)[:120].astype(np.float32)
    for part, n, whole in zip(informative(image, None, side), side, image.shape, strict=True):
        assert part.step is None
        assert 0 <= part.start <= part.stop <= whole
        assert part.stop - part.start == n
    assert informative(image, None, (120, 160)) == (slice(0, 120), slice(0, 160))


def test_few_clipped_pixels_are_left_out_and_a_bright_page_is_not():
    image = scene_and_blurred(psf.defocus(3.0), "coffee", size=128)[1]
    lights = image.copy()
    lights[40:50, 40:50] = lights.max() * 1.1
    found = seen(lights)
    assert found.weights is not None
    np.testing.assert_array_equal(np.argwhere(found.weights == 0).min(axis=0), [40, 40])
    assert (found.weights == 0).sum() == 100
    # White is 1, and stays what it was in the picture.
    assert found.image.max() == pytest.approx(1)
    sky = image.copy()
    sky[:40] = sky.max() * 1.1
    assert seen(sky).weights is None
    assert seen(lights, saturation=None).weights is None


def test_holes_are_filled_with_what_is_beside_them():
    image = scene_and_blurred(psf.defocus(3.0), size=96)[1]
    holes = image.copy()
    holes[30:40, 50:52] = np.nan
    found = seen(holes)
    assert np.isfinite(found.image).all()
    np.testing.assert_array_equal(found.weights == 0, np.isnan(holes))
    np.testing.assert_array_equal(found.image[32:38, 50], found.image[32:38, 49])
    np.testing.assert_array_equal(found.image[32:38, 51], found.image[32:38, 52])
    assert found.grey.size == (~np.isnan(holes)).sum()
    # Pixels of weight 0 are as good as holes, whatever they hold.
    junk = np.where(np.isnan(holes), 1e6, image)
    again = seen(junk, weights=(~np.isnan(holes)).astype(float))
    np.testing.assert_array_equal(again.image, found.image)
    np.testing.assert_array_equal(again.weights, found.weights)
    assert again.scale == found.scale
    assert again.noise == found.noise


def test_a_hole_in_one_colour_is_a_hole():
    image = np.moveaxis(colour_picture(64), -1, 0).copy()
    image[1, 10:14, 20:24] = np.nan
    found = seen(image, channel_axis=0)
    np.testing.assert_array_equal(found.weights == 0, np.isnan(image[1]))
    weights = np.ones(image.shape)
    weights[1, 10:14, 20:24] = 0
    again = seen(np.nan_to_num(image, nan=9.0), channel_axis=0, weights=weights)
    np.testing.assert_array_equal(again.weights, found.weights)


def test_unit_noise_and_scale():
    image = picture("camera", 96) + np.random.default_rng(0).normal(0, 0.02, (96, 96))
    found = seen(image)
    assert found.noise == pytest.approx(0.02, rel=0.3)
    assert found.scale == pytest.approx(np.abs(image).max(), rel=1e-6)
    assert found.sigma * found.scale == pytest.approx(found.noise)
    large = seen(1000 * image)
    assert large.noise == pytest.approx(1000 * found.noise, rel=1e-5)
    np.testing.assert_allclose(large.image, found.image, atol=1e-6)
    given = seen(image, sigma=0.05)
    assert given.noise == 0.05
    assert given.sigma == pytest.approx(0.05 / found.scale)
    # Through the curve to display values, the user's noise stays the user's.
    assert seen(np.abs(image), sigma=0.05, gamma=2.2).noise == 0.05


def test_a_region_that_ends_outside_is_refused():
    image = picture("camera", 96)
    assert seen(image, region=(slice(-40, None), slice(10, 96))).image.shape == (40, 86)
    for region in ((slice(0, 97), slice(None)), (slice(None), slice(50, 200))):
        with pytest.raises(ValueError, match="region ends at"):
            seen(image, region=region)


def test_the_box_has_slack_and_fits_into_what_is_looked_at():
    image = picture("camera", 96)
    assert seen(image, 8).shape == (11, 11)
    assert seen(image, (20, 5)).shape == (25, 7)
    with pytest.raises(ValueError, match=r"psf_shape=20 for a region of 30 x 96 pixels"):
        seen(image, 20, region=(slice(0, 30), slice(None)))
