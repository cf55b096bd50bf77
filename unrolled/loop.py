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
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from unrolled.log import Log

__all__ = ["Samples", "TrainConfig", "launched", "learning_rate", "train"]


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
    """

    run: Path = Path("runs/hqs")
    steps: int = 20_000
    batch: int = 4
    lr: float = 1e-3
    warmup: int = 200
    clip: float = 0.5
    ema: float = 0.999
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


def learning_rate(step: int, config: TrainConfig) -> float:
    """Factor on ``config.lr`` at `step`: a linear warm-up, then a cosine to 0.01."""
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

    Raises
    ------
    ValueError
        If the batch cannot be shared out evenly, or the folder holds the state of another network.
    FloatingPointError
        If the loss or its gradient is not finite; the state last saved is from before.
    """
    fabric = fabric or launched(config)
    world, rank = fabric.world_size, fabric.global_rank
    if config.batch % world:
        raise ValueError(f"batch={config.batch}; expected a multiple of the {world} processes")
    objective, optimizer = fabric.setup(
        _Objective(model, loss, config.mixed),
        torch.optim.Adam(model.parameters(), lr=config.lr, betas=(0.9, 0.99)),
    )
    average = AveragedModel(model, multi_avg_fn=_averaging(config.ema))
    parts = {"model": model, "average": average, "optimizer": optimizer}
    first = _restore(config.run / "state.pt", parts, config)
    share = config.batch // world
    began = time.perf_counter()
    with closing(Log(config.run, first, enabled=fabric.is_global_zero)) as log:
        for step in range(first, config.steps):
            rate = config.lr * learning_rate(step, config)
            for group in optimizer.param_groups:
                group["lr"] = rate
            begin = step * config.batch + rank * share
            value = objective(samples.batch(step, range(begin, begin + share)))
            optimizer.zero_grad()
            fabric.backward(value)
            norm = float(
                fabric.clip_gradients(
                    objective, optimizer, max_norm=config.clip, error_if_nonfinite=False
                )
            )
            mean = float(fabric.all_reduce(value.detach(), reduce_op="mean"))
            done = step + 1
            if not math.isfinite(mean + norm):
                raise FloatingPointError(
                    f"at step {done} the loss is {mean} and its gradient has a norm of {norm}"
                )
            optimizer.step()
            average.update_parameters(model)
            log.row(done, mean, rate, norm, time.perf_counter() - began)
            last = done == config.steps
            # Scores first: a run killed between the two makes them again.
            if validation and fabric.is_global_zero and (last or done % config.validate == 0):
                log.scores(done, validation(average.module, done))
            if last or done % config.save == 0:
                _save(config.run / "state.pt", parts, done, config, fabric)
    return average.module


def _averaging(decay: float) -> Callable[[Any, Any, Any], None]:
    """Exponential average that forgets the first weights as fast as better ones come."""

    @torch.no_grad()
    def update(averages: Any, parameters: Any, count: Any) -> None:
        weight = 1 - min(decay, float((1 + count) / (10 + count)))
        torch._foreach_lerp_(averages, parameters, weight)

    return update


class _Objective(nn.Module):
    """Batch to loss, as one module for Fabric to wrap."""

    def __init__(
        self, model: nn.Module, loss: Callable[[nn.Module, Any], Tensor], mixed: bool
    ) -> None:
        super().__init__()
        self.model, self.loss, self.mixed = model, loss, mixed

    def forward(self, batch: Any) -> Tensor:
        # Not Fabric's own mixed precision, which rounds the pictures to bfloat16 as well.
        device = next(self.model.parameters()).device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.mixed):
            return self.loss(self.model, batch)


def launched(config: TrainConfig) -> Fabric:
    """Fabric for `config`, launched by torchrun where that started us, else by itself."""
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
