"""Re-ranking of one medium against many texts: transformers' BLIP and ours on the same weights."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rerank_bench.inputs import (
    MAX_LENGTH,
    RandomMedia,
    caption_lengths,
    random_captions,
    read_config,
)
from rerank_bench.loops import encoded_gallery, evaluation_loop

from .twins import make_twins

#: Pairs a call that transformers may have; it gets what is fastest for it.
CHUNKS = (1, 4, 16, 64)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


class TheirTexts:
    """Texts that transformers' text encoder matches with a medium, shortest first.

    Each call is padded to its own longest text, so that sorting saves padding.

    Args:
        theirs (BlipForImageTextRetrieval): The model.
        ids (Tensor): (T, L), beginning with ``[ENC]`` as BLIP's own code has it.
        mask (Tensor): (T, L).
    """

    def __init__(self, theirs: Any, ids: torch.Tensor, mask: torch.Tensor) -> None:
        self.theirs, self.ids, self.mask = theirs, ids, mask
        self.order = mask.sum(1).argsort(stable=True)

    def score(self, states: torch.Tensor, chunk: int) -> torch.Tensor:
        """Matching logits (T,) with a medium of visual tokens (1, S, D), ``chunk`` texts a call."""
        scores = torch.empty(len(self.ids))
        for rows in self.order.split(chunk):
            longest = int(self.mask[rows].sum(1).max())
            hidden = self.theirs.text_encoder(
                input_ids=self.ids[rows, :longest],
                attention_mask=self.mask[rows, :longest],
                encoder_hidden_states=states.expand(len(rows), -1, -1),
                encoder_attention_mask=torch.ones(len(rows), states.shape[1]),
            ).last_hidden_state
            scores[rows] = self.theirs.itm_head(hidden[:, 0])[:, 1]
        return scores

    def fastest(self, states: torch.Tensor) -> int:
        """The best of :data:`CHUNKS`, of one run each behind one that is not counted."""
        chunks = [chunk for chunk in CHUNKS if chunk <= len(self.ids)]
        self.score(states, chunks[-1])
        return min(chunks, key=lambda chunk: _timed(partial(self.score, states, chunk))[0])


@torch.no_grad()
def measure_rerank(
    config: str, frames: int, texts: int, repeats: int, seed: int, chunk: int | None = None
) -> dict[str, Any]:
    """Score one medium with ``texts`` texts both ways, in turns.

    Both have encoded the medium before; our path is the test loop's, from its gallery on, without
    adapter and frame weights, which transformers' model has not.

    Args:
        config (str): Config of a retrieval model.
        frames (int): Frames of the medium, whose tokens texts read one behind the other.
        texts (int): Texts, of lengths that resemble MSR-VTT's.
        repeats (int): Times that each is measured.
        seed (int): Of weights and inputs.
        chunk (int, optional): Pairs a call of transformers'. None: the fastest.

    Returns:
        dict: ``theirs`` and ``ours`` (median seconds), ``ratio``, ``max_error`` of the scores,
        ``score_std``, ``chunk``, ``visual_tokens``, ``texts``.
    """
    cfg = read_config(config)
    cfg.model.adapter = cfg.model.pfa = None
    ours, theirs = make_twins(cfg, "BlipForImageTextRetrieval", seed, dropout=False)
    longest = min(MAX_LENGTH, ours.data_preprocessor.max_text_len)
    lengths = [min(length, longest) for length in caption_lengths(texts, seed)]
    tokenizer = ours.data_preprocessor.tokenizer
    captions = random_captions(tokenizer, lengths, seed)
    size, patch = ours.visual.img_size[0], cfg.model.visual.get("patch_size", 16)
    media = RandomMedia([captions], frames, size, seed, patch)
    pixels = ours.data_preprocessor({k: [v] for k, v in media[0].items()}, False)["pixels"]
    states = theirs.vision_model(pixels[0]).last_hidden_state.flatten(0, 1)[None]
    ids, mask = tokenizer(captions, longest)
    ids[:, 0] = tokenizer.enc_token_id
    other = TheirTexts(theirs, ids, mask)
    chunk = chunk or other.fastest(states)
    seconds: dict[str, list[float]] = {"theirs": [], "ours": []}
    rows = torch.arange(texts)
    with evaluation_loop(ours, media, 1) as loop:
        listed = (torch.zeros(texts, 1, dtype=torch.long), rows[None])
        score = partial(loop._score_pairs, encoded_gallery(loop), *listed)
        score()
        for _ in range(repeats):
            spent, expected = _timed(partial(other.score, states, chunk))
            seconds["theirs"].append(spent)
            spent, table = _timed(score)
            seconds["ours"].append(spent)
    scores = table.lookup(rows, torch.zeros_like(rows))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        **medians,
        "ratio": medians["theirs"] / medians["ours"],
        "max_error": float((scores - expected).abs().max()),
        "score_std": float(expected.std()),
        "chunk": chunk,
        "visual_tokens": states.shape[1],
        "texts": texts,
        "mean_text_tokens": sum(lengths) / len(lengths),
    }
