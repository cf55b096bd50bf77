"""The front door: what an image, a psf or a number must be before any work is done.

Everything here accepts NumPy arrays, torch tensors and any other array of the Python array API.
Validation happens once, in the public functions; the inner loops assume good data.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import array_api_compat
import array_api_compat.numpy
import numpy as np

from deconv.memory import empty
from deconv.threads import map_blocks

__all__ = [
    "Array",
    "at_least",
    "channels_first",
    "checked",
    "choose",
    "detached",
    "device",
    "dtype_name",
    "elementwise",
    "floating",
    "is_numpy",
    "like",
    "namespace",
    "number",
    "to_numpy",
    "whole",
]

Array: TypeAlias = Any

_FLOATS = ("float32", "float64")
_HALVES = ("float16", "bfloat16")


def namespace(*arrays: Any) -> Any:
    """The array API namespace that the arrays share; numbers and None are skipped."""
    if all(isinstance(a, np.ndarray) for a in arrays):
        return array_api_compat.numpy
    found = [a for a in arrays if hasattr(a, "shape")]
    return array_api_compat.array_namespace(*found) if found else array_api_compat.numpy


def is_numpy(x: Any) -> bool:
    """Whether `x` is a NumPy array."""
    return isinstance(x, np.ndarray)


def detached(x: Array) -> Array:
    """`x` without its autograd history, for checks whose outcome is a number."""
    return x.detach() if hasattr(x, "detach") else x


def to_numpy(x: Array) -> np.ndarray:
    """`x` as a NumPy array; a tensor is detached and brought to the CPU."""
    x = detached(x)
    return np.asarray(x.cpu() if hasattr(x, "cpu") else x)


def device(x: Array) -> Any:
    """The device that `x` lives on, in its library's own terms."""
    return array_api_compat.device(x)


def dtype_name(x: Array) -> str:
    """Name of the dtype without its library, such as ``"float32"``."""
    return str(x.dtype).rpartition(".")[2]


def floating(x: Any, name: str) -> Array:
    """`x` as a floating array of real numbers on its own scale; see `checked`."""
    return checked(x, name)[0]


def checked(x: Any, name: str) -> tuple[Array, bool]:
    """`x` as a floating array of real numbers on its own scale.

    Lists become NumPy arrays; integers, booleans and half floats become float32, unscaled; float32
    and float64 pass through uncopied. NaN passes (it means unobserved), and the masked elements of
    a NumPy masked array become NaN. The second value says whether there are NaN.

    Raises
    ------
    TypeError
        For complex, object or text arrays.
    ValueError
        For empty arrays and infinite values.
    """
    if not hasattr(x, "shape"):
        try:
            x = np.asarray(x)
        except ValueError as error:
            raise TypeError(f"{name} is not an array of numbers: {error}") from None
    if isinstance(x, np.ma.MaskedArray):
        wide = np.float64 if x.dtype == np.float64 else np.float32
        x = np.ma.filled(x.astype(wide), np.nan)
    if is_numpy(x):
        x = np.asarray(x)
        if not x.dtype.isnative:
            x = x.astype(x.dtype.newbyteorder("="))
        if x.dtype.kind not in "fiub":
            raise TypeError(f"{name} has dtype {x.dtype}; expected real numbers")
    xp = namespace(x)
    kind = dtype_name(x)
    if "complex" in kind or kind in ("float128", "longdouble", "float96"):
        raise TypeError(f"{name} has dtype {kind}; expected real numbers, float64 at most")
    if kind not in _FLOATS:
        x = xp.astype(x, xp.float32)
    if math.prod(x.shape) == 0:
        raise ValueError(f"{name} is empty: its shape is {tuple(x.shape)}")
    # A finite sum proves every element finite, in one pass and without a mask.
    holes = kind in (*_FLOATS, *_HALVES) and not _sum_is_finite(x)
    if holes:
        infinite = int(xp.sum(xp.astype(xp.isinf(detached(x)), xp.int64)))
        if infinite:
            raise ValueError(
                f"{name} has {infinite} infinite values; expected finite ones (mark unobserved "
                f"pixels by NaN)"
            )
        holes = bool(xp.any(xp.isnan(detached(x))))
    return x, holes


def _sum_is_finite(x: Array) -> bool:
    x = detached(x)
    if is_numpy(x):
        with np.errstate(over="ignore", invalid="ignore"):
            return math.isfinite(x.sum())
    return math.isfinite(float(namespace(x).sum(x)))


def like(x: Array, other: Array) -> Array:
    """`x` in the namespace and dtype and on the device of `other`; autograd goes through."""
    if is_numpy(other):
        return to_numpy(x).astype(other.dtype, copy=False)
    xp = namespace(other)
    if is_numpy(x):
        x = xp.asarray(x.tolist(), dtype=other.dtype, device=device(other))
    return xp.astype(x, other.dtype, copy=False)


def choose(value: Any, options: Iterable[str], name: str) -> str:
    """`value` if it is one of `options`, else a ValueError that offers the nearest one."""
    options = list(options)
    if isinstance(value, str) and value in options:
        return value
    near = difflib.get_close_matches(str(value).lower(), options, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    raise ValueError(f"{name}={value!r} is not known{hint} Options: {', '.join(options)}")


def number(
    value: Any,
    name: str,
    *,
    low: float | None = None,
    high: float | None = None,
    strict: bool = False,
) -> float:
    """`value` as a finite float in [low, high]; with `strict`, above `low`.

    Raises
    ------
    TypeError
        If `value` is not a single real number.
    ValueError
        If it is not finite or out of range.
    """
    if getattr(value, "shape", None) == () and not isinstance(value, numbers.Number):
        value = value.item() if hasattr(value, "item") else float(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}={value!r}; expected a real number")
    result = float(value)
    too_low = low is not None and (result <= low if strict else result < low)
    if not math.isfinite(result) or too_low or (high is not None and result > high):
        bounds = []
        if low is not None:
            bounds.append(f"{'above' if strict else 'at least'} {low:g}")
        if high is not None:
            bounds.append(f"at most {high:g}")
        expected = "finite" + "".join(f", {bound}" for bound in bounds)
        raise ValueError(f"{name}={value!r}; expected a number that is {expected}")
    return result


def whole(value: Any, name: str, *, low: int = 0) -> int:
    """`value` as an int of at least `low`; a TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}={value!r}; expected a whole number")
    if value < low:
        raise ValueError(f"{name}={value!r}; expected a whole number of at least {low}")
    return int(value)


def channels_first(
    image: Array, spatial_ndim: int, channel_axis: int | None, name: str = "image"
) -> Array:
    """`image` with its channel axis moved to the front; `spatial_ndim` axes remain behind it.

    Raises
    ------
    ValueError
        If the number of axes leaves it open which of them are spatial; the message names the
        `channel_axis` to pass.
    """
    shape = tuple(image.shape)
    expected = spatial_ndim + (channel_axis is not None)
    if len(shape) != expected:
        if channel_axis is None and len(shape) == spatial_ndim + 1:
            small = [i for i in (-1, 0) if shape[i] <= 4]
            hint = small[0] if small else 0
            raise ValueError(
                f"{name} has shape {shape}, one axis more than the psf's {spatial_ndim}: pass "
                f"channel_axis (for example channel_axis={hint}) to say which axis holds colours "
                f"or separate images"
            )
        raise ValueError(
            f"{name} has shape {shape}; expected {expected} axes: {spatial_ndim} spatial ones as "
            f"in the psf" + (" and the channel axis" if channel_axis is not None else "")
        )
    if channel_axis is None:
        return image
    axis = whole(channel_axis, "channel_axis", low=-len(shape))
    if axis >= len(shape):
        raise ValueError(f"channel_axis={axis} is out of range for {name} with {len(shape)} axes")
    return namespace(image).moveaxis(image, axis, 0)


def elementwise(
    fn: Callable[..., Array], *arrays: Array, out: Array | None = None, dtype: Any = None
) -> Array:
    """``fn(*arrays)`` for an elementwise `fn`.

    NumPy arrays are worked in cache-sized blocks on the thread pool, into `out` where it is given
    (it may be one of the inputs) or a new array of `dtype` (default: that of the inputs together).
    Other arrays are handed to `fn` whole, so that autograd sees a plain expression, and `out` is
    left alone: use the value returned.
    """
    if not all(isinstance(a, np.ndarray) for a in arrays):
        return fn(*arrays)
    if out is None:
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
        out = empty(shape, np.result_type(*arrays) if dtype is None else dtype)
    return map_blocks(fn, arrays, out)


def at_least(x: Array, least: float, out: Array | None = None) -> Array:
    """``max(x, least)`` elementwise, into `out` for NumPy arrays."""
    if not is_numpy(x) or out is None:
        xp = namespace(x)
        return xp.where(x > least, x, xp.full_like(x, least))
    # Clipping on both sides is vectorised; the maximum with a scalar is not (three times slower).
    return map_blocks(lambda v, out: np.clip(v, least, np.inf, out=out), [x], out, into=True)
