"""The notebooks as files: in step with their sources, whole, small. `make notebooks` runs them."""

import ast
import re
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
LARGEST = 1_500_000
# Where machines keep files; a notebook that shows such a path was not tidied.
PATHS = re.compile(r"(?<![\w./])/(?:home|work|root|tmp|opt|usr|Users|private|var)/\w")
SOLUTION = re.compile(r"<details>.*?</details>", re.S)
CODE = re.compile(r"```python\n(.*?)```", re.S)


def read(name, suffix):
    return jupytext.read(FOLDER / f"{name}{suffix}")


def outputs(notebook):
    """Kind and text of each output; pictures embedded in HTML are left out."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            kind, data = output.output_type, output.get("data", {})
            text = "".join(output.get("text", "")) + "".join(data.get("text/html", ""))
            text += "".join(data.get("text/plain", "")) + "".join(output.get("traceback", []))
            yield kind, output.get("name"), re.sub(r"base64,[\w+/=\s\\]+", "", text)


def test_there_are_notebooks():
    assert len(NAMES) >= 5
    assert NAMES == sorted(path.stem for path in FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_its_source(name):
    source, notebook = read(name, ".py").cells, read(name, ".ipynb").cells
    assert [cell.cell_type for cell in notebook] == [cell.cell_type for cell in source]
    for a, b in zip(notebook, source, strict=True):
        assert a.source == b.source


@pytest.mark.parametrize("name", NAMES)
def test_was_executed_from_top_to_bottom(name):
    code = [cell for cell in read(name, ".ipynb").cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@pytest.mark.parametrize("name", NAMES)
def test_outputs_hold_no_error_warning_or_path(name):
    for kind, stream, text in outputs(read(name, ".ipynb")):
        assert kind != "error", text
        assert stream != "stderr", text
        assert not PATHS.search(text), text


@pytest.mark.parametrize("name", NAMES)
def test_file_is_small(name):
    assert (FOLDER / f"{name}.ipynb").stat().st_size < LARGEST


@pytest.mark.parametrize("name", NAMES)
def test_opens_with_a_question_and_has_exercises_with_folded_solutions(name):
    text = [cell.source for cell in read(name, ".py").cells if cell.cell_type == "markdown"]
    assert "?**" in text[0]
    solutions = SOLUTION.findall("\n".join(text))
    assert len(solutions) >= 2
    for code in CODE.findall("\n".join(solutions)):
        ast.parse(code)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("File /home/me/x.py", True),
        ("see /tmp/a", True),
        ("docs/usr/a", False),
        ("1/usr", False),
    ],
)
def test_paths_are_recognised(text, found):
    assert bool(PATHS.search(text)) == found
