"""The command line and the Python code that make one row of a report again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """What one restoration was made by.

    Attributes
    ----------
    source : Path
        The picture.
    method : str
        Name in the registry.
    target : str
        File that the restored picture is written to.
    truth : Path or None
        For the score in the Python code.
    psf : str or None
        As ``--psf`` takes it; None for a method without, or where `blind`.
    blind : bool
        Whether the psf is found from the picture.
    linear : bool or None
        As of `deconv.batch.Job`.
    parameters : dict
        What the method was told.
    """

    source: Path
    method: str
    target: str
    truth: Path | None = None
    psf: str | None = None
    blind: bool = False
    linear: bool | None = None
    parameters: dict[str, Any] | None = None

    @property
    def shell(self) -> str:
        """One line for a shell; the psf's deringing is what `deconv blind` sets itself."""
        words = ["deconv", "blind" if self.blind else "deblur", str(self.source)]
        words += ["-o", self.target, "--method", self.method]
        if self.psf is not None:
            words += ["--psf", self.psf]
        if self.linear is not None:
            words.append("--linear" if self.linear else "--no-linear")
        return shlex.join(words)

    @property
    def python(self) -> str:
        """A script that does the same, and prints the PSNR where there is a truth."""
        job, module = ("BlindJob", "blind_job") if self.blind else ("Job", "batch")
        arguments = [f"methods.get({self.method!r})"]
        if self.psf is not None:
            arguments.append(f"psf={self.psf!r}")
        if self.linear is not None:
            arguments.append(f"linear={self.linear}")
        if self.parameters:
            arguments.append(f"parameters={self.parameters!r}")
        lines = [
            "from pathlib import Path",
            "from deconv import io, methods, metrics"
            if self.truth
            else "from deconv import methods",
            f"from deconv.{module} import {job}",
            "",
            f"job = {job}({', '.join(arguments)})",
            f"source = Path({str(self.source)!r})",
            f"target = Path({self.target!r})",
            "job.process(source, target)",
        ]
        if self.truth is not None:
            lines += [
                f"truth = io.read({str(self.truth)!r})",
                "restored = io.read(target)",
                "x_true, x = truth.pixels / truth.white, restored.pixels / restored.white",
                "print(metrics.psnr(x_true, x, data_range=1))",
            ]
        return "\n".join(lines)
