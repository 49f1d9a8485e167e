"""The candidates of a VQA model: where they come from, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.test_models.test_tasks.test_vqa_caption import ANSWERS, build
from uniadapter.models.adapters.state import load_adapter, save_adapter
from uniadapter.models.tasks.vqa import read_answer_list


def test_answer_list_travels_with_the_adapter(vocab, tmp_path):
    model = build("VQAModel", vocab, answer_list=ANSWERS)
    save_adapter(model, tmp_path)
    other = build("VQAModel", vocab)
    load_adapter(other, tmp_path)
    assert other.answer_list == ANSWERS


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ([], "at least one answer"),
        (["red", " "], r"answer_list\[1\]"),
        (["red", 3], r"answer_list\[1\]=3"),
        (["red", "red"], "twice"),
        ("nowhere.json", "nowhere.json does not exist"),
    ],
)
def test_bad_answer_lists_are_refused(source, match):
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        read_answer_list(source)


def test_candidates_with_the_same_tokens_are_refused(vocab, tmp_path: Path):
    with pytest.raises(ValueError, match=r"\[0\]='red' and \[2\]='Red '"):
        build("VQAModel", vocab, answer_list=["red", "two", "Red "])
    # To this vocabulary alone: it has neither word.
    path = tmp_path / "answers.json"
    path.write_text('["dog", "red", "cat"]')
    with pytest.raises(ValueError, match=r"answers\.json.*\[0\]='dog' and \[2\]='cat'"):
        build("VQAModel", vocab, answer_list=str(path)).init_weights()


def test_an_adapter_with_one_answer_twice_still_loads(vocab, monkeypatch):
    logged: list[str] = []
    monkeypatch.setattr(
        "uniadapter.models.tasks.vqa.print_log", lambda text, *_: logged.append(text)
    )
    model = build("VQAModel", vocab)
    model.set_adapter_extras({"answer_list": ["red", "two", "RED"]})
    assert model.answer_list == ["red", "two"]
    assert "[('red', 'RED')]" in logged[0]


def test_answer_list_is_read_from_json(tmp_path: Path):
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(ANSWERS))
    assert read_answer_list(path) == ANSWERS
