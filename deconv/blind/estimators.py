"""The blind estimators by name: what each does at one level of the pyramid.

A prior that offers the image step of `deconv.blind.alternation.ImagePrior` is one line in `PRIORS`;
an estimator with a loop of its own is one in `REFINES`.
"""

from __future__ import annotations

from collections.abc import Callable

from deconv.blind.alternation import Alternation, ImagePrior, Tell
from deconv.blind.dark_channel import DarkChannel
from deconv.blind.discriminative import Discriminative
from deconv.blind.edge import Edge, UsefulEdges
from deconv.blind.kernel import KernelStep
from deconv.blind.l0 import L0
from deconv.blind.normalized_sparsity import NormalizedSparsity
from deconv.blind.patch_minimum import PatchMinimum
from deconv.blind.pyramid import Refine
from deconv.blind.text import Text
from deconv.blind.variational_bayes import VariationalBayes

__all__ = ["NAMES", "estimator", "ready"]

PRIORS: dict[str, Callable[[], ImagePrior]] = {
    "l0": L0,
    "patch_minimum": PatchMinimum,
    "dark_channel": DarkChannel,
    "bright_channel": lambda: DarkChannel(dark=False, bright=True),
    "extreme_channels": lambda: DarkChannel(dark=True, bright=True),
    "text": Text,
    "text_paper": lambda: Text(ink=False),
    "edge": Edge,
    "discriminative": Discriminative,
}
# First weight of the gradients and iterations per scale, where a prior wants other ones.
MU = {"patch_minimum": 5e-3}
N_ITER = {"patch_minimum": 6}
REFINES: dict[str, Callable[[Tell | None], Refine]] = {
    "useful_edges": lambda tell: UsefulEdges(tell=tell),
    "normalized_sparsity": lambda tell: NormalizedSparsity(tell=tell),
    "variational_bayes": VariationalBayes,
}

NAMES = (*PRIORS, *REFINES)


def ready(name: str) -> None:
    """Refuse a prior that needs what is not installed, before any work; an ImportError."""
    if name in PRIORS:
        PRIORS[name]()


def estimator(
    name: str,
    *,
    step: KernelStep | None = None,
    least_tau: float = 0.0,
    n_full: int | None = None,
    tell: Tell | None = None,
) -> Refine:
    """`refine` for one run through the pyramid; it keeps state, so each run needs a new one.

    The keywords are those of `Alternation`; estimators with a loop of their own take `tell` only.
    """
    if name in REFINES:
        return REFINES[name](tell)
    return Alternation(
        PRIORS[name](),
        step or KernelStep(),
        mu=MU.get(name, 4e-3),
        n_iter=N_ITER.get(name, 5),
        n_full=n_full,
        least_tau=least_tau,
        tell=tell,
    )
