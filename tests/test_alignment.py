"""Shift-aligned scores: the search against every shift tried, printed figures, what is refused."""

import math

import numpy as np
import pytest
import torch
from helpers import colour_picture, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from deconv import metrics

SCENE = picture("camera", 96)


def moved(x, shift):
    """A picture whose features lie `shift` further on, bilinearly, without wrapping ones in sight.

    It is one row and column per pixel of margin smaller than `x` on each side.
    """
    margin = 8
    result = np.zeros([n - 2 * margin for n in x.shape])
    corners = [(math.floor(s), s - math.floor(s)) for s in shift]
    for bits in np.ndindex(*(2,) * x.ndim):
        weight, part = 1.0, []
        for bit, (low, share), n in zip(bits, corners, x.shape, strict=True):
            # The pixel at i comes from i - shift: from ceil where the share is complete.
            weight *= share if bit else 1 - share
            part.append(slice(margin - low - bit, n - margin - low - bit))
        result += weight * x[tuple(part)] if weight else 0
    return result


def inner(x):
    return x[(slice(8, -8),) * x.ndim]


def brute_force(true, x, reach, crop, parts=4):
    """Every whole shift, then every quarter about the best, each interpolated and summed."""
    spatial = [range(crop, n - crop) for n in true.shape]
    cut = true[np.ix_(*spatial)]

    def cost(shift):
        """Interpolated at fractional positions; none lies beyond the frame."""
        total = 0
        for bits in np.ndindex(*(2,) * true.ndim):
            weight, index = 1.0, []
            for bit, s, places in zip(bits, shift, spatial, strict=True):
                low = math.floor(s)
                weight *= (s - low) if bit else 1 - (s - low)
                index.append([i + low + bit for i in places])
            if weight:
                total = total + weight * x[np.ix_(*index)]
        return float(np.sum((total - cut) ** 2))

    whole = [np.array(s) - reach for s in np.ndindex(*(2 * reach + 1,) * true.ndim)]
    nearest = min(whole, key=cost)
    fine = [nearest + (np.array(s) - parts) / parts for s in np.ndindex(*(2 * parts + 1,) * x.ndim)]
    best = min((s for s in fine if np.abs(s).max() <= reach), key=cost)
    return tuple(best), cost(best)


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (-5, 5), (3, -4), (5, 2)])
@pytest.mark.parametrize("shape", [(96, 96), (81, 96), (64, 95)])
def test_whole_shifts_are_found_and_undone(shape, shift):
    scene = SCENE[: shape[0], : shape[1]]
    found = metrics.align(inner(scene), moved(scene, shift))
    assert found.shift == shift
    assert found.ssd == 0
    assert found.x.shape == tuple(n - 16 - 30 for n in shape)
    assert np.array_equal(found.x, found.x_true)
    assert np.array_equal(found.x_true, inner(scene)[15:-15, 15:-15])
    assert metrics.aligned_psnr(inner(scene), moved(scene, shift)) == math.inf


@pytest.mark.parametrize(
    "shift", [(0.25, 0), (0.5, -0.75), (-4.75, 5), (2.5, 2.5), (-0.25, -0.25), (3.75, -1.25)]
)
def test_quarter_shifts_are_found(shift):
    x = moved(SCENE, shift)
    found = metrics.align(inner(SCENE), x)
    assert found.shift == shift
    # Interpolated twice, a quarter pixel blurs; not being aligned at all is far worse.
    naive = np.sum((inner(SCENE) - x)[15:-15, 15:-15] ** 2)
    assert 0 < found.ssd < naive / 5 or shift in [(0.25, 0), (-0.25, -0.25)]
    # The other way round it is the opposite shift.
    assert metrics.align(x, inner(SCENE)).shift == tuple(-s for s in shift)


@given(
    st.tuples(st.integers(9, 17), st.integers(9, 17)),
    st.integers(0, 3),
    st.integers(0, 1),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=40)
def test_search_equals_every_shift_tried(shape, reach, more, seed):
    rng = np.random.default_rng(seed)
    # Brighter and fainter parts, which a mere correlation would be drawn to.
    true = rng.random(shape) * np.linspace(1, rng.uniform(0, 9), shape[1])
    x = np.roll(true, rng.integers(-3, 4, 2), (0, 1)) + rng.random(shape)
    crop = reach + more
    shift, ssd = brute_force(true, x, reach, crop)
    found = metrics.align(true, x, reach=reach, crop=crop)
    assert found.shift == shift
    assert found.ssd == pytest.approx(ssd, rel=1e-12)


@pytest.mark.parametrize("ndim", [1, 3])
def test_lines_and_volumes(ndim):
    rng = np.random.default_rng(ndim)
    true = rng.random((14, 11, 13)[-ndim:])
    x = np.roll(true, 2, -1) + 0.2 * rng.random(true.shape)
    shift, ssd = brute_force(true, x, 2, 3)
    found = metrics.align(true, x, reach=2, crop=3)
    assert (found.shift, found.ssd) == (shift, pytest.approx(ssd))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_colours_share_one_shift(axis):
    scene = np.moveaxis(colour_picture(96), -1, 0)
    x = np.stack([moved(c, (1, -2)) for c in scene])
    # Noise alone is lessened most halfway between pixels; the others hold it in its place.
    x[2] += np.random.default_rng(0).normal(0, 0.03, x[2].shape)
    true = np.stack([inner(c) for c in scene])
    found = metrics.align(*(np.moveaxis(v, 0, axis) for v in (true, x)), channel_axis=axis)
    assert found.shift == (1, -2)
    assert found.x.shape == found.x_true.shape == np.moveaxis(np.empty((3, 50, 50)), 0, axis).shape
    singly = [metrics.align(t, v) for t, v in zip(true, x, strict=True)]
    assert singly[0].shift == singly[1].shift == found.shift != singly[2].shift
    assert found.ssd > sum(one.ssd for one in singly)
    score = metrics.aligned_ssim(
        *(np.moveaxis(v, 0, axis) for v in (true, x)), data_range=1, channel_axis=axis
    )
    assert score == metrics.ssim(found.x_true, found.x, data_range=1, channel_axis=axis)


def test_a_shift_beyond_the_reach_is_not_found():
    x = moved(SCENE, (7, 0))
    near, far = metrics.align(inner(SCENE), x), metrics.align(inner(SCENE), x, reach=7)
    assert far.shift == (7, 0) and far.ssd == 0
    assert max(map(abs, near.shift)) <= 5 and near.ssd > 1
    # At the limit the finer search does not leave the reach either.
    assert metrics.align(inner(SCENE), moved(SCENE, (5.5, 0)), crop=20).shift[0] == 5


@pytest.mark.parametrize(("step", "expected"), [(1, 2), (0.5, 2), (0.25, 2.25), (0.2, 2.2)])
def test_the_step_decides_how_fine_the_search_is(step, expected):
    x = moved(SCENE, (2.21, 0))
    found = metrics.align(inner(SCENE), x, step=step)
    assert found.shift == (pytest.approx(expected), 0)


def test_of_equal_shifts_the_smallest_is_taken():
    flat = np.full((48, 48), 0.3)
    assert metrics.align(flat, flat).shift == (0, 0)
    assert metrics.align(flat, flat + 1e6).shift == (0, 0)
    waves = np.sin(np.arange(64) * np.pi / 2) * np.ones((64, 1))
    assert metrics.align(waves, waves).shift == (0, 0)


def test_scale_and_pedestal_do_not_matter():
    x = moved(SCENE, (1.25, -3)) + np.random.default_rng(0).normal(0, 0.02, (80, 80))
    plain = metrics.align(inner(SCENE), x)
    for scale in (1e-6, 1e5):
        scaled = metrics.align(scale * inner(SCENE), scale * x)
        assert scaled.shift == plain.shift
        assert scaled.ssd == pytest.approx(scale**2 * plain.ssd)
        assert metrics.aligned_psnr(scale * inner(SCENE), scale * x) == pytest.approx(
            metrics.aligned_psnr(inner(SCENE), x)
        )
    assert metrics.align(inner(SCENE) + 1e6, x + 1e6).shift == plain.shift


def test_scores_are_those_of_the_aligned_pair():
    x = moved(SCENE, (1.25, -3)) + 0.05
    true = inner(SCENE)
    found = metrics.align(true, x)
    expected = -10 * math.log10(found.ssd / found.x.size)
    assert metrics.aligned_psnr(true, x, data_range=1) == pytest.approx(expected)
    assert metrics.aligned_ssim(true, x, data_range=1) == pytest.approx(
        metrics.ssim(found.x_true, found.x, data_range=1)
    )
    # The default range is the whole truth's, not that of the part that is left.
    true = true.copy()
    true[0, 0] = 3
    assert metrics.aligned_psnr(true, x) == pytest.approx(expected + 20 * math.log10(np.ptp(true)))


def test_inputs_are_left_alone_and_may_be_tensors_or_integers():
    true, x = inner(SCENE).copy(), moved(SCENE, (2, 1))
    before = true.copy(), x.copy()
    found = metrics.align(true, x)
    found.x[:], found.x_true[:] = 0, 0
    assert np.array_equal(true, before[0]) and np.array_equal(x, before[1])
    tensors = [torch.tensor(v, dtype=torch.float32, requires_grad=True) for v in (true, x)]
    assert metrics.align(*tensors).shift == (2, 1)
    counts = [np.round(255 * v).astype(np.uint8) for v in (true, x)]
    assert metrics.aligned_psnr(*counts) == math.inf


def test_error_ratio():
    true = inner(SCENE)
    noise = np.random.default_rng(0).normal(0, 0.01, true.shape)
    known = true + noise
    # Each is aligned by itself.
    worse = np.roll(true + 1.5 * noise, (2, -3), (0, 1))
    assert metrics.error_ratio(true, worse, known) == pytest.approx(2.25, rel=0.02)
    assert metrics.error_ratio(7 * true, 7 * worse, 7 * known) == pytest.approx(
        metrics.error_ratio(true, worse, known)
    )
    assert metrics.error_ratio(true, known, known) == 1
    assert metrics.error_ratio(true, true, known) == 0
    assert metrics.error_ratio(true, known, true) == math.inf
    assert metrics.error_ratio(true, true, true) == 1


def test_success_rate():
    assert metrics.success_rate([1, 2, 2.0001, 9]) == 0.5
    assert metrics.success_rate([1, 2, 2.0001, 9], limit=3) == 0.75
    assert metrics.success_rate([1, math.nan, None, math.inf]) == 0.25
    assert metrics.success_rate(np.array([math.nan])) == 0
    assert metrics.success_rate(1.5) == 1


# Blurred pictures as they are, scored by an independent program: sum of squared differences, PSNR
# in dB, shift.
LEVIN = {
    "im01_ker01": (216.5656829766001, 23.687753968358063, (0.0, 0.5)),
    "im01_ker04": (605.8432216752954, 19.22004782964595, (2.75, -3.0)),
    "im04_ker03": (90.3906993403516, 27.482412897403066, (0.0, 0.0)),
    "im04_ker08": (381.9423900933745, 21.223671747543772, (3.25, -1.75)),
}
LAI = {
    "manmade_01_kernel_03": (25640.03377173451, 13.442046518041886, (-2.0, 12.25)),
    "manmade_03_kernel_04": (26563.625779377762, 12.994768946692535, (-18.25, 30.0)),
}


@pytest.mark.parametrize("name", LEVIN)
def test_figures_of_levin(shared_data, name):
    from scipy.io import loadmat

    path = shared_data / "pairs" / "levin2009" / f"{name}.mat"
    if not path.exists():
        pytest.skip(f"no {path}")
    data = loadmat(path)
    ssd, psnr, shift = LEVIN[name]
    found = metrics.align(data["x"], data["y"])
    assert found.shift == shift
    assert found.ssd == pytest.approx(ssd, rel=1e-10)
    assert metrics.aligned_psnr(data["x"], data["y"], data_range=1) == pytest.approx(psnr, abs=1e-9)


@pytest.mark.parametrize("name", LAI)
def test_figures_of_lai(shared_data, name):
    from skimage.io import imread

    folder = shared_data / "pairs" / "lai2016"
    paths = (
        folder / "sharp" / f"{name[: name.index('_kernel')]}.png",
        folder / "blurred" / f"{name}.png",
    )
    if not all(path.exists() for path in paths):
        pytest.skip(f"no {paths[1]}")
    true, y = (imread(path)[..., :3] / 255 @ [0.299, 0.587, 0.114] for path in paths)
    ssd, psnr, shift = LAI[name]
    found = metrics.align(true, y, reach=30, crop=40)
    assert (found.shift, found.ssd) == (shift, pytest.approx(ssd, rel=1e-10))
    score = metrics.aligned_psnr(true, y, reach=30, crop=40, data_range=1)
    assert score == pytest.approx(psnr, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: metrics.align(SCENE, SCENE[1:]), ValueError, r"x_true has shape \(96, 96\)"),
        (lambda: metrics.align(SCENE, SCENE * np.nan), ValueError, "x has 9216 NaN"),
        (lambda: metrics.align(SCENE / 0, SCENE), ValueError, "x_true has .* infinite"),
        (lambda: metrics.align(SCENE * 1j, SCENE), TypeError, "x_true"),
        (lambda: metrics.align(SCENE, SCENE, reach=2.5), TypeError, "reach=2.5"),
        (lambda: metrics.align(SCENE, SCENE, reach=-1), ValueError, "reach=-1"),
        (lambda: metrics.align(SCENE, SCENE, reach=16), ValueError, "crop=15 and reach=16"),
        (lambda: metrics.align(SCENE, SCENE, crop=48), ValueError, "crop=48 leaves nothing"),
        (lambda: metrics.align(SCENE, SCENE, step=0.3), ValueError, "step=0.3"),
        (lambda: metrics.align(SCENE, SCENE, step=0), ValueError, "step=0"),
        (lambda: metrics.align(SCENE, SCENE, step="a"), TypeError, "step='a'"),
        (lambda: metrics.align(colour_picture(), colour_picture()), ValueError, "channel_axis"),
        (lambda: metrics.align(SCENE, SCENE, channel_axis=2), ValueError, "channel_axis=2"),
        (lambda: metrics.align(1.0, 2.0), ValueError, "x_true has shape"),
        (lambda: metrics.aligned_psnr(SCENE, SCENE, data_range=-1), ValueError, "data_range"),
        (lambda: metrics.aligned_psnr(0 * SCENE, SCENE), ValueError, "pass data_range"),
        (lambda: metrics.aligned_ssim(SCENE, SCENE, crop=44), ValueError, "11 wide"),
        (lambda: metrics.error_ratio(SCENE, SCENE, SCENE[1:]), ValueError, "x_known"),
        (lambda: metrics.error_ratio(SCENE, SCENE * np.nan, SCENE), ValueError, "x has 9216 NaN"),
        (lambda: metrics.success_rate([]), ValueError, "ratios is empty"),
        (lambda: metrics.success_rate([1, -1]), ValueError, "ratios go down to -1"),
        (lambda: metrics.success_rate(["good"]), TypeError, "ratios"),
        (lambda: metrics.success_rate([1], limit=0), ValueError, "limit=0"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with np.errstate(divide="ignore", invalid="ignore"), pytest.raises(error, match=words):
        call()
