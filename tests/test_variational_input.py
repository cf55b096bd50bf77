"""MAP solvers at the door and at the hook: array libraries, dtypes, callbacks, what is refused."""

import inspect

import numpy as np
import pytest
from helpers import BOUNDARIES, LIBRARIES, colour_picture, get, psnr, put, random_psf
from test_variational import BLURRED, GRADIENT, KERNEL, SHARP, SOLVERS, close, observed

import deconv

RNG = np.random.default_rng(0)
SMALL = RNG.random((21, 18))
SKEW = random_psf(RNG, (4, 5))

all_solvers = pytest.mark.parametrize("name", SOLVERS)
gradient_solvers = pytest.mark.parametrize("name", GRADIENT)
all_boundaries = pytest.mark.parametrize("boundary", BOUNDARIES)

# --- dtypes and array libraries -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "returned"),
    [
        ("uint8", "float32"),
        ("uint16", "float32"),
        (">u2", "float32"),
        ("int32", "float32"),
        ("float16", "float16"),
        ("float32", "float32"),
        (">f4", "float32"),
        ("float64", "float64"),
    ],
)
@all_solvers
def test_the_scale_and_float_dtype_are_the_images_own(name, dtype, returned):
    image = np.rint(200 * BLURRED).clip(0, 255).astype(dtype)
    image.setflags(write=False)
    found = SOLVERS[name](image, KERNEL)
    assert found.dtype == returned and found.dtype.isnative
    exact = SOLVERS[name](image.astype(float), KERNEL)
    assert np.sqrt(np.mean((exact - found) ** 2)) < 1
    assert psnr(SHARP, found.astype(float) / 200) > psnr(SHARP, BLURRED) + 1


@all_solvers
def test_lists_and_boolean_images(name):
    assert SOLVERS[name](SMALL.tolist(), SKEW.tolist()).dtype == np.float64
    assert SOLVERS[name](SMALL > 0.5, SKEW).dtype == np.float32


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@all_boundaries
@all_solvers
def test_array_in_the_same_library_out(name, boundary, dtype, library):
    y = observed(boundary, 40)[1].astype(dtype)
    image, kernel = put(y, library), put(KERNEL.astype(dtype), library)
    found = SOLVERS[name](image, kernel, boundary=boundary)
    assert type(found) is type(image) and found.dtype == image.dtype
    expected = SOLVERS[name](y.astype(float), KERNEL, boundary=boundary)
    if dtype == "float64":
        close(get(found), expected, 1e-5)
    else:
        assert psnr(expected, get(found)) > 45
    # The psf may come from another library than the image.
    assert type(SOLVERS[name](image, KERNEL, boundary=boundary)) is type(image)


@all_solvers
def test_inputs_are_never_written_to(name):
    image, kernel = put(BLURRED[:40, :44], "numpy"), put(KERNEL, "numpy")
    weights = put(RNG.random(image.shape), "numpy")
    for boundary in BOUNDARIES:
        first = SOLVERS[name](image, kernel, boundary=boundary)
        SOLVERS[name](image, kernel, boundary=boundary, weights=weights)
        np.testing.assert_array_equal(SOLVERS[name](image, kernel, boundary=boundary), first)
        assert not np.shares_memory(first, image)
        assert first.flags.writeable and first.flags.c_contiguous


@all_solvers
def test_masked_arrays_are_weights(name):
    mask = np.random.default_rng(0).random((48, 44)) < 0.02
    image = BLURRED[:48, :44]
    found = SOLVERS[name](np.ma.array(image, mask=mask), KERNEL)
    assert type(found) is np.ndarray
    close(found, SOLVERS[name](np.where(mask, np.nan, image), KERNEL), 1e-12)


@pytest.mark.skipif("torch" not in LIBRARIES, reason="no torch")
@all_boundaries
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tv", {}),
        ("tv", {"bounds": (0, None), "outliers": True}),
        ("tv", {"saturation": 0.2, "gain": 1e-3}),
        ("hyper_laplacian", {}),
        ("hyper_laplacian", {"p": 0.5, "lam": 1e-3}),
        ("l0_gradient", {}),
    ],
)
def test_gradients_flow_through(name, options, boundary):
    import torch

    image = torch.tensor(BLURRED[:30, :28], requires_grad=True)
    kernel = torch.tensor(KERNEL, requires_grad=True)
    GRADIENT[name](
        image, kernel / kernel.sum(), boundary=boundary, **options
    ).square().sum().backward()
    for gradient in (image.grad, kernel.grad):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 1e-8


# --- the callback ---------------------------------------------------------------------------------


@pytest.mark.parametrize("channel_axis", [None, -1])
@all_boundaries
@all_solvers
def test_the_callback_sees_every_iteration(name, boundary, channel_axis):
    image = observed(boundary, 48)[1] if channel_axis is None else colour_picture(48)
    options = {"boundary": boundary, "channel_axis": channel_axis, "n_iter": 4}
    options |= {"tol": 0} if name == "tv" else {}
    seen, images, objectives, reasons = [], [], [], []

    def watch(state):
        seen.append((state.iteration, state.n_iter))
        images.append(state.image)
        assert state.image is images[-1]
        objectives.append(state.objective)
        reasons.append(state.stopped)

    found = SOLVERS[name](image, KERNEL, callback=watch, **options)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(x.shape == image.shape for x in images)
    np.testing.assert_array_equal(images[-1], found)
    # A picture kept is not what the solver goes on to write to.
    assert len({x.tobytes() for x in images}) == 4
    assert reasons[:3] == [None] * 3 and "n_iter=4 reached" in reasons[3]
    if name == "plug_and_play":
        assert objectives == [None] * 4
    else:
        assert all(type(value) is float and value > 0 for value in objectives)


@all_solvers
def test_watching_changes_nothing(name):
    quiet = SOLVERS[name](BLURRED, KERNEL)
    watched = SOLVERS[name](BLURRED, KERNEL, callback=lambda state: (state.image, state.objective))
    np.testing.assert_array_equal(quiet, watched)


@all_boundaries
@all_solvers
def test_the_callback_may_end_the_solve(name, boundary):
    image = observed(boundary, 48)[1]
    images = []

    def stop(state):
        images.append(state.image)
        if state.iteration == 2:
            raise StopIteration

    found = SOLVERS[name](image, KERNEL, boundary=boundary, callback=stop)
    assert len(images) == 2
    np.testing.assert_array_equal(found, images[-1])


def test_the_tolerance_of_tv_ends_it_and_says_so():
    reasons = []
    found = deconv.tv(
        BLURRED, KERNEL, tol=0.01, n_iter=400, callback=lambda state: reasons.append(state.stopped)
    )
    assert len(reasons) < 400
    assert set(reasons[:-1]) == {None} and "tol=0.01" in reasons[-1]
    again = deconv.tv(BLURRED, KERNEL, tol=0, n_iter=len(reasons))
    np.testing.assert_array_equal(found, again)


@all_solvers
def test_an_image_asked_for_too_late_is_right_or_refused(name):
    states = []
    SOLVERS[name](BLURRED, KERNEL, n_iter=3, callback=states.append)
    for state in states:
        with pytest.raises(RuntimeError, match=r"state\.image was first asked for after"):
            state.image  # noqa: B018
        with pytest.raises(RuntimeError, match=r"state\.objective was first asked for after"):
            state.objective  # noqa: B018


@all_solvers
def test_other_errors_of_the_callback_are_not_swallowed(name):
    def fail(state):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        SOLVERS[name](BLURRED, KERNEL, callback=fail)


# --- bad input ------------------------------------------------------------------------------------

BAD = {
    "complex image": ({"image": SMALL + 0j}, TypeError, "image.*complex"),
    "empty image": ({"image": np.ones((0, 4))}, ValueError, "image is empty"),
    "infinite image": ({"image": np.where(SMALL > 0.5, np.inf, 0)}, ValueError, "image.*infinite"),
    "all NaN": ({"image": np.nan * SMALL}, ValueError, "image.*nothing but NaN"),
    "ambiguous colour": ({"image": np.ones((21, 18, 3))}, ValueError, "channel_axis=-1"),
    "psf too large": ({"psf": np.full((22, 1), 1 / 22)}, ValueError, "psf.*larger"),
    "psf sum": ({"psf": 7 * SKEW}, ValueError, "psf sums to 7"),
    "psf negative": ({"psf": SKEW - 0.06}, ValueError, "psf.*negative"),
    "psf NaN": ({"psf": SKEW * np.nan}, ValueError, "psf.*NaN"),
    "boundary": ({"boundary": "zeros"}, ValueError, "boundary='zeros'.*did you mean 'zero'"),
    "weights shape": ({"weights": np.ones((3, 3))}, ValueError, "weights have shape"),
    "weights range": ({"weights": 3 * np.ones((21, 18))}, ValueError, "weights lie in"),
    "axis": ({"channel_axis": 7, "image": np.ones((21, 18, 3))}, ValueError, "channel_axis=7"),
    "sigma negative": ({"sigma": -1}, ValueError, "sigma=-1"),
    "sigma NaN": ({"sigma": float("nan")}, ValueError, "sigma"),
    "sigma text": ({"sigma": "low"}, TypeError, "sigma"),
    "sigma per channel": ({"sigma": [1, 2, 3]}, ValueError, r"sigma has shape \(3,\)"),
    "lam negative": ({"lam": -0.1}, ValueError, "lam=-0.1"),
    "lam NaN": ({"lam": float("nan")}, ValueError, "lam=nan"),
    "lam name": ({"lam": "shure"}, ValueError, "lam='shure'.*did you mean 'sure'"),
    "lam list": ({"lam": [1, 2]}, TypeError, "lam="),
    "gain zero": ({"gain": 0}, ValueError, "gain=0; .*above 0"),
    "gain name": ({"gain": "atuo"}, ValueError, "gain='atuo'.*'auto'"),
    "gain list": ({"gain": [1]}, TypeError, "gain="),
    "saturation name": ({"saturation": "atuo"}, ValueError, "saturation='atuo'.*'auto'"),
    "saturation too high": ({"saturation": 2.0}, ValueError, "saturation=2"),
    "bounds order": ({"bounds": (1, 0)}, ValueError, "bounds=.*low below high"),
    "bounds number": ({"bounds": 1}, TypeError, "bounds=1; expected a pair"),
    "bounds three": ({"bounds": (0, 1, 2)}, TypeError, "bounds=.*expected a pair"),
    "bounds text": ({"bounds": ("a", 1)}, TypeError, "bounds"),
    "deringing high": ({"deringing": 1.5}, ValueError, "deringing=1.5"),
    "deringing negative": ({"deringing": -0.5}, ValueError, "deringing=-0.5"),
    "n_iter negative": ({"n_iter": -1}, ValueError, "n_iter=-1"),
    "n_iter zero": ({"n_iter": 0}, ValueError, "n_iter=0"),
    "n_iter float": ({"n_iter": 1.5}, TypeError, "n_iter=1.5"),
    "n_iter bool": ({"n_iter": True}, TypeError, "n_iter=True"),
    "steps zero": ({"steps": 0}, ValueError, "steps=0"),
    "steps float": ({"steps": 2.5}, TypeError, "steps=2.5"),
    "tol negative": ({"tol": -1e-3}, ValueError, "tol=-0.001"),
    "tol text": ({"tol": "small"}, TypeError, "tol='small'"),
    "p zero": ({"p": 0}, ValueError, "p=0; .*above 0"),
    "p above 1": ({"p": 1.2}, ValueError, "p=1.2; .*at most 1"),
    "p text": ({"p": "half"}, TypeError, "p='half'"),
    "denoise name": ({"denoise": "dtc"}, ValueError, "denoise.*'dct'"),
    "denoise number": ({"denoise": 3}, TypeError, "denoise=3; expected a callable"),
}


@pytest.mark.parametrize("case", BAD)
@all_solvers
def test_bad_input_names_the_argument(name, case):
    given, error, says = BAD[case]
    arguments = {"image": SMALL, "psf": SKEW, **given}
    accepted = inspect.signature(getattr(deconv, name)).parameters
    if any(key not in accepted for key in given):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            getattr(deconv, name)(SMALL, SKEW, **given)
        return
    with pytest.raises(error, match=says):
        SOLVERS[name](arguments.pop("image"), arguments.pop("psf"), **arguments)


@all_solvers
def test_arguments_after_the_data_are_named(name):
    data = (SMALL, SKEW, "dct") if name == "plug_and_play" else (SMALL, SKEW)
    with pytest.raises(TypeError, match="positional argument"):
        getattr(deconv, name)(*data, 0.1)


def test_an_operator_brings_its_own_boundary():
    A = deconv.Blur(SKEW, SMALL.shape, boundary="zero")
    for solver in SOLVERS.values():
        with pytest.raises(ValueError, match="psf is an operator"):
            solver(SMALL, A, boundary="periodic")
        with pytest.raises(ValueError, match=r"image has shape \(20, 18\)"):
            solver(SMALL[:20], A)
