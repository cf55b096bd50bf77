"""Scores of other libraries, on pictures as those want them; none downloads anything."""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["brisque", "lpips", "lpips_at_hand", "ms_ssim", "uqi", "vif"]


def ms_ssim(true: np.ndarray, x: np.ndarray) -> float:
    """MS-SSIM of grey pictures on [0, 255], by sewar; its five scales need 176 pixels."""
    if min(x.shape) < 176:
        raise ValueError(f"five scales of an 11 pixel window need 176 pixels; this has {x.shape}")
    return float(_sewar().msssim(true, x, MAX=255.0))


def vif(true: np.ndarray, x: np.ndarray) -> float:
    """Pixel-domain VIF of grey pictures on [0, 255], by sewar."""
    if min(x.shape) < 41:
        raise ValueError(f"four scales of its windows need 41 pixels; this has {x.shape}")
    return float(_sewar().vifp(true, x))


def uqi(true: np.ndarray, x: np.ndarray) -> float:
    """UQI of grey pictures in windows of 8 pixels, by sewar."""
    return float(_sewar().uqi(true, x))


def lpips(true: np.ndarray, x: np.ndarray) -> float:
    """LPIPS of pictures (Y, X) or (Y, X, 3) with white at 1, with AlexNet, by torchmetrics."""
    import torch

    def planes(levels: np.ndarray) -> Any:
        rgb = levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=-1)
        return torch.tensor(np.clip(rgb, 0, 1).transpose(2, 0, 1)[None].astype(np.float32))

    with torch.no_grad():
        return float(_lpips()(planes(true), planes(x)))


def lpips_at_hand() -> bool:
    """Whether AlexNet's weights lie where torchvision looks for them before it downloads."""
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return any(folder.glob("alexnet-owt-*.pth"))


def brisque(x: np.ndarray) -> float:
    """BRISQUE of a grey picture with white at 1, by the model in the package of that name."""
    rgb = np.repeat(np.clip(x, 0, 1)[..., None], 3, axis=-1)
    return float(_brisque().score(np.rint(rgb * 255).astype(np.uint8)))


@cache
def _sewar() -> Any:
    return importlib.import_module("sewar")


@cache
def _lpips() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = importlib.import_module("torchmetrics.image.lpip")
        return image.LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)


@cache
def _brisque() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judge = importlib.import_module("brisque").BRISQUE(url=False)
    scale = judge.scale_features
    # Some of its features are arrays of one element, which NumPy 2.4 takes for no number.
    judge.scale_features = lambda features: scale([np.ravel(f)[0] for f in features])
    return judge
