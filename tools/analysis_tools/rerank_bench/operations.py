"""Floating-point operations of a re-rank, counted, and the rate of the machine's matrix product.

A multiplication and an addition are two operations. Counted are the matrix products: projections,
attention logits and sums, feed-forward networks, adapters. Embeddings, norms, softmax, activations
and the frame weights' products are not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.device import get_device
from naive.model import TEXT_LENGTH


def _is_adapted(adapter: Any, index: int, tower: str) -> bool:
    return (
        adapter is not None and str(index) in adapter.layers and tower in adapter.options["towers"]
    )


def _widths(model: Any) -> tuple[int, int, int, list[int]]:
    """Layers' width D, feed-forward width, width of the states, and bottleneck terms a layer.

    The last is, for each layer that reads media, the sum of the bottlenecks of its query and its
    cross term.
    """
    text, adapter = model.text, model.adapter
    inner = text.encoder.layer[0].intermediate.dense.out_features
    terms = []
    for index in range(text.fusion_layer, text.num_layers):
        count = 0
        if _is_adapted(adapter, index, "cross"):
            count = 1 + (adapter.options["query_residual"] != "off")
        terms.append(count * adapter.options["bottleneck"] if count else 0)
    return text.hidden_size, inner, text.encoder_width, terms


def begun_operations(model: Any, lengths: Sequence[int]) -> int:
    """Operations of the layers that fused texts run through before they read (BLIP has none).

    Args:
        model (RetrievalModel): Its widths count.
        lengths (Sequence[int]): Tokens of each text.
    """
    return text_operations(model, lengths) if model.text.fusion_layer else 0


def naive_operations(model: Any, states: int, texts: int, length: int) -> int:
    """Operations of the naive way: everything for every pair, texts padded.

    Args:
        model (RetrievalModel): Its widths count.
        states (int): Visual tokens S of the medium.
        texts (int): Texts T.
        length (int): Tokens that each is padded to.
    """
    width, inner, state_width, terms = _widths(model)
    total = 0
    for bottleneck in terms:
        projections = 2 * states * state_width * width * 2
        rows = length * (2 * width * (6 * width + 2 * inner) + 4 * width * bottleneck)
        attention = 4 * width * length * (length + states)
        total += projections + rows + attention
    return texts * (total + begun_operations(model, [length]))


def useful_operations(model: Any, states: int, lengths: Sequence[int]) -> int:
    """The fewest operations that give the scores exactly, without padding.

    Keys and values of the medium are projected once a layer. In the last layer only the first
    token of each text goes on behind the self-attention's keys and values, as the matching head
    reads no other. What a text runs through before it reads anything is the same for all media and
    not among them, see :func:`begun_operations`.

    Args:
        model (RetrievalModel): Its widths count.
        states (int): Visual tokens S of the medium.
        lengths (Sequence[int]): Tokens of each text, without padding.
    """
    width, inner, state_width, terms = _widths(model)
    tokens, texts = sum(lengths), len(lengths)
    squares = sum(length**2 for length in lengths)
    total = 0
    for index, bottleneck in enumerate(terms):
        last = index == len(terms) - 1
        rows = texts if last else tokens
        total += 2 * states * state_width * width * 2
        total += 2 * width * width * (2 * tokens + 4 * rows)
        total += 4 * width * ((tokens if last else squares) + rows * states)
        total += rows * (4 * width * inner + 4 * width * bottleneck)
    return total


def visual_operations(model: Any, images: int) -> int:
    """Operations of encoding images: patches, layers, adapters.

    Args:
        model (RetrievalModel): Its widths count.
        images (int): Images, or frames of all videos.
    """
    visual, adapter = model.visual, model.adapter
    width, patches = visual.embed_dims, visual.patch_resolution[0] * visual.patch_resolution[1]
    tokens = patches + 1
    total = 2 * patches * visual.patch_embed.projection.weight.numel()
    for index, layer in enumerate(visual.layers):
        inner = layer.ffn.layers[-2].in_features
        total += tokens * (8 * width**2 + 4 * width * inner) + 4 * width * tokens**2
        if _is_adapted(adapter, index, "visual"):
            total += 4 * tokens * width * adapter.options["bottleneck"]
    return images * total


def text_operations(model: Any, lengths: Sequence[int]) -> int:
    """Operations of encoding texts without media.

    Args:
        model (RetrievalModel): Its widths count.
        lengths (Sequence[int]): Tokens of each text.
    """
    width, inner, _, _ = _widths(model)
    tokens, squares = sum(lengths), sum(length**2 for length in lengths)
    total = 0
    for index in range(model.text.fusion_layer or model.text.num_layers):
        total += tokens * (8 * width**2 + 4 * width * inner) + 4 * width * squares
        if _is_adapted(model.adapter, index, "text"):
            total += 4 * tokens * width * model.adapter.options["bottleneck"]
    return total


def evaluation_operations(
    model: Any, frames: int, listed: tuple[torch.Tensor, torch.Tensor], lengths: Sequence[int]
) -> tuple[int, int]:
    """Operations of a whole evaluation: the naive way's and the useful ones.

    Args:
        model (RetrievalModel): Its widths count.
        frames (int): Frames of a medium.
        listed (tuple): Which pairs are on the shortlists of texts (T, V) and of media (V, T), bool.
        lengths (Sequence[int]): Tokens of each text, without padding.

    Returns:
        tuple: Of the naive way, which scores each direction, and the useful ones, which score a
        pair on either list once.
    """
    texts, media = listed[0].shape
    resolution = model.visual.patch_resolution
    states = frames * (resolution[0] * resolution[1] + 1)
    encoded = visual_operations(model, media * frames)
    pairs = int(listed[0].sum() + listed[1].sum())
    naive = naive_operations(model, states, pairs, TEXT_LENGTH)
    naive += encoded + text_operations(model, [TEXT_LENGTH] * texts)
    useful = encoded + text_operations(model, lengths)
    useful += begun_operations(model, lengths)
    for row in (listed[0].t() | listed[1]).tolist():
        chosen = [length for length, is_listed in zip(lengths, row, strict=True) if is_listed]
        useful += useful_operations(model, states, chosen)
    return naive, useful


def settled(device: str | None = None) -> float:
    """The time, once a GPU (None: the one at hand) has done what it was given."""
    device = device or get_device()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def matmul_rate(
    dtype: torch.dtype, size: int = 3072, repeats: int = 5, device: str | None = None
) -> float:
    """Operations a second of ``torch.mm`` of two square matrices: the best of some runs.

    Args:
        dtype (torch.dtype): Of the matrices.
        size (int): Their side.
        repeats (int): Runs, behind one that is not counted.
        device (str, optional): Where. None: MMEngine's choice.
    """
    device = device or get_device()
    left, right = (torch.randn(size, size).to(device, dtype) for _ in range(2))
    seconds = []
    for _ in range(repeats + 1):
        start = settled(device)
        torch.mm(left, right)
        seconds.append(settled(device) - start)
    return 2 * size**3 / min(seconds[1:])
