"""The released variant, loaded by the converter, against a reference of the released formulas."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch.nn import functional as F

from tests.helpers import IMAGE_SIZE, VOCAB_SIZE, tiny_retrieval_cfg
from tests.test_checkpoints.test_layouts import released_reference as reference
from tests.test_checkpoints.test_layouts.states import key_list, write_pth
from uniadapter.apis import convert_checkpoint, init_model
from uniadapter.models import RetrievalModel

LAYERS, HEADS, RANK, KV_RANK, LENGTH = 2, 2, 8, 4, 7
_SIZES = {768: 32, 3072: 64, 2304: 96, 30524: VOCAB_SIZE, 256: 16, 197: (IMAGE_SIZE // 16) ** 2 + 1}
Tensors = dict[str, torch.Tensor]


def released_state() -> Tensors:
    """A checkpoint with the published keys, two small layers and every tensor random."""
    shapes, same = key_list("uniadapter_retrieval", rank=1)
    torch.manual_seed(0)
    state: Tensors = {}
    for key, shape in shapes.items():
        number = re.search(r"\.(\d+)\.", key)
        if key in same or (number and int(number[1]) >= LAYERS):
            continue
        sizes = {**_SIZES, 1: 1, 512: 40, 64: KV_RANK if "video" in key else 24}
        if "_proj." in key and re.match(r"adapters(_m)?\.", key):
            sizes[1] = RANK
        shape = tuple(sizes.get(size, size) for size in shape)
        fan_in = shape[-1] if len(shape) == 2 else 8
        state[key] = torch.randn(shape) / fan_in**0.5
        if "norm" in key.lower() and key.endswith("weight"):
            state[key] = 1 + 0.2 * state[key]
    state["text_encoder.embeddings.position_ids"] = torch.arange(40)[None]
    state["idx_queue"] = torch.full((1, 24), -100)
    state["temp"] = torch.tensor(0.05)
    for alias, key in same.items():
        if key in state:
            state[alias] = state[key]
    return state


@pytest.fixture(scope="module")
def state() -> Tensors:
    return released_state()


@pytest.fixture(scope="module")
def model(state: Tensors, tmp_path_factory: pytest.TempPathFactory) -> RetrievalModel:
    folder: Path = tmp_path_factory.mktemp("released")
    adapter = {"type": "UniAdapter", "bottleneck": RANK, "variant": "released", "kv_rank": KV_RANK}
    config = Config({"model": tiny_retrieval_cfg(adapter=adapter)})
    source = write_pth(folder / "released.pth", state)
    convert_checkpoint(source, folder / "ours.safetensors", config, source="uniadapter")
    return init_model(config, folder / "ours.safetensors")


@pytest.fixture
def texts() -> tuple[torch.Tensor, torch.Tensor]:
    """Three texts, two of them padded."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, VOCAB_SIZE - 2, (3, LENGTH), generator=generator)
    ids[:, 0] = 2
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    mask[2, 6:] = 0
    return ids * mask, mask


def pixels(frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, frames, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def reference_tokens(state: Tensors, frames: int) -> torch.Tensor:
    tokens = reference.vision(pixels(frames).flatten(0, 1), state, LAYERS, HEADS)
    return tokens.unflatten(0, (3, frames))


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 3])
def test_visual_features(model: RetrievalModel, state: Tensors, frames: int) -> None:
    tokens, feature, frame_features = model.encode_visual(pixels(frames))
    expected = reference_tokens(state, frames)
    close(tokens, expected)
    cls = expected[:, :, 0]
    close(frame_features, F.normalize(reference.linear(cls, state, "vision_proj"), dim=-1))
    close(feature, F.normalize(reference.linear(cls.mean(1), state, "vision_proj"), dim=-1))


@torch.no_grad()
def test_text_features(
    model: RetrievalModel, state: Tensors, texts: tuple[torch.Tensor, torch.Tensor]
) -> None:
    tokens, feature = model.encode_text(*texts)
    expected = reference.text(*texts, state, LAYERS, HEADS)
    real = texts[1].bool()
    close(tokens[real], expected[real])
    close(feature, F.normalize(reference.linear(expected[:, 0], state, "text_proj"), dim=-1))


@torch.no_grad()
@pytest.mark.parametrize(("frames", "pfa"), [(1, False), (1, True), (3, False), (3, True)])
def test_matching_logits(
    model: RetrievalModel,
    state: Tensors,
    texts: tuple[torch.Tensor, torch.Tensor],
    frames: int,
    pfa: bool,
) -> None:
    ids, mask = texts
    tokens = reference_tokens(state, frames)
    sims = 8 * torch.randn(3, frames, generator=torch.Generator().manual_seed(3))
    factor = reference.frame_factor(sims, tokens.shape[2]) if pfa else None
    enc_ids = torch.cat((torch.full((3, 1), VOCAB_SIZE - 1), ids[:, 1:]), 1)
    hidden = reference.text(enc_ids, mask, state, LAYERS, HEADS, tokens.flatten(1, 2), factor)
    expected = reference.linear(hidden[:, 0], state, "itm_head")
    close(model.match(ids, mask, tokens, sims if pfa else None), expected)


@torch.no_grad()
def test_frame_weights_of_a_pair_change_its_logits(
    model: RetrievalModel, state: Tensors, texts: tuple[torch.Tensor, torch.Tensor]
) -> None:
    tokens = reference_tokens(state, 3)
    sims = torch.tensor([[8.0, 0.0, -8.0]]).expand(3, -1)
    change = model.match(*texts, tokens, sims) - model.match(*texts, tokens)
    assert change.abs().max() > 1e-3


@torch.no_grad()
def test_the_whole_retrieval_pass(
    model: RetrievalModel, state: Tensors, texts: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Frame weights from cosines, each text against one medium, keys projected once."""
    ids, mask = texts
    tokens, _, frame_features = model.encode_visual(pixels(3))
    text_tokens, text_features = model.encode_text(ids, mask)
    sims = model.frame_sims(tokens[:, :, 0], frame_features, text_tokens[:, 0], text_features)
    assert sims is not None
    scores = model.score_texts(tokens[1], ids, mask, sims[:, 1])
    expected_tokens = reference_tokens(state, 3)[1:2].expand(3, -1, -1, -1)
    cls = reference.linear(expected_tokens[0, :, 0], state, "vision_proj")
    hidden = reference.text(ids, mask, state, LAYERS, HEADS)
    text_cls = reference.linear(hidden[:, 0], state, "text_proj")
    cosines = F.normalize(text_cls, dim=-1) @ F.normalize(cls, dim=-1).t()
    enc_ids = torch.cat((torch.full((3, 1), VOCAB_SIZE - 1), ids[:, 1:]), 1)
    factor = reference.frame_factor(cosines, expected_tokens.shape[2])
    visual = expected_tokens.flatten(1, 2)
    hidden = reference.text(enc_ids, mask, state, LAYERS, HEADS, visual, factor)
    close(scores, reference.linear(hidden[:, 0], state, "itm_head")[:, 1])


def test_the_temperature_is_loaded(model: RetrievalModel) -> None:
    assert model.temp.item() == pytest.approx(0.05)
