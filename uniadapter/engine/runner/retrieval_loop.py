"""Validation and test of retrieval: similarity first, then image-text matching on shortlists."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, TestLoop, ValLoop
from torch import Tensor, nn
from torch.utils.data import DataLoader

from uniadapter.evaluation.functional import (
    OUTSIDE_SHORTLIST,
    PairTable,
    ranks_of_best_positives,
    score_blocks,
    similarity_rows,
)
from uniadapter.registry import LOOPS
from uniadapter.retrieval import (
    DiskTokens,
    Gallery,
    GalleryEncoder,
    GalleryScorer,
    RetrievalOptions,
    RetrievalTestOptions,
    autocast_of,
    reranked,
    score_pairs,
)
from uniadapter.retrieval.options import DTYPES
from uniadapter.retrieval.progress import Progress
from uniadapter.retrieval.token_store import token_store
from uniadapter.utils.json_files import json_text
from uniadapter.utils.safe_io import atomic_write

_DUMPED_MEDIA = 10


class _RetrievalLoop:
    """The body that validation and test share; see :class:`RetrievalValLoop`."""

    stage: str
    options: RetrievalOptions
    runner: Runner
    dataloader: DataLoader
    evaluator: Evaluator

    def _check_options(self) -> None:
        size = len(self.dataloader.dataset)  # type: ignore[arg-type]
        self.options.check(f"{self.stage}_cfg", size, getattr(self.model, "matches", True))

    @property
    def model(self) -> nn.Module:
        """The model without its wrapper."""
        model = self.runner.model
        return model.module if is_model_wrapper(model) else model

    def run(self) -> dict[str, float]:
        """Encode, score both directions and measure.

        Returns:
            The metrics of the evaluator, and ``skipped``, the number of media left out because
            they could not be read.

        Raises:
            ValueError: If ``k_test`` is larger than the gallery, or the data don't fit.
        """
        runner, stage = self.runner, self.stage
        runner.call_hook(f"before_{stage}")
        runner.call_hook(f"before_{stage}_epoch")
        runner.model.eval()
        # A sampler's length is that of this rank's part of the split.
        media, option = len(self.dataloader.sampler), f"{stage}_cfg.gallery_dir"  # type: ignore[arg-type]
        with torch.no_grad(), token_store(self.options.gallery_dir, media, option) as tokens:
            gallery = self._encode(tokens)
            self._report_skipped(gallery)
            metrics = self._measure(gallery)
        metrics["skipped"] = len(gallery.skipped)
        runner.call_hook(f"after_{stage}_epoch", metrics=metrics)
        runner.call_hook(f"after_{stage}")
        return metrics

    def _measure(self, gallery: Gallery) -> dict[str, float]:
        """Metrics of the gallery, or their mean over its folds."""
        measured = []
        for fold in gallery.folds(self.options.folds):
            self._evaluate(fold)
            measured.append(self.evaluator.evaluate(len(fold.media)))
        return {key: sum(m[key] for m in measured) / len(measured) for key in measured[0]}

    def _autocast(self) -> AbstractContextManager:
        return autocast_of(self.model, self.options.amp_dtype)

    def _encode(self, tokens: list[Tensor] | DiskTokens) -> Gallery:
        """Stage one, with the hooks of an iteration around every batch."""
        options = self.options
        dtype, keep = DTYPES[options.gallery_dtype], options.shortlisted > 0
        encoder = GalleryEncoder(self.model, dtype, options.text_batch, keep, tokens)
        progress = Progress("Encoding", len(self.dataloader), options.log_seconds)
        for idx, batch in enumerate(self.dataloader):
            self.runner.call_hook(f"before_{self.stage}_iter", batch_idx=idx, data_batch=batch)
            with self._autocast():
                samples = encoder.add(batch)
            self.runner.call_hook(
                f"after_{self.stage}_iter", batch_idx=idx, data_batch=batch, outputs=samples
            )
            progress.update(idx + 1)
        gallery = encoder.finish(len(self.dataloader.dataset))  # type: ignore[arg-type]
        self.runner.logger.info(
            f"Gallery: {len(gallery.media)} media, {len(gallery.text_media)} texts; the visual "
            f"tokens of this rank take {gallery.own_bytes() / 2**30:.2f} GiB"
            f"{' on disk' if options.gallery_dir else ''}"
        )
        return gallery

    def _report_skipped(self, gallery: Gallery) -> None:
        names = [medium.path for medium in gallery.skipped]
        # A key that begins with the stage would be printed as one of its metrics.
        self.runner.message_hub.update_info(f"skipped_media_{self.stage}", names)
        if names:
            self.runner.logger.warning(
                f"{len(names)} media could not be read and are left out with their captions, so "
                f"the metrics are those of the other {len(gallery.media)}: {', '.join(names)}"
            )

    def _evaluate(self, gallery: Gallery) -> None:
        """Stage two: score both directions and hand the rows to the evaluator."""
        # A copy ties with its original whatever the batches, processes and order were.
        distinct, of_texts, of_media = gallery.distinct()
        if self.options.shortlisted:
            media = len(gallery.media) + len(gallery.skipped)
            texts = len(gallery.text_media) + sum(len(m.texts) for m in gallery.skipped)
            sizes = f"{media} media and {texts} texts"
            self.options.check_gallery(f"{self.stage}_cfg", min(media, texts), sizes)
            score = partial(self._score_pairs, distinct)
            t2v, v2t = reranked(distinct, self.options.shortlisted, score)
        else:
            features = distinct.text_features, distinct.media_features
            t2v = partial(similarity_rows, *features)
            v2t = partial(similarity_rows, *features[::-1], turned=True)
        directions = [
            (t2v, of_texts.kind, of_media.kind, gallery.text_media[:, None].tolist()),
            (v2t, of_media.kind, of_texts.kind, gallery.media_texts()),
        ]
        for direction, (rows_of, queries, candidates, positives) in enumerate(directions):
            for rows, scores in score_blocks(rows_of, queries, candidates):
                self._see_block(gallery, direction, scores)
                sample = {"direction": direction, "scores": scores, "positives": positives[rows]}
                if direction == 1:
                    sample["groups"] = gallery.text_media
                # On every rank alike, as RetrievalMetric expects.
                self.evaluator.process(data_samples=[sample])

    def _see_block(self, gallery: Gallery, direction: int, scores: Tensor) -> None:
        """Called with every block of rows, queries in order."""

    def _score_pairs(self, gallery: Gallery, of_texts: Tensor, of_media: Tensor) -> PairTable:
        """Scores of all shortlisted pairs."""
        options = self.options
        scorer = GalleryScorer(self.model, gallery, self._autocast, options.text_batch)
        return score_pairs(scorer, of_texts, of_media, options.itc_weight, options.log_seconds)


@LOOPS.register_module()
class RetrievalValLoop(_RetrievalLoop, ValLoop):
    """Validates retrieval in both directions (paper section 4; BLIP's protocol).

    Stage one encodes media and texts, each rank its share. Stage two shortlists, by cosine
    similarity, the ``k_test`` best media of every text and the ``k_test`` best texts of every
    medium (equal ones count once and score alike), and scores every pair that stands on either list
    once by image-text matching, on the rank that holds the medium's visual tokens. In a direction,
    what is on its shortlist scores ITM logit + ``itc_weight`` * cosine, and everything else -100.
    The ranks don't depend on the number of processes, whether or not it divides the split.

    Visual tokens stay in main memory: media x frames x tokens x width numbers over all ranks
    (1,000 videos x 16 frames x 197 x 768 in float16: 4.5 GiB), or in ``gallery_dir`` on disk.

    Args:
        runner: The runner.
        dataloader: Gives one item a medium, with all its captions.
        evaluator: With a RetrievalMetric.
        fp16: As ``amp_dtype='float16'``, the switch of mmengine's loops.
        **options: Of :class:`uniadapter.retrieval.RetrievalOptions`.

    Raises:
        ValueError: If an option is outside its set, ``k_test`` is larger than the split, or the
            model can't match and ``k_test`` is not 0.
    """

    stage = "val"
    keyword_options = tuple(field.name for field in fields(RetrievalOptions))

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        if fp16:
            options["amp_dtype"] = options.get("amp_dtype") or "float16"
        self.options = RetrievalOptions(**options)
        self._check_options()


@LOOPS.register_module()
class RetrievalTestLoop(_RetrievalLoop, TestLoop):
    """Tests retrieval in both directions, as :class:`RetrievalValLoop` does.

    Args:
        runner: The runner.
        dataloader: Gives one item a medium, with all its captions.
        evaluator: With a RetrievalMetric.
        fp16: As ``amp_dtype='float16'``, the switch of mmengine's loops.
        **options: Of :class:`uniadapter.retrieval.RetrievalTestOptions`.

    Raises:
        ValueError: If an option is outside its set, ``k_test`` is larger than the split, or the
            model can't match and ``k_test`` is not 0.
    """

    stage = "test"
    options: RetrievalTestOptions
    keyword_options = tuple(field.name for field in fields(RetrievalTestOptions))

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        if fp16:
            options["amp_dtype"] = options.get("amp_dtype") or "float16"
        self.options = RetrievalTestOptions(**options)
        self._check_options()
        self._top: list[list[tuple[int, float]]] = []
        self._ranks: list[int] = []

    def _see_block(self, gallery: Gallery, direction: int, scores: Tensor) -> None:
        if self.options.dump is None or direction != 0:
            return
        # Stable: equal media stand in the order of the gallery.
        best = scores.sort(dim=1, descending=True, stable=True)
        values, media = (part[:, :_DUMPED_MEDIA].tolist() for part in best)
        for row in map(zip, media, values):
            self._top.append([pair for pair in row if pair[1] > OUTSIDE_SHORTLIST])
        start = len(self._ranks)
        right = gallery.text_media[start : start + len(scores), None].tolist()
        self._ranks += ranks_of_best_positives(scores, right).tolist()

    def _evaluate(self, gallery: Gallery) -> None:
        self._top, self._ranks = [], []
        super()._evaluate(gallery)
        if self.options.dump is None or not is_main_process():
            return
        ranking = {
            "texts": gallery.texts(),
            "media": [{"id": medium.name, "path": medium.path} for medium in gallery.media],
            "positives": gallery.text_media.tolist(),
            "top": self._top,
            "ranks": self._ranks,
            "skipped": [medium.path for medium in gallery.skipped],
        }
        atomic_write(self.options.dump, json_text(ranking, indent=1).encode())
        self.runner.logger.info(f"The ranking was written to {Path(self.options.dump).resolve()}")
