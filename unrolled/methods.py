"""The learned restorers as methods of `deconv`: command line, demo and benchmarks find them here.

PyTorch is loaded when one is first used.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from deconv.methods import Method, Parameter
from deconv.progress import Callback
from unrolled import weights as shipped

__all__ = ["FUSION", "HQS", "fusion", "hqs"]


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


@cache
def _network(name: str) -> Any:
    try:
        from unrolled.pretrained import restorer

        return restorer(name)
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
