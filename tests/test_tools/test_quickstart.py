from __future__ import annotations

import argparse
import ast
import importlib.util
import io
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs_commands import check, commands_of
from tests.helpers import ROOT
from tools.quickstart_progress import Progress, Row, state_of
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.config import load_config

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


LOGGED = (
    "01:46 - mmengine - INFO - Epoch(train)  [1][150/225]  lr: 2.8e-03  eta: 0:05:53  time: 1\n"
)
ENVIRONMENT = "System environment:\n    sys.platform: linux\n"


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (None, "starting"),
        (ENVIRONMENT, "starting"),
        (ENVIRONMENT + LOGGED, "training, epoch 1, step 150 of 225, 0:05:53 left"),
        (
            ENVIRONMENT + LOGGED + LOGGED.replace("[1][150/225]", "[2][ 50/225]"),
            "training, epoch 2, step 50 of 225, 0:05:53 left",
        ),
        (ENVIRONMENT + LOGGED + "Saving checkpoint at 3 epochs\n" + ENVIRONMENT, "testing"),
    ],
)
def test_the_state_of_a_row_is_read_from_its_log(
    text: str | None, state: str, tmp_path: Path
) -> None:
    log = tmp_path / "output.txt"
    if text is not None:
        log.write_text(text)
    assert state_of(log, trained=True) == state
    assert state_of(log, trained=False) == "testing"


class Screen(io.StringIO):
    """A terminal that knows the two control sequences of the progress."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        shown: list[str] = []
        at = 0
        for part in re.findall(r"\033\[\d+F|\033\[2K|[^\033\n]+|\n", self.getvalue()):
            if part.endswith("F"):
                at -= int(part[2:-1])
            elif part == "\n":
                at += 1
            elif part == "\033[2K":
                shown[at : at + 1] = [""]
            else:
                shown[at] += part
        return shown


def test_a_terminal_shows_one_line_a_row(tmp_path: Path) -> None:
    screen = Screen()
    rows = (Row("a", "configs/a.py"), Row("longer", "configs/b.py"))
    progress = Progress(rows, tmp_path, screen)
    progress.begin(rows[0])
    progress.show()
    assert screen.lines() == ["  a       starting (0 s)", "  longer  waiting"]
    progress.end(rows[0], "R@1 2.0 in 5 s")
    progress.begin(rows[1])
    progress.show()
    assert screen.lines() == ["  a       R@1 2.0 in 5 s", "  longer  starting (0 s)"]


def test_a_file_gets_a_line_for_each_row_under_way(tmp_path: Path) -> None:
    rows = (Row("a", "configs/a.py"), Row("longer", "configs/b.py"), Row("c", "configs/c.py"))
    file = io.StringIO()
    progress = Progress(rows, tmp_path, file)
    progress.begin(rows[0])
    progress.begin(rows[1])
    progress.end(rows[0], "R@1 2.0 in 5 s")
    progress.show()
    assert file.getvalue().splitlines() == ["  a       R@1 2.0 in 5 s", "  longer  starting (0 s)"]


def test_the_options_of_the_quickstart_are_read(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=CfgOptions)
    options = parser.parse_args(["--cfg-options", *tool.SHORTER]).cfg_options
    for row in tool.ROWS:
        cfg = load_config(row.config, options)
        assert cfg.train_dataloader.dataset.pipeline[0].num_frames == 4
        assert cfg.train_dataloader.num_workers == 1
        assert cfg.test_dataloader.dataset.pipeline[0].num_frames == 8
        assert cfg.train_cfg.max_epochs > tool.EPOCHS


def test_what_is_said_to_type_next_can_be_typed(tool: ModuleType, tmp_path: Path) -> None:
    row = tool.ROWS[-1]
    folder = row.folder(tmp_path)
    folder.mkdir()
    (folder / "last_checkpoint").write_text(f"{folder}/epoch_3.pth")
    text = tool.what_next(row, tmp_path)
    installed = Path(sys.executable).with_name("uniadapter")
    inside = installed.is_relative_to(tool.ROOT)
    program = str(installed.relative_to(tool.ROOT) if inside else installed)
    lines = [line for line in text.splitlines() if line.startswith("  ")]
    typed = [re.split(r" {3,}", line.strip())[0] for line in lines]
    commands = [words.replace(program, "uniadapter") for words in typed if program in words]
    commands += [f"python {words.split(' ', 1)[1]}" for words in typed if "tools/test.py" in words]
    assert len(commands) == 4
    for command in commands:
        for words in commands_of(command):
            check(words)
    code = text.split("three lines of Python:\n")[1]
    assert len(ast.parse(textwrap.dedent(code)).body) == 3
    assert f"pretrained='{folder}/epoch_3_adapter'" in code
