"""What pages show of the Python interface runs as it stands on them."""

from __future__ import annotations

import re

import pytest
import torch

from tests.helpers import ROOT
from uniadapter.utils.model_index import find_model


def blocks_of(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def run(page: str, blocks: list[str]) -> dict:
    namespace: dict = {"__name__": page}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page}, block {number}", "exec"), namespace)
    return namespace


@pytest.fixture(autouse=True)
def nothing_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIADAPTER_HOME", str(tmp_path / "home"))


def test_the_readme_s_lines_run_in_a_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = blocks_of(text.split("## Use it from Python")[1].split("\n## ")[0])
    found = run("README.md", [block])
    assert found["similarity"].shape == (2, 2)
    assert found["similarity"].abs().max() <= 1


def test_the_page_s_blocks_run_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of((ROOT / "docs/python.md").read_text(encoding="utf-8"))
    assert len(blocks) == 4
    found = run("docs/python.md", blocks)
    assert "uniadapter_msrvtt_r512" in found["names"]
    assert found["captioners"]
    assert "blip_base" in found["with_weights"]
    assert torch.equal(found["pictures"][0], found["pictures"][1])
    assert found["similarity"].shape == (2, 3)
    assert found["logits"].shape[0] == 1
    assert found["result"]["pred_text"] in ("a red ball", "two blue boxes")
    assert list(found["captions"][0]) == ["pred_caption"]


def test_the_names_of_the_backbones_page_exist():
    text = (ROOT / "configs/backbones/README.md").read_text(encoding="utf-8")
    (block,) = blocks_of(text)
    for name in re.findall(r"get_model\('(\w+)'", block) + re.findall(r"pretrained='(\w+)'", block):
        assert find_model(name)
