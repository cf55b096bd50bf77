"""Adversarial losses: what a critic's logits of real and of generated pictures are worth to both.

Every loss is one function of the logits of real pictures and of fake ones, each of any shape
(N, ...), one for each picture or one for each patch, and gives what the critic and what the
generator make small. All are means over the logits of a process: a run on several has the mean of
their losses. `Adversary` goes from pictures to losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconv.arrays import choose, number

__all__ = [
    "LOSSES",
    "Adversary",
    "Losses",
    "frozen",
    "gradient_penalty",
    "least_squares",
    "relativistic_average",
    "relativistic_blur",
    "vanilla",
    "wasserstein",
]

# Weight of the gradient penalty in the paper.
PENALTY = 10.0


class Losses(NamedTuple):
    """Scalars; the gradient of one is for the critic's parameters, of the other for pictures.

    Attributes
    ----------
    critic, generator : tensor
        What each makes small.

    Examples
    --------
    >>> import torch
    >>> from unrolled.adversarial import wasserstein
    >>> losses = wasserstein(torch.tensor([2.0]), torch.tensor([0.5]))
    >>> float(losses.critic), float(losses.generator)
    (-1.5, -0.5)
    """

    critic: Tensor
    generator: Tensor


def vanilla(real: Tensor, fake: Tensor) -> Losses:
    """Cross-entropy of telling them apart (Goodfellow et al. 2014, "Generative adversarial nets").

    The generator's is the one that does not saturate. The critic's is 2 ln 2 for logits of 0.

    Parameters
    ----------
    real, fake : tensor
        Logits, of any shape.

    Returns
    -------
    Losses

    References
    ----------
    Goodfellow et al. (2014), "Generative adversarial nets", NIPS.

    Examples
    --------
    >>> import torch
    >>> from unrolled.adversarial import vanilla
    >>> losses = vanilla(torch.zeros(4), torch.zeros(4))
    >>> round(float(losses.critic), 4), round(float(losses.generator), 4)
    (1.3863, 0.6931)
    """
    real, fake = _logits(real, "real"), _logits(fake, "fake")
    return Losses(_cross_entropy(real, 1) + _cross_entropy(fake, 0), _cross_entropy(fake, 1))


def least_squares(real: Tensor, fake: Tensor) -> Losses:
    """Half the squared distance to 1 for real and 0 for fake (Mao et al. 2017, LSGAN).

    Parameters
    ----------
    real, fake : tensor
        Logits, of any shape.

    Returns
    -------
    Losses

    References
    ----------
    Mao et al. (2017), "Least squares generative adversarial networks", ICCV.

    Examples
    --------
    >>> import torch
    >>> from unrolled.adversarial import least_squares
    >>> losses = least_squares(torch.tensor([1.0]), torch.tensor([1.0]))
    >>> float(losses.critic), float(losses.generator)
    (0.5, 0.0)
    """
    real, fake = _logits(real, "real"), _logits(fake, "fake")
    critic = ((real - 1).square().mean() + fake.square().mean()) / 2
    return Losses(critic, (fake - 1).square().mean() / 2)


def wasserstein(real: Tensor, fake: Tensor) -> Losses:
    """Difference of the mean scores (Arjovsky et al. 2017, "Wasserstein GAN").

    It means something for a critic of unit slope: add `gradient_penalty`.

    Parameters
    ----------
    real, fake : tensor
        Scores, of any shape.

    Returns
    -------
    Losses

    References
    ----------
    Arjovsky, Chintala and Bottou (2017), "Wasserstein generative adversarial networks", ICML.

    Examples
    --------
    >>> import torch
    >>> from unrolled.adversarial import wasserstein
    >>> losses = wasserstein(torch.tensor([2.0]), torch.tensor([0.5]))
    >>> float(losses.critic), float(losses.generator)
    (-1.5, -0.5)
    """
    real, fake = _logits(real, "real"), _logits(fake, "fake")
    return Losses(fake.mean() - real.mean(), -fake.mean())


def relativistic_blur(real: Tensor, fake: Tensor, *, target: float | str = 0.5) -> Losses:
    """Cross-entropy of telling each from the mean of the others (Zhang et al. 2020, DBGAN).

    With D_r = sigmoid(C(real) - E C(fake)) and D_g = sigmoid(C(fake) - E C(real)), the critic's is
    ``-E log D_r - E log(1 - D_g)``.

    Parameters
    ----------
    real, fake : tensor
        Logits C, of any shape.
    target : {0.5, "swap"}
        What the generator wants of D_r and D_g. With 0.5 that nothing tells them apart: its loss is
        least, 2 ln 2, where all logits are the same. With "swap" that they are taken for each
        other, which has no least value: that is `relativistic_average`.

    Returns
    -------
    Losses

    Raises
    ------
    TypeError, ValueError
        If logits are not of floating point, or there are none, or for another target.

    References
    ----------
    K. Zhang, W. Luo, Y. Zhong, L. Ma, B. Stenger, W. Liu and H. Li, "Deblurring by realistic
    blurring", CVPR 2020.

    Examples
    --------
    The generator has reached its aim where all logits are the same:

    >>> import torch
    >>> from unrolled.adversarial import relativistic_blur
    >>> same = relativistic_blur(torch.zeros(4), torch.zeros(4)).generator
    >>> other = relativistic_blur(torch.ones(4), torch.zeros(4)).generator
    >>> round(float(same), 4), bool(other > same)
    (1.3863, True)
    """
    if target != "swap" and target != 0.5:
        raise ValueError(f"target={target!r}; expected 0.5 or 'swap'")
    real, fake = _logits(real, "real"), _logits(fake, "fake")
    real, fake = real - fake.mean(), fake - real.mean()
    critic = _cross_entropy(real, 1) + _cross_entropy(fake, 0)
    wanted = (0.0, 1.0) if target == "swap" else (0.5, 0.5)
    return Losses(critic, _cross_entropy(real, wanted[0]) + _cross_entropy(fake, wanted[1]))


def relativistic_average(real: Tensor, fake: Tensor) -> Losses:
    """Cross-entropy of telling each from the mean of the others (Jolicoeur-Martineau 2019).

    The generator wants the critic's labels swapped. Both are sums of two means, not halved.

    Parameters
    ----------
    real, fake : tensor
        Logits, of any shape.

    Returns
    -------
    Losses

    References
    ----------
    Jolicoeur-Martineau (2019), "The relativistic discriminator: a key element missing from standard
    GAN", ICLR.

    Examples
    --------
    >>> import torch
    >>> from unrolled.adversarial import relativistic_average
    >>> losses = relativistic_average(torch.zeros(4), torch.zeros(4))
    >>> round(float(losses.critic), 4), round(float(losses.generator), 4)
    (1.3863, 1.3863)
    """
    return relativistic_blur(real, fake, target="swap")


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """How far the critic's slope is from 1 between real and fake (Gulrajani et al. 2017, WGAN-GP).

    ``E (|grad C(x)| - 1)^2``, each x at random on the line from a real sample to a fake one. The
    norm is over all of a sample, every channel and pixel; over channels alone, as in some published
    code, the penalty asks for the slope of a picture's every pixel to be 1.

    Parameters
    ----------
    critic : callable
        Samples (N, ...) to logits (N, ...). The score of a sample is the mean of its logits.
    real, fake : tensor, shape (N, ...)
        Samples; no gradient flows to them.
    generator : torch.Generator, optional
        Of the places on the lines.

    Returns
    -------
    tensor
        A scalar, whose gradient is for the critic's parameters.

    Raises
    ------
    TypeError, ValueError
        If the samples are not of one shape and of floating point, or have not one or more logits
        each; or if the critic has batch norms, by which the score of a sample depends on the others
        and has no slope of its own.

    References
    ----------
    Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville (2017), "Improved training of Wasserstein
    GANs", NIPS.

    Examples
    --------
    The sum over n pixels has a slope of the root of n everywhere:

    >>> import torch
    >>> from unrolled.adversarial import gradient_penalty
    >>> real, fake = torch.rand(2, 4, 9)
    >>> round(float(gradient_penalty(lambda x: x.sum(1, keepdim=True), real, fake)), 3)
    4.0
    """
    _floats(real, "real")
    if not isinstance(fake, Tensor) or fake.shape != real.shape or real.ndim < 2:
        shapes = [tuple(getattr(x, "shape", ())) for x in (real, fake)]
        raise ValueError(f"real has shape {shapes[0]} and fake {shapes[1]}; expected one (N, ...)")
    _refuse_batch_norm(critic)
    shape = (real.shape[0], *[1] * (real.ndim - 1))
    t = torch.rand(shape, generator=generator, dtype=real.dtype, device=real.device)
    x = torch.lerp(real.detach(), fake.detach().to(real.dtype), t).requires_grad_()
    logits = _logits(critic(x), "critic(x)")
    if logits.ndim < 1 or len(logits) != len(x):
        raise ValueError(f"critic gives logits {tuple(logits.shape)}; expected ({len(x)}, ...)")
    scores = logits.reshape(len(x), -1).mean(dim=1)
    (slope,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Losses]] = {
    "vanilla": vanilla,
    "least-squares": least_squares,
    "wgan-gp": wasserstein,
    "relativistic-average": relativistic_average,
    "relativistic-blur": relativistic_blur,
}


class Adversary:
    """A critic with its loss: from pictures to what critic and generator make small.

    It sees pictures only, so they may come from any generator.

    Parameters
    ----------
    critic : module
        Pictures (N, C, H, W) to logits (N, ...).
    loss : str or callable
        One of `LOSSES`, or a function of logits as they are.
    penalty : float, optional
        Weight of the `gradient_penalty` in the critic's loss: 10 for "wgan-gp" and 0 for others if
        not given.

    Raises
    ------
    TypeError, ValueError
        For an unknown loss or a negative penalty.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from unrolled.adversarial import Adversary
    >>> adversary = Adversary(nn.AvgPool2d(4), "least-squares")
    >>> real, fake = torch.rand(2, 2, 3, 8, 8)
    >>> adversary.critic_loss(real, fake).shape, adversary.generator_loss(real, fake).shape
    (torch.Size([]), torch.Size([]))
    """

    def __init__(
        self,
        critic: nn.Module,
        loss: str | Callable[[Tensor, Tensor], Losses] = "wgan-gp",
        *,
        penalty: float | None = None,
    ) -> None:
        if penalty is None:
            penalty = PENALTY if loss == "wgan-gp" else 0.0
        self.penalty = number(penalty, "penalty", low=0)
        self.loss = loss if callable(loss) else LOSSES[choose(loss, LOSSES, "loss")]
        self.critic = critic

    def critic_loss(
        self, real: Tensor, fake: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """A scalar for real and fake pictures (N, C, H, W); its gradient is the critic's alone."""
        fake = fake.detach()
        loss = self.loss(self.critic(real), self.critic(fake)).critic
        if self.penalty:
            slope = gradient_penalty(self.critic, real, fake, generator=generator)
            loss = loss + self.penalty * slope
        return loss

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """A scalar for real and fake pictures (N, C, H, W); its gradient is that of `fake` alone.

        The critic's parameters get none, and need not be set to 0 for the critic's next step.
        """
        with torch.no_grad():
            real = self.critic(real)
        with frozen(self.critic):
            return self.loss(real, self.critic(fake)).generator


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """What is computed within sends no gradient to the module's parameters.

    Parameters
    ----------
    module : Module
        It may still send gradients to its input.

    Yields
    ------
    None

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from unrolled.adversarial import frozen
    >>> critic, x = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    >>> with frozen(critic):
    ...     critic(x).sum().backward()
    >>> x.grad is not None, critic.weight.grad is None
    (True, True)
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Mean of ``-t log D - (1 - t) log(1 - D)`` for ``D = sigmoid(logits)``."""
    return (F.softplus(logits) - target * logits).mean()


def _floats(x: Any, name: str) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} is of {kind}; expected a tensor of floating point")


def _logits(x: Any, name: str) -> Tensor:
    """`x` in float32 or float64: the exponentials and means of half precision are no good."""
    _floats(x, name)
    if not x.numel():
        raise ValueError(f"{name} has shape {tuple(x.shape)}; expected one logit or more")
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _refuse_batch_norm(critic: Any) -> None:
    modules = critic.named_modules() if isinstance(critic, nn.Module) else ()
    for name, module in modules:
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise ValueError(
                f"critic has a {type(module).__name__}, {name!r}, in training mode; expected norms "
                "within each sample, or none"
            )
