"""Prior networks in files for other programs: ONNX, or a program of torch.export."""

from __future__ import annotations

import copy
import importlib.util
import io
import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deconv.arrays import choose
from deconv.io import atomic
from unrolled.unet import ResUNet

__all__ = ["export_prior"]


class _Denoiser(nn.Module):
    """The network under the names that the file gives its inputs."""

    def __init__(self, prior: ResUNet) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, picture: Tensor, sigma: Tensor) -> Any:
        """(N, C, H, W) and (N, 1, H, W) to (N, C, H, W)."""
        return self.prior(picture, sigma)


def export_prior(
    model: nn.Module, path: str | PathLike[str], *, size: tuple[int, int] | None = None
) -> Path:
    """Write the prior of a network as a denoiser that needs none of this package.

    Its inputs are "picture", (N, C, H, W) on [0, 1], and "sigma", (N, 1, H, W), the noise's
    standard deviation at each pixel; its output "clean" is (N, C, H, W). All are float32. Height
    and width are multiples of the network's stride (8 for three scales) and at least twice it:
    other pictures are continued to that, as by their edge pixels, and the result is cropped.

    Parameters
    ----------
    model : HQSNet or ResUNet
        It is left as it is.
    path : path
        ``.onnx``, for ONNX runtimes, or ``.pt2``, for ``torch.export.load``.
    size : (int, int), optional
        Height and width, where the file is to take no others: some runtimes are quicker then. The
        number of pictures is free in any case.

    Returns
    -------
    path
        Of the file.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ImportError
        If a package that ONNX files need is absent.
    TypeError
        If the model has no such prior.
    ValueError
        If the suffix is another, or `size` is not of such multiples.

    Examples
    --------
    >>> import tempfile
    >>> from unrolled import ResUNet, export_prior
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_prior(ResUNet(1, (4, 4), blocks=1), f"{folder}/denoiser.pt2").name
    'denoiser.pt2'
    """
    path = Path(path)
    suffix = choose(path.suffix.lower(), (".onnx", ".pt2"), "suffix")
    prior = getattr(model, "prior", model)
    if not isinstance(prior, ResUNet):
        raise TypeError(f"model is a {type(model).__name__}; expected an HQSNet or a ResUNet")
    stride = prior.stride
    if size is not None and (len(size) != 2 or any(n % stride or n < 2 * stride for n in size)):
        raise ValueError(
            f"size={size!r}; expected multiples of the stride {stride}, from {2 * stride} on"
        )
    network = _Denoiser(copy.deepcopy(prior).to("cpu", torch.float32)).eval()
    dim = torch.export.Dim
    axes: dict[int, Any] = {0: dim("pictures")}
    if size is None:
        axes |= {2: stride * dim("rows", min=2), 3: stride * dim("columns", min=2)}
    height, width = size or (2 * stride, 3 * stride)
    # Two pictures, since a size of 1 would be taken for a constant.
    inputs = torch.zeros(2, prior.channels, height, width), torch.zeros(2, 1, height, width)
    shapes = {"picture": axes, "sigma": axes}
    with atomic(path) as temporary, torch.no_grad(), warnings.catch_warnings():
        # torch's own, about its pytrees and about axes of one name, which these are to have.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        warnings.filterwarnings("ignore", r"# The axis name: .* will not be used", UserWarning)
        write = _write_pt2 if suffix == ".pt2" else _write_onnx
        write(network, inputs, shapes, temporary)
    return path


# Both formats note for every node where in whose source it comes from. That stays here.


def _write_pt2(network: nn.Module, inputs: Any, shapes: Any, path: Path) -> None:
    program = torch.export.export(network, inputs, dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    buffer = io.BytesIO()  # the archive would be called after a temporary file
    torch.export.save(program, buffer)
    path.write_bytes(buffer.getvalue())


def _write_onnx(network: nn.Module, inputs: Any, shapes: Any, path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f".onnx files need the package {package}: pip install 'deconv[export]', "
                "or write a .pt2 file"
            )
    program = torch.onnx.export(
        network,
        inputs,
        dynamo=True,
        dynamic_shapes=shapes,
        input_names=["picture", "sigma"],
        output_names=["clean"],
        verbose=False,
    )
    for node in program.model.graph:
        node.metadata_props.clear()
    program.save(path, external_data=False)
