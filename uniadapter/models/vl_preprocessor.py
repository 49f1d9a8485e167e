"""From texts and features of pictures to the keyword arguments of a model that reads both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from ..registry import MODELS, TOKENIZERS
from ..structures import MultimodalSample

#: Tokens kept of what VL-Adapter's tasks read, marks included; None: all.
TEXT_LENS: dict[str, int | None] = {
    "vqa": 20,
    "gqa": 20,
    "nlvr": None,
    "caption": 40,
    "tvqa": 600,
    "how2qa": 600,
    "tvc": 600,
    "yc2c": 600,
}


@MODELS.register_module()
class VLDataPreprocessor(BaseDataPreprocessor):
    """Tokenize texts, stack the features of their pictures and move both to the device.

    Args:
        tokenizer: Config of a tokenizer of the registry ``TOKENIZERS``, with its ``type``.
        text_lens: Tokens kept of a text by task, marks included; None keeps all. Those of
            VL-Adapter's tasks that it leaves out are :data:`TEXT_LENS`.
        non_blocking: Copy to the device without waiting.

    Raises:
        ValueError: If the tokenizer has no type, or a length is below 2.
    """

    def __init__(
        self,
        tokenizer: dict[str, Any],
        text_lens: Mapping[str, int | None] | None = None,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        if "type" not in tokenizer:
            raise ValueError(
                "VLDataPreprocessor: name the tokenizer, such as type='BartTokenizer'."
            )
        for task, length in (text_lens or {}).items():
            if length is not None and (not isinstance(length, int) or length < 2):
                raise ValueError(
                    f"VLDataPreprocessor: text_lens.{task}={length!r} must be None or an int >= 2."
                )
        self.tokenizer = TOKENIZERS.build(tokenizer)
        self.text_lens = {**TEXT_LENS, **(text_lens or {})}

    def text_len(self, task: str | None) -> int | None:
        """Tokens kept of a text of a task; None keeps all.

        Raises:
            ValueError: If nobody said how many.
        """
        if task not in self.text_lens:
            raise ValueError(
                f"VLDataPreprocessor knows no length of the texts of task {task!r}: set "
                "model.data_preprocessor.text_lens, such as dict(captions=40)."
            )
        return self.text_lens[task]

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Prepare one batch, which is of one task.

        Args:
            data: ``inputs`` with ``text``, B texts, ``features``, B arrays or tensors (I, N, D) or
                one tensor of them, and perhaps ``boxes`` (I, N, 4) likewise; ``data_samples``, B
                :class:`MultimodalSample` with a ``task`` each.
            training: Not used.

        Returns:
            Keyword arguments of ``model.forward``: ``input_ids`` and ``attention_mask`` (B, L)
            long, ``features`` (B, I, N, D) float32, ``boxes`` (B, I, N, 4) float32 where there are
            some, and ``data_samples``.

        Raises:
            ValueError: If there is not one text, picture and sample each, or shapes or tasks
                differ.
        """
        inputs, samples = data["inputs"], list(data["data_samples"])
        texts = list(inputs["text"])
        tasks = {sample.get("task") for sample in samples}
        if len(tasks) != 1 or len(texts) != len(samples):
            raise ValueError(
                f"A batch is of one task, with a text each: got {len(texts)} texts and "
                f"{len(samples)} samples of the tasks {sorted(map(str, tasks))}."
            )
        ids, mask = self.tokenizer(texts, self.text_len(tasks.pop()))
        batch = {"input_ids": ids, "attention_mask": mask}
        for key in ("features", "boxes"):
            if key in inputs:
                batch[key] = _stacked(inputs[key], key, samples)
        return {**self.cast_data(batch), "data_samples": samples}


def _stacked(rows: Any, key: str, samples: Sequence[MultimodalSample]) -> Tensor:
    """One float32 tensor of what belongs to the samples."""
    parts = [torch.as_tensor(row) for row in rows]
    if len(parts) != len(samples):
        raise ValueError(f"{len(samples)} samples need as many {key}, got {len(parts)}.")
    shapes = {tuple(part.shape) for part in parts}
    if len(shapes) != 1:
        raise ValueError(
            f"The {key} of a batch have the shapes {sorted(shapes)}: all pictures of a task need "
            "as many."
        )
    return torch.stack(parts).float()
