"""Features of pictures that stand for how they look: what `unrolled.losses.perceptual` compares.

Those of the package's own classifier of blur come with it; those of VGG19, which papers use, are
read from a file that the user has. Both are frozen: gradients go through them, to the picture.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from unrolled.models.blocks import check_picture
from unrolled.models.blur_classifier import LEAST_SIDE, LUMA, BlurClassifier
from unrolled.weights import CONVERSION, fill

__all__ = ["ClassifierFeatures", "VGGFeatures", "classifier_features", "vgg19_features"]

# Convolutions of VGG19 up to conv3_3, by the widths of each scale.
WIDTHS = ((64, 64), (128, 128), (256, 256, 256))
# What pictures of its training had for mean and standard deviation of each colour.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ClassifierFeatures(nn.Module):
    """What a `BlurClassifier` sees of a picture before it decides.

    Mean and contrast around each place are taken off first, as the classifier does: these features
    tell a sharp edge from a soft one, and say nothing of brightness or colour.

    Parameters
    ----------
    net : BlurClassifier
        It is frozen.

    References
    ----------
    Li, Pan, Lai, Gao, Sang and Yang (2018), "Learning a discriminative prior for blind image
    deblurring", CVPR.

    Examples
    --------
    >>> import torch
    >>> from unrolled import BlurClassifier
    >>> from unrolled.features import ClassifierFeatures
    >>> ClassifierFeatures(BlurClassifier())(torch.rand(2, 1, 32, 48)).shape
    torch.Size([2, 32, 4, 6])
    """

    def __init__(self, net: BlurClassifier) -> None:
        super().__init__()
        self.net = frozen(net)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (N, 1 or 3, H, W) on [0, 1] to features (N, width, H // 8, W // 8).

        Eight is for four widths; of three colours the luma is looked at.

        Raises
        ------
        TypeError, ValueError
            If `x` is of another shape, of fewer than 16 pixels each way, or not of floating point.
        """
        _check(x, LEAST_SIDE)
        if x.shape[1] == 3:
            mix = torch.tensor(LUMA, dtype=x.dtype, device=x.device)
            x = (x * mix[:, None, None]).sum(1, keepdim=True)
        return self.net.features(x)


class VGGFeatures(nn.Module):
    """The layers of VGG19 up to conv3_3, before its ReLU (Simonyan and Zisserman 2015).

    References
    ----------
    Simonyan and Zisserman (2015), "Very deep convolutional networks for large-scale image
    recognition", ICLR.

    Examples
    --------
    >>> import torch
    >>> from unrolled.features import VGGFeatures
    >>> VGGFeatures()(torch.rand(1, 3, 16, 24)).shape
    torch.Size([1, 256, 4, 6])
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*_vgg_layers())
        scale = torch.tensor([MEAN, DEVIATION])[:, :, None, None]
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (N, 1 or 3, H, W) on [0, 1] to features (N, 256, H // 4, W // 4).

        Grey ones are seen as three equal colours.

        Raises
        ------
        TypeError, ValueError
            If `x` is of another shape, of fewer than 4 pixels each way, or not of floating point.
        """
        _check(x, 4)
        mean, deviation = self.scale.to(x.dtype)
        return self.features((x - mean) / deviation)


def classifier_features(name_or_path: str | PathLike[str] = "blur-classifier") -> nn.Module:
    """Features of a trained `BlurClassifier`, as a frozen module; see `ClassifierFeatures`.

    Parameters
    ----------
    name_or_path : str or path
        As of `BlurClassifier.from_pretrained`, whose errors are raised.

    Returns
    -------
    ClassifierFeatures

    Examples
    --------
    >>> import torch
    >>> from unrolled.features import classifier_features
    >>> classifier_features()(torch.rand(2, 3, 64, 48)).shape
    torch.Size([2, 32, 8, 6])
    """
    return frozen(ClassifierFeatures(BlurClassifier.from_pretrained(name_or_path)))


def vgg19_features(path: str | PathLike[str]) -> nn.Module:
    """Features of VGG19 at conv3_3, as a frozen module; see `VGGFeatures`.

    Parameters
    ----------
    path : path
        A ``.safetensors`` file of VGG19 as torchvision names its tensors, "features.0.weight" and
        so on. Only those that are needed are read.

    Returns
    -------
    VGGFeatures

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no safetensors file, or its tensors are not those of VGG19, or not finite.

    Examples
    --------
    >>> from unrolled.features import vgg19_features
    >>> vgg19_features("vgg19.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: ...
    """
    path = Path(path)
    with torch.random.fork_rng(devices=[]):
        net = VGGFeatures()
    fill(net, _read(path, list(net.state_dict())), path)
    return frozen(net)


def frozen(net: nn.Module) -> nn.Module:
    """`net` in evaluation mode, its parameters without gradients."""
    return net.eval().requires_grad_(False)


def _check(x: Tensor, least: int) -> None:
    grey = isinstance(x, Tensor) and x.ndim == 4 and x.shape[1] == 1
    check_picture(x, 1 if grey else 3, least=least)


def _vgg_layers() -> list[nn.Module]:
    layers: list[nn.Module] = []
    before = 3
    for level, widths in enumerate(WIDTHS):
        if level:
            layers.append(nn.MaxPool2d(2))
        for width in widths:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(inplace=True)]
            before = width
    return layers[:-1]


def _read(path: Path, names: list[str]) -> dict[str, Tensor]:
    """The tensors of these names that a safetensors file has."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"path={str(path)!r} does not exist; expected a .safetensors file")
    try:
        with safe_open(path, "pt") as file:
            has = set(file.keys())
            return {name: file.get_tensor(name) for name in names if name in has}
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file ({error}); {CONVERSION}") from error
