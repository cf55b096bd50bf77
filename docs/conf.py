"""Sphinx configuration; the table of methods is written from the registry."""

from pathlib import Path

import deconv
from deconv import methods

project = "deconv"
author = "The deconv developers"
copyright = "2026, The deconv developers"
release = version = deconv.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
myst_enable_extensions = ["dollarmath", "deflist"]
nb_execution_mode = "off"
numpydoc_show_class_members = False
autosummary_generate = True
default_role = "py:obj"
exclude_patterns = ["_build", "_generated/methods.md"]

html_theme = "pydata_sphinx_theme"
html_title = "deconv"
html_show_sourcelink = False


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
