"""The public blind calls: what they find, leave alone and keep of the input."""

import numpy as np
import pytest
from helpers import colour_picture, get, picture, put
from scipy.signal import fftconvolve

from deconv import blind, metrics, psf

KERNEL = psf.defocus(3.0)
SIZE = 160


def blocks(size=SIZE + 6, seed=0):
    """Squares of many greys: edges along both axes, and flat in between; between 0.1 and 0.9."""
    rng = np.random.default_rng(seed)
    side = -(-size // 8)
    return 0.1 + 0.8 * np.kron(rng.random((side, side)), np.ones((8, 8)))[:size, :size]


SCENE = blocks()
BLURRED = fftconvolve(SCENE, KERNEL, mode="valid")
BLURRED.setflags(write=False)
NOISY = BLURRED + np.random.default_rng(1).normal(0, 0.004, BLURRED.shape)
TRUE = SCENE[3:-3, 3:-3]


def found_the_blur(result, kernel=KERNEL, least=0.9):
    assert result.blurred, result.message
    assert metrics.psf_similarity(result.psf, kernel) > least
    return well_formed(result.psf)


def well_formed(kernel):
    assert kernel.dtype == np.float32
    assert kernel.ndim == 2
    assert all(n % 2 == 1 for n in kernel.shape)
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    for n, c in zip(kernel.shape, psf.centroid(kernel), strict=True):
        assert abs(c - n // 2) <= 0.5 + 1e-4
    return True


@pytest.mark.parametrize("prior", ["auto", "l0", "patch_minimum"])
def test_a_blur_is_found_and_taken_away(prior):
    result = blind.deblur(NOISY, 7, prior=prior)
    assert found_the_blur(result)
    assert result.prior in blind.PRIORS
    assert prior in ("auto", result.prior)
    aligned = [metrics.aligned_psnr(TRUE, x) for x in (result.image, NOISY)]
    assert aligned[0] > aligned[1] + 2
    # Each run by its name, and how much better the best is than none at all.
    assert len(result.scores) >= 1
    assert all(np.isfinite(list(result.scores.values())))
    assert result.gain > 0.07
    assert len(result.message) > 10
    assert result.region == (slice(0, SIZE), slice(0, SIZE))


def test_a_photograph_without_a_hint():
    scene = picture("coffee", 220)
    shake = psf.motion(17, 60)
    blurred = fftconvolve(scene, shake, mode="valid")
    result = blind.deblur(blurred)
    assert found_the_blur(result, shake, 0.8)
    true = scene[tuple(slice(n // 2, n // 2 - n + 1) for n in shake.shape)]
    before, after = (metrics.aligned_psnr(true, x) for x in (blurred, result.image))
    assert after > before + 2


def test_the_three_calls_agree_and_repeat_to_the_bit():
    options = {"prior": "l0"}
    result = blind.deblur(BLURRED, 7, **options)
    estimate = blind.estimate(BLURRED, 7, **options)
    np.testing.assert_array_equal(estimate.psf, result.psf)
    np.testing.assert_array_equal(blind.estimate_psf(BLURRED, 7, **options), result.psf)
    for name in ("blurred", "prior", "scores", "message", "region"):
        assert getattr(estimate, name) == getattr(result, name)
    again = blind.deblur(BLURRED, 7, **options)
    np.testing.assert_array_equal(again.image, result.image)
    # The input is read-only; so it was not written to.
    with pytest.raises(AttributeError):
        result.psf = None


@pytest.mark.parametrize(
    ("image", "prior"), [(TRUE, "l0"), (picture("camera", 160), "auto")], ids=["blocks", "camera"]
)
def test_a_sharp_picture_comes_back_unharmed(image, prior):
    result = blind.deblur(image, prior=prior)
    assert not result.blurred
    np.testing.assert_array_equal(result.image, image)
    assert result.image is not image
    assert not np.shares_memory(result.image, image)
    np.testing.assert_array_equal(result.psf, [[1.0]])
    assert "blur" in result.message


def test_pure_noise_is_not_deblurred():
    image = np.random.default_rng(0).normal(0.5, 0.1, (96, 110))
    result = blind.deblur(image, prior="l0")
    assert not result.blurred
    np.testing.assert_array_equal(result.image, image)


@pytest.mark.parametrize("size", [(24, 24), (24, 160), (40, 25)])
def test_small_pictures_give_an_answer(size):
    image = BLURRED[: size[0], : size[1]]
    result = blind.deblur(image, prior="l0")
    assert result.image.shape == size
    assert np.isfinite(result.image).all()
    assert well_formed(result.psf)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_float_dtype_is_kept(dtype):
    for image in (BLURRED, TRUE):
        result = blind.deblur(image.astype(dtype), 7, prior="l0")
        assert result.image.dtype == dtype
        assert result.psf.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_integers_become_float32_on_their_own_scale(dtype):
    top = min(60000, np.iinfo(dtype).max)
    image = np.rint(BLURRED * top).astype(dtype)
    before = image.copy()
    result = blind.deblur(image, 7, prior="l0")
    assert found_the_blur(result)
    assert result.image.dtype == np.float32
    assert result.image.mean() == pytest.approx(image.mean(), rel=0.02)
    np.testing.assert_array_equal(image, before)
    # Where there is nothing to do, too.
    sharp = np.rint(TRUE * top).astype(dtype)
    result = blind.deblur(sharp, 7, prior="l0")
    assert not result.blurred
    assert result.image.dtype == np.float32
    np.testing.assert_array_equal(result.image, sharp.astype(np.float32))


# A power of two leaves every digit in place; the other one tests the scale of sigma as well.
@pytest.mark.parametrize(("factor", "sigma"), [(256.0, None), (1 / 1024, None), (4096.0, 1e-3)])
def test_a_picture_in_another_unit_has_the_same_psf(factor, sigma):
    image = BLURRED.astype(np.float32)
    here = blind.deblur(image, 7, prior="l0", sigma=sigma)
    scaled = None if sigma is None else sigma * factor
    there = blind.deblur(image * np.float32(factor), 7, prior="l0", sigma=scaled)
    np.testing.assert_allclose(there.psf, here.psf, atol=1e-6)
    np.testing.assert_allclose(there.image / factor, here.image, atol=1e-4)


def test_the_layout_of_colours_does_not_matter():
    sharp = np.stack([SCENE, 0.5 * SCENE + 0.2, SCENE.T], axis=-1)
    last = fftconvolve(sharp, KERNEL[..., None], mode="valid", axes=(0, 1))
    options = {"prior": "l0"}
    one = blind.deblur(last, 7, channel_axis=-1, **options)
    two = blind.deblur(np.moveaxis(last, -1, 0), 7, channel_axis=0, **options)
    assert found_the_blur(one)
    np.testing.assert_array_equal(two.psf, one.psf)
    assert one.image.shape == last.shape
    np.testing.assert_allclose(np.moveaxis(two.image, 0, -1), one.image, atol=1e-6)
    # Of equal colours the luminance is any one of them.
    grey = blind.estimate(BLURRED, 7, **options)
    tripled = blind.estimate(np.stack([BLURRED] * 3), 7, channel_axis=0, **options)
    assert metrics.psf_similarity(grey.psf, tripled.psf) > 0.99


def test_a_sharp_colour_picture_keeps_its_layout():
    image = colour_picture(160)
    result = blind.deblur(image, prior="l0", channel_axis=-1)
    assert not result.blurred
    np.testing.assert_array_equal(result.image, image)


def test_pixels_of_weight_zero_do_not_count():
    hole = np.zeros(BLURRED.shape, bool)
    hole[50:58, 60:75] = True
    hole[100, :40] = True
    image = np.where(hole, 0.5, BLURRED)
    result = blind.deblur(image, 7, prior="l0", weights=(~hole).astype(float))
    assert found_the_blur(result)
    # What the picture holds there does not matter.
    for junk in (50.0, -1e4, np.nan):
        other = np.where(hole, junk, BLURRED)
        again = blind.estimate(other, 7, prior="l0", weights=(~hole).astype(float))
        np.testing.assert_array_equal(again.psf, result.psf)
        assert again.sigma == result.sigma


def test_nan_pixels_were_not_observed():
    image = BLURRED.copy()
    image[50:58, 60:75] = np.nan
    image[100, :40] = np.nan
    result = blind.deblur(image, 7, prior="l0")
    assert found_the_blur(result)
    assert np.isfinite(result.image).all()
    assert result.sigma == pytest.approx(blind.noise_level(image), rel=1e-6)


def test_clipped_lights_are_left_out():
    bright = SCENE.copy()
    for y, x in np.random.default_rng(0).integers(20, SIZE - 20, (4, 2)):
        bright[y : y + 3, x : x + 3] = 8.0
    image = np.minimum(fftconvolve(bright, KERNEL, mode="valid"), 1.0)
    assert (image == 1).mean() > 0.005
    options = {"prior": "l0"}
    found = blind.estimate(image, 7, **options)
    assert found_the_blur(found)
    level = blind.estimate(image, 7, saturation=1.0, **options)
    np.testing.assert_array_equal(level.psf, found.psf)
    believed = blind.estimate(image, 7, saturation=None, **options)
    similarity = [metrics.psf_similarity(e.psf, KERNEL) for e in (found, believed)]
    assert similarity[0] > similarity[1] + 0.03


def test_only_the_region_is_looked_at():
    spoiled = BLURRED.copy()
    spoiled[:, :50] = np.random.default_rng(0).random((SIZE, 50))
    region = (slice(None, 150), slice(50, None))
    result = blind.deblur(spoiled, 7, prior="l0", region=region)
    assert result.region == (slice(0, 150), slice(50, SIZE))
    assert found_the_blur(result)
    # The same as if there were nothing else; and the whole picture is restored.
    alone = blind.estimate(spoiled[region], 7, prior="l0")
    assert metrics.psf_similarity(alone.psf, result.psf) > 0.95
    assert result.image.shape == spoiled.shape
    assert (result.image[:, :50] != spoiled[:, :50]).all()


def test_of_a_large_picture_the_part_with_edges_is_looked_at():
    image = np.full((700, 1400), 0.5, np.float32)
    busy = (slice(0, 4 * SIZE), slice(1400 - 4 * SIZE, None))
    image[busy] = np.tile(BLURRED, (4, 4))
    found = blind.estimate(image, 7, prior="l0", callback=Stop(1))
    for part, wanted, n in zip(found.region, busy, image.shape, strict=True):
        start, stop, _ = part.indices(n)
        assert 0 <= start < stop <= n
        overlap = min(stop, wanted.indices(n)[1]) - max(start, wanted.indices(n)[0])
        assert overlap > 0.85 * 4 * SIZE
    # Where the picture was not observed, there are no edges to be seen.
    unseen = np.ones(image.shape, np.float32)
    unseen[busy] = 0
    image[:320, :320] = np.tile(BLURRED, (2, 2))
    found = blind.estimate(image, 7, prior="l0", weights=unseen, callback=Stop(1))
    assert found.region[1].start < 320


def test_gamma_looks_at_display_values_and_restores_light():
    display = fftconvolve(SCENE**2.2, KERNEL, mode="valid") ** (1 / 2.2)
    light = display**2.2
    result = blind.deblur(light, 7, prior="l0", gamma=2.2)
    there = blind.estimate(display, 7, prior="l0")
    assert found_the_blur(there, least=0.8)
    assert metrics.psf_similarity(result.psf, there.psf) > 0.99
    assert not np.allclose(blind.estimate(light, 7, prior="l0").psf.max(), there.psf.max())
    # The picture itself is restored in light.
    assert result.image.mean() == pytest.approx(light.mean(), rel=0.05)


@pytest.mark.parametrize("method", ["tv", "hyper_laplacian"])
def test_the_last_step_is_the_method_with_the_psf_found(method):
    from deconv import hyper_laplacian, tv

    function = {"tv": tv, "hyper_laplacian": hyper_laplacian}[method]
    options = {"sigma": 0.02, "deringing": 0.25, "bounds": (0.2, 0.8)}
    result = blind.deblur(BLURRED, 7, prior="l0", method=method, **options)
    # The psf's error, a part of the picture's standard deviation, counts as noise.
    assert result.sigma == pytest.approx(np.hypot(0.02, 0.035 * BLURRED.std()), rel=1e-6)
    options["sigma"] = result.sigma
    expected = function(BLURRED, result.psf, saturation="auto", **options)
    np.testing.assert_allclose(result.image, expected, atol=1e-6)
    assert 0.2 <= result.image.min() <= result.image.max() <= 0.8


class Stop:
    """A callback that ends the work at one of its calls."""

    def __init__(self, at):
        self.at, self.calls = at, []

    def __call__(self, state):
        self.calls.append(state.iteration)
        if len(self.calls) >= self.at:
            raise StopIteration


def test_callback_sees_each_iteration_and_a_picture():
    shown = []

    def callback(state):
        if len(shown) < 12:
            assert np.isfinite(state.image).all()
            shown.append(state.image.mean())

    found = blind.estimate(100 * BLURRED, 7, prior="l0", callback=callback)
    assert len(shown) == 12
    # On the scale of the input.
    assert np.mean(shown) == pytest.approx(100 * BLURRED.mean(), rel=0.2)
    silent = blind.estimate(100 * BLURRED, 7, prior="l0")
    np.testing.assert_array_equal(found.psf, silent.psf)


# One of each loop.
@pytest.mark.parametrize(
    "prior", ["l0", "useful_edges", "normalized_sparsity", "variational_bayes"]
)
def test_callback_sees_the_psf_of_each_scale(prior):
    small, shapes = BLURRED[:96, :96], []

    def callback(state):
        kernel = state.psf
        assert kernel.dtype == np.float32
        assert kernel.min() >= 0
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert all(
            n % 2 == 1 and n < m for n, m in zip(kernel.shape, state.image.shape, strict=True)
        )
        shapes.append(kernel.shape)
        # What the callback does with it changes nothing.
        kernel[:] = 0

    found = blind.estimate(small, 7, prior=prior, callback=callback)
    silent = blind.estimate(small, 7, prior=prior)
    np.testing.assert_array_equal(found.psf, silent.psf)
    assert found.scores == silent.scores
    # From coarse to fine: the run ends in its box, a quarter larger than asked for.
    assert shapes[0] == (7, 7) and (9, 9) in shapes
    assert set(shapes[: shapes.index((9, 9))]) == {(7, 7)}


def test_callback_sees_the_psf_of_the_last_step():
    seen = []

    def callback(state):
        seen.append((state.psf, state.image.shape))

    result = blind.deblur(BLURRED, 7, prior="l0", callback=callback)
    count = Stop(10**9)
    blind.estimate(BLURRED, 7, prior="l0", callback=count)
    last = seen[len(count.calls) :]
    assert last
    for kernel, shape in last:
        np.testing.assert_array_equal(kernel, result.psf)
        assert kernel is not result.psf and shape == BLURRED.shape
    np.testing.assert_array_equal(result.image, blind.deblur(BLURRED, 7, prior="l0").image)


def test_a_callback_may_stop_for_the_psf_that_it_sees():
    seen = []

    def callback(state):
        seen.append(state.psf)
        if max(state.psf.shape) >= 9:
            raise StopIteration

    found = blind.estimate(BLURRED, 7, prior="l0", callback=callback)
    assert seen[-1].shape == (9, 9) and "stop" in found.message
    assert metrics.psf_similarity(found.psf, seen[-1]) > 0.99


@pytest.mark.parametrize("at", [1, 2, 9])
def test_stopped_early_the_result_is_valid(at):
    stop = Stop(at)
    result = blind.deblur(BLURRED, 7, prior="l0", callback=stop)
    assert well_formed(result.psf)
    assert result.image.shape == BLURRED.shape
    assert np.isfinite(result.image).all()
    assert "stop" in result.message


def test_stopped_late_the_best_so_far_is_kept():
    count = Stop(10**9)
    whole = blind.estimate(BLURRED, 7, callback=count)
    assert len(whole.scores) > 2
    stop = Stop(len(count.calls) - 1)
    result = blind.estimate(BLURRED, 7, callback=stop)
    # No iteration after the one that was to be the last.
    assert len(stop.calls) == stop.at
    assert found_the_blur(result)
    # All runs but the last one.
    assert list(result.scores)[:-1] == list(whole.scores)[:-2]


@pytest.mark.parametrize("library", ["torch", "strict"])
def test_other_arrays_come_back_as_what_they_were(library):
    pytest.importorskip({"torch": "torch", "strict": "array_api_strict"}[library])
    for image in (BLURRED, TRUE):
        given = put(image.astype(np.float32), library)
        result = blind.deblur(given, 7, prior="l0")
        assert type(result.image) is type(given)
        assert result.image.dtype == given.dtype
        assert result.image is not given
        expected = blind.deblur(image.astype(np.float32), 7, prior="l0")
        assert isinstance(result.psf, np.ndarray)
        np.testing.assert_array_equal(result.psf, expected.psf)
        np.testing.assert_allclose(get(result.image), expected.image, atol=1e-4)


def test_a_psf_shape_may_be_oblong():
    kernel = psf.motion(13, 90)
    blurred = fftconvolve(picture("coffee", 200), kernel, mode="valid")
    found = blind.estimate(blurred, (13, 5), prior="l0")
    assert found_the_blur(found, kernel, 0.75)
    # Within the box and its slack, which is odd.
    assert all(n <= 1.25 * m + 2 for n, m in zip(found.psf.shape, (13, 5), strict=True))
