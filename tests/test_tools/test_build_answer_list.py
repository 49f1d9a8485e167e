from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.dataset_converters.build_answer_list import main


def write(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_formats_are_counted_together(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    qa = write(tmp_path / "train_qa.json", [{"answer": "man"}, {"answer": "dog"}])
    official = {"annotations": [{"multiple_choice_answer": "dog", "answers": [{"answer": "x"}]}]}
    lines = tmp_path / "own.jsonl"
    lines.write_text('{"answers": ["cat", "dog", "cat"]}\n{"answer": "man"}\n{"answer": "man"}\n')
    out = tmp_path / "lists" / "answers.json"
    main([qa, write(tmp_path / "vqa.json", official), str(lines), "--out", str(out)])
    assert json.loads(out.read_text()) == ["man", "dog", "cat"]
    main([qa, str(lines), "--out", str(out), "--top", "1"])
    assert json.loads(out.read_text()) == ["man"]
    assert "1 of 3 answers, those of 60.00% of 5 questions" in capsys.readouterr().out


def test_spellings_are_counted_together(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    one = [{"answer": a} for a in ("no", "no", "Yes", "yes", "YES", "yes", "t-shirt", "T - shirt")]
    several = [{"answers": ["no", "no", "T-shirt", "t - Shirt", "t-shirt"]}]
    out = tmp_path / "answers.json"
    main([write(tmp_path / "a.json", one + several), "--out", str(out), "--min-count", "3"])
    assert json.loads(out.read_text()) == ["yes", "t-shirt"]
    assert "2 of 3 answers, those of 77.78% of 9 questions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ([{"question": "x"}], [], "entry 0: one of the keys"),
        ([{"answer": ""}], [], "entry 0: 'answer' is empty"),
        ({"questions": []}, [], "an object with 'annotations'"),
        ([{"answer": "a"}], ["--min-count", "2"], "No answer is left"),
        ([], [], "No answer is left"),
    ],
)
def test_errors(tmp_path: Path, content: Any, options: list[str], message: str) -> None:
    path = write(tmp_path / "a.json", content)
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        main([path, "--out", str(tmp_path / "out.json"), *options])


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"gone\.json.*does not exist"):
        main([str(tmp_path / "gone.json"), "--out", str(tmp_path / "out.json")])
