"""Weights of networks in files: tensors as safetensors, and beside them what they are of, as JSON.

Both are data and nothing else. A pickle can run code as it is read, so none is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from deconv.arrays import choose
from deconv.io import atomic

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["describe", "fill", "load", "names", "network_of", "read_tensors", "save"]

SHIPPED = Path(__file__).parent / "weights"
FORMAT = 1
STORED = ("float32", "float16", "bfloat16")
PICKLES = (".pth", ".pt", ".ckpt", ".bin", ".pkl")
CONVERSION = (
    "pickles can run code and are never loaded; convert it where you trust it: "
    "safetensors.torch.save_file(torch.load(path, weights_only=True), 'NAME.safetensors')"
)

M = TypeVar("M", bound="nn.Module")


def names(network: str | None = None) -> tuple[str, ...]:
    """The weights that come with the package; those of one `network`, by the name of its class.

    Parameters
    ----------
    network : str, optional
        Name of a class, such as "HQSNet".

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from unrolled import weights
    >>> "hqs-gray" in weights.names("HQSNet")
    True
    """
    found = sorted(path.stem for path in SHIPPED.glob("*.json"))
    return tuple(name for name in found if network is None or network_of(name) == network)


def network_of(name_or_path: str | PathLike[str]) -> Any:
    """The name of the class that some weights are of; another name for them tells it too.

    Parameters
    ----------
    name_or_path : str or path
        As of `load`.

    Returns
    -------
    str

    Raises
    ------
    FileNotFoundError, ValueError
        As `describe`.

    Examples
    --------
    >>> from unrolled import weights
    >>> weights.network_of("hqs-gray")
    'HQSNet'
    """
    values = describe(name_or_path)
    return (describe(values["alias"]) if "alias" in values else values).get("network")


def describe(name_or_path: str | PathLike[str]) -> dict[str, Any]:
    """The JSON beside some weights, named as for `load`.

    Parameters
    ----------
    name_or_path : str or path
        As of `load`.

    Returns
    -------
    dict
        Network, configuration and card.

    Raises
    ------
    FileNotFoundError
        If there are no such files.
    ValueError
        If the name is not one of `names`, or the JSON is damaged.

    Examples
    --------
    >>> from unrolled import weights
    >>> weights.describe("hqs-gray")["network"]
    'HQSNet'
    """
    return _description(_locate(name_or_path))


def save(
    model: nn.Module,
    path: str | PathLike[str],
    *,
    card: Mapping[str, Any] | None = None,
    dtype: Any = "float32",
) -> Path:
    """Write a network's weights, and beside them its configuration.

    Parameters
    ----------
    model : module
        With a dataclass `config`, which its class is made from.
    path : path
        ``NAME.safetensors``, or without the suffix; ``NAME.json`` is written beside it.
    card : mapping, optional
        What else to say in the JSON, under "card": data, training, scores, licence.
    dtype : {"float32", "float16", "bfloat16"} or the torch dtype
        That the file holds. It is read back as float32.

    Returns
    -------
    path
        Of the safetensors file.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    TypeError
        If the model has no such `config`, or JSON cannot hold it or `card`.
    ValueError
        If a weight is not finite in `dtype`.

    Examples
    --------
    >>> import tempfile
    >>> from unrolled import HQSConfig, HQSNet, weights
    >>> net = HQSNet(HQSConfig(widths=(8, 8), iterations=2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = weights.save(net, f"{folder}/mine", card={"data": "none"})
    ...     path.name, HQSNet.from_pretrained(path).config == net.config
    ('mine.safetensors', True)
    """
    import safetensors.torch
    import torch

    root = _root(Path(path))
    config = getattr(model, "config", None)
    if not is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"{type(model).__name__}.config is {config!r}; expected a dataclass")
    stored = choose(str(dtype).removeprefix("torch."), STORED, "dtype")
    kind = getattr(torch, stored)
    tensors = {
        key: t.to("cpu", kind if t.is_floating_point() else None, copy=True).contiguous()
        for key, t in model.state_dict().items()
    }
    _check_finite(tensors, f"{type(model).__name__} in {stored}")
    data = safetensors.torch.save(tensors, metadata={"format": "pt"})
    description = {
        "format": FORMAT,
        "network": type(model).__name__,
        "config": asdict(config),
        "dtype": stored,
        "parameters": sum(tensor.numel() for tensor in model.parameters()),
        "sha256": hashlib.sha256(data).hexdigest(),
        "card": dict(card or {}),
    }
    text = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    target = _with(root, ".safetensors")
    # Neither takes its name before both are written.
    with atomic(target) as weights, atomic(_with(root, ".json")) as beside:
        weights.write_bytes(data)
        beside.write_text(text, encoding="utf-8")
    return target


def load(name_or_path: str | PathLike[str], kind: type[M]) -> M:
    """A network with its weights, in float32 and in evaluation mode.

    Parameters
    ----------
    name_or_path : str or path
        One of `names` as a str; a ``.safetensors`` file, its JSON beside it; or a folder that holds
        exactly one.
    kind : class
        Of the network. Its only argument, `config`, is annotated with a dataclass.

    Returns
    -------
    module
        Of the class `kind`.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or no JSON beside it.
    ValueError
        If the name is unknown; if the file is damaged or no safetensors file; if the JSON is of
        another network or has fields that its configuration has not; if the tensors are not those
        of the network, or not finite.

    Examples
    --------
    >>> from unrolled import HQSNet, weights
    >>> net = weights.load("hqs-gray", HQSNet)
    >>> net.config.channels, net.training
    (1, False)
    """
    import torch

    root = _locate(name_or_path)
    values = _description(root)
    where = _with(root, ".json")
    if "alias" in values:
        raise ValueError(f"{where} is another name of {values['alias']!r}: load that")
    if values.get("format") != FORMAT:
        raise ValueError(
            f"{where} has format {values.get('format')!r}; expected {FORMAT}: a later format needs "
            "a later version of this package"
        )
    if values.get("network") != kind.__name__:
        raise ValueError(f"{where} is of a {values.get('network')!r}; expected {kind.__name__!r}")
    config = _config(values.get("config"), kind, where)
    path = _with(root, ".safetensors")
    tensors = read_tensors(path, values.get("sha256"))
    try:
        # What the weights replace is drawn without moving the caller's random state.
        with torch.random.fork_rng(devices=[]):
            model: M = kind(config)
    except Exception as error:
        raise ValueError(f"{where}: no {kind.__name__} has this config: {error}") from error
    fill(model, tensors, path)
    model.eval()
    return model


def _root(path: Path) -> Path:
    """A path of weights without the suffix."""
    return path.with_suffix("") if path.suffix in (".safetensors", ".json") else path


def _with(root: Path, suffix: str) -> Path:
    """A `_root` with a suffix; the name itself may hold dots."""
    return root.with_name(root.name + suffix)


def _locate(name_or_path: str | PathLike[str]) -> Path:
    """The `_root` of a shipped name, a file or a folder."""
    if name_or_path in names():
        return SHIPPED / name_or_path
    path = Path(name_or_path)
    if path.is_dir():
        found = sorted(p for p in path.glob("*.safetensors") if not p.name.startswith("."))
        if len(found) != 1:
            raise ValueError(
                f"folder {path} holds {len(found)} .safetensors files; expected one: give the path "
                f"of the file {' or '.join(p.name for p in found[:3])}"
            )
        return _root(found[0])
    root = _root(path)
    if root == path and path.is_file():
        raise ValueError(f"{path} is no .safetensors file{_remedy(path)}")
    if _with(root, ".safetensors").is_file() or _with(root, ".json").is_file():
        return root
    if root != path or len(path.parts) > 1 or not isinstance(name_or_path, str):
        raise FileNotFoundError(f"no weights at {path}; shipped are: {', '.join(names())}")
    try:
        return SHIPPED / choose(name_or_path, names(), "weights")
    except ValueError as error:
        raise ValueError(f"{error}, or the path of a .safetensors file") from None


def _remedy(path: Path) -> str:
    """What to do about a file that is no safetensors file, to go on with its sentence."""
    with path.open("rb") as file:
        start = file.read(4)
    # A zip archive, or the protocol byte of a plain pickle.
    if path.suffix in PICKLES or start == b"PK\x03\x04" or start[:1] == b"\x80":
        return f" but a pickle: {CONVERSION}"
    return f" or damaged ({path.stat().st_size} bytes): copy or download it again"


def _description(root: Path) -> dict[str, Any]:
    path = _with(root, ".json")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; beside the weights it says what they are of: copy it too, or "
            f'write {{"format": {FORMAT}, "network": CLASS, "config": {{FIELD: VALUE}}}}'
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}; expected a JSON object")
    return values


def _config(values: Any, network: type[Any], where: Path) -> Any:
    """A configuration of a class, from JSON; a field that is not there has its default."""
    hint = get_type_hints(network.__init__)["config"]
    kind: Any = next(part for part in (hint, *get_args(hint)) if is_dataclass(part))
    if not isinstance(values, dict):
        raise ValueError(f"{where} has config {values!r}; expected the fields of {kind.__name__}")
    defaults = {field.name: field.default for field in fields(kind)}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    for name, value in values.items():
        if name not in defaults:
            raise ValueError(
                f"{where} has config field {name!r}, unknown to {kind.__name__}; "
                f"expected of: {', '.join(defaults)}"
            )
        default = defaults[name]
        like = (float, int) if type(default) is float else (type(default),)
        if default not in (None, MISSING) and type(value) not in like:
            raise ValueError(f"{where} has config {name}={value!r}; expected one like {default!r}")
    return kind(**values)


def read_tensors(path: Path, digest: str | None = None) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, of the sha256 `digest`.

    Parameters
    ----------
    path : path
        A ``.safetensors`` file.
    digest : str, optional
        The sha256 that it must have.

    Returns
    -------
    dict of str to tensor

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, or has another sha256.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from unrolled import ResUNet, weights
    >>> from unrolled.hqs import HQSConfig, HQSNet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = weights.save(HQSNet(HQSConfig(widths=(8, 8))), f"{folder}/net")
    ...     tensors = weights.read_tensors(path)
    >>> "prior.head.weight" in tensors
    True
    """
    import safetensors.torch
    from safetensors import SafetensorError

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; there is only its JSON")
    data = path.read_bytes()
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, KeyError) as error:  # KeyError: a type that torch has not
        raise ValueError(f"{path} is no safetensors file{_remedy(path)} ({error})") from error
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(
            f"{path} is not the file that the JSON beside it was written with (sha256 "
            f"{digest[:12]}…): copy or download both again"
        )
    return tensors


def fill(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    where: Any,
    named: Callable[[str], str] = str,
) -> None:
    """Set every tensor of `model` to the one that the file calls ``named(key)``, and none other.

    Parameters
    ----------
    model : module
        What is filled.
    tensors : mapping of str to tensor
        What a file holds.
    where : str or path
        What the message calls the file.
    named : callable
        The file's name of a tensor that the model calls ``key``.

    Raises
    ------
    ValueError
        If a tensor is missing, of another shape or not finite, or one is left over.

    Examples
    --------
    >>> from torch import nn
    >>> from unrolled import weights
    >>> one, other = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> weights.fill(one, other.state_dict(), "other")
    >>> bool((one.weight == other.weight).all())
    True
    """
    own = {named(key): tensor for key, tensor in model.state_dict().items()}
    faults = [f"{key} is missing" for key in own if key not in tensors]
    faults += [f"{key} is unexpected" for key in tensors if key not in own]
    for key in own:
        got, expected = (tuple(getattr(t, "shape", ())) for t in (tensors.get(key), own[key]))
        if key in tensors and got != expected:
            faults.append(f"{key} is {got}, expected {expected}")
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ValueError(
            f"{where} does not match {type(model).__name__} of its config: "
            f"{'; '.join(faults[:3])}{more}"
        )
    model.load_state_dict({key: tensors[named(key)] for key in model.state_dict()})
    _check_finite(own, where)


def _check_finite(tensors: Mapping[str, Tensor], where: Any) -> None:
    bad = [key for key, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        raise ValueError(f"{where} has NaN or infinity in {len(bad)}: {', '.join(bad[:3])}")
