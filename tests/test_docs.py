"""The code that the documentation prints does what it says: every block is run as it stands."""

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers import colour_picture, picture, scene_and_blurred
from typer.main import get_command

import deconv
from deconv import cli, io, methods

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
GUIDES = sorted((DOCS / "guides").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(path, language):
    """The code blocks of a page, each below as many empty lines as it stands below in the page."""
    text = path.read_text()
    for found in BLOCK.finditer(text):
        if found[1] == language:
            yield "\n" * text.count("\n", 0, found.start(2)) + found[2]


def run(path, names, skip=()):
    """Run the Python blocks of a page one after the other in `names`."""
    for block in blocks(path, "python"):
        if any(word in block for word in skip):
            continue
        if "unrolled" in block and not find_spec("torch"):
            continue
        exec(compile(block, str(path), "exec"), names)
    return names


def commands(path):
    """The command lines of a page, without comments and what they print."""
    for block in blocks(path, "console"):
        for line in block.splitlines():
            if line.startswith("$ deconv "):
                yield shlex.split(line[len("$ deconv ") :], comments=True)


@cache
def shaken(size=64):
    """A psf, and a grey and a colour picture that it blurred."""
    psf = deconv.psf.trajectory(9, rng=1)
    _, image = scene_and_blurred(psf, size=size, sigma=0.003)
    A = deconv.Blur(psf, (size, size), boundary="periodic")
    colour = np.moveaxis(A(np.moveaxis(colour_picture(size), -1, 0)), 0, -1)
    return psf, image, colour


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of a user, with the files that the pages speak of; the tests run in it."""
    psf, image, colour = shaken()
    stored = (255 * colour.clip(0, 1)).astype(np.uint8)
    monkeypatch.chdir(tmp_path)
    for name in ("photo.png", "photo.jpg", "in.png", "in.jpg"):
        io.write(name, stored)
    for name in ("in", "burst", "night", "frames"):
        Path(name).mkdir()
        io.write(f"{name}/1.png", stored)
    Path("out").mkdir()
    for name in ("m51.tif", "moon.tif"):
        io.write(name, np.float32(1000 * image.clip(0)))
    stack = np.stack([image] * 12).clip(0).astype(np.float32)
    io.write("stack.tif", io.Picture(1000 * stack, "ZYX"))
    deconv.psf.to_file(psf, "psf.png")
    deconv.psf.to_file(psf, "star.tif")
    deconv.psf.to_file(deconv.psf.gaussian((0.6, 1, 1)), "bead.tif")
    return tmp_path


@pytest.fixture
def registry(monkeypatch):
    """A registry of its own, so that what a page adds stays there."""
    methods.all()
    monkeypatch.setattr(methods, "_registry", dict(methods._registry))


def given():
    """What short examples take for granted."""
    psf, image, colour = shaken()
    return {"deconv": deconv, "np": np, "psf": psf, "image": image, "photo": colour}


def test_readme_python(folder):
    names = run(ROOT / "README.md", given())
    assert names["restored"].shape == names["image"].shape


def test_quickstart_python(folder):
    run(DOCS / "quickstart.md", {})
    assert io.read("sharp.png").pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_guides(page, folder):
    names = run(page, {})
    assert np.isfinite(np.asarray(names["restored"])).all()
    if page.stem == "industry":
        assert names["fit"].parameters["length"] == pytest.approx(11, abs=1)
    if page.stem == "astronomy":
        assert names["pair"].sum() == pytest.approx(40000, rel=0.1)
        line = names["pair"][2]
        assert line[6:8].max() < 0.1 * min(line[3:6].max(), line[8:11].max())
    if page.stem == "microscopy":
        light = deconv.richardson_lucy(
            names["stack"], names["psf"], boundary="zero", background=4, gain=1
        )
        assert light.sum() == pytest.approx(names["cell"].sum(), rel=0.1)


def test_choose(folder):
    _, image, colour = shaken()
    names = given() | {"frames": [image, image], "sky": np.abs(image), "stack": np.abs(image)}
    for block in blocks(DOCS / "choose.md", "python"):
        names["image"] = colour if "channel_axis=-1" in block else image
        exec(compile(block, "choose.md", "exec"), names)
    pictures = re.findall(r"\]\((images/[^)]+)\)", (DOCS / "choose.md").read_text())
    assert len(pictures) > 9
    for name in pictures:
        assert (DOCS / name).stat().st_size < 300_000


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_command_lines(page, folder, registry, capsys):
    for arguments in commands(ROOT / page):
        if not find_spec("torch") and {"hqs", "sharpness"} & set(arguments):
            continue
        assert cli.main(arguments) == 0, arguments
    assert "wiener" in capsys.readouterr().out


@pytest.mark.parametrize("page", ["choose.md", *(f"guides/{guide.name}" for guide in GUIDES)])
def test_commands_in_tables(page, folder, registry):
    """Whole commands run; of those that are cut short, every option and method exists."""
    text = (DOCS / page).read_text()
    for line in re.findall(r"`deconv (\w+ [^`]+)`", text):
        arguments = shlex.split(line)
        if "sharpness" in arguments and not find_spec("torch"):
            continue
        # Many of them write the same file.
        again = [] if arguments[0] == "sharpness" else ["--overwrite"]
        assert cli.main([*arguments, *again]) == 0, line
    options = {name for made in get_command(cli.app).commands.values() for name in names_of(made)}
    assert set(re.findall(r"(?<=[ `])--[a-z][a-z-]+", text)) <= options
    for name in set(re.findall(r"--method (\w+)", text)):
        methods.get(name)


def names_of(command):
    """Every way to spell an option of a command."""
    return [name for p in command.params for name in [*p.opts, *p.secondary_opts]]


def test_add_a_method(folder, registry, capsys):
    import test_methods

    names = run(DOCS / "add_a_method.md", {})
    entry = methods.get("landweber")
    test_methods.test_entries_state_the_defaults_of_their_functions(entry)
    test_methods.test_every_method_restores(entry)
    clean, noisy, restored = names["scene"], names["blurred"], names["restored"]
    assert deconv.metrics.psnr(clean, restored) > deconv.metrics.psnr(clean, noisy) + 1
    for arguments in commands(DOCS / "add_a_method.md"):
        assert cli.main(arguments) == 0
    assert "landweber: Gradient steps" in capsys.readouterr().out
    colour = entry.restore(colour_picture(), names["A"].psf, channel_axis=-1, n_iter="3")
    assert colour.shape == colour_picture().shape
    seen = np.ones((64, 64))
    seen[:8] = 0
    entry.restore(picture(size=64), names["A"].psf, weights=seen, n_iter="3")


def test_a_package_adds_a_method_by_an_entry_point(tmp_path):
    page = DOCS / "add_a_method.md"
    (tmp_path / "my_package.py").write_text(next(blocks(page, "python")).lstrip())
    config = configparser.ConfigParser()
    config.read_string(next(blocks(page, "ini")))
    points = config["options.entry_points"]["deconv.methods"].strip()
    facts = tmp_path / "my_package-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1\n")
    (facts / "entry_points.txt").write_text(f"[deconv.methods]\n{points}\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = "from deconv import cli; cli.main(['methods'])"
    done = subprocess.run(
        [sys.executable, "-c", command],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "landweber: Gradient steps" in done.stdout, done.stderr


def test_what_was_measured_covers_the_methods():
    table = json.loads((DOCS / "measured.json").read_text())["benchmarks"]["methods"][0]
    names = {row[0] for row in table["rows"]}
    ours = {m.name for m in methods.all() if m.function.__module__.startswith("deconv.")}
    assert ours <= names
    assert all(len(row) == len(table["columns"]) for row in table["rows"])


def test_every_page_is_in_the_index():
    text = (DOCS / "index.md").read_text()
    listed = set(re.findall(r"^([\w/]+)$", text, re.MULTILINE))
    # Notebooks and their like are listed by a page of their own.
    pages = {p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.glob("*.md")}
    pages |= {p.relative_to(DOCS).with_suffix("").as_posix() for p in GUIDES}
    assert pages - {"index"} <= listed
