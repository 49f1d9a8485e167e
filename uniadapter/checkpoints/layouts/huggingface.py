"""BLIP folders of transformers: retrieval, captioning and question answering."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from .keys import Layout, Pair, State
from .official import HEADS, POSITION_IDS, TEXT, tied_head
from .shards import find_weights, read_weights

_BODY = "vision_model.encoder.layers.{i}"
HUGGINGFACE = Layout(
    "hf",
    (
        Pair("vision_model.embeddings.class_embedding", "visual.cls_token"),
        Pair("vision_model.embeddings.position_embedding", "visual.pos_embed"),
        Pair("vision_model.embeddings.patch_embedding.{p}", "visual.patch_embed.projection.{p}"),
        Pair(f"{_BODY}.layer_norm1.{{p}}", "visual.layers.{i}.ln1.{p}"),
        Pair(f"{_BODY}.self_attn.qkv.{{p}}", "visual.layers.{i}.attn.qkv.{p}"),
        Pair(f"{_BODY}.self_attn.projection.{{p}}", "visual.layers.{i}.attn.proj.{p}"),
        Pair(f"{_BODY}.layer_norm2.{{p}}", "visual.layers.{i}.ln2.{p}"),
        Pair(f"{_BODY}.mlp.fc1.{{p}}", "visual.layers.{i}.ffn.layers.0.0.{p}"),
        Pair(f"{_BODY}.mlp.fc2.{{p}}", "visual.layers.{i}.ffn.layers.1.{p}"),
        Pair("vision_model.post_layernorm.{p}", "visual.ln1.{p}"),
        *TEXT,
        *tied_head("text_decoder"),
        *HEADS,
    ),
    (POSITION_IDS,),
)
_ARCHITECTURES = (
    "BlipForImageTextRetrieval",
    "BlipForConditionalGeneration",
    "BlipForQuestionAnswering",
)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: SRC with --from hf is the folder of a transformers model "
            "(config.json and model.safetensors)."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): copy the model again.") from error
    architectures = config.get("architectures") or []
    if architectures and not set(architectures) & set(_ARCHITECTURES):
        raise ValueError(
            f"{path} says architectures={architectures}: BLIP models that can be read are "
            f"{list(_ARCHITECTURES)}."
        )
    return config


def _heads_of(model: Any) -> dict[str, int]:
    """Attention heads by config key; shapes do not tell them."""
    heads = {"vision_config": model.visual.layers[0].attn.num_heads}
    bert: Any = model.text
    if bert is None and model.decoder is not None:
        bert = model.decoder.bert
    if bert is not None:
        heads["text_config"] = bert.encoder.layer[0].attention.self.num_heads
    return heads


def read_huggingface(source: str | Path, model: nn.Module) -> tuple[State, list[str]]:
    """Read a transformers folder.

    Args:
        source (str | Path): With ``config.json`` and ``model.safetensors`` (or
            ``pytorch_model.bin``, shards with their index, or one variant such as
            ``model.fp16.safetensors``); or one of these files in such a folder.
        model (VisionLanguageModel): The model of the config, to compare attention heads.

    Returns:
        tuple: Tensors by transformers' name, and notes for the user.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If it is no BLIP model, is damaged, or has another number of heads.
    """
    source = Path(source)
    file = source if source.is_file() else None
    folder = source if file is None else source.parent
    config = _read_config(folder)
    for key, ours in _heads_of(model).items():
        # transformers leaves values that equal its defaults (12 heads) out of config.json.
        theirs = config.get(key, {}).get("num_attention_heads", 12)
        if theirs != ours:
            raise ValueError(
                f"{folder / 'config.json'}: {key}.num_attention_heads={theirs}, the config's "
                f"model has {ours}: set num_heads in --config."
            )
    notes = ["transformers' BLIP has no temperature: the model keeps the one of its config"]
    eps = config.get("vision_config", {}).get("layer_norm_eps", 1e-5)
    if eps != 1e-6:
        notes.append(
            f"transformers runs the visual LayerNorms with eps={eps}, BLIP and this package with "
            "1e-6: features differ in the sixth digit"
        )
    if file is None:
        file, more = find_weights(folder)
        notes += more
    return read_weights(file), notes
