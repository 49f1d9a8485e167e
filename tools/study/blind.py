"""What constants reach in VL-Adapter's embedded tasks: what a model may know without a picture."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from uniadapter.registry import DATASETS, METRICS

#: So many of the most frequent training captions are tried on the held-out pictures.
CAPTIONS = 20
#: A text to write and, of tasks that choose between labels, the label.
Answer = tuple[str, int | None]


def blind(cfg: Config) -> dict[str, float]:
    """Measure answers that are given without a picture.

    A text gets its most frequent training answer, in VQA and GQA by the sum of scores; a text that
    training has not gets that of all texts. All pictures get the same caption: of the
    :data:`CAPTIONS` most frequent training captions the one that is best on the held-out pictures.

    Args:
        cfg: A config of a VL-Adapter row, whose annotation files are read.

    Returns:
        The measure of each task that the average takes, as ``'vqa/accuracy'``, and ``'average'``.

    Raises:
        FileNotFoundError: If the data are not there.
    """
    found = {}
    for task, measure in cfg.test_evaluator.average.items():
        train, val, test = (
            _items(cfg[f"{split}_dataloader"].dataset.datasets[task])
            for split in ("train", "val", "test")
        )
        metric = cfg.test_evaluator.metrics[task]
        by_text, overall = _answers(train)
        if "gt_captions" in test[0]:
            tried = [answer for answer, _ in overall.most_common(CAPTIONS)]
            scores = [_measure(metric, measure, val, {}, answer) for answer in tried]
            best = tried[scores.index(max(scores))]
            by_text = {}
        else:
            best = _first(overall)
        firsts = {text: _first(counts) for text, counts in by_text.items()}
        found[f"{task}/{measure}"] = _measure(metric, measure, test, firsts, best)
    return {**found, "average": sum(found.values()) / len(found)}


def _items(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The items of a data set without their features."""
    dataset, items = DATASETS.build(config), []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        # With what is gone behind the drawing of an answer: the answers and their scores.
        items.append({**info, **dataset.complete({**info, "task": dataset.task.name})})
    return items


def _answers(train: list[dict[str, Any]]) -> tuple[dict[str, Counter[Answer]], Counter[Answer]]:
    """How much each answer is worth, of each text and of all."""
    by_text: dict[str, Counter[Answer]] = defaultdict(Counter)
    overall: Counter[Answer] = Counter()
    for item in train:
        for answer, worth in (item.get("gt_scores") or {item["target"]: 1.0}).items():
            for counts in (by_text[item["text"]], overall):
                counts[answer, item.get("label")] += worth
    return by_text, overall


def _first(counts: Counter[Answer]) -> Answer:
    return counts.most_common(1)[0][0]


def _measure(
    config: Mapping[str, Any],
    measure: str,
    items: list[dict[str, Any]],
    firsts: Mapping[str, Answer],
    other: Answer,
) -> float:
    """A measure of the answers that texts have, and of another one to all other texts."""
    samples = []
    for item in items:
        text, label = firsts.get(item["text"], other)
        samples.append({**item, "pred_text": text, "pred_label": label})
    metric = METRICS.build(config)
    metric.process(None, samples)
    return float(metric.evaluate(len(samples))[measure])
