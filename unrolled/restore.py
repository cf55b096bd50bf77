"""From a user's picture through a network and back.

What happens around a network is the same for all of them: the observation is validated and its
noise found as for the solvers of `deconv`, the picture goes through in planes on [0, 1], and comes
back in the user's unit, layout and type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deconv.arrays import (
    channels_first,
    choose,
    floating,
    is_numpy,
    like,
    namespace,
    to_numpy,
    whole,
)
from deconv.arrays import device as array_device
from deconv.noise import estimate_sigma
from deconv.operators import Blur, Observation, StridedBlur, observe
from deconv.operators.masked import filled
from deconv.problem import pose
from deconv.progress import Callback, State, report
from deconv.ratio import checked_noise
from unrolled.planes import COLOURS, Planes, rows_of

__all__ = ["restore"]

Run = Callable[..., Tensor]


def restore(
    run: Run,
    image: Any,
    psf: Any,
    *,
    together: int,
    n_iter: int,
    device: Any,
    sigma: Any = None,
    weights: Any = None,
    stride: int = 1,
    boundary: str = "unknown",
    saturation: float | str | None = None,
    channel_axis: int | None = None,
    colours: str = "opponent",
    callback: Callback | None = None,
) -> Any:
    """Restore `image` by a network; the arguments of users are described at `HQSNet.restore`.

    Parameters
    ----------
    run : callable
        ``run(y, A, sigma, clipped, tell=tell)``: observed planes (1, C, h, w), their operator,
        noise (1,) and saturated pixels or None, to latent planes; calls ``tell(iteration, x)``
        where that is not None, and ends when it is true.
    together : int
        C, the channels that the network restores together.
    n_iter : int
        How often `run` calls `tell`.
    device : device
        That of the network.
    """
    stride = whole(stride, "stride", low=1)
    choose(colours, COLOURS, "colours")
    seen, planes = _observed(image, psf, sigma, weights, stride, boundary, saturation, channel_axis)
    if together not in (1, len(planes)):
        raise ValueError(
            f"image has {len(planes)} channel(s); this network restores {together} together: pass "
            f"channel_axis, or take a network for one channel"
        )
    # What a callback leaves unrestored is as it was observed.
    result = np.concatenate([p.y for p in planes]).repeat(stride, -2).repeat(stride, -1)
    rows = rows_of(planes, together, colours, pedestal=seen.A.boundary != "zero")
    for i, (part, put) in enumerate(rows):

        def picture(x: np.ndarray, put: Any = put) -> Any:
            return _finish(put(result.copy(), x), seen)

        hook = None if callback is None else _Hook(callback, i, len(rows), picture)
        x = _through(run, part, seen.A.boundary, stride, device, hook, n_iter)
        put(result, x)
        if hook is not None and hook.cancelled:
            break
    return _finish(result, seen)


def _observed(
    image: Any,
    psf: Any,
    sigma: Any,
    weights: Any,
    stride: int,
    boundary: str,
    saturation: Any,
    channel_axis: int | None,
) -> tuple[Observation, list[Planes]]:
    """The validated observation, and its channels with the noise of each."""
    if isinstance(psf, StridedBlur) or (stride > 1 and isinstance(psf, Blur)):
        raise TypeError(
            f"psf is a {type(psf).__name__}, and stride={stride}; expected its array, or a Blur "
            f"and stride=1"
        )
    clipped = None
    if stride == 1:
        problem = pose(
            image,
            psf,
            sigma=sigma,
            boundary=boundary,
            weights=weights,
            saturation=saturation,
            channel_axis=channel_axis,
        )
        seen, clipped = problem.seen, problem.fidelity.clipped
        found = problem.found.sigma
    else:
        if saturation is not None:
            raise ValueError(f"saturation={saturation!r} with stride={stride}; expected None")
        seen = _strided(image, psf, weights, stride, boundary, channel_axis)
        found = _noise_of(seen) if sigma is None else None
    # A solver's weight goes by what the picture shows, too; networks take what they are told.
    noise = found if sigma is None else checked_noise(sigma, tuple(seen.y.shape[:-2]), "sigma")
    A = seen.A
    if A.ndim != 2:
        raise ValueError(f"psf has {A.ndim} spatial axes; expected 2: the network knows pictures")
    y = to_numpy(filled(A, seen.y)).reshape(-1, *A.shape)

    def split(part: Any) -> list[Any]:
        if part is None:
            return [None] * len(y)
        part = to_numpy(part)
        part = part.reshape(-1, 1, *part.shape[-2:])
        return list(np.broadcast_to(part, (len(y), *part.shape[1:])))

    parts = zip(
        y[:, None],
        split(A.psf),
        np.broadcast_to(noise, (len(y),)),
        split(A.weights),
        split(clipped),
        strict=True,
    )
    return seen, [Planes(v, k, float(s), w, c) for v, k, s, w, c in parts]


def _strided(
    image: Any, psf: Any, weights: Any, stride: int, boundary: str, channel_axis: int | None
) -> Observation:
    """What `observe` makes of its arguments, on a `StridedBlur`."""
    point = np.ones((1, 1), np.float32)
    seen = observe(image, point, weights=weights, channel_axis=channel_axis)
    psf = like(floating(psf, "psf"), seen.y)
    if channel_axis is not None and psf.ndim == 3:
        psf = channels_first(psf, 2, channel_axis, "psf")
    if tuple(psf.shape[:-2]) not in ((), (1,), tuple(seen.y.shape[:-2])):
        raise ValueError(
            f"psf has shape {tuple(psf.shape)}; expected 2 axes, or the image's channels as well"
        )
    A = StridedBlur(psf, seen.A.shape, stride, boundary=boundary)
    return replace(seen, A=A.reweighted(seen.A.weights))


def _noise_of(seen: Observation) -> np.ndarray:
    """The noise of each channel, from the observed pixels; 0 where they are too few."""
    values, weights = to_numpy(seen.y), seen.A.weights
    if weights is not None:
        values = np.where(to_numpy(weights) > 0, values, np.nan)
    return np.nan_to_num(estimate_sigma(values.reshape(-1, *seen.A.shape), channel_axis=0))


def _through(
    run: Run,
    planes: Planes,
    boundary: str,
    stride: int,
    device: Any,
    hook: Callback | None,
    n_iter: int,
) -> np.ndarray:
    """Planes through the network, as (C, H, W)."""

    def tensor(part: np.ndarray | None, dtype: Any = torch.float32) -> Any:
        return None if part is None else torch.as_tensor(np.array(part), dtype=dtype, device=device)

    shape, options = planes.y.shape[-2:], {"boundary": boundary}
    psf, weights = tensor(planes.psf[None]), planes.weights
    if weights is not None:
        options["weights"] = tensor(weights[None])
    A = Blur(psf, shape, **options) if stride == 1 else StridedBlur(psf, shape, stride, **options)
    clipped = None if planes.clipped is None else tensor(planes.clipped[None], torch.bool)
    tell = report(hook, n_iter, lambda x: A.crop(x)[0].cpu().numpy())
    sigma = torch.tensor([planes.sigma], dtype=torch.float32, device=device)
    with torch.inference_mode():
        x = run(tensor(planes.y[None]), A, sigma, clipped, tell=tell)
        restored: np.ndarray = A.crop(x)[0].cpu().numpy()
    return restored


def _finish(result: np.ndarray, seen: Observation) -> Any:
    """(C, H, W) in the layout, namespace, device and dtype of the user's image."""
    if seen.channel_axis is None:
        result = result[0]
    else:
        result = np.moveaxis(result, 0, seen.channel_axis)
    if is_numpy(seen.y):
        return np.ascontiguousarray(result, dtype=seen.dtype)
    xp = namespace(seen.y)
    values = xp.asarray(np.ascontiguousarray(result), device=array_device(seen.y))
    return xp.astype(values, seen.dtype, copy=False)


class _Hook:
    """The user's callback, as the network calls it in one of several rows."""

    def __init__(
        self, callback: Callback, index: int, count: int, picture: Callable[[np.ndarray], Any]
    ) -> None:
        self.callback, self.index, self.count, self.picture = callback, index, count, picture
        self.cancelled = False

    def __call__(self, state: State) -> None:
        n = state.n_iter or 0
        done, total = state.iteration + self.index * n, n * self.count
        stopped = f"all {total} iterations are done" if done == total else None
        try:
            self.callback(
                State(done, total, lambda: self.picture(state.image), lambda: None, stopped)
            )
        except StopIteration:
            self.cancelled = True
            raise
