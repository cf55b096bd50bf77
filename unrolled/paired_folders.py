"""Where public sets of blurred and sharp pictures keep which file: their folders, as unpacked.

Each set is known by its own naming; `find_pairs` lists its files, and reads none of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from deconv.arrays import choose
from deconv.io import SUFFIXES

__all__ = ["LAYOUTS", "find_pairs", "pictures_in"]

Pairs = list[tuple[Path, Path]]
# What two plain folders may be called, in any case.
BLURRED = ("blurred", "blur", "input", "lq")
SHARP = ("sharp", "gt", "target", "hq")
# How many files an error names.
NAMED = 3
# Köhler's files: picture and path of the camera, and the frame on that path.
BLURRY = re.compile(r"Blurry(\d+_\d+)")
TRUTH = re.compile(r"GroundTruth(\d+_\d+)_(\d+)")


def find_pairs(root: str | Path, layout: str = "auto", split: str = "train") -> Pairs:
    r"""The pairs (blurred, sharp) of files of a data set, sorted.

    Parameters
    ----------
    root : path
        The folder that the set's archives were unpacked in.
    layout : {"auto", "gopro", "gopro-gamma", "hide", "realblur-j", "realblur-r", "reds", \
    "koehler", "plain"}
        The set; "auto" takes the first that `root` looks like.

        - GoPro: ``train|test/SCENE/{blur,blur_gamma,sharp}/*.png``; "gopro" takes ``blur``,
          averages of the frames as they are stored (a linear camera response), "gopro-gamma" takes
          ``blur_gamma``, averages of their light ``x ** 2.2``.
        - HIDE: ``train/*.png``, ``test/test-close-ups/*.png`` and ``test/test-long-shot/*.png``,
          the sharp ones of the same name in ``GT``.
        - RealBlur: lines ``sharp blurred`` of ``RealBlur_J_train_list.txt`` and the like, relative
          to `root`; "realblur-r" takes the pictures from raw data.
        - REDS: ``train/train_blur/000/*.png`` with ``train/train_sharp``; or ``train_blur_jpeg`` or
          ``train_blur_comp``, where there is no ``train_blur``. Its test part is ``val``.
        - Köhler: ``Blurry1_1.png`` and so on in ``BlurryImages`` or `root`, with the frame in the
          middle of ``GroundTruth1_1_1.png`` and so on, in whatever folder. It has a test part only.
          Published figures are the best score over all of these frames.
        - plain: two folders, one named blurred, blur, input or lq, the other sharp, gt, target or
          hq, with files of equal names but for the suffix; in the folder train or test of `root`
          if there is one, else in `root` itself for either part.
    split : {"train", "test"}
        The part of the set.

    Returns
    -------
    list of (path, path)

    Raises
    ------
    FileNotFoundError
        If `root` or a folder of the layout does not exist, or holds no picture.
    ValueError
        If `layout` or `split` is unknown, no layout is recognised, or a picture has no counterpart.

    References
    ----------
    GoPro: Nah et al., CVPR 2017. HIDE: Shen et al., ICCV 2019. RealBlur: Rim et al., ECCV 2020.
    REDS: Nah et al., CVPR Workshops 2019. R. Köhler et al., ECCV 2012.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skimage import data
    >>> from deconv import io
    >>> from unrolled.paired_folders import find_pairs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in ("blur", "sharp"):
    ...         Path(folder, part).mkdir()
    ...         io.write(Path(folder, part, "coins.png"), data.coins())
    ...     pairs = find_pairs(folder)
    >>> [(blurred.parent.name, sharp.parent.name) for blurred, sharp in pairs]
    [('blur', 'sharp')]
    """
    choose(layout, ["auto", *LAYOUTS], "layout")
    choose(split, ("train", "test"), "split")
    root = Path(root)
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise FileNotFoundError(f"root={str(root)!r} {what}; expected the folder of a data set")
    if layout == "auto":
        layout = _recognised(root)
    return LAYOUTS[layout].pairs(root, split)


def pictures_in(folder: Path) -> list[Path]:
    """Every PNG, JPEG and TIFF under `folder`, sorted; hidden files are left out.

    Parameters
    ----------
    folder : path
        Searched with all below.

    Returns
    -------
    list of path

    Raises
    ------
    FileNotFoundError
        If `folder` does not exist, is a file, or holds no picture.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from unrolled.paired_folders import pictures_in
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.png", "a.jpg", "notes.txt"):
    ...         Path(folder, name).touch()
    ...     [path.name for path in pictures_in(Path(folder))]
    ['a.jpg', 'b.png']
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"{folder} {what}; expected a folder of pictures")
    found = sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )
    if not found:
        raise FileNotFoundError(f"{folder} holds no picture; expected PNG, JPEG or TIFF files")
    return found


def _recognised(root: Path) -> str:
    """The first layout that `root` looks like."""
    for name, layout in LAYOUTS.items():
        if layout.bears(root):
            return name
    looked = "; ".join(f"{name}: {layout.mark}" for name, layout in LAYOUTS.items())
    raise ValueError(f"root={str(root)!r} has no layout that is known. Looked for {looked}")


def _gopro(root: Path, split: str, name: str) -> Pairs:
    part = root / split
    if not part.is_dir():
        raise FileNotFoundError(f"{part} does not exist; expected the {split} part of GoPro")
    scenes = sorted(scene for scene in part.iterdir() if scene.is_dir())
    if not scenes:
        raise FileNotFoundError(f"{part} holds no folder; expected one for each scene of GoPro")
    return [pair for scene in scenes for pair in _matched(scene / name, scene / "sharp")]


def _hide(root: Path, split: str) -> Pairs:
    train = [root / "train"]
    test = [root / "test" / name for name in ("test-close-ups", "test-long-shot")]
    wanted = train if split == "train" else test
    blurred = {p.stem: p for folder in wanted for p in pictures_in(folder)}
    sharp = _by_name(root / "GT")
    # GT serves both parts: who has only one of them has sharp pictures to spare.
    other = [folder for folder in (*train, *test) if folder not in wanted]
    if all(folder.is_dir() for folder in other):
        known = {p.stem for folder in other for p in pictures_in(folder)} | set(blurred)
        _refuse_alone(set(sharp) - known, "sharp", root / "GT", root)
    sharp = {name: p for name, p in sharp.items() if name in blurred}
    return _joined(blurred, sharp, wanted[0].parent if len(wanted) > 1 else train[0], root / "GT")


def _realblur(root: Path, split: str, kind: str) -> Pairs:
    listed = root / f"RealBlur_{kind}_{split}_list.txt"
    if not listed.is_file():
        raise FileNotFoundError(f"{listed} does not exist; expected the list of RealBlur's pairs")
    pairs: Pairs = []
    for i, line in enumerate(listed.read_text(encoding="utf-8").splitlines(), start=1):
        names = line.split()
        if not names:
            continue
        if len(names) != 2:
            raise ValueError(f"{listed}, line {i}: {line!r}; expected a sharp and a blurred path")
        pairs.append((root / names[1], root / names[0]))
    if not pairs:
        raise ValueError(f"{listed} is empty; expected a sharp and a blurred path on each line")
    absent = [str(p.relative_to(root)) for pair in pairs for p in pair if not p.is_file()]
    if absent:
        raise FileNotFoundError(
            f"{listed} names {_some(absent)} that {_do(absent)} not exist in {root}"
        )
    return sorted(pairs)


def _reds(root: Path, split: str) -> Pairs:
    part = "train" if split == "train" else "val"
    base = root / part if (root / part).is_dir() else root
    blurred = [base / f"{part}_blur{kind}" for kind in ("", "_jpeg", "_comp")]
    return _matched(next((p for p in blurred if p.is_dir()), blurred[0]), base / f"{part}_sharp")


def _koehler(root: Path, split: str) -> Pairs:
    if split != "test":
        raise ValueError(f"split={split!r}; expected 'test', the only part of Köhler's set")
    folder = root / "BlurryImages"
    folder = folder if folder.is_dir() else root
    blurred = {m[1]: p for p in pictures_in(folder) if (m := BLURRY.fullmatch(p.stem))}
    frames: dict[str, list[tuple[int, Path]]] = {}
    for path in pictures_in(root):
        if m := TRUTH.fullmatch(path.stem):
            frames.setdefault(m[1], []).append((int(m[2]), path))
    sharp = {name: sorted(seen)[(len(seen) - 1) // 2][1] for name, seen in frames.items()}
    return _joined(blurred, sharp, folder, root)


def _plain(root: Path, split: str) -> Pairs:
    base = root / split if _has_plain(root / split) else root
    folders = []
    for names in (BLURRED, SHARP):
        found = _called(base, names)
        if len(found) != 1:
            raise ValueError(
                f"{base} has {len(found)} folders with one of the names {', '.join(names)}; "
                f"expected one"
            )
        folders += found
    return _matched(*folders)


def _called(folder: Path, names: Iterable[str]) -> list[Path]:
    """The folders in `folder` with one of the names, in any case."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name.lower() in names and p.is_dir())


def _has_plain(folder: Path) -> bool:
    return bool(_called(folder, BLURRED) and _called(folder, SHARP))


def _matched(blurred: Path, sharp: Path) -> Pairs:
    """The pairs of two folders whose files have the same names but for the suffix."""
    return _joined(_by_name(blurred), _by_name(sharp), blurred, sharp)


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in pictures_in(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise ValueError(f"{path} and {found[name]} have the same name; expected one of them")
        found[name] = path
    return found


def _joined(
    blurred: dict[str, Path], sharp: dict[str, Path], blurred_in: Path, sharp_in: Path
) -> Pairs:
    """The pairs of equal names, where every name has both."""
    _refuse_alone(set(blurred) - set(sharp), "blurred", blurred_in, sharp_in)
    _refuse_alone(set(sharp) - set(blurred), "sharp", sharp_in, blurred_in)
    if not blurred:
        raise FileNotFoundError(f"{blurred_in} holds no blurred picture of this layout")
    return [(blurred[name], sharp[name]) for name in sorted(blurred)]


def _refuse_alone(names: set[str], kind: str, folder: Path, other: Path) -> None:
    if names:
        lacks = "sharp" if kind == "blurred" else "blurred"
        raise ValueError(
            f"{folder}: {_some(sorted(names))} {'has' if len(names) == 1 else 'have'} no {lacks} "
            f"counterpart in {other}; expected one for each {kind} picture"
        )


def _some(names: list[str]) -> str:
    """How many names there are, and the first few of them."""
    dots = ", ..." if len(names) > NAMED else ""
    count = f"{len(names)} picture{'s' * (len(names) > 1)}"
    return f"{count} ({', '.join(names[:NAMED])}{dots})"


def _do(names: list[str]) -> str:
    return "does" if len(names) == 1 else "do"


def _any(*patterns: str) -> Callable[[Path], bool]:
    """Whether a folder holds something that matches one of the patterns."""
    return lambda root: any(True for pattern in patterns for _ in root.glob(pattern))


class Layout(NamedTuple):
    """What a set is known by, in words and by a test of its root, and how its pairs are listed."""

    mark: str
    bears: Callable[[Path], bool]
    pairs: Callable[[Path, str], Pairs]


# In the order that they are tried in.
LAYOUTS = {
    "realblur-j": Layout(
        "RealBlur_J_*_list.txt", _any("RealBlur_J_*_list.txt"), partial(_realblur, kind="J")
    ),
    "realblur-r": Layout(
        "RealBlur_R_*_list.txt", _any("RealBlur_R_*_list.txt"), partial(_realblur, kind="R")
    ),
    "reds": Layout(
        "train/train_sharp, val/val_sharp",
        _any("train/train_sharp", "val/val_sharp", "train_sharp", "val_sharp"),
        _reds,
    ),
    "gopro": Layout(
        "train|test/SCENE/blur", _any("train/*/blur", "test/*/blur"), partial(_gopro, name="blur")
    ),
    "gopro-gamma": Layout(
        "train|test/SCENE/blur_gamma",
        _any("train/*/blur_gamma", "test/*/blur_gamma"),
        partial(_gopro, name="blur_gamma"),
    ),
    "koehler": Layout(
        "BlurryImages/Blurry1_1.png",
        _any("BlurryImages/Blurry[1-9]_*.*", "Blurry[1-9]_*.*"),
        _koehler,
    ),
    "plain": Layout(
        f"a folder {'|'.join(BLURRED)} beside {'|'.join(SHARP)}, in train|test or not",
        lambda root: any(_has_plain(p) for p in (root, root / "train", root / "test")),
        _plain,
    ),
    "hide": Layout(
        "GT beside train or test/test-close-ups|test-long-shot",
        lambda root: (root / "GT").is_dir() and any((root / p).is_dir() for p in ("train", "test")),
        _hide,
    ),
}
