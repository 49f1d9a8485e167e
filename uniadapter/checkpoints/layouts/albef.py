"""ALBEF's checkpoints: pre-trained, fine-tuned for retrieval and for VQA (.pth)."""

from __future__ import annotations

import re
from typing import Any

from .keys import Layout, Pair, Report, State
from .official import HEADS, POSITION_IDS, TEXT, VISUAL, export_official, tied_head

_TYPES = "embeddings.token_type_embeddings.weight"
_WORDS = "embeddings.word_embeddings.weight"
_ENCODER, _DECODER = "text_encoder.bert.", "text_decoder.bert."
_MLM, _LM = "text_encoder.cls.", "text_decoder.cls."
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)")

# What the fine-tuned files have, and what is written. Names are those of BLIP, which is built on
# it, beside token types, which BLIP left out.
_FINE_TUNED = Layout(
    "albef",
    (
        *VISUAL,
        *TEXT,
        Pair(f"text_encoder.{_TYPES}", f"text.{_TYPES}"),
        Pair(f"{_DECODER}{_TYPES}", f"decoder.bert.{_TYPES}"),
        *tied_head("text_decoder"),
        *HEADS,
        Pair("temp", "temp"),
    ),
)
ALBEF = Layout(
    "albef",
    (
        *_FINE_TUNED.pairs,
        # The pre-trained encoder has a head for masked words, and `bert.` in its names.
        Pair(f"{_ENCODER}{{bert}}", "text.{bert}"),
        Pair(f"{_ENCODER}{_TYPES}", f"text.{_TYPES}"),
    ),
    (
        POSITION_IDS,
        (r"image_queue|text_queue|idx_queue|queue_ptr", "feature queue: it fills again"),
        (
            r"(?:visual_encoder|text_encoder|text_decoder|vision_proj|text_proj)_m\..+",
            "momentum copies: the averages start from the loaded weights",
        ),
        (
            re.escape(_MLM) + ".+",
            "head for masked words of the pre-training; a decoder can start from it",
        ),
    ),
)


def export_albef(
    state: State,
    momentum: State | None = None,
    queue: State | None = None,
    queue_size: int = 65536,
    **_: Any,
) -> tuple[State, dict[str, str]]:
    """Write an own state dict in the layout of ALBEF's fine-tuned files.

    Args:
        state (dict[str, Tensor]): Towers, heads and temperature by our name.
        momentum (dict, optional): Averages by our name; tensors without one are their own average.
        queue (dict, optional): The feature queue's tensors. None starts an empty one.
        queue_size (int): Entries of a queue that starts empty. Defaults to 65536, as ALBEF.

    Returns:
        tuple: Tensors by official name, and our names to official ones.

    Raises:
        ValueError: If the text tower has no token types, so that it is another family's.
    """
    missing = [
        body
        for body in ("text.", "decoder.bert.")
        if body + _WORDS in state and body + _TYPES not in state
    ]
    if missing:
        raise ValueError(
            f"--to 'albef' needs token types, and {missing[0]}{_TYPES} is missing: the weights are "
            "another family's, choose its layout (--to blip)."
        )
    official, used = export_official(state, _FINE_TUNED, momentum, queue, queue_size)
    if "ptr_queue" in official:
        official["queue_ptr"] = official.pop("ptr_queue")
    return official, used


def with_decoder(source: State, layers: int, path: str) -> State:
    """Add a decoder that starts from the upper layers of a pre-trained encoder, as ALBEF's for VQA.

    Its embeddings are the encoder's, its language-model head is the one for masked words.

    Args:
        source (dict[str, Tensor]): Tensors of a pre-trained file.
        layers (int): Layers of the decoder.
        path (str): The file, for errors.

    Returns:
        dict[str, Tensor]: The same and the decoder's, by official name. The head for masked words
        stands under the decoder's name only.

    Raises:
        ValueError: If the file has a decoder, has no head for masked words or too few layers.
    """
    if any(name.startswith(("text_decoder.", "text_decoder_m.")) for name in source):
        raise ValueError(f"{path} has a decoder of its own: leave --init-decoder out.")
    numbers = [int(layer[1]) for name in source if (layer := _LAYER.search(name))]
    depth = 1 + max(numbers, default=-1)
    if not any(name.startswith(_MLM) for name in source) or depth < layers:
        raise ValueError(
            f"--init-decoder makes a decoder of the last {layers} layers of a pre-trained encoder "
            f"and of its head for masked words (text_encoder.cls.*); {path} has {depth} layers and "
            + ("such a head." if depth < layers else "no such head: it is a fine-tuned file.")
        )
    found: State = {}
    for name, tensor in source.items():
        if name.startswith(_MLM):
            found[_LM + name.removeprefix(_MLM)] = tensor
            continue
        found[name] = tensor
        if not name.startswith(_ENCODER) or name.endswith("position_ids"):
            continue
        part = name.removeprefix(_ENCODER)
        layer = _LAYER.fullmatch(part)
        if layer is None:
            found[_DECODER + part] = tensor
        elif int(layer[1]) >= depth - layers:
            number = int(layer[1]) - (depth - layers)
            found[f"{_DECODER}encoder.layer.{number}.{layer[2]}"] = tensor
    return found


def say_decoder(report: Report, layers: int) -> None:
    """Have a report name the keys of the file rather than those that :func:`with_decoder` made."""
    for keys in (report.used, report.left):
        for name in [name for name in keys if name.startswith(_LM)]:
            keys[_MLM + name.removeprefix(_LM)] = keys.pop(name)
        for name in [name for name in keys if name.startswith(_DECODER)]:
            del keys[name]
    report.notes.append(
        f"the decoder starts from the last {layers} layers, the embeddings and the head for masked "
        "words of the encoder"
    )
