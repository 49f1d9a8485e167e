"""Video-text retrieval as CLIP4Clip measures it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from uniadapter.evaluation.functional import best_of_groups, tied_ranks, video_text_measures
from uniadapter.registry import METRICS

from .retrieval import RetrievalMetric


@METRICS.register_module()
class VideoTextMetric(RetrievalMetric):
    """R1, R5, R10, MdR and MnR, the mean rank, of both directions.

    What differs from :class:`RetrievalMetric`, so that figures compare with those of CLIP4Clip and
    UniPT: a tie counts with all the ranks it takes (:func:`tied_ranks`), and where videos have
    several captions, a video ranks the *videos* by the best of their captions, not the captions. A
    text ranks all videos in either case.

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
            self.results.append((direction, tied_ranks(scores, right.to(scores.device)).cpu()))

    def measures(self, ranks: torch.Tensor) -> dict[str, float]:
        """See :func:`video_text_measures`."""
        return video_text_measures(ranks)
