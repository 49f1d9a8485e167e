"""T5 folders of transformers, whose names are ours behind the name of the tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .keys import Layout, Pair, State
from .language import read_language

_FEED_FORWARD = ("wi", "wo")


#: A tensor that files may have, and why it is left; a regular expression and the reason.
UNREAD = (
    r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
    "a bias that no version of the model reads",
)


def _stack(name: str, *attentions: str) -> tuple[str, ...]:
    """Names of one stack: its attentions, one a sub-layer, and the feed-forward network."""
    names = ["final_layer_norm"]
    for number, attention in enumerate(attentions):
        layer = f"block.{{i}}.layer.{number}"
        names += [f"{layer}.layer_norm", *(f"{layer}.{attention}.{part}" for part in "qkvo")]
    layer = f"block.{{i}}.layer.{len(attentions)}"
    names += [f"{layer}.layer_norm", "block.{i}.layer.0.SelfAttention.relative_attention_bias"]
    names += [f"{layer}.DenseReluDense.{part}" for part in _FEED_FORWARD]
    return tuple(f"{name}.{n}.weight" for n in names)


def t5_names() -> tuple[str, ...]:
    """Names of both stacks, which are ours behind ``text.``; ``{i}`` is a block's number."""
    return (
        *_stack("encoder", "SelfAttention"),
        *_stack("decoder", "SelfAttention", "EncDecAttention"),
    )


# All of them one matrix.
_TABLES = ("shared", "encoder.embed_tokens", "decoder.embed_tokens", "lm_head")
T5_FOLDER = Layout(
    "t5-hf",
    (
        *(Pair(f"{name}.weight", "text.shared.weight") for name in _TABLES),
        *(Pair(name, f"text.{name}") for name in t5_names()),
    ),
    (UNREAD,),
)
# What shapes do not tell, with transformers' values where config.json leaves it out.
_DEFAULTS = {
    "feed_forward_proj": "relu",
    "tie_word_embeddings": True,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
}


def read_t5_folder(path: str | Path, model: Any) -> tuple[State, list[str]]:
    """Read a T5 folder of transformers, or a weight file in one; see :func:`read_language`."""
    return read_language(path, model, T5_FOLDER, "t5", _DEFAULTS, "T5 v1.0")
