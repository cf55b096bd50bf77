"""From a user's picture through an end-to-end network and back: no psf, the picture alone.

The picture is validated as for the solvers of `deconv`, goes through on [0, 1] in overlapping
tiles, and comes back in the user's unit, layout and type; `unrolled.guard` looks at what came.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deconv.arrays import device as array_device
from deconv.arrays import is_numpy, namespace, to_numpy, whole
from deconv.operators import Observation, observe
from deconv.progress import Callback, State, report
from deconv.tiles import Region, tiled
from unrolled.crops import TURNS, turned, turned_back
from unrolled.guard import Guard
from unrolled.planes import unit_range

__all__ = ["Restorer", "restore"]

# Features of tiles of 512 stay in the caches of a CPU: NAFNet takes two thirds of the time that it
# takes in tiles of 1024, the shared pixels included. Most blurs reach less far than the overlap.
TILE, OVERLAP = 512, 64
# Tiles begin at multiples of this, so that coarse scales have their pixels where the picture has.
ALIGN = 32


def restore(
    net: Any,
    image: Any,
    *,
    weights: Any = None,
    channel_axis: int | None = None,
    tile: int | None = TILE,
    overlap: int = OVERLAP,
    device: Any = None,
    guard: str | None = "keep",
    ensemble: bool = False,
    callback: Callback | None = None,
) -> Any:
    """Restore a picture of any unit and size by a network that needs no psf.

    Parameters
    ----------
    net : module
        Pictures (N, C, H, W) on [0, 1] to the same. It has ``config.channels``, or C is 3. The
        networks have this function as a method.
    image : array (Y, X), or with a channel axis
        Observed picture, NumPy or torch, in any unit. NaN is unobserved: the network sees the
        nearest observed pixel there, and what it makes of it is returned.
    weights : array, optional
        Of the image's shape with or without the channel axis; 0 is unobserved.
    channel_axis : int, optional
        Axis of colours. A grey picture goes through a network of colours as three equal ones, whose
        mean is returned; colours go through a grey network one by one.
    tile : int, optional
        Larger pictures go through in overlapping tiles of about so many pixels, which bounds the
        memory of the features; None for none. Networks of convolutions leave no seams. Where a
        network has means over the picture, as `NAFNet` has, they are taken over windows
        (`NAFNet.local`), in tiles or not. What normalises by the whole picture, as `DeblurGAN` with
        its norms does, needs it: give None.
    overlap : int
        Least number of pixels that tiles share.
    device : device, optional
        Where a copy of the network runs; by default the network itself, where it is.
    guard : {"keep", "warn", None}
        What is done where the mean over 49 x 49 pixels goes away from that of the input by more
        than a quarter of the picture's range, or values are not finite: keep the input there and
        warn; warn, and replace only what is not finite; or nothing. Deblurring changes no such
        mean so much (see `unrolled.guard`).
    ensemble : bool
        The result is the mean over eight flips and turns (Timofte, Rothe and Van Gool 2016): a
        little better, for eight times the time.
    callback : callable, optional
        Called with a `deconv.progress.State` after each tile; StopIteration ends the work and
        returns what is restored.

    Returns
    -------
    array
        Of the image's shape, namespace, floating dtype and scale, not clipped;
        ``restore(net, a * image + b)`` is ``a * restore(net, image) + b`` for positive a. No
        gradient flows through it.

    Raises
    ------
    TypeError, ValueError
        For bad input, naming the argument, before any work is done; if the network changes the
        shape.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled.models.nafnet import NAFNet
    >>> image = np.random.default_rng(0).integers(0, 4096, (40, 50), np.uint16)
    >>> restored = NAFNet.preset("small").restore(image)
    >>> restored.shape, restored.dtype
    ((40, 50), dtype('float32'))
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"net is a {type(net).__name__}; expected a torch module")
    # A psf of one pixel is no blur, and this is all of the validation.
    one = np.ones((1, 1), np.float32)
    seen = observe(image, one, boundary="periodic", weights=weights, channel_axis=channel_axis)
    y = _planes(seen)
    together = int(getattr(getattr(net, "config", None), "channels", 3))
    if 1 not in (together, len(y)) and together != len(y):
        raise ValueError(
            f"image has {len(y)} channels along channel_axis={channel_axis}; expected {together}, "
            f"as the network restores, or 1"
        )
    overlap = whole(overlap, "overlap")
    offset, unit = unit_range(y, 0.0)
    sane = Guard(guard, unit)
    if tile is None:
        tile = max(*y.shape, 2 * overlap)

    def finish(x: np.ndarray) -> Any:
        return _finish(x, seen)

    def work(pixels: np.ndarray, region: Region, tell: Callback | None) -> np.ndarray:
        rows, columns = region
        top, left = (s.start - s.start % ALIGN for s in region)
        part = (y[:, top : rows.stop, left : columns.stop] - offset) / (unit or 1.0)
        x = _through(local, part.astype(np.float32), together, TURNS if ensemble else 1)
        x = x[:, rows.start - top :, columns.start - left :].astype(y.dtype) * unit + offset
        x = sane(x, pixels, (rows.start, columns.start))
        told = report(tell, 1, lambda x: x)
        if told is not None:
            told(1, x, stopped="the picture is restored")
        return x

    with _evaluated(net, device) as local:
        result = tiled(
            work,
            y,
            tile=tile,
            overlap=overlap,
            channel_axis=0,
            callback=None if callback is None else _in_layout(callback, finish),
        )
    sane.report(type(net).__name__, y[0].size)
    return finish(result)


class Restorer:
    """Gives an end-to-end network of pictures (N, C, H, W) on [0, 1] its ``restore(image)``.

    Examples
    --------
    >>> import torch
    >>> class Same(Restorer, torch.nn.Module):
    ...     def forward(self, x):
    ...         return x
    >>> Same().restore(np.eye(4)).shape
    (4, 4)
    """

    restore = restore


def _planes(seen: Observation) -> np.ndarray:
    """What was observed, (C, Y, X), with the nearest observed pixel where nothing was."""
    from scipy.ndimage import distance_transform_edt

    y = to_numpy(seen.y)
    y = y if seen.channel_axis is not None else y[None]
    if seen.A.weights is None:
        return y
    observed = np.broadcast_to(to_numpy(seen.A.weights) > 0, y.shape)
    empty = [i for i, plane in enumerate(observed) if not plane.any()]
    if empty:
        raise ValueError(f"image has no observed pixel in channel {empty[0]}; expected some")
    filled = [
        plane[tuple(distance_transform_edt(~known, return_distances=False, return_indices=True))]
        for plane, known in zip(y, observed, strict=True)
    ]
    return np.stack(filled)


@contextmanager
def _evaluated(net: nn.Module, device: Any) -> Iterator[nn.Module]:
    """The network as it restores pictures; the caller's is afterwards as it was."""
    if device is not None:
        net = copy.deepcopy(net).to(device)
    modes = [(module, module.training) for module in net.modules()]
    try:
        net.eval()
        local = getattr(net, "local", None)
        windowed = getattr(getattr(net, "config", None), "window", None) is not None
        yield net if local is None or windowed else local()
    finally:
        for module, training in modes:
            module.training = training


@torch.inference_mode()
def _through(net: nn.Module, part: np.ndarray, together: int, ways: int) -> np.ndarray:
    """Planes (C, h, w) on [0, 1] through the network, the mean of so many flips and turns."""
    like = next(net.parameters(), torch.empty(0))
    x = torch.as_tensor(part, dtype=like.dtype, device=like.device)
    grey = together > 1 and len(x) == 1
    x = x[:, None] if together == 1 else x.expand(together, -1, -1)[None]
    clean = _checked(net, x)
    for way in range(1, ways):
        clean = clean + turned_back(_checked(net, turned(x, way)), way)
    clean = clean / ways
    planes = clean[:, 0] if together == 1 else clean[0]
    result: np.ndarray = (planes.mean(0, keepdim=True) if grey else planes).float().cpu().numpy()
    return result


def _checked(net: nn.Module, x: Tensor) -> Tensor:
    """What the network makes of `x`; it must have the shape of `x`."""
    clean = net(x)
    if not isinstance(clean, Tensor) or clean.shape != x.shape:
        got = tuple(clean.shape) if isinstance(clean, Tensor) else type(clean).__name__
        raise ValueError(f"net turned {tuple(x.shape)} into {got}; expected the same shape")
    return clean


def _in_layout(callback: Callback, finish: Callable[[np.ndarray], Any]) -> Callback:
    """The user's callback, which sees the picture in the user's layout."""

    def told(state: State) -> None:
        callback(
            State(
                state.iteration,
                state.n_iter,
                lambda: finish(state.image),
                lambda: None,
                state.stopped,
            )
        )

    return told


def _finish(x: np.ndarray, seen: Observation) -> Any:
    """(C, Y, X) in the layout, namespace, device and dtype of the user's image."""
    x = x if seen.channel_axis is not None else x[0]
    if is_numpy(seen.y):
        return seen.finish(x, copy=True)
    return seen.finish(namespace(seen.y).asarray(x, device=array_device(seen.y)))
