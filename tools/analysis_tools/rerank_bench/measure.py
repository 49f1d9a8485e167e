"""One re-rank and a whole evaluation, the naive way and the package's, in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from mmengine.device import get_device
from naive import NaiveModel, evaluate
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from uniadapter.models.tasks import RetrievalModel

from .compare import OUTSIDE
from .inputs import (
    MAX_LENGTH,
    RandomMedia,
    caption_lengths,
    random_captions,
    random_model,
    read_config,
)
from .loops import BATCH, encoded_gallery, evaluation_loop
from .operations import (
    begun_operations,
    evaluation_operations,
    naive_operations,
    settled,
    useful_operations,
)

#: Pairs that the naive way may score in a call; it gets what is fastest for it on the machine. At
#: 3,152 visual tokens 16 pairs need about 1 GiB.
CHUNKS = (1, 4, 16)


@dataclass(frozen=True)
class Sizes:
    """What is measured.

    Attributes:
        config: Config file.
        frames: Frames of a medium.
        texts: Texts that a medium is matched with.
        pfa: Variant of the frame weights. None: the config's.
        full_texts: All texts have 35 tokens.
        layers: Layers of both towers. None: the config's.
        media: Media of a whole evaluation, or of a re-rank.
        k_test: Shortlists of a whole evaluation.
        seed: Of weights and inputs.
        chunk: Pairs that the naive way scores in a call. None: the fastest of :data:`CHUNKS`.
    """

    config: str
    frames: int = 16
    texts: int = 128
    pfa: str | None = None
    full_texts: bool = False
    layers: int | None = None
    media: int = 1
    k_test: int = 1
    seed: int = 0
    chunk: int | None = None


@dataclass
class Measured:
    """Seconds and scores of the naive way and of each precision of the package's.

    Attributes:
        naive_seconds: One a repeat.
        seconds: By precision, one a repeat.
        naive_scores: Scores, one tensor a direction.
        scores: By precision, as ``naive_scores``.
        naive_bf16: Scores of a re-rank the naive way under bf16 autocast, where asked for.
        tokens: Visual tokens of a medium.
        lengths: Tokens of each text.
        chunk: Pairs that the naive way scored in a call.
        naive_operations: Counted operations of the naive way.
        operations: The fewest that give the scores.
        full_depth_ratio: Ratio of both in an evaluation with all of the config's layers.
    """

    tokens: int
    lengths: list[int]
    chunk: int
    naive_seconds: list[float] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    naive_scores: tuple[Tensor, ...] = ()
    scores: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    naive_bf16: Tensor | None = None
    naive_operations: int = 0
    operations: int = 0
    full_depth_ratio: float | None = None

    def naive_median(self) -> float:
        """Median seconds of the naive way."""
        return float(statistics.median(self.naive_seconds))

    def median(self, precision: str) -> float:
        """Median seconds of the package in a precision."""
        return float(statistics.median(self.seconds[precision]))


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = settled()
    result = call()
    return settled() - start, result


def _fastest_chunk(score: Callable[[int, int], Any]) -> int:
    """The best of :data:`CHUNKS` for the naive way; ``score`` takes texts and chunk."""
    score(1, 1)
    seconds = {chunk: _timed(lambda c=chunk: score(max(CHUNKS), c))[0] for chunk in CHUNKS}
    return min(seconds, key=seconds.__getitem__)


def _longest(model: RetrievalModel) -> int:
    """Tokens that the naive way pads all texts to: as many as the model keeps, 35 at most."""
    return min(MAX_LENGTH, model.data_preprocessor.max_text_len)


def _prepare(sizes: Sizes) -> tuple[RetrievalModel, RandomMedia, list[int]]:
    cfg = read_config(sizes.config, sizes.layers, sizes.pfa)
    # Where the runner of the package's own loop puts it.
    model = random_model(cfg, sizes.seed).to(get_device())
    lengths = caption_lengths(sizes.texts, sizes.seed)
    if sizes.full_texts:
        lengths = [MAX_LENGTH] * sizes.texts
    lengths = [min(length, _longest(model)) for length in lengths]
    captions = random_captions(model.data_preprocessor.tokenizer, lengths, sizes.seed)
    shares = [captions[row :: sizes.media] for row in range(sizes.media)]
    visual = cfg.model.visual
    patch = visual.get("patch_size", 16)
    media = RandomMedia(shares, sizes.frames, visual.get("img_size", 224), sizes.seed, patch)
    return model, media, lengths


def _batches(model: RetrievalModel, media: Dataset) -> Iterator[Tensor]:
    """Pixels as the loop's dataloader and the preprocessor give them."""
    for batch in DataLoader(media, BATCH, collate_fn=list):
        data = {key: [item[key] for item in batch] for key in ("inputs", "data_samples")}
        yield model.data_preprocessor(data, False)["pixels"]


def _texts(model: RetrievalModel, media: RandomMedia) -> tuple[Tensor, Tensor]:
    """Ids and mask of all captions, media in order."""
    captions = [text for texts in media.captions for text in texts]
    ids, mask = model.data_preprocessor.tokenizer(captions, _longest(model))
    return ids.to(get_device()), mask.to(get_device())


class _NaiveRerank:
    """Media and texts, encoded the naive way, and their scores."""

    def __init__(self, model: RetrievalModel, media: RandomMedia) -> None:
        self.naive = NaiveModel(model, _longest(model))
        self.ids, self.mask = _texts(model, media)
        self.tokens, _, self.frames = self.naive.encode_visual(next(_batches(model, media)))
        self.text_cls, self.texts = self.naive.encode_text(self.ids, self.mask)

    def score(self, count: int, chunk: int, medium: int = 0) -> Tensor:
        """Frame similarities and scores of the first ``count`` texts, ``chunk`` a call."""
        sims = self.naive.frame_sims(
            self.tokens[medium : medium + 1, :, 0].expand(count, -1, -1),
            self.frames[medium : medium + 1].expand(count, -1, -1),
            self.text_cls[:count],
            self.texts[:count],
        )
        ids, mask = self.ids[:count], self.mask[:count]
        return self.naive.score_texts(self.tokens[medium], ids, mask, sims, chunk)

    def score_all(self, count: int, chunk: int) -> Tensor:
        """Scores of all media with these texts, (V * count,), medium after medium."""
        return torch.cat([self.score(count, chunk, medium) for medium in range(len(self.tokens))])


@torch.no_grad()
def measure_rerank(sizes: Sizes, precisions: list[str], repeats: int) -> Measured:
    """Re-rank ``sizes.media`` media against ``sizes.texts`` texts each.

    Both ways have encoded media and texts before, each with its own encoders; frame similarities
    and matching are measured. The package's path is the test loop's, from its gallery on. With
    ``'bf16'`` the naive way runs once more under autocast, for its scores alone.

    Args:
        sizes (Sizes): What to measure.
        precisions (list[str]): Of the package: ``'fp32'``, ``'bf16'``.
        repeats (int): Times that each is measured, in turns.

    Returns:
        Measured: Seconds and scores.
    """
    model, media, lengths = _prepare(sizes)
    naive, count = _NaiveRerank(model, media), len(lengths)
    chunk = sizes.chunk or _fastest_chunk(lambda part, size: naive.score(min(part, count), size))
    result = Measured(naive.tokens[0].shape[0] * naive.tokens.shape[2], lengths, chunk)
    each = naive_operations(model, result.tokens, count, _longest(model))
    result.naive_operations = sizes.media * each
    result.operations = sizes.media * useful_operations(model, result.tokens, lengths)
    result.operations += begun_operations(model, lengths)
    if "bf16" in precisions:
        with torch.autocast(get_device(), torch.bfloat16):
            result.naive_bf16 = _NaiveRerank(model, media).score_all(count, chunk).float().cpu()
    rows, columns = torch.arange(count), torch.arange(sizes.media)
    pairs = (rows.repeat(sizes.media), columns.repeat_interleave(count))
    with ExitStack() as stack:
        ways = {}
        for precision in precisions:
            loop = stack.enter_context(evaluation_loop(model, media, 1, precision))
            listed = (columns.expand(count, -1), rows.expand(sizes.media, -1))
            every = (encoded_gallery(loop), *listed)
            ways[precision] = partial(loop._score_pairs, *every)
        naive.score(1, 1)
        for _ in range(repeats):
            spent, scores = _timed(partial(naive.score_all, count, chunk))
            result.naive_seconds.append(spent)
            result.naive_scores = (scores.cpu(),)
            for precision, way in ways.items():
                spent, table = _timed(way)
                result.seconds.setdefault(precision, []).append(spent)
                result.scores[precision] = (table.lookup(*pairs).cpu(),)
    return result


@torch.no_grad()
def measure_evaluation(sizes: Sizes, precisions: list[str], repeats: int) -> Measured:
    """A whole evaluation in both directions, from pixels and captions to scores.

    Args:
        sizes (Sizes): What to measure.
        precisions (list[str]): Of the package: ``'fp32'``, ``'bf16'``.
        repeats (int): Times that each is measured, in turns.

    Returns:
        Measured: Seconds and the scores of both directions, -100 outside of the shortlists.
    """
    model, media, lengths = _prepare(sizes)
    naive = NaiveModel(model, _longest(model))
    ids, mask = _texts(model, media)

    def score(part: int, size: int) -> Tensor:
        return naive.score_texts(tokens, ids[:part], mask[:part], None, size)

    def naive_way() -> tuple[Tensor, Tensor]:
        ids, mask = _texts(model, media)
        return evaluate(naive, _batches(model, media), ids, mask, sizes.k_test, chunk)

    tokens = naive.encode_visual(next(_batches(model, media))[:1])[0][0]
    chunk = sizes.chunk or _fastest_chunk(score)
    result = Measured(len(tokens) * tokens.shape[1], lengths, chunk)
    with ExitStack() as stack:
        loops = {
            precision: stack.enter_context(evaluation_loop(model, media, sizes.k_test, precision))
            for precision in precisions
        }
        for _ in range(repeats):
            spent, scores = _timed(naive_way)
            result.naive_scores = tuple(part.cpu() for part in scores)
            result.naive_seconds.append(spent)
            for precision, loop in loops.items():
                spent, _ = _timed(loop.run)
                result.seconds.setdefault(precision, []).append(spent)
                result.scores[precision] = loop.evaluator.scores()
    t2v, v2t = (scores != OUTSIDE for scores in result.naive_scores)
    # Captions by medium, as they stand in the gallery.
    gallery_lengths = mask.sum(1).tolist()
    counts = evaluation_operations(model, sizes.frames, (t2v, v2t), gallery_lengths)
    result.naive_operations, result.operations = counts
    # The last layer computes one token a text, which weighs more where there are few layers.
    full = random_model(read_config(sizes.config, None, sizes.pfa), sizes.seed)
    whole, fewest = evaluation_operations(full, sizes.frames, (t2v, v2t), gallery_lengths)
    result.full_depth_ratio = whole / fewest
    return result
