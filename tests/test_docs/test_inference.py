"""The blocks of the page on inference run as they stand there."""

from __future__ import annotations

import re

import torch

from tests.helpers import ROOT


def test_the_blocks_of_the_page_run(tmp_path, monkeypatch):
    page = (ROOT / "docs/inference.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    monkeypatch.chdir(ROOT)
    torch.manual_seed(0)
    namespace = {"folder": tmp_path, "__name__": "inference"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/inference.md, block {number}", "exec"), namespace)
    red = namespace["matches"][0]["sample"]["video_id"]
    assert red == "red_square"
    assert namespace["cosine"] <= 1
