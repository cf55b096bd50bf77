"""Train a network from the command line.

::

    python -m unrolled.train prior --data pictures --run runs/prior
    python -m unrolled.train hqs --data pictures --prior runs/prior/prior.safetensors
    python -m unrolled.train hqs --data pictures --devices 2
    python -m unrolled.train fusion --data pictures --prior runs/prior/prior.safetensors
    python -m unrolled.train paired --data pictures --net nafnet
    python -m unrolled.train paired --pairs GOPRO_Large --net deblurgan --against.loss wgan-gp
    python -m unrolled.train unpaired --data pictures --blurred photographs
    torchrun --nproc-per-node 2 -m -- unrolled.train hqs --data pictures --run runs/hqs

The same command goes on where a run stopped. ``--help`` lists every setting. Several machines need
torchrun, and torchrun the bare ``--``, or it takes ``--run`` for one of its own options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch import Tensor, nn

from unrolled import weights
from unrolled.blur_training import BlurRun, train_blur
from unrolled.crops import load_pictures
from unrolled.fusion import FusionConfig, MultiLambdaFusion
from unrolled.hqs import HQSNet
from unrolled.latent_losses import LATENT, denoised_l1
from unrolled.loop import TrainConfig, launched, train
from unrolled.paired import PairedRun, train_paired
from unrolled.synthesis import Noisy, Recipe, Synthesis
from unrolled.unet import ResUNet
from unrolled.unpaired import UnpairedRun, train_unpaired
from unrolled.validation import DenoiserValidation, Validation, parted

__all__ = ["HQS", "RUNS", "Fusion", "Prior", "train_fusion", "train_hqs", "train_prior"]


@dataclass(frozen=True)
class Prior(TrainConfig):
    """Train the prior of an `HQSNet` as a denoiser, which is a good and cheap beginning.

    A step costs a fifth of the whole network's. The result is ``prior.safetensors`` in the run.

    The other settings are those of `unrolled.loop.TrainConfig`.

    Parameters
    ----------
    data : path
        Folder of sharp pictures.
    preset : str
        Of `HQSNet`.
    recipe : Recipe
        Crops; `sigma` is the range of the noise.

    References
    ----------
    Zhang et al. (2021), "Plug-and-play image restoration with deep denoiser prior", IEEE TPAMI 44.

    Examples
    --------
    >>> from unrolled.train import Prior
    >>> Prior(steps=100).recipe.channels
    1
    """

    run: Path = Path("runs/prior")
    steps: int = 8000
    data: Path = Path("data")
    preset: str = "tiny"
    recipe: Recipe = field(default_factory=lambda: Recipe(sigma=(1 / 255, 55 / 255)))


@dataclass(frozen=True)
class HQS(TrainConfig):
    """Train an `HQSNet`; the result is ``hqs.safetensors`` and its JSON in the run.

    The other settings are those of `unrolled.loop.TrainConfig`.

    Parameters
    ----------
    data : path
        Folder of sharp pictures.
    preset : str
        Of `HQSNet`.
    recipe : Recipe
        The degradation.
    loss : {"l1", "psnr"}
        Absolute error, or the logarithm of the squared one.
    start : name or path, optional
        Trained weights to begin from, as for `HQSNet.from_pretrained`; the preset is then theirs.
    prior : path, optional
        Weights that the prior begins from; a run that is continued has its own.

    References
    ----------
    Zhang, Van Gool and Timofte (2020), "Deep unfolding network for image super-resolution", CVPR.

    Examples
    --------
    >>> from unrolled.synthesis import Recipe
    >>> from unrolled.train import HQS
    >>> HQS(preset="tiny", recipe=Recipe(channels=3)).recipe.channels
    3
    """

    run: Path = Path("runs/hqs")
    steps: int = 12_000
    lr: float = 6e-4
    data: Path = Path("data")
    preset: str = "tiny"
    recipe: Recipe = field(default_factory=Recipe)
    loss: Literal["l1", "psnr"] = "l1"
    start: str | None = None
    prior: Path | None = None


@dataclass(frozen=True)
class Fusion(TrainConfig):
    """Train a `MultiLambdaFusion`; the result is ``fusion.safetensors`` and its JSON in the run.

    The other settings are those of `unrolled.loop.TrainConfig`.

    Parameters
    ----------
    data : path
        Folder of sharp pictures.
    recipe : Recipe
        The degradation; most psfs are told a little wrong.
    net : FusionConfig
        The restorations and the network.
    loss : {"l1", "psnr"}
        Absolute error, or the logarithm of the squared one.
    start : name or path, optional
        Trained weights to begin from, as for `MultiLambdaFusion.from_pretrained`; `net` is then
        theirs.
    prior : path, optional
        Weights of a denoiser to begin from, where there are no such weights.

    Examples
    --------
    >>> from unrolled.train import Fusion
    >>> Fusion(steps=100).net.factors
    (0.04, 0.2, 1.0, 5.0)
    """

    run: Path = Path("runs/fusion")
    steps: int = 8000
    batch: int = 8
    lr: float = 6e-4
    data: Path = Path("data")
    recipe: Recipe = field(default_factory=lambda: Recipe(domain=128, error=0.65, doubt=0.25))
    net: FusionConfig = field(default_factory=FusionConfig)
    loss: Literal["l1", "psnr"] = "psnr"
    start: str | None = None
    prior: Path | None = None


def train_prior(config: Prior) -> nn.Module:
    """The run of ``python -m unrolled.train prior``.

    Parameters
    ----------
    config : Prior
        The run.

    Returns
    -------
    ResUNet
        With the averaged weights.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds no picture that is large enough.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skimage import data
    >>> from deconv import io
    >>> from unrolled import Recipe
    >>> from unrolled.train import Prior, train_prior
    >>> options = {"steps": 1, "batch": 1, "mixed": False, "accelerator": "cpu"}
    >>> recipe = Recipe(domain=32, sizes=(5,), shares=(1.0,))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("astronaut", "coffee"):
    ...         io.write(f"{folder}/{name}.png", getattr(data, name)()[:64, :64])
    ...     config = Prior(Path(folder, "run"), data=Path(folder), recipe=recipe, **options)
    ...     net = train_prior(config)
    ...     sorted(path.name for path in config.run.glob("*.safetensors"))
    step 1: psnr ...
    ['prior.safetensors']
    """
    fabric = launched(config)
    seen, held = _pictures(config.data, config.recipe.domain)
    average = train(
        HQSNet.preset(config.preset, channels=config.recipe.channels).prior,
        Noisy(seen, config.recipe, seed=config.seed, device=fabric.device),
        denoised_l1,
        config,
        fabric=fabric,
        validation=DenoiserValidation(held, config.recipe, device=fabric.device),
    )
    if fabric.is_global_zero:
        save_file(average.state_dict(), config.run / "prior.safetensors")
    return average


def train_hqs(config: HQS) -> nn.Module:
    """The run of ``python -m unrolled.train hqs``.

    Parameters
    ----------
    config : HQS
        The run.

    Returns
    -------
    HQSNet
        With the averaged weights.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds no picture that is large enough, or `start` has another number of
        channels than the recipe.

    Examples
    --------
    A run is set up and started as in `train_prior`; its settings are checked first.

    >>> from pathlib import Path
    >>> from unrolled.train import HQS, train_hqs
    >>> train_hqs(HQS(data=Path("none"), accelerator="cpu"))
    Traceback (most recent call last):
    FileNotFoundError: ...
    """
    fabric = launched(config)
    seen, held = _pictures(config.data, config.recipe.domain)
    if config.start:
        net = HQSNet.from_pretrained(config.start).train()
        if net.config.channels != config.recipe.channels:
            raise ValueError(
                f"recipe.channels={config.recipe.channels}; {config.start} restores "
                f"{net.config.channels}: expected as many"
            )
    else:
        net = HQSNet.preset(config.preset, channels=config.recipe.channels)
    if config.prior:
        weights.fill(net.prior, weights.read_tensors(config.prior), config.prior)
    return _train_latent(net, config, fabric, seen, held)


def train_fusion(config: Fusion) -> nn.Module:
    """The run of ``python -m unrolled.train fusion``.

    Parameters
    ----------
    config : Fusion
        The run.

    Returns
    -------
    MultiLambdaFusion
        With the averaged weights.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds no picture that is large enough, or the recipe has strides or colours.

    Examples
    --------
    A run is set up and started as in `train_prior`; its settings are checked first.

    >>> from unrolled import Recipe
    >>> from unrolled.train import Fusion, train_fusion
    >>> train_fusion(Fusion(recipe=Recipe(channels=3)))
    Traceback (most recent call last):
    ValueError: recipe.channels=3; expected 1: colours are restored one by one
    """
    if config.recipe.strided:
        raise ValueError(
            f"recipe.strided={config.recipe.strided}; expected 0: the solver restores no strides"
        )
    if config.recipe.channels != 1:
        raise ValueError(
            f"recipe.channels={config.recipe.channels}; expected 1: colours are restored one by one"
        )
    fabric = launched(config)
    seen, held = _pictures(config.data, config.recipe.domain)
    if config.start:
        net = MultiLambdaFusion.from_pretrained(config.start).train()
    else:
        net = MultiLambdaFusion(config.net)
    if config.prior and not config.start:
        prior = ResUNet(1, config.net.widths, blocks=config.net.blocks)
        weights.fill(prior, weights.read_tensors(config.prior), config.prior)
        net.begin_from(prior)
    return _train_latent(net, config, fabric, seen, held)


def _train_latent(
    net: nn.Module, config: Any, fabric: Fabric, seen: list[Tensor], held: list[Tensor]
) -> nn.Module:
    """Train what restores latent pictures; the weights are named as the command."""
    average = train(
        net,
        Synthesis(seen, config.recipe, seed=config.seed, device=fabric.device),
        LATENT[config.loss],
        config,
        fabric=fabric,
        validation=Validation(held, config.recipe, config.run, device=fabric.device),
    )
    if fabric.is_global_zero:
        name = next(name for name, (kind, _) in RUNS.items() if type(config) is kind)
        weights.save(average, config.run / f"{name}.safetensors")
    return average


def _pictures(folder: Path, least: int) -> tuple[list[Tensor], list[Tensor]]:
    """Pictures to train on and pictures to validate with."""
    return parted(load_pictures(folder, least=least))


RUNS: dict[str, tuple[type[TrainConfig], Callable[[Any], nn.Module]]] = {
    "prior": (Prior, train_prior),
    "hqs": (HQS, train_hqs),
    "fusion": (Fusion, train_fusion),
    "blur": (BlurRun, train_blur),
    "paired": (PairedRun, train_paired),
    "unpaired": (UnpairedRun, train_unpaired),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    import tyro

    kinds = {name: kind for name, (kind, _) in RUNS.items()}
    config = tyro.extras.subcommand_cli_from_dict(kinds, args=arguments)
    next(run for kind, run in RUNS.values() if type(config) is kind)(config)


if __name__ == "__main__":
    main()
