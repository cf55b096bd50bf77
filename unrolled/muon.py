"""Muon: gradients of matrices are made orthogonal before a step; all else is trained by Adam.

The convolutions of 1 x 1 that modern restorers mostly consist of are matrices. Their gradients have
few large singular values; with all of them set to 1 the rare directions are learned as fast as the
common ones. torch's own `torch.optim.Muon` takes matrices only and one after the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon", "orthogonal"]

# The quintic iteration of Jordan et al., which takes singular values of 0 to 1 to 0.7 to 1.2.
LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315
ITERATIONS = 5
# The root mean square of Adam's steps, so that its learning rates hold (Liu et al. 2025).
SIZE = 0.2
# Matrices with a shorter side, and filters larger than 2 x 2, are left to Adam.
SHORTEST, WIDEST = 16, 2


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices whose singular values, all but the smallest, are near 1, by Newton-Schulz iteration.

    Parameters
    ----------
    matrices : tensor, shape (N, rows, columns)
        Not more rows than columns.

    Returns
    -------
    tensor, shape (N, rows, columns)
        In bfloat16, whose digits are enough for a direction.

    References
    ----------
    Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks",
    kellerjordan.github.io/posts/muon.

    Examples
    --------
    >>> import torch
    >>> from unrolled.muon import orthogonal
    >>> x = orthogonal(torch.diag(torch.tensor([3.0, 0.5]))[None])[0].float()
    >>> bool((torch.linalg.svdvals(x) - 1).abs().max() < 0.35)
    True
    """
    norm = torch.linalg.matrix_norm(matrices, keepdim=True)
    x = (matrices / norm.clamp(min=1e-12)).bfloat16()
    for _ in range(ITERATIONS):
        square = x @ x.mT
        factor = torch.baddbmm(square, square, square, beta=CUBIC, alpha=QUINTIC)
        x = torch.baddbmm(x, factor, x, beta=LINEAR)
    return x


class Muon(torch.optim.Optimizer):
    """Muon for convolutions that are matrices, Adam for all other parameters.

    Parameters
    ----------
    parameters : iterable of Parameter
        Of the network.
    lr : float
        Learning rate of both.
    betas : (float, float)
        Of Adam.
    momentum : float
        Of Muon, in Nesterov's form.

    Notes
    -----
    Matrices are weights of fully connected layers and of convolutions of at most 2 x 2, with at
    least 16 rows and columns. Those of one shape are made orthogonal together.

    References
    ----------
    Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks".

    Liu et al. (2025), "Muon is scalable for LLM training", arXiv 2502.16982, section 2.2.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from unrolled.muon import Muon
    >>> net = nn.Conv2d(16, 32, 1)
    >>> optimizer = Muon(net.parameters(), lr=1e-3)
    >>> [len(group["params"]) for group in optimizer.param_groups]
    [1, 1]
    >>> net(torch.rand(1, 16, 4, 4)).square().mean().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        momentum: float = 0.95,
    ) -> None:
        everything = list(parameters)
        matrices = [p for p in everything if _is_matrix(p)]
        others = [p for p in everything if not _is_matrix(p)]
        groups = [{"params": matrices, "matrices": True}, {"params": others, "matrices": False}]
        defaults = {"lr": lr, "betas": betas, "momentum": momentum}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step along the gradients there are."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                (self._muon if group["matrices"] else self._adam)(group, parameters)
        return value

    def _kept(self, parameters: list[nn.Parameter], name: str) -> list[Tensor]:
        """What is remembered of each parameter by this name, from zeros on."""
        for p in parameters:
            if name not in self.state[p]:
                self.state[p][name] = torch.zeros_like(p)
        return [self.state[p][name] for p in parameters]

    def _muon(self, group: dict[str, Any], parameters: list[nn.Parameter]) -> None:
        momentum = group["momentum"]
        gradients = [p.grad for p in parameters if p.grad is not None]
        mean = self._kept(parameters, "mean")
        torch._foreach_lerp_(mean, gradients, 1 - momentum)
        ahead = torch._foreach_lerp(gradients, mean, momentum)
        alike: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
        for p, gradient in zip(parameters, ahead, strict=True):
            wide = _wide(gradient)
            alike[wide.shape].append((p, wide))
        for shape, pairs in alike.items():
            steps = orthogonal(torch.stack([wide for _, wide in pairs])).float()
            length = group["lr"] * SIZE * max(shape) ** 0.5
            for (p, _), step in zip(pairs, steps, strict=True):
                p.sub_(_like(step, p), alpha=length)

    def _adam(self, group: dict[str, Any], parameters: list[nn.Parameter]) -> None:
        first, second = group["betas"]
        group["step"] = number = group.get("step", 0) + 1
        gradients = [p.grad for p in parameters if p.grad is not None]
        mean, square = self._kept(parameters, "mean"), self._kept(parameters, "square")
        torch._foreach_lerp_(mean, gradients, 1 - first)
        torch._foreach_mul_(square, second)
        torch._foreach_addcmul_(square, gradients, gradients, 1 - second)
        root = torch._foreach_sqrt(square)
        torch._foreach_div_(root, (1 - second**number) ** 0.5)
        torch._foreach_add_(root, 1e-8)
        torch._foreach_addcdiv_(parameters, mean, root, -group["lr"] / (1 - first**number))


def _is_matrix(p: Tensor) -> bool:
    if p.ndim not in (2, 4) or max(p.shape[2:], default=1) > WIDEST:
        return False
    return min(p.shape[0], p[0].numel()) >= SHORTEST


def _wide(p: Tensor) -> Tensor:
    """As a matrix of not more rows than columns."""
    matrix = p.flatten(1)
    return matrix if len(matrix) <= matrix.shape[1] else matrix.T


def _like(wide: Tensor, p: Tensor) -> Tensor:
    """A matrix of `_wide` in the shape of `p`."""
    matrix = wide if len(wide) == len(p) else wide.T
    return matrix.reshape(p.shape).to(p.dtype)
