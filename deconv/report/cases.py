"""Which pictures a report compares, with the truth and the psf that belong to each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deconv import batch, io, methods
from deconv.methods import Method

__all__ = ["Case", "cases", "chosen"]


@dataclass(frozen=True)
class Case:
    """One picture.

    Attributes
    ----------
    source : Path
    truth : Path or None
        The sharp picture, of the same shape.
    psf : str or None
        As `deconv.batch.psf_from` takes it.
    """

    source: Path
    truth: Path | None = None
    psf: str | None = None


def cases(source: Path, truth: Path | None, psf: str | None) -> list[Case]:
    """The pictures of a file or a folder; of folders of truths and psfs, those of the same stem.

    Raises
    ------
    FileNotFoundError
        If `source` or `truth` does not exist, or a folder lacks the psf of a picture.
    ValueError
        If there is no picture, no truth for any of them, or `psf` describes none.
    """
    for name, path in (("source", source), ("truth", truth)):
        if path is not None and not path.exists():
            raise FileNotFoundError(f"{path} of {name} does not exist")
    pictures = _pictures(source) if source.is_dir() else [source]
    if not pictures:
        raise ValueError(f"there is no picture ({' '.join(io.SUFFIXES)}) in {source}")
    truths = _by_stem(truth, pictures)
    if truth is not None and not any(truths.values()):
        raise ValueError(f"truth={truth} has no picture named as one of {source}")
    found = []
    for path in pictures:
        spec = psf
        if psf is not None and Path(psf).is_dir():
            beside = _by_stem(Path(psf), [path], any_kind=True)[path.stem]
            if beside is None:
                raise FileNotFoundError(f"psf={psf} has no file {path.stem}.* for {path}")
            spec = str(beside)
        if spec is not None and not spec.startswith("fit:"):
            batch.psf_from(spec)
        found.append(Case(path, truths[path.stem], spec))
    return found


def _pictures(folder: Path) -> list[Path]:
    inside = (p for p in sorted(folder.iterdir()) if not p.name.startswith("."))
    return [p for p in inside if p.suffix.lower() in io.SUFFIXES]


def _by_stem(
    place: Path | None, pictures: Iterable[Path], any_kind: bool = False
) -> dict[str, Path | None]:
    """For the stem of each picture the file of the same in a folder; a file serves them all."""
    stems = [path.stem for path in pictures]
    if place is None or not place.is_dir():
        return dict.fromkeys(stems, place)
    files = sorted(place.iterdir()) if any_kind else _pictures(place)
    known = {path.stem: path for path in reversed(files)}
    return {stem: known.get(stem) for stem in stems}


def chosen(names: str | Sequence[str] | None) -> list[Method]:
    """The methods of these names, in the order given; every method of the registry when None.

    Raises
    ------
    ValueError
        For an unknown name, with the nearest one, or none.

    >>> [method.name for method in chosen("tv, wiener")]
    ['tv', 'wiener']
    """
    if names is None:
        return list(methods.all())
    parts = names.split(",") if isinstance(names, str) else list(names)
    wanted = [part.strip() for part in parts if part.strip()]
    if not wanted:
        raise ValueError(f"methods={names!r}; expected names, such as wiener,tv")
    return [methods.get(name) for name in dict.fromkeys(wanted)]
