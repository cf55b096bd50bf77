"""What each blind prior does to a picture, by loops; and that each finds a planted psf."""

import types

import numpy as np
import pytest
from helpers import scene_and_blurred
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deconv import blind, metrics, psf
from deconv.blind.dark_channel import DarkChannel, dark_channel
from deconv.blind.estimators import NAMES, estimator
from deconv.blind.l0 import L0
from deconv.blind.latent import Latent
from deconv.blind.patch_minimum import PatchMinimum, _shrink_minima
from deconv.blind.pyramid import Level, coarse_to_fine
from deconv.blind.text import Text

# Few distinct values, so that ties are common.
pictures = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 11), st.integers(1, 11)),
    elements=st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]),
)


def square(image, i, j, size):
    """The part of the square of `size` around a pixel that lies in the picture."""
    before, after = size // 2, size - size // 2
    return image[max(0, i - before) : i + after, max(0, j - before) : j + after]


@given(pictures, st.integers(1, 9))
def test_dark_channel_is_the_least_value_around_each_pixel(image, size):
    found = dark_channel(image, size)
    assert found.shape == image.shape
    assert found.dtype == image.dtype
    for i, j in np.ndindex(image.shape):
        assert found[i, j] == square(image, i, j, size).min()


class Asked:
    """A latent picture that only notes what a prior asks of it."""

    def data(self, kernel):
        return kernel, kernel

    def pulled(self, data, mu, lam, first, target):
        self.mu, self.lam, self.first, self.target = mu, lam, first, target
        return data[0]


def target_of(prior, image=None, fade=1.0):
    asked = Asked()
    if image is None:
        image = scene_and_blurred(psf.motion(5, 0), size=40)[1].astype(np.float32)
    prior.latent(asked, np.ones((3, 3), np.float32), 1e-3, fade, Level(0, 1, image, (3, 3)))
    return asked


@given(pictures, st.integers(1, 8), st.sampled_from([0.01, 0.1, 0.3, 2.0]))
@settings(max_examples=150)
@example(np.arange(12, dtype=np.float32).reshape(3, 4) / 12, 2, 2.0)
def test_only_dark_minima_of_some_patch_become_black(image, size, least):
    found = target_of(DarkChannel(size=size)).target(image, least)
    patches = [square(image, i, j, size) for i, j in np.ndindex(image.shape)]
    # Numbered, so that a pixel is known wherever it is seen.
    places = np.arange(image.size).reshape(image.shape)
    here = [square(places, i, j, size) for i, j in np.ndindex(image.shape)]
    minima = {
        int(place)
        for values, where in zip(patches, here, strict=True)
        for place in where[values == values.min()]
    }
    expected = image.copy()
    for place in minima:
        at = np.unravel_index(place, image.shape)
        if image[at] ** 2 < least:
            expected[at] = 0
    np.testing.assert_array_equal(found, expected)


@given(pictures, st.integers(1, 8), st.sampled_from([0.01, 0.1, 0.3]))
def test_bright_is_dark_of_the_negative(image, size, least):
    dark = target_of(DarkChannel(size=size)).target(1 - image, least)
    bright = target_of(DarkChannel(dark=False, bright=True, size=size)).target(image, least)
    np.testing.assert_array_equal(bright, 1 - dark)
    both = target_of(DarkChannel(dark=True, bright=True, size=size)).target(image, least)
    dark = target_of(DarkChannel(size=size)).target(image, least)
    np.testing.assert_array_equal(both, np.where(bright == 1, bright, dark))


@given(pictures, st.floats(0.001, 1.2), st.sampled_from([(1, 0), (0, 1), (1, 1)]))
def test_text_takes_what_is_near_a_tone_for_it(image, least, tones):
    before = image.copy()
    ink, paper = tones
    # A page whose paper is 0.75, but for a few brighter pixels.
    page = np.full((20, 20), 0.75, np.float32)
    page[0, :10] = 1
    page[3:7] = 0.125
    found = target_of(Text(ink=bool(ink), paper=bool(paper)), page).target(image, least)
    assert found.dtype == image.dtype
    for x, new in zip(image.ravel(), found.ravel(), strict=True):
        # The lesser of |new - x|^2 and the price of being of no tone.
        near = [tone for tone in [0.0] * ink + [0.75] * paper if (x - tone) ** 2 < least]
        assert new in (near or [x])
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("prior", [DarkChannel(), DarkChannel(bright=True), Text()])
def test_the_weight_fades_and_has_a_floor(prior):
    weights = [target_of(prior, fade=fade).lam for fade in (1.0, 0.5, 1e-9)]
    assert weights == pytest.approx([4e-3, 2e-3, 1e-4])
    # The first penalty goes with it: the first threshold stays as it is.
    ratios = [a.lam / a.first for a in (target_of(prior, fade=f) for f in (1.0, 0.5, 1e-9))]
    assert ratios == pytest.approx([ratios[0]] * 3)


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 13), st.integers(1, 13)),
        elements=st.floats(-1, 1, width=32),
    ),
    st.integers(1, 6),
    st.sampled_from([0.01, 0.05, 0.3]),
    st.booleans(),
)
def test_patch_minima_are_shrunk_and_nothing_else(image, side, lam, hard):
    expected = image.copy()
    corners = [
        (i, j) for i in range(0, image.shape[0], side) for j in range(0, image.shape[1], side)
    ]
    least = []
    for i, j in corners:
        patch = image[i : i + side, j : j + side]
        y, x = np.unravel_index(patch.argmin(), patch.shape)
        least.append((i + y, j + x))
    sizes = [abs(float(image[at])) for at in least]
    bound = min(max(float(np.mean(np.float32(sizes))), lam), 0.1)
    for at, size in zip(least, sizes, strict=True):
        if hard:
            if abs(size - bound) < 1e-6:
                return
            expected[at] = 0 if size < bound else image[at]
        else:
            expected[at] = np.sign(image[at]) * max(size - np.float32(lam), 0)
    _shrink_minima(image, side, lam, hard)
    np.testing.assert_allclose(image, expected, atol=1e-6)


def test_patches_grow_with_the_picture_and_fine_scales_are_thresholded_hard():
    seen = []

    class Frame(types.SimpleNamespace):
        index = (..., slice(None), slice(None))

    class Touched:
        frame = Frame()

        def data(self, kernel):
            return kernel

        def flat(self, data, mu, *, touch, sweeps, factor):
            x = np.full(self.shape, 0.2, np.float32)
            touch(x)
            seen.append(x)
            return x

    for shape, index, value in (((100, 100), 3, 0.1), ((100, 100), 0, 0.2), ((50, 250), 3, 0.1)):
        latent = Touched()
        latent.shape = shape
        level = Level(index, 4, np.zeros(shape, np.float32), (3, 3))
        PatchMinimum().latent(latent, np.ones((3, 3)), 1e-3, 1.0, level)
        changed = seen[-1] != np.float32(0.2)
        side = int(0.02 * sum(shape) / 2)
        # Soft in the coarse half: less by the weight. Hard in the fine one: above the bound, kept.
        assert changed.sum() == (0 if value == 0.2 else -(-shape[0] // side) * -(-shape[1] // side))
        np.testing.assert_allclose(seen[-1][changed], value, atol=1e-6)


@pytest.mark.parametrize(
    "prior", [L0(), PatchMinimum(), DarkChannel(), DarkChannel(bright=True), Text()]
)
def test_every_image_step_is_a_picture_on_the_domain_and_repeats(prior):
    image = scene_and_blurred(psf.motion(5, 30), size=128)[1].astype(np.float32)
    image.setflags(write=False)
    level = Level(0, 6, image, (7, 7))
    latent = Latent(level)
    kernel = psf.pad(psf.motion(5, 30), 7).astype(np.float32)
    first, again = (prior.latent(latent, kernel, 4e-3, 1.0, level) for _ in range(2))
    assert first.shape == latent.domain
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    # Closer to the scene than the blurred picture is, where the scene has edges.
    scene = scene_and_blurred(psf.motion(5, 30), size=128)[0]
    inner = (slice(8, -8), slice(8, -8))
    dx = [np.diff(v[inner], axis=1).ravel() for v in (latent.frame.crop(first), image, scene)]
    assert np.corrcoef(dx[0], dx[2])[0, 1] > np.corrcoef(dx[1], dx[2])[0, 1]


def test_the_public_names_are_those_of_the_registry():
    assert blind.PRIORS == NAMES
    assert len(set(NAMES)) == len(NAMES)
    assert {"l0", "patch_minimum", "dark_channel", "extreme_channels", "text", "text_paper"} <= set(
        NAMES
    )
    with pytest.raises(KeyError):
        estimator("none")


@pytest.mark.parametrize("name", NAMES)
def test_every_estimator_finds_a_planted_shake(name):
    if name == "discriminative":
        pytest.importorskip("torch")
    shake = psf.motion(9, 30)
    image = scene_and_blurred(shake, size=160)[1].astype(np.float32)
    before = image.copy()
    found = coarse_to_fine(image, (15, 15), estimator(name))
    np.testing.assert_array_equal(image, before)
    assert found.shape == (15, 15)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert metrics.psf_similarity(found, shake) >= 0.75
    # A single pixel, the answer of an estimator that does nothing, is far from that.
    assert metrics.psf_similarity([[1.0]], shake) < 0.5
