from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniadapter.evaluation.functional import (
    consensus_accuracy,
    exact_match,
    mean_by_group,
    older_consensus_accuracy,
    video_question_type,
)
from uniadapter.utils.compat import mmpretrain_models


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


def test_blanks_at_the_ends_do_not_make_answers_differ() -> None:
    answers = ["two"] * 8 + [" two", "two\n"]
    assert consensus_accuracy("2", answers) == 0.0
    assert consensus_accuracy("two", answers) == 1.0
    # A letter does, and then everything is normalised.
    assert consensus_accuracy("2", [*answers, "Two"]) == 1.0


@pytest.fixture(scope="module")
def theirs() -> Any:
    """A port of the published normal form, by others."""
    mmpretrain_models()
    return importlib.import_module("mmpretrain.evaluation.metrics.vqa")


def published_accuracy(theirs: Any, prediction: str, answers: list[str]) -> float:
    """The published evaluation of one question, step by step in its own order."""
    rows = [{"answer_id": place, "answer": answer} for place, answer in enumerate(answers)]
    for row in rows:
        row["answer"] = row["answer"].replace("\n", " ").replace("\t", " ").strip()
    prediction = prediction.replace("\n", " ").replace("\t", " ").strip()
    if len({row["answer"] for row in rows}) > 1:
        for row in rows:
            row["answer"] = theirs._process_digit_article(
                theirs._process_punctuation(row["answer"])
            )
        prediction = theirs._process_digit_article(theirs._process_punctuation(prediction))
    accuracies = []
    for row in rows:
        matching = [other for other in rows if other != row and other["answer"] == prediction]
        accuracies.append(min(1, len(matching) / 3))
    return sum(accuracies) / len(accuracies)


BLANKS = st.sampled_from(["", "", " ", "  ", "\t", "\n", "\xa0", "\r"])
PIECES = st.one_of(
    st.sampled_from(["two", "Two", "2", "the", "A", "an", "none", "zero", "dont", "DON'T", "hes"]),
    st.sampled_from(
        ["t-shirt", "1,000", "3.5", ".", ",", "?!", "-", "/", "it's", "10:30", "caf\xe9"]
    ),
    st.text(alphabet=st.sampled_from("ab2\u0662.,-'/ \n\t:_\xdf\u0130"), max_size=5),
)
# Few different answers, so that they agree often enough.
ANSWERS = st.lists(PIECES, min_size=1, max_size=3).map(" ".join)
PADDED = st.tuples(BLANKS, ANSWERS, BLANKS).map("".join)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_as_the_published_evaluation_has_it(theirs: Any, data: st.DataObject) -> None:
    pool = data.draw(st.lists(ANSWERS, min_size=1, max_size=3))
    one = st.tuples(BLANKS, st.sampled_from(pool), BLANKS).map("".join)
    answers = data.draw(st.lists(one, min_size=4, max_size=10))
    prediction = data.draw(st.one_of(one, one.map(str.swapcase), PADDED))
    expected = published_accuracy(theirs, prediction, answers)
    assert consensus_accuracy(prediction, answers) == pytest.approx(expected, abs=1e-12)


def older_published_accuracy(theirs: Any, prediction: str, answers: list[str]) -> float:
    """The older evaluation of one question, step by step in its own order."""
    rows = [{"answer_id": place, "answer": answer} for place, answer in enumerate(answers)]
    prediction = prediction.replace("\n", " ").replace("\t", " ").strip()
    prediction = theirs._process_digit_article(theirs._process_punctuation(prediction))
    if len({row["answer"] for row in rows}) > 1:
        for row in rows:
            row["answer"] = theirs._process_punctuation(row["answer"])
    accuracies = []
    for row in rows:
        matching = [other for other in rows if other != row and other["answer"] == prediction]
        accuracies.append(min(1, len(matching) / 3))
    return sum(accuracies) / len(accuracies)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_as_the_older_evaluation_has_it(theirs: Any, data: st.DataObject) -> None:
    pool = data.draw(st.lists(ANSWERS, min_size=1, max_size=3))
    one = st.tuples(BLANKS, st.sampled_from(pool), BLANKS).map("".join)
    answers = data.draw(st.lists(one, min_size=4, max_size=10))
    prediction = data.draw(st.one_of(one, one.map(str.swapcase), PADDED))
    expected = older_published_accuracy(theirs, prediction, answers)
    assert older_consensus_accuracy(prediction, answers) == pytest.approx(expected, abs=1e-12)


def test_where_the_two_protocols_differ() -> None:
    # A prediction is normalised where all agree, and the annotators' words never are.
    cases = [("Two", ["2"] * 10), ("two", ["two"] * 10), ("a dog", ["a dog"] * 9 + ["x"])]
    found = [(consensus_accuracy(*case), older_consensus_accuracy(*case)) for case in cases]
    assert found == [(0.0, 1.0), (1.0, 0.0), (1.0, 0.0)]
    with pytest.raises(ValueError, match="ten annotators"):
        older_consensus_accuracy("a", ["a"] * 3)


def test_many_periods_as_the_published_evaluation_has_it(theirs: Any) -> None:
    answers = ["." * 40 + "a"] * 5 + ["b"] * 5
    for prediction in ("a", "." * 8 + "a", "." * 40 + "a"):
        expected = published_accuracy(theirs, prediction, answers)
        assert consensus_accuracy(prediction, answers) == pytest.approx(expected)


def test_empty_prediction_is_wrong() -> None:
    assert consensus_accuracy("", ["cat"] * 5 + ["dog"] * 5) == 0.0


@pytest.mark.parametrize("answers", [[], ["cat"], ["cat"] * 3])
def test_too_few_annotators(answers: list[str]) -> None:
    with pytest.raises(ValueError, match="ten annotators.*Use QAExactMatch"):
        consensus_accuracy("cat", answers)


def test_exact_match() -> None:
    assert exact_match(" Guitar ", "guitar")
    # As the tokenizer reads and writes them.
    assert exact_match("t - shirt", "T-Shirt")
    assert exact_match("cafe", "Café")
    assert not exact_match("tshirt", "t-shirt")
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
