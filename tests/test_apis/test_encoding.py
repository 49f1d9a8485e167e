"""Embeddings of what comes from anywhere are those of the retrieval test."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from PIL import Image

from tests.helpers import COLORS, SHAPES, draws, tiny_run_cfg
from tests.model_helpers import randomize
from uniadapter.apis import encode_image, encode_text, encode_video, init_model
from uniadapter.apis.encoding import Preprocess, Tokenize
from uniadapter.registry import DATASETS
from uniadapter.retrieval import GalleryEncoder

# Pooling of states, of features, and layers over features.
POOLINGS = [None, {"type": "FeaturePooling"}, {"type": "TemporalPooling", "width": 16}]
CLIPS = [f"{color}_{shape}" for color in COLORS for shape in SHAPES]


def retrieval_model(root, pooling=None):
    alone = {"type": "UniAdapter", "bottleneck": 8, "towers": ["visual", "text"]}
    options = {"pfa": None, "matching": None, "pooling": pooling, "adapter": alone}
    cfg = tiny_run_cfg(root, **(options if pooling else {}))
    if pooling:
        del cfg["model"]["text"]["encoder_width"]
    return randomize(init_model(Config(cfg)), std=0.2)


@pytest.fixture(scope="module")
def models(tiny_world):
    return [retrieval_model(tiny_world, pooling) for pooling in POOLINGS]


def loop_features(model, folder, texts):
    """Features of media and texts as the test loop has them."""
    lines = [json.dumps({"media": name, "text": text}) for name, text in texts]
    (folder / "drawn.jsonl").write_text("\n".join(lines), encoding="utf-8")
    cfg = model.cfg.test_dataloader.dataset.to_dict()
    dataset = DATASETS.build({**cfg, "ann_file": str(folder / "drawn.jsonl")})
    encoder = GalleryEncoder(model, torch.float32, text_batch=3, keep_tokens=False)
    with torch.no_grad():
        for start in range(0, len(dataset), 2):
            stop = min(start + 2, len(dataset))
            encoder.add(pseudo_collate([dataset[index] for index in range(start, stop)]))
    gallery = encoder.finish(len(dataset))
    return [medium.path for medium in gallery.media], gallery


words = st.lists(st.sampled_from(["A", "red", "Moves!", "(dot)", "bar", "white."]), min_size=1)
captions = st.lists(
    st.tuples(st.sampled_from(CLIPS), words.map(" ".join)), min_size=1, max_size=6, unique=True
)


@given(captions, st.integers(0, len(POOLINGS) - 1), st.integers(1, 4), st.booleans())
@settings(max_examples=draws(6), deadline=None)
def test_embeddings_are_those_of_the_test_loop(
    models, tmp_path_factory, pairs, pooling, batch, as_arrays
):
    model = models[pooling]
    paths, gallery = loop_features(model, tmp_path_factory.mktemp("drawn"), pairs)
    videos = paths
    if as_arrays:
        videos = [
            [np.asarray(Image.open(f"{path}/{number:03}.png")) for number in range(6)]
            for path in paths
        ]
    close = {"rtol": 0.0, "atol": 2e-6}
    features = encode_video(model, videos, batch_size=batch)
    torch.testing.assert_close(features, gallery.media_features, **close)
    found = encode_text(model, gallery.texts(), batch_size=batch)
    torch.testing.assert_close(found, gallery.text_features, **close)
    torch.testing.assert_close(encode_text(model, gallery.texts()[0]), found[0], **close)
    for raw, unit in (
        (encode_video(model, videos, normalize=False), features),
        (encode_text(model, gallery.texts(), normalize=False), found),
    ):
        torch.testing.assert_close(torch.nn.functional.normalize(raw, dim=1), unit, **close)
    assert model.contrast.unit
    assert getattr(model.pooling, "unit", True)


def test_without_normalisation_they_are_the_projection(models):
    model = models[0]
    with torch.no_grad():
        ids, mask = Tokenize(model)("a red dot")
        projected = model.text_proj(model.encode_text(ids, mask)[0][:, 0])
    found = encode_text(model, ["A red dot."], normalize=False)
    torch.testing.assert_close(found, projected, rtol=0.0, atol=1e-6)
    # Where features are pooled, what is pooled is of length 1, and its mean as it comes out.
    pooled, clip = models[1], np.zeros((2, 40, 48, 3), np.uint8)
    clip[1] = 200
    with torch.no_grad():
        frames = pooled.encode_visual(Preprocess(pooled)(clip))[2]
    torch.testing.assert_close(frames.norm(dim=-1), torch.ones(1, 2), rtol=0.0, atol=1e-6)
    found = encode_video(pooled, clip, normalize=False)
    torch.testing.assert_close(found, frames[0].mean(0), rtol=0.0, atol=1e-6)


def test_one_gives_a_vector_and_a_list_a_matrix(models):
    model, picture = models[0], np.zeros((40, 48, 3), np.uint8)
    assert encode_image(model, picture).shape == encode_text(model, "a dot").shape == (16,)
    assert encode_image(model, [picture]).shape == encode_text(model, ["a dot"]).shape == (1, 16)
    assert encode_image(model, np.stack([picture] * 3)).shape == (3, 16)
    assert encode_video(model, np.stack([picture] * 3)).shape == (16,)
    still, moving = encode_image(model, picture), encode_video(model, picture)
    assert torch.equal(still, moving)
    for empty in (encode_image(model, []), encode_video(model, []), encode_text(model, [])):
        assert empty.shape == (0, 16)


def test_the_mode_of_the_model_stays_and_dropout_is_off(models):
    model = models[0].train()
    first, second = encode_text(model, "a dot"), encode_text(model, "a dot")
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert model.training
    model.eval()


def test_pixels_and_words_are_what_the_model_takes(models, tiny_world):
    model = models[0]
    preprocess, tokenize = Preprocess(model), Tokenize(model)
    pixels = preprocess([str(tiny_world / "clips/red_dot"), str(tiny_world / "clips/red_bar")])
    assert pixels.shape == (2, 2, 3, 32, 32)
    assert preprocess(tiny_world / "clips/red_dot").shape[0] == 1
    words = tokenize(["A red dot!", "a"])
    assert words.input_ids.shape == words.attention_mask.shape == (2, 5)
    with torch.no_grad():
        video = model.encode_visual(pixels)[1]
        text = model.encode_text(*words)[1]
    assert (video @ text.T).shape == (2, 2)


def test_wrong_use_is_named(models):
    model = models[0]
    with pytest.raises(ValueError, match="batch_size"):
        encode_text(model, "a", batch_size=0)
    with pytest.raises(ValueError, match="not many"):
        encode_image(model, [[np.zeros((4, 4, 3), np.uint8)]])
    with pytest.raises(ValueError, match="A Linear has no embeddings"):
        encode_video(torch.nn.Linear(1, 1), [])
