"""Text to text: an encoder reads a source, a decoder writes a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from uniadapter.registry import MODELS

from ..adapters.base import check_choice
from ..backbones.base import playing
from ..base_tokenizer import TextTokenizer
from ..execution import Words
from ..generation import GenerationConfig, generate
from ..heads import decoder_loss
from ..sites import Places
from .base import VisionLanguageModel


def decoder_words(
    tokenizer: TextTokenizer, texts: Sequence[str], length: int | None, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Targets as a decoder is trained on them.

    Args:
        tokenizer (TextTokenizer): Gives their ids, with the marks at their ends.
        texts (Sequence[str]): B targets.
        length (int, optional): Tokens kept of each, marks included. None: all.
        device (torch.device): Where the tensors go.

    Returns:
        tuple: Ids (B, 1 + L), the decoder's first token in front; mask; and labels, -100 for the
        first token and padding.
    """
    ids, mask = (t.to(device) for t in tokenizer(texts, length))
    begin = ids.new_full((len(ids), 1), tokenizer.decoder_start_id)
    labels = torch.cat((torch.full_like(begin, -100), ids.masked_fill(mask == 0, -100)), 1)
    return torch.cat((begin, ids), 1), torch.cat((torch.ones_like(begin), mask), 1), labels


def written(tokenizer: TextTokenizer, rows: torch.Tensor) -> list[str]:
    """Texts of ids (B, T) that a decoder wrote, its first token in front, up to their ends."""
    end, texts = tokenizer.sep_token_id, []
    for row in rows[:, 1:].tolist():
        texts.append(tokenizer.decode(row[: row.index(end)] if end in row else row))
    return texts


def needed(samples: Sequence[Any], key: str) -> list[Any]:
    """What every sample of a training batch has under a name.

    Args:
        samples (Sequence): The samples.
        key (str): The name.

    Raises:
        ValueError: If one has it not.
    """
    found = [sample.get(key) for sample in samples]
    if None in found:
        raise ValueError(
            f"Training needs {key!r} of every sample, and sample {found.index(None)} of this batch "
            "has none: set test_mode=False of the data set, whose file has to have the answers."
        )
    return found


@MODELS.register_module()
class Seq2SeqModel(VisionLanguageModel):
    """A language model whose encoder plays ``text`` and whose decoder plays ``decoder``.

    A subclass that reads more than words (features of a picture) overrides :meth:`encode`.

    Args:
        text (dict): Config of the language model, such as ``dict(type='T5')``.
        generation (dict, optional): Arguments of :class:`GenerationConfig`. Defaults to greedy
            decoding of at most 9 tokens.
        max_target_len (int): Tokens of a training target, the mark behind it included. Defaults to
            8.
        label_smoothing (float): Of the loss. Defaults to 0.
        adapter (dict, optional): Config of the adapter.
        data_preprocessor (dict, optional): Config of the data preprocessor.
        **options: Those of :class:`ModelOptions`.

    Raises:
        ValueError: If an option is outside its set, or vocabularies differ.
    """

    def __init__(
        self,
        text: dict,
        generation: dict | None = None,
        max_target_len: int = 8,
        label_smoothing: float = 0.0,
        adapter: dict | None = None,
        data_preprocessor: dict | None = None,
        **options: Any,
    ) -> None:
        super().__init__(None, text, None, adapter, data_preprocessor, **options)
        if self.prefix_cache is not None:
            raise ValueError("model.prefix_cache keeps visual states, and this model has none.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"model.label_smoothing={label_smoothing} must be in [0, 1).")
        if max_target_len < 2:
            raise ValueError(
                f"model.max_target_len={max_target_len} must leave room for a word and the mark "
                "behind it."
            )
        greedy = {"num_beams": 1, "max_length": 9, "min_length": 0}
        self.generation = GenerationConfig(**{**greedy, **(generation or {})})
        self.max_target_len, self.label_smoothing = max_target_len, label_smoothing
        words = getattr(self.data_preprocessor, "tokenizer", None)
        if words is not None and self.text is not None:
            self.check_words(words, self.text)
        self.finish()

    def check_words(self, words: TextTokenizer, language: Any) -> None:
        """Refuse a tokenizer with more words than the language model has rows."""
        words.check_rows(language.num_words, False)

    def roles(self) -> tuple[str, ...]:
        """A source that is read, and a target that is written."""
        return ("text", "decoder")

    def _player(self, role: str) -> Any:
        language: Any = playing(role, self.text, type(self).__name__)
        return language.player(role)

    def places(self) -> Places:
        """As the base class; a frozen decoder reads the source's states, a head the decoder's."""
        places = super().places()
        places.frozen = {"text", "decoder"}
        return places

    @property
    def tokenizer(self) -> TextTokenizer:
        """The data preprocessor's tokenizer.

        Raises:
            ValueError: If the model has no data preprocessor.
        """
        tokenizer = getattr(self.data_preprocessor, "tokenizer", None)
        if tokenizer is None:
            raise ValueError(
                "Words need a tokenizer: give the model "
                "data_preprocessor=dict(type='TextDataPreprocessor', tokenizer=...)."
            )
        return tokenizer

    def encode(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode sources.

        Args:
            input_ids (Tensor): (B, L).
            attention_mask (Tensor): (B, L), 0 where a token is padding.

        Returns:
            tuple: What the decoder reads: states (B, L, D), with those of an adapter's encoder side
            behind them where it has one, and their mask (B, L).
        """
        return self.role("text").states(Words(input_ids, attention_mask)), attention_mask

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        data_samples: list | None = None,
        mode: str = "tensor",
        **inputs: Any,
    ) -> Any:
        """Run the model.

        Args:
            input_ids (Tensor): Sources (B, L).
            attention_mask (Tensor): (B, L).
            data_samples (list, optional): B samples; ``target`` is the text to write for
                ``mode='loss'``, ``pred_text`` is set by ``mode='predict'``.
            mode (str): ``'loss'``, ``'predict'`` or ``'tensor'``.
            **inputs: Further arguments of :meth:`encode`.

        Returns:
            dict | list | Tensor: ``loss_lm``; the samples; or what :meth:`encode` gives.
        """
        check_choice(mode, ("loss", "predict", "tensor"), "mode")
        states, mask = self.encode(input_ids, attention_mask, **inputs)
        if mode == "tensor":
            return states
        samples = list(data_samples or [])
        if mode == "loss":
            return self.loss(states, mask, needed(samples, "target"))
        for sample, text in zip(samples, self.write(states, mask), strict=True):
            sample.set_field(text, "pred_text")
        return samples

    def target_words(
        self, texts: list[str], device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Targets as the decoder is trained on them.

        Args:
            texts (list[str]): B targets.
            device (torch.device): Where the tensors go.

        Returns:
            tuple: Ids (B, 1 + L), the decoder's first token in front; mask; and labels, -100 for
            the first token and padding.
        """
        return decoder_words(self.tokenizer, texts, self.max_target_len, device)

    def loss(
        self, states: torch.Tensor, mask: torch.Tensor, targets: list[str]
    ) -> dict[str, torch.Tensor]:
        """Cross-entropy of targets.

        Args:
            states (Tensor): Of :meth:`encode`, (B, L, D).
            mask (Tensor): (B, L).
            targets (list[str]): B texts.

        Returns:
            dict[str, Tensor]: ``loss_lm``, the mean over predicted tokens, those of all processes.
        """
        words = self.target_words(targets, states.device)
        decoder = self.role("decoder")
        self.loss_items = (words[2] != -100).sum()
        memory = decoder.memory(states, mask)
        return {"loss_lm": decoder_loss(decoder, words, memory, self.label_smoothing, "mean")}

    @torch.no_grad()
    def write(self, states: torch.Tensor, mask: torch.Tensor) -> list[str]:
        """Write targets.

        Args:
            states (Tensor): Of :meth:`encode`, (B, L, D).
            mask (Tensor): (B, L).

        Returns:
            list[str]: B texts.
        """
        words, decoder = self.tokenizer, self.role("decoder")
        prompt = torch.full((len(states), 1), words.decoder_start_id, device=states.device)
        memory = decoder.memory(states, mask)
        rows = generate(
            decoder, prompt, memory, self.generation, words.sep_token_id, words.pad_token_id
        )
        return written(words, rows)
