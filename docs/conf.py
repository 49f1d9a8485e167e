"""Sphinx builds the pages of this folder: ``sphinx-build -W docs site`` (docs/contributing.md)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

from source_lines import add_lines  # noqa: E402

project = "uniadapter"
author = "the uniadapter contributors"
# Read, not imported: the pages of the site alone need no installed package.
found = re.search(r'__version__ = "([^"]+)"', (ROOT / "uniadapter/version.py").read_text("utf-8"))
release = found[1] if found else ""
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
myst_enable_extensions = ["colon_fence", "dollarmath"]
# Anchors as the code hosts make them, so that links work there and here.
myst_heading_anchors = 4
exclude_patterns = ["study/results"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = f"uniadapter {release}"
# The prompt and what a command prints are not copied.
copybutton_prompt_text = "$ "
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_class_signature = "separated"
napoleon_numpy_docstring = False
# Attributes as fields of their class, so that those of a tuple are not described twice.
napoleon_use_ivar = True


def _plain_outside(app: Sphinx, docname: str, source: list[str]) -> None:
    """Links to folders and pages outside of docs/ keep their words: the site has no such page."""
    folder = (DOCS / docname).parent

    def words(found: re.Match[str]) -> str:
        target = (folder / found[2]).resolve()
        outside = not target.is_relative_to(DOCS)
        return found[1] if outside and (target.is_dir() or target.suffix == ".md") else found[0]

    source[0] = re.sub(r"\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(?:#[^)]*)?\)", words, source[0])


def _with_lines(app: Sphinx, docname: str, source: list[str]) -> None:
    """Symbols in tables of equations get the line where they stand."""
    source[0] = add_lines(source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _with_lines)
    app.connect("source-read", _plain_outside)
