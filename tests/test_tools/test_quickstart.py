from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers import ROOT

TOOL = ROOT / "tools" / "quickstart.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quickstart", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["quickstart"] = module
    spec.loader.exec_module(module)
    return module


def test_the_table_has_the_columns_of_the_readme(tool: ModuleType) -> None:
    metrics = {"t2v/R1": 12.5, "t2v/R5": 25.0, "t2v/R10": 50.0, "seconds": 61.4}
    lines = tool.table([("UniAdapter", 250, 1000, metrics)]).splitlines()
    assert lines[0].split("|")[1:-1] == [
        " method ",
        " trainable ",
        " share ",
        " t2v R@1 ",
        " R@5 ",
        " R@10 ",
        " seconds ",
    ]
    assert lines[2] == "| UniAdapter | 250 | 25.0% | 12.5 | 25.0 | 50.0 | 61 |"


def test_the_rows_have_configs_and_the_frozen_one_trains_nothing(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert [row.trained for row in tool.ROWS] == [False, True, True]
    assert all((ROOT / row.config).is_file() for row in tool.ROWS)
    trainable = [tool.parameters(row.config, row.trained)[0] for row in tool.ROWS]
    assert trainable == sorted(trainable)
    assert trainable[0] == 0


def test_a_failing_command_shows_the_end_of_its_log(tool: ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint('begun')\nsys.exit(f'error: no {sys.argv[1]}')\n")
    with pytest.raises(RuntimeError, match=r"(?s)script\.py config\.py` failed.*error: no config"):
        tool.run([str(script), "config.py"], tmp_path / "log.txt")
    assert "begun" in (tmp_path / "log.txt").read_text()


def test_progress_is_read_from_the_log(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    log = tmp_path / "msrvtt_r32" / "output.txt"
    log.parent.mkdir()
    log.write_text(
        "...\n01:46 - INFO - Epoch(train)  [1][150/225]  lr: 2.8e-03  eta: 0:05:53  time\n"
    )
    tool.print_progress(tool.ROWS[2], tmp_path)
    assert "UniAdapter: epoch [1][150/225], 0:05:53 of training left" in capsys.readouterr().out
    tool.print_progress(tool.ROWS[0], tmp_path)
    assert capsys.readouterr().out == ""
