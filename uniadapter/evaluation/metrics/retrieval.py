"""Recall of retrieval in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.evaluator import BaseMetric

from uniadapter.evaluation.functional import ranks_of_best_positives, retrieval_measures
from uniadapter.evaluation.functional.ranking import RECALL_LEVELS
from uniadapter.registry import METRICS


@METRICS.register_module()
class RetrievalMetric(BaseMetric):
    """R1, R5, R10, MdR and RMean of text-to-media and media-to-text retrieval.

    The retrieval loops feed it scores that are already global: every rank has all queries and the
    whole gallery. So nothing is collected over the ranks (mmengine's collection interleaves the
    ranks' lists and cuts them to the shortest, which loses results when ranks hold different
    numbers); the main process computes and the others receive its result.

    Args:
        names: Prefixes of the two directions in the results, texts as queries first:
            ``('t2v', 'v2t')`` for videos, ``('t2i', 'i2t')`` for images.
        total: Add ``Rsum``, the sum of the six recalls, as VSE-infinity's. Defaults to False.
        prefix: Put before every name, for several evaluators in one run.
        collect_device: Accepted for mmengine's sake; nothing is collected.

    Raises:
        ValueError: If ``names`` are not two different strings.
    """

    def __init__(
        self,
        names: Sequence[str] = ("t2v", "v2t"),
        prefix: str | None = None,
        collect_device: str = "cpu",
        total: bool = False,
    ) -> None:
        # mmengine warns about an absent prefix, but the directions are the prefixes here.
        super().__init__(collect_device=collect_device, prefix=prefix or "retrieval")
        self.prefix = prefix
        if (
            not isinstance(names, Sequence)
            or len(names) != 2
            or len(set(names)) != 2
            or not all(isinstance(n, str) for n in names)
        ):
            raise ValueError(
                "RetrievalMetric.names takes two different strings, the text-to-media direction "
                f"first, e.g. ('t2v', 'v2t'); got {names!r}"
            )
        self.names = tuple(names)
        self.total = total

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Rank some queries of one direction.

        Args:
            data_batch: Not used.
            data_samples: Each a dict with ``direction`` (0: the queries are texts, 1: they are
                media), ``scores`` (Q, G) against the whole gallery and ``positives``, for each of
                the Q queries the gallery indices that are right. Where texts are candidates the
                loops add ``groups``, the medium of each, which plays no part here.

        Raises:
            ValueError: If a score is NaN or a query has no positive.
        """
        for sample in data_samples:
            direction = sample["direction"]
            if direction not in (0, 1):
                raise ValueError(f"direction must be 0 (texts as queries) or 1, got {direction!r}")
            ranks = ranks_of_best_positives(sample["scores"], sample["positives"])
            self.results.append((direction, ranks.cpu()))

    def measures(self, ranks: torch.Tensor) -> dict[str, float]:
        """What is said of the ranks (Q,) of one direction; see :func:`retrieval_measures`."""
        return retrieval_measures(ranks)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Measures of both directions.

        Args:
            results: Pairs of direction and ranks.

        Returns:
            ``'<name>/R1'``, ``R5``, ``R10``, ``RMean`` in percent and ``MdR`` in places; with
            ``total`` ``Rsum`` as well.

        Raises:
            ValueError: If a direction has no query.
        """
        metrics: dict[str, float] = {}
        for direction, name in enumerate(self.names):
            ranks = [r for d, r in results if d == direction]
            if not ranks:
                raise ValueError(
                    f"RetrievalMetric was given no {name} scores; it needs val_cfg/test_cfg of "
                    "type RetrievalValLoop/RetrievalTestLoop and a split that is not empty"
                )
            measures = self.measures(torch.cat(ranks))
            metrics.update({f"{name}/{key}": value for key, value in measures.items()})
        if self.total:
            recalls = [f"{name}/R{k}" for name in self.names for k in RECALL_LEVELS]
            metrics["Rsum"] = sum(metrics[recall] for recall in recalls)
        return metrics

    def evaluate(self, size: int) -> dict[str, float]:
        """Measure what was processed and forget it.

        Args:
            size: Length of the dataset; not used, as nothing is padded or collected.

        Returns:
            The main process's metrics, on every rank.
        """
        outcome: list[Any] = [None]
        if is_main_process():
            # An error is handed to the other ranks too: they would wait for ever otherwise.
            try:
                metrics = self.compute_metrics(self.results)
                prefix = f"{self.prefix}/" if self.prefix else ""
                outcome = [{f"{prefix}{key}": value for key, value in metrics.items()}]
            except ValueError as error:
                outcome = [error]
        broadcast_object_list(outcome)
        self.results.clear()
        if isinstance(outcome[0], ValueError):
            raise outcome[0]
        return outcome[0]
