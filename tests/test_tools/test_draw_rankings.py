from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.helpers import ROOT
from uniadapter.visualization.report import RIGHT, WRONG

TOOL = ROOT / "tools" / "visualization" / "draw_rankings.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_rankings", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ranking(tmp_path: Path) -> Path:
    for name, value in (("dark", 20), ("light", 230)):
        code = cv2.VideoWriter_fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(tmp_path / f"{name}.mp4"), code, 8, (32, 32))
        for _ in range(6):
            writer.write(np.full((32, 32, 3), value, np.uint8))
        writer.release()
    media = [{"id": n, "path": str(tmp_path / f"{n}.mp4")} for n in ("dark", "light")]
    content = {
        "texts": ["a dark room", "a light room"],
        "media": media,
        "positives": [0, 1],
        "top": [[[0, 2.0], [1, 1.0]], [[0, 2.0], [1, 1.0]]],
        "skipped": [],
    }
    path = tmp_path / "ranking.json"
    path.write_text(json.dumps(content))
    return path


def test_the_right_video_has_a_green_frame(tool: ModuleType, ranking: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures" / "queries.png"
    tool.main([str(ranking), str(out), "--queries", "9", "--frames", "2", "--height", "32"])
    sheet = np.asarray(Image.open(out).convert("RGB"))
    green, grey = ((sheet == np.array(color)).all(-1) for color in (RIGHT, WRONG))
    rows = np.flatnonzero(green.any(1))
    # Right at once in the first query, in second place in the last.
    assert green[rows[0]].nonzero()[0].max() < grey[rows[0]].nonzero()[0].min()
    assert green[rows[-1]].nonzero()[0].min() > grey[rows[-1]].nonzero()[0].max()


def test_bad_input_is_named(tool: ModuleType, ranking: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="test_cfg.dump"):
        tool.read_ranking(tmp_path / "none.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match="other.json is no ranking"):
        tool.read_ranking(tmp_path / "other.json")
    with pytest.raises(SystemExit, match="is no ranking"):
        tool.main([str(tmp_path / "other.json"), str(tmp_path / "a.png")])
