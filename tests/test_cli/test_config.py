"""``uniadapter config``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import ROOT
from uniadapter.cli.commands.config import main, project_config
from uniadapter.utils.config import load_config
from uniadapter.utils.paths import base_files

CONFIG = ROOT / "configs/tiny/msrvtt_r32.py"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        *("tiny/msrvtt_r32.py", "configs/tiny/msrvtt_r32.py", "uniadapter::tiny/msrvtt_r32.py"),
        str(CONFIG),
    ],
)
def test_names_of_a_config(name: str) -> None:
    assert project_config(name) == CONFIG


def test_name_of_a_model() -> None:
    assert project_config("blip_tiny") == ROOT / "configs/pretrain/blip_tiny.py"


def test_what_is_no_config_of_the_project(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("model = dict()\n")
    for name in (str(own), "own.py", "tiny", "../setup.py"):
        with pytest.raises(FileNotFoundError, match="The project has no config"):
            project_config(name)
    with pytest.raises(FileNotFoundError, match="Did you mean uniadapter_msrvtt_r512"):
        project_config("uniadapter_msrvt_r512")


def test_the_copies_are_whole(tmp_path: Path, capsys) -> None:
    assert main(["tiny/msrvtt_r32.py", "--out", "mine"]) == 0
    copy = tmp_path / "mine/configs/tiny/msrvtt_r32.py"
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "mine/configs/tiny/msrvtt_r32.py"
    files = [CONFIG, *base_files(CONFIG)]
    assert printed == [f"mine/{file.relative_to(ROOT)}" for file in files]
    assert all(tmp_path in file.parents for file in base_files(copy))
    assert load_config(copy).to_dict() == load_config(CONFIG).to_dict()


def test_own_changes_are_kept(tmp_path: Path, capsys) -> None:
    main(["tiny/msrvtt_r32.py"])
    main(["tiny/msrvtt_linear_probe.py"])
    changed = tmp_path / "configs/_base_/default_runtime.py"
    changed.write_text("changed = 1\n")
    with pytest.raises(SystemExit, match="default_runtime.py is there already and differs"):
        main(["tiny/didemo_r32.py"])
    assert changed.read_text() == "changed = 1\n"
    assert not (tmp_path / "configs/tiny/didemo_r32.py").exists()
    assert main(["tiny/didemo_r32.py", "--force"]) == 0
    assert changed.read_bytes() == (ROOT / "configs/_base_/default_runtime.py").read_bytes()
