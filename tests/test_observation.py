"""What a solver is handed: axes, dtypes, weights and NaN, and the way back to the user's layout."""

import numpy as np
import pytest
from helpers import BOUNDARIES, LIBRARIES, get, put, random_psf

from deconv import Blur
from deconv.operators import observe

RNG = np.random.default_rng(0)
PSF = random_psf(RNG, (3, 4))
PSFS = random_psf(RNG, (3, 4), (3,))
GREY = RNG.random((12, 10))
COLOUR = RNG.random((12, 10, 3))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_grey_comes_back_as_it_went(library, boundary):
    image = put(GREY, library)
    seen = observe(image, put(PSF, library), boundary=boundary)
    assert seen.A.shape == (12, 10) and seen.A.boundary == boundary
    assert seen.A.weights is None
    np.testing.assert_array_equal(get(seen.y), GREY)
    back = seen.finish(seen.A.embed(seen.y))
    assert type(back) is type(image) and back.dtype == image.dtype
    np.testing.assert_array_equal(get(back), GREY)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("axis", [-3, -2, -1, 0, 1, 2])
@pytest.mark.parametrize("psfs", ["one", "one with its axis", "each"])
def test_the_channel_axis_goes_and_returns(library, axis, psfs):
    image = np.moveaxis(COLOUR, -1, axis)
    psf = {"one": PSF, "one with its axis": PSFS[:1], "each": PSFS}[psfs]
    if psf.ndim == 3:
        psf = np.moveaxis(psf, 0, axis)
    seen = observe(put(image, library), put(psf, library), channel_axis=axis)
    assert tuple(seen.y.shape) == (3, 12, 10)
    for channel in range(3):
        alone = observe(COLOUR[..., channel], PSFS[channel] if psfs == "each" else PSF * 1.0)
        if psfs != "one with its axis":
            np.testing.assert_allclose(
                get(seen.A(seen.A.embed(seen.y)))[channel],
                alone.A(alone.A.embed(alone.y)),
                atol=1e-14,
            )
    np.testing.assert_array_equal(get(seen.finish(seen.A.embed(seen.y))), image)


@pytest.mark.parametrize(
    ("dtype", "worked", "returned"),
    [
        ("uint8", "float32", "float32"),
        ("uint16", "float32", "float32"),
        ("int64", "float32", "float32"),
        ("bool", "float32", "float32"),
        ("float16", "float32", "float16"),
        ("float32", "float32", "float32"),
        ("float64", "float64", "float64"),
        (">f4", "float32", "float32"),
        (">f8", "float64", "float64"),
        (">u2", "float32", "float32"),
    ],
)
def test_dtypes(dtype, worked, returned):
    image = (200 * GREY).astype(dtype)
    seen = observe(image, PSF)
    assert seen.y.dtype == seen.A.psf.dtype == worked
    back = seen.finish(seen.A.embed(seen.y))
    assert back.dtype == returned and back.dtype.isnative
    np.testing.assert_array_equal(back, image)


def test_torch_halves_return():
    torch = pytest.importorskip("torch")
    seen = observe(torch.tensor(GREY, dtype=torch.bfloat16), torch.tensor(PSF))
    assert seen.y.dtype == seen.A.psf.dtype == torch.float32
    assert seen.finish(seen.A.embed(seen.y)).dtype == torch.bfloat16


def test_lists_and_masked_arrays():
    seen = observe(GREY.tolist(), PSF.tolist())
    np.testing.assert_array_equal(seen.finish(seen.A.embed(seen.y)), GREY)
    mask = np.zeros(GREY.shape, bool)
    mask[3, 4] = True
    seen = observe(np.ma.array(GREY, mask=mask), PSF)
    np.testing.assert_array_equal(seen.A.weights, ~mask)


@pytest.mark.parametrize("library", [name for name in LIBRARIES if name != "numpy"])
def test_psf_and_weights_follow_the_image(library):
    weights = RNG.random((12, 10))
    seen = observe(put(GREY.astype("f4"), library), PSF, weights=weights)
    assert type(seen.A.psf) is type(seen.y) is type(seen.A.weights)
    assert seen.A.psf.dtype == seen.y.dtype == seen.A.weights.dtype
    np.testing.assert_allclose(get(seen.A.psf), PSF, rtol=1e-6)
    np.testing.assert_allclose(get(seen.A.weights), weights, rtol=1e-6)
    back = observe(GREY, put(PSF, library), weights=put(weights, library))
    assert type(back.A.psf) is type(back.A.weights) is np.ndarray


@pytest.mark.parametrize("library", LIBRARIES)
def test_nan_is_unobserved(library):
    image = GREY.copy()
    image[2, 3] = image[11, 9] = np.nan
    weights = np.full(GREY.shape, 0.5)
    for given in (None, weights):
        seen = observe(
            put(image, library),
            put(PSF, library),
            weights=None if given is None else put(given, library),
        )
        expected = np.where(np.isnan(image), 0, 1 if given is None else 0.5)
        np.testing.assert_array_equal(get(seen.A.weights), expected)
        np.testing.assert_array_equal(get(seen.y), np.nan_to_num(image))
    assert np.isnan(image).sum() == 2
    with pytest.raises(ValueError, match="image holds nothing but NaN"):
        observe(put(np.full((5, 5), np.nan), library), put(PSF, library))


def test_nan_in_one_channel_concerns_that_channel():
    image = COLOUR.copy()
    image[2, 3, 1] = np.nan
    seen = observe(image, PSF, channel_axis=-1)
    assert seen.A.weights.shape == (3, 12, 10)
    assert np.argwhere(seen.A.weights == 0).tolist() == [[1, 2, 3]]
    weights = RNG.random((12, 10))
    seen = observe(image, PSF, channel_axis=-1, weights=weights)
    np.testing.assert_array_equal(seen.A.weights[0], weights)
    assert seen.A.weights[1, 2, 3] == 0


@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 3), (12, 10, 1)])
def test_weights_with_or_without_channels(shape):
    weights = RNG.random(shape)
    seen = observe(COLOUR, PSF, channel_axis=-1, weights=weights)
    expected = weights if len(shape) == 2 else np.moveaxis(weights, -1, 0)
    np.testing.assert_array_equal(seen.A.weights, expected)


def test_an_operator_brings_its_own_boundary_and_weights():
    A = Blur(PSF, (12, 10), boundary="zero", weights=RNG.random((12, 10)))
    assert observe(GREY, A).A is A
    assert observe(COLOUR, A, channel_axis=-1).y.shape == (3, 12, 10)
    image = np.where(np.eye(12, 10) > 0, np.nan, GREY)
    seen = observe(image, A)
    np.testing.assert_array_equal(seen.A.weights, np.where(np.eye(12, 10) > 0, 0, A.weights))
    assert A.weights.min() > 0
    batch = RNG.random((2, 12, 10))
    np.testing.assert_array_equal(observe(batch, A).finish(A.embed(batch)), batch)


def test_results_do_not_hold_on_to_the_domain():
    seen = observe(GREY, PSF)
    back = seen.finish(seen.A.embed(seen.y))
    assert back.base is None and back.flags.c_contiguous
    seen = observe(COLOUR, PSF, channel_axis=-1)
    assert seen.finish(seen.A.embed(seen.y)).flags.c_contiguous


A = Blur(PSF, (12, 10))
BAD = {
    "complex image": (dict(image=GREY + 0j), TypeError, "image.*complex"),
    "object image": (dict(image=GREY.astype(object)), TypeError, "image.*object"),
    "text": (dict(image="photo.png"), TypeError, "image"),
    "empty image": (dict(image=np.ones((0, 5))), ValueError, "image is empty"),
    "infinite image": (dict(image=np.full((9, 9), np.inf)), ValueError, "image has .* infinite"),
    "colour without axis": (dict(image=COLOUR), ValueError, "channel_axis=-1"),
    "axis out of range": (dict(image=COLOUR, channel_axis=5), ValueError, "channel_axis=5"),
    "axis no number": (dict(image=COLOUR, channel_axis="C"), TypeError, "channel_axis='C'"),
    "grey with axis": (dict(channel_axis=0), ValueError, "channel_axis=0"),
    "1-D image": (dict(image=GREY[0]), ValueError, "image has shape .*expected 2 axes"),
    "psf too large": (dict(psf=np.full((13, 1), 1 / 13)), ValueError, "psf of shape .*larger"),
    "psf negative": (dict(psf=PSF - 0.1), ValueError, "psf has negative"),
    "psf sum": (dict(psf=7 * PSF), ValueError, "psf sums to 7"),
    "psf zero": (dict(psf=0 * PSF), ValueError, "psf is zero everywhere"),
    "psf NaN": (dict(psf=np.nan * PSF), ValueError, "psf holds NaN"),
    "psf complex": (dict(psf=PSF + 0j), TypeError, "psf.*complex"),
    "psf None": (dict(psf=None), TypeError, "psf"),
    "psf channels": (
        dict(image=COLOUR, psf=np.moveaxis(PSFS[:2], 0, -1), channel_axis=-1),
        ValueError,
        "psf has 2 channels .* the image has 3",
    ),
    "boundary": (dict(boundary="perodic"), ValueError, "boundary='perodic'.*'periodic'"),
    "weights shape": (dict(weights=np.ones((10, 12))), ValueError, "weights have shape"),
    "weights range": (dict(weights=2 * np.ones((12, 10))), ValueError, r"weights lie in \[2, 2\]"),
    "weights NaN": (dict(weights=np.nan * GREY), ValueError, "weights"),
    "weights channels": (
        dict(image=COLOUR, channel_axis=-1, weights=np.ones((12, 10, 2))),
        ValueError,
        "weights have shape",
    ),
    "operator and boundary": (dict(psf=A, boundary="zero"), ValueError, "operator"),
    "operator and weights": (dict(psf=A, weights=np.ones((12, 10))), ValueError, "operator"),
    "operator of another shape": (dict(psf=A, image=GREY.T), ValueError, "image has shape"),
    "operator of more axes": (dict(psf=A, image=GREY[0]), ValueError, "image has shape"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_argument(case):
    given, error, says = BAD[case]
    arguments = {"image": GREY, "psf": PSF, **given}
    with pytest.raises(error, match=says):
        observe(arguments.pop("image"), arguments.pop("psf"), **arguments)
