"""Small CLIP-ViL models that several tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from uniadapter.registry import MODELS

ANSWERS = ["yes", "no", "2", "a red ball", "gray"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "is", "it", "red", "blue", "?"]


def small_cfg(vocab_file: str | Path | None = None, **overrides: Any) -> dict[str, Any]:
    """Config of a model with 12 layers of width 8 and a grid of 128 channels.

    With ``vocab_file`` it gets a data preprocessor.
    """
    cfg: dict[str, Any] = {
        "type": "AnswerClassModel",
        "visual": {"type": "ClipGrid", "arch": {"depths": (1, 2, 1, 1), "width": 4}},
        "text": {
            "type": "BertStream",
            "vocab_size": 20,
            "hidden_size": 8,
            "num_layers": 12,
            "num_heads": 2,
            "intermediate_size": 12,
            "grid_width": 128,
            "max_positions": 24,
        },
        "adapter": {"type": "UniPT"},
        "num_answers": len(ANSWERS),
        "answer_list": ANSWERS,
    }
    if vocab_file is not None:
        cfg["text"]["vocab_size"] = len(WORDS)
        cfg["data_preprocessor"] = {
            "type": "MultimodalDataPreprocessor",
            "tokenizer": {"vocab_file": str(vocab_file), "extra_tokens": []},
            "max_text_len": 8,
            "pad_texts": True,
        }
    return {**cfg, **overrides}


def small_model(seed: int = 0, **overrides: Any) -> Any:
    """The same as a model whose weights and averages are all drawn, none of them at rest."""
    torch.manual_seed(seed)
    model = MODELS.build(small_cfg(**overrides))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        for name, buffer in model.visual.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return model


def draw_batch(seed: int, lengths: list[int], rows: int, columns: int) -> dict[str, torch.Tensor]:
    """Questions of some lengths, padded to the longest, and images of a grid's size."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    ids = torch.randint(1, 20, (len(lengths), longest), generator=generator)
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    size = (len(lengths), 1, 3, 32 * rows, 32 * columns)
    return {
        "pixels": torch.randn(size, generator=generator),
        "input_ids": ids * mask,
        "attention_mask": mask,
    }
