r"""What a network takes for sharp: the discriminative prior of Li, Pan, Lai, Gao, Sang and Yang.

.. math:: \min_x \|k * x - y\|^2 + \mu \#\{\nabla x \ne 0\} + \lambda f(x)

f says how blurred x looks. By half-quadratic splitting with u near x: a few steps of gradient
descent on :math:`\beta |u - x|^2 / 2 + \lambda f(u)`, then the image step of the other priors,
pulled to u.

The published f is a probability. It is flat where it is sure, so that a picture that is plainly
blurred feels nothing; here f is the logit, which is not. The network averages over the picture, and
a pixel counts for one in their number; so lambda is multiplied by that number, which makes it a
weight per pixel, as that of the gradients is, and the same at every scale.

Li et al. (2018), CVPR; (2019), Int. J. Comput. Vis. 127.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from deconv.arrays import choose, number, whole
from deconv.blind.latent import Latent
from deconv.blind.pyramid import Level
from deconv.threads import get_threads

__all__ = ["FORMS", "Classifier", "Discriminative", "differentiable"]

# Gives the logit of a picture (Y, X) being blurred, and the logit's gradient (Y, X).
Classifier: TypeAlias = Callable[[np.ndarray], tuple[float, np.ndarray]]

FORMS = ("logit", "probability")
NETWORK = "blur-classifier"
# Smaller pictures show the network too little; the coarsest scales of small ones go without.
LEAST_SIDE = 16
# The weight falls with the gradients' own, but not below this part of it.
LEAST_FADE = 0.025


@dataclass(frozen=True)
class Discriminative:
    """Few gradients, and a look that a classifier takes for sharp.

    Attributes
    ----------
    classifier : callable or None
        ``classifier(x)`` gives, for a float32 picture (Y, X) on about [0, 1], the logit of its
        being blurred, and the gradient of that, (Y, X); `differentiable` makes one of a network.
        The one that comes with `unrolled` when None.
    lam : float
        Weight of the classifier; with 0 this is the L0 prior, to the bit.
    form : {"logit", "probability"}
        What of the classifier is minimised.
    scaled : bool
        Whether `lam` counts per pixel, or the classifier, which averages, as it is.
    steps : int
        Of gradient descent, for each penalty.
    rate : float
        Length of a step over the inverse penalty, in (0, 1].
    first, last, growth : float
        The penalties of the splitting: from `first` to below `last`, each larger by `growth`.
    inner : float
        Growth of the gradients' own penalty.
    warm : bool
        Whether the first u is sought near the picture of few edges, or near the blurred one, as
        published: the pull to that holds the picture back, whatever the classifier says.

    Raises
    ------
    TypeError, ValueError
        For an option out of its range, naming it.
    ImportError
        If the shipped classifier is asked for, and PyTorch or `unrolled` is not installed.
    """

    classifier: Classifier | None = None
    lam: float = 1e-5
    form: str = "logit"
    scaled: bool = True
    steps: int = 2
    rate: float = 0.5
    first: float = 0.05
    last: float = 8.0
    growth: float = 4.0
    inner: float = 4.0
    warm: bool = True

    def __post_init__(self) -> None:
        """Refuse bad options, and load the network, before any work is done."""
        if self.classifier is not None and not callable(self.classifier):
            raise TypeError(f"classifier={self.classifier!r}; expected a callable or None")
        number(self.lam, "lam", low=0)
        choose(self.form, FORMS, "form")
        whole(self.steps, "steps", low=1)
        number(self.rate, "rate", low=0, high=1, strict=True)
        number(self.first, "first", low=0, strict=True)
        number(self.last, "last", low=self.first, strict=True)
        number(self.growth, "growth", low=1, strict=True)
        number(self.inner, "inner", low=1, strict=True)
        if self.lam and self.classifier is None:
            _classifier()

    def latent(
        self, latent: Latent, psf: np.ndarray, mu: float, fade: float, level: Level
    ) -> np.ndarray:
        """The picture on the domain."""
        data = latent.data(psf)
        if not self.lam or min(level.image.shape) < LEAST_SIDE:
            return latent.flat(data, mu)
        lam = self.lam * max(fade, LEAST_FADE)
        return latent.pulled(
            data,
            mu,
            lam,
            self.first,
            self.descended,
            start=latent.flat(data, mu, factor=self.inner) if self.warm else None,
            last=self.last,
            growth=self.growth,
            inner=self.inner,
        )

    def value(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The prior of a picture (Y, X) without `lam`, and its gradient (Y, X)."""
        logit, gradient = (self.classifier or _classifier())(x)
        count = x.size if self.scaled else 1
        if self.form == "logit":
            return count * logit, count * gradient
        # A float of Python's, which leaves a float32 gradient what it is.
        probability = 0.5 * (1 + math.tanh(logit / 2))
        return count * probability, count * probability * (1 - probability) * gradient

    def descended(self, x: np.ndarray, weight: float) -> np.ndarray:
        """`x` (Y, X) after the steps down ``|u - x|^2 / 2 + weight f(u)``."""
        u = x
        for _ in range(self.steps):
            gradient = self.value(u)[1]
            u = u - np.float32(self.rate) * ((u - x) + np.float32(weight) * gradient)
        return np.asarray(u, np.float32)


def differentiable(network: Any) -> Classifier:
    """A torch module from pictures (N, 1, Y, X) to logits (N,), as the prior takes it.

    The module is put in evaluation mode and its parameters need no gradients from then on. It runs
    on as many threads as `deconv.threads.get_threads` says, whatever torch itself is set to.
    """
    import torch

    network.eval().requires_grad_(False)

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        before, wanted = torch.get_num_threads(), get_threads()
        if wanted != before:
            torch.set_num_threads(wanted)
        try:
            with torch.enable_grad():
                leaf = torch.tensor(x[None, None], requires_grad=True)
                logit = network(leaf).sum()
                (gradient,) = torch.autograd.grad(logit, leaf)
        finally:
            if wanted != before:
                torch.set_num_threads(before)
        return float(logit.detach()), gradient[0, 0].numpy()

    return evaluate


@lru_cache(maxsize=1)
def _classifier() -> Classifier:
    """The classifier that comes with `unrolled`."""
    try:
        # By name: nothing here depends on the other package unless this prior is asked for.
        module = importlib.import_module("unrolled.models.blur_classifier")
        return differentiable(module.BlurClassifier.from_pretrained(NETWORK))
    except ImportError as error:
        raise ImportError(
            f'prior "discriminative" needs PyTorch and safetensors ({error}): '
            'pip install "deconv[unrolled]"'
        ) from error
