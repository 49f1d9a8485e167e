"""Retrieval on BEiT-3: two towers, batch contrast, no matching."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from mmengine.config import Config
from torch.nn import functional as F

from tests.helpers import COLORS, ROOT, SHAPES, load_tool, tiny_run_cfg, write_run_cfg
from tests.test_models import beit3_reference as reference
from uniadapter.apis import convert_checkpoint, init_model
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.models.build import build_model
from uniadapter.models.precision import cast_frozen

HEADS, WORDS, SIDE = 2, 60, 2
SIZES = {"embed_dims": 16, "num_layers": 2, "num_heads": HEADS, "feedforward_channels": 64}
TEXT = {"hidden_size": 16, "num_layers": 2, "num_heads": HEADS, "intermediate_size": 64}


def narrow(config: Config) -> dict[str, Any]:
    """The model of a config at tiny sizes."""
    model = config.model.to_dict()
    model["visual"].update(arch=SIZES, img_size=16 * SIDE)
    model["text"].update(TEXT, vocab_size=WORDS)
    model["contrast"]["embed_dim"] = 16
    model["adapter"]["bottleneck"] = 3
    return {**model, "pretrained": None}


def config_of(name: str = "base_r128") -> Config:
    return Config.fromfile(str(ROOT / f"configs/uniadapter/flickr30k_beit3_{name}.py"))


def published(seed: int) -> reference.State:
    generator = torch.Generator().manual_seed(seed)
    shapes = reference.key_list(16, 2, SIDE**2, WORDS)
    return {name: torch.randn(s, generator=generator) * 0.3 for name, s in shapes.items()}


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json trained on the captions of the tiny world."""
    folder, written = tmp_path_factory.mktemp("pieces"), io.BytesIO()
    lines = [f"a {color} {shape} moves" for color in COLORS for shape in SHAPES]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 5), model_writer=written, vocab_size=26, minloglevel=2
    )
    (folder / "tiny.spm").write_bytes(written.getvalue())
    tool = load_tool("model_converters/convert_sentencepiece.py")
    tool.main([str(folder / "tiny.spm"), str(folder / "tiny.json")])
    return folder / "tiny.json"


def test_a_published_file_gives_its_similarities_and_goes_back(tmp_path: Path) -> None:
    state = published(0)
    torch.save({"model": state}, tmp_path / "published.pth")
    config = Config({"model": narrow(config_of())})
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


def test_what_is_trained_and_what_a_state_holds() -> None:
    model = build_model(narrow(config_of("large_r512")))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    heads = {"vision_proj.weight", "text_proj.weight", "logit_scale"}
    assert {name for name in trained if not name.startswith("adapter.layers.")} == heads
    assert not [name for name in model.state_dict() if "cross" in name or "query" in name[:14]]
    parts = {name.split(".")[0] for name in model.state_dict()}
    assert parts == {"visual", "text", "adapter", "vision_proj", "text_proj", "logit_scale"}


def test_a_task_that_needs_fusion_is_refused() -> None:
    cfg = narrow(config_of())
    cfg["matching"] = {"type": "MatchingHead"}
    with pytest.raises(ValueError, match="Beit3Text has no cross-attention.*matching=None"):
        build_model(copy.deepcopy(cfg))
    with pytest.raises(ValueError, match="Beit3Text has no cross-attention.*matching=None"):
        build_model({**cfg, "adapter": None})


def test_the_tokenizer_may_have_fewer_words_than_rows_but_not_more(tokenizer_file: Path) -> None:
    cfg = narrow(config_of())
    cfg["data_preprocessor"]["tokenizer"]["file"] = str(tokenizer_file)
    assert build_model(copy.deepcopy(cfg)).data_preprocessor.tokenizer.vocab_size == 28
    cfg["text"]["vocab_size"] = 27
    with pytest.raises(ValueError, match="text.vocab_size=27, .* has 28 words .* make them agree"):
        build_model(cfg)


def test_a_run_trains_and_ranks_by_similarity(
    tmp_path: Path, tiny_world: Path, tokenizer_file: Path
) -> None:
    cfg = tiny_run_cfg(tiny_world, epochs=1)
    model = narrow(config_of())
    model["data_preprocessor"]["tokenizer"]["file"] = str(tokenizer_file)
    model["visual"]["img_size"] = 32
    cfg["model"] = model
    for loop in ("val_cfg", "test_cfg"):
        cfg[loop]["k_test"] = 0
    file = write_run_cfg(tmp_path / "run.py", cfg)
    folder = ["--work-dir", str(tmp_path)]
    load_tool("train.py").main([str(file), *folder])
    load_tool("test.py").main([str(file), str(tmp_path / "epoch_1.pth"), *folder])
    state = torch.load(tmp_path / "epoch_1.pth", weights_only=True)["state_dict"]
    assert "logit_scale" in state
    assert not [name for name in state if name.startswith(("ema.", "queue."))]
    logs = [json.loads(line) for path in tmp_path.rglob("scalars.json") for line in path.open()]
    assert any("loss_itc" in line and "loss_itm" not in line for line in logs)
    assert any("t2v/R1" in line for line in logs)


def test_the_promises_of_an_adapter(tmp_path: Path) -> None:
    """Step 0, disabling, copies, folders (at another image size too) and half precision."""
    cfg = narrow(config_of())
    model = build_model(copy.deepcopy(cfg)).eval()
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(3, 2, 3, 32, 32, generator=generator)
    ids = torch.randint(0, WORDS, (3, 6), generator=generator)
    batch = (pixels, ids, torch.tensor([[1] * 6, [1] * 2 + [0] * 4, [1] * 4 + [0] * 2]))
    bare = model.features(*batch)
    for parameter in model.adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    adapted = model.features(*batch)
    assert not torch.allclose(adapted[0], bare[0])
    with model.adapter_disabled():
        assert all(map(torch.equal, model.features(*batch), bare))
    copied = copy.deepcopy(model)
    assert all(map(torch.equal, copied.features(*batch), adapted))

    save_adapter(model, tmp_path)
    frozen = {n: t for n, t in model.state_dict().items() if n.startswith(("visual.", "text."))}
    for size in (32, 48):
        other = build_model({**copy.deepcopy(cfg), "visual": {**cfg["visual"], "img_size": size}})
        other.load_state_dict(frozen, strict=False)
        load_adapter(other, tmp_path)
        if size == 32:
            assert all(map(torch.equal, other.eval().features(*batch), adapted))

    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.features(*batch)
    cast_frozen(copied, "bfloat16")
    with copied.frozen_autocast():
        assert all(map(torch.equal, copied.features(*batch), rounded))
