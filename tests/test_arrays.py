"""The front door: what passes, on which scale and dtype, and what is refused in which words."""

import numpy as np
import pytest
from helpers import LIBRARIES, get, put
from hypothesis import given
from hypothesis import strategies as st

from deconv import arrays
from deconv.threads import get_threads, set_threads

KINDS = [np.bool_, np.uint8, np.int16, np.uint16, np.int32, np.uint64, np.float16]


@pytest.mark.parametrize("dtype", KINDS)
def test_integers_and_halves_become_float32_on_their_own_scale(dtype):
    x = np.array([0, 1, 1, 0, 1]).astype(dtype) * dtype(1)
    x[0] = 1 if dtype is np.bool_ else 100
    found = arrays.floating(x, "image")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, x.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("library", LIBRARIES)
def test_floats_pass_uncopied(library, dtype):
    x = put(np.array([0.5, np.nan, 1e4], dtype), library)
    assert arrays.floating(x, "image") is x


@pytest.mark.parametrize("kind", ["uint8", "int16", "bool"])
@pytest.mark.parametrize("library", [name for name in LIBRARIES if name != "numpy"])
def test_other_libraries_keep_their_namespace(library, kind):
    x = put(np.array([0, 1, 1]).astype(kind), library)
    found = arrays.floating(x, "image")
    assert type(found) is type(x)
    assert arrays.dtype_name(found) == "float32"
    np.testing.assert_array_equal(get(found), [0, 1, 1])


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_torch_halves_are_computed_in_float32(kind):
    torch = pytest.importorskip("torch")
    x = torch.ones(3, dtype=getattr(torch, kind))
    assert arrays.floating(x, "image").dtype == torch.float32


def test_a_tensor_keeps_its_gradient():
    torch = pytest.importorskip("torch")
    x = torch.ones(3, requires_grad=True)
    assert arrays.floating(x, "image").requires_grad
    assert arrays.floating(2 * x, "image").requires_grad
    assert not arrays.detached(x).requires_grad
    assert arrays.is_numpy(arrays.to_numpy(2 * x))


def test_big_endian_becomes_native():
    x = np.array([1.5, -2.0], dtype=">f4")
    found = arrays.floating(x, "image")
    assert found.dtype == np.float32
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize(
    ("dtype", "expected"), [("uint8", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_masked_elements_are_unobserved(dtype, expected):
    x = np.ma.array([1, 2, 3], mask=[0, 1, 0], dtype=dtype)
    found = arrays.floating(x, "image")
    assert type(found) is np.ndarray
    assert found.dtype == expected
    np.testing.assert_array_equal(found, [1, np.nan, 3])
    assert x.data.tolist() == [1, 2, 3]


def test_lists_and_scalars_become_arrays():
    assert arrays.floating([[1, 2], [3, 4]], "image").shape == (2, 2)
    assert arrays.floating([0.5, 1.0], "image").dtype == np.float64
    assert arrays.floating(3, "image").shape == ()


@pytest.mark.parametrize(
    ("bad", "error", "says"),
    [
        (np.ones(3, complex), TypeError, "dtype complex128; expected real"),
        (np.array([object()]), TypeError, "dtype object"),
        (np.array(["a"]), TypeError, "dtype <U1"),
        ("photo.png", TypeError, "dtype <U9"),
        (None, TypeError, "dtype object"),
        ([[1, 2], [3]], TypeError, "not an array of numbers"),
        (np.array(["2020-01-01"], "M8[D]"), TypeError, "dtype datetime64"),
        (np.ones(2, np.longdouble), TypeError, "float64 at most"),
        (np.ones((0, 4)), ValueError, r"empty: its shape is \(0, 4\)"),
        ([], ValueError, "empty"),
        (np.array([1, np.inf, -np.inf]), ValueError, "2 infinite values; .* NaN"),
        (np.array([np.nan, np.inf], np.float32), ValueError, "1 infinite"),
    ],
)
def test_what_is_no_image_is_refused(bad, error, says):
    with pytest.raises(error, match=f"^picture .*{says}"):
        arrays.floating(bad, "picture")


def test_other_libraries_refuse_the_same():
    for library in LIBRARIES:
        with pytest.raises(TypeError, match="complex"):
            arrays.floating(put(np.ones(3, complex), library), "psf")
        with pytest.raises(ValueError, match="infinite"):
            arrays.floating(put(np.array([1.0, np.inf]), library), "psf")
        with pytest.raises(ValueError, match="empty"):
            arrays.floating(put(np.ones((2, 0)), library), "psf")


def test_a_sum_that_overflows_is_no_infinity():
    x = np.full(4, 3e38, np.float32)
    assert arrays.floating(x, "image") is x


def test_namespace_skips_what_is_no_array():
    assert arrays.namespace(None, 3, np.ones(2)).__name__.endswith("numpy")
    assert arrays.namespace(None, 2.0).__name__.endswith("numpy")


def test_dtype_and_device():
    for library in LIBRARIES:
        x = put(np.ones(2, np.float32), library)
        assert arrays.dtype_name(x) == "float32"
        assert "cpu" in str(arrays.device(x)).lower()


def test_choose_offers_the_nearest():
    options = ("unknown", "periodic", "zero")
    assert arrays.choose("zero", options, "boundary") == "zero"
    with pytest.raises(
        ValueError, match="boundary='periodc' is not known; did you mean 'periodic'"
    ):
        arrays.choose("periodc", options, "boundary")
    with pytest.raises(ValueError, match="'qqq' is not known; Options: unknown, periodic, zero"):
        arrays.choose("qqq", options, "boundary")
    with pytest.raises(ValueError, match="boundary=None"):
        arrays.choose(None, options, "boundary")


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int64(1), np.array(1.0)])
def test_number_takes_any_real_scalar(value):
    found = arrays.number(value, "lam", low=0, high=1)
    assert found == 1
    assert type(found) is float


def test_number_takes_a_scalar_of_any_library():
    for library in LIBRARIES:
        assert arrays.number(put(np.array(2.5), library), "lam") == 2.5


@pytest.mark.parametrize("bad", [True, "1", None, 1j, [1.0], np.ones(1), np.array(1j)])
def test_number_refuses_what_is_no_number(bad):
    with pytest.raises(TypeError, match=r"^lam=.*expected a real number"):
        arrays.number(bad, "lam")


@pytest.mark.parametrize(
    ("value", "bounds", "says"),
    [
        (-1, {"low": 0}, "lam=-1; .* at least 0"),
        (0, {"low": 0, "strict": True}, "lam=0; .* above 0"),
        (2, {"low": 0, "high": 1}, "lam=2; .* at least 0, at most 1"),
        (2, {"high": 1}, "lam=2; expected a number that is finite, at most 1"),
        (float("nan"), {}, "lam=nan"),
        (float("inf"), {}, "lam=inf"),
    ],
)
def test_number_states_its_bounds(value, bounds, says):
    with pytest.raises(ValueError, match=says):
        arrays.number(value, "lam", **bounds)


def test_whole():
    assert arrays.whole(np.int64(3), "n_iter") == 3
    for bad in (True, 1.0, "2", None):
        with pytest.raises(TypeError, match=r"n_iter=.*whole number"):
            arrays.whole(bad, "n_iter")
    with pytest.raises(ValueError, match=r"n_iter=0; .* at least 1"):
        arrays.whole(0, "n_iter", low=1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_channels_move_to_the_front(library):
    x = put(np.arange(24.0).reshape(2, 3, 4), library)
    for axis in (-3, -2, -1, 0, 1, 2):
        expected = np.moveaxis(get(x), axis, 0)
        np.testing.assert_array_equal(get(arrays.channels_first(x, 2, axis)), expected)
    assert arrays.channels_first(x, 3, None) is x


@pytest.mark.parametrize(
    ("shape", "axis", "says"),
    [
        ((8, 9, 3), None, r"\(8, 9, 3\).*channel_axis=-1"),
        ((3, 8, 9), None, r"\(3, 8, 9\).*channel_axis=0"),
        ((30, 8, 9), None, "channel_axis=0"),
        ((8,), None, "expected 2 axes: 2 spatial"),
        ((8, 9), 0, "expected 3 axes: .* and the channel axis"),
        ((2, 8, 9, 3), None, "expected 2 axes"),
        ((8, 9, 3), 3, "channel_axis=3 is out of range"),
        ((8, 9, 3), -4, "channel_axis=-4"),
    ],
)
def test_an_ambiguous_colour_axis_is_refused(shape, axis, says):
    with pytest.raises(ValueError, match=says):
        arrays.channels_first(np.ones(shape), 2, axis)


def test_the_channel_axis_is_a_whole_number():
    with pytest.raises(TypeError, match="channel_axis=True"):
        arrays.channels_first(np.ones((2, 8, 9)), 2, True)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(1, 3))
def test_elementwise_equals_the_whole_expression(shape, threads):
    rng = np.random.default_rng(0)
    a, b = rng.random(shape), rng.random(shape[-1]).astype(np.float32)
    before = get_threads()
    try:
        set_threads(threads)
        np.testing.assert_array_equal(arrays.elementwise(lambda u, v: u * v + u, a, b), a * b + a)
        out = a.copy()
        assert arrays.elementwise(lambda u, v: u - v, out, b, out=out) is out
    finally:
        set_threads(before)
    np.testing.assert_array_equal(out, a - b)


def test_elementwise_hands_others_over_whole():
    for library in LIBRARIES:
        x = put(np.arange(6.0).reshape(2, 3), library)
        found = arrays.elementwise(lambda u: u * u, x)
        assert type(found) is type(x)
        np.testing.assert_array_equal(get(found), get(x) ** 2)
    spectrum = np.array([3 + 4j], np.complex64)
    assert arrays.elementwise(np.abs, spectrum, dtype=np.float32).dtype == np.float32
