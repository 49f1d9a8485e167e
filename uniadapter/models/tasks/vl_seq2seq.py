"""Texts and pictures to text, several tasks at once: VL-BART and VL-T5 as VL-Adapter has them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS
from uniadapter.utils.dist import weigh_mean
from uniadapter.utils.finite import refuse_nan

from ..active_task import ActiveTask
from ..adapters.base import check_choice
from ..base_tokenizer import TextTokenizer
from ..execution import PairMemory, Words
from ..heads import decoder_loss
from ..necks.visual_embedding import VisualEmbedding, pool_grid
from ..sites import Places
from .options import ModelOptions
from .seq2seq import Seq2SeqModel, decoder_words, needed, written
from .task_rules import TaskRule, rules_of


@MODELS.register_module()
class VLSeq2Seq(Seq2SeqModel):
    """A language model that reads the features of pictures behind its text (Sung et al. 2022).

    Features come from files; :class:`.VisualEmbedding` makes tokens of them, which is trained in
    every run. A batch is of one task, which it says in its samples: the methods' parameters, the
    loss and the way to an answer are those of the task. A learned prompt fills ``text.tokens``, in
    front of the text, or ``decoder.tokens``, in front of what is written.

    Args:
        text (dict): Config of the language model, such as ``dict(type='Bart', new_words=200)``.
        tasks (Sequence[str]): Names of the tasks, in order.
        feature_width (int): Width of the features. Defaults to 2048, of CLIP's RN101.
        visual_tokens (int, optional): Tokens of a picture: grids of more features are pooled.
            Defaults to 36. None takes them as they are.
        rules (dict, optional): Options of :class:`.TaskRule` by task, where they are others than
            :data:`.RULES` has.
        adapter (dict, optional): Config of the adapter.
        data_preprocessor (dict, optional): Config of the data preprocessor.
        **options: Those of :class:`ModelOptions`.

    Raises:
        ValueError: If an option is outside its set, vocabularies differ, or the adapter takes the
            place of a role's runs.
    """

    Options = ModelOptions

    def __init__(
        self,
        text: dict,
        tasks: Sequence[str],
        feature_width: int = 2048,
        visual_tokens: int | None = 36,
        rules: dict[str, dict] | None = None,
        adapter: dict | None = None,
        data_preprocessor: dict | None = None,
        **options: Any,
    ) -> None:
        # The adapter, which the base class builds, asks for it.
        self.tasks = ActiveTask(tasks)
        ModelOptions(**options)
        super().__init__(text, adapter=adapter, data_preprocessor=data_preprocessor, **options)
        self.check_adapter()
        if visual_tokens is not None and (not isinstance(visual_tokens, int) or visual_tokens < 1):
            raise ValueError(f"model.visual_tokens={visual_tokens!r} must be None or an int >= 1.")
        language: Any = self.text
        self.visual_tokens = visual_tokens
        self.visual_embedding = VisualEmbedding(
            feature_width, language.hidden_size, language.new_norm
        )
        language.draw(self.visual_embedding)
        self.rules = rules_of(self.tasks.names, rules)
        self._check_lengths()
        self.finish()

    def check_adapter(self) -> None:
        """Refuse a method that reads states: nothing here runs a text alone."""
        if self.adapter is not None and self.adapter.tapped:
            raise ValueError(
                f"{self.adapter.method} takes the place of runs that read texts alone, and "
                "VLSeq2Seq has none: choose a method that fills sites."
            )

    def check_words(self, words: TextTokenizer, language: Any) -> None:
        """Refuse a vocabulary that is not, row by row, the table's: its last rows are things."""
        size, rows = words.vocab_size, language.num_words
        if size is not None and size != rows:
            raise ValueError(
                f"The tokenizer of data_preprocessor has {size} words, those of no text included, "
                f"and the language model {rows} rows: set model.text.new_words="
                f"{size - language.vocab_size} (with vocab_size={language.vocab_size}), or name "
                "the tokenizer of that model."
            )

    def _check_lengths(self) -> None:
        language: Any = self.text
        words: Any = self.data_preprocessor
        for task in self.tasks.names if hasattr(words, "text_len") else ():
            if (limit := words.text_len(task)) is not None:
                key = f"model.data_preprocessor.text_lens.{task}"
                language.check_length(limit, key)
        for task, rule in self.rules.items():
            if rule.target_len is not None:
                # A decoder reads a mark in front of it.
                key = f"model.rules.{task}.target_len, with the mark in front,"
                language.check_length(rule.target_len + 1, key)
            most = rule.generation.max_length
            language.check_length(most, f"model.rules.{task}.generation.max_length")

    def places(self) -> Places:
        """As the base class, with the tasks, and places in front of what is read and written."""
        places = super().places()
        places.tasks = self.tasks
        for role in self.roles():
            places.slots[f"{role}.tokens"] = {0: self._player(role).front}
        return places

    def heads(self) -> dict[str, nn.Module]:
        """The visual embedding, which is trained in every run."""
        found = getattr(self, "visual_embedding", None)
        return {} if found is None else {"visual_embedding": found}

    def new_heads(self) -> set[str]:
        """The same, which no language model's file has."""
        return set(self.heads())

    def encode(  # type: ignore[override]
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        features: torch.Tensor,
        boxes: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode texts and, behind them, pictures.

        Args:
            input_ids (Tensor): (B, L).
            attention_mask (Tensor): (B, L), 0 where a token is padding.
            features (Tensor): Of I pictures a text, (B, I, N, D).
            boxes (Tensor, optional): Of the features after pooling, (B, I, N, 4), see
                :class:`.VisualEmbedding`.

        Returns:
            tuple: States of prompt, text and pictures (B, S, width), and their mask (B, S).
        """
        language: Any = self.text
        self.visual_embedding.check(features)
        # Files hold half precision, in which not every device pools.
        features = features.to(self.visual_embedding.img_order_embedding.weight.dtype)
        pooled = pool_grid(features, self.visual_tokens)
        seen = self.visual_embedding(pooled, language.embed, language.num_words, boxes)
        return self.role("text").stream(Words(input_ids, attention_mask), seen)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        data_samples: list | None = None,
        mode: str = "tensor",
        **inputs: Any,
    ) -> Any:
        """Run the model in the task of its samples.

        Args:
            input_ids (Tensor): Texts (B, L).
            attention_mask (Tensor): (B, L).
            data_samples (list, optional): B samples of one ``task``; for ``mode='loss'`` with
                ``target`` and, where the task weighs, ``target_weight``. ``mode='predict'`` sets
                ``pred_text`` and, of tasks with answers to choose from, their number
                ``pred_label``.
            mode (str): ``'loss'``, ``'predict'`` or ``'tensor'``.
            **inputs: ``features`` and ``boxes``, see :meth:`encode`.

        Returns:
            dict | list | tuple: ``loss_lm``; the samples; or what :meth:`encode` gives.

        Raises:
            ValueError: If samples are of several tasks, or of none, or there is not one a text.
        """
        check_choice(mode, ("loss", "predict", "tensor"), "mode")
        samples = list(data_samples or [])
        with self._task_of(samples, mode):
            states, mask = self.encode(input_ids, attention_mask, **inputs)
            if mode == "tensor":
                return states, mask
            if len(samples) != len(states):
                raise ValueError(f"{len(states)} texts have {len(samples)} samples.")
            # A file that was not there when the model was built has been read by now.
            self.check_words(self.tokenizer, self.text)
            if mode == "loss":
                return self.task_loss(states, mask, samples)
            return self.answer(states, mask, samples)

    def _task_of(self, samples: list, mode: str) -> AbstractContextManager[None]:
        """Sets the task of a batch; without samples what is set already stays."""
        found = {sample.get("task") for sample in samples}
        if not samples and (mode == "tensor" or self.tasks.current is not None):
            return nullcontext()
        if len(found) != 1 or None in found:
            raise ValueError(
                f"A batch is of one task, which its samples name in `task`; got "
                f"{sorted(map(str, found))}."
            )
        return self.tasks.set(found.pop())

    def task_loss(
        self, states: torch.Tensor, mask: torch.Tensor, samples: Sequence[Any]
    ) -> dict[str, torch.Tensor]:
        """Cross-entropy of targets by the rule of the task that is set.

        Args:
            states (Tensor): Of :meth:`encode`, (B, S, width).
            mask (Tensor): (B, S).
            samples (Sequence): B samples.

        Returns:
            dict[str, Tensor]: ``loss_lm``, over the texts, or tokens, of all processes.

        Raises:
            ValueError: If a sample has no target, or no weight of it where the task weighs.
        """
        rule = self.rule()
        targets = needed(samples, "target")
        words = decoder_words(self.tokenizer, targets, rule.target_len, states.device)
        decoder = self.role("decoder")
        run = partial(decoder_loss, decoder, words, decoder.memory(states, mask))
        tokens = (words[2] != -100).sum(1)
        if rule.loss == "per_token":
            self.loss_items = tokens.sum()
            return {"loss_lm": run(reduction="mean")}
        losses = run(reduction="sum") / tokens.clamp(min=1)
        if rule.loss == "per_sample_weighted":
            weights = [float(weight) for weight in needed(samples, "target_weight")]
            losses = losses * losses.new_tensor(weights)
        self.loss_items = len(losses)
        return {"loss_lm": weigh_mean(losses.mean(), len(losses))}

    def rule(self) -> TaskRule:
        """The rule of the task that is set."""
        return self.rules[self.tasks.need(type(self).__name__)]

    @torch.no_grad()
    def answer(self, states: torch.Tensor, mask: torch.Tensor, samples: list) -> list:
        """Write, or choose, an answer into each sample.

        Args:
            states (Tensor): Of :meth:`encode`, (B, S, width).
            mask (Tensor): (B, S).
            samples (list): B samples.

        Returns:
            list: The samples.
        """
        rule, memory = self.rule(), self.role("decoder").memory(states, mask)
        if not rule.answers:
            for sample, text in zip(samples, self.texts(memory, rule), strict=True):
                sample.set_field(text, "pred_text")
            return samples
        labels = self.first_logits(memory, rule.answers).argmax(1).tolist()
        for sample, label in zip(samples, labels, strict=True):
            sample.set_field(label, "pred_label")
            sample.set_field(rule.answers[label], "pred_text")
        return samples

    def texts(self, memory: PairMemory, rule: TaskRule) -> list[str]:
        """Write a text for each medium with transformers' ``generate``."""
        return written(self.tokenizer, self.role("decoder").write(memory, rule.generation))

    def first_logits(self, memory: PairMemory, answers: Sequence[str]) -> torch.Tensor:
        """Logits (B, A) of the first token of each answer, at an answer's first place.

        Raises:
            ValueError: If two answers begin with the same token.
            NotFiniteError: If a logit is NaN.
        """
        words, decoder = self.tokenizer, self.role("decoder")
        # Marks in front of a target are given, as training has them.
        begin = [words.decoder_start_id, *words.encode("")[:-1]]
        ids = memory.states.new_tensor(begin, dtype=torch.long).expand(memory.texts, -1)
        logits, _ = decoder.logits(Words(ids), memory)
        first = [words.pieces(answer)[0] for answer in answers]
        if len(set(first)) < len(first):
            raise ValueError(
                f"The answers {list(answers)} are told apart by their first tokens, and those are "
                f"{first} in this vocabulary: take one that has the words, or other answers in "
                f"model.rules.{self.tasks.current}.answers."
            )
        return refuse_nan(logits[:, -1, first], "Scores of the candidate answers")
