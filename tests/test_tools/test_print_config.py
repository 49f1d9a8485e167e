from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "misc" / "print_config.py"
CONFIG = ROOT / "configs" / "_base_" / "datasets" / "msrvtt_retrieval.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("print_config", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_prints_and_saves_the_merged_config(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    child = tmp_path / "child.py"
    child.write_text(f"_base_ = [{str(CONFIG)!r}]\ntrain_dataloader = dict(batch_size=3)\n")
    saved = tmp_path / "out" / "merged.py"
    option = "train_dataloader.dataset.data_root=elsewhere/"
    tool.main([str(child), "--save-path", str(saved), "--cfg-options", option])
    printed = capsys.readouterr().out
    assert "data_root='elsewhere/'" in printed
    assert "_base_" not in printed
    merged = Config.fromfile(str(saved))
    assert merged.train_dataloader.batch_size == 3
    assert merged.train_dataloader.dataset.type == "MSRVTTRetrieval"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.py"], r"none\.py does not exist"),
        ([str(CONFIG), "--save-path", "merged.txt"], "must end in one of"),
        ([str(CONFIG), "--cfg-options", "tran_dataloader=x"], "Did you mean `train_dataloader`"),
    ],
)
def test_bad_arguments(tool: ModuleType, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        tool.main(arguments)
