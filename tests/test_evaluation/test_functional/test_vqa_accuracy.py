from __future__ import annotations

import pytest

from uniadapter.evaluation.functional import (
    consensus_accuracy,
    exact_match,
    mean_by_group,
    video_question_type,
)


@pytest.mark.parametrize(
    ("matches", "expected"),
    # With k of 10 annotators agreeing, k turns leave out one of them.
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0), (10, 1.0)],
)
def test_leave_one_out(matches: int, expected: float) -> None:
    answers = ["cat"] * matches + [f"dog {i}" for i in range(10 - matches)]
    assert consensus_accuracy("cat", answers) == pytest.approx(expected)


def test_answers_are_normalised_on_both_sides() -> None:
    answers = ["Two", "2", "the two", "2."] + ["3"] * 6
    assert consensus_accuracy("two", answers) == 1.0
    assert consensus_accuracy("2", answers) == 1.0


def test_unanimous_answers_are_compared_as_they_are() -> None:
    assert consensus_accuracy("2", ["two"] * 10) == 0.0
    assert consensus_accuracy(" two\n", ["two"] * 10) == 1.0


def test_empty_prediction_is_wrong() -> None:
    assert consensus_accuracy("", ["cat"] * 5 + ["dog"] * 5) == 0.0


@pytest.mark.parametrize("answers", [[], ["cat"], ["cat"] * 3])
def test_too_few_annotators(answers: list[str]) -> None:
    with pytest.raises(ValueError, match="ten annotators.*Use QAExactMatch"):
        consensus_accuracy("cat", answers)


def test_exact_match() -> None:
    assert exact_match(" Guitar ", "guitar")
    assert not exact_match("guitars", "guitar")
    assert not exact_match("", "guitar")


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("what is a man doing?", "what"),
        ("Who sings?", "who"),
        ("how many", "how"),
        ("when?", "when"),
        ("where is it", "where"),
        ("what's on", "other"),
        ("is it red?", "other"),
        ("", "other"),
    ],
)
def test_video_question_type(question: str, kind: str) -> None:
    assert video_question_type(question) == kind


def test_mean_by_group() -> None:
    assert mean_by_group([1.0, 0.0, 1.0], ["b", "a", "a"]) == {"a": 0.5, "b": 1.0}
    with pytest.raises(ValueError, match="zip"):
        mean_by_group([1.0], ["a", "b"])
