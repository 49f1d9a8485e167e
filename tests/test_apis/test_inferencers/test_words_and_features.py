"""Answers, captions and features are those of the test loop on the same data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import pseudo_collate
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from tests.helpers import COLORS, ROOT, SHAPES, draws
from uniadapter.apis import init_model
from uniadapter.apis.inferencers import (
    CaptionInferencer,
    FeatureExtractor,
    TextToVideoRetrievalInferencer,
    VisualQuestionAnsweringInferencer,
)
from uniadapter.models.tasks import CaptionModel
from uniadapter.registry import DATASETS

CLIPS = [f"{color}_{shape}" for color in COLORS for shape in SHAPES]
WEIGHTS = ROOT / "configs/pretrain/blip_tiny.safetensors"


def opened(name: str, **options):
    """A model of the repository's small weights."""
    paths = {
        "model.pretrained": str(WEIGHTS),
        "model.data_preprocessor.tokenizer.vocab_file": str(ROOT / "configs/tiny/vocab.txt"),
    }
    return init_model(ROOT / "configs/tiny" / name, cfg_options={**paths, **options})


@pytest.fixture(scope="module")
def answering():
    return opened("msrvttqa_r32.py", **{"model.inference": "generate"})


@pytest.fixture(scope="module")
def describing():
    return opened("coco_caption_zero_shot.py")


@pytest.fixture(scope="module")
def ranking():
    return opened("msrvtt_r32.py")


def by_the_loop(model, kind: str, root: Path, lines: list[dict], batch: int):
    """Samples as the test loop leaves them, of a user's own data set."""
    file = root / "inference.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    pipeline = model.cfg.test_dataloader.dataset.to_dict()["pipeline"]
    config = {"type": kind, "ann_file": str(file), "test_mode": True, "pipeline": pipeline}
    dataset = DATASETS.build({**config, "data_prefix": {"media": str(root / "clips")}})
    loader = DataLoader(dataset, batch_size=batch, collate_fn=pseudo_collate)
    with torch.no_grad():
        return [sample for data in loader for sample in model.test_step(data)]


clips = st.lists(st.sampled_from(CLIPS), min_size=1, max_size=6, unique=True)
questions = st.sampled_from(["What moves?", "What color is the SQUARE", "a (red) bar: where?!"])
sizes = st.integers(1, 7)


@given(st.lists(st.tuples(st.sampled_from(CLIPS), questions), min_size=1, max_size=6), sizes, sizes)
@settings(max_examples=draws(2), deadline=None)
def test_answers_equal_the_test_loop(tiny_world, answering, asked, batch, other):
    lines = [{"media": m, "question": q, "question_id": i} for i, (m, q) in enumerate(asked)]
    theirs = by_the_loop(answering, "VQAJsonDataset", tiny_world, lines, batch)
    infer = VisualQuestionAnsweringInferencer(answering, show_progress=False)
    media = [str(tiny_world / "clips" / name) for name, _ in asked]
    ours = infer(media, [question for _, question in asked], batch_size=other)
    assert ours == [{"question": s.question, "pred_answer": s.pred_answer} for s in theirs]


@given(clips, sizes, sizes)
@settings(max_examples=draws(2), deadline=None)
def test_captions_equal_the_test_loop(tiny_world, describing, names, batch, other):
    files = [f"{name}/000.png" for name in names]
    lines = [{"media": name} for name in files]
    theirs = by_the_loop(describing, "CaptionJsonDataset", tiny_world, lines, batch)
    infer = CaptionInferencer(describing, show_progress=False)
    pictures = [Image.open(tiny_world / "clips" / name) for name in files]
    ours = infer(pictures, batch_size=other)
    assert ours == [{"pred_caption": sample.pred_caption} for sample in theirs]


@given(clips, sizes)
@settings(max_examples=draws(2), deadline=None)
def test_features_are_those_that_rank(tiny_world, ranking, names, batch):
    media = [str(tiny_world / "clips" / name) for name in names]
    texts = [name.replace("_", " ") for name in names]
    infer = FeatureExtractor(ranking, show_progress=False)
    seen = torch.stack([r["visual_features"] for r in infer(media, batch_size=batch)])
    read = torch.stack([r["text_features"] for r in infer(texts=texts, batch_size=batch)])
    finder = TextToVideoRetrievalInferencer(ranking, media, fast_match=True, show_progress=False)
    scores = torch.stack([s.pred_score for s in finder(texts, return_datasamples=True)])
    torch.testing.assert_close(read @ seen.t(), scores, rtol=1e-5, atol=1e-5)
    [tokens] = infer(media[0], stage="tokens")
    assert tokens["visual_tokens"].shape[::2] == (8, 128)
    [words] = infer(texts=texts[0], stage="tokens")
    assert words["text_tokens"].shape[0] >= len(texts[0].split()) + 2


def test_one_question_for_many_and_many_for_one(tiny_world, answering, tmp_path):
    infer = VisualQuestionAnsweringInferencer(answering, show_progress=False)
    media = [str(tiny_world / "clips" / name) for name in CLIPS[:2]]
    assert len(infer(media, "what moves?")) == 2
    asked = ["what moves?", "what color is it?"]
    assert [r["question"] for r in infer(media[0], asked, show_dir=tmp_path)] == asked
    assert Image.open(tmp_path / "1.png").height > 50
    with pytest.raises(ValueError, match="2 pictures or videos have 3 questions"):
        infer(media, [*asked, "why?"])
    with pytest.raises(ValueError, match="blank"):
        infer(media, "")
    with pytest.raises(ValueError, match="NoneType"):
        infer(media, None)


def test_models_of_other_tasks_are_refused(answering, describing, ranking):
    for kind, model in (
        (VisualQuestionAnsweringInferencer, describing),
        (CaptionInferencer, ranking),
        (lambda m: TextToVideoRetrievalInferencer(m, ["x"]), answering),
    ):
        with pytest.raises(ValueError, match=f"builds a {type(model).__name__}"):
            kind(model)
    with pytest.raises(ValueError, match="built already"):
        CaptionInferencer(describing, cfg_options={"model.prompt": ""})
    picture = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(ValueError, match="no embeddings"):
        FeatureExtractor(describing, show_progress=False)(picture, stage="embedding")
    with pytest.raises(ValueError, match="either media or texts"):
        FeatureExtractor(describing)()
    with pytest.raises(ValueError, match="no inputs"):
        CaptionInferencer(describing)([])


def test_models_by_name():
    names = VisualQuestionAnsweringInferencer.list_models("tiny")
    assert names
    assert set(names) <= set(FeatureExtractor.list_models())
    assert not set(names) & set(CaptionInferencer.list_models())
    infer = CaptionInferencer(CaptionInferencer.list_models("tiny*zero_shot")[0])
    assert isinstance(infer.model, CaptionModel)
    with pytest.raises(ValueError, match="cfg_options are of a config"):
        CaptionInferencer(names[0], cfg_options={"model.prompt": ""})


def test_features_go_to_a_file(ranking, tmp_path):
    infer = FeatureExtractor(ranking, show_progress=False)
    found = infer(texts=["red", "a blue bar"], out_file=tmp_path / "texts.safetensors")
    written = load_file(tmp_path / "texts.safetensors")["text_features"]
    assert torch.equal(written, torch.stack([row["text_features"] for row in found]))
    with pytest.raises(ValueError, match="NoneType"):
        infer(texts=["red", None])


def test_places_of_results_are_refused_before_the_work(describing, ranking, tmp_path, monkeypatch):
    def never(*args):
        raise AssertionError("the model ran")

    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").touch()
    infer = CaptionInferencer(describing, show_progress=False)
    monkeypatch.setattr(CaptionInferencer, "forward", never)
    picture = np.zeros((9, 9, 3), np.uint8)
    for words, options in (
        (r"ends in \.json", {"out_file": "captions.txt"}),
        ("is a folder", {"out_file": tmp_path / "folder.json"}),
        ("is a file", {"show_dir": tmp_path / "file"}),
    ):
        with pytest.raises(ValueError, match=words):
            infer(picture, **options)
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        FeatureExtractor(ranking, show_progress=False)(texts="red", out_file="texts.json")
