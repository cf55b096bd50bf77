"""The published weights of MIMO-UNet and NAFNet, under our names for their tensors.

What was published are pickles, which can run code and are never loaded. Take their tensors out
where you trust them, and save those: ``safetensors.torch.save_file(tensors, "NAME.safetensors")``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from unrolled.models.mimo_unet import MIMOUNet, MIMOUNetConfig
from unrolled.models.nafnet import NAFNet, NAFNetConfig
from unrolled.weights import fill, read_tensors

__all__ = ["from_mimo_unet", "from_nafnet"]

State = Mapping[str, Tensor] | str | PathLike[str]
M = TypeVar("M", bound=nn.Module)

# What the parts of our networks are called in the published ones.
NAFNET = {
    "head": "intro",
    "tail": "ending",
    "middle": "middle_blks",
    "space_norm": "norm1",
    "space_expand": "conv1",
    "depthwise": "conv2",
    "attention": "sca.1",
    "space_project": "conv3",
    "space_gain": "beta",
    "channel_norm": "norm2",
    "channel_expand": "conv4",
    "channel_project": "conv5",
    "channel_gain": "gamma",
}
MIMO_UNET = {
    "heads.": "feat_extract.",
    "ups.1": "feat_extract.3",
    "ups.0": "feat_extract.4",
    "tails.0": "feat_extract.5",
    "tails.1": "ConvsOut.1",
    "tails.2": "ConvsOut.0",
    "reduce.1": "Convs.0",
    "reduce.0": "Convs.1",
    "shallow.0.": "SCM2.",
    "shallow.1.": "SCM1.",
    "attention.0.": "FAM2.",
    "attention.1.": "FAM1.",
}


def from_nafnet(state: State) -> NAFNet:
    """A published NAFNet as ours, in evaluation mode.

    Parameters
    ----------
    state : mapping of str to tensor, or path
        Its tensors ("params" of the published file), or a ``.safetensors`` file of them.

    Returns
    -------
    NAFNet
        Of the sizes that the tensors have, with means over the whole picture; see `NAFNet.local`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read, or its tensors are not those of a NAFNet, or not finite.

    References
    ----------
    Chen, Chu, Zhang and Sun (2022), "Simple baselines for image restoration", ECCV.

    Examples
    --------
    >>> from unrolled.models.published import from_nafnet
    >>> from_nafnet("NAFNet-GoPro-width32.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: ...
    """
    tensors, where = _read(state)
    channels, width = _head(tensors, "intro.weight", where, "NAFNet")
    levels = range(_count(tensors, r"downs\.(\d+)\."))
    config = NAFNetConfig(
        channels=channels,
        width=width,
        encoder=tuple(_count(tensors, rf"encoders\.{k}\.(\d+)\.") for k in levels),
        middle=_count(tensors, r"middle_blks\.(\d+)\."),
        decoder=tuple(_count(tensors, rf"decoders\.{k}\.(\d+)\.") for k in levels),
    )

    def theirs(key: str) -> str:
        return ".".join(NAFNET.get(part, part) for part in key.split("."))

    return _filled(lambda: NAFNet(config), tensors, where, theirs)


def from_mimo_unet(state: State) -> MIMOUNet:
    """A published MIMO-UNet or MIMO-UNet+ as ours, in evaluation mode.

    Parameters
    ----------
    state : mapping of str to tensor, or path
        Its tensors ("model" of the published file), or a ``.safetensors`` file of them.

    Returns
    -------
    MIMOUNet
        Of the sizes that the tensors have. It has no dropout, which only training would notice.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read, or its tensors are not those of a MIMO-UNet, or not finite.

    References
    ----------
    Cho, Ji, Hong, Jung and Ko (2021), "Rethinking coarse-to-fine approach in single image
    deblurring", ICCV.

    Examples
    --------
    >>> from unrolled.models.published import from_mimo_unet
    >>> from_mimo_unet("MIMO-UNet.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: ...
    """
    tensors, where = _read(state)
    channels, width = _head(tensors, "feat_extract.0.main.0.weight", where, "MIMO-UNet")
    blocks = _count(tensors, r"Encoder\.0\.layers\.(\d+)\.")
    config = MIMOUNetConfig(channels=channels, width=width, blocks=blocks)
    return _filled(lambda: MIMOUNet(config), tensors, where, _mimo_unet)


def _mimo_unet(key: str) -> str:
    """The published name of one of our tensors: layers are called main, and decoders count down."""
    key = re.sub(r"^encoders\.(\d)\.(\d+)", r"Encoder.\1.layers.\2", key)
    key = re.sub(r"^decoders\.(\d)\.(\d+)", lambda m: f"Decoder.{2 - int(m[1])}.layers.{m[2]}", key)
    key = re.sub(r"^fusion\.(\d)\.first", r"AFFs.\1.conv.0", key)
    key = re.sub(r"^fusion\.(\d)\.second", r"AFFs.\1.conv.1", key)
    key = key.replace(".first.", ".main.0.").replace(".second.", ".main.1.")
    for ours, theirs in MIMO_UNET.items():
        if key.startswith(ours):
            key = theirs + key[len(ours) :]
            break
    return re.sub(r"\.(weight|bias)$", r".main.0.\1", key)


def _read(state: State) -> tuple[Mapping[str, Tensor], str]:
    if isinstance(state, Mapping):
        return state, "state"
    return read_tensors(Path(state)), str(state)


def _head(tensors: Mapping[str, Tensor], key: str, where: str, network: str) -> tuple[int, int]:
    """The channels and width of a network, from its first convolution."""
    weight = tensors.get(key)
    if not isinstance(weight, Tensor) or weight.ndim != 4:
        raise ValueError(f"{where} is not of a {network}: it has no convolution {key!r}")
    return int(weight.shape[1]), int(weight.shape[0])


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many parts there are, from the numbers in their names."""
    found = (re.match(pattern, str(key)) for key in tensors)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _filled(
    network: Callable[[], M],
    tensors: Mapping[str, Tensor],
    where: str,
    theirs: Callable[[str], str],
) -> M:
    # What the weights replace is drawn without moving the caller's random state.
    with torch.random.fork_rng(devices=[]):
        model = network()
    fill(model, tensors, where, theirs)
    return model.eval()
