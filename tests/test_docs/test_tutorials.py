"""The tutorials' blocks run as they stand on the page."""

from __future__ import annotations

import re

import torch

from tests.helpers import ROOT
from uniadapter.registry import MODELS

OWN = ("TwoTerms", "FrameMean", "Beside", "Mixer")


def test_the_blocks_of_the_page_run(tmp_path):
    page = (ROOT / "docs/tutorials.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    torch.manual_seed(0)
    namespace = {"folder": tmp_path / "adapter", "__name__": "tutorials"}
    try:
        for number, block in enumerate(blocks):
            exec(compile(block, f"docs/tutorials.md, block {number}", "exec"), namespace)
    finally:
        for name in OWN:
            MODELS.module_dict.pop(name, None)
