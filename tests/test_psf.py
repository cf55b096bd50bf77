"""The psf families: against their formulas, their symmetries, and what they refuse."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import j1

from deconv import psf

AIRY = {"wavelength": 0.52, "na": 1.4, "pixel_size": 0.065}
FAMILIES = {
    "gaussian": lambda size=None: psf.gaussian(1.7, size=size),
    "gaussian line": lambda size=None: psf.gaussian((0.0, 2.0), size=size),
    "gaussian turned": lambda size=None: psf.gaussian((1.0, 2.5), angle=25, size=size),
    "defocus": lambda size=None: psf.defocus(4.3, size=size),
    "airy": lambda size=None: psf.airy(**AIRY, size=size),
    "motion": lambda size=None: psf.motion(11.5, 37, size=size),
    "trajectory": lambda size=None: psf.trajectory(25 if size is None else size, rng=4),
}


def otf(kernel, n=256):
    """The transfer function on a fine grid, and the frequencies of that grid."""
    padded = np.zeros((n,) * kernel.ndim)
    padded[tuple(slice(m) for m in kernel.shape)] = kernel
    centred = np.roll(padded, [-(m // 2) for m in kernel.shape], range(kernel.ndim))
    f = np.meshgrid(*[np.fft.fftfreq(n)] * kernel.ndim, indexing="ij")
    return np.fft.fftn(centred), f


def off_centre(kernel):
    at = psf.centroid(kernel)
    return max(abs(a - n // 2) for a, n in zip(at, kernel.shape, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [None, 41, 42, (41, 44), (46, 43)])
def test_family_is_a_psf(family, size):
    kernel = FAMILIES[family](size)
    if size is not None:
        assert kernel.shape == (size if isinstance(size, tuple) else (size, size))
    assert kernel.dtype == np.float64
    assert kernel.min() >= 0
    assert abs(kernel.sum() - 1) < 1e-12
    assert off_centre(kernel) < 1e-10
    assert np.array_equal(kernel, FAMILIES[family](size))


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "trajectory"])
def test_symmetry_and_size(family):
    kernel = FAMILIES[family]()
    assert all(n % 2 for n in kernel.shape)
    np.testing.assert_allclose(kernel, np.flip(kernel), rtol=0, atol=1e-15)
    larger = FAMILIES[family]([n + 5 for n in kernel.shape])
    same = psf.crop(larger, kernel.shape)
    np.testing.assert_allclose(same, kernel, rtol=0, atol=1e-12)


def test_even_size_keeps_the_symmetry():
    kernel = psf.defocus(3.2, size=10)
    assert not kernel[0].any()
    assert not kernel[:, 0].any()
    assert np.array_equal(kernel[1:, 1:], psf.defocus(3.2, size=9))


@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.5])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_gaussian_otf(sigma, ndim):
    response, f = otf(psf.gaussian(sigma, ndim=ndim, truncate=8), n=64)
    expected = np.prod([np.exp(-2 * (np.pi * sigma * fi) ** 2) * np.sinc(fi) for fi in f], axis=0)
    low = np.max(np.abs(f), axis=0) <= 0.25
    aliased = np.exp(-2 * (np.pi * sigma * 0.75) ** 2)  # the nearest alias of Nyquist/2
    assert np.abs(response - expected)[low].max() < ndim * aliased + 1e-12


def test_gaussian_has_the_variance_it_says():
    kernel = psf.gaussian((0.3, 1.2), truncate=9)
    for axis, sigma in enumerate((0.3, 1.2)):
        line = kernel.sum(axis=1 - axis)
        at = np.arange(len(line)) - len(line) // 2
        aliased = 4 * np.exp(-2 * (np.pi * sigma) ** 2)  # a narrow one depends on where pixels lie
        assert line @ at**2 == pytest.approx(sigma**2 + 1 / 12, abs=aliased + 1e-9)


def test_gaussian_order_of_the_axes():
    kernel = psf.gaussian((0.5, 1.0, 2.0))
    assert kernel.shape == (5, 9, 17)
    np.testing.assert_allclose(kernel.sum(axis=(0, 1)), psf.gaussian(2.0, ndim=1), atol=1e-15)
    assert np.array_equal(psf.gaussian(np.array([1.0, 2.0])), psf.gaussian((1.0, 2.0)))


@pytest.mark.parametrize(("sigma", "angle"), [((1, 3), 30), ((0.3, 2.0), 17), ((2.5, 0.4), -50)])
def test_turned_gaussian_against_fine_sampling(sigma, angle):
    kernel = psf.gaussian(sigma, angle=angle, truncate=6)
    fine = 40
    y, x = ((np.arange(n * fine) + 0.5) / fine - n / 2 for n in kernel.shape)
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    along, across = x * c - y[:, None] * s, x * s + y[:, None] * c
    sampled = np.exp(-0.5 * ((along / sigma[1]) ** 2 + (across / sigma[0]) ** 2))
    sampled = sampled.reshape(kernel.shape[0], fine, kernel.shape[1], fine).sum(axis=(1, 3))
    np.testing.assert_allclose(kernel, sampled / sampled.sum(), rtol=0, atol=3e-5)


def test_turned_gaussian_otf():
    kernel = psf.gaussian((1.0, 2.5), angle=25, truncate=8)
    response, (fy, fx) = otf(kernel)
    c, s = np.cos(np.deg2rad(25)), np.sin(np.deg2rad(25))
    along, across = fx * c - fy * s, fx * s + fy * c
    expected = np.exp(-2 * np.pi**2 * ((2.5 * along) ** 2 + across**2)) * np.sinc(fx) * np.sinc(fy)
    low = np.hypot(fx, fy) <= 0.25
    assert np.abs(response - expected)[low].max() < 1e-4


@pytest.mark.parametrize("radius", [1.5, 4.37, 10.0])
def test_defocus_otf_is_the_jinc(radius):
    response, (fy, fx) = otf(psf.defocus(radius))
    v = 2 * np.pi * radius * np.hypot(fx, fy)
    jinc = np.divide(2 * j1(v), v, out=np.ones_like(v), where=v > 0)
    low = np.hypot(fx, fy) <= 0.25
    # Aliases fall off as the jinc does, by the power 1.5.
    assert np.abs(response - jinc * np.sinc(fx) * np.sinc(fy))[low].max() < 0.1 / radius**1.5


@pytest.mark.parametrize("radius", [0.6, 0.9, 2.0, 3.1])
def test_defocus_is_the_covered_area(radius):
    kernel = psf.defocus(radius)
    fine = 400
    at = (np.arange(len(kernel) * fine) + 0.5) / fine - len(kernel) / 2
    disk = (at[:, None] ** 2 + at**2 <= radius**2).reshape(len(kernel), fine, -1, fine)
    np.testing.assert_allclose(kernel * np.pi * radius**2, disk.mean(axis=(1, 3)), atol=1e-3)
    np.testing.assert_allclose(kernel, kernel.T, rtol=0, atol=1e-15)


def test_airy_otf():
    """Autocorrelation of the pupil, up to the light in the rings beyond the array."""
    settings = {"wavelength": 0.5, "na": 0.4, "pixel_size": 0.25}
    response, (fy, fx) = otf(psf.airy(**settings, size=401), n=512)
    nu = np.clip(np.hypot(fx, fy) * 0.5 / (2 * 0.4 * 0.25), 0, 1)
    ideal = 2 / np.pi * (np.arccos(nu) - nu * np.sqrt(1 - nu**2))
    low = np.hypot(fx, fy) <= 0.25
    assert np.abs(response - ideal * np.sinc(fx) * np.sinc(fy))[low].max() < 0.004


def test_airy_first_dark_ring_and_default_size():
    # Airy radius 0.61 wavelength / na = 12.2 pixels.
    middle = psf.airy(wavelength=0.5, na=0.25, pixel_size=0.1, size=151)[75, 75:]
    assert middle[12] < 1e-3 * middle[0]
    wide = psf.airy(wavelength=0.5, na=0.25, pixel_size=0.1, size=1201)
    own = psf.airy(wavelength=0.5, na=0.25, pixel_size=0.1)
    held = psf.crop(wide, own.shape).max() ** -1 * wide.max()
    assert 0.979 < held < 0.99


def test_airy_depends_on_ratios_only():
    nanometres = psf.airy(wavelength=520, na=1.4, pixel_size=65)
    np.testing.assert_allclose(nanometres, psf.airy(**AIRY), rtol=1e-9, atol=1e-18)
    # An odd number of nodes per pixel puts one on the axis, where J1(v) / v is 0 / 0.
    assert np.isfinite(psf.airy(wavelength=0.5, na=0.5, pixel_size=0.01, size=801)).all()


def test_a_pixel_much_larger_than_the_airy_pattern_is_a_delta():
    kernel = psf.airy(wavelength=0.5, na=1.0, pixel_size=10.0, size=3)
    assert kernel[1, 1] > 0.95


@pytest.mark.parametrize("length", [3, 9, 15, 22.3])
@pytest.mark.parametrize("angle", [0, 2, 10, 33, 45, 90, 137])
def test_motion_otf_is_the_sinc(length, angle):
    response, (fy, fx) = otf(psf.motion(length, angle))
    turn = np.deg2rad(angle)
    ideal = np.sinc(length * (fx * np.cos(turn) - fy * np.sin(turn)))
    low = np.hypot(fx, fy) <= 0.25
    error = np.abs(response - ideal)[low]
    assert np.sqrt(np.mean(error**2)) < 0.09
    if length >= 9:
        assert np.sqrt(np.mean(error**2)) < 0.05
    if angle % 90 == 0:
        assert error.max() < 0.1


def test_motion_otf_on_average():
    """The figure in the docstring."""
    errors = []
    for length, angle in itertools.product((3, 5.5, 9, 15, 22.3), (0, 1, 2, 4, 10, 20, 33, 45, 60)):
        response, (fy, fx) = otf(psf.motion(length, angle), n=128)
        turn = np.deg2rad(angle)
        ideal = np.sinc(length * (fx * np.cos(turn) - fy * np.sin(turn)))
        low = np.hypot(fx, fy) <= 0.25
        errors.append(np.sqrt(np.mean(np.abs(response - ideal)[low] ** 2)))
    assert np.mean(errors) < 0.031


def test_motion_angle_is_counter_clockwise_on_screen():
    up_right = psf.motion(9, 45)
    n = len(up_right)
    assert up_right[0, -1] + up_right[1, -2] > 10 * (up_right[0, 0] + up_right[1, 1])
    assert psf.motion(9, 0).shape == (1, 11)
    assert psf.motion(9, 90).shape == (11, 1)
    assert n % 2


def test_motion_along_an_axis_is_a_box():
    line = psf.motion(15, 0)[0]
    np.testing.assert_allclose(line[2:-2], 1 / 15, rtol=0.04)
    at = np.arange(17) - 8
    assert line @ at**2 == pytest.approx(15**2 / 12, rel=0.01)


@pytest.mark.parametrize("angle", [0, 20, 45, 90, -110])
def test_no_motion_and_no_blur_are_a_single_pixel(angle):
    assert np.array_equal(psf.motion(0, angle), [[1.0]])
    assert np.array_equal(psf.gaussian(0, size=3), np.pad([[1.0]], 1))
    assert np.array_equal(psf.defocus(0), [[1.0]])
    turned = psf.gaussian((0, 0), angle=angle, size=3)
    assert np.array_equal(turned, np.pad([[1.0]], 1))
    assert psf.motion(1, angle).max() > 0.8


@given(length=st.floats(0, 40), angle=st.floats(-360, 360))
@settings(max_examples=60, deadline=None)
def test_motion_turned_by_a_right_angle(length, angle):
    np.testing.assert_allclose(
        psf.motion(length, angle + 90), np.rot90(psf.motion(length, angle)), rtol=0, atol=1e-9
    )
    np.testing.assert_allclose(
        psf.motion(length, angle + 180, size=45),
        psf.motion(length, angle, size=45),
        rtol=0,
        atol=1e-9,
    )


@given(sigma=st.tuples(st.floats(0, 4), st.floats(0, 4)), angle=st.floats(-360, 360))
@settings(max_examples=60, deadline=None)
def test_gaussian_turned_by_a_right_angle(sigma, angle):
    kernel = psf.gaussian(sigma, angle=angle, size=35)
    assert abs(kernel.sum() - 1) < 1e-12
    assert off_centre(kernel) < 1e-9
    turned = psf.gaussian(sigma, angle=angle + 90, size=35)
    np.testing.assert_allclose(turned, np.rot90(kernel), rtol=0, atol=1e-6)


@given(
    length=st.floats(0, 30),
    angle=st.floats(0, 180),
    radius=st.floats(0, 12),
    sigmas=st.tuples(st.floats(0.3, 5), st.floats(0.3, 5)),
)
@settings(max_examples=80, deadline=None)
def test_small_changes_of_a_parameter_change_the_psf_a_little(length, angle, radius, sigmas):
    step = 1e-4

    def change(one, other):
        return np.abs(one - other).sum()

    line = psf.motion(length, angle, size=41)
    assert change(line, psf.motion(length + step, angle, size=41)) < 10 * step
    assert change(line, psf.motion(length, angle + step, size=41)) < 10 * step
    disk = psf.defocus(radius, size=41)
    assert change(disk, psf.defocus(radius + step, size=41)) < 10 * step
    bell = psf.gaussian(sigmas, angle=angle, size=41)
    wider = psf.gaussian([s + step for s in sigmas], angle=angle, size=41)
    assert change(bell, wider) < 20 * step
    assert change(bell, psf.gaussian(sigmas, angle=angle + step, size=41)) < 10 * step


@given(
    size=st.integers(1, 40) | st.tuples(st.integers(1, 40), st.integers(1, 40)),
    exposure=st.floats(1e-4, 1),
    shakiness=st.floats(0, 1),
    rng=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_trajectory_is_centred_whatever_its_size(size, exposure, shakiness, rng):
    kernel = psf.trajectory(size, exposure=exposure, shakiness=shakiness, rng=rng)
    assert kernel.shape == (size if isinstance(size, tuple) else (size, size))
    assert kernel.min() >= 0
    assert abs(kernel.sum() - 1) < 1e-12
    assert off_centre(kernel) < 1e-9
    again = psf.trajectory(size, exposure=exposure, shakiness=shakiness, rng=rng)
    assert np.array_equal(kernel, again)


def spread(kernel):
    y, x = np.indices(kernel.shape) - np.reshape(kernel.shape, (2, 1, 1)) // 2
    return np.sqrt((kernel * (y**2 + x**2)).sum())


def test_trajectory_parameters_mean_what_they_say():
    straight = psf.trajectory(31, shakiness=0, rng=1)
    y, x = np.indices(straight.shape) - 15
    moments = np.cov(np.stack([y.ravel(), x.ravel()]), aweights=straight.ravel())
    assert np.linalg.eigvalsh(moments)[0] < 0.2  # all on one line
    exposures = [psf.trajectory(31, exposure=e, rng=1) for e in (0.01, 0.1, 0.4, 1.0)]
    assert np.all(np.diff([spread(k) for k in exposures]) > 0)
    shaken = [
        np.mean([spread(psf.trajectory(31, shakiness=s, rng=r)) for r in range(10)])
        for s in (0, 0.15, 0.3, 0.6, 1)
    ]
    assert np.all(np.diff(shaken) < 0)
    assert np.count_nonzero(psf.trajectory(31, rng=2)) > 40
    assert not np.array_equal(psf.trajectory(31, rng=2), psf.trajectory(31, rng=3))


def test_trajectory_takes_a_generator():
    rng = np.random.default_rng(8)
    first, second = psf.trajectory(15, rng=rng), psf.trajectory(15, rng=rng)
    assert np.array_equal(first, psf.trajectory(15, rng=8))
    assert not np.array_equal(first, second)
    assert abs(psf.trajectory(15).sum() - 1) < 1e-12


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: psf.gaussian(-1), ValueError, "sigma"),
        (lambda: psf.gaussian(np.nan), ValueError, "sigma"),
        (lambda: psf.gaussian("2"), TypeError, "sigma"),
        (lambda: psf.gaussian((1, "2")), TypeError, r"sigma\[1\]"),
        (lambda: psf.gaussian((1, 2, 3), angle=30), ValueError, "angle=30 with 3 axes"),
        (lambda: psf.gaussian(1, angle=np.inf), ValueError, "angle"),
        (lambda: psf.gaussian((1, 2), ndim=3), ValueError, "ndim=3"),
        (lambda: psf.gaussian(1, ndim=4), ValueError, "1 to 3"),
        (lambda: psf.gaussian([]), ValueError, "1 to 3"),
        (lambda: psf.gaussian(1, ndim=0), ValueError, "ndim"),
        (lambda: psf.gaussian(1, truncate=0), ValueError, "truncate"),
        (lambda: psf.gaussian(3, size=5), ValueError, r"holds only .* \(25, 25\)"),
        (lambda: psf.gaussian(1e9), ValueError, "units"),
        (lambda: psf.gaussian(1, size=0), ValueError, "size"),
        (lambda: psf.gaussian(1, size=9.0), TypeError, "size"),
        (lambda: psf.gaussian(1, size="9"), TypeError, "size"),
        (lambda: psf.gaussian(1, size=(9, 9, 9)), ValueError, "size"),
        (lambda: psf.gaussian(1, size=(9, -9)), ValueError, r"size\[1\]"),
        (lambda: psf.gaussian(1, size=10**6), ValueError, "shape"),
        (lambda: psf.defocus(-1), ValueError, "radius"),
        (lambda: psf.defocus(None), TypeError, "radius"),
        (lambda: psf.defocus(5, size=9), ValueError, "size"),
        (lambda: psf.defocus(1e7), ValueError, "units"),
        (lambda: psf.airy(wavelength=0, na=1, pixel_size=1), ValueError, "wavelength"),
        (lambda: psf.airy(wavelength=1, na=-1, pixel_size=1), ValueError, "na"),
        (lambda: psf.airy(wavelength=1, na=1, pixel_size=0), ValueError, "pixel_size"),
        (lambda: psf.airy(wavelength=520, na=1.4, pixel_size=0.065), ValueError, "units"),
        (lambda: psf.airy(wavelength=0.52, na=1.4, pixel_size=65), ValueError, "one unit"),
        (lambda: psf.airy(wavelength=5e5, na=1.4, pixel_size=0.065), ValueError, "one unit"),
        (lambda: psf.airy(**AIRY, size=9), ValueError, "size=9 holds only"),
        (lambda: psf.motion(-1), ValueError, "length"),
        (lambda: psf.motion(5, np.nan), ValueError, "angle"),
        (lambda: psf.motion(5, "north"), TypeError, "angle"),
        (lambda: psf.motion(20, 0, size=15), ValueError, r"size=15 .* \(1, 21\)"),
        (lambda: psf.motion(1e5, 45), ValueError, "units"),
        (lambda: psf.trajectory(0), ValueError, "size"),
        (lambda: psf.trajectory(2.5), TypeError, "size"),
        (lambda: psf.trajectory((5, 5, 5)), ValueError, "size"),
        (lambda: psf.trajectory(exposure=0), ValueError, "exposure"),
        (lambda: psf.trajectory(exposure=1.1), ValueError, "exposure"),
        (lambda: psf.trajectory(shakiness=2), ValueError, "shakiness"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_size_may_cut_off_a_little():
    assert psf.gaussian(2, size=9).shape == (9, 9)
    assert psf.motion(15, 0, size=15).shape == (15, 15)
