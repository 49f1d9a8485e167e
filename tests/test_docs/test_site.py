"""The pages of docs/ as a site: each is found from its index, and Sphinx has nothing to warn of."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import pytest

from tests.helpers import ROOT

DOCS = ROOT / "docs"


def listed(index: str) -> list[str]:
    """Pages in the tables of contents of an index."""
    page = DOCS / index
    blocks = re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    names = [line for line in lines if line and not line.startswith(":")]
    return [(page.parent / name).relative_to(DOCS).as_posix() for name in names]


def test_every_page_is_in_one_table_of_contents():
    found = Counter(name for index in ("index.md", "api/index.md") for name in listed(index))
    pages = {p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.glob("*.md")}
    for folder in ("api", "datasets"):
        pages |= {
            p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.glob(f"{folder}/*.md")
        }
    assert found == dict.fromkeys(pages - {"index"}, 1)


def test_the_site_is_built_without_a_warning(tmp_path):
    for package in ("sphinx", "myst_parser", "furo", "sphinx_copybutton"):
        pytest.importorskip(package)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*command, str(DOCS), str(tmp_path / "site")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Adapter" in (tmp_path / "site/api/adapters.html").read_text(encoding="utf-8")
