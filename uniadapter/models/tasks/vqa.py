"""Visual question answering on images and videos: multimodal encoder, then decoder."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log

from uniadapter.registry import MODELS
from uniadapter.utils.answer_list import drop_twins, read_answer_list
from uniadapter.utils.paths import find_file
from uniadapter.utils.tensors import at_least_float32
from uniadapter.utils.words import words_of

from ..backbones.bert import BertModel
from ..execution import Words
from ..generation import generate
from ..heads import AnswerHead, decoder_loss
from ..sites import Places
from .generative import GenerativeModel
from .mixed import MixedRows
from .vqa_options import VQAOptions

_GENERATION = {"num_beams": 3, "max_length": 10, "min_length": 1}


@MODELS.register_module()
class VQAModel(MixedRows, GenerativeModel):
    """VQA and VideoQA on the towers of BLIP (spec section 4) or ALBEF.

    The question is encoded together with the visual tokens (``[ENC]`` first in BLIP); the decoder
    reads the question's states and is trained on the answers. By default it uses the adapters of
    the multimodal encoder (appendix D).

    Args:
        visual (dict): Config of the visual tower.
        text (dict): Config of the multimodal tower.
        decoder (dict): Config of the decoder; its ``encoder_width`` is the text tower's width.
        **kwargs: Options of :class:`VQAOptions` and arguments of :class:`GenerativeModel`;
            ``generation`` defaults to beam 3, at most 10 tokens, at least 1.

    Raises:
        ValueError: If an option is outside its set or the widths differ.
    """

    text: BertModel

    file_options = ("answer_list",)
    adapter_attributes = ("_answers", "_answer_file")
    keyword_options = tuple(field.name for field in fields(VQAOptions))

    def __init__(self, visual: dict, text: dict, decoder: dict, **kwargs: Any) -> None:
        own = {name: kwargs.pop(name) for name in self.keyword_options if name in kwargs}
        options = VQAOptions(**own)
        kwargs["generation"] = {**_GENERATION, **(kwargs.get("generation") or {})}
        super().__init__(visual, decoder, text=text, **kwargs)
        width = self.decoder.bert.encoder_width
        if width != self.text.hidden_size:
            raise ValueError(
                f"decoder.encoder_width={width} must be text.hidden_size={self.text.hidden_size}: "
                "the decoder reads the question's states."
            )
        self.decoder.bert.embeddings.check(options.max_answer_len, "model.max_answer_len")
        self.inference = options.inference
        self.answer_head = AnswerHead(options.k_test)
        self.rank_label_smoothing = options.rank_label_smoothing
        self.max_answer_len, self.end_marks = options.max_answer_len, options.end_marks
        # A file is read when it is needed: counting parameters or loading weights does without.
        answers = options.answer_list
        self._answer_file = find_file(answers) if isinstance(answers, str | Path) else None
        self._answers = None if answers is None or self._answer_file else list(answers)
        if self._answers is not None:
            self._answers = read_answer_list(self._answers, self._tokens_of)

    def _tokens_of(self, answer: str) -> Hashable:
        """What is the same for answers that the model can't tell apart."""
        tokenizer = getattr(self.data_preprocessor, "tokenizer", None)
        return words_of(answer) if tokenizer is None else tuple(tokenizer.encode(answer))

    @property
    def answer_list(self) -> list[str] | None:
        """Candidates of ``inference='rank'``; a file is read when they are first asked for.

        Raises:
            FileNotFoundError: If the config names a file that does not exist.
            ValueError: If the file holds no list of answers that differ in their tokens.
        """
        if self._answers is None and self._answer_file is not None:
            self._answers = read_answer_list(self._answer_file, self._tokens_of)
        return self._answers

    def roles(self) -> tuple[str, ...]:
        """Images, questions that read them, and answers that read those.

        Questions are never encoded without what they are about; where the fusion continues from a
        text's states, the text layers run as well.
        """
        continues = getattr(self.text, "takes_states", False)
        return ("visual", *(("text",) if continues else ()), "fusion", "decoder")

    def init_weights(self) -> None:
        """Read the answer list, so that a wrong one is known before training; load the weights."""
        _ = self.answer_list
        super().init_weights()

    def adapter_extras(self) -> dict[str, Any]:
        """The answer list, which is saved with the adapter."""
        return {"answer_list": self.answer_list}

    def set_adapter_extras(self, extras: dict[str, Any]) -> None:
        """Take the answer list of a saved adapter, unless the config names one that exists.

        Of answers with the same tokens, which earlier versions let pass, the first stays.
        """
        named = self._answer_file is not None and self._answer_file.is_file()
        if self._answers is not None or named or not extras.get("answer_list"):
            return
        answers, left_out = drop_twins(extras["answer_list"], self._tokens_of)
        self._answers = read_answer_list(answers, self._tokens_of)
        if left_out:
            print_log(
                f"The adapter's answer_list has {len(left_out)} answers with the tokens of another "
                f"one, which no model can tell apart; left out: {left_out[:3]} (first stays).",
                "current",
                logging.WARNING,
            )

    def places(self) -> Places:
        """As the base class; a frozen decoder reads the questions' states, a head the decoder's."""
        places = super().places()
        places.frozen = {"fusion", "decoder"}
        return places

    def encode_question(
        self, pixels: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Encode questions together with what is seen.

        Args:
            pixels (Tensor): (B, N, 3, H, W); cross-attention sees the tokens of all N frames.
            input_ids (Tensor): (B, L), ``[CLS]`` first; BLIP's tower puts ``[ENC]`` in its place.
            attention_mask (Tensor): (B, L), 0 where a token is padding.

        Returns:
            Tensor: Question states (B, L, D), as wide as ``input_ids`` however wide those are
            padded, so that ``attention_mask`` is their mask. What stands at padding is not to be
            read: zeros where texts run packed.
        """
        tokens = self.encode_frames(pixels).flatten(1, 2)
        fusion = self.role("fusion")
        return fusion.fuse(Words(input_ids, attention_mask), fusion.memory(tokens))

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
            data_samples (list, optional): B samples; ``answers`` and ``answer_weights`` for
                ``mode='loss'``, ``pred_answer`` is set by ``mode='predict'``.
            mode (str): ``'loss'``, ``'predict'`` or ``'tensor'``.

        Returns:
            dict | list | Tensor: ``loss_lm``; the samples; or question states (B, L, D).
        """
        samples, seen = self.samples_of(data_samples, mode)
        if mode == "predict" and samples and not seen:
            return samples
        rows = self.rows_of(data_samples, len(pixels), mode)
        if rows is not None:
            batch = {"pixels": pixels, "input_ids": input_ids, "attention_mask": attention_mask}
            found = self.by_adapter(rows, batch, data_samples, mode)
            return samples if mode == "predict" else found
        states = self.encode_question(pixels, input_ids, attention_mask)
        if mode == "tensor":
            return states
        if mode == "predict":
            answers = self.answer(states, attention_mask)
            for sample, answer in zip(seen, answers, strict=True):
                sample.set_field(answer, "pred_answer")
            return samples
        texts = [list(sample.answers) for sample in seen]
        weights = [list(sample.answer_weights) for sample in seen]
        return self.loss(states, attention_mask, texts, weights)

    def loss(
        self,
        states: torch.Tensor,
        mask: torch.Tensor,
        answers: list[list[str]],
        weights: list[list[float]],
    ) -> dict[str, torch.Tensor]:
        """Weighted loss of all answers to each question.

        Args:
            states (Tensor): Question states (B, L, D).
            mask (Tensor): (B, L), 0 where a question is padded.
            answers (list[list[str]]): Answers of each of the B questions.
            weights (list[list[float]]): Their weights: the share of annotators who gave them.

        Returns:
            dict[str, Tensor]: ``loss_lm``: the sum over answers of weight times token-summed
            cross-entropy, divided by B (over several processes by the questions of all).

        Raises:
            ValueError: If a question has no answer, or not one weight an answer.
        """
        if len(answers) != len(states):
            raise ValueError(f"{len(states)} questions have {len(answers)} lists of answers.")
        for index, (texts, shares) in enumerate(zip(answers, weights, strict=True)):
            if not texts or len(texts) != len(shares):
                raise ValueError(
                    f"Question {index} of the batch has {len(texts)} answers and {len(shares)} "
                    "weights: training needs at least one answer and a weight each."
                )
        counts = torch.tensor([len(texts) for texts in answers], device=states.device)
        owner = torch.arange(len(answers), device=states.device).repeat_interleave(counts)
        flat = [text for texts in answers for text in texts]
        words = self.decoder_words(
            flat, self.max_answer_len, states.device, end_marks=self.end_marks
        )
        memory = self.role("decoder").memory(states, mask, owner)
        loss = decoder_loss(self.role("decoder"), words, memory, self.label_smoothing, "sum")
        share = loss.new_tensor([weight for shares in weights for weight in shares])
        self.loss_items = len(answers)
        return {"loss_lm": self.answer_head.loss(loss, share, len(answers))}

    @torch.no_grad()
    def answer(self, states: torch.Tensor, mask: torch.Tensor) -> list[str]:
        """Answer questions by the configured inference.

        Args:
            states (Tensor): Question states (B, L, D).
            mask (Tensor): (B, L).

        Returns:
            list[str]: B answers.

        Raises:
            ValueError: If ``inference='rank'`` has no answer list.
        """
        if self.inference == "generate":
            memory = self.role("decoder").memory(states, mask)
            prompt = torch.full((len(states), 1), self.dec_token_id, device=states.device)
            eos, pad = self.tokenizer.sep_token_id, self.tokenizer.pad_token_id
            return self.read_words(
                generate(self.role("decoder"), prompt, memory, self.generation, eos, pad)
            )
        if self.answer_list is None:
            raise ValueError(
                "model.inference='rank' needs model.answer_list: name a JSON list of answers, or "
                "set model.inference='generate'."
            )
        best = self.rank_answers(states, mask, self.answer_list)
        return [self.answer_list[index] for index in best.argmax(1).tolist()]

    @torch.no_grad()
    def rank_answers(
        self, states: torch.Tensor, mask: torch.Tensor, answers: list[str]
    ) -> torch.Tensor:
        """Score candidate answers, of the ``k_test`` best by their first word's probability.

        A score is the negative loss of the answer, summed over its tokens, with
        ``rank_label_smoothing``: at 0 the log-likelihood. Of candidates with the same first word
        the earlier ones are shortlisted first. Keys and values of the question's states are
        projected once a question, however many candidates are scored.

        Args:
            states (Tensor): Question states (B, L, D).
            mask (Tensor): (B, L).
            answers (list[str]): A candidates.

        Returns:
            Tensor: (B, A) scores, -inf for candidates left out.
        """
        ids, answer_mask, labels = self.decoder_words(
            answers, None, states.device, end_marks=self.end_marks
        )
        decoder = self.role("decoder")
        memory = decoder.memory(states, mask).kept()
        prompt = torch.full((len(states), 1), self.dec_token_id, device=states.device)
        first = at_least_float32(decoder.logits(Words(prompt), memory)[0][:, 0]).log_softmax(-1)

        def score(owner: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            words = (ids[rows], answer_mask[rows], labels[rows])
            smoothing = self.rank_label_smoothing
            return -decoder_loss(decoder, words, memory.of(owner), smoothing, "sum")

        return self.answer_head.rank(first, ids[:, 1], score)
