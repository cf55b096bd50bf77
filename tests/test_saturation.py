"""Clipped pixels: the level found in the data, completed data, and Richardson-Lucy among lights."""

import io

import numpy as np
import pytest
from helpers import (
    BOUNDARIES,
    LIBRARIES,
    colour_picture,
    get,
    picture,
    psnr,
    put,
    scene_and_blurred,
)

from deconv import Blur, psf, richardson_lucy
from deconv.night import Night
from deconv.saturation import clip_level, completed, recorded

KERNEL = psf.trajectory(13, rng=1)


def clipped(gain=1.6, name="camera", sigma=0.01, kernel=KERNEL, size=96):
    """A scene brighter than white, on a frame, and what a sensor with white at 1 shows of it."""
    sharp, blurred = scene_and_blurred(kernel, name, size)
    noise = sigma * np.random.default_rng(0).normal(size=blurred.shape)
    return gain * sharp, np.clip(gain * blurred + noise, 0, 1)


def lamps(size=96, brightness=10.0, sigma=0.005):
    """A dim scene with a few lamps in it, and what a sensor with white at 1 shows of it."""
    big = 0.3 * picture("camera", size + 64)
    rng = np.random.default_rng(3)
    for y, x in rng.integers(10, size + 54, (20, 2)):
        big[y : y + 2, x : x + 2] = brightness
    m = [k - 1 - k // 2 for k in KERNEL.shape]
    A = Blur(KERNEL, (size, size))
    y, x = (32 - v for v in m)
    seen = A(big[y : y + A.domain[0], x : x + A.domain[1]])
    noisy = seen + sigma * rng.normal(size=seen.shape)
    return big[32 : 32 + size, 32 : 32 + size], np.clip(noisy, 0, 1)


BRIGHT, SHOWN = clipped()
LIT, NIGHT = lamps()


def jpeg(y, quality):
    """What is left of a picture on [0, 1] after a JPEG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.round(255 * y).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).astype(np.float32)


# --- the level ------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1234.5])
def test_the_level_is_found_at_any_scale(scale, dtype, library):
    y = (scale * SHOWN).astype(dtype)
    assert clip_level(put(y, library), "auto") == y.max()
    assert clip_level(put(y - y.dtype.type(3 * scale), library), "auto") is not None


@pytest.mark.parametrize("name", ["camera", "coins", "astronaut", "page", "moon", "brick"])
@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.05])
def test_noise_that_was_not_clipped_is_no_alarm(sigma, name):
    _, blurred = scene_and_blurred(KERNEL, name, size=96, sigma=sigma)
    assert clip_level(blurred, "auto") is None
    assert clip_level(np.round(150 * blurred), "auto") is None
    counts = np.random.default_rng(0).poisson(np.clip(blurred, 0, None) * 20 / sigma)
    assert clip_level(counts.astype(float), "auto") is None
    assert clip_level(np.minimum(blurred, np.quantile(blurred, 0.99)), "auto") is not None


def test_few_counts_are_no_alarm():
    for mean in (0.1, 1, 3):
        counts = np.random.default_rng(0).poisson(mean, (64, 64)).astype(float)
        assert clip_level(counts, "auto") is None


@pytest.mark.parametrize("quality", [75, 95])
def test_the_shoulder_of_a_lossy_file_is_clipped_too(quality):
    found = jpeg(SHOWN, quality)
    level = clip_level(found, "auto")
    assert 246 <= level <= 255
    assert np.mean(found[SHOWN == 1] >= level) > 0.85
    assert np.mean(found[SHOWN < 0.9] >= level) < 0.01
    assert (
        clip_level(jpeg(0.5 * SHOWN.clip(0, 0.99) + 0.3 * picture(size=96), quality), "auto")
        is None
    )


def test_colours_share_one_level():
    y = np.moveaxis(np.minimum(1.5 * colour_picture(), 1.0), -1, 0)
    y[1:] *= 0.5
    assert clip_level(y, "auto") == 1.0


def test_unobserved_pixels_have_no_say():
    y, weights = SHOWN.copy(), np.ones(SHOWN.shape)
    y[:8], weights[:8] = 7.0, 0
    assert clip_level(y, "auto") == 7
    assert clip_level(y, "auto", weights) == 1
    assert clip_level(y[None], "auto", weights) == 1
    assert clip_level(y, "auto", 0 * weights) is None


def test_flat_pictures_and_none_have_no_level():
    assert clip_level(np.ones((8, 8)), "auto") is None
    assert clip_level(SHOWN, None) is None


def test_a_given_level_is_as_precise_as_the_data():
    y = np.minimum(SHOWN, 0.9).astype(np.float32)
    level = clip_level(y, 0.9)
    assert np.array_equal(y >= level, y == y.max())


@pytest.mark.parametrize("level", [1.1, 0.0, -2])
def test_a_level_outside_the_data_is_refused(level):
    with pytest.raises(ValueError, match=rf"saturation={level:g};.* {SHOWN.min():g} .* 1,"):
        richardson_lucy(SHOWN, KERNEL, n_iter=1, saturation=level)


@pytest.mark.parametrize(
    ("value", "error"),
    [("atuo", ValueError), (True, TypeError), ([1], TypeError), (np.nan, ValueError)],
)
def test_other_saturations_are_refused(value, error):
    with pytest.raises(error, match="saturation"):
        richardson_lucy(SHOWN, KERNEL, n_iter=1, saturation=value)


# --- completed data -------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_clipped_pixel_counts_only_against_lower_predictions(library):
    rng = np.random.default_rng(0)
    q = 2 * rng.random((2, *SHOWN.shape))
    mask = SHOWN >= 1
    y, told, cut = put(SHOWN, library), put(q, library), put(mask, library)
    filled, shown = get(completed(y, told, cut)), get(recorded(y, told, cut))
    free = mask & (q >= 1)
    np.testing.assert_array_equal(filled - q, np.where(free, 0, SHOWN - q))
    np.testing.assert_array_equal(shown, np.where(free, SHOWN, q))


# --- Richardson-Lucy ------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_nothing_changes_where_nothing_is_clipped(boundary):
    y = SHOWN / 2 + 0.01 * np.random.default_rng(0).random(SHOWN.shape)
    expected = richardson_lucy(y, KERNEL, n_iter=12, boundary=boundary)
    found = richardson_lucy(y, KERNEL, n_iter=12, boundary=boundary, saturation="auto")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("truth", "y", "gain"), [(BRIGHT, SHOWN, 0.4), (LIT, NIGHT, 4.0)])
def test_it_beats_taking_the_data_at_their_word_and_leaving_them_out(truth, y, gain):
    def score(**options):
        x = richardson_lucy(y, KERNEL, n_iter=10, **options)
        return psnr(truth.clip(0, 1), x.clip(0, 1))

    best = score(saturation="auto")
    assert best > score() + gain
    assert best > score(weights=(y < 1).astype(float)) + gain


def test_the_surroundings_of_lights_are_left_alone():
    near = np.zeros(LIT.shape, bool)
    for y, x in np.argwhere(LIT > 1):
        near[max(y - 8, 0) : y + 9, max(x - 8, 0) : x + 9] = True
    near &= LIT < 1
    errors = [
        np.abs(richardson_lucy(NIGHT, KERNEL, n_iter=20, saturation=s) - LIT)[near].mean()
        for s in (None, "auto")
    ]
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("accelerate", [False, True])
def test_predictions_reach_the_level_where_the_data_did(accelerate, boundary):
    A = Blur(KERNEL, SHOWN.shape, boundary=boundary)
    y = np.minimum(A(A.embed(2 * picture(size=96))), 1)
    A = A.reweighted(None)
    x = []

    def keep(state):
        x[:] = [state.image]

    richardson_lucy(y, A, n_iter=80, accelerate=accelerate, saturation=1.0, callback=keep)
    assert np.isfinite(x[0]).all() and x[0].min() >= 0
    inside = (slice(8, -8),) * 2
    prediction = A(A.embed(x[0]))[inside]
    hit = y[inside] == 1
    assert np.median(prediction[hit]) > 1
    assert np.mean(prediction[hit] > 0.95) > 0.9


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_libraries_agree(boundary, library):
    weights = np.ones(NIGHT.shape)
    weights[20:23, 40:50] = 0.3
    options = {"boundary": boundary, "n_iter": 14, "saturation": "auto"}
    expected = richardson_lucy(NIGHT, KERNEL, weights=weights, **options)
    found = richardson_lucy(put(NIGHT, library), KERNEL, weights=weights, **options)
    np.testing.assert_allclose(get(found), expected, rtol=0, atol=1e-8)


def test_units_do_not_matter():
    expected = richardson_lucy(NIGHT, KERNEL, saturation="auto")
    found = richardson_lucy(1000 * NIGHT, KERNEL, saturation=1000.0)
    np.testing.assert_allclose(found, 1000 * expected, rtol=0, atol=1e-6)


def test_offset_and_background_are_no_light():
    shared = {"n_iter": 20, "saturation": "auto"}
    expected = richardson_lucy(NIGHT + 0.25, KERNEL, background=0.25, **shared)
    found = richardson_lucy(NIGHT + 1.5, KERNEL, offset=1.25, background=0.25, **shared)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    plain = richardson_lucy(NIGHT, KERNEL, **shared)
    assert np.abs(found - plain)[NIGHT < 0.5].mean() < 0.05


def test_missing_pixels_are_neither_clipped_nor_lit():
    # Below 0, the 0 that stands for a missing pixel would be the brightest of all.
    y = NIGHT - 2
    hole = y.copy()
    hole[30:34, 50:54] = np.nan
    weights = np.isfinite(hole).astype(float)
    shared = {"n_iter": 14, "saturation": -1.0, "offset": -2.0}
    expected = richardson_lucy(y, KERNEL, weights=weights, **shared)
    np.testing.assert_array_equal(richardson_lucy(hole, KERNEL, **shared), expected)


def test_channels_are_restored_as_if_alone_under_one_level():
    y = np.stack([NIGHT, NIGHT.T, NIGHT[::-1]], axis=-1)
    found = richardson_lucy(y, KERNEL, n_iter=9, saturation=1.0, channel_axis=-1, accelerate=False)
    for c in range(3):
        alone = richardson_lucy(y[..., c], KERNEL, n_iter=9, saturation=1.0, accelerate=False)
        np.testing.assert_allclose(found[..., c], alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(200,), (20, 24, 22)])
def test_lines_and_volumes(shape):
    kernel = np.ones((5,) * len(shape)) / 5 ** len(shape)
    y = 0.2 + 0.1 * np.random.default_rng(0).random(shape)
    y[(slice(8, 12),) * len(shape)] = 1.0
    found = richardson_lucy(y, kernel, n_iter=12, saturation=1.0)
    assert found.shape == shape and np.isfinite(found).all() and found.max() > 1


@pytest.mark.parametrize("options", [{}, {"gain": 1e-3}])
def test_found_iterations_stop_near_the_best(options):
    rng = np.random.default_rng(0)
    y = np.minimum(rng.poisson(NIGHT / 1e-3) * 1e-3, 1.0)
    path = []

    def score(x):
        return psnr(LIT.clip(0, 1), x.clip(0, 1))

    found = richardson_lucy(y, KERNEL, saturation="auto", **options)
    richardson_lucy(
        y, KERNEL, n_iter=60, saturation="auto", callback=lambda s: path.append(score(s.image))
    )
    assert score(found) > max(path) - 1.6
    assert score(found) > score(richardson_lucy(y, KERNEL, **options)) + 0.5


def test_no_lights_no_split():
    A = Blur(KERNEL, NIGHT.shape)
    night = Night.of(A, NIGHT, NIGHT >= 1, 0.0)
    x = np.full(A.domain, 0.3)
    assert night.split(x) is None
    x[night.hidden] = 5
    split = night.split(x)
    np.testing.assert_array_equal(split.lights, night.hidden)
    reached = A(split.lights.astype(float)) > 0.5
    assert reached.any() and (split.beside[reached] == 0).all()
    np.testing.assert_allclose(split.beside[A(split.lights.astype(float)) < 1e-12], 1, atol=1e-9)


@pytest.mark.parametrize("gain", [1.25, 1.6])
def test_clipped_paper_is_no_lamp(gain, monkeypatch):
    truth, y = clipped(gain, "page")

    def score(**options):
        x = richardson_lucy(y, KERNEL, n_iter=30, **options)
        return psnr(truth.clip(0, 1), x.clip(0, 1))

    plain, found = score(), score(saturation="auto")
    monkeypatch.setattr(Night, "split", lambda night, x: None)
    assert found > max(plain, score(saturation="auto") - 0.05)


@pytest.mark.parametrize("stack", [False, True])
def test_specks_on_paper_are_no_lights_but_lamps_beside_it_are(stack):
    y = np.full((160, 160), 0.2)
    y[:, :60] = 1
    y[60:90, 125:150] = 1
    A = Blur(KERNEL, y.shape)
    x = np.where(A.embed(y) >= 1, 1.05, 0.2)
    specks, lamp = np.zeros((2, *A.domain), bool)
    specks[20:140:5, 20:50:5] = True
    lamp[72:90, 136:152] = True
    if stack:
        y = np.stack([y, y])
    night = Night.of(A, y, y >= 1, 0.0)
    assert night.hidden[..., specks | lamp].all()
    x = np.where(specks, 1.5, x) if not stack else np.stack([np.where(specks, 1.5, x)] * 2)
    assert night.split(x) is None
    x[..., lamp] = 5
    np.testing.assert_array_equal(night.split(x).lights, np.broadcast_to(lamp, x.shape))
