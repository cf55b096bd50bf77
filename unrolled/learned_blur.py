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

    Examples
    --------
    >>> import torch
    >>> from skimage import data
    >>> from unrolled.learned_blur import LearnedBlur
    >>> from unrolled.models.dbgan import BGAN
    >>> from unrolled.nonuniform import NonUniform, NonUniformRecipe
    >>> picture = torch.tensor(data.astronaut()[:160, :160]).permute(2, 0, 1)
    >>> sharp = NonUniform([picture], NonUniformRecipe(side=64, reach=(3.0, 12.0)))
    >>> blurrer = BGAN.preset("small", width=8, growth=4, blocks=1)
    >>> LearnedBlur(sharp, blurrer).batch(0, range(2)).blurred.shape
    torch.Size([2, 3, 64, 64])
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
