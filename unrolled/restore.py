"""From a user's picture through a network and back.

What happens around a network is the same for all of them: the observation is validated and its
noise found as for the solvers of `deconv`, the picture goes through in planes on [0, 1], large
planes in tiles, and comes back in the user's unit, layout and type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deconv.arrays import choose, floating, is_numpy, like, namespace, to_numpy, whole
from deconv.arrays import device as array_device
from deconv.noise import estimate_sigma
from deconv.operators import Blur, Observation, StridedBlur, observe
from deconv.operators.masked import filled
from deconv.problem import pose
from deconv.progress import Callback, State, report
from deconv.ratio import checked_noise
from deconv.tiles import tiled
from unrolled.planes import COLOURS, Planes, rows_of

__all__ = ["restore"]

# Pixels that tiles share beyond the psf: what a prior sees of its surroundings, in effect.
OVERLAP = 64

Run = Callable[[Tensor, Any, Tensor, Tensor | None, Any], Tensor]


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
    tile: int | None = 1024,
    callback: Callback | None = None,
) -> Any:
    """Restore `image` by a network; the arguments of users are described at `HQSNet.restore`.

    Parameters
    ----------
    run : callable
        ``run(y, A, sigma, clipped, tell)``: observed planes (1, C, h, w), their operator, noise
        (1,) and saturated pixels or None, to latent planes; calls ``tell(iteration, x)`` where that
        is not None, and ends when it is true.
    together : int
        C, the channels that the network restores together.
    n_iter : int
        How often `run` calls `tell`.
    device : device
        That of the network.
    """
    stride = whole(stride, "stride", low=1)
    choose(colours, COLOURS, "colours")
    if tile is not None:
        tile = whole(tile, "tile", low=1)
    seen, planes = _observed(image, psf, sigma, weights, stride, boundary, saturation, channel_axis)
    if together not in (1, len(planes)):
        raise ValueError(
            f"image has {len(planes)} channel(s); this network restores {together} together: pass "
            f"channel_axis, or take a network for one channel"
        )
    # What a callback leaves unrestored is as it was observed.
    result = np.concatenate([p.y for p in planes]).repeat(stride, -2).repeat(stride, -1)
    boundary = seen.A.boundary
    rows = rows_of(planes, together, colours, pedestal=boundary != "zero")
    for i, (part, put) in enumerate(rows):

        def through(_: Any, region: Any, hook: Any, part: Planes = part) -> np.ndarray:
            return _through(run, part.cut(region), boundary, stride, device, hook, n_iter)

        def picture(x: np.ndarray, put: Any = put) -> Any:
            return _finish(put(result.copy(), x), seen)

        hook = None if callback is None else _Hook(callback, i, len(rows), picture)
        size = tuple(part.psf.shape[-2:])
        overlap = 2 * max(size) + OVERLAP
        if tile is None or stride > 1 or boundary != "unknown" or max(part.y.shape[-2:]) <= tile:
            x = through(part.y, (slice(None),) * 2, hook)
        else:
            x = tiled(
                through,
                part.y,
                tile=max(tile, 3 * overlap),
                overlap=overlap,
                psf_shape=size,
                channel_axis=0,
                callback=hook,
            )
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
        noise = np.asarray(problem.found.sigma, float)
    else:
        if saturation is not None:
            raise ValueError(f"saturation={saturation!r} with stride={stride}; expected None")
        point = np.ones((1, 1), np.float32)
        seen = observe(image, point, weights=weights, channel_axis=channel_axis)
        A = StridedBlur(like(floating(psf, "psf"), seen.y), seen.A.shape, stride, boundary=boundary)
        seen = replace(seen, A=A.reweighted(seen.A.weights))
        lead = tuple(seen.y.shape[:-2])
        values = to_numpy(seen.y).reshape(-1, *A.shape)
        noise = (
            estimate_sigma(values, channel_axis=0)
            if sigma is None
            else checked_noise(sigma, lead, "sigma")
        )
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
        x = run(tensor(planes.y[None]), A, sigma, clipped, tell)
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
        n = state.n_iter
        last = self.index == self.count - 1
        try:
            self.callback(
                State(
                    state.iteration + self.index * (n or 0),
                    None if n is None else n * self.count,
                    lambda: self.picture(state.image),
                    lambda: None,
                    state.stopped if last else None,
                )
            )
        except StopIteration:
            self.cancelled = True
            raise
