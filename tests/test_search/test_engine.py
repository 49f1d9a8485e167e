"""An engine scores as the inferencers and the test loop do, and weighs frames as PFA does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from tests.helpers import COLORS, SHAPES, draws, tiny_run_cfg
from tests.inference_helpers import CLIPS, clips_model, clips_world
from uniadapter.apis import init_model
from uniadapter.apis.inferencers import TextToVideoRetrievalInferencer
from uniadapter.retrieval import RetrievalOptions
from uniadapter.search.engine import EncodedMedia, SearchEngine, TorchEngine, cosine_weights


@pytest.fixture(scope="module")
def world(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips_world(tiny_world, tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def model(world: Path):
    return clips_model(world)


def paths_of(world: Path) -> list[str]:
    return [str(world / "clips" / name) for name in CLIPS]


texts = st.lists(st.sampled_from([*COLORS, *SHAPES, "A", "moves!"]), min_size=1, max_size=5)
queries = st.lists(texts.map(" ".join), min_size=1, max_size=4)


@given(queries, st.sampled_from([0.0, 1.0]), st.booleans())
@settings(max_examples=draws(4), deadline=None)
def test_scores_equal_the_inferencer(world, model, asked, weight, matches):
    options = RetrievalOptions(k_test=len(CLIPS) if matches else 0, itc_weight=weight)
    engine: SearchEngine = TorchEngine(model, options)
    assert engine.reranks == matches
    media = engine.encode_media(engine.read(paths_of(world), "video"))
    known = engine.encode_texts(asked)
    scores = engine.score(media, known)
    given_options = {"k_test": options.k_test, "itc_weight": weight, "gallery_dtype": "float16"}
    finder = TextToVideoRetrievalInferencer(
        model, paths_of(world), show_progress=False, **given_options
    )
    samples = finder(asked, return_datasamples=True)
    theirs = torch.stack([sample.pred_score for sample in samples])
    torch.testing.assert_close(scores.t(), theirs, rtol=1e-4, atol=1e-4)
    weights = engine.frame_weights(media, known)
    assert weights.shape == (len(CLIPS), len(asked), engine.frames)
    factors = model.pfa(media.frame_cls, media.frame_features, known.cls, known.features)
    torch.testing.assert_close(weights.movedim(0, 1) * engine.frames, factors)


def test_shapes_and_numbers(world, model):
    engine = TorchEngine(model)
    media = engine.encode_media(engine.read(paths_of(world)[:3], "video"))
    assert isinstance(media, EncodedMedia)
    assert len(media) == 3
    assert media.features.shape == (3, engine.feature_size)
    assert media.tokens is not None
    assert (tuple(media.tokens.shape[1:]), media.tokens.dtype) == (
        engine.token_shape,
        torch.float16,
    )
    assert media.frame_cls.shape == (3, engine.frames, engine.token_shape[2])
    torch.testing.assert_close(media.features.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(media.frame_features.norm(dim=2), torch.ones(3, engine.frames))
    picture = str(next((world / "clips" / CLIPS[0]).iterdir()))
    [frames] = engine.read([picture], "image")["pixels"]
    # A picture is a video of it alone.
    assert len(frames) == engine.frames
    assert torch.equal(frames[0], frames[-1])


def test_a_model_without_matching_has_cosines(world):
    cfg = tiny_run_cfg(world, matching=None, pfa=None, adapter=None)
    cfg["test_cfg"]["k_test"] = cfg["val_cfg"]["k_test"] = 0
    engine = TorchEngine(init_model(Config(cfg)))
    media = engine.encode_media(engine.read(paths_of(world)[:2], "video"))
    known = engine.encode_texts(["a red square", "a blue dot"])
    assert not engine.reranks
    assert media.tokens is None
    assert torch.equal(engine.score(media, known), media.features @ known.features.t())
    weights = engine.frame_weights(media, known)
    assert torch.equal(weights, cosine_weights(media.frame_features, known.features))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2))


def test_the_binding_tells_what_differs(model, world):
    before = TorchEngine(model).binding
    assert before == TorchEngine(model, RetrievalOptions(k_test=3)).binding
    assert all(isinstance(value, str) for value in before.values())
    plain = TorchEngine(model, RetrievalOptions(k_test=0)).binding
    assert {name for name in before if before[name] != plain[name]} == {"run"}
    other = clips_model(world)
    with torch.no_grad():
        next(other.adapter.parameters()).add_(1)
    changed = TorchEngine(other).binding
    assert {name for name in before if before[name] != changed[name]} == {"adapter"}


def test_refusals(model):
    with pytest.raises(ValueError, match="blank"):
        TorchEngine(model).encode_texts(["  "])
    with pytest.raises(ValueError, match="can't be searched with"):
        TorchEngine(torch.nn.Linear(2, 2))
