"""The training loop: batches by step, one state file, exact resume.

A sample depends on the seed and its own index, so where a run stands is one number, the step. The
state file holds it with the weights, their average, the optimiser and the random generators; a run
that was killed goes on to the same loss curve.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from unrolled.log import Log
from unrolled.muon import Muon

__all__ = ["Rival", "Samples", "TrainConfig", "launched", "learning_rate", "train"]

OPTIMIZERS: dict[str, Any] = {"adam": torch.optim.Adam, "muon": Muon}


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained.

    Parameters
    ----------
    run : path
        Folder of the run: state, logs, pictures. A run found there is continued.
    steps : int
        Optimiser steps in all.
    batch : int
        Samples of a step, over all processes.
    lr, warmup
        Highest learning rate, and steps until it is reached; then it falls as a cosine to a
        hundredth.
    clip : float
        Largest norm of the gradient.
    ema : float
        Decay of the averaged weights, which are the result.
    optimizer : {"adam", "muon"}
        "muon" is that of Jordan et al. for the convolutions that are matrices, and Adam for what is
        left: see `unrolled.muon.Muon`.
    betas : (float, float)
        Of Adam; a critic moves the aim, and momentum of 0.5 lets the network follow.
    mixed : bool
        Whether convolutions run in bfloat16; spectra and sums are float32 always.
    save, validate : int
        Steps between states written and between validations.
    seed : int
        Of weights and samples.
    accelerator, devices
        Of Fabric.
    threads : int
        CPU threads of a process; 0 leaves it to torch.

    Examples
    --------
    >>> from unrolled.loop import TrainConfig
    >>> TrainConfig(steps=100, lr=1e-4).batch
    4
    """

    run: Path = Path("runs/hqs")
    steps: int = 20_000
    batch: int = 4
    lr: float = 1e-3
    warmup: int = 200
    clip: float = 0.5
    ema: float = 0.999
    optimizer: Literal["adam", "muon"] = "adam"
    betas: tuple[float, float] = (0.9, 0.99)
    mixed: bool = True
    save: int = 250
    validate: int = 1000
    seed: int = 0
    accelerator: str = "auto"
    devices: int = 1
    threads: int = 0


class Samples(Protocol):
    """Where batches come from: a `Synthesis`, or what has its method."""

    def batch(self, step: int, indices: Any) -> Any:
        """The samples `indices` of a step."""


@dataclass(frozen=True)
class Rival:
    """A network that is trained beside the first, against it: the critic of an adversary.

    Attributes
    ----------
    model : Module
        The critic.
    loss : callable
        ``loss(critic, batch, fake)``, a scalar that is a mean over the batch; `fake` is what the
        first network makes of the batch, without a gradient.
    fake : callable
        ``fake(model, batch)``, what the first network makes.
    turns : int
        Its steps for one of the first network, all of them on the same batch.
    lr : float
        Its highest learning rate; it falls as the other's does.

    Examples
    --------
    >>> from torch import nn
    >>> from unrolled.loop import Rival
    >>> critic = nn.Linear(1, 1)
    >>> rival = Rival(critic, lambda c, batch, fake: c(fake).mean(), lambda net, batch: net(batch))
    >>> rival.turns
    1
    """

    model: nn.Module
    loss: Callable[[nn.Module, Any, Any], Tensor]
    fake: Callable[[nn.Module, Any], Any]
    turns: int = 1
    lr: float = 1e-4


def learning_rate(step: int, config: TrainConfig) -> float:
    """Factor on ``config.lr`` at `step`: a linear warm-up, then a cosine to 0.01.

    Parameters
    ----------
    step : int
        From 0.
    config : TrainConfig
        The run.

    Returns
    -------
    float
        In (0, 1].

    Examples
    --------
    >>> config = TrainConfig(steps=100, warmup=10)
    >>> [round(learning_rate(step, config), 2) for step in (0, 10, 55, 100)]
    [0.1, 1.0, 0.51, 0.01]
    """
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def train(
    model: nn.Module,
    samples: Samples,
    loss: Callable[[nn.Module, Any], Tensor],
    config: TrainConfig,
    *,
    fabric: Fabric | None = None,
    validation: Callable[[nn.Module, int], dict[str, float]] | None = None,
    rival: Rival | None = None,
) -> nn.Module:
    """Train `model` and return its averaged weights, in a copy of it.

    Parameters
    ----------
    model : Module
        The network.
    samples : Samples
        ``samples.batch(step, indices)``: the share of a step's batch that this process takes.
    loss : callable
        ``loss(model, batch)``, a scalar that is a mean over the batch.
    config : TrainConfig
        The run.
    fabric : Fabric, optional
        Launched already; made from `config` if not given.
    validation : callable, optional
        ``validation(model, step)`` with the averaged weights: scores to log.
    rival : Rival, optional
        A critic, which takes its turns before each step of `model`; its loss is logged as "rival".

    Returns
    -------
    module
        A copy of `model` with the averaged weights.

    Raises
    ------
    ValueError
        If the batch cannot be shared out evenly, or the folder holds the state of another network.
    FloatingPointError
        If a loss or its gradient is not finite; the state last saved is from before.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> from torch import nn
    >>> from unrolled.loop import TrainConfig, train
    >>> class Halves:
    ...     def batch(self, step, indices):
    ...         x = torch.rand(len(indices), 1, generator=torch.Generator().manual_seed(step))
    ...         return x, x / 2
    >>> def loss(model, batch):
    ...     return (model(batch[0]) - batch[1]).abs().mean()
    >>> options = {"steps": 100, "warmup": 1, "lr": 0.05, "mixed": False, "accelerator": "cpu"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net = train(nn.Linear(1, 1), Halves(), loss, TrainConfig(Path(folder), **options))
    >>> abs(net(torch.ones(1, 1)).item() - 0.5) < 0.2
    True
    """
    fabric = fabric or launched(config)
    world, rank = fabric.world_size, fabric.global_rank
    if config.batch % world:
        raise ValueError(f"batch={config.batch}; expected a multiple of the {world} processes")
    own = _Side(fabric, model, loss, config, config.lr)
    average = AveragedModel(model, multi_avg_fn=_averaging(config.ema))
    parts = {"model": model, "average": average, "optimizer": own.optimizer}
    if rival:
        other = _Side(fabric, rival.model, rival.loss, config, rival.lr)
        parts |= {"rival": rival.model, "rival_optimizer": other.optimizer}
    first = _restore(config.run / "state.pt", parts, config)
    share = config.batch // world
    began = time.perf_counter()
    extra = ("rival",) if rival else ()
    with closing(Log(config.run, first, extra, enabled=fabric.is_global_zero)) as log:
        for step in range(first, config.steps):
            done, rate = step + 1, learning_rate(step, config)
            begin = step * config.batch + rank * share
            batch = samples.batch(step, range(begin, begin + share))
            criticism = []
            if rival:
                with torch.no_grad(), _mixed(model, config.mixed):
                    fake = rival.fake(model, batch)
                for _ in range(rival.turns):
                    value, _ = other.step(done, rate, batch, fake)
                criticism = [value]
            mean, norm = own.step(done, rate, batch)
            average.update_parameters(model)
            seconds = time.perf_counter() - began
            log.row(done, mean, config.lr * rate, norm, seconds, *criticism)
            last = done == config.steps
            # Scores first: a run killed between the two makes them again.
            if validation and fabric.is_global_zero and (last or done % config.validate == 0):
                log.scores(done, validation(average.module, done))
            if last or done % config.save == 0:
                _save(config.run / "state.pt", parts, done, config, fabric)
    return average.module


class _Side:
    """A network with its loss and its optimiser."""

    def __init__(
        self,
        fabric: Fabric,
        model: nn.Module,
        loss: Callable[..., Tensor],
        config: TrainConfig,
        lr: float,
    ) -> None:
        self.fabric, self.lr, self.clip = fabric, lr, config.clip
        self.objective, self.optimizer = fabric.setup(
            _Objective(model, loss, config.mixed),
            OPTIMIZERS[config.optimizer](model.parameters(), lr=lr, betas=config.betas),
        )

    def step(self, number: int, rate: float, *batch: Any) -> tuple[float, float]:
        """One step at so much of the highest rate: the loss over all processes, and its norm."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * rate
        value = self.objective(*batch)
        self.optimizer.zero_grad()
        self.fabric.backward(value)
        norm = float(
            self.fabric.clip_gradients(
                self.objective, self.optimizer, max_norm=self.clip, error_if_nonfinite=False
            )
        )
        mean = float(self.fabric.all_reduce(value.detach(), reduce_op="mean"))
        if not math.isfinite(mean + norm):
            raise FloatingPointError(
                f"at step {number} the loss is {mean} and its gradient has a norm of {norm}"
            )
        self.optimizer.step()
        return mean, norm


def _averaging(decay: float) -> Callable[[Any, Any, Any], None]:
    """Exponential average that forgets the first weights as fast as better ones come."""

    @torch.no_grad()
    def update(averages: Any, parameters: Any, count: Any) -> None:
        weight = 1 - min(decay, float((1 + count) / (10 + count)))
        torch._foreach_lerp_(averages, parameters, weight)

    return update


class _Objective(nn.Module):
    """Batch to loss, as one module for Fabric to wrap."""

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor], mixed: bool) -> None:
        super().__init__()
        self.model, self.loss, self.mixed = model, loss, mixed

    def forward(self, *batch: Any) -> Tensor:
        with _mixed(self.model, self.mixed):
            return self.loss(self.model, *batch)


def _mixed(model: nn.Module, enabled: bool) -> torch.autocast:
    """Convolutions in bfloat16: not by Fabric, which rounds the pictures to it as well."""
    device = next(model.parameters()).device.type
    return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled)


def launched(config: TrainConfig) -> Fabric:
    """Fabric for `config`, launched by torchrun where that started us, else by itself.

    Parameters
    ----------
    config : TrainConfig
        The run.

    Returns
    -------
    lightning.fabric.Fabric

    Examples
    --------
    >>> launched(TrainConfig(accelerator="cpu")).world_size
    1
    """
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", config.devices))
    several = devices * int(os.environ.get("GROUP_WORLD_SIZE", 1)) > 1
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=devices,
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", 1)),
        strategy="ddp" if several else "auto",
    )
    fabric.launch()
    if config.threads:
        torch.set_num_threads(config.threads)
    fabric.seed_everything(config.seed, verbose=False)
    return fabric


def _save(
    path: Path, parts: dict[str, Any], step: int, config: TrainConfig, fabric: Fabric
) -> None:
    """Write the state under another name and rename it: a kill leaves the old or the new."""
    if fabric.is_global_zero:
        state = {name: part.state_dict() for name, part in parts.items()}
        state |= {"step": step, "seed": config.seed, "batch": config.batch}
        state["rng"] = torch.get_rng_state()
        if torch.cuda.is_available():
            state["cuda_rng"] = torch.cuda.get_rng_state_all()
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)
    fabric.barrier()


def _restore(path: Path, parts: dict[str, Any], config: TrainConfig) -> int:
    """Load the state at `path`, if there is one; the step to go on from."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name in ("seed", "batch"):
        own = getattr(config, name)
        if state.get(name, own) != own:
            raise ValueError(
                f"{path} was trained with {name}={state[name]}; got {own}: go on with the same, or "
                f"choose another run folder"
            )
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is the state of another network: {error}") from error
    torch.set_rng_state(state["rng"])
    if "cuda_rng" in state and torch.cuda.is_available():
        # The run may go on with fewer devices.
        torch.cuda.set_rng_state_all(state["cuda_rng"][: torch.cuda.device_count()])
    return int(state["step"])
