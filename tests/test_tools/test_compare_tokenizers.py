from __future__ import annotations

import importlib
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers import ROOT

TOOL = ROOT / "tools" / "analysis_tools" / "compare_tokenizers.py"


class _Spaces:
    """Stands for the Java tokenizer: splits at spaces alone."""

    def tokenize(self, captions: dict) -> dict:
        return {key: [row["caption"].lower() for row in rows] for key, rows in captions.items()}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_tokenizers", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ptb = importlib.import_module("pycocoevalcap.tokenizer.ptbtokenizer")
    monkeypatch.setattr(ptb, "PTBTokenizer", _Spaces)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/java")
    return module


def test_differences(tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("A cat\n\n---\na dog's bone\nA cat\na  bus\n")
    tool.main([str(path)])
    assert capsys.readouterr().out.splitlines() == [
        'java "dog\'s"  python "dog \'s"',
        "1 of 3 lines and 2 of 7 tokens differ (28.571 %)",
    ]


def test_errors(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lines.txt"
    with pytest.raises(SystemExit, match="No such file"):
        tool.main([str(path)])
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SystemExit, match="no UTF-8 text"):
        tool.main([str(path)])
    path.write_text("1 2 3\n")
    with pytest.raises(SystemExit, match="hold no line with a word"):
        tool.main([str(path)])
    path.write_text("a cat\n")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="needs Java"):
        tool.main([str(path)])
