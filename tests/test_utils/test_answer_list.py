from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniadapter.utils.answer_list import (
    count_answers,
    drop_twins,
    rank_answers_by_count,
    read_answer_list,
)
from uniadapter.utils.words import words_of

SPELLINGS = ["yes", "Yes", "YES ", "no", "t-shirt", "T - shirt", "cafe", "Café", " ", "", "\u200b"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(SPELLINGS), max_size=12))
def test_answers_of_the_same_words_are_counted_together(answers: list[str]) -> None:
    counts = count_answers(answers)
    words = [words_of(answer) for answer in answers if words_of(answer)]
    assert [words_of(answer) for answer in counts] == list(dict.fromkeys(words))
    for answer, count in counts.items():
        own = [a.strip() for a in answers if words_of(a) == words_of(answer)]
        assert count == len(own)
        assert own.count(answer) == max(map(own.count, own))
    if words:
        ranked = rank_answers_by_count(answers)
        assert sorted(ranked) == sorted(counts)
        assert [counts[answer] for answer in ranked] == sorted(counts.values(), reverse=True)
        assert read_answer_list(ranked) == ranked


@pytest.mark.parametrize(
    ("first", "second"),
    [("yes", "yes"), ("yes", "Yes"), ("t-shirt", "t - shirt"), ("cafe", "café"), ("a b", "a  b ")],
)
def test_twins_are_refused_by_name(tmp_path: Path, first: str, second: str) -> None:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps([first, "no", second]))
    with pytest.raises(ValueError, match=r"answers\.json holds answers twice.*Remove one") as error:
        read_answer_list(path)
    assert f"[0]={first!r} and [2]={second!r}" in str(error.value)
    assert drop_twins([first, "no", second], words_of) == ([first, "no"], [(first, second)])


def test_an_answer_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match=r"answer_list\[1\]='\\u200b' is no answer"):
        read_answer_list(["a", "\u200b"])
