"""The command that exports says what is wrong before it builds a model."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from uniadapter.cli.commands import export

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def said_of(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    with pytest.raises(SystemExit) as found:
        export.main(list(arguments))
    assert found.value.code not in (None, 0)
    return f"{found.value.code} {capsys.readouterr().err}"


def test_refusals(tmp_path, capsys, monkeypatch):
    out = ("--out", str(tmp_path / "out"))
    assert "no_such" in said_of(capsys, "no_such", *out)
    assert "none.py" in said_of(capsys, "none.py", *out)
    assert "--out" in said_of(capsys, "tiny_zero_shot")
    assert "opset=3" in said_of(capsys, "no_such", *out, "--opset", "3")
    assert "leave it out" in said_of(capsys, "no_such", *out, "--opset", "18", "--format", "torch")
    (tmp_path / "file").write_text("")
    assert "not empty" in said_of(capsys, "no_such", "--out", str(tmp_path))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "uniadapter[export]" in said_of(capsys, "no_such", *out)


def test_report(tmp_path, capsys, monkeypatch):
    asked: dict[str, Any] = {}

    def exported(model: Any, folder: str, **options: Any) -> Any:
        asked.update(options, model=model)
        Path(folder).mkdir()
        (Path(folder) / "text.pt2").write_bytes(bytes(2**20))
        kind = {"type": "RetrievalModel", "adapter": None}
        return SimpleNamespace(
            format="torch", model=kind, files={"text.pt2": ""}, difference=asked.get("apart")
        )

    monkeypatch.setattr(export, "export_model", exported)
    monkeypatch.setattr(export, "model_of", lambda *given: given)
    command = ["some_name", "--checkpoint", "folder", "--format", "torch", "--out"]
    assert export.main([*command, str(tmp_path / "a"), "--no-check"]) == 0
    assert asked["model"] == ("some_name", "folder", "cpu", None)
    assert (asked["format"], asked["check"], asked["device"]) == ("torch", False, "cpu")
    printed = capsys.readouterr().out
    assert "1.0 MiB" in printed
    assert "not compared" in printed
    asked["apart"] = 2e-6
    assert export.main([*command, str(tmp_path / "b")]) == 0
    assert "2.0e-06" in capsys.readouterr().out
