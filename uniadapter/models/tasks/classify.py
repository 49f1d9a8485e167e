"""Visual question answering without a decoder: each answer of a list is a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from uniadapter.registry import MODELS
from uniadapter.utils.answer_classes import read_answer_classes
from uniadapter.utils.finite import refuse_nan
from uniadapter.utils.paths import find_file

from ..execution import Words
from ..heads import AnswerClassHead
from ..sites import Places
from .base import VisionLanguageModel


@MODELS.register_module()
class AnswerClassModel(VisionLanguageModel):
    """VQA by a head over the first token of a question that has read a picture (CLIP-ViL).

    The answer is the class of the largest logit. Training wants a score for each answer.

    Args:
        visual (dict): Config of the visual tower.
        text (dict): Config of the tower in which questions read pictures; it has ``pool``.
        num_answers (int): Number of classes.
        answer_list (str | Sequence[str], optional): The answers in the order of their classes, or
            their JSON file, which is read when it is first needed. Defaults to None: of a loaded
            adapter, which brings its own.
        loss_weight (float): See :class:`AnswerClassHead`. Defaults to 500.
        **kwargs: Arguments of :class:`VisionLanguageModel` but for ``decoder``.

    Raises:
        ValueError: If an option is outside its set, a tower is of another kind, or the list has
            another number of answers.
    """

    text: Any
    file_options = ("answer_list",)

    adapter_attributes = ("_answers", "_answer_file", "_classes")

    def __init__(
        self,
        visual: dict,
        text: dict,
        num_answers: int,
        answer_list: str | Sequence[str] | None = None,
        loss_weight: float = 500.0,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("decoder") is not None:
            raise ValueError("AnswerClassModel writes no words: leave out model.decoder.")
        super().__init__(visual, text, **kwargs)
        if not hasattr(self.text, "pool"):
            raise ValueError(
                f"{type(self.text).__name__} has no pool(), which makes what the answers are read "
                "of of a question's first token: set model.text.type='BertStream'."
            )
        width = self.visual.embed_dims
        if width != self.text.encoder_width:
            raise ValueError(
                f"The visual tower gives features of width {width}, and the text tower reads "
                f"{self.text.encoder_width}: set model.text.grid_width={width}."
            )
        head = AnswerClassHead(self.text.hidden_size, num_answers, loss_weight=loss_weight)
        self.adopt_head("answers", head)
        self.num_answers = num_answers
        # A file is read when it is needed: counting parameters or loading weights does without.
        self._answer_file = find_file(answer_list) if isinstance(answer_list, str | Path) else None
        self._answers: list[str] | None = None
        if answer_list is not None and self._answer_file is None:
            self._set_answers(answer_list)
        self.finish()

    def roles(self) -> tuple[str, ...]:
        """Pictures, and questions that read them."""
        return ("visual", "fusion")

    def places(self) -> Places:
        """As the base class; a frozen head reads the states of the fusion."""
        places = super().places()
        places.frozen = set() if self.train_heads else {"fusion"}
        return places

    def _set_answers(self, source: str | Path | Sequence[str]) -> None:
        answers = read_answer_classes(source)
        if len(answers) != self.num_answers:
            where = source if isinstance(source, str | Path) else "model.answer_list"
            raise ValueError(
                f"{where} has {len(answers)} answers, and model.num_answers={self.num_answers}: "
                "make them agree."
            )
        self._answers = answers
        self._classes = {answer: index for index, answer in enumerate(answers)}

    @property
    def answer_list(self) -> list[str]:
        """The answers in the order of their classes; a file is read when it is first asked for.

        Raises:
            FileNotFoundError: If the config names a file that does not exist.
            ValueError: If there is no list, or it is none of ``num_answers`` different answers.
        """
        if self._answers is None:
            if self._answer_file is None:
                raise ValueError(
                    "Classes have no answers yet: set model.answer_list to the JSON list of them, "
                    "or load an adapter, which brings its own."
                )
            self._set_answers(self._answer_file)
        answers: list[str] = self._answers  # type: ignore[assignment]
        return answers

    def init_weights(self) -> None:
        """Read the answers, so that a wrong list is known before training; load the weights."""
        if self._answer_file is not None:
            _ = self.answer_list
        super().init_weights()

    def adapter_extras(self) -> dict[str, Any]:
        """The answers, which are saved with the adapter: without them its classes mean nothing."""
        known = self._answers is not None or self._answer_file is not None
        return {"answer_list": self.answer_list if known else None}

    def set_adapter_extras(self, extras: dict[str, Any]) -> None:
        """Take the answers of a saved adapter; those of the config must be the same.

        Raises:
            ValueError: If the config's list is another one: the head's classes would be mistaken.
        """
        saved = extras.get("answer_list")
        if not saved:
            return
        absent = self._answer_file is None or not self._answer_file.is_file()
        if self._answers is None and absent:
            self._set_answers(saved)
        elif self.answer_list != list(saved):
            raise ValueError(
                f"model.answer_list={self._answer_file or 'of the config'} is another list than "
                "the one this head was trained with: its classes would be mistaken for others. "
                "Name that list, or None to take the saved one."
            )

    def logits(
        self, pixels: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Logits of all answers.

        Args:
            pixels (Tensor): (B, N, 3, H, W); the questions read the tokens of all N frames.
            input_ids (Tensor): Questions (B, L), ``[CLS]`` first.
            attention_mask (Tensor): (B, L), 0 where a token is padding.

        Returns:
            Tensor: (B, A).
        """
        tokens = self.encode_frames(pixels).flatten(1, 2)
        fusion = self.role("fusion")
        words = Words(input_ids, attention_mask)
        states = fusion.fuse(words, fusion.memory(tokens), "first")
        return self.head("answers")(fusion.pool(states[:, 0]))

    def forward(
        self,
        pixels: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        media_ids: torch.Tensor | None = None,
        data_samples: list | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Run the model.

        Args:
            pixels (Tensor): (B, N, 3, H, W).
            input_ids (Tensor): Questions (B, L).
            attention_mask (Tensor): (B, L).
            media_ids (Tensor, optional): Not used.
            data_samples (list, optional): B samples; ``answers`` and ``answer_weights``, their
                scores, for ``mode='loss'``; ``pred_answer`` is set by ``mode='predict'``.
            mode (str): ``'loss'``, ``'predict'`` or ``'tensor'``.

        Returns:
            dict | list | Tensor: ``loss_answers``; the samples; or logits (B, A).

        Raises:
            NotFiniteError: If a logit of an answer to be chosen is NaN.
        """
        samples, seen = self.samples_of(data_samples, mode)
        if mode == "predict" and samples and not seen:
            return samples
        logits = self.logits(pixels, input_ids, attention_mask)
        if mode == "tensor":
            return logits
        if mode == "predict":
            best = refuse_nan(logits, "Scores of the answers").argmax(1).tolist()
            for sample, index in zip(seen, best, strict=True):
                sample.set_field(self.answer_list[index], "pred_answer")
            return samples
        return self.loss(logits, seen)

    def loss(self, logits: torch.Tensor, samples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """The loss of the head, with the scores that samples have.

        Args:
            logits (Tensor): (B, A).
            samples (Sequence): B samples with ``answers`` and ``answer_weights``; a question all of
                whose answers are outside the list has none, and all classes are wrong.

        Returns:
            dict[str, Tensor]: ``loss_answers``.

        Raises:
            ValueError: If there is not one sample a row, or an answer is none of the classes.
        """
        if len(samples) != len(logits):
            raise ValueError(f"{len(logits)} questions have {len(samples)} samples with answers.")
        scores = torch.zeros_like(logits, dtype=torch.float32)
        _ = self.answer_list
        for row, sample in enumerate(samples):
            for answer, score in zip(sample.answers, sample.answer_weights, strict=True):
                if answer not in self._classes:
                    raise ValueError(
                        f"The answer {answer!r} of question {sample.get('question_id')!r} is none "
                        "of model.answer_list: name the table of the data set's label2ans file."
                    )
                scores[row, self._classes[answer]] = score
        self.loss_items = len(logits)
        return {"loss_answers": self.head("answers").loss(logits, scores)}
