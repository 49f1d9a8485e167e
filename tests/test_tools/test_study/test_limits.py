"""What bounds VL-Adapter's embedded rows, against what is looked up by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tools.study import limits


def test_a_thing_has_the_feature_of_the_cell_that_its_middle_lies_in() -> None:
    features = torch.arange(36.0)[:, None]
    things = [SimpleNamespace(x=0.0, y=0.0), SimpleNamespace(x=0.99, y=0.2)]
    things += [SimpleNamespace(x=1.0, y=1.0), SimpleNamespace(x=0.5, y=0.34)]
    assert limits.cells(features, things).flatten().tolist() == [0, 11, 35, 15]


def test_a_probe_is_measured_on_what_it_has_not_seen() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(["red", "blue", "green"], 300)
    held_out = np.arange(300) % 5 == 0
    told = np.stack([labels == name for name in ("red", "blue", "green")], 1).astype(float)
    assert limits.probe(told, list(labels), held_out) == 1
    # Features that say nothing are not learned by heart.
    assert limits.probe(rng.normal(size=(300, 200)), list(labels), held_out) < 0.6


def test_a_question_asks_for_one_of_two_colors_that_its_caption_says() -> None:
    rows = limits.questions(60, seed=3)
    assert len(rows) == 60
    for text, asked, other in rows:
        question, _, caption = text.partition(" ? ")
        shape = question.split()[-1]
        words = caption.split()
        assert asked != other
        assert words[words.index(shape) - 1] == asked
        assert words.count(shape) == 1
        assert other in words


def test_what_is_answered_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f"text {n}", "red", "blue") for n in range(120)]
    asked: list[int] = []

    def answers(model: object, texts: list[str]) -> list[str]:
        asked.append(len(texts))
        return [{0: "red", 1: "blue ring"}.get(int(text.split()[1]) % 3, "") for text in texts]

    monkeypatch.setattr(limits, "questions", lambda count, seed: rows)
    monkeypatch.setattr(limits, "answer", answers)
    said = limits.ask_in_words("vl_t5_pretrain", 120)
    assert asked == [50, 50, 20]
    assert said == pytest.approx({"asked": 1 / 3, "other": 1 / 3})


def test_too_few_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        limits.main(["--pictures", "3"])
    assert "--pictures: 3 must be at least 50" in capsys.readouterr().err
