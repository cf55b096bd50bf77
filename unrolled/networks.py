"""The end-to-end networks and critics by the names that the command line has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from deconv.arrays import choose
from unrolled.models.dbgan import DBGAN
from unrolled.models.deblurgan import DeblurGAN, PatchCritic
from unrolled.models.deepdeblur import DeepDeblur
from unrolled.models.mimo_unet import MIMOUNet
from unrolled.models.nafnet import NAFNet
from unrolled.models.svrnn import SVRNN
from unrolled.models.vgg_critic import VGGCritic

__all__ = ["CRITICS", "NETWORKS", "critic", "network"]

NETWORKS: Mapping[str, Any] = {
    "nafnet": NAFNet,
    "mimo-unet": MIMOUNet,
    "deepdeblur": DeepDeblur,
    "svrnn": SVRNN,
    "deblurgan": DeblurGAN,
    "dbgan": DBGAN,
}
CRITICS: Mapping[str, Any] = {"patch": PatchCritic, "vgg": VGGCritic}


def network(name: str, preset: str = "small", **changes: Any) -> nn.Module:
    """An untrained network: one of `NETWORKS` in one of its presets.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    preset : str
        Its size.
    **changes
        Fields of its configuration.

    Returns
    -------
    module
        A picture (N, C, H, W) on [0, 1] to one of the same shape.

    Raises
    ------
    TypeError, ValueError
        For an unknown name or preset, and for changes that make no network.

    Examples
    --------
    >>> from unrolled.networks import network
    >>> type(network("nafnet", "small", width=8)).__name__
    'NAFNet'
    """
    made: nn.Module = NETWORKS[choose(name, NETWORKS, "net")].preset(preset, **changes)
    return made


def critic(name: str, preset: str = "small", **changes: Any) -> nn.Module:
    """An untrained critic: one of `CRITICS` in one of its presets; see `network`.

    Parameters
    ----------
    name : str
        One of `CRITICS`.
    preset : str
        Its size.
    **changes
        Fields of its configuration.

    Returns
    -------
    module
        Pictures (N, C, H, W) on [0, 1] to logits (N, ...).

    Raises
    ------
    TypeError, ValueError
        As of `network`.

    Examples
    --------
    >>> from unrolled.networks import critic
    >>> type(critic("patch", channels=1)).__name__
    'PatchCritic'
    """
    made: nn.Module = CRITICS[choose(name, CRITICS, "critic")].preset(preset, **changes)
    return made
