"""The learned restorers as methods of `deconv`: command line, demo and benchmarks find them here.

PyTorch is loaded when one is first used.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from deconv.methods import Method, Parameter
from deconv.progress import Callback
from unrolled import weights as shipped

__all__ = ["HQS", "hqs"]


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


@cache
def _network(name: str) -> Any:
    try:
        from unrolled.hqs import HQSNet

        return HQSNet.from_pretrained(name)
    except ImportError as error:
        raise ImportError(
            f"hqs needs PyTorch and safetensors ({error}): pip install 'deconv[unrolled]'"
        ) from error


HQS = Method(
    "hqs",
    hqs,
    "A trained unrolled network; the best picture at every noise level, needs PyTorch.",
    noise="sigma",
    parameters=(
        Parameter(
            "network", "Trained weights, or the path of yours.", "text", choices=shipped.names()
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
