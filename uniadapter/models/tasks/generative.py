"""What VQA and captioning share: a decoder that reads states and is trained on words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..backbones import BertDecoder
from ..generation import GenerationConfig
from ..tokenizer import BertTokenizer
from .base import VisionLanguageModel


class GenerativeModel(VisionLanguageModel):
    """Base class of tasks with a decoder and no other head.

    Args:
        visual (dict): Config of the visual tower.
        decoder (dict): Config of the decoder tower.
        generation (dict, optional): Arguments of :class:`GenerationConfig`.
        label_smoothing (float): Of the language-model loss. Defaults to 0.1, as BLIP.
        train_lm_head (bool): Count the decoder's language-model head (dense layer, LayerNorm and
            bias; not the tied word embeddings) among the trained heads: with ``adapter=None`` this
            is the linear probe of a task that has no other head. Defaults to False.
        **kwargs: Arguments of :class:`VisionLanguageModel`.

    Raises:
        ValueError: If the decoder's and the tokenizer's vocabulary differ.
    """

    decoder: BertDecoder

    def __init__(
        self,
        visual: dict,
        decoder: dict,
        generation: dict | None = None,
        label_smoothing: float = 0.1,
        train_lm_head: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(visual=visual, decoder=decoder, **kwargs)
        self.role("decoder")
        self.generation = GenerationConfig(**(generation or {}))
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"model.label_smoothing={label_smoothing} must be in [0, 1).")
        # The last token is written but never read.
        longest = self.generation.max_length - 1
        self.decoder.bert.embeddings.check(longest, "model.generation.max_length")
        self.label_smoothing = label_smoothing
        self.train_lm_head = train_lm_head
        size = self.decoder.bert.vocab_size
        self.dec_token_id, self.enc_token_id = size - 2, size - 1
        words = getattr(self.data_preprocessor, "tokenizer", None)
        if words is not None and words.vocab_size == size:
            # [CLS] where the vocabulary has no [DEC].
            self.dec_token_id = words.decoder_start_id
        self.finish()

    def components(self) -> dict[str, list[nn.Parameter]]:
        """All parameters by component; the language-model head is one of the heads if trained."""
        parts = super().components()
        if self.train_lm_head:
            parts["heads"] = list(self.decoder.cls.parameters())
            head = {id(parameter) for parameter in parts["heads"]}
            parts["backbone"] = [p for p in parts["backbone"] if id(p) not in head]
        return parts

    @property
    def tokenizer(self) -> BertTokenizer:
        """The data preprocessor's tokenizer.

        Raises:
            ValueError: If the model has no data preprocessor, or vocabularies differ.
        """
        tokenizer = getattr(self.data_preprocessor, "tokenizer", None)
        if tokenizer is None:
            raise ValueError(
                "Words need a tokenizer: give the model "
                "data_preprocessor=dict(type='MultimodalDataPreprocessor')."
            )
        if tokenizer.vocab_size != self.decoder.bert.vocab_size:
            raise ValueError(
                f"decoder.vocab_size={self.decoder.bert.vocab_size}, but the tokenizer has "
                f"{tokenizer.vocab_size} words ([DEC] and [ENC] included): make them agree."
            )
        return tokenizer

    def decoder_words(
        self,
        texts: list[str],
        max_length: int | None,
        device: torch.device,
        prompt: Sequence[int] = (),
        end_marks: int = 1,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokenize texts for the decoder.

        Args:
            texts (list[str]): T texts.
            max_length (int, optional): Tokens kept of each, the prompt included.
            device (torch.device): Where the tensors go.
            prompt (Sequence[int]): Ids between ``[DEC]`` and every text. Defaults to none.
            end_marks (int): ``[SEP]`` s behind a text. Defaults to 1.

        Returns:
            tuple: Ids (T, L) that begin with ``[DEC]`` (``[CLS]`` where the vocabulary has none)
            and end with ``[SEP]``, mask (T, L), and labels (T, L) with -100 where a token is not to
            be predicted: the first one, the prompt and padding.
        """
        room = None if max_length is None else max_length - len(prompt) - (end_marks - 1)
        ids, mask = (t.to(device) for t in self.tokenizer(texts, room))
        ends = mask.sum(1, keepdim=True)
        for place in range(end_marks - 1):
            ids = F.pad(ids, (0, 1), value=self.tokenizer.pad_token_id)
            ids = ids.scatter(1, ends + place, self.tokenizer.sep_token_id)
            mask = F.pad(mask, (0, 1)).scatter(1, ends + place, 1)
        begin = torch.tensor([[self.dec_token_id, *prompt]], device=device).expand(len(texts), -1)
        ids = torch.cat((begin, ids[:, 1:]), dim=1)
        mask = torch.cat((torch.ones_like(begin), mask[:, 1:]), dim=1)
        labels = ids.masked_fill(mask == 0, -100)
        labels[:, : begin.shape[1]] = -100
        return ids, mask, labels

    def read_words(self, rows: torch.Tensor) -> list[str]:
        """Turn generated ids (B, L) into texts, special tokens and padding left out."""
        tokenizer, texts = self.tokenizer, []
        for row in rows.tolist():
            words = row[1:]
            if tokenizer.sep_token_id in words:
                words = words[: words.index(tokenizer.sep_token_id)]
            texts.append(tokenizer.decode(words))
        return texts
