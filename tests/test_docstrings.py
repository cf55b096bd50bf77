"""Every public name is in the reference, and its docstring has what a reader looks for."""

import ast
import builtins
import doctest
import importlib
import inspect
import re
import textwrap
from functools import cache
from pathlib import Path
from typing import get_origin

import pytest

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "api.md"

# What bad input is answered with.
ERRORS = ("ValueError", "TypeError")


@cache
def reference():
    """The names of the reference by their module, `deconv.psf` to `gaussian` and so on."""
    names = {}
    package = None
    for line in REFERENCE.read_text(encoding="utf-8").splitlines():
        if found := re.fullmatch(r"\.\. currentmodule:: (\w+)", line):
            package = found[1]
            continue
        if package and (found := re.fullmatch(r" {3}([\w.]+)", line)):
            path = f"{package}.{found[1]}"
        elif found := re.fullmatch(r"\.\. autoclass:: ([\w.]+)", line):
            path = found[1]
        else:
            continue
        module, _, name = path.rpartition(".")
        names.setdefault(module, []).append(name)
    return names


def imported(module):
    """The module; a test is skipped where it needs a package that is not installed."""
    if module.startswith("unrolled"):
        pytest.importorskip("torch")
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("deconv", "unrolled"):
            raise
        pytest.skip(f"{module} needs {error.name}")


def documented(thing):
    """Whether `thing` is of the kind that the reference describes."""
    # Before Python 3.12, tuple[int, ...] calls itself a class.
    return inspect.isfunction(thing) or (inspect.isclass(thing) and get_origin(thing) is None)


def sections(thing):
    """The sections of a numpydoc docstring by name; the text before the first is named ""."""
    doc = inspect.cleandoc(thing.__doc__ or "")
    parts = re.split(r"^([A-Z][\w ]+)\n-{3,}$", doc, flags=re.MULTILINE)
    return {"": parts[0].strip(), **dict(zip(parts[1::2], parts[2::2], strict=True))}


def entries(section):
    """The names that a section describes: the entry ``a, b : float`` is two."""
    heads = re.findall(r"^(\*{0,2}\w[\w, *]*?)(?: ?:.*)?$", section, flags=re.MULTILINE)
    return {name.strip().lstrip("*") for head in heads for name in head.split(",")}


def described(thing):
    """The names that a docstring describes as parameters; a class takes those of its bases too."""
    if not inspect.isclass(thing):
        return entries(sections(thing).get("Parameters", ""))
    docs = [sections(base) for base in thing.__mro__ if base.__module__ != "builtins"]
    parts = [doc.get(name, "") for doc in docs for name in ("Parameters", "Attributes")]
    return set().union(*map(entries, parts))


def parameters(thing):
    """The names of what a function or class is called with."""
    try:
        names = inspect.signature(thing).parameters
    except ValueError:
        return []
    return [name for name in names if not name.startswith("_")]


def raises(function):
    """The `ERRORS` that a function raises in its own lines; none of one made by a decorator."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):
        return set()
    raised = (node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise))
    calls = (each.func for each in raised if isinstance(each, ast.Call))
    return {call.id for call in calls if isinstance(call, ast.Name)} & set(ERRORS)


def makers(thing):
    """What runs when `thing` is called: of a class, what it says itself of its making."""
    if not inspect.isclass(thing):
        return [thing]
    own = (vars(thing).get(name) for name in ("__init__", "__post_init__"))
    return [each for each in own if inspect.isfunction(each)]


def unbound(doc):
    """The names that the examples of a docstring use without making or importing them."""
    examples = doctest.DocTestParser().get_examples(doc)
    tree = list(ast.walk(ast.parse("".join(example.source for example in examples))))
    names = [node for node in tree if isinstance(node, ast.Name)]
    made = {node.id for node in names if isinstance(node.ctx, ast.Store)} | set(dir(builtins))
    made |= {node.arg for node in tree if isinstance(node, ast.arg)}
    made |= {node.name for node in tree if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in tree:
        if isinstance(node, ast.Import | ast.ImportFrom):
            made |= {(each.asname or each.name).partition(".")[0] for each in node.names}
    return {node.id for node in names} - made


def lacks(thing):
    """What the docstring of a function or class lacks, in words."""
    doc = sections(thing)
    missing = [] if doc[""] else ["a summary"]
    # A protocol is not called; what it asks for is said by its members.
    if getattr(thing, "_is_protocol", False):
        return missing
    called = parameters(thing)
    missing += [f"the parameter {name}" for name in called if name not in described(thing)]
    if not inspect.isclass(thing):
        gone = described(thing) - set(called)
        missing += [f"{name} in its signature" for name in sorted(gone)]
        gives = inspect.signature(thing).return_annotation not in (None, "None")
        if gives and not doc.keys() & {"Returns", "Yields"}:
            missing.append("Returns")
    raised = set().union(*map(raises, makers(thing)))
    told = doc.get("Raises", "")
    missing += [f"{name} under Raises" for name in sorted(raised) if name not in told]
    if ">>> " not in doc.get("Examples", ""):
        missing.append("Examples")
    # Who copies an example has none of the module's own names.
    missing += [f"an import of {name}" for name in sorted(unbound(thing.__doc__ or ""))]
    return missing


@pytest.mark.parametrize("module", reference())
def test_docstrings_are_complete(module):
    home = imported(module)
    found = {name: lacks(getattr(home, name)) for name in reference()[module]}
    faults = [f"{name} lacks {', '.join(what)}" for name, what in found.items() if what]
    assert not faults, "\n".join([f"in {module}:", *faults])


def offered():
    """Modules whose every name is public: of deconv, those of the reference."""
    # `deconv.pseudo_inverse` is the function; its module serves other modules too.
    found = [name for name in reference() if name != "deconv.pseudo_inverse"]
    return [name for name in found if name.startswith("deconv.")] + ["unrolled"]


@pytest.mark.parametrize("module", ["deconv", *offered()])
def test_every_public_name_is_in_the_reference(module):
    home = imported(module)
    package = module.partition(".")[0]
    names = {n: getattr(home, n) for n in home.__all__ if documented(getattr(home, n))}
    listed = [
        getattr(importlib.import_module(where), name)
        for where, found in reference().items()
        if where.partition(".")[0] == package
        for name in found
        if package == "deconv" or where == module
    ]
    assert not [name for name, thing in names.items() if thing not in listed]


@pytest.mark.parametrize("name", ["blind", "evidence", "fft", "metrics", "noise", "psf"])
def test_every_public_module_is_in_the_reference(name):
    import deconv

    assert name in deconv.__all__
    assert f"deconv.{name}" in reference()


WHOLE = """Refuse everything.

Raises
------
ValueError
    Always.

Examples
--------
>>> import test_docstrings
>>> test_docstrings.refused(0)
Traceback (most recent call last):
ValueError: 0
"""

BROKEN = """Refuse everything.

Parameters
----------
a, d : int
    The one is there, the other is not.

Examples
--------
>>> refused(a=np.pi)
"""


def test_what_is_missing_is_named():
    def refused(a, *, b=0, **c) -> int:
        if a:
            raise TypeError(a)
        raise ValueError(a)

    refused.__doc__ = BROKEN
    assert lacks(refused) == [
        *("the parameter b", "the parameter c", "d in its signature", "Returns"),
        *("TypeError under Raises", "ValueError under Raises"),
        *("an import of np", "an import of refused"),
    ]
    refused.__doc__ = None
    assert {"a summary", "the parameter a", "Examples"} <= set(lacks(refused))


def test_nothing_is_missing():
    def refused() -> None:
        raise ValueError(0)

    refused.__doc__ = WHOLE
    assert not lacks(refused)
    refused.__annotations__["return"] = int
    assert lacks(refused) == ["Returns"]


def test_a_class_may_name_its_fields_in_its_bases():
    class Base:
        """Parameters of its own.

        Parameters
        ----------
        a : int
            The first.
        """

    class Child(Base):
        """One more.

        Attributes
        ----------
        b : int
            The second.
        """

        def __init__(self, a, b, c):
            pass

    assert lacks(Child) == ["the parameter c", "Examples"]
