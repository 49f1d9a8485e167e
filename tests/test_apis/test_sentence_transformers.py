"""Retrieval models as sentence-transformers' models: the scores are those of the test loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import draws
from tests.inference_helpers import (
    CLIPS,
    clips_dataset,
    clips_model,
    clips_world,
    same_scores,
    scores_of_the_loop,
)
from uniadapter.models.tasks import RetrievalModel

library = pytest.importorskip("sentence_transformers", exc_type=ImportError)
ours = pytest.importorskip("uniadapter.apis.sentence_transformers", exc_type=ImportError)

CAPTIONS = {name: [f"A {name.replace('_', ' ')}!", f"{name.split('_')[1]} moves"] for name in CLIPS}


@pytest.fixture(scope="module")
def world(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips_world(tiny_world, tmp_path_factory.mktemp("sentences"))


@pytest.fixture(scope="module")
def model(world: Path):
    return clips_model(world)


def paths(world: Path, names) -> list[Path]:
    return [world / "clips" / name for name in names]


drawn = st.lists(st.sampled_from(CLIPS), min_size=2, max_size=6, unique=True)


@given(drawn, st.integers(1, 9), st.sampled_from([0.0, 0.5]))
@settings(max_examples=draws(2), deadline=None)
def test_scores_equal_the_test_loop(world, model, names, batch, weight):
    found = {name: CAPTIONS[name] for name in names}
    dataset = clips_dataset(world, model, found)
    texts = [text for lists in found.values() for text in lists]
    media = paths(world, names)
    encoder = ours.RetrievalSentenceTransformer(model)
    [cosines, _] = scores_of_the_loop(model, dataset, k_test=0)
    mixed = encoder.encode([*texts, *media], batch_size=batch, convert_to_tensor=True)
    same_scores(encoder.similarity(mixed[: len(texts)], mixed[len(texts) :]), cosines)
    options = {"k_test": len(names), "itc_weight": weight}
    [scores, _] = scores_of_the_loop(model, dataset, **options)
    matcher = ours.MatchingCrossEncoder(model, itc_weight=weight)
    pairs = [[text, medium] for text in texts for medium in media]
    predicted = matcher.predict(pairs, batch_size=batch, convert_to_tensor=True)
    same_scores(predicted.reshape(scores.shape), scores)
    ranked = matcher.rank(media[0], texts, top_k=3)
    best = scores[:, 0].sort(descending=True)
    assert [row["score"] for row in ranked] == pytest.approx(best.values[:3].tolist(), abs=1e-3)


def test_a_video_is_encoded_once_and_matched_on_the_fast_path(world, model, monkeypatch):
    counted: list[int] = []
    encode = RetrievalModel.encode_visual

    def counting(self, pixels, *args, **kwargs):
        counted.append(len(pixels))
        return encode(self, pixels, *args, **kwargs)

    def plain(*args, **kwargs):
        raise AssertionError("a pair was matched on its own")

    monkeypatch.setattr(RetrievalModel, "encode_visual", counting)
    monkeypatch.setattr(RetrievalModel, "match", plain)
    texts = [text for lists in CAPTIONS.values() for text in lists] * 5
    matcher = ours.MatchingCrossEncoder(model)
    ranked = matcher.rank({"video": str(world / "clips" / CLIPS[0])}, texts, batch_size=4)
    assert counted == [1]
    assert sorted(row["corpus_id"] for row in ranked) == list(range(len(texts)))
    counted.clear()
    frames = [Image.open(file) for file in sorted((world / "clips" / CLIPS[0]).glob("*.png"))]
    assert [row["corpus_id"] for row in matcher.rank(frames, texts)] == [
        row["corpus_id"] for row in ranked
    ]
    assert counted == [1]


def test_one_file_as_a_picture_and_as_a_video_is_two_media():
    clip = np.zeros((2, 4, 4, 3), np.uint8)
    media: list = [{"image": "a.gif"}, {"video": "a.gif"}, {"image": "a.gif"}]
    media += [{"array": clip, "video_metadata": {"fps": fps}} for fps in (5, 25, 5)]
    _, found, chosen = ours._sorted([["red", medium] for medium in media])
    assert [medium.kind for medium in found] == ["image", "video", "video", "video"]
    assert [medium.fps for medium in found] == [None, None, 5, 25]
    assert [[row for row, _ in rows] for rows in chosen] == [[0, 2], [1], [3, 5], [4]]


def test_inputs_of_all_kinds(world, model):
    encoder = ours.RetrievalSentenceTransformer(model, prompts={"query": "a "})
    files = sorted((world / "clips" / CLIPS[0]).glob("*.png"))
    picture = Image.open(files[0])
    array = np.asarray(picture)
    clip = np.stack([np.asarray(Image.open(file)) for file in files])
    kinds = [picture, array, torch.from_numpy(array.copy()).permute(2, 0, 1), str(files[0])]
    kinds += [{"image": files[0]}, {"image": files[0].read_bytes()}]
    rows = encoder.encode(kinds)
    assert np.allclose(rows, rows[:1], atol=1e-5)
    videos = [files[0].parent, {"video": clip}, clip, {"array": clip, "video_metadata": None}]
    videos += [[Image.open(file) for file in files]]
    rows = encoder.encode(videos)
    assert rows.shape == (5, encoder.get_embedding_dimension())
    assert np.allclose(rows, rows[:1], atol=1e-5)
    query = encoder.encode_query("red square")
    assert np.allclose(query, encoder.encode("a red square"), atol=1e-5)
    assert np.allclose(np.linalg.norm(query), 1, atol=1e-5)
    with pytest.raises(ValueError, match="image"):
        encoder.encode([{"text": "red", "image": picture}])


def test_evaluators_take_them(world, model):
    evaluation = pytest.importorskip("sentence_transformers.sentence_transformer.evaluation")
    reranking = pytest.importorskip("sentence_transformers.cross_encoder.evaluation")
    names = CLIPS[:6]
    dataset = clips_dataset(world, model, {name: CAPTIONS[name][:1] for name in names})
    queries = {name: CAPTIONS[name][0] for name in names}
    corpus = {name: {"video": str(world / "clips" / name)} for name in names}
    evaluator = evaluation.InformationRetrievalEvaluator(
        queries, corpus, {name: {name} for name in names}, mrr_at_k=[6], write_csv=False
    )
    [cosines, _] = scores_of_the_loop(model, dataset, k_test=0)
    right = cosines.diag()[:, None]
    ranks = (cosines > right).sum(1) + 1
    found = evaluator(ours.RetrievalSentenceTransformer(model))
    assert found["cosine_accuracy@1"] == pytest.approx(float((ranks == 1).float().mean()))
    assert found["cosine_mrr@6"] == pytest.approx(float((1 / ranks).mean()), abs=1e-6)
    [scores, _] = scores_of_the_loop(model, dataset, k_test=6)
    ranks = (scores > scores.diag()[:, None]).sum(1) + 1
    samples = [
        {
            "query": CAPTIONS[name][0],
            "positive": [corpus[name]],
            "negative": [corpus[other] for other in names if other != name],
        }
        for name in names
    ]
    evaluator = reranking.CrossEncoderRerankingEvaluator(samples, at_k=6, write_csv=False)
    found = evaluator(ours.MatchingCrossEncoder(model))
    assert found["mrr@6"] == pytest.approx(float((1 / ranks).mean()), abs=1e-6)


def test_what_does_not_fit_is_refused(world, model, tmp_path):
    matcher = ours.MatchingCrossEncoder(model)
    medium = world / "clips" / CLIPS[0]
    for pair, words in (
        (["red", "blue"], "a text and a text"),
        ([medium, medium], "a video and a video"),
        (["red", medium, medium], "not a text and a medium"),
    ):
        with pytest.raises(ValueError, match=words):
            matcher.predict([pair])
    with pytest.raises(ValueError, match="takes a retrieval model"):
        ours.RetrievalSentenceTransformer(torch.nn.Linear(2, 2))
    with pytest.raises(NotImplementedError, match="save_adapter"):
        matcher.save(str(tmp_path))
    assert len(matcher.predict([])) == 0


def test_a_model_that_encoded_can_be_trained(world, model):
    ours.RetrievalSentenceTransformer(model).encode(["red", world / "clips" / CLIPS[0]])
    batch = {"pixels": torch.randn(2, 2, 3, 32, 32), "media_ids": torch.arange(2)}
    ids, mask = model.data_preprocessor.tokenize(["red", "blue dot"])
    losses = model.train()(**batch, input_ids=ids, attention_mask=mask, mode="loss")
    sum(losses.values()).backward()
    model.zero_grad()
    model.eval()
