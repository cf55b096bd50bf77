"""Sphinx configuration; tables of methods come from the registry and from what was measured."""

import json
from pathlib import Path

import deconv
from deconv import methods

project = "deconv"
author = "The deconv developers"
copyright = "2026, The deconv developers"
release = version = deconv.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx-mathjax-offline",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
]
myst_enable_extensions = ["dollarmath", "deflist"]
nb_execution_mode = "off"
nb_merge_streams = True
numpydoc_show_class_members = False
autosummary_generate = True
default_role = "py:obj"
exclude_patterns = ["_build", "_generated/methods.md", "_generated/measured.md"]

html_theme = "pydata_sphinx_theme"
html_title = "deconv"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["narrow.css"]
templates_path = ["_templates"]
# Some thirty pages do not fit into the header: all of them are listed at the side.
html_theme_options = {"navbar_center": []}
html_sidebars = {"**": ["all-pages"], "index": []}


def needs(method: methods.Method) -> list[str]:
    """What must be at hand for a method."""
    learned = method.function.__module__.startswith("unrolled")
    return ["psf"] * method.needs_psf + ["PyTorch"] * learned


def measured_table() -> str:
    """What each method needs, costs and gains, and who is best at what, as Markdown."""
    run = json.loads((Path(__file__).parent / "measured.json").read_text())
    table = run["benchmarks"]["methods"][0]
    kinds = [kind.replace(" %", "\u00a0%") for kind in table["columns"][4:]]
    rows = {row[0]: row[1:] for row in table["rows"]}
    known = [m for m in methods.all() if m.name in rows]
    gains = {m.name: [float(gain) for gain in rows[m.name][3:]] for m in known}
    plain = [m.name for m in known if "PyTorch" not in needs(m)]

    def best(names, kind, count):
        ranked = sorted(names, key=lambda name: -gains[name][kind])[:count]
        return ", ".join(f"`{name}` {gains[name][kind]:+.1f}" for name in ranked)

    lines = ["| | best | best without PyTorch |", "|---|---|---|"]
    lines += [
        f"| {name} | {best(gains, i, 1)} | {best(plain, i, 3)} |" for i, name in enumerate(kinds)
    ]
    costs = ["| method | needs | s a megapixel | stacks |", "|---|---|---|---|"]
    gained = [f"| method | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for method in methods.all():
        _, stacks, seconds, *cells = rows.get(method.name, ["–"] * (len(kinds) + 3))
        needed = ", ".join(needs(method)) or "nothing"
        costs.append(f"| `{method.name}` | {needed} | {seconds} | {stacks} |")
        gained.append(f"| `{method.name}` | {' | '.join(cells)} |")
    lines += ["", *gained, "", *costs]
    commit = (run["commit"] or "unknown")[:10]
    lines += ["", f"Measured on {run['date'][:10]} at commit {commit}: {run['machine']}.", ""]
    return "\n".join(lines)


def methods_table() -> str:
    """Describe every registered method, as Markdown."""
    lines = []
    for method in methods.all():
        given = ["the psf"] * method.needs_psf + ["the noise (optional)"] * bool(method.noise)
        lines += [f"## {method.name}", "", method.summary, ""]
        lines += [f"Given: the image{''.join(', ' + each for each in given)}.", ""]
        lines += ["| parameter | default | range | |", "|---|---|---|---|"]
        for each in method.parameters:
            default = "none" if each.default is None else f"`{each.default}`"
            lines.append(f"| `{each.name}` | {default} | {each.range} | {each.doc} |")
        lines.append("")
    return "\n".join(lines)


generated = Path(__file__).parent / "_generated"
generated.mkdir(exist_ok=True)
(generated / "methods.md").write_text(methods_table())
(generated / "measured.md").write_text(measured_table())

# Sphinx reads nothing outside its own folder: the notebooks are copied into it, with their links to
# these pages. A file that is up to date is left alone, so that its page is not built anew.
notebooks = generated / "notebooks"
notebooks.mkdir(exist_ok=True)
sources = {path.name: path for path in (Path(__file__).parents[1] / "notebooks").glob("*.ipynb")}
for old in notebooks.glob("*.ipynb"):
    if old.name not in sources:
        old.unlink()
for name, path in sources.items():
    text = path.read_text(encoding="utf-8").replace("](../docs/", "](../../")
    copy = notebooks / name
    if not copy.exists() or copy.read_text(encoding="utf-8") != text:
        copy.write_text(text, encoding="utf-8")
