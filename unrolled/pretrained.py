"""Any trained restorer by its name: its JSON says which network it is of."""

from __future__ import annotations

import importlib
from os import PathLike
from typing import Any

from unrolled import weights

__all__ = ["RESTORERS", "restorer"]

# Where each network with a `restore` lives.
RESTORERS = {"HQSNet": "hqs", "MultiLambdaFusion": "fusion"}


def restorer(name_or_path: str | PathLike[str]) -> Any:
    """The network with its weights; it has ``restore(image, psf)``.

    Raises
    ------
    FileNotFoundError, ValueError
        As `unrolled.weights.load`, and if the weights are of a network that restores nothing.
    """
    kind = weights.network_of(name_or_path)
    if kind not in RESTORERS:
        raise ValueError(
            f"{name_or_path} holds the weights of a {kind}; expected one of {tuple(RESTORERS)}"
        )
    module = importlib.import_module(f"unrolled.{RESTORERS[kind]}")
    return getattr(module, kind).from_pretrained(name_or_path)
