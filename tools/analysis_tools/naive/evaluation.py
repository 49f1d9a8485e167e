"""The two-stage test the plain way: each direction scores its shortlists by itself."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from .model import NaiveModel

#: Score of what is not on a query's shortlist.
OUTSIDE = -100.0


@torch.no_grad()
def evaluate(
    model: NaiveModel,
    batches: Iterable[torch.Tensor],
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    k_test: int,
    chunk: int = 8,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode media and texts and re-rank the shortlists of both directions.

    Args:
        model (NaiveModel): In evaluation mode.
        batches (Iterable[Tensor]): Pixels (B, N, 3, H, W), V media in all.
        input_ids (Tensor): (T, L).
        attention_mask (Tensor): (T, L).
        k_test (int): Length of the shortlists.
        chunk (int): Pairs a call.

    Returns:
        tuple: Scores of texts against media (T, V) and of media against texts (V, T); -100 outside
        of the shortlists.
    """
    encoded = [model.encode_visual(pixels) for pixels in batches]
    tokens, media, frames = (torch.cat(parts) for parts in zip(*encoded, strict=True))
    del encoded
    parts = [
        model.encode_text(ids, mask)
        for ids, mask in zip(input_ids.split(64), attention_mask.split(64), strict=True)
    ]
    text_cls, texts = (torch.cat(part) for part in zip(*parts, strict=True))
    t2v = torch.full((len(texts), len(media)), OUTSIDE)
    v2t = torch.full((len(media), len(texts)), OUTSIDE)

    def score(text_rows: torch.Tensor, media_rows: torch.Tensor) -> torch.Tensor:
        scores = []
        for text, medium in zip(text_rows.split(chunk), media_rows.split(chunk), strict=True):
            copied = tokens[medium]
            sims = model.frame_sims(copied[:, :, 0], frames[medium], text_cls[text], texts[text])
            scores.append(model.match(input_ids[text], attention_mask[text], copied, sims)[:, 1])
        return torch.cat(scores)

    for text in range(len(texts)):
        best = (media @ texts[text]).topk(k_test).indices
        t2v[text, best] = score(torch.full_like(best, text), best)
    for medium in range(len(media)):
        best = (texts @ media[medium]).topk(k_test).indices
        v2t[medium, best] = score(best, torch.full_like(best, medium))
    return t2v, v2t
