from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.analysis_tools import recall_by_category as tool

VIDEOS = [{"video_id": f"video{i}", "category": category} for i, category in enumerate([0, 0, 3])]


def ranking() -> dict:
    return {
        "texts": ["one", "two", "three"],
        "media": [{"id": f"video{i}", "path": f"video{i}.mp4"} for i in range(3)],
        "positives": [0, 1, 2],
        # The first is found at once, the second in second place, the third not at all.
        "top": [[[0, 1.0], [1, 0.5]], [[0, 1.0], [1, 0.5]], [[0, 1.0], [1, 0.5]]],
    }


def test_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = tool.recall_by_category(ranking(), VIDEOS)
    assert rows[0] == (2, {1: 50.0, 5: 100.0, 10: 100.0})
    assert rows[3] == (1, {1: 0.0, 5: 0.0, 10: 0.0})
    assert rows[-1][0] == 3
    (tmp_path / "ranking.json").write_text(json.dumps(ranking()))
    (tmp_path / "data.json").write_text(json.dumps({"videos": VIDEOS}))
    tool.main([str(tmp_path / "ranking.json"), str(tmp_path / "data.json")])
    assert "| 0 | 2 | 50.0 | 100.0 | 100.0 |" in capsys.readouterr().out


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'video2' of the ranking"):
        tool.recall_by_category(ranking(), VIDEOS[:2])
    with pytest.raises(FileNotFoundError, match="none.json"):
        tool.read_videos(str(tmp_path / "none.json"))
    with pytest.raises(SystemExit, match="error: .*none.json does not exist"):
        tool.main([str(tmp_path / "none.json"), str(tmp_path / "none.json")])
