"""Pairs whose blur a trained network made, to learn from blur that no formula describes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from unrolled.loop import Samples
from unrolled.pairs import Pair

__all__ = ["LearnedBlur"]

# Stream of random numbers of an index, apart from those of crops and blur.
NOISE = 5


class LearnedBlur:
    """Samples whose sharp pictures are blurred by a `BGAN` instead.

    Parameters
    ----------
    samples : Samples
        With sharp pictures, and a method ``generator`` of random numbers by stream and index.
    blurrer : BGAN
        Trained; it is not trained here.

    References
    ----------
    K. Zhang et al., "Deblurring by realistic blurring", CVPR 2020.
    """

    def __init__(self, samples: Any, blurrer: nn.Module) -> None:
        self.samples: Samples = samples
        self.generator = samples.crops.generator
        self.blurrer = blurrer.eval().requires_grad_(False)

    @torch.no_grad()
    def batch(self, step: int, indices: Iterable[int]) -> Pair:
        """The samples `indices`; each has its blur from its index."""
        indices = list(indices)
        sharp = self.samples.batch(step, indices).sharp
        count = self.blurrer.config.noise
        noise = torch.stack(
            [torch.randn(count, generator=self.generator(NOISE, i, "cpu")) for i in indices]
        )
        return Pair(self.blurrer(sharp, noise.to(sharp)), sharp)
