r"""What single parts of the end-to-end networks are worth: same budget and seed, one change a run.

Each run trains a small network for as many steps on the same samples, then scores it on the cases
of `benchmarks.endtoend` without videos. A run that is found in the folder is not repeated.

    export OMP_NUM_THREADS=1
    python -m benchmarks.ablations networks optimizer mimo svrnn gan reblur --data pictures
    python -m benchmarks.ablations blur --data pictures --blurred photographs

Small networks after few steps say which part learns faster, not which is best in the end.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

import deconv
from benchmarks.endtoend import KINDS, Case, cases, scored
from benchmarks.protocol import machine
from unrolled import weights
from unrolled.crops import load_pictures
from unrolled.loop import TrainConfig, train
from unrolled.networks import NETWORKS, network
from unrolled.nonuniform import NonUniform, NonUniformRecipe
from unrolled.paired import Against, PairLoss, Terms
from unrolled.unpaired import UnpairedRun, train_unpaired

SIDE = 96
FIELDS = NonUniformRecipe(
    side=SIDE, uniform=0.4, field=0.6, layers=0.0, rotation=0.0, sharp=0.0, linear=0.0
)


PLAIN, NOBODY, MIXED = Terms(spectral=0.05), Against(), NonUniformRecipe(side=SIDE)


@dataclass(frozen=True)
class Arm:
    """One run: a network and what it learns from."""

    net: str
    changes: Mapping[str, object] = field(default_factory=dict)
    terms: Terms = PLAIN
    against: Against = NOBODY
    recipe: NonUniformRecipe = MIXED
    optimizer: Literal["adam", "muon"] = "adam"


CRITIC = Against("wgan-gp", 0.001, turns=2)
SEEN = Terms(spectral=0.05, perceptual=0.1)
RUNS = {
    "nafnet": Arm("nafnet"),
    "nafnet-muon": Arm("nafnet", optimizer="muon"),
    "mimo-unet": Arm("mimo-unet"),
    "mimo-unet-dffm": Arm("mimo-unet", {"fusion": "dffm"}),
    "mimo-unet-msrm": Arm("mimo-unet", {"block": "msrm"}),
    "mimo-unet-msrm-dffm": Arm("mimo-unet", {"block": "msrm", "fusion": "dffm"}),
    "deepdeblur": Arm("deepdeblur"),
    "svrnn": Arm("svrnn"),
    "deblurgan": Arm("deblurgan"),
    "dbgan": Arm("dbgan"),
    "deblurgan-wgan": Arm("deblurgan", terms=SEEN, against=CRITIC),
    "svrnn-wgan": Arm("svrnn", terms=SEEN, against=CRITIC),
    "nafnet-fields": Arm("nafnet", recipe=FIELDS),
    "nafnet-fields-reblur": Arm("nafnet", terms=replace(PLAIN, reblur=0.5), recipe=FIELDS),
}
# Runs of each comparison, by what is told of them.
TABLES: dict[str, dict[str, str]] = {
    "networks": {
        "NAFNet": "nafnet",
        "MIMO-UNet": "mimo-unet",
        "DeepDeblur": "deepdeblur",
        "SVRNN": "svrnn",
        "DeblurGAN's generator": "deblurgan",
        "DBGAN's": "dbgan",
    },
    "optimizer": {"NAFNet, Adam": "nafnet", "NAFNet, Muon": "nafnet-muon"},
    "mimo": {
        "residual blocks, AFF (MIMO-UNet)": "mimo-unet",
        "residual blocks, DFFM": "mimo-unet-dffm",
        "MSRM, AFF": "mimo-unet-msrm",
        "MSRM, DFFM": "mimo-unet-msrm-dffm",
    },
    "svrnn": {"SVRNN": "svrnn", "CNN of equal size (DeblurGAN's generator)": "deblurgan"},
    "gan": {
        "DeblurGAN's generator, WGAN-GP": "deblurgan-wgan",
        "SVRNN as generator, WGAN-GP": "svrnn-wgan",
    },
    "reblur": {
        "pixels and spectra": "nafnet-fields",
        "pixels, spectra and reblur": "nafnet-fields-reblur",
    },
}
ADVERSARIES = ("relativistic-blur", "vanilla", "relativistic-average")


def trained(arm: Arm, run: Path, pictures: list[Tensor], steps: int) -> nn.Module:
    """The network of one run, from its file where there is one."""
    file = run / "net.safetensors"
    if file.exists():
        found: nn.Module = NETWORKS[arm.net].from_pretrained(file)
        return found
    adversary = arm.against.adversary(channels=3)
    loss = PairLoss(arm.terms, adversary, arm.against.weight)
    torch.manual_seed(0)
    plan = TrainConfig(
        run=run, steps=steps, batch=4, lr=1e-3, clip=1.0, optimizer=arm.optimizer, save=500,
        threads=1,
    )  # fmt: skip
    average = train(
        network(arm.net, **arm.changes),
        NonUniform(pictures, arm.recipe),
        loss,
        plan,
        rival=loss.rival(arm.against.turns, arm.against.lr),
    )
    weights.save(average, file)
    return average.eval()


def restoring(net: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    """A network as what restores pictures (Y, X, 3)."""

    @torch.no_grad()
    def restore(image: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
        restored: np.ndarray = net(x)[0].numpy().transpose(1, 2, 0)
        return restored

    return restore


def table(name: str, options: argparse.Namespace, data: list[Case]) -> None:
    """Train what an ablation compares, and print its scores."""
    pictures = load_pictures(options.data, least=max(FIELDS.domain))
    print(f"\n{name}, {options.steps} steps of 4 crops of {SIDE}\n")
    print("| | M parameters | " + " | ".join((*KINDS, "sharp")) + " |")
    print("|---" * (len(KINDS) + 3) + "|")
    blurred = scored(lambda image: image, data)
    print("| blurred | | " + " | ".join(f"{blurred.psnr[k]:.2f}" for k in (*KINDS, "sharp")) + " |")
    for label, run in TABLES[name].items():
        net = trained(RUNS[run], options.runs / run, pictures, options.steps)
        row = scored(restoring(net), data)
        count = sum(parameter.numel() for parameter in net.parameters()) / 1e6
        cells = " | ".join(f"{row.psnr[k]:.2f}" for k in (*KINDS, "sharp"))
        print(f"| {label} | {count:.2f} | {cells} |", flush=True)


def blur_table(options: argparse.Namespace) -> None:
    """Train what blurs, against critics of several losses, and print the distances of spectra."""
    print(f"\nBGAN, {options.steps} steps of 4 crops of 64: mean distance of radial spectra, dB\n")
    print("| critic's loss | generated to real | sharp to real | mean change |\n|---|---|---|---|")
    for loss in ADVERSARIES:
        run = options.runs / "blur" / loss
        train_unpaired(
            UnpairedRun(
                run=run, steps=options.steps, data=options.data, blurred=options.blurred, side=64,
                against=Against(loss, 0.01, "vgg"), threads=1,
            )
        )  # fmt: skip
        with open(run / "scores.csv", newline="") as file:
            last = list(csv.DictReader(file))[-1]
        cells = [f"{float(last[key]):.3f}" for key in ("generated", "sharp", "change")]
        print(f"| {loss} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Run what is asked for and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=(*TABLES, "blur"), help="which ablations")
    parser.add_argument("--data", type=Path, required=True, help="folder of sharp pictures")
    parser.add_argument("--blurred", type=Path, help="folder of blurred photographs")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    deconv.fft.set_threads(1)
    torch.set_num_threads(1)
    print(machine())
    data = [case for case in cases() if case.kind in (*KINDS, "sharp")]
    for name in options.names:
        if name == "blur":
            blur_table(options)
        else:
            table(name, options, data)


if __name__ == "__main__":
    main()
