"""BlipForImageTextRetrieval: towers, projections and matching logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import BlipForImageTextRetrieval

from tests.test_models.test_parity_hf.twins import (
    NAMES,
    SIZES,
    bert_cfg,
    blip_config,
    close,
    images,
    load_twin,
    pad,
    randomise,
    visual_cfg,
    words,
)
from uniadapter.apis.model import build_model

CLS = 2


@pytest.fixture(scope="module", params=SIZES, ids=NAMES)
def size(request: pytest.FixtureRequest) -> dict[str, int]:
    return request.param


def our_model(size: dict[str, int], img_size: int | None = None) -> Any:
    return build_model(
        {
            "type": "RetrievalModel",
            "visual": visual_cfg(size, img_size),
            "text": bert_cfg(size),
            "embed_dim": 16,
            "queue_size": 4,
        }
    )


@pytest.fixture(scope="module")
def twins(size: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    theirs = randomise(BlipForImageTextRetrieval(blip_config(size)))
    folder: Path = tmp_path_factory.mktemp("hf")
    return load_twin(theirs, our_model(size), folder), theirs


@torch.no_grad()
def test_vision_tower(twins: tuple[Any, Any], size: dict[str, int]) -> None:
    ours, theirs = twins
    pixels = images(size)
    close(ours.visual.tokens(pixels), theirs.vision_model(pixels).last_hidden_state)


@torch.no_grad()
def test_vision_tower_at_another_image_size(twins: tuple[Any, Any], size: dict[str, int]) -> None:
    ours, theirs = twins
    pixels = images(size, img_size=size["image"] + 32)
    expected = theirs.vision_model(pixels, interpolate_pos_encoding=True).last_hidden_state
    close(ours.visual.tokens(pixels), expected)


@torch.no_grad()
def test_position_embeddings_interpolated_by_the_converter(
    twins: tuple[Any, Any], size: dict[str, int], tmp_path: Path
) -> None:
    theirs = twins[1]
    other = size["image"] - 16
    ours = load_twin(theirs, our_model(size, other), tmp_path)
    pixels = images(size, img_size=other)
    expected = theirs.vision_model(pixels, interpolate_pos_encoding=True).last_hidden_state
    close(ours.visual.tokens(pixels), expected)


@torch.no_grad()
def test_text_tower_with_padding(twins: tuple[Any, Any], size: dict[str, int]) -> None:
    ours, theirs = twins
    ids, mask = pad(words(size, CLS), [9, 5])
    tokens, _ = ours.encode_text(ids, mask)
    expected = theirs.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    close(tokens[mask.bool()], expected[mask.bool()])


@torch.no_grad()
def test_contrastive_features(twins: tuple[Any, Any], size: dict[str, int]) -> None:
    ours, theirs = twins
    pixels = images(size)
    ids, mask = pad(words(size, CLS), [9, 5])
    tokens, visual, frames = ours.encode_visual(pixels[:, None])
    text = ours.encode_text(ids, mask)[1]
    close(visual, F.normalize(theirs.vision_proj(tokens[:, 0, 0]), dim=-1))
    close(visual, frames[:, 0])
    expected = theirs(
        input_ids=ids, pixel_values=pixels, attention_mask=mask, use_itm_head=False
    ).itm_score
    close(visual @ text.t(), expected)


@torch.no_grad()
def test_matching_logits(twins: tuple[Any, Any], size: dict[str, int]) -> None:
    ours, theirs = twins
    pixels = images(size)
    ids, mask = pad(words(size, CLS), [9, 5])
    tokens = ours.encode_visual(pixels[:, None])[0]
    enc_ids = ids.clone()
    enc_ids[:, 0] = size["vocab"] - 1
    expected = theirs(input_ids=enc_ids, pixel_values=pixels, attention_mask=mask).itm_score
    close(ours.match(ids, mask, tokens), expected)
