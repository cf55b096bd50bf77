"""How a `BlurClassifier` is trained, and what it scores meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unrolled import weights
from unrolled.blur_samples import KINDS, BlurRecipe, BlurSamples
from unrolled.crops import load_pictures
from unrolled.loop import TrainConfig, launched, train
from unrolled.models.blur_classifier import BlurClassifier, BlurClassifierConfig
from unrolled.validation import parted

__all__ = ["BlurRun", "BlurValidation", "blur_loss", "goal", "train_blur"]

SCALES = (1.0, 0.5, 0.25)
# The shortest blur of training, the logit that it should have, and by how much one e times as wide
# should have more; weight of that order beside the decision.
SHORT, LEAST_GOAL, GROWTH, ORDER = 0.87, 1.7, 1.3, 0.1
# Of so many pictures, one is kept for validation.
HELD = 20


@dataclass(frozen=True)
class BlurRun(TrainConfig):
    """Train a `BlurClassifier`; the result is ``blur.safetensors`` and its JSON in the run.

    The other settings are those of `unrolled.loop.TrainConfig`.

    Parameters
    ----------
    data : path
        Folder of sharp pictures.
    net : BlurClassifierConfig
        The network.
    recipe : BlurRecipe
        The samples.

    References
    ----------
    Li, Pan, Lai, Gao, Sang and Yang (2018), "Learning a discriminative prior for blind image
    deblurring", CVPR.

    Examples
    --------
    >>> from unrolled.blur_training import BlurRun
    >>> BlurRun(steps=100).net.widths
    (6, 16, 24, 32)
    """

    run: Path = Path("runs/blur")
    steps: int = 5400
    batch: int = 32
    lr: float = 3e-3
    warmup: int = 100
    clip: float = 1.0
    ema: float = 0.99
    data: Path = Path("data")
    net: BlurClassifierConfig = field(default_factory=BlurClassifierConfig)
    recipe: BlurRecipe = field(default_factory=BlurRecipe)


def train_blur(config: BlurRun) -> nn.Module:
    """The run of ``python -m unrolled.train blur``.

    Parameters
    ----------
    config : BlurRun
        The run.

    Returns
    -------
    BlurClassifier
        With the averaged weights.

    Raises
    ------
    FileNotFoundError
        If the folder holds no picture that is large enough.

    Examples
    --------
    A run is set up and started as in `unrolled.train.train_prior`; its settings are checked first.

    >>> from pathlib import Path
    >>> from unrolled.blur_training import BlurRun, train_blur
    >>> train_blur(BlurRun(data=Path("none"), accelerator="cpu"))
    Traceback (most recent call last):
    FileNotFoundError: ...
    """
    fabric = launched(config)
    seen, held = parted(load_pictures(config.data, least=config.recipe.side), HELD)
    average = train(
        BlurClassifier(config.net),
        BlurSamples(seen, config.recipe, seed=config.seed, device=fabric.device),
        blur_loss,
        config,
        fabric=fabric,
        validation=BlurValidation(held, config.recipe, device=fabric.device),
    )
    if fabric.is_global_zero:
        weights.save(average, config.run / "blur.safetensors")
    return average


def blur_loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Binary cross entropy of the logits, for a batch of `unrolled.blur_samples.BlurSamples`.

    That of the picture's one logit, and the mean of those of all places: what they say is learned
    much sooner when each is told, and those that can say nothing stay near 0. Both are drawn to
    `goal`, or a blur that is plain enough could be of any length.
    """
    x, blurred, width = batch
    # Float32 whatever the network runs in: a logit near 0 decides.
    places = model.map(x).float()
    logits, aim = places.mean((-3, -2, -1)), goal(width)
    certain = blurred * torch.sigmoid(aim)
    dense = certain[:, None, None, None].expand_as(places)
    cost = F.binary_cross_entropy_with_logits
    decided = 0.5 * (cost(logits, certain) + cost(places, dense))
    return decided + ORDER * (blurred * F.smooth_l1_loss(logits, aim, reduction="none")).mean()


def goal(width: Tensor) -> Tensor:
    """The logit that a blur of some width should have: surely blurred, and more so if wider."""
    return LEAST_GOAL + GROWTH * torch.log(width.clamp(min=SHORT) / SHORT)


class BlurValidation:
    """Share of held-out samples judged right, by kind and by scale.

    Parameters
    ----------
    pictures : sequence of tensor
        Held-out sharp pictures, uint8 (3, H, W).
    recipe : BlurRecipe
        That of the training.
    count : int
        Samples of each kind at each scale, half of them sharp.
    device : str or torch.device
        Where they are kept.
    """

    def __init__(
        self,
        pictures: Sequence[Tensor],
        recipe: BlurRecipe,
        *,
        count: int = 32,
        device: str | torch.device = "cpu",
    ) -> None:
        few = replace(recipe, scenes=min(16, recipe.scenes), psfs=min(20, recipe.psfs))
        samples = BlurSamples(pictures, few, seed=1)
        low, high = recipe.scales
        self.scales = [scale for scale in SCALES if low <= scale <= high] or [high]
        self.sets: dict[tuple[str, float], Tensor] = {}
        for kind in KINDS:
            for scale in self.scales:
                made = [samples.sample(i, kind=kind, scale=scale)[0] for i in range(count)]
                self.sets[kind, scale] = torch.stack(made)[:, None].to(device)

    @torch.no_grad()
    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """Accuracies by name, and their mean."""
        right = {}
        for cell, x in self.sets.items():
            blurred = torch.arange(len(x), device=x.device) % 2 == 1
            right[cell] = float(((model(x) > 0) == blurred).float().mean())
        scores = {kind: _mean(right[kind, scale] for scale in self.scales) for kind in KINDS}
        scores |= {f"scale {s:g}": _mean(right[kind, s] for kind in KINDS) for s in self.scales}
        return {"accuracy": _mean(right.values()), **scores}


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
