"""The blocks of the page about sharing run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from tests.helpers import ROOT


def test_the_blocks_of_the_page_run(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs/sharing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"folder": tmp_path / "adapter"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/sharing.md, block {number}", "exec"), names)
    assert len(blocks) == 2
    assert names["frames"].dtype == torch.uint8
    model, again = names["model"], names["again"]
    ids = again.tokenizer(["a red square"])
    assert torch.equal(model.encode_text(*ids)[1], names["text"])
    assert (tmp_path / "adapter").is_dir()
