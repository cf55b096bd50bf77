"""Blurred pictures and the sharp ones that they should become: what networks learn on."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["Known", "Pair"]


class Known(NamedTuple):
    """The operator that blurred a sample, for pictures on its domain, and the light it acts on.

    ``blurred = A(light ** gamma) ** (1 / gamma)`` but for noise; `gamma` is 1 where the picture was
    blurred as it is stored. What lies beyond the frame is unknown.

    Attributes
    ----------
    operator : Blur, or another operator of its contract
        Acts on pictures of its domain.
    gamma : float
        Exponent from stored values to light.

    Examples
    --------
    >>> import torch
    >>> from deconv import Blur
    >>> from unrolled.pairs import Known
    >>> known = Known(Blur(torch.ones(1, 1, 3, 3) / 9, (8, 8)), gamma=2.2)
    >>> known.operator.shape
    (8, 8)
    """

    operator: Any
    gamma: float = 1.0


class Pair:
    """Blurred and sharp pictures (N, C, H, W) on [0, 1], of one frame.

    `known` has an entry for each sample: its `Known` operator, or None where several layers moved,
    or nothing is known of the blur.

    Parameters
    ----------
    blurred, sharp : tensor, shape (N, C, H, W)
        On [0, 1].
    known : tuple of N Known or None, optional
        How each sample was blurred.

    Examples
    --------
    >>> import torch
    >>> from unrolled.pairs import Pair
    >>> sharp = torch.rand(2, 3, 8, 8)
    >>> Pair(sharp, sharp).known
    (None, None)
    """

    # No tuple or dataclass: Fabric would take it and the operators apart.
    def __init__(
        self, blurred: Tensor, sharp: Tensor, known: tuple[Known | None, ...] | None = None
    ) -> None:
        self.blurred, self.sharp = blurred, sharp
        self.known = known or (None,) * len(blurred)
