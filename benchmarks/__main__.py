r"""``python -m benchmarks``: tables, one benchmark after the other, and a JSON file of the run.

::

    python -m benchmarks                           # the standard ones; the long ones with --quick
    python -m benchmarks quality speed             # these two
    python -m benchmarks --json history/           # and history/DATE-COMMIT.json
    python -m benchmarks blind --json history/ -- --only levin    # with options of its own
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import record

STANDARD = (
    "methods",
    "speed",
    "map_speed",
    "quality",
    "restoration",
    "filters",
    "night",
    "momentum",
    "linear_light",
    "noise",
    "identify",
    "blind",
)
QUICK = ("restoration", "blind")
# Parts of other benchmarks, and what only reads or writes records.
PARTS = ("history", "protocol", "record", "scores")
NAMES = tuple(
    sorted(
        file.stem
        for file in Path(__file__).parent.glob("[!_]*.py")
        if file.stem not in PARTS and "\ndef main(" in file.read_text()
    )
)


def run(names: Sequence[str], options: Sequence[str], folder: Path | None) -> None:
    """Run these benchmarks; what they printed is written to `folder`, even if one of them fails."""
    found: dict[str, list[record.Record]] = {}
    command = ["python", "-m", "benchmarks", *names, *(["--", *options] if options else [])]
    try:
        for name in names:
            print(f"\n## {name}\n", flush=True)
            default = ["--quick"] if name in QUICK and len(names) > 1 else []
            sys.argv = [f"benchmarks.{name}", *(options or default)]
            with record.printed() as kept:
                importlib.import_module(f"benchmarks.{name}").main()
            found[name] = record.tables(kept.kept.getvalue())
    finally:
        if folder is not None and found:
            path = record.save(record.describe(command, found), folder)
            print(f"\nwritten to {path}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, check it, and run."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    cut = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--json", type=Path, metavar="DIR", help="folder for the run's JSON file")
    asked, options = parser.parse_args(given[:cut]), given[cut + 1 :]
    unknown = [name for name in asked.names if name not in NAMES]
    if unknown:
        parser.error(f"{unknown[0]!r} is no benchmark; expected some of {', '.join(NAMES)}")
    if asked.json is not None and not asked.json.is_dir():
        parser.error(f"--json {asked.json} is not a folder that exists")
    if options and len(asked.names) != 1:
        parser.error(f"options after -- go to one benchmark; {len(asked.names)} were named")
    run(asked.names or STANDARD, options, asked.json)


if __name__ == "__main__":
    main()
