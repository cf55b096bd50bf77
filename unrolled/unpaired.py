"""How a network learns to blur as cameras do, from photographs whose sharp version nobody has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unrolled import weights
from unrolled.crops import LUMA
from unrolled.features import classifier_features
from unrolled.loop import Rival, TrainConfig, launched, train
from unrolled.models.dbgan import ADVERSARIAL, BGAN, bgan_loss
from unrolled.paired import Against
from unrolled.paired_pictures import UnpairedPictures
from unrolled.pairs import Pair
from unrolled.validation import draw_strip

__all__ = ["BlurStatistics", "UnpairedRun", "radial_spectrum", "train_unpaired"]

BANDS = 24


@dataclass(frozen=True)
class UnpairedRun(TrainConfig):
    """Train a `BGAN` to blur; the result is ``unpaired.safetensors`` and its JSON in the run.

    ``python -m unrolled.train paired --blurred-by`` then trains a restorer on what it makes.

    The other settings are those of `unrolled.loop.TrainConfig`.

    Parameters
    ----------
    preset : str
        Size of the network.
    data, blurred : path
        Folders of sharp pictures and of really blurred ones, of whatever scenes.
    side : int
        Of the crops in pixels.
    against : Against
        The critic, which compares with blurred photographs.

    Raises
    ------
    ValueError
        If `against` has no critic.

    References
    ----------
    K. Zhang et al., "Deblurring by realistic blurring", CVPR 2020.

    Examples
    --------
    >>> from unrolled.unpaired import UnpairedRun
    >>> run = UnpairedRun(steps=100, side=64)
    >>> run.against.loss, run.against.critic
    ('relativistic-blur', 'vgg')
    """

    run: Path = Path("runs/unpaired")
    steps: int = 5000
    batch: int = 4
    lr: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.99)
    preset: str = "small"
    data: Path = Path("data")
    blurred: Path = Path("blurred")
    side: int = 128
    against: Against = field(
        default_factory=lambda: Against("relativistic-blur", ADVERSARIAL, "vgg")
    )

    def __post_init__(self) -> None:
        """Refuse what learns nothing."""
        if self.against.loss == "none":
            raise ValueError("against.loss='none'; expected a critic: there are no pairs")


def train_unpaired(config: UnpairedRun) -> nn.Module:
    """The run of ``python -m unrolled.train unpaired``.

    Parameters
    ----------
    config : UnpairedRun
        The run.

    Returns
    -------
    BGAN
        With the averaged weights.

    Raises
    ------
    FileNotFoundError, ValueError
        If a folder holds no picture, or one is smaller than the crops.

    Examples
    --------
    A run is set up and started as in `unrolled.train.train_prior`; its settings are checked first.

    >>> from pathlib import Path
    >>> from unrolled.unpaired import UnpairedRun, train_unpaired
    >>> train_unpaired(UnpairedRun(data=Path("none"), blurred=Path("none"), accelerator="cpu"))
    Traceback (most recent call last):
    FileNotFoundError: ...
    """
    fabric = launched(config)
    samples = UnpairedPictures(
        config.blurred, config.data, config.side, seed=config.seed, device=fabric.device
    )
    against = config.against
    adversary = against.adversary(channels=3)
    assert adversary is not None  # __post_init__
    features = classifier_features().to(fabric.device)

    def loss(model: nn.Module, pair: Pair) -> Tensor:
        fake = model(pair.sharp)
        return bgan_loss(
            adversary, features, fake, pair.sharp, pair.blurred, adversarial=against.weight
        )

    def judged(_: nn.Module, pair: Pair, fake: Tensor) -> Tensor:
        return adversary.critic_loss(pair.blurred, fake)

    average = train(
        BGAN.preset(config.preset),
        samples,
        loss,
        config,
        fabric=fabric,
        validation=BlurStatistics(samples.batch(0, range(16)), config.run),
        rival=Rival(
            adversary.critic, judged, lambda net, pair: net(pair.sharp), against.turns, against.lr
        ),
    )
    if fabric.is_global_zero:
        weights.save(average, config.run / "unpaired.safetensors")
    return average


class BlurStatistics:
    """How far the spectra of generated pictures are from those of really blurred ones.

    Parameters
    ----------
    pair : Pair
        Sharp and really blurred pictures, of different scenes.
    run : path
        Where ``pictures/STEP.png`` go: sharp above, and what is made of them.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> net = BGAN.preset("small", width=8, growth=4, blocks=1)
    >>> pair = Pair(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     scores = BlurStatistics(pair, Path(folder))(net, 1)
    >>> sorted(scores), scores["change"]
    (['change', 'generated', 'sharp'], 0.0)
    """

    def __init__(self, pair: Pair, run: Path) -> None:
        self.pair, self.run = pair, run
        noise = torch.Generator().manual_seed(1)
        self.noise = torch.randn((len(pair.sharp), 64), generator=noise).to(pair.sharp)

    @torch.no_grad()
    def __call__(self, model: Any, step: int) -> dict[str, float]:
        """Mean distance of the logarithm of radial spectra in dB, and that of the sharp ones."""
        model.eval()
        fake = model(self.pair.sharp, self.noise[:, : model.config.noise])
        model.train()
        strip = torch.cat([self.pair.sharp[:4], fake[:4]], dim=-2)
        draw_strip(torch.cat(list(strip), dim=-1), self.run / "pictures" / f"{step:06d}.png")
        real = radial_spectrum(self.pair.blurred)
        return {
            "generated": _distance(radial_spectrum(fake), real),
            "sharp": _distance(radial_spectrum(self.pair.sharp), real),
            "change": float((fake - self.pair.sharp).abs().mean()),
        }


def radial_spectrum(x: Tensor, bands: int = BANDS) -> np.ndarray:
    """Mean power of pictures (N, 3, H, W) by frequency, in dB and relative to the lowest band.

    Under a Hann window, of luma, on rings of equal width up to half a cycle a pixel: (bands,).

    Parameters
    ----------
    x : tensor, shape (N, 3, H, W)
        On [0, 1].
    bands : int
        Number of rings.

    Returns
    -------
    ndarray (bands,)

    Examples
    --------
    Blur takes the fine structure:

    >>> import torch
    >>> from unrolled.unpaired import radial_spectrum
    >>> sharp = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> soft = torch.nn.functional.avg_pool2d(sharp, 3, 1)
    >>> bool(radial_spectrum(soft, 8)[-1] < radial_spectrum(sharp, 8)[-1] - 6)
    True
    """
    grey = torch.einsum("c,nchw->nhw", x.new_tensor(LUMA), x)
    height, width = grey.shape[-2:]
    window = torch.outer(_hann(height, x), _hann(width, x))
    mean = (grey * window).sum((-2, -1), keepdim=True) / window.sum()
    power = torch.fft.fft2((grey - mean) * window).abs().square()
    # Each picture counts the same, whatever its contrast.
    power = (power / power.sum((-2, -1), keepdim=True)).mean(0).flatten()
    rows, columns = (torch.fft.fftfreq(n, device=x.device) for n in (height, width))
    ring = (2 * bands * torch.hypot(rows[:, None], columns)).long().flatten()
    sums = torch.zeros(int(ring.max()) + 1, device=x.device).index_add(0, ring, power)
    mean_power = sums / torch.bincount(ring).clamp(min=1)
    levels: np.ndarray = (10 * torch.log10(mean_power[:bands] / mean_power[0])).cpu().numpy()
    return levels


def _hann(size: int, like: Tensor) -> Tensor:
    return torch.hann_window(size, periodic=False, dtype=like.dtype, device=like.device)


def _distance(one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(np.abs(np.subtract(one, other))))
