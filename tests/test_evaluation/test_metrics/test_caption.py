from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mmengine.evaluator import Evaluator

from uniadapter.evaluation import CaptionMetric
from uniadapter.evaluation.functional import score_captions
from uniadapter.registry import METRICS
from uniadapter.structures import MultimodalSample

REFERENCES = {1: ["A man rides a horse.", "a man on a horse"], 2: ["Two dogs"], 3: ["a red bus"]}
PREDICTIONS = {1: "a man rides a horse", 2: "two cats!", 3: "A red bus"}


def _samples(truth: bool = True) -> list[dict]:
    samples = [dict(image_id=image, pred_caption=text) for image, text in PREDICTIONS.items()]
    if not truth:
        return samples
    return [dict(sample, gt_captions=REFERENCES[sample["image_id"]]) for sample in samples]


@pytest.fixture
def ann_file(tmp_path: Path) -> Path:
    path = tmp_path / "truth.json"
    rows = [dict(image_id=i, caption=text) for i, texts in REFERENCES.items() for text in texts]
    path.write_text(json.dumps(dict(images=[dict(id=i) for i in REFERENCES], annotations=rows)))
    return path


def test_references_of_the_samples_and_of_a_file(ann_file: Path) -> None:
    expected = score_captions(REFERENCES, PREDICTIONS)
    metric = CaptionMetric()
    metric.process(None, _samples())
    assert metric.evaluate(3) == pytest.approx(expected)
    metric = METRICS.build(dict(type="CaptionMetric", ann_file=str(ann_file), prefix="coco"))
    metric.process(None, _samples(truth=False))
    prefixed = {f"coco/{key}": value for key, value in expected.items()}
    assert metric.evaluate(3) == pytest.approx(prefixed)


def test_samples_as_the_model_hands_them_over() -> None:
    metric = CaptionMetric(scores=["Bleu"])
    element = MultimodalSample(metainfo=dict(image_id=1, gt_captions="a cat"))
    element.set_field("a cat", "pred_caption")
    evaluator = Evaluator(metric)
    evaluator.process([element])
    assert evaluator.evaluate(1)["Bleu_1"] == pytest.approx(100, abs=1e-4)


def test_results_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    metric = CaptionMetric(results_file=path)
    metric.process(None, _samples(truth=False))
    assert metric.evaluate(3) == {}
    expected = [dict(image_id=i, caption=text) for i, text in PREDICTIONS.items()]
    assert json.loads(path.read_text()) == expected


def test_part_of_the_ground_truth(ann_file: Path) -> None:
    metric = CaptionMetric(ann_file)
    metric.process(None, _samples()[:2])
    with pytest.raises(ValueError, match=r"images of .*without a prediction: 3\. Set subset=True"):
        metric.evaluate(2)
    metric = CaptionMetric(ann_file, subset=True)
    metric.process(None, _samples()[:2])
    part = {image: REFERENCES[image] for image in (1, 2)}
    expected = score_captions(part, {image: PREDICTIONS[image] for image in part})
    assert metric.evaluate(2) == pytest.approx(expected)


def test_image_that_the_ground_truth_lacks(ann_file: Path) -> None:
    metric = CaptionMetric(ann_file)
    metric.process(None, [*_samples(), dict(image_id="3", pred_caption="a")])
    with pytest.raises(ValueError, match=r"has no captions of images '3'; its ids look like 1"):
        metric.evaluate(4)


def test_empty_and_skipped_captions_count() -> None:
    samples = _samples()
    samples[0]["pred_caption"] = ""
    samples[1] = dict(image_id=2, skipped=True, gt_captions=REFERENCES[2])
    metric = CaptionMetric(scores=["ROUGE_L"])
    metric.process(None, samples)
    assert metric.evaluate(3)["ROUGE_L"] == pytest.approx(100 / 3)


def test_references_for_some_or_for_none() -> None:
    metric = CaptionMetric()
    metric.process(None, [*_samples(), dict(image_id=9, pred_caption="a")])
    with pytest.raises(ValueError, match="1 of 4 images have no 'gt_captions': 9"):
        metric.evaluate(4)
    metric.process(None, _samples(truth=False))
    with pytest.raises(ValueError, match="set ann_file.*or results_file"):
        metric.evaluate(3)


def test_repeated_image() -> None:
    metric = CaptionMetric()
    metric.process(None, [*_samples(), dict(_samples()[0], pred_caption="b")])
    with pytest.raises(ValueError, match="id 1 twice, with the predictions 'a man rides a horse'"):
        metric.evaluate(4)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (dict(pred_caption="a"), "CaptionMetric needs an integer or a string as 'image_id'"),
        (dict(image_id=1), "CaptionMetric needs a string as 'pred_caption'"),
        (dict(image_id=1, pred_caption="a", gt_captions=[]), "'gt_captions' of image 1 .*one"),
        (dict(image_id=1, pred_caption="a", gt_captions=[2]), "'gt_captions' of image 1 "),
    ],
)
def test_bad_samples(sample: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CaptionMetric().process(None, [sample])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text", "truth.json is no JSON file"),
        ([], "no list 'annotations'"),
        (dict(annotations={}), "no list 'annotations'"),
        (dict(annotations=[dict(image_id=1)]), "annotation 0 has no string 'caption'"),
        (dict(annotations=[dict(caption="a")]), "annotation 0: .*'image_id'"),
        (dict(annotations=[]), "images without a caption: all"),
        (
            dict(images=[dict(id=1), dict(id=2)], annotations=[dict(image_id=1, caption="a")]),
            "images without a caption: 2",
        ),
    ],
)
def test_bad_ground_truth(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=message):
        CaptionMetric(path)


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ann_file .*nowhere.json does not exist"):
        CaptionMetric(tmp_path / "nowhere.json")
    with pytest.raises(ValueError, match=r"results_file must end in .json"):
        CaptionMetric(results_file="a.txt")
    with pytest.raises(ValueError, match="scores must be some of"):
        CaptionMetric(scores=["cider"])
