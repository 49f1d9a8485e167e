"""transformers' BLIP models of random weights and ours, loaded through the converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import BlipConfig, PreTrainedModel

from uniadapter.checkpoints.layouts import read_checkpoint
from uniadapter.models import VisionLanguageModel

SMALL = {"vision": 48, "text": 32, "layers": 2, "heads": 4, "image": 48, "vocab": 60}
FULL = {"vision": 768, "text": 768, "layers": 2, "heads": 12, "image": 224, "vocab": 60}
SIZES = [SMALL, FULL]
NAMES = ["small", "full-width"]


def blip_config(size: dict[str, int]) -> BlipConfig:
    """Config of transformers' models; BLIP's LayerNorm epsilons are not transformers' defaults."""
    shared = {"num_hidden_layers": size["layers"], "num_attention_heads": size["heads"]}
    return BlipConfig(
        text_config={
            **shared,
            "hidden_size": size["text"],
            "encoder_hidden_size": size["vision"],
            "intermediate_size": 4 * size["text"],
            "vocab_size": size["vocab"],
            "max_position_embeddings": 40,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        vision_config={
            **shared,
            "hidden_size": size["vision"],
            "intermediate_size": 4 * size["vision"],
            "image_size": size["image"],
            "patch_size": 16,
            "layer_norm_eps": 1e-6,
        },
        image_text_hidden_size=16,
    )


def visual_cfg(size: dict[str, int], img_size: int | None = None) -> dict[str, Any]:
    """Our visual tower of the same size."""
    return {
        "type": "BlipViT",
        "arch": {
            "embed_dims": size["vision"],
            "num_layers": size["layers"],
            "num_heads": size["heads"],
            "feedforward_channels": 4 * size["vision"],
        },
        "img_size": img_size or size["image"],
    }


def bert_cfg(size: dict[str, int], kind: str = "BertModel") -> dict[str, Any]:
    """Our text tower or decoder of the same size."""
    return {
        "type": kind,
        "vocab_size": size["vocab"],
        "hidden_size": size["text"],
        "num_layers": size["layers"],
        "num_heads": size["heads"],
        "intermediate_size": 4 * size["text"],
        "encoder_width": size["vision"],
        "max_positions": 40,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    }


@torch.no_grad()
def randomise(model: PreTrainedModel) -> PreTrainedModel:
    """Give every parameter values that matter and keep activations and logits of the order of 1.

    transformers' own initialisation is too small to tell a wrong weight, its biases are zero.
    """
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.normal_(1.0 if "norm" in name.lower() and "weight" in name else 0.0, 0.2)
        elif parameter.dim() == 3:
            parameter.normal_(0, 1.0)
        else:
            parameter.normal_(0, 1.5 / parameter[0].numel() ** 0.5)
    return model.eval()


def load_twin(theirs: PreTrainedModel, ours: VisionLanguageModel, folder: Path) -> Any:
    """Save transformers' model as a folder and load it into ours through the converter."""
    theirs.save_pretrained(folder)
    state, report = read_checkpoint(folder, "hf", ours)
    names = {name for name in theirs.state_dict() if ".predictions.decoder." not in name}
    assert names <= set(report.used)
    missing, unexpected = ours.load_state_dict(state, strict=False)
    assert unexpected == []
    assert {name.split(".")[0] for name in missing} <= {"temp", "queue", "step", "ema"}
    return ours.eval()


def images(size: dict[str, int], count: int = 2, img_size: int | None = None) -> torch.Tensor:
    side = img_size or size["image"]
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def words(size: dict[str, int], first: int, rows: int = 2, length: int = 9) -> torch.Tensor:
    """Ids (rows, length) without padding, beginning with ``first``."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, size["vocab"] - 2, (rows, length), generator=generator)
    ids[:, 0] = first
    return ids


def pad(ids: torch.Tensor, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut row i to ``lengths[i]`` tokens and pad it: ids and mask."""
    mask = (torch.arange(ids.shape[1])[None] < torch.tensor(lengths)[:, None]).long()
    return ids * mask, mask


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
