"""How end-to-end networks are trained on pairs, alone or against a critic.

Pairs are sharp pictures blurred here, the files of a public set, the frames of videos, or sharp
pictures that a trained network blurred.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from unrolled import weights
from unrolled.adversarial import Adversary
from unrolled.crops import load_pictures
from unrolled.features import classifier_features, vgg19_features
from unrolled.learned_blur import LearnedBlur
from unrolled.loop import Rival, Samples, TrainConfig, launched, train
from unrolled.losses import PIXELS, multi_scale, perceptual, reblur, spectral_l1
from unrolled.models.dbgan import BGAN
from unrolled.networks import NETWORKS, critic, network
from unrolled.nonuniform import NonUniform, NonUniformRecipe
from unrolled.paired_folders import find_pairs
from unrolled.paired_pictures import PairedPictures
from unrolled.pairs import Pair
from unrolled.validation import PairValidation, parted
from unrolled.video import FrameAverage

__all__ = ["Against", "PairLoss", "PairedRun", "Terms", "train_paired"]


@dataclass(frozen=True)
class Terms:
    """What the loss of a restored picture is made of.

    Parameters
    ----------
    pixel : {"charbonnier", "l1", "mse", "log-mse", "psnr"}
        Error of pixels, at every scale that the network has.
    spectral : float
        Weight of the spectra's error, at every scale; MIMO-UNet has 0.1.
    perceptual : float
        Weight of the features' error; DeblurGAN has 100.
    features : path, optional
        Weights of VGG19 as safetensors; the features are those of our blur classifier if not given.
    reblur : float
        Weight of what the restored picture, blurred again, lacks of the observed one; only samples
        whose operator is known have it.

    Examples
    --------
    >>> from unrolled.paired import Terms
    >>> Terms(pixel="l1", spectral=0.1).perceptual
    0.0
    """

    pixel: Literal["charbonnier", "l1", "mse", "log-mse", "psnr"] = "charbonnier"
    spectral: float = 0.0
    perceptual: float = 0.0
    features: Path | None = None
    reblur: float = 0.0


@dataclass(frozen=True)
class Against:
    """The critic that a network is trained against.

    Parameters
    ----------
    loss : str
        Of the adversary; "none" is no critic.
    weight : float
        Of the adversary in the network's loss.
    critic : {"patch", "vgg"}
        Its network; the first judges patches.
    preset : str
        Size of the critic.
    output : {"patch", "binary"}
        What a patch critic says: a logit for each patch, or one for each picture.
    turns : int
        Steps of the critic for one of the network; 5 for "wgan-gp" in the papers.
    lr : float
        Of the critic.

    Examples
    --------
    >>> from unrolled.paired import Against
    >>> adversary = Against("wgan-gp", turns=5).adversary(channels=3)
    >>> adversary.penalty
    10.0
    """

    loss: Literal[
        "none", "vanilla", "least-squares", "wgan-gp", "relativistic-average", "relativistic-blur"
    ] = "none"
    weight: float = 0.01
    critic: Literal["patch", "vgg"] = "patch"
    preset: str = "small"
    output: Literal["patch", "binary"] = "patch"
    turns: int = 1
    lr: float = 1e-4

    def adversary(self, channels: int) -> Adversary | None:
        """The critic with its loss, or None."""
        if self.loss == "none":
            return None
        # A slope for each sample, or for each patch's score, has no place for a batch's means.
        options = {"output": self.output} if self.critic == "patch" else {}
        if self.critic == "vgg" and self.loss == "wgan-gp":
            options["norm"] = False
        judge = critic(self.critic, self.preset, channels=channels, **options)
        return Adversary(judge, self.loss)


@dataclass(frozen=True)
class PairedRun(TrainConfig):
    """Train an end-to-end network; the result is ``paired.safetensors`` and its JSON in the run.

    The other settings are those of `unrolled.loop.TrainConfig`.

    Parameters
    ----------
    net : str
        The network.
    preset : str
        Its size.
    start : name or path, optional
        Trained weights to begin from.
    data : path, optional
        Folder of sharp pictures, which are blurred by `recipe`.
    pairs : path, optional
        Folder of a public set of pairs (GoPro, HIDE, RealBlur, REDS, Köhler), instead of `data`.
    video : tuple of path
        Video files, whose frames are averaged, instead of `data`.
    blurred_by : path, optional
        Weights of a `BGAN` that blurs the pictures of `data`, instead of `recipe`.
    recipe : NonUniformRecipe
        The blur; its `side` is that of all crops.
    terms : Terms
        The loss.
    against : Against
        The critic.

    Examples
    --------
    >>> from unrolled.paired import PairedRun
    >>> run = PairedRun(net="mimo-unet", steps=100)
    >>> run.preset, run.terms.pixel, run.against.loss
    ('small', 'charbonnier', 'none')
    """

    run: Path = Path("runs/paired")
    steps: int = 20_000
    batch: int = 4
    lr: float = 1e-3
    net: Literal["nafnet", "mimo-unet", "deepdeblur", "svrnn", "deblurgan", "dbgan"] = "nafnet"
    preset: str = "small"
    start: str | None = None
    data: Path | None = None
    pairs: Path | None = None
    video: tuple[Path, ...] = ()
    blurred_by: Path | None = None
    recipe: NonUniformRecipe = field(default_factory=NonUniformRecipe)
    terms: Terms = field(default_factory=Terms)
    against: Against = field(default_factory=Against)


class PairLoss:
    """The loss of a network on a `Pair`, all its terms and scales together.

    Parameters
    ----------
    terms : Terms
        Which, and how much of each.
    adversary : Adversary, optional
        The critic to please as well.
    weight : float
        Of the adversary.
    device : str or torch.device
        Where features are computed.
    """

    def __init__(
        self,
        terms: Terms,
        adversary: Adversary | None = None,
        weight: float = 0.01,
        *,
        device: Any = "cpu",
    ) -> None:
        self.terms, self.adversary, self.weight = terms, adversary, weight
        self.pixel = PIXELS[terms.pixel]
        self.features: Callable[[Tensor], Tensor] | None = None
        if terms.perceptual:
            found = vgg19_features(terms.features) if terms.features else classifier_features()
            self.features = found.to(device)

    def __call__(self, model: nn.Module, pair: Pair) -> Tensor:
        """A scalar, the mean over the pictures."""
        terms = self.terms
        outputs, targets = _scales(model, pair)
        restored = outputs[-1]
        loss = multi_scale(self.pixel, outputs, targets)
        if terms.spectral:
            error = multi_scale(_spectral, outputs, targets)
            loss = loss + terms.spectral * error
        if self.features is not None:
            loss = loss + terms.perceptual * perceptual(self.features, restored, pair.sharp)
        if terms.reblur:
            loss = loss + terms.reblur * reblur(restored, pair.blurred, pair.known)
        if self.adversary is not None:
            loss = loss + self.weight * self.adversary.generator_loss(pair.sharp, restored)
        return loss

    def rival(self, turns: int, lr: float) -> Rival | None:
        """The adversary's critic for the training loop."""
        if self.adversary is None:
            return None
        adversary = self.adversary

        def loss(_: nn.Module, pair: Pair, fake: Tensor) -> Tensor:
            return adversary.critic_loss(pair.sharp, fake)

        return Rival(adversary.critic, loss, lambda net, pair: net(pair.blurred), turns, lr)


def train_paired(config: PairedRun) -> nn.Module:
    """The run of ``python -m unrolled.train paired``.

    Parameters
    ----------
    config : PairedRun
        The run.

    Returns
    -------
    module
        The network with the averaged weights.

    Examples
    --------
    A run is set up and started as in `unrolled.train.train_prior`; its settings are checked first.

    >>> from pathlib import Path
    >>> from unrolled.paired import PairedRun, train_paired
    >>> train_paired(PairedRun(data=Path("none"), accelerator="cpu"))
    Traceback (most recent call last):
    FileNotFoundError: ...
    """
    fabric = launched(config)
    samples, validation = _sources(config, fabric.device)
    channels = config.recipe.channels
    if config.start:
        net = NETWORKS[config.net].from_pretrained(config.start).train()
    else:
        net = network(config.net, config.preset, channels=channels)
    against = config.against
    loss = PairLoss(config.terms, against.adversary(channels), against.weight, device=fabric.device)
    average = train(
        net,
        samples,
        loss,
        config,
        fabric=fabric,
        validation=validation,
        rival=loss.rival(against.turns, against.lr),
    )
    if fabric.is_global_zero:
        weights.save(average, config.run / "paired.safetensors")
    return average


def _sources(config: PairedRun, device: Any) -> tuple[Samples, PairValidation]:
    """What to train on, and what to validate with."""
    given = {"data": config.data, "pairs": config.pairs, "video": config.video}
    found = [name for name, value in given.items() if value]
    if len(found) != 1:
        raise ValueError(
            f"{' and '.join(found) or 'nothing'} given; expected one of {', '.join(given)}"
        )
    if config.blurred_by and not config.data:
        raise ValueError(f"blurred_by={config.blurred_by} without data; expected sharp pictures")
    options = {"seed": config.seed, "device": device}
    side, recipe = config.recipe.side, config.recipe
    if config.data:
        seen, held = parted(load_pictures(config.data, least=max(recipe.domain)))
        validation = PairValidation.synthetic(held, recipe, config.run, device=device)
        if not config.blurred_by:
            return NonUniform(seen, recipe, **options), validation
        blurrer = BGAN.from_pretrained(config.blurred_by).to(device)
        return LearnedBlur(NonUniform(seen, recipe.only("sharp"), **options), blurrer), validation
    if config.pairs:
        seen, held = parted(find_pairs(config.pairs, split="train"))
        samples: Samples = PairedPictures(seen, side, **options)
        fixed: Samples = PairedPictures(held, side, seed=1, device=device, flips=False)
    else:
        samples = FrameAverage(config.video, side, gamma=recipe.gamma, **options)
        # Other windows of the same clips: of few clips, none can be spared.
        fixed = FrameAverage(
            config.video, side, gamma=recipe.gamma, seed=config.seed + 1, device=device
        )
    return samples, PairValidation.of(fixed, config.run)


def _scales(model: nn.Module, pair: Pair) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """What the network makes at each of its scales, coarse to fine, and what it should."""
    if hasattr(model, "scales"):
        return model.scales(pair.blurred), model.targets(pair.sharp)
    return [model(pair.blurred)], [pair.sharp]


def _spectral(restored: Tensor, sharp: Tensor) -> Tensor:
    return spectral_l1(restored, sharp, weight=1.0)
