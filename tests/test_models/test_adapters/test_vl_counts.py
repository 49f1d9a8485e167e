"""The published parameter counts of VL-Adapter, on BART-base and T5-base without their weights."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from tests.language_helpers import TASKS, bart, method_on, t5
from uniadapter.apis.model import build_model
from uniadapter.models.components import count_parameters, norms_and_biases

VIDEO = ("tvqa", "how2qa", "tvc", "yc2c")
IMAGE_WIDTH, VIDEO_WIDTH, WIDTH = 2048, 512, 768

SINGLE, NONE = ["task"], []
BOTTLENECK: dict[str, Any] = {"type": "VLAdapter"}
MULTIPLE = {"down": [], "up": []}
HALF, HALF_DOWN = {"down": [], "up": ["task"]}, {"down": ["task"], "up": []}
PHM2 = {"type": "phm", "k": 2}
LORA: dict[str, Any] = {"type": "LoRA", "rank": 128, "alpha": 32, "dropout": 0.1}
PROMPT: dict[str, Any] = {"type": "PromptTuning"}
HYPER: dict[str, Any] = {"type": "Hyperformer"}


def stack(*methods: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Stack", "methods": list(methods)}


def sized(config: dict[str, Any], reduction: int) -> dict[str, Any]:
    return {**config, "reduction_factor": reduction}


# Method, what else is trained of the language model, trainable and total.
Row = tuple[Any, str, int, int]
BART_IMAGE: dict[str, Row] = {
    "visual": (None, "", 1_582_848, 141_156_864),
    "visual_norms": (None, "norms", 1_632_000, 141_156_864),
    "single": (BOTTLENECK, "norms", 6_081_600, 145_606_464),
    "multiple": ({**BOTTLENECK, "share": MULTIPLE}, "norms", 19_430_400, 158_955_264),
    "half_shared": ({**BOTTLENECK, "share": HALF}, "norms", 12_725_760, 152_250_624),
    "half_shared_down": ({**BOTTLENECK, "share": HALF_DOWN}, "norms", 12_786_240, 152_311_104),
    "no_cross": ({**BOTTLENECK, "cross_attention": False}, "norms", 5_191_680, 144_716_544),
    "hyperformer": (HYPER, "norms", 8_579_088, 148_103_952),
    "hyperformer_one": ({**HYPER, "variant": "one"}, "norms", 4_708_592, 144_233_456),
    "compacter_single": ({**BOTTLENECK, "projection": PHM2}, "norms", 3_870_240, 143_395_104),
    "compacter_multiple": (
        {**BOTTLENECK, "projection": PHM2, "share": MULTIPLE},
        "norms",
        10_584_960,
        150_109_824,
    ),
    "compacter_k4_r1_shared_rule": (
        {**BOTTLENECK, "projection": {"type": "phm", "k": 4, "rank": 1, "rule": "model"}},
        "norms",
        1_709_824,
        141_234_688,
    ),
    "lora_single": (LORA, "biases", 8_786_688, 148_234_752),
    "lora_multiple": ({**LORA, "share": NONE}, "biases", 30_020_352, 169_468_416),
    "prompt_single": (PROMPT, "", 2_843_936, 142_417_952),
    "prompt_multiple": ({**PROMPT, "share": NONE}, "", 6_627_200, 146_201_216),
    "single_and_prompts": (
        stack(BOTTLENECK, {**PROMPT, "share": NONE}),
        "norms",
        11_125_952,
        150_650_816,
    ),
}
BART_VIDEO: dict[str, Row] = {
    "visual": (None, "", 403_200, 139_977_216),
    "visual_norms": (None, "norms", 452_352, 139_977_216),
    "single": (BOTTLENECK, "norms", 4_901_952, 144_426_816),
    "lora_single": (LORA, "biases", 7_607_040, 147_055_104),
    "prompt_single": (PROMPT, "", 1_664_288, 141_238_304),
    "multiple": ({**BOTTLENECK, "share": MULTIPLE}, "norms", 18_250_752, 157_775_616),
    "half_shared": ({**BOTTLENECK, "share": HALF}, "norms", 11_546_112, 151_070_976),
    "hyperformer": (HYPER, "norms", 7_399_440, 146_924_304),
    "compacter_single": ({**BOTTLENECK, "projection": PHM2}, "norms", 2_690_592, 142_215_456),
    "compacter_multiple": (
        {**BOTTLENECK, "projection": PHM2, "share": MULTIPLE},
        "norms",
        9_405_312,
        148_930_176,
    ),
}
# T5: by reduction factor; totals are the bare model's and what a row adds to it.
_T5 = {
    "single": (BOTTLENECK, 10_480_512, 19_333_632),
    "multiple": ({**BOTTLENECK, "share": MULTIPLE}, 37_178_112, 72_590_592),
    "half_shared": ({**BOTTLENECK, "share": HALF}, 23_768_832, 45_910_272),
    "hyperformer": (HYPER, 8_534_544, 15_174_384),
    "compacter_single": ({**BOTTLENECK, "projection": PHM2}, 6_057_792, 10_487_232),
    "compacter_multiple": (
        {**BOTTLENECK, "projection": PHM2, "share": MULTIPLE},
        19_487_232,
        37_204_992,
    ),
}
_VISUAL, _T5_BARE = 1_581_312, 224_540_160
T5_IMAGE: dict[str, Row] = {
    "visual": (None, "", _VISUAL, _T5_BARE),
    "visual_norms": (None, "norms", _VISUAL + 47_616, _T5_BARE),
    **{
        f"{name}_rf{factor}": (sized(config, factor), "", count, _T5_BARE + count - _VISUAL)
        for name, (config, *counts) in _T5.items()
        for factor, count in zip((8, 4), counts, strict=True)
    },
    "single_norms_rf4": (sized(BOTTLENECK, 4), "norms", 19_333_632 + 47_616, 242_292_480),
    "prompt_single": (PROMPT, "", 2_842_400, 225_801_248),
    "prompt_multiple": ({**PROMPT, "share": NONE}, "", 6_625_664, 229_584_512),
    # By the rank that gives the 7.54 % printed for it.
    "lora_single": ({**LORA, "rank": 150}, "", 18_170_112, 241_128_960),
}
# Totals that are printed of T5 beside the percentages.
_T5_TOTALS = {
    "single_rf4": 242_292_480,
    "multiple_rf4": 295_549_440,
    "half_shared_rf4": 268_869_120,
    "hyperformer_rf4": 238_133_232,
}
_VIDEO_BARE = _T5_BARE - (IMAGE_WIDTH - VIDEO_WIDTH) * WIDTH
T5_VIDEO: dict[str, Row] = {
    "single_rf8": (sized(BOTTLENECK, 8), "", 9_300_864, _VIDEO_BARE + 10_480_512 - _VISUAL),
    "single_rf4": (sized(BOTTLENECK, 4), "", 18_153_984, _VIDEO_BARE + 19_333_632 - _VISUAL),
}
PERCENT = {
    ("bart", "single"): 4.18,
    ("bart", "multiple"): 12.22,
    ("bart", "half_shared"): 8.36,
    ("bart", "hyperformer"): 5.79,
    ("bart", "compacter_single"): 2.70,
    ("bart", "compacter_multiple"): 7.05,
    ("bart", "lora_single"): 5.93,
    ("bart", "prompt_single"): 2.00,
    ("t5", "single_rf4"): 7.98,
    ("t5", "single_norms_rf4"): 8.00,
    ("t5", "prompt_single"): 1.26,
    ("t5", "lora_single"): 7.54,
}


@cache
def language(name: str) -> Any:
    """The whole language model with the lengthened table, without memory."""
    with torch.device("meta"):
        if name == "bart":
            sizes = {"vocab_size": 50_465, "d_model": WIDTH, "max_position_embeddings": 1024}
            for side in ("encoder", "decoder"):
                sizes.update({f"{side}_layers": 6, f"{side}_attention_heads": 12})
                sizes[f"{side}_ffn_dim"] = 3072
            return bart(**sizes)
        return t5(vocab_size=32_200, d_model=WIDTH, d_kv=64, d_ff=3072, num_layers=12, num_heads=12)


def visual(name: str, features: int) -> int:
    """Parameters of the visual embedding."""
    return features * WIDTH + (13 if name == "bart" else 11) * WIDTH


def counted(name: str, features: int, tasks: Any, config: Any, also: str) -> tuple[int, int]:
    """What is trained, and all that there is."""
    model = language(name)
    base = sum(p.numel() for p in model.parameters()) + visual(name, features)
    own = norms_and_biases({"text": model}, also == "norms", also == "biases")
    trained = sum(p.numel() for part in own.values() for p in part) + visual(name, features)
    if config is None:
        return trained, base
    with torch.device("meta"), method_on(model, config, tasks) as method:
        added = sum(p.numel() for p in method.parameters())
    return trained + added, base + added


ROWS = [
    pytest.param(name, width, tasks, row, id=f"{name}-{kind}-{method}")
    for name, kind, width, tasks, rows in (
        ("bart", "image", IMAGE_WIDTH, TASKS, BART_IMAGE),
        ("bart", "video", VIDEO_WIDTH, VIDEO, BART_VIDEO),
        ("t5", "image", IMAGE_WIDTH, TASKS, T5_IMAGE),
        ("t5", "video", VIDEO_WIDTH, VIDEO, T5_VIDEO),
    )
    for method, row in rows.items()
]


@pytest.mark.parametrize(("name", "width", "tasks", "row"), ROWS)
def test_counts_are_the_published_ones(name, width, tasks, row):
    config, also, trainable, total = row
    assert counted(name, width, tasks, config, also) == (trainable, total)


def test_bare_models_are_the_published_ones():
    counts = {name: sum(p.numel() for p in language(name).parameters()) for name in ("bart", "t5")}
    assert counts == {"bart": 139_574_016, "t5": 222_958_848}
    for name, norms in (("bart", 49_152), ("t5", 47_616)):
        own = norms_and_biases({"text": language(name)}, True, False)["norms"]
        assert sum(p.numel() for p in own) == norms
    biases = norms_and_biases({"text": language("bart")}, False, True)["biases"]
    assert sum(p.numel() for p in biases) == 125_952
    with pytest.raises(ValueError, match="train_biases=True, but these towers have no biases"):
        norms_and_biases({"text": language("t5")}, False, True)


def test_percentages_are_the_printed_ones():
    rows = {"bart": BART_IMAGE, "t5": T5_IMAGE}
    for (name, method), printed in PERCENT.items():
        _, _, trainable, total = rows[name][method]
        assert round(100 * trainable / total, 2) == pytest.approx(printed, abs=0.0051)
    for method, total in _T5_TOTALS.items():
        assert T5_IMAGE[method][3] == total


def own_counts(name: str, width: int, tasks: Any, config: Any, also: str) -> tuple[int, int]:
    """As :func:`counted`, of the package's model."""
    table = {"bart": ("Bart", 50_265, 200), "t5": ("T5", 32_128, 72)}
    kind, words, new_words = table[name]
    text = {"type": kind, "arch": "base", "vocab_size": words, "new_words": new_words}
    options = {f"train_{also}": True} if also else {}
    cfg = {"type": "VLSeq2Seq", "text": text, "tasks": list(tasks), "feature_width": width}
    with torch.device("meta"):
        model = build_model({**cfg, "adapter": config, **options})
    counts = count_parameters(model)
    return counts["trainable"], counts["total"]


_OF_CORE = ("bart-image-lora_multiple", "bart-image-half_shared", "t5-image-single_norms_rf4")


@pytest.mark.parametrize(
    ("name", "width", "tasks", "row"),
    [
        pytest.param(*p.values, id=p.id, marks=[] if p.id in _OF_CORE else [pytest.mark.deep])
        for p in ROWS
    ],
)
def test_the_packages_model_counts_the_same(name, width, tasks, row):
    config, also, trainable, total = row
    assert own_counts(name, width, tasks, config, also) == (trainable, total)


def test_full_fine_tuning_counts_all():
    """New words as well; the encoder of pictures is no part of the model."""
    text = {"type": "Bart", "arch": "base", "vocab_size": 50_265, "new_words": 200}
    with torch.device("meta"):
        model = build_model(
            {
                "type": "VLSeq2Seq",
                "text": text,
                "tasks": list(VIDEO),
                "feature_width": VIDEO_WIDTH,
                "train_backbone": True,
            }
        )
    counts = count_parameters(model)
    assert counts["trainable"] == counts["total"] == 139_977_216
