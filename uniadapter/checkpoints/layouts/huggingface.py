"""BLIP folders of transformers, read and written: retrieval, captioning and VQA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from uniadapter.utils.json_files import brief, parse_json

from .keys import Layout, Pair, State
from .official import HEADS, POSITION_IDS, TEXT, rename_all, task_of, tied_head
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
_CLASSES = {
    "retrieval": "BlipForImageTextRetrieval",
    "caption": "BlipForConditionalGeneration",
    "vqa": "BlipForQuestionAnswering",
}
_ARCHITECTURES = tuple(_CLASSES.values())


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: SRC with --from hf is the folder of a transformers model "
            "(config.json and model.safetensors)."
        )
    try:
        config = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): copy the model again.") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no JSON object: copy the model again.")
    architectures = config.get("architectures") or []
    named = architectures if isinstance(architectures, list) else [architectures]
    if named and not any(name in _ARCHITECTURES for name in named):
        raise ValueError(
            f"{path} says architectures={brief(architectures)}: BLIP models that can be read are "
            f"{list(_ARCHITECTURES)}."
        )
    for key in ("vision_config", "text_config"):
        if not isinstance(config.get(key, {}), dict):
            raise ValueError(
                f"{path}: {key} must be an object, not {brief(config[key])}: copy the model again."
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
                f"{folder / 'config.json'}: {key}.num_attention_heads={brief(theirs)}, the "
                f"config's model has {ours}: set num_heads in --config."
            )
    notes = ["transformers' BLIP has no temperature: the model keeps the one of its config"]
    eps = config.get("vision_config", {}).get("layer_norm_eps", 1e-5)
    if eps != 1e-6:
        notes.append(
            f"transformers runs the visual LayerNorms with eps={brief(eps)}, BLIP and this "
            "package with 1e-6: features differ in the sixth digit"
        )
    if file is None:
        file, more = find_weights(folder)
        notes += more
    return read_weights(file), notes


def export_huggingface(state: State, **_: Any) -> tuple[State, dict[str, str]]:
    """Write an own state dict in the names of transformers' BLIP models.

    Args:
        state (dict[str, Tensor]): Towers, heads and temperature by our name.

    Returns:
        tuple: Tensors by transformers' name, and our names to those.

    Raises:
        ValueError: If no class of transformers has just these parts.
    """
    task_of(state, "hf")
    named, used = rename_all(state, HUGGINGFACE)
    # Its models have no temperature: their cosines are not scaled.
    left = sorted(name for name in state if name not in used and name != "temp")
    if left:
        raise ValueError(
            f"--to hf: transformers' BLIP has no place for {left[:3]}: it is written of BLIP's own "
            "towers and heads."
        )
    return named, used


def huggingface_config(state: State, model: Any) -> dict[str, Any]:
    """The ``config.json`` of transformers that belongs to a model.

    Args:
        state (dict[str, Tensor]): Its weights by our name.
        model (VisionLanguageModel): The model; it may be on the meta device.

    Returns:
        dict: For ``from_pretrained`` of the class that ``architectures`` names.

    Raises:
        ValueError: If transformers' classes can't have towers of these sizes.
    """
    task, heads = task_of(state, "hf"), _heads_of(model)
    patch = state["visual.patch_embed.projection.weight"].shape[-1]
    side = int((state["visual.pos_embed"].shape[1] - 1) ** 0.5) * patch
    wanted = model.visual.img_size
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    if side != wanted:
        raise ValueError(
            f"The position embeddings are those of {side} pixels and model.visual.img_size="
            f"{wanted}; transformers does not interpolate when it loads. Set img_size={side} in "
            "--config, or convert to a file of ours first, of which loading makes any size."
        )
    vision = {
        "hidden_size": state["visual.cls_token"].shape[-1],
        "intermediate_size": state["visual.layers.0.ffn.layers.0.0.weight"].shape[0],
        "num_hidden_layers": len(model.visual.layers),
        "num_attention_heads": heads["vision_config"],
        "image_size": side,
        "patch_size": patch,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "attention_dropout": 0.0,
    }
    bodies = [p for p in ("text.", "decoder.bert.") if f"{p}embeddings.LayerNorm.bias" in state]
    texts = [_text_config(state, body) for body in bodies]
    if (
        any(text != texts[0] for text in texts)
        or texts[0]["encoder_hidden_size"] != (vision["hidden_size"])
    ):
        raise ValueError(
            f"transformers' {_CLASSES[task]} has one size for all towers of texts, and they read "
            f"states as wide as the visual tower's ({vision['hidden_size']}); here are "
            f"{dict(zip(bodies, texts, strict=True))}."
        )
    text = {**texts[0], "num_attention_heads": heads["text_config"], **_marks(model, texts[0])}
    config = {
        "architectures": [_CLASSES[task]],
        "model_type": "blip",
        "text_config": {"model_type": "blip_text_model", **text},
        "vision_config": {"model_type": "blip_vision_model", **vision},
        "tie_word_embeddings": True,
    }
    if task == "retrieval":
        config["image_text_hidden_size"] = state["vision_proj.weight"].shape[0]
    return config


def _text_config(state: State, body: str) -> dict[str, Any]:
    """Sizes of a tower of texts by transformers' names."""
    vocab, hidden = state[f"{body}embeddings.word_embeddings.weight"].shape
    layers = [name for name in state if name.startswith(f"{body}encoder.layer.")]
    crossed = f"{body}encoder.layer.0.crossattention.self.key.weight"
    return {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "max_position_embeddings": state[f"{body}embeddings.position_embeddings.weight"].shape[0],
        "intermediate_size": state[f"{body}encoder.layer.0.intermediate.dense.weight"].shape[0],
        "num_hidden_layers": 1 + max(int(n.removeprefix(body).split(".")[2]) for n in layers),
        "encoder_hidden_size": state[crossed].shape[1] if crossed in state else None,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    }


def _marks(model: Any, sizes: dict[str, Any]) -> dict[str, int]:
    """Ids that transformers' generation begins, ends and fills up with."""
    tokenizer = getattr(model.data_preprocessor, "tokenizer", None)
    if tokenizer is None:
        # BERT's uncased vocabulary with [DEC] and [ENC] behind it.
        end = {"sep_token_id": 102} if sizes["vocab_size"] > 102 else {}
        return {"bos_token_id": sizes["vocab_size"] - 2, "pad_token_id": 0, **end}
    return {
        "bos_token_id": tokenizer.decoder_start_id,
        "pad_token_id": tokenizer.pad_token_id,
        "sep_token_id": tokenizer.sep_token_id,
    }
