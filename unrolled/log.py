"""What a training run writes down: loss.csv and scores.csv always, TensorBoard where installed."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["Log"]

COLUMNS = ("step", "loss", "lr", "norm", "seconds")


class Log:
    """loss.csv and scores.csv of a run, and TensorBoard's files where it is installed.

    Parameters
    ----------
    run : path
        Folder of the run.
    first : int
        Steps done already; what the files say of later ones is dropped.
    extra : sequence of str
        What else each row has.
    enabled : bool
        Whether this process writes; of several, one does.
    """

    def __init__(self, run: Path, first: int, extra: Sequence[str] = (), *, enabled: bool) -> None:
        self.run, self.extra, self.enabled = run, tuple(extra), enabled
        self.board: Any = None
        if not enabled:
            return
        run.mkdir(parents=True, exist_ok=True)
        for name in ("loss.csv", "scores.csv"):
            _cut(run / name, first)
        # Line by line, so that a run killed after its state was saved lacks no row of it.
        self.file = open(run / "loss.csv", "a", newline="", buffering=1)
        self.writer = csv.writer(self.file)
        if self.file.tell() == 0:
            self.writer.writerow((*COLUMNS, *self.extra))
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(run / "board", purge_step=first)
        except ImportError:
            pass

    def row(
        self, step: int, loss: float, lr: float, norm: float, seconds: float, *extra: float
    ) -> None:
        """One optimiser step."""
        if not self.enabled:
            return
        # All digits: a continued run is compared with an uninterrupted one.
        more = (repr(value) for value in extra)
        self.writer.writerow(
            (step, repr(loss), f"{lr:.4g}", f"{norm:.4g}", f"{seconds:.1f}", *more)
        )
        if self.board and step % 10 == 0:
            self.board.add_scalar("loss", loss, step)
            self.board.add_scalar("lr", lr, step)
            for name, value in zip(self.extra, extra, strict=True):
                self.board.add_scalar(name, value, step)

    def scores(self, step: int, scores: dict[str, float]) -> None:
        """One validation, which is printed too."""
        path = self.run / "scores.csv"
        new = not path.exists()
        with open(path, "a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(("step", *scores))
            writer.writerow((step, *(f"{v:.4f}" for v in scores.values())))
        print(f"step {step}: " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)
        for name, value in scores.items() if self.board else ():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """End the files."""
        if self.enabled:
            self.file.close()
        if self.board:
            self.board.close()


def _cut(path: Path, step: int) -> None:
    """Drop the rows after `step`, which a continued run writes again."""
    if step == 0:
        path.unlink(missing_ok=True)
    if not path.exists():
        return
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    whole = (row for row in rows[1:] if len(row) == len(rows[0]))
    kept = [row for row in whole if int(row[0]) <= step]
    with open(path.with_suffix(".new"), "w", newline="") as file:
        csv.writer(file).writerows([*rows[:1], *kept])
    os.replace(path.with_suffix(".new"), path)
