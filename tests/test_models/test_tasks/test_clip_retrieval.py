"""Retrieval on CLIP: two towers, batch contrast, no matching."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from tokenizers import pre_tokenizers
from torch.nn import functional as F

from tests.helpers import ROOT, load_tool, tiny_run_cfg, write_run_cfg
from tests.model_helpers import randomize, sgd_steps
from tests.spawn import spawn
from tests.test_engine.test_runner.test_retrieval_copies import CASES, CopySplit, _run
from tests.test_engine.test_runner.test_retrieval_loop_model import _batch
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.models.build import build_model
from uniadapter.models.precision import cast_frozen
from uniadapter.registry import MODELS

pytest.importorskip("transformers")
WORDS = 514
SIZES = {"embed_dims": 16, "num_layers": 2, "num_heads": 2, "feedforward_channels": 64}
TEXT = {"hidden_size": 12, "num_layers": 2, "num_heads": 3, "intermediate_size": 24}


def narrow(name: str = "uniadapter/flickr30k_clip_r128") -> dict[str, Any]:
    """The model of a config at tiny sizes."""
    model = Config.fromfile(str(ROOT / f"configs/{name}.py")).model.to_dict()
    model["visual"].update(arch=SIZES, img_size=32)
    model["text"].update(TEXT, vocab_size=WORDS)
    model["contrast"]["embed_dim"] = 16
    if model["adapter"]:
        model["adapter"].update(bottleneck=3, scale=1.0)
    return {**model, "pretrained": None}


def seeded(name: str = "uniadapter/flickr30k_clip_r128") -> Any:
    torch.manual_seed(0)
    return build_model(narrow(name))


def pairs(size: int = 4, frames: int = 2) -> dict[str, torch.Tensor]:
    """Videos and texts of several lengths."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, WORDS - 2, (size, 7), generator=generator)
    mask = torch.ones_like(ids)
    ids[:, 0] = WORDS - 2
    for row in range(size):
        end = 6 - row % 3
        ids[row, end:] = WORDS - 1
        mask[row, end + 1 :] = 0
    return {
        "pixels": torch.randn(size, frames, 3, 32, 32, generator=generator),
        "input_ids": ids,
        "attention_mask": mask,
        "media_ids": torch.arange(size),
    }


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    """A tokenizer of single bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    model = {"type": "BPE", "end_of_word_suffix": "</w>", "merges": []}
    vocab = {word: index for index, word in enumerate(words)}
    path = tmp_path / "clip_tokenizer.json"
    path.write_text(json.dumps({"model": {**model, "vocab": vocab}}))
    return path


def test_the_loss_is_clips_on_the_mean_of_frames() -> None:
    model = randomize(seeded())
    batch = pairs()
    with torch.no_grad():
        loss = model(**batch, mode="loss")["loss_itc"]
        cls = model.visual(batch["pixels"].flatten(0, 1))[0].unflatten(0, (4, 2)).mean(1)
        out = model.text.model(input_ids=batch["input_ids"])
        visual = F.normalize(model.vision_proj(cls), dim=-1)
        text = F.normalize(model.text_proj(out.pooler_output), dim=-1)
        logits, own = model.logit_scale.exp() * visual @ text.t(), torch.arange(4)
        wanted = (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2
    torch.testing.assert_close(loss, wanted)
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    model(**batch, mode="loss")
    torch.testing.assert_close(model.logit_scale.exp(), torch.tensor(100.0))


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("uniadapter/msrvtt_clip_r512", "adapter."),
        ("linear_probe/flickr30k_clip", ""),
        ("full_finetune/flickr30k_clip", "visual."),
    ],
)
def test_what_is_trained(name: str, component: str) -> None:
    model = seeded(name).train()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    heads = {"vision_proj.weight", "text_proj.weight", "logit_scale"}
    rest = {n for n in trained - heads if not n.startswith(("visual.", "text."))}
    assert heads <= trained
    assert bool(rest) == (component == "adapter.")
    assert all(n.startswith("adapter.") for n in rest)
    assert any(n.startswith("visual.") for n in trained) == (component == "visual.")
    before = copy.deepcopy(model.state_dict())
    history = sgd_steps(model, pairs(), steps=4, lr=0.003)
    assert history[-1]["loss_itc"] < history[0]["loss_itc"]
    moved = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert moved <= trained
    assert heads <= moved


def _gradients(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**batch, mode="loss")["loss_itc"].backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def _ranker(tokenizer: Path) -> Any:
    """A model with a tokenizer for the test loop."""
    cfg = narrow()
    cfg["data_preprocessor"]["tokenizer"]["file"] = str(tokenizer)
    torch.manual_seed(0)
    return randomize(build_model(cfg)).eval()


def _share(rank: int, world: int, wanted: dict, tokenizer: Path, ranked: list) -> None:
    model = randomize(seeded()).train()
    # Three pairs and one.
    rows = slice(0, 3) if rank == 0 else slice(3, 4)
    found = _gradients(model, {name: tensor[rows] for name, tensor in pairs().items()})
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        torch.distributed.all_reduce(gradient)
        torch.testing.assert_close(gradient / world, wanted[name], atol=1e-6, rtol=1e-4)
    for media, (metrics, scores) in zip(CASES, ranked, strict=True):
        own, rows_of_rank = _run(_ranker(tokenizer), media, 2, rank, world, k_test=0)
        assert own == metrics
        for one, other in zip(rows_of_rank, scores, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_two_processes_are_one(tokenizer_file: Path) -> None:
    """Gradients of a step, and the measures of the test loop."""
    ranked = [_run(_ranker(tokenizer_file), media, 3, k_test=0) for media in CASES]
    gradients = _gradients(randomize(seeded()).train(), pairs())
    spawn(_share, 2, gradients, tokenizer_file, ranked)


@torch.no_grad()
def test_the_test_loop_ranks_by_the_cosine_of_videos_and_texts(tokenizer_file: Path) -> None:
    model, media = _ranker(tokenizer_file), CASES[0]
    split = CopySplit(media)
    prepare = model.data_preprocessor
    videos = torch.cat(
        [model.encode_visual(prepare(_batch(split[v]))["pixels"])[1] for v in range(len(media))]
    )
    texts = [text for v in range(len(media)) for text in split.texts(v)]
    words = [prepare.tokenizer([text], prepare.max_text_len) for text in texts]
    wanted = torch.cat([model.encode_text(*word)[1] for word in words]) @ videos.t()
    for batch in (1, 3):
        _, (t2v, v2t) = _run(model, media, batch, k_test=0)
        torch.testing.assert_close(t2v, wanted, rtol=1e-4, atol=1e-5)
        assert torch.equal(t2v.t(), v2t)
        # Equal texts and equal videos tie exactly.
        assert len(t2v.unique(dim=0)) == len({text.lower() for text in texts})
        assert len(v2t.unique(dim=0)) == len({kind for kind, _ in media})


def test_a_rank_without_pairs_has_every_gradient() -> None:
    model = randomize(seeded()).train()
    none = {name: tensor[:0] for name, tensor in pairs().items()}
    found = _gradients(
        model,
        {**none, "input_ids": none["input_ids"][:, :0]}
        | {"attention_mask": none["attention_mask"][:, :0]},
    )
    assert found.keys() == _gradients(model, pairs()).keys()
    assert not any(bool(gradient.any()) for gradient in found.values())


def test_a_task_that_needs_fusion_and_a_tokenizer_of_other_size_are_refused(
    tokenizer_file: Path,
) -> None:
    cfg = narrow()
    cfg["matching"] = {"type": "MatchingHead"}
    with pytest.raises(ValueError, match="ClipText has no cross-attention.*matching=None"):
        build_model(cfg)
    cfg = narrow()
    cfg["data_preprocessor"]["tokenizer"]["file"] = str(tokenizer_file)
    build_model(copy.deepcopy(cfg))
    cfg["text"]["vocab_size"] = WORDS + 1
    with pytest.raises(ValueError, match=f"text.vocab_size={WORDS + 1}, .* has {WORDS} words"):
        build_model(cfg)
    cfg = narrow()
    cfg["data_preprocessor"]["max_text_len"] = 78
    with pytest.raises(ValueError, match="max_text_len allows texts of 78 tokens"):
        build_model(cfg)


def test_a_run_trains_and_ranks_by_similarity(
    tmp_path: Path, tiny_world: Path, tokenizer_file: Path
) -> None:
    cfg = tiny_run_cfg(tiny_world, epochs=1)
    model = narrow()
    model["visual"]["patch_size"] = 16
    model["data_preprocessor"]["tokenizer"]["file"] = str(tokenizer_file)
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
    """Step 0, disabling, copies, folders and half precision."""
    model = seeded().eval()
    data = pairs()
    batch = (data["pixels"], data["input_ids"], data["attention_mask"])
    with model.adapter_disabled():
        bare = model.features(*batch)
    # Up-projections start at zero.
    assert all(map(torch.equal, model.features(*batch), bare))
    randomize(model)
    adapted = model.features(*batch)
    assert not torch.allclose(adapted[0], bare[0])
    assert not torch.allclose(adapted[1], bare[1])
    assert all(map(torch.equal, copy.deepcopy(model).features(*batch), adapted))

    save_adapter(model, tmp_path)
    other = seeded().eval()
    load_adapter(other, tmp_path)
    assert all(map(torch.equal, other.features(*batch), adapted))
    with torch.no_grad():
        next(other.text.parameters()).add_(1)
    with pytest.raises(ValueError, match="backbone"):
        load_adapter(other, tmp_path)

    with torch.autocast("cpu", torch.bfloat16):
        wanted = model.features(*batch)
    cast_frozen(model, "bfloat16")
    assert model.visual.model.encoder.layers[0].mlp.fc1.weight.dtype == torch.bfloat16
    with model.frozen_autocast():
        found = model.features(*batch)
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, atol=0.05, rtol=0.05)


def test_a_tower_in_another_projects_model() -> None:
    config = {"type": "uniadapter.ClipVisual", "arch": SIZES, "img_size": 32, "patch_size": 16}
    adapter = {"type": "uniadapter.UniAdapter", "towers": ["visual"], "bottleneck": 3}
    model = MODELS.build({"type": "AdaptedBackbone", "backbone": config, "adapter": adapter})
    (cls,) = model(torch.randn(2, 3, 32, 32))
    assert cls.shape == (2, 16)
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all(n.startswith("adapter.") for n in trained)
