"""Retrieval on BEiT-3: what a published file holds and computes."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config
from torch.nn import functional as F

from tests.dual_helpers import FAMILIES
from tests.test_models import beit3_reference as reference
from uniadapter.apis import convert_checkpoint, init_model

HEADS, WORDS, SIDE = 2, 60, 2


def published(seed: int) -> reference.State:
    generator = torch.Generator().manual_seed(seed)
    shapes = reference.key_list(16, 2, SIDE**2, WORDS)
    return {name: torch.randn(s, generator=generator) * 0.3 for name, s in shapes.items()}


def test_a_published_file_gives_its_similarities_and_goes_back(tmp_path: Path) -> None:
    state = published(0)
    torch.save({"model": state}, tmp_path / "published.pth")
    config = Config({"model": FAMILIES["beit3"].narrow()})
    report = convert_checkpoint(
        tmp_path / "published.pth", tmp_path / "ours.safetensors", config, "beit3"
    )
    assert set(report.used) | set(report.left) == set(state)
    model = init_model(config, tmp_path / "ours.safetensors")

    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(3, 1, 3, 32, 32, generator=generator)
    ids = torch.randint(0, WORDS, (3, 6), generator=generator)
    mask = torch.tensor([[1] * 6, [1] * 2 + [0] * 4, [1] * 4 + [0] * 2])
    images = torch.stack([reference.image(p[0], state, HEADS)[0] for p in pixels])
    rows = [row[: int(m.sum())].tolist() for row, m in zip(ids, mask, strict=True)]
    texts = torch.stack([reference.text(row, state, HEADS)[0] for row in rows])
    images = images @ state["vision_head.weight"].T
    texts = texts @ state["language_head.weight"].T
    images = images / images.norm(dim=1, keepdim=True)
    texts = texts / texts.norm(dim=1, keepdim=True)
    with torch.no_grad():
        visual, text = model.features(pixels, ids, mask)
        loss = model(pixels, ids, mask, media_ids=torch.arange(3), mode="loss")["loss_itc"]
    torch.testing.assert_close(visual, images, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(text, texts, atol=2e-5, rtol=1e-4)
    logits = state["logit_scale"].exp() * images @ texts.T
    own = torch.arange(3)
    wanted = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(loss, wanted, atol=1e-4, rtol=1e-4)

    back = tmp_path / "back.pth"
    convert_checkpoint(tmp_path / "ours.safetensors", back, config, target="beit3")
    written = torch.load(back, weights_only=True)["model"]
    assert written.keys() == state.keys()
    for name, tensor in state.items():
        unread = "mask_token" in name, "embed_positions" in name
        if not any(unread):
            assert torch.equal(written[name], tensor)
        elif unread[1]:
            assert torch.equal(written[name][2:], tensor[2:])
