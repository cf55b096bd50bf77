"""The command ``deconv sharpness``: which of several pictures is the sharpest, and where."""

from __future__ import annotations

import csv
import glob
import importlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import numpy as np
import typer

from deconv import io
from deconv.picture import Picture

__all__ = ["sharpness"]

COLUMNS = ("picture", "blur", "probability", "judged")
# The colours of heat maps reach from minus to plus so much, the same for all pictures.
LIMIT = 6.0


def sharpness(
    inputs: Annotated[list[str], typer.Argument(metavar="IN...", help="Pictures or folders.")],
    heatmap: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|FOLDER",
            help="Write a figure of where each picture is blurred; with several, to a folder.",
        ),
    ] = None,
    csv_file: Annotated[
        str | None,
        typer.Option("--csv", metavar="FILE|-", help="Write the list as CSV, - to print it."),
    ] = None,
    tile: Annotated[
        int, typer.Option(min=16, help="Side in pixels of the tiles of the heat map.")
    ] = 32,
    scale: Annotated[
        float,
        typer.Option(
            help="Shrink pictures by this factor first: 0.25 forgives what no screen shows."
        ),
    ] = 1.0,
    best: Annotated[
        int | None, typer.Option(min=1, help="List only so many, the sharpest.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a FILE that exists.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
    progress: Annotated[
        bool | None, typer.Option(help="A progress bar; the default shows it on a terminal.")
    ] = None,
) -> None:
    """List pictures by how blurred they look, the sharpest first; failures are told apart.

    The column blur is below 0 for a sharp picture, above 0 for a blurred one. Sky and other areas
    without edges do not count; the column judged says how much of the picture does.
    """
    if as_json and csv_file == "-":
        raise ValueError("--json and --csv - are both printed; expected one of them, or --csv FILE")
    if not 0 < scale <= 1:
        raise ValueError(f"--scale {scale:g}; expected a factor above 0 and at most 1")
    sources = _sources(inputs)
    targets = _targets(sources, heatmap, overwrite)
    if csv_file is not None and csv_file != "-":
        _check_file("--csv", Path(csv_file), sources, overwrite)
    judge = _judge()
    found, failures = [], 0
    for source in _bar(sources, progress):
        try:
            picture = io.read(source)
            result = judge.of_picture(picture, tile=tile, scale=scale, name=str(source))
            if heatmap is not None:
                _draw(picture, result, targets[source])
        # A list of a thousand files outlives whatever one of them does.
        except Exception as error:
            message = str(error) if str(source) in str(error) else f"{source}: {error}"
            if len(sources) == 1:
                if isinstance(error, (ValueError, TypeError, OSError)):
                    raise ValueError(message) from error
                raise
            failures += 1
            _say(message)
        else:
            found.append(result)
    _report(judge.sharpest_first(found)[:best], csv_file, as_json)
    if len(sources) > 1:
        _say(f"{len(found)} judged, {failures} failed")
    if failures:
        raise typer.Exit(1)


def _say(message: str) -> None:
    print("deconv:", " ".join(message.split()), file=sys.stderr)


def _judge() -> Any:
    """`unrolled.sharpness`, with its classifier; by name, as the core does not know the package."""
    try:
        judge = importlib.import_module("unrolled.sharpness")
        judge.classifier()
    except ImportError as error:
        raise ImportError(
            f"deconv sharpness needs PyTorch and safetensors ({error}): "
            f'pip install "deconv[unrolled]"'
        ) from error
    return judge


def _sources(inputs: Sequence[str]) -> list[Path]:
    """The input files, each once; folders give all pictures in them, patterns what they match."""
    sources: dict[Path, None] = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            inside = (p for p in sorted(path.iterdir()) if not p.name.startswith("."))
            sources |= dict.fromkeys(p for p in inside if p.suffix.lower() in io.SUFFIXES)
        elif path.exists():
            sources[path] = None
        # Where no shell has done it; a name may hold brackets of its own, which comes first.
        elif matches := sorted(glob.glob(text)):
            sources |= dict.fromkeys(Path(match) for match in matches)
        else:
            raise FileNotFoundError(f"{path} does not exist")
    if not sources:
        raise ValueError(f"there is no picture ({' '.join(io.SUFFIXES)}) in the input")
    return list(sources)


def _check_file(option: str, path: Path, sources: Sequence[Path], overwrite: bool) -> None:
    """Refuse to replace what is there: a picture, where the option was taken for a switch."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} of {option} does not exist")
    if path.resolve() in {source.resolve() for source in sources}:
        raise ValueError(f"{option} {path} is a picture to judge; pass another file")
    if path.exists() and not overwrite:
        raise ValueError(f"{option} {path} exists; pass --overwrite to replace it")


def _targets(sources: Sequence[Path], heatmap: Path | None, overwrite: bool) -> dict[Path, Path]:
    """Where the heat map of each picture goes; never over a picture, nor among them."""
    if heatmap is None:
        return {}
    if not heatmap.is_dir():
        if len(sources) > 1:
            raise ValueError(
                f"--heatmap {heatmap} for several pictures; expected a folder that exists"
            )
        if heatmap.suffix.lower() not in io.SUFFIXES:
            raise ValueError(
                f"--heatmap {heatmap}; expected a folder that exists, or a file that ends in one "
                f"of {' '.join(io.SUFFIXES)}"
            )
        _check_file("--heatmap", heatmap, sources, overwrite)
        return {sources[0]: heatmap}
    if heatmap.resolve() in {source.resolve().parent for source in sources}:
        raise ValueError(
            f"--heatmap {heatmap} holds the pictures, and the next run would judge heat maps as "
            f"well; pass another folder"
        )
    targets = {source: heatmap / f"{source.name}.sharpness.png" for source in sources}
    if len(set(targets.values())) < len(targets):
        names = [source.name for source in sources]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two pictures are called {twice}; expected heat maps in separate folders")
    return targets


def _bar(sources: Sequence[Path], show: bool | None) -> Iterable[Path]:
    from tqdm import tqdm

    # None leaves it to tqdm: no bar where stderr is not a terminal.
    hide = True if len(sources) == 1 else None if show is None else not show
    bar: Iterable[Path] = tqdm(sources, unit="file", disable=hide)
    return bar


def _draw(picture: Picture, result: Any, target: Path) -> None:
    """The figure of one picture."""
    from deconv.heat_map import heat_map

    pixels = picture.pixels
    if picture.axes.endswith("S") and not picture.colour:
        pixels = pixels.mean(axis=-1)
    if pixels.dtype != np.uint8:
        low, high = _range(pixels)
        pixels = (pixels.astype(np.float32) - low) / (high - low or 1)
    what = "no edges to judge by" if math.isnan(result.score) else f"blur {result.score:+.2f}"
    heat_map(
        pixels,
        result.map,
        result.side,
        title=f"{Path(result.name).name}: {what}; {_percent(result.judged)} of it judged",
        label="logit of blur; grey: undecided",
        limit=LIMIT,
        ends=("sharp", "blurred"),
        path=target,
    )


def _report(found: Sequence[Any], csv_file: str | None, as_json: bool) -> None:
    """The list: as CSV where asked for, and on stdout as JSON or as a table unless CSV is there."""
    rows = [dict(zip(COLUMNS, _values(each), strict=True)) for each in found]
    if csv_file == "-":
        _write_csv(rows, sys.stdout)
    elif csv_file is not None:
        with io.atomic(csv_file) as temporary, temporary.open("w", newline="") as file:
            _write_csv(rows, file)
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif csv_file != "-":
        print("\n".join(_table(found)))


def _write_csv(rows: Sequence[dict[str, Any]], file: TextIO) -> None:
    table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)


def _values(result: Any) -> Iterator[Any]:
    """A result in `COLUMNS`; None for what could not be judged."""
    none = math.isnan(result.score)
    yield result.name
    yield None if none else round(result.score, 4)
    yield None if none else round(result.probability, 4)
    yield round(result.judged, 4)


def _table(found: Sequence[Any]) -> Iterator[str]:
    yield f"{'blur':>7}  {'judged':>6}  picture"
    for each in found:
        blur = "–" if math.isnan(each.score) else f"{each.score:+.2f}"
        yield f"{blur:>7}  {_percent(each.judged):>6}  {each.name}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _range(pixels: np.ndarray) -> tuple[float, float]:
    """What to show as black and white of values in a unit of their own."""
    known = pixels[np.isfinite(pixels)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known[:: max(1, known.size >> 18)], (0.1, 99.9))
    return float(low), float(high)
