"""Any trained restorer by its name: its JSON says which network it is of."""

from __future__ import annotations

import importlib
from os import PathLike
from typing import Any

from unrolled import weights

__all__ = ["DIRECT", "RESTORERS", "restorer", "shipped"]

# Where each network with a `restore` lives.
RESTORERS = {
    "HQSNet": "hqs",
    "MultiLambdaFusion": "fusion",
    "NAFNet": "models.nafnet",
    "MIMOUNet": "models.mimo_unet",
    "DeepDeblur": "models.deepdeblur",
    "SVRNN": "models.svrnn",
    "DeblurGAN": "models.deblurgan",
    "DBGAN": "models.dbgan",
}
# Those of them that are given no psf.
DIRECT = ("NAFNet", "MIMOUNet", "DeepDeblur", "SVRNN", "DeblurGAN", "DBGAN")


def shipped(*, needs_psf: bool) -> tuple[str, ...]:
    """The weights that come with the package, of networks that are given a psf or that are not.

    Parameters
    ----------
    needs_psf : bool
        Which of the two.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from unrolled.pretrained import shipped
    >>> "hqs-gray" in shipped(needs_psf=True), "hqs-gray" in shipped(needs_psf=False)
    (True, False)
    """
    return tuple(name for name in weights.names() if _fits(weights.network_of(name), needs_psf))


def restorer(name_or_path: str | PathLike[str], *, needs_psf: bool | None = None) -> Any:
    """The network with its weights; it has ``restore(image, psf)``, or ``restore(image)``.

    Parameters
    ----------
    name_or_path : str or path
        As of `unrolled.weights.load`.
    needs_psf : bool, optional
        Which of the two is expected, if not either.

    Returns
    -------
    module

    Raises
    ------
    FileNotFoundError, ValueError
        As `unrolled.weights.load`, and if the weights are of another kind of network.

    Examples
    --------
    >>> from unrolled.pretrained import restorer
    >>> type(restorer("hqs-gray")).__name__
    'HQSNet'
    """
    kind = weights.network_of(name_or_path)
    if not _fits(kind, needs_psf):
        expected = tuple(name for name in RESTORERS if _fits(name, needs_psf))
        raise ValueError(
            f"{name_or_path} holds the weights of a {kind}; expected one of {expected}"
        )
    module = importlib.import_module(f"unrolled.{RESTORERS[kind]}")
    return getattr(module, kind).from_pretrained(name_or_path)


def _fits(kind: Any, needs_psf: bool | None) -> bool:
    return kind in RESTORERS and needs_psf in (None, kind not in DIRECT)
