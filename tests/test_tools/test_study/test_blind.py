"""What constants reach without a picture, against what is counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config

from tools.study import blind as module

NAMES = ("one", "two", "three", "four", "five")


def question(number: int, text: str, label: dict[str, float]) -> dict[str, Any]:
    return {"question_id": number, "img_id": NAMES[number % 4], "sent": text, "label": label}


def statement(number: int, text: str, label: int) -> dict[str, Any]:
    images = {"img0": "one", "img1": "two"}
    return {"uid": f"u{number}", "identifier": f"a-{number}-0-0", "sent": text, **images} | {
        "label": label
    }


def photo(number: int, split: str, captions: list[str]) -> dict[str, Any]:
    sentences = [{"raw": text, "tokens": text.split()} for text in captions]
    facts = {"filename": f"{NAMES[number]}.jpg", "filepath": "p", "cocoid": number, "split": split}
    return {**facts, "sentences": sentences}


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    (tmp_path / "features").mkdir()
    for name in NAMES:
        np.savez(tmp_path / f"features/{name}.npz", features=np.zeros((4, 2), np.float16))
    said = ["a red star", "a blue ring", "a blue ring on a wall"]
    files = {
        "q_train": [
            # Red is chosen twice and blue once, but blue scores more.
            question(0, "what color ?", {"red": 0.3}),
            question(1, "what color ?", {"red": 0.3}),
            question(2, "what color ?", {"blue": 1.0, "red": 0.3}),
            *(question(n, "is it ?", {"no": 1.0}) for n in (3, 4)),
        ],
        "q_test": [
            question(0, "what color ?", {"blue": 1.0}),
            question(1, "what color ?", {"blue": 0.3, "red": 1.0}),
            # No training question: the answer that scores most of all is no.
            question(2, "is there one ?", {"no": 1.0}),
            question(3, "is there one ?", {"yes": 1.0}),
        ],
        "s_train": [statement(n, f"it is {n}", int(n > 0)) for n in range(4)],
        "s_test": [statement(n, f"they are {n}", int(n > 1)) for n in range(5)],
        "photos": {
            "images": [
                photo(0, "train", ["a red star", "a red star", *said]),
                photo(1, "val", ["a blue ring", "a blue ring on a wall"]),
                photo(4, "val", ["a green ring", "a ring on a wall"]),
                photo(2, "test", ["a blue ring", "a ring"]),
                photo(3, "test", ["a green ring", "a big ring"]),
            ]
        },
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    common = {
        "data_root": str(tmp_path),
        "features": {"type": "npz", "root": "features", "shape": (4, 2)},
        "pipeline": [],
    }

    def loader(split: str) -> dict[str, Any]:
        test = {**common, "test_mode": split != "train"}
        file = "train" if split == "train" else "test"
        caption = {"type": "FeatureCaption", "ann_file": "photos.json", "split": split}
        sets = {
            "gqa": {"type": "FeatureVQA", "task": "gqa", "ann_file": f"q_{file}.json"},
            "nlvr": {"type": "FeatureNLVR2", "ann_file": f"s_{file}.json"},
            "caption": caption,
        }
        return {"dataset": {"datasets": {task: {**test, **one} for task, one in sets.items()}}}

    metrics = {
        "gqa": {"type": "SoftVQAMetric", "prediction": "pred_text"},
        "nlvr": {"type": "NLVR2Metric"},
        "caption": {"type": "CaptionMetric", "prediction": "pred_text"},
    }
    average = {"gqa": "accuracy", "nlvr": "accuracy", "caption": "CIDEr"}
    loaders = {f"{split}_dataloader": loader(split) for split in ("train", "val", "test")}
    return Config({**loaders, "test_evaluator": {"metrics": metrics, "average": average}})


def test_constants_are_those_of_training(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, list[str]] = {}
    measure = module._measure

    def watched(config: Any, name: str, items: Any, firsts: Any, other: Any) -> float:
        said.setdefault(config["type"], []).append(other[0])
        return measure(config, name, items, firsts, other)

    monkeypatch.setattr(module, "_measure", watched)
    found = module.blind(cfg)
    assert found["gqa/accuracy"] == pytest.approx(100 * (1.0 + 0.3 + 1.0 + 0.0) / 4)
    assert found["nlvr/accuracy"] == pytest.approx(100 * 3 / 5)
    assert found["average"] == pytest.approx(
        (found["gqa/accuracy"] + found["nlvr/accuracy"] + found["caption/CIDEr"]) / 3
    )
    # The red star is the most frequent caption, and a blue ring fits the held-out picture.
    *tried, best = said["CaptionMetric"]
    assert sorted(tried) == sorted({"a red star", "a blue ring", "a blue ring on a wall"})
    assert best.startswith("a blue ring")
    assert said["NLVR2Metric"] == ["true"]
