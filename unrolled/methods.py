"""The learned restorers as methods of `deconv`: command line, demo and benchmarks find them here.

PyTorch is loaded when one is first used.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from deconv.arrays import choose
from deconv.methods import Method, Parameter
from deconv.progress import Callback
from unrolled import weights as shipped
from unrolled.pretrained import shipped as trained

__all__ = ["DIRECT", "FUSION", "HQS", "end_to_end", "fusion", "hqs"]

GUARDS = ("keep", "warn", "none")


def hqs(
    image: Any,
    psf: Any,
    *,
    sigma: Any = None,
    network: str = "hqs-gray",
    colours: str = "opponent",
    saturation: float | str | None = None,
    boundary: str = "unknown",
    weights: Any = None,
    channel_axis: int | None = None,
    callback: Callback | None = None,
) -> Any:
    """Restore a picture with a trained `unrolled.HQSNet`; see `unrolled.HQSNet.restore`.

    Parameters
    ----------
    image, psf, sigma, saturation, boundary, weights, channel_axis, colours, callback
        As of `unrolled.HQSNet.restore`.
    network : str
        Weights that come with the package, a file or a folder.

    Raises
    ------
    ImportError
        If PyTorch or safetensors is not installed.
    """
    return _network(network).restore(
        image,
        psf,
        sigma=sigma,
        weights=weights,
        boundary=boundary,
        saturation=saturation,
        channel_axis=channel_axis,
        colours=colours,
        callback=callback,
    )


def fusion(
    image: Any,
    psf: Any,
    *,
    sigma: Any = None,
    network: str = "fusion",
    colours: str = "opponent",
    saturation: float | str | None = None,
    boundary: str = "unknown",
    weights: Any = None,
    channel_axis: int | None = None,
    callback: Callback | None = None,
) -> Any:
    """Restore a picture with a trained `unrolled.MultiLambdaFusion`; see its `restore`.

    Parameters
    ----------
    image, psf, sigma, saturation, boundary, weights, channel_axis, colours, callback
        As of `unrolled.MultiLambdaFusion.restore`.
    network : str
        Weights that come with the package, a file or a folder.

    Raises
    ------
    ImportError
        If PyTorch or safetensors is not installed.
    """
    return hqs(
        image,
        psf,
        sigma=sigma,
        network=network,
        weights=weights,
        boundary=boundary,
        saturation=saturation,
        channel_axis=channel_axis,
        colours=colours,
        callback=callback,
    )


def end_to_end(
    image: Any,
    *,
    network: str = "nafnet-motion",
    guard: str = "keep",
    ensemble: bool = False,
    tile: int = 512,
    boundary: str = "unknown",
    weights: Any = None,
    channel_axis: int | None = None,
    callback: Callback | None = None,
) -> Any:
    """Restore a picture with a trained end-to-end network, without a psf.

    Parameters
    ----------
    image, weights, channel_axis, ensemble, tile, callback
        As of `unrolled.direct.restore`. Networks are trained on pictures as they are stored, not
        in linear light.
    network : str
        Weights that come with the package, a file or a folder.
    guard : {"keep", "warn", "none"}
        What is done where the network paints what is no deblurring.
    boundary : {"unknown"}
        Networks know no other.

    Raises
    ------
    ImportError
        If PyTorch or safetensors is not installed.
    ValueError
        As `unrolled.direct.restore`, and if there are no such weights.

    Examples
    --------
    >>> from skimage import data
    >>> restored = end_to_end(data.astronaut()[:64, :64], channel_axis=-1)
    >>> restored.shape, restored.dtype
    ((64, 64, 3), dtype('float32'))
    """
    if boundary != "unknown":
        raise ValueError(f"boundary={boundary!r}; expected 'unknown': networks know no other")
    choose(guard, GUARDS, "guard")
    return _network(network, needs_psf=False).restore(
        image,
        weights=weights,
        channel_axis=channel_axis,
        tile=tile,
        guard=None if guard == "none" else guard,
        ensemble=ensemble,
        callback=callback,
    )


@cache
def _network(name: str, *, needs_psf: bool = True) -> Any:
    try:
        from unrolled.pretrained import restorer

        return restorer(name, needs_psf=needs_psf)
    except ImportError as error:
        raise ImportError(
            f"learned methods need PyTorch and safetensors ({error}): "
            f"pip install 'deconv[unrolled]'"
        ) from error


def _method(function: Any, network: str, description: str) -> Method:
    return Method(
        function.__name__,
        function,
        description,
        noise="sigma",
        parameters=(
            Parameter(
                "network",
                "Trained weights, or the path of yours.",
                "text",
                choices=shipped.names(network),
            ),
            Parameter(
                "colours",
                "Three channels as colours, or each alone.",
                "choice",
                choices=("opponent", "separate"),
            ),
            Parameter("saturation", "Level at which the sensor clips.", choices=("auto",)),
        ),
    )


HQS = _method(
    hqs,
    "HQSNet",
    "A trained unrolled network; the best picture at every noise level, needs PyTorch.",
)
FUSION = _method(
    fusion,
    "MultiLambdaFusion",
    "A network that fuses several restorations, for psfs that are a little wrong; needs PyTorch.",
)
DIRECT = Method(
    "end_to_end",
    end_to_end,
    "A trained network that sees the picture alone, for motion of any kind; needs PyTorch.",
    needs_psf=False,
    display=True,
    parameters=(
        Parameter(
            "network",
            "Trained weights, or the path of yours.",
            "text",
            choices=trained(needs_psf=False),
        ),
        Parameter(
            "guard",
            "What to do where it paints what is no deblurring.",
            "choice",
            choices=GUARDS,
        ),
        Parameter("ensemble", "The mean over eight flips and turns.", "bool"),
        Parameter("tile", "Side of the tiles of large pictures.", "int", 128, 8192),
    ),
)
