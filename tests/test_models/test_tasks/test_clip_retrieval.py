"""Retrieval on CLIP: its loss, videos, processes and the test loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests.dual_helpers import FAMILIES, SIZES
from tests.model_helpers import randomize
from tests.spawn import spawn
from tests.test_engine.test_runner.test_retrieval_copies import CASES, CopySplit, _run
from tests.test_engine.test_runner.test_retrieval_loop_model import _batch
from uniadapter.models.build import build_model
from uniadapter.registry import MODELS

pytest.importorskip("transformers")
CLIP = FAMILIES["clip"]
seeded, pairs, narrow = CLIP.model, CLIP.pairs, CLIP.narrow


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    """A tokenizer of single bytes."""
    return CLIP.tokenizer(tmp_path)


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


def test_texts_that_may_exceed_the_positions_are_refused() -> None:
    cfg = narrow()
    cfg["data_preprocessor"]["max_text_len"] = 78
    with pytest.raises(ValueError, match="max_text_len allows texts of 78 tokens"):
        build_model(cfg)


def test_a_tower_in_another_projects_model() -> None:
    config = {"type": "uniadapter.ClipVisual", "arch": SIZES, "img_size": 32, "patch_size": 16}
    adapter = {"type": "uniadapter.UniAdapter", "towers": ["visual"], "bottleneck": 3}
    model = MODELS.build({"type": "AdaptedBackbone", "backbone": config, "adapter": adapter})
    (cls,) = model(torch.randn(2, 3, 32, 32))
    assert cls.shape == (2, 16)
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all(n.startswith("adapter.") for n in trained)
