"""The linear classifier on frozen visual tokens, on a few pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import ROOT
from tools.analysis_tools.probe_easy_vqa import main

COLORS = {"red": (230, 20, 20), "blue": (20, 20, 230)}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Red and blue squares; the question for the shape has one answer only."""
    monkeypatch.chdir(ROOT)
    for split in ("train", "test"):
        (tmp_path / split / "images").mkdir(parents=True)
        questions = []
        for number in range(8):
            name = list(COLORS)[number % 2]
            picture = np.full((64, 64, 3), 240, np.uint8)
            left = 4 * number
            picture[20:44, left : left + 24] = COLORS[name]
            Image.fromarray(picture).save(tmp_path / split / "images" / f"{number}.png")
            questions.append(["is there a circle?", "no", number])
            questions.append(["what shape is in the image?", "rectangle", number])
            # The color of the last picture is not asked for.
            if number < 7:
                questions.append(["what color is the shape?", name, number])
        (tmp_path / split / "questions.json").write_text(json.dumps(questions))
    return tmp_path


@pytest.mark.parametrize("size", [48, 64])
def test_colors_are_in_the_frozen_tokens(
    root: Path, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"{split}_dataloader.dataset.data_root={root}" for split in ("train", "test")]
    main(["--size", str(size), "--train", "8", "--test", "8", "--cfg-options", *options])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{size} pixels: color 100.0, shape 100.0"


def test_a_missing_config_is_an_error() -> None:
    with pytest.raises(SystemExit, match="error: "):
        main(["configs/easy_vqa/gone.py"])
