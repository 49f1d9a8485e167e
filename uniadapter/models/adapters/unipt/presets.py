"""The side networks of the UniPT paper, one for each tower that its authors' code adapts.

Widths and numbers of taps are those of the published models; every option can be changed.
"""

from __future__ import annotations

from typing import Any

_CLIP4CLIP: dict[str, Any] = {
    "guide_dim": 512,
    "side_dim": 512,
    "out_dim": 512,
    "order": "act-linear",
    "norm": "none",
    "guide": "outside",
    "residual": "index",
    "add_query": False,
    "out_act": True,
    "out_residual": True,
    "eps": 1e-6,
    "eps_mode": "clamp",
}
_VSE: dict[str, Any] = {
    "side_dim": 512,
    "out_dim": 1024,
    "projection": "linear",
    "out_act": True,
    "eps": 1e-8,
}
_MDETR: dict[str, Any] = {
    "in_dims": [256] * 3,
    "guide_dim": 256,
    "side_dim": 128,
    "projection": "mlp",
    "eps": 1e-7,
    "init": "xavier",
}

PRESETS: dict[str, dict[str, Any]] = {
    # CLIP ViT-B/32: the embeddings and all 12 blocks, guided by the projected class token.
    "clip4clip_image": {"in_dims": [768] * 13, **_CLIP4CLIP},
    # The same of its text tower, guided by the projected end-of-text token.
    "clip4clip_text": {"in_dims": [512] * 13, **_CLIP4CLIP},
    # BERT in VSE-infinity: the embeddings and layers 1-11, guided by layer 12.
    "vse_text": {"in_dims": [768] * 12, "guide_dim": 768, **_VSE},
    # ResNeXt-101 in VSE-infinity: stages 1-3 of four, guided by stage 4.
    "vse_image": {
        "in_dims": [256, 512, 1024],
        "guide_dim": 2048,
        **_VSE,
        "norm": "batch",
        "reduction": True,
    },
    # CLIP-ViL's joint stream: its input and layers 1-11, guided by layer 12.
    "clip_vil": {
        "in_dims": [768] * 12,
        "guide_dim": 768,
        "side_dim": 384,
        "out_dim": 768,
        "projection": "mlp",
        "eps": 1e-6,
        "init": "normal",
    },
    # MDETR's encoder: layers 1, 3 and 5, guided by layer 6; the output is the decoder's memory.
    "mdetr_encoder": _MDETR,
    # Its decoder: the same layers, guided by layer 6 behind the final norm.
    "mdetr_decoder": {
        **_MDETR,
        "guide": "outside",
        "crosser": True,
        "out_dim": 256,
        "out_act": True,
        "out_norm": True,
        "every_tap": True,
    },
}
