"""mmpretrain's BLIP checkpoints: retrieval, VQA and captioning."""

from __future__ import annotations

from .keys import Layout, Pair
from .official import MOMENTUM_REASON, POSITION_IDS, QUEUE_REASON, tied_head

_DECODERS = ("vqa_head.decoder", "seq_gen_head.decoder")


def _decoder_pairs() -> tuple[Pair, ...]:
    pairs: list[Pair] = []
    for prefix in _DECODERS:
        pairs.append(Pair(f"{prefix}.bert.{{bert}}", "decoder.bert.{bert}"))
        pairs.append(Pair(f"{prefix}.{{lm}}", "decoder.{lm}"))
        pairs.extend(tied_head(prefix))
    return tuple(pairs)


MMPRETRAIN = Layout(
    "mmpretrain",
    (
        Pair("vision_backbone.{vit}", "visual.{vit}"),
        Pair("visual_encoder.{vit}", "visual.{vit}"),
        Pair("text_backbone.{bert}", "text.{bert}"),
        Pair("multimodal_backbone.{bert}", "text.{bert}"),
        *_decoder_pairs(),
        Pair("vision_neck.{p}", "vision_proj.{p}"),
        Pair("text_neck.{p}", "text_proj.{p}"),
        Pair("multimodal_head.fc.{p}", "itm_head.{p}"),
        Pair("temp", "temp"),
        Pair("head.temp", "temp"),
    ),
    (
        POSITION_IDS,
        (r"head\.(?:(?:image|text|idx)_queue|queue_ptr)", QUEUE_REASON),
        (r"(?:vision_backbone|text_backbone|vision_neck|text_neck)_m\..+", MOMENTUM_REASON),
    ),
)
