"""T5 folders of transformers, whose names are ours behind the name of the tower."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .keys import Layout, Pair, State
from .shards import find_weights, read_weights

_FEED_FORWARD = ("wi", "wo")


def _stack(name: str, *attentions: str) -> tuple[Pair, ...]:
    """Names of one stack: its attentions, one a sub-layer, and the feed-forward network."""
    names = ["final_layer_norm"]
    for number, attention in enumerate(attentions):
        layer = f"block.{{i}}.layer.{number}"
        names += [f"{layer}.layer_norm", *(f"{layer}.{attention}.{part}" for part in "qkvo")]
    layer = f"block.{{i}}.layer.{len(attentions)}"
    names += [f"{layer}.layer_norm", "block.{i}.layer.0.SelfAttention.relative_attention_bias"]
    names += [f"{layer}.DenseReluDense.{part}" for part in _FEED_FORWARD]
    return tuple(Pair(f"{name}.{n}.weight", f"text.{name}.{n}.weight") for n in names)


# All of them one matrix.
_TABLES = ("shared", "encoder.embed_tokens", "decoder.embed_tokens", "lm_head")
T5_FOLDER = Layout(
    "t5-hf",
    (
        *(Pair(f"{name}.weight", "text.shared.weight") for name in _TABLES),
        *_stack("encoder", "SelfAttention"),
        *_stack("decoder", "SelfAttention", "EncDecAttention"),
    ),
    (
        (
            r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
            "a bias that no version of the model reads",
        ),
    ),
)
# What shapes do not tell, with transformers' values where config.json leaves it out.
_DEFAULTS = {
    "feed_forward_proj": "relu",
    "tie_word_embeddings": True,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
}


def _check_config(path: Path, model: Any) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: SRC with --from t5-hf is the folder of a transformers model "
            "(config.json and model.safetensors)."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): copy the folder again.") from error
    if not isinstance(config, dict) or config.get("model_type", "t5") != "t5":
        kind = config.get("model_type") if isinstance(config, dict) else config
        raise ValueError(f"{path} says model_type={kind!r}: --from t5-hf reads 't5'.")
    own = getattr(getattr(getattr(model, "text", None), "encoder", None), "config", None)
    if own is None or getattr(own, "model_type", None) != "t5":
        raise ValueError("--from t5-hf needs --config of a model with text=dict(type='T5').")
    for option, default in _DEFAULTS.items():
        said, wanted = config.get(option, default), getattr(own, option)
        if said != wanted:
            raise ValueError(
                f"{path}: {option}={said!r}, T5 v1.0 has {wanted!r}: choose a checkpoint of that "
                "version."
            )


def read_t5_folder(path: str | Path, model: Any) -> tuple[State, list[str]]:
    """Read a T5 folder of transformers, or a weight file in one.

    Args:
        path (str | Path): With ``config.json`` and the weights, see :func:`find_weights`.
        model (Seq2SeqModel): The model of the config, to compare what shapes do not tell.

    Returns:
        tuple: Tensors by transformers' name, and notes for the user.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If it is no T5 model, is damaged, or another one than the config's.
    """
    path = Path(path)
    folder = path.parent if path.is_file() else path
    _check_config(folder / "config.json", model)
    file, notes = (path, []) if path.is_file() else find_weights(folder)
    return read_weights(file), notes
