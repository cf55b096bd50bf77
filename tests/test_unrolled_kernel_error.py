"""Wrong psfs are psfs still, near the right ones, and wrong in the ways they are told to be."""

import numpy as np
import pytest
from helpers import random_psf
from hypothesis import given, settings
from hypothesis import strategies as st

from deconv import psf as psfs

torch = pytest.importorskip("torch")

from unrolled.kernel_error import PsfError  # noqa: E402

NONE = {"noise": 0.0, "dropped": 0.0, "blur": 0.0, "specks": 0.0, "shift": 0.0, "stretch": 0.0}
MUCH = PsfError(0.99, 0.99, 0.99, 0.99, 0.99, 0.99, strength=(1, 1))
SIZES = st.tuples(st.integers(1, 12), st.integers(1, 13))
SEEDS = st.integers(0, 10**9)


def only(**amounts):
    """An error of one kind, in full."""
    return PsfError(**NONE | amounts, strength=(1, 1))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def uniforms(seed):
    """The numbers that settle the amounts of an error."""
    return torch.rand(8, generator=generator(seed), dtype=torch.float64).tolist()


def smooth(size=31, sigma=3.0):
    return torch.from_numpy(psfs.gaussian((sigma, 0.7 * sigma), angle=30, size=size).copy())


def shake(size=15, rng=0):
    """A camera's path with room around it, so that nothing leaves the box."""
    return torch.from_numpy(psfs.pad(psfs.trajectory(size - 8, rng=rng), size).copy())


def centroid(psf):
    return np.array(psfs.centroid(psf.numpy()))


def variance(psf):
    """Of the rows' and of the columns' coordinate."""
    at = [np.arange(n) for n in psf.shape]
    marginals = psf.numpy().sum(1), psf.numpy().sum(0)
    return np.array(
        [m @ x**2 - (m @ x) ** 2 for m, x in zip(marginals, at, strict=True)]
    )  # the sum is 1


# --- what holds for every error -------------------------------------------------------------------


@settings(max_examples=50)
@given(size=SIZES, seed=SEEDS, error=st.sampled_from([PsfError(), MUCH]))
def test_a_wrong_psf_is_a_psf(size, seed, error):
    right = random_psf(np.random.default_rng(seed), size)
    for dtype in (torch.float32, torch.float64):
        psf = torch.from_numpy(right).to(dtype)
        wrong = error(psf, generator(seed))
        assert torch.equal(psf, torch.from_numpy(right).to(dtype))
        assert wrong.shape == psf.shape and wrong.dtype == dtype
        assert wrong.min() >= 0
        assert abs(float(wrong.sum()) - 1) < 1e-5
        assert torch.equal(wrong, error(psf, generator(seed)))


@settings(max_examples=50)
@given(size=SIZES, place=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)), seed=SEEDS)
def test_a_single_tap_survives(size, place, seed):
    at = tuple(int(u * n) for u, n in zip(place, size, strict=True))
    psf = torch.zeros(size)
    psf[at] = 1
    for error in (PsfError(), MUCH):
        wrong = error(psf, generator(seed))
        assert wrong.min() >= 0 and abs(float(wrong.sum()) - 1) < 1e-5
    wrong = PsfError(specks=0.0)(psf, generator(seed))
    assert wrong[at] > 0


@settings(max_examples=50)
@given(size=SIZES, seed=SEEDS, error=st.sampled_from([PsfError(strength=(0, 0)), only()]))
def test_no_error_at_all(size, seed, error):
    psf = torch.from_numpy(random_psf(np.random.default_rng(seed), size))
    torch.testing.assert_close(error(psf, generator(seed)), psf, rtol=0, atol=1e-12)
    single = error(psf.float(), generator(seed))
    torch.testing.assert_close(single, psf.float(), rtol=0, atol=3e-6 * float(psf.max()))


def test_faint_taps_are_no_part_of_a_psf():
    psf = torch.tensor([[5e-4, 1.0, 2e-3]], dtype=torch.float64)
    wrong = PsfError(strength=(0, 0))(psf / psf.sum(), generator())
    expected = torch.tensor([[0.0, 1.0, 2e-3]], dtype=torch.float64) / 1.002
    torch.testing.assert_close(wrong, expected)


def test_the_generator_settles_the_error():
    psf, error = shake(), PsfError()
    one, again, other = (error(psf, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)
    both = generator()
    assert not torch.allclose(error(psf, both), error(psf, both))
    # The unit does not matter: amounts are over the maximum.
    torch.testing.assert_close(error(7 * psf, generator()), one)


def test_more_strength_is_more_error():
    psf = shake()
    far = [
        np.mean([
            float((PsfError(strength=(s, s))(psf, generator(k)) - psf).abs().sum())
            for k in range(30)
        ])
        for s in (0.1, 0.3, 1.0)
    ]  # fmt: skip
    assert 0 < 2 * far[0] < far[1] < far[2] / 2
    between = [float((PsfError()(psf, generator(k)) - psf).abs().sum()) for k in range(60)]
    assert 0.5 * far[0] < np.mean(between) < far[2]
    # Blind estimates are as near: not another psf altogether.
    assert far[2] < 1.2


# --- each kind by itself --------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.9])
def test_the_centroid_moves_by_the_shift_alone(shift):
    error = PsfError(specks=0.0, shift=shift, strength=(1, 1))
    moves = []
    for seed in range(40):
        psf = shake(15 + seed % 2, rng=seed)
        move = centroid(error(psf, generator(seed))) - centroid(psf)
        drawn = shift * (2 * np.array(uniforms(seed)[6:]) - 1)
        np.testing.assert_allclose(move, drawn, atol=0.1)
        moves.append(move)
    assert np.abs(moves).max() < shift + 0.1
    assert np.abs(moves).max() > 0.8 * shift


def test_a_shift_and_nothing_else():
    psf, seed = smooth(), 3
    wrong = only(shift=0.8)(psf, generator(seed))
    drawn = 0.8 * (2 * np.array(uniforms(seed)[6:]) - 1)
    np.testing.assert_allclose(centroid(wrong) - centroid(psf), drawn, atol=5e-3)
    # Between pixels, linear interpolation widens a little.
    part = np.abs(drawn)
    widened = variance(wrong) - variance(only()(psf, generator()))
    np.testing.assert_allclose(widened, part * (1 - part), atol=0.01)


def test_stretch_makes_it_longer_or_shorter():
    psf, zooms = smooth(), []
    for seed in range(12):
        wrong = only(stretch=0.4)(psf, generator(seed))
        zoom = 1 + 0.4 * (2 * uniforms(seed)[5] - 1)
        np.testing.assert_allclose(np.sqrt(variance(wrong) / variance(psf)), zoom, rtol=0.03)
        np.testing.assert_allclose(centroid(wrong), centroid(psf), atol=0.01)
        zooms.append(zoom)
    assert min(zooms) < 0.8 and max(zooms) > 1.2


def test_blur_widens_by_its_own_variance():
    psf = smooth()
    # Without its faint taps, which are cut from every result.
    before = variance(only()(psf, generator()))
    # A sampled Gaussian has its variance from about half a pixel on.
    sigmas = {seed: 0.99 * uniforms(seed)[4] for seed in range(16)}
    for seed in (seed for seed, sigma in sigmas.items() if sigma > 0.5):
        sigma, wrong = sigmas[seed], only(blur=0.99)(psf, generator(seed))
        np.testing.assert_allclose(variance(wrong) - before, sigma**2, atol=0.04)


def test_noise_stays_on_the_support_and_a_pixel_around_it():
    psf = torch.zeros(9, 11, dtype=torch.float64)
    psf[4, 3:8] = 0.2
    around = torch.zeros(9, 11, dtype=torch.bool)
    around[3:6, 2:9] = True
    # The centroid is brought back, by a part of a pixel.
    further = torch.zeros_like(around)
    further[2:7, 1:10] = True
    touched = torch.zeros_like(around)
    for seed in range(20):
        wrong = only(noise=0.3)(psf, generator(seed))
        assert not wrong[~further].any()
        assert wrong[~around].sum() < 0.2
        touched |= wrong > 0.01
    assert touched[around].all()


def test_lost_taps_are_never_the_largest():
    # Ascending, with one maximum and with two.
    psf = torch.arange(1.0, 26).reshape(5, 5)
    psf[0, 0] = 25
    psf = psf / psf.sum()
    lost = []
    for seed in range(60):
        wrong = only(dropped=0.99)(psf, generator(seed))
        kept = wrong > 1e-6
        assert kept[0, 0] and kept[4, 4]
        assert torch.isclose(wrong.sum(), torch.tensor(1.0))
        lost.append(float((wrong - psf).abs().sum()))
    # In every other sample nothing is lost.
    assert 0.3 < np.mean(np.array(lost) < 1e-5) < 0.7
    assert max(lost) > 0.5


def test_specks_are_few_and_anywhere():
    psf = torch.zeros(41, 41, dtype=torch.float64)
    psf[20, 18:23] = 0.2
    there, sizes = torch.zeros(41, 41), []
    for seed in range(30):
        wrong = only(specks=0.2)(psf, generator(seed))
        specks = (wrong > 0) & (psf == 0)
        assert 0 < specks.double().mean() < 0.04
        sizes.append(wrong[specks] / wrong[20, 18:23].median())
        there += specks
    for corner in (there[:20, :20], there[:20, 21:], there[21:, :20], there[21:, 21:]):
        assert corner.sum() > 50
    # Of their normal numbers the positive half is left.
    assert 0.16 < float(torch.cat(sizes).square().mean().sqrt()) < 0.24


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({name: -0.1}, f"^{name}=-0.1; expected at least 0 and less than 1") for name in NONE),
        *(({name: 1.0}, f"^{name}=1.0; expected at least 0") for name in NONE),
        *(({name: float("nan")}, f"^{name}=nan; expected at least 0") for name in NONE),
        ({"strength": (0.5, 0.1)}, r"^strength=\(0.5, 0.1\); expected 0 <= low <= high <= 1"),
        ({"strength": (-0.1, 0.1)}, r"^strength=\(-0.1, 0.1\); expected"),
        ({"strength": (0.1, 1.1)}, r"^strength=\(0.1, 1.1\); expected"),
        ({"strength": (float("nan"), 1)}, r"^strength=\(nan, 1\); expected"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        PsfError(**change)
