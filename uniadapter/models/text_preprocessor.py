"""From a batch of texts to the keyword arguments of a model that reads texts alone."""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseDataPreprocessor

from ..registry import MODELS, TOKENIZERS
from ..structures import MultimodalSample


@MODELS.register_module()
class TextDataPreprocessor(BaseDataPreprocessor):
    """Tokenize source texts and move them to the model's device.

    Args:
        tokenizer: Config of a tokenizer of the registry ``TOKENIZERS``, with its ``type``.
        max_text_len: Tokens kept of a text, the marks at its ends included. Defaults to 128.
        non_blocking: Copy to the device without waiting.

    Raises:
        ValueError: If the tokenizer has no type, or ``max_text_len`` is below 2.
    """

    def __init__(
        self,
        tokenizer: dict[str, Any],
        max_text_len: int = 128,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        if "type" not in tokenizer:
            raise ValueError(
                "TextDataPreprocessor: name the tokenizer, such as type='T5Tokenizer'."
            )
        if max_text_len < 2:
            raise ValueError(
                "TextDataPreprocessor: max_text_len must leave room for a word and the mark "
                f"behind it, got {max_text_len}."
            )
        self.tokenizer = TOKENIZERS.build(tokenizer)
        self.max_text_len = max_text_len

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Prepare one batch.

        Args:
            data: ``data_samples``, B :class:`MultimodalSample` with a ``text`` each.
            training: Not used.

        Returns:
            Keyword arguments of ``model.forward``: ``input_ids`` and ``attention_mask`` (B, L)
            long, and ``data_samples``.
        """
        samples: list[MultimodalSample] = list(data["data_samples"])
        ids, mask = self.tokenizer([sample.text for sample in samples], self.max_text_len)
        batch = self.cast_data({"input_ids": ids, "attention_mask": mask})
        return {**batch, "data_samples": samples}
