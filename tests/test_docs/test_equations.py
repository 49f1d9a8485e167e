"""Tables that say where an equation is computed name symbols that are there."""

from __future__ import annotations

import sys

import pytest

from tests.helpers import ROOT

sys.path.insert(0, str(ROOT / "docs"))
from source_lines import REFERENCE, add_lines, line_of

PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "changelog.md"]
#: Pages of methods, and how many references they have at least.
METHODS = {"adapters.md": 9, "unipt.md": 6, "vl_adapter.md": 8, "methods.md": 6}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_symbols_are_where_the_page_says(page):
    found = REFERENCE.findall(page.read_text(encoding="utf-8"))
    for file, symbol in found:
        name = symbol.rpartition(".")[2]
        source = (ROOT / "uniadapter" / file).read_text(encoding="utf-8").splitlines()
        line = source[line_of(file, symbol) - 1]
        assert f"def {name}(" in line or f"class {name}" in line
    assert len(found) >= METHODS.get(page.name, 0)


def test_a_page_of_the_site_gets_the_lines():
    text = "computed in `models/adapters/layer.py`, `LayerAdapter.forward` alone"
    line = line_of("models/adapters/layer.py", "LayerAdapter.forward")
    assert add_lines(text) == text.replace("layer.py`", f"layer.py:{line}`")
    with pytest.raises(KeyError):
        add_lines(text.replace("forward", "backward"))
    with pytest.raises(FileNotFoundError):
        add_lines(text.replace("layer.py", "layers.py"))
