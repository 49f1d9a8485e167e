"""Validation and test of retrieval: similarity first, then image-text matching on shortlists."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import torch
from mmengine.dist import broadcast, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, TestLoop, ValLoop
from torch import Tensor, nn
from torch.utils.data import DataLoader

from uniadapter.evaluation.functional import (
    OUTSIDE_SHORTLIST,
    PairTable,
    reranked_rows,
    score_blocks,
    shortlist,
    similarity_rows,
    texts_by_medium,
)
from uniadapter.registry import LOOPS
from uniadapter.utils.dist import gather_ragged
from uniadapter.utils.safe_io import atomic_write

from .retrieval_gallery import Gallery, GalleryEncoder
from .retrieval_scoring import GalleryScorer
from .token_store import DiskTokens, token_store

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_DUMPED_MEDIA = 10

_RowsOf = Callable[[Tensor], Tensor]
"""Scores (R, G) of R queries, by their indices (R,), with a gallery of G candidates."""


class _Progress:
    """Logs how far a stage is and when it will be done, every so many seconds."""

    def __init__(self, stage: str, total: int, interval: float) -> None:
        self.stage, self.total, self.interval = stage, total, interval
        self.start = self.last = time.monotonic()

    def update(self, done: int) -> None:
        now = time.monotonic()
        if now - self.last < self.interval and done < self.total:
            return
        self.last = now
        spent = now - self.start
        left = time.strftime("%H:%M:%S", time.gmtime(spent / done * (self.total - done)))
        MMLogger.get_current_instance().info(
            f"{self.stage} [{done}/{self.total}]  eta: {left}  spent: {spent:.1f} s"
        )


class _RetrievalLoop:
    """The body that validation and test share; see :class:`RetrievalValLoop`."""

    stage: str
    runner: Runner
    dataloader: DataLoader
    evaluator: Evaluator

    def _set_options(
        self,
        k_test: int | None,
        itc_weight: float,
        gallery_dtype: str,
        text_batch: int,
        amp_dtype: str | None,
        log_seconds: float,
        folds: int,
        gallery_dir: str | None,
    ) -> None:
        cfg = f"{self.stage}_cfg"
        if k_test is not None and (isinstance(k_test, bool) or k_test != int(k_test) or k_test < 0):
            raise ValueError(
                f"{cfg}.k_test is the length of the shortlists, a whole number (0 or None: no "
                f"re-ranking), got {k_test!r}"
            )
        if gallery_dtype not in _DTYPES:
            raise ValueError(
                f"{cfg}.gallery_dtype is one of {list(_DTYPES)}, got {gallery_dtype!r}"
            )
        if amp_dtype not in (None, "float16", "bfloat16"):
            raise ValueError(f"{cfg}.amp_dtype is None, 'float16' or 'bfloat16', got {amp_dtype!r}")
        if text_batch < 1:
            raise ValueError(f"{cfg}.text_batch is the number of texts at once, got {text_batch}")
        size = len(self.dataloader.dataset)  # type: ignore[arg-type]
        if not 1 <= folds <= size:
            raise ValueError(f"{cfg}.folds must be in [1, {size}], the split's media; got {folds}")
        self.folds = folds
        self.gallery_dir = gallery_dir
        self.k_test = int(k_test or 0)
        self.itc_weight = float(itc_weight)
        self.gallery_dtype = _DTYPES[gallery_dtype]
        self.text_batch = text_batch
        self.amp_dtype = amp_dtype
        self.log_seconds = log_seconds
        of_a_fold = " in a fold" if folds > 1 else ""
        self._check_k_test(size // folds, f"{size // folds} media{of_a_fold}")

    def _check_k_test(self, limit: int, sizes: str) -> None:
        if self.k_test > limit:
            raise ValueError(
                f"{self.stage}_cfg.k_test = {self.k_test} is larger than the gallery: the split "
                f"has {sizes}. Set it to at most {limit}, or to 0 for similarity alone"
            )

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
        with torch.no_grad(), token_store(self.gallery_dir, media, option) as tokens:
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
        for fold in gallery.folds(self.folds):
            self._evaluate(fold)
            measured.append(self.evaluator.evaluate(len(fold.media)))
        return {key: sum(m[key] for m in measured) / len(measured) for key in measured[0]}

    def _autocast(self) -> AbstractContextManager:
        if self.amp_dtype is None:
            # Frozen weights stored in half precision bring their own.
            own = getattr(self.model, "frozen_autocast", nullcontext)
            return own()
        return torch.autocast(self._device().type, _DTYPES[self.amp_dtype])

    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _encode(self, tokens: list[Tensor] | DiskTokens) -> Gallery:
        """Stage one, with the hooks of an iteration around every batch."""
        encoder = GalleryEncoder(
            self.model, self.gallery_dtype, self.text_batch, self.k_test > 0, tokens
        )
        progress = _Progress("Encoding", len(self.dataloader), self.log_seconds)
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
            f"{' on disk' if self.gallery_dir else ''}"
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
        if self.k_test:
            media = len(gallery.media) + len(gallery.skipped)
            texts = len(gallery.text_media) + sum(len(m.texts) for m in gallery.skipped)
            self._check_k_test(min(media, texts), f"{media} media and {texts} texts")
            t2v, v2t = self._reranked(distinct)
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
                # On every rank alike, as RetrievalMetric expects.
                self.evaluator.process(data_samples=[sample])

    def _see_block(self, gallery: Gallery, direction: int, scores: Tensor) -> None:
        """Called with every block of rows, queries in order."""

    def _reranked(self, gallery: Gallery) -> tuple[_RowsOf, _RowsOf]:
        """Scores of both directions, their shortlists scored by image-text matching."""
        texts, media = gallery.text_features, gallery.media_features
        # Copies and skipped media may have left fewer candidates than the split has.
        of_texts, text_lengths = shortlist(texts, media, min(self.k_test, len(media)))
        of_media, media_lengths = shortlist(media, texts, min(self.k_test, len(texts)), turned=True)
        # All ranks must agree on the shortlists, whatever their hardware makes of near ties.
        for tensor in (of_texts, text_lengths, of_media, media_lengths):
            broadcast(tensor)
        pairs = self._score_pairs(gallery, of_texts, of_media)
        t2v = pairs.lookup(torch.arange(len(texts))[:, None], of_texts)
        v2t = pairs.lookup(of_media, torch.arange(len(media))[:, None])
        return (
            partial(reranked_rows, of_texts, text_lengths, t2v, len(media)),
            partial(reranked_rows, of_media, media_lengths, v2t, len(texts)),
        )

    def _score_pairs(self, gallery: Gallery, of_texts: Tensor, of_media: Tensor) -> PairTable:
        """Scores of all shortlisted pairs, each made once, where the medium's tokens are."""
        listing = texts_by_medium(of_texts, len(gallery.media))
        scorer = GalleryScorer(self.model, gallery, self._autocast, self.text_batch)
        progress = _Progress("Re-ranking", len(gallery.own_media), self.log_seconds)
        texts, media, scores = [], [], []
        for row, medium in enumerate(gallery.own_media.tolist()):
            chosen = torch.cat([listing[medium], of_media[medium]]).unique()
            texts.append(chosen)
            media.append(torch.full_like(chosen, medium))
            similar = gallery.text_features[chosen] @ gallery.media_features[medium]
            scores.append(scorer.score(row, chosen) + self.itc_weight * similar)
            progress.update(row + 1)
        # On a rank without media the empty parts take the others' dtype.
        columns = [torch.cat(part) if part else torch.empty(0) for part in (texts, media, scores)]
        columns = [gather_ragged(column, interleave=False) for column in columns]
        return PairTable(columns[0], columns[1], columns[2], len(gallery.media))


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
        k_test: Length of the shortlists; 0 or None ranks by similarity alone.
        itc_weight: Weight of the cosine in the final score; BLIP 1, the released UniAdapter 0.
        gallery_dtype: Of the stored visual tokens: 'float32', 'float16' or 'bfloat16'.
        text_batch: Texts encoded at once.
        amp_dtype: None, 'float16' or 'bfloat16': run the model under autocast.
        log_seconds: Seconds between two lines of progress.
        folds: Cut the split, in order, into this many galleries and take the mean of their metrics
            (COCO's 1K protocol: 5 folds of the 5,000 test images).
        gallery_dir: Folder in which each rank keeps its visual tokens while the loop runs; None
            for main memory.

    Raises:
        ValueError: If an option is outside its set or ``k_test`` is larger than the split.
    """

    stage = "val"

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
        k_test: int | None = 128,
        itc_weight: float = 0.0,
        gallery_dtype: str = "float32",
        text_batch: int = 256,
        amp_dtype: str | None = None,
        log_seconds: float = 10.0,
        folds: int = 1,
        gallery_dir: str | None = None,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        amp = amp_dtype or ("float16" if fp16 else None)
        self._set_options(
            k_test, itc_weight, gallery_dtype, text_batch, amp, log_seconds, folds, gallery_dir
        )


@LOOPS.register_module()
class RetrievalTestLoop(_RetrievalLoop, TestLoop):
    """Tests retrieval in both directions, as :class:`RetrievalValLoop` does.

    Args:
        runner: The runner.
        dataloader: Gives one item a medium, with all its captions.
        evaluator: With a RetrievalMetric.
        fp16: As ``amp_dtype='float16'``, the switch of mmengine's loops.
        k_test: Length of the shortlists; 0 or None ranks by similarity alone.
        itc_weight: Weight of the cosine in the final score; BLIP 1, the released UniAdapter 0.
        gallery_dtype: Of the stored visual tokens: 'float32', 'float16' or 'bfloat16'.
        text_batch: Texts encoded at once.
        amp_dtype: None, 'float16' or 'bfloat16': run the model under autocast.
        log_seconds: Seconds between two lines of progress.
        folds: As for validation.
        gallery_dir: As for validation.
        dump: JSON file to write with the best ten media of every text: ``texts`` (list of
            strings), ``media`` (list of ``id`` and ``path``), ``positives`` (index in ``media`` for
            every text), ``top`` (for every text its best media as [index in ``media``, score], best
            first, shortlisted ones only) and ``skipped`` (paths).

    Raises:
        ValueError: If an option is outside its set or ``k_test`` is larger than the split.
    """

    stage = "test"

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
        k_test: int | None = 128,
        itc_weight: float = 0.0,
        gallery_dtype: str = "float32",
        text_batch: int = 256,
        amp_dtype: str | None = None,
        log_seconds: float = 10.0,
        folds: int = 1,
        gallery_dir: str | None = None,
        dump: str | None = None,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        amp = amp_dtype or ("float16" if fp16 else None)
        self._set_options(
            k_test, itc_weight, gallery_dtype, text_batch, amp, log_seconds, folds, gallery_dir
        )
        if dump is not None and folds > 1:
            raise ValueError(
                "test_cfg.dump is the ranking of one gallery: leave out test_cfg.folds"
            )
        self.dump = dump
        self._top: list[list[tuple[int, float]]] = []

    def _see_block(self, gallery: Gallery, direction: int, scores: Tensor) -> None:
        if self.dump is None or direction != 0:
            return
        # Stable: equal media stand in the order of the gallery.
        best = scores.sort(dim=1, descending=True, stable=True)
        values, media = (part[:, :_DUMPED_MEDIA].tolist() for part in best)
        for row in map(zip, media, values):
            self._top.append([pair for pair in row if pair[1] > OUTSIDE_SHORTLIST])

    def _evaluate(self, gallery: Gallery) -> None:
        self._top = []
        super()._evaluate(gallery)
        if self.dump is None or not is_main_process():
            return
        ranking = {
            "texts": gallery.texts(),
            "media": [{"id": medium.name, "path": medium.path} for medium in gallery.media],
            "positives": gallery.text_media.tolist(),
            "top": self._top,
            "skipped": [medium.path for medium in gallery.skipped],
        }
        atomic_write(self.dump, json.dumps(ranking, ensure_ascii=False, indent=1).encode())
        self.runner.logger.info(f"The ranking was written to {Path(self.dump).resolve()}")
