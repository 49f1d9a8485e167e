"""What of question answering a config chooses."""

from __future__ import annotations

from dataclasses import dataclass

from ..adapters.base import check_choice


@dataclass(frozen=True)
class VQAOptions:
    """How answers are found and learned.

    Args:
        inference (str): ``'rank'`` scores the answer list, ``'generate'`` writes. Defaults to
            ``'rank'``.
        answer_list (str | list[str], optional): Candidates of ``'rank'``, or their JSON file; no
            two may have the same tokens.
        k_test (int): Candidates by their first word that are scored in full. Defaults to 128.
        rank_label_smoothing (float): Label smoothing of the scores that rank candidates. 0 ranks
            by log-likelihood; BLIP and the released UniAdapter rank by the loss they train with,
            0.1. Defaults to 0.
        max_answer_len (int): Tokens of an answer in training, ``[DEC]`` and ``[SEP]`` included.
            Defaults to 10.
        end_marks (int): ``[SEP]`` s behind an answer, all of them predicted: 2 in ALBEF, whose
            answers were written with one before the tokenizer put its own. Defaults to 1.

    Raises:
        ValueError: If an option is outside its set.
    """

    inference: str = "rank"
    answer_list: str | list[str] | None = None
    k_test: int = 128
    rank_label_smoothing: float = 0.0
    max_answer_len: int = 10
    end_marks: int = 1

    def __post_init__(self) -> None:
        check_choice(self.inference, ("rank", "generate"), "model.inference")
        if self.end_marks < 1:
            raise ValueError(f"model.end_marks={self.end_marks} must be at least 1.")
        if self.max_answer_len < 2 + self.end_marks:
            raise ValueError(
                f"model.max_answer_len={self.max_answer_len} leaves no room for a word between "
                f"[DEC] and {self.end_marks} [SEP]: set it to at least {2 + self.end_marks}."
            )
        if not 0 <= self.rank_label_smoothing < 1:
            raise ValueError(
                f"model.rank_label_smoothing={self.rank_label_smoothing} must be in [0, 1)."
            )
