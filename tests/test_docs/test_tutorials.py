"""The tutorials' blocks run as they stand on the page."""

from __future__ import annotations

import ast
import re

import pytest
import torch

from tests.helpers import ROOT
from uniadapter.registry import DATASETS, MODELS

OWN = ("TwoTerms", "FrameMean", "Beside", "Mixer")


def test_the_blocks_of_the_page_run(tmp_path):
    page = (ROOT / "docs/tutorials.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    torch.manual_seed(0)
    namespace = {"folder": tmp_path / "adapter", "__name__": "tutorials"}
    # The projects have the same classes, and another test may have imported them.
    former = {name: MODELS.module_dict.pop(name) for name in OWN if name in MODELS.module_dict}
    table = DATASETS.module_dict.pop("CaptionTable", None)
    try:
        for number, block in enumerate(blocks):
            exec(compile(block, f"docs/tutorials.md, block {number}", "exec"), namespace)
    finally:
        for name in OWN:
            MODELS.module_dict.pop(name, None)
        MODELS.module_dict.update(former)
        DATASETS.module_dict.pop("CaptionTable", None)
        if table is not None:
            DATASETS.module_dict["CaptionTable"] = table


def _classes(code: str) -> dict[str, str]:
    """Classes of a file by name, without what only explains them."""
    found = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
        if isinstance(node, ast.ClassDef):
            found[node.name] = node
    return {name: ast.dump(node) for name, node in found.items()}


@pytest.mark.parametrize(
    "file", ["new_method/two_terms.py", "new_backbone/mixer.py", "new_dataset/table.py"]
)
def test_the_projects_are_the_page_s(file: str):
    page = (ROOT / "docs/tutorials.md").read_text(encoding="utf-8")
    told: dict[str, str] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        told.update(_classes(block))
    own = _classes((ROOT / "projects" / file).read_text(encoding="utf-8"))
    assert own
    assert {name: told[name] for name in own} == own
