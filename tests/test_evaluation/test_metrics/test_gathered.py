from __future__ import annotations

from pathlib import Path

import pytest

from tests.spawn import spawn
from uniadapter.evaluation import QAExactMatch
from uniadapter.evaluation.metrics.gathered import merge_ranks, shown


def _record(id_: int, prediction: str = "a", truth: str = "a") -> dict:
    return dict(id=id_, prediction=prediction, truth=truth)


def test_order_of_one_process_whatever_the_ranks_hold() -> None:
    parts = [[_record(0), _record(3)], [], [_record(1)], [_record(2), _record(4), _record(5)]]
    merged = merge_ranks(parts, "M")
    assert [record["id"] for record in merged] == [0, 1, 2, 3, 4, 5]


def test_samples_of_a_filled_up_round_count_once() -> None:
    # Three samples over two ranks: the last round is filled up with sample 0.
    parts = [[_record(0, "first"), _record(2)], [_record(1), _record(0, "second")]]
    merged = merge_ranks(parts, "M")
    assert [record["id"] for record in merged] == [0, 1, 2]
    assert merged[0]["prediction"] == "first"


def test_one_id_for_two_questions() -> None:
    with pytest.raises(ValueError, match="M: id 0 stands for different ground truths"):
        merge_ranks([[_record(0)], [_record(0, truth="b")]], "M")


def test_one_rank_has_an_id_twice() -> None:
    with pytest.raises(ValueError, match="M was given id 0 twice"):
        merge_ranks([[_record(0), _record(0)], []], "M")


def test_ids_in_messages() -> None:
    assert shown([1, "b"]) == "1, 'b'"
    assert shown(list(range(7))) == "0, 1, 2, 3, 4, ... (7 in all)"


def _feed(metric: QAExactMatch, ids: list[int]) -> None:
    samples = [dict(question_id=i, pred_answer="x" if i == 0 else "y", gt_answers="y") for i in ids]
    metric.process(None, samples)


def _share(rank: int, world: int, folder: str) -> None:
    metric = QAExactMatch(submission_file=f"{folder}/answers.json")
    # Ragged ranks, one of them empty; sample 0 was dealt out twice.
    _feed(metric, [[0, 2, 4, 6], [], [1, 0]][rank])
    assert metric.evaluate(5) == pytest.approx({"accuracy": 80.0})
    # An error of the main process reaches every rank.
    _feed(metric, [[0], [], [0]][rank])
    with pytest.raises(ValueError, match="results of 1 samples but the dataset has 2"):
        metric.evaluate(2)


def test_three_ragged_ranks(tmp_path: Path) -> None:
    spawn(_share, 3, str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["answers.json"]
