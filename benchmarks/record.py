"""A run of the benchmarks as one JSON file: what was measured, of which commit, where and when.

Benchmarks print Markdown tables. What they print is kept as it is, cell by cell, so that every
benchmark has a history without writing one.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from benchmarks import protocol

ROOT = Path(__file__).resolve().parents[1]
FORMAT = 1
RULE = re.compile(r"\|(\s*:?-+:?\s*\|)+")

Record = dict[str, Any]


class Tee(io.TextIOBase):
    """A stream that shows what is written to it at once, and keeps it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.kept = stream, io.StringIO()

    def write(self, text: str) -> int:
        """Show and keep `text`."""
        self.kept.write(text)
        return self.stream.write(text)

    def flush(self) -> None:
        """Flush the stream that shows it."""
        self.stream.flush()


@contextmanager
def printed() -> Iterator[Tee]:
    """What the block prints, shown and kept."""
    tee = Tee(sys.stdout)
    with redirect_stdout(tee):
        yield tee


def tables(text: str) -> list[Record]:
    r"""The Markdown tables of `text`: columns and rows of cells, as they were printed.

    >>> tables("| a | b |\n|---|---|\n| x | 1.5 |")
    [{'columns': ['a', 'b'], 'rows': [['x', '1.5']]}]
    """
    found: list[Record] = []
    previous, inside = "", False
    for line in (line.strip() for line in text.splitlines()):
        if RULE.fullmatch(line) and previous.startswith("|"):
            found.append({"columns": _cells(previous), "rows": []})
            inside = True
        elif inside and line.startswith("|"):
            found[-1]["rows"].append(_cells(line))
        else:
            inside = False
        previous = line
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def describe(command: Sequence[str], benchmarks: dict[str, list[Record]]) -> Record:
    """The record of one run: `benchmarks` maps the name of each to its tables."""
    return {
        "format": FORMAT,
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": protocol.machine(),
        "data": protocol.DATA.is_dir(),
        "command": " ".join(command),
        "benchmarks": benchmarks,
    }


def save(record: Record, folder: Path) -> Path:
    """Write `record` into `folder` as DATE-COMMIT.json and return the path."""
    stamp = re.sub(r"[^0-9T]", "", record["date"].split("+")[0])
    path = folder / f"{stamp}-{(record['commit'] or 'unknown')[:10]}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return path


def load(path: Path) -> Record:
    """A record that `save` wrote; a ValueError where `path` holds something else."""
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"{path} holds no record of format {FORMAT}; expected one of --json")
    return record


def _git(*arguments: str) -> str | None:
    """What git says of the project; None where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
