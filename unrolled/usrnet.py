"""The published weights of USRNet (Zhang et al. 2020), under our names for their tensors."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from unrolled.hqs import PRESETS, HQSConfig, HQSNet
from unrolled.weights import fill, read_tensors

__all__ = ["from_usrnet"]


def from_usrnet(state: Mapping[str, Tensor] | str | PathLike[str]) -> HQSNet:
    """The published USRNet as an `HQSNet`, in evaluation mode.

    Parameters
    ----------
    state : mapping of str to tensor, or path
        Its state: the tensors, a ``.safetensors`` file, or the published ``.pth``, from which
        tensors are read and nothing is run.

    Returns
    -------
    HQSNet
        Of the "base" preset, with the sizes that the tensors have: those of the tiny USRNet are
        others. The published networks take three channels, and were trained on periodic pictures.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read, or its tensors are not those of a USRNet, or not finite.

    Notes
    -----
    USRNet's input is the picture and, after it, the noise map, and its hyper-parameters are first
    all alpha, then all beta: as ours. Only the names differ.

    References
    ----------
    Zhang, Van Gool and Timofte (2020), "Deep unfolding network for image super-resolution", CVPR.

    Examples
    --------
    >>> from unrolled import from_usrnet
    >>> from_usrnet("usrnet.pth")
    Traceback (most recent call last):
    FileNotFoundError: ...
    """
    where = "state"
    if not isinstance(state, Mapping):
        where, state = str(state), _read(Path(state))
    config = _config(state, where)
    # What the weights replace is drawn without moving the caller's random state.
    with torch.random.fork_rng(devices=[]):
        model = HQSNet(config)
    fill(model, state, where, _theirs)
    model.eval()
    return model


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is no file of tensors only: {error}") from error
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} holds a {type(state).__name__}; expected tensors by name")
    return state


def _config(state: Mapping[str, Tensor], where: str) -> HQSConfig:
    """The configuration, from the shapes."""

    def size(key: str, axis: int) -> int:
        if not isinstance(state.get(key), Tensor) or state[key].ndim != 4:
            raise ValueError(f"{where} is not of a USRNet: it has no convolution {key!r}")
        return int(state[key].shape[axis])

    blocks = sum(
        re.fullmatch(r"p\.m_body\.\d+\.res\.0\.weight", str(key)) is not None for key in state
    )
    return replace(
        PRESETS["base"],
        channels=size("p.m_head.weight", 1) - 1,
        widths=(
            size("p.m_head.weight", 0),
            *(size(f"p.m_down{level}.{blocks}.weight", 0) for level in (1, 2, 3)),
        ),
        blocks=blocks,
        hidden=size("h.mlp.0.weight", 0),
        iterations=size("h.mlp.4.weight", 0) // 2,
    )


def _theirs(key: str) -> str:
    """USRNet's name of one of our tensors."""
    key = key.replace("hyper.layers.", "h.mlp.").replace("prior.", "p.m_")
    key = re.sub(r"m_(down|up)\.(\d)", lambda match: f"m_{match[1]}{int(match[2]) + 1}", key)
    return key.replace(".first.", ".res.0.").replace(".second.", ".res.2.")
