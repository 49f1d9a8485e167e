"""Video-text retrieval as CLIP4Clip measures it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from uniadapter.evaluation.functional import (
    best_of_groups,
    placed_ranks,
    tied_ranks,
    video_text_measures,
)
from uniadapter.registry import METRICS

from .retrieval import RetrievalMetric

# What results hold beside the ranks of direction 0 and 1: of texts as queries their ranks with
# ties in order, and the numbers of their media.
_PLACED, _RIGHT = 2, 3


@METRICS.register_module()
class VideoTextMetric(RetrievalMetric):
    """R1, R5, R10, MdR and MnR, the mean rank, of both directions.

    What differs from :class:`RetrievalMetric`, so that figures compare with those of CLIP4Clip and
    UniPT: a query that ties counts with all the ranks the tie takes (:func:`tied_ranks`). Where
    videos have several captions (MSVD), a text has one rank among all videos, ties in their order
    (:func:`placed_ranks`), and MdR is the lower middle one; a video ranks the *videos* by the best
    of their captions, not the captions, and ties count with all ranks.

    See the base class for the arguments.
    """

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Rank some queries of one direction.

        Args:
            data_batch: Not used.
            data_samples: Those of the base class; of media as queries with ``groups``, (G,) long,
                the medium of every text of the gallery.

        Raises:
            ValueError: If a score is NaN, or a text has more than one medium.
        """
        for sample in data_samples:
            direction, scores = sample["direction"], sample["scores"]
            positives = list(sample["positives"])
            if direction == 1:
                groups = torch.as_tensor(sample["groups"], device=scores.device)
                scores = best_of_groups(scores, groups)
                positives = [[int(groups[texts[0]])] for texts in positives]
            elif direction != 0 or any(len(media) != 1 for media in positives):
                raise ValueError(
                    f"direction must be 0, each text with one medium, or 1, got {direction!r}"
                )
            right = torch.tensor([candidates[0] for candidates in positives], dtype=torch.long)
            right = right.to(scores.device)
            self.results.append((direction, tied_ranks(scores, right).cpu()))
            if direction == 0:
                # Whether videos have several captions shows when all texts are there.
                self.results.append((_PLACED, placed_ranks(scores, right).cpu()))
                self.results.append((_RIGHT, right.cpu()))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Measures of both directions.

        Args:
            results: Pairs of direction and ranks; of texts also their ranks with ties in order, and
                their media.

        Raises:
            ValueError: If a direction has no query.
        """
        right = [media for kind, media in results if kind == _RIGHT]
        several = bool(right) and len(torch.cat(right).unique()) < sum(map(len, right))
        kept = {_PLACED if several else 0: 0, 1: 1}
        chosen = [(kept[kind], ranks) for kind, ranks in results if kind in kept]
        metrics = super().compute_metrics(chosen)
        if several:
            # torch.median's, not the mean of two in the middle.
            placed = torch.cat([ranks for kind, ranks in results if kind == _PLACED])
            metrics[f"{self.names[0]}/MdR"] = float(placed.median())
        return metrics

    def measures(self, ranks: torch.Tensor) -> dict[str, float]:
        """See :func:`video_text_measures`."""
        return video_text_measures(ranks)
